"""The page of changes: which periods it compares, the causes in words, the days that stand out and their sessions."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal

import pytest
from published import shown_text, snapshot

from pipeline.analysis.bridge import TERMS as EVERY_TERM
from pipeline.analysis.bridge import Period
from pipeline.serving.app import Served
from pipeline.views import moves, site
from pipeline.views.filters import FilterError, Filters, parse
from pipeline.views.view import run

EVERYTHING = Filters()
NOVEMBER = dt.date(2025, 11, 1)
SENTENCE = "October 2025 held 22 October ($110.30) of its $333.00."
HOSTILE = '=cmd|"<b>x</b>&\u202e $source'
# From $333.00 to $283.52: the causes of the month add up to the change.
TERMS = {"volume": "-91.92", "model mix": "38.40", "new keys": "4.04", "rounding": "0"}


def bridged(month=NOVEMBER, segment="all", before="333.00", after="283.52", terms=TERMS, **other):
    row = {
        "month": month,
        "segment": segment,
        "previous_usd": Decimal(before),
        "month_usd": Decimal(after),
        "source": "billed",
    }
    return [row | {"term": term, "usd": Decimal(usd)} | other for term, usd in terms.items()]


def charge(day, cost, **other):
    row = {
        "usage_date": day, "source": "console", "provider": "anthropic", "model": "claude-sonnet-4-5",
        "api_key": "prod", "workspace": "Default", "user_id": "", "project": "", "team": "", "billing_mode": "metered",
        "is_in_force": True, "token_kind": "output", "tokens": 1000, "context_window": "", "usage_type": "",
        "inference_geo": "", "speed": "", "cost_usd": Decimal(cost), "list_cost_usd": Decimal(cost),
    }  # fmt: skip
    return row | other


def flag(day, segment="all", kind="shock", **other):
    row = {
        "usage_date": day,
        "segment": segment,
        "measure": "day_cost_usd",
        "kind": kind,
        "value": 110.29,
        "expected": 10.73,
        "excess": 99.56,
        "raised_on": day,
        "contributions": json.dumps(
            {"tokens_per_request": 51.97, "model_mix": 45.7, "cache_share": 1.88, "price": -0.0}
        ),
    }
    return row | other


def published(folder, *rows, **tables):
    named = {f"marts.{name}": of for name, of in tables.items() if name in ("charges", "token_usage_sessions")}
    flags = {"analysis.usage_anomalies": tables.get("flags", ())}
    return snapshot(folder, {"analysis.month_bridge": rows, **named, **flags})


def test_the_answer_has_the_largest_causes_and_the_day_that_makes_the_move(tmp_path):
    answer = moves.answer(published(tmp_path, *bridged(days_sentence=SENTENCE)), EVERYTHING)
    assert answer.sentence == (
        "The bill for November 2025 is $283.52, $49.48 less than for October 2025 ($333.00): less usage (-$91.92), "
        f"more expensive models (+$38.40). {SENTENCE}"
    )
    assert answer.number == "-$49.48"
    assert [(tile.label, tile.value) for tile in answer.tiles] == [
        ("October 2025", "$333.00"),
        ("November 2025", "$283.52"),
    ]
    assert answer.tiles[0].to == ("spend", parse({"from": ["2025-10-01"], "to": ["2025-10-31"]}))


def test_the_waterfall_goes_from_bill_to_bill_and_names_each_cause(tmp_path):
    shown = run(moves.BRIDGE, published(tmp_path, *bridged()), EVERYTHING)
    assert [(row["step"], row["usd"]) for row in shown.rows] == [
        ("Earlier period", Decimal("333.00")),
        ("Less usage", Decimal("-91.92")),
        ("More expensive models", Decimal("38.40")),
        ("New keys", Decimal("4.04")),
        ("Later period", Decimal("283.52")),
    ]
    assert sum(row["usd"] for row in shown.rows[:-1]) == shown.rows[-1]["usd"]
    assert shown.figure["data"][0]["y"] == [333.0, -91.92, 38.4, 4.04, 283.52]


def test_parts_are_ranked_by_their_change_and_lead_to_their_own_bridge(tmp_path):
    found = published(
        tmp_path,
        *bridged(),
        *bridged(segment="api_key=a", before="10", after="12", terms={"volume": "3", "list price": "-1"}),
        *bridged(segment="api_key=b", before="20", after="5", terms={"volume": "-15"}),
        *bridged(segment="team=search", before="20", after="5", terms={"volume": "-15"}),
    )
    shown = run(moves.PARTS, found, EVERYTHING)
    assert [(row["segment"], row["change_usd"], row["because"]) for row in shown.rows] == [
        ("api_key=b", Decimal(-15), "less usage (-$15.00)"),
        ("api_key=a", Decimal(2), "more usage (+$3.00)"),
    ]
    assert shown.columns[0].link(shown.rows[0], EVERYTHING) == ("moves", parse({"api_key": ["b"]}))
    by_team = parse({"by": ["team"]})
    assert [row["segment"] for row in run(moves.PARTS, found, by_team).rows] == ["team=search"]
    answer = moves.answer(found, parse({"team": ["search"]}))
    assert answer.sentence.startswith("The bill of team search for November 2025 is $5.00, $15.00 less")
    assert answer.warnings[0].endswith("is under Who pays?")


MARCH = Period.month(dt.date(2026, 3, 1))


@pytest.mark.parametrize(
    ("address", "earlier", "later"),
    [
        ({}, "2026-02", "2026-03"),
        ({"against": ["a year earlier"]}, "2025-03", "2026-03"),
        ({"from": ["2026-02-01"], "to": ["2026-02-28"]}, "2026-01", "2026-02"),
        ({"from": ["2026-03-09"], "to": ["2026-03-15"]}, "2026-03-02..2026-03-08", "2026-03-09..2026-03-15"),
        (
            {"from": ["2026-03-30"], "to": ["2026-03-31"], "against": ["a month earlier"]},
            "2026-02-28",
            "2026-03-30..2026-03-31",
        ),
        (
            {"a_from": ["2026-01-01"], "a_to": ["2026-01-07"], "b_from": ["2026-03-30"]},
            "2026-01-01..2026-01-07",
            "2026-03-30..2026-03-31",
        ),
    ],
)
def test_the_periods_are_those_of_the_address(tmp_path, address, earlier, later):
    days = [charge(dt.date(2026, 1, 1), "1"), charge(dt.date(2026, 3, 31), "1")]
    found = published(tmp_path, *bridged(month=MARCH.first_day), charges=days)
    assert moves.periods(found, parse(address)) == (Period.parse(earlier), Period.parse(later))


@pytest.mark.parametrize(
    ("address", "named"),
    [
        ({"a_from": ["x"]}, "a_from=x: write a day as 2026-01-31"),
        ({"b_from": ["0001-01-01"]}, "b_from=0001-01-01: the day lies outside"),
        ({"b_from": ["2026-03-02"], "b_to": ["2026-03-01"]}, "b_from=2026-03-02 is later than to=2026-03-01"),
        ({"b_from": ["2026-03-02"]}, "ends on 2026-01-01, before it begins"),
    ],
)
def test_periods_that_cannot_be_read_are_named(tmp_path, address, named):
    found = published(tmp_path, *bridged(), charges=[charge(dt.date(2026, 1, 1), "1")])
    with pytest.raises(FilterError, match=named):
        moves.periods(found, parse(address))


def test_any_two_periods_are_bridged_exactly_and_named_keys_cannot_break_the_query(tmp_path):
    first, second = dt.date(2026, 1, 5), dt.date(2026, 3, 9)
    charges = [
        charge(first, "1.25"),
        charge(first, "2", api_key=HOSTILE),
        charge(second, "4.5", tokens=3600),
        charge(second, "1", api_key=HOSTILE, tokens=500),
    ]
    found = published(tmp_path, charges=charges)
    filters = parse({"a_from": [f"{first}"], "a_to": [f"{first}"], "b_from": [f"{second}"], "b_to": [f"{second}"]})
    rows = run(moves.BRIDGE, found, filters).rows
    assert (rows[0]["usd"], rows[-1]["usd"]) == (Decimal("3.25"), Decimal("5.5"))
    assert sum(row["usd"] for row in rows[:-1]) == rows[-1]["usd"]
    shown = run(moves.PARTS, found, filters)
    assert {row["segment"]: row["change_usd"] for row in shown.rows} == {
        "api_key=prod": Decimal("3.25"),
        f"api_key={HOSTILE}": Decimal(-1),
    }
    assert "$source" not in shown.sql  # else it would be taken for a parameter
    html = site.question(Served(), moves.PAGE, found, filters)
    assert "<b>x</b>" not in html
    assert "=cmd|&#34;&lt;b&gt;x&lt;/b&gt;&amp;\\u202e" in shown_text(html)


def test_flagged_days_have_their_causes_and_those_taken_back_say_why(tmp_path):
    day = dt.date(2025, 10, 22)
    flags = [
        flag(day),
        flag(day, "api_key=a", taken_back="later days cost as much"),
        flag(dt.date(2025, 11, 4), "api_key=b", "new_segment", contributions=None),
    ]
    charges = [charge(day, "110.29"), charge(day + dt.timedelta(days=1), "10")]
    found = published(tmp_path, *bridged(), flags=flags, charges=charges)
    whole, part = run(moves.FLAGS, found, EVERYTHING).rows
    assert whole["causes"] == "longer requests (+$51.97), more expensive models (+$45.70)"
    assert (whole["state"], part["state"]) == ("stands", "taken back: later days cost as much")
    (new,) = run(moves.SHIFTS, found, EVERYTHING).rows
    assert (new["kind_in_words"], new["causes"]) == ("new API key", None)
    shown = run(moves.DAYS, found, EVERYTHING)
    assert [row["kind"] for row in shown.rows] == ["stands out", "usual"]
    assert shown.sentence == (
        "1 of 2 days stand out; the most expensive, 22 October 2025, cost $110.29, where $10.73 was expected."
    )
    assert [row["segment"] for row in run(moves.FLAGS, found, parse({"api_key": ["a"]})).rows] == ["api_key=a"]
    assert run(moves.FLAGS, found, parse({"to": ["2025-10-21"]})).total == 0


def test_the_sessions_behind_a_day_lead_to_their_pages(tmp_path):
    top = json.dumps([{"session_id": "s1", "cost_usd": 17.5}, {"session_id": HOSTILE, "cost_usd": 3.0}])
    sessions = [{"session_id": "s1", "user_id": "ann", "project": "p", "primary_model": "m"}]
    day = dt.date(2025, 10, 22)
    found = published(
        tmp_path, flags=[flag(day, top_sessions=top), flag(day, "api_key=a")], token_usage_sessions=sessions
    )
    shown = run(moves.SESSIONS, found, EVERYTHING)
    assert [(row["session_id"], row["cost_usd"], row["user_id"]) for row in shown.rows] == [
        ("s1", 17.5, "ann"),
        (HOSTILE, 3.0, None),
    ]
    assert shown.columns[1].link(shown.rows[0], EVERYTHING) == ("session", parse({"id": ["s1"]}))


def test_what_has_no_bridge_is_said(tmp_path):
    alone = published(
        tmp_path, {"segment": "all", "note": "unavailable: a bridge needs two months, and only 2026-02 has usage."}
    )
    assert moves.answer(alone, EVERYTHING).sentence == "A bridge needs two months, and only 2026-02 has usage."
    assert all(not site.attempt(view, alone, EVERYTHING).problem for view in moves.PAGE.views)
    (tmp_path / "two").mkdir()
    found = published(tmp_path / "two", *bridged(note="2025-11 ends on 2025-11-10"))
    user, note = moves.answer(found, parse({"user_id": ["ann"]})).warnings
    assert "user" in user
    assert note == "The comparison is incomplete: 2025-11 ends on 2025-11-10."
    assert moves.answer(found, parse({"api_key": ["none"]})).sentence == (
        "There is no bill of this choice in October 2025 or November 2025."
    )


def test_every_cause_has_words_for_more_and_for_less():
    assert {term.replace("_", " ") for term in EVERY_TERM} <= moves.CAUSES.keys()


def test_days_that_stand_out_have_their_colour_whatever_they_cost(tmp_path):
    day = dt.date(2025, 10, 22)
    for name, cost in (("cheap", "1"), ("expensive", "500")):
        (tmp_path / name).mkdir()
        charges = [charge(day, cost), charge(day + dt.timedelta(days=1), "10")]
        shown = run(moves.DAYS, published(tmp_path / name, flags=[flag(day)], charges=charges), EVERYTHING)
        colours = {trace["name"]: trace["marker"]["color"] for trace in shown.figure["data"]}
        assert colours == {"stands out": "var(--flag)", "usual": "var(--s1)"}
