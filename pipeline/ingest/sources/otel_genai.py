"""OpenTelemetry spans of model calls (OTLP JSON lines, or one document): the attributes `gen_ai.*`.

Belongs here: the fields of a span; spans without usage are kept as links between those above and below them. Does not
belong here: the same call in another log (dbt_project/models). Input includes cached tokens. An agent's span sums up
the calls below it, which have their own spans: it is ignored. The models also exclude any other span that sums up those
below it, in whichever file. An adviser's tokens are a separate call.
"""

from __future__ import annotations

import duckdb

from pipeline.ingest.sources import calls
from pipeline.ingest.sources.contract import Loaded, Probe

FORMAT = "otel_genai"
_SPANS = "$.resourceSpans[*].scopeSpans[*].spans[*]"


def _usage(*names: str) -> tuple[str, ...]:
    """Places of usage attributes; older spans have those other than input and output in `details`."""
    return tuple(f'$."gen_ai.usage.{root}{name}"' for root in ("", "details.") for name in names)


def _own(kind: str, *places: str) -> tuple[str, ...]:
    """The same of a kind of tokens, unless the details say more of it (otel_details.sql)."""
    return (f"$.own.{kind}", *places)


# Names of each kind of tokens; other values of the details are in `own` (otel_details.sql).
_COUNTS = {
    "input": ("input_tokens", "prompt_tokens"),
    "input_beside": (),
    "cache_read": (
        "cache_read.input_tokens", "cache_read_input_tokens", "cache_read_tokens", "cached_tokens",
        "cached_input_tokens", "cached_content_tokens", "input_cached_tokens",
    ),
    "cache_write": (
        "cache_creation.input_tokens", "cache_creation_input_tokens", "cache_write_tokens",
        "cache_write_input_tokens", "cache_creation_tokens",
    ),
    "cache_write_5m": (
        "cache_creation.ephemeral_5m_input_tokens", "ephemeral_5m_input_tokens",
        "cache_creation_ephemeral_5m_input_tokens",
    ),
    "cache_write_1h": (
        "cache_creation.ephemeral_1h_input_tokens", "ephemeral_1h_input_tokens",
        "cache_creation_ephemeral_1h_input_tokens",
    ),
    "input_audio": ("input_audio_tokens", "audio_prompt_tokens", "audio.input_tokens"),
    "input_image": ("input_image_tokens", "image_prompt_tokens", "image.input_tokens"),
    "cache_read_audio": ("cache_audio_read_tokens", "audio_cache_tokens", "input_cached_audio_tokens"),
    "cache_read_image": ("cache_image_read_tokens", "image_cache_tokens", "input_cached_image_tokens"),
    "output": ("output_tokens", "completion_tokens"),
    "output_beside": (),
    # pydantic-ai takes `audio_tokens` over from OpenAI's details of the completion.
    "output_audio": (
        "output_audio_tokens", "audio_candidates_tokens", "audio_response_tokens", "audio.output_tokens",
        "audio_tokens",
    ),
    "output_image": (
        "output_image_tokens", "image_candidates_tokens", "image_response_tokens", "image.output_tokens",
    ),
    "web_searches": ("web_search_requests", "web_searches", "server_tool_use.web_search_requests"),
}  # fmt: skip
SHAPE = calls.CallShape(
    format=FORMAT,
    logger="span",
    records=_SPANS,
    prepare="otel_span",
    inside="otel_details",
    only={"$.is_call": ("true",)},
    key=("$.trace_id", "$.span_id"),
    columns={
        "response_id": '$."gen_ai.response.id"',
        "session_id": ('$."gen_ai.conversation.id"', '$."session.id"'),
        "logged_at": ("$.start", "$.end"),
        "provider": ('$."gen_ai.provider.name"', '$."gen_ai.system"'),
        "model": ("$.adviser.model", '$."gen_ai.response.model"', '$."gen_ai.request.model"'),
        "user_id": ('$."user.id"', '$."enduser.id"'),
        "usage_type": ('$."gen_ai.openai.response.service_tier"', '$."openai.response.service_tier"'),
        **{kind: (f"$.own.{kind}", *_usage(*names)) for kind, names in _COUNTS.items()},
        "total": ("$.own.total", *_usage("total_tokens"), '$."llm.usage.total_tokens"'),
        "span": "$.span_key",
        "parent_span": "$.parent_key",
    },
    is_inclusive=True,
)  # fmt: skip


def recognise(probe: Probe) -> str | None:
    """Recognised by resource spans in the first object; a trace may have spans of calls anywhere."""
    for entry in calls.first_objects(probe):
        return "" if "resourceSpans" in entry else None
    return None


def load(connection: duckdb.DuckDBPyConnection, probe: Probe, sha256: str) -> Loaded:
    """Insert into raw.requests, one row per span of a call."""
    return calls.load(connection, probe, sha256, SHAPE)
