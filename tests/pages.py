"""Pages of the usage and cost APIs of Anthropic and OpenAI, with the results of a test.

Belongs here: what a page looks like. Does not belong here: what it counts as (test_provider_pages), and who answers
with it (providers).
"""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

from accounts import COLUMNS

SONNET = "claude-sonnet-4-5-20250929"
DAY = "2026-02-17"
MIDNIGHT = 1771286400  # 2026-02-17 00:00 UTC


def anthropic(**stated: Any) -> dict[str, Any]:
    """A result of usage_report/messages."""
    result = {
        "uncached_input_tokens": 100,
        "cache_creation": {"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 3},
        "cache_read_input_tokens": 4000,
        "output_tokens": 50,
        "server_tool_use": {"web_search_requests": 2},
        "api_key_id": "apikey_01",
        "workspace_id": "wrkspc_01",
        "model": SONNET,
        "service_tier": "standard",
        "context_window": "0-200k",
        "inference_geo": None,
    }
    return result | stated


def openai(**stated: Any) -> dict[str, Any]:
    """A result of usage/completions: input contains cached tokens."""
    result = {
        "object": "organization.usage.completions.result",
        "input_tokens": 1000,
        "input_cached_tokens": 800,
        "output_tokens": 60,
        "num_model_requests": 3,
        "project_id": "proj_1",
        "user_id": None,
        "api_key_id": "key_1",
        "model": "gpt-5-2025-08-07",
        "batch": False,
        "service_tier": "default",
    }
    return result | stated


def cost(amount: str = "123.45", **stated: Any) -> dict[str, Any]:
    """A result of cost_report: an amount in cents."""
    result = {
        "amount": amount,
        "currency": "USD",
        "workspace_id": "wrkspc_01",
        "description": "Claude Sonnet 4.5 Usage - Output Tokens",
        "cost_type": "tokens",
        "token_type": "output_tokens",
        "model": SONNET,
        "service_tier": "standard",
        "context_window": "0-200k",
    }
    return result | stated


def openai_cost(value: float, line_item: str | None, project: str | None = "proj_1") -> dict[str, Any]:
    amount = {"value": value, "currency": "usd"}
    return {"object": "organization.costs.result", "amount": amount, "line_item": line_item, "project_id": project}


def bucket(*results: Any, start: str = f"{DAY}T00:00:00Z", seconds: int = 86400) -> dict[str, Any]:
    end = dt.datetime.fromisoformat(start) + dt.timedelta(seconds=seconds)
    return {"starting_at": start, "ending_at": f"{end:%Y-%m-%dT%H:%M:%SZ}", "results": list(results)}


def openai_bucket(*results: Any, start: int = MIDNIGHT, seconds: int = 86400) -> dict[str, Any]:
    return {"object": "bucket", "start_time": start, "end_time": start + seconds, "results": list(results)}


def page(*buckets: Any, has_more: bool = False) -> str:
    found = {"data": list(buckets), "has_more": has_more, "next_page": "page_2" if has_more else None}
    is_openai = bool(buckets) and isinstance(buckets[0], dict) and "start_time" in buckets[0]
    return json.dumps({"object": "page", **found} if is_openai else found)


USAGE_COLUMNS = (
    "start_time,end_time,start_time_iso,end_time_iso,project_id,num_model_requests,user_id,api_key_id,model,batch,"
    "service_tier,compute_units,input_tokens,output_tokens,input_cached_tokens,input_cache_write_tokens,"
    "input_uncached_tokens,input_text_tokens,output_text_tokens,input_cached_text_tokens,input_audio_tokens,"
    "input_cached_audio_tokens,output_audio_tokens,input_image_tokens,input_cached_image_tokens,output_image_tokens"
)

COST_COLUMNS = (
    "start_time,end_time,start_time_iso,end_time_iso,amount_value,amount_currency,quantity,quantity_unit,line_item,"
    "user_id,api_key_id,project_id,organization_id,project_name,organization_name,user_email,api_source"
)


def console_csv(*rows: tuple[str, int]) -> str:
    """A Console export of eleven columns: time and output tokens of each row."""
    return "\n".join([COLUMNS[11], *(f"{time},{SONNET},prod,Default,standard,0,0,0,0,{out},0" for time, out in rows)])
