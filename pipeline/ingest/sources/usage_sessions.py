"""The application's table `token_usage_sessions`, exported as CSV, JSON lines or Parquet: one row per session.

Belongs here: the three encodings and both versions of the columns. Does not belong here: which of several states of a
session is in force, and sessions that another logger also has (dbt_project/models/intermediate).
"""

from __future__ import annotations

from functools import partial

import duckdb

from pipeline.ingest.sources.base import (
    CsvShape,
    MisreadError,
    cells,
    count_reader_errors,
    csv_header,
    csv_values,
    file_literal,
    forget_reader_errors,
    insert_rows,
    line_relation,
    load_csv,
    load_tidily,
    locate_lines,
    readable_lines,
    tidy_lines,
)
from pipeline.ingest.sources.contract import Loaded, Probe, RejectedRow, SourceError, json_of
from pipeline.store.sqlfiles import identifier, literal, sql

FORMAT = "token_usage_sessions"
SHAPE = CsvShape(
    required=(
        "session_id", "session_started_at", "last_updated_at", "model",
        "input_tokens", "output_tokens", "cache_read_tokens", "cache_creation_tokens",
    ),
    optional=(
        "user_id", "conversation_id", "provider", "api_key", "workspace", "project", "tags", "context_window",
        "cache_creation_5m_tokens", "cache_creation_1h_tokens", "web_search_count", "request_count",
    ),
)  # fmt: skip
NAMES = frozenset((
    "session_id", "model", "user_id", "conversation_id", "provider", "api_key", "workspace", "project",
    "context_window",
))  # fmt: skip


def recognise(probe: Probe) -> str | None:
    """Recognised by columns or keys with session_id and another field of a session."""
    if probe.head.startswith(b"PAR1"):
        return _judge(tuple(_parquet_columns(probe)))
    if probe.is_text and (entry := _first_object(probe)) is not None:
        names = tuple(entry)
        # JSON rows may omit null fields; only required fields are checked here
        return "" if _is_session(names) else None
    return _judge(csv_header(probe))


def _is_session(names: tuple[str, ...]) -> bool:
    own = {"session_started_at", "last_updated_at", "cache_creation_tokens", "input_tokens", "output_tokens"}
    return "session_id" in names and len(own & set(names)) >= 2


def _judge(names: tuple[str, ...]) -> str | None:
    own = set(names) & set(SHAPE.required)
    return SHAPE.problem(names) if len(own) >= 4 and own & {"session_id", "session_started_at"} else None


def _first_object(probe: Probe) -> dict[str, object] | None:
    for line in probe.text.splitlines():
        if not line.lstrip().startswith("{"):
            return None
        entry = json_of(line)
        if entry is not None:
            return entry if isinstance(entry, dict) else None
    return None


def _parquet_columns(probe: Probe) -> dict[str, bool]:
    """Names of the columns, and whether each has lists or structs."""
    import pyarrow as pa
    import pyarrow.parquet

    try:
        fields = pyarrow.parquet.read_schema(probe.path)
    except (OSError, ValueError):
        return {}
    return {field.name.lower(): pa.types.is_nested(field.type) for field in fields}


def load(connection: duckdb.DuckDBPyConnection, probe: Probe, sha256: str) -> Loaded:
    """Insert into raw.usage_sessions, one row per row of the file."""
    if probe.head.startswith(b"PAR1"):
        return _load_parquet(connection, probe, sha256)
    if _first_object(probe) is not None:
        return load_tidily(connection, probe, lambda file: _load_json_lines(connection, file, sha256), tidy_lines)
    header = csv_header(probe)
    select = partial(_select, header, values=csv_values(header), sha256=sha256)
    return load_csv(connection, probe, header, "raw.usage_sessions", select, grain="session")


def _select(names: tuple[str, ...], *, relation: str, values: str, sha256: str) -> str:
    return sql(
        "ingest/usage_sessions",
        cells=cells(names, SHAPE.known),
        values=values,
        relation=relation,
        file_sha256=literal(sha256),
        states_api_key=str("api_key" in names).lower(),
        states_workspace=str("workspace" in names).lower(),
    )


def _insert(connection: duckdb.DuckDBPyConnection, select: str) -> tuple[int, list[tuple[str, str, str, str]]]:
    """The number of inserted rows, and for each bad row its first cell, reason, column and value."""
    connection.execute(f"CREATE OR REPLACE TEMP TABLE parsed AS {select}")
    bad = connection.execute(
        "SELECT cells[1], problem.reason, problem.column_name, problem.value FROM parsed WHERE problem IS NOT NULL"
    ).fetchall()
    inserted = insert_rows(
        connection, "raw.usage_sessions", "SELECT * EXCLUDE (problem, cells) FROM parsed WHERE problem IS NULL"
    )
    connection.execute("DROP TABLE parsed")
    return inserted, bad


def _load_parquet(connection: duckdb.DuckDBPyConnection, probe: Probe, sha256: str) -> Loaded:
    nested = _parquet_columns(probe)
    file = file_literal(probe.path)
    columns = ", ".join(
        f"{'null' if is_nested and name in NAMES else identifier(name)}::varchar as {identifier(name)}"
        for name, is_nested in nested.items()
        if name in SHAPE.known
    )
    relation = (
        f"(select {columns}, file_row_number::varchar as row_number "
        f"from read_parquet({file}, file_row_number = true, hive_partitioning = false))"
    )
    try:
        loaded, bad = _insert(
            connection, _select(tuple(nested), relation=relation, values="[row_number]", sha256=sha256)
        )
    except (duckdb.InvalidInputException, duckdb.IOException):
        raise SourceError("damaged Parquet file: export it again") from None
    # a Parquet file has no lines: line is the row's number from 1, the offset is 0
    rejected = tuple(RejectedRow(int(row) + 1, 0, reason, column) for row, reason, column, _ in bad)
    return Loaded("session", loaded + len(rejected), loaded, rejected=rejected)


def _load_json_lines(connection: duckdb.DuckDBPyConnection, probe: Probe, sha256: str) -> Loaded:
    forget_reader_errors(connection)
    names = tuple(sorted(SHAPE.known))
    paths = ", ".join(literal(f"$.{name}") for name in names)
    # tags may be JSON; names may not
    columns = ", ".join(
        f"{'names' if name in NAMES else 'fields'}[{i}] as {identifier(name)}" for i, name in enumerate(names, 1)
    )
    try:
        connection.execute(sql("ingest/json_lines", readable_lines=readable_lines(line_relation(probe)), paths=paths))
    except (duckdb.InvalidInputException, duckdb.IOException):
        raise MisreadError("not readable as lines of JSON: export it again") from None
    unread = count_reader_errors(connection) + probe.left_out
    stated = connection.execute(sql("ingest/json_lines_states")).fetchone() or (False, False)
    present = tuple(name for name in names if (name != "api_key" or stated[0]) and (name != "workspace" or stated[1]))
    relation = f"(select {columns}, line_md5 from json_lines where is_valid)"
    loaded, bad = _insert(connection, _select(present, relation=relation, values="[line_md5]", sha256=sha256))
    malformed = connection.execute("SELECT line_md5, count(*) FROM json_lines WHERE NOT is_valid GROUP BY 1").fetchall()
    connection.execute("DROP TABLE json_lines")
    reasons = {md5: "not valid JSON" for md5, _ in malformed} | {md5: reason for md5, reason, _, _ in bad}
    expected = len(bad) + sum(count for _, count in malformed) + unread
    rejected = tuple(locate_lines(probe, reasons)) if expected else ()
    if len(rejected) != expected:
        raise MisreadError(f"{expected} lines are bad, but {len(rejected)} could be found again: export the file again")
    return Loaded("session", loaded + len(rejected), loaded, rejected=rejected)
