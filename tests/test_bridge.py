"""The bridge from one bill to the next: from month to month, and between any two periods."""

from __future__ import annotations

import datetime as dt
import json
from collections import defaultdict
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from marts import MARTS, insert, one, rows_of, usage

from pipeline.analysis import distributions
from pipeline.analysis.bridge import Period, bridge_between
from pipeline.settings import Settings

JANUARY, FEBRUARY = dt.datetime(2026, 1, 10), dt.datetime(2026, 2, 10)
TERMS = (
    "volume",
    "tokens per request",
    "model mix",
    "cache share",
    "long context",
    "tier",
    "region",
    "speed",
    "list price",
    "discount",
    "rounding",
    "new keys",
    "gone keys",
)


@pytest.fixture
def marts():
    with duckdb.connect() as connection:
        connection.execute(MARTS)
        yield connection


def use(marts, at, usd_per_mtok, tokens=10**6, requests=None, list_usd_per_mtok=None, **other):
    """Usage of one kind of token on one day: its row of charges, and the record that counts its requests."""
    cost = Decimal(str(usd_per_mtok)) * tokens / 10**6
    list_cost = cost if list_usd_per_mtok is None else Decimal(str(list_usd_per_mtok)) * tokens / 10**6
    charge = {"usage_date": at.date(), "tokens": tokens, "cost_usd": cost, "list_cost_usd": list_cost} | other
    insert(marts, "charges", [charge])
    labels = {name: other[name] for name in ("model", "api_key", "workspace", "user_id", "source") if name in other}
    insert(marts, "token_usage_minutes", [usage(at, 0) | {"project": "", "request_count": requests} | labels])


def billed(at, cost, **other):
    line = {"usage_date": at.date(), "provider": "anthropic", "model": "claude-sonnet-4-5", "api_key": "prod"}
    line |= {"workspace": "Default", "token_kind": "output", "cost_usd": Decimal(str(cost)), "cost_rows": 1}
    return line | other


def bridge(marts, tmp_path=Path(), **knobs):
    return distributions.TABLES["month_bridge"](marts, Settings(home=tmp_path, **knobs))


def terms(table, segment="all", month=dt.date(2026, 2, 1)):
    """The terms of a segment that are not zero."""
    found = rows_of(table, segment=segment, month=month)
    assert [line["term"] for line in found] == list(TERMS)
    return {line["term"]: line["usd"] for line in found if line["usd"]}


rates = st.integers(0, 10**9).map(lambda micro: Decimal(micro) / 10**6)
amounts = st.integers(-(10**5), 10**7).map(lambda cents: Decimal(cents) / 100)
uses = st.lists(
    st.fixed_dictionaries(
        {
            "day": st.integers(0, 88),
            "usd_per_mtok": rates,
            "list_usd_per_mtok": st.none() | rates,
            "tokens": st.integers(1, 10**6),
            "requests": st.none() | st.integers(1, 50),
            "provider": st.sampled_from(["anthropic", "openai"]),
            "model": st.sampled_from(["claude-sonnet-4-5", "claude-opus-4-1", "unknown"]),
            "api_key": st.sampled_from(["a", "b", "c"]),
            "workspace": st.sampled_from(["x", "y"]),
            "user_id": st.sampled_from(["ann", "bob"]),
            "team": st.sampled_from(["red", "blue", "shared", ""]),
            "source": st.sampled_from(["console", "sessions"]),
            "token_kind": st.sampled_from(["input_no_cache", "cache_read", "output", "web_search"]),
            "context_window": st.sampled_from(["0-200k", "200k-1M"]),
            "usage_type": st.sampled_from(["standard", "batch"]),
            "inference_geo": st.sampled_from(["", "us"]),
            "speed": st.sampled_from(["standard", "fast"]),
        }
    ),
    min_size=1,
    max_size=12,
)
costs = st.lists(
    st.tuples(st.integers(0, 88), amounts, st.sampled_from("abc"), st.sampled_from("xy"), st.booleans()), max_size=8
)


@settings(max_examples=60, deadline=None)
@given(uses, costs, st.sampled_from(["output", "cache_read"]))
def test_the_terms_sum_to_the_change_of_the_bill_and_the_segments_to_the_whole_to_the_last_digit(used, bills, kind):
    with duckdb.connect() as marts:
        marts.execute(MARTS)
        for line in used:
            at = dt.datetime(2026, 1, 2) + dt.timedelta(days=line["day"])
            use(marts, at, **{name: value for name, value in line.items() if name != "day"})
        for day, cost, key, workspace, has_list in bills:
            at = dt.datetime(2026, 1, 2) + dt.timedelta(days=day)
            line = billed(at, cost, api_key=key, workspace=workspace, token_kind=kind)
            insert(marts, "billed_costs", [line | {"list_price_usd": abs(cost) * 2 if has_list else None}])
        table = bridge(marts).to_pylist()
        has_teams = any(line["team"] for line in used)
    if table[0]["month"] is None:
        return
    changes = {}
    for line in table:
        key = (line["month"], line["segment"])
        changes.setdefault(key, [line["month_usd"] - line["previous_usd"], Decimal(0)])[1] += line["usd"]
    for change, summed in changes.values():
        assert summed == change
    parts = defaultdict(Decimal)
    for line in table:
        parts[line["month"], line["segment"].split("=")[0], line["term"]] += line["usd"]
    for month in {month for month, _ in changes}:
        for kind in ["workspace", "api_key"] + ["team"] * has_teams:
            of_kind = sum(
                change for (at, name), (change, _) in changes.items() if at == month and name.startswith(kind)
            )
            assert of_kind == changes[month, "all"][0]
            if kind != "team":
                assert {t: parts[month, kind, t] for t in TERMS} == {t: parts[month, "all", t] for t in TERMS}


def test_each_cause_has_its_own_term(marts):
    for key, before, after in (
        ("more", {"requests": 10}, {"tokens": 2 * 10**6, "requests": 20}),
        ("longer", {"requests": 10}, {"tokens": 2 * 10**6, "requests": 10}),
        ("dearer", {"requests": 10}, {"usd_per_mtok": 18, "requests": 10}),
        ("cached", {"requests": 10}, {"usd_per_mtok": 1, "token_kind": "cache_read", "requests": 10}),
        ("long", {"requests": 10}, {"usd_per_mtok": 22.5, "context_window": "200k-1M", "requests": 10}),
        ("batch", {"requests": 10}, {"usd_per_mtok": 7.5, "usage_type": "batch", "requests": 10}),
        ("region", {"requests": 10}, {"usd_per_mtok": 16.5, "inference_geo": "us", "requests": 10}),
        ("fast", {"requests": 10}, {"usd_per_mtok": 90, "speed": "fast", "requests": 10}),
        ("contract", {"requests": 10}, {"usd_per_mtok": 12, "list_usd_per_mtok": 15, "requests": 10}),
    ):
        use(marts, JANUARY, **{"usd_per_mtok": 15, "api_key": key} | before)
        use(marts, FEBRUARY, **{"usd_per_mtok": 15, "api_key": key} | after)
    use(marts, JANUARY, 2, api_key="gone")
    use(marts, FEBRUARY, 4, api_key="new")
    table = bridge(marts)
    expected = {
        "more": ("volume", 15),
        "longer": ("tokens per request", 15),
        "dearer": ("list price", 3),
        "cached": ("cache share", -14),
        "long": ("long context", 7.5),
        "batch": ("tier", -7.5),
        "region": ("region", 1.5),
        "fast": ("speed", 75),
        "contract": ("discount", -3),
        "gone": ("gone keys", -2),
        "new": ("new keys", 4),
    }
    for key, (term, change) in expected.items():
        assert terms(table, f"api_key={key}") == {term: Decimal(str(change))}, key
    assert terms(table) == {term: Decimal(str(change)) for term, change in expected.values()}
    assert {line["source"] for line in table.to_pylist()} == {"console"}


def test_a_new_tier_at_a_new_price_is_both(marts):
    """Batch costs half. The price falls from 20 to 10 as half of the tokens move to batch."""
    price = {"provider": "anthropic", "model": "claude-sonnet-4-5", "token_kind": "output", "context_window": "0-200k"}
    price |= {"inference_geo": "", "speed": "standard"}
    for starts, tier, rate in (
        (dt.date(2025, 1, 1), "standard", 20),
        (dt.date(2025, 1, 1), "batch", 10),
        (dt.date(2026, 2, 1), "standard", 10),
        (dt.date(2026, 2, 1), "batch", 5),
    ):
        line = {"valid_from": starts, "usage_type": tier, "usd_per_mtok": rate, "list_usd_per_mtok": rate}
        insert(marts, "model_rates", [price | line])
    use(marts, JANUARY, 20, 2 * 10**6)
    use(marts, FEBRUARY, 10)
    use(marts, FEBRUARY, 5, usage_type="batch")
    # 40 becomes 15: the tier takes a quarter of 40 or of 20, the price half of 40 or of 30
    assert terms(bridge(marts)) == {"tier": Decimal("-7.5"), "list price": Decimal("-17.5")}


def test_a_bill_at_the_rate_card_has_no_change_of_price_only_of_cents(marts):
    use(marts, JANUARY, "3.333333", 700_001)
    use(marts, FEBRUARY, "3.333333", 900_001)
    insert(marts, "billed_costs", [billed(JANUARY, "2.33"), billed(FEBRUARY, "3.00")])
    found = terms(bridge(marts))
    assert found == {
        "volume": Decimal("0.6666666"),
        "rounding": Decimal("3.00") - Decimal("2.33") - Decimal("0.6666666"),
    }


def test_what_is_billed_below_the_list_price_is_a_discount(marts):
    for at in (JANUARY, FEBRUARY):
        use(marts, at, 10)
    insert(marts, "billed_costs", [billed(JANUARY, 10, list_price_usd=10), billed(FEBRUARY, 8, list_price_usd=10)])
    table = bridge(marts)
    assert terms(table) == {"discount": -2}
    assert one(table, segment="all", term="discount")["source"] == "billed"
    # an export that states no list price says the same
    marts.execute("UPDATE marts.billed_costs SET list_price_usd = NULL")
    assert terms(bridge(marts)) == {"discount": -2}


def test_a_bill_without_keys_is_explained_by_the_usage_of_all_keys(marts):
    for at, window, usd_per_mtok in ((JANUARY, "0-200k", 10), (FEBRUARY, "200k-1M", 20)):
        for key in ("a", "b"):
            use(marts, at, usd_per_mtok, api_key=key, context_window=window)
        insert(marts, "billed_costs", [billed(at, 2 * usd_per_mtok, api_key="")])
    assert terms(bridge(marts)) == {"long context": 20}


def test_tokens_are_the_volume_where_the_console_counts_no_requests(marts):
    use(marts, JANUARY, 10)
    use(marts, FEBRUARY, 10, 2 * 10**6)
    assert terms(bridge(marts)) == {"volume": 10}


def test_costs_that_only_the_bill_knows_are_volume(marts):
    insert(marts, "billed_costs", [billed(JANUARY, 10), billed(FEBRUARY, 25)])
    assert terms(bridge(marts)) == {"volume": 15}


def test_a_key_that_moves_to_another_team_is_neither_new_nor_gone(marts):
    use(marts, JANUARY, 10, team="red")
    use(marts, FEBRUARY, 12, team="blue")
    use(marts, FEBRUARY, 5, api_key="fresh")
    table = bridge(marts)
    assert terms(table, "team=red") == {"volume": -10}
    assert terms(table, "team=blue") == {"volume": 12}
    assert terms(table, "team=(none)") == {"new keys": 5}
    assert terms(table) == {"list price": 2, "new keys": 5}


def test_a_bill_is_split_over_the_teams_of_its_usage(marts):
    for at, bill in ((JANUARY, 9), (FEBRUARY, 18)):
        use(marts, at, 10, team="red", user_id="ann", requests=1)
        use(marts, at, 10, 2 * 10**6, team="blue", user_id="bob", requests=1)
        insert(marts, "billed_costs", [billed(at, bill)])
    table = bridge(marts)
    assert terms(table, "team=red") == {"discount": 3}
    assert terms(table, "team=blue") == {"discount": 6}


def test_usage_without_teams_has_no_segments_of_teams(marts):
    use(marts, JANUARY, 10)
    use(marts, FEBRUARY, 10)
    assert not [line for line in bridge(marts).to_pylist() if line["segment"].startswith("team")]


def month_of_days(marts, month, cost, days=28, **other):
    for day in range(1, days + 1):
        use(marts, dt.datetime(2026, month, day), cost, **other)


def test_the_single_day_that_makes_the_move_is_named(marts):
    month_of_days(marts, 1, 1)
    month_of_days(marts, 2, 1.25)
    use(marts, dt.datetime(2026, 1, 22), 49)
    (line,) = rows_of(bridge(marts), segment="all", term="volume")
    assert json.loads(line["days"]) == [{"usage_date": "2026-01-22", "usd": 50.0}]
    assert (line["days_usd"], line["change_without_days_usd"]) == (50, Decimal(35 - 77 + 50))
    assert line["days_sentence"] == (
        "January 2026 held 22 January ($50.00) of its $77.00. Without it, February 2026 would have risen by $8.00, "
        "not fallen by $42.00."
    )


def test_a_month_that_rises_on_all_days_alike_has_no_such_day(marts):
    month_of_days(marts, 1, 1)
    month_of_days(marts, 2, 2)
    assert {line["days_sentence"] for line in bridge(marts).to_pylist()} == {None}


def test_a_bridge_joins_any_two_periods_and_is_the_month_bridge_for_two_months(marts):
    month_of_days(marts, 1, 1, team="red")
    month_of_days(marts, 2, 2, team="red")
    month_of_days(marts, 3, 4, team="blue")
    months = {line["month"]: line for line in rows_of(bridge(marts), segment="all", term="list price")}
    assert [line["usd"] for line in months.values()] == [28, 56]
    january, march = Period.parse("2026-01"), Period.parse("2026-03")
    table = bridge_between(marts, january, march)
    assert terms(table, month=dt.date(2026, 3, 1)) == {"list price": 84}
    february = bridge_between(marts, january, Period.parse("2026-02")).to_pylist()
    for segment in ("all", "api_key=prod", "team=red"):
        assert [line for line in february if line["segment"] == segment] == rows_of(
            bridge(marts), segment=segment, month=dt.date(2026, 2, 1)
        )
    weeks = bridge_between(
        marts, Period.parse("2026-01-01..2026-01-07"), Period.parse("2026-02-27..2026-03-05"), by=["team"]
    )
    assert {line["segment"] for line in weeks.to_pylist()} == {"all", "team=red", "team=blue"}
    (line,) = rows_of(weeks, segment="all", term="list price")
    assert (line["previous_usd"], line["month_usd"], line["usd"]) == (7, 4 + 20, 17)
    with pytest.raises(ValueError, match="not by colour"):
        bridge_between(marts, january, march, by=["colour"])


@pytest.mark.parametrize("text", ["2026-13", "January", "2026-02-30", "2026-02-03..2026-02-01", "2026-01..2026-02"])
def test_what_is_no_period_is_refused(text):
    with pytest.raises(ValueError, match="is no period"):
        Period.parse(text)


def test_one_month_is_one_row_that_says_so(marts):
    assert bridge(marts).to_pylist()[0]["note"].startswith("unavailable")
    use(marts, JANUARY, 10)
    (line,) = bridge(marts).to_pylist()
    assert (line["month"], line["segment"]) == (None, "all")
    assert "only 2026-01" in line["note"]


def test_months_that_the_history_holds_in_part_are_said_to_be(marts):
    use(marts, JANUARY, 10)
    use(marts, FEBRUARY, 10)
    assert (
        one(bridge(marts), segment="all", term="volume")["note"] == "2026-01 begins on 2026-01-10; 2026-02 ends on "
        "2026-02-10"
    )


def test_usage_without_a_price_is_in_no_bill_and_said(marts):
    use(marts, JANUARY, 10)
    use(marts, FEBRUARY, 10)
    insert(marts, "charges", [{"usage_date": FEBRUARY.date(), "model": "unknown", "tokens": 5}])
    table = bridge(marts)
    assert terms(table) == {}
    assert "1 usage rows have no price" in one(table, segment="all", term="volume")["note"]
