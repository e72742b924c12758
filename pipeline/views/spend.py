"""What did we spend? Month to date against last month, budget and forecast; over time, by part, by hour.

Belongs here: the views and sentences of this page. Does not belong here: any number that a table does not hold.

Cost is usage in force at the rate card, as in the run's summary, in forecasts and in alarms. What the provider billed
stands beside it; the page of the bill compares both.
"""

from __future__ import annotations

import calendar
import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal

from pipeline.store.connection import Row
from pipeline.store.published import Snapshot
from pipeline.store.sqlfiles import sql
from pipeline.views import plots
from pipeline.views.filters import DIMENSIONS, FilterError, Filters
from pipeline.views.view import (
    OF_TEAM_KEYS,
    Answer,
    Column,
    Figure,
    Page,
    Tile,
    Unit,
    View,
    dimension_link,
    money,
    share,
    shown,
)
from pipeline.words import counted

BY = ("model", "api_key", "workspace", "user_id", "project", "team", "provider", "token_kind")
MEASURES = ("cost_usd", "tokens", "input_tokens", "output_tokens")
GRAINS = ("auto", "day", "week", "month", "hour", "minute")
# An hour or a minute a bar, up to this many days.
MOST_DAYS = {"minute": 2, "hour": 31}
OF_CHARGES = {"source": "source", **{name: name for name in DIMENSIONS}}
OF_MINUTES = {name: column for name, column in OF_CHARGES.items() if name != "team"}
OF_DAYS = {name: name for name in ("provider", "workspace", "api_key", "model")}
OF_BILL = {name: name for name in ("provider", "workspace", "api_key", "model")}


def _grain(filters: Filters) -> str:
    """The grain of a bar: chosen, or days up to four months, then weeks, then months."""
    chosen = filters.choice("grain", GRAINS)
    days = (filters.last - filters.first).days + 1 if filters.first and filters.last else None
    if chosen in MOST_DAYS and (days is None or days > MOST_DAYS[chosen]):
        raise FilterError(f"grain={chosen}: choose a period of at most {MOST_DAYS[chosen]} days")
    if chosen != "auto":
        return chosen
    if days is None:
        return "week"
    return "day" if days <= 124 else "week" if days <= 730 else "month"


def _by(filters: Filters) -> str:
    return filters.choice("by", BY)


def _period_link(row: Row, filters: Filters) -> tuple[str, Filters]:
    """The days of the row, as far as the filters have them."""
    grain, first = _grain(filters), row["period"]
    first = first.date() if isinstance(first, dt.datetime) else first
    last = first
    if grain == "week":
        last = first + dt.timedelta(days=6)
    elif grain == "month":
        last = first.replace(day=calendar.monthrange(first.year, first.month)[1])
    days = {"from": max(first, filters.first or first), "to": min(last, filters.last or last)}
    return "spend", filters.without_options().with_values(**{name: f"{day}" for name, day in days.items()})


def _timeline_query(filters: Filters) -> str:
    return "views/spend/moments" if _grain(filters) in MOST_DAYS else "views/spend/timeline"


def _timeline_parts(filters: Filters) -> Mapping[str, str]:
    grain, by = _grain(filters), _by(filters)
    if grain not in MOST_DAYS:
        return {"grain": grain, "by": by}
    if by in ("team", "token_kind"):
        raise FilterError(f"by={by}: an hour or a minute cannot be split by {by.replace('_', ' ')}")
    return {"grain": grain, "by": by, "widest_seconds": "60" if grain == "minute" else "3600"}


def _timeline(rows: Sequence[Row], filters: Filters) -> Figure:
    measure = filters.choice("measure", MEASURES)
    unit: Unit = "usd" if measure == "cost_usd" else "tokens"
    return plots.stacked(rows, "period", measure, "part", unit)


def _activity(rows: Sequence[Row], filters: Filters) -> Figure | None:
    named = {"requests": "requests", "sessions": "sessions"}
    counted_columns = {
        column: legend for column, legend in named.items() if any(row[column] is not None for row in rows)
    }
    return plots.lines(rows, "period", counted_columns, "count") if counted_columns else None


def _hours(rows: Sequence[Row], filters: Filters) -> Figure:
    named = [row | {"weekday": plots.WEEKDAYS[row["weekday"] - 1], "hour": f"{row['hour']:02}"} for row in rows]
    hours = [f"{hour:02}" for hour in range(24)]
    return plots.heatmap(named, "hour", "weekday", "cost_usd", "usd", hours, plots.WEEKDAYS)


def _split_figure(rows: Sequence[Row], filters: Filters) -> Figure:
    return plots.ranked(rows, _by(filters), "cost_usd", "usd")


def _split_sentence(rows: Sequence[Row], filters: Filters) -> str:
    total = sum((row["cost_usd"] for row in rows), Decimal(0))
    if not total:
        return "None of this usage has a price." if any(row["unpriced_tokens"] for row in rows) else ""
    by, first = _by(filters), rows[0]
    what = DIMENSIONS.get(by, by.replace("_", " "))
    name = shown(first[by], "text")
    return (
        f"The most expensive {what} is {name}: {money(first['cost_usd'])}, "
        f"{share(float(first['cost_usd'] / total))} of {money(total)}."
    )


_COST = Column("cost_usd", "Cost", "usd", "Usage at the rate card, USD")
_TOKENS = Column("tokens", "Tokens", "tokens", "All kinds of tokens together")
_INPUT = Column("input_tokens", "Input", "tokens", "Input tokens, with those written to and read from the cache")
_OUTPUT = Column("output_tokens", "Output", "tokens")

TIMELINE = View(
    name="timeline",
    title="Cost over time",
    query=_timeline_query,
    columns=(
        Column("period", "From", "day", link=_period_link),
        Column("part", "Part"),
        _COST,
        _TOKENS,
        _INPUT,
        _OUTPUT,
        Column("requests", "Requests", "count"),
    ),
    knows=lambda filters: OF_MINUTES if _grain(filters) in MOST_DAYS else OF_CHARGES,
    date="usage_date",
    figure=_timeline,
    parts=_timeline_parts,
    choices={"by": BY, "grain": GRAINS, "measure": MEASURES},
)
SPLIT = View(
    name="split",
    title="Where it went",
    query="views/spend/split",
    columns=(
        *(Column(name, DIMENSIONS.get(name, "kind of token"), link=dimension_link("spend", name)) for name in BY),
        _COST,
        Column("share_of_cost", "Share", "share"),
        _TOKENS,
        _INPUT,
        _OUTPUT,
        Column("cache_read_share", "From cache", "share", "Share of input tokens that were read from the cache"),
        Column("unpriced_tokens", "Unpriced", "tokens", "Tokens without a rate: not in the cost"),
        Column("first_day", "First day", "day"),
        Column("last_day", "Last day", "day"),
    ),
    knows=OF_CHARGES,
    date="usage_date",
    figure=_split_figure,
    sentence=_split_sentence,
    parts=lambda filters: {"by": _by(filters)},
    choices={"by": BY},
)
ACTIVITY = View(
    name="activity",
    title="Requests and sessions in the logs",
    query="views/spend/activity",
    columns=(
        Column("period", "From", "day", link=_period_link),
        Column("requests", "Requests", "count", "Empty where the logs count none"),
        Column("sessions", "Sessions", "count", "A session counts on each day on which it was used"),
        _TOKENS,
    ),
    knows=OF_DAYS,
    date="usage_date",
    figure=_activity,
    parts=lambda filters: {"grain": "day" if _grain(filters) in MOST_DAYS else _grain(filters)},
    choices={"grain": GRAINS[:4]},
)
HOURS = View(
    name="hours",
    title="When it is used",
    query="views/spend/hours",
    columns=(Column("weekday", "Weekday (1 = Monday)", "count"), Column("hour", "Hour (UTC)", "count"), _COST, _TOKENS),
    knows=OF_MINUTES,
    date="usage_date",
    figure=_hours,
    note="Only usage whose hour is known; exports by day are left out.",
)


def answer(snapshot: Snapshot, filters: Filters) -> Answer:
    """Month to date against the month before, the forecast and the bill; with a period, its sum."""
    months = _by_month(snapshot, filters)
    warnings = _warnings(months, filters)
    bill_condition, bill_values = filters.conditions(OF_BILL)
    (bill,) = snapshot.rows(sql("views/spend/bill", filters=bill_condition), bill_values)
    is_comparable = not filters.unknown_to(OF_BILL)
    if bill["without_usage_usd"] and is_comparable:
        warnings = (
            *warnings,
            f"{money(bill['without_usage_usd'])} was billed for days without a usage export or log "
            f"({bill['first_without']} to {bill['last_without']}) and is not in these numbers.",
        )
    if not months:
        return _only_in_logs(snapshot, filters) or Answer("No usage matches these filters.", warnings=warnings)
    last = months[-1]
    total = sum((row["cost_usd"] for row in months), Decimal(0))
    tokens = sum(row["tokens"] or 0 for row in months)
    tiles = [Tile("Tokens", f"{tokens:,}", f"{months[0]['first_day']} to {last['last_day']}")]
    if bill["amounts"] and is_comparable:
        tiles.append(
            Tile("Billed for these days", money(bill["with_usage_usd"]), to=("bill", filters.without_options()))
        )
    forecast = _forecast(snapshot, filters)
    if forecast:
        budget = forecast["budget_95"]
        remark = (
            f"a budget of {money(budget)} has a 95% chance of being enough"
            if budget
            else "too little history for a budget"
        )
        tiles.append(
            Tile(
                f"{forecast['month']:%B} is forecast at",
                money(forecast["point"]),
                remark,
                ("forecast", filters.without_options()),
            )
        )
    if filters.first or filters.last:
        sentence = f"{money(total)} was spent from {months[0]['first_day']} to {last['last_day']}."
        return Answer(sentence, money(total), tuple(tiles), warnings)
    tiles.insert(0, Tile("All months", money(total), counted(len(months), "month")))
    return Answer(_month_sentence(months), money(last["cost_usd"]), tuple(tiles), warnings)


def _by_month(snapshot: Snapshot, filters: Filters) -> list[Row]:
    condition, values = filters.conditions(OF_CHARGES)
    source, of_source = Filters(source="sessions" if filters.reads_logs else filters.source).conditions(OF_CHARGES)
    return snapshot.rows(sql("views/spend/answer", filters=condition, source=source), values | of_source)


def _only_in_logs(snapshot: Snapshot, filters: Filters) -> Answer | None:
    """What the logs have where the provider's account has nothing: a team that pays by user or project, for one."""
    if filters.source:
        return None
    logs = replace(filters, source="sessions")
    months = _by_month(snapshot, logs)
    if not months:
        return None
    cost = money(sum((row["cost_usd"] for row in months), Decimal(0)))
    sentence = f"The provider's account has no usage of these filters; your logs have {cost}."
    return Answer(sentence, cost, (Tile("In your logs", cost, to=("spend", logs)),))


def _month_sentence(months: Sequence[Row]) -> str:
    last = months[-1]
    day, month = last["known_until"], last["month"]
    is_whole = day >= month.replace(day=calendar.monthrange(month.year, month.month)[1])
    sentence = f"{month:%B %Y} cost {money(last['cost_usd'])}" + ("" if is_whole else f" up to {day:%-d %B}")
    before = next((row for row in months if row["month"] == _month_before(month)), None)
    if before is None:
        return f"{sentence}."
    compared = before["cost_usd"] if is_whole else before["to_date_usd"]
    if not compared:
        return f"{sentence}; {before['month']:%B} cost nothing by then."
    change = float((last["cost_usd"] - compared) / compared)
    direction = "more" if change > 0 else "less"
    of = (
        f"{before['month']:%B} ({money(compared)})"
        if is_whole
        else f"{before['month']:%B} up to the same day ({money(compared)})"
    )
    return f"{sentence}, {share(abs(change))} {direction} than {of}." if change else f"{sentence}, as much as {of}."


def _month_before(month: dt.date) -> dt.date:
    return (month - dt.timedelta(days=1)).replace(day=1)


def _warnings(months: Sequence[Row], filters: Filters) -> tuple[str, ...]:
    warnings = []
    unpriced = sum(row["unpriced_tokens"] for row in months)
    if unpriced:
        warnings.append(f"{unpriced:,} tokens have no rate and are not in the cost: add it to rate_overrides.csv.")
    seats = sum((row["seat_usd"] for row in months), Decimal(0))
    if seats:
        warnings.append(f"Usage within subscriptions would cost {money(seats)} by the token; it is not in the cost.")
    if filters.reads_logs and not filters.source:
        warnings.append("Users and projects are known from logs only, so these numbers come from the logs.")
    if "team" in filters.of and not filters.reads_logs:
        warnings.append(OF_TEAM_KEYS)
    return tuple(warnings)


def _forecast(snapshot: Snapshot, filters: Filters) -> Row | None:
    if filters.segment is None or filters.first or filters.last:
        return None
    rows = snapshot.rows(sql("views/spend/forecast"), {"segment": filters.segment})
    return rows[0] if rows else None


PAGE = Page("spend", "What did we spend?", "Spend", answer, (TIMELINE, SPLIT, ACTIVITY, HOURS))
