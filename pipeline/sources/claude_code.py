"""Claude Code transcripts (~/.claude/projects/**/*.jsonl): one JSON object a line, usage on the assistant's lines.

Belongs here: which lines report usage, and the format's own repeat rule inside one file. Does not belong here: the same
response in several files, and sidechains (dbt_project/models/intermediate). Of a line only the usage fields listed in
pipeline/sql/ingest/claude_code.sql are read; its text never leaves DuckDB's reader.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import duckdb

from pipeline.sources.base import Loaded, Probe, RejectedRow, file_literal, last_line, load_lines
from pipeline.sqlfiles import literal, sql

FORMAT = "claude_code"
_LINE_TYPES = frozenset(
    ("assistant", "user", "system", "summary", "progress", "queue-operation", "file-history-snapshot")
)
# batch_groups notes a line's place in 24 bits.
_BATCH_LINES = 1 << 24
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
    lines = sql("ingest/claude_code_lines", file_sha256=literal(sha256))
    requests = sql("ingest/claude_code_requests", lines=lines)
    return load_lines(connection, probe, partial(sql, "ingest/claude_code"), requests)


def read_batch(connection: duckdb.DuckDBPyConnection, paths: Sequence[Path]) -> list[Loaded | None]:
    """Read several transcripts in one statement, which costs a hundredth of one statement for each.

    Args:
        connection: outside of a transaction, in which DuckDB would give the lines other row ids.
        paths: plain text files, not compressed.

    Returns:
        For each file what `store_batch` will give of it; None for one that has to go through `load`: it has a line that
        is no JSON, that cannot be used, or that only the whole rule can judge.

    Raises:
        duckdb.Error: one of the files is gone or cannot be read at all; nobody knows which one.

    """
    files = "[" + ", ".join(file_literal(path) for path in paths) + "]"
    connection.execute(sql("ingest/claude_code_batch_lines", files=files))
    loaded: list[Loaded | None] = [None] * len(paths)
    ((first_row, last_row),) = connection.execute("SELECT min(rowid), max(rowid) FROM batch_lines").fetchall()
    if first_row != 0 or last_row >= _BATCH_LINES:
        return loaded
    connection.execute(sql("ingest/claude_code_batch_groups"))
    for index, lines, usage, requests, malformed, is_odd, first, last in connection.execute(
        sql("ingest/claude_code_batch_files")
    ).fetchall():
        rejected = _half_written(paths[index]) if malformed == 1 else ()
        if not is_odd and len(rejected) == malformed:
            loaded[index] = Loaded(
                "request",
                lines,
                requests,
                rows_ignored=lines - usage - malformed,
                rows_repeated=usage - requests,
                rejected=rejected,
                first_usage_date=first,
                last_usage_date=last,
            )
    return loaded


def _half_written(path: Path) -> tuple[RejectedRow, ...]:
    """The last line of a transcript, where it is what a logger leaves that was stopped while it wrote."""
    line = last_line(path)
    if line is None or not line.text.lstrip().startswith("{") or line.text.rstrip().endswith("}"):
        return ()
    return (line,)


def store_batch(connection: duckdb.DuckDBPyConnection, files: Mapping[int, str]) -> None:
    """Insert into raw.requests what `read_batch` has read of these files: place in `paths` -> sha256."""
    if files:
        parameters = [list(files), list(files.values())]
        columns = sql("ingest/claude_code_batch_columns")
        selects = [sql("ingest/claude_code_batch_requests", columns=columns)]
        if connection.execute("SELECT 1 FROM batch_groups WHERE is_usage AND NOT is_plain LIMIT 1").fetchall():
            repeated = sql("ingest/claude_code_batch_repeated", columns=columns)
            selects.append(sql("ingest/claude_code_requests", lines=repeated))
        for select in selects:
            connection.execute("INSERT INTO raw.requests BY NAME " + select, parameters)
    connection.execute("DROP TABLE batch_lines")
    connection.execute("DROP TABLE IF EXISTS batch_groups")
