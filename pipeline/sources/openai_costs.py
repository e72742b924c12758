"""OpenAI's costs: pages of the organisation's API and its CSV export, amounts in USD by day, project and line item.

Belongs here: where a result has what, and what a line item ("gpt-5-2025-08-07, cached input") says. Does not belong
here: which of several files counts (dbt_project).
"""

from __future__ import annotations

import duckdb

from pipeline.sources.base import CsvShape
from pipeline.sources.contract import Loaded, Probe
from pipeline.sources.provider_pages import AccountShape, csv_problem, load_export, load_pages, source_of

FORMAT = "openai_costs"
_TOKENS = r"^(.+?)( batch)?, (input|cached input|output)$"
_KIND = f"""case
            when regexp_matches(description, '{_TOKENS}')
                then case regexp_extract(description, '{_TOKENS}', 3)
                    when 'input' then 'input_no_cache'
                    when 'cached input' then 'input_cache_read'
                    else 'output'
                end
            when regexp_matches(lower(description), 'web[ _-]?search') then 'web_search'
            when regexp_matches(lower(description), 'code[ _-]?interpreter') then 'code_execution'
            else 'other'
        end"""
SHAPE = AccountShape(
    format=FORMAT,
    provider="openai",
    side="billed",
    fields={
        "starts": "start_time",
        "ends": "end_time",
        "amount": "amount.value",
        "currency": "amount.currency",
        "api_key": "api_key_id",
        "workspace": "project_id",
        "description": "line_item",
        "model": "model",
        "token_type": "token_type",
        "cost_type": "cost_type",
        "service_tier": "service_tier",
        "context_window": "context_window",
        "inference_geo": "inference_geo",
        "speed": "speed",
    },
    parts={
        "usd_per_unit": "1",
        "item_model": f"regexp_extract(description, '{_TOKENS}', 1)",
        "item_kind": _KIND,
        "item_type": f"if(regexp_matches(description, '{_TOKENS}'), 'token', lower(description))",
    },
    csv=CsvShape(
        required=("start_time", "end_time", "amount.value"),
        optional=("amount.currency", "line_item", "project_id", "api_key_id"),
    ),
    renamed={"amount_value": "amount.value", "amount": "amount.value", "amount_currency": "amount.currency"},
)


def recognise(probe: Probe) -> str | None:
    """Buckets from start_time, with an amount of a value in their results; or a CSV with these columns."""
    return "" if source_of(probe) == FORMAT else csv_problem(probe, SHAPE)


def load(connection: duckdb.DuckDBPyConnection, probe: Probe, sha256: str) -> Loaded:
    """Insert into raw.console_costs, one row for each result or row."""
    is_pages = source_of(probe) == FORMAT
    return (load_pages if is_pages else load_export)(connection, probe, sha256, SHAPE)
