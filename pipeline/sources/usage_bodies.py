"""Logs whose lines hold a provider's usage body as it was: which of its numbers are which kind of token.

Belongs here: loading such lines, whatever format they are of. Does not belong here: any single format. The bodies of
Anthropic, OpenAI (chat, responses and who copies them), Google and Bedrock are told apart by the names of their counts,
as pipeline/sql/ingest/usage_bodies.sql lists them.
"""

from __future__ import annotations

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
    readable_lines,
    tidy_lines,
)
from pipeline.sqlfiles import literal, sql


def load(connection: duckdb.DuckDBPyConnection, probe: Probe, sha256: str, body: str, calls: str) -> Loaded:
    """Insert into raw.requests what a file of lines records.

    Args:
        connection: inside a transaction of the caller, in which nothing has been done yet.
        probe: the file.
        sha256: of its bytes.
        body: JSON path of the usage body in a line.
        calls: name of the SQL file that makes rows of raw.requests of the lines in `record_lines`.

    Raises:
        SourceError: not every line of the file could be accounted for.

    """
    return load_tidily(connection, probe, lambda file: _load(connection, file, sha256, body, calls), tidy_lines)


def _load(connection: duckdb.DuckDBPyConnection, probe: Probe, sha256: str, body: str, calls: str) -> Loaded:
    forget_reader_errors(connection)
    lines = sql("ingest/usage_bodies", readable_lines=readable_lines(line_relation(probe)), body=body)
    try:
        connection.execute(f"CREATE OR REPLACE TEMP TABLE record_lines AS {lines}")
    except (duckdb.InvalidInputException, duckdb.IOException):
        raise MisreadError("not readable as lines of text: copy the file again") from None
    unread = count_reader_errors(connection) + probe.left_out
    ((read, ignored, bad, usable),) = connection.execute(sql("ingest/usage_bodies_counts")).fetchall()
    reasons = connection.execute(
        "SELECT DISTINCT line_md5, reason FROM record_lines WHERE reason IS NOT NULL"
    ).fetchall()
    rejected = tuple(locate_lines(probe, dict(reasons))) if bad or unread else ()
    if len(rejected) != bad + unread:
        raise MisreadError(
            f"{bad + unread} lines are bad, but {len(rejected)} could be found again: copy the file again"
        )
    ((loaded,),) = connection.execute(
        "INSERT INTO raw.requests BY NAME " + sql(calls, file_sha256=literal(sha256))
    ).fetchall()
    connection.execute("DROP TABLE record_lines")
    return Loaded(
        "request", read + unread, loaded, rows_ignored=ignored, rows_repeated=usable - loaded, rejected=rejected
    )
