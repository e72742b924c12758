"""Logs with a provider's original usage body in each line: the mapping of its numbers to token kinds.

Belongs here: loading such lines of any format. Does not belong here: any single format. The bodies of Anthropic, OpenAI
(chat, responses and compatible APIs), Google and Bedrock are distinguished by the names of their counts, as listed in
pipeline/ingest/sql/usage_bodies.sql.
"""

from __future__ import annotations

from functools import partial

import duckdb

from pipeline.ingest.sources.base import load_lines
from pipeline.ingest.sources.contract import Loaded, Probe
from pipeline.store.sqlfiles import literal, sql


def load(connection: duckdb.DuckDBPyConnection, probe: Probe, sha256: str, body: str, calls: str) -> Loaded:
    """Insert the calls of a file of lines into raw.requests.

    Args:
        connection: inside a transaction of the caller, in which nothing has been done yet.
        probe: the file.
        sha256: of its bytes.
        body: JSON path of the usage body in a line.
        calls: name of the SQL file that converts `record_lines` to rows of raw.requests.

    Raises:
        SourceError: not every line of the file could be accounted for.

    """
    return load_lines(
        connection,
        probe,
        partial(sql, "ingest/usage_bodies", body=body),
        sql(calls, file_sha256=literal(sha256), counting_record=sql("ingest/counting_record").rstrip()),
    )
