"""The page of contracts: quotes first, and a simulator that reads the frontier."""

from __future__ import annotations

import datetime as dt
import json

import duckdb
import pyarrow as pa
import pytest
from marts import MARTS, lognormal_costs, session, usage
from published import snapshot

from pipeline.analysis.days import cost_forecast
from pipeline.pricing import recommendation
from pipeline.settings import Settings
from pipeline.store import warehouse
from pipeline.store.connection import rows_of
from pipeline.views import contracts
from pipeline.views.filters import FilterError, Filters, parse
from pipeline.views.view import run

EVERYTHING = Filters()


def terms(mechanism: str, removed: float, loading: float, principle: str = "expected_value", **params: float):
    return {
        "mechanism": mechanism, "segment": "all", "customer_dimension": "organisation", "params": json.dumps(params),
        "variance_reduction": removed, "tvar_99": 100.0, "pure_premium": 5 * loading, "premium": 6 * loading,
        "loading_principle": principle, "loading": loading,
    }  # fmt: skip


FRONTIER = [
    terms("hybrid", 0.5, 2.0, fee_usd=10.0, theta=0.7),
    terms("hybrid", 0.75, 4.0, fee_usd=20.0, theta=0.5),
    terms("hybrid", 0.9, 6.0, fee_usd=30.0, theta=0.3),
    terms("insurance", 0.6, 1.0, deductible_usd=50.0),
    terms("insurance", 0.8, 3.0, deductible_usd=40.0),
    terms("hybrid", 0.75, 0.5, "solvency_99", fee_usd=20.0, theta=0.5),
]


@pytest.fixture
def priced(tmp_path):
    return snapshot(tmp_path, {"analysis.pricing_frontier": FRONTIER})


def test_the_simulator_gives_the_cheapest_terms_that_remove_enough(priced):
    shown = run(contracts.SIMULATOR, priced, EVERYTHING)
    assert [(row["contract"], row["variance_reduction"], row["loading"]) for row in shown.rows] == [
        ("Stop-loss", 0.8, 3.0),
        ("Hybrid", 0.75, 4.0),
    ]
    assert "stop-loss (deductible $40.00). It costs $3.00 a month more" in shown.sentence


def test_the_simulator_knows_what_was_searched_for_the_target(tmp_path):
    searched = {
        "target": "variance_reduction", "customer_dimension": "organisation", "loading_principle": "expected_value",
        "rank": 1, "mechanism": "session_cap", "params": json.dumps({"cap_usd": 2.0}), "variance_reduction": 0.75,
        "loading": 2.5, "status": "ok",
    }  # fmt: skip
    both = snapshot(tmp_path, {"analysis.pricing_frontier": FRONTIER, "analysis.pricing_recommendation": [searched]})
    shown = run(contracts.SIMULATOR, both, EVERYTHING)
    assert (shown.rows[0]["contract"], shown.rows[0]["loading"]) == ("Cap per session", 2.5)


def test_a_slider_and_a_margin_change_the_answer(priced):
    calm = run(contracts.SIMULATOR, priced, parse({"calm": ["55"]}))
    assert [row["loading"] for row in calm.rows] == [1.0, 4.0]
    other = run(contracts.SIMULATOR, priced, parse({"margin": ["solvency_99"]}))
    assert [(row["contract"], row["loading"]) for row in other.rows] == [("Hybrid", 0.5)]
    assert run(contracts.SIMULATOR, priced, parse({"calm": ["99"]})).total == 0


@pytest.mark.parametrize("address", [{"calm": ["101"]}, {"calm": ["x"]}, {"margin": ["luck"]}])
def test_what_the_simulator_cannot_answer_is_told(priced, address):
    with pytest.raises(FilterError):
        run(contracts.SIMULATOR, priced, parse(address))


def test_quotes_come_first(tmp_path):
    quote = {"quote": "acme", "n_months": 12, "saving_usd": 120, "answer": "acme would have saved $120.00."}
    recommended = {
        "customer_dimension": "organisation", "loading_principle": "expected_value", "rank": 1, "loading": 3.0,
        "reason": "Stop-loss costs $3.00 a month extra. It is the cheapest.", "target": "variance_reduction",
    }  # fmt: skip
    with_quote = snapshot(
        tmp_path, {"analysis.pricing_quotes": [quote], "analysis.pricing_recommendation": [recommended]}
    )
    answer = contracts.answer(with_quote, EVERYTHING)
    assert (answer.sentence, answer.number) == ("acme would have saved $120.00.", "$120.00")
    assert answer.warnings == (contracts.UNCERTAIN,)  # no budget is known
    (tmp_path / "other").mkdir()
    budget = {"segment": "all", "next_month": dt.date(2026, 6, 1), "next_budget_95": 619.73}
    without = snapshot(
        tmp_path / "other", {"analysis.pricing_recommendation": [recommended], "analysis.cost_forecast": [budget]}
    )
    answer = contracts.answer(without, EVERYTHING)
    assert answer.tiles[0].value == "$619.73"
    assert answer.warnings == ()
    assert (answer.sentence, answer.number) == ("Stop-loss costs $3.00 a month extra.", "$3.00")


def test_an_empty_database_says_so(tmp_path):
    empty = snapshot(tmp_path, {})
    assert "no priced bill" in contracts.answer(empty, EVERYTHING).sentence
    assert {run(view, empty, EVERYTHING).total for view in contracts.PAGE.views} == {0}


@pytest.mark.parametrize("last_day", [150, 140])  # 31 May, where the month and the next whole month are one, and 21 May
def test_contracts_and_forecasts_have_one_distribution_of_the_month(last_day):
    first = dt.datetime(2026, 1, 1)
    days = [(first + dt.timedelta(days=day), cost) for day, cost in enumerate(lognormal_costs(last_day + 1))]
    known = {"user_id": "ana", "billing_mode": "metered"}
    settings = Settings(home="unused")
    with duckdb.connect() as connection:
        connection.execute(MARTS)
        connection.execute("CREATE SCHEMA analysis")
        for table, loaded in {
            "token_usage_minutes": [usage(at, cost, source="sessions", **known) for at, cost in days],
            "token_usage_sessions": [session(day, cost, at=at, **known) for day, (at, cost) in enumerate(days)],
        }.items():
            connection.register("loaded", pa.Table.from_pylist(loaded))
            connection.execute(f"INSERT INTO marts.{table} BY NAME SELECT * FROM loaded")
        for name, table in recommendation.tables(connection, settings).items():
            warehouse.write_analysis(connection, name, table)
        warehouse.write_analysis(connection, "cost_forecast", cost_forecast(connection, settings))
        (row,) = rows_of(connection, "FROM analysis.cost_forecast WHERE segment = 'all'")
        (risk,) = rows_of(
            connection,
            "FROM analysis.pricing_risk WHERE mechanism = 'per_token' AND customer_dimension = 'organisation' "
            "AND segment = 'all' AND loading_principle = 'solvency_99'",
        )
    assert risk["method"] == "forecast"
    assert (risk["var_95"], risk["var_99"]) == (row["next_budget_95"], row["next_budget_99"])
    assert risk["mean"] == pytest.approx(row["next_point"])
