"""Which calls a change of raw rows touches besides its own: those that may be one call with one of them.

Belongs here: closing schema `scope` over copies, repeats and records of other loggers. Does not belong here: planning
a build (marts.increment), and which of such records counts (dbt_project).
"""

from __future__ import annotations

import duckdb

from pipeline.store.connection import first_row, has_table
from pipeline.store.sqlfiles import sql


def add_alike(connection: duckdb.DuckDBPyConnection) -> None:
    """Put responses into scope that may be one call with one in scope: copies, spans, what another logger tells of."""
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
    known = -1
    while inserts and known != (
        known := int((first_row(connection, "SELECT count(*) FROM scope.responses") or (0,))[0])
    ):
        for insert in inserts:
            connection.execute(insert)
