"""OpenAI's usage of completions: pages of the organisation's API and its CSV export; input includes cached tokens.

Belongs here: where a result has what. Does not belong here: which of several files counts (dbt_project). A project is
to OpenAI what a workspace is to Anthropic: it stands in that column.
"""

from __future__ import annotations

import duckdb

from pipeline.sources.base import CsvShape
from pipeline.sources.contract import Loaded, Probe
from pipeline.sources.provider_pages import AccountShape, csv_problem, load_export, load_pages, source_of

FORMAT = "openai_usage"
SHAPE = AccountShape(
    format=FORMAT,
    provider="openai",
    side="console",
    fields={
        "starts": "start_time",
        "ends": "end_time",
        "input": "input_tokens",
        "cache_write_5m": "cache_creation.ephemeral_5m_input_tokens",
        "cache_write_1h": "cache_creation.ephemeral_1h_input_tokens",
        "cache_read": "input_cached_tokens",
        "output": "output_tokens",
        "web_searches": "num_web_searches",
        "requests": "num_model_requests",
        "api_key": "api_key_id",
        "workspace": "project_id",
        "user_id": "user_id",
        "model": "model",
        "batch": "batch",
        "service_tier": "service_tier",
        "context_window": "context_window",
        "inference_geo": "inference_geo",
        "speed": "speed",
    },
    parts={"is_inclusive": "true"},
    csv=CsvShape(
        required=("start_time", "end_time", "input_tokens", "output_tokens"),
        optional=(
            "input_cached_tokens", "num_model_requests", "project_id", "user_id", "api_key_id", "model", "batch",
            "service_tier",
        ),
    ),
    of_others=r"input_(un)?cached_\w*tokens|(input|output)_text_tokens",
)  # fmt: skip


def recognise(probe: Probe) -> str | None:
    """Buckets from start_time, with input and output tokens in their results; or a CSV with these columns."""
    return "" if source_of(probe) == FORMAT else csv_problem(probe, SHAPE)


def load(connection: duckdb.DuckDBPyConnection, probe: Probe, sha256: str) -> Loaded:
    """Insert into raw.console_usage, one row for each result or row."""
    is_pages = source_of(probe) == FORMAT
    return (load_pages if is_pages else load_export)(connection, probe, sha256, SHAPE)
