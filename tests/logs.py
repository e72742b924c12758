"""Logs of agents, gateways and tracers: lines and documents with the calls of a test.

Belongs here: how each logger writes a call. Does not belong here: how the calls count (test_call_logs).
"""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

KINDS = (
    "input_tokens_no_cache, input_tokens_cache_write_5m, input_tokens_cache_write_1h, input_tokens_cache_read, "
    "output_tokens"
)
START = dt.datetime(2026, 3, 2, 9)
MODEL = "claude-sonnet-4-5-20250929"


def at(second: float) -> str:
    return (START + dt.timedelta(seconds=second)).isoformat(timespec="milliseconds") + "Z"


def epoch(second: float) -> float:
    return (START.replace(tzinfo=dt.UTC) + dt.timedelta(seconds=second)).timestamp()


def lines(*entries: Any) -> str:
    return "\n".join(entry if isinstance(entry, str) else json.dumps(entry) for entry in entries) + "\n"


def meta(session: str, second: float = 0) -> dict[str, Any]:
    return {"timestamp": at(second), "type": "session_meta", "payload": {"id": session, "cwd": "/home/u/shop"}}


def turn(model: str, second: float = 0) -> dict[str, Any]:
    return {"timestamp": at(second), "type": "turn_context", "payload": {"cwd": "/home/u/shop", "model": model}}


def tokens(total: int, last: int, second: float = 0, cached: int = 0) -> dict[str, Any]:
    """An event of the counter: `total` and `last` are input and output together, a tenth of them output."""

    def usage(n: int) -> dict[str, int]:
        return {"input_tokens": n - n // 10, "cached_input_tokens": cached, "output_tokens": n // 10, "total_tokens": n}

    info = {"total_token_usage": usage(total), "last_token_usage": usage(last)}
    return {"timestamp": at(second), "type": "event_msg", "payload": {"type": "token_count", "info": info}}


def opencode(*answers: dict[str, Any], session: str = "ses_1") -> str:
    messages = [{"info": {"id": "msg_0", "role": "user", "time": {"created": 1}}, "parts": []}]
    for number, counts in enumerate(answers, 1):
        info = {
            "id": f"msg_{number}", "sessionID": session, "role": "assistant", "modelID": "m", "providerID": "p",
            "time": {"created": int(epoch(number) * 1000)}, "path": {"root": "/u/shop"}, "tokens": counts,
        }  # fmt: skip
        messages.append({"info": info, "parts": [{"type": "text", "text": "\ud83d"}]})
    return json.dumps({"info": {"id": session, "title": "t"}, "messages": messages}, indent=2)


def gemini(*counts: dict[str, Any], session: str = "g") -> str:
    messages: list[dict[str, Any]] = [{"id": "u", "timestamp": at(0), "type": "user", "content": "c"}]
    messages += [
        {"id": f"m{number}", "timestamp": at(number), "type": "gemini", "tokens": each, "model": "gemini-2.5-flash"}
        for number, each in enumerate(counts)
    ]
    return json.dumps({"sessionId": session, "projectHash": "h", "startTime": at(0), "messages": messages}, indent=2)


GEMINI = {"input": 100, "output": 7, "cached": 60, "thoughts": 20, "tool": 5, "total": 132}


def pi(*counts: dict[str, Any], session: str = "s") -> str:
    header = {"type": "session", "version": 3, "id": session, "timestamp": at(0), "cwd": "/u/shop"}
    answers = [
        {
            "type": "message", "id": f"{number:08x}", "timestamp": at(number),
            "message": {"role": "assistant", "provider": "p", "model": "m", "usage": each},
        }
        for number, each in enumerate(counts)
    ]  # fmt: skip
    return lines(header, {"type": "model_change", "id": "x", "timestamp": at(0)}, *answers)


PI = {"input": 5, "output": 18, "reasoning": 11, "cacheRead": 13, "cacheWrite": 17, "totalTokens": 53}


def spend(number: int, second: float | None = None, **changes: Any) -> dict[str, Any]:
    usage = {
        "prompt_tokens": 100,
        "completion_tokens": 9,
        "cache_read_input_tokens": 60,
        "cache_creation_input_tokens": 10,
    }
    row = {
        "request_id": f"msg_{number}", "startTime": at(number if second is None else second),
        "endTime": at(number + 1), "model": f"anthropic/{MODEL}", "prompt_tokens": 100, "completion_tokens": 9,
        "spend": 0.1, "api_key": "hash", "user": "ann", "team_id": "team", "cache_hit": "False",
        "custom_llm_provider": "anthropic", "metadata": {"usage_object": usage},
    }  # fmt: skip
    return row | changes


def attribute(key: str, value: Any) -> dict[str, Any]:
    return {"key": key, "value": {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}}


def span(number: int, second: float | None = None, **changes: Any) -> dict[str, Any]:
    start = int(epoch(number if second is None else second) * 1000) * 1_000_000
    attributes = {
        "gen_ai.operation.name": "chat", "gen_ai.provider.name": "anthropic", "gen_ai.request.model": MODEL,
        "gen_ai.usage.input_tokens": 100, "gen_ai.usage.output_tokens": 9, "gen_ai.usage.cache_read.input_tokens": 60,
        "gen_ai.usage.cache_creation.input_tokens": 10, "gen_ai.prompt": "what stays behind",
    } | changes  # fmt: skip
    return {
        "traceId": f"t{number}", "spanId": f"s{number}", "name": "chat", "startTimeUnixNano": str(start),
        "endTimeUnixNano": str(start + 10**9),
        "attributes": [attribute(key, value) for key, value in attributes.items() if value is not None],
    }  # fmt: skip


def otlp(*spans: dict[str, Any]) -> dict[str, Any]:
    return {"resourceSpans": [{"resource": {"attributes": []}, "scopeSpans": [{"scope": {}, "spans": list(spans)}]}]}


def observation(number: int, second: float | None = None, **changes: Any) -> dict[str, Any]:
    details = {"input": 30, "output": 9, "cache_read_input_tokens": 60, "cache_creation_input_tokens": 10, "total": 109}
    row = {
        "id": f"o{number}", "traceId": "t", "type": "GENERATION", "startTime": at(number if second is None else second),
        "model": MODEL, "usageDetails": details, "input": "a prompt", "output": "an answer",
    }  # fmt: skip
    return row | changes


def event(number: int, second: float | None = None, **changes: Any) -> dict[str, Any]:
    usage = {"input_tokens": 30, "cache_creation_input_tokens": 10, "cache_read_input_tokens": 60, "output_tokens": 9}
    entry = {
        "event_id": f"e{number}", "timestamp": at(number if second is None else second), "conversation_id": "c",
        "session_id": "s", "user_id": "ann", "provider": "anthropic", "model": MODEL, "api_key": "k", "workspace": "w",
        "usage": usage,
    }  # fmt: skip
    return entry | changes


def answer(number: int, second: float | None = None, **changes: Any) -> dict[str, Any]:
    """A line of a transcript that reports the same call as `event`, `spend`, `span` and `observation`."""
    usage = {"input_tokens": 30, "cache_creation_input_tokens": 10, "cache_read_input_tokens": 60, "output_tokens": 9}
    when = at(number if second is None else second)
    message = {"id": f"msg_{number}", "model": MODEL, "role": "assistant", "usage": usage | changes}
    return {"type": "assistant", "sessionId": "s", "uuid": f"u{number}", "timestamp": when, "message": message}
