"""A session: what it cost, its requests over time, its use of the cache, and the files that it came from.

Belongs here: the views and sentences of this page. Does not belong here: what sessions cost together (sessions).

The page has no filters: its address names the session, as `?id=`.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.store.connection import Row
from pipeline.store.published import Snapshot
from pipeline.store.sqlfiles import sql
from pipeline.views import plots
from pipeline.views.filters import Filters
from pipeline.views.view import Answer, Column, Figure, Page, Tile, View, dimension_link, money, shown, text
from pipeline.words import counted

_KINDS = {
    "read_tokens": "read from the cache",
    "written_tokens": "written to the cache",
    "input_tokens": "input, not cached",
    "output_tokens": "output",
}
_NO_REQUESTS = "Only the session as a whole is in the logs, not its requests."


def _id(filters: Filters) -> dict[str, str]:
    return {"id": filters.option("id")}


def _tokens(rows: Sequence[Row], filters: Filters) -> Figure:
    long = [
        {"request": row["first_request"], "kind": legend, "tokens": row[column] / row["requests"]}
        for row in rows
        for column, legend in _KINDS.items()
        if any(row[column] for row in rows)
    ]
    figure = plots.stacked(long, "request", "tokens", "kind", "tokens")
    most = max(row["requests"] for row in rows)
    average = f" (averages of {most:,})" if most > 1 else ""
    figure["layout"]["xaxis"] = {"title": {"text": f"request, in order{average}"}}
    return figure


def _tokens_sentence(rows: Sequence[Row], filters: Filters) -> str:
    inputs = [row["input_tokens"] + row["written_tokens"] + row["read_tokens"] for row in rows]
    first, last = (inputs[place] / rows[place]["requests"] for place in (0, -1))
    if len(rows) == 1:
        return ""
    change = f", {last / first:,.1f} times as much" if first and last >= 2 * first else ""
    return f"Requests began with {first:,.0f} tokens of input and ended with {last:,.0f}{change}."


def _cost(rows: Sequence[Row], filters: Filters) -> Figure | None:
    return plots.lines(rows, "requested_at", {"upto_usd": "cost so far"}, "usd") if len(rows) > 1 else None


def _files_sentence(rows: Sequence[Row], filters: Filters) -> str:
    if rows[0]["is_named"]:
        return f"{counted(len(rows), 'file')} with the session's id in the name. Lines are not published."
    if len(rows) == 1:
        return "Its records are in this file, the only one of its format with usage on these days."
    return f"Its records are in one or more of these {len(rows):,} files: all of its format with usage on these days."


def _kinds(rows: Sequence[Row], filters: Filters) -> Figure:
    return plots.ranked(rows, "token_kind", "tokens", "tokens")


_INPUT = Column("input_tokens", "Input", "tokens", "Input that was neither written to nor read from the cache")
_WRITTEN = Column("written_tokens", "Cache writes", "tokens", "Input written to the cache")
_READ = Column("read_tokens", "Cache reads", "tokens", "Input read from the cache, at a tenth of the input rate or so")
_OUTPUT = Column("output_tokens", "Output", "tokens")
_COST = Column("cost_usd", "Cost", "usd", "At the rate card, USD; a dash where there is no rate")
_OWNERS = tuple(
    Column(name, label, link=dimension_link("spend", name))
    for name, label in (("user_id", "User"), ("project", "Project"), ("api_key", "API key"))
)

TOKENS = View(
    name="tokens",
    title="Tokens of each request",
    query="views/session/steps",
    columns=(
        Column("first_request", "Request", "count", "The first of its group, where there are more than 200"),
        Column("requested_at", "At (UTC)", "moment"),
        Column("requests", "Requests", "count"),
        _INPUT,
        _WRITTEN,
        _READ,
        _OUTPUT,
        _COST,
        Column("upto_usd", "Cost so far", "usd"),
    ),
    figure=_tokens,
    sentence=_tokens_sentence,
    values=_id,
    empty=_NO_REQUESTS,
)
COST = View(
    name="cost",
    title="Cost over time",
    query="views/session/steps",
    columns=(Column("requested_at", "At (UTC)", "moment"), _COST, Column("upto_usd", "Cost so far", "usd")),
    figure=_cost,
    values=_id,
    empty=_NO_REQUESTS,
)
KINDS = View(
    name="kinds",
    title="Tokens by kind",
    query="views/session/kinds",
    columns=(
        Column("token_kind", "Kind"),
        Column("tokens", "Tokens", "tokens"),
        Column("share_of_tokens", "Share", "share"),
    ),
    figure=_kinds,
    values=_id,
    empty="No session has this id.",
)
PARTS = View(
    name="parts",
    title="Models and subagents",
    query="views/session/parts",
    columns=(
        Column("model", "Model", link=dimension_link("spend", "model")),
        Column("made_by", "Requested by", help="A subagent works for the session, in a conversation of its own"),
        Column("requests", "Requests", "count"),
        _COST,
        Column("tokens", "Tokens", "tokens"),
        _OUTPUT,
        Column("cache_read_share", "From cache", "share", "Share of input tokens that were read from the cache"),
    ),
    values=_id,
    empty=_NO_REQUESTS,
)
REQUESTS = View(
    name="requests",
    title="All requests",
    query="views/session/requests",
    columns=(
        Column("requested_at", "At (UTC)", "moment"),
        Column("model", "Model"),
        Column("is_sidechain", "Subagent", "yes"),
        _INPUT,
        _WRITTEN,
        _READ,
        _OUTPUT,
        _COST,
        Column("context_window", "Window", help="200k-1M: more than 200,000 tokens of input, at a higher rate"),
        Column("request_key", "Request"),
    ),
    values=_id,
    empty=_NO_REQUESTS,
    is_list=True,
)
FILES = View(
    name="files",
    title="Where it comes from",
    query="views/session/files",
    columns=(
        Column("path", "File"),
        Column("format", "Format"),
        Column("first_usage_date", "First day", "day"),
        Column("last_usage_date", "Last day", "day"),
        Column("rows_loaded", "Rows", "count", "Rows of the file that were loaded"),
        Column("loaded_at", "Loaded at (UTC)", "moment"),
        Column("file_sha256", "sha256"),
    ),
    sentence=_files_sentence,
    values=_id,
    empty="None of the loaded files can be named as its source.",
)


def answer(snapshot: Snapshot, filters: Filters) -> Answer:
    """What the session cost, against a typical one, and who ran it."""
    rows = snapshot.rows(sql("views/session/answer"), _id(filters))
    if not rows:
        return Answer("No session has this id. The page of sessions lists all of them.")
    session = rows[0]
    cost, requests = session["estimated_cost_usd"], session["request_count"]
    whose = f" of {text(session['user_id'])}" if session["user_id"] else ""
    amount = "has no price" if cost is None else f"cost {money(cost)}"
    many = f" in {counted(requests, 'request')}" if requests else ""
    typical = session["typical_usd"]
    times = float(cost) / typical if cost is not None and typical else None
    compared = f", {times:,.0f} times a typical session ({money(typical)})" if times is not None and times >= 2 else ""
    tiles = [
        Tile("Started", shown(session["session_started_at"], "moment"), "UTC"),
        Tile("Lasted", shown(float(session["duration_seconds"] or 0), "seconds")),
        Tile("Tokens", f"{session['total_tokens']:,}"),
        Tile("Input from the cache", shown(session["cache_read_share"], "share")),
    ]
    if session["subagent_requests"]:
        tiles.append(
            Tile("By subagents", money(session["subagent_usd"]), counted(session["subagent_requests"], "request"))
        )
    tiles += [
        Tile(column.label, text(session[column.name]), to=column.leads_to(session, Filters()))
        for column in _OWNERS
        if session[column.name]
    ]
    return Answer(
        f"Session {text(session['session_id'])}{whose} {amount}{many}{compared}.",
        "" if cost is None else money(cost),
        tuple(tiles),
        _warnings(session),
    )


def _warnings(session: Row) -> tuple[str, ...]:
    warnings = []
    if session["billing_mode"] == "subscription":
        warnings.append("A subscription covers this session: the cost is what it would be by the token.")
    if session["estimated_cost_usd"] is None:
        warnings.append("Part of its usage has no rate: add it to rate_overrides.csv.")
    if session["rest_tokens"]:
        warnings.append(f"{session['rest_tokens']:,} of its tokens are in no request below: only its total has them.")
    if session["cache_split_assumed"]:
        warnings.append("Its log does not separate cache writes for 5 minutes and an hour; all count as 5 minutes.")
    return tuple(warnings)


PAGE = Page(
    "session",
    "What did this session do?",
    "Session",
    answer,
    (TOKENS, COST, KINDS, PARTS, REQUESTS, FILES),
    is_hidden=True,
)
