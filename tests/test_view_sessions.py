"""The page of sessions and that of a single one: their answers, views and links."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pytest
from published import shown_text, snapshot

from pipeline.serving.app import Served
from pipeline.views import session, sessions, site
from pipeline.views.filters import Filters, parse
from pipeline.views.rows import encoded
from pipeline.views.view import run, shown

START = dt.datetime(2026, 1, 5, 9)
HOSTILE = '=cmd|"<b>x</b>&\u202e'
EVERYTHING = Filters()


def one(number: int, cost: str | None, **other):
    row = {
        "session_id": f"session-{number:03}",
        "source_format": "claude_code",
        "user_id": "ann",
        "provider": "anthropic",
        "api_key": "prod",
        "workspace": "Default",
        "project": "",
        "session_started_at": START + dt.timedelta(days=number % 40),
        "last_updated_at": START + dt.timedelta(days=number % 40, hours=1),
        "duration_seconds": 3600,
        "primary_model": "claude-sonnet-4-5",
        "input_tokens_no_cache": 10,
        "input_tokens_cache_write_5m": 0,
        "input_tokens_cache_write_1h": 20,
        "input_tokens_cache_read": 60,
        "output_tokens": 10,
        "total_tokens": 100,
        "request_count": 2,
        "rest_tokens": 0,
        "cache_split_assumed": False,
        "estimated_cost_usd": None if cost is None else Decimal(cost),
        "billing_mode": "metered",
    }
    return row | other


def request(number: int, **other):
    row = {
        "request_key": f"r{number}",
        "session_id": "session-000",
        "requested_at": START + dt.timedelta(minutes=number),
        "model": "claude-sonnet-4-5",
        "is_sidechain": False,
        "input_tokens_no_cache": 10 * (number + 1),
        "input_tokens_cache_write_5m": 0,
        "input_tokens_cache_write_1h": 0,
        "input_tokens_cache_read": 0,
        "output_tokens": 5,
        "total_tokens": 10 * (number + 1) + 5,
        "estimated_cost_usd": Decimal("0.5"),
        "context_window": "0-200k",
    }
    return row | other


# 100 sessions of a cent, one of ten dollars and one of ninety: of $101, the largest one makes 89%.
UNEVEN = [*(one(number, "0.01") for number in range(2, 102)), one(0, "90"), one(1, "10", user_id=HOSTILE)]


@pytest.fixture
def uneven(tmp_path):
    return snapshot(tmp_path, {"marts.token_usage_sessions": UNEVEN})


def test_the_answer_says_that_a_few_sessions_drive_the_cost(uneven):
    answer = sessions.answer(uneven, EVERYTHING)
    # the largest 1% of 102 are one session and 2% of the next: (90 + 0.02 x 10) / 101
    assert answer.sentence == (
        "A few very expensive sessions drive the cost: the largest 1% make 89.3%, and 1 of 102 makes half; "
        "a typical one costs $0.01."
    )
    assert answer.number == "$0.01"
    assert [tile.value for tile in answer.tiles] == ["102", "1 session", "$0.01", "$90.00"]
    assert answer.tiles[-1].to == ("session", parse({"id": ["session-000"]}))


def test_sessions_that_cost_about_the_same_are_said_to(tmp_path):
    even = snapshot(tmp_path, {"marts.token_usage_sessions": [one(number, "2") for number in range(10)]})
    assert sessions.answer(even, EVERYTHING).sentence == (
        "A typical session costs $2.00, and most cost about as much: 5 of 10 make half of the cost."
    )


def test_filters_change_the_answer_and_the_lists(uneven):
    filters = parse({"user_id": [HOSTILE], "from": ["2026-01-06"], "to": ["2026-01-06"]})
    assert sessions.answer(uneven, filters).sentence == "The one session cost $10.00."
    for view in (sessions.HALF, sessions.SESSIONS, sessions.DISTRIBUTION):
        assert run(view, uneven, filters).total == 1
    elsewhere = parse({"user_id": ["nobody"]})
    assert sessions.answer(uneven, elsewhere).sentence == "No sessions in the logs match these filters."


def test_what_has_no_price_or_belongs_to_a_seat_is_left_out_and_said(tmp_path):
    rows = [one(0, "1"), one(1, None), one(2, "50", billing_mode="subscription")]
    published = snapshot(tmp_path, {"marts.token_usage_sessions": rows})
    answer = sessions.answer(published, parse({"source": ["console"], "team": ["Search"]}))
    assert answer.sentence == "The one session cost $1.00."
    assert [warning.split(":")[0] for warning in answer.warnings] == [
        "The provider's account knows no sessions",
        "Sessions do not state a team, so these numbers are not filtered by it.",
        "Without a price, and left out",
        "Within subscriptions",
    ]
    assert run(sessions.HALF, published, EVERYTHING).total == 1
    assert run(sessions.SESSIONS, published, EVERYTHING).total == 3


def test_the_sessions_of_half_of_the_cost_are_as_many_as_needed(tmp_path):
    rows = [one(number, cost) for number, cost in enumerate(("5", "4", "3", "3", "1"))]
    half = run(sessions.HALF, snapshot(tmp_path, {"marts.token_usage_sessions": rows}), EVERYTHING)
    assert [(row["session_id"], row["upto_share"]) for row in half.rows] == [
        ("session-000", 5 / 16),
        ("session-001", 9 / 16),
    ]
    assert half.sentence == "2 of 5 sessions (40.0%) make half of the cost."


def test_bins_hold_every_session_and_all_cost(uneven):
    shown = run(sessions.DISTRIBUTION, uneven, EVERYTHING)
    assert sum(row["sessions"] for row in shown.rows) == 102
    assert sum(row["cost_usd"] for row in shown.rows) == Decimal(101)
    for row in shown.rows:
        assert row["from_usd"] <= float(row["cost_usd"]) / row["sessions"] * 1.0001 < row["to_usd"] * 1.001
    assert shown.figure is not None
    assert len(shown.figure["data"]) == 1


def test_the_fitted_curve_expects_as_many_sessions_as_were_fitted(tmp_path):
    fit = {"segment": "all", "measure": "session_cost_usd", "treatment": "raw", "family": "exponential", "rank": 1}
    costs = [one(number, f"{2 ** (number % 12) / 1000}") for number in range(400)]
    tables = {
        "marts.token_usage_sessions": costs,
        "analysis.distribution_fits": [fit | {"params": '{"scale": 0.1}', "n": 400}],
    }
    published = snapshot(tmp_path, tables)
    figure = run(sessions.DISTRIBUTION, published, EVERYTHING).figure
    assert figure is not None
    curve = figure["data"][1]
    assert curve["name"] == "best fit: exponential"
    # exp(-x / 0.1) between 0.001 and 2.512, the ends of the first and last bin of a tenth of a decade
    assert sum(curve["y"]) == pytest.approx(400 * 0.99005, rel=1e-3)
    in_a_period = run(sessions.DISTRIBUTION, published, parse({"from": ["2026-01-01"]})).figure
    assert in_a_period is not None
    assert len(in_a_period["data"]) == 1


def test_users_are_ranked_and_those_without_a_name_are_said(tmp_path):
    def charge(user: str, cost: str, day: int = 5, source: str = "sessions"):
        return {
            "usage_date": dt.date(2026, 1, day), "source": source, "user_id": user, "cost_usd": Decimal(cost),
            "tokens": 10, "token_kind": "output", "billing_mode": "metered", "is_in_force": source == "console",
        }  # fmt: skip

    rows = [charge("ann", "3"), charge("bob", "5"), charge("", "2"), charge("", "90", source="console")]
    published = snapshot(tmp_path, {"marts.charges": [*rows, charge("ann", "4", day=9)]})
    users = run(sessions.USERS, published, EVERYTHING)
    assert [(row["user_id"], row["cost_usd"]) for row in users.rows] == [("ann", 7), ("bob", 5), ("", 2)]
    assert users.sentence == "ann alone makes 58.3% of the cost. $2.00 of $14.00 names no user."
    until = run(sessions.USERS, published, parse({"to": ["2026-01-05"]}))
    assert until.sentence == "bob alone makes 62.5% of the cost. $2.00 of $10.00 names no user."


def test_outliers_say_what_is_usual_and_why(tmp_path):
    outlier = {
        "segment": "user_id=ann", "measure": "session_cost_usd", "session_id": "session-000", "value": 30.0,
        "method": "robust", "score": 9.0,
        "contributions": '{"tokens_per_request": 27.5, "model_mix": 1.25, "cache_share": -3.0, "price": 0.0}',
    }  # fmt: skip
    tables = {
        "marts.token_usage_sessions": [one(0, "30")],
        "analysis.outliers": [outlier, outlier | {"segment": "all", "method": "iqr"}],
        "analysis.tail_metrics": [{"segment": "user_id=ann", "measure": "session_cost_usd", "median": 0.5}],
    }
    shown = run(sessions.OUTLIERS, snapshot(tmp_path, tables), EVERYTHING)
    (row,) = shown.rows
    assert (row["segment"], row["usual_usd"], row["times_usual"]) == ("user_id=ann", 0.5, 60)
    assert row["causes"] == "longer requests (+$27.50), more from the cache, or less output (-$3.00)"
    assert shown.sentence == "1 session costs far more than usual for the same user or key, up to 60 times."


def test_tails_list_the_chosen_segment_beside_all_and_say_where_there_is_none(tmp_path):
    def tail(segment: str, verdict: str):
        tail = {"segment": segment, "measure": "session_cost_usd", "n": 900, "mean": 1.0, "verdict": verdict}
        return tail | {"month_variance_share_top_1": len(segment) / 100}

    rows = [tail("all", "heavy"), tail("model=a=b", "too_few"), tail("api_key=prod", "light")]
    published = snapshot(tmp_path, {"analysis.tail_metrics": rows})
    of_model = run(sessions.TAILS, published, parse({"model": ["a=b"]}))
    assert [(row["segment"], row["is_heavy"]) for row in of_model.rows] == [
        ("all", "yes"),
        ("model=a=b", "too few sessions"),
    ]
    assert of_model.sentence == (
        "The largest 1% of the sessions of model a=b cause 9.0% of the random month-to-month swings."
    )
    everything = run(sessions.TAILS, published, EVERYTHING)
    assert everything.sentence.startswith("The largest 1% of all sessions cause 3.0%")
    both = run(sessions.TAILS, published, parse({"model": ["a=b"], "api_key": ["prod"]}))
    assert [row["segment"] for row in both.rows] == ["all"]
    assert both.sentence == "There are no such statistics for these filters, so only all sessions are listed."


def test_a_session_shows_its_requests_in_order_and_what_they_cost_so_far(tmp_path):
    requests = [request(2, is_sidechain=True), request(0), request(1, estimated_cost_usd=Decimal("0.25"))]
    tables = {
        "marts.token_usage_sessions": [one(0, "1.25", request_count=3), one(1, "7")],
        "marts.requests": [*requests, request(9, session_id="session-001")],
        "analysis.tail_metrics": [{"segment": "all", "measure": "session_cost_usd", "median": 0.25}],
    }
    published = snapshot(tmp_path, tables)
    filters = parse({"id": ["session-000"]})
    answer = session.answer(published, filters)
    assert answer.sentence == "Session session-000 of ann cost $1.25 in 3 requests, 5 times a typical session ($0.25)."
    assert {tile.label: tile.value for tile in answer.tiles}["By subagents"] == "$0.50"
    steps = run(session.TOKENS, published, filters)
    assert [(row["first_request"], row["input_tokens"], row["upto_usd"]) for row in steps.rows] == [
        (1, 10, Decimal("0.5")),
        (2, 20, Decimal("0.75")),
        (3, 30, Decimal("1.25")),
    ]
    assert steps.sentence == "Requests began with 10 tokens of input and ended with 30, 3.0 times as much."
    kinds = run(session.KINDS, published, filters)
    assert {row["token_kind"]: row["tokens"] for row in kinds.rows}["read from the cache"] == 60
    parts = run(session.PARTS, published, filters)
    assert {row["made_by"]: row["requests"] for row in parts.rows} == {"a subagent": 1, "the session itself": 2}
    assert [row["request_key"] for row in run(session.REQUESTS, published, filters).rows] == ["r0", "r1", "r2"]


def test_a_long_session_is_drawn_in_at_most_200_steps_that_hold_all_requests(tmp_path):
    requests = [request(number, input_tokens_no_cache=7) for number in range(450)]
    tables = {"marts.token_usage_sessions": [one(0, "225")], "marts.requests": requests}
    published = snapshot(tmp_path, tables)
    steps = run(session.TOKENS, published, parse({"id": ["session-000"]}))
    assert steps.total == 150
    # each bar is one request of its group, not their sum
    assert {trace["name"]: trace["y"][0] for trace in steps.figure["data"]} == {"input, not cached": 7, "output": 5}
    table = published.arrow(*session.TOKENS.statement(parse({"id": ["session-000"]})))
    assert sum(table.column("requests").to_pylist()) == 450
    assert table.column("upto_usd").to_pylist()[-1] == Decimal("225")


def test_a_session_names_the_file_that_carries_its_id_else_the_candidates(tmp_path):
    def file(path: str, **other):
        days = {"first_usage_date": START.date(), "last_usage_date": START.date()}
        return {"path": path, "format": "claude_code", "status": "loaded", "rows_loaded": 4, **days} | other

    files = [
        file("landing/a/session-000.jsonl"),
        file("landing/a/other.jsonl"),
        file("landing/a/third.jsonl", first_usage_date=dt.date(2026, 3, 1), last_usage_date=dt.date(2026, 3, 2)),
        file("landing/b/session-000.jsonl", status="forgotten"),
        file("landing/usage.csv", format="console_usage"),
    ]
    same_day = one(40, "1")
    published = snapshot(tmp_path, {"marts.token_usage_sessions": [one(0, "1"), same_day], "ingest.files": files})
    named = run(session.FILES, published, parse({"id": ["session-000"]}))
    assert [row["path"] for row in named.rows] == ["landing/a/session-000.jsonl"]
    assert named.sentence.startswith("1 file with the session's id in the name")
    candidates = run(session.FILES, published, parse({"id": ["session-040"]}))
    assert [row["path"] for row in candidates.rows] == ["landing/a/other.jsonl", "landing/a/session-000.jsonl"]
    assert candidates.sentence.startswith("Its records are in one or more of these 2 files")


@pytest.mark.parametrize("page", [sessions.PAGE, session.PAGE], ids=["sessions", "session"])
def test_pages_without_any_rows_say_so(tmp_path, page):
    published = snapshot(tmp_path, {})
    answer = site.answered(page, published, parse({"id": ["gone"]}))
    assert answer.sentence.startswith("No session")
    for view in page.views:
        shown = run(view, published, parse({"id": ["gone"]}))
        assert (shown.total, shown.problem, shown.figure) == (0, "", None)


def test_hostile_names_stay_text_in_tables_figures_and_files(tmp_path):
    row = one(0, "1", session_id=HOSTILE, user_id=HOSTILE, project=HOSTILE)
    charge = {
        "usage_date": START.date(), "source": "sessions", "user_id": HOSTILE, "cost_usd": Decimal(1), "tokens": 1,
        "token_kind": "output", "billing_mode": "metered",
    }  # fmt: skip
    published = snapshot(tmp_path, {"marts.token_usage_sessions": [row], "marts.charges": [charge]})
    for page, filters in ((sessions.PAGE, EVERYTHING), (session.PAGE, parse({"id": [HOSTILE]}))):
        html = site.question(Served(), page, published, filters)
        assert "<b>x" not in html
        assert r"=cmd|&#34;&lt;b&gt;x&lt;/b&gt;&amp;\u202e" in shown_text(html)
        assert "\u202e" not in shown_text(html)
    csv = encoded(published.arrow(*sessions.SESSIONS.statement(EVERYTHING)), "csv").decode()
    assert "\"'=cmd" in csv
    assert session.answer(published, parse({"id": [HOSTILE]})).number == "$1.00"


def test_names_too_long_for_an_address_are_shown_without_a_link(tmp_path):
    long = "x" * 400
    row = one(0, "1", user_id=long, project=long, api_key=long)
    published = snapshot(tmp_path, {"marts.token_usage_sessions": [row]})
    for page in (sessions.PAGE, session.PAGE):
        html = site.question(Served(), page, published, parse({"id": ["session-000"]}))
        assert long in shown_text(html)
        assert f"={long}" not in html


def test_a_session_is_linked_but_in_no_navigation(uneven):
    html = site.question(Served(), sessions.PAGE, uneven, EVERYTHING)
    assert 'href="/session?id=session-000"' in html
    assert 'href="/session"' not in html
    own = site.question(Served(), session.PAGE, uneven, parse({"id": ["session-000"]}))
    assert 'class="filters"' not in own


def test_the_largest_one_percent_of_fewer_than_a_hundred_sessions_is_not_talked_about(tmp_path):
    few = {"segment": "all", "measure": "session_cost_usd", "n": 99, "mean": 1.0, "verdict": "too_few"}
    published = snapshot(tmp_path, {"analysis.tail_metrics": [few | {"month_variance_share_top_1": 0.2}]})
    assert run(sessions.TAILS, published, EVERYTHING).sentence == ""


def test_without_logs_the_page_says_which_files_know_sessions(tmp_path):
    assert sessions.answer(snapshot(tmp_path, {}), EVERYTHING).sentence.startswith("No sessions are loaded")


def test_edges_of_cheap_sessions_differ():
    edges = [10 ** (step / 10) for step in range(-40, 10)]
    assert len({shown(edge, "edge") for edge in edges}) == len(edges)
    assert [shown(edge, "edge") for edge in (0.00631, 0.0398, 0.1, 1.26)] == ["$0.0063", "$0.04", "$0.10", "$1.26"]
