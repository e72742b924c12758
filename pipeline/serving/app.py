"""The application of `token-analytics serve`: pages, and each view's rows as CSV, Parquet, JSON or SQL.

Belongs here: routes, statuses and headers. Does not belong here: what a page shows (views), which requests are
answered at all (guard), and opening the published file (store.published).

Each request reads one snapshot, so nothing that it answers mixes two versions of the data.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable
from functools import cache

import duckdb
from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, PlainTextResponse
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware

from pipeline.settings import ConfigurationError, Settings
from pipeline.store.published import NothingPublishedError, Publication, Snapshot, UnreadableError
from pipeline.views import site, statement, teams
from pipeline.views.filters import FilterError, Filters, parse, spelled
from pipeline.views.rows import encoded

KINDS = {
    "csv": "text/csv",
    "parquet": "application/vnd.apache.parquet",
    "json": "application/json",
    "sql": "text/plain",
}
MOST_ROWS = 1_000_000
READS = ["GET", "HEAD"]  # a server leaves the body of HEAD out
_TYPES = {".js": "text/javascript", ".css": "text/css"}
ASSETS = {file.name: _TYPES[file.suffix] for file in site.STATIC.iterdir() if file.suffix in _TYPES}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


class Served:
    """Addresses of the served site."""

    is_live = True
    policy = ""  # sent as a header
    downloads = ("csv", "parquet", "json")

    def page(self, name: str, filters: Filters | None) -> str:
        """The address of a page."""
        return ("/" if name == "index" else f"/{name}") + (filters.address() if filters else "")

    def download(self, page: str, view: str, kind: str, filters: Filters) -> str:
        """The address of a view's rows."""
        return f"/{page}/{view}.{kind}{filters.address()}"

    def asset(self, name: str) -> str:
        """The address of a script or style: its content is part of it, so browsers may keep it."""
        return f"/static/{name}?{_digest(name)}"


@cache
def _digest(name: str) -> str:
    return hashlib.sha256((site.STATIC / name).read_bytes()).hexdigest()[:12]


@cache
def _asset(name: str, is_compressed: bool) -> bytes:
    content = (site.STATIC / name).read_bytes()
    return gzip.compress(content, 9) if is_compressed else content


def create(settings: Settings) -> FastAPI:
    """The application for a home."""
    publication = Publication(settings.published)
    served = Served()
    app = FastAPI(title="token-analytics", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(GZipMiddleware, minimum_size=1000, compresslevel=5)

    def filters_of(request: Request) -> Filters:
        pairs: dict[str, list[str]] = {}
        for key, value in request.query_params.multi_items():
            pairs.setdefault(key, []).append(value)
        return parse(pairs)

    def html(request: Request, make: Callable[[Snapshot, Filters], str]) -> Response:
        snapshot, filters = publication.current(), filters_of(request)
        # Pages differ by version, address, and the scripts that they name.
        tag = f'"{snapshot.version}-{hashlib.sha256(str(request.url).encode()).hexdigest()[:16]}"'
        headers = {"etag": tag, "cache-control": "no-cache"}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return HTMLResponse(make(snapshot, filters), headers=headers)

    @app.api_route("/", methods=READS)
    def entrance(request: Request) -> Response:
        """All questions with their answers."""
        return html(request, lambda snapshot, filters: site.index(served, snapshot, filters))

    @app.api_route("/static/{name}", methods=READS)
    def asset(request: Request, name: str) -> Response:
        """A script or style; its address names its content, so it never changes."""
        if name not in ASSETS:
            raise HTTPException(404)
        is_compressed = "gzip" in request.headers.get("accept-encoding", "")
        headers = {"cache-control": "public, max-age=31536000, immutable", "vary": "Accept-Encoding"}
        headers |= {"content-encoding": "gzip"} if is_compressed else {}
        return Response(_asset(name, is_compressed), media_type=ASSETS[name], headers=headers)

    @app.api_route("/{name}", methods=READS)
    def question(request: Request, name: str) -> Response:
        """A question."""
        page = site.page_of(name)
        if page is None:
            raise HTTPException(404)
        return html(request, lambda snapshot, filters: site.question(served, page, snapshot, filters))

    @app.api_route(f"/{teams.STATEMENT}", methods=READS)
    def statement_of(request: Request, month: str = "", team: str = "") -> Response:
        """The statement of a month and team, to download."""
        try:
            made = statement.make(publication.current(), month, team)
        except ConfigurationError as error:
            raise FilterError(str(error)) from None
        disposition = {"content-disposition": f'attachment; filename="{made.file_name}"'}
        return HTMLResponse(made.html(), headers=disposition)

    @app.api_route("/{name}/{file}", methods=READS)
    def rows(request: Request, name: str, file: str) -> Response:
        """A view's rows, or its query."""
        view_name, _, kind = file.rpartition(".")
        page = site.page_of(name)
        view = page.view(view_name) if page else None
        if view is None or kind not in KINDS:
            raise HTTPException(404)
        snapshot, filters = publication.current(), filters_of(request)
        query, values = view.statement(filters, snapshot)
        if kind == "sql":
            return PlainTextResponse(f"{spelled(query, values).strip()}\n")
        table = snapshot.arrow(f"select * from ({query}) limit {MOST_ROWS}", values)
        disposition = {"content-disposition": f'attachment; filename="{name}-{view_name}.{kind}"'}
        return Response(encoded(table, kind), media_type=KINDS[kind], headers=disposition)

    def message(request: Request, status: int, title: str, text: str) -> Response:
        return HTMLResponse(site.message(served, title, text), status_code=status)

    @app.exception_handler(FilterError)
    def bad_filter(request: Request, error: Exception) -> Response:
        return message(request, 400, "This address cannot be read", f"{error}.")

    @app.exception_handler(NothingPublishedError)
    def nothing(request: Request, error: Exception) -> Response:
        text = "Nothing is published in this home yet: `token-analytics run` publishes it, and this page then shows it."
        return message(request, 503, "Nothing to show yet", text)

    @app.exception_handler(UnreadableError)
    def unopened(request: Request, error: Exception) -> Response:
        text = (
            "The published database cannot be opened: it is damaged, or another program writes to it. If it stays so, "
            "remove token_analytics.duckdb from the home; `token-analytics run` publishes it again."
        )
        return message(request, 503, "This cannot be read", text)

    @app.exception_handler(duckdb.Error)
    def unreadable(request: Request, error: Exception) -> Response:
        text = "These rows cannot be read from what is published: `token-analytics run` renews it."
        return message(request, 503, "This cannot be read", text)

    @app.exception_handler(Exception)
    def unexpected(request: Request, error: Exception) -> Response:
        return message(request, 500, "This went wrong", "The page could not be made: the server printed the error.")

    @app.exception_handler(HTTPException)
    def other(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        if status == 404:
            return message(request, 404, "There is no such page", "The address leads nowhere.")
        return message(request, status, "This request is not answered", "The pages are only read.")

    return app
