"""The Dagster UI of `token-analytics ui`: `dagster dev` with a web server that answers only its own pages.

Belongs here: which requests are answered, and the reports that the UI links to. Does not belong here: what Dagster
shows (definitions), starting this (dagster_ui), and the content of a report (views).

Any page that is open in a browser may send requests to an address of this machine. Dagster's web server does not ask
where they come from, and even a GET may change things. A browser opens no file:// link from a page of a server, so the
reports are served beside the UI.
"""

from __future__ import annotations

import asyncio
import html
import re
import sys
import urllib.parse
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from pathlib import Path
from typing import Any

from pipeline import settings
from pipeline.views.pages import ADDRESS

_Scope = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
_Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
_App = Callable[[_Scope, _Receive, _Send], Awaitable[None]]

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
_EVERY_ADDRESS = ("0.0.0.0", "::", "")  # noqa: S104 - only compared with
_READS = ("GET", "HEAD", "OPTIONS")


class OwnPagesOnly:
    """An ASGI application that accepts only requests to its own host, from its own pages or without an origin."""

    def __init__(self, app: _App, host: str) -> None:
        self._app = app
        self._host = f"[{host}]" if ":" in host else host.lower()

    async def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        """Pass on a request, or refuse it."""
        problem = self._problem(scope) if scope["type"] in ("http", "websocket") else ""
        if not problem:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": problem})
        else:
            await _answer(send, 403, f"Refused: {problem}.\n")

    def _problem(self, scope: _Scope) -> str:
        """Why a request is not answered, or ''."""
        given: dict[bytes, list[str]] = {}
        for name, value in scope["headers"]:
            given.setdefault(bytes(name).lower(), []).append(value.decode("latin-1").strip().lower())
        hosts, origins = given.get(b"host", []), given.get(b"origin", [])
        if len(hosts) != 1 or hosts[0] not in self._own(scope):
            return "another host was asked for"
        if any(urllib.parse.urlsplit(origin).netloc != hosts[0] for origin in origins):
            return "it comes from a page of another origin"
        if "cross-site" in given.get(b"sec-fetch-site", []) and "navigate" not in given.get(b"sec-fetch-mode", []):
            return "it comes from a page of another site"
        if scope["type"] == "http" and scope["method"] in _READS and _changes_something(scope["query_string"]):
            return "what changes something has to be sent by POST"
        return ""

    def _own(self, scope: _Scope) -> set[str]:
        """Valid host names of this server: a name of this machine only, or the address it listens on."""
        server = scope.get("server") or ("127.0.0.1", 80)
        address, port = str(server[0]), server[1]
        names = [*LOOPBACK]
        if self._host not in _EVERY_ADDRESS:
            names.append(self._host)
        if self._host not in LOOPBACK:
            names.append(f"[{address}]" if ":" in address else address)
        return {f"{name}:{port}" for name in names} | (set(names) if port == 80 else set())


class Reports:
    """An ASGI application that answers GET of /reports/... from a folder of pages, and passes on everything else.

    Only HTML files inside of the folder are read, whatever a path or a symbolic link says. A page gets the policy
    that it states itself, as a header, and an origin of its own (`sandbox`): no script in it may speak to Dagster.
    """

    def __init__(self, app: _App, folder: Path) -> None:
        self._app = app
        self._folder = folder

    async def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        """Answer with a page, or pass the request on."""
        if scope["type"] != "http" or not f"{scope['path']}/".startswith(f"{ADDRESS}/"):
            await self._app(scope, receive, send)
        elif scope["method"] not in ("GET", "HEAD"):
            await _answer(send, 405, "Reports are only read.\n", allow="GET, HEAD")
        elif (page := await asyncio.to_thread(self._read, scope["path"].removeprefix(ADDRESS))) is None:
            await _answer(send, 404, "There is no such report: it is written by a run.\n")
        else:
            text = "" if scope["method"] == "HEAD" else page
            await _answer(send, 200, text, content_type="text/html", content_security_policy=_policy(page))

    def _read(self, path: str) -> str | None:
        """The page at `path` (for a folder, its index), or None."""
        folder = self._folder.resolve()
        try:
            file = (folder / path.lstrip("/")).resolve()
            if file.is_dir():
                file /= "index.html"
            is_page = file.suffix == ".html" and file.resolve().is_relative_to(folder) and file.is_file()
            return file.read_text(encoding="utf-8") if is_page else None
        except (OSError, ValueError):  # no permission, a NUL in the path, no UTF-8
            return None


_STATED_POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy" content="([^"\r\n]+)">')


def _policy(page: str) -> str:
    stated = _STATED_POLICY.search(page[:10_000])
    policy = html.unescape(stated.group(1)) if stated else "default-src 'none'; style-src 'unsafe-inline'"
    return f"{policy}; frame-ancestors 'none'; sandbox allow-scripts allow-downloads allow-popups"


async def _answer(send: _Send, status: int, text: str, content_type: str = "text/plain", **headers: str) -> None:
    """A complete answer that browsers neither cache nor interpret as another type."""
    headers = {"content_type": f"{content_type}; charset=utf-8", "x_content_type_options": "nosniff", **headers}
    headers |= {"cache_control": "no-store", "referrer_policy": "no-referrer"}
    sent = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": sent})
    await send({"type": "http.response.body", "body": text.encode()})


def _changes_something(query_string: bytes) -> bool:
    """Whether a request's address contains, or may contain, more than a GraphQL query."""
    from graphql import GraphQLError, OperationDefinitionNode, OperationType, parse

    for text in urllib.parse.parse_qs(query_string.decode("latin-1")).get("query", []):
        try:
            asked = parse(text).definitions
        except (GraphQLError, RecursionError):
            return True
        if any(isinstance(one, OperationDefinitionNode) and one.operation != OperationType.QUERY for one in asked):
            return True
    return False


def _serve(arguments: Sequence[str]) -> None:
    """Dagster's web server, guarded, with the reports of the home."""
    from dagster_webserver import cli

    host = arguments[arguments.index("--host") + 1] if "--host" in arguments else "127.0.0.1"
    reports = settings.load().reports
    create = vars(cli)["create_app_from_workspace_process_context"]

    def create_guarded(*args: Any, **options: Any) -> OwnPagesOnly:
        return OwnPagesOnly(Reports(create(*args, **options), reports), host)

    vars(cli).update(create_app_from_workspace_process_context=create_guarded)
    sys.argv = ["dagster-webserver", *arguments]
    cli.main()  # type: ignore[no-untyped-call]


def _develop(arguments: Sequence[str]) -> None:
    """`dagster dev`, which starts the web server as a process: ours in place of it."""
    from dagster._cli import dev, main

    start = vars(dev)["open_ipc_subprocess"]

    def start_ours(parts: Sequence[str], **options: Any) -> Any:
        if "dagster_webserver" in parts:
            at = parts.index("dagster_webserver")
            parts = [*parts[:at], "pipeline.cli.ui", "serve", *parts[at + 1 :]]
        return start(parts, **options)

    vars(dev).update(open_ipc_subprocess=start_ours)
    sys.argv = ["dagster", "dev", *arguments]
    main()  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    {"serve": _serve, "dev": _develop}[sys.argv[1]](sys.argv[2:])
