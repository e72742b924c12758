"""Logs whose lines hold a provider's usage body as it was: which of its numbers are which kind of token.

Belongs here: loading such lines, whatever format they are of. Does not belong here: any single format. The bodies of
Anthropic, OpenAI (chat, responses and who copies them), Google and Bedrock are told apart by the names of their counts,
as pipeline/ingest/sql/usage_bodies.sql lists them.
"""

from __future__ import annotations

from functools import partial

import duckdb

from pipeline.ingest.sources.base import load_lines
from pipeline.ingest.sources.contract import Loaded, Probe
from pipeline.store.sqlfiles import literal, sql


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
    return load_lines(
        connection,
        probe,
        partial(sql, "ingest/usage_bodies", body=body),
        sql(calls, file_sha256=literal(sha256)),
    )
