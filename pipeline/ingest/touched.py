"""Extends an increment by calls that may be the same call as one in it.

Belongs here: copies, repeats and records of other loggers (tables of schema `scope`). Does not belong here: planning a
build (marts.increment), and which of such records counts (dbt_project).
"""

from __future__ import annotations

from collections.abc import Sequence

import duckdb

from pipeline.store.connection import first_row, has_table
from pipeline.store.sqlfiles import sql


def add_below_links(connection: duckdb.DuckDBPyConnection, sha256s: Sequence[str]) -> None:
    """Add responses that may be below spans without usage of these files."""
    connection.execute(sql("ingest/touched/span_links"), [sha256s])


def add_alike(connection: duckdb.DuckDBPyConnection) -> None:
    """Add responses that may be the same call as one in the increment: copies, spans, records of other loggers."""
    inserts = []
    if first_row(connection, "SELECT 1 FROM raw.requests WHERE message_id <> '' LIMIT 1"):
        inserts.append(sql("ingest/touched/same_message"))
    if first_row(connection, "SELECT 1 FROM raw.requests WHERE is_copied IS NOT FALSE LIMIT 1"):
        inserts.append(sql("ingest/touched/copies"))
    if first_row(connection, "SELECT 1 FROM raw.requests WHERE parent_span <> '' LIMIT 1"):
        inserts.append(sql("ingest/touched/spans"))
    if (first_row(connection, "SELECT count(DISTINCT logger) FROM raw.requests") or (0,))[0] > 1:
        built = sql("ingest/touched/neighbours_built") if has_table(connection, "intermediate", "int_requests") else ""
        inserts.append(sql("ingest/touched/neighbours", built=built))
    count = -1
    while inserts and count != (
        count := int((first_row(connection, "SELECT count(*) FROM scope.responses") or (0,))[0])
    ):
        for insert in inserts:
            connection.execute(insert)
