"""The bridge from one month's bill to the next."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from marts import MARTS, insert, one, rows_of, usage

from pipeline.analysis import distributions
from pipeline.settings import Settings

JANUARY, FEBRUARY = dt.datetime(2026, 1, 10), dt.datetime(2026, 2, 10)
TERMS = (
    "volume",
    "tokens per request",
    "model mix",
    "cache share",
    "list price",
    "discount",
    "new keys",
    "gone keys",
)
NO_TOKENS = dict.fromkeys(
    (
        "input_tokens_no_cache",
        "input_tokens_cache_write_5m",
        "input_tokens_cache_write_1h",
        "input_tokens_cache_read",
        "output_tokens",
        "web_search_count",
    ),
    0,
)


@pytest.fixture
def marts():
    with duckdb.connect() as connection:
        connection.execute(MARTS)
        yield connection


def row(at, cost, tokens, **other):
    return usage(at, cost) | NO_TOKENS | {"output_tokens": tokens, "total_tokens": tokens} | other


def billed(at, cost, **other):
    line = {"usage_date": at.date(), "provider": "anthropic", "model": "claude-sonnet-4-5", "api_key": "prod"}
    line |= {"workspace": "Default", "token_kind": "output", "cost_usd": Decimal(str(cost)), "cost_rows": 1}
    return line | other


def bridge(marts, tmp_path=Path(), **knobs):
    return distributions.TABLES["month_bridge"](marts, Settings(home=tmp_path, **knobs))


def terms(table, segment="all", month=dt.date(2026, 2, 1)):
    found = rows_of(table, segment=segment, month=month)
    assert [line["term"] for line in found] == list(TERMS)
    return {line["term"]: line["usd"] for line in found}


amounts = st.integers(0, 10**15).map(lambda nano: Decimal(nano) / 10**12)
lines = st.lists(
    st.fixed_dictionaries(
        {
            "day": st.integers(0, 88),
            "cost": amounts,
            "model": st.sampled_from(["claude-sonnet-4-5", "claude-opus-4-1", "unknown"]),
            "api_key": st.sampled_from(["a", "b", "c", ""]),
            "workspace": st.sampled_from(["x", "y"]),
            "source": st.sampled_from(["console", "sessions"]),
            "input_tokens_cache_read": st.integers(0, 10**6),
            "output_tokens": st.integers(0, 10**6),
            "web_search_count": st.integers(0, 3),
            "request_count": st.one_of(st.none(), st.integers(1, 50)),
        }
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=40)  # of up to a dozen lines each
@given(lines, st.lists(st.tuples(st.integers(0, 88), amounts, st.sampled_from("abc"), st.booleans()), max_size=8))
def test_the_terms_sum_to_the_change_of_the_bill_to_the_last_digit(used, costs):
    with duckdb.connect() as marts:
        marts.execute(MARTS)
        for line in used:
            at = dt.datetime(2026, 1, 2) + dt.timedelta(days=line["day"])
            other = {name: value for name, value in line.items() if name not in ("day", "cost")}
            insert(marts, "token_usage_minutes", [row(at, 0, 0) | other | {"estimated_cost_usd": line["cost"]}])
        for day, cost, key, has_list in costs:
            at = dt.datetime(2026, 1, 2) + dt.timedelta(days=day)
            list_price = cost * 2 if has_list else None
            insert(marts, "billed_costs", [billed(at, cost, api_key=key, workspace="x", list_price_usd=list_price)])
        table = bridge(marts).to_pylist()
    if table[0]["month"] is None:
        return
    changes = {}
    for line in table:
        key = (line["month"], line["segment"])
        changes.setdefault(key, [line["month_usd"] - line["previous_usd"], Decimal(0)])[1] += line["usd"]
    for change, summed in changes.values():
        assert summed == change
    for month in {month for month, _ in changes}:
        workspaces = sum(change for (at, name), (change, _) in changes.items() if at == month and "workspace" in name)
        assert workspaces == changes[month, "all"][0]


def test_each_cause_has_its_own_term(marts):
    rate = {"provider": "anthropic", "model": "claude-sonnet-4-5", "usage_type": "standard", "inference_geo": ""}
    rate |= {"speed": "standard", "valid_from": dt.date(2025, 1, 1)}
    insert(
        marts,
        "model_rates",
        [rate | {"token_kind": "output", "usd_per_mtok": 15}, rate | {"token_kind": "cache_read", "usd_per_mtok": 1}],
    )
    reads = {"input_tokens_cache_read": 10**6, "output_tokens": 0}
    insert(
        marts,
        "token_usage_minutes",
        [
            row(JANUARY, 15, 10**6, api_key="more", request_count=10),
            row(FEBRUARY, 30, 2 * 10**6, api_key="more", request_count=20),
            row(JANUARY, 15, 10**6, api_key="longer", request_count=10),
            row(FEBRUARY, 30, 2 * 10**6, api_key="longer", request_count=10),
            row(JANUARY, 15, 10**6, api_key="dearer", request_count=10),
            row(FEBRUARY, 18, 10**6, api_key="dearer", request_count=10),
            row(JANUARY, 15, 10**6, api_key="cached", request_count=10),
            row(FEBRUARY, 1, 10**6, api_key="cached", request_count=10) | reads,
            row(JANUARY, 2, 10**6, api_key="gone"),
            row(FEBRUARY, 4, 10**6, api_key="new"),
        ],
    )
    table = bridge(marts)
    for key, term, usd in (
        ("more", "volume", 15),
        ("longer", "tokens per request", 15),
        ("dearer", "list price", 3),
        ("cached", "cache share", -14),
        ("gone", "gone keys", -2),
        ("new", "new keys", 4),
    ):
        assert {name: part for name, part in terms(table, f"api_key={key}").items() if part} == {term: usd}, key
    assert sum(terms(table).values()) == 15 + 15 + 3 - 14 - 2 + 4
    assert {line["source"] for line in table.to_pylist()} == {"console"}


def test_a_discount_is_told_from_a_list_price(marts):
    insert(marts, "token_usage_minutes", [row(JANUARY, 10, 10**6), row(FEBRUARY, 10, 10**6)])
    insert(marts, "billed_costs", [billed(JANUARY, 10, list_price_usd=10), billed(FEBRUARY, 8, list_price_usd=10)])
    table = bridge(marts)
    assert {term: usd for term, usd in terms(table).items() if usd} == {"discount": -2}
    assert one(table, segment="all", term="discount")["source"] == "billed"


def test_tokens_are_the_volume_where_the_console_counts_no_requests(marts):
    insert(marts, "token_usage_minutes", [row(JANUARY, 10, 10**6), row(FEBRUARY, 20, 2 * 10**6)])
    assert {term: usd for term, usd in terms(bridge(marts)).items() if usd} == {"volume": 10}


def test_costs_that_only_the_bill_knows_are_volume(marts):
    insert(marts, "billed_costs", [billed(JANUARY, 10), billed(FEBRUARY, 25)])
    assert {term: usd for term, usd in terms(bridge(marts)).items() if usd} == {"volume": 15}


def test_one_month_is_one_row_that_says_so(marts):
    assert bridge(marts).to_pylist()[0]["note"].startswith("unavailable")
    insert(marts, "token_usage_minutes", [row(JANUARY, 10, 10**6)])
    (line,) = bridge(marts).to_pylist()
    assert (line["month"], line["segment"]) == (None, "all")
    assert "only 2026-01" in line["note"]


def test_months_that_the_history_holds_in_part_are_said_to_be(marts):
    insert(marts, "token_usage_minutes", [row(JANUARY, 10, 10**6), row(FEBRUARY, 10, 10**6)])
    assert (
        one(bridge(marts), segment="all", term="volume")["note"] == "2026-01 begins on 2026-01-10; 2026-02 ends on "
        "2026-02-10"
    )
