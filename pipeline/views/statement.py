"""A statement of one month and team, or of the whole organisation: one self-contained HTML file to send.

Belongs here: what a statement says, its name, and the choice of month and team. Does not belong here: the split of the
bill (marts.chargeback), the causes (analysis.month_bridge), and the layout (templates/statement.html.j2).

A statement has no scripts and loads nothing, so that it can be sent, stored and printed.
"""

from __future__ import annotations

import calendar
import datetime as dt
import difflib
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from pipeline.finance.closing import parse_month
from pipeline.settings import ConfigurationError
from pipeline.store.connection import Row
from pipeline.store.published import Snapshot
from pipeline.store.sqlfiles import sql
from pipeline.views import pages
from pipeline.views.moves import cause_in_words
from pipeline.views.view import money, share, text
from pipeline.words import counted

ORGANISATION = "organisation"  # its place in the name of a file
MOST_ROWS = 10  # of a table; the others are one row
MOST_MONTHS = 12
RULES = {"by_direct_cost": "in proportion to their direct costs", "evenly": "evenly"}


@dataclass(frozen=True)
class Table:
    """Rows of a name, an amount in USD and its share of the largest, 0 to 100; a negative amount has a share too."""

    title: str
    rows: tuple[tuple[str, Decimal, int], ...]
    note: str = ""


@dataclass(frozen=True)
class Statement:
    """What a statement says: its sentences, the composition of the amount, and its tables."""

    month: dt.date
    team: str
    cost_usd: Decimal
    status: str
    sentences: tuple[str, ...]
    composition: tuple[tuple[str, Decimal], ...]
    tables: tuple[Table, ...]
    published_at: dt.datetime

    @property
    def title(self) -> str:
        """Whose statement it is."""
        return f"Statement of {self.month:%B %Y}: {text(self.team) if self.team else 'the whole organisation'}"

    @property
    def file_name(self) -> str:
        """A name that is safe whatever the team is called, and differs between teams."""
        slug = re.sub(r"[^A-Za-z0-9]+", "-", self.team).strip("-")[:60] if self.team else ORGANISATION
        if self.team and (slug != self.team or slug == ORGANISATION):
            digest = hashlib.sha256(self.team.encode()).hexdigest()[:8]
            slug = f"{slug}-{digest}" if slug else digest
        return f"{self.month:%Y-%m}-{slug}.html"

    def html(self) -> str:
        """The file."""
        return pages.render("statement", self.published_at, statement=self, money=money, text=text)


def make(snapshot: Snapshot, month_text: str, team: str) -> Statement:
    """The statement of a month (2026-01) and a team; without a team, of the whole organisation.

    Raises:
        ConfigurationError: there is no such month or team; the message names the nearest.

    """
    month = parse_month(month_text)
    chosen = _team(snapshot, team)
    months = snapshot.rows(sql("views/statement/months"), {"team": chosen or None})
    paid = next((row for row in months if row["month"] == month), None)
    if paid is None:
        raise ConfigurationError(_no_month(month, chosen, [row["month"] for row in months]))
    before = next((row for row in months if row["month"] == _month_before(month)), None)
    return Statement(
        month=month,
        team=chosen,
        cost_usd=paid["cost_usd"],
        status=_status(snapshot, month, paid),
        sentences=tuple(
            filter(None, (_change(paid, before), _budget(paid, chosen), _forecast(snapshot, month, chosen)))
        ),
        composition=_composition(paid, chosen),
        tables=tuple(_tables(snapshot, month, chosen, months)),
        published_at=snapshot.published_at,
    )


# ------------------------------------------------------------------------------------------------- month and team


def _team(snapshot: Snapshot, name: str) -> str:
    """The team of that name, in whatever case it is written."""
    if not name:
        return ""
    teams = [row["team"] for row in snapshot.rows(sql("views/statement/teams"))]
    same = [team for team in teams if team == name] or [team for team in teams if team.casefold() == name.casefold()]
    if len(same) == 1:
        return str(same[0])
    if not teams:
        raise ConfigurationError(
            "no team pays for anything yet: assign usage to teams in allocation.csv, or leave the team out"
        )
    folded = {team.casefold(): team for team in teams}
    nearest = difflib.get_close_matches(name.casefold(), list(folded), 1, 0.5)
    if nearest:
        raise ConfigurationError(f"no team is called {text(name)}; the nearest is {text(folded[nearest[0]])}")
    listed = ", ".join(text(team) for team in teams[:MOST_ROWS])
    others = f" and {len(teams) - MOST_ROWS:,} others" if len(teams) > MOST_ROWS else ""
    raise ConfigurationError(f"no team is called {text(name)}; there are {listed}{others}")


def _no_month(month: dt.date, team: str, months: Sequence[dt.date]) -> str:
    whose = f" of {text(team)}" if team else ""
    if not months:
        return f"there is neither a bill nor usage with a price{whose}"
    nearest = min(months, key=lambda other: abs((other - month).days))
    return f"there are no costs{whose} in {month:%Y-%m}; the nearest month is {nearest:%Y-%m}"


def _month_before(month: dt.date) -> dt.date:
    return (month - dt.timedelta(days=1)).replace(day=1)


# ------------------------------------------------------------------------------------------------------ sentences


def _status(snapshot: Snapshot, month: dt.date, paid: Row) -> str:
    """Whether the amount can still change, and why."""
    if paid["is_closed"]:
        return "Final: the month is closed, and its amounts stay as they were booked."
    reasons = ["the month is not closed"]
    (row,) = snapshot.rows(sql("views/statement/last_day"))
    end = month.replace(day=calendar.monthrange(month.year, month.month)[1])
    if row["last_day"] is not None and row["last_day"] < end:
        reasons.append(f"the data ends on {row['last_day']}")
    if paid["estimated_usd"]:
        reasons.append(f"{money(paid['estimated_usd'])} is not billed yet")
    return f"Preliminary: {' and '.join(reasons)}."


def _change(paid: Row, before: Row | None) -> str:
    if before is None:
        return "There is no earlier month to compare with."
    change = paid["cost_usd"] - before["cost_usd"]
    of = f"{before['month']:%B %Y} ({money(before['cost_usd'])})"
    if not change:
        return f"As much as in {of}."
    direction = "more" if change > 0 else "less"
    part = f", {share(float(abs(change) / before['cost_usd']))}" if before["cost_usd"] > 0 else ""
    return f"{money(abs(change))}{part} {direction} than in {of}."


def _budget(paid: Row, team: str) -> str:
    """The budget of a team; those of several teams say nothing about the organisation."""
    budget, cost = paid["budget_usd"], paid["cost_usd"]
    if budget is None or not team:
        return ""
    if cost > budget:
        return f"{money(cost - budget)} over the budget of {money(budget)}."
    if not budget:
        return ""
    return f"{share(float(cost / budget))} of the budget of {money(budget)}; {money(budget - cost)} is left."


def _forecast(snapshot: Snapshot, month: dt.date, team: str) -> str:
    rows = snapshot.rows(sql("views/statement/forecast"), {"month": month, "team": team or None})
    if not rows:
        return ""
    of_month = [row for row in rows if row["month"] == rows[0]["month"]]
    when = f"{of_month[0]['month']:%B %Y}"
    point = money(sum(row["point"] for row in of_month))
    if not team:
        budget = of_month[0]["budget_95"]
        enough = f"; a budget of {money(budget)} has a 95% chance of being enough" if budget else ""
        return f"{when} is forecast at {point}{enough}."
    named = ", ".join(text(row["api_key"]) for row in of_month[:3])
    others = f" and {counted(len(of_month) - 3, 'other')}" if len(of_month) > 3 else ""
    return f"{when} is forecast at {point} for the keys that only this team uses: {named}{others}."


def _composition(paid: Row, team: str) -> tuple[tuple[str, Decimal], ...]:
    rule = RULES.get(paid["shared_rule"], paid["shared_rule"])
    whose = "This team's part of the costs that all teams share" if team else "Costs that all teams share"
    lines = (
        ("Direct costs", paid["direct_usd"]),
        (f"{whose}, split {rule}", paid["shared_usd"]),
        ("Costs that no team is responsible for", paid["unallocated_usd"]),
        ("Not billed yet: usage at the rate card", paid["estimated_usd"]),
    )
    return tuple((label, amount) for label, amount in lines if amount)


# --------------------------------------------------------------------------------------------------------- tables


def _tables(snapshot: Snapshot, month: dt.date, team: str, months: Sequence[Row]) -> list[Table]:
    values = {"month": month, "team": team or None}
    tables = [_bridge(snapshot, month, team)]
    parts = snapshot.rows(sql("views/statement/parts"), values)
    if len(parts) > 1:
        title = "By cost centre, product and environment" if team else "By team"
        tables.append(_table(title, [(_part(row, team), row["cost_usd"]) for row in parts]))
    at_card = "At the rate card, so the sum may differ from the bill by its rounding and discounts."
    for title, by, condition, note in (
        ("By model", "model", "is_in_force", at_card),
        ("By API key", "api_key", "is_in_force", at_card),
        ("By user", "user_id", "source = 'sessions'", "As far as the logs name users, at the rate card."),
    ):
        rows = snapshot.rows(sql("views/statement/usage", by=by, filters=condition), values)
        tables.append(_table(title, [(text(row["name"]), row["cost_usd"]) for row in rows if row["cost_usd"]], note))
    earlier = [row for row in months if row["month"] <= month][:MOST_MONTHS]
    if len(earlier) > 1:
        paid = [(f"{row['month']:%B %Y}", row["cost_usd"]) for row in earlier]
        tables.append(_table("Month by month", paid, most=MOST_MONTHS))
    return [table for table in tables if table.rows]


def _part(row: Row, team: str) -> str:
    """A line of the split: of a team its cost centre, product and environment; else the team and its budget."""
    if team:
        return ", ".join(text(row[name]) for name in ("cost_centre", "product", "environment") if row[name]) or "others"
    name = text(row["team"]) if row["team"] else "not allocated"
    budget = row["budget_usd"]
    if budget is None:
        return name
    over = f", over by {money(row['cost_usd'] - budget)}" if row["cost_usd"] > budget else ""
    return f"{name} (budget {money(budget)}{over})"


def _bridge(snapshot: Snapshot, month: dt.date, team: str) -> Table:
    """Why the amount changed: of the team where the bridge has it, else of the whole organisation."""
    rows: list[Row] = []
    if team:
        rows = snapshot.rows(sql("views/statement/bridge"), {"month": month, "segment": f"team={team}"})
    is_own = bool(rows) or not team
    if not rows:
        rows = snapshot.rows(sql("views/statement/bridge"), {"month": month, "segment": "all"})
    if not rows:
        return Table("", ())
    first = rows[0]
    note = f"From {money(first['previous_usd'])} to {money(first['month_usd'])}; the causes add up exactly."
    if not is_own:
        note = f"Of the whole organisation: the causes are not known by team. {note}"
    elif team:
        note += " Shared costs are not among them."
    causes = [(cause_in_words(row["term"], row["usd"]), row["usd"]) for row in rows if row["usd"]]
    causes.sort(key=lambda cause: -abs(cause[1]))
    if first.get("days_sentence"):
        note += f" {first['days_sentence']}"
    return _table(f"Why it changed since {_month_before(month):%B %Y}", causes, note, most=len(causes))


def _table(title: str, rows: Sequence[tuple[str, Decimal]], note: str = "", most: int = MOST_ROWS) -> Table:
    listed = list(rows[:most])
    if len(rows) > most:
        rest = sum((amount for _, amount in rows[most:]), Decimal(0))
        listed.append((counted(len(rows) - most, "other"), rest))
    widest = max((abs(amount) for _, amount in listed), default=Decimal(0)) or Decimal(1)
    return Table(title, tuple((name, amount, round(100 * abs(amount) / widest)) for name, amount in listed), note)
