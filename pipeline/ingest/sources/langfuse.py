"""Langfuse observations (an export as JSON lines or an array): one per row, with usage on type GENERATION.

Belongs here: the fields of such a row. Does not belong here: the same call in another log (dbt_project/models). Input
excludes cached tokens. Calls within a response (usage.iterations) are separate calls. There are two spellings: that of
the API (usageDetails) and that of exports to storage (usage_details).
"""

from __future__ import annotations

import duckdb

from pipeline.ingest.sources import calls
from pipeline.ingest.sources.contract import Loaded, Probe

FORMAT = "langfuse"


SHAPE = calls.CallShape(
    format=FORMAT,
    logger="span",
    prepare="langfuse_row",
    inside="iterations_inside",
    only={"$.type": ("GENERATION", "EMBEDDING")},
    key=("$.id",),
    columns={
        name: (f"$.own.{name}", f"$.{name}")
        for name in (
            "session_id", "logged_at", "model", "user_id", "usage_type", "input", "input_beside", "cache_read",
            "cache_write", "cache_write_5m", "cache_write_1h", "output", "output_beside", "web_searches", *calls.PARTS,
        )
    },
    is_inclusive=False,
)  # fmt: skip


def recognise(probe: Probe) -> str | None:
    """Recognised by rows with id, trace, type and start of an observation, and usage in one of the spellings."""
    for entry in calls.first_objects(probe):
        if not entry.keys() >= {"id", "type"} or not entry.keys() & {"traceId", "trace_id"}:
            return None
        if entry.keys() & {"usageDetails", "usage_details", "promptTokens"}:
            return "" if entry.keys() & {"startTime", "start_time"} else None
    return None


def load(connection: duckdb.DuckDBPyConnection, probe: Probe, sha256: str) -> Loaded:
    """Insert into raw.requests, one row per generation."""
    return calls.load(connection, probe, sha256, SHAPE)
