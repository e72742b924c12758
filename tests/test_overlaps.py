"""Overlapping sources count once: every rule against the oracle on random histories, and simple cases by hand.

Belongs here: which of several records of the same tokens is in force. Does not belong here: single files (test_ingest)
and real ones (test_real_data).
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import oracle
import pytest
from accounts import (
    ALWAYS,
    COLUMNS,
    DAY,
    HOUR,
    MINUTE,
    WHOLE_DAY,
    Account,
    Request,
    accounts,
    cost_csv,
    landing,
    texts_of,
    transcripts_of,
)
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

ONLY = [None, None, None, ("workspace", "research"), ("api_key", "alpha"), ("api_key", "(workbench)")]


def examples(count: int) -> settings:
    """The same `count` random cases in every run."""
    # Shrinking would rebuild the tables hundreds of times; an example is small enough to read as it is.
    phases = (Phase.explicit, Phase.generate)
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large]
    return settings(max_examples=count, deadline=None, derandomize=True, phases=phases, suppress_health_check=checks)


def exports_of(accounts: Sequence[Account]) -> list[oracle.ConsoleExport]:
    """The same landing as input of the oracle."""
    return [
        oracle.ConsoleExport(hashlib.sha256(text.encode()).hexdigest(), rows)
        for text, rows in texts_of(accounts).items()
    ]


def expected_minutes(kept: Sequence[oracle.InForce]) -> dict[tuple[Any, ...], tuple[int, ...]]:
    """Rows of marts.token_usage_minutes that the oracle expects, by grain."""
    minutes: dict[tuple[Any, ...], tuple[int, ...]] = {}
    for found in kept:
        if found.has_finer and not any(found.counts):
            continue
        stated = dict(found.row.key)
        names = [*ALWAYS, "context_window", "inference_geo", "speed"]
        grain = (found.row.start, found.row.seconds, *(stated.get(name, "") for name in names))
        before = minutes.get(grain, (0,) * 6)
        minutes[grain] = tuple(a + b for a, b in zip(before, found.counts, strict=True))
    return minutes


CONSOLE_MINUTES = """
    SELECT usage_minute, bucket_seconds, model_version, api_key, workspace, usage_type, context_window, inference_geo,
        speed, input_tokens_no_cache, input_tokens_cache_write_5m, input_tokens_cache_write_1h, input_tokens_cache_read,
        output_tokens, web_search_count
    FROM marts.token_usage_minutes WHERE source = 'console'
"""
STALE = "SELECT count(*) FROM marts.stale_exports WHERE source_format = 'console_usage'"
CONSERVATION = """
    SELECT stored_tokens, superseded_tokens, in_force_tokens, marts_tokens FROM marts.token_conservation
    WHERE source = 'console'
"""


DAILY_TOKENS = """
    SELECT usage_date, model_version, api_key, workspace, usage_type, sum(total_tokens)::bigint
    FROM marts.token_usage_minutes GROUP BY ALL HAVING sum(total_tokens) > 0
"""


def console_minutes(connection: Any) -> dict[tuple[Any, ...], tuple[int, ...]]:
    rows = connection.execute(CONSOLE_MINUTES).fetchall()
    minutes = {row[:9]: row[9:] for row in rows}
    assert len(minutes) == len(rows)
    return minutes


any_request = st.builds(
    Request,
    grain=st.sampled_from([MINUTE, HOUR, WHOLE_DAY]),
    generation=st.sampled_from([10, 11, 12, 14, 14]),
    first_hour=st.sampled_from([0, 0, 9, 10, 24]),
    hours=st.sampled_from([1, 2, 24, 48]),
    taken_after_hours=st.sampled_from([11, 14, 30, 100, 100, 100]),
    only=st.sampled_from(ONLY),
    copies=st.sampled_from([1, 1, 1, 2]),
    seed=st.integers(0, 99),
)
late_request = st.builds(
    Request,
    grain=st.sampled_from([MINUTE, HOUR, WHOLE_DAY]),
    generation=st.sampled_from([10, 11, 12, 14]),
    first_hour=st.sampled_from([0, 9, 10, 24]),
    hours=st.sampled_from([1, 24, 48]),
    taken_after_hours=st.just(100),
    only=st.sampled_from(ONLY),
)
WHOLE = {"first_hour": 0, "hours": 48, "taken_after_hours": 100}
# An hour of 12 columns inside a day of 14: both have context windows, so they are compared window by window.
TWELVE_IN_FOURTEEN = Account.of(0, 2, [Request(WHOLE_DAY, 14, **WHOLE), Request(HOUR, 12, 10, 1, 100)])
# Hours with one column for all cache writes inside a day that separates 5 minutes and 1 hour: sums are compared.
ONE_WRITE_COLUMN = Account.of(1, 2, [Request(WHOLE_DAY, 14, **WHOLE), Request(HOUR, 10, 0, 11, 100)])


@examples(10)
@given(accounts(any_request, at_least=2))
@example([TWELVE_IN_FOURTEEN, ONE_WRITE_COLUMN])
def test_any_overlapping_exports_give_exactly_what_the_rules_say(models, accounts):
    exports = exports_of(accounts)
    with models.over(landing(accounts, seed=0), "marts.token_conservation", "marts.stale_exports") as connection:
        kept = oracle.console_usage(exports)
        assert console_minutes(connection) == expected_minutes(kept)
        assert connection.execute(STALE).fetchone() == (sum(found.is_stale for found in kept),)

        stored = sum(sum(row.counts[:5]) for export in exports for row in export.rows)
        in_force = sum(sum(found.counts[:5]) for found in kept)
        assert connection.execute(CONSERVATION).fetchone() == (stored, stored - in_force, in_force, in_force)


@examples(3)
@given(accounts(any_request, at_least=2), st.integers(1, 99))
def test_order_and_names_of_landed_files_change_nothing(models, accounts, seed):
    def minutes(files):
        with models.over(files, "marts.token_usage_minutes") as connection:
            return connection.execute("FROM marts.token_usage_minutes ORDER BY ALL").fetchall()

    assert minutes(landing(accounts, seed=0)) == minutes(landing(accounts, seed))


@examples(6)
@given(accounts(late_request, at_least=1), st.sampled_from([10, 11, 12, 14]))
def test_a_day_adds_up_to_the_truth_whatever_finer_exports_lie_beside_it(models, accounts, generation):
    whole = Request(WHOLE_DAY, generation, **WHOLE)
    accounts = [replace(account, requests=(whole, *account.requests)) for account in accounts]
    truth: Counter[Any] = Counter()
    for account in accounts:
        for usage in account.history:
            truth[usage.minute.date(), *(usage.dimensions[name] for name in ALWAYS)] += sum(usage.counts[:5])
    with models.over(landing(accounts, seed=0), "marts.token_usage_minutes") as connection:
        rows = connection.execute(DAILY_TOKENS).fetchall()
    assert {row[:-1]: row[-1] for row in rows} == {at: tokens for at, tokens in truth.items() if tokens}


REQUESTS = """
    SELECT session_id, requested_at, model_version, usage_type, inference_geo, speed, is_sidechain,
        input_tokens_no_cache, input_tokens_cache_write_5m, input_tokens_cache_write_1h, input_tokens_cache_read,
        output_tokens, web_search_count
    FROM intermediate.int_requests
"""


@examples(30)
@given(st.integers(0, 100_000))
def test_any_transcripts_give_exactly_the_requests_that_were_paid_for(models, seed):
    files = transcripts_of(seed)
    expected, ledger = oracle.transcripts(files)
    texts = {name: "\n".join(lines) for name, lines in files.items()}
    with models.over(texts, "intermediate.int_requests") as connection:
        found = connection.execute(REQUESTS).fetchall()
        assert Counter(oracle.Request(*row[:7], row[7:]) for row in found) == Counter(expected)
        counts = connection.execute("""
            SELECT path, rows_read, rows_loaded, rows_rejected, rows_ignored, rows_repeated FROM ingest.files
        """).fetchall()
        assert {path.removeprefix("landing/"): oracle.FileCounts(*row) for path, *row in counts} == ledger


def turn(
    minute: float, tokens: int, message: str = "relay", session: str = "s1", output: int = 1, **fields: Any
) -> str:
    """A line of a transcript without a request id, which gateways leave out."""
    usage = {"input_tokens": tokens, "output_tokens": output}
    entry = {
        "type": "assistant",
        "uuid": f"{session}-{minute}",
        "sessionId": session,
        "timestamp": f"{DAY + dt.timedelta(minutes=minute):%Y-%m-%dT%H:%M:%S.%f}Z",
        "message": {"id": message, "model": "claude-sonnet-4-5", "usage": usage},
    }
    return json.dumps(entry | fields)


OWN = "msg_01XFDUDYJgAACzvnptvVoYEL"


def prompt(minute: float, kind: str = "text", **fields: Any) -> str:
    """A line of a transcript by the user or a tool."""
    entry = {
        "type": "user",
        "uuid": f"said-{minute}",
        "sessionId": "s1",
        "timestamp": f"{DAY + dt.timedelta(minutes=minute):%Y-%m-%dT%H:%M:%S.%f}Z",
        "message": {"role": "user", "content": [{"type": kind, "text": "t"}]},
    }
    return json.dumps(entry | fields)


# Files, and the input of each call that was made.
WITHOUT_REQUESTS: dict[str, tuple[list[list[str]], list[int]]] = {
    "turns under one id are calls, of however few sessions": (
        [[turn(0, 10), turn(1, 20), turn(61, 30)], [turn(0, 17, session="s2"), turn(1, 27, session="s2")]],
        [10, 17, 20, 27, 30],
    ),
    "turns of equal counts are calls, an hour apart or in sessions of their own": (
        [[turn(0, 10), turn(60, 10)], [turn(2, 10, session="s2")]],
        [10, 10, 10],
    ),
    "what is streamed repeats its input and is one call, also on the way": (
        [[turn(0, 10), turn(1, 10), turn(6, 10)], [turn(0, 10), turn(1, 10)]],
        [10],
    ),
    "lines that tell nothing yet belong to what follows": ([[turn(0, 0, "m1"), turn(0.1, 10, "m1")]], [10]),
    "where no line ever tells of input, output that falls begins another turn": (
        [[turn(0, 0), turn(0.1, 0), turn(1, 0, output=0), turn(2, 0, output=5)], [turn(0, 0), turn(0.1, 0)]],
        [0, 0],
    ),
    "turns of two sidechains that are streamed at once are two calls": (
        [[turn(0, 10, isSidechain=True), turn(0.1, 20, isSidechain=True), turn(0.2, 10, isSidechain=True)]],
        [10, 20],
    ),
    "a fork repeats its parent's turns under its own session and ids": (
        [
            [turn(0, 10), turn(30, 20)],
            [turn(0, 10, session="s2"), turn(30, 20, session="s2", uuid="new"), turn(60, 40, session="s2")],
            [turn(500, 10, session="s3", uuid="s1-0"), turn(530, 20, session="s3", uuid="s1-30")],
        ],
        [10, 20, 40],
    ),
    "a response with and without a request's id, in one file or two, is one call": (
        [
            [turn(0, 10, "m1"), turn(0, 10, "m1", requestId="r1"), turn(1, 20, "m2", requestId="r2")],
            [turn(1, 20, "m2"), turn(300, 20, "m2", session="s2", isSidechain=True)],
        ],
        [10, 20],
    ),
    "agents and the main line that ask alike at once are calls of their own": (
        [
            [turn(0, 10), turn(0.05, 10, isSidechain=True), turn(0.1, 10, isSidechain=True, agentId="a")],
            [turn(0.15, 10, isSidechain=True, agentId="b"), turn(0.2, 10, isSidechain=True, agentId="b")],
        ],
        [10, 10, 10, 10],
    ),
    "a prompt in between begins another turn, the result of a tool does not": (
        [
            [
                turn(0, 10),
                prompt(0.1),
                turn(0.2, 10),
                prompt(0.3, "tool_result"),
                turn(0.4, 10),
                prompt(0.5, isSidechain=True),
            ]
        ],
        [10, 10],
    ),
    "output that falls begins another turn": ([[turn(0, 10, output=5), turn(0.1, 10, output=2)]], [10, 10]),
    "turns that begin anew do so in each copy of their file": (
        [[turn(0, 10, output=5), turn(0.1, 10, output=2)], [turn(0, 10, output=5), turn(0.1, 10, output=2)]],
        [10, 10],
    ),
    "a message of the provider is one call, whatever its session, time and id": (
        [
            [turn(0, 10, OWN, output=5), prompt(0.05), turn(0.1, 10, OWN, output=7)],
            [turn(900, 10, OWN, "s2", output=7, uuid="new"), turn(901, 12, OWN, "s2")],
        ],
        [10, 12],
    ),
    "a gateway that gives all responses both ids does not make them one": (
        [
            [turn(0, 10, requestId="r"), turn(0.1, 10, requestId="r", output=9), turn(1, 20, requestId="r")],
            [turn(2, 30, session="s2", requestId="r"), turn(0, 10, requestId="r")],
        ],
        [10, 20, 30],
    ),
    "a call of a sidechain under the gateway's id is its own": (
        [[turn(0, 10, requestId="r1"), turn(1, 15, requestId="r2", isSidechain=True), turn(2, 16, isSidechain=True)]],
        [10, 15, 16],
    ),
}


@pytest.mark.parametrize("name", WITHOUT_REQUESTS)
def test_a_messages_id_alone_is_no_identity(models, name):
    files, inputs = WITHOUT_REQUESTS[name]
    texts = {f"{number}.jsonl": "\n".join(lines) for number, lines in enumerate(files)}
    for landed in (texts, dict(reversed(texts.items()))):
        with models.over(landed, "intermediate.int_requests") as connection:
            query = "SELECT input_tokens_no_cache FROM intermediate.int_requests ORDER BY ALL"
            assert [tokens for (tokens,) in connection.execute(query).fetchall()] == inputs


def test_a_response_that_the_tracker_states_too_is_one_call_with_or_without_a_requests_id(models):
    usage = {"input_tokens": 10, "output_tokens": 1}
    event = {
        "event_id": "e1", "response_id": "m1", "conversation_id": "c", "session_id": "app", "provider": "anthropic",
        "model": "claude-sonnet-4-5", "timestamp": f"{DAY:%Y-%m-%dT%H:%M:%SZ}", "usage": usage,
    }  # fmt: skip
    transcript = "\n".join([turn(1, 10, "m1"), turn(2, 30, "m1")])
    with models.over({"a.jsonl": json.dumps(event), "b.jsonl": transcript}, "intermediate.int_requests") as connection:
        query = "SELECT source_format, session_id, input_tokens_no_cache FROM intermediate.int_requests ORDER BY ALL"
        assert connection.execute(query).fetchall() == [("claude_code", "s1", 30), ("tracker_events", "app", 10)]


def console_csv(grain: int, rows: Sequence[tuple[str, str, int]]) -> str:
    """An export of 11 columns; a row is hours and minutes of one day, a workspace and its output tokens."""
    lines = [COLUMNS[11]]
    for clock, workspace, tokens in rows:
        stamp = "2026-02-17" if grain == WHOLE_DAY else f"2026-02-17 {clock}"
        lines.append(f"{stamp},claude-haiku-4-5-20251001,alpha,{workspace},standard,0,0,0,0,{tokens},0")
    return "\n".join(lines) + "\n"


ROWS_OF_THE_DAY = """
    SELECT strftime(usage_minute, '%H:%M'), bucket_seconds, workspace, output_tokens FROM marts.token_usage_minutes
    ORDER BY ALL
"""
DAY_FILE = console_csv(WHOLE_DAY, [("", "Default", 1000), ("", "research", 500)])
MINUTE_FILE = console_csv(MINUTE, [("15:10", "Default", 30), ("15:59", "Default", 70), ("15:20", "research", 5)])


def rows_of_the_day(models: Any, *texts: str) -> list[tuple[Any, ...]]:
    with models.over({f"{i}.csv": text for i, text in enumerate(texts)}, "marts.token_usage_minutes") as connection:
        rows: list[tuple[Any, ...]] = connection.execute(ROWS_OF_THE_DAY).fetchall()
        return rows


def test_minutes_of_one_hour_leave_the_sum_of_the_day_and_stand_at_their_minutes(models):
    assert rows_of_the_day(models, DAY_FILE, MINUTE_FILE) == [
        ("00:00", WHOLE_DAY, "Default", 900),
        ("00:00", WHOLE_DAY, "research", 495),
        ("15:10", MINUTE, "Default", 30),
        ("15:20", MINUTE, "research", 5),
        ("15:59", MINUTE, "Default", 70),
    ]


def test_minutes_filtered_to_one_workspace_touch_no_other_workspace(models):
    filtered = console_csv(MINUTE, [("15:20", "research", 5)])
    assert rows_of_the_day(models, DAY_FILE, filtered) == [
        ("00:00", WHOLE_DAY, "Default", 1000),
        ("00:00", WHOLE_DAY, "research", 495),
        ("15:20", MINUTE, "research", 5),
    ]


def test_hours_that_make_up_the_whole_day_leave_nothing_of_the_day_row(models):
    hours = console_csv(HOUR, [("09:00", "Default", 600), ("15:00", "Default", 400)])
    day = console_csv(WHOLE_DAY, [("", "Default", 1000)])
    assert rows_of_the_day(models, day, hours) == [
        ("09:00", HOUR, "Default", 600),
        ("15:00", HOUR, "Default", 400),
    ]


def test_a_later_export_replaces_only_the_keys_that_it_holds(models):
    early = console_csv(HOUR, [("09:00", "Default", 10), ("09:00", "research", 20)])
    later = console_csv(HOUR, [("09:00", "Default", 7), ("10:00", "Default", 1)])
    assert rows_of_the_day(models, early, later) == [
        ("09:00", HOUR, "Default", 7),
        ("09:00", HOUR, "research", 20),
        ("10:00", HOUR, "Default", 1),
    ]


def test_a_day_export_older_than_the_hours_inside_it_keeps_nothing_and_is_listed(models):
    old_day = console_csv(WHOLE_DAY, [("", "Default", 5)])
    hours = console_csv(HOUR, [("09:00", "Default", 600)])
    files = {"a.csv": old_day, "b.csv": hours}
    with models.over(files, "marts.token_usage_minutes", "marts.stale_exports") as connection:
        assert connection.execute(ROWS_OF_THE_DAY).fetchall() == [("09:00", HOUR, "Default", 600)]
        assert connection.execute("SELECT usage_date, exported_tokens FROM marts.stale_exports").fetchall() == [
            (DAY.date(), 5)
        ]


def transcript(session: str, output_tokens: int, stamp: str = "2026-02-17T09:00:00Z") -> str:
    usage = {"input_tokens": 0, "output_tokens": output_tokens}
    message = {"id": f"msg-{session}", "model": "claude-haiku-4-5-20251001", "usage": usage}
    line = {"type": "assistant", "uuid": "u", "sessionId": session, "timestamp": stamp, "message": message}
    return json.dumps(line)


SESSION_COLUMNS = (
    "session_id,user_id,session_started_at,last_updated_at,model,input_tokens,output_tokens,cache_read_tokens,"
    "cache_creation_tokens"
)


def sessions_csv(*rows: tuple[str, str, int]) -> str:
    """token_usage_sessions: session, last_updated_at and output tokens of each row."""
    lines = [f"{name},ann,2026-02-17 09:00:00,{seen},claude-haiku-4-5,0,{out},0,0" for name, seen, out in rows]
    return "\n".join([SESSION_COLUMNS, *lines])


SESSIONS = (
    "SELECT session_id, source_format, user_id, total_tokens, rest_tokens FROM marts.token_usage_sessions ORDER BY 1"
)
LOGGED = "SELECT sum(total_tokens)::bigint FROM marts.token_usage_minutes WHERE source = 'sessions'"


@pytest.mark.parametrize(
    ("logged", "counted", "rest"), [(1000, 1000, 0), (991, 991, 0), (400, 1000, 600), (1200, 1200, 0)]
)
def test_a_session_that_two_loggers_know_counts_once(models, logged, counted, rest):
    files = {"t.jsonl": transcript("s1", logged), "s.csv": sessions_csv(("s1", "2026-02-17 09:10:00", 1000))}
    with models.over(files, "marts.token_usage_sessions", "marts.token_usage_minutes") as connection:
        assert connection.execute(SESSIONS).fetchall() == [("s1", "claude_code", "ann", counted, rest)]
        assert connection.execute(LOGGED).fetchone() == (counted,)


def test_of_two_states_of_a_session_the_later_one_counts_then_the_greater(models):
    older = sessions_csv(("s1", "2026-02-17 09:10:00", 90), ("s2", "2026-02-17 09:10:00", 10))
    newer = sessions_csv(("s1", "2026-02-17 09:30:00", 80), ("s2", "2026-02-17 09:10:00", 11))
    with models.over({"a.csv": newer, "b.csv": older}, "marts.token_usage_sessions") as connection:
        assert [row[3] for row in connection.execute(SESSIONS).fetchall()] == [80, 11]


BILLED = "SELECT usage_date::varchar, api_key, sum(cost_usd)::double FROM marts.billed_costs GROUP BY ALL ORDER BY ALL"


def test_equal_rows_of_one_cost_export_are_separate_amounts(models):
    text = cost_csv(
        ("2026-02-17", "alpha", "16.50"), ("2026-02-17", "alpha", "16.50"), ("2026-02-17", "alpha", "44.40")
    )
    with models.over({"c.csv": text}, "marts.billed_costs") as connection:
        assert connection.execute(BILLED).fetchall() == [("2026-02-17", "alpha", 77.40)]


def test_overlapping_cost_exports_bill_each_day_and_key_once(models):
    month = cost_csv(("2026-02-17", "alpha", "1.00"), ("2026-02-17", "beta", "2.00"), ("2026-02-18", "alpha", "0.40"))
    later = cost_csv(("2026-02-18", "alpha", "0.90"), ("2026-02-19", "alpha", "0.10"))
    only_alpha = cost_csv(("2026-02-17", "alpha", "1.00"))
    with models.over({"a.csv": later, "b.csv": month, "c.csv": only_alpha}, "marts.billed_costs") as connection:
        assert connection.execute(BILLED).fetchall() == [
            ("2026-02-17", "alpha", 1.0),
            ("2026-02-17", "beta", 2.0),
            ("2026-02-18", "alpha", 0.9),
            ("2026-02-19", "alpha", 0.1),
        ]
