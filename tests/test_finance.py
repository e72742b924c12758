"""Finance: chargeback, closed months, invoices, the FOCUS export, what-if and the rate check.

Belongs here: that amounts are split, kept, exported and repriced to the last decimal, on random and on hand-made bills.
Does not belong here: which rate applies (test_rates), and single models (they have unit tests).
"""

from __future__ import annotations

import csv
import datetime as dt
import json
import random
import re
import shutil
import subprocess
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import duckdb
import genai_prices
import pyarrow as pa
import pytest
from conftest import Home, Models, Warehouse
from genai_prices.data_snapshot import get_snapshot
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rows import USAGE_HEAD

from pipeline.analysis import bridge
from pipeline.finance import closing, focus, rate_check
from pipeline.reference import allocation, rates
from pipeline.savings import repricing
from pipeline.settings import ConfigurationError
from pipeline.store import warehouse

COST_HEAD = "usage_date_utc,model,workspace,api_key,usage_type,context_window,token_type,cost_usd,cost_type"
SESSIONS_HEAD = (
    "session_id,user_id,session_started_at,last_updated_at,model,input_tokens,output_tokens,cache_read_tokens,"
    "cache_creation_tokens,api_key"
)
COST_KINDS = ("input_no_cache", "input_cache_write_5m", "input_cache_write_1h", "input_cache_read", "output")
OVERRIDE_HEAD = "model,token_kind,context_window,usage_type,inference_geo,speed,valid_from,usd_per_mtok\n"
NOW = dt.datetime(2026, 6, 1, tzinfo=dt.UTC)
MONEY = Decimal("0.000000000001")


def usage_csv(*rows: tuple[str, str, str, tuple[int, ...]]) -> str:
    """Rows of (day, model, key, tokens of the five kinds) in workspace W."""
    lines = [f"{day},{model},{key},W,standard,0-200k,{','.join(map(str, kinds))},0" for day, model, key, kinds in rows]
    return "\n".join([USAGE_HEAD, *lines])


def cost_csv(*rows: tuple[str, str, str, str, str]) -> str:
    """Rows of (day, model, key, token type, USD) in workspace W."""
    return "\n".join(
        [
            COST_HEAD,
            *(f"{day},{model},W,{key},message,0-200k,{kind},{usd},token" for day, model, key, kind, usd in rows),
        ]
    )


def sessions_csv(*rows: tuple[str, str, str, str, int]) -> str:
    """Rows of (session, day, user, key, output tokens) of Sonnet 4.5."""
    return "\n".join(
        [
            SESSIONS_HEAD,
            *(
                f"{name},{user},{day} 08:00:00,{day} 08:00:30,claude-sonnet-4-5,0,{output},0,0,{key}"
                for name, day, user, key, output in rows
            ),
        ]
    )


def rows_of(connection: duckdb.DuckDBPyConnection, query: str) -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = connection.execute(query).fetchall()
    return found


# ---------- chargeback


@settings(max_examples=6, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 10**6), st.sampled_from(["by_direct_cost", "evenly"]))
def test_chargeback_of_each_month_adds_up_to_its_bill_to_the_last_decimal(
    models: Models, new_home: Callable[..., Home], seed: int, rule: str
) -> None:
    chance = random.Random(seed)
    days = ["2026-01-30", "2026-01-31", "2026-02-01"]
    keys, users = ["a", "b", "c"], ["u1", "u2", ""]
    bill = [
        (
            chance.choice(days),
            "Claude Sonnet 4.5",
            chance.choice(keys),
            "output",
            f"{chance.randrange(-200, 3000) / 100}",
        )
        for _ in range(12)
    ]
    logs = [
        (f"s{n}", chance.choice(days), chance.choice(users), chance.choice(keys), chance.randrange(1, 999_999))
        for n in range(9)
    ]
    lines = [
        ",".join(
            [
                chance.choice(["red", "blue", "shared"]),
                chance.choice([*keys, ""]),
                chance.choice(users),
                chance.choice(["W", ""]),
                chance.choice(["2026-01-31", ""]),
            ]
        )
        for _ in range(chance.randrange(5))
    ]
    warehouse = Warehouse(models, new_home(shared_cost_rule=rule), "marts.chargeback")
    warehouse.home.land(
        {
            "costs.csv": cost_csv(*bill),
            "sessions.csv": sessions_csv(*logs),
            "../allocation.csv": "\n".join(["team,api_key,user_id,workspace,valid_from", *lines]),
        }
    )
    warehouse.update(10**6)
    billed = rows_of(
        warehouse.connection,
        "SELECT date_trunc('month', usage_date)::date, sum(cost_usd) FROM marts.billed_costs GROUP BY ALL ORDER BY ALL",
    )
    split = rows_of(
        warehouse.connection,
        "SELECT month, sum(direct_usd + shared_usd + unallocated_usd) FROM marts.chargeback GROUP BY ALL ORDER BY ALL",
    )
    assert [row for row in split if row[1]] == [row for row in billed if row[1]]
    if not lines:
        assert rows_of(warehouse.connection, "SELECT sum(direct_usd), sum(shared_usd) FROM marts.chargeback") == [
            (0, 0)
        ]


def test_usage_follows_a_changed_allocation_to_its_team_and_so_does_the_bridge_by_team(
    models: Models, new_home: Callable[..., Home]
) -> None:
    warehouse = Warehouse(models, new_home(), "marts.charges", "marts.token_usage_minutes", "marts.billed_costs")
    january, february = ("2026-01-20", 100_000), ("2026-02-20", 300_000)
    logs = [(f"{user}{day}", day, user, "a", tokens) for user in ("u1", "u2") for day, tokens in (january, february)]
    warehouse.home.land({"sessions.csv": sessions_csv(*logs), "../allocation.csv": "team,user_id\nred,u1\n"})
    warehouse.update(10**6)
    team_of = "SELECT DISTINCT user_id, team FROM marts.charges ORDER BY ALL"
    assert rows_of(warehouse.connection, team_of) == [("u1", "red"), ("u2", "")]
    warehouse.home.land({"../allocation.csv": "team,user_id,api_key\nblue,,a\nred,u1,\n"})
    warehouse.update(10**6)
    assert rows_of(warehouse.connection, team_of) == [("u1", "red"), ("u2", "blue")]
    assert warehouse.marts() == warehouse.rebuilt()
    warehouse.connection.execute("CREATE TABLE marts.model_rates AS FROM raw.rate_card")
    table = bridge.bridge_between(
        warehouse.connection, bridge.Period.parse("2026-01"), bridge.Period.parse("2026-02"), by=["team"]
    ).to_pylist()
    moved = {row["segment"]: row["usd"] for row in table if row["term"] == "volume"}
    # 200,000 output tokens more at 15 USD a million
    assert moved == {"team=red": 3, "team=blue": 3, "all": 6}


def test_days_without_a_bill_are_estimates_and_no_part_of_the_bill(models: Models) -> None:
    files = {
        "usage.csv": usage_csv(
            ("2026-01-30", "claude-sonnet-4-5", "a", (0, 0, 0, 0, 1_000_000)),
            ("2026-01-31", "claude-sonnet-4-5", "a", (0, 0, 0, 0, 2_000_000)),
        ),
        "costs.csv": cost_csv(("2026-01-30", "Claude Sonnet 4.5", "a", "output", "15.01")),
        "../allocation.csv": "team,api_key\nred,a\n",
    }
    with models.over(files, "marts.chargeback") as connection:
        found = rows_of(connection, "SELECT team, total_usd, estimated_usd FROM marts.chargeback")
    assert found == [("red", Decimal("15.01"), Decimal(30))]


@pytest.mark.parametrize(
    ("name", "line", "column"),
    [
        ("allocation.csv", "team,api_key,valid_from\n,a,2026-01-01", "team"),
        ("allocation.csv", "team,api_key,valid_from\nred,a,1.1.2026", "valid_from"),
        ("allocation.csv", "team,budget_usd_per_month\nred,many", "budget_usd_per_month"),
        ("allocation.csv", "team,keys\nred,a", "keys"),
        ("invoices.csv", "period,amount\n2026-13,1", "period"),
        ("invoices.csv", "period,amount\n2026-01-31/2026-01-01,1", "period"),
        ("invoices.csv", "period,amount,currency\n2026-01,1,dollars", "currency"),
        ("invoices.csv", "period,amount\n2026-01,", "amount"),
    ],
)
def test_a_wrong_cell_of_a_file_of_finance_names_file_line_and_column(
    tmp_path: Path, name: str, line: str, column: str
) -> None:
    path = tmp_path / name
    path.write_text(line, encoding="utf-8")
    with pytest.raises(ConfigurationError, match=rf"{name}, line \d, column {column}: "):
        (allocation.allocation if name == "allocation.csv" else allocation.invoices)(path)


def test_a_period_of_an_invoice_is_a_month_or_its_days(tmp_path: Path) -> None:
    path = tmp_path / "invoices.csv"
    path.write_text("period,amount,currency\n2024-02,1,\n2026-01-05/2026-02-04,2,eur\n", encoding="utf-8")
    found = [(r["period_start"], r["period_end"], r["currency"]) for r in allocation.invoices(path).to_pylist()]
    assert found == [
        (dt.date(2024, 2, 1), dt.date(2024, 2, 29), "USD"),
        (dt.date(2026, 1, 5), dt.date(2026, 2, 4), "EUR"),
    ]


# ---------- closed months


BOOKED = (
    "marts.chargeback",
    "marts.booked_costs",
    "marts.unpriced_usage",
    "marts.daily_usage",
    "marts.token_usage_minutes",
)


@pytest.fixture
def booked(models: Models, new_home: Callable[..., Home]) -> Warehouse:
    return closed_january(models, new_home())


@pytest.fixture(scope="module")
def closed(models: Models, new_home: Callable[..., Home]) -> Warehouse:
    """For tests that change nothing."""
    return closed_january(models, new_home())


def closed_january(models: Models, home: Home) -> Warehouse:
    """January is closed, with a model that has no price; February is open."""
    warehouse = Warehouse(models, home, *BOOKED)
    warehouse.home.land(
        {
            "usage.csv": usage_csv(
                ("2026-01-29", "claude-sonnet-4-5", "a", (0, 0, 0, 0, 1_000_000)),
                ("2026-01-30", "claude-sonnet-4-5", "a", (0, 0, 0, 0, 1_000_000)),
                ("2026-01-30", "house-model", "a", (0, 0, 0, 0, 2_000_000)),
                ("2026-02-01", "house-model", "a", (0, 0, 0, 0, 3_000_000)),
            ),
            "costs.csv": cost_csv(("2026-01-30", "Claude Sonnet 4.5", "a", "output", "15.00")),
            "../allocation.csv": "team,api_key\nred,a\n",
            "../rate_overrides.csv": OVERRIDE_HEAD,
        }
    )
    warehouse.update(10**6)
    closing.close_month(warehouse.connection, dt.date(2026, 1, 1), NOW)
    warehouse.build(10**6)
    return warehouse


def restated(warehouse: Warehouse, minutes: int = 1) -> list[tuple[Any, ...]]:
    ledger = closing.restate(warehouse.connection, NOW + dt.timedelta(minutes=minutes))
    names = ("month", "side", "model", "team", "old_tokens", "new_tokens", "old_usd", "new_usd", "cause")
    return [tuple(row[name] for name in names) for row in ledger.to_pylist()]


def test_a_closed_month_to_which_nothing_happens_is_not_restated(closed: Warehouse) -> None:
    assert restated(closed) == []


def test_an_override_prices_an_unknown_model_in_open_months_and_restates_closed_ones(booked: Warehouse) -> None:
    connection = booked.connection
    unpriced = "SELECT model, sum(tokens) FROM marts.unpriced_usage GROUP BY ALL"
    assert rows_of(connection, unpriced) == [("house-model", 5_000_000)]
    booked.home.land({"../rate_overrides.csv": OVERRIDE_HEAD + "house-model,output,,,,,2025-01-01,2\n"})
    booked.update(10**6)
    assert rows_of(connection, unpriced) == []
    costs = "SELECT usage_date, cost_usd FROM marts.daily_usage WHERE model = 'house-model' ORDER BY ALL"
    assert rows_of(connection, costs) == [(dt.date(2026, 1, 30), 4), (dt.date(2026, 2, 1), 6)]
    assert restated(booked) == [
        (dt.date(2026, 1, 1), "console", "house-model", "", 2_000_000, 2_000_000, 0, 4, "price added")
    ]
    assert len(restated(booked, 2)) == 1, "a second run enters nothing"
    assert rows_of(connection, "SELECT cost_usd FROM marts.booked_costs WHERE model = 'house-model'") == [(0,)]


def test_a_new_price_inside_a_closed_month_is_restated_from_its_day(booked: Warehouse) -> None:
    booked.home.land({"../rate_overrides.csv": OVERRIDE_HEAD + "claude-sonnet-4-5,output,,,,,2026-01-30,12\n"})
    booked.update(10**6)
    assert restated(booked) == [
        (dt.date(2026, 1, 1), "console", "claude-sonnet-4-5", "", 2_000_000, 2_000_000, 30, 27, "new price")
    ]


def test_a_late_bill_and_late_logs_do_not_rewrite_what_was_booked(booked: Warehouse) -> None:
    booked.home.land(
        {
            "late.csv": cost_csv(("2026-01-31", "Claude Sonnet 4.5", "a", "output", "1.00")),
            "late_sessions.csv": sessions_csv(("s1", "2026-01-31", "u1", "a", 1_000_000)),
        }
    )
    booked.update(10**6)
    january = dt.date(2026, 1, 1)
    assert restated(booked) == [
        (january, "billed", "claude-sonnet-4-5", "", None, None, 0 + 15, 16, "another bill"),
        (january, "chargeback", "", "red", None, None, 15, 16, "another bill"),
        (january, "sessions", "claude-sonnet-4-5", "", 0, 1_000_000, 0, 15, "late usage"),
    ]
    kept = rows_of(booked.connection, "SELECT month, total_usd, is_closed FROM marts.chargeback ORDER BY month")
    assert kept[0] == (january, 15, True)
    assert booked.marts() == booked.rebuilt()


def test_restatements_lead_from_what_was_booked_to_what_the_data_says(booked: Warehouse) -> None:
    for minutes, usd in enumerate(("2.00", "3.50"), 1):
        booked.home.land({f"late{minutes}.csv": cost_csv(("2026-01-31", "Claude Sonnet 4.5", "a", "output", usd))})
        booked.update(10**6)
        restated(booked, minutes)
    (total,) = rows_of(
        booked.connection,
        "SELECT (SELECT sum(cost_usd) FROM raw.booked_costs WHERE side = 'billed') + sum(new_usd - old_usd), count(*), "
        "(SELECT sum(cost_usd) FROM marts.billed_costs) FROM raw.restatements WHERE side = 'billed'",
    )
    assert total == (Decimal("18.5"), 2, Decimal("18.5"))


@pytest.mark.parametrize(
    ("month", "now", "problem"),
    [
        ("2026-01", NOW, "closed already"),
        ("2026-02", dt.datetime(2026, 2, 28, 23, tzinfo=dt.UTC), "not over yet"),
        ("2025-03", NOW, "no usage and no bill"),
    ],
)
def test_a_month_that_cannot_be_closed_says_why(closed: Warehouse, month: str, now: dt.datetime, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        closing.close_month(closed.connection, closing.parse_month(month), now)


def test_a_month_is_not_closed_on_marts_that_are_out_of_date(booked: Warehouse) -> None:
    booked.connection.execute("INSERT INTO scope.pending_files VALUES ('x')")
    with pytest.raises(ConfigurationError, match="not up to date"):
        closing.close_month(booked.connection, dt.date(2026, 2, 1), NOW)


# ---------- FOCUS


@pytest.fixture(scope="module")
def exported(new_home: Callable[..., Home]) -> Path:
    """The CSV of a small account; the Parquet file is in the same folder."""
    home = new_home()
    home.land(
        {
            "usage.csv": usage_csv(
                ("2026-01-30", "claude-sonnet-4-5", "=cmd", (7, 11, 13, 1_000_003, 17)),
                ("2026-02-01", "claude-haiku-4-5", "a", (1, 0, 0, 1, 1)),
                ("2026-02-01", "house-model", "a", (1, 0, 0, 0, 0)),
            ),
            "costs.csv": cost_csv(
                ("2026-01-30", "Claude Sonnet 4.5", "=cmd", "input_cache_read", "0.30"),
                ("2026-01-30", "Claude Sonnet 4.5", "other", "output", "2.00"),
            ),
        }
    )
    home.build()
    with warehouse.connect(home.settings) as connection:
        focus.write(connection, home.settings)
    return focus.paths(home.settings)[1]


def test_the_focus_files_hold_exact_products_and_cells_that_no_spreadsheet_runs(exported: Path) -> None:
    rows = duckdb.execute(
        'SELECT "ListUnitPrice", "PricingQuantity", "ListCost", "ContractedUnitPrice", "ContractedCost", '
        '"BilledCost", "ChargeCategory", "ChargePeriodStart" FROM read_parquet(?)',
        [str(exported.with_suffix(".parquet"))],
    ).fetchall()
    assert len(rows) == 9
    for price, quantity, cost, contracted, contracted_cost, _, category, _ in rows:
        if category == "Usage":
            assert (price * quantity, contracted * quantity) == (cost, contracted_cost)
    assert sum(row[5] for row in rows) == Decimal("2.30")
    with exported.open(encoding="utf-8", newline="") as file:
        cells = list(csv.DictReader(file))
    assert {row["ResourceId"] for row in cells} == {"'=cmd", "a", "other"}
    assert {row["ChargePeriodStart"] for row in cells} == {"2026-01-30T00:00:00Z", "2026-02-01T00:00:00Z"}


# focus-validator 1.0.0 asks for names of a draft (Provider for ProviderName, ChargeType, ...), and fails itself on the
# currency outside of its own folder.
FAULTS_OF_VALIDATOR = {
    "BillingCurrency_IsCurrencyCode",
    "InvoiceIssuer_Required",
    "Provider_Required",
    "Publisher_Required",
    "ResourceID_Required",
    "SkuPriceId_Nullable",
}


def failed_rules(validator: str, file: Path) -> set[str]:
    command = [validator, "--data-file", str(file), "--validate-version", "1.0", "--column-namespace", "x_"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "Validation" in done.stdout + done.stderr, done.stderr
    return set(re.findall(r"^(\w+) failed:", done.stdout + done.stderr, re.MULTILINE))


def test_a_validator_of_the_index_finds_nothing_against_the_focus_file(exported: Path, tmp_path: Path) -> None:
    validator = shutil.which("focus-validator")
    if validator is None:
        pytest.skip("focus-validator is not on the path: `make focus` installs it beside the product")
    assert failed_rules(validator, exported) <= FAULTS_OF_VALIDATOR
    broken = tmp_path / "broken.csv"
    broken.write_text(exported.read_text(encoding="utf-8").replace("BilledCost", "Cost", 1), encoding="utf-8")
    assert "BilledCost_Required" in failed_rules(validator, broken)


# ---------- what if


HISTORY = {
    "usage.csv": usage_csv(
        ("2026-01-30", "claude-opus-4-5", "a", (1_000, 2_000, 3_000, 400_000, 5_000)),
        ("2026-02-01", "claude-sonnet-4-5", "b", (10, 20, 30, 40, 50)),
        ("2026-02-01", "house-model", "b", (10, 20, 30, 40, 50)),
    ),
    "sessions.csv": sessions_csv(("s1", "2026-02-02", "u", "b", 1234), ("s2", "2026-02-01", "u", "b", 99)),
}


@pytest.fixture(scope="module")
def history(models: Models) -> Any:
    with models.over(
        HISTORY, "marts.charges", "marts.token_usage_minutes", "marts.cache_efficiency_stats"
    ) as connection:
        yield connection


def test_the_same_card_makes_no_difference(history: duckdb.DuckDBPyConnection) -> None:
    found = repricing.reprice(history, None, {})
    assert found.total("difference_usd") == 0
    assert all(row["difference_usd"] == 0 for row in found.rows)
    # the provider's usage counts on days that it lists, logs on the others
    (spent,) = rows_of(
        history,
        "SELECT sum(cost_usd) FROM marts.charges WHERE source = 'console' OR usage_date = '2026-02-02'",
    )
    assert found.total("old_usd") == spent[0]
    assert {row["model"]: row["unpriced_tokens"] for row in found.rows}["house-model"] == 150


def test_a_model_mapped_to_another_takes_its_rates_kind_by_kind(history: duckdb.DuckDBPyConnection) -> None:
    pairs = repricing.parse_map(["Claude Opus 4.5=claude-sonnet-4-5"], {})
    found = repricing.reprice(history, None, {}, pairs)
    (row,) = [row for row in found.rows if row["model"] == "claude-opus-4-5"]
    by_hand = sum(
        Decimal(tokens) * Decimal(usd) / 10**6
        for tokens, usd in zip((1_000, 2_000, 3_000, 400_000, 5_000), ("3", "3.75", "6", "0.30", "15"), strict=True)
    )
    assert (row["new_model"], row["new_usd"]) == ("claude-sonnet-4-5", by_hand)
    assert any("claude-opus-4-5 -> claude-sonnet-4-5" in sentence for sentence in found.assumptions)


def test_no_cache_costs_what_the_cache_statistics_say_it_would(history: duckdb.DuckDBPyConnection) -> None:
    found = repricing.reprice(history, None, {}, cache="none")
    (stated,) = rows_of(
        history, "SELECT sum(cost_without_cache_usd) FROM marts.cache_efficiency_stats WHERE source = 'console'"
    )
    assert sum(row["new_usd"] for row in found.rows if row["month"] == "2026-01" or row["tokens"] == 150) == stated[0]


def test_another_file_of_rates_is_another_card(history: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    path = tmp_path / "rates.csv"
    path.write_text(
        OVERRIDE_HEAD.replace("\n", ",discount_percent\n") + ",,,,,,2026-02-01,,10\nhouse-model,,,,,,2026-01-01,1,\n",
        encoding="utf-8",
    )
    found = repricing.reprice(history, path, {})
    by_month: dict[str, Decimal] = {}
    for row in found.rows:
        by_month[row["month"]] = by_month.get(row["month"], Decimal(0)) + row["difference_usd"]
    old = sum(row["old_usd"] for row in found.rows if row["month"] == "2026-02" and row["model"] != "house-model")
    assert by_month == {"2026-01": 0, "2026-02": (-old / 10).quantize(MONEY)}


@pytest.mark.parametrize(
    ("pairs", "problem"),
    [(["a"], "write it as"), (["claude-opus-4-5=nobody-knows"], "no price"), (["gpt-5=claude-opus-4-5"], "never used")],
)
def test_a_mapping_that_cannot_be_priced_is_refused(
    history: duckdb.DuckDBPyConnection, pairs: list[str], problem: str
) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        repricing.reprice(history, None, {}, repricing.parse_map(pairs, {}))


# ---------- the card against the bill


def bill_at(factor: Fraction, seed: int, days: int, changes_on: int = 0) -> dict[str, str]:
    """Exports of one key over `days` of January, billed to the cent at `factor` x list from day `changes_on` on."""
    chance = random.Random(seed)
    usage, costs = [], []
    rates_usd = dict(zip(COST_KINDS, map(Fraction, ("3", "3.75", "6", "0.30", "15")), strict=True))
    for day in range(1, days + 1):
        kinds = tuple(chance.choice([0, 900, 40_000, 3_000_000]) for _ in COST_KINDS)
        usage.append((f"2026-01-{day:02}", "claude-sonnet-4-5", "a", kinds))
        for (kind, usd), tokens in zip(rates_usd.items(), kinds, strict=True):
            at = factor if day >= changes_on else Fraction(1)
            cents = round(usd * at * tokens / 10**4)
            costs.append((f"2026-01-{day:02}", "Claude Sonnet 4.5", "a", kind, f"{cents // 100}.{cents % 100:02}"))
    return {"usage.csv": usage_csv(*usage), "costs.csv": cost_csv(*costs)}


def checked(models: Models, files: dict[str, str], overrides: Path | None = None) -> tuple[rate_check.Finding, ...]:
    with models.over(
        files, "marts.charges", "marts.token_usage_minutes", "marts.billed_costs", "marts.usage_reconciliation"
    ) as connection:
        return rate_check.check(connection, overrides, {})


@settings(max_examples=5, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 10**6), st.sampled_from(["1", "0.95", "1.05", "0.8", "1.01"]))
def test_the_implied_interval_holds_the_true_rate_and_proposed_lines_make_the_card_agree(
    models: Models, tmp_path_factory: pytest.TempPathFactory, seed: int, factor: str
) -> None:
    files = bill_at(Fraction(factor), seed, days=12)
    findings = checked(models, files)
    listed = dict(zip(rates.TOKEN_KINDS, map(Fraction, ("3", "3.75", "6", "0.30", "15")), strict=False))
    assert {each.key.token_kind for each in findings} <= set(listed)
    for each in findings:
        assert each.low <= listed[each.key.token_kind] * Fraction(factor) <= each.high
    lines = rate_check.proposals(findings)
    assert bool(lines) == (factor != "1")
    if lines:
        path = tmp_path_factory.mktemp("proposed") / "rate_overrides.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, rate_check.COLUMNS)
            writer.writeheader()
            writer.writerows(lines)
        assert {each.verdict for each in checked(models, files, path)} <= {"agrees", "undetectable"}


def test_a_rate_that_changed_inside_the_month_is_proposed_from_its_day(models: Models) -> None:
    findings = checked(models, bill_at(Fraction("1.1"), seed=3, days=20, changes_on=11))
    output = [each for each in findings if each.key.token_kind == "output"]
    assert [each.verdict for each in output] == ["agrees", "differs"]
    assert dt.date(2026, 1, 11) <= output[1].first_day <= dt.date(2026, 1, 13)
    (line,) = [line for line in rate_check.proposals(findings) if line["token_kind"] == "output"]
    assert (line["usd_per_mtok"], line["valid_to"]) == ("16.5", "")


def test_one_discount_on_everything_is_proposed_as_one_line(models: Models) -> None:
    (line,) = rate_check.proposals(checked(models, bill_at(Fraction("0.9"), seed=5, days=20)))
    assert (line["model"], line["token_kind"], line["multiplier"]) == ("", "", "0.9")


def test_the_simplest_rate_inside_an_interval_is_proposed() -> None:
    assert rate_check.simplest(Fraction("14.2"), Fraction("15.3")) == 15
    assert rate_check.simplest(Fraction("14.21"), Fraction("14.29")) == Decimal("14.25")
    assert rate_check.simplest(Fraction("0.2999"), Fraction("0.3001")) == Decimal("0.3")


# ---------- cost in SQL against genai-prices


def test_ten_thousand_requests_cost_in_sql_what_genai_prices_says(models: Models) -> None:
    chance = random.Random(20260101)
    priced = {(row["model"], row["token_kind"]) for row in rates.rate_card([], None).to_pylist()}
    names = sorted({model for model, kind in priced if kind == "cache_write_1h"})
    contexts = {"standard": {}, "batch": {"processing": "batch"}, "fast": {"speed": "fast"}}
    lines, expected = [], {}
    for number in range(10_000):
        model = chance.choice(names)
        counts = [chance.choice([0, 1, 999, chance.randrange(90_000), chance.randrange(400_000)]) for _ in range(5)]
        day = dt.datetime(2025, 6, 1, 12, tzinfo=dt.UTC) + dt.timedelta(days=chance.randrange(500))
        tier = chance.choice(["standard", "standard", "batch", "fast"])
        fresh, short, long, read, output = counts
        usage = {
            "input_tokens": fresh,
            "cache_creation_input_tokens": short + long,
            "cache_read_input_tokens": read,
            "output_tokens": output,
            "cache_creation": {"ephemeral_5m_input_tokens": short, "ephemeral_1h_input_tokens": long},
            "service_tier": "batch" if tier == "batch" else "standard",
            "speed": "fast" if tier == "fast" else "standard",
        }
        lines.append(
            json.dumps(
                {
                    "type": "assistant",
                    "sessionId": "s",
                    "requestId": f"r{number}",
                    "uuid": f"u{number}",
                    "timestamp": day.isoformat().replace("+00:00", "Z"),
                    "message": {"id": f"m{number}", "role": "assistant", "model": model, "usage": usage},
                }
            )
        )
        _, info = get_snapshot().find_provider_model(model, None, "anthropic", None)
        has_price = tier == "standard" or any(
            variant.when == contexts[tier]
            and (variant.constraint is None or variant.constraint.start_date <= day.date())
            for variant in info.price_variants or ()
        )
        expected[f"m{number}:r{number}"] = (
            genai_prices.calc_price(
                genai_prices.Usage(
                    input_tokens=fresh + short + long + read,
                    cache_write_tokens=short + long,
                    cache_write_1h_tokens=long,
                    cache_read_tokens=read,
                    output_tokens=output,
                ),
                model,
                provider_id="anthropic",
                genai_request_timestamp=day,
                price_context=contexts[tier] or None,
            ).total_price
            if has_price
            else (None if any(counts) else 0)
        )
    with models.over({"transcript.jsonl": "\n".join(lines)}, "marts.requests") as connection:
        found = dict(rows_of(connection, "SELECT request_key, estimated_cost_usd FROM marts.requests"))
    assert len(found) == 10_000
    wrong = {key: (cost, found.get(key)) for key, cost in expected.items() if found.get(key) != cost}
    assert wrong == {}, list(wrong.items())[:5]
    assert sum(cost is None for cost in expected.values()) < 5_000


def test_a_commitment_is_read_with_its_months_and_without_a_rate(tmp_path: Path) -> None:
    path = tmp_path / "rate_overrides.csv"
    head = OVERRIDE_HEAD.replace("\n", ",commitment_usd_per_month,discount_percent,valid_to\n")
    path.write_text(head + ",,,,,,2026-01-01,,500,,2027-01-01\n,,,,,,2026-01-01,,,12.5,\n", encoding="utf-8")
    (line,) = rates.commitments(path).to_pylist()
    assert (line["override_line"], line["model"], line["committed_usd_per_month"]) == (2, None, 500)
    card = pa.Table.to_pylist(rates.rate_card([], path))
    (output,) = [
        row
        for row in card
        if row["model"] == "claude-sonnet-4-5"
        and (row["token_kind"], row["context_window"], row["usage_type"]) == ("output", "0-200k", "standard")
        and (row["inference_geo"], row["speed"], row["valid_from"]) == ("", "standard", dt.date(2026, 1, 1))
    ]
    assert (output["usd_per_mtok"], output["list_usd_per_mtok"], output["override_line"]) == (
        Decimal("13.125"),
        15,
        3,
    )
    assert output["price_list"].startswith("genai-prices ")


@pytest.mark.parametrize(
    ("cells", "column"),
    [
        (",,,,,,2026-01-15,,500,,", "valid_from"),
        (",,,,,,2026-01-01,,,101,", "discount_percent"),
        (",,,,,,2026-01-01,3,,10,", "discount_percent"),
    ],
)
def test_a_wrong_commitment_or_discount_names_its_cell(tmp_path: Path, cells: str, column: str) -> None:
    path = tmp_path / "rate_overrides.csv"
    head = OVERRIDE_HEAD.replace("\n", ",commitment_usd_per_month,discount_percent,valid_to\n")
    path.write_text(head + cells + "\n", encoding="utf-8")
    with pytest.raises(ConfigurationError, match=f"line 2, column {column}: "):
        rates.rate_card([], path)
