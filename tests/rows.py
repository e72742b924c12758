"""Valid rows of exports, sessions and transcripts, except for the values of a test.

Does not belong here: logs of other systems (logs), pages of APIs (pages), whole accounts (accounts).
"""

from __future__ import annotations

import json
from typing import Any

USAGE_COLUMNS = (
    "usage_date_utc,model_version,api_key,workspace,usage_type,usage_input_tokens_no_cache,"
    "usage_input_tokens_cache_write_5m,usage_input_tokens_cache_write_1h,usage_input_tokens_cache_read,"
    "usage_output_tokens,web_search_count"
)
COST_COLUMNS = "usage_date_utc,model,workspace,api_key,usage_type,context_window,token_type,cost_usd,cost_type"

SESSION_COLUMNS = (
    "session_id,user_id,session_started_at,last_updated_at,model,input_tokens,output_tokens,cache_read_tokens,"
    "cache_creation_tokens"
)


def usage_row(date: str = "2026-02-17", key: str = "alpha", tokens: str = "1", output: str = "2") -> str:
    return f"{date},claude-haiku-4-5-20251001,{key},Default,standard,{tokens},0,0,0,{output},0"


def usage_csv(*rows: str, end: str = "\n") -> str:
    return end.join([USAGE_COLUMNS, *rows]) + end


def cost_csv(*rows: str) -> str:
    return "\n".join([COST_COLUMNS, *rows]) + "\n"


def cost_row(date: str = "2026-02-17", usd: str = "1.25", token_type: str = "output") -> str:
    return f"{date},Claude Haiku 4.5,Default,alpha,message,≤ 200k,{token_type},{usd},token"


def session_row(name: str = "s1", tokens: str = "10", seen: str = "2026-02-17 09:10:00") -> str:
    return f"{name},ann,2026-02-17 09:00:00,{seen},claude-haiku-4-5,{tokens},20,30,40"


def transcript_line(message: str = "m1", output: Any = 2, **fields: Any) -> str:
    usage = {"input_tokens": 1, "output_tokens": output}
    line = {
        "type": "assistant", "uuid": "u", "sessionId": "s1", "timestamp": "2026-02-17T09:00:00Z",
        "message": {"id": message, "model": "claude-haiku-4-5-20251001", "usage": usage},
    }  # fmt: skip
    return json.dumps({**line, **fields})


SESSIONS = [
    {
        "session_id": "s1", "user_id": "ann", "session_started_at": "2026-02-17 09:00:00",
        "last_updated_at": "2026-02-17 09:10:30", "model": "claude-haiku-4-5", "input_tokens": 1, "output_tokens": 2,
        "cache_read_tokens": 3, "cache_creation_tokens": 10, "cache_creation_5m_tokens": 4,
        "cache_creation_1h_tokens": 6, "api_key": "alpha", "workspace": "default", "web_search_count": 1,
    },
    {
        "session_id": "s2", "user_id": None, "session_started_at": "2026-02-17 23:59:00",
        "last_updated_at": "2026-02-18 00:01:00", "model": "gpt-5", "input_tokens": 5, "output_tokens": 6,
        "cache_read_tokens": None, "cache_creation_tokens": None, "cache_creation_5m_tokens": None,
        "cache_creation_1h_tokens": None, "api_key": None, "workspace": "research", "web_search_count": None,
    },
]  # fmt: skip


# Columns of a usage export of days, in its later generation.
USAGE_HEAD = (
    "usage_date_utc,model_version,api_key,workspace,usage_type,context_window,usage_input_tokens_no_cache,"
    "usage_input_tokens_cache_write_5m,usage_input_tokens_cache_write_1h,usage_input_tokens_cache_read,"
    "usage_output_tokens,web_search_count"
)
