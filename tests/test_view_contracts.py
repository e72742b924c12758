"""The page of contracts: quotes first, and a simulator that reads the frontier."""

from __future__ import annotations

import json

import pytest
from published import snapshot

from pipeline.views import contract_choice
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
    shown = run(contract_choice.SIMULATOR, priced, EVERYTHING)
    assert [(row["contract"], row["variance_reduction"], row["loading"]) for row in shown.rows] == [
        ("Stop-loss", 0.8, 3.0),
        ("Hybrid", 0.75, 4.0),
    ]
    assert "stop-loss (deductible $40.00). It costs $3.00 a month more" in shown.sentence


def test_a_slider_and_a_margin_change_the_answer(priced):
    calm = run(contract_choice.SIMULATOR, priced, parse({"calm": ["55"]}))
    assert [row["loading"] for row in calm.rows] == [1.0, 4.0]
    other = run(contract_choice.SIMULATOR, priced, parse({"margin": ["solvency_99"]}))
    assert [(row["contract"], row["loading"]) for row in other.rows] == [("Hybrid", 0.5)]
    assert run(contract_choice.SIMULATOR, priced, parse({"calm": ["99"]})).total == 0


@pytest.mark.parametrize("address", [{"calm": ["101"]}, {"calm": ["x"]}, {"margin": ["luck"]}])
def test_what_the_simulator_cannot_answer_is_told(priced, address):
    with pytest.raises(FilterError):
        run(contract_choice.SIMULATOR, priced, parse(address))


def test_quotes_come_first(tmp_path):
    quote = {"quote": "acme", "n_months": 12, "saving_usd": 120, "answer": "acme would have saved $120.00."}
    recommended = {
        "customer_dimension": "organisation", "loading_principle": "expected_value", "rank": 1, "loading": 3.0,
        "reason": "Stop-loss costs $3.00 a month extra. It is the cheapest.", "target": "variance_reduction",
    }  # fmt: skip
    with_quote = snapshot(
        tmp_path, {"analysis.pricing_quotes": [quote], "analysis.pricing_recommendation": [recommended]}
    )
    answer = contract_choice.answer(with_quote, EVERYTHING)
    assert (answer.sentence, answer.number) == ("acme would have saved $120.00.", "$120.00")
    (tmp_path / "other").mkdir()
    without = snapshot(tmp_path / "other", {"analysis.pricing_recommendation": [recommended]})
    answer = contract_choice.answer(without, EVERYTHING)
    assert (answer.sentence, answer.number) == ("Stop-loss costs $3.00 a month extra.", "$3.00")


def test_an_empty_database_says_so(tmp_path):
    empty = snapshot(tmp_path, {})
    assert "no priced bill" in contract_choice.answer(empty, EVERYTHING).sentence
    assert {run(view, empty, EVERYTHING).total for view in contract_choice.PAGE.views} == {0}
