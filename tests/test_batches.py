"""A batch of transcripts gives exactly the same rows as each transcript alone.

Belongs here: the batch against the single file and the single line, row for row, for any content. Does not belong here:
the rules of the format (test_ingest, test_overlaps), and speed (bench/transcripts.py).
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from typing import Any

import duckdb
import pytest
from batches import everything, good_file
from conftest import Home
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from pipeline.ingest import loader, transcripts
from pipeline.ingest.sources import claude_code
from pipeline.ingest.sources.contract import Loaded
from pipeline.store import warehouse

UNUSUAL_TOKENS = [
    -1,
    5.0,
    5.7,
    1e3,
    "7",
    " 7",
    "1_000",
    "",
    "+3",
    10**9,
    10**11,
    10**11 + 1,
    10**15,
    10**16,
    1e400,
    None,
    True,
    [1],
]

counts = st.one_of(st.integers(0, 3), st.sampled_from([250, 10**9 - 1]), st.integers(0, 10**6))


def iterations(outputs: st.SearchStrategy[Any]) -> st.SearchStrategy[list[dict[str, Any]]]:
    """The samplings inside a response."""
    kinds = st.sampled_from(["message", "compaction", "advisor_message", "fallback_message"])
    optional = {
        "model": st.sampled_from(["claude-opus-4-7", None]),
        "input_tokens": counts,
        "output_tokens": outputs,
        "cache_creation": st.none() | st.fixed_dictionaries({"ephemeral_1h_input_tokens": counts}),
    }
    return st.lists(st.fixed_dictionaries({"type": kinds}, optional=optional), max_size=3)


usages = st.fixed_dictionaries(
    {"output_tokens": counts},
    optional={
        "input_tokens": counts,
        "cache_creation_input_tokens": counts,
        "cache_read_input_tokens": counts,
        "cache_creation": st.fixed_dictionaries(
            {}, optional={"ephemeral_5m_input_tokens": counts, "ephemeral_1h_input_tokens": counts}
        ),
        "service_tier": st.sampled_from(["standard", "priority", None]),
        "inference_geo": st.sampled_from(["us", "not_available", ""]),
        "speed": st.sampled_from(["fast", "standard"]),
        "server_tool_use": st.fixed_dictionaries({"web_search_requests": st.integers(0, 2)}),
        "iterations": iterations(counts),
    },
)
odd_usages = st.builds(
    lambda usage, name, value: usage | {name: value},
    usages,
    st.sampled_from(["output_tokens", "input_tokens", "cache_read_input_tokens"]),
    st.sampled_from(UNUSUAL_TOKENS),
) | st.builds(
    lambda usage, value: usage | {"iterations": value},
    usages,
    iterations(st.sampled_from(UNUSUAL_TOKENS)) | st.sampled_from([17, "one", {}, [3], [None]]),
)
times = st.sampled_from(
    [f"2026-02-17T09:00:0{second}.000Z" for second in range(4)]
    + ["2026-02-17T23:59:59.999Z", "2026-02-18T01:30:00+02:00"]
)
odd_times = st.sampled_from(
    ["", "1970-01-01T00:00:00Z", "yesterday", "2026-1-1T00:00:00Z", "epoch", None, 17, "infinity"]
)
ids = st.sampled_from(["m1", "m2", "m3"])


def entries(usage: st.SearchStrategy[Any], time: st.SearchStrategy[Any], message: st.SearchStrategy[Any]) -> Any:
    """Lines that report usage, as dicts."""
    return st.fixed_dictionaries(
        {
            "type": st.just("assistant"),
            "sessionId": st.sampled_from(["s1", "s2"]),
            "timestamp": time,
            "message": st.fixed_dictionaries(
                {"id": message, "model": st.sampled_from(["claude-haiku-4-5", "claude-opus-4-5"]), "usage": usage}
            ),
        },
        optional={
            "uuid": st.sampled_from(["u1", "u2", "00000000-0000-4000-8000-000000000001"]),
            "requestId": st.sampled_from(["r1", "r2", "", None]),
            "isSidechain": st.booleans(),
            "cwd": st.sampled_from(["/home/ada/alpha", "/home/ada/beta/", "C:\\code\\gamma", ""]),
            "text": st.sampled_from(["plain", "naïve ≤ 200k", '"usage"', "tab\there"]),
        },
    )


good_lines = entries(usages, times, ids).map(lambda entry: json.dumps(entry, ensure_ascii=False).encode())
odd_lines = st.one_of(
    entries(odd_usages, times, ids).map(lambda entry: json.dumps(entry).encode()),
    entries(usages, odd_times, ids).map(lambda entry: json.dumps(entry).encode()),
    entries(usages, times, st.sampled_from(["", None, "a:b", 7])).map(lambda entry: json.dumps(entry).encode()),
    entries(usages, times, ids).map(lambda entry: json.dumps(entry).encode()[:-9]),
    entries(usages, times, ids).map(lambda entry: json.dumps(entry).replace("plain", "\\ud83d").encode()),
    entries(usages, times, ids).map(lambda entry: json.dumps(entry).encode() * 2),
    st.sampled_from(
        [
            b"", b"   ", b"// a remark", b"[1, 2]", b'"text"', b"17", b"null", b"{}", b'{"type":"assistant"}',
            b'{"type":"assistant","message":{"usage":{}}}', b'{"type":"assistant","message":{"usage":[1]}}',
            b'{"type":"user","message":{"id":"m1","usage":{"output_tokens":5}}}', b'\xef\xbb\xbf{"type":"user"}',
            b'{"type":"user","text":"\xff"}', b'{"type":"user"}\r', b'{"type":"us\x01er"}', b'{"a":1}{"b":2}',
        ]
    ),
)  # fmt: skip
OPENING = b'{"type":"user","sessionId":"s1","timestamp":"2026-02-17T08:00:00.000Z","message":{"role":"user"}}'


@st.composite
def transcript_files(draw: st.DrawFn) -> bytes:
    """A transcript: mostly valid lines, some odd ones, sometimes a half-written last line."""
    lines = draw(st.lists(st.one_of(good_lines, good_lines, good_lines, odd_lines), max_size=8))
    end = draw(st.sampled_from([b"\n", b"\n", b"\r\n"]))
    content = end.join([OPENING, *lines]) + draw(st.sampled_from([end, b""]))
    cut = draw(st.one_of(st.just(0), st.just(0), st.integers(0, 300)))
    return content[: max(len(content) - cut, len(OPENING) + 1)]


def read_alone(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each file in its own transaction, in pieces of few lines."""
    with monkeypatch.context() as patched:
        patched.setattr(transcripts, "_is_transcript", lambda path, head: False)
        patched.setattr(claude_code, "_PIECE_BYTES", 64)
        home.ingest()


def read_line_by_line(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if each file had an unusual line."""
    decoded = claude_code._decoded
    with monkeypatch.context() as patched:
        patched.setattr(
            claude_code, "_decoded", lambda content: decoded(content) if b"\n" not in bytes(content) else None
        )
        home.ingest()


@settings(
    max_examples=14, deadline=None, suppress_health_check=list(HealthCheck), phases=list(set(Phase) - {Phase.shrink})
)
@given(files=st.lists(transcript_files(), min_size=1, max_size=10))
def test_a_batch_gives_what_each_file_and_each_line_gives_alone(
    new_home: Callable[..., Home], monkeypatch: pytest.MonkeyPatch, files: list[bytes]
) -> None:
    landed = {f"{number}.jsonl": content for number, content in enumerate(files)}
    together, alone, by_line = new_home(), new_home(), new_home()
    for home in (together, alone, by_line):
        home.land(landed)
    together.ingest()
    read_alone(alone, monkeypatch)
    read_line_by_line(by_line, monkeypatch)
    assert everything(together) == everything(alone) == everything(by_line)


@given(line=good_lines)
def test_a_plain_line_means_the_same_to_the_decoder_and_to_the_judge(line: bytes) -> None:
    decoded, judged = claude_code._decoded(line), claude_code._parsed_leniently(line)
    assert decoded is not None
    assert not isinstance(judged, str)
    both = [claude_code.Rows(), claude_code.Rows()]
    for rows, reports in zip(both, (decoded, judged), strict=True):
        requests = dict(zip(reports.keys, reports.reporting, strict=True))
        rows.add("sha", claude_code.Transcript(Loaded("request", 1, 1), requests, {}))
    assert both[0].table() == both[1].table()
    assert decoded.lines == judged.lines == len(decoded.keys)


COUNTS = [
    "0", "7", "007", "-1", "-0", "+3", "7e2", "1_000", "abc", "٣", "5.0", "5.00", "5.", ".5", "-5.0", "5.7", "NaN",
    "", " 7", "9" * 9, "1" + "0" * 11, "1" + "0" * 10 + "1", "9" * 15, "1" + "0" * 15, "9" * 16, "9" * 16 + ".0",
]  # fmt: skip
TIMES = [
    "2026-02-17T09:00:00Z", "2026-02-17T09:00:00.068Z", "2026-02-17 09:00:00", "2026-02-17",
    "2026-02-18T01:30:00+02:00", "2000-01-01T00:00:00+02:00", "1970-01-01T00:00:00Z", "2126-02-17T09:00:00Z",
    "2026-02-30T09:00:00Z", "2026-02-17T25:00:00Z", "2026-1-1T00:00:00Z", "epoch", "infinity", "yesterday", "",
]  # fmt: skip


def test_counts_and_times_are_judged_as_in_sql(home: Home) -> None:
    def asked(query: str, texts: list[str]) -> dict[str, Any]:
        return {text: connection.execute(query, [text]).fetchone() for text in texts}

    with warehouse.connect(home.settings) as connection:
        loader.create_macros(connection, home.settings)
        counts = asked("SELECT tokens_or_null($1), tokens_problem($1)", COUNTS)
        times = asked("SELECT utc_of($1)", TIMES)
    assert {text: claude_code._count(text) for text in counts} == {
        text: problem or count for text, (count, problem) in counts.items()
    }
    moments = {text: claude_code._moment(text) for text in times}
    assert {text: (moment and moment.replace(tzinfo=None),) for text, moment in moments.items()} == times


@pytest.fixture
def one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each file is a portion."""
    monkeypatch.setattr(transcripts, "PORTION_FILES", 1)


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that were read alone."""
    names: list[str] = []
    load = claude_code.load

    def loading(connection: Any, probe: Any, sha256: str) -> Any:
        names.append(probe.path.name)
        return load(connection, probe, sha256)

    monkeypatch.setattr(claude_code, "load", loading)
    return names


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Rows of each batch that was stored."""
    rows: list[int] = []
    store = claude_code.store

    def storing(connection: Any, batch: Any) -> Any:
        rows.append(batch.num_rows)
        return store(connection, batch)

    monkeypatch.setattr(claude_code, "store", storing)
    return rows


def test_only_large_and_packed_files_are_read_alone(
    home: Home, alone: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    home.land({f"{number}.jsonl": good_file(f"s{number}") for number in range(20)})
    home.land({"cut.jsonl": good_file("cut") + b'{"type":"assistant","mess'})
    home.land({"odd.jsonl": good_file("odd") + b'{"type":"assistant","mess\n{"type":"user"}\n'})
    home.land({"packed.jsonl": gzip.compress(good_file("packed"))})
    home.land({"large.jsonl": good_file("large", lines=30)})
    monkeypatch.setattr(transcripts, "MAX_BYTES", 4000)
    home.ingest()
    assert sorted(alone) == ["large.jsonl", "packed.jsonl"]
    assert home.query("SELECT count(*) FROM raw.requests") == [(23 * 3 + 30,)]
    assert [(line, reason) for line, _, reason, *_ in home.rejected()] == [(4, "not valid JSON")] * 2


def test_a_very_long_line_costs_neither_its_file_nor_the_others(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claude_code, "MAX_LINE_BYTES", 2 << 20)
    monkeypatch.setattr(claude_code, "_PIECE_BYTES", 1 << 20)
    long_line = b'{"type":"user","text":"' + b"x" * (5 << 20) + b'"}\n'
    home.land({"short.jsonl": good_file("short")})
    home.land({"long.jsonl.gz": gzip.compress(good_file("a") + long_line + good_file("b") + b'{"type":"us\n')})
    summary = home.ingest()
    assert (summary.files_loaded, summary.rows_loaded, summary.problems) == (2, 9, [])
    offset = len(good_file("a"))
    assert [row[:3] for row in home.rejected()] == [
        (4, offset, "line longer than 2 MiB"),
        (8, offset + len(long_line) + len(good_file("b")), "not valid JSON"),
    ]


def test_a_packed_file_that_ends_early_is_refused_whole(home: Home) -> None:
    packed = gzip.compress(b"".join(good_file(f"s{number}", lines=3000) for number in range(30)), mtime=0)
    home.land({"cut.jsonl.gz": packed[:-20]})
    summary = home.ingest()
    assert summary.problems == ["landing/cut.jsonl.gz: damaged gzip file: fetch it again"]
    assert home.query("SELECT count(*) FROM raw.requests") == [(0,)]


def test_a_file_that_vanishes_is_named_and_the_others_are_loaded(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.land({f"{number}.jsonl": good_file(f"s{number}") for number in range(4)})
    read = transcripts._Reader._content

    def vanishing(reader: Any, file: Any) -> Any:
        (home.settings.landing / "2.jsonl").unlink(missing_ok=True)
        return read(reader, file)

    monkeypatch.setattr(transcripts._Reader, "_content", vanishing)
    summary = home.ingest()
    assert (summary.files_loaded, summary.files_failed) == (3, 1)
    assert summary.problems == ["landing/2.jsonl: No such file or directory"]


def test_a_file_that_is_still_written_to_waits_for_the_next_run(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.land({f"{number}.jsonl": good_file(f"s{number}") for number in range(4)})
    growing = home.settings.landing / "2.jsonl"
    read = transcripts._Reader._content

    def writing(reader: Any, file: Any) -> Any:
        if file.path == str(growing):
            with growing.open("ab") as handle:
                handle.write(good_file("later", lines=1))
        return read(reader, file)

    with monkeypatch.context() as patched:
        patched.setattr(transcripts._Reader, "_content", writing)
        first = home.ingest()
    assert first.problems == ["landing/2.jsonl: is still being written; the next run reads it"]
    assert home.query("SELECT count(*) FROM raw.requests") == [(9,)]
    assert home.ingest().rows_loaded == 4
    assert home.query("SELECT count(DISTINCT request_key) FROM raw.requests") == [(13,)]


@pytest.mark.usefixtures("one_by_one")
def test_a_batch_that_cannot_be_stored_is_stored_file_by_file(
    home: Home, alone: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    home.land({f"{number}.jsonl": good_file(f"s{number}") for number in range(6)})
    store = claude_code.store

    def failing(connection: Any, rows: Any) -> Any:
        if rows.num_rows > 3:
            raise duckdb.ConstraintException("made up")
        return store(connection, rows)

    monkeypatch.setattr(loader, "BATCH_FILES", 4)
    monkeypatch.setattr(claude_code, "store", failing)
    summary = home.ingest()
    assert (summary.files_loaded, summary.rows_loaded, len(alone)) == (6, 18, 6)
    reason = "could not be stored together (ConstraintException); stored one by one instead, which takes longer"
    assert summary.problems == [f"landing/0.jsonl and 3 more: {reason}", f"landing/4.jsonl and 1 more: {reason}"]


@pytest.mark.usefixtures("one_by_one")
def test_a_run_that_is_interrupted_while_a_batch_is_stored_keeps_that_batch(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.land({f"{number}.jsonl": good_file(f"s{number}") for number in range(6)})
    monkeypatch.setattr(loader, "BATCH_FILES", 4)
    read = transcripts._Reader._content

    def interrupted(reader: Any, file: Any) -> Any:
        if file.path.endswith("/5.jsonl"):
            raise KeyboardInterrupt
        return read(reader, file)

    with monkeypatch.context() as patched:
        patched.setattr(transcripts._Reader, "_content", interrupted)
        with pytest.raises(KeyboardInterrupt):
            home.ingest()
    assert home.query("SELECT count(*) FROM ingest.files") == [(4,)]
    assert home.query("SELECT count(*) FROM raw.requests") == [(12,)]
    assert home.ingest().rows_loaded == 6


def test_copies_inside_a_batch_load_once(home: Home) -> None:
    home.land({name: good_file("same") for name in ("a.jsonl", "b.jsonl", "c/d.jsonl")})
    summary = home.ingest()
    assert (summary.files_loaded, summary.files_unchanged, summary.rows_loaded) == (1, 2, 3)
    assert len(home.query("FROM ingest.paths")) == 3


@pytest.mark.usefixtures("one_by_one")
def test_batches_are_bounded(home: Home, stored: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader, "BATCH_FILES", 3)
    home.land({f"{number}.jsonl": good_file(f"s{number}") for number in range(10)})
    assert home.ingest().rows_loaded == 30
    assert stored == [9, 9, 9, 3]


@pytest.mark.usefixtures("one_by_one")
def test_a_batch_ends_where_much_text_was_rejected(
    home: Home, stored: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loader, "BATCH_REJECTED_CHARACTERS", 5_000)
    bad = b'{"type":"user","text":"' + b"x" * 2_000 + b"\n"
    home.land({f"{number}.jsonl": good_file(f"s{number}") + bad for number in range(7)})
    assert home.ingest().rows_rejected == 7
    assert stored == [9, 9, 3]
    assert len(home.rejected()) == 7


def test_what_retention_keeps_out_is_kept_out_of_a_batch(
    new_home: Callable[..., Home], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {
        "before.jsonl": good_file("b", timestamp="2026-01-17T09:00:00.000Z"),
        "after.jsonl": good_file("a"),
        "across.jsonl": good_file("c", lines=2) + good_file("d", timestamp="2026-01-17T09:00:00.000Z"),
    }
    homes = [new_home(), new_home()]
    for home in homes:
        home.land({"first.jsonl": good_file("f")})
        home.ingest()
        home.query("INSERT INTO raw.retention VALUES (DATE '2026-02-01')")
        home.land(files)
    homes[0].ingest()
    read_alone(homes[1], monkeypatch)
    assert everything(homes[0]) == everything(homes[1])
    assert homes[0].ledger("before.jsonl")["status"] == "forgotten"
    assert homes[0].query("SELECT count(*) FROM raw.requests") == [(3 + 3 + 2,)]
