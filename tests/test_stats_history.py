"""Statistics of a history: unusual days, causes of a difference in cost, and the forecast of a month."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.analysis.stats.anomalies import (
    MIN_USER_ROWS,
    benjamini_hochberg,
    stl_days,
    user_rule,
    weekday_days,
)
from pipeline.analysis.stats.decomposition import (
    BRIDGE_TERMS,
    DAY_TERMS,
    Usage,
    exact_parts,
    explain_excess,
    month_bridge,
    shapley,
)
from pipeline.analysis.stats.forecast import BUDGETS, Backtest, History, Outlook

PROFILE = np.array([1.0, 1.1, 1.15, 1.1, 0.9, 0.35, 0.3])
SEED = 20251128


def history(days, seed=SEED, noise=0.25):
    return 100 * PROFILE[np.arange(days) % 7] * np.exp(np.random.default_rng(seed).normal(0, noise, days))


# ---------------------------------------------------------------- unusual days


@pytest.mark.parametrize("rule", [stl_days, weekday_days])
def test_a_day_of_five_times_its_cost_is_flagged_and_clean_days_hardly_ever_are(rule):
    days = history(400)
    assert rule(days).flagged.sum() <= 4
    days[[150, 303, 350]] *= 5
    found = rule(days)
    assert found.flagged[[150, 303, 350]].all()
    assert found.expected[303] == pytest.approx(100 * PROFILE[303 % 7], rel=0.5)
    assert found.p_value[303] < 0.005


def test_a_sunday_is_compared_with_sundays():
    days = history(200, noise=0.05)
    sunday = 6 + 7 * 20
    days[sunday] = days[sunday - 3]
    assert weekday_days(days).flagged[sunday]
    assert stl_days(days).flagged[sunday]


def test_the_rule_for_today_does_not_look_ahead():
    days = history(120)
    whole = weekday_days(days)
    for today in (40, 77, 119):
        alone = weekday_days(days[: today + 1])
        assert alone.z[today] == whole.z[today]
        assert alone.expected[today] == whole.expected[today]


def test_the_latest_days_of_a_long_history_are_scored_as_in_the_whole_of_it():
    days = history(600)
    days[[420, 580]] *= 6
    whole, latest = weekday_days(days), weekday_days(days, latest=200)
    assert np.isnan(latest.p_value[:400]).all()
    assert latest.flagged.nonzero()[0].tolist() == [at for at in whole.flagged.nonzero()[0] if at >= 400]
    np.testing.assert_allclose(latest.p_value[400:], whole.p_value[400:])


@pytest.mark.parametrize("rule", [stl_days, weekday_days])
def test_a_floor_keeps_small_sums_and_small_shares_quiet(rule):
    days = history(200, noise=0.02)
    days[150] *= 1.25
    assert not rule(days).flagged[150]
    days[150] *= 3
    assert rule(days).flagged[150]
    assert not rule(days, floor=1000).flagged[150]


@pytest.mark.parametrize("rule", [stl_days, weekday_days])
def test_short_empty_and_constant_histories_have_no_flags(rule):
    for days in (np.zeros(0), np.zeros(100), np.ones(20), np.full(100, 5.0)):
        assert not rule(days).flagged.any()
    with pytest.raises(ValueError, match="not negative"):
        rule([1, -1])


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 10**9), min_size=0, max_size=80))
def test_any_history_is_scored_without_an_error(days):
    for rule in (stl_days, weekday_days):
        found = rule(np.array(days, dtype=float))
        assert len(found.flagged) == len(days)
        assert not found.flagged[np.isnan(found.z)].any()


@pytest.mark.parametrize("rule", [stl_days, weekday_days])
@pytest.mark.parametrize("active", [0.9, 0.6, 0.3])
def test_where_idle_days_are_common_a_day_with_usage_is_no_alarm_but_a_dear_one_is(rule, active):
    rng = np.random.default_rng(SEED)
    days = 100 * np.exp(rng.normal(0, 0.4, 300)) * (rng.random(300) < active)
    days[[200, 250]] = 100, 3000
    found = rule(days)
    assert not found.flagged[200]
    assert found.flagged[250]
    assert found.flagged.sum() <= 2
    assert found.p_value[250] < 1e-3
    assert found.expected[250] == pytest.approx(100, rel=0.3)


def test_the_first_weeks_of_a_history_have_honest_p_values():
    p = np.concatenate([weekday_days(history(56, seed)).p_value[28:] for seed in range(150)])
    for level in (0.1, 0.01):
        assert (p < level).mean() < 1.3 * level


def test_false_discoveries_over_many_tests_keep_to_their_rate():
    rng = np.random.default_rng(SEED)
    shares = []
    for _ in range(300):
        p = rng.random(200)
        p[:20] = rng.random(20) * 1e-4
        found = benjamini_hochberg(p, 0.1)
        assert found[:20].all()
        shares.append(found[20:].sum() / found.sum())
    assert np.mean(shares) < 0.1
    assert not benjamini_hochberg([0.2, np.nan, 0.9], 0.1).any()
    assert benjamini_hochberg([[0.01, np.nan], [0.9, 0.02]], 0.1).tolist() == [[True, False], [False, True]]
    with pytest.raises(ValueError, match="rate"):
        benjamini_hochberg([0.1], 1.0)


def test_a_user_is_measured_against_its_own_sessions():
    rng = np.random.default_rng(SEED)
    rows = np.sort(rng.lognormal(0, 0.5, 200))
    rule = user_rule(rows, np.ones(200, dtype=int))
    logs = np.log(rows)
    deviation = 1.4826 * np.median(np.abs(logs - np.median(logs)))
    assert rule.median == pytest.approx(np.median(rows), rel=1e-3)
    assert rule.scale == pytest.approx(deviation, rel=0.02)
    assert rule.z([rule.limit]) == pytest.approx([5])
    assert user_rule(rows[: MIN_USER_ROWS - 1], np.ones(MIN_USER_ROWS - 1, dtype=int)) is None


# ---------------------------------------------------------------- causes

tables = st.integers(1, 3).flatmap(
    lambda models: st.lists(
        st.lists(st.integers(0, 10**7), min_size=5, max_size=5), min_size=models, max_size=models
    ).map(np.array)
)


@st.composite
def two_usages(draw):
    first = draw(tables)
    second = draw(
        st.lists(st.lists(st.integers(0, 10**7), min_size=5, max_size=5), min_size=len(first), max_size=len(first))
    )
    rates = st.lists(st.floats(1e-8, 1e-4), min_size=first.size, max_size=first.size)

    def usage(tokens):
        sessions = draw(st.none() | st.integers(1, 500))
        return Usage(
            np.array(tokens, dtype=float),
            np.array(draw(rates)).reshape(first.shape),
            requests=draw(st.none() | st.integers(1, 10**5)),
            sessions=sessions,
            discount=draw(st.sampled_from([0.0, 0.1, 0.35])),
        )

    return usage(first), usage(second)


@settings(deadline=None, max_examples=60)
@given(two_usages())
def test_the_contributions_of_a_day_add_up_to_its_excess_exactly(pair):
    expected, actual = pair
    excess = Decimal(repr(actual.cost_usd)).quantize(Decimal("1e-12")) - Decimal(repr(expected.cost_usd)).quantize(
        Decimal("1e-12")
    )
    parts = explain_excess(expected, actual, excess)
    assert tuple(parts) == DAY_TERMS
    assert sum(parts.values()) == excess


@settings(deadline=None, max_examples=40)
@given(two_usages(), two_usages())
def test_the_bridge_of_a_month_adds_up_to_the_change_of_the_bill_exactly(kept, changed):
    before = {"kept": kept[0], "gone": changed[0]}
    after = {"kept": kept[1], "new": changed[1]}
    bills = [
        sum((Decimal(repr(usage.cost_usd)).quantize(Decimal("1e-12")) for usage in month.values()), Decimal(0))
        for month in (before, after)
    ]
    parts = month_bridge(before, after, bills[1] - bills[0])
    assert tuple(parts) == BRIDGE_TERMS
    assert sum(parts.values()) == bills[1] - bills[0]
    assert float(parts["new_keys"]) == pytest.approx(changed[1].cost_usd, rel=1e-6, abs=1e-6)
    assert float(parts["gone_keys"]) == pytest.approx(-changed[0].cost_usd, rel=1e-6, abs=1e-6)


def usage(scale=1.0, rate=1.0, requests=100, sessions=10, mix=(1.0, 1.0), reads=0.5, discount=0.0):
    """Two models, five kinds; requests, sessions, model mix and cache share can be moved one by one."""
    kinds = np.array([0.4 * (1 - reads) / 0.5, 0.05, 0.05, reads, 0.0])
    kinds[4] = 1 - kinds[:4].sum()
    tokens = requests * 1000 * scale * np.outer(np.array(mix) / sum(mix), kinds)
    rates = rate * 1e-6 * np.outer([1, 3], [3, 3.75, 6, 0.3, 15])
    return Usage(tokens, rates, requests, sessions, discount)


@pytest.mark.parametrize(
    ("changed", "term"),
    [
        ({"requests": 200, "sessions": 20}, "sessions"),
        ({"requests": 200}, "requests_per_session"),
        ({"scale": 2.0}, "tokens_per_request"),
        ({"mix": (1.0, 3.0)}, "model_mix"),
        ({"reads": 0.25}, "cache_share"),
        ({"rate": 1.5}, "price"),
        ({"discount": 0.2}, "price"),
    ],
)
def test_a_single_cause_gets_the_whole_excess(changed, term):
    parts = explain_excess(usage(), usage(**changed))
    others = {name: part for name, part in parts.items() if name != term}
    assert float(parts[term]) == pytest.approx(usage(**changed).cost_usd - usage().cost_usd)
    assert all(abs(part) < Decimal("1e-9") for part in others.values())


def test_a_day_without_a_past_is_one_of_sessions_and_an_unpriced_model_is_no_price_change():
    nothing = Usage(np.zeros((2, 5)), usage().usd_per_token, 0, 0)
    assert float(explain_excess(nothing, usage())["sessions"]) == pytest.approx(usage().cost_usd)
    unknown = usage().usd_per_token.copy()
    unknown[1] = np.nan
    before = Usage(usage(mix=(1.0, 0.0)).tokens, unknown, 100, 10)
    parts = explain_excess(before, usage())
    assert parts["price"] == 0
    assert parts["model_mix"] > 0


def test_a_source_without_requests_shows_its_growth_as_tokens_and_a_bridge_names_its_terms():
    before, after = (Usage(usage(scale=scale).tokens, usage().usd_per_token) for scale in (1.0, 2.0))
    assert float(month_bridge({"a": before}, {"a": after})["tokens_per_request"]) == pytest.approx(before.cost_usd)
    parts = month_bridge({"a": usage()}, {"a": usage(discount=0.1, requests=200)})
    assert parts["discount"] < 0 < parts["volume"]
    assert parts["list_price"] == 0


def test_shapley_values_are_the_mean_over_all_orders():
    outcomes = np.array([[[float(a * b + 2 * c) for c in (0, 1)] for b in (0, 1)] for a in (0, 1)])
    assert shapley(outcomes) == pytest.approx([0.5, 0.5, 2])


def tiered(long=0.0, batch=0.0, region=0.0, fast=0.0, rate=1.0, discount=0.0, requests=100):
    """One model and kind, with shares of long context (2x the price), batch (0.5x), a region (1.1x), fast mode (6x)."""
    windows_and_tiers = np.multiply.outer([1 - long, long], [1 - batch, batch])
    shares = np.multiply.outer(windows_and_tiers, np.multiply.outer([1 - region, region], [1 - fast, fast]))
    prices = np.multiply.outer(np.multiply.outer([1, 2], [1, 0.5]), np.multiply.outer([1, 1.1], [1, 6]))
    tokens = 1e6 * shares[None, None]
    return Usage(tokens, rate * 3e-6 * prices[None, None], requests, None, np.full(tokens.shape, discount))


@pytest.mark.parametrize(
    ("changed", "term"),
    [
        ({"long": 0.25}, "long_context"),
        ({"batch": 0.5}, "tier"),
        ({"region": 0.5}, "region"),
        ({"fast": 0.1}, "speed"),
        ({"rate": 1.25}, "list_price"),
        ({"discount": 0.2}, "discount"),
    ],
)
def test_long_context_tier_region_and_speed_are_no_list_price(changed, term):
    before, after = tiered(), tiered(**changed)
    parts = month_bridge({"a": before}, {"a": after})
    assert {name: float(part) for name, part in parts.items() if part} == pytest.approx(
        {term: after.cost_usd - before.cost_usd}
    )


def test_causes_that_act_together_share_what_they_make_together():
    # 3 USD of standard tokens; half of them long context at twice the price, all of it at 80%
    parts = month_bridge({"a": tiered()}, {"a": tiered(long=0.5, discount=0.2)})
    assert float(parts["long_context"]) == pytest.approx(3 * 0.5 * (1 + 0.8) / 2)
    assert float(parts["discount"]) == pytest.approx(-3 * 0.2 * (1 + 1.5) / 2)
    assert {name for name, part in parts.items() if part} == {"long_context", "discount"}


def test_parts_that_do_not_make_the_whole_are_refused():
    assert sum(exact_parts({"a": 1 / 3, "b": 2 / 3}, Decimal(1)).values()) == 1
    with pytest.raises(ValueError, match="miss the total"):
        exact_parts({"a": 1.0}, Decimal(2))
    with pytest.raises(ValueError, match="same models"):
        explain_excess(usage(), Usage(np.ones((1, 5)), np.ones((1, 5))))


# ---------------------------------------------------------------- forecast


FIRST = dt.date(2026, 1, 5)


def grown(days, monthly, seed=SEED, noise=0.25):
    return history(days, seed, noise) * (1 + monthly) ** (np.arange(days) / 30)


def test_a_month_without_growth_is_what_was_used_and_the_mean_of_four_same_weekdays_for_each_day_to_come():
    days = history(100, noise=0)
    forecast = History(days, FIRST).this_month()
    as_of = FIRST + dt.timedelta(days=99)
    assert (forecast.as_of, forecast.month) == (as_of, as_of.replace(day=1))
    left = (dt.date(2026, 5, 1) - as_of).days - 1
    assert forecast.days_left == left
    assert forecast.so_far == pytest.approx(days[100 - as_of.day :].sum())
    rest = sum(days[[100 + ahead % 7 - 7 * week for week in (1, 2, 3, 4)]].mean() for ahead in range(left))
    assert forecast.point == pytest.approx(forecast.so_far + rest)


def test_point_bands_budgets_and_tails_are_of_one_distribution():
    forecast = History(history(100), FIRST).this_month()
    outcomes = forecast.outcomes()
    assert outcomes.mean() == pytest.approx(forecast.point)
    assert forecast.budget(0.95) == pytest.approx(np.quantile(outcomes, 0.95), rel=1e-12)
    ends = [forecast.band(0.95)[0], forecast.band(0.8)[0], forecast.point, *map(forecast.budget, BUDGETS)]
    assert ends == sorted(ends)
    assert forecast.band(0.8)[1] < forecast.budget(0.95) < forecast.band(0.95)[1] < forecast.budget(0.99)
    assert outcomes[0] > forecast.so_far


def test_growth_is_seen_and_carried_on():
    level, growing = (
        np.mean([History(grown(180, monthly, seed), FIRST).next_month().point for seed in range(40)])
        for monthly in (0.0, 0.15)
    )
    wholly = History(history(180), FIRST).next_month()
    ahead = (wholly.month - FIRST).days + wholly.days_left / 2
    assert growing / level == pytest.approx(1.15 ** (ahead / 30), rel=0.05)


def test_growth_without_bound_is_not_carried_on():
    days = 100 * 2.0 ** (np.arange(100) / 7)
    assert History(days, FIRST).next_month().point < 31 * days[-1] * 1.3**2


def test_expensive_ends_of_months_are_expected_again():
    first = dt.date(2025, 9, 1)
    days = history(260)
    dates = [first + dt.timedelta(days=place) for place in range(260)]
    ends = np.array([(day + dt.timedelta(days=2)).month != day.month for day in dates])
    assert ends[:255].sum() == 16
    known = (dt.date(2026, 5, 15) - first).days
    plain = History(days[:known], first).this_month()
    jumping = History((days * np.where(ends, 3, 1))[:known], first).this_month()
    usual = 100 * PROFILE[[271 % 7, 272 % 7]].sum()  # 30 and 31 May
    assert jumping.rest - plain.rest == pytest.approx(2 * usual, rel=0.2)


def test_the_last_day_of_a_month_starts_the_next_and_the_next_month_is_that_month():
    month_over, month_begun = (History(history(days), dt.date(2026, 1, 1)) for days in (31, 35))
    forecast = month_over.this_month()
    assert (forecast.month, forecast.so_far, forecast.days_left) == (dt.date(2026, 2, 1), 0, 28)
    assert forecast.band(0.8) == (None, None)
    assert month_over.next_month() == forecast
    assert month_begun.next_month().month == dt.date(2026, 3, 1)
    assert (month_begun.next_month().so_far, month_begun.next_month().days_left) == (0, 31)


@pytest.mark.parametrize(("known", "least"), [(75, 0.70), (221, 0.65)])
def test_a_month_in_its_interval_is_as_frequent_as_it_says_after_few_weeks_too(known, least):
    inside = []
    for seed in range(100):
        days = history(known + 31, seed)
        forecast = History(days[:known], FIRST).this_month()
        total = forecast.so_far + days[known : known + forecast.days_left].sum()
        low, high = forecast.band(0.8)
        inside.append(low <= total <= high)
    assert least <= np.mean(inside) <= 0.97


def test_the_check_on_a_history_counts_closed_months_and_bounds_their_share():
    check = History(history(400), dt.date(2025, 1, 1)).backtest()
    assert 8 <= check.months <= 12
    assert check.low <= check.hits / check.months <= check.high
    assert check.over_low <= check.over[0.95] / check.budgets <= check.over_high
    assert check.over[0.8] >= check.over[0.95] >= check.over[0.99]
    assert not check.missed
    assert History(history(40), dt.date(2025, 1, 1)).backtest().months == 0


@pytest.mark.parametrize(("over", "budgets", "missed"), [(1, 4, False), (2, 4, True), (2, 12, False), (3, 12, True)])
def test_a_back_test_missed_where_chance_hardly_explains_its_exceedances(over, budgets, missed):
    record = {0.8: over, 0.95: over, 0.99: 0}
    assert Backtest(budgets, budgets, record, budgets, 0, 1, 0, 1).missed is missed


@pytest.mark.parametrize("monthly", [0.0, 0.09])
def test_a_budget_needs_eight_weeks_and_is_exceeded_by_one_month_in_twenty(monthly):
    short = History(history(55), dt.date(2026, 2, 1)).this_month()
    assert short.band(0.95)[0] is not None
    assert short.budget(0.95) is None
    over = []
    for seed in range(400):
        days = grown(220, monthly, seed)
        forecast = History(days[:180], FIRST).this_month()
        over.append(forecast.so_far + days[180 : 180 + forecast.days_left].sum() > forecast.budget(0.95))
    assert 0.02 <= np.mean(over) <= 0.08


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=150), st.dates(dt.date(2024, 1, 1), dt.date(2027, 1, 1)))
def test_any_history_has_an_outlook(days, first):
    outlook = Outlook.of(np.array(days, dtype=float), first)
    for forecast in (outlook.this_month, outlook.next_month):
        assert forecast.point >= forecast.so_far >= 0
        low, high = forecast.band(0.8)
        assert (low is None) == (high is None) == (forecast.spread is None)
        assert low is None or forecast.so_far <= low <= high <= 4 * forecast.point
        assert (outlook.doubt(forecast) is None) == (forecast.budget(0.95) is not None)


def test_a_day_of_twenty_times_the_usual_does_not_hide_in_its_own_fit() -> None:
    noise = np.random.default_rng(5).normal(0, 0.1, 120)
    daily = 10 * np.exp(noise) * np.where(np.arange(120) % 7 > 4, 0.3, 1)
    daily[61] = 60
    scores = stl_days(daily)
    assert scores.flagged[61]
    assert scores.expected[61] < 5
