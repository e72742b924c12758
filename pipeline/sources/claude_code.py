"""Claude Code transcripts (~/.claude/projects/**/*.jsonl): one JSON object a line, usage on the assistant's lines.

Belongs here: which lines report usage, and the format's own repeat rule inside one file. Does not belong here: the same
response in several files, and sidechains (dbt_project/models/intermediate). Of a line only the usage fields listed in
pipeline/sql/ingest/claude_code.sql are read; its text never leaves DuckDB's reader.
"""

from __future__ import annotations

import json
import re

import duckdb

from pipeline.sources.base import (
    Loaded,
    MisreadError,
    Probe,
    count_reader_errors,
    forget_reader_errors,
    line_relation,
    load_tidily,
    locate_lines,
    tidy_lines,
)
from pipeline.sqlfiles import literal, sql

FORMAT = "claude_code"
_LINE_TYPES = frozenset(
    ("assistant", "user", "system", "summary", "progress", "queue-operation", "file-history-snapshot")
)
_COMPANIONS = frozenset(("sessionId", "leafUuid", "messageId", "parentUuid"))
# A line that is longer than the head, or cut off, still shows what it is.
_CUT_LINE = re.compile(rb'^\s*\{[^\n]*"(sessionId|parentUuid|isSidechain)"\s*:')


def recognise(probe: Probe) -> str | None:
    """Some line of the head is an object with a transcript's type and one of the ids that go with it."""
    for line in probe.head.removeprefix(b"\xef\xbb\xbf").splitlines():
        if not line.lstrip().startswith(b"{"):
            continue
        try:
            entry = json.loads(line)
        except ValueError:
            if _CUT_LINE.match(line) and b'"type"' in line:
                return ""
            continue
        if isinstance(entry, dict) and entry.get("type") in _LINE_TYPES and _COMPANIONS & entry.keys():
            return ""
    return None


def load(connection: duckdb.DuckDBPyConnection, probe: Probe, sha256: str) -> Loaded:
    """Insert into raw.requests, one row for each response that the file reports."""
    return load_tidily(connection, probe, lambda file: _load(connection, file, sha256), tidy_lines)


def _load(connection: duckdb.DuckDBPyConnection, probe: Probe, sha256: str) -> Loaded:
    forget_reader_errors(connection)
    lines = sql("ingest/claude_code", relation=line_relation(probe))
    try:
        connection.execute(f"CREATE OR REPLACE TEMP TABLE transcript_lines AS {lines}")
    except (duckdb.InvalidInputException, duckdb.IOException):
        raise MisreadError("not readable as lines of text: copy the transcript again") from None
    unread = count_reader_errors(connection) + probe.left_out
    counts = connection.execute(sql("ingest/claude_code_counts")).fetchone() or (0, 0, 0, 0)
    read, ignored, bad, usable = (int(count) for count in counts)
    reasons = connection.execute(
        "SELECT DISTINCT line_md5, reason FROM transcript_lines WHERE reason IS NOT NULL"
    ).fetchall()
    rejected = tuple(locate_lines(probe, dict(reasons))) if bad or unread else ()
    if len(rejected) != bad + unread:
        raise MisreadError(
            f"{bad + unread} lines are bad, but {len(rejected)} could be found again: copy the file again"
        )
    inserted = connection.execute(
        "INSERT INTO raw.requests BY NAME " + sql("ingest/claude_code_requests", file_sha256=literal(sha256))
    ).fetchone()
    loaded = int(inserted[0]) if inserted else 0
    connection.execute("DROP TABLE transcript_lines")
    return Loaded(
        "request", read + unread, loaded, rows_ignored=ignored, rows_repeated=usable - loaded, rejected=rejected
    )
