"""Unusual days and their causes, forecasts, and patterns in time."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal

import duckdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from marts import MARTS, START, insert, one, rows_of, session, usage

from pipeline.analysis import days
from pipeline.settings import Settings

TERMS = {"sessions", "requests_per_session", "tokens_per_request", "model_mix", "cache_share", "price"}
KINDS = ("input_tokens_no_cache", "input_tokens_cache_write_5m", "input_tokens_cache_write_1h")


@pytest.fixture
def marts():
    with duckdb.connect() as connection:
        connection.execute(MARTS)
        yield connection


@pytest.fixture
def knobs(tmp_path):
    return Settings(home=tmp_path)


def day(place, cost, tokens=1_000_000, **other):
    kinds = dict.fromkeys((*KINDS, "input_tokens_cache_read", "web_search_count"), 0)
    row = usage(START + dt.timedelta(days=place), cost, source="sessions", bucket=86400)
    return row | kinds | {"output_tokens": tokens, "total_tokens": tokens, "request_count": 10} | other


def request(number, at, **other):
    return {"request_key": f"r{number}", "requested_at": at, "total_tokens": 10, "model": "m"} | other


def calm(n, seed=5):
    noise = np.random.default_rng(seed).normal(0, 0.1, n)
    return [float(10 * np.exp(each) * (0.3 if place % 7 > 4 else 1)) for place, each in enumerate(noise)]


def excess(row):
    parts = json.loads(row["contributions"], parse_float=Decimal)
    assert set(parts) == TERMS
    assert sum(parts.values()) == Decimal(repr(row["value"])).quantize(Decimal("1e-12")) - Decimal(
        repr(row["expected"])
    ).quantize(Decimal("1e-12"))
    return {term: float(usd) for term, usd in parts.items()}


def test_a_dear_day_is_flagged_and_its_sessions_are_named(marts, knobs):
    costs = calm(120)
    insert(marts, "token_usage_minutes", [day(i, cost, int(cost * 1e5)) for i, cost in enumerate(costs) if i != 61])
    insert(marts, "token_usage_minutes", [day(61, 60.0, 6_000_000, request_count=60)])
    at = START + dt.timedelta(days=61, hours=3)
    insert(marts, "token_usage_sessions", [session(i, i, at=at) for i in range(1, 13)])
    found = days.usage_anomalies(marts, knobs)
    row = one(found, segment="all", usage_date=(START + dt.timedelta(days=61)).date())
    assert row["excess"] == pytest.approx(60 - costs[61], abs=3)
    parts = excess(row)
    assert max(parts, key=parts.get) == "requests_per_session"
    named = [each["session_id"] for each in json.loads(row["top_sessions"])]
    assert named == [f"s{i:05}" for i in range(12, 2, -1)]


def test_a_dear_model_and_a_price_are_told_apart(marts, knobs):
    rows = [day(i, cost, int(cost * 1e5)) for i, cost in enumerate(calm(120))]
    rows[60] = day(60, 60.0, int(calm(120)[60] * 1e5))
    rows[80] = day(80, 60.0, int(calm(120)[80] * 1e5), model="claude-opus-4-1")
    insert(marts, "token_usage_minutes", rows)
    found = days.usage_anomalies(marts, knobs)
    price, mix = (
        excess(one(found, segment="all", usage_date=(START + dt.timedelta(days=place)).date())) for place in (60, 80)
    )
    assert max(price, key=price.get) == "price"
    assert max(mix, key=mix.get) == "model_mix"


def test_the_last_days_are_judged_by_what_lay_before_them(marts, knobs):
    rows = [day(i, cost) for i, cost in enumerate(calm(120))]
    rows[-1] = day(119, 90.0, 8_000_000)
    insert(marts, "token_usage_minutes", rows)
    methods = {row["method"] for row in rows_of(days.usage_anomalies(marts, knobs), segment="all")}
    assert "weekday" in methods


@settings(max_examples=8, deadline=None)
@given(
    st.integers(0, 2**32),
    st.booleans(),
    st.lists(st.tuples(st.integers(30, 89), st.floats(3, 40), st.integers(0, 10**7)), min_size=1, max_size=3),
)
def test_contributions_sum_to_the_excess_whatever_a_day_is_made_of(seed, has_rates, spikes):
    rng = np.random.default_rng(seed)
    with duckdb.connect() as marts:
        marts.execute(MARTS)
        rows = []
        for i, cost in enumerate(calm(90, seed)):
            kinds = {kind: int(rng.integers(0, 10**5)) for kind in KINDS}
            model = ["claude-sonnet-4-5", "claude-opus-4-1"][int(rng.integers(2))]
            counted = None if rng.random() < 0.2 else int(rng.integers(1, 40))
            rows.append(day(i, cost, int(rng.integers(1, 10**6)), model=model, request_count=counted) | kinds)
        for place, factor, tokens in spikes:
            rows.append(day(place, 10 * factor, tokens))
        insert(marts, "token_usage_minutes", rows)
        if has_rates:
            rate = {"provider": "anthropic", "model": "claude-sonnet-4-5", "usage_type": "", "inference_geo": ""}
            rate |= {"speed": "", "valid_from": dt.date(2025, 1, 1)}
            for kind, usd in (("output", 15), ("input_no_cache", 3), ("cache_write_5m", 3.75)):
                insert(marts, "model_rates", [rate | {"token_kind": kind, "usd_per_mtok": usd}])
        table = days.usage_anomalies(marts, Settings(home=".")).to_pylist()
    for row in table:
        if row["kind"] == "shock" and row["expected"] > 0:
            excess(row)


def test_a_dear_day_of_a_weekday_that_is_always_idle_is_split_by_cause_too(marts, knobs):
    costs = [cost for i, cost in enumerate(calm(160)) if i % 7 < 5]
    places = [i for i in range(160) if i % 7 < 5]
    insert(marts, "token_usage_minutes", [day(i, cost, int(cost * 1e5)) for i, cost in zip(places, costs, strict=True)])
    insert(marts, "token_usage_minutes", [day(82, 200.0, 20_000_000)])
    found = days.usage_anomalies(marts, knobs)
    row = one(found, segment="all")
    assert row["usage_date"] == (START + dt.timedelta(days=82)).date()
    assert row["expected"] == pytest.approx(10, rel=0.1)
    parts = excess(row)
    assert parts["tokens_per_request"] + parts["requests_per_session"] + parts["sessions"] > 150


def busy(n, keys, seed=3):
    """Daily costs of keys with a weekday profile and noise of 25%."""
    rng = np.random.default_rng(seed)
    weekday = np.where(np.arange(n) % 7 > 4, 0.3, 1)
    return {key: level * weekday * np.exp(rng.normal(0, 0.25, n)) for key, level in keys.items()}


def land(marts, costs, first=0):
    """Usage of each key from day `first` on: 1e5 tokens a dollar, ten requests a day."""
    rows = [
        day(place, float(cost), int(cost * 1e5), api_key=key, workspace=f"of {key}")
        for key, series in costs.items()
        for place, cost in enumerate(series)
        if place >= first and cost
    ]
    insert(marts, "token_usage_minutes", rows)


def flags(marts, knobs, **wanted):
    found = rows_of(days.usage_anomalies(marts, knobs), **wanted)
    return [row for row in found if row["usage_date"]]


def on(place):
    return (START + dt.timedelta(days=place)).date()


def test_a_flagged_day_of_the_whole_is_handed_down_to_the_segments_that_make_it(marts, knobs):
    costs = busy(120, {"a": 40, "b": 30, "c": 30})
    costs["b"][100] *= 12
    land(marts, costs)
    found = {row["segment"]: row for row in flags(marts, knobs, usage_date=on(100))}
    assert {"all", "api_key=b", "workspace=of b"} <= set(found)
    assert not {"api_key=a", "api_key=c"} & set(found)
    assert found["api_key=b"]["raised_on"] == on(100)
    assert max(excess(found["api_key=b"]).items(), key=lambda part: part[1])[0] == "tokens_per_request"


def test_a_shock_of_a_small_key_is_told_though_the_whole_hardly_moves(marts, knobs):
    costs = busy(120, {"a": 100, "b": 100, "c": 6})
    costs["c"][100] *= 8
    land(marts, costs)
    assert not flags(marts, knobs, segment="all", usage_date=on(100))
    assert flags(marts, knobs, segment="api_key=c", usage_date=on(100))


def test_a_key_that_appears_and_a_level_that_rises_are_findings_of_their_own(marts, knobs):
    costs = busy(130, {"a": 40, "b": 30, "new": 30})
    costs["b"][100:] *= 2.5
    costs["new"][:110] = 0
    land(marts, costs)
    (shift,) = flags(marts, knobs, segment="api_key=b", kind="level_shift")
    assert on(98) <= shift["usage_date"] <= on(102)
    assert shift["usage_date"] < shift["raised_on"] <= on(107)
    assert shift["score"] == pytest.approx(2.5, rel=0.35)
    assert not [row for row in flags(marts, knobs, segment="api_key=b") if row["usage_date"] > on(110)]
    (new,) = flags(marts, knobs, segment="api_key=new", kind="new_segment")
    assert on(110) <= new["usage_date"] <= on(112)
    assert not flags(marts, knobs, segment="api_key=a", kind="new_segment")


def test_without_a_price_for_the_whole_no_segment_takes_its_place(marts, knobs):
    costs = busy(120, {"u": 40, "v": 20})
    costs["u"][100] *= 8
    costs["v"][:60] = 0
    rows = [
        day(place, float(cost), user_id=user, is_in_force=False)
        for user, series in costs.items()
        for place, cost in enumerate(series)
        if cost
    ]
    rows += [day(place, None, source="console", user_id="", is_in_force=True) for place in range(120)]
    insert(marts, "token_usage_minutes", rows)
    found = flags(marts, knobs)
    assert {(row["segment"], row["method"]) for row in found} == {("user_id=u", "weekday")}
    assert one(days.cost_forecast(marts, knobs), segment="user_id=u")["note"] is None


def test_a_flag_that_was_raised_stays_as_days_are_added(marts, knobs):
    costs = busy(140, {"a": 40, "b": 30})
    costs["a"][[90, 110]] *= 7
    land(marts, {key: series[:115] for key, series in costs.items()})

    def raised():
        return {
            (row["segment"], row["usage_date"], row["raised_on"]) for row in flags(marts, knobs) if row["raised_on"]
        }

    before = raised()
    assert {day for _, day, _ in before} >= {on(90), on(110)}
    land(marts, costs, first=115)
    assert raised() >= before


def test_later_days_can_take_a_flag_back_and_say_why(marts, knobs):
    costs = busy(160, {"a": 40})
    costs["a"][100:] *= np.where(np.random.default_rng(1).random(60) < 0.5, 5, 1)
    costs["a"][100] = 250
    land(marts, costs)
    (row,) = flags(marts, knobs, segment="all", usage_date=on(100), kind="shock")
    assert row["taken_back"].startswith("In the light of the 59 days after it")


def test_sessions_are_a_cause_where_only_sessions_are_counted(marts, knobs):
    costs = busy(100, {"a": 40})["a"]
    costs[90] *= 8
    usages = [day(place, float(cost), int(cost * 1e5), request_count=None) for place, cost in enumerate(costs)]
    insert(marts, "token_usage_minutes", usages)
    started = [
        session(1000 * place + number, 1, at=START + dt.timedelta(days=place, hours=1))
        for place in range(60, 100)
        for number in range(int(costs[place]))
    ]
    insert(marts, "token_usage_sessions", started)
    (row,) = flags(marts, knobs, segment="all", usage_date=on(90))
    parts = excess(row)
    assert parts["sessions"] > 0.8 * row["excess"]
    assert parts["requests_per_session"] == 0


def test_calm_segments_short_ones_and_none_at_all_say_so(marts, knobs):
    (row,) = days.usage_anomalies(marts, knobs).to_pylist()
    assert row["note"].startswith("unavailable")
    insert(marts, "token_usage_minutes", [day(i, cost) for i, cost in enumerate([10.0] * 60)])
    insert(marts, "token_usage_minutes", [day(59, 0.1, api_key="late")])
    table = days.usage_anomalies(marts, knobs)
    assert one(table, segment="all")["note"] == "None of the 60 days was unusually expensive."
    assert one(table, segment="api_key=late")["note"].startswith("too few: 1 day")


def test_a_small_excess_is_no_alarm(marts, knobs, tmp_path):
    rows = [day(i, cost / 100) for i, cost in enumerate(calm(90))]
    rows[50] = day(50, 0.9)
    insert(marts, "token_usage_minutes", rows)
    assert one(days.usage_anomalies(marts, knobs), segment="all")["usage_date"] is None
    strict = Settings(home=tmp_path, anomaly_floor_usd=0.1)
    assert one(days.usage_anomalies(marts, strict), segment="all")["usage_date"] is not None


def test_a_month_is_forecast_with_intervals_and_its_record(marts, knobs):
    insert(marts, "token_usage_minutes", [day(i, cost) for i, cost in enumerate(calm(200))])
    row = one(days.cost_forecast(marts, knobs), segment="all")
    assert row["month"] == dt.date(2026, 7, 1)
    assert row["as_of"] == dt.date(2026, 7, 23)
    assert row["low_95"] < row["low_80"] < row["point"] < row["high_80"] < row["budget_95"] < row["high_95"]
    assert row["point"] == pytest.approx(31 * np.mean(calm(200)), rel=0.15)
    assert 3 <= row["backtest_months"] <= 6
    assert row["backtest_low"] <= row["backtest_hits"] / row["backtest_months"] <= row["backtest_high"]
    assert 0 <= row["backtest_over_budget"] <= row["backtest_budgets"] <= row["backtest_months"]


def test_a_part_whose_budget_exceeds_that_of_the_whole_says_so(marts, knobs):
    costs = busy(240, {"steady": 60, "wild": 30})
    costs["wild"] *= np.where(np.arange(240) // 10 % 2, 1.9, 0.2)
    costs["steady"] = np.maximum(costs["steady"] - costs["wild"], 1)  # what one key uses, the other does not
    land(marts, costs)
    found = days.cost_forecast(marts, knobs)
    whole, steady, wild = (one(found, segment=name) for name in ("all", "api_key=steady", "api_key=wild"))
    assert wild["budget_95"] > whole["budget_95"] > steady["budget_95"]
    assert wild["note"].startswith("Its budget exceeds that of all usage")
    assert whole["note"] is steady["note"] is None


def test_a_forecast_of_few_days_has_no_interval_and_of_none_no_point(marts, knobs):
    (row,) = days.cost_forecast(marts, knobs).to_pylist()
    assert row["point"] is None
    assert row["note"].startswith("unavailable")
    insert(marts, "token_usage_minutes", [day(i, 1.0) for i in range(5)])
    row = one(days.cost_forecast(marts, knobs), segment="all")
    assert (row["point"], row["low_80"]) == (31.0 - 4.0, None)
    assert row["note"] == "5 days: too little history for a budget, or an interval (42 days)."


def test_no_budget_is_given_where_months_differ_by_factors_or_past_ones_exceeded_theirs(marts, knobs):
    costs = busy(210, {"rare": 20, "doubling": 1, "steady": 400})
    costs["rare"] *= np.random.default_rng(3).random(210) < 0.03
    costs["doubling"] *= 2 ** (np.arange(210) / 30)
    land(marts, costs)
    found = days.cost_forecast(marts, knobs)
    rare, doubling, steady = (one(found, segment=f"api_key={key}") for key in ("rare", "doubling", "steady"))
    assert "too little history for a budget" in rare["note"]
    assert doubling["backtest_over_budget"] >= 3
    assert doubling["note"].endswith("exceeded the 95% budget: too little history for a budget.")
    budgets = [name for name in found.column_names if "budget_" in name and "backtest" not in name]
    assert len(budgets) == 6
    assert {row[name] for row in (rare, doubling) for name in budgets} == {None}
    assert steady["budget_80"] < steady["budget_95"] < steady["budget_99"]


def test_hours_of_the_week_have_a_mean_within_its_interval(marts, knobs):
    rng = np.random.default_rng(2)
    rows = []
    for week in range(8):
        for _ in range(int(rng.negative_binomial(2, 0.1))):
            rows.append(request(len(rows), START + dt.timedelta(weeks=week, hours=9)))
    rows.append(request(len(rows), START + dt.timedelta(days=55, hours=23)))
    insert(marts, "requests", rows)
    table = days.time_profile(marts, knobs)
    assert len(rows_of(table, segment="all")) == 168
    busy = one(table, segment="all", weekday=1, hour=9)
    assert busy["mean"] == (len(rows) - 1) / 8
    assert 0 < busy["low"] < busy["mean"] < busy["high"]
    assert busy["measure"] == "request_count"
    idle = one(table, segment="all", weekday=3, hour=4)
    assert (idle["mean"], idle["low"]) == (0.0, 0.0)
    assert idle["high"] > 3 / 8


def test_sessions_stand_in_for_requests_that_are_not_logged(marts, knobs):
    assert one(days.time_profile(marts, knobs), segment="all")["note"].startswith("unavailable")
    assert one(days.burstiness(marts, knobs), segment="all")["note"].startswith("unavailable")
    insert(marts, "token_usage_sessions", [session(i, 1) for i in range(400)])
    assert {row["measure"] for row in days.time_profile(marts, knobs).to_pylist()} == {"session_count"}
    assert {row["measure"] for row in days.burstiness(marts, knobs).to_pylist()} == {"session_count"}


def test_the_index_of_dispersion_is_that_of_all_minutes(marts, knobs):
    counts = np.zeros(1440)
    counts[[30, 31, 700]] = [5, 1, 5]
    rows = [
        request(f"{minute}-{i}", START + dt.timedelta(minutes=int(minute), seconds=i))
        for minute in np.flatnonzero(counts)
        for i in range(int(counts[minute]))
    ]
    insert(marts, "requests", rows)
    row = one(days.burstiness(marts, knobs), segment="all")
    assert row["minutes"] == 1440
    assert row["variance"] == pytest.approx(counts.var(ddof=1))
    assert row["variance_to_mean"] == pytest.approx(counts.var(ddof=1) / counts.mean())
    assert (row["peak"], row["peak_at"]) == (5, START + dt.timedelta(minutes=30))


def test_a_sunday_spike_has_its_evidence(marts, knobs):
    noise = np.random.default_rng(4).normal(0, 0.2, 140)
    costs = [float(np.exp(each) * (4 if place % 7 == 6 else 1)) for place, each in enumerate(noise)]
    insert(marts, "token_usage_minutes", [day(i, cost) for i, cost in enumerate(costs)])
    table = days.day_patterns(marts, knobs)
    sunday = one(table, segment="all", pattern="Sunday")
    assert sunday["is_evident"]
    assert sunday["low"] < 4 < sunday["high"]
    assert not one(table, segment="all", pattern="Wednesday")["is_evident"]
    assert not one(table, segment="all", pattern="trend")["is_evident"]
    assert one(table, segment="all", pattern="seasonal_strength")["value"] > 0.7
    assert one(table, segment="all", pattern="peak_to_typical")["value"] == pytest.approx(max(costs) / np.median(costs))


def test_a_trend_is_a_share_a_week(marts, knobs):
    insert(marts, "token_usage_minutes", [day(i, float(1.1 ** (i // 7))) for i in range(140)])
    trend = one(days.day_patterns(marts, knobs), segment="all", pattern="trend")
    assert trend["value"] == pytest.approx(0.1, rel=1e-6)
    assert trend["is_evident"]


def test_weekdays_that_cost_the_same_have_no_effect_beside_a_quiet_weekend(marts, knobs):
    noise = np.random.default_rng(5).normal(0, 0.25, 280)
    costs = [float(np.exp(each) * (0.3 if place % 7 > 4 else 1)) for place, each in enumerate(noise)]
    insert(marts, "token_usage_minutes", [day(i, cost) for i, cost in enumerate(costs)])
    table = days.day_patterns(marts, knobs)
    for weekday in days.WEEKDAYS:
        found = one(table, segment="all", pattern=weekday)
        assert found["is_evident"] == (weekday in ("Saturday", "Sunday"))
        assert found["value"] == pytest.approx(0.3 if found["is_evident"] else 1, rel=0.2)
