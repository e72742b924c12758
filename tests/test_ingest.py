"""Ingest of one file, valid or not: rows loaded, rows rejected with their place, and the ledger.

Belongs here: recognition, reading, quarantine, idempotence and privacy. Does not belong here: which of several records
of the same usage counts (test_overlaps), and real files (test_real_data).
"""

from __future__ import annotations

import gzip
import io
import json
import os
import time
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Warehouse
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from rows import (
    SESSION_COLUMNS,
    SESSIONS,
    USAGE_COLUMNS,
    cost_csv,
    cost_row,
    session_row,
    transcript_line,
    usage_csv,
    usage_row,
)

from pipeline.ingest import formats, loader, retraction
from pipeline.ingest.sources import base, console_cost, console_usage
from pipeline.ingest.sources.contract import Loaded, Probe, RejectedRow
from pipeline.store import warehouse


def session_csv(*rows: str) -> str:
    return "\n".join([SESSION_COLUMNS, *rows]) + "\n"


BAD_JSON = '{"type":"assistant","sessionId":"s1","message":{"id":"m9","usa'
GOOD_FILES = {
    "usage.csv": usage_csv(usage_row(), usage_row(key="beta")),
    "cost.csv": cost_csv(cost_row(), cost_row()),
    "sessions.csv": session_csv(session_row(), session_row("s2")),
    "transcript.jsonl": "\n".join([transcript_line("m1"), transcript_line("m2")]) + "\n",
}
LEDGER_IDENTITY = """
    SELECT count(*) FROM ingest.files
    WHERE rows_read <> rows_loaded + rows_rejected + rows_ignored + rows_repeated
"""


@pytest.mark.parametrize("name", GOOD_FILES)
def test_a_format_is_known_by_its_content_whatever_the_name(home, name):
    home.land({"some/where/notes.bin": GOOD_FILES[name]})
    assert home.ingest().problems == []
    ledger = home.ledger("some/where/notes.bin")
    assert (ledger["status"], ledger["rows_loaded"], ledger["rows_rejected"]) == ("loaded", 2, 0)


@pytest.mark.parametrize("name", GOOD_FILES)
def test_gzip_is_known_by_its_content_whatever_the_name(home, name):
    home.land({"packed.csv": gzip.compress(GOOD_FILES[name].encode()), "plain.gz": GOOD_FILES[name] + "\n"})
    assert home.ingest().problems == []
    assert home.ledger("packed.csv")["rows_loaded"] == home.ledger("plain.gz")["rows_loaded"] == 2


REJECTED_USAGE = {
    "text in a number's place": (usage_row(tokens="abc"), "usage_input_tokens_no_cache is not a whole number"),
    "a negative count": (usage_row(output="-3"), "usage_output_tokens is negative, expected a count"),
    "half a token": (usage_row(output="1.5"), "usage_output_tokens is not a whole number"),
    "an empty count": (usage_row(output=""), "usage_output_tokens is empty, expected a whole number"),
    "an absurd count": (usage_row(output="9" * 18), "usage_output_tokens is greater than any count of tokens"),
    "no date": (usage_row(date="soon"), "usage_date_utc is not a date"),
    "a date that is none": (usage_row(date="2026-02-30"), "usage_date_utc is not a date"),
    "the end of time": (usage_row(date="infinity"), "usage_date_utc is not a date"),
    "the beginning of time": (usage_row(date="0001-01-01"), "usage_date_utc is not a date"),
    "a word that DuckDB knows as a date": (usage_row(date="epoch"), "usage_date_utc is not a date"),
    "too few columns": ("2026-02-17,claude-haiku-4-5", "expected 11 columns, found 2"),
    "too many columns": (usage_row() + ",extra", "expected 11 columns, found 12"),
    "a second header": (USAGE_COLUMNS, "usage_date_utc is not a date"),
}


@pytest.mark.parametrize("name", REJECTED_USAGE)
def test_a_bad_usage_row_is_rejected_and_the_rest_of_its_file_loads(home, name):
    row, reason = REJECTED_USAGE[name]
    home.land({"a.csv": usage_csv(usage_row(), row, usage_row(key="beta"))})
    home.ingest()
    ledger = home.ledger("a.csv")
    assert (ledger["rows_read"], ledger["rows_loaded"], ledger["rows_rejected"]) == (3, 2, 1)
    ((line, _, found, _, _),) = home.rejected()
    assert (line, found) == (3, reason)


@pytest.mark.parametrize("row", [usage_row(), "neither a row\0nor text"])
def test_the_memory_limit_is_the_same_before_and_after_a_csv(home, row):
    home.land({"a.csv": usage_csv(row)})
    known = home.settings.model_copy(update={"memory_limit": "1.5GB"})
    with warehouse.connect(known) as connection:
        found = [connection.execute("SELECT current_setting('memory_limit')").fetchall()]
        loader.ingest(connection, known)
        found.append(connection.execute("SELECT current_setting('memory_limit')").fetchall())
    assert found == [[("1001.3 MiB",)]] * 2


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (cost_row(usd="$3"), "cost_usd is not an amount"),
        (cost_row(usd=""), "cost_usd is not an amount"),
        (cost_row(date="17.02.2026"), "usage_date_utc is not a date"),
        (cost_row(token_type=""), "token_type is empty"),
    ],
)
def test_a_bad_cost_row_is_rejected_and_the_rest_of_its_file_loads(home, row, reason):
    home.land({"a.csv": cost_csv(cost_row(), row)})
    home.ingest()
    assert home.ledger("a.csv")["rows_loaded"] == 1
    assert [found[2] for found in home.rejected()] == [reason]


def test_a_missing_column_is_named_beside_what_was_required_and_what_was_found(home):
    home.land(
        {"a.csv": usage_csv(usage_row()).replace("usage_output_tokens", "tokens_out"), "b.csv": GOOD_FILES["cost.csv"]}
    )
    summary = home.ingest()
    message = home.ledger("a.csv")["message"]
    assert home.ledger("a.csv")["status"] == "failed"
    assert message.startswith("missing required column usage_output_tokens; required: usage_date_utc, model_version")
    assert "found: usage_date_utc, model_version, api_key" in message
    assert "tokens_out" in message.partition("found: ")[2]
    assert "usage_output_tokens" in message.partition("required: ")[2].partition("; found")[0]
    assert (summary.files_failed, summary.files_loaded) == (1, 1)


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("claude_api_tokens.csv", GOOD_FILES["usage.csv"])
    return buffer.getvalue()


NO_FORMAT = {
    "empty.csv": b"",
    "blank.csv": b"\n\n  \n",
    "binary.csv": bytes(range(256)) * 20,
    "archive.csv": zipped(),
    "prices.json": b'[{"id": "anthropic", "models": [{"id": "claude"}]}]',
    "metadata.json": b'{"session_id": "s1", "token_usage": {"input_tokens": 5, "output_tokens": 5}}',
    "trace.csv": b"TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46,374,44\n",
    "trace.jsonl": b'{"timestamp": 0, "input_length": 6758, "output_length": 500, "hash_ids": [0]}\n',
    "usages.json": b'[{"body": {"model": "m", "usage": {"input_tokens": 5, "output_tokens": 5}}, "extracted": []}]',
    "event.jsonl": b'{"timestamp":"2025-09-16T12:00:00Z","type":"session_meta"}\n',
    "utf16.csv": GOOD_FILES["usage.csv"].encode("utf-16"),
    "semicolons.csv": GOOD_FILES["usage.csv"].replace(",", ";").encode(),
}


def test_files_of_no_known_format_are_reported_and_stop_nothing(home):
    home.land({**NO_FORMAT, "good.csv": GOOD_FILES["usage.csv"]})
    summary = home.ingest()
    assert (summary.files_loaded, summary.files_unrecognised, summary.files_failed) == (1, len(NO_FORMAT), 0)
    for name in NO_FORMAT:
        ledger = home.ledger(name)
        assert (ledger["status"], ledger["rows_read"]) == ("unrecognised", 0)
        assert ledger["message"]
    assert home.ledger("empty.csv")["message"] == "empty file: nothing to read"


def test_a_damaged_gzip_file_fails_alone(home):
    packed = gzip.compress(
        "\n".join([USAGE_COLUMNS, *(usage_row(key=os.urandom(9).hex()) for _ in range(4000))]).encode()
    )
    home.land({"cut.gz": packed[:-2000], "crc.gz": packed[:-8] + b"\x00" * 8, "good.csv": GOOD_FILES["usage.csv"]})
    summary = home.ingest()
    assert (summary.files_loaded, summary.files_failed) == (1, 2)
    assert home.ledger("cut.gz")["message"] == home.ledger("crc.gz")["message"] == "damaged gzip file: fetch it again"
    assert home.query("SELECT count(*) FROM raw.console_usage") == [(2,)]


def rejected_at_their_places(home: Any, name: str) -> list[tuple[int, str]]:
    """Line and reason of each rejected row, after checking that its offset finds it in the (unpacked) file."""
    content = (home.settings.landing / name).read_bytes()
    if content[:2] == b"\x1f\x8b":
        content = gzip.decompress(content)
    places = []
    for line, offset, reason, _, value in home.rejected():
        assert offset == 0 or content[offset - 1 : offset] == b"\n"
        assert content[:offset].count(b"\n") == line - 1
        assert value.encode() in content[offset:]
        places.append((line, reason))
    return places


AWKWARD_ROWS = (
    usage_row(key='"a, ""b"""'),
    usage_row(key='"two\nlines"'),
    usage_row(tokens="abc", key='"three\n\nlines"'),
    usage_row(tokens="x"),
    "",
    usage_row(output="y", key="µ"),
    usage_row(tokens="x"),
)


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize("start", ["", "\ufeff", "\n\n"], ids=["bare", "bom", "blank lines"])
@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["lf", "crlf"])
def test_rejected_rows_stand_where_the_ledger_says(home, pack, start, end):
    text = start + usage_csv(*AWKWARD_ROWS, end=end) + end * 2
    home.land({"a.csv": pack(text.encode())})
    home.ingest()
    first = 1 + start.count("\n")
    expected = [(first + line, reason) for line, reason in [
        (4, "usage_input_tokens_no_cache is not a whole number"),
        (7, "usage_input_tokens_no_cache is not a whole number"),
        (9, "usage_output_tokens is not a whole number"),
        (10, "usage_input_tokens_no_cache is not a whole number"),
    ]]  # fmt: skip
    assert rejected_at_their_places(home, "a.csv") == expected
    assert home.query("SELECT api_key FROM raw.console_usage ORDER BY 1") == [('a, "b"',), ("two\nlines",)]


def test_mixed_line_ends_and_stray_quotes_cost_no_row(home):
    text = usage_csv(usage_row()) + usage_row(key='in"side') + "\r\n" + usage_row(tokens="abc", key='in"side') + "\n"
    home.land({"a.csv": text, "b.csv": usage_csv(usage_row(key="beta") + ",,", usage_row(tokens="x"))})
    home.ingest()
    assert [row[0] for row in home.rejected()] == [4, 2, 3]
    assert home.query("SELECT api_key FROM raw.console_usage ORDER BY 1") == [("alpha",), ('in"side',)]


def test_a_line_that_is_no_utf8_is_rejected_alone(home):
    broken = usage_row(key="K").encode().replace(b"K", b"\xe9t\xe9")
    home.land(
        {
            "a.csv": usage_csv(usage_row()).encode() + broken + b"\n" + usage_row(key="beta").encode() + b"\n",
            "b.jsonl": f"{transcript_line('m1')}\n".encode() + b'{"type": "\xff"}\n' + transcript_line("m2").encode(),
        }
    )
    home.ingest()
    assert [(line, reason) for line, _, reason, _, _ in home.rejected()] == [
        (3, "not valid UTF-8"),
        (2, "not valid UTF-8"),
    ]
    assert home.ledger("a.csv")["rows_loaded"] == home.ledger("b.jsonl")["rows_loaded"] == 2


BAD_LINES = {
    "cut short": (BAD_JSON, "not valid JSON"),
    "no timestamp": (transcript_line("m9", timestamp=""), "no timestamp (3 tokens)"),
    "a negative count": (transcript_line("m9", output=-4), "output_tokens is negative, expected a count"),
    "text for a count": (transcript_line("m9", output="many"), "output_tokens is not a whole number"),
    "a carriage return": ('{"type":\r"assistant", "sessionId"', "not valid JSON"),
    "a control character": (BAD_JSON + "\x01 rest", "not valid JSON"),
    "too many brackets": ('{"type":"user","text":' + "[" * 100_000 + "]" * 100_000 + "}", "nested too deeply"),
    "zero bytes of a lost write": ("\x00" * 64, "not valid JSON"),
}


@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["lf", "crlf"])
@pytest.mark.parametrize("name", BAD_LINES)
def test_a_bad_line_of_a_transcript_is_rejected_and_the_rest_loads(home, name, end):
    bad, reason = BAD_LINES[name]
    home.land({"t.jsonl": end.join(["// note", transcript_line("m1"), "", bad, transcript_line("m2"), bad])})
    home.ingest()
    assert rejected_at_their_places(home, "t.jsonl") == [(4, reason), (6, reason)]
    ledger = home.ledger("t.jsonl")
    assert (ledger["rows_read"], ledger["rows_loaded"], ledger["rows_ignored"]) == (5, 2, 1)


@pytest.mark.parametrize("opening", ["[", '{"a":'], ids=["list", "object"])
def test_a_file_that_is_nested_deeper_than_python_can_follow_is_of_no_format(home, opening):
    home.land({"a.json": opening * 200_000, "b.jsonl": transcript_line("m1")})
    home.ingest()
    assert home.ledger("a.json")["status"] == "unrecognised"
    assert home.ledger("b.jsonl")["rows_loaded"] == 1


def test_a_log_of_nothing_but_a_line_that_is_nested_too_deeply_has_that_line_rejected(home):
    home.land({"a.jsonl": '{"type":"user","sessionId":"s1","text":' + "[" * 200_000, "b.jsonl": transcript_line("m1")})
    home.ingest()
    assert [(line, reason) for line, _, reason, *_ in home.rejected()] == [(1, "nested too deeply")]
    assert home.ledger("a.jsonl")["status"] == "loaded"
    assert home.ledger("b.jsonl")["rows_loaded"] == 1


def test_half_an_emoji_in_the_text_of_a_line_does_not_cost_its_usage(home):
    home.land({"t.jsonl": transcript_line("m1", cwd="/srv/\ud83d")})
    home.ingest()
    assert (home.ledger("t.jsonl")["rows_loaded"], home.rejected()) == (1, [])


def test_calls_inside_of_a_response_count_once_however_often_it_is_repeated(models):
    def repeat(seconds: int, output: int, *iterations: dict[str, Any], session: str = "s1") -> str:
        line = json.loads(transcript_line("m1", output, timestamp=f"2026-02-17T09:00:{seconds:02}Z"))
        line["sessionId"], line["requestId"] = session, "r1"
        line["message"]["usage"]["iterations"] = iterations
        return json.dumps(line)

    own = {"type": "message", "input_tokens": 1, "output_tokens": 2}
    adviser = {"type": "advisor_message", "model": "claude-opus-4-7", "input_tokens": 50, "output_tokens": 30}
    summary = {"type": "compaction", "input_tokens": 180, "output_tokens": 35, "cache_read_input_tokens": 4}
    lines = [repeat(1, 1), repeat(2, 2, own, adviser), repeat(3, 2, own, adviser, own, summary)]
    fork = [repeat(3, 2, own, adviser, own, summary, session="s2")]
    with models.over({"a.jsonl": "\n".join(lines), "b.jsonl": "\n".join(fork)}, "marts.requests") as marts:
        requests = marts.execute("""
            SELECT request_key, session_id, model_version, requested_at::varchar, total_tokens
            FROM marts.requests ORDER BY request_key
        """).fetchall()
        files = marts.execute("SELECT path, rows_read, rows_loaded, rows_repeated FROM ingest.files ORDER BY path")
        counted = files.fetchall()
    assert requests == [
        ("m1#1:r1", "s1", "claude-opus-4-7", "2026-02-17 09:00:02", 80),
        ("m1#2:r1", "s1", "claude-haiku-4-5-20251001", "2026-02-17 09:00:03", 219),
        ("m1:r1", "s1", "claude-haiku-4-5-20251001", "2026-02-17 09:00:01", 3),
    ]
    assert counted == [
        ("landing/a.jsonl", 6, 3, 3),
        ("landing/b.jsonl", 3, 3, 0),
    ]


def test_advisers_that_are_asked_alike_by_turns_of_one_id_are_calls_of_their_own(models):
    lines = [json.loads(transcript_line("gateway", timestamp=f"2026-02-17T09:0{turn}:00Z")) for turn in range(3)]
    for turn, line in enumerate(lines):
        adviser = {"type": "advisor_message", "model": "claude-opus-4-7", "input_tokens": 50, "output_tokens": 30}
        line["message"]["usage"] |= {"input_tokens": 10 + turn, "iterations": [adviser]}
        line["uuid"] = f"u{turn}"
    query = "SELECT model_version, count(*), sum(total_tokens)::int FROM marts.requests GROUP BY 1 ORDER BY 1"
    with models.over({"a.jsonl": "\n".join(map(json.dumps, lines))}, "marts.requests") as marts:
        found = marts.execute(query).fetchall()
    assert found == [
        ("claude-haiku-4-5-20251001", 3, 10 + 11 + 12 + 3 * 2),
        ("claude-opus-4-7", 3, 3 * 80),
    ]


def test_folders_named_like_columns_do_not_change_the_values_in_a_file(home):
    table = pa.Table.from_pylist([dict(zip(SESSION_COLUMNS.split(","), session_row().split(","), strict=True))])
    home.land({"api_key=zz/workspace=yy/model_version=xx/a.csv": GOOD_FILES["usage.csv"]})
    (home.settings.landing / "model=qq").mkdir()
    pq.write_table(table, home.settings.landing / "model=qq" / "s.parquet")
    home.ingest()
    assert home.query("SELECT DISTINCT model_version, workspace FROM raw.console_usage") == [
        ("claude-haiku-4-5-20251001", "Default")
    ]
    assert home.query("SELECT model_version FROM raw.usage_sessions") == [("claude-haiku-4-5",)]


@pytest.mark.parametrize(
    "name",
    [
        "a[1].csv",
        "a[!2].csv",
        "a*.csv",
        "back\\slash.csv",
        "what?.csv",
        "{a,b}.csv",
        "it's.csv",
        "new\nline.csv",
        "%20.csv",
    ],
)
def test_a_file_name_is_never_a_pattern(home, name):
    home.land({name: GOOD_FILES["usage.csv"], "a1.csv": usage_csv(usage_row(key="other"))})
    assert home.ingest().files_loaded == 2
    assert home.query("SELECT count(*) FROM raw.console_usage") == [(3,)]


def test_a_name_that_is_no_utf8_is_reported_and_stops_nothing(home):
    home.land({"good.csv": GOOD_FILES["usage.csv"]})
    Path(os.fsdecode(os.fsencode(home.settings.landing) + b"/\xff.csv")).write_text(GOOD_FILES["cost.csv"])
    summary = home.ingest()
    assert (summary.files_loaded, summary.files_failed) == (1, 1)
    assert home.query("SELECT path, status FROM ingest.files WHERE status <> 'loaded'") == [
        ("landing/\\xff.csv", "failed")
    ]


def test_links_that_leave_landing_are_refused_and_hidden_files_skipped(home, tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "o.csv").write_text(usage_csv(usage_row(key="outside")))
    home.land({"good.csv": GOOD_FILES["usage.csv"], ".hidden.csv": "x", ".git/h.csv": "x"})
    (home.settings.landing / "folder").symlink_to(tmp_path / "outside")
    (home.settings.landing / "file.csv").symlink_to(tmp_path / "outside" / "o.csv")
    (home.settings.landing / "inside.csv").symlink_to(home.settings.landing / "good.csv")
    (home.settings.landing / "circle.csv").symlink_to(home.settings.landing / "circle.csv")
    (home.settings.landing / "nowhere.csv").symlink_to(home.settings.landing / "gone.csv")
    summary = home.ingest()
    assert (summary.files_loaded, summary.files_unchanged, summary.files_failed) == (1, 1, 3)
    for name in ("folder", "file.csv", "circle.csv"):
        assert home.ledger(name)["status"] == "failed"
        assert home.ledger(name)["message"].startswith("symbolic link that leaves its folder")
    assert home.query("SELECT path FROM ingest.files WHERE path LIKE '%hidden%' OR path LIKE '%h.csv'") == []


def test_further_sources_are_read_in_place_and_left_as_they_are(new_home, tmp_path):
    source = tmp_path / "projects"
    (source / "-srv-shop").mkdir(parents=True)
    log = source / "-srv-shop" / "s1.jsonl"
    log.write_text(transcript_line("m1"))
    before = log.stat().st_mtime_ns
    home = new_home(sources=(source,))
    assert home.ingest().files_loaded == 1
    assert home.query("SELECT path FROM ingest.files") == [(str(log),)]
    assert sorted(source.rglob("*")) == [log.parent, log]
    assert log.stat().st_mtime_ns == before


def test_a_second_run_a_copy_and_a_new_name_change_no_row(home):
    home.land(GOOD_FILES | {"bad.csv": usage_csv(usage_row(tokens="x")), "other.txt": "hello"})
    home.build()
    before = home.tables("ingest", "raw", "marts")
    home.ingest()
    assert home.tables("ingest", "raw", "marts") == before

    (home.settings.landing / "usage.csv").rename(home.settings.landing / "renamed.csv")
    home.land({f"copies/{name}": content for name, content in GOOD_FILES.items()})
    assert home.build().files_loaded == 0
    after = home.tables("ingest", "raw", "marts")
    del before["ingest.paths"], after["ingest.paths"]
    assert after == before


def test_a_log_that_grew_is_read_anew_and_nothing_counts_twice(models, home):
    kept_up = Warehouse(models, home, "marts.requests", "marts.token_usage_sessions")
    grown = [transcript_line("m1"), transcript_line("m2"), transcript_line("m3")]
    home.land({"t.jsonl": grown[0] + "\n" + grown[1][:-20], "s.csv": session_csv(session_row("x"))})
    kept_up.update(10**9)
    home.land({"t.jsonl": "\n".join(grown), "s.csv": session_csv(session_row("x", "70", "2026-02-17 10:00:00"))})
    kept_up.update(10**9)
    assert kept_up.query("SELECT count(*), sum(total_tokens)::bigint FROM marts.requests") == [(3, 9)]
    assert kept_up.query("SELECT total_tokens FROM marts.token_usage_sessions WHERE session_id = 'x'") == [(160,)]
    assert kept_up.query(LEDGER_IDENTITY) == [(0,)]


# ----------------------------------------------------------------------------------------------- retry after a fix


def retry(home: Any) -> list[str]:
    with warehouse.connect(home.settings) as connection:
        return loader.retry_rejected(connection, home.settings)


@pytest.fixture
def older_product(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """A version that knows no cost exports, and rejects usage of key `beta`; undone by the test."""

    def load(connection: duckdb.DuckDBPyConnection, probe: Probe, sha256: str) -> Loaded:
        loaded = load_now(connection, probe, sha256)
        ((number,),) = connection.execute(
            "DELETE FROM raw.console_usage WHERE file_sha256 = ? AND api_key = 'beta'", [sha256]
        ).fetchall()
        rejected = tuple(RejectedRow(3, 0, "unknown key", "api_key", "beta", "its text") for _ in range(number))
        return replace(loaded, rows_loaded=loaded.rows_loaded - number, rejected=(*loaded.rejected, *rejected))

    load_now = console_usage.load
    with monkeypatch.context() as patch:
        patch.setattr(console_usage, "load", load)
        patch.setattr(formats, "SOURCES", tuple(source for source in formats.SOURCES if source is not console_cost))
        yield patch


def test_another_try_after_a_fix_gives_the_marts_of_a_home_that_never_had_the_fault(
    models, home, new_home, older_product
):
    files = {name: GOOD_FILES[name] for name in ("usage.csv", "cost.csv")}
    ledger = "SELECT * EXCLUDE (loaded_at) FROM ingest.files WHERE path = 'landing/usage.csv'"
    home.land(files | {"other.txt": "hello"})
    mended = Warehouse(models, home)
    mended.update(10**9)
    assert mended.query("SELECT sum(total_tokens)::bigint FROM marts.token_usage_minutes") == [(3,)]
    assert len(list(home.settings.quarantine.iterdir())) == 1

    older_product.undo()
    assert loader.retry_rejected(mended.connection, home.settings) == [
        "landing/cost.csv: was unrecognised, is now loaded with 0 rejected rows",
        "landing/usage.csv: was loaded with 1 rejected rows, is now loaded with 0 rejected rows",
        "1 files with the same result as before",
    ]
    mended.update(10**9)
    fresh = Warehouse(models, new_home())
    fresh.home.land(files)
    fresh.update(10**9)
    assert mended.marts() == fresh.marts()
    assert mended.query(ledger) == fresh.query(ledger)
    assert (mended.query("FROM ingest.rejected_rows"), list(home.settings.quarantine.iterdir())) == ([], [])
    assert mended.query("SELECT status FROM ingest.files WHERE path = 'landing/other.txt'") == [("unrecognised",)]


AWKWARD_FILES = {
    "mixed line ends": usage_csv(usage_row()) + usage_row(key='in"side') + "\r\n" + usage_row(tokens="x") + "\n",
    "cost": cost_csv(cost_row(), cost_row(usd="?")),
    "sessions": session_csv(session_row(), session_row("s2", tokens="x")),
    "transcript": "\n".join([transcript_line("m1"), BAD_JSON, transcript_line("m2") + "\r", ""]),
}


@pytest.mark.parametrize("name", AWKWARD_FILES)
def test_another_try_without_a_fix_changes_no_row(home, name):
    home.land({"a.csv": AWKWARD_FILES[name]})
    home.ingest()
    before = home.tables("raw", "ingest")
    assert len(before["ingest.rejected_rows"]) > 0
    assert retry(home) == ["1 files with the same result as before"]
    after = home.tables("raw", "ingest")
    at = [column for (column,) in home.query("SELECT column_name FROM (DESCRIBE ingest.files)")].index("loaded_at")
    for tables in (before, after):
        tables["ingest.files"] = [(*row[:at], *row[at + 1 :]) for row in tables["ingest.files"]]
    assert after == before


def test_a_file_that_was_moved_is_tried_again_where_it_lies_now(home, older_product):
    home.land({"a.csv": GOOD_FILES["usage.csv"]})
    home.ingest()
    (home.settings.landing / "a.csv").rename(home.settings.landing / "moved.csv")
    home.ingest()
    older_product.undo()
    retry(home)
    assert (home.ledger("moved.csv")["rows_rejected"], home.rejected()) == (0, [])


@pytest.mark.parametrize("change", [Path.unlink, lambda path: path.write_text(GOOD_FILES["cost.csv"])])
def test_a_file_that_is_gone_or_holds_something_else_is_reported_and_left_as_it_is(home, older_product, change):
    home.land({"a.csv": GOOD_FILES["usage.csv"]})
    home.ingest()
    before = home.tables("raw", "ingest", "scope")
    change(home.settings.landing / "a.csv")
    older_product.undo()
    assert retry(home) == ["landing/a.csv: is gone or has changed: its rows stay as they are"]
    assert home.tables("raw", "ingest", "scope") == before


def test_a_file_that_would_give_nothing_any_more_stays_loaded(home, older_product):
    home.land({"a.csv": GOOD_FILES["usage.csv"]})
    home.ingest()
    before = home.tables("raw", "ingest", "scope")
    older_product.setattr(formats, "SOURCES", ())
    (line,) = retry(home)
    assert line.startswith("landing/a.csv: text of no known format")
    assert line.endswith("what was loaded of it stays")
    assert home.tables("raw", "ingest", "scope") == before


def test_forgotten_files_and_usage_stay_forgotten_at_another_try(home, older_product):
    may = usage_csv(usage_row("2026-05-01"), usage_row("2026-05-02", key="beta"), usage_row("2026-05-03"))
    home.land({"a.csv": GOOD_FILES["usage.csv"], "may.csv": may})
    home.ingest()
    with warehouse.connect(home.settings) as connection:
        retraction.forget_file(connection, "landing/a.csv")
        retraction.forget_before(connection, date(2026, 5, 2))
    older_product.undo()
    retry(home)
    assert home.ledger("a.csv")["status"] == "forgotten"
    assert home.query("SELECT usage_start::date FROM raw.console_usage ORDER BY 1") == [
        (date(2026, 5, 2),), (date(2026, 5, 3),)
    ]  # fmt: skip


def test_a_file_that_brings_only_usage_from_before_a_forgotten_day_counts_as_forgotten(home):
    with warehouse.connect(home.settings) as connection:
        retraction.forget_before(connection, date(2026, 3, 1))
    home.land({"a.csv": GOOD_FILES["cost.csv"]})
    home.ingest()
    assert home.ledger("a.csv")["status"] == "forgotten"
    assert home.query("SELECT count(*) FROM raw.console_costs") == [(0,)]


def quarantined(home: Any) -> tuple[list[str], set[str]]:
    """Paths with rejected rows, and the sha256 of contents with kept rejected text."""
    paths = [path for (path,) in home.query("SELECT DISTINCT path FROM ingest.rejected_rows ORDER BY path")]
    return paths, {path.name.partition(".")[0] for path in home.settings.quarantine.iterdir()}


def test_a_forgotten_file_leaves_its_counts_and_nothing_of_its_rejected_rows(home):
    bad = usage_csv(usage_row(), usage_row(tokens="private words"))
    home.land({"a.csv": bad, "b.csv": usage_csv(usage_row("2026-05-01"), usage_row(tokens="x"))})
    home.ingest()
    with warehouse.connect(home.settings) as connection:
        retraction.forget_file(connection, "landing/a.csv")
    assert home.query("SELECT DISTINCT path FROM ingest.rejected_rows") == [("landing/b.csv",)]
    home.ingest()
    assert quarantined(home) == (["landing/b.csv"], {home.ledger("b.csv")["file_sha256"]})
    ledger = home.ledger("a.csv")
    assert [ledger[name] for name in ("status", "rows_read", "rows_loaded", "rows_rejected")] == ["forgotten", 2, 1, 1]
    assert home.query(LEDGER_IDENTITY) == [(0,)]
    retry(home)
    home.ingest()
    assert quarantined(home)[0] == ["landing/b.csv"]


def test_forgetting_before_a_day_takes_the_rejected_rows_of_files_of_which_no_row_is_left(home):
    with_bad = {day: usage_csv(usage_row(day), usage_row(day, tokens="x")) for day in ("2026-05-01", "2026-05-03")}
    across = usage_csv(usage_row("2026-05-01"), usage_row("2026-05-01", tokens="y"), usage_row("2026-05-02"))
    home.land({"old.csv": with_bad["2026-05-01"], "new.csv": with_bad["2026-05-03"], "across.csv": across})
    home.ingest()
    with warehouse.connect(home.settings) as connection:
        retraction.forget_before(connection, date(2026, 5, 2))
    home.land({"late.csv": usage_csv(usage_row("2026-04-01"), usage_row("2026-04-01", tokens="z"))})
    home.ingest()
    assert home.ledger("late.csv")["status"] == home.ledger("old.csv")["status"] == "forgotten"
    kept = {home.ledger(name)["file_sha256"] for name in ("across.csv", "new.csv")}
    assert quarantined(home) == (["landing/across.csv", "landing/new.csv"], kept)


def test_text_of_rejected_rows_that_a_killed_run_left_goes_with_the_next_run(home):
    home.land({"a.csv": GOOD_FILES["usage.csv"]})
    home.ingest()
    for name in (f"{'0' * 64}.jsonl.gz", f"{'1' * 64}.jsonl.next"):
        (home.settings.quarantine / name).write_bytes(b"text")
    home.ingest()
    assert quarantined(home) == ([], set())


def test_a_link_that_has_become_a_file_is_no_longer_a_failure(home, tmp_path):
    (tmp_path / "o.csv").write_text(GOOD_FILES["usage.csv"])
    home.land({"good.csv": GOOD_FILES["cost.csv"]})
    link = home.settings.landing / "o.csv"
    link.symlink_to(tmp_path / "o.csv")
    home.ingest()
    assert retry(home) == ["1 files with the same result as before"]
    link.unlink()
    home.land({"o.csv": GOOD_FILES["usage.csv"]})
    assert retry(home) == ["landing/o.csv: was refused, is now a file that a run loads"]
    assert home.ingest().files_loaded == 1
    assert home.ledger("o.csv")["status"] == "loaded"


SECRET = "sk-ant-api03-AbCdEf0123456789"


def test_a_secret_in_place_of_a_name_is_stored_as_a_fingerprint_only(home):
    line = dict(zip(SESSION_COLUMNS.split(","), session_row().split(","), strict=True)) | {"api_key": SECRET}
    home.land(
        {
            "usage.csv": usage_csv(usage_row(key=SECRET), usage_row(date=SECRET)),
            "cost.csv": cost_csv(cost_row().replace("alpha", SECRET)),
            "sessions.jsonl": json.dumps(line),
        }
    )
    home.ingest()
    everything = repr(home.tables("ingest", "raw"))
    assert SECRET not in everything
    assert "AbCdEf" not in everything
    keys = home.query("SELECT api_key FROM raw.console_usage UNION SELECT api_key FROM raw.console_costs")
    assert keys == home.query("SELECT DISTINCT api_key FROM raw.usage_sessions")
    assert keys[0][0].startswith("key-")


COUNTS = [name for name in SESSIONS[0] if name.endswith("tokens") or name == "web_search_count"]


def as_pandas_parquet() -> bytes:
    """Nulls among integers make pandas write 123.0, and times become timestamps."""
    frame = pd.DataFrame(SESSIONS)
    assert frame["cache_read_tokens"].dtype == float
    for name in ("session_started_at", "last_updated_at"):
        frame[name] = pd.to_datetime(frame[name])
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False)
    return buffer.getvalue()


SESSION_FILES = {
    "csv": pd.DataFrame(SESSIONS).to_csv(index=False).encode(),
    "json lines": "\n".join(json.dumps(row) for row in SESSIONS).encode(),
    "json lines without nulls": "\n".join(
        json.dumps({name: value for name, value in row.items() if value is not None}) for row in SESSIONS
    ).encode(),
    "parquet": as_pandas_parquet(),
}
RAW_SESSIONS = "SELECT * EXCLUDE (file_sha256) FROM raw.usage_sessions ORDER BY session_id"


@pytest.mark.parametrize("encoding", SESSION_FILES)
def test_session_tables_give_the_same_rows_in_every_encoding(new_home, encoding):
    home, reference = new_home(), new_home()
    home.land({"s": SESSION_FILES[encoding]})
    reference.land({"s": SESSION_FILES["csv"]})
    assert home.ingest().problems == []
    reference.ingest()
    assert home.query(RAW_SESSIONS) == reference.query(RAW_SESSIONS)
    kinds = "input_tokens_no_cache, input_tokens_cache_write_5m, input_tokens_cache_write_1h, input_tokens_cache_read"
    assert home.query(
        f"SELECT {kinds}, output_tokens, workspace, api_key, cache_split_assumed FROM raw.usage_sessions"
    ) == [
        (1, 4, 6, 3, 2, "Default", "alpha", False),
        (5, 0, 0, 0, 6, "research", "(workbench)", False),
    ]


def test_cache_writes_of_the_old_schema_count_as_five_minute_writes_and_say_so(home):
    home.land({"s.csv": GOOD_FILES["sessions.csv"]})
    home.ingest()
    columns = "input_tokens_cache_write_5m, input_tokens_cache_write_1h, cache_split_assumed"
    assert home.query(f"SELECT DISTINCT {columns} FROM raw.usage_sessions") == [(40, 0, True)]


def test_bad_rows_of_json_lines_and_parquet_are_rejected_alone(home):
    bad = [
        SESSIONS[0],
        {**SESSIONS[1], "input_tokens": -5},
        {**SESSIONS[1], "session_started_at": "2026-10-01 00:00:00"},
    ]
    buffer = io.BytesIO()
    pd.DataFrame(bad).to_parquet(buffer, index=False)
    lines = [json.dumps(row) for row in bad]
    home.land(
        {"a.jsonl": "\n".join([lines[0], "[1]", lines[1], '{"session_id', lines[2]]), "b.parquet": buffer.getvalue()}
    )
    home.ingest()
    assert [(row[0], row[2]) for row in home.rejected()] == [
        (2, "not valid JSON"),
        (3, "input_tokens is negative, expected a count"),
        (4, "not valid JSON"),
        (5, "last_updated_at is before session_started_at"),
        (2, "input_tokens is negative, expected a count"),
        (3, "last_updated_at is before session_started_at"),
    ]
    assert home.query("SELECT count(*) FROM raw.usage_sessions") == [(2,)]


CELLS = st.sampled_from(
    ["1", "0", "-1", "x", "", "1.0", "1.5", '"1"', '"a,b"', "µ", " 7 ", 'q"q', '"two\nlines"', "\x01"]
)
CSV_LINES = st.lists(CELLS, min_size=9, max_size=13).map(",".join)


@settings(
    max_examples=25, deadline=None, derandomize=True, phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(st.lists(st.one_of(st.just(usage_row()), CSV_LINES, st.just("")), max_size=12), st.sampled_from(["\n", "\r\n"]))
def test_whatever_the_rows_every_one_is_loaded_or_rejected(new_home, rows, end):
    home = new_home()
    good = rows.count(usage_row())
    home.land({"a.csv": usage_csv(*rows, end=end)})
    home.ingest()
    ledger = home.ledger("a.csv")
    assert ledger["status"] == "loaded"
    assert home.query(LEDGER_IDENTITY) == [(0,)]
    assert home.query("SELECT count(*) FROM raw.console_usage WHERE api_key = 'alpha'") == [(good,)]
    assert len(rejected_at_their_places(home, "a.csv")) == ledger["rows_rejected"]
    warehouse.release_lock(home.settings)


def test_a_nul_byte_in_a_csv_rejects_its_row_and_the_rest_of_the_file_loads(home) -> None:
    text = usage_csv(usage_row(key="alpha"), usage_row(key="be\0ta"), usage_row(key="gamma"))
    home.land({"usage.csv": text})
    home.ingest()
    before = text.encode().index(usage_row(key="be\0ta").encode())
    assert [row[:3] for row in home.rejected()] == [(3, before, "holds a NUL byte")]
    assert home.query("SELECT DISTINCT api_key FROM raw.console_usage ORDER BY 1") == [("alpha",), ("gamma",)]


csv_cells = st.sampled_from(
    [b"", b"1", b"soon", b"k", b'"a,b"', b'"say ""hi"""', b'""', b'x"y', b'"two\nlines"', "≤".encode()]
)
csv_rows = st.one_of(
    st.lists(csv_cells, min_size=3, max_size=3).map(b",".join),
    st.lists(csv_cells, min_size=3, max_size=3).map(b",".join),
    st.lists(csv_cells, max_size=5).map(b",".join),
    st.sampled_from([b"", b"1,\xff,3", b"1,\x00,3", b"1,2,3,,", b'1,"open,3', b"1,2\r,3"]),
)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    rows=st.lists(csv_rows, max_size=12),
    first=st.sampled_from([b"a,b,c", b"\xef\xbb\xbfa,b,c", b"\na,b,c", b'"a","b","c"']),
    end=st.sampled_from([b"\n", b"\n", b"\r\n"]),
    bad=st.sets(st.integers(0, 11)),
    piece_bytes=st.sampled_from([1, 20, 1 << 20]),
)
def test_rejected_csv_rows_are_found_where_a_parser_of_every_row_finds_them(
    tmp_path_factory, monkeypatch, rows, first, end, bad, piece_bytes
) -> None:
    path = tmp_path_factory.mktemp("csv") / "file.csv"
    path.write_bytes(end.join([first, *rows]) + end)
    monkeypatch.setattr(base, "PIECE_BYTES", piece_bytes)
    probe = Probe.of(path)

    def every_row() -> Iterator[tuple[Any, list[str], str]]:
        with path.open("rb") as raw:
            yield from base._csv_records(base._LineCounter(raw), 3, True, base._trailing_cells(probe, 3))

    good = [tuple(record) for _, record, reason in every_row() if not reason]
    problems = base.Problems()
    for number, record in enumerate(good):
        if number in bad:
            problems.add(record, ("is wrong", "b", ""))
    expected = list(base._rejected(every_row(), problems))
    assert list(base.locate_csv_rows(probe, ("a", "b", "c"), problems)) == expected


def test_a_row_with_a_cell_too_many_is_rejected_though_the_last_one_is_empty(home):
    row = usage_row()
    extra = row + ","
    home.land(
        {
            "alone.csv": usage_csv(extra),
            "one.csv": usage_csv(row, extra, row, ""),
            "short.csv": usage_csv(row, extra, row.rpartition(",")[0], row),
            "quoted.csv": usage_csv(row.replace("alpha", '"al,pha"'), extra, row.replace("alpha", '"al,pha"')),
            # extra cells in every row do not shift values
            "all.csv": usage_csv(*[extra] * 3),
            "most.csv": usage_csv(*[extra] * 2, extra + ",", row),
        }
    )
    home.ingest()
    wanted = {"alone": (0, 1), "one": (2, 1), "short": (2, 2), "quoted": (2, 1), "all": (3, 0), "most": (3, 1)}
    found = {name: home.ledger(f"{name}.csv") for name in wanted}
    assert {name: (row["rows_loaded"], row["rows_rejected"]) for name, row in found.items()} == wanted
    width = len(row.split(","))
    assert (2, f"expected {width} columns, found {width + 1}") in [(line[0], line[2]) for line in home.rejected()]


@pytest.mark.parametrize("size", [(1 << 20) + 1, 9_000_000, 20_000_000])
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_a_row_that_is_too_long_is_rejected_and_the_others_load(home, size, pack):
    row = usage_row()
    text = usage_csv(row, usage_row(key="A" * size), usage_row(key=f'"{"a,b" * (size // 3)}"'), row)
    home.land({"big.csv": pack(text.encode())})
    home.ingest()
    ledger = home.ledger("big.csv")
    assert (ledger["status"], ledger["rows_loaded"], ledger["rows_rejected"]) == ("loaded", 2, 2)
    assert [(found[0], found[2]) for found in home.rejected()] == [
        (3, "row longer than 1 MiB"), (4, "row longer than 1 MiB")
    ]  # fmt: skip


def test_a_file_of_very_many_columns_is_refused_in_one_sentence(home):
    names = [f"column_{number}" for number in range(100_000)]
    text = usage_csv(usage_row())
    header, row = text.rstrip().split("\n")
    home.land({"wide.csv": f"{header},{','.join(names)}\n{row},{','.join('1' for _ in names)}\n"})
    started = time.perf_counter()
    home.ingest()
    assert time.perf_counter() - started < 10
    ledger = home.ledger("wide.csv")
    assert (ledger["status"], ledger["rows_loaded"]) == ("failed", 0)
    assert ledger["message"].endswith("columns or more: no export has more than 1,000")


def test_very_many_bad_rows_are_listed_without_being_held_in_memory(home, monkeypatch):
    monkeypatch.setattr(base, "ROWS_IN_MEMORY", 100)
    rows = [usage_row(key=f"k{number}", tokens="1.5") for number in range(1000)]
    home.land({"bad.csv": usage_csv(usage_row(), *rows)})
    home.ingest()
    assert [row[0] for row in home.rejected()] == list(range(3, 1003))
    kept = b"".join(gzip.decompress(file.read_bytes()) for file in home.settings.quarantine.glob("*.gz"))
    assert kept.count(b"\n") == 1000
