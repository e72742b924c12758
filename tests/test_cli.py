"""The command line: exit codes, what stands on which output, tables for people and JSON for machines.

Belongs here: `token-analytics` as people and scripts call it, on homes that its own runs filled. Does not belong here:
what the numbers are (test_models, test_sample), and locks and files (test_warehouse).
"""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
from commands import CONSOLE_FILES, ENVIRONMENT, SAMPLE, SESSION_FILES, Done, command_line, land, token_analytics
from hypothesis import given, settings
from hypothesis import strategies as st

COMMANDS = ("run", "status", "show", "query", "ui", "validate")
VIEWS = ("daily", "models", "cache", "sessions", "reconciliation", "tails", "pricing", "savings")
EXPECTED = json.loads((SAMPLE.parent / "expected.json").read_text())
STAGES = [
    "Loading files",
    "Preparing the rate card",
    "Building marts",
    "Validating",
    "Fitting distributions",
    "Pricing contracts",
    "Publishing",
]


@pytest.fixture(scope="module")
def console_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Console exports and nothing else."""
    return land(tmp_path_factory.mktemp("console") / "home", *CONSOLE_FILES)


@pytest.fixture(scope="module")
def console_run(console_home: Path) -> Done:
    return token_analytics("run", "--home", console_home)


@pytest.fixture(scope="module")
def sessions_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Logs and nothing else."""
    home = land(tmp_path_factory.mktemp("sessions") / "home", *SESSION_FILES)
    assert token_analytics("run", "--home", home).code == 0
    return home


@pytest.fixture(scope="module")
def sample_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole sample."""
    return land(tmp_path_factory.mktemp("sample") / "home")


@pytest.fixture(scope="module")
def sample_run(sample_home: Path) -> Done:
    """A first run with --json, as a process of its own."""
    command = command_line("run", "--json", "--home", sample_home)
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=300, check=False)
    return Done(done.returncode, done.stdout, done.stderr)


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
    done = token_analytics(command, "--help")
    assert (done.code, done.err) == (0, "")
    assert "--home" in done.out
    assert "TOKEN_ANALYTICS_HOME" in done.out


def test_an_unknown_view_is_refused_with_the_known_ones() -> None:
    done = token_analytics("show", "weekly")
    assert done.code == 2
    assert [view for view in VIEWS if view not in done.err] == []


# ------------------------------------------------------------------------------------- what cannot be worked with


def test_an_empty_landing_is_one_line_that_names_the_folder(tmp_path: Path) -> None:
    (tmp_path / "landing").mkdir()
    assert str(tmp_path / "landing") in token_analytics("run", "--home", tmp_path).problem


def test_a_home_that_cannot_be_made_is_one_line_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert str(tmp_path / "file" / "home") in token_analytics("run", "--home", tmp_path / "file" / "home").problem


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


@pytest.mark.parametrize(("variable", "value"), [("SEED", "-1"), ("MEMORY_LIMIT", "plenty"), ("BUDGET_USD", "0")])
def test_a_wrong_variable_of_the_environment_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(f"TOKEN_ANALYTICS_{variable}", value)
    assert f"TOKEN_ANALYTICS_{variable}" in token_analytics("run", "--home", tmp_path).problem


# --------------------------------------------------------------------------------------------------------- run


def test_a_run_tells_its_stages_in_plain_lines_and_ends_with_what_came_out(
    console_run: Done, console_home: Path
) -> None:
    assert console_run.code == 0
    assert [line.split(" (")[0] for line in console_run.err.splitlines()] == STAGES
    assert [line.split()[0] for line in console_run.out.splitlines()] == [
        "Files", "Usage", "Bill", "Checks", "Query", "Report", "Tables",
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
    assert min(len(rows) for name, rows in before.items() if name.startswith("analysis.")) > 0


def test_what_a_run_leaves_is_for_its_user_only(console_run: Done, console_home: Path) -> None:
    made = [path for name in console_home.iterdir() if name.name != "landing" for path in (name, *name.rglob("*"))]
    assert len(made) > 30
    assert [str(path) for path in made if path.stat().st_mode & 0o077] == []


def _everything(home: Path) -> dict[str, list[tuple[Any, ...]]]:
    with duckdb.connect(str(home / "token_analytics.duckdb"), read_only=True) as connection:
        names = connection.execute("SELECT schema_name || '.' || table_name FROM duckdb_tables()").fetchall()
        return {name: sorted(connection.execute(f"FROM {name}").fetchall(), key=repr) for (name,) in names}


# ------------------------------------------------------------------------------------------------ show and status


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_answers_on_every_kind_of_landing(any_home: Path, view: str) -> None:
    table = token_analytics("show", view, "--home", any_home)
    assert (table.code, table.err) == (0, "")
    title = table.out.splitlines()[0]
    assert title[0].isupper()
    rows = json.loads(token_analytics("show", view, "--json", "--home", any_home).out)
    assert isinstance(rows, list)
    assert ("no rows: the files in landing do not tell" in table.out) == (rows == [])


@pytest.mark.parametrize("view", ["daily", "models", "cache", "tails", "pricing", "savings"])
def test_these_views_have_rows_whatever_was_landed(any_home: Path, view: str) -> None:
    assert json.loads(token_analytics("show", view, "--json", "--home", any_home).out) != []


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


def test_status_says_so_where_nothing_was_rejected(console_run: Done, console_home: Path) -> None:
    assert token_analytics("status", "--rejected", "--home", console_home).out == "rejected: none\n"


# ------------------------------------------------------------------------------------------------------- query


@pytest.mark.parametrize(
    "sql", ["INSERT INTO marts.daily_usage SELECT * FROM marts.daily_usage", "DROP TABLE marts.requests", "SELEC 1"]
)
def test_a_query_that_writes_or_is_none_fails_in_one_line(console_run: Done, console_home: Path, sql: str) -> None:
    assert token_analytics("query", sql, "--home", console_home).problem.startswith("token-analytics: query: ")


def test_a_csv_cell_never_begins_like_a_formula(console_run: Done, console_home: Path) -> None:
    sql = """SELECT '=1+1' AS "=head", '+1' AS b, '-1' AS c, '@x' AS d, 'plain' AS e, -5 AS f, -0.5 AS g"""
    head, row = csv.reader(io.StringIO(answer(console_home, sql, "--format", "csv")))
    assert head == ["'=head", "b", "c", "d", "e", "f", "g"]
    assert row == ["'=1+1", "'+1", "'-1", "'@x", "plain", "-5", "-0.5"]


def test_a_csv_without_rows_still_has_its_header(console_run: Done, console_home: Path) -> None:
    assert answer(console_home, "SELECT 1 AS a, 2 AS b WHERE false", "--format", "csv") == "a,b\n"


@settings(max_examples=40)
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
