"""The tracker's Redis stream on a real server: every event once in the warehouse, even if drains or the server die.

Belongs here: draining, acknowledging, recovering. Does not belong here: the events that the tracker writes
(test_tracker) and reading events from files (test_tracker_events).
"""

from __future__ import annotations

import json
import os
import random
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import ENVIRONMENT, command_line, token_analytics
from conftest import Home
from servers import Redis, redis_server
from token_analytics_tracker import TokenTracker
from token_analytics_tracker.sinks import RedisSink

from pipeline import settings
from pipeline.fetch import stream
from pipeline.settings import ConfigurationError

PASSWORD = "s3cret/@:?CANARY%"
STREAM = "token-analytics:events"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    with redis_server(tmp_path_factory.mktemp("redis"), PASSWORD) as started:
        yield started


@pytest.fixture
def client(server: Redis) -> Iterator[Any]:
    """A client of the empty server."""
    import redis

    with redis.Redis.from_url(server.url, protocol=2) as made:
        made.flushall()
        yield made


@pytest.fixture
def home(new_home: Any, server: Redis, client: Any) -> Home:
    made: Home = new_home(stream_url=server.url)
    return made


def event(number: int, **changed: Any) -> bytes:
    fields = {
        "schema": "token-analytics-tracker/1",
        "event_id": f"e-{number}",
        "timestamp": "2026-03-01T12:00:00Z",
        "conversation_id": f"c-{number % 5}",
        "provider": "anthropic",
        "model": "claude-sonnet-4-5",
        "usage": {"input_tokens": number, "output_tokens": 1},
    }
    return json.dumps(fields | changed).encode()


def add(client: Any, *events: bytes) -> None:
    with client.pipeline(transaction=False) as pipe:
        for each in events:
            pipe.xadd(STREAM, {"event": each})
        pipe.execute()


def landed(home: Home) -> list[Path]:
    return sorted((home.settings.landing / "pulled" / "stream").glob("*.jsonl"))


def stored(home: Home) -> tuple[int, int]:
    """Events of the warehouse and their input tokens, each event once."""
    home.ingest()
    ((row),) = home.query(
        "SELECT count(*), coalesce(sum(input_tokens_no_cache), 0)::bigint "
        "FROM (SELECT DISTINCT ON (request_key) * FROM raw.requests)"
    )
    return tuple(row)


def pending(client: Any) -> int:
    return sum(group["pending"] for group in client.xinfo_groups(STREAM))


def test_what_the_tracker_streams_is_landed_acknowledged_and_counted_once(
    home: Home, server: Redis, client: Any, tmp_path: Path
) -> None:
    tracker = TokenTracker("anthropic", tmp_path / "events", sink=RedisSink(server.url))
    ids = [tracker.track(conversation_id="c", input_tokens=n, output_tokens=1) for n in range(1, 501)]
    assert (tracker.fallbacks, tracker.errors) == (0, 0)
    assert stream.waiting(home.settings)
    drained = stream.drain(home.settings)
    assert (drained.entries, drained.recovered, drained.gone, drained.files) == (500, 0, 0, landed(home))
    assert not stream.waiting(home.settings)
    assert pending(client) == 0
    assert stored(home) == (500, 500 * 501 // 2)
    ((keys),) = home.query("SELECT list(request_key) FROM raw.requests")
    assert set(keys[0]) == {f"tracker_events:{one}" for one in ids}
    (file,) = landed(home)
    ledger = home.ledger(f"pulled/stream/{file.name}")
    assert (ledger["format"], ledger["rows_loaded"], ledger["rows_ignored"]) == ("tracker_events", 500, 1)

    nothing = stream.drain(home.settings)
    assert (nothing.entries, nothing.files, landed(home)) == (0, [], [file])


def test_events_from_before_the_first_drain_and_from_between_two_count(home: Home, client: Any) -> None:
    add(client, *(event(n) for n in range(10)))
    stream.drain(home.settings)
    add(client, *(event(n) for n in range(10, 15)))
    assert stream.drain(home.settings).entries == 5
    assert stored(home) == (15, sum(range(15)))


def test_an_entry_is_acknowledged_only_when_its_file_is_on_the_disk(
    home: Home, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(client, *(event(n) for n in range(100)))
    order: list[str] = []
    sync, finish = os.fsync, stream.landing.finish

    def note_sync(descriptor: int) -> None:
        sync(descriptor)
        order.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")

    def note_finish(*arguments: Any) -> Path:
        order.clear()
        path = finish(*arguments)
        order.append(f"{pending(client)} pending")
        return path

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", note_sync)
        patch.setattr(stream.landing, "finish", note_finish)
        stream.drain(home.settings)
    assert order == ["file", "folder", "100 pending"]
    assert pending(client) == 0


@pytest.mark.parametrize("moment", ["before the file", "after the file"])
def test_a_drain_that_dies_delivers_its_events_again_and_they_count_once(
    home: Home, client: Any, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    add(client, *(event(n) for n in range(300)), b"no JSON")
    finish = stream.landing.finish

    def die(*arguments: Any) -> Path:
        if moment == "after the file":
            finish(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(stream.landing, "finish", die)
        with pytest.raises(KeyboardInterrupt):
            stream.drain(home.settings)
    assert pending(client) == 301
    before = landed(home)
    add(client, *(event(n) for n in range(300, 310)))
    assert stream.waiting(home.settings)
    again = stream.drain(home.settings)
    assert (again.entries, again.recovered) == (311, 301)
    # Entries landed without acknowledgement give the same file: no bad entry is in the quarantine twice.
    assert set(before) < set(landed(home))
    assert len(landed(home)) == 2
    assert stored(home) == (310, sum(range(310)))
    assert len(home.rejected()) == 1


def test_what_a_dead_consumer_of_another_machine_holds_is_taken_over(
    home: Home, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(client, *(event(n) for n in range(450)))
    client.xgroup_create(STREAM, home.settings.stream_group, id="0")
    client.xreadgroup(home.settings.stream_group, "another-machine", {STREAM: ">"}, count=250)
    first = stream.drain(home.settings)
    assert (first.entries, first.recovered) == (200, 0)
    monkeypatch.setattr(stream, "CLAIM_IDLE_MILLISECONDS", 0)
    second = stream.drain(home.settings)
    assert (second.entries, second.recovered) == (250, 250)
    assert stored(home) == (450, sum(range(450)))
    assert pending(client) == 0


def test_duplicates_on_the_wire_count_once(home: Home, client: Any) -> None:
    add(client, *(event(n) for n in range(50)), *(event(n) for n in range(50)))
    stream.drain(home.settings)
    add(client, *(event(n) for n in range(25)))
    stream.drain(home.settings)
    assert stored(home) == (50, sum(range(50)))


POISON = (
    b"",
    b"   ",
    b"no JSON",
    b'{"half": "an eve',
    b"NUL \x00 and \x01 in it",
    b"\xff\xfe no text",
    b"two\nlines\r\nof nothing",
    b'"a string"',
    b"[1, 2]",
    b'{"type": "assistant", "sessionId": "s", "message": {"usage": {"output_tokens": 5}}',
)


def test_an_entry_that_is_no_event_is_quarantined_and_holds_up_nothing(home: Home, client: Any) -> None:
    add(client, *POISON, event(1), json.dumps(json.loads(event(2)), indent=1).encode())
    client.xadd(STREAM, {"other": b"a field \x00 of \xff another sort", "more": "1"})
    # Lines that identify other formats, and an object without usage.
    add(
        client, b'{"type": "assistant", "sessionId": "s"}', b'{"schema": "token-analytics-tracker-session/1"}', event(3)
    )
    assert stream.drain(home.settings).entries == len(POISON) + 6
    assert stored(home) == (3, 6)
    assert len(home.rejected()) == len(POISON) + 1
    (file,) = landed(home)
    ledger = home.ledger(f"pulled/stream/{file.name}")
    assert (ledger["status"], ledger["rows_read"], ledger["rows_ignored"]) == ("loaded", len(POISON) + 7, 3)


def test_a_batch_of_nothing_but_poison_is_quarantined_too(home: Home, client: Any) -> None:
    add(client, *POISON)
    stream.drain(home.settings)
    assert stored(home) == (0, 0)
    assert len(home.rejected()) == len(POISON)


def test_entries_that_were_trimmed_while_they_were_held_are_reported(home: Home, client: Any) -> None:
    add(client, *(event(n) for n in range(20)))
    client.xgroup_create(STREAM, home.settings.stream_group, id="0")
    client.xreadgroup(home.settings.stream_group, stream._consumer(home.settings), {STREAM: ">"})
    client.xtrim(STREAM, maxlen=5, approximate=False)
    drained = stream.drain(home.settings)
    assert (drained.entries, drained.recovered, drained.gone) == (5, 5, 15)
    assert pending(client) == 0
    assert not stream.waiting(home.settings)


def test_files_are_bounded_and_what_comes_meanwhile_is_for_the_next_drain(
    home: Home, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "FILE_ENTRIES", 300)
    add(client, *(event(n) for n in range(1000)))
    finish = stream.landing.finish

    def go_on(*arguments: Any) -> Path:
        add(client, *(event(n) for n in range(5000, 5200)))
        return finish(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(stream.landing, "finish", go_on)
        drained = stream.drain(home.settings)
    assert all(path.read_bytes().count(b"\n") <= 501 for path in drained.files)
    assert 1000 <= drained.entries <= 1200
    stream.drain(home.settings)
    assert stored(home) == (1200, sum(range(1000)) + sum(range(5000, 5200)))


def test_drained_entries_are_deleted_where_the_settings_say_so(new_home: Any, server: Redis, client: Any) -> None:
    add(client, *(event(n) for n in range(30)))
    kept: Home = new_home(stream_url=server.url, stream_group="keeps")
    stream.drain(kept.settings)
    assert client.xlen(STREAM) == 30
    deletes: Home = new_home(stream_url=server.url, stream_group="deletes", stream_delete=True)
    stream.drain(deletes.settings)
    assert client.xlen(STREAM) == 0
    assert stored(kept) == stored(deletes) == (30, sum(range(30)))


def test_every_event_counts_once_though_drains_and_the_server_are_killed_at_random(
    new_home: Any, tmp_path: Path
) -> None:
    """Drains are killed after a random time, and so is the server; a producer sends each event until it is accepted."""
    rng = random.Random(20260301)
    with redis_server(tmp_path) as server:
        import redis

        home: Home = new_home(stream_url=server.url)
        client = redis.Redis.from_url(server.url, protocol=2)
        environment = ENVIRONMENT | {"TOKEN_ANALYTICS_STREAM_URL": server.url}
        program = (
            "import sys; from pathlib import Path; from pipeline import settings; from pipeline.fetch import stream\n"
            "stream.FILE_ENTRIES = 200\n"
            "print('ready', flush=True)\nstream.drain(settings.load(Path(sys.argv[1])))"
        )
        sent = killed = 0
        for round_ in range(6):
            drain = subprocess.Popen(
                [sys.executable, "-P", "-c", program, str(home.root)],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            add(client, *(event(n) for n in range(sent, sent + 2000)))
            sent += 2000
            assert drain.stdout is not None
            drain.stdout.readline()
            time.sleep(rng.uniform(0.0, 0.25))
            if round_ % 3 == 2:
                server.kill()
                server.start()
            drain.send_signal(signal.SIGKILL)
            killed += drain.wait() == -signal.SIGKILL
            drain.stdout.close()
            # The answer to the last event may have been lost: it is sent again.
            add(client, *(event(n) for n in range(sent - 3, sent)))
        assert killed > 0
        stream.drain(home.settings)
        assert pending(client) == 0
        assert not list((home.settings.landing / "pulled" / "stream").glob(".*"))
        assert stored(home) == (sent, sum(range(sent)))
        client.close()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda url: url.replace("s3cret", "CANARY"), "wants another user or password"),
        (lambda url: "redis://" + url.split("@")[1], "wants another user or password"),
        (lambda url: url.split(":63")[0].rpartition(":")[0] + ":1/0", "cannot be reached"),
        (lambda url: "http" + url.removeprefix("redis"), "no URL of a Redis server"),
        (lambda url: url.replace("%40", "@").replace("%2F", "/"), "TOKEN_ANALYTICS_STREAM_URL"),
    ],
)
def test_a_failed_connection_is_one_clear_line_without_a_part_of_the_url(
    new_home: Any, server: Redis, change: Any, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    home: Home = new_home()
    monkeypatch.setenv("TOKEN_ANALYTICS_STREAM_URL", change(server.url))
    problem = token_analytics("drain", "--home", home.root).problem
    assert sentence in problem
    assert not any(part in problem for part in ("s3cret", "CANARY", "127.0.0.1"))
    assert "CANARY" not in repr(settings.load(home.root))


def test_a_key_that_is_no_stream_and_a_missing_permission_are_told(new_home: Any, server: Redis, client: Any) -> None:
    client.set("text", "1")
    home: Home = new_home(stream_url=server.url, stream_name="text")
    with pytest.raises(ConfigurationError, match="is no stream"):
        stream.drain(home.settings)
    client.acl_setuser("narrow", enabled=True, passwords=["+pw"], keys=["*"], commands=["+ping"])
    narrow: Home = new_home(stream_url=f"redis://narrow:pw@127.0.0.1:{server.port}/0")
    with pytest.raises(ConfigurationError, match="may not read the stream"):
        stream.drain(narrow.settings)


def test_no_part_of_the_password_is_stored_told_or_shown(
    new_home: Any, server: Redis, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import dagster as dg

    from pipeline.assets.home import Home as Resource
    from pipeline.assets.stream import drained_events

    add(client, event(1))
    home: Home = new_home()
    monkeypatch.setenv("TOKEN_ANALYTICS_STREAM_URL", server.url)
    records = []
    with dg.DagsterInstance.ephemeral() as instance:
        for url in (server.url, server.url.replace("s3cret", "WRONG")):
            monkeypatch.setenv("TOKEN_ANALYTICS_STREAM_URL", url)
            result = dg.materialize(
                [drained_events],
                resources={"home": Resource(path=str(home.root))},
                instance=instance,
                raise_on_error=False,
            )
            assert result.success == (url == server.url)
            records += [repr(entry) for entry in instance.all_logs(result.run_id)]
    monkeypatch.setenv("TOKEN_ANALYTICS_STREAM_URL", server.url)
    records.append(repr(token_analytics("drain", "--home", home.root, "--json")))
    assert stored(home) == (1, 1)
    records.append(repr(home.tables("ingest", "raw")))
    assert not [secret for secret in ("s3cret", "CANARY", "WRONG") if secret in "".join(records)]
    files = [path.read_bytes() for path in home.root.rglob("*") if path.is_file()]
    assert not any(b"CANARY" in content or b"s3cret" in content for content in files)


def test_the_sensor_asks_for_a_drain_only_where_entries_wait(
    new_home: Any, server: Redis, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import dagster as dg

    from pipeline.assets.home import Home as Resource
    from pipeline.assets.stream import stream_waiting

    home: Home = new_home()

    def look() -> bool:
        context = dg.build_sensor_context(resources={"home": Resource(path=str(home.root))})
        return bool(stream_waiting.evaluate_tick(context).run_requests)

    assert not look()
    monkeypatch.setenv("TOKEN_ANALYTICS_STREAM_URL", server.url)
    assert not look()
    add(client, event(1))
    assert look()
    assert token_analytics("drain", "--home", home.root).code == 0
    assert not look()


def test_nothing_is_connected_to_where_no_stream_is_configured(new_home: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    home: Home = new_home()
    assert "no stream is configured" in token_analytics("drain", "--home", home.root).problem
    monkeypatch.setenv("TOKEN_ANALYTICS_STREAM_URL", "")
    assert "no stream is configured" in token_analytics("drain", "--home", home.root).problem
    assert not stream.waiting(home.settings)


def test_one_drain_of_a_home_runs_at_a_time(home: Home) -> None:
    with (
        stream.landing.opened(home.settings, stream.SOURCE),
        pytest.raises(ConfigurationError, match="another process is filling landing/pulled/stream"),
    ):
        stream.drain(home.settings)


def test_the_command_tells_what_it_landed(home: Home, server: Redis, client: Any) -> None:
    add(client, *(event(n) for n in range(7)))
    done = subprocess.run(
        command_line("drain", "--home", home.root),
        env=ENVIRONMENT | {"TOKEN_ANALYTICS_STREAM_URL": server.url},
        capture_output=True,
        text=True,
        check=True,
    )
    first, shown, last = done.stdout.splitlines()
    assert (first, Path(shown.strip()), last) == (
        "7 entries of the stream",
        landed(home)[0],
        "token-analytics run loads them",
    )
