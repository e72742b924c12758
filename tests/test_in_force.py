"""One rule decides which usage counts, and every table follows it: the sums are equal everywhere."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import duckdb
import pytest
from rows import USAGE_HEAD

from pipeline.analysis import bridge
from pipeline.analysis.days import daily_series
from pipeline.pricing import bill_history
from pipeline.settings import Settings
from pipeline.store.sqlfiles import sql

DAYS = [f"2026-0{month}-{day:02}" for month in (1, 2) for day in range(1, 29)]
KEYS = {"team": "metered", "other": "metered", "seat": "subscription"}
SESSIONS_HEAD = (
    "session_id,user_id,session_started_at,last_updated_at,model,input_tokens,output_tokens,cache_read_tokens,"
    "cache_creation_tokens,api_key"
)
MODELS = {"claude-sonnet-4-5": 15, "gpt-4o": 10}  # USD per million output tokens at list
Row = tuple[str, str, str, int]  # day, model, key, output tokens


def random_usage(seed: int) -> tuple[list[Row], list[Row]]:
    """Usage in the provider's export and in our logs; some days have only one of them, some rows have no tokens."""
    chance = random.Random(seed)
    listed: list[Row] = []
    logged: list[Row] = []
    for day in DAYS:
        listed += [
            (day, "claude-sonnet-4-5", chance.choice(list(KEYS)), chance.choice([0, 1000, 70_000]))
            for _ in range(chance.randrange(3))
        ]
        logged += [
            (day, chance.choice(list(MODELS)), chance.choice(list(KEYS)), chance.randrange(1, 90_000))
            for _ in range(chance.randrange(4))
        ]
    return listed, logged


def counted(listed: list[Row], logged: list[Row]) -> Decimal:
    """The rule in plain Python: per day, provider and mode, the export if it lists any tokens, else the logs."""
    accounts = {(day, MODELS[model], KEYS[key]) for day, model, key, tokens in listed if tokens}
    kept = [row for row in logged if (row[0], MODELS[row[1]], KEYS[row[2]]) not in accounts]
    return sum(
        (Decimal(tokens * MODELS[model]) / 10**6 for _, model, key, tokens in listed + kept if KEYS[key] == "metered"),
        Decimal(0),
    )


@pytest.fixture(scope="module", params=range(3))
def home(models: Any, request: pytest.FixtureRequest) -> Iterator[tuple[duckdb.DuckDBPyConnection, Settings, Decimal]]:
    listed, logged = random_usage(request.param)
    export = [f"{day},{model},{key},W,standard,0-200k,0,0,0,0,{tokens},0" for day, model, key, tokens in listed]
    sessions = [
        f"s{number},u{number % 3},{day} 08:00:00,{day} 08:00:30,{model},0,{tokens},0,0,{key}"
        for number, (day, model, key, tokens) in enumerate(logged)
    ]
    files = {
        "usage.csv": "\n".join([USAGE_HEAD, *export]),
        "sessions.csv": "\n".join([SESSIONS_HEAD, *sessions]),
    }
    names = ("marts.token_usage_minutes", "marts.token_usage_sessions", "marts.charges", "marts.requests",
             "marts.billed_costs", "marts.model_rates", "marts.focus_1_2")  # fmt: skip
    mode = {"api_keys": {"seat": "subscription"}}
    with models.over(files, *names, billing_mode=mode) as connection:
        yield connection, Settings(home="unused"), counted(listed, logged)


def test_every_reader_of_usage_finds_the_same_sum(
    home: tuple[duckdb.DuckDBPyConnection, Settings, Decimal],
) -> None:
    marts, settings, expected = home

    def one(query: str) -> Any:
        return marts.execute(query).fetchall()[0][0]

    _, (everything, *_) = daily_series(marts, 5)
    whole = bridge.Period(dt.date(2026, 1, 1), dt.date(2026, 12, 31))
    bridged, *_ = bridge.bridge_between(marts, whole, whole).to_pylist()
    assert expected > 0
    found = {
        "minutes": one(
            "SELECT sum(estimated_cost_usd) FROM marts.token_usage_minutes "
            "WHERE is_in_force AND billing_mode = 'metered'"
        ),
        "charges": one("SELECT sum(cost_usd) FROM marts.charges WHERE is_in_force AND billing_mode = 'metered'"),
        "focus": one("SELECT sum(listcost) FROM marts.focus_1_2"),
        "pricing": bill_history.organisation(marts, settings).summary["cost_usd"],
        "bridge": bridged["month_usd"],
        "savings": one(sql("savings/coverage")),
    }
    assert found == dict.fromkeys(found, expected)
    assert everything.days.sum() == pytest.approx(float(expected), rel=1e-12)


def test_what_counts_does_not_depend_on_kind_or_model(
    home: tuple[duckdb.DuckDBPyConnection, Settings, Decimal],
) -> None:
    marts, _, _ = home
    mixed = marts.execute(
        "SELECT provider, usage_date, billing_mode, source FROM marts.charges GROUP BY ALL "
        "HAVING count(DISTINCT is_in_force) > 1"
    ).fetchall()
    assert mixed == []
