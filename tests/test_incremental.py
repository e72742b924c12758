"""An incremental build gives the same marts, row for row, as a full build.

Belongs here: random histories that land, repeat and are forgotten in batches. Does not belong here: which rows are
right (test_overlaps).
"""

from __future__ import annotations

import datetime as dt
import json
import random
from typing import Any

import duckdb
from accounts import DAY, Account, Request, landing, texts_of, transcripts_of
from conftest import Warehouse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from logs import answer, event, lines, observation, otlp, span, spend
from pages import anthropic, bucket, console_csv, cost, page

from pipeline.finance import closing
from pipeline.ingest import retraction
from pipeline.marts import increment
from pipeline.settings import Settings, load
from pipeline.store import warehouse


def history(accounts: list[Any], seed: int) -> dict[str, str]:
    """Files of every format over three days: overlapping exports, costs, session tables, transcripts that repeat."""
    chance = random.Random(seed)
    files = landing(accounts, seed) if texts_of(accounts) else {}
    days = [f"{DAY + dt.timedelta(days=n):%Y-%m-%d}" for n in range(3)]
    for number, written in enumerate(transcripts_of(seed).values()):
        moved = [line.replace(days[0], chance.choice(days)) for line in written]
        files[f"transcript_{number}.jsonl"] = "\n".join(moved)
    for number in range(chance.randrange(3)):
        sessions = chance.sample(["s1", "s2", "s3", "s4", "s5"], 3)
        rows = [(f"{session}", f"{chance.choice(days)}", chance.choice([10, 5_000, 2_000_000])) for session in sessions]
        files[f"sessions_{number}.csv"] = sessions_table(rows)
    for number in range(chance.randrange(3)):
        cells = [(chance.choice(days), "Claude Sonnet 4.5", f"{chance.randrange(300) / 100:.2f}") for _ in range(3)]
        files[f"costs_{number}.csv"] = costs_table(cells, with_key=chance.random() < 0.7)
    for number in range(chance.randrange(3)):
        calls = [(chance.choice(days), chance.choice([5, 80_000])) for _ in range(3)]
        files[f"records_{number}.jsonl"] = "\n".join(record(*call) for call in calls)
    return files | loggers(chance) | api_pages(chance)


def api_pages(chance: random.Random) -> dict[str, str]:
    """Pulls and saved pages of the same account: of overlapping days, by minute, hour or day, some of them empty."""
    files: dict[str, str] = {}
    groups = [KEYS_AND_MODELS, ["model"]]
    for number in range(chance.randrange(4)):
        first, width = chance.randrange(3), chance.choice([60, 3600, 86400])
        buckets = []
        for day in range(first, chance.randint(first, 2) + 1):
            starts = [DAY + dt.timedelta(days=day, hours=chance.choice([0, 9]) if width < 86400 else 0)]
            results = [
                anthropic(output_tokens=chance.choice([1, 40, 900]), api_key_id=chance.choice(["alpha", None]))
                for _ in range(chance.randrange(3))
            ]
            buckets += [
                bucket(*results, start=f"{start:%Y-%m-%dT%H:%M:%SZ}", seconds=width) for start in starts if results
            ]
        grouped = chance.choice(groups)
        none = {} if len(grouped) > 1 else dict.fromkeys(["api_key_id", "workspace_id", "service_tier"])
        buckets = [each | {"results": [result | none for result in each["results"]]} for each in buckets]
        pulled_on = chance.choice([None, 1, 2, 3, 4])
        asked = {"first": first, "grouped": grouped, "width": width, "pulled_on": pulled_on}
        files[f"pages_{number}.jsonl"] = pull_of(*buckets, **asked)
    for number in range(chance.randrange(3)):
        day = DAY + dt.timedelta(days=chance.randrange(3))
        amounts = [
            cost(str(chance.randrange(300)), token_type=chance.choice([None, "output_tokens"])) for _ in range(2)
        ]
        files[f"amounts_{number}.json"] = page(bucket(*amounts, start=f"{day:%Y-%m-%dT00:00:00Z}"))
    return files


KEYS_AND_MODELS = ["api_key_id", "workspace_id", "model", "service_tier"]


def pull_of(
    *buckets: Any, first: int = 0, grouped: list[str] = KEYS_AND_MODELS, width: int = 86400, pulled_on: int | None = 1
) -> str:
    """A pull of the days from the `first` to the third, made on a day of March; without that day, pages of them."""
    header = {
        "source": "anthropic_usage",
        "group_by": grouped,
        "bucket_seconds": width,
        "from": f"{DAY + dt.timedelta(days=first):%Y-%m-%dT00:00:00Z}",
        "to": f"{DAY + dt.timedelta(days=3):%Y-%m-%dT00:00:00Z}",
        "pulled_at": pulled_on and f"2026-03-0{pulled_on}T00:00:00Z",
    }
    return json.dumps({"token_analytics_pull": header}) + "\n" + page(*buckets)


def loggers(chance: random.Random) -> dict[str, str]:
    """Logs of several systems with similar calls close together, around a midnight; some files grow."""
    files: dict[str, str] = {}
    midnight = 15 * 3600
    for number in range(chance.randrange(6)):
        write = chance.choice([answer, event, spend, span, observation])
        when = [midnight + chance.choice([-6, -4, -1, 0, 2, 3, 7, 11, 4000]) for _ in range(4)]
        entries = [write(chance.randrange(6), second) for second in when]
        if write is event and chance.random() < 0.5:
            entries = [entry | {"response_id": f"msg_{chance.randrange(6)}"} for entry in entries]
        entries = [otlp(entry) for entry in entries] if write is span else entries
        files[f"log_{number}.jsonl"] = lines(*entries[:3])
        if chance.random() < 0.3:
            files[f"log_{number}_grown.jsonl"] = lines(*entries)
    return files


def record(day: str, tokens: int) -> str:
    usage = {"input_tokens": 1, "output_tokens": tokens}
    entry = {"run_id": "r", "timestamp": f"{day}T10:00:00Z", "model": "claude-sonnet-4-5", "usage_raw": usage}
    return json.dumps(entry)


SCOPES: list[dict[str, str]] = [{}, {"experiment_records": "backend"}, {"*/transcript_*": "backend"}]


def sessions_table(rows: list[tuple[str, str, int]]) -> str:
    head = (
        "session_id,user_id,session_started_at,last_updated_at,model,input_tokens,output_tokens,cache_read_tokens,"
        "cache_creation_tokens"
    )
    return "\n".join(
        [head, *(f"{name},u1,{day} 08:00:00,{day} 23:00:00,claude-sonnet-4-5,{n},1,0,0" for name, day, n in rows)]
    )


def costs_table(cells: list[tuple[str, str, str]], with_key: bool) -> str:
    keys = ("api_key,workspace,", "backend,Default,") if with_key else ("", "")
    head = f"usage_date_utc,model,{keys[0]}usage_type,token_type,cost_usd"
    return "\n".join([head, *(f"{day},{model},{keys[1]}message,output,{usd}" for day, model, usd in cells)])


@settings(max_examples=4, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), print_blob=True)
@given(st.integers(0, 10**6))
def test_marts_after_each_step_equal_a_full_rebuild(models, new_home, seed):
    chance = random.Random(seed)
    channels = chance.choice([{}, {"anthropic": "api"}])
    kept_up = Warehouse(models, new_home(account_channels=channels))
    kept_up.home.land({"../allocation.csv": ALLOCATION})
    files = list(history(random_accounts(chance), seed).items())
    chance.shuffle(files)
    for step in range(chance.randint(2, 5)):
        share = files[step::5] + (files[:1] if chance.random() < 0.3 else [])
        kept_up.home.land({f"{step}/{name}": text for name, text in share})
        forget_something(kept_up.connection, chance)
        if chance.random() < 0.4:
            scoped, seat = chance.choice(SCOPES), chance.random() < 0.3
            kept_up.home.settings = rescoped(kept_up.home.settings, scoped, seat, channels)
        kept_up.update(batch_rows=chance.choice([1, 40, 10**6]))
        if close_something(kept_up.connection, chance):
            kept_up.build(10**6)
        assert kept_up.marts() == kept_up.rebuilt()


def cached_call(
    number: int, second: int, session: str, written: int, read: int, lifetime: str = "1h"
) -> dict[str, Any]:
    """A call of the key with a cache shared by its sessions."""
    usage = {
        "input_tokens": 10,
        "cache_creation": {f"ephemeral_{lifetime}_input_tokens": written},
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": read,
        "output_tokens": 1,
    }
    return event(number, second, session_id=session, usage=usage)


def cached_calls(chance: random.Random, number: int) -> str:
    """Calls in sessions and without one, minutes and hours apart around two midnights."""
    return lines(
        *(
            cached_call(
                10 * number + call,
                3600 * chance.choice([13, 14, 15, 15, 16, 39]) + chance.choice([-3000, -200, -1, 0, 1, 250, 3599]),
                chance.choice(["a", "b", ""]),
                chance.choice([0, 100, 500]),
                chance.choice([0, 100, 500, 600]),
                chance.choice(["5m", "1h"]),
            )
            for call in range(3)
        )
    )


@settings(max_examples=3, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), print_blob=True)
@given(st.integers(0, 10**6))
def test_replays_after_each_step_equal_a_full_rebuild(models, new_home, seed):
    chance = random.Random(seed)
    kept_up = Warehouse(models, new_home(), "marts.request_replays")
    for step in range(4):
        kept_up.home.land({f"{step}_{number}.jsonl": cached_calls(chance, 10 * step + number) for number in range(2)})
        forget_something(kept_up.connection, chance)
        kept_up.update(batch_rows=chance.choice([1, 10**6]))
        assert kept_up.marts() == kept_up.rebuilt()


def test_calls_before_and_after_a_midnight_change_what_the_other_day_saves(models, new_home):
    kept_up = Warehouse(models, new_home(), "marts.request_replays")
    midnight = 15 * 3600
    replays = "SELECT read_later_tokens, saved_by_5m_usd < 0 FROM marts.request_replays ORDER BY requested_at"
    found = []
    for number, call in enumerate(
        [
            cached_call(1, midnight - 600, "a", written=500, read=0),
            # Another session reads the first one's writes on the next day, more than five minutes later.
            cached_call(2, midnight + 600, "b", written=0, read=500),
            # Calls that read it in between keep a five-minute cache alive; the one a day before is too early.
            cached_call(3, midnight - 1, "c", written=0, read=500),
            cached_call(4, midnight + 400, "c", written=0, read=500),
        ]
    ):
        kept_up.home.land({f"{number}.jsonl": lines(call)})
        kept_up.update(batch_rows=10**6)
        assert kept_up.marts() == kept_up.rebuilt()
        found.append(kept_up.connection.execute(replays).fetchall())
    assert [each[0] for each in found] == [(0, False), (500, False), (500, False), (500, False)]
    assert [each[-1] for each in found] == [(0, False), (0, True), (0, True), (0, False)]


def test_a_later_pull_an_export_and_forgetting_either_change_the_days_that_they_have_no_row_of(models, new_home):
    kept_up = Warehouse(
        models, new_home(), "marts.token_usage_minutes", "marts.billed_costs", "marts.channel_comparison",
        "marts.token_conservation",
    )  # fmt: skip
    first, second = (f"{DAY + dt.timedelta(days=n):%Y-%m-%dT00:00:00Z}" for n in range(2))
    days = """
        SELECT strftime(usage_date, '%d'), sum(output_tokens)::int FROM marts.token_usage_minutes GROUP BY 1 ORDER BY 1
    """

    def after(*landed: tuple[str, str], forgotten: str = "") -> list[Any]:
        kept_up.home.land(dict(landed))
        if forgotten:
            retraction.forget_file(kept_up.connection, f"landing/{forgotten}")
        kept_up.update(10**6)
        assert kept_up.marts() == kept_up.rebuilt()
        found: list[Any] = kept_up.connection.execute(days).fetchall()
        return found

    both = pull_of(bucket(anthropic(output_tokens=10), start=first), bucket(anthropic(output_tokens=20), start=second))
    assert after(("both.jsonl", both)) == [("17", 10), ("18", 20)]
    # the second day no longer has usage, and the first has another key
    later = pull_of(bucket(anthropic(output_tokens=7, api_key_id="moved"), start=first), pulled_on=2)
    assert after(("later.jsonl", later)) == [("17", 7)]
    assert after(("none.jsonl", pull_of(first=1, pulled_on=3))) == [("17", 7)]
    export = console_csv((f"{DAY:%Y-%m-%d}", 8))
    assert after(("export.csv", export)) == [("17", 8)]
    assert after(forgotten="later.jsonl") == [("17", 8)]
    assert after(forgotten="export.csv") == [("17", 10)]
    assert after(forgotten="none.jsonl") == [("17", 10), ("18", 20)]


def test_dbt_builds_days_of_one_export_and_of_several_into_the_rows_of_a_rebuild(models, home):
    alone = [Account.of(number, number, [Request(3600, 14, 0, 48, 100)]) for number in (0, 3)]
    again = Account.of(0, 0, [Request(3600, 14, 9, 24, 30)])
    third = f"{DAY + dt.timedelta(days=2):%Y-%m-%dT00:00:00Z}"
    steps = [
        {f"alone_{number}.csv": text for number, text in enumerate(texts_of(alone))}
        | {"pull.jsonl": pull_of(bucket(anthropic(output_tokens=10), start=third), first=2)},
        # a later pull replaces all rows of the first, and has none
        {f"again_{number}.csv": text for number, text in enumerate(texts_of([again]))}
        | {"none.jsonl": pull_of(first=2, pulled_on=2)},
    ]
    landed: dict[str, str] = {}
    for files in steps:
        landed |= files
        home.land(files)
        home.build()
        name = "intermediate.int_console_usage"
        # the compiled models do not name the days' first and last moment
        with models.over(landed, name) as connection:
            expected = sorted(connection.execute(f"FROM {name}").fetchall(), key=repr)
        assert sorted(home.query(f"FROM {name}"), key=repr) == expected


def test_a_build_plans_the_days_that_its_exports_cover_by_their_stored_rows(new_home):
    kept_up = new_home()
    requests = [Request(3600, 14, 0, 24, 100), Request(3600, 14, 24, 24, 100)]
    texts = texts_of([Account.of(0, 0, requests)])
    kept_up.land({f"{number}.csv": text for number, text in enumerate(texts)})
    kept_up.ingest()
    with warehouse.connect(kept_up.settings) as connection:
        (stored,) = connection.execute(
            "SELECT count(*) FROM raw.console_usage GROUP BY usage_start::date LIMIT 1"
        ).fetchone()
        assert [batch.days for batch in increment.plan(connection, stored)] == [["2026-02-17"], ["2026-02-18"]]
        assert [batch.days for batch in increment.plan(connection, 10**6)] == [["2026-02-17", "2026-02-18"]]


def test_a_build_takes_no_other_turns_of_a_gateway_that_gives_all_of_them_one_id(new_home):
    def turns(session: str, *minutes: int, **fields: str) -> str:
        usages = {minute: {"input_tokens": 1_000 + minute, "output_tokens": 1} for minute in minutes}
        entries = [
            {
                "type": "assistant",
                "uuid": f"{session}-{minute}",
                "sessionId": session,
                "timestamp": f"{DAY + dt.timedelta(minutes=minute):%Y-%m-%dT%H:%M:%SZ}",
                "message": {"id": "relay", "model": "claude-sonnet-4-5", "usage": usage},
            }
            for minute, usage in usages.items()
        ]
        return lines(*(entry | fields for entry in entries))

    home, taken = new_home(), []
    for name, text in {
        "a.jsonl": turns("s1", 0, 1, 2, 3),
        "b.jsonl": turns("s2", 4, 5),
        "copied.jsonl": turns("s3", 0),
        "named.jsonl": turns("s1", 3, requestId="r1"),
    }.items():
        home.land({name: text})
        home.ingest()
        with warehouse.connect(home.settings) as connection:
            for batch in increment.plan(connection):
                increment.open_batch(connection, batch, keep=False)
            query = "SELECT list(replace(item, 'relay~', '') ORDER BY item) FROM scope.responses"
            taken += connection.execute(query).fetchone()
            increment.close(connection, "")
    turns_of_a = ["1000.0.0", "1001.0.0", "1002.0.0", "1003.0.0"]
    turns_of_b = ["1004.0.0", "1005.0.0"]
    # Any file that states its request qualifies.
    assert taken == [turns_of_a, turns_of_b, turns_of_a[:1], ["relay", *turns_of_a, *turns_of_b]]


def rescoped(former: Settings, scope: dict[str, str], seat: bool, channels: dict[str, str]) -> Settings:
    """The settings with another scope of logs, and with or without a key that a subscription pays for."""
    changed: Settings = load(
        former.home,
        settle_seconds=0,
        account_channels=channels,
        reconciliation={"scope": scope},
        billing_mode={"api_keys": {"backend": "subscription"} if seat else {}},
    )
    return changed


# Teams by key, by user of the logs and by workspace, so that a day of the bill is split in every way.
ALLOCATION = """team,api_key,user_id,workspace,valid_from,budget_usd_per_month
Backend,backend,,,,10
Users,,u1,,2026-02-18,
shared,,,Default,2026-02-19,
"""


def close_something(connection: duckdb.DuckDBPyConnection, chance: random.Random) -> bool:
    """Close the month of the history: later builds must show it as booked."""
    month = DAY.date().replace(day=1)
    used = connection.execute("SELECT count(*) FROM marts.charges").fetchall()[0][0]
    closed = connection.execute("SELECT count(*) FROM raw.closed_months").fetchall()[0][0]
    if not used or closed or chance.random() < 0.7:
        return False
    closing.close_month(connection, month, dt.datetime(2027, 1, 1, tzinfo=dt.UTC))
    return True


def random_accounts(chance: random.Random) -> list[Any]:
    return [
        Account.of(
            number,
            chance.randrange(1000),
            [
                Request(
                    chance.choice([60, 3600, 86400]),
                    chance.choice([10, 11, 12, 14]),
                    chance.choice([0, 9, 10]),
                    chance.choice([1, 24, 48]),
                    chance.choice([14, 30, 100]),
                )
                for _ in range(chance.randint(1, 4))
            ],
        )
        for number in range(chance.randint(1, 3))
    ]


def forget_something(connection: duckdb.DuckDBPyConnection, chance: random.Random) -> None:
    loaded = connection.execute("SELECT path FROM ingest.files WHERE status = 'loaded' ORDER BY path").fetchall()
    if loaded and chance.random() < 0.4:
        retraction.forget_file(connection, chance.choice(loaded)[0])
    if loaded and chance.random() < 0.1:
        retraction.forget_before(connection, DAY.date() + dt.timedelta(days=1))
