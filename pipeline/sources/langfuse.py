"""Langfuse observations (an export as JSON lines or an array): one a row, usage on those of type GENERATION.

Belongs here: where such a row has what. Does not belong here: the same call in another log (dbt_project/models). Input
excludes cached tokens. Rows come in two spellings: of the API (usageDetails) and of an export to storage
(usage_details).
"""

from __future__ import annotations

import duckdb

from pipeline.sources import calls
from pipeline.sources.contract import Loaded, Probe

FORMAT = "langfuse"


def _details(*names: str) -> tuple[str, ...]:
    return tuple(f"$.{spelling}.{name}" for name in names for spelling in ("usageDetails", "usage_details"))


SHAPE = calls.CallShape(
    format=FORMAT,
    logger="span",
    only={"$.type": ("GENERATION", "EMBEDDING")},
    key=("$.id",),
    columns={
        "session_id": ("$.sessionId", "$.session_id", "$.traceId", "$.trace_id"),
        "logged_at": ("$.startTime", "$.start_time"),
        "model": ("$.model", "$.providedModelName", "$.provided_model_name"),
        "user_id": ("$.userId", "$.user_id"),
        "input": (*_details("input", "input_tokens"), "$.usage.input", "$.promptTokens"),
        "cache_read": _details("cache_read_input_tokens", "input_cached_tokens", "input_cache_read"),
        "cache_write": _details("cache_creation_input_tokens", "input_cache_creation"),
        "cache_write_5m": _details("input_cache_creation_5m"),
        "cache_write_1h": _details("input_cache_creation_1h"),
        "output": (*_details("output", "output_tokens"), "$.usage.output", "$.completionTokens"),
        "output_beside": _details("output_reasoning_tokens"),
    },
    is_inclusive=False,
)


def recognise(probe: Probe) -> str | None:
    """Rows with an observation's id, trace, type and start, and its usage in one of the spellings."""
    for entry in calls.first_objects(probe):
        if not entry.keys() >= {"id", "type"} or not entry.keys() & {"traceId", "trace_id"}:
            return None
        if entry.keys() & {"usageDetails", "usage_details", "promptTokens"}:
            return "" if entry.keys() & {"startTime", "start_time"} else None
    return None


def load(connection: duckdb.DuckDBPyConnection, probe: Probe, sha256: str) -> Loaded:
    """Insert into raw.requests, one row for each generation."""
    return calls.load(connection, probe, sha256, SHAPE)
