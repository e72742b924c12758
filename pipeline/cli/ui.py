"""The Dagster UI of `token-analytics ui`: `dagster dev` with a web server that answers only its own pages.

Belongs here: the reports that the UI links to, and which requests change something. Does not belong here: what
Dagster shows (definitions), starting this (dagster_ui), the content of a report (views), and the check of hosts
(serving.guard).

Dagster's web server does not ask where requests come from, and even a GET may change things. A browser opens no file://
link from a page of a server, so the reports are served beside the UI.
"""

from __future__ import annotations

import asyncio
import html
import re
import sys
import urllib.parse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline import settings
from pipeline.serving.guard import App, OwnPagesOnly, Receive, Scope, Send, answer
from pipeline.views.files import FOLDER
from pipeline.views.pages import ADDRESS

# What a report consists of: pages, the scripts and styles beside them, and the rows of their views.
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".csv": "text/csv; charset=utf-8",
    ".parquet": "application/vnd.apache.parquet",
}


class Reports:
    """An ASGI application that answers GET of /reports/... from a folder of pages, and passes on everything else.

    Only files of the known types inside of the folder are read, whatever a path or a symbolic link says. A page gets
    the policy that it states itself, as a header, and an origin of its own (`sandbox`): no script in it may speak to
    Dagster.
    """

    def __init__(self, app: App, folder: Path) -> None:
        self._app = app
        self._folder = folder

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with a file, or pass the request on."""
        if scope["type"] != "http" or not f"{scope['path']}/".startswith(f"{ADDRESS}/"):
            await self._app(scope, receive, send)
        elif scope["method"] not in ("GET", "HEAD"):
            await answer(send, 405, b"Reports are only read.\n", allow="GET, HEAD")
        elif (found := await asyncio.to_thread(self._read, scope["path"].removeprefix(ADDRESS))) is None:
            await answer(send, 404, b"There is no such report: it is written by a run.\n")
        else:
            content, kind = found
            body = b"" if scope["method"] == "HEAD" else content
            await answer(send, 200, body, content_type=kind, content_security_policy=_policy(content))

    def _read(self, path: str) -> tuple[bytes, str] | None:
        """The file at `path` (for a folder, its index) and its type, or None."""
        folder = self._folder.resolve()
        try:
            file = (folder / path.lstrip("/")).resolve()
            if file.is_dir():
                file /= "index.html"
            is_part = file.suffix in _TYPES and file.resolve().is_relative_to(folder) and file.is_file()
            return (file.read_bytes(), _TYPES[file.suffix]) if is_part else None
        except (OSError, ValueError):  # no permission, a NUL in the path
            return None


_STATED_POLICY = re.compile(rb'<meta http-equiv="Content-Security-Policy" content="([^"\r\n]+)">')


def _policy(page: bytes) -> str:
    stated = _STATED_POLICY.search(page[:10_000])
    policy = (
        html.unescape(stated.group(1).decode("latin-1")) if stated else "default-src 'none'; style-src 'unsafe-inline'"
    )
    return f"{policy}; frame-ancestors 'none'; sandbox allow-scripts allow-downloads allow-popups"


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
        guarded = Reports(create(*args, **options), reports)
        # A page with an origin of its own asks for its scripts as another site would.
        return OwnPagesOnly(guarded, host, _changes_something, public=f"{ADDRESS}/{FOLDER}/")

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
