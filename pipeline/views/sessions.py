"""What do sessions cost? How uneven they are, which make half of the cost, who spends, and which stand out.

Belongs here: the views and sentences of this page. Does not belong here: a single session (session), and any statistic
(schema analysis); the curve of a fitted family is drawn from its published parameters.

Sessions are known from logs only, whatever the source of other pages. A session counts whole on the day on which it
started, and belongs to the model with most of its tokens.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence
from decimal import Decimal

from pipeline.analysis.stats import laws
from pipeline.store.connection import Row
from pipeline.store.published import Snapshot
from pipeline.store.sqlfiles import sql
from pipeline.views import plots
from pipeline.views.filters import DIMENSIONS, Filters
from pipeline.views.moves import causes_in_words
from pipeline.views.view import (
    Answer,
    Column,
    Figure,
    Page,
    Tile,
    View,
    dimension_link,
    edge,
    money,
    segment_name,
    session_link,
    share,
    text,
)
from pipeline.words import counted

OF_SESSIONS = {name: name for name in ("provider", "workspace", "api_key", "user_id", "project")} | {
    "model": "primary_model"
}
STARTED = "cast(session_started_at as date)"
OF_CHARGES = {name: name for name in DIMENSIONS}
# Segments of schema analysis by dimension; `all` is none of them.
OF_SEGMENTS = {
    name: f"if(starts_with(segment, '{name}='), substr(segment, {len(name) + 2}), null)"
    for name in ("workspace", "api_key", "model", "user_id", "project")
}
# Half of the cost by less than this share of sessions: a few expensive ones drive it. From a third on: they are alike.
FEW, ALIKE = 0.1, 1 / 3
# Below as many sessions, the largest 1% is less than one.
LEAST_FOR_1_PERCENT = 100


def _is_whole_history(filters: Filters) -> bool:
    return filters.first is None and filters.last is None


def _fitted_segment(filters: Filters) -> dict[str, str | None]:
    """Statistics cover all days, so they do not fit a period."""
    return {"segment": filters.segment if _is_whole_history(filters) else None}


def _distribution(rows: Sequence[Row], filters: Filters) -> Figure:
    measure = filters.choice("measure", ("sessions", "cost_usd"))
    ends = [(math.log10(row["from_usd"]), math.log10(row["to_usd"])) for row in rows]
    ranges = [f"{edge(row['from_usd'])} to {edge(row['to_usd'])}" for row in rows]
    traces = [
        {
            "type": "bar",
            "name": "sessions",
            "x": [(low + high) / 2 for low, high in ends],
            "y": [plots.number(row[measure]) for row in rows],
            "width": [high - low for low, high in ends],
            "hovertext": [
                f"{reach} a session<br>{counted(row['sessions'], 'session')}, {money(row['cost_usd'])} together"
                for reach, row in zip(ranges, rows, strict=True)
            ],
            "hoverinfo": "text",
            "marker": {"color": plots.SERIES[0]},
        }
    ]
    if measure == "sessions" and rows[0]["fitted_family"]:
        traces.append(_fitted_curve(rows))
    decades = range(math.floor(ends[0][0]), math.ceil(ends[-1][1]) + 1)
    return {
        "data": traces,
        "layout": {
            "xaxis": {
                "title": {"text": "cost of a session"},
                "tickvals": list(decades),
                "ticktext": [money(Decimal(10) ** power) for power in decades],
            },
            "yaxis": plots.axis("count" if measure == "sessions" else "usd", (row[measure] for row in rows)),
            "bargap": 0.02,
            "showlegend": len(traces) > 1,
        },
    }


def _fitted_curve(rows: Sequence[Row]) -> Row:
    """The sessions that the fitted family expects in bins like those of the rows, over their whole range."""
    family, params = rows[0]["fitted_family"], json.loads(rows[0]["fitted_params"])
    first, last = math.log10(rows[0]["from_usd"]), math.log10(rows[-1]["to_usd"])
    width = math.log10(rows[0]["to_usd"] / rows[0]["from_usd"])
    edges = [first + width * step for step in range(round((last - first) / width) + 1)]
    below = laws.cdf(family, params, [10**edge for edge in edges])
    return {
        "type": "scatter",
        "mode": "lines",
        "name": f"best fit: {laws.LAWS[family].label}",
        "x": [edge + width / 2 for edge in edges[:-1]],
        "y": [plots.number(rows[0]["fitted_sessions"] * (high - low)) for low, high in itertools.pairwise(below)],
        "hoverinfo": "skip",
        "line": {"color": plots.SERIES[1], "width": 2},
    }


def _distribution_sentence(rows: Sequence[Row], filters: Filters) -> str:
    """Where most sessions lie, and where most of the money does."""
    largest = max(rows, key=lambda row: row["sessions"])
    costliest = max(rows, key=lambda row: row["cost_usd"])
    if len(rows) < 3:
        return ""
    return (
        f"Sessions most often cost {edge(largest['from_usd'])} to {edge(largest['to_usd'])}; those of "
        f"{edge(costliest['from_usd'])} to {edge(costliest['to_usd'])} take the most money."
    )


def _tails_sentence(rows: Sequence[Row], filters: Filters) -> str:
    if filters.chosen and all(row["segment"] == "all" for row in rows):
        return "There are no such statistics for these filters, so only all sessions are listed."
    chosen = rows[1] if filters.chosen else rows[0]
    swings = chosen["month_variance_share_top_1"]
    if swings is None or chosen["sessions"] < LEAST_FOR_1_PERCENT:
        return ""
    whose = f"the sessions of {segment_name(chosen['segment'])}" if filters.chosen else "all sessions"
    return f"The largest 1% of {whose} cause {share(swings)} of the random month-to-month swings."


def _tail_link(row: Row, filters: Filters) -> tuple[str, Filters] | None:
    dimension, _, name = row["segment"].partition("=")
    return dimension_link("sessions", dimension)({dimension: name}, filters)


def _half_sentence(rows: Sequence[Row], filters: Filters) -> str:
    needed, sessions = rows[0]["needed"], rows[0]["sessions"]
    listed = f" The {len(rows):,} most expensive are listed." if needed > len(rows) else ""
    verb = "makes" if needed == 1 else "make"
    return f"{needed:,} of {counted(sessions, 'session')} ({share(needed / sessions)}) {verb} half of the cost.{listed}"


def _users(rows: Sequence[Row], filters: Filters) -> Figure | None:
    if not any(row["user_id"] for row in rows):
        return None
    return plots.ranked(rows, "user_id", "cost_usd", "usd")


def _users_sentence(rows: Sequence[Row], filters: Filters) -> str:
    total = sum((row["cost_usd"] for row in rows), Decimal(0))
    if not total:
        return ""
    unnamed = next((row["cost_usd"] for row in rows if not row["user_id"]), Decimal(0))
    left_out = f" {money(unnamed)} of {money(total)} names no user." if unnamed else ""
    named, stated = [row for row in rows if row["user_id"]], total - unnamed
    if not stated:
        return "The logs name no user."
    upto = itertools.accumulate(row["cost_usd"] for row in named)
    needed = 1 + sum(2 * amount < stated for amount in upto)
    if needed == 1:
        first = share(float(named[0]["cost_usd"] / stated))
        return f"{text(named[0]['user_id'])} alone makes {first} of the cost.{left_out}"
    return f"{needed:,} of {counted(len(named), 'user')} make half of the cost.{left_out}"


def _outliers_sentence(rows: Sequence[Row], filters: Filters) -> str:
    sessions = len({row["session_id"] for row in rows})
    most = max(rows, key=lambda row: row["times_usual"] or 0)
    verb = "costs" if sessions == 1 else "cost"
    first = f"{counted(sessions, 'session')} {verb} far more than usual for the same user or key"
    return f"{first}, up to {most['times_usual']:,.0f} times." if most["times_usual"] else f"{first}."


_SESSION = Column("session_id", "Session", link=session_link)
_STARTED = Column("session_started_at", "Started (UTC)", "moment")
_USER = Column("user_id", "User", link=dimension_link("sessions", "user_id"))
_PROJECT = Column("project", "Project", link=dimension_link("sessions", "project"))
_KEY = Column("api_key", "API key", link=dimension_link("sessions", "api_key"))
_MODEL = Column("primary_model", "Model", help="The model with most of the session's tokens")
_REQUESTS = Column("request_count", "Requests", "count", "A dash where the log does not count them")
_TOKENS = Column("total_tokens", "Tokens", "tokens")
_COST = Column("cost_usd", "Cost", "usd", "Usage at the rate card, USD")

DISTRIBUTION = View(
    name="distribution",
    title="How much a session costs",
    query="views/sessions/distribution",
    columns=(
        Column("from_usd", "From", "edge"),
        Column("to_usd", "To", "edge"),
        Column("sessions", "Sessions", "count"),
        Column("share_of_sessions", "Of all sessions", "share"),
        Column("cost_usd", "Together", "usd", "What the sessions of this row cost together"),
        Column("share_of_cost", "Of all cost", "share"),
    ),
    knows=OF_SESSIONS,
    date=STARTED,
    figure=_distribution,
    sentence=_distribution_sentence,
    values=_fitted_segment,
    choices={"measure": ("sessions", "cost_usd")},
    note="Each bar to the right costs a fixed number of times as much. Sessions without cost are left out.",
    empty="No session with a cost matches these filters.",
)
HALF = View(
    name="half",
    title="The sessions that make half of the cost",
    query="views/sessions/half",
    columns=(
        Column("place", "Rank", "count"),
        _SESSION,
        _COST,
        Column("upto_share", "Share so far", "share", "Share of the cost, up to this session"),
        _STARTED,
        _USER,
        _PROJECT,
        _KEY,
        _MODEL,
        _REQUESTS,
        _TOKENS,
    ),
    knows=OF_SESSIONS,
    date=STARTED,
    sentence=_half_sentence,
    empty="No session with a cost matches these filters.",
    rows_shown=15,
)
USERS = View(
    name="users",
    title="Who spends",
    query="views/sessions/users",
    columns=(
        Column("user_id", "User", link=dimension_link("spend", "user_id")),
        _COST,
        Column("share_of_cost", "Share", "share"),
        Column("upto_share", "Share so far", "share", "Share of the cost, up to this user"),
        Column("tokens", "Tokens", "tokens"),
        Column("cache_read_share", "From cache", "share", "Share of input tokens that were read from the cache"),
        Column("first_day", "First day", "day"),
        Column("last_day", "Last day", "day"),
    ),
    knows=OF_CHARGES,
    date="usage_date",
    figure=_users,
    sentence=_users_sentence,
    note="Users are known from logs only: what the provider's account adds to them names no user.",
)
OUTLIERS = View(
    name="outliers",
    title="Unusually expensive for the same user or key",
    query="views/sessions/outliers",
    columns=(
        _SESSION,
        _COST,
        Column("segment", "Compared with", "segment"),
        Column("usual_usd", "Usual cost", "usd", "Half of the sessions of this user or key cost less"),
        Column("times_usual", "Times as much", "ratio"),
        Column("causes", "Why it costs more", "long", is_words=True),
        _STARTED,
    ),
    knows=OF_SESSIONS,
    date=STARTED,
    sentence=_outliers_sentence,
    words=lambda row: {"causes": causes_in_words(row["contributions"])},
    empty="No session is far more expensive than usual for its user or key.",
    rows_shown=15,
)
TAILS = View(
    name="tails",
    title="By key, model, workspace, user and project",
    query="views/sessions/tails",
    columns=(
        Column("segment", "Sessions of", "segment", link=_tail_link),
        Column("sessions", "Number", "count"),
        Column("median_usd", "Typical", "usd", "Half of the sessions cost less (median)"),
        Column("p95_usd", "95 of 100 below", "usd", "95 of 100 sessions cost at most this"),
        Column("max_usd", "Most", "usd"),
        Column("top_1_share", "Largest 1%", "share", "Share of the cost that the most expensive 1% of sessions make"),
        Column(
            "month_variance_share_top_1",
            "Of the swings",
            "share",
            "Share of the random month-to-month swings that the most expensive 1% of sessions cause",
        ),
        Column("half_of_total_share", "Make half", "share", "Share of the sessions that make half of the cost"),
        Column(
            "is_heavy",
            "Extremes decide",
            help="Yes (a heavy tail): rare sessions far above all others decide the total, so expect larger ones than "
            "any so far. No (a light tail): a few times the average is the limit.",
        ),
        Column("verdict_reason", "Why", "long"),
    ),
    knows=OF_SEGMENTS,
    sentence=_tails_sentence,
    note="The most expensive of each. A session belongs to the model with most of its tokens.",
    rows_shown=15,
)
SESSIONS = View(
    name="sessions",
    title="All sessions",
    query="views/sessions/sessions",
    columns=(
        _SESSION,
        _COST,
        _STARTED,
        _USER,
        _PROJECT,
        _KEY,
        _MODEL,
        _REQUESTS,
        _TOKENS,
        Column("cache_read_share", "From cache", "share", "Share of input tokens that were read from the cache"),
        Column("duration_seconds", "Lasted", "seconds"),
    ),
    knows=OF_SESSIONS,
    date=STARTED,
    empty="No session matches these filters.",
    is_list=True,
)


def answer(snapshot: Snapshot, filters: Filters) -> Answer:
    """What a typical session costs, and how few make most of the cost."""
    condition, values = filters.conditions(OF_SESSIONS, STARTED)
    (row,) = snapshot.rows(sql("views/sessions/answer", filters=condition), values)
    warnings = _warnings(row, filters)
    if not row["sessions"]:
        is_all = not (filters.chosen or filters.first or filters.last)
        nothing = (
            "No sessions are loaded: the provider's exports know none; transcripts and your own logs do."
            if is_all
            else "No sessions in the logs match these filters."
        )
        return Answer(nothing, warnings=warnings)
    if not row["cost_usd"]:
        return Answer(f"None of {counted(row['sessions'], 'session')} has a cost.", warnings=warnings)
    most = session_link({"session_id": row["most_expensive"]}, filters)
    tiles = (
        Tile("Sessions", f"{row['priced']:,}", f"{money(row['cost_usd'])} together"),
        Tile("Half of the cost", counted(row["needed"], "session"), f"{share(row['needed'] / row['priced'])} of all"),
        Tile("95 of 100 cost at most", money(row["p95_usd"])),
        Tile("Most expensive", money(row["most_usd"]), to=most),
    )
    return Answer(_sentence(row), money(row["median_usd"]), tiles, warnings)


def _sentence(row: Row) -> str:
    typical, priced, needed = money(row["median_usd"]), row["priced"], row["needed"]
    if priced == 1:
        return f"The one session cost {typical}."
    uneven = needed / priced
    half = f"{needed:,} of {priced:,} {'makes' if needed == 1 else 'make'} half"
    largest = f"the largest 1% make {share(row['top_1_share'])}, and " if priced >= LEAST_FOR_1_PERCENT else ""
    if uneven <= FEW:
        return f"A few very expensive sessions drive the cost: {largest}{half}; a typical one costs {typical}."
    if uneven < ALIKE:
        return f"A typical session costs {typical}; expensive ones weigh more: {largest}{half} of the cost."
    return f"A typical session costs {typical}, and most cost about as much: {half} of the cost."


def _warnings(row: Row, filters: Filters) -> tuple[str, ...]:
    warnings = []
    if filters.source == "console":
        warnings.append("The provider's account knows no sessions: these numbers come from your logs.")
    unknown = filters.unknown_to(OF_SESSIONS)
    if unknown:
        warnings.append(f"Sessions do not state a {' or '.join(unknown)}, so these numbers are not filtered by it.")
    if row["unpriced"]:
        warnings.append(
            f"Without a price, and left out: {counted(row['unpriced'], 'session')}. Add rates to rate_overrides.csv."
        )
    if row["of_seats"]:
        seats = counted(row["of_seats"], "session")
        warnings.append(f"Within subscriptions: {seats}. The list has what they would cost by the token.")
    return tuple(warnings)


PAGE = Page(
    "sessions",
    "What do sessions cost?",
    "Sessions",
    answer,
    (DISTRIBUTION, HALF, USERS, OUTLIERS, TAILS, SESSIONS),
)
