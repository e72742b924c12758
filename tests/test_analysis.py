"""The tables of schema analysis, built from marts that each test fills by hand."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal

import duckdb
import numpy as np
import pytest
from marts import MARTS, START, insert, lognormal_costs, money, one, rows_of, session, usage

from pipeline.analysis import distributions
from pipeline.analysis.stats import families
from pipeline.analysis.stats.describe import describe
from pipeline.analysis.stats.families import FAMILIES, fit_families
from pipeline.settings import Settings
from pipeline.store import warehouse

MEASURES = set(distributions.MEASURES)


@pytest.fixture
def marts():
    with duckdb.connect() as connection:
        connection.execute(MARTS)
        yield connection


@pytest.fixture
def knobs(tmp_path):
    return Settings(home=tmp_path)


# ---------------------------------------------------------------- all tables


def test_what_a_subscription_covers_is_no_cost_but_its_tokens_count(marts, knobs):
    insert(marts, "token_usage_sessions", [session(n, 1) for n in range(40)])
    insert(marts, "token_usage_sessions", [session(n, 9, billing_mode="subscription") for n in range(40, 60)])
    table = distributions.TABLES["tail_metrics"](marts, knobs)
    cost = one(table, segment="all", measure="session_cost_usd")
    tokens = one(table, segment="all", measure="session_total_tokens")
    assert (cost["n"], cost["max"], tokens["n"]) == (40, 1.0, 60)


@pytest.mark.parametrize("name", distributions.TABLES)
def test_every_column_has_a_description(name):
    schema = distributions.SCHEMAS[name]
    assert schema.metadata[b"description"]
    for field in schema:
        assert len(field.metadata[b"description"]) > 5, field.name


def test_the_tables_have_at_least_the_columns_that_readers_were_promised():
    promised = {
        "tail_metrics": "segment measure source n zeros mean median sd cv skewness excess_kurtosis p50 p75 p90 p95 p99 "
        "p999 max p95_to_median p99_to_median max_to_median gini top_1_share top_5_share top_10_share "
        "half_of_total_share interval_unit cap_value capped_share atoms verdict verdict_reason hill_xi_5 hill_xi_10 "
        "gpd_xi_p90 csn_alpha csn_xmin csn_n csn_z_lognormal csn_p",
        "distribution_fits": "segment measure treatment family params n log_likelihood n_params aic bic aic_weight "
        "bic_weight ks_distance accepted rank q50_error q90_error q95_error q99_error",
        "outliers": "segment measure session_id value method score reason",
        "cost_variance": "window_hours window_end segment measure n mean sd cv share_above_reference",
        "half_of_cost_sessions": "rank session_id cost_usd share share_low share_high",
        "month_bridge": "month segment term usd",
        "usage_anomalies": "usage_date segment measure value expected score method contributions",
        "cost_forecast": "segment month as_of method point low_80 high_80 low_95 high_95 backtest_hits backtest_months",
        "time_profile": "segment weekday hour mean low high",
        "burstiness": "segment variance_to_mean",
        "day_patterns": "segment pattern value low high p_value",
    }
    assert set(promised) == set(distributions.TABLES)
    for name, columns in promised.items():
        assert set(columns.split()) <= set(distributions.SCHEMAS[name].names)


def test_empty_marts_give_rows_that_say_what_is_missing(marts, knobs):
    tails = distributions.tail_metrics(marts, knobs)
    assert [row["measure"] for row in tails.to_pylist()] == list(distributions.MEASURES)
    assert {row["verdict"] for row in tails.to_pylist()} == {"unavailable"}
    assert all(row["segment"] == "all" and row["n"] == 0 for row in tails.to_pylist())
    assert "session" in one(tails, measure="session_cost_usd")["verdict_reason"]
    fits = distributions.distribution_fits(marts, knobs)
    assert {row["measure"] for row in fits.to_pylist()} == MEASURES
    assert all(row["family"] is None and row["note"].startswith("unavailable") for row in fits.to_pylist())
    found = distributions.outliers(marts, knobs)
    assert len(found) == 5
    assert all(row["session_id"] is None and row["reason"].startswith("unavailable") for row in found.to_pylist())
    windows = distributions.cost_variance(marts, knobs)
    assert [row["window_hours"] for row in windows.to_pylist()] == [24, 168]
    assert all(row["n"] == 0 and row["note"].startswith("unavailable") for row in windows.to_pylist())


def test_the_same_rows_in_another_order_give_the_same_tables(marts, knobs):
    costs = lognormal_costs(400)
    sessions = [session(i, cost, user_id=f"u{i % 3}", api_key=f"k{i % 2}") for i, cost in enumerate(costs)]
    sessions[7]["estimated_cost_usd"] = None
    insert(marts, "token_usage_sessions", sessions)
    first = dict(distributions.tables(marts, knobs))
    marts.execute("DELETE FROM marts.token_usage_sessions")
    insert(marts, "token_usage_sessions", sessions[::-1])
    marts.execute("SET threads = 1")
    again = dict(distributions.tables(marts, knobs))
    assert [*first] == [*again] == [*distributions.TABLES]
    assert [name for name, table in first.items() if not again[name].equals(table, check_metadata=True)] == []
    schemas = distributions.SCHEMAS
    assert [name for name, table in first.items() if not table.schema.equals(schemas[name], check_metadata=True)] == []


# ---------------------------------------------------------------- tail_metrics and distribution_fits


def test_session_costs_are_described_to_the_nano_dollar(marts, knobs):
    costs = lognormal_costs(500)
    insert(marts, "token_usage_sessions", [session(i, cost) for i, cost in enumerate(costs)])
    row = one(distributions.tail_metrics(marts, knobs), measure="session_cost_usd", segment="all")
    expected = describe(*np.unique(costs, return_counts=True))
    for name in ("n", "mean", "median", "sd", "p95", "p999", "max", "gini", "top_10_share", "half_of_total_share"):
        assert row[name] == pytest.approx(getattr(expected, name), rel=1e-12), name
    assert row["source"] == "sessions"
    assert row["verdict"] == "heavy"
    assert row["csn_n"] >= 50
    assert json.loads(row["atoms"]) == []
    tokens = one(distributions.tail_metrics(marts, knobs), measure="session_total_tokens", segment="all")
    assert tokens["max"] == 1499


def test_a_console_alone_leaves_session_and_request_measures_unavailable(marts, knobs):
    insert(marts, "token_usage_minutes", [usage(START + dt.timedelta(minutes=i), c) for i, c in enumerate([1, 2, 3])])
    table = distributions.tail_metrics(marts, knobs)
    for measure in ("session_cost_usd", "session_total_tokens", "request_cost_usd", "request_total_tokens"):
        assert one(table, measure=measure)["verdict"] == "unavailable"
    minutes = one(table, measure="minute_cost_usd", segment="all")
    assert (minutes["verdict"], minutes["n"], minutes["mean"], minutes["source"]) == ("too_few", 3, 2.0, "console")


def test_the_console_stands_for_its_days_and_the_sessions_for_the_others(marts, knobs):
    day = dt.timedelta(days=1)
    rows = [
        usage(START, 5),
        usage(START, 3, source="sessions"),
        usage(START + day, 2, source="sessions"),
        usage(START, 7, source="sessions", provider="openai", model="gpt-5"),
    ]
    insert(marts, "token_usage_minutes", rows)
    table = distributions.tail_metrics(marts, knobs)
    whole = one(table, measure="day_cost_usd", segment="all")
    assert (whole["n"], whole["max"], whole["mean"]) == (2, 12.0, 7.0)
    assert whole["source"] == "console+sessions"
    assert one(table, measure="day_cost_usd", segment="model=gpt-5")["source"] == "sessions"


def test_users_come_from_the_sessions_even_on_days_of_the_console(marts, knobs):
    rows = [usage(START, 5), usage(START, 3, source="sessions", user_id="ada")]
    insert(marts, "token_usage_minutes", rows)
    row = one(distributions.tail_metrics(marts, knobs), measure="day_cost_usd", segment="user_id=ada")
    assert (row["n"], row["max"], row["source"]) == (1, 3.0, "sessions")


def test_hours_and_days_are_no_minutes(marts, knobs):
    rows = [usage(START, 5, bucket=3600), usage(START + dt.timedelta(hours=2), 1, bucket=86400)]
    insert(marts, "token_usage_minutes", rows)
    table = distributions.tail_metrics(marts, knobs)
    assert one(table, measure="minute_cost_usd", segment="all")["verdict"] == "unavailable"
    assert one(table, measure="day_cost_usd", segment="all")["max"] == 6.0


def test_one_minute_of_two_models_is_one_observation_of_all_and_one_of_each(marts, knobs):
    rows = [usage(START, 5), usage(START, 1, model="claude-haiku-4-5")]
    insert(marts, "token_usage_minutes", rows)
    table = distributions.tail_metrics(marts, knobs)
    assert one(table, measure="minute_cost_usd", segment="all")["max"] == 6.0
    assert one(table, measure="minute_cost_usd", segment="model=claude-haiku-4-5")["max"] == 1.0


def test_sessions_without_a_price_are_left_out_and_counted(marts, knobs):
    costs = [*lognormal_costs(60), None, None]
    insert(marts, "token_usage_sessions", [session(i, cost) for i, cost in enumerate(costs)])
    row = one(distributions.tail_metrics(marts, knobs), measure="session_cost_usd", segment="all")
    assert row["n"] == 60
    assert "2 sessions without a price left out" in row["verdict_reason"]
    notes = {fit["note"] for fit in rows_of(distributions.distribution_fits(marts, knobs), measure="session_cost_usd")}
    assert all("2 sessions without a price left out" in note for note in notes)


def test_usage_that_has_no_price_at_all_is_unavailable_and_not_free(marts, knobs):
    insert(marts, "token_usage_sessions", [session(i, None) for i in range(3)])
    row = one(distributions.tail_metrics(marts, knobs), measure="session_cost_usd", segment="all")
    assert (row["verdict"], row["mean"]) == ("unavailable", None)
    assert row["verdict_reason"] == "None of the 3 sessions has a price."


def test_the_costliest_fifty_segments_are_listed_and_small_ones_say_so(marts, knobs):
    sessions = [session(i, cost, user_id=f"u{i % 80:02}") for i, cost in enumerate(lognormal_costs(400))]
    insert(marts, "token_usage_sessions", sessions)
    rows = rows_of(distributions.tail_metrics(marts, knobs), measure="session_cost_usd")
    assert rows[0]["segment"] == "all"
    assert len(rows) == 1 + knobs.analysis_segments
    totals = [row["n"] * row["mean"] for row in rows]
    assert totals == sorted(totals, reverse=True)
    users = [row for row in rows if row["segment"].startswith("user_id=")]
    assert {row["verdict"] for row in users} == {"too_few"}
    assert not any(row["segment"].endswith("=") for row in rows)


def test_a_cap_withholds_the_tail_indices_and_adds_an_adjusted_fit(marts, knobs):
    tokens = np.minimum(np.rint(np.random.default_rng(3).lognormal(8, 1, 1000)), 9000).astype(int).tolist()
    insert(marts, "token_usage_sessions", [session(i, 1, total_tokens=count) for i, count in enumerate(tokens)])
    row = one(distributions.tail_metrics(marts, knobs), measure="session_total_tokens", segment="all")
    assert row["cap_value"] == 9000
    assert row["capped_share"] == tokens.count(9000) / 1000
    assert [row[name] for name in ("hill_xi_5", "hill_xi_10", "gpd_xi_p90", "csn_alpha", "csn_n")] == [None] * 5
    assert row["verdict"] == "heavy"
    fits = rows_of(distributions.distribution_fits(marts, knobs), measure="session_total_tokens", segment="all")
    assert [fit["treatment"] for fit in fits] == ["raw"] * len(FAMILIES) + ["adjusted"] * len(FAMILIES)
    best = fits[len(FAMILIES)]
    assert (best["family"], best["rank"]) == ("lognormal", 1)
    assert json.loads(best["params"])["mu"] == pytest.approx(8, abs=0.1)


def test_users_that_repeat_are_resampled_whole_and_few_users_have_no_interval(marts, knobs):
    costs = lognormal_costs(600)
    sessions = [session(i, cost, user_id=f"u{i % 40:02}") for i, cost in enumerate(costs)]
    insert(marts, "token_usage_sessions", sessions)
    rows = rows_of(distributions.tail_metrics(marts, knobs), measure="session_cost_usd")
    whole = rows[0]
    assert (whole["segment"], whole["interval_unit"]) == ("all", "user")
    for name in distributions.INTERVALS:
        assert whole[f"{name}_low"] <= whole[name] <= whole[f"{name}_high"], name
    assert 0 < whole["csn_p"] <= 1
    tested = [row for row in rows if row["interval_unit"]]
    assert len(tested) == 1 + distributions.MAX_BOOTSTRAP_SEGMENTS
    one_user = next(row for row in tested if row["segment"].startswith("user_id="))
    assert (one_user["interval_unit"], one_user["gini_low"]) == ("session", None)
    marts.execute("DELETE FROM marts.token_usage_sessions")
    insert(marts, "token_usage_sessions", [{**row, "user_id": f"u{i % 29}"} for i, row in enumerate(sessions)])
    few = one(distributions.tail_metrics(marts, knobs), measure="session_cost_usd", segment="all")
    assert (few["interval_unit"], few["gini_low"], few["gini"]) == ("user", None, whole["gini"])
    assert few["interval_note"] == "No interval: 29 users, where 30 are needed"


def test_sessions_that_name_no_user_are_one_unit_and_not_each_its_own(marts, knobs):
    sessions = [session(i, cost, user_id=f"u{i % 10}") for i, cost in enumerate(lognormal_costs(60))]
    nameless = [session(60 + i, cost) for i, cost in enumerate(lognormal_costs(60))]
    insert(marts, "token_usage_sessions", [*sessions, *nameless])
    row = one(distributions.tail_metrics(marts, knobs), measure="session_cost_usd", segment="all")
    assert (row["interval_unit"], row["gini_low"]) == ("user", None)
    assert row["interval_note"] == "No interval: 11 users, where 30 are needed"
    half = rows_of(distributions.half_of_cost_sessions(marts, knobs))
    assert {(listed["share_low"], listed["note"]) for listed in half} == {(None, f"{row['interval_note']}.")}
    marts.execute("DELETE FROM marts.token_usage_sessions")
    insert(marts, "token_usage_sessions", [{**row, "user_id": f"u{i}"} for i, row in enumerate(sessions)] + nameless)
    row = one(distributions.tail_metrics(marts, knobs), measure="session_cost_usd", segment="all")
    assert (row["interval_unit"], row["gini_low"] is None) == ("session", False)


def test_the_reason_says_first_what_the_largest_sessions_amount_to(marts, knobs):
    draw = np.random.default_rng(1)
    even, uneven = np.exp(draw.logistic(0, 1 / 6, 3000)), np.exp(draw.normal(0, 2, 3000))  # CV .32 and 7
    sessions = [session(i, cost, project="even") for i, cost in enumerate(even)]
    sessions += [session(3000 + i, cost, project="uneven") for i, cost in enumerate(uneven)]
    insert(marts, "token_usage_sessions", sessions)
    table = distributions.tail_metrics(marts, knobs)
    for project, costs, start in (
        ("even", even, "The largest sessions are immaterial: 1% of them make 2."),
        ("uneven", uneven, "A few very expensive sessions, the largest 1%, make "),
    ):
        row = one(table, measure="session_cost_usd", segment=f"project={project}")
        assert row["verdict"] == "heavy"
        assert row["verdict_reason"].startswith(start)
        squares = np.sort(np.round(costs, 9)) ** 2
        assert row["month_variance_share_top_1"] == pytest.approx(squares[-30:].sum() / squares.sum(), rel=1e-6)
        assert f"and {row['month_variance_share_top_1']:.0%} of a month's variance; the tail" in row["verdict_reason"]
        assert row["heavy_weight"] > 0.9
    assert one(table, measure="day_cost_usd", segment="all")["month_variance_share_top_1"] is None


def test_intervals_by_session_do_not_depend_on_how_many_there_are_of_a_value(marts, knobs):
    insert(marts, "token_usage_sessions", [session(i, cost) for i, cost in enumerate(lognormal_costs(1500))])
    row = one(distributions.tail_metrics(marts, knobs), measure="session_cost_usd", segment="all")
    assert row["interval_unit"] == "session"
    assert row["top_10_share_low"] < row["top_10_share"] < row["top_10_share_high"]
    assert row["top_10_share_high"] - row["top_10_share_low"] < 0.2


def test_days_are_resampled_by_week(marts, knobs):
    rows = [usage(START + dt.timedelta(days=i), cost) for i, cost in enumerate(lognormal_costs(217))]
    insert(marts, "token_usage_minutes", rows)
    row = one(distributions.tail_metrics(marts, knobs), measure="day_cost_usd", segment="all")
    assert row["interval_unit"] == "week"
    assert row["mean_low"] < row["mean"] < row["mean_high"]


def test_the_best_family_is_compared_with_the_second(marts, knobs):
    insert(marts, "token_usage_sessions", [session(i, cost) for i, cost in enumerate(lognormal_costs(800))])
    rows = rows_of(distributions.distribution_fits(marts, knobs), measure="session_cost_usd", segment="all")
    assert rows[0]["compared_with"] == rows[1]["family"]
    assert rows[0]["comparison"] in ("vuong", "likelihood_ratio")
    assert 0 <= rows[0]["comparison_p"] <= 1
    assert {row["comparison"] for row in rows[1:]} == {None}
    assert all(row["selectable"] for row in rows)


def test_the_fits_in_the_table_are_those_of_the_column(marts, knobs):
    costs = lognormal_costs(300)
    insert(marts, "token_usage_sessions", [session(i, cost) for i, cost in enumerate(costs)])
    rows = rows_of(distributions.distribution_fits(marts, knobs), measure="session_cost_usd", segment="all")
    expected = fit_families(*np.unique(costs, return_counts=True)).fits
    assert [row["family"] for row in rows] == [fit.family for fit in expected]
    assert [row["log_likelihood"] for row in rows] == pytest.approx([fit.log_likelihood for fit in expected])
    assert {row["treatment"] for row in rows} == {"raw"}


def test_all_tables_together_are_those_built_alone_and_fit_each_column_once(marts, knobs, monkeypatch):
    rows = [session(i, cost, user_id=f"u{i % 2}", workspace="w") for i, cost in enumerate(lognormal_costs(300))]
    insert(marts, "token_usage_sessions", rows)
    fitted, burr = [], families.ESTIMATORS["burr12"]
    monkeypatch.setitem(families.ESTIMATORS, "burr12", lambda sample: fitted.append(sample.n) or burr(sample))
    together = dict(distributions.tables(marts, knobs))
    costs_of_all_and_of_both_users, tokens = [300, 150, 150], 3
    assert len(fitted) == len(costs_of_all_and_of_both_users) + tokens
    assert list(together) == list(distributions.TABLES)
    for name in ("tail_metrics", "distribution_fits"):
        assert together[name].equals(distributions.TABLES[name](marts, knobs), check_metadata=True)


def test_requests_have_measures_of_their_own(marts, knobs):
    rows = [
        {"request_key": str(i), "session_id": "s", "requested_at": START, "model": "m", "total_tokens": 10 + i}
        | {"estimated_cost_usd": money(cost), "api_key": "", "workspace": "", "user_id": ""}
        for i, cost in enumerate(lognormal_costs(80))
    ]
    insert(marts, "requests", rows)
    table = distributions.tail_metrics(marts, knobs)
    assert one(table, measure="request_total_tokens", segment="all")["max"] == 89
    assert one(table, measure="request_cost_usd", segment="model=m")["n"] == 80
    assert one(table, measure="session_cost_usd")["verdict"] == "unavailable"


# ---------------------------------------------------------------- outliers


def test_outliers_are_those_of_the_two_textbook_rules(marts, knobs):
    costs = [*lognormal_costs(300), 40.0, 55.0]
    insert(marts, "token_usage_sessions", [session(i, cost) for i, cost in enumerate(costs)])
    table = distributions.outliers(marts, knobs)
    x = np.array(costs)
    low, high = np.quantile(x, [0.25, 0.75])
    by_iqr = np.sort(x[(x > high + 1.5 * (high - low)) | (x < low - 1.5 * (high - low))])[::-1]
    score = (x - x.mean()) / x.std(ddof=1)
    by_z = np.sort(x[np.abs(score) > 3])[::-1]
    for method, expected in (("iqr", by_iqr), ("z", by_z)):
        rows = rows_of(table, measure="session_cost_usd", method=method)
        assert [row["value"] for row in rows] == pytest.approx(list(expected))
    top = rows_of(table, measure="session_cost_usd", method="z")[0]
    assert top["session_id"] == "s00301"
    assert top["score"] == pytest.approx(score.max())
    assert "standard deviations above the mean" in top["reason"]
    tokens = rows_of(table, measure="session_total_tokens")
    assert [row["session_id"] for row in tokens] == [None, None]


def test_a_list_of_outliers_is_bounded_and_keeps_the_largest(marts, knobs):
    marts.execute(
        "INSERT INTO marts.token_usage_sessions (session_id, total_tokens, estimated_cost_usd) "
        "SELECT 's' || i, 100 + i % 5, CASE WHEN i < 1500 THEN i ELSE 1 + i % 7 / 10 END FROM range(20000) t(i)"
    )
    rows = rows_of(distributions.outliers(marts, knobs), measure="session_cost_usd", method="iqr")
    assert len(rows) == distributions.MAX_OUTLIERS
    assert rows[0]["value"] == 1499


def test_equal_sessions_have_no_outliers(marts, knobs):
    insert(marts, "token_usage_sessions", [session(i, 0.5, total_tokens=10) for i in range(30)])
    rows = distributions.outliers(marts, knobs).to_pylist()
    assert len(rows) == 5
    assert all(row["session_id"] is None and row["score"] is None for row in rows)


def test_a_session_is_dear_for_its_own_user_even_where_others_spend_more(marts, knobs):
    costs = lognormal_costs(200)
    rows = [session(i, cost / 50, user_id="small", api_key="") for i, cost in enumerate(costs[:100])]
    rows += [session(100 + i, cost * 10, user_id="large", api_key="") for i, cost in enumerate(costs[100:])]
    rows.append(session(300, 5.0, user_id="small", api_key=""))
    insert(marts, "token_usage_sessions", rows)
    found = rows_of(distributions.outliers(marts, knobs), method="robust")
    assert [(row["segment"], row["session_id"]) for row in found] == [("user_id=small", "s00300")]
    assert "the median of user_id=small" in found[0]["reason"]


def test_the_excess_of_a_dear_session_is_split_by_cause_exactly(marts, knobs):
    kinds = ("input_tokens_no_cache", "input_tokens_cache_write_5m", "input_tokens_cache_read", "output_tokens")
    rng = np.random.default_rng(1)
    rows = [
        session(i, cost, request_count=10, **{kind: int(rng.integers(1, 1000)) for kind in kinds})
        for i, cost in enumerate(lognormal_costs(200))
    ]
    usual = dict.fromkeys(kinds, 500)
    rows.append(session(300, 40.0, request_count=3000) | dict.fromkeys(kinds, 150000))
    rows.append(session(301, 40.0, request_count=10) | usual)
    rows.append(session(302, 40.0, request_count=10, primary_model="claude-opus-4-1") | usual)
    insert(marts, "token_usage_sessions", rows)
    found = [row for row in distributions.outliers(marts, knobs).to_pylist() if row["contributions"]]
    for row in found:
        parts = json.loads(row["contributions"], parse_float=Decimal)
        expected = Decimal(repr(row["expected"])).quantize(Decimal("1e-12"))
        assert sum(parts.values()) == Decimal(str(row["value"])) - expected
    causes = {
        row["session_id"]: max(parts, key=parts.get)
        for row in found
        if (parts := json.loads(row["contributions"])) and row["method"] == "z"
    }
    assert [causes[f"s00{i}"] for i in (300, 301, 302)] == ["requests_per_session", "price", "model_mix"]


# ---------------------------------------------------------------- the previous verdict


def test_a_verdict_that_changed_says_so(marts, knobs):
    insert(marts, "token_usage_sessions", [session(i, cost) for i, cost in enumerate(lognormal_costs(40))])
    marts.execute("CREATE SCHEMA analysis")
    first = distributions.tail_metrics(marts, knobs)
    row = one(first, segment="all", measure="session_cost_usd")
    assert (row["verdict"], row["previous_verdict"], row["verdict_changed"]) == ("too_few", None, False)
    warehouse.write_analysis(marts, "tail_metrics", first)
    same = one(distributions.tail_metrics(marts, knobs), segment="all", measure="session_cost_usd")
    assert (same["previous_verdict"], same["verdict_changed"]) == ("too_few", False)
    insert(marts, "token_usage_sessions", [session(100 + i, cost) for i, cost in enumerate(lognormal_costs(500))])
    row = one(distributions.tail_metrics(marts, knobs), segment="all", measure="session_cost_usd")
    assert (row["verdict"], row["previous_verdict"], row["verdict_changed"]) == ("heavy", "too_few", True)


def test_projects_are_segments_and_the_bounds_are_settings(marts, tmp_path):
    costs = lognormal_costs(240)
    insert(marts, "token_usage_sessions", [session(i, c, project=f"p{i % 3}") for i, c in enumerate(costs)])
    table = distributions.tail_metrics(marts, Settings(home=tmp_path, analysis_segments=5, analysis_min_rows=100))
    assert one(table, measure="session_cost_usd", segment="project=p1")["verdict"] == "too_few"
    assert "needs 100" in one(table, measure="session_cost_usd", segment="project=p1")["verdict_reason"]
    assert len(rows_of(table, measure="session_cost_usd")) == 6
    assert one(table, measure="session_cost_usd", segment="all")["verdict"] != "too_few"


# ---------------------------------------------------------------- half of the cost


def test_the_sessions_that_make_half_of_the_cost_are_listed(marts, knobs):
    (row,) = distributions.half_of_cost_sessions(marts, knobs).to_pylist()
    assert row["note"].startswith("unavailable")
    costs = lognormal_costs(300)
    insert(marts, "token_usage_sessions", [session(i, cost) for i, cost in enumerate(costs)])
    rows = distributions.half_of_cost_sessions(marts, knobs).to_pylist()
    ordered = np.sort(costs)[::-1]
    needed = int(np.argmax(np.cumsum(ordered) >= ordered.sum() / 2)) + 1
    assert [float(row["cost_usd"]) for row in rows] == pytest.approx(list(ordered[:needed]))
    assert {(row["sessions_needed"], row["sessions"]) for row in rows} == {(needed, 300)}
    assert rows[-2]["upto_share"] < 0.5 <= rows[-1]["upto_share"]
    assert rows[0]["share_low"] < rows[0]["share"] < rows[0]["share_high"]


# ---------------------------------------------------------------- cost_variance


def window_rows(times, costs, end, hours):
    start = end - dt.timedelta(hours=hours)
    return np.array([cost for at, cost in zip(times, costs, strict=True) if start <= at < end])


def test_rolling_windows_hold_the_sessions_that_started_in_them(marts, knobs):
    rng = np.random.default_rng(11)
    times = [START + dt.timedelta(minutes=int(m)) for m in rng.integers(0, 40 * 1440, 600)]
    costs = lognormal_costs(600)
    sessions = [session(i, cost, at=at) for i, (at, cost) in enumerate(zip(times, costs, strict=True))]
    insert(marts, "token_usage_sessions", sessions)
    rows = rows_of(distributions.cost_variance(marts, knobs), segment="all")
    first = [cost for at, cost in zip(times, costs, strict=True) if at < START + dt.timedelta(days=28)]
    reference = np.quantile(first, 0.95)
    assert len([row for row in rows if row["window_hours"] == 24]) == 40
    assert len([row for row in rows if row["window_hours"] == 168]) == 40 - 7 + 1
    for row in rows:
        expected = window_rows(times, costs, row["window_end"], row["window_hours"])
        assert row["measure"] == "session_cost_usd"
        assert row["n"] == len(expected)
        assert row["mean"] == pytest.approx(expected.mean(), rel=1e-12)
        if len(expected) > 1:
            assert row["sd"] == pytest.approx(expected.std(ddof=1), rel=1e-9)
            assert row["cv"] == pytest.approx(expected.std(ddof=1) / expected.mean(), rel=1e-9)
        assert row["reference_p95"] == pytest.approx(reference)
        assert row["share_above_reference"] == pytest.approx((expected > reference).mean())


def test_days_take_the_place_of_sessions_that_are_not_there(marts, knobs):
    costs = lognormal_costs(30)
    insert(marts, "token_usage_minutes", [usage(START + dt.timedelta(days=i), c) for i, c in enumerate(costs)])
    rows = rows_of(distributions.cost_variance(marts, knobs), segment="all")
    assert {row["measure"] for row in rows} == {"day_cost_usd"}
    daily = [row for row in rows if row["window_hours"] == 24]
    assert [row["mean"] for row in daily] == pytest.approx(costs)
    assert {row["sd"] for row in daily} == {None}
    weekly = [row for row in rows if row["window_hours"] == 168]
    assert weekly[0]["sd"] == pytest.approx(np.std(costs[:7], ddof=1))
    assert len(weekly) == 24


def test_a_history_shorter_than_a_week_says_that_it_has_no_weekly_window(marts, knobs):
    insert(marts, "token_usage_sessions", [session(i, 1.0 + i) for i in range(30)])
    table = distributions.cost_variance(marts, knobs)
    weekly = one(table, window_hours=168, segment="all")
    assert (weekly["n"], weekly["window_end"]) == (0, None)
    assert "168 hours" in weekly["note"]
    assert rows_of(table, window_hours=24, segment="all")[-1]["n"] > 0


def test_a_reference_needs_twenty_observations(marts, knobs):
    insert(marts, "token_usage_sessions", [session(i, 1.0 + i) for i in range(10)])
    rows = [row for row in rows_of(distributions.cost_variance(marts, knobs), segment="all") if row["n"]]
    assert {row["share_above_reference"] for row in rows} == {None}
    assert all("no reference" in row["note"] for row in rows)
