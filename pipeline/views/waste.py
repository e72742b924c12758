"""What wastes money? Possible savings with their evidence, caches that cost more than they save, long prompts, loops.

Belongs here: the views and sentences of this page. Does not belong here: any saving (savings.recommendations), and what
a cache saved (marts.cache_efficiency_stats).
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from pipeline.settings import Savings
from pipeline.store.connection import Row
from pipeline.store.published import Snapshot
from pipeline.store.sqlfiles import sql
from pipeline.views import plots
from pipeline.views.filters import DIMENSIONS, FilterError, Filters
from pipeline.views.view import (
    Answer,
    Column,
    Figure,
    Page,
    Tile,
    View,
    dimension_link,
    money,
    session_link,
    share,
    text,
)
from pipeline.words import counted

BY = ("api_key", "model", "project", "workspace", "user_id")
OF_SAVINGS = {name: name for name in ("provider", "model", "api_key", "workspace", "project")}
OF_CACHE = {name: name for name in ("source", "provider", "model", "api_key", "workspace", "user_id")}
OF_CHARGES = {"source": "source", **{name: name for name in DIMENSIONS}}
OF_CONTEXT = {name: name for name in ("source", "provider", "model")}
OF_REQUESTS = {name: name for name in ("provider", "model", "api_key", "workspace", "user_id", "project")}
OF_REPLAYS = {name: name for name in ("provider", "model", "api_key", "workspace")}
REQUESTED = "cast(requested_at as date)"
# The thresholds that the settings begin with.
LOOP = Savings()


def _by(filters: Filters) -> str:
    return filters.choice("by", BY)


# ------------------------------------------------------------------------------------------------------- savings


def _waterfall(rows: Sequence[Row], filters: Filters) -> Figure | None:
    """From 30 days of today to 30 days after all savings, in the order in which they are applied."""
    today = rows[0]["cost_usd_per_month"]
    saved = sum((row["saving_usd_per_month"] for row in rows), Decimal(0))
    if today is None or filters.chosen:
        return None
    steps: list[tuple[str, Decimal, bool]] = [("30 days today", today, True)]
    steps += [
        (f"{text(row['owner'])}: {row['what']}", -row["saving_usd_per_month"], False)
        for row in sorted(rows, key=lambda row: row["applied_order"])
        if row["saving_usd_per_month"]
    ]
    figure = plots.waterfall([*steps, ("after all savings", today - saved, True)])
    low = _axis_start(today, saved)
    if low:
        figure["layout"]["yaxis"] |= {"range": [float(low), float(today + (today - low) / 8)], "tickformat": "~g"}
    return figure


def _axis_start(today: Decimal, saved: Decimal) -> Decimal:
    """Where the axis begins: above zero if the savings would otherwise be too small to see."""
    left = today - saved
    return max(left - saved / 2, Decimal(0)) if 2 * left > today else Decimal(0)


def _savings_sentence(rows: Sequence[Row], filters: Filters) -> str:
    saved = sum((row["saving_usd_per_month"] for row in rows), Decimal(0))
    first, last = min(row["first_usage_date"] for row in rows), max(row["last_usage_date"] for row in rows)
    sentence = f"Together {money(saved)} a month, by the usage from {first} to {last}. No request is counted twice."
    today = rows[0]["cost_usd_per_month"]
    if today is not None and not filters.chosen and _axis_start(today, saved):
        sentence += f" The figure begins at {money(_axis_start(today, saved))}."
    return sentence


def _owner_link(row: Row, filters: Filters) -> tuple[str, Filters] | None:
    dimension = "project" if row["project"] and not row["api_key"] else "api_key"
    return dimension_link("spend", dimension)(row, filters)


# --------------------------------------------------------------------------------------------------------- cache


def _cache_query(filters: Filters) -> str:
    if _by(filters) != "project":
        if any(name in ("project", "team") for name in filters.of):
            raise FilterError("what caching saved is not known by project or team; choose them under By: project")
        return "views/waste/cache"
    return "views/waste/cache_of_projects"


def _cache_figure(rows: Sequence[Row], filters: Filters) -> Figure:
    by = _by(filters)
    if by == "project":
        return plots.ranked([row for row in rows if row["written_tokens"]], by, "reads_per_write", "ratio")
    return plots.ranked(rows, by, "saved_usd", "usd")


def _cache_sentence(rows: Sequence[Row], filters: Filters) -> str:
    """Who wastes cache, first of all; then what all caching saved, and whose cache is used least."""
    by = _by(filters)
    cached = [row for row in rows if row["written_tokens"] or row["read_tokens"]]
    if not cached:
        return "Nothing was written to a cache or read from one."
    sentences = []
    if by != "project":
        saved = sum((row["saved_usd"] for row in rows), Decimal(0))
        sentences = [
            _who_wastes(rows, filters),
            f"All caching {'saved' if saved >= 0 else 'lost'} {money(abs(saved))}.",
        ]
    least = min(
        (row for row in cached if row["reads_per_write"] is not None),
        key=lambda row: row["reads_per_write"],
        default=None,
    )
    if least is not None and len(cached) > 1:
        reads = f"{least['reads_per_write']:,.1f} times"
        sentences.append(f"The least use: {_name(least[by], filters)} reads each token that it writes {reads}.")
    return " ".join(sentences)


def _who_wastes(rows: Sequence[Row], filters: Filters) -> str:
    losing = [row for row in rows if row["saved_usd"] < 0]
    if not losing:
        return f"No {DIMENSIONS[_by(filters)]} loses money by caching."
    worst = _name(losing[0][_by(filters)], filters)
    lost = sum((-row["saved_usd"] for row in losing), Decimal(0))
    others = f"; {len(losing):,} of {len(rows):,} lose {money(lost)} together" if len(losing) > 1 else ""
    return (
        f"{worst[:1].upper()}{worst[1:]} wastes cache: writing it cost {money(-losing[0]['saved_usd'])} more than "
        f"reading it saved{others}."
    )


def _name(value: str, filters: Filters) -> str:
    noun = DIMENSIONS[_by(filters)]
    return f"{noun} {text(value)}" if value else f"usage without {noun}"


# ------------------------------------------------------------------------------------------- long prompts and loops


def _context_sentence(rows: Sequence[Row], filters: Filters) -> str:
    surcharge = sum((row["surcharge_usd"] for row in rows), Decimal(0))
    cost = sum((row["long_usd"] for row in rows), Decimal(0))
    return (
        f"Prompts above 200,000 tokens cost {money(cost)}: {money(surcharge)} of it is the surcharge for their length."
    )


def _long_sessions_sentence(rows: Sequence[Row], filters: Filters) -> str:
    first = rows[0]
    key = f" with key {text(first['api_key'])}" if first["api_key"] else ""
    return f"The most expensive one{key} paid {money(first['surcharge_usd'])} for the length of its prompts."


def _runaway_sentence(rows: Sequence[Row], filters: Filters) -> str:
    cost = sum((row["cost_usd"] or Decimal(0) for row in rows), Decimal(0))
    return f"{counted(len(rows), 'session')} kept growing with almost no output: {money(cost)}."


_KEY = Column("api_key", "API key", link=dimension_link("spend", "api_key"))
_MODEL = Column("model", "Model", link=dimension_link("spend", "model"))
_USER = Column("user_id", "User", link=dimension_link("spend", "user_id"))
_SESSION = Column("session_id", "Session", link=session_link)
_COST = Column("cost_usd", "Cost", "usd", "Usage at the rate card, USD")

SAVINGS = View(
    name="savings",
    title="Possible savings",
    query="views/waste/savings",
    columns=(
        Column("owner", "Key or project", link=_owner_link),
        _MODEL,
        Column("saving_usd_per_month", "Saves a month", "usd", "USD in 30 days, after the savings applied before it"),
        Column(
            "hindsight_usd_per_month",
            "At best",
            "usd",
            "If it were known beforehand for which requests the change pays off; empty where that is known",
        ),
        Column(
            "held_out_usd",
            "On later days",
            "usd",
            "What the rule that was best on the earlier half of the days saved on the later half",
        ),
        Column("action", "What to do", "long"),
        Column(
            "confidence",
            "Confidence",
            help="high: arithmetic on actual costs; medium: rests on replaying the cache or on a prompt that can be "
            "cut; low: rests on a threshold, or saved nothing on later days; lower where there is little or old use",
        ),
        Column("session_id", "For example", link=session_link, help="The most expensive session that it affects"),
        Column("evidence", "Evidence", "long", "The numbers behind it, with the days of use that they come from"),
    ),
    knows=OF_SAVINGS,
    figure=_waterfall,
    sentence=_savings_sentence,
    note="Only usage whose single requests are in the logs can be assessed.",
    empty="No saving was found.",
)
CACHE = View(
    name="cache",
    title="Which caches pay off",
    query=_cache_query,
    columns=(
        *(Column(name, DIMENSIONS[name], link=dimension_link("spend", name)) for name in BY),
        Column(
            "saved_usd",
            "Caching saved",
            "usd",
            "Cost of the same usage without a cache, less its cost; below zero where writes cost more than reads saved",
        ),
        Column(
            "reads_per_write",
            "Reads per write",
            "ratio",
            "How often each token that is written to the cache is read again. With Anthropic's prices, caching loses "
            "money below 0.3 for writes that last five minutes, and below 1.1 for those that last an hour",
        ),
        Column("read_tokens", "Read", "tokens", "Tokens read from the cache"),
        Column("written_tokens", "Written", "tokens", "Tokens written to the cache"),
        Column("share_1h", "For an hour", "share", "Share of the writes that last an hour, at a higher price"),
        _COST,
        Column("unpriced_tokens", "Unpriced", "tokens", "Tokens whose saving is not known: a rate is missing"),
    ),
    knows=lambda filters: OF_CHARGES if _by(filters) == "project" else OF_CACHE,
    date="usage_date",
    figure=_cache_figure,
    sentence=_cache_sentence,
    parts=lambda filters: {} if _by(filters) == "project" else {"by": _by(filters)},
    choices={"by": BY},
)
CONTEXT = View(
    name="context",
    title="Long prompts",
    query="views/waste/long_context",
    columns=(
        _MODEL,
        Column("surcharge_usd", "Surcharge", "usd", "What the rates for long prompts add to the usual ones"),
        Column("long_usd", "Cost of long prompts", "usd"),
        Column("long_tokens", "Their tokens", "tokens"),
        Column("share_of_tokens", "Of all tokens", "share"),
        Column("cost_usd", "Cost of the model", "usd"),
    ),
    knows=OF_CONTEXT,
    date="usage_date",
    sentence=_context_sentence,
    note="Some models charge more for every token of a prompt above 200,000 tokens.",
    empty="No prompt was above 200,000 tokens.",
)
LONG_SESSIONS = View(
    name="long_sessions",
    title="Sessions that paid for long prompts",
    query="views/waste/long_sessions",
    columns=(
        _SESSION,
        _KEY,
        _USER,
        _MODEL,
        Column("requests", "Requests", "count"),
        Column("most_input_tokens", "Longest prompt", "tokens"),
        Column("surcharge_usd", "Surcharge", "usd"),
        _COST,
        Column("last_at", "Last (UTC)", "moment"),
    ),
    knows=OF_REQUESTS,
    date=REQUESTED,
    sentence=_long_sessions_sentence,
    empty="No request in the logs paid a surcharge.",
    rows_shown=15,
)
RUNAWAY = View(
    name="runaway",
    title="Sessions that run away",
    query="views/waste/runaway",
    columns=(
        _SESSION,
        _KEY,
        _MODEL,
        Column("requests", "Requests", "count", "Requests of this kind"),
        _COST,
        Column("input_tokens", "Input", "tokens"),
        Column("output_tokens", "Output", "tokens"),
        Column("first_at", "First (UTC)", "moment"),
    ),
    knows=OF_REPLAYS,
    date=REQUESTED,
    sentence=_runaway_sentence,
    parts=lambda filters: {"output_tokens": f"{LOOP.runaway_output_tokens}", "requests": f"{LOOP.runaway_requests}"},
    note=(
        f"More than {LOOP.runaway_requests} requests that each sent more than the one before and got at most "
        f"{LOOP.runaway_output_tokens} tokens back."
    ),
    empty="No session in the logs kept growing without output.",
    rows_shown=15,
)
QUESTIONS = View(
    name="questions",
    title="Your questions, and what was not assessed",
    query="views/waste/questions",
    columns=(
        Column("what", "What"),
        Column("subject", "About"),
        Column("what_if_usd_per_month", "Change a month", "usd", "Below zero is cheaper"),
        Column("evidence", "Answer", "long"),
    ),
    note="Ask what other models or tiers would cost under what_if in token_analytics.toml.",
    empty="Nothing was asked, and all usage was assessed.",
)


def answer(snapshot: Snapshot, filters: Filters) -> Answer:
    """What could be saved, and which key wastes cache."""
    savings = snapshot.rows(*SAVINGS.statement(filters))
    by_key = filters.without_options()
    cache: list[Row] = [] if {"project", "team"} & set(filters.of) else snapshot.rows(*CACHE.statement(by_key))
    context = snapshot.rows(*CONTEXT.statement(filters))
    tiles = []
    saved = sum((row["saving_usd_per_month"] for row in savings), Decimal(0))
    if cache:
        tiles.append(Tile("Caching saved", money(sum((row["saved_usd"] for row in cache), Decimal(0)))))
    if cache and cache[0]["saved_usd"] < 0:
        worst, lost = cache[0], f"{money(-cache[0]['saved_usd'])} lost"
        tiles.append(Tile("Wastes most cache", text(worst["api_key"]), lost, _KEY.leads_to(worst, by_key)))
    if context:
        surcharge = sum((row["surcharge_usd"] for row in context), Decimal(0))
        tiles.append(Tile("Surcharge for long prompts", money(surcharge)))
    sentences = [_answer_sentence(savings, saved, filters)]
    if cache:
        sentences.append(_who_wastes(cache, by_key))
    number = f"{money(saved)} a month" if saved else ""
    return Answer(" ".join(sentences), number, tuple(tiles), _warnings(snapshot, filters))


def _warnings(snapshot: Snapshot, filters: Filters) -> tuple[str, ...]:
    warnings = []
    unknown = filters.unknown_to(OF_SAVINGS, has_date=False)
    if unknown:
        warnings.append(f"Possible savings are not filtered by {' and '.join(unknown)}: they have their own window.")
    for row in snapshot.rows(sql("views/waste/questions")):
        if row["is_of_all"] and row["evidence"]:
            first, _, others = row["evidence"].partition(". ")
            warnings.append(f"{first}. What else was not assessed is at the end." if others else first)
    return tuple(warnings)


def _answer_sentence(savings: Sequence[Row], saved: Decimal, filters: Filters) -> str:
    if not saved:
        return "No saving was found."
    first = savings[0]
    today = first["cost_usd_per_month"]
    part = f" of {money(today)} ({share(float(saved / today))})" if today and not filters.chosen else ""
    return (
        f"{money(saved)}{part} a month could be saved, most of it by {text(first['owner'] or first['model'])}: "
        f"{first['what']}."
    )


PAGE = Page(
    "waste",
    "What wastes money?",
    "Waste",
    answer,
    (SAVINGS, CACHE, CONTEXT, LONG_SESSIONS, RUNAWAY, QUESTIONS),
)
