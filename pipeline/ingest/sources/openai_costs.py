"""OpenAI's costs: pages of the organisation's API and its CSV export, amounts in USD by day, project and line item.

Belongs here: the fields of a result, and the parsing of a line item ("gpt-5-2025-08-07, cached input"). Does not belong
here: which of several files counts (dbt_project).
"""

from __future__ import annotations

import duckdb

from pipeline.ingest.sources.base import CsvShape
from pipeline.ingest.sources.contract import Loaded, Probe
from pipeline.ingest.sources.provider_pages import AccountShape, csv_problem, load_export, load_pages, source_of
from pipeline.store.sqlfiles import literal

FORMAT = "openai_costs"
# `<model>[ <modality or tier>...], <kind>[, long context or a tier...]`
_TOKENS = (
    r"^(.+?)((?: (?:text|audio|image|batch|flex|priority))*), (input|cached input|cache writes|output)((?:, .+)?)$"
)
_IS_TOKENS = f"regexp_matches(description, '{_TOKENS}')"
_MODEL, _WORDS, _COUNTED, _MORE = (f"regexp_extract(description, '{_TOKENS}', {part})" for part in range(1, 5))
# The counted unit, and the modality if it has its own rate -> token kind.
_KINDS = {
    "input": "input_no_cache",
    "cached input": "input_cache_read",
    "cache writes": "input_cache_write_5m",
    "output": "output",
    **{f"input {modality}": f"input_{modality}" for modality in ("audio", "image")},
    **{f"cached input {modality}": f"cache_read_{modality}" for modality in ("audio", "image")},
    **{f"output {modality}": f"output_{modality}" for modality in ("audio", "image")},
}
_KIND = f"""case
            when {_IS_TOKENS}
                then case trim({_COUNTED} || ' ' || regexp_extract({_WORDS}, 'audio|image'))
                    {" ".join(f"when {literal(said)} then {literal(kind)}" for said, kind in _KINDS.items())}
                    else 'other'
                end
            when regexp_matches(lower(description), 'web[ _-]?search') then 'web_search'
            when regexp_matches(lower(description), 'code[ _-]?interpreter') then 'code_execution'
            else 'other'
        end"""
_TIER = f"regexp_extract({_WORDS} || {_MORE}, 'batch|flex|priority')"
# An item that is only a name is that of a model (`whisper`, `tts-1`) or a service (`Image models`).
_NAMED_MODEL = "if(regexp_full_match(description, 'whisper|[a-z][a-z0-9._:-]*[0-9][a-z0-9._:-]*'), description, model)"
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
        "user_id": "user_id",
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
        "item_model": f"if({_IS_TOKENS}, {_MODEL}, {_NAMED_MODEL})",
        "item_kind": _KIND,
        "item_type": f"if({_IS_TOKENS}, 'token', lower(description))",
        "item_tier": f"coalesce(nullif({_TIER}, ''), lower(service_tier))",
        "item_window": f"if(contains({_MORE}, 'long context'), 'long context', context_window)",
    },
    csv=CsvShape(
        required=("start_time", "end_time", "amount.value"),
        optional=("amount.currency", "line_item", "project_id", "user_id", "api_key_id"),
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
