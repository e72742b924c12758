"""OpenTelemetry spans of calls to models (OTLP JSON lines, or one document): the attributes `gen_ai.*`.

Belongs here: where a span has what. Does not belong here: the same call in another log (dbt_project/models). Input
contains cached tokens. A span of an agent adds up the calls below it, which have spans of their own: it is ignored.
"""

from __future__ import annotations

import duckdb

from pipeline.sources import calls
from pipeline.sources.contract import Loaded, Probe

FORMAT = "otel_genai"
_SPANS = "$.resourceSpans[*].scopeSpans[*].spans[*]"
SHAPE = calls.CallShape(
    format=FORMAT,
    logger="span",
    records=_SPANS,
    prepare="otel_span",
    only={"$.is_call": ("true",)},
    key=("$.trace_id", "$.span_id"),
    columns={
        "response_id": '$."gen_ai.response.id"',
        "session_id": ('$."gen_ai.conversation.id"', '$."session.id"'),
        "logged_at": ("$.start", "$.end"),
        "provider": ('$."gen_ai.provider.name"', '$."gen_ai.system"'),
        "model": ('$."gen_ai.response.model"', '$."gen_ai.request.model"'),
        "user_id": ('$."user.id"', '$."enduser.id"'),
        "input": ('$."gen_ai.usage.input_tokens"', '$."gen_ai.usage.prompt_tokens"'),
        "cache_read": (
            '$."gen_ai.usage.cache_read.input_tokens"', '$."gen_ai.usage.cache_read_input_tokens"',
            '$."gen_ai.usage.cached_tokens"',
        ),
        "cache_write": (
            '$."gen_ai.usage.cache_creation.input_tokens"', '$."gen_ai.usage.cache_creation_input_tokens"',
        ),
        "output": ('$."gen_ai.usage.output_tokens"', '$."gen_ai.usage.completion_tokens"'),
    },
    is_inclusive=True,
)  # fmt: skip


def recognise(probe: Probe) -> str | None:
    """The first object holds spans of resources, and some attribute of the head is one of generative AI."""
    for entry in calls.first_objects(probe):
        return "" if "resourceSpans" in entry and b'"gen_ai.' in probe.head else None
    return None


def load(connection: duckdb.DuckDBPyConnection, probe: Probe, sha256: str) -> Loaded:
    """Insert into raw.requests, one row for each span of a call."""
    return calls.load(connection, probe, sha256, SHAPE)
