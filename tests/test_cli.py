"""The command line: exit codes, standard output and error, tables for people and JSON for machines.

Belongs here: `token-analytics` as people and scripts call it, on homes that its own runs filled. Does not belong here:
the numbers (test_models, test_sample), and locks and files (test_warehouse).
"""

from __future__ import annotations

import csv
import html
import io
import json
import re
import shutil
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
from commands import (
    CONSOLE_FILES,
    SAMPLE,
    SESSION_FILES,
    Completed,
    CompletedHomes,
    Done,
    few_segments,
    land,
    token_analytics,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import settings as product_settings
from pipeline.ingest import formats
from pipeline.ingest.sources import console_cost
from pipeline.store.sqlfiles import sql as query_of

COMMANDS = (
    "run", "status", "show", "query", "forget", "retry-rejected", "close", "reprice", "rates", "quote", "ui",
    "validate",
)  # fmt: skip
VIEWS = (
    "daily", "models", "cache", "sessions", "users", "reconciliation", "tails", "bridge", "anomalies", "forecast",
    "pricing", "savings", "chargeback", "invoices", "restatements",
)  # fmt: skip
EXPECTED = json.loads((SAMPLE.parent / "expected.json").read_text())
STAGES = [
    "Loading files",
    "Preparing the rate card",
    "Building marts",
    "Validating",
    "Fitting distributions",
    "Pricing contracts",
    "Looking for savings",
    "Comparing with closed months",
    "Publishing",
    "Writing the pages",
]

MEASURED = [
    "start", "landing", "rates", "models", "validation", "analysis", "pricing", "savings", "closing", "publish",
    "pages",
]  # fmt: skip


@pytest.fixture(scope="module")
def console(completed_homes: CompletedHomes) -> Completed:
    """Only console exports."""
    return completed_homes.console()


@pytest.fixture(scope="module")
def console_home(console: Completed) -> Path:
    return console.home


@pytest.fixture(scope="module")
def console_run(console: Completed) -> Done:
    return console.run


@pytest.fixture(scope="module")
def sessions_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Only logs."""
    home = few_segments(land(tmp_path_factory.mktemp("sessions") / "home", *SESSION_FILES))
    assert token_analytics("run", "--home", home).code == 0
    return home


@pytest.fixture(scope="module")
def sample(completed_homes: CompletedHomes) -> Completed:
    """The whole sample, after a first run with --json in a separate process."""
    return completed_homes.sample()


@pytest.fixture(scope="module")
def sample_home(sample: Completed) -> Path:
    return sample.home


@pytest.fixture(scope="module")
def sample_run(sample: Completed) -> Done:
    return sample.run


USAGE_HEAD = (
    "usage_date_utc,model_version,api_key,workspace,usage_type,usage_input_tokens_no_cache,"
    "usage_input_tokens_cache_write_5m,usage_input_tokens_cache_write_1h,usage_input_tokens_cache_read,"
    "usage_output_tokens,web_search_count"
)


def usage_csv(month: str, *outputs: object) -> str:
    """A usage export of the first days of a month, with these output tokens per day."""
    rows = [
        f"{month}-{day:02},claude-haiku-4-5,alpha,Default,standard,1,0,0,0,{output},0"
        for day, output in enumerate(outputs, 1)
    ]
    return "\n".join([USAGE_HEAD, *rows]) + "\n"


@pytest.fixture(scope="module")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """January and February with one bad row, an unrecognised file, and a file that this version did not know."""
    home = tmp_path_factory.mktemp("small") / "home"
    (home / "landing").mkdir(parents=True)
    few_segments(home)
    (home / "landing" / "january.csv").write_text(usage_csv("2026-01", 10, 20, 30))
    (home / "landing" / "february.csv").write_text(usage_csv("2026-02", 100, "many", 300))
    (home / "landing" / "note.txt").write_text("not an export")
    (home / "landing" / "cost.csv").write_text(
        "usage_date_utc,model,usage_type,token_type,cost_usd\n2026-01-01,Claude Haiku 4.5,message,output,1.25\n"
    )
    with pytest.MonkeyPatch.context() as older:
        older.setattr(formats, "SOURCES", tuple(source for source in formats.SOURCES if source is not console_cost))
        assert token_analytics("run", "--home", home).code == 0
    return home


@pytest.fixture
def small_home(small_run: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    shutil.copytree(small_run, tmp_path / "home")
    return tmp_path / "home"


def days(home: Path) -> dict[str, int]:
    """Output tokens of each published day."""
    found = answer(home, "SELECT usage_date, output_tokens FROM marts.daily_usage ORDER BY 1")
    return {row["usage_date"]: row["output_tokens"] for row in found}


@pytest.fixture(params=["console_run", "sessions_home", "sample_run"])
def any_home(request: pytest.FixtureRequest, console_home: Path, sample_home: Path) -> Path:
    """Each kind of landing, loaded and published."""
    made = request.getfixturevalue(request.param)
    return {"console_run": console_home, "sample_run": sample_home}.get(request.param, made)


def answer(home: Path, sql: str, *options: str) -> Any:
    done = token_analytics("query", sql, "--home", home, *(options or ("--json",)))
    assert (done.code, done.err) == (0, "")
    return done.out if options else json.loads(done.out)


# ------------------------------------------------------------------------------------------------------- help


def test_without_a_command_it_lists_the_commands() -> None:
    for done in (token_analytics(), token_analytics("--help")):
        assert [name for name in COMMANDS if name not in done.out + done.err] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_says_what_it_does_and_explains_its_options(command: str) -> None:
    words = {"rates": ("rates", "check"), "quote": ("quote", "list")}.get(command, (command,))
    done = token_analytics(*words, "--help")
    assert (done.code, done.err) == (0, "")
    assert "--home" in done.out
    assert "TOKEN_ANALYTICS_HOME" in done.out


def test_an_unknown_view_is_refused_with_the_known_ones() -> None:
    done = token_analytics("show", "weekly")
    assert done.code == 2
    assert [view for view in VIEWS if view not in done.err] == []


# ------------------------------------------------------------------------------------------------- unusable input


def test_an_empty_landing_is_one_line_that_names_the_folder(tmp_path: Path) -> None:
    (tmp_path / "landing").mkdir()
    assert str(tmp_path / "landing") in token_analytics("run", "--home", tmp_path).problem


def test_a_home_that_cannot_be_made_is_one_line_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert str(tmp_path / "file" / "home") in token_analytics("run", "--home", tmp_path / "file" / "home").problem


@pytest.mark.parametrize("name", ["a*", "is it?", "[x]", "100%25", "$HOME", "{{x}}", "a\nb"])
@pytest.mark.parametrize("command", ["run", "ui"])
def test_a_home_whose_path_dagster_takes_for_a_pattern_is_refused_in_one_line(
    tmp_path: Path, command: str, name: str
) -> None:
    land(tmp_path / name, *CONSOLE_FILES)
    done = token_analytics(command, "--home", tmp_path / name)
    assert " ".join(f"{tmp_path / name}".split()) in done.problem
    assert "has none of * ? [ % $ {" in done.problem
    assert not list(tmp_path.glob("*/dagster/*")), "nothing is written before"


@pytest.mark.parametrize("command", [["status"], ["show", "daily"], ["query", "SELECT 1"], ["validate"]])
def test_where_nothing_is_published_one_line_says_how_to_publish(tmp_path: Path, command: list[str]) -> None:
    problem = token_analytics(*command, "--home", tmp_path).problem
    assert f"token-analytics run --home {tmp_path}" in problem


def test_a_published_file_that_is_no_database_is_one_line_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "token_analytics.duckdb").write_text("not a database at all")
    assert str(tmp_path / "token_analytics.duckdb") in token_analytics("show", "daily", "--home", tmp_path).problem


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('budget_usd = "much"', "budget_usd"),
        ("budget = 100", "budget"),
        ('customer_dimension = "planet"', "customer_dimension"),
        ("budget_usd = ", "token_analytics.toml"),
    ],
)
def test_a_wrong_line_in_the_settings_file_is_named(tmp_path: Path, text: str, named: str) -> None:
    (tmp_path / "token_analytics.toml").write_text(text)
    assert named in token_analytics("run", "--home", tmp_path).problem


@pytest.mark.parametrize(
    ("text", "nearest"),
    [
        ("bugdet_usd = 5", "budget_usd"),
        ("[pull]\ndayz = 3", "pull.days"),
        ("[pull.anthropic]\nbaseurl = ''", "pull.anthropic.base_url"),
        ("[quotes.big]\nfee = 3", "quotes.big.fee_usd"),
    ],
)
def test_a_misspelt_setting_stops_a_run_and_the_nearest_one_is_named(tmp_path: Path, text: str, nearest: str) -> None:
    (tmp_path / "token_analytics.toml").write_text(text)
    assert f"did you mean {nearest}?" in token_analytics("run", "--home", tmp_path).problem


def test_a_misspelt_setting_in_the_environment_stops_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN_ANALYTICS_BUGET_USD", "5")
    problem = token_analytics("run", "--home", tmp_path).problem
    assert "TOKEN_ANALYTICS_BUGET_USD" in problem
    assert "did you mean budget_usd?" in problem


@pytest.mark.parametrize("command", [["run"], ["validate"], ["show", "daily"], ["quote", "list"], ["forget", "x"]])
def test_a_misspelt_home_is_named_and_leaves_nothing_behind(tmp_path: Path, command: list[str]) -> None:
    assert str(tmp_path / "typo") in token_analytics(*command, "--home", tmp_path / "typo").problem
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_any_data_is_no_home_and_stays_as_it_was(tmp_path: Path) -> None:
    assert str(tmp_path / "landing") in token_analytics("run", "--home", tmp_path).problem
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("variable", "value"),
    [("SEED", "-1"), ("MEMORY_LIMIT", "plenty"), ("BUDGET_USD", "0"), ("MAX_REJECTED_SHARE", "5")],
)
def test_a_wrong_variable_of_the_environment_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(f"TOKEN_ANALYTICS_{variable}", value)
    assert f"TOKEN_ANALYTICS_{variable}" in token_analytics("run", "--home", tmp_path).problem


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["close", "9999-12"], "9999-12 is not over yet"),
        (["drain"], "TOKEN_ANALYTICS_STREAM_URL is no URL"),
    ],
)
def test_an_argument_or_address_that_cannot_be_is_one_line(
    console_run: Done, console_home: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], named: str
) -> None:
    monkeypatch.setenv("TOKEN_ANALYTICS_STREAM_URL", "redis://localhost:1/0?foo=bar")
    assert named in token_analytics(*arguments, "--home", console_home).problem


def test_a_settings_file_in_another_encoding_is_named(tmp_path: Path) -> None:
    (tmp_path / "token_analytics.toml").write_bytes(b"# cl\xe9\nseed = 1\n")
    assert "token_analytics.toml is not valid UTF-8" in token_analytics("run", "--home", tmp_path).problem


def test_a_file_that_may_not_be_used_is_named_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(tmp_path / "warehouse.lock"))

    land(tmp_path, *CONSOLE_FILES)
    monkeypatch.setattr("pipeline.store.warehouse.os.open", refuse)
    problem = token_analytics("run", "--home", tmp_path).problem
    assert problem == f"token-analytics: cannot use {tmp_path}/warehouse.lock: Permission denied"


def test_a_fault_of_the_program_is_one_line_without_what_it_was_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise LookupError("what somebody wrote")

    monkeypatch.setattr("pipeline.settings.load", fail)
    problem = token_analytics("status", "--home", tmp_path).problem
    assert "LookupError in pipeline/cli/answers.py, line " in problem
    assert "what somebody wrote" not in problem


def test_a_published_file_of_another_version_is_one_line_that_says_what_to_do(tmp_path: Path) -> None:
    duckdb.connect(str(tmp_path / "token_analytics.duckdb")).close()
    assert "`token-analytics run` rewrites it" in token_analytics("show", "daily", "--home", tmp_path).problem


# --------------------------------------------------------------------------------------------------------- run


def test_a_run_tells_its_stages_in_plain_lines_and_ends_with_what_came_out(
    console_run: Done, console_home: Path
) -> None:
    assert console_run.code == 0
    assert [line.split(" (")[0] for line in console_run.err.splitlines()] == STAGES
    assert [line.split()[0] for line in console_run.out.splitlines()] == [
        "Files", "Usage", "Bill", "Checks", "Query", "Pages", "Validation", "Tables", "Stages", "stage", *MEASURED,
    ]  # fmt: skip
    assert str(console_home / "token_analytics.duckdb") in console_run.out
    assert "\x1b" not in console_run.out + console_run.err


def test_a_run_with_json_writes_json_and_nothing_else(sample_run: Done, sample_home: Path) -> None:
    assert (sample_run.code, sample_run.err) == (0, "")
    summary = json.loads(sample_run.out)
    assert summary["succeeded"] is True
    assert summary["failed_stages"] == summary["errors"] == []
    assert Path(summary["database"]) == sample_home / "token_analytics.duckdb"
    assert Path(summary["report"]).is_file()
    assert all(check["passed"] for check in summary["checks"] if check["blocking"])


def test_what_the_stages_of_a_run_cost_adds_up_to_the_run_and_is_published(sample_run: Done, sample_home: Path) -> None:
    summary = json.loads(sample_run.out)
    costs = {cost["stage"]: cost for cost in summary["stages"]}
    assert list(costs) == MEASURED
    assert sum(cost["seconds"] for cost in costs.values()) == pytest.approx(summary["seconds"], rel=0.5)
    assert all(cost["cpu_seconds"] > 0 and cost["peak_mb"] > 50 for cost in costs.values())
    assert costs["landing"]["rows"] == summary["landing"]["rows_read"]
    query = "SELECT stage, seconds, cpu_seconds, peak_mb, rows, run_id FROM ingest.run_stages"
    stored = json.loads(token_analytics("query", query, "--json", "--home", sample_home).out)
    # Publishing copies this table before it ends, and the pages show what was published.
    assert [row["stage"] for row in stored] == MEASURED[:-1]
    assert len({row["run_id"] for row in stored}) == 1
    for row in stored[:-1]:
        assert row["seconds"] == pytest.approx(costs[row["stage"]]["seconds"], abs=0.001)
        assert row["rows"] == costs[row["stage"]]["rows"]


def test_the_summary_shows_every_token_of_the_sample(sample_run: Done) -> None:
    shown = {usage["source"]: usage["total_tokens"] for usage in json.loads(sample_run.out)["usage"]}
    months = EXPECTED["console"]["months"].values()
    assert shown["console"] == sum(model["total_tokens"] for month in months for model in month.values())


def test_a_second_run_changes_no_row_of_any_published_table(sample_run: Done, sample_home: Path) -> None:
    before = _everything(sample_home)
    again = token_analytics("run", "--json", "--home", sample_home)
    assert again.code == 0
    landing = json.loads(again.out)["landing"]
    assert (landing["files_loaded"], landing["rows_loaded"]) == (0, 0)
    after = _everything(sample_home)
    assert before.keys() == after.keys()
    assert [name for name in before if before[name] != after[name]] == []
    # No month is closed.
    assert before.pop("analysis.restatements") == []
    assert min(len(rows) for name, rows in before.items() if name.startswith("analysis.")) > 0


def test_what_a_run_leaves_is_for_its_user_only(console_run: Done, console_home: Path) -> None:
    made = [path for name in console_home.iterdir() if name.name != "landing" for path in (name, *name.rglob("*"))]
    assert len(made) > 30
    assert [str(path) for path in made if path.stat().st_mode & 0o077] == []


def _everything(home: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Everything published, except the time at which this copy of the landing was made."""
    columns = "COLUMNS(lambda name: name <> 'changed_ns')"
    with duckdb.connect(str(home / "token_analytics.duckdb"), read_only=True) as connection:
        names = connection.execute("SELECT schema_name || '.' || table_name FROM duckdb_tables()").fetchall()
        return {
            name: sorted(connection.execute(f"SELECT {columns} FROM {name}").fetchall(), key=repr) for (name,) in names
        }


def test_a_full_refresh_gives_the_same_rows_again_without_reading_a_file(small_home: Path) -> None:
    (small_home / "landing" / "cost.csv").unlink()
    before = _numbers(small_home)
    # Kept results of earlier computations are not used.
    with duckdb.connect(str(small_home / "warehouse.duckdb")) as connection:
        connection.execute("UPDATE scope.results SET result = 'damaged'")
    done = token_analytics("run", "--full-refresh", "--json", "--home", small_home)
    landing = json.loads(done.out)["landing"]
    assert (done.code, landing["files_loaded"], landing["rows_read"]) == (0, 0, 0)
    assert _numbers(small_home) == before
    with duckdb.connect(str(small_home / "warehouse.duckdb")) as connection:
        kept = connection.execute("SELECT count(*), count(*) FILTER (result = 'damaged') FROM scope.results").fetchall()
    assert kept[0][0] > 0 == kept[0][1]


# ---------------------------------------------------------------------------------------------- forget and retry


def test_a_forgotten_file_leaves_the_marts_and_is_not_loaded_again(small_home: Path) -> None:
    done = token_analytics("forget", "landing/january.csv", "--home", small_home)
    assert (done.code, done.err.splitlines()[0]) == (0, "Forgotten: landing/january.csv")
    assert days(small_home) == {"2026-02-01": 100, "2026-02-03": 300}
    assert answer(small_home, "SELECT path FROM ingest.files WHERE status = 'forgotten'") == [
        {"path": "landing/january.csv"}
    ]


def test_usage_before_a_forgotten_day_leaves_the_marts(small_home: Path) -> None:
    done = token_analytics("forget", "--before", "2026-01-03", "--json", "--home", small_home)
    assert (done.code, json.loads(done.out)["succeeded"]) == (0, True)
    assert days(small_home) == {"2026-01-03": 30, "2026-02-01": 100, "2026-02-03": 300}


@pytest.mark.parametrize(
    "arguments", [[], ["landing/january.csv", "--before", "2026-01-03"], ["landing/unknown.csv"], ["--before", "soon"]]
)
def test_what_cannot_be_forgotten_changes_nothing(small_run: Path, arguments: list[str]) -> None:
    done = token_analytics("forget", *arguments, "--home", small_run)
    assert (done.code, done.out) == (2, "")
    assert len(days(small_run)) == 5


def test_after_a_new_version_another_try_loads_what_it_can_and_publishes_it(small_home: Path) -> None:
    assert answer(small_home, "SELECT count(*) AS n FROM marts.billed_costs") == [{"n": 0}]
    done = token_analytics("retry-rejected", "--home", small_home)
    assert (done.code, done.err.splitlines()[:2]) == (
        0,
        [
            "landing/cost.csv: was unrecognised, is now loaded with 0 rejected rows",
            "2 files with the same result as before",
        ],
    )
    assert answer(small_home, "SELECT cost_usd FROM marts.billed_costs") == [{"cost_usd": "1.25"}]
    assert len(days(small_home)) == 5


def test_more_rejected_rows_than_allowed_are_not_published_and_the_file_is_named(
    small_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = days(small_home)
    march = usage_csv("2026-03", *["many"] * 10, *range(10))
    (small_home / "landing" / "march.csv").write_text(march)
    monkeypatch.setenv("TOKEN_ANALYTICS_MAX_REJECTED_SHARE", "0.45")
    done = token_analytics("run", "--home", small_home)
    assert done.code == 1
    (named,) = (line for line in done.out.splitlines() if line.strip().startswith("rejected_threshold: "))
    assert named.endswith("max_rejected_share: landing/march.csv (50.0%)")
    assert days(small_home) == before


def test_a_limit_can_be_tried_on_what_is_published(small_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert token_analytics("validate", "--home", small_run).code == 0
    monkeypatch.setenv("TOKEN_ANALYTICS_MAX_REJECTED_SHARE", "0.1")
    done = token_analytics("validate", "--home", small_run)
    assert done.code == 1
    assert "max_rejected_share: all files (16.7%)" in done.out


def _numbers(home: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Marts and analysis, without columns on the previous run and the record of earlier runs' checks."""
    columns = "COLUMNS(lambda name: name NOT IN ('previous_verdict', 'verdict_changed'))"
    with duckdb.connect(str(home / "token_analytics.duckdb"), read_only=True) as connection:
        names = connection.execute(
            "SELECT schema_name || '.' || table_name FROM duckdb_tables() "
            "WHERE schema_name <> 'ingest' AND table_name <> 'validation_results'"
        ).fetchall()
        return {
            name: sorted(connection.execute(f"SELECT {columns} FROM {name}").fetchall(), key=repr) for (name,) in names
        }


# ------------------------------------------------------------------------------------------------ show and status


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_answers_on_every_kind_of_landing(any_home: Path, view: str) -> None:
    table = token_analytics("show", view, "--home", any_home)
    assert (table.code, table.err) == (0, "")
    title = table.out.splitlines()[0]
    assert title[0].isupper()
    rows = json.loads(token_analytics("show", view, "--json", "--home", any_home).out)
    assert isinstance(rows, list)
    minor = re.search("^-- minor: (.*)$", query_of(f"cli/show/{view}", bridge="analysis.month_bridge"), re.MULTILINE)
    assert not rows or not minor or set(minor[1].split(", ")) <= set(rows[0]), "these are columns"
    assert ("no rows: the landed files don't contain this" in table.out) == (rows == [])


@pytest.mark.parametrize("view", ["daily", "models", "cache", "tails", "forecast", "pricing", "savings"])
def test_these_views_have_rows_whatever_was_landed(any_home: Path, view: str) -> None:
    assert json.loads(token_analytics("show", view, "--json", "--home", any_home).out) != []


def test_a_run_writes_the_pages_and_show_says_what_they_say(sample_run: Done, sample_home: Path) -> None:
    entrance = Path(json.loads(sample_run.out)["pages"])
    shown = token_analytics("show", "reconciliation", "--home", sample_home).out
    billed, explained = re.search(r"^Of (\$\S+) billed, the logs explain (\$[\d,.]+\d)", shown, re.MULTILINE).groups()
    largest_gap = re.search(r"^\d{4}-\d\d-\d\d, .*?: (.*)$", shown, re.MULTILINE)[1]
    page = entrance.parent / "bill.html"
    bill = html.unescape(page.read_text(encoding="utf-8"))
    assert f"{explained} of {billed} is accounted for" in bill
    assert largest_gap in bill
    assert str(page) in shown
    for title in ("From what was logged to the bill", "Coverage by key", "Coverage by model", "Coverage by day"):
        assert title in shown
    text = html.unescape(entrance.read_text(encoding="utf-8"))
    for sentence in ("November 2025 cost $283.74", "December 2025 is expected to cost $"):
        assert sentence in text


def test_show_bridge_tells_one_month_and_its_two_bills(sample_run: Done, sample_home: Path) -> None:
    shown = json.loads(token_analytics("show", "bridge", "2025-10", "--json", "--home", sample_home).out)
    whole = [line for line in shown if line["segment"] == "all"]
    usd = {line["term"]: Decimal(str(line["usd"])) for line in whole}
    before, after = usd.pop("bill of the month before"), usd.pop("bill of the month")
    assert len(usd) == 13
    assert sum(usd.values()) == after - before
    assert usd["list price"] == 0
    assert usd["long context"] != 0
    assert "October 2025 held 22 October ($110.30) of its $333.00." in " ".join(
        token_analytics("show", "bridge", "2025-11", "--home", sample_home).out.split()
    )
    assert "there are 2025-08" in token_analytics("show", "bridge", "2031-01", "--home", sample_home).problem
    assert "is no month" in token_analytics("show", "bridge", "tomorrow", "--home", sample_home).problem
    assert "this view has no months" in token_analytics("show", "daily", "2025-10", "--home", sample_home).problem


def test_show_bridge_joins_any_two_periods(sample_run: Done, sample_home: Path) -> None:
    def bridged(*periods: str) -> dict[str, Decimal]:
        answer = token_analytics("show", "bridge", *periods, "--json", "--home", sample_home)
        return {line["term"]: Decimal(line["usd"]) for line in json.loads(answer.out) if line["segment"] == "all"}

    assert bridged("--from", "2025-09", "--to", "2025-10") == bridged("2025-10")
    weeks = bridged("--from", "2025-08", "--to", "2025-11-03..2025-11-09")
    before, after = weeks.pop("bill of 2025-08-01..2025-08-31"), weeks.pop("bill of 2025-11-03..2025-11-09")
    assert sum(weeks.values()) == after - before
    for arguments, problem in (
        (["bridge", "--from", "2025-09"], "belong together"),
        (["daily", "--from", "2025-09", "--to", "2025-10"], "to show bridge"),
        (["bridge", "2025-09", "--from", "2025-09", "--to", "2025-10"], "or two periods"),
        (["bridge", "--from", "2025-09", "--to", "soon"], "'soon' is no period"),
    ):
        assert problem in token_analytics("show", *arguments, "--home", sample_home).problem


def test_show_prints_30_rows_and_says_how_to_see_all(sample_run: Done, sample_home: Path) -> None:
    rows = json.loads(token_analytics("show", "daily", "--json", "--home", sample_home).out)
    shown = token_analytics("show", "daily", "--home", sample_home).out.splitlines()
    everything = token_analytics("show", "daily", "--limit", "0", "--home", sample_home).out.splitlines()
    assert shown[-1].startswith(f"30 of {len(rows)} rows")
    assert (len(shown), len(everything)) == (30 + 3, len(rows) + 2)


def test_status_lists_what_was_not_loaded_and_why(sample_run: Done, sample_home: Path) -> None:
    found = json.loads(token_analytics("status", "--json", "--home", sample_home).out)
    assert [row["path"] for row in found["problems"] if row["path"].endswith("notes.txt")] == ["landing/notes.txt"]
    assert all(row["message"] for row in found["problems"])
    assert "notes.txt" in token_analytics("status", "--home", sample_home).out


def test_status_groups_rejected_rows_by_their_reason(sample_run: Done, sample_home: Path) -> None:
    found = json.loads(token_analytics("status", "--rejected", "--json", "--home", sample_home).out)["rejected"]
    ((rejected,),) = (row.values() for row in answer(sample_home, "SELECT count(*) AS n FROM ingest.rejected_rows"))
    assert sum(row["rows"] for row in found) == rejected > 0
    assert all(row["reason"] and row["example_path"] and row["example_line"] for row in found)
    table = token_analytics("status", "--rejected", "--home", sample_home)
    assert (table.code, found[0]["reason"] in table.out) == (0, True)
    assert table.out.splitlines()[-1].startswith(f"{rejected:,} of ")


def test_status_says_so_where_nothing_was_rejected(console_run: Done, console_home: Path) -> None:
    assert token_analytics("status", "--rejected", "--home", console_home).out == "rejected: none\n"


# ------------------------------------------------------------------------------------------------------- query


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO marts.daily_usage SELECT * FROM marts.daily_usage",
        "DROP TABLE marts.requests",
        "SELEC 1",
        "COPY marts.daily_usage TO '{home}/token_analytics.duckdb'",
        "COPY marts.daily_usage TO '{home}/token_analytics.duckdb' (use_tmp_file false)",
        "COPY marts.daily_usage TO '{home}/token_analytics.duckdb.wal'",
        "COPY marts.daily_usage TO '{home}/out.csv'",
        "EXPLAIN ANALYZE COPY marts.daily_usage TO '{home}/token_analytics.duckdb.wal'",
        "/* a */ EXPLAIN (ANALYZE) COPY marts.daily_usage TO '{home}/token_analytics.duckdb.wal'",
        "FROM marts.daily_usage; PREPARE a AS COPY marts.daily_usage TO '{home}/token_analytics.duckdb.wal'; EXECUTE a",
        "ATTACH '{home}/other.duckdb'",
        "EXPORT DATABASE '{home}/out'",
        "IMPORT DATABASE '{home}/out'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "FROM read_text('{home}/token_analytics.toml')",
        "FROM '{home}/landing/console/claude_api_tokens_2025_07.csv'",
        "FROM glob('{home}/*')",
        "FROM settings",
    ],
)
def test_a_query_that_does_more_than_read_what_is_published_fails_in_one_line(
    console_run: Done, console_home: Path, sql: str
) -> None:
    published = console_home / "token_analytics.duckdb"
    (console_home / "token_analytics.toml").touch()
    before = published.read_bytes(), sorted(console_home.iterdir())
    problem = token_analytics("query", sql.format(home=console_home), "--home", console_home).problem
    assert problem.startswith("token-analytics: query: ")
    assert (published.read_bytes(), sorted(console_home.iterdir())) == before


@pytest.mark.parametrize(
    "sql",
    [
        "DESCRIBE marts.daily_usage",
        "SHOW ALL TABLES",
        "SUMMARIZE marts.daily_usage",
        "WITH days AS (FROM marts.daily_usage) FROM days",
        "PIVOT marts.daily_usage ON source USING sum(total_tokens) GROUP BY usage_date",
        "EXPLAIN ANALYZE FROM marts.daily_usage",
        "/* why */ EXPLAIN FROM marts.daily_usage",
        "VALUES (1)",
    ],
)
def test_every_way_to_ask_is_a_query(console_run: Done, console_home: Path, sql: str) -> None:
    assert token_analytics("query", sql, "--home", console_home).code == 0


def test_what_would_steer_a_terminal_is_shown_spelled_out(console_run: Done, console_home: Path) -> None:
    steering = "'a' || chr(27) || ']0;title' || chr(7) || chr(155) || '31m' || chr(8238) || chr(10) || 'b'"
    done = token_analytics("query", f"SELECT {steering} AS text", "--home", console_home)
    assert "a\\x1b]0;title\\x07\\x9b31m\\u202e\\nb" in done.out
    name = "\x1b[31mred\x07"
    assert repr(name)[1:-1] in token_analytics("query", f'SELECT "{name}"', "--home", console_home).problem
    assert repr(name)[1:-1] in token_analytics("forget", name, "--home", console_home).problem


def test_a_csv_cell_never_begins_like_a_formula(console_run: Done, console_home: Path) -> None:
    sql = """SELECT '=1+1' AS "=head", '+1' AS b, '-1' AS c, '@x' AS d, 'plain' AS e, -5 AS f, -0.5 AS g"""
    head, row = csv.reader(io.StringIO(answer(console_home, sql, "--format", "csv")))
    assert head == ["'=head", "b", "c", "d", "e", "f", "g"]
    assert row == ["'=1+1", "'+1", "'-1", "'@x", "plain", "-5", "-0.5"]


def test_a_csv_without_rows_still_has_its_header(console_run: Done, console_home: Path) -> None:
    assert answer(console_home, "SELECT 1 AS a, 2 AS b WHERE false", "--format", "csv") == "a,b\n"


@settings(max_examples=40, deadline=None)
@given(value=st.decimals(min_value=-(10**25), max_value=10**25, places=12))
def test_money_is_exact_in_json_and_csv_and_has_no_exponent(
    console_run: Done, console_home: Path, value: Decimal
) -> None:
    sql = f"SELECT '{value:f}'::DECIMAL(38, 12) AS money"
    in_json = answer(console_home, sql)[0]["money"]
    in_csv = answer(console_home, sql, "--format", "csv").splitlines()[1]
    assert Decimal(in_json) == Decimal(in_csv) == value
    assert in_json == in_csv
    assert not set(in_json) - set("-.0123456789")


def test_json_has_neither_nan_nor_lost_columns_nor_guessed_types(console_run: Done, console_home: Path) -> None:
    sql = """SELECT 'nan'::DOUBLE AS x, 1 AS x, 'inf'::DOUBLE AS y, DATE '2026-02-17' AS d,
        TIMESTAMP '2026-02-17 10:00' AS t, true AS b, NULL AS n, [1.5::DECIMAL(4, 2)] AS l"""
    assert answer(console_home, sql) == [
        {
            "x": None, "x_1": 1, "y": None, "d": "2026-02-17", "t": "2026-02-17T10:00:00", "b": True, "n": None,
            "l": ["1.5"],
        }
    ]  # fmt: skip


# ---------------------------------------------------------------------------------------------------- validate


def test_validating_sound_marts_ends_with_0_and_a_report(console_run: Done, console_home: Path) -> None:
    done = token_analytics("validate", "--json", "--home", console_home)
    found = json.loads(done.out)
    assert (done.code, done.err) == (0, "")
    assert Path(found["report"]).read_text().startswith("<!")
    assert {suite["status"] for suite in found["suites"]} <= {"passed", "nothing to check", "failed"}
    assert [suite for suite in found["suites"] if suite["severity"] == "blocking" and suite["status"] == "failed"] == []


def test_validating_broken_marts_ends_with_1_and_the_names_of_the_laws(
    console_run: Done, console_home: Path, tmp_path: Path
) -> None:
    shutil.copy(console_home / "token_analytics.duckdb", tmp_path)
    with duckdb.connect(str(tmp_path / "token_analytics.duckdb")) as connection:
        connection.execute(
            "UPDATE marts.token_usage_minutes SET output_tokens = -1 WHERE output_tokens = 0 OR rowid = 0"
        )
    done = token_analytics("validate", "--home", tmp_path)
    assert done.code == 1
    assert "no_negative_tokens" in done.out


# ------------------------------------------------------------------------------------------------------------ quotes


def test_a_quote_is_kept_in_the_home_answered_at_once_and_removed(sample_run: Done, sample_home: Path) -> None:
    terms = ("--commitment-usd", "250", "--discount", "0.15")
    try:
        added = token_analytics("quote", "add", 'the "big" one', *terms, "--home", sample_home)
        assert added.code == 0
        assert "months) usage cost" in added.out
        assert "cheaper if a month's usage at list prices is above $212.50" in added.out
        stored = product_settings.load(sample_home).quotes['the "big" one']
        assert (stored.commitment_usd, stored.discount) == (250, 0.15)
        (row,) = json.loads(token_analytics("quote", "list", "--json", "--home", sample_home).out)
        assert row["break_even_usd"] == 212.5
    finally:
        removed = token_analytics("quote", "remove", 'the "big" one', "--home", sample_home)
    assert removed.code == 0
    assert product_settings.load(sample_home).quotes == {}


def test_a_quote_without_terms_or_with_impossible_ones_is_one_clear_line(tmp_path: Path) -> None:
    for arguments in (
        ("add", "a"),
        ("add", "a", "--discount", "2"),
        ("add", "bundle", "--fee-usd", "2"),
        ("remove", "a"),
    ):
        done = token_analytics("quote", *arguments, "--home", tmp_path)
        assert done.code == 2
        assert len(done.err.splitlines()) == 1
    assert not (tmp_path / "quotes.toml").exists()


def test_show_pricing_begins_with_the_quotes_and_the_recommendation(sample_run: Done, sample_home: Path) -> None:
    lines = token_analytics("show", "pricing", "--home", sample_home).out.splitlines()
    assert lines[0].startswith("Your quotes")
    assert "token-analytics quote add" in lines[1]
    assert any("the cheapest way to remove 75% of the variance of a month" in line for line in lines[2:10])


# ----------------------------------------------------------------------------------------------------- savings


def test_what_the_sample_wastes_is_listed_to_the_cent_and_every_row_has_a_query_that_gives_it(
    sample_run: Done, sample_home: Path
) -> None:
    expected = json.loads((SAMPLE.parent / "expected.json").read_text(encoding="utf-8"))["savings"]
    rows = json.loads(token_analytics("show", "savings", "--json", "--home", sample_home).out)
    ranked = [row for row in rows if row["rank"] is not None]
    found = {(row["kind"], row["subject"].split(",")[0]): row["observed_saving_usd"] for row in ranked}
    for planted in expected:
        if Decimal(planted["observed_usd"]) == 0:  # no rule saves what only hindsight would
            assert (planted["kind"], f"api_key={planted['api_key']}") not in found
            continue
        assert found[planted["kind"], f"api_key={planted['api_key']}"] == planted["observed_usd"]
    for row in ranked:
        (again,) = answer(sample_home, row["sql"])
        assert again["observed_saving_usd"] == row["observed_saving_usd"]
        assert abs(Decimal(again["saving_usd_per_month"]) - Decimal(row["saving_usd_per_month"])) < Decimal("0.00001")
    assert {row["kind"] for row in rows if row["rank"] is None} == {"unavailable", "would_cost_more"}
    (left,) = [row for row in rows if row["kind"] == "unavailable"]
    assert "only sessions, minutes or days are known" in left["evidence"]
    stored = duckdb.read_parquet(str(sample_home / "outputs" / "recommendations.parquet"))
    assert len(stored.fetchall()) == len(rows)


def test_show_savings_ends_with_what_they_come_to_together(sample_run: Done, sample_home: Path) -> None:
    lines = token_analytics("show", "savings", "--limit", "2", "--home", sample_home).out.splitlines()
    (together,) = [line for line in lines if line.startswith("Together")]
    assert "no request counted twice (2 of " in together
    assert any(line.startswith("unavailable: Logs of single requests hold") for line in lines)


def test_a_question_that_cannot_be_answered_stops_the_run_and_leaves_what_was_published(small_home: Path) -> None:
    before = days(small_home)
    (small_home / "landing" / "march.csv").write_text(usage_csv("2026-03", 7))
    (small_home / "token_analytics.toml").write_text(
        '[what_if.cheaper]\nmodels = { "claude-opus-4-5" = "claude-haiku-4-5" }\n'
    )
    done = token_analytics("run", "--home", small_home)
    assert (done.code, done.out) == (2, "")
    assert "what_if.cheaper: " in done.err
    assert "claude-opus-4-5 was never used" in done.err
    assert days(small_home) == before
