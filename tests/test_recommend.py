"""Possible savings: found to the cent, never twice, and none where nothing is wasted.

Belongs here: analysis.recommendations, from the planted cases of the sample, from random histories against a second
statement of the rules in plain Python, and the rows that are no savings. Does not belong here: what-if pricing itself
(test_finance), and the command (test_cli).
"""

from __future__ import annotations

import datetime as dt
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import duckdb
import pytest
from conftest import Models
from hypothesis import HealthCheck, given
from hypothesis import settings as effort
from hypothesis import strategies as st

from pipeline import settings
from pipeline.savings import recommendations
from pipeline.settings import BillingModes, ConfigurationError, Savings, Settings
from tools import sample

MARTS = ("marts.request_replays", "marts.token_usage_minutes", "marts.model_rates", "marts.charges")
Row = dict[str, Any]


def rows_of(connection: duckdb.DuckDBPyConnection, given: Settings | None = None) -> list[Row]:
    return recommendations.recommendations(connection, given or settings.load()).to_pylist()


def savings_in(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row["status"] == "ok"]


def of_a_month(row: Row) -> Decimal:
    """The saving of thirty days like those on which the key was used; not scaled up from less than seven of them."""
    days = row["window_days"] if row["active_days"] >= 7 else max(30, row["window_days"])
    return (row["observed_saving_usd"] * 30 / days).quantize(Decimal("1e-12"))


def reproduced(connection: duckdb.DuckDBPyConnection, row: Row) -> Row:
    found = connection.execute(row["sql"])
    names = [column[0] for column in found.description or ()]
    (values,) = found.fetchall()
    return dict(zip(names, values, strict=True))


# -------------------- planted cases


def tracked(seed: int, careful: bool) -> dict[str, bytes]:
    """Only the log of the sample's five wasteful keys."""
    requests = [request for waste in sample.wastes(seed, careful) for request in waste.requests]
    return {sample.TRACKER_FILE: sample.tracker_events(requests, seed)}


@pytest.fixture(scope="module")
def planted(models: Models) -> Iterator[duckdb.DuckDBPyConnection]:
    with models.over(tracked(sample.SEED, careful=False), *MARTS) as connection:
        yield connection


@pytest.mark.parametrize("seed", [sample.SEED, 7])
def test_each_planted_waste_is_found_with_the_amount_of_its_plan_to_the_last_digit(models: Models, seed: int) -> None:
    with models.over(tracked(seed, careful=False), *MARTS) as connection:
        found = savings_in(rows_of(connection))
    plan = {(waste.kind, waste.api_key): waste.saving_usd for waste in sample.wastes(seed) if waste.saving_usd > 0.01}
    saved = {(row["kind"], row["api_key"]): row["observed_saving_usd"] for row in found if row["observed_saving_usd"]}
    assert saved == plan
    for row in found:
        assert row["window_days"] == (row["last_usage_date"] - row["first_usage_date"]).days + 1
        assert row["saving_usd_per_month"] == of_a_month(row)
    # a loop on the only day of a key is not one on every day
    (loop,) = [row for row in found if row["api_key"] == sample.CRAWLER]
    assert (loop["window_days"], loop["saving_usd_per_month"]) == (1, loop["observed_saving_usd"])


@pytest.mark.parametrize("seed", [sample.SEED, 7])
def test_the_same_keys_without_the_waste_are_not_reported(models: Models, seed: int) -> None:
    with models.over(tracked(seed, careful=True), *MARTS) as connection:
        row, *others = rows_of(connection)
    assert {other["status"] for other in others} <= {"unavailable"}
    assert (row["kind"], row["status"], row["rank"], row["saving_usd_per_month"]) == ("none", "none", None, None)


def test_writes_of_single_calls_are_no_saving_where_nobody_knows_beforehand_which_calls_stay_single(
    planted: duckdb.DuckDBPyConnection,
) -> None:
    """As plain input the single calls would save 0.75 USD a million tokens; conversations of the key read theirs."""
    (row,) = [row for row in rows_of(planted) if row["api_key"] == sample.TRIAGE]
    assert (row["kind"], row["status"], row["rank"]) == ("would_cost_more", "unavailable", None)
    assert row["saving_usd_per_month"] is None
    assert "no saving" in row["evidence"]
    assert "caching from the second request of every session on would have cost" in row["evidence"]
    assert row["hindsight_usd_per_month"] > Decimal("0.1")


def test_the_query_of_each_row_gives_its_savings(planted: duckdb.DuckDBPyConnection) -> None:
    found = savings_in(rows_of(planted))
    assert len(found) >= 4
    for row in found:
        assert row["sql"].startswith("with ")  # and not like an option of the command line
        again = reproduced(planted, row)
        assert again["observed_saving_usd"] == row["observed_saving_usd"]
        assert again["observed_standalone_usd"] == row["observed_standalone_usd"]
        assert abs(again["saving_usd_per_month"] - row["saving_usd_per_month"]) < Decimal("0.00001")
        assert "raw." not in row["sql"]


def test_ranks_go_by_saving_and_the_combined_figure_is_the_sum_of_what_is_left(
    planted: duckdb.DuckDBPyConnection,
) -> None:
    found = savings_in(rows_of(planted))
    amounts = [row["saving_usd_per_month"] for row in found]
    assert [row["rank"] for row in found] == list(range(1, len(found) + 1))
    assert amounts == sorted(amounts, reverse=True)
    assert {row["combined_usd_per_month"] for row in found} == {sum(amounts)}
    assert sum(amounts) <= sum(row["standalone_usd_per_month"] for row in found)
    in_order = sorted(found, key=lambda row: row["applied_order"])
    assert [row["applied_order"] for row in in_order] == list(range(1, len(found) + 1))


def test_the_result_does_not_depend_on_the_number_of_threads(planted: duckdb.DuckDBPyConnection) -> None:
    found = []
    for threads in (1, 4):
        planted.execute(f"SET threads = {threads}")
        found.append(recommendations.recommendations(planted, settings.load()))
    assert found[0].equals(found[1])


def test_a_month_is_thirty_days_whatever_the_window(planted: duckdb.DuckDBPyConnection) -> None:
    of_ten = savings_in(rows_of(planted, settings.load(savings=Savings(days=10))))
    assert {row["first_usage_date"] for row in of_ten if row["window_days"] == 10} == {dt.date(2025, 11, 21)}
    assert min(row["first_usage_date"] for row in of_ten) == dt.date(2025, 11, 21)
    for row in of_ten:
        assert row["saving_usd_per_month"] == of_a_month(row)


# -------------------- rows that are no savings

SESSION = (
    "session_id,user_id,session_started_at,last_updated_at,model,input_tokens,output_tokens,cache_read_tokens,"
    "cache_creation_tokens\ns1,u1,2025-11-03T10:00:00Z,2025-11-03T10:20:00Z,claude-sonnet-4-5,10,20,300000,50000\n"
)


def test_where_only_sessions_are_known_one_row_says_what_cannot_be_judged_and_why(models: Models) -> None:
    with models.over({"sessions.csv": SESSION}, *MARTS) as connection:
        (row,) = rows_of(connection)
    assert (row["kind"], row["status"], row["saving_usd_per_month"]) == ("unavailable", "unavailable", None)
    assert "350,030 tokens" in row["evidence"]
    assert "only sessions, minutes or days are known" in row["evidence"]


def test_without_any_usage_one_row_says_so(models: Models) -> None:
    with models.over({"notes.txt": "nothing to read in it\n"}, *MARTS) as connection:
        (row,) = rows_of(connection)
    assert (row["kind"], row["evidence"]) == ("unavailable", "There is no usage.")


def test_usage_that_a_subscription_covers_and_usage_without_a_price_are_left_out_and_said(models: Models) -> None:
    files = tracked(sample.SEED, careful=False)
    files["other.jsonl"] = files[sample.TRACKER_FILE].replace(b"claude-haiku-4-5-20251001", b"house-model-1")
    files["other.jsonl"] = files["other.jsonl"].replace(b'"event_id":"', b'"event_id":"x').replace(b"msg_", b"msg_x")
    files["other.jsonl"] = b"".join(
        line for line in files["other.jsonl"].splitlines(keepends=True) if b"house-model" in line
    )
    covered = {"api_keys": {sample.REVIEW: "subscription"}}
    with models.over(files, *MARTS, billing_mode=covered) as connection:
        rows = rows_of(connection)
    assert sample.REVIEW not in {row["api_key"] for row in rows}
    assert "house-model-1" not in {row["model"] for row in rows}
    (evidence,) = [row["evidence"] for row in rows if row["kind"] == "unavailable"]
    assert "covered by a subscription: API-equivalent" in evidence
    assert "have no price" in evidence


OVERRIDES = (
    "model,token_kind,context_window,usage_type,inference_geo,speed,valid_from,usd_per_mtok,multiplier\n"
    "claude-haiku-4-5,,0-200k,standard,global,standard,2025-01-01,,0.8\n"
)


@pytest.mark.parametrize("is_published", [True, False])
def test_savings_are_at_own_rates_and_a_query_gives_them_whether_or_not_the_rates_are_published(
    models: Models, is_published: bool
) -> None:
    files = tracked(sample.SEED, careful=False) | {"../rate_overrides.csv": OVERRIDES.encode()}
    (plan,) = [waste.saving_usd for waste in sample.wastes() if waste.api_key == sample.DIGEST]
    with models.over(files, *MARTS, publish_contract_rates=is_published) as connection:
        (row,) = [row for row in savings_in(rows_of(connection)) if row["api_key"] == sample.DIGEST]
        assert row["observed_saving_usd"] == plan * Decimal("0.8")
        assert reproduced(connection, row)["observed_saving_usd"] == row["observed_saving_usd"]


def test_a_question_is_answered_apart_with_its_query_and_is_in_no_sum(planted: duckdb.DuckDBPyConnection) -> None:
    before = savings_in(rows_of(planted))
    asked = {"smaller": {"models": {"claude-sonnet-4-5": "Claude Haiku 4.5"}}, "night": {"usage_type": "batch"}}
    rows = rows_of(planted, settings.load(what_if=asked))
    assert savings_in(rows) == before
    night, smaller = [row for row in rows if row["kind"] == "what_if"]
    for row in (night, smaller):
        assert row["rank"] is row["saving_usd_per_month"] is row["combined_usd_per_month"] is None
        again = reproduced(planted, row)
        assert again["difference_usd"] == row["what_if_usd_per_month"]  # of thirty days
        assert again["old_usd"] == row["affected_cost_usd"]
    # the small model has a third of the prices, and no surcharge above 200k tokens
    sonnet = [r for waste in sample.wastes() for r in waste.requests if r.model is sample.SONNET_4_5]
    cost = sum((sum(r.kind_costs_usd) for r in sonnet), Decimal())
    base = (
        sum((t * usd for r in sonnet for t, usd in zip(r.tokens, r.model.usd_per_mtok, strict=False)), Decimal())
        / 1_000_000
    )
    assert smaller["what_if_usd_per_month"] == base / 3 - cost
    # the list knows no batch prices of these models in 2025
    assert "have no rate before or after" in night["evidence"]


def test_a_question_about_a_model_that_was_never_used_is_an_error_that_names_it(
    planted: duckdb.DuckDBPyConnection,
) -> None:
    with pytest.raises(ConfigurationError, match=r"what_if\.cheap: .*claude-opus-4-1 was never used"):
        rows_of(planted, settings.load(what_if={"cheap": {"models": {"claude-opus-4-1": "claude-haiku-4-5"}}}))
    with pytest.raises(ConfigurationError, match="name models, or usage_type, or both"):
        settings.load(what_if={"nothing": {}})


def test_logs_that_hold_first_counts_of_outputs_show_no_runaway_session(models: Models) -> None:
    """In some Claude Code logs most outputs count 1; their sessions are as long and grow as loops do."""
    loop = next(waste for waste in sample.wastes() if waste.kind == "runaway_sessions")

    def lines(output: int, first: int) -> bytes:
        parts = []
        for number, request in enumerate(loop.requests, first):
            usage = {"input_tokens": request.tokens.no_cache, "output_tokens": output}
            message = {"id": f"msg_{number}", "model": request.model.version, "role": "assistant", "usage": usage}
            parts.append(
                {
                    "type": "assistant",
                    "sessionId": f"s{first}",
                    "requestId": f"r{number}",
                    "uuid": f"u{number}",
                    "timestamp": f"{request.at.isoformat()}Z",
                    "isSidechain": False,
                    "message": message,
                }
            )
        return "".join(json.dumps(part) + "\n" for part in parts).encode()

    for files, kinds in (
        ({"a.jsonl": lines(1, 0)}, {"none", "unavailable"}),
        ({"a.jsonl": lines(1, 0), "b.jsonl": lines(300, 100)}, {"runaway_sessions"}),
    ):
        with models.over(files, *MARTS) as connection:
            assert {row["kind"] for row in rows_of(connection)} == kinds


# -------------------- the sum of savings

# No deadline: the machine may be busy.
UNHURRIED = effort(deadline=None, suppress_health_check=[HealthCheck.too_slow])
USD = st.integers(-1000, 1000).map(Decimal)
PARTS = st.lists(
    st.sets(st.sampled_from(recommendations.KINDS)).flatmap(
        lambda kinds: st.fixed_dictionaries(dict.fromkeys(recommendations.KINDS, USD)).map(
            lambda saved: recommendations.Part(frozenset(kinds), saved)
        )
    ),
    max_size=12,
)


@UNHURRIED
@given(PARTS)
def test_no_request_is_saved_twice_and_together_is_never_more_than_the_sum_of_the_single_ones(
    parts: list[recommendations.Part],
) -> None:
    found = recommendations.apply(parts)
    assert sum(each.saving_usd for each in found) <= sum(each.standalone_usd for each in found)
    assert all(0 <= each.saving_usd <= each.standalone_usd for each in found)
    assert [each.standalone_usd for each in found] == sorted((each.standalone_usd for each in found), reverse=True)
    applied = [each.kind for each in found if each.saving_usd > 0]
    for part in parts:
        takers = [kind for kind in applied if kind in part.kinds]
        counted = [each.kind for each in found if each.kind in takers and not part.kinds & set(each.after)]
        assert len(counted) <= 1


def test_the_largest_saving_comes_first_and_the_next_counts_what_it_left() -> None:
    def part(kinds: set[str], **saved: int) -> recommendations.Part:
        each = {kind: Decimal(saved.get(kind, 0)) for kind in recommendations.KINDS}
        return recommendations.Part(frozenset(kinds), each)

    found = recommendations.apply(
        [
            part({"cache_policy", "lost_cache"}, cache_policy=3, lost_cache=5),
            part({"cache_policy"}, cache_policy=4),
            part({"lost_cache", "runaway_sessions"}, lost_cache=6, runaway_sessions=9),
        ]
    )
    assert [(each.kind, each.standalone_usd, each.saving_usd, each.after) for each in found] == [
        ("lost_cache", 11, 11, ()),
        ("runaway_sessions", 9, 0, ("lost_cache",)),
        ("cache_policy", 7, 4, ("lost_cache",)),
    ]


# -------------------- random histories, against the rules in plain Python

IN, WRITE_5M, WRITE_1H, READ, OUT = (Decimal(usd) / 1_000_000 for usd in ("3", "3.75", "6", "0.3", "15"))
CARD = {"input_no_cache": IN, "cache_write_5m": WRITE_5M, "cache_write_1h": WRITE_1H, "cache_read": READ, "output": OUT}
START = dt.datetime(2026, 3, 2, 8)
KEEP_SECONDS = 15 * 60


@dataclass(frozen=True)
class Call:
    """A request of a random history; `session` '' means none."""

    at: int  # seconds, no two alike
    session: str
    is_sidechain: bool
    plain: int
    write_5m: int
    write_1h: int
    read: int
    output: int

    @property
    def thread(self) -> tuple[str, bool]:
        """Its session, or its day if it has none."""
        return self.session or f"{START + dt.timedelta(seconds=self.at):%j}", self.is_sidechain

    @property
    def written(self) -> int:
        return self.write_5m + self.write_1h

    @property
    def cached(self) -> int:
        return self.written + self.read

    @property
    def input(self) -> int:
        return self.cached + self.plain

    @property
    def life(self) -> int | None:
        """The lifetime of its own writes."""
        return 300 if self.write_5m else 3600 if self.write_1h else None

    @property
    def cost(self) -> Decimal:
        return (
            self.plain * IN + self.write_5m * WRITE_5M + self.write_1h * WRITE_1H + self.read * READ + self.output * OUT
        )


@st.composite
def histories(draw: st.DrawFn) -> list[Call]:
    """Conversations whose cache works, ends, is rewritten, compacted or unread, in a few sessions side by side."""
    calls: list[Call] = []
    prefix: dict[tuple[str, bool], int] = {}
    at = 0
    for _ in range(draw(st.integers(1, 14))):
        at += draw(st.sampled_from((5, 60, 299, 300, 301, 700, 1500, 3600, 3601, 9000)))
        thread = draw(st.sampled_from((("a", False), ("a", True), ("b", False), ("", False))))
        before = prefix.get(thread, 0)
        most = max((each.cached for each in calls if (each.session, each.is_sidechain) == thread), default=0)
        read = draw(st.sampled_from((0, before, before, before // 2, most, 2000)))
        written = draw(st.sampled_from((0, 100, 1000, max(before - read, 0) + 50)))
        of_hour = draw(st.sampled_from((0, 0, written, written // 3)))
        call = Call(
            at,
            *thread,
            plain=draw(st.sampled_from((1, 40, 900))),
            write_5m=written - of_hour,
            write_1h=of_hour,
            read=read,
            output=draw(st.sampled_from((1, 10, 11, 200))),
        )
        prefix[thread] = call.cached
        calls.append(call)
    return calls


def stated(calls: Sequence[Call], number: int, after: int = 2) -> Row:
    """The savings of one request by docs/savings.md, in USD, each applied alone."""
    call = calls[number]
    thread = [each for each in calls if is_same(each, call)]
    earlier = [each for each in thread if each.at < call.at]
    later = [each for each in thread if each.at > call.at]
    before = earlier[-1] if earlier else None
    is_talk = call.session != "" and not call.is_sidechain
    life = next((each.life for each in reversed(earlier) if each.life), None)
    gap = call.at - before.at if before else None

    is_pause = bool(is_talk and before and before.cached and life and gap > life)
    lost = max(before.cached - call.read, 0) if is_pause and call.cached >= before.cached else 0
    by_hour = min(lost, call.write_5m) if life == 300 and gap <= 3600 else 0

    touches = [each for each in calls if 0 < call.at - each.at <= 3600 and call.read in (each.cached, each.read)]
    source = touches[-1] if touches else before
    is_missed = call.read and (life or 3600) == 3600 and (source is None or call.at - source.at > 300)
    missed = call.read if is_missed and any(each.write_1h for each in calls) else 0

    def is_shared(each: Call) -> bool:
        own = [other.cached for other in calls if is_same(other, each) and other.at < each.at]
        return each.read > max(own, default=0)

    def read_later(one: Call) -> int:
        life = 3600 if one.write_1h else 300
        same = [each.read for each in calls if is_same(each, one) and 0 < each.at - one.at <= life]
        others = [each.read for each in calls if is_shared(each) and 0 < each.at - one.at <= life]
        return max(0, min(one.written, max(same + others, default=0) - one.read))

    own_life = 3600 if call.write_1h else 300
    follows = max((each.cached for each in later if each.at - call.at <= own_life), default=0)
    went_on = is_talk and follows >= call.cached
    is_unused = sum(read_later(each) for each in thread) == 0
    unread = call.written - read_later(call) if is_unused or went_on else 0
    unread_5m = min(unread, call.write_5m)

    lost_5m = min(lost, call.write_5m)
    rewritten = lost_5m * (WRITE_5M - READ) + (lost - lost_5m) * (WRITE_1H - READ)
    kept = rewritten if gap is not None and gap <= KEEP_SECONDS else Decimal()
    if is_pause:
        kept -= min(gap, KEEP_SECONDS) // life * (before.cached * READ + OUT)
    life_after = call.life or life
    if is_talk and not later and call.cached and life_after:
        kept -= KEEP_SECONDS // life_after * (call.cached * READ + OUT)

    return {
        "none_usd": call.read * (READ - IN) + call.write_5m * (WRITE_5M - IN) + call.write_1h * (WRITE_1H - IN),
        "only_5m_usd": call.write_1h * (WRITE_1H - WRITE_5M) + missed * (READ - WRITE_5M),
        "only_1h_usd": (call.write_5m - by_hour) * (WRITE_5M - WRITE_1H) + by_hour * (WRITE_5M - READ),
        "unread_usd": unread_5m * (WRITE_5M - IN) + (unread - unread_5m) * (WRITE_1H - IN),
        "lost_tokens": lost,
        "kept_usd": kept,
        "runaway_usd": call.cost if steps(calls, call) > after else Decimal(),
    }


def is_same(one: Call, other: Call) -> bool:
    return one.thread == other.thread


def steps(calls: Sequence[Call], call: Call) -> int:
    """Consecutive requests without output, up to and including `call`."""
    count = 0
    thread = [each for each in calls if is_same(each, call) and each.at <= call.at]
    for before, each in itertools.pairwise(thread):
        is_step = each.session and each.output <= 10 and each.input > before.input and each.at - before.at <= 300
        count = count + 1 if is_step else 0
    return count


@pytest.fixture(scope="module")
def empty(models: Models) -> Iterator[duckdb.DuckDBPyConnection]:
    """Tables; random histories fill the requests."""
    with duckdb.connect(config={"TimeZone": "UTC", "autoinstall_known_extensions": "false"}) as connection:
        connection.execute("ATTACH ':memory:' AS warehouse; USE warehouse")
        connection.execute("CREATE SCHEMA marts; CREATE SCHEMA raw; CREATE SCHEMA scope")
        connection.execute("""
            CREATE TABLE marts.requests (
                request_key VARCHAR, requested_at TIMESTAMP, session_id VARCHAR, is_sidechain BOOLEAN,
                input_tokens_no_cache BIGINT, input_tokens_cache_write_5m BIGINT, input_tokens_cache_write_1h BIGINT,
                input_tokens_cache_read BIGINT, output_tokens BIGINT, total_tokens BIGINT,
                input_audio_tokens BIGINT DEFAULT 0, input_image_tokens BIGINT DEFAULT 0,
                cache_read_audio_tokens BIGINT DEFAULT 0, cache_read_image_tokens BIGINT DEFAULT 0,
                estimated_cost_usd DECIMAL(38, 12), surcharge_usd DECIMAL(38, 12) DEFAULT 0,
                provider VARCHAR DEFAULT 'anthropic', model VARCHAR DEFAULT 'm', api_key VARCHAR DEFAULT 'k',
                workspace VARCHAR DEFAULT 'w', project VARCHAR DEFAULT '', user_id VARCHAR DEFAULT '',
                source_format VARCHAR DEFAULT 'tracker_events', priced_context_window VARCHAR DEFAULT '0-200k',
                usage_type VARCHAR DEFAULT '', inference_geo VARCHAR DEFAULT '', speed VARCHAR DEFAULT '',
                billing_mode VARCHAR DEFAULT 'metered'
            );
            CREATE TABLE raw.settings AS SELECT true AS publish_contract_rates;
            CREATE TABLE raw.rate_card (
                provider VARCHAR DEFAULT 'anthropic', model VARCHAR DEFAULT 'm', token_kind VARCHAR,
                context_window VARCHAR DEFAULT '0-200k', usage_type VARCHAR DEFAULT 'standard',
                inference_geo VARCHAR DEFAULT '', speed VARCHAR DEFAULT 'standard',
                valid_from DATE DEFAULT DATE '2020-01-01', valid_to DATE, usd_per_mtok DECIMAL(18, 6),
                is_override BOOLEAN DEFAULT false
            );
            CREATE TABLE scope.days (item DATE);
            CREATE TABLE scope.hours (item TIMESTAMP);
            CREATE TABLE marts.token_usage_minutes (
                source VARCHAR, provider VARCHAR, usage_date DATE, billing_mode VARCHAR, total_tokens BIGINT,
                estimated_cost_usd DECIMAL(38, 12), is_in_force BOOLEAN
            );
        """)
        connection.executemany(
            "INSERT INTO raw.rate_card (token_kind, usd_per_mtok) VALUES (?, ?)",
            [(kind, usd * 1_000_000) for kind, usd in CARD.items()],
        )
        everything = "SELECT unnest(generate_series(?::TIMESTAMP, ?::TIMESTAMP, INTERVAL 1 {}))"
        for name, unit in (("days", "DAY"), ("hours", "HOUR")):
            connection.execute(
                f"INSERT INTO scope.{name} {everything.format(unit)}",
                [START.date(), START.date() + dt.timedelta(days=3)],
            )
        models.named("intermediate.int_rates").build(connection)
        yield connection


def land(connection: duckdb.DuckDBPyConnection, models: Models, histories_by_key: Mapping[str, Sequence[Call]]) -> None:
    """Each history under its own API key: planning a replay takes longer than running it."""
    connection.execute("DELETE FROM marts.requests")
    connection.executemany(
        "INSERT INTO marts.requests (api_key, request_key, requested_at, session_id, is_sidechain, "
        "input_tokens_no_cache, input_tokens_cache_write_5m, input_tokens_cache_write_1h, input_tokens_cache_read, "
        "output_tokens, total_tokens, estimated_cost_usd) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                key,
                f"{key}-{number:02}",
                START + dt.timedelta(seconds=call.at),
                call.session,
                call.is_sidechain,
                call.plain,
                call.write_5m,
                call.write_1h,
                call.read,
                call.output,
                call.input + call.output,
                call.cost,
            )
            for key, calls in histories_by_key.items()
            for number, call in enumerate(calls)
        ],
    )
    models.named("marts.request_replays").build(connection)


def replayed(connection: duckdb.DuckDBPyConnection) -> dict[str, list[Row]]:
    """The replay of each request, by key and in order of time."""
    window = recommendations.Window(START.date(), START.date() + dt.timedelta(days=2), WANTED)
    found = connection.execute(f"SELECT * FROM ({window.replay()}) ORDER BY request_key")
    names = [column[0] for column in found.description or ()]
    by_key: dict[str, list[Row]] = {}
    for values in found.fetchall():
        row = dict(zip(names, values, strict=True))
        by_key.setdefault(row["api_key"], []).append(row)
    return by_key


RANDOM = effort(UNHURRIED, max_examples=8)
SEVERAL = st.lists(histories(), min_size=8, max_size=8).map(
    lambda several: {f"k{number}": calls for number, calls in enumerate(several)}
)
WANTED = settings.load(savings=Savings(runaway_requests=2, floor_usd=0))


@RANDOM
@given(SEVERAL)
def test_the_replay_says_of_every_request_what_the_rules_say(
    empty: duckdb.DuckDBPyConnection, models: Models, several: dict[str, list[Call]]
) -> None:
    land(empty, models, several)
    found = replayed(empty)
    assert found.keys() == several.keys()
    for key, calls in several.items():
        rows, expected = found[key], [stated(calls, number) for number in range(len(calls))]
        for row, rule in zip(rows, expected, strict=True):
            for column in ("none_usd", "only_5m_usd", "only_1h_usd", "unread_usd", "lost_tokens", "runaway_usd"):
                assert row[column] == rule[column], (column, row["request_key"])
        for number, row in enumerate(rows):
            own = [rule for rule, call in zip(expected, calls, strict=True) if is_same(call, calls[number])]
            kept, hour = (sum(rule[name] for rule in own) for name in ("kept_usd", "only_1h_usd"))
            way = "none"
            if any(rule["lost_tokens"] for rule in own) and max(kept, hour) > 0:
                way = "keep-alive" if kept > hour else "1h"
            saved = {"none": Decimal(), "keep-alive": expected[number]["kept_usd"], "1h": row["only_1h_usd"]}
            assert (row["hold"], row["lost_usd"]) == (way, saved[way])


@RANDOM
@given(SEVERAL)
def test_a_policy_that_was_followed_costs_what_was_paid(
    empty: duckdb.DuckDBPyConnection, models: Models, several: dict[str, list[Call]]
) -> None:
    followed: dict[str, list[Call]] = {}
    for key, calls in several.items():
        followed[f"{key} only_5m_usd"] = [replace(call, write_5m=call.written, write_1h=0) for call in calls]
        followed[f"{key} only_1h_usd"] = [replace(call, write_1h=call.written, write_5m=0) for call in calls]
        followed[f"{key} none_usd"] = [
            replace(call, plain=call.input, read=0, write_5m=0, write_1h=0) for call in calls
        ]
    land(empty, models, followed)
    for key, rows in replayed(empty).items():
        assert {row[key.split()[1]] for row in rows} == {0}


@RANDOM
@given(SEVERAL)
def test_savings_of_random_histories_are_reproduced_and_never_exceed_what_was_paid(
    empty: duckdb.DuckDBPyConnection, models: Models, several: dict[str, list[Call]]
) -> None:
    land(empty, models, several)
    found = savings_in(rows_of(empty, WANTED))
    for key, calls in several.items():
        own = [row for row in found if row["api_key"] == key]
        together = sum((row["observed_saving_usd"] for row in own), Decimal())
        assert together <= sum((row["observed_standalone_usd"] for row in own), Decimal())
        assert together <= sum((call.cost for call in calls), Decimal())
    for row in found:
        assert row["observed_saving_usd"] <= row["affected_cost_usd"]
    for row in found[:3] + found[-3:]:
        again = reproduced(empty, row)
        assert again["observed_saving_usd"] == row["observed_saving_usd"]
        assert again["observed_standalone_usd"] == row["observed_standalone_usd"]


# -------------------- small histories, by hand


def of_key(connection: duckdb.DuckDBPyConnection, models: Models, calls: Sequence[Call], **other: str) -> list[Row]:
    """The rows of one key with this history."""
    land(connection, models, {"k": calls})
    for column, value in other.items():
        connection.execute(f"UPDATE marts.requests SET {column} = ?", [value])
    models.named("marts.request_replays").build(connection)
    return rows_of(connection, WANTED)


DAY = 86_400
TOKENS = 100_000


def talk(day: int, session: str, *gaps: int, lifetime: str = "5m") -> list[Call]:
    """A conversation of one prompt: each call reads the cache if it still lives, else writes it again."""
    life, at, calls = {"5m": 300, "1h": 3600}[lifetime], day * DAY, []
    for number, gap in enumerate((0, *gaps)):
        at += gap
        is_read = number > 0 and gap <= life
        written = 0 if is_read else TOKENS
        writes = (written, 0) if lifetime == "5m" else (0, written)
        calls.append(Call(at, session, False, 1, *writes, TOKENS if is_read else 0, 200))
    return calls


def test_keeping_a_cache_alive_is_claimed_for_all_sessions_not_for_those_that_are_known_to_pause(
    empty: duckdb.DuckDBPyConnection, models: Models
) -> None:
    """One session pauses for ten minutes; three end at once. A request that keeps the cache alive reads 100k tokens."""
    pausing, ended = talk(0, "a", 600), [call for n in (1, 2, 3) for call in talk(0, f"b{n}")]
    ended = [replace(call, at=call.at + 5000 * n) for n, call in enumerate(ended, 1)]
    rewritten, ping = TOKENS * (WRITE_5M - READ), TOKENS * READ + OUT
    # the pause of ten minutes takes two such requests, and each end of a session three within a quarter of an hour
    alone, everywhere = rewritten - 5 * ping, rewritten - 5 * ping - 3 * 3 * ping
    assert alone > 0 > everywhere
    rows = of_key(empty, models, sorted(pausing + ended, key=lambda call: call.at))
    assert "lost_cache" not in {row["kind"] for row in savings_in(rows)}
    row = next(row for row in rows if row["kind"] == "would_cost_more" and "lost cache" in row["evidence"])
    assert row["hindsight_usd_per_month"] == alone
    assert "keep-alive requests in all sessions would have cost $0.08 more" in row["evidence"]
    assert round(-everywhere, 2) == Decimal("0.08")


def test_a_saving_is_likely_only_if_the_rule_of_the_earlier_half_saves_on_the_later_half(
    empty: duckdb.DuckDBPyConnection, models: Models
) -> None:
    """On each of three days thirty sessions pause for six minutes, and then go on every four."""
    steady = [call for day in range(3) for n in range(30) for call in moved(talk(day, f"{day}-{n}", 360, 240, 240), n)]
    found = {row["kind"]: row for row in savings_in(of_key(empty, models, steady))}
    lost = found["lost_cache"]
    ping = TOKENS * READ + OUT
    each = TOKENS * (WRITE_5M - READ) - ping - 3 * ping
    assert lost["observed_standalone_usd"] == 90 * each
    assert lost["held_out_usd"] == 60 * each
    assert f"it saves ${60 * each:,.2f} on the later half" in lost["evidence"]
    # then the sessions no longer pause
    quiet = [call for day in (1, 2) for n in range(30) for call in moved(talk(day, f"{day}-{n}", 240), n)]
    changed = [call for call in steady if call.at < DAY] + quiet
    rows = of_key(empty, models, changed)
    checked = [row["held_out_usd"] for row in rows if row["kind"] in ("lost_cache", "would_cost_more")]
    assert checked
    assert all(value < 0 for value in checked)
    assert {row["confidence"] for row in savings_in(rows) if row["kind"] == "lost_cache"} <= {"low"}


def moved(calls: Sequence[Call], number: int) -> list[Call]:
    """The same calls some seconds later, so that no two are at one time."""
    return [replace(call, at=call.at + number) for call in calls]


def test_a_cache_from_the_second_request_on_saves_where_most_sessions_have_one_request(
    empty: duckdb.DuckDBPyConnection, models: Models
) -> None:
    single = [call for n in range(20) for call in moved(talk(n % 2, f"s{n}"), 400 * n)]
    long = [call for day in (0, 1) for call in moved(talk(day, f"l{day}", 60, 60), 20_000)]
    found = {row["kind"]: row for row in savings_in(of_key(empty, models, sorted(single + long, key=lambda c: c.at)))}
    row = found["cache_writes_never_read"]
    assert row["observed_standalone_usd"] == TOKENS * (20 * (WRITE_5M - IN) - 2 * (IN - READ))
    assert row["held_out_usd"] == row["observed_standalone_usd"] / 2
    assert row["action"] == "Write the cache from the second request of a session on, not with the first one."
    assert row["hindsight_usd_per_month"] > row["standalone_usd_per_month"]


def test_transcripts_that_look_covered_by_a_seat_are_no_claim_until_their_billing_is_stated(
    empty: duckdb.DuckDBPyConnection, models: Models
) -> None:
    calls = [call for n in range(4) for call in moved(talk(n // 2, f"s{n}", 60, lifetime="1h"), 4000 * n)]
    transcripts = {"api_key": "", "source_format": "claude_code", "project": "site"}
    rows = of_key(empty, models, calls, **transcripts)
    (seat,) = [row for row in rows if row["kind"] == "seat"]
    assert (seat["status"], seat["rank"], seat["saving_usd_per_month"]) == ("unavailable", None, None)
    assert "would save nothing on a seat" in seat["evidence"]
    assert savings_in(rows) == []
    stated = WANTED.model_copy(update={"billing_mode": BillingModes(projects={"site": "metered"})})
    assert "cache_policy" in {row["kind"] for row in savings_in(rows_of(empty, stated))}
    # a key that is paid by usage
    assert savings_in(of_key(empty, models, calls, source_format="claude_code", api_key="k", project=""))


def test_a_month_rests_on_the_days_of_the_key_and_says_which(empty: duckdb.DuckDBPyConnection, models: Models) -> None:
    """Seven sessions within ten days, three within ten, and a third key in a longer history."""
    often = [call for day in (0, 1, 2, 4, 5, 6, 9) for call in talk(day, f"s{day}", 60, lifetime="1h")]
    seldom = [call for call in often if call.session in ("s0", "s4", "s9")]
    land(empty, models, {"often": often, "seldom": seldom, "other": [Call(20 * DAY, "o", False, 1, 0, 0, 0, 200)]})
    spread = "INSERT INTO scope.{} SELECT unnest(generate_series(?::TIMESTAMP, ?::TIMESTAMP, INTERVAL 1 {}))"
    for name, unit in (("days", "DAY"), ("hours", "HOUR")):
        empty.execute(
            spread.format(name, unit), [START.date() + dt.timedelta(days=4), START.date() + dt.timedelta(days=22)]
        )
    models.named("marts.request_replays").build(empty)
    policies = [row for row in savings_in(rows_of(empty, WANTED)) if row["kind"] == "cache_policy"]
    rows = {row["api_key"]: row for row in policies}
    saved = TOKENS * (WRITE_1H - WRITE_5M)
    assert {key: row["observed_saving_usd"] for key, row in rows.items()} == {"often": 7 * saved, "seldom": 3 * saved}
    assert {(row["window_days"], row["active_days"]) for row in policies} == {(10, 7), (10, 3)}
    assert rows["often"]["saving_usd_per_month"] == 7 * saved * 3
    assert "Used on 7 of the 10 days from 2026-03-02 to 2026-03-11; a month" in rows["often"]["evidence"]
    assert rows["seldom"]["saving_usd_per_month"] == 3 * saved
    assert "too few days to scale" in rows["seldom"]["evidence"]
    for row in policies:
        assert abs(reproduced(empty, row)["saving_usd_per_month"] - row["saving_usd_per_month"]) < Decimal("0.00001")
