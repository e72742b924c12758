"""The reconciliation of usage, logs and bill of made-up accounts, and its report.

Belongs here: cells by way of all models from int_reconciliation on, the scope of logs, sessions across midnight, wrong
rates, subscriptions, the report. Does not belong here: single models (dbt_project) and real exports (test_real_data).
"""

from __future__ import annotations

import json
import random
import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rows import USAGE_HEAD

from pipeline import settings as settings_module
from pipeline.reference import tables
from pipeline.settings import ConfigurationError
from pipeline.store import warehouse
from pipeline.views import reconciled

MART = "marts.usage_reconciliation"
HAIKU, SONNET = "claude-haiku-4-5-20251001", "claude-sonnet-4-5-20250929"
DISPLAY = {HAIKU: "Claude Haiku 4.5", SONNET: "Claude Sonnet 4.5"}
# USD per million tokens of input and output: the list prices.
RATES = {(HAIKU, "input_no_cache"): 1, (HAIKU, "output"): 5, (SONNET, "input_no_cache"): 3, (SONNET, "output"): 15}
MODEL = {HAIKU: "claude-haiku-4-5", SONNET: "claude-sonnet-4-5"}
COST_HEAD = "usage_date_utc,model,workspace,api_key,usage_type,context_window,token_type,cost_usd,cost_type"
SESSION_HEAD = (
    "session_id,user_id,session_started_at,last_updated_at,model,input_tokens,output_tokens,cache_read_tokens,"
    "cache_creation_tokens,api_key,workspace"
)
OVERRIDES_HEAD = (
    "model,token_kind,context_window,usage_type,inference_geo,speed,valid_from,usd_per_mtok,multiplier,valid_to"
)


def usage(*rows: tuple[str, str, str, int, int]) -> str:
    """Rows of day, model, key, input and output."""
    lines = [f"{day},{model},{key},Default,standard,≤ 200k,{i},0,0,0,{o},0" for day, model, key, i, o in rows]
    return "\n".join([USAGE_HEAD, *lines]) + "\n"


def costs(*rows: tuple[str, str, str, str, str]) -> str:
    """Rows of day, model, key, kind and USD."""
    lines = [
        f"{day},{DISPLAY[model]},Default,{key},message,≤ 200k,{kind},{usd},token" for day, model, key, kind, usd in rows
    ]
    return "\n".join([COST_HEAD, *lines]) + "\n"


def records(*rows: tuple[str, str, int, int], run: str = "run", **fields: Any) -> str:
    """Rows of time, model, input and output."""
    lines = [
        {
            "run_id": run,
            "timestamp": f"{at}Z",
            "model_version": model,
            "usage_raw": {"input_tokens": i, "output_tokens": o},
        }
        for at, model, i, o in rows
    ]
    return "".join(json.dumps(line | fields) + "\n" for line in lines)


def sessions(*rows: tuple[str, str, str, int, int], key: str = "k") -> str:
    """Rows of session, start, end, input and output, of Haiku."""
    lines = [f"{name},u,{start},{end},{HAIKU},{i},{o},0,0,{key},Default" for name, start, end, i, o in rows]
    return "\n".join([SESSION_HEAD, *lines]) + "\n"


def cents(amount: Decimal) -> Decimal:
    return amount.quantize(Decimal("0.01"), ROUND_HALF_UP)


def cells(connection: duckdb.DuckDBPyConnection, *columns: str) -> list[tuple[Any, ...]]:
    names = ", ".join(columns)
    found: list[tuple[Any, ...]] = connection.execute(f"SELECT {names} FROM {MART} ORDER BY ALL").fetchall()
    return found


# ------------------------------------------------------------------------------------------------------------ cells

CASES = yaml.safe_load(Path(__file__).with_name("reconciliation_cases.yml").read_text(encoding="utf-8"))
TABLES = {
    "source('raw', 'reconciliation_scope')": "raw.reconciliation_scope",
    "source('raw', 'billing_modes')": "raw.billing_modes",
    "source('ingest', 'files')": "ingest.files",
    "ref('int_reconciliation')": "intermediate.int_reconciliation",
}
UNSTATED = {"VARCHAR": "", "BOOLEAN": False, "DATE": None, "TIMESTAMP": None}


@pytest.fixture(scope="module")
def no_cells(models: Any) -> Iterator[duckdb.DuckDBPyConnection]:
    """A warehouse without usage, with models built up to int_reconciliation."""
    with models.over({"notes.txt": "no usage"}, "intermediate.int_reconciliation") as connection:
        yield connection


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_cells_are_compared_as_the_case_says(models, no_cells, case):
    no_cells.execute("BEGIN")
    try:
        for given_rows in case["given"]:
            insert(no_cells, TABLES[given_rows["input"]], given_rows["rows"])
        no_cells.execute("INSERT INTO scope.days SELECT DISTINCT usage_date FROM intermediate.int_reconciliation")
        done = {model.name for model in models._up_to("intermediate.int_reconciliation")}
        for model in models._up_to(MART):
            if model.name not in done:
                model.build(no_cells)
        wanted = case["expect"]["rows"]
        found = no_cells.execute(f"SELECT {', '.join(wanted[0])} FROM {MART}").fetchall()
    finally:
        no_cells.execute("ROLLBACK")
    assert sorted(map(plain, found)) == sorted(plain(row.values()) for row in wanted)


def insert(connection: duckdb.DuckDBPyConnection, table: str, rows: list[dict[str, Any]]) -> None:
    """Replace a table with `rows`, without its constraints: a row states only the columns of its case."""
    columns = connection.execute(f"SELECT column_name, column_type FROM (DESCRIBE {table})").fetchall()
    connection.execute(f"CREATE OR REPLACE TABLE {table} AS FROM {table} LIMIT 0")
    unstated = {name: UNSTATED.get(kind, 0) for name, kind in columns}
    for row in rows:
        values = unstated | row
        marks = ", ".join("?" for _ in values)
        connection.execute(f"INSERT INTO {table} ({', '.join(values)}) VALUES ({marks})", list(values.values()))


def plain(row: Any) -> list[str]:
    """Values as text that can be compared and sorted: days as ISO dates, numbers as floats."""
    return [str(float(value)) if isinstance(value, int | float | Decimal) else str(value) for value in row]


# ----------------------------------------------------------------------------------------------- the scope of logs

BILL = costs(
    ("2026-02-01", HAIKU, "mine", "output", "5.00"),
    ("2026-02-01", HAIKU, "theirs", "output", "0.00"),
    ("2026-02-02", HAIKU, "mine", "output", "1.00"),
    ("2026-02-03", HAIKU, "theirs", "output", "7.00"),
)
LOGS = records(("2026-02-01T10:00:00", HAIKU, 0, 1_000_000))


def test_logs_without_a_key_are_taken_for_the_only_key_that_cost_anything_on_their_days(models):
    with models.over({"bill.csv": BILL, "r.jsonl": LOGS}, MART) as connection:
        assert cells(connection, "usage_date::varchar", "api_key", "status", "scope") == [
            ("2026-02-01", "mine", "matched", "inferred"),
            ("2026-02-01", "theirs", "out_of_scope", "outside"),
            ("2026-02-02", "mine", "not_comparable", ""),
            ("2026-02-03", "theirs", "out_of_scope", "outside"),
        ]


def test_where_two_keys_cost_something_their_days_are_compared_as_one(models):
    both = BILL.replace("theirs,message,≤ 200k,output,0.00", "theirs,message,≤ 200k,output,0.01")
    with models.over({"bill.csv": both, "r.jsonl": LOGS}, MART) as connection:
        first, *_ = cells(
            connection, "usage_date::varchar", "api_key", "status", "scope", "cost_gap_usd", "billed_rows"
        )
    assert first == ("2026-02-01", "", "within_rounding", "collapsed", Decimal("0.01"), 2)


@pytest.mark.parametrize(
    "scope",
    [
        {"experiment_records": {"api_key": "mine", "workspace": "Default"}},
        {"experiment_records": "theirs", "landing/runs/**/r.jsonl": "mine"},
        {"runs/": "mine"},
    ],
)
def test_a_declared_scope_assigns_logs_by_format_or_path(models, scope):
    files = {"bill.csv": BILL, "runs/r.jsonl": LOGS}
    with models.over(files, MART, "marts.requests", reconciliation={"scope": scope}) as connection:
        found = cells(connection, "usage_date::varchar", "api_key", "workspace", "status", "scope")
        keys = connection.execute("SELECT DISTINCT api_key FROM marts.requests").fetchall()
    assert ("2026-02-01", "mine", "Default", "matched", "declared") in found
    assert {status for _, key, _, status, _ in found if key == "theirs"} <= {"out_of_scope", "not_comparable"}
    assert keys == [("mine",)]


def test_a_log_that_names_its_key_is_not_assigned_to_another(models):
    named = records(("2026-02-01T10:00:00", HAIKU, 0, 1_000_000), api_key="mine")
    scope = {"scope": {"experiment_records": "theirs"}}
    with models.over({"bill.csv": BILL, "r.jsonl": named}, MART, reconciliation=scope) as connection:
        assert ("mine", "matched", "stated") in cells(connection, "api_key", "status", "scope")


def test_a_scope_that_names_neither_a_format_nor_a_path_is_refused(new_home):
    home = new_home(reconciliation={"scope": {"experiment_record": "mine"}})
    with warehouse.connect(home.settings) as connection, pytest.raises(ConfigurationError, match="experiment_record'"):
        tables.write_reference_tables(connection, home.settings)


def test_scope_and_billing_mode_are_read_from_the_settings_file(tmp_path):
    (tmp_path / "token_analytics.toml").write_text(
        '[reconciliation.scope]\nexperiment_records = "mine"\n"a/*" = {api_key = "b", workspace = "c"}\n'
        '[billing_mode.projects]\nshop = "subscription"\n'
    )
    loaded = settings_module.load(tmp_path)
    assert {name: (key.api_key, key.workspace) for name, key in loaded.reconciliation.scope.items()} == {
        "experiment_records": ("mine", ""),
        "a/*": ("b", "c"),
    }
    assert loaded.billing_mode.projects == {"shop": "subscription"}


def test_scope_is_read_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("TOKEN_ANALYTICS_RECONCILIATION", '{"scope": {"experiment_records": "mine"}}')
    assert settings_module.load(tmp_path).reconciliation.scope["experiment_records"].api_key == "mine"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('[reconciliation.scope]\nx = {key = "a"}\n', "reconciliation.scope.x"),
        ("[reconciliation]\nscopes = 1\n", "reconciliation.scopes"),
        ('[billing_mode.projects]\nshop = "free"\n', "billing_mode.projects.shop"),
    ],
)
def test_a_wrong_scope_or_mode_is_named(tmp_path, text, named):
    (tmp_path / "token_analytics.toml").write_text(text)
    with pytest.raises(ConfigurationError, match=re.escape(named)):
        settings_module.load(tmp_path)


def test_usage_that_a_subscription_covers_stays_out_of_the_comparison(models):
    mode = {"api_keys": {"seat": "subscription"}}
    files = {
        "bill.csv": costs(("2026-02-01", HAIKU, "mine", "output", "5.00")),
        "a.jsonl": records(("2026-02-01T10:00:00", HAIKU, 0, 1_000_000), api_key="mine"),
        "b.jsonl": records(("2026-02-01T11:00:00", HAIKU, 0, 2_000_000), api_key="seat", run="seat"),
    }
    with models.over(files, MART, "marts.daily_usage", "marts.requests", billing_mode=mode) as connection:
        assert cells(connection, "api_key", "status") == [("mine", "matched")]
        assert connection.execute(
            "SELECT api_key, cost_usd::integer, api_equivalent_cost_usd::integer FROM marts.daily_usage ORDER BY 1"
        ).fetchall() == [("mine", 5, 0), ("seat", 10, 10)]
        assert connection.execute("SELECT api_key, billing_mode FROM marts.requests ORDER BY 1").fetchall() == [
            ("mine", "metered"),
            ("seat", "subscription"),
        ]


# ---------------------------------------------------------------------------------------------- sessions and days


@settings(max_examples=4, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 10**6))
def test_usage_inside_the_bounds_of_sessions_is_consistent_and_outside_of_them_it_is_not(models, seed):
    """Sessions use each token at some moment between begin and end; the console's count is within the bounds."""
    chance = random.Random(seed)
    first = date(2026, 2, 1)
    spent: dict[date, int] = defaultdict(int)
    low: dict[date, int] = defaultdict(int)
    high: dict[date, int] = defaultdict(int)
    rows = []
    for number in range(chance.randint(2, 8)):
        begin, length, tokens = chance.randint(0, 3), chance.choice([0, 0, 1, 2]), chance.randint(1, 10**6)
        days = [first + timedelta(days=begin + n) for n in range(length + 1)]
        rows.append((f"s{number}", f"{days[0]} 08:00:00", f"{days[-1]} 09:00:00", 0, tokens))
        for day in days:
            high[day] += tokens
            low[day] += tokens if length == 0 else 0
        left = tokens
        for day in days[:-1]:
            part = chance.randint(0, left)
            spent[day] += part
            left -= part
        spent[days[-1]] += left
    account = usage(*((str(day), HAIKU, "k", 0, tokens) for day, tokens in sorted(spent.items()) if tokens))
    files = {"s.csv": sessions(*rows), "u.csv": account}
    with models.over(files, MART) as connection:
        found = cells(
            connection, "usage_date", "compared", "console_tokens", "logged_tokens_low", "logged_tokens_high", "status"
        )
    for day, compared, console, least, most, status in found:
        assert (least, most) == (low[day], high[day])
        if compared == "console+logged":
            assert least <= console <= most
            assert status == ("matched" if least == most else "consistent")

    beyond = {day: high[day] + 1 for day in spent}
    account = usage(*((str(day), HAIKU, "k", 0, tokens) for day, tokens in sorted(beyond.items())))
    with models.over(files | {"u.csv": account}, MART) as connection:
        assert {status for (status,) in cells(connection, "status")} == {"unlogged"}


# ------------------------------------------------------------------------------------------------- wrong rates


def account_of(seed: int, days: int = 28) -> dict[tuple[str, str, str], int]:
    """Tokens by day, model and kind: cells from fractions of a cent to many dollars."""
    chance = random.Random(seed)
    return {
        (str(date(2026, 2, 1) + timedelta(days=n)), model, kind): int(10 ** chance.uniform(1.5, 6.5))
        for n in range(days)
        for model in (HAIKU, SONNET)
        for kind in ("input_no_cache", "output")
        if chance.random() < 0.8
    }


def exports_of(tokens: dict[tuple[str, str, str], int]) -> tuple[dict[str, str], dict[tuple[str, str, str], Decimal]]:
    """The account's two exports, and the bill of each cell at list prices."""
    billed = {key: cents(Decimal(n) * RATES[key[1:]] / 1_000_000) for key, n in tokens.items()}
    rows = sorted({(day, model) for day, model, _ in tokens})
    used = [
        (day, model, "k", tokens.get((day, model, "input_no_cache"), 0), tokens.get((day, model, "output"), 0))
        for day, model in rows
    ]
    files = {
        "u.csv": usage(*used),
        "c.csv": costs(*((day, model, "k", kind, str(usd)) for (day, model, kind), usd in billed.items())),
    }
    return files, billed


@contextmanager
def repriced(models: Any, tmp_path: Path, files: dict[str, str], factor: str) -> Iterator[duckdb.DuckDBPyConnection]:
    """The marts under a rate card that is off by `factor`."""
    card = tmp_path / f"rates_{factor}.csv"
    card.write_text(f"{OVERRIDES_HEAD}\n,,,,,,,,{factor},\n")
    with models.over(files, MART, "marts.rate_evidence", rate_overrides=card) as connection:
        yield connection


@pytest.mark.parametrize("factor", ["1.05", "0.95"])
@pytest.mark.parametrize("logged", [False, True])
def test_rates_off_by_5_percent_misprice_exactly_the_cells_that_leave_their_tolerance(models, tmp_path, factor, logged):
    tokens = account_of(seed=7)
    files, billed = exports_of(tokens)
    if logged:
        rows = [
            (f"{day}T10:00:00", model, n if kind != "output" else 0, n if kind == "output" else 0)
            for (day, model, kind), n in tokens.items()
        ]
        files["r.jsonl"] = records(*rows, api_key="k")
    wrong = {
        key
        for key, n in tokens.items()
        if abs(billed[key] - Decimal(n) * RATES[key[1:]] * Decimal(factor) / 1_000_000) > Decimal("0.005")
    }
    names = {model: version for version, model in MODEL.items()}
    with repriced(models, tmp_path, files, factor) as connection:
        found = cells(
            connection, "usage_date::varchar", "model", "token_kind", "status", "implied_rate_low",
            "implied_rate_high", "is_undetectable", "compared",
        )  # fmt: skip
    assert {compared for *_, compared in found} == {"console+billed+logged" if logged else "console+billed"}
    assert {(day, names[model], kind) for day, model, kind, status, *_ in found if status == "mispriced"} == wrong
    assert {status for *_, status, _, _, _, _ in found} <= {"mispriced", "matched", "within_rounding"}
    for day, model, kind, _, low, high, _, _ in found:
        assert low * (1 - 1e-12) <= RATES[names[model], kind] <= high * (1 + 1e-12), (day, model, kind)
    too_small = {(day, names[model], kind) for day, model, kind, *_, small, _ in found if small}
    assert too_small | wrong == set(tokens)
    assert not too_small & wrong


def test_a_month_finds_1_percent_exactly_where_it_exceeds_the_summed_tolerance(models, tmp_path):
    tokens = account_of(seed=11)
    files, billed = exports_of(tokens)
    gaps: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    tolerances: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for (day, model, kind), n in tokens.items():
        gaps[model, kind] += billed[day, model, kind] - Decimal(n) * RATES[model, kind] * Decimal("1.01") / 1_000_000
        tolerances[model, kind] += Decimal("0.005")
    with repriced(models, tmp_path, files, "1.01") as connection:
        found = {
            (model, kind): (verdict, gap, tolerance, low, high)
            for model, kind, verdict, gap, tolerance, low, high in connection.execute(
                "SELECT model, token_kind, verdict, cost_gap_usd, rounding_tolerance_usd, implied_rate_low, "
                "implied_rate_high FROM marts.rate_evidence"
            ).fetchall()
        }
    assert found.keys() == {(MODEL[model], kind) for model, kind in gaps}
    for (model, kind), gap in gaps.items():
        verdict, gap_found, tolerance, low, high = found[MODEL[model], kind]
        assert (gap_found, tolerance) == (gap, tolerances[model, kind])
        assert (verdict == "mispriced") == (abs(gap) > tolerance)
        assert low <= RATES[model, kind] <= high
    assert any(verdict == "mispriced" for verdict, *_ in found.values())


def test_a_price_that_changes_inside_a_month_is_honoured_by_date(models, tmp_path):
    card = tmp_path / "rates.csv"
    card.write_text(f"{OVERRIDES_HEAD}\nclaude-haiku-4-5,output,,,,,2026-02-02,10,,\n")
    files = {
        "u.csv": usage(("2026-02-01", HAIKU, "k", 0, 1_000_000), ("2026-02-02", HAIKU, "k", 0, 1_000_000)),
        "c.csv": costs(
            ("2026-02-01", HAIKU, "k", "output", "5.00"), ("2026-02-02", HAIKU, "k", "output", "10.00")
        ),
    }  # fmt: skip
    with models.over(files, MART, rate_overrides=card) as connection:
        assert cells(connection, "console_cost_usd::integer", "status") == [(5, "matched"), (10, "matched")]


# -------------------------------------------------------------------------------------------------- the report


def report_of(connection: duckdb.DuckDBPyConnection) -> reconciled.Report:
    return reconciled.collect(connection)


def everything(key: str = "k") -> dict[str, str]:
    """A landing in which most kinds of differences occur."""
    return {
        "u.csv": usage(
            ("2026-02-01", HAIKU, key, 0, 1_000_000), ("2026-02-01", SONNET, key, 0, 1_000_000),
            ("2026-02-02", HAIKU, key, 0, 2_000_000),
        ),
        "c.csv": costs(
            ("2026-02-01", HAIKU, key, "output", "5.00"), ("2026-02-01", SONNET, key, "output", "12.00"),
            ("2026-02-02", HAIKU, key, "output", "10.00"), ("2026-02-03", HAIKU, key, "output", "3.00"),
            ("2026-02-01", HAIKU, key, "code_execution", "0.50"), ("2026-01-20", HAIKU, key, "output", "1.00"),
        ),
        "r.jsonl": records(
            ("2026-02-01T10:00:00", HAIKU, 0, 900_000), ("2026-02-01T10:00:00", SONNET, 0, 1_000_000),
            ("2026-02-03T10:00:00", HAIKU, 1_000_000, 600_000), ("2026-02-03T11:00:00", "house-model", 1, 1),
            api_key=key,
        ),
    }  # fmt: skip


def test_the_steps_lead_from_what_was_logged_to_the_whole_bill_to_the_last_digit(models):
    with models.over(everything(), MART, "marts.rate_evidence", "marts.invoices") as connection:
        report = report_of(connection)
        ((billed,),) = connection.execute("SELECT sum(cost_usd) FROM marts.billed_costs").fetchall()
    first, *between, last = report.steps
    assert first.is_total
    assert last.is_total
    assert last.usd == billed
    assert first.usd + sum(step.usd for step in between if not step.is_total) == last.usd
    assert sum(share.billed_usd for share in report.by_day) == sum(share.billed_usd for share in report.by_key)
    assert sum(share.billed_usd for share in report.by_key) == sum(share.billed_usd for share in report.by_model)


def test_each_gap_says_what_it_is_and_what_to_check(models):
    with models.over(everything(), MART, "marts.rate_evidence", "marts.invoices") as connection:
        report = report_of(connection)
        statuses = {status for (status,) in cells(connection, "status")}
    assert {gap.row["status"] for gap in report.gaps} == statuses & {"mispriced", "unlogged", "unbilled"}
    assert [abs(gap.row["gap_usd"]) for gap in report.gaps] == sorted(
        (abs(gap.row["gap_usd"]) for gap in report.gaps), reverse=True
    )
    explanations = {gap.row["status"]: gap.what for gap in report.gaps}
    assert "$12.00 was billed for output of claude-sonnet-4-5" in explanations["mispriced"]
    assert "between $11.99 and $12.01 per million" in explanations["mispriced"]
    assert all(gap.check.endswith((".", "?", ")")) for gap in report.gaps if gap.check)
    assert set(reconciled.MEANINGS) >= statuses


def test_where_nothing_was_landed_to_compare_the_report_says_so(models):
    with models.over({"r.jsonl": LOGS}, MART, "marts.rate_evidence", "marts.invoices") as connection:
        assert report_of(connection).headline.startswith("There is nothing to compare")


def test_an_inferred_scope_is_said_in_words(models):
    with models.over({"bill.csv": BILL, "r.jsonl": LOGS}, MART, "marts.rate_evidence", "marts.invoices") as connection:
        inferred, outside = report_of(connection).scope
    assert "mine is the only key with cost on their days" in inferred
    assert outside.startswith("Out of scope: theirs; the landed logs do not cover $7.00 of the bill")
