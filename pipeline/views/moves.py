"""Why did it move? The bridge between two periods by cause, the days that stand out, and the sessions behind them.

Belongs here: the views and sentences of this page, and which two periods it compares. Does not belong here: how a
change is split (analysis.bridge) and how days are judged (analysis.days).

The published bridge goes from month to month; for any other two periods it is computed when asked for.
"""

from __future__ import annotations

import datetime as dt
import json
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from pipeline.analysis.bridge import SEGMENTS, Period, bridge_between
from pipeline.store.connection import Row
from pipeline.store.published import Snapshot
from pipeline.store.sqlfiles import literal, sql
from pipeline.views import plots
from pipeline.views.filters import DIMENSIONS, NOT_STATED, FilterError, Filters, parse
from pipeline.views.view import (
    OF_TEAM_KEYS,
    Answer,
    Column,
    Figure,
    Page,
    Tile,
    View,
    day_link,
    dimension_link,
    money,
    segment_name,
    session_link,
)
from pipeline.words import counted

OF_CHARGES = {"source": "source", **{name: name for name in DIMENSIONS}}
BY = ("api_key", "model", "team", "workspace")
AGAINST = ("the period before", "a month earlier", "a year earlier")
# What a cause is called where it added cost, and where it saved.
CAUSES = {
    "volume": ("more usage", "less usage"),
    "sessions": ("more sessions", "fewer sessions"),
    "requests per session": ("more requests a session", "fewer requests a session"),
    "tokens per request": ("longer requests", "shorter requests"),
    "model mix": ("more expensive models", "cheaper models"),
    "cache share": ("less from the cache, or more output", "more from the cache, or less output"),
    "long context": ("more long prompts", "fewer long prompts"),
    "tier": ("more expensive tiers", "cheaper tiers, such as batch"),
    "region": ("more expensive regions", "cheaper regions"),
    "speed": ("more of the fast mode", "less of the fast mode"),
    "list price": ("higher list prices", "lower list prices"),
    "price": ("higher prices", "lower prices"),
    "discount": ("smaller discounts", "larger discounts"),
    "rounding": ("rounding of the bill", "rounding of the bill"),
    "new keys": ("new keys", "credits of new keys"),
    "gone keys": ("credits of keys no longer used", "keys no longer used"),
}
KINDS = {
    "shock": "one expensive day",
    "level_shift": "more expensive from then on",
    "new_segment": "new",
}
# Causes in a sentence, and the smallest that it names, as a share of the largest.
MOST_CAUSES, LEAST_CAUSE = 3, Decimal("0.1")
# Segments of a bridge between any two periods.
MOST_PARTS = 50
MOST_KEPT = 32
_COLUMNS = {
    "segment": "varchar",
    "term": "varchar",
    "usd": "decimal(38, 12)",
    "previous_usd": "decimal(38, 12)",
    "month_usd": "decimal(38, 12)",
    "source": "varchar",
    "note": "varchar",
    "days_sentence": "varchar",
}


# --------------------------------------------------------------------------------------------- the two periods


def periods(snapshot: Snapshot, filters: Filters) -> tuple[Period, Period] | None:
    """The periods to compare: as the address says, else the last month with the one before it; None without two months.

    `a_from`, `a_to`, `b_from`, `b_to` name both; else the later one is the period of the filters.

    Raises:
        FilterError: a day cannot be read.

    """
    (known,) = snapshot.rows(sql("views/moves/latest"))
    history = (known["first_day"], known["last_day"])
    later = _asked(filters, "b", history)
    if later is None and (filters.first or filters.last) and all(history):
        later = _period(filters.first or history[0], filters.last or history[1])
    earlier = _asked(filters, "a", history)
    if later is None:
        if known["month"] is None:
            return None
        later = Period.month(known["month"])
    return earlier or _before(later, filters.choice("against", AGAINST)), later


def _asked(filters: Filters, name: str, history: tuple[dt.date | None, dt.date | None]) -> Period | None:
    """The period of two options of the address; an end that is left out is that of the history."""
    ends = {end: filters.option(f"{name}_{end}") for end in ("from", "to")}
    if not any(ends.values()) or None in history:
        return None
    try:
        asked = parse({end: [text] for end, text in ends.items()})
    except FilterError as error:
        raise FilterError(f"{name}_{error}") from None
    first, last = history
    return _period(asked.first or first or dt.date.min, asked.last or last or dt.date.max)


def _period(first: dt.date, last: dt.date) -> Period:
    if first > last:
        raise FilterError(f"the period ends on {last}, before it begins on {first}")
    return Period(first, last)


def _before(period: Period, against: str) -> Period:
    if against == AGAINST[0]:
        day_before = period.first_day - dt.timedelta(days=1)
        if period.is_month:
            return Period.month(day_before)
        return Period(day_before - (period.last_day - period.first_day), day_before)
    months = 1 if against == AGAINST[1] else 12
    if period.is_month:
        return Period.month(_earlier(period.first_day, months))
    return Period(_earlier(period.first_day, months), _earlier(period.last_day, months))


def _earlier(day: dt.date, months: int) -> dt.date:
    """The same day of an earlier month, or its last day."""
    number = day.year * 12 + day.month - 1 - months
    first = dt.date(number // 12, number % 12 + 1, 1)
    return min(Period.month(first).last_day, first + dt.timedelta(days=day.day - 1))


def _in_words(period: Period) -> str:
    return f"{period.first_day:%B %Y}" if period.is_month else f"{period.first_day} to {period.last_day}"


# ------------------------------------------------------------------------------------------------- the bridge


def bridged_segment(filters: Filters) -> str | None:
    """The segment of the bridge that fits the filters; None where there is no such."""
    if not filters.chosen:
        return "all"
    (name, values), *others = filters.chosen
    return f"{name}={values[0]}" if not others and len(values) == 1 and name in SEGMENTS else None


def _segment(filters: Filters) -> Mapping[str, Any]:
    return {"segment": bridged_segment(filters) or "all"}


def _known_to_bridge(filters: Filters) -> Mapping[str, str]:
    return {name: name for name, _ in filters.chosen} if bridged_segment(filters) else {}


def _flag_segment(filters: Filters) -> Mapping[str, Any]:
    return {"segment": filters.segment or "all"}


def _known_to_flags(filters: Filters) -> Mapping[str, str]:
    return {name: "substr(segment, strpos(segment, '=') + 1)" for name, _ in filters.chosen} if filters.segment else {}


def _bridge(snapshot: Snapshot, filters: Filters, segment: str = "", by: str = "") -> Mapping[str, str]:
    """The bridge of a segment, or of all segments of a dimension: as published, or computed and written as values."""
    pair = periods(snapshot, filters)
    if pair is None:
        return {"pair": sql("views/moves/published_bridge", month=f"{dt.date.min}")}
    earlier, later = pair
    if later.is_month and earlier == _before(later, AGAINST[0]):
        published = sql("views/moves/published_bridge", month=f"{later.first_day}")
        # the published bridge lists the most expensive parts; a cheaper one that is asked for is computed
        condition = f"segment = {_literal(segment)}" if segment else "true"
        if snapshot.rows(f"select 1 from ({published}) where {condition} limit 1"):
            return {"pair": published}
    rows = [
        row
        for row in _computed(snapshot, earlier, later)
        if row["segment"] == segment or (by and row["segment"].startswith(f"{by}="))
    ]
    names = list(dict.fromkeys(row["segment"] for row in rows))[:MOST_PARTS]
    return {"pair": _values([row for row in rows if row["segment"] in names])}


def _bridge_of_segment(snapshot: Snapshot, filters: Filters) -> Mapping[str, str]:
    return _bridge(snapshot, filters, segment=bridged_segment(filters) or "all")


def _bridge_of_parts(snapshot: Snapshot, filters: Filters) -> Mapping[str, str]:
    return _bridge(snapshot, filters, by=filters.choice("by", BY))


_kept: OrderedDict[tuple[str, Period, Period], list[Row]] = OrderedDict()
_lock = threading.Lock()


def _computed(snapshot: Snapshot, earlier: Period, later: Period) -> list[Row]:
    """The bridge of two periods; the latest ones are kept, because several views of a page show them."""
    key = (snapshot.version, earlier, later)
    with _lock:
        if key in _kept:
            return _kept[key]
    table = snapshot.compute(lambda connection: bridge_between(connection, earlier, later))
    rows: list[Row] = table.select(list(_COLUMNS)).to_pylist()
    with _lock:
        _kept[key] = rows
        while len(_kept) > MOST_KEPT:
            _kept.popitem(last=False)
    return rows


def _values(rows: Sequence[Row]) -> str:
    """Rows as a query that states them."""
    casts = ", ".join(f"cast({name} as {kind}) as {name}" for name, kind in _COLUMNS.items())
    if not rows:
        nothing = ", ".join(f"cast(null as {kind}) as {name}" for name, kind in _COLUMNS.items())
        return f"select {nothing} where false"
    values = ",\n".join(f"({', '.join(_literal(row[name]) for name in _COLUMNS)})" for row in rows)
    return f"select {casts} from (values\n{values}\n) as computed ({', '.join(_COLUMNS)})"


def _literal(value: Decimal | str | None) -> str:
    if value is None:
        return "null"
    # a dollar sign would be read as the name of a parameter
    return f"{value:f}" if isinstance(value, Decimal) else literal(value).replace("$", "' || chr(36) || '")


# -------------------------------------------------------------------------------------- words, sentences, figures


def cause_in_words(term: str, usd: Decimal | float) -> str:
    """A cause as one says it: `more usage` where it added cost, `less usage` where it saved."""
    name = term.replace("_", " ")
    more, less = CAUSES.get(name, (name, name))
    return more if usd >= 0 else less


def _signed(usd: Decimal | float) -> str:
    return f"+{money(usd)}" if usd > 0 else money(usd)


def _step(row: Row) -> Row:
    names = {"before": "Earlier period", "after": "Later period"}
    text = names[row["term"]] if row["is_total"] else cause_in_words(row["term"], row["usd"])
    return {"step": f"{text[:1].upper()}{text[1:]}"}


def _part(row: Row) -> Row:
    cause = cause_in_words(row["cause"], row["cause_usd"]) if row["cause_usd"] else None
    return {"because": f"{cause} ({_signed(row['cause_usd'])})" if cause else None}


def _flag(row: Row) -> Row:
    kind = KINDS.get(row["kind"], row["kind"])
    if row["kind"] == "new_segment":
        kind = f"new {DIMENSIONS.get(row['segment'].partition('=')[0], 'part')}"
    state = f"taken back: {row['taken_back']}" if row["taken_back"] else "stands"
    return {"kind_in_words": kind, "state": state, "causes": causes_in_words(row["contributions"])}


def causes_in_words(contributions: str | None) -> str | None:
    """The causes of an excess (JSON, USD by cause), the largest first."""
    if not contributions:
        return None
    amounts = {term: float(usd) for term, usd in json.loads(contributions).items()}
    return _causes(list(amounts.items())) or None


def _causes(amounts: Sequence[tuple[str, Any]]) -> str:
    """The largest causes with their amounts, in either direction."""
    ranked = sorted(amounts, key=lambda each: -abs(each[1]))
    told = [(term, usd) for term, usd in ranked[:MOST_CAUSES] if abs(usd) >= 0.005]
    told = [(term, usd) for term, usd in told if abs(Decimal(usd)) >= LEAST_CAUSE * abs(Decimal(told[0][1]))]
    return ", ".join(f"{cause_in_words(term, usd)} ({_signed(usd)})" for term, usd in told)


def _waterfall(rows: Sequence[Row], filters: Filters) -> Figure:
    return plots.waterfall([(_step(row)["step"], row["usd"], row["is_total"]) for row in rows])


def _bridge_sentence(rows: Sequence[Row], filters: Filters) -> str:
    causes = _causes([(row["term"], row["usd"]) for row in rows if not row["is_total"]])
    change = rows[-1]["usd"] - rows[0]["usd"]
    return f"The causes add up exactly to {_signed(change)}. The largest: {causes}." if causes else ""


def _parts_figure(rows: Sequence[Row], filters: Filters) -> Figure:
    return plots.ranked(
        [row | {"name": row["segment"].partition("=")[2]} for row in rows], "name", "change_usd", "usd", 15
    )


def _parts_sentence(rows: Sequence[Row], filters: Filters) -> str:
    largest = rows[0]
    if not largest["change_usd"]:
        return "No part changed."
    return f"The largest change is that of {segment_name(largest['segment'])}: {_signed(largest['change_usd'])}."


def _part_link(row: Row, filters: Filters) -> tuple[str, Filters] | None:
    name, found, value = str(row["segment"]).partition("=")
    if not found or name not in DIMENSIONS or (name == "team" and value.startswith("(")):
        return None
    only = {key: text for key, text in filters.options if key in ("a_from", "a_to", "b_from", "b_to", "against")}
    period = Filters(first=filters.first, last=filters.last)
    return "moves", period.with_values(**{name: value or NOT_STATED, **only})


def _month_link(row: Row, filters: Filters) -> tuple[str, Filters] | None:
    month = Period.month(row["month"])
    days = {"from": f"{month.first_day}", "to": f"{month.last_day}"}
    return "moves", filters.without_options().with_values(**days)


def _months_figure(rows: Sequence[Row], filters: Filters) -> Figure:
    colours = {"more than the month before": "var(--plus)", "less than the month before": "var(--minus)"}
    more, less = colours
    named = [row | {"direction": less if row["change_usd"] < 0 else more} for row in rows]
    return plots.coloured(plots.stacked(named, "month", "change_usd", "direction", "usd"), colours)


def _days_figure(rows: Sequence[Row], filters: Filters) -> Figure:
    colours = {"usual": plots.SERIES[0], "stands out": "var(--flag)", "taken back": "var(--quiet)"}
    return plots.coloured(plots.stacked(rows, "usage_date", "cost_usd", "kind", "usd"), colours)


def _days_sentence(rows: Sequence[Row], filters: Filters) -> str:
    if filters.segment is None:
        return "Days of this choice are not judged on their own: those that stand out are those of everything."
    flagged = [row for row in rows if row["kind"] == "stands out"]
    if not flagged:
        return f"None of {counted(len(rows), 'day')} was unusually expensive."
    most = max(flagged, key=lambda row: row["cost_usd"])
    expected = f", where {money(most['expected_usd'])} was expected" if most["expected_usd"] is not None else ""
    return (
        f"{len(flagged):,} of {len(rows):,} days stand out; the most expensive, {most['usage_date']:%-d %B %Y}, cost "
        f"{money(most['cost_usd'])}{expected}."
    )


# ------------------------------------------------------------------------------------------------------- views

_CAUSE = Column("because", "Largest cause", "long", is_words=True)
_CHANGE = (
    Column("previous_usd", "Before", "usd"),
    Column("month_usd", "After", "usd"),
    Column("change_usd", "Change", "usd"),
)
_SINGLE_DAYS = Column("days_sentence", "Single days", "long", "Days without which the bill would have moved otherwise")
_FLAGGED = (
    Column("usage_date", "Day", "day", link=day_link("spend")),
    Column("segment", "Of", "segment", link=_part_link),
    Column("kind_in_words", "What", is_words=True),
    Column("value_usd", "Cost", "usd"),
    Column("expected_usd", "Expected", "usd", "From the history of the same weekdays"),
    Column("excess_usd", "Excess", "usd"),
)
_STATE = Column(
    "state", "Still", "long", "A flag that later days no longer support is taken back, with the reason", is_words=True
)

BRIDGE = View(
    name="bridge",
    title="From one bill to the other",
    query="views/moves/bridge",
    columns=(
        Column("step", "Step", is_words=True),
        Column("usd", "Amount", "usd"),
        Column("is_total", "Total", "yes"),
    ),
    knows=_known_to_bridge,
    date="usage_date",
    figure=_waterfall,
    sentence=_bridge_sentence,
    values=_segment,
    bound=_bridge_of_segment,
    words=_step,
    choices={"against": AGAINST},
    note=(
        "What the provider billed, or usage at the rate card where no cost export covers both periods. Without counts "
        "of requests, usage is counted in tokens."
    ),
    empty="There are no two periods with usage to compare.",
)
PARTS = View(
    name="parts",
    title="Which part moved",
    query="views/moves/parts",
    columns=(Column("segment", "Part", "segment", link=_part_link), *_CHANGE, _CAUSE, _SINGLE_DAYS),
    figure=_parts_figure,
    sentence=_parts_sentence,
    values=lambda filters: {"prefix": f"{filters.choice('by', BY)}="},
    bound=_bridge_of_parts,
    words=_part,
    choices={"by": BY},
    is_overview=True,
    empty="No such part is known of these bills: choose another one above.",
)
MONTHS = View(
    name="months",
    title="Month by month",
    query="views/moves/months",
    columns=(
        Column("month", "Month", "month", link=_month_link),
        *_CHANGE,
        _CAUSE,
        _SINGLE_DAYS,
        Column("note", "Note", "long"),
    ),
    knows=_known_to_bridge,
    figure=_months_figure,
    values=_segment,
    words=_part,
    is_overview=True,
    empty="A bridge needs two months.",
)
DAYS = View(
    name="days",
    title="Daily cost, and the days that stand out",
    query="views/moves/days",
    columns=(
        Column("usage_date", "Day", "day", link=day_link("spend")),
        Column("cost_usd", "Cost", "usd", "Usage at the rate card"),
        Column("expected_usd", "Expected", "usd", "Of a day that stands out: from the history of the same weekdays"),
        Column("kind", "Verdict"),
    ),
    knows=OF_CHARGES,
    date="usage_date",
    figure=_days_figure,
    sentence=_days_sentence,
    values=_flag_segment,
)
FLAGS = View(
    name="flags",
    title="Days that stand out, and why",
    query="views/moves/flags",
    columns=(*_FLAGGED, Column("causes", "Causes", "long", is_words=True), _STATE),
    knows=_known_to_flags,
    date="usage_date",
    parts=lambda filters: {"kinds": "'shock'"},
    values=_flag_segment,
    words=_flag,
    empty="No day was unusually expensive.",
    rows_shown=10,
)
SHIFTS = View(
    name="shifts",
    title="What changed for good",
    query="views/moves/flags",
    columns=(*_FLAGGED, Column("raised_on", "Seen on", "day"), _STATE),
    knows=_known_to_flags,
    date="usage_date",
    parts=lambda filters: {"kinds": "'level_shift', 'new_segment'"},
    values=_flag_segment,
    words=_flag,
    note="A level that rose and stayed, or a key, model, user or project that has just appeared.",
    empty="No level rose, and nothing new appeared.",
    rows_shown=10,
)
SESSIONS = View(
    name="sessions",
    title="The sessions behind these days",
    query="views/moves/sessions",
    columns=(
        Column("usage_date", "Day", "day", link=day_link("spend")),
        Column("session_id", "Session", link=session_link),
        Column("cost_usd", "Cost", "usd"),
        Column("user_id", "User", link=dimension_link("spend", "user_id")),
        Column("project", "Project", link=dimension_link("spend", "project")),
        Column("primary_model", "Model"),
    ),
    knows=_known_to_flags,
    date="usage_date",
    values=_flag_segment,
    note="The ten most expensive sessions that started on each day, from the logs.",
    empty="No logs have sessions of these days.",
    rows_shown=10,
)


# ------------------------------------------------------------------------------------------------------- answer


def answer(snapshot: Snapshot, filters: Filters) -> Answer:
    """Why the later period differs from the earlier one: the largest causes, and the single day that makes the move."""
    pair = periods(snapshot, filters)
    warnings = []
    unknown = filters.unknown_to(_known_to_bridge(filters))
    if unknown:
        warnings.append(f"There is no bridge of this choice of {' and '.join(unknown)}: shown is that of everything.")
    if "team" in filters.of:
        warnings.append(OF_TEAM_KEYS)
    rows = _summary(snapshot, filters) if pair else []
    if pair and not rows:
        periods_in_words = " or ".join(_in_words(period) for period in pair)
        return Answer(f"There is no bill of this choice in {periods_in_words}.", warnings=tuple(warnings))
    if pair is None:
        (known,) = snapshot.rows(sql("views/moves/latest"))
        reason = (known["note"] or "a bridge needs two periods with usage.").removeprefix("unavailable: ")
        return Answer(f"{reason[:1].upper()}{reason[1:]}", warnings=tuple(warnings))
    (row,) = rows
    if row["note"]:
        warnings.append(f"The comparison is incomplete: {row['note']}.")
    earlier, later = pair
    change = row["month_usd"] - row["previous_usd"]
    here = filters.without_options()
    tiles = tuple(
        Tile(_in_words(period), money(usd), to=("spend", _days_of(here, period)))
        for period, usd in ((earlier, row["previous_usd"]), (later, row["month_usd"]))
    )
    steps = snapshot.rows(*BRIDGE.statement(filters, snapshot))
    return Answer(_sentence(row, steps, pair, filters), _signed(change), tiles, tuple(warnings))


def _summary(snapshot: Snapshot, filters: Filters) -> list[Row]:
    parts = _bridge_of_segment(snapshot, filters)
    return snapshot.rows(sql("views/moves/summary", **parts), _segment(filters))


def _days_of(filters: Filters, period: Period) -> Filters:
    return filters.with_values(**{"from": f"{period.first_day}", "to": f"{period.last_day}"})


def _sentence(row: Row, steps: Sequence[Row], pair: tuple[Period, Period], filters: Filters) -> str:
    earlier, later = (_in_words(period) for period in pair)
    change = row["month_usd"] - row["previous_usd"]
    segment = bridged_segment(filters)
    whose = f" of {segment_name(segment)}" if segment and segment != "all" else ""
    if not change:
        return f"The bill{whose} did not move: {later} cost {money(row['month_usd'])}, as much as {earlier}."
    moved = f"{money(abs(change))} {'more' if change > 0 else 'less'}"
    sentence = (
        f"The bill{whose} for {later} is {money(row['month_usd'])}, {moved} than for {earlier} "
        f"({money(row['previous_usd'])})"
    )
    causes = _causes([(step["term"], step["usd"]) for step in steps if not step["is_total"]])
    sentence += f": {causes}." if causes else "."
    return f"{sentence} {row['days_sentence']}" if row["days_sentence"] else sentence


PAGE = Page("moves", "Why did it move?", "Changes", answer, (BRIDGE, PARTS, DAYS, FLAGS, SHIFTS, SESSIONS, MONTHS))
