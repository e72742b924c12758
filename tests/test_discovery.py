"""Which files are read and which are left out, and that the ledger states the result of each.

Belongs here: folders with a dot, litter, side files of tools, what cannot be read, and files that look like a format
and are none. Does not belong here: what the formats hold (test_ingest, test_call_logs).
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
import resource
import sqlite3
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import logs
import pytest
from conftest import Home
from rows import transcript_line, usage_csv, usage_row

from pipeline.ingest import discovery, ledger, transcripts
from pipeline.store import history
from pipeline.store.sqlfiles import sql

DEEP = "[" * 20_000 + "]" * 20_000


def said_of(home: Home, *names: str) -> list[tuple[Any, ...]]:
    return [(row["status"], row["format"], row["message"]) for row in map(home.ledger, names)]


def test_folders_with_a_dot_are_read_and_litter_is_not(home: Home) -> None:
    litter = (
        ".git/objects/a", ".DS_Store", ".Trash/a.csv", ".Trash-1000/files/a.csv", ".cache/a.csv", ".venv/a.csv",
        "node_modules/a/a.csv", "._usage.csv", "Thumbs.db", ".ipynb_checkpoints/a.csv", ".usage.csv.swp", "usage.csv~",
        ".~lock.usage.csv#", "#usage.csv#", ".usage.csv.Xa81Bc", "__pycache__/a.csv",
    )  # fmt: skip
    home.land(dict.fromkeys(litter, usage_csv(usage_row(key="litter"))))
    home.land({"local_1/.claude/projects/p/s.jsonl": transcript_line("m1"), ".exports/u.csv": usage_csv(usage_row())})
    summary = home.ingest()
    assert (summary.files_seen, summary.files_loaded) == (2, 2)
    assert home.query("SELECT api_key FROM raw.console_usage") == [("alpha",)]


def test_a_source_may_lie_below_a_folder_with_a_dot(new_home: Callable[..., Home], tmp_path: Path) -> None:
    log = tmp_path / ".claude" / "projects" / ".hidden-project" / "s.jsonl"
    log.parent.mkdir(parents=True)
    log.write_text(transcript_line("m1"))
    home = new_home(sources=(tmp_path / ".claude",))
    assert home.ingest().files_loaded == 1


def test_side_files_of_tools_are_counted_and_no_problem(home: Home) -> None:
    side = (
        ".claude/settings.json", ".claude/history.jsonl", ".claude/todos/a.json", ".claude/shell-snapshots/s.sh",
        ".claude/projects/p/s/subagents/agent-1.meta.json", ".codex/history.jsonl", ".codex/config.toml",
        ".gemini/tmp/1/logs.json", "opencode/storage/part/m/p.json",
        "copied/s.meta.json", "copied/s/workflows/w/journal.jsonl",
    )  # fmt: skip
    home.land({name: f'{{"name": "{name}", "display": "usage"}}' for name in side})
    # Quoted or repeated usage within a session, which counts elsewhere or nowhere.
    copies = (
        ".claude/projects/p/s/tool-results/t.txt",
        "copied/s/tool-results/t.csv",
        ".claude/file-history/f",
        "local-agent-mode-sessions/local_1/audit.jsonl",
    )
    home.land(dict.fromkeys(copies, usage_csv(usage_row(key="copied"))))
    home.land({".claude/projects/p/s.jsonl": transcript_line("m1"), "note.txt": "of nobody"})
    summary = home.ingest()
    assert (summary.files_ignored, summary.files_loaded) == (len(side) + len(copies), 1)
    assert summary.problems == ["landing/note.txt: text of no known format"]
    assert [row[0] for row in home.query(sql("cli/status/problems"))] == ["landing/note.txt"]
    assert home.query("SELECT count(*) FROM raw.console_usage") == [(0,)]


OTHERS = {
    "qwen.jsonl": [
        {"uuid": "q0", "sessionId": "s", "type": "system", "systemPayload": {"a": 1}},
        {
            "uuid": "q1", "sessionId": "s", "type": "assistant", "model": "qwen3-coder-plus",
            "message": {"role": "model", "parts": []}, "usageMetadata": {"promptTokenCount": 9},
        },
    ],
    "qwen_user_first.jsonl": [
        {"uuid": "q0", "sessionId": "s", "type": "user", "message": {"role": "user", "parts": [{"text": "x"}]}},
    ],
    "codebuddy.jsonl": [
        {"id": "c0", "type": "message", "role": "user", "sessionId": "s", "content": []},
        {"id": "c1", "type": "file-history-snapshot", "sessionId": "s", "snapshot": {}},
        {"id": "c2", "type": "function_call", "sessionId": "s", "message": {"usage": {"input_tokens": 5}}},
    ],
    "counts_beside.jsonl": [
        {"type": "assistant", "sessionId": "s", "message": {"content": "x"}, "usage": {"prompt_tokens": 5}},
    ],
    "talk.jsonl": [
        {"type": "user", "sessionId": "s", "message": {"content": "x"}},
        {"type": "assistant", "sessionId": "s", "message": {"content": "y"}, "stats": {"input": 5}},
    ],
    "counts_of_others.jsonl": [
        {"type": "assistant", "sessionId": "s", "message": {"usage": {"promptTokens": 5}}},
    ],
}  # fmt: skip


def test_what_other_tools_write_in_the_manner_of_transcripts_is_none(home: Home) -> None:
    home.land({name: "\n".join(map(json.dumps, lines)) for name, lines in OTHERS.items()})
    home.ingest()
    assert set(said_of(home, *OTHERS)) == {("unrecognised", "", "JSON of no known format")}


def test_a_loaded_file_without_usage_says_so(home: Home) -> None:
    summary_line = json.dumps({"type": "summary", "leafUuid": "l", "summary": "s"})
    home.land(
        {
            "quiet.jsonl": summary_line,
            "header.csv": usage_csv(),
            "bad.csv": usage_csv(usage_row(date="never")),
            "codex.jsonl": logs.lines(logs.meta("a")),
            "good.jsonl": transcript_line("m1"),
        }
    )
    summary = home.ingest()
    assert summary.files_without_usage == 4
    assert said_of(home, "quiet.jsonl", "header.csv", "bad.csv", "codex.jsonl", "good.jsonl") == [
        ("loaded", "claude_code", ledger.NO_USAGE),
        ("loaded", "console_usage", ledger.NO_USAGE),
        ("loaded", "console_usage", ledger.NO_USABLE_ROW),
        ("loaded", "codex", ledger.NO_USAGE),
        ("loaded", "claude_code", ""),
    ]
    assert {row[0] for row in home.query(sql("cli/status/without_usage"))} == {"claude_code", "console_usage", "codex"}
    added_up = summary.rows_loaded + summary.rows_rejected + summary.rows_ignored + summary.rows_repeated
    assert summary.rows_read == added_up


def test_what_cannot_be_read_is_named_as_long_as_that_is_so(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.land({"good.csv": usage_csv(usage_row()), "closed/x.csv": usage_csv(), "noread.jsonl": transcript_line("m1")})
    scandir, content = os.scandir, transcripts._Reader._content

    def closed(folder: Any) -> Any:
        if str(folder).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    def unreadable(reader: Any, file: Any) -> Any:
        if file.path.endswith("noread.jsonl"):
            raise PermissionError(13, "Permission denied", file.path)
        return content(reader, file)

    with monkeypatch.context() as patch:
        patch.setattr("pipeline.ingest.discovery.os.scandir", closed)
        patch.setattr(transcripts._Reader, "_content", unreadable)
        for _ in range(2):
            summary = home.ingest()
            assert summary.files_failed == 2
            assert home.query(sql("cli/status/problems")) == [
                ("landing/closed", "failed", "folder that cannot be read (Permission denied): allow it"),
                ("landing/noread.jsonl", "failed", "Permission denied"),
            ]
    assert home.ingest().files_failed == 0
    assert home.query(sql("cli/status/problems")) == []


@pytest.mark.parametrize("deep", [DEEP, f'{{"a": {DEEP}}}'])
def test_a_first_line_that_is_nested_too_deeply_does_not_hide_a_file(home: Home, deep: str) -> None:
    files = {
        "litellm": logs.lines(logs.spend(100)),
        "otel": logs.lines(logs.otlp(logs.span(200))),
        "langfuse": logs.lines(logs.observation(300)),
        "tracker": logs.lines(logs.event(400)),
        "codex": logs.lines(logs.meta("a"), logs.tokens(100, 100, 1)),
        "transcript": transcript_line("m1") + "\n",
        "records": logs.lines({"run_id": "r", "timestamp": "2026-02-17", "model": "m", "usage_raw": {"prompt": 1}}),
    }  # fmt: skip
    home.land({name: f"{deep}\n{content}" for name, content in files.items()})
    home.ingest()
    for name in files:
        ledger = home.ledger(name)
        assert ledger["status"] == "loaded", (name, ledger)
        assert ledger["rows_rejected"] >= 0


def test_a_first_line_that_is_longer_than_what_is_looked_at_does_not_hide_a_file(home: Home) -> None:
    home.land({"long": f'{{"pasted": "{"x" * (3 << 20)}"}}\n' + logs.lines(logs.spend(100))})
    home.ingest()
    assert said_of(home, "long")[0][:2] == ("loaded", "litellm")


def test_a_name_that_holds_a_secret_is_shown_with_its_fingerprint(home: Home) -> None:
    home.land({"of_sk-ant-api03-AbCdEf0123456789.csv": usage_csv(usage_row())})
    home.ingest()
    ((path,),) = home.query("SELECT path FROM ingest.files")
    assert path.startswith("landing/of_key-")
    assert "AbCdEf" not in repr(home.tables("ingest", "raw"))
    assert home.ingest().files_unchanged == 1


def test_the_state_of_a_landing_can_be_told_while_files_vanish(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.land({"a.csv": usage_csv(usage_row())})
    before = discovery.digest(home.settings)
    monkeypatch.setattr(discovery.LandedFile, "fingerprint", lambda _: (_ for _ in ()).throw(FileNotFoundError(2, "")))
    assert discovery.digest(home.settings) != before


def packed(pieces: Iterator[bytes]) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join([*map(packer.compress, pieces), packer.flush()])


def test_files_that_unpack_to_more_than_a_document_may_be_fail_alone_and_take_no_memory(home: Home) -> None:
    """Six of them, of which each would fill 1 GB."""
    whole, open_ended = (logs.lines(logs.spend(number)).strip().encode() for number in (1, 2))
    blank = itertools.repeat(b" " * (1 << 22), 128)
    bomb = packed(itertools.chain([b"[" + whole + b",\n" + open_ended[:-1]], blank, blank, [b"}]"]))
    home.land({f"bomb{number}.gz": bomb + bytes(number) for number in range(6)} | {"good.csv": usage_csv(usage_row())})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    summary = home.ingest()
    assert (summary.files_loaded, summary.files_failed) == (1, 6)
    assert said_of(home, "bomb0.gz") == [("failed", "litellm", "a document of more than 256 MiB: split it")]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400_000


def test_without_room_for_a_copy_a_file_fails_alone_and_names_the_place(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    home.land({"blank_first.csv": "\n" + usage_csv(usage_row()), "good.csv": usage_csv(usage_row(key="beta"))})
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.ingest.sources.base.csv.writer", full)
        assert home.ingest().files_loaded == 1
    assert said_of(home, "blank_first.csv")[0][2].startswith(f"no room in {tempfile.gettempdir()} for a copy of it")
    assert home.ingest().files_loaded == 1


def test_a_line_of_many_megabytes_is_rejected_with_its_place_and_no_other(home: Home) -> None:
    lines = [logs.lines(logs.spend(1)), '{"a": "' + "x" * (70 << 20) + '"}\n', logs.lines(logs.spend(2))]
    home.land({"long": "".join(lines)})
    home.ingest()
    ledger = home.ledger("long")
    assert (ledger["status"], ledger["rows_loaded"]) == ("loaded", 2), ledger["message"]
    assert [row[:3] for row in home.rejected()] == [(2, len(lines[0]), "line longer than 64 MiB")]


def test_a_damaged_history_of_runs_is_set_aside(tmp_path: Path) -> None:
    (tmp_path / "history" / "runs").mkdir(parents=True)
    for name in ("runs.db", "runs/index.db"):
        with contextlib.closing(sqlite3.connect(tmp_path / "history" / name)) as connection:
            connection.execute("CREATE TABLE a AS SELECT 1")
            connection.commit()
    assert history.renew_damaged(tmp_path) == []
    (tmp_path / "history" / "runs.db").write_bytes(b"no database, but more than a header " * 100)
    assert history.renew_damaged(tmp_path) == ["history"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["history.damaged"]
    assert history.renew_damaged(tmp_path) == []
