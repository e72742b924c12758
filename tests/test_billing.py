"""The pricing tables: which rows make a bill, what is left out, and the reasons given."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from marts import IN_FORCE

from pipeline.pricing import bill_history, recommendation
from pipeline.pricing.frontier import PRINCIPLES
from pipeline.settings import Settings
from pipeline.store import computed

CLASSICS = ["per_token", "bundle", "hybrid", "insurance"]
# In the order of the tables; session_cap only where sessions are known.
MECHANISMS = [*CLASSICS, "allowance", "tiered", "commitment", "credits"]
FIVE_KINDS = (
    "input_tokens_no_cache",
    "input_tokens_cache_write_5m",
    "input_tokens_cache_write_1h",
    "input_tokens_cache_read",
    "output_tokens",
)
TEXTS = ("model", "model_version", "api_key", "workspace", "user_id", "project", "usage_type", "context_window")


@pytest.fixture
def marts() -> Iterator[duckdb.DuckDBPyConnection]:
    connection = duckdb.connect()
    texts = ", ".join(f"{name} varchar default ''" for name in (*TEXTS, "inference_geo", "speed"))
    kinds = ", ".join(f"{name} bigint default 0" for name in FIVE_KINDS)
    connection.execute("create schema marts")
    connection.execute(
        f"create table marts.token_usage_minutes (source varchar, provider varchar default 'anthropic', "
        f"usage_minute timestamp, bucket_seconds integer default 86400, {texts}, usage_date date, {kinds}, "
        "web_search_count bigint default 0, total_tokens bigint default 1000, request_count bigint, "
        "estimated_cost_usd decimal(38, 12), billing_mode varchar default 'metered', is_in_force boolean default true)"
    )
    connection.execute(
        "create table marts.token_usage_sessions (session_id varchar, session_started_at timestamp, "
        "last_updated_at timestamp, total_tokens bigint default 1000, estimated_cost_usd decimal(38, 12), "
        "billing_mode varchar default 'metered', user_id varchar default '', api_key varchar default '', "
        "workspace varchar default '', primary_model varchar default '')"
    )
    yield connection
    connection.close()


def usage(day: date, cost: Decimal | str | None, **columns: Any) -> dict[str, Any]:
    amount = None if cost is None else Decimal(cost)
    row = {"source": "sessions", "usage_date": day, "usage_minute": datetime(day.year, day.month, day.day)}
    return row | {"estimated_cost_usd": amount} | columns


def load(connection: duckdb.DuckDBPyConnection, loaded: list[dict[str, Any]]) -> None:
    connection.register("loaded", pa.Table.from_pylist(loaded))
    connection.execute("insert into marts.token_usage_minutes by name select * from loaded")
    connection.unregister("loaded")
    connection.execute(IN_FORCE)


def add_sessions(connection: duckdb.DuckDBPyConnection, sessions: list[tuple[date, str, str]]) -> None:
    """Sessions of a day, cost and model."""
    connection.executemany(
        "insert into marts.token_usage_sessions by name select uuid()::varchar as session_id, "
        "?::timestamp as session_started_at, ?::decimal(38, 12) as estimated_cost_usd, ? as primary_model",
        sessions,
    )


def add(connection: duckdb.DuckDBPyConnection, day: date, cost: Decimal | str | None, **columns: Any) -> None:
    load(connection, [usage(day, cost, **columns)])


def days(first: date, last: date) -> Iterator[date]:
    for number in range((last - first).days + 1):
        yield first + timedelta(days=number)


def fill(
    connection: duckdb.DuckDBPyConnection,
    first: date = date(2026, 1, 1),
    last: date = date(2026, 6, 30),
    users: tuple[str, ...] = ("ana", "bo", "cy", "di"),
    **columns: Any,
) -> None:
    load(
        connection,
        [
            usage(day, round(Decimal((number * 7 + at * 13) % 29 + at * 10) / 7, 12), user_id=user, **columns)
            for number, day in enumerate(days(first, last))
            for at, user in enumerate(users)
        ],
    )


def settings(**overrides: Any) -> Settings:
    return Settings(home="unused", **overrides)


def pricing_bills(connection: duckdb.DuckDBPyConnection, settings: Settings) -> pa.Table:
    return bill_history.pricing_bills(bill_history.pools(connection, settings))


def pricing_risk(connection: duckdb.DuckDBPyConnection, settings: Settings) -> pa.Table:
    return bill_history.pricing_risk(bill_history.pools(connection, settings), settings)


def rows(table: pa.Table, **where: Any) -> list[dict[str, Any]]:
    return [row for row in table.to_pylist() if all(row[name] == value for name, value in where.items())]


def test_every_mechanism_is_priced_on_both_dimensions_by_each_loading_principle(marts):
    fill(marts)
    table = pricing_risk(marts, settings())
    for dimension in ("organisation", "user_id"):
        found = rows(table, customer_dimension=dimension)
        assert [row["mechanism"] for row in found] == [name for name in MECHANISMS for _ in PRINCIPLES]
        assert {row["loading_principle"] for row in found} == set(PRINCIPLES)
        assert {row["status"] for row in found} == {"ok"}
        assert {row["basis"] for row in found} == {"equal_revenue"}
    assert {row["n_bills"] for row in rows(table, customer_dimension="organisation")} == {10_000}
    assert {row["n_bills"] for row in rows(table, customer_dimension="user_id")} == {24}


@pytest.mark.parametrize("n_days", [3, 7])
def test_one_session_in_a_few_days_has_a_modelled_month_for_all_and_for_a_model_alone(marts, n_days):
    first = date(2026, 3, 1)
    add_sessions(marts, [(first, "1.5", "a")])
    for day in (first, first + timedelta(days=n_days - 1)):
        add(marts, day, "1.5", model="a" if day == first else "b", user_id="ana")
    table = pricing_risk(marts, settings())
    modelled = rows(table, method="compound_model")
    assert {row["segment"] for row in modelled} >= {"all", "model=a"}
    assert all("(Poisson)" in row["reason"] and row["mean"] > 0 for row in modelled)


def test_what_cannot_be_computed_is_one_row_that_says_so(marts, monkeypatch):
    add_sessions(marts, [(date(2026, 3, 1), "1.5", "a")])
    add(marts, date(2026, 3, 1), "1.5", user_id="ana")

    def no_grid(*_: object) -> None:
        raise ArithmeticError("no grid holds it")

    monkeypatch.setattr(bill_history, "compound", no_grid)
    table = pricing_risk(marts, settings())
    (row,) = rows(table, method="compound_model")
    assert (row["status"], row["mechanism"], row["n_bills"]) == ("unavailable", None, 0)
    assert row["reason"].startswith("not computed, ArithmeticError: no grid holds it")
    assert rows(table, customer_dimension="user_id", mechanism="bundle")


def test_a_table_that_fails_leaves_the_others_and_carries_its_reason(marts, monkeypatch):
    fill(marts)

    def fails(*_: object) -> None:
        raise OverflowError("date value out of range")

    monkeypatch.setattr(recommendation, "_provider", fails)
    made = recommendation.tables(marts, settings())
    assert {name for name, table in made.items() if computed.failure(table)} == {"pricing_provider"}
    (row,) = made["pricing_provider"].to_pylist()
    assert row["reason"] == "unavailable: not computed, OverflowError: date value out of range"
    assert made["pricing_risk"].num_rows > 1


def test_mechanisms_of_a_dimension_have_the_very_same_mean(marts):
    fill(marts)
    table = pricing_risk(marts, settings())
    for dimension in ("organisation", "user_id"):
        assert len({row["mean"] for row in rows(table, customer_dimension=dimension)}) == 1


def test_default_terms_give_the_reductions_that_they_must(marts):
    fill(marts)
    for row in rows(pricing_risk(marts, settings()), loading_principle="expected_value"):
        expected = {"per_token": 0.0, "bundle": 1.0, "hybrid": 0.75}.get(row["mechanism"])
        if expected is not None:
            assert row["variance_reduction_pooled"] == pytest.approx(expected, abs=1e-9)
            assert row["variance_reduction"] == pytest.approx(expected, abs=1e-9)
        elif row["mechanism"] == "insurance":
            assert 0 < row["variance_reduction_pooled"] < 0.75
            assert set(json.loads(row["params"])) == {"deductible_usd", "limit_usd", "coinsurance", "premium_usd"}


def test_usage_that_a_subscription_covers_is_on_no_bill(marts):
    fill(marts)
    before = pricing_bills(marts, settings()).to_pylist()
    fill(marts, users=("ana", "seat"), billing_mode="subscription")
    assert pricing_bills(marts, settings()).to_pylist() == before


def test_observed_bills_are_the_sums_of_the_marts_and_prices_earn_the_same(marts):
    fill(marts)
    table = pricing_bills(marts, settings())
    sums = marts.execute(
        "select user_id, date_trunc('month', usage_date)::date, sum(estimated_cost_usd) "
        "from marts.token_usage_minutes group by all"
    ).fetchall()
    per_month = {(user, month): cost for user, month, cost in sums}
    for mechanism in MECHANISMS:
        found = rows(table, customer_dimension="user_id", mechanism=mechanism)
        assert {(row["customer"], row["month"]): row["bill_usd"] for row in found} == per_month
        prices, bills = (sum(row[name] for row in found) for name in ("price_usd", "bill_usd"))
        assert float(prices) == pytest.approx(float(bills), rel=1e-9)
    per_token = rows(table, mechanism="per_token")
    assert all(row["price_usd"] == row["bill_usd"] for row in per_token)


def test_the_organisation_has_one_observed_bill_a_month_and_mechanism(marts):
    fill(marts)
    found = rows(pricing_bills(marts, settings()), customer_dimension="organisation")
    assert len(found) == 6 * len(MECHANISMS)
    assert {row["month"] for row in found} == {date(2026, month, 1) for month in range(1, 7)}


def test_another_seed_gives_other_months(marts):
    fill(marts)
    assert pricing_risk(marts, settings(seed=1)) != pricing_risk(marts, settings())


def test_partial_edge_months_of_a_long_history_are_left_out_and_named(marts):
    fill(marts, date(2026, 1, 15), date(2026, 4, 10))
    risk = rows(pricing_risk(marts, settings()), customer_dimension="user_id")
    assert {row["n_bills"] for row in risk} == {2 * 4}
    assert "2026-01, 2026-04: left out" in risk[0]["reason"]
    bills = rows(pricing_bills(marts, settings()), customer_dimension="user_id")
    assert {row["month"] for row in bills if row["mechanism"]} == {date(2026, 2, 1), date(2026, 3, 1)}
    left_out = [row for row in bills if row["mechanism"] is None]
    assert {row["status"] for row in left_out} == {"partial_month"}
    assert {row["price_usd"] for row in left_out} == {None}
    assert "2026-01-15 to 2026-04-10" in left_out[0]["reason"]
    total = marts.execute("select sum(estimated_cost_usd) from marts.token_usage_minutes").fetchall()[0][0]
    assert sum(row["bill_usd"] for row in bills if row["mechanism"] in (None, "per_token")) == total


def test_partial_months_of_a_short_history_stay_and_are_marked(marts):
    fill(marts, date(2026, 1, 15), date(2026, 2, 10))
    bills = rows(pricing_bills(marts, settings()), customer_dimension="user_id", mechanism="per_token")
    assert {(row["month"].month, row["partial_month"]) for row in bills} == {(1, True), (2, True)}
    assert "used as it is" in rows(pricing_risk(marts, settings()), customer_dimension="user_id")[0]["reason"]


def test_unattributed_usage_is_reported_and_is_no_customer(marts):
    fill(marts)
    for day in days(date(2026, 1, 1), date(2026, 6, 30)):
        add(marts, day, "1.5", user_id="")
        add(marts, day, "0.5", user_id=None)
    risk = rows(pricing_risk(marts, settings()), customer_dimension="user_id")
    assert {row["n_customers"] for row in risk if row["mechanism"]} == {4}
    (apart,) = [row for row in risk if row["status"] == "unattributed"]
    assert apart["total_cost_usd"] == 2 * 181
    assert (apart["mechanism"], apart["n_bills"], apart["n_customers"]) == (None, 0, 0)
    months = rows(pricing_bills(marts, settings()), status="unattributed")
    assert {row["customer"] for row in months} == {None}
    assert sum(row["bill_usd"] for row in months) == 2 * 181


def test_organisation_bills_hold_what_states_no_customer(marts):
    add(marts, date(2026, 1, 1), "1", user_id="ana")
    add(marts, date(2026, 1, 31), "2", user_id="")
    (bill,) = rows(pricing_bills(marts, settings()), customer_dimension="organisation", mechanism="per_token")
    assert bill["bill_usd"] == 3


def test_fewer_than_twenty_bills_say_so_and_have_no_tails(marts):
    fill(marts, users=("ana", "bo"))
    found = rows(pricing_risk(marts, settings()), customer_dimension="user_id")
    assert {row["status"] for row in found} == {"too_few"}
    assert "12 bills, at least 20" in found[0]["reason"]
    assert {row["var_95"] for row in found} | {row["tvar_99"] for row in found} == {None}


def test_months_simulated_from_a_few_days_are_no_evidence_of_tails(marts):
    fill(marts, date(2026, 3, 1), date(2026, 3, 20))
    found = rows(pricing_risk(marts, settings()), customer_dimension="organisation")
    assert {row["status"] for row in found} == {"too_few"}
    assert "20 days of history" in found[0]["reason"]
    assert {row["tvar_99"] for row in found} == {None}


def test_an_unstated_dimension_falls_back_to_the_api_key_then_the_workspace(marts):
    fill(marts, users=("",), api_key="key-1")
    found = rows(pricing_risk(marts, settings()), customer_dimension="api_key", mechanism="bundle")
    assert found
    assert "no row states user_id" in found[0]["reason"]
    marts.execute("update marts.token_usage_minutes set api_key = '', workspace = 'lab'")
    assert rows(pricing_risk(marts, settings()), customer_dimension="workspace", mechanism="bundle")


def test_usage_that_states_no_customer_of_any_kind_gives_one_row_of_the_dimension(marts):
    fill(marts, users=("",))
    (row,) = rows(pricing_risk(marts, settings()), customer_dimension="user_id")
    assert (row["status"], row["mechanism"]) == ("unattributed", None)
    assert "user_id, api_key or workspace" in row["reason"]
    months = rows(pricing_bills(marts, settings()), customer_dimension="user_id")
    assert {(month["status"], month["price_usd"]) for month in months} == {("unattributed", None)}


def test_an_empty_landing_gives_one_row_that_says_so(marts):
    for make in (pricing_bills, pricing_risk):
        (row,) = make(marts, settings()).to_pylist()
        assert (row["status"], row["mechanism"]) == ("unavailable", None)
        assert row["reason"]


def test_a_history_without_prices_gives_one_row_that_says_so(marts):
    add(marts, date(2026, 1, 1), None, user_id="ana")
    for make in (pricing_bills, pricing_risk):
        (row,) = make(marts, settings()).to_pylist()
        assert row["status"] == "unpriced"
        assert "none of 1000 tokens has a price" in row["reason"]


def test_an_unpriced_month_is_no_bill_of_zero(marts):
    fill(marts)
    for day in days(date(2026, 2, 1), date(2026, 2, 28)):
        add(marts, day, None, user_id="eve")
    risk = rows(pricing_risk(marts, settings()), customer_dimension="user_id")
    assert {row["n_bills"] for row in risk} == {24}
    assert "of tokens have no price" in risk[0]["reason"]
    (month,) = rows(pricing_bills(marts, settings()), customer="eve")
    assert (month["status"], month["bill_usd"], month["unpriced_tokens"]) == ("unpriced", None, 28_000)


def test_a_day_of_unknown_cost_is_not_simulated_as_a_free_day(marts):
    for day in days(date(2026, 1, 1), date(2026, 3, 31)):
        add(marts, day, None if day.month == 2 else "1", user_id="ana")
    found = rows(pricing_risk(marts, settings()), customer_dimension="organisation")[0]
    assert found["history_days"] == 62
    assert "28 days without any price" in found["reason"]
    assert found["mean"] == pytest.approx(30, rel=1e-3)  # April


def test_days_without_usage_are_free_days(marts):
    for day in days(date(2026, 1, 1), date(2026, 3, 31)):
        if day.day % 2:
            add(marts, day, "2", user_id="ana")
    found = rows(pricing_risk(marts, settings()), customer_dimension="organisation")[0]
    assert found["history_days"] == 90
    assert found["mean"] == pytest.approx(2 * 15, rel=0.05)  # April


def test_the_console_counts_where_it_covers_the_provider_and_day_and_sessions_elsewhere(marts):
    add(marts, date(2026, 1, 1), "10", source="console", api_key="k")
    add(marts, date(2026, 1, 1), "9", user_id="ana", api_key="k")
    add(marts, date(2026, 1, 1), "4", user_id="ana", api_key="o", provider="openai")
    add(marts, date(2026, 1, 31), "5", user_id="ana", api_key="k")
    table = pricing_bills(marts, settings(customer_dimension="api_key"))
    (organisation,) = rows(table, customer_dimension="organisation", mechanism="per_token")
    assert (organisation["bill_usd"], organisation["source"]) == (19, "console+sessions")
    keys = {
        row["customer"]: row["bill_usd"] for row in rows(table, customer_dimension="api_key", mechanism="per_token")
    }
    assert keys == {"k": 15, "o": 4}


def test_bills_by_user_come_from_the_sessions_even_where_the_console_covers_the_day(marts):
    add(marts, date(2026, 1, 1), "10", source="console", api_key="k")
    add(marts, date(2026, 1, 1), "9", user_id="ana")
    (bill,) = rows(pricing_bills(marts, settings()), customer_dimension="user_id", mechanism="per_token")
    assert (bill["customer"], bill["bill_usd"], bill["source"]) == ("ana", 9, "sessions")


def test_each_session_is_a_bill_where_the_customer_is_a_session(marts):
    for number in range(40):
        started = datetime(2026, 1, 10) + timedelta(days=number)
        marts.execute(
            "insert into marts.token_usage_sessions (session_id, session_started_at, last_updated_at, "
            "estimated_cost_usd) values (?, ?, ?, ?)",
            [f"s{number:02}", started, started, Decimal(number + 1)],
        )
    fill(marts, date(2026, 1, 10), date(2026, 3, 10))
    found = rows(pricing_risk(marts, settings(customer_dimension="session_id")), customer_dimension="session_id")
    assert {(row["n_bills"], row["n_customers"]) for row in found} == {(40, 40)}
    assert "session_cap" in {row["mechanism"] for row in found}
    assert {row["variance_reduction"] for row in found} == {None}
    assert all(row["simulation_error"] is not None for row in found)


def test_idle_months_are_counted_and_are_no_bills(marts):
    fill(marts, users=("ana",))
    for month in (1, 2, 5):
        add(marts, date(2026, month, 3), "7", user_id="bo")
    found = rows(pricing_risk(marts, settings()), customer_dimension="user_id")[0]
    assert (found["n_bills"], found["idle_months"]) == (9, 2)


def test_an_error_by_redrawing_needs_thirty_customers(marts):
    fill(marts, date(2026, 1, 1), date(2026, 2, 28), users=tuple(f"u{number:02}" for number in range(30)))
    by_mechanism = {
        row["mechanism"]: row["simulation_error"]
        for row in rows(pricing_risk(marts, settings()), customer_dimension="user_id")
    }
    assert by_mechanism["bundle"] == pytest.approx(0, abs=1e-9)
    assert by_mechanism["hybrid"] == pytest.approx(by_mechanism["per_token"] / 2, rel=1e-9)
    marts.execute("delete from marts.token_usage_minutes where user_id = 'u00'")
    assert rows(pricing_risk(marts, settings()), customer_dimension="user_id")[0]["simulation_error"] is None


def test_the_chance_to_exceed_the_budget_is_null_without_a_budget(marts):
    fill(marts)
    assert {row["p_over_budget"] for row in rows(pricing_risk(marts, settings()))} == {None}
    with_budget = rows(pricing_risk(marts, settings(budget_usd=1.0)), customer_dimension="organisation")
    assert {row["p_over_budget"] for row in with_budget} == {1.0}


@pytest.mark.parametrize("schema", recommendation.SCHEMAS.values(), ids=recommendation.SCHEMAS)
def test_every_table_and_column_is_described(schema):
    assert schema.metadata[b"description"]
    assert all(field.metadata[b"description"] for field in schema)


def test_tables_have_their_schemas_and_leave_nothing_behind(marts):
    fill(marts)
    made = recommendation.tables(marts, settings())
    assert made.keys() == recommendation.SCHEMAS.keys()
    for name, schema in recommendation.SCHEMAS.items():
        assert made[name].schema.equals(schema), name
        assert made[name].num_rows, name
    assert {row["status"] for row in rows(made["pricing_recommendation"], target="budget")} == {"no_budget"}
    assert marts.execute("select count(*) from duckdb_tables() where temporary").fetchall() == [(0,)]


def session(connection: duckdb.DuckDBPyConnection, started: datetime, cost: str, **columns: Any) -> None:
    number = connection.execute("select count(*) from marts.token_usage_sessions").fetchall()[0][0]
    row = {"session_id": f"s{number:05}", "session_started_at": started, "last_updated_at": started}
    loaded = pa.Table.from_pylist([row | {"estimated_cost_usd": Decimal(cost)} | columns])
    connection.register("loaded", loaded)
    connection.execute("insert into marts.token_usage_sessions by name select * from loaded")
    connection.unregister("loaded")


def fill_with_sessions(connection: duckdb.DuckDBPyConnection, **columns: Any) -> None:
    """Three months in which ana has one session of 10 USD per day, and one of 100 USD on the 5th of each month."""
    for day in days(date(2026, 1, 1), date(2026, 3, 31)):
        cost = Decimal(110 if day.day == 5 else 10)
        add(connection, day, cost, user_id="ana", **columns)
        moment = datetime(day.year, day.month, day.day, 9)
        session(connection, moment, "10", user_id="ana", **columns)
        if day.day == 5:
            session(connection, moment, "100", user_id="ana", **columns)


def quoted(**quotes: dict[str, Any]) -> Settings:
    return settings(quotes=quotes)


def test_a_quote_is_answered_with_what_the_last_year_would_have_cost(marts):
    # 200 USD in odd months, 50 in even ones; the first four months are before the last twelve.
    for number in range(16):
        month = date(2025 + number // 12, number % 12 + 1, 1)
        last = (month + timedelta(days=32)).replace(day=1) - timedelta(days=1)
        add(marts, month, "150" if month.month % 2 else "40", user_id="ana")
        add(marts, last, "50" if month.month % 2 else "10", user_id="ana")
    table = recommendation.tables(marts, quoted(acme={"commitment_usd": 100, "discount": 0.1}))
    (row,) = table["pricing_quotes"].to_pylist()
    assert (row["first_month"], row["last_month"], row["n_months"]) == (date(2025, 5, 1), date(2026, 4, 1), 12)
    assert row["list_usd"] == 6 * 200 + 6 * 50
    assert row["quote_usd"] == 6 * 180 + 6 * 90
    assert row["saving_usd"] == -120
    assert row["dearer_months"] == 6
    assert row["break_even_usd"] == pytest.approx(90)
    assert "$120.00 (8.0%) more" in row["answer"]
    assert "cost more in 6 of 12 months" in row["answer"]
    assert "cheaper if a month's usage at list prices is above $90.00" in row["answer"]


def test_a_month_without_usage_still_owes_the_fee_of_a_quote(marts):
    for month in (1, 2, 5):
        add(marts, date(2026, month, 1), "30", user_id="ana")
    add(marts, date(2026, 5, 31), "30", user_id="ana")
    (row,) = recommendation.tables(marts, quoted(flat={"fee_usd": 25, "overage_rate": 0}))["pricing_quotes"].to_pylist()
    assert (row["n_months"], row["list_usd"], row["quote_usd"]) == (5, 120, 125)
    assert row["dearer_months"] == 2


def test_quotes_are_priced_as_quoted_beside_the_contracts_at_equal_revenue(marts):
    fill(marts)
    table = recommendation.tables(marts, quoted(acme={"fee_usd": 10, "discount": 0.2}))
    as_quoted = rows(table["pricing_risk"], basis="as_quoted")
    assert [(row["mechanism"], row["customer_dimension"]) for row in as_quoted] == [
        ("acme", "organisation"),
        ("acme", "user_id"),
    ]
    for row in as_quoted:
        (per_token,) = rows(
            table["pricing_risk"],
            mechanism="per_token",
            customer_dimension=row["customer_dimension"],
            loading_principle="expected_value",
        )
        assert row["mean"] == pytest.approx(10 + 0.8 * per_token["mean"])
        assert row["saving_usd"] == pytest.approx(per_token["mean"] - row["mean"])
        assert json.loads(row["params"]) == {"fee_usd": 10, "discount": 0.2}
        assert row["loading_principle"] is None
    bills = rows(table["pricing_bills"], mechanism="acme", customer_dimension="user_id")
    assert len(bills) == 24
    assert all(float(bill["price_usd"]) == pytest.approx(10 + 0.8 * float(bill["bill_usd"])) for bill in bills)


def test_a_mechanism_of_the_settings_is_compared_at_equal_revenue(marts):
    fill(marts)
    tiers = [{"from_usd": 0, "rate": 1.0}, {"from_usd": 50, "rate": 0.25}]
    table = pricing_risk(marts, settings(mechanisms={"ours": {"tiers": tiers}}))
    found = rows(table, mechanism="ours", customer_dimension="user_id")
    assert len(found) == len(PRINCIPLES)
    assert found[0]["mean"] == rows(table, mechanism="per_token", customer_dimension="user_id")[0]["mean"]
    assert 0 < found[0]["variance_reduction"] < 1


def test_the_settings_that_the_documentation_shows_are_priced(marts):
    text = (Path(__file__).parent.parent / "docs" / "pricing.md").read_text(encoding="utf-8")
    shown = tomllib.loads(text.split("```toml")[1].split("```")[0])
    fill(marts, date(2026, 1, 1), date(2026, 2, 28), users=("ana",))
    table = pricing_risk(marts, settings(**shown))
    names = {(row["mechanism"], row["basis"]) for row in rows(table, customer_dimension="organisation")}
    assert {(name, "equal_revenue") for name in shown["mechanisms"]} <= names
    assert {(name, "as_quoted") for name in shown["quotes"]} <= names
    (hybrid, *_) = rows(table, mechanism="hybrid_30", customer_dimension="organisation")
    assert hybrid["variance_reduction"] == pytest.approx(1 - 0.3**2)


@pytest.mark.parametrize(
    "terms",
    [
        {"fee_usd": -1},
        {"discount": 2},
        {"tiers": [{"from_usd": 5, "rate": 1}]},
        {"tiers": [{"from_usd": 0, "rate": 1}], "allowance_usd": 3},
        {"fee": 3},
    ],
)
def test_impossible_terms_in_the_settings_are_refused(terms):
    with pytest.raises(ValueError, match="quotes"):
        quoted(acme=terms)


def test_a_cap_a_session_applies_to_sessions_and_not_to_bills(marts):
    fill_with_sessions(marts)
    table = recommendation.tables(marts, settings())
    (capped, *_) = rows(table["pricing_risk"], mechanism="session_cap", customer_dimension="user_id")
    terms = json.loads(capped["params"])
    assert terms["cap_usd"] == 10
    assert terms["fee_usd"] == pytest.approx(90)
    prices = {
        row["month"].month: float(row["price_usd"])
        for row in rows(table["pricing_bills"], mechanism="session_cap", customer_dimension="user_id")
    }
    assert prices == pytest.approx({1: 320 + 90, 2: 290 + 90, 3: 320 + 90})
    (simulated, *_) = rows(table["pricing_risk"], mechanism="session_cap", customer_dimension="organisation")
    assert 0.5 < simulated["variance_reduction"] < 1


def test_without_sessions_the_cap_a_session_is_left_out_and_named(marts):
    fill(marts)
    table = pricing_risk(marts, settings())
    assert rows(table, mechanism="session_cap") == []
    assert "session_cap is left out" in rows(table, mechanism="bundle")[0]["reason"]


def test_the_costliest_segments_are_priced_beside_all(marts):
    fill(marts, users=("ana", "bo"), model="large", api_key="k")
    fill(marts, users=("cy",), model="small", api_key="k")
    table = pricing_risk(marts, settings())
    segments = {row["segment"] for row in table.to_pylist()}
    assert segments == {"all", "model=large", "model=small"}
    whole, large, small = (
        rows(table, segment=name, customer_dimension="organisation", mechanism="per_token")[0]
        for name in ("all", "model=large", "model=small")
    )
    assert whole["total_cost_usd"] == large["total_cost_usd"] + small["total_cost_usd"]
    assert whole["mean"] == pytest.approx(large["mean"] + small["mean"], rel=0.05)  # parts are forecast one by one


def test_a_short_history_of_sessions_is_modelled_and_the_model_is_named(marts):
    for number in range(60):
        moment = datetime(2026, 3, 1) + timedelta(hours=5 * number)
        session(marts, moment, str(1 + number % 7), user_id="ana")
        add(marts, moment.date(), str(1 + number % 7), user_id="ana")
    found = rows(pricing_risk(marts, settings()), customer_dimension="organisation", method="compound_model")
    assert {row["status"] for row in found} == {"model"}
    assert "drawn independently from 60 sessions of 13 days" in found[0]["reason"]
    costs = [1 + number % 7 for number in range(60)]
    assert found[0]["mean"] == pytest.approx(sum(costs) / 13 * 30.4375, rel=1e-6)
    assert found[0]["tvar_99"] is not None


def test_the_frontier_lists_every_mechanism_by_each_principle_and_ends_where_it_must(marts):
    fill(marts)
    table = recommendation.tables(marts, settings())["pricing_frontier"]
    for dimension in ("organisation", "user_id"):
        for name in ("hybrid", "insurance", "allowance", "commitment"):
            for principle in PRINCIPLES:
                where = {"customer_dimension": dimension, "mechanism": name, "loading_principle": principle}
                found = rows(table, **where)
                assert 20 < len(found) <= recommendation.FRONTIER_POINTS
                reductions = [row["variance_reduction"] for row in found]
                assert min(reductions) == pytest.approx(0, abs=1e-6)
                assert max(reductions) > 0.99
                falls = name in ("hybrid", "insurance")
                assert reductions == pytest.approx(sorted(reductions, reverse=falls), abs=1e-9)


def test_the_recommendation_reaches_its_target_and_says_who_bears_the_risk(marts):
    fill(marts, users=tuple("abcdefgh"))
    terms = settings(budget_usd=600, target_variance_reduction=0.6)
    table = recommendation.tables(marts, terms)["pricing_recommendation"]
    best = rows(table, target="variance_reduction", rank=1)
    assert len(best) == 2 * len(PRINCIPLES)
    for row in best:
        assert row["variance_reduction"] >= 0.6 - 1e-6
        assert row["customer_variance_share"] + row["provider_variance_share"] + row["shared_variance_share"] == (
            pytest.approx(1)
        )
        assert row["premium"] == pytest.approx(row["pure_premium"] + row["loading"])
        assert "to remove 60% of the variance" in row["reason"]
    for row in rows(table, target="budget", rank=1):
        assert row["p_over_budget"] <= 0.05
    for dimension in ("organisation", "user_id"):
        names = [row["mechanism"] for row in best if row["customer_dimension"] == dimension]
        asks = ["Ask the provider" in row["reason"] for row in best if row["customer_dimension"] == dimension]
        assert set(asks) == {len(set(names)) > 1}


def test_contracts_by_user_are_the_view_of_a_provider_and_not_recommended_to_a_buyer(marts):
    fill(marts, users=tuple("abcdefgh"))
    table = recommendation.tables(marts, settings())["pricing_recommendation"]
    assert {row["view"] for row in rows(table, customer_dimension="organisation")} == {"buyer"}
    by_user = rows(table, customer_dimension="user_id", target="variance_reduction")
    assert {row["view"] for row in by_user} == {"provider"}
    assert all("the view of a provider or platform team that bills by user_id" in row["reason"] for row in by_user)


def test_a_bill_that_hardly_varies_needs_no_contract(marts):
    for day in days(date(2026, 1, 1), date(2026, 6, 30)):
        add(marts, day, "10" if day.day % 2 else "10.2", user_id="ana")
    table = recommendation.tables(marts, settings(budget_usd=330))["pricing_recommendation"]
    for row in rows(table, customer_dimension="organisation", rank=1):
        assert row["reason"].startswith("You need no contract: ")
        assert row["status"] == "ok"
    for row in rows(table, customer_dimension="organisation", target="budget", rank=1):
        assert (row["mechanism"], row["loading"]) == ("per_token", 0)


def test_a_mechanism_of_the_settings_can_be_the_one_that_is_recommended(marts):
    fill(marts, users=tuple("abcdefgh"))
    tiers = [{"from_usd": 0, "rate": 1.0}, {"from_usd": 40, "rate": 0.0}, {"from_usd": 400, "rate": 1.0}]
    table = recommendation.tables(marts, settings(mechanisms={"ours": {"tiers": tiers}}, target_variance_reduction=0.6))
    recommended = table["pricing_recommendation"]
    found = rows(recommended, target="variance_reduction", mechanism="ours", customer_dimension="user_id")
    assert {row["loading_principle"] for row in found} == set(PRINCIPLES)
    (priced, *_) = rows(table["pricing_risk"], mechanism="ours", customer_dimension="user_id")
    assert found[0]["params"] == priced["params"]
    assert found[0]["loading"] == priced["loading"]
    assert "graduated tiers: 1 of list from $0.00, 0 of list from $40.00" in found[0]["reason"]


def test_variance_that_nobody_can_know_is_not_called_none(marts):
    fill(marts, date(2026, 1, 1), date(2026, 1, 31), users=tuple(f"u{number:02}" for number in range(25)))
    table = recommendation.tables(marts, settings())["pricing_recommendation"]
    row, *_ = rows(table, target="variance_reduction", customer_dimension="user_id")
    assert row["status"] == "unreachable"
    assert "no customer has two bills" in row["reason"]


def test_an_unreachable_budget_is_said(marts):
    fill(marts)
    table = recommendation.tables(marts, settings(budget_usd=0.01))["pricing_recommendation"]
    assert {row["status"] for row in rows(table, target="budget")} == {"unreachable"}


def test_the_providers_loading_falls_with_customers_but_not_the_common_shock(marts):
    fill(marts)
    table = recommendation.tables(marts, settings(pool_customers=500))["pricing_provider"]
    found = rows(table, mechanism="bundle", customer_dimension="user_id")
    assert [row["n_customers"] for row in found] == [1, 10, 100, 500, 1_000, 10_000]
    loadings = [row["loading"] for row in found]
    assert loadings == sorted(loadings, reverse=True)
    assert loadings[-1] < loadings[0] / 20
    assert found[-1]["loading_common_shock"] > 0.2 * found[-1]["pure_premium"]
    for row in found:
        assert row["loss_ratio"] == pytest.approx(row["pure_premium"] / row["premium"])


def test_the_lambda_of_the_settings_is_the_loading_of_the_expected_value(marts):
    fill(marts)
    table = pricing_risk(marts, settings(loading_lambda=0.35))
    least = float(min(row["bill_usd"] for row in rows(pricing_bills(marts, settings()), customer_dimension="user_id")))
    (row,) = rows(table, loading_principle="expected_value", mechanism="hybrid", customer_dimension="user_id")
    assert row["loading"] == pytest.approx(
        0.35 * (row["pure_premium"] - 0.5 * least)
    )  # what every bill cedes is certain


def test_the_naive_view_is_named_so_and_counts_conversations(marts):
    fill_with_sessions(marts)
    table = recommendation.pricing_per_conversation(marts)
    assert table.column("mechanism").to_pylist() == CLASSICS
    assert set(table.column("n_conversations").to_pylist()) == {93}
    assert "nobody pays per conversation" in table.to_pylist()[0]["warning"]
    assert table.column("variance_reduction_naive").to_pylist()[1] == pytest.approx(1)


def test_parquet_is_the_same_in_value_on_any_number_of_threads(marts, tmp_path):
    fill(marts, users=("ana", "bo"), model="large")
    fill_with_sessions(marts, api_key="k")
    chosen = settings(budget_usd=500, quotes={"acme": {"fee_usd": 9, "discount": 0.1}})
    written = []
    for threads in (1, 4):
        marts.execute(f"set threads = {threads}")
        for table in ("token_usage_minutes", "token_usage_sessions"):
            marts.execute(f"create or replace table marts.{table} as from marts.{table} order by random()")
        for name, made in recommendation.tables(marts, chosen).items():
            pq.write_table(made, tmp_path / f"{name}.parquet")
        written.append({file.name: pq.read_table(file) for file in sorted(tmp_path.iterdir())})
    assert written[0] == written[1]
    assert written[0].keys() == {f"{name}.parquet" for name in recommendation.SCHEMAS}
