"""LiteLLM spend logs (rows of LiteLLM_SpendLogs as JSON lines or an array): one row per call through the gateway.

Belongs here: the fields of such a row. Does not belong here: the same call in another log (dbt_project/models). Prompt
tokens include cached tokens. Answers from the gateway's own cache have no cost at a provider and are ignored. Calls
within a response (usage.iterations) are separate calls; newer versions include them in the row's counts.
"""

from __future__ import annotations

import duckdb

from pipeline.ingest.sources import calls
from pipeline.ingest.sources.contract import Loaded, Probe

FORMAT = "litellm"
_USAGE = "$.metadata.usage_object."
_MORE = "$.metadata.additional_usage_values."


def _usage(*names: str) -> tuple[str, ...]:
    """Places of the provider's usage of a call: all of it, or the part that the gateway's columns leave out."""
    return tuple(root + name for root in (_USAGE, _MORE) for name in names)


def _own(kind: str, *names: str) -> tuple[str, ...]:
    """Places of a token kind in the provider's usage, unless the row's count includes calls within the response."""
    return ("$.own." + kind, *_usage(*names))


_PROMPT, _COMPLETION = "prompt_tokens_details.", "completion_tokens_details."
_COLUMNS = frozenset(("request_id", "startTime", "spend", "prompt_tokens", "completion_tokens"))
SHAPE = calls.CallShape(
    format=FORMAT,
    logger="gateway",
    prepare="litellm_row",
    inside="iterations_inside",
    only={"$.cache_hit": ("", "false", "False", "None")},
    key=("$.request_id",),
    columns={
        "response_id": "$.request_id",
        "session_id": "$.session_id",
        "logged_at": ("$.startTime", "$.endTime"),
        "provider": "$.custom_llm_provider",
        "model": ("$.model", "$.model_group"),
        "user_id": ("$.end_user", "$.user"),
        "api_key": ("$.metadata.user_api_key_alias", "$.api_key"),
        "workspace": ("$.metadata.user_api_key_team_alias", "$.team_id"),
        "usage_type": _usage("service_tier"),
        "inference_geo": _usage("inference_geo"),
        "speed": _usage("speed"),
        "web_searches": _own("web_searches", "server_tool_use.web_search_requests", _PROMPT + "web_search_requests"),
        "input": ("$.own.input", "$.prompt_tokens"),
        "cache_read": _own(
            "cache_read", "cache_read_input_tokens", _PROMPT + "cached_tokens", "prompt_cache_hit_tokens"
        ),
        "cache_write": _own(
            "cache_write", "cache_creation_input_tokens", _PROMPT + "cache_creation_tokens",
            _PROMPT + "cache_write_tokens", "cache_write_input_tokens",
        ),
        "cache_write_5m": _own(
            "cache_write_5m", "cache_creation.ephemeral_5m_input_tokens",
            _PROMPT + "cache_creation_token_details.ephemeral_5m_input_tokens",
        ),
        "cache_write_1h": _own(
            "cache_write_1h", "cache_creation.ephemeral_1h_input_tokens",
            _PROMPT + "cache_creation_token_details.ephemeral_1h_input_tokens",
        ),
        "input_audio": _own("input_audio", _PROMPT + "audio_tokens"),
        "input_image": _own("input_image", _PROMPT + "image_tokens"),
        "cache_read_audio": _own("cache_read_audio", _PROMPT + "cached_tokens_details.audio_tokens"),
        "cache_read_image": _own("cache_read_image", _PROMPT + "cached_tokens_details.image_tokens"),
        "output": ("$.own.output", "$.completion_tokens"),
        "output_audio": _own("output_audio", _COMPLETION + "audio_tokens"),
        "output_image": _own("output_image", _COMPLETION + "image_tokens"),
        "total": ("$.own.total", "$.total_tokens"),
    },
    is_inclusive=True,
)  # fmt: skip


def recognise(probe: Probe) -> str | None:
    """Recognised by rows with request id, start, spend, and prompt and completion tokens."""
    for entry in calls.first_objects(probe):
        return "" if entry.keys() >= _COLUMNS else None
    return None


def load(connection: duckdb.DuckDBPyConnection, probe: Probe, sha256: str) -> Loaded:
    """Insert into raw.requests, one row per call that reached a provider."""
    return calls.load(connection, probe, sha256, SHAPE)
