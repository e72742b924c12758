"""The page of the forecast: its answer, the month day by day, and the day on which a budget is reached."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pytest
from published import snapshot

from pipeline.views import forecast
from pipeline.views.filters import FilterError, Filters, parse
from pipeline.views.view import run

AS_OF = dt.date(2026, 2, 14)
EVERYTHING = Filters()


def usage(day: dt.date, cost: str, **other):
    row = {
        "usage_date": day, "source": "console", "provider": "anthropic", "model": "m", "api_key": "k", "workspace": "w",
        "user_id": "", "project": "", "team": "", "billing_mode": "metered", "token_kind": "output", "tokens": 10,
        "cost_usd": Decimal(cost), "is_in_force": True,
    }  # fmt: skip
    return row | other


def month(segment: str = "all", **other):
    row = {
        "segment": segment, "month": dt.date(2026, 2, 1), "as_of": AS_OF, "method": "weekday", "so_far": 14.0,
        "point": 28.0, "low_80": 21.0, "high_80": 42.0, "low_95": 18.0, "high_95": 50.0, "budget_95": 45.0,
        "backtest_hits": 3, "backtest_months": 4, "backtest_budgets": 4, "backtest_over_budget": 1,
    }  # fmt: skip
    return row | other


# A dollar a day since the first of January; the second half of February is still to come.
DAYS = [usage(dt.date(2026, 1, 1) + dt.timedelta(days=number), "1") for number in range(45)]


@pytest.fixture
def steady(tmp_path):
    return snapshot(
        tmp_path, {"marts.charges": DAYS, "analysis.cost_forecast": [month(), month("model=m", point=20.0)]}
    )


def test_the_answer_names_the_budget_that_suffices_and_the_record(steady):
    answer = forecast.answer(steady, EVERYTHING)
    assert answer.sentence == (
        "February 2026 is expected to cost $28.00; a budget of $45.00 has a 95% chance of being enough."
    )
    assert {tile.label: tile.value for tile in answer.tiles} == {
        "So far": "$14.00",
        "Eight of ten months end": "$21.00 to $42.00",
        "Past forecasts that held": "3 of 4",
        "Past months over budget": "1 of 4",
    }


def test_each_chance_has_its_budget_and_its_record(tmp_path):
    budgets = {"budget_80": 40.0, "budget_99": 60.0, "next_month": dt.date(2026, 3, 1), "next_budget_95": 50.0}
    both = snapshot(tmp_path, {"analysis.cost_forecast": [month(**budgets, backtest_over_80=2, backtest_over_99=0)]})
    rows = run(forecast.BUDGETS, both, EVERYTHING).rows
    assert [(float(row["chance"]), row["budget_usd"], row["next_budget_usd"], row["over_budget"]) for row in rows] == [
        (0.8, 40.0, None, "2 of 4"),
        (0.95, 45.0, 50.0, "1 of 4"),
        (0.99, 60.0, None, "0 of 4"),
    ]


def test_without_a_budget_the_history_is_too_short_for_one(tmp_path):
    short = snapshot(tmp_path, {"analysis.cost_forecast": [month(budget_95=None)]})
    assert forecast.answer(short, EVERYTHING).sentence.endswith("; there is too little history for a budget.")


def test_without_a_forecast_the_reason_is_given(tmp_path):
    none = snapshot(tmp_path, {"analysis.cost_forecast": [{"segment": "all", "note": "3 days are too few"}]})
    assert forecast.answer(none, EVERYTHING).sentence == "There is no forecast: 3 days are too few."


def test_a_filter_shows_the_forecast_of_its_segment_and_others_the_whole(steady):
    assert "$20.00" in forecast.answer(steady, parse({"model": ["m"]})).sentence
    both = forecast.answer(steady, parse({"model": ["m"], "api_key": ["k"]}))
    assert "$28.00" in both.sentence
    assert "no forecast for this combination" in both.warnings[0]


def test_the_month_adds_up_to_its_forecast_and_its_interval(steady):
    rows = run(forecast.PATH, steady, EVERYTHING).rows
    every = steady.rows(*forecast.PATH.statement(EVERYTHING))
    assert [row["usage_date"].day for row in every] == list(range(1, 29))
    assert [row["so_far_usd"] for row in every[:14]] == [float(day) for day in range(1, 15)]
    last = every[-1]
    assert (last["expected_usd"], last["low_usd"], last["high_usd"]) == pytest.approx((28.0, 21.0, 42.0))
    # usage is the same on all weekdays, so a dollar a day is expected
    assert [row["expected_usd"] for row in every] == pytest.approx([float(day) for day in range(1, 29)])
    assert len(rows) == forecast.PATH.rows_shown


@pytest.mark.parametrize(
    ("budget", "sentence"),
    [
        ("10", "The budget of $10.00 was reached on 10 February."),
        ("20", "is expected to be reached on 20 February; in one of ten months like this, already on 17 February."),
        ("30", "is expected to last the month; in one of ten months like this, already on 22 February."),
        ("99", "A budget of $99.00 is expected to last the month."),
    ],
)
def test_a_budget_is_reached_on_a_day(steady, budget, sentence):
    assert run(forecast.PATH, steady, parse({"budget": [budget]})).sentence.endswith(sentence)


@pytest.mark.parametrize("budget", ["-1", "much", "nan", "1e99"])
def test_a_budget_that_is_no_amount_is_told(steady, budget):
    with pytest.raises(FilterError, match="budget="):
        run(forecast.PATH, steady, parse({"budget": [budget]}))


def test_months_end_with_what_is_still_expected(steady):
    rows = run(forecast.MONTHS, steady, EVERYTHING).rows
    assert [(row["month"].month, row["cost_usd"], row["still_expected_usd"]) for row in rows] == [
        (1, Decimal(31), None),
        (2, Decimal(14), 14.0),
    ]


def test_an_empty_database_has_no_forecast_and_no_error(tmp_path):
    empty = snapshot(tmp_path, {})
    assert "no forecast" in forecast.answer(empty, EVERYTHING).sentence
    assert {run(view, empty, EVERYTHING).total for view in forecast.PAGE.views} == {0}
