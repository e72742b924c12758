"""Pages of Anthropic's Admin API, usage_report/messages: tokens by minute, hour or day; input excludes cached tokens.

Belongs here: the fields of a result. Does not belong here: Console exports of the same usage (console_usage), and
which of the two counts (dbt_project/models/intermediate).
"""

from __future__ import annotations

import duckdb

from pipeline.ingest.sources.contract import Loaded, Probe
from pipeline.ingest.sources.provider_pages import MODALITIES, AccountShape, load_pages, source_of

FORMAT = "anthropic_usage"
SHAPE = AccountShape(
    format=FORMAT,
    provider="anthropic",
    side="console",
    fields={
        "starts": "starting_at",
        "ends": "ending_at",
        "input": "uncached_input_tokens",
        "cache_write_5m": "cache_creation.ephemeral_5m_input_tokens",
        "cache_write_1h": "cache_creation.ephemeral_1h_input_tokens",
        "cache_read": "cache_read_input_tokens",
        "output": "output_tokens",
        "web_searches": "server_tool_use.web_search_requests",
        "requests": "num_model_requests",
        "api_key": "api_key_id",
        "workspace": "workspace_id",
        "user_id": "user_id",
        "model": "model",
        "batch": "batch",
        "service_tier": "service_tier",
        "context_window": "context_window",
        "inference_geo": "inference_geo",
        "speed": "speed",
        **MODALITIES,
    },
    parts={"is_inclusive": "false"},
)


def recognise(probe: Probe) -> str | None:
    """Recognised by buckets with starting_at, and results with uncached_input_tokens."""
    return "" if source_of(probe) == FORMAT else None


def load(connection: duckdb.DuckDBPyConnection, probe: Probe, sha256: str) -> Loaded:
    """Insert into raw.console_usage, one row per result."""
    return load_pages(connection, probe, sha256, SHAPE)
