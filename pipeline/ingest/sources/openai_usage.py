"""OpenAI's usage: pages of the organisation's API and its CSV exports; input includes cached and written tokens.

Belongs here: the fields of a result, and which of OpenAI's endpoints count tokens: completions, embeddings and
moderations (the latter two without output). Does not belong here: which of several files counts (dbt_project).
An OpenAI project corresponds to an Anthropic workspace and is stored in that column.
"""

from __future__ import annotations

from dataclasses import replace

import duckdb

from pipeline.ingest.sources.base import CsvShape, csv_header
from pipeline.ingest.sources.contract import Loaded, Probe
from pipeline.ingest.sources.provider_pages import (
    MODALITIES,
    AccountShape,
    csv_problem,
    load_export,
    load_pages,
    source_of,
)

FORMAT = "openai_usage"
COMPLETIONS = "organization.usage.completions.result"
# Columns of an export of embeddings or moderations, and additional columns of completions.
_WITHOUT_OUTPUT = CsvShape(required=("start_time", "end_time", "input_tokens", "num_model_requests"))
_OF_COMPLETIONS = {"input_cached_tokens", "input_uncached_tokens", "output_text_tokens", "batch", "service_tier"}
# An export of days without usage has only their times.
_TIMES = {"start_time", "end_time", "start_time_iso", "end_time_iso"}
SHAPE = AccountShape(
    format=FORMAT,
    provider="openai",
    side="console",
    fields={
        "starts": "start_time",
        "ends": "end_time",
        "input": "input_tokens",
        "cache_write_5m": "input_cache_write_tokens",
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
        **MODALITIES,
    },
    parts={"is_inclusive": "true"},
    csv=CsvShape(
        required=("start_time", "end_time", "input_tokens", "output_tokens"),
        optional=(
            "input_cached_tokens", "input_cache_write_tokens", "num_model_requests", "project_id", "user_id",
            "api_key_id", "model", "batch", "service_tier", *MODALITIES.values(),
        ),
    ),
    counts_tokens=r"organization\.usage\.(completions|embeddings|moderations)\.result",
    counts_output=COMPLETIONS,
    of_others=r"input_(un)?cached_\w*tokens|(input|output)_text_tokens",
)  # fmt: skip


def recognise(probe: Probe) -> str | None:
    """Recognised by buckets with start_time and results with input tokens; or a CSV with these, or only times."""
    if source_of(probe) == FORMAT:
        return ""
    header = set(csv_header(probe))
    if header == _TIMES:
        return ""
    has_output = "output_tokens" in header or header & _OF_COMPLETIONS
    return csv_problem(probe, SHAPE if has_output else replace(SHAPE, csv=_WITHOUT_OUTPUT))


def load(connection: duckdb.DuckDBPyConnection, probe: Probe, sha256: str) -> Loaded:
    """Insert into raw.console_usage, one row per result or CSV row."""
    is_pages = source_of(probe) == FORMAT
    return (load_pages if is_pages else load_export)(connection, probe, sha256, SHAPE)
