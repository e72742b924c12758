"""LiteLLM spend logs (rows of LiteLLM_SpendLogs as JSON lines or an array): one row a call through the gateway.

Belongs here: where such a row has what. Does not belong here: the same call in another log (dbt_project/models). Prompt
tokens contain cached tokens. What the gateway answered from its own cache cost nothing at a provider and is ignored.
"""

from __future__ import annotations

import duckdb

from pipeline.sources import calls
from pipeline.sources.contract import Loaded, Probe

FORMAT = "litellm"
_USAGE = "$.metadata.usage_object."
_MORE = "$.metadata.additional_usage_values."
_COLUMNS = frozenset(("request_id", "startTime", "spend", "prompt_tokens", "completion_tokens"))
SHAPE = calls.CallShape(
    format=FORMAT,
    logger="gateway",
    prepare="litellm_row",
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
        "usage_type": _USAGE + "service_tier",
        "input": "$.prompt_tokens",
        "cache_read": (
            _USAGE + "cache_read_input_tokens", _USAGE + "prompt_tokens_details.cached_tokens",
            _MORE + "cache_read_input_tokens", _MORE + "prompt_tokens_details.cached_tokens",
        ),
        "cache_write": (
            _USAGE + "cache_creation_input_tokens", _USAGE + "prompt_tokens_details.cache_creation_tokens",
            _MORE + "cache_creation_input_tokens", _MORE + "prompt_tokens_details.cache_creation_tokens",
        ),
        "cache_write_5m": _USAGE + "cache_creation.ephemeral_5m_input_tokens",
        "cache_write_1h": _USAGE + "cache_creation.ephemeral_1h_input_tokens",
        "output": "$.completion_tokens",
    },
    is_inclusive=True,
)  # fmt: skip


def recognise(probe: Probe) -> str | None:
    """Rows with a request's id, its start, what was spent, and the tokens of prompt and completion."""
    for entry in calls.first_objects(probe):
        return "" if entry.keys() >= _COLUMNS else None
    return None


def load(connection: duckdb.DuckDBPyConnection, probe: Probe, sha256: str) -> Loaded:
    """Insert into raw.requests, one row for each call that reached a provider."""
    return calls.load(connection, probe, sha256, SHAPE)
