"""A provider on loopback: Anthropic's Admin API and OpenAI's organisation API over a week of made-up usage.

Belongs here: what their answers look like, and the ways in which they go wrong. Does not belong here: what the product
makes of them (test_pull, test_provider_pages).
"""

from __future__ import annotations

import datetime as dt
import json
import random
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

KEY = "sk-ant-admin01-abcdefghijklmnopqrstuvwxyz-SECRETSECRET"
MONDAY = dt.datetime(2026, 2, 16, tzinfo=dt.UTC)
WIDTHS = {"1m": 60, "1h": 3600, "1d": 86400}


@dataclass
class Call:
    """One call of the account: its dimensions and tokens."""

    at: dt.datetime
    dimensions: dict[str, Any]
    tokens: dict[str, int]


def calls_of_a_week(seed: int = 1, count: int = 160) -> list[Call]:
    """Calls under few keys, some of the Workbench and the default workspace, which the APIs return as null."""
    chance = random.Random(seed)
    calls = []
    for _ in range(count):
        dimensions = {
            "model": chance.choice(["claude-sonnet-4-5-20250929", "claude-haiku-4-5-20251001"]),
            "api_key_id": chance.choice(["apikey_01a", "apikey_01b", None]),
            "workspace_id": chance.choice([None, None, "wrkspc_01"]),
            "service_tier": chance.choice(["standard", "standard", "batch"]),
            "context_window": chance.choice(["0-200k", "0-200k", "200k-1M"]),
        }
        kinds = ("input", "write_5m", "write_1h", "read", "output", "searches")
        tokens = {kind: chance.choice([0, chance.randrange(1, 9000)]) for kind in kinds}
        calls.append(Call(MONDAY + dt.timedelta(minutes=chance.randrange(7 * 1440)), dimensions, tokens))
    return calls


@dataclass
class FakeProvider:
    """The answers of the server, and its faults.

    `fault` is asked before each answer: a status with headers, `cut` (the connection ends inside the body), `torn` (a
    body that is no JSON, complete as it seems), or None.
    """

    calls: list[Call] = field(default_factory=calls_of_a_week)
    key: str = KEY
    buckets_of_a_page: int = 500
    fault: Callable[[], Any] = lambda: None
    # besides each page, an empty one with has_more
    empty_pages: bool = False
    extra: dict[str, Any] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, list[str]]]] = field(default_factory=list)
    base_url: str = ""

    def answer(self, path: str, query: dict[str, list[str]]) -> dict[str, Any]:
        """The requested page; its cursor is the number of its first bucket."""
        is_openai = "start_time" in query
        first, last = (
            dt.datetime.fromtimestamp(int(query[name][0]), dt.UTC)
            if is_openai
            else dt.datetime.fromisoformat(query[name][0])
            for name in (("start_time", "end_time") if is_openai else ("starting_at", "ending_at"))
        )
        width = dt.timedelta(seconds=WIDTHS[query["bucket_width"][0]])
        grouped = query.get("group_by" if is_openai else "group_by[]", [])
        cursor, _, is_after_empty = query.get("page", ["0"])[0].removeprefix("page_").partition("_")
        if self.empty_pages and not is_after_empty:
            return {"data": [], "has_more": True, "next_page": f"page_{cursor}_again"}
        starts = [first + n * width for n in range((last - first) // width)][int(cursor) :]
        shown = starts[: min(self.buckets_of_a_page, int(query["limit"][0]))]
        bucket = self._openai_bucket if is_openai else self._anthropic_bucket
        following = int(cursor) + len(shown)
        page = {
            "data": [bucket(path, start, width, grouped) for start in shown],
            "has_more": len(shown) < len(starts),
            "next_page": f"page_{following}" if len(shown) < len(starts) else None,
        }
        return {"object": "page", **page} if is_openai else page

    def _anthropic_bucket(
        self, path: str, start: dt.datetime, width: dt.timedelta, grouped: list[str]
    ) -> dict[str, Any]:
        stamps = {"starting_at": f"{start:%Y-%m-%dT%H:%M:%SZ}", "ending_at": f"{start + width:%Y-%m-%dT%H:%M:%SZ}"}
        if path.endswith("cost_report"):
            return stamps | {"results": [_cost_result(call) for call in self._of(start, width)]}
        results = [
            {
                "uncached_input_tokens": tokens["input"],
                "cache_creation": {
                    "ephemeral_5m_input_tokens": tokens["write_5m"],
                    "ephemeral_1h_input_tokens": tokens["write_1h"],
                }
                if tokens["write_5m"] or tokens["write_1h"]
                else None,
                "cache_read_input_tokens": tokens["read"],
                "output_tokens": tokens["output"],
                "server_tool_use": {"web_search_requests": tokens["searches"]},
                **dict.fromkeys(calls_of_a_week(count=1)[0].dimensions),
                "inference_geo": None,
                **dimensions,
                **self.extra,
            }
            for dimensions, tokens in self._sums(start, width, grouped)
        ]
        return stamps | {"results": results}

    def _openai_bucket(self, path: str, start: dt.datetime, width: dt.timedelta, grouped: list[str]) -> dict[str, Any]:
        stamps = {"start_time": int(start.timestamp()), "end_time": int((start + width).timestamp())}
        if path.endswith("/costs"):
            results = [
                {
                    "object": "organization.costs.result",
                    "amount": {"value": call.tokens["output"] / 1e6, "currency": "usd"},
                    "line_item": "gpt-5-2025-08-07, output",
                    "project_id": call.dimensions["workspace_id"],
                }
                for call in self._of(start, width)
            ]
            return {"object": "bucket", **stamps, "results": results}
        results = [
            {
                "object": "organization.usage.completions.result",
                "input_tokens": tokens["input"] + tokens["read"],
                "input_cached_tokens": tokens["read"],
                "output_tokens": tokens["output"],
                "num_model_requests": 1,
                "project_id": None,
                "user_id": None,
                "api_key_id": dimensions.get("api_key_id"),
                "model": "gpt-5-2025-08-07" if "model" in grouped else None,
                "batch": dimensions["service_tier"] == "batch" if "batch" in grouped else None,
                "service_tier": None,
                **self.extra,
            }
            for dimensions, tokens in self._sums(start, width, [*grouped, "service_tier"])
        ]
        return {"object": "bucket", **stamps, "results": results}

    def _of(self, start: dt.datetime, width: dt.timedelta) -> list[Call]:
        return [call for call in self.calls if start <= call.at < start + width]

    def _sums(
        self, start: dt.datetime, width: dt.timedelta, grouped: list[str]
    ) -> Iterator[tuple[dict[str, Any], dict[str, int]]]:
        sums: dict[tuple[Any, ...], dict[str, int]] = defaultdict(lambda: defaultdict(int))
        for call in self._of(start, width):
            key = tuple((name, value) for name, value in call.dimensions.items() if name in grouped)
            for kind, tokens in call.tokens.items():
                sums[key][kind] += tokens
        for key, tokens in sums.items():
            yield dict(key), tokens


def _cost_result(call: Call) -> dict[str, Any]:
    return {
        # cents
        "amount": f"{call.tokens['output'] * 15 / 1e4:.6f}",
        "currency": "USD",
        "workspace_id": call.dimensions["workspace_id"],
        "description": "Usage - Output Tokens",
        "cost_type": "tokens",
        "token_type": "output_tokens",
        "model": call.dimensions["model"],
        "service_tier": call.dimensions["service_tier"],
        "context_window": call.dimensions["context_window"],
    }


@contextmanager
def serving(provider: FakeProvider) -> Iterator[FakeProvider]:
    """Serve `provider` at its `base_url`, on a free loopback port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            query = parse_qs(url.query)
            provider.asked.append((url.path, query))
            stated = self.headers.get("x-api-key") or self.headers.get("Authorization", "").removeprefix("Bearer ")
            fault = provider.fault()
            if stated != provider.key:
                fault = (401, {})
            if isinstance(fault, tuple):
                # a provider's message on a key may quote it
                error = {"type": "invalid_request_error", "message": f"Incorrect API key provided: {stated}"}
                self._send(fault[0], json.dumps({"error": error}).encode(), fault[1])
                return
            # indented, as some proxies do: a page then has several lines
            body = json.dumps(provider.answer(url.path, query), indent=1).encode()
            if fault == "torn":
                self._send(200, body[: len(body) // 2], {})
            elif fault == "cut":
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[: len(body) // 2])
                self.close_connection = True
            else:
                self._send(200, body, {})

        def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    provider.base_url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield provider
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
