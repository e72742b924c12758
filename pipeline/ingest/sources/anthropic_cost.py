"""Pages of Anthropic's Admin API, cost_report: amounts by day, as decimal strings in cents.

Belongs here: the fields of a result, and its names for token kinds. Does not belong here: Console exports of the
same costs (console_cost), and which of the two counts (dbt_project/models/intermediate).
"""

from __future__ import annotations

import duckdb

from pipeline.ingest.sources.contract import Loaded, Probe
from pipeline.ingest.sources.provider_pages import AccountShape, load_pages, source_of

FORMAT = "anthropic_cost"
_KIND = """case token_type
            when 'uncached_input_tokens' then 'input_no_cache'
            when 'output_tokens' then 'output'
            when 'cache_read_input_tokens' then 'input_cache_read'
            when 'cache_creation.ephemeral_5m_input_tokens' then 'input_cache_write_5m'
            when 'cache_creation.ephemeral_1h_input_tokens' then 'input_cache_write_1h'
            when '' then if(lower(cost_type) in ('', 'tokens'), 'other', lower(cost_type))
            else lower(token_type)
        end"""
SHAPE = AccountShape(
    format=FORMAT,
    provider="anthropic",
    side="billed",
    fields={
        "starts": "starting_at",
        "ends": "ending_at",
        "amount": "amount",
        "currency": "currency",
        "api_key": "api_key_id",
        "workspace": "workspace_id",
        "user_id": "user_id",
        "description": "description",
        "model": "model",
        "token_type": "token_type",
        "cost_type": "cost_type",
        "service_tier": "service_tier",
        "context_window": "context_window",
        "inference_geo": "inference_geo",
        "speed": "speed",
    },
    parts={
        "usd_per_unit": "0.01",
        "item_model": "model",
        "item_kind": _KIND,
        "item_type": "if(lower(cost_type) = 'tokens', 'token', lower(cost_type))",
        "item_tier": "lower(service_tier)",
        "item_window": "context_window",
    },
)


def recognise(probe: Probe) -> str | None:
    """Recognised by buckets with starting_at, and results with an amount."""
    return "" if source_of(probe) == FORMAT else None


def load(connection: duckdb.DuckDBPyConnection, probe: Probe, sha256: str) -> Loaded:
    """Insert into raw.console_costs, one row per result."""
    return load_pages(connection, probe, sha256, SHAPE)
