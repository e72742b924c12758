"""The page of waste: savings and their waterfall, caches that lose money, long prompts and loops."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pytest
from published import shown_text, snapshot

from pipeline.serving.app import Served
from pipeline.views import site, waste
from pipeline.views.filters import Filters, parse
from pipeline.views.view import run

DAY = dt.date(2026, 1, 5)
EVERYTHING = Filters()
HOSTILE = '=cmd|"<b>x</b>&\u202e'


def saving(rank: int, usd: str, **other):
    row = {
        "rank": rank, "kind": "cache_policy", "subject": "s", "saving_usd_per_month": Decimal(usd),
        "confidence": "high", "evidence": "because", "action": "Write less.", "applied_order": rank, "active_days": 10,
        "provider": "anthropic", "model": "claude-sonnet-4-5", "api_key": "crawler", "workspace": "Default",
        "project": "", "first_usage_date": DAY, "last_usage_date": DAY + dt.timedelta(days=9), "status": "ok",
    }  # fmt: skip
    return row | other


def charge(cost: str, **other):
    row = {
        "usage_date": DAY, "source": "console", "provider": "anthropic", "model": "claude-sonnet-4-5",
        "api_key": "crawler", "cost_usd": Decimal(cost), "billing_mode": "metered", "is_in_force": True, "tokens": 10,
        "token_kind": "output", "project": "",
    }  # fmt: skip
    return row | other


def cached(key: str, saved: str | None, reads: int, writes: int, **other):
    """A day of a key: the row of cache use, and that of daily_usage which says whether it counts."""
    dimensions = {
        "usage_date": DAY, "source": "console", "provider": "anthropic", "model": "claude-sonnet-4-5",
        "api_key": key, "workspace": "Default",
    }  # fmt: skip
    dimensions |= {name: other.pop(name) for name in tuple(other) if name in dimensions}
    use = {
        "user_id": "", "total_cache_reads": reads, "total_cache_writes_5m": writes, "total_cache_writes_1h": 0,
        "total_tokens": reads + writes, "cost_usd": Decimal(1),
        "cache_savings_usd": None if saved is None else Decimal(saved),
    }  # fmt: skip
    return dimensions | use, dimensions | {"is_in_force": other.get("is_in_force", True)}


def with_caches(folder, *pairs):
    uses, days = zip(*pairs, strict=True)
    return snapshot(folder, {"marts.cache_efficiency_stats": uses, "marts.daily_usage": days})


def test_savings_add_up_and_the_waterfall_ends_at_what_is_left(tmp_path):
    tables = {
        "analysis.recommendations": [saving(1, "6"), saving(2, "3", api_key="", project="shop", kind="lost_cache")],
        # 30 dollars in the 10 days of the window are 90 a month
        "marts.charges": [charge("30"), charge("99", usage_date=dt.date(2025, 1, 1)), charge("7", is_in_force=False)],
    }
    published = snapshot(tmp_path, tables)
    answer = waste.answer(published, EVERYTHING)
    assert answer.number == "$9.00 a month"
    assert answer.sentence == (
        "$9.00 of $90.00 (10.0%) a month could be saved, most of it by crawler: another lifetime of the cache."
    )
    shown = run(waste.SAVINGS, published, EVERYTHING)
    assert [row["owner"] for row in shown.rows] == ["crawler", "project shop"]
    owner = shown.columns[0]
    assert [owner.leads_to(row, EVERYTHING) for row in shown.rows] == [
        ("spend", parse({"api_key": ["crawler"]})),
        ("spend", parse({"project": ["shop"]})),
    ]
    (bars,) = shown.figure["data"]
    assert list(zip(bars["base"], bars["y"], strict=True)) == [(0, 90), (90, -6), (84, -3), (0, 81)]
    # the axis begins where the savings can be seen, and the sentence says so
    assert shown.figure["layout"]["yaxis"]["range"][0] == 76.5
    assert shown.sentence.endswith("The figure begins at $76.50.")


def test_a_saving_states_its_days_its_bound_and_an_example_where_the_session_is_known(tmp_path):
    measured = {"active_days": 4, "hindsight_usd_per_month": Decimal(8), "held_out_usd": Decimal("0.5")}
    evidence = "It grew. Most expensive sessions: run-1.5, other."
    unknown = "It grew. Most expensive sessions: gone."
    tables = {
        "analysis.recommendations": [
            saving(1, "6", evidence=evidence, **measured),
            saving(2, "3", evidence=unknown, active_days=1),
            saving(3, "1", evidence="Nothing else. Most expensive sessions: run-1.5. Alone it saves $2.00."),
        ],
        "marts.token_usage_sessions": [{"session_id": "run-1.5"}, {"session_id": "other"}],
    }
    shown = run(waste.SAVINGS, snapshot(tmp_path, tables), EVERYTHING)
    assert [row["session_id"] for row in shown.rows] == ["run-1.5", None, "run-1.5"]
    first = shown.rows[0]
    assert (first["active_days"], first["hindsight_usd_per_month"], first["held_out_usd"]) == (4, 8, Decimal("0.5"))


def test_savings_follow_the_filters_that_they_know(tmp_path):
    published = snapshot(tmp_path, {"analysis.recommendations": [saving(1, "6"), saving(2, "3", api_key="other")]})
    answer = waste.answer(published, parse({"api_key": ["other"], "team": ["Search"], "from": ["2026-01-01"]}))
    assert answer.number == "$3.00 a month"
    assert answer.warnings == ("Possible savings are not filtered by team and period: they have their own window.",)


def test_the_key_that_wastes_cache_is_in_the_answer(tmp_path):
    published = with_caches(
        tmp_path,
        cached("good", "5", 100, 10),
        cached("bad", "-2", 1, 50),
        cached("worse", "-3", 10, 50),
        cached("logged", "-90", 1, 1, source="sessions", is_in_force=False),
    )
    answer = waste.answer(published, EVERYTHING)
    assert answer.sentence == (
        "No saving was found. API key worse wastes cache: writing it cost $3.00 more than reading it saved; 2 of 3 "
        "lose $5.00 together."
    )
    assert [(tile.label, tile.value) for tile in answer.tiles] == [
        ("Caching saved", "$0.00"),
        ("Wastes most cache", "worse"),
    ]
    rows = run(waste.CACHE, published, EVERYTHING).rows
    assert [(row["api_key"], row["saved_usd"], row["reads_per_write"]) for row in rows] == [
        ("worse", -3, 0.2),
        ("bad", -2, 0.02),
        ("good", 5, 10),
    ]


def test_caches_that_pay_off_name_the_one_with_the_least_use(tmp_path):
    published = with_caches(tmp_path, cached("a", "5", 100, 10), cached("b", "1", 20, 10), cached("c", "0", 0, 0))
    assert run(waste.CACHE, published, EVERYTHING).sentence == (
        "No API key loses money by caching. All caching saved $6.00. The least use: API key b reads each token that it "
        "writes 2.0 times."
    )
    by_model = run(waste.CACHE, published, parse({"by": ["model"]}))
    assert by_model.sentence.startswith("No model loses money by caching. All caching saved $6.00.")
    in_february = run(waste.CACHE, published, parse({"from": ["2026-02-01"]}))
    assert (in_february.total, in_february.sentence) == (0, "")


def test_projects_are_compared_by_reads_and_writes_of_the_logs(tmp_path):
    logs = {"source": "sessions", "project": "shop", "is_in_force": False}
    rows = [
        charge("1", token_kind="cache_read", tokens=30, **logs),
        charge("1", token_kind="cache_write_5m", tokens=10, **logs),
        charge("1", token_kind="cache_write_1h", tokens=10, **logs),
        charge("9", token_kind="cache_read", tokens=99),
    ]
    published = snapshot(tmp_path, {"marts.charges": rows})
    shown = run(waste.CACHE, published, parse({"by": ["project"]}))
    (row,) = shown.rows
    assert (row["project"], row["read_tokens"], row["written_tokens"], row["reads_per_write"]) == ("shop", 30, 20, 1.5)
    assert "saved_usd" not in [column.name for column in shown.columns]


def test_the_surcharge_of_long_prompts_counts_usage_in_force_only(tmp_path):
    dimensions = {"usage_date": DAY, "provider": "anthropic", "model": "claude-sonnet-4-5"}

    def window(source: str, name: str, tokens: int, cost: str, surcharge: str):
        money = {"cost_usd": Decimal(cost), "surcharge_usd": Decimal(surcharge)}
        return dimensions | {"source": source, "context_window": name, "total_tokens": tokens} | money

    tables = {
        "marts.daily_usage": [
            dimensions | {"source": "console", "is_in_force": True},
            dimensions | {"source": "sessions", "is_in_force": False},
        ],
        "marts.context_window_usage": [
            window("console", "0-200k", 300, "3", "0"),
            window("console", "200k-1M", 100, "4", "1.5"),
            window("sessions", "200k-1M", 100, "4", "1.5"),
        ],
    }
    shown = run(waste.CONTEXT, snapshot(tmp_path, tables), EVERYTHING)
    (row,) = shown.rows
    assert (row["long_tokens"], row["share_of_tokens"], row["cost_usd"]) == (100, 0.25, 7)
    assert shown.sentence == "Prompts above 200,000 tokens cost $4.00: $1.50 of it is the surcharge for their length."


def replay(number: int, session: str, **other):
    row = {
        "request_key": f"{session}-{number}", "session_id": session, "source_format": "tracker_events",
        "requested_at": dt.datetime(2026, 1, 5, 10, number), "provider": "anthropic", "model": "claude-sonnet-4-5",
        "api_key": "crawler", "is_growing": True, "output_tokens": 2, "input_tokens": 100,
        "estimated_cost_usd": Decimal("0.5"),
    }  # fmt: skip
    return row | other


def test_a_session_that_keeps_growing_without_output_is_listed(tmp_path):
    loop = [replay(number, "loop") for number in range(11)]
    useful = [replay(number, "useful", output_tokens=90) for number in range(20)]
    short = [replay(number, "short") for number in range(10)]
    published = snapshot(tmp_path, {"marts.request_replays": loop + useful + short})
    shown = run(waste.RUNAWAY, published, EVERYTHING)
    assert [(row["session_id"], row["requests"], row["cost_usd"]) for row in shown.rows] == [("loop", 11, 5.5)]
    assert shown.sentence == "1 session kept growing with almost no output: $5.50."


def test_logs_that_hold_only_the_first_count_of_an_output_show_no_loop(tmp_path):
    steps = [replay(number, "loop", source_format="claude_code") for number in range(11)]
    firsts = [{"source_format": "claude_code", "total_tokens": 10, "output_tokens": 1}] * 3
    published = snapshot(tmp_path, {"marts.request_replays": steps, "marts.requests": firsts})
    assert run(waste.RUNAWAY, published, EVERYTHING).total == 0


def test_what_was_not_assessed_is_a_warning_and_questions_are_listed(tmp_path):
    def row(kind: str, subject: str, evidence: str, **other):
        return {"kind": kind, "subject": subject, "evidence": evidence} | other

    rows = [
        row("unavailable", "usage that was not assessed", "Logs hold $1.00 of $9.00. So caches cannot be assessed."),
        row("unavailable", "api_key=crawler", "It looks like a seat.", provider="anthropic"),
        row("what_if", "smaller", "It costs less.", what_if_usd_per_month=Decimal(-4)),
    ]
    published = snapshot(tmp_path, {"analysis.recommendations": rows})
    assert waste.answer(published, EVERYTHING).warnings == (
        "Logs hold $1.00 of $9.00. What else was not assessed is at the end.",
    )
    shown = run(waste.QUESTIONS, published, EVERYTHING)
    assert [(row["what"], row["subject"], row["what_if_usd_per_month"]) for row in shown.rows] == [
        ("what if", "smaller", -4),
        ("not assessed", "api_key=crawler", None),
        ("not assessed", "usage that was not assessed", None),
    ]


@pytest.mark.parametrize("by", waste.BY)
def test_the_page_without_any_rows_says_so(tmp_path, by):
    published = snapshot(tmp_path, {})
    assert waste.answer(published, EVERYTHING).sentence == "No saving was found."
    for view in waste.PAGE.views:
        shown = run(view, published, parse({"by": [by]}))
        assert (shown.total, shown.problem, shown.figure) == (0, "", None)


def test_hostile_names_stay_text(tmp_path):
    use, day = cached(HOSTILE, "-1", 1, 9)
    tables = {
        "marts.cache_efficiency_stats": [use],
        "marts.daily_usage": [day],
        "analysis.recommendations": [saving(1, "6", api_key=HOSTILE, evidence=HOSTILE, action=HOSTILE)],
        "marts.charges": [charge("30")],
    }
    html = site.question(Served(), waste.PAGE, snapshot(tmp_path, tables), EVERYTHING)
    assert "<b>x" not in html
    assert "\u202e" not in shown_text(html)
