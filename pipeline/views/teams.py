"""Who pays? The bill by team and month, budgets, what no team pays for, and statements to send.

Belongs here: the views and sentences of this page. Does not belong here: the split of the bill (marts.chargeback), and
a statement (statement).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from decimal import Decimal

from pipeline.store.connection import Row
from pipeline.store.published import Snapshot
from pipeline.views import plots
from pipeline.views.filters import DIMENSIONS, NOT_STATED, Filters
from pipeline.views.view import Answer, Column, Figure, Page, Tile, View, dimension_link, money, share, text
from pipeline.words import counted

OF_TEAMS = {"team": "team"}
OF_CHARGES = {"source": "source", **{name: name for name in DIMENSIONS}}
NOBODY = "(not allocated)"
STATEMENT = "teams/statement"
HOW = (
    "Assign usage to teams in allocation.csv, a file in the home with the columns api_key, workspace, user_id, project "
    "and team (docs/finance.md); the next run shows who pays."
)
# Teams that a sentence names.
MOST_NAMED = 4


def _first_day(filters: Filters) -> Mapping[str, dt.date]:
    """A month belongs to a period that begins in it."""
    return {"first_day": filters.first.replace(day=1)} if filters.first else {}


def team_name(team: str) -> str:
    """A team as text; costs without a team have a name too."""
    return text(team) if team else NOBODY


def _named(row: Row) -> Row:
    return {"payer": team_name(row["team"])}


def _statement(row: Row) -> Row:
    return {**_named(row), "statement": "Statement" if row["team"] else None}


def statement_link(row: Row, filters: Filters) -> tuple[str, Filters] | None:
    """The statement of the row's month and team as a file; without a team, that of the whole organisation."""
    shared = Filters(options=(("month", f"{row['month']:%Y-%m}"),))
    return STATEMENT, shared.with_values(team=row["team"]) if row["team"] else shared


def _team_link(row: Row, filters: Filters) -> tuple[str, Filters] | None:
    first = row["month"]
    last = (first + dt.timedelta(days=31)).replace(day=1) - dt.timedelta(days=1)
    chosen = Filters(first, last).with_values(team=row["team"] or NOT_STATED)
    return "spend", chosen


def _months(rows: Sequence[Row], filters: Filters) -> Figure:
    return plots.stacked([row | _named(row) for row in rows], "month", "cost_usd", "payer", "usd")


def _months_sentence(rows: Sequence[Row], filters: Filters) -> str:
    """Months that went over a budget."""
    over = [row for row in rows if row["over_usd"]]
    if not over:
        return "No team was over its budget." if any(row["budget_usd"] for row in rows) else ""
    worst = max(over, key=lambda row: row["over_usd"])
    times = "once" if len(over) == 1 else f"{len(over):,} times"
    return (
        f"A budget was exceeded {times}, most by {team_name(worst['team'])} in {worst['month']:%B %Y}: "
        f"{money(worst['cost_usd'])} of {money(worst['budget_usd'])}."
    )


def _keys(rows: Sequence[Row], filters: Filters) -> Figure:
    return plots.stacked(rows, "month", "cost_usd", "part", "usd")


def _keys_sentence(rows: Sequence[Row], filters: Filters) -> str:
    sums: dict[str, Decimal] = {}
    for row in rows:
        sums[row["api_key"]] = sums.get(row["api_key"], Decimal(0)) + row["without_team_usd"]
    without = sorted(((usd, key) for key, usd in sums.items() if usd > 0), key=lambda pair: (-pair[0], pair[1]))
    if not without:
        return "Every key has a team."
    if not any(row["teams"] for row in rows):
        return "No key has a team yet."
    named = ", ".join(
        f"{text(key) if key else 'usage without a key'} ({money(usd)})" for usd, key in without[:MOST_NAMED]
    )
    others = f" and {counted(len(without) - MOST_NAMED, 'other')}" if len(without) > MOST_NAMED else ""
    return f"No team pays for {named}{others}."


_MONTH = Column("month", "Month", "month")
_DIRECT = Column("direct_usd", "Direct", "usd", "Billed for usage that is the team's own")
_SHARED = Column("shared_usd", "Shared", "usd", "The team's part of the costs that all teams share")
_ALONE = Column("unallocated_usd", "Not allocated", "usd", "Billed for usage that no line of allocation.csv matches")
_ESTIMATED = Column(
    "estimated_usd", "Not billed yet", "usd", "Usage at the rate card, on days that no cost export covers"
)
_CLOSED = Column("is_closed", "Closed", "yes", "A closed month stays as it was booked")

MONTHS = View(
    name="months",
    title="Who pays for each month",
    query="views/teams/months",
    columns=(
        _MONTH,
        Column("payer", "Team", link=_team_link, is_words=True),
        Column("cost_usd", "Pays", "usd", "Billed, and what is not billed yet"),
        Column("budget_usd", "Budget", "usd"),
        Column("over_usd", "Over budget", "usd"),
        _DIRECT,
        _SHARED,
        _ALONE,
        _ESTIMATED,
        _CLOSED,
        Column("statement", "To send", link=statement_link, is_words=True),
    ),
    knows=OF_TEAMS,
    date="month",
    figure=_months,
    sentence=_months_sentence,
    values=_first_day,
    words=_statement,
    note=(
        "Direct, shared and not allocated costs are billed: over all teams they add up to the bill of the month. "
        "token-analytics statement writes a file to send."
    ),
    empty="Neither a bill nor usage with a price matches these filters.",
)
KEYS = View(
    name="keys",
    title="By workspace and key",
    query="views/teams/keys",
    columns=(
        _MONTH,
        Column("workspace", "Workspace", link=dimension_link("spend", "workspace")),
        Column("api_key", "API key", link=dimension_link("spend", "api_key")),
        Column("cost_usd", "Cost", "usd", "Usage at the rate card, USD"),
        Column("teams", "Teams", help="Teams of the usage, by allocation.csv"),
        Column("without_team_usd", "Without a team", "usd"),
    ),
    knows=OF_CHARGES,
    date="usage_date",
    figure=_keys,
    sentence=_keys_sentence,
    note="At the rate card: the bill of the same usage may differ by its rounding and its discounts.",
)
PARTS = View(
    name="parts",
    title="By cost centre, product and environment",
    query="views/teams/parts",
    columns=(
        _MONTH,
        Column("payer", "Team", is_words=True),
        Column("cost_centre", "Cost centre"),
        Column("product", "Product"),
        Column("environment", "Environment"),
        Column("total_usd", "Billed", "usd"),
        _DIRECT,
        _SHARED,
        _ALONE,
        _ESTIMATED,
        Column("budget_usd", "Budget", "usd"),
    ),
    knows=OF_TEAMS,
    date="month",
    values=_first_day,
    words=_named,
    empty="Neither a bill nor usage with a price matches these filters.",
    is_list=True,
)
RESTATEMENTS = View(
    name="restatements",
    title="Changes since a month was closed",
    query="views/teams/restatements",
    columns=(
        _MONTH,
        Column("payer", "Team", is_words=True),
        Column("old_usd", "Before", "usd"),
        Column("new_usd", "Now", "usd"),
        Column("difference_usd", "Difference", "usd"),
        Column("cause", "Cause", "long"),
        Column("noticed_at", "Noticed (UTC)", "moment"),
    ),
    knows=OF_TEAMS,
    date="month",
    values=_first_day,
    words=_named,
    note="Closed months stay as they were booked; these amounts are what today's data would give.",
    empty="Nothing has changed in a closed month.",
)


def answer(snapshot: Snapshot, filters: Filters) -> Answer:
    """Who pays for the last month, and what nobody pays for."""
    rows = snapshot.rows(*MONTHS.statement(filters))
    warnings = []
    unknown = filters.unknown_to(OF_TEAMS)
    if unknown:
        warnings.append(f"The split by team does not know {' or '.join(unknown)}, and is not filtered by it.")
    if not rows:
        return Answer("Neither a bill nor usage with a price matches these filters.", warnings=tuple(warnings))
    month = rows[0]["month"]
    last = [row for row in rows if row["month"] == month]
    cost = sum((row["cost_usd"] for row in last), Decimal(0))
    whole = statement_link({"month": month, "team": ""}, filters)
    tiles = [Tile("Statement to send", f"{month:%B %Y}", f"token-analytics statement --month {month:%Y-%m}", whole)]
    if not any(row["team"] for row in rows) and not filters.chosen:
        return Answer(
            f"{_amount(month, last, cost, filters)}, and no team pays for it yet. {HOW}",
            money(cost),
            tuple(tiles),
            tuple(warnings),
        )
    shared = sum((row["shared_usd"] for row in last), Decimal(0))
    tiles.append(Tile("Teams", f"{sum(bool(row['team']) for row in last):,}"))
    if shared:
        tiles.append(Tile("Shared costs", money(shared), "split over the teams"))
    return Answer(
        _sentence(month, last, cost, filters), money(cost), tuple(tiles), (*warnings, *_warnings(month, last, cost))
    )


def _sentence(month: dt.date, rows: Sequence[Row], cost: Decimal, filters: Filters) -> str:
    paying = [row for row in rows if row["team"] and row["cost_usd"]]
    named = [f"{text(row['team'])} pays {money(row['cost_usd'])}" for row in paying[:MOST_NAMED]]
    if len(paying) > MOST_NAMED:
        rest = sum((row["cost_usd"] for row in paying[MOST_NAMED:]), Decimal(0))
        named.append(f"{counted(len(paying) - MOST_NAMED, 'other team')} {money(rest)}")
    alone = sum((row["cost_usd"] for row in rows if not row["team"]), Decimal(0))
    if alone:
        named.append(f"{money(alone)} is not allocated")
    return f"{_amount(month, rows, cost, filters)}: {', '.join(named)}."


def _amount(month: dt.date, rows: Sequence[Row], cost: Decimal, filters: Filters) -> str:
    """What is split: the bill, which differs by cents from usage at the rate card, and what is not billed yet."""
    if filters.chosen:
        return f"{month:%B %Y} cost {money(cost)}"
    if any(row["estimated_usd"] for row in rows):
        return f"With what is not billed yet, {month:%B %Y} comes to {money(cost)}"
    return f"The bill for {month:%B %Y} is {money(cost)}"


def _warnings(month: dt.date, rows: Sequence[Row], cost: Decimal) -> list[str]:
    warnings = [
        f"{text(row['team'])} is over its budget: {money(row['cost_usd'])} of {money(row['budget_usd'])}."
        for row in rows
        if row["over_usd"]
    ]
    alone = sum((row["cost_usd"] for row in rows if not row["team"]), Decimal(0))
    if alone and cost:
        warnings.append(f"No line of allocation.csv matches {share(float(alone / cost))} of {month:%B %Y}.")
    estimated = sum((row["estimated_usd"] for row in rows), Decimal(0))
    if estimated:
        warnings.append(f"{money(estimated)} of {month:%B %Y} is not billed yet: it is usage at the rate card.")
    if not all(row["is_closed"] for row in rows):
        warnings.append(f"{month:%B %Y} is not closed, so amounts may still change.")
    return warnings


PAGE = Page("teams", "Who pays?", "Teams", answer, (MONTHS, KEYS, PARTS, RESTATEMENTS))
