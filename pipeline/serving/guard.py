"""Which requests a web server of this machine answers, and how a refusal looks.

Belongs here: the check of host and origin, and the headers that every answer gets. Does not belong here: what a server
shows.

Any page that is open in a browser may send requests to an address of this machine, and a name of another site may lead
to it (DNS rebinding).
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
_EVERY_ADDRESS = ("0.0.0.0", "::", "")  # noqa: S104 - only compared with
READS = ("GET", "HEAD", "OPTIONS")


class OwnPagesOnly:
    """An ASGI application that accepts only requests to its own host, from its own pages or without an origin.

    `is_change` says of the query string of a GET whether it would change something: that has to be sent by POST. Below
    the path `public` pages of any site may load files: they are the same for everybody.
    """

    def __init__(
        self, app: App, host: str, is_change: Callable[[bytes], bool] | None = None, *, public: str = ""
    ) -> None:
        self._app = app
        self._host = f"[{host}]" if ":" in host else host.lower()
        self._is_change = is_change
        self._public = public

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a request, or refuse it."""
        problem = self._problem(scope) if scope["type"] in ("http", "websocket") else ""
        if not problem:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": problem})
        else:
            await answer(send, 403, f"Refused: {problem}.\n".encode())

    def _problem(self, scope: Scope) -> str:
        """Why a request is not answered, or ''."""
        given: dict[bytes, list[str]] = {}
        for name, value in scope["headers"]:
            given.setdefault(bytes(name).lower(), []).append(value.decode("latin-1").strip().lower())
        hosts, origins = given.get(b"host", []), given.get(b"origin", [])
        if len(hosts) != 1 or hosts[0] not in self._own(scope):
            return "another host was asked for"
        if any(urllib.parse.urlsplit(origin).netloc != hosts[0] for origin in origins):
            return "it comes from a page of another origin"
        is_public = bool(self._public) and scope["path"].startswith(self._public)
        is_elsewhere = "cross-site" in given.get(b"sec-fetch-site", [])
        if is_elsewhere and not is_public and "navigate" not in given.get(b"sec-fetch-mode", []):
            return "it comes from a page of another site"
        if (
            scope["type"] == "http"
            and scope["method"] in READS
            and self._is_change
            and self._is_change(scope["query_string"])
        ):
            return "what changes something has to be sent by POST"
        return ""

    def _own(self, scope: Scope) -> set[str]:
        """Valid host names of this server: a name of this machine only, or the address it listens on."""
        server = scope.get("server") or ("127.0.0.1", 80)
        address, port = str(server[0]), server[1]
        names = [*LOOPBACK]
        if self._host not in _EVERY_ADDRESS:
            names.append(self._host)
        if self._host not in LOOPBACK:
            names.append(f"[{address}]" if ":" in address else address)
        return {f"{name}:{port}" for name in names} | (set(names) if port == 80 else set())


class SafeHeaders:
    """An ASGI application whose answers carry a content security policy and the other headers of a careful site."""

    def __init__(self, app: App, policy: str) -> None:
        self._app = app
        self._headers = [
            (b"content-security-policy", policy.encode()),
            (b"x-content-type-options", b"nosniff"),
            (b"referrer-policy", b"no-referrer"),
            (b"cross-origin-opener-policy", b"same-origin"),
            (b"cross-origin-resource-policy", b"same-origin"),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a request, and add the headers to its answer."""

        async def send_with_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *self._headers]
            await send(message)

        await self._app(scope, receive, send_with_headers)


async def answer(
    send: Send, status: int, body: bytes, content_type: str = "text/plain; charset=utf-8", **headers: str
) -> None:
    """A complete answer that browsers neither cache nor interpret as another type."""
    headers = {"content_type": content_type, "x_content_type_options": "nosniff", **headers}
    headers |= {"cache_control": "no-store", "referrer_policy": "no-referrer"}
    sent = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": sent})
    await send({"type": "http.response.body", "body": body})
