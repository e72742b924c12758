"""What a page is made of: views, each one query -> rows -> a sentence, a figure and a table.

Belongs here: these classes, and running a view against a published database. Does not belong here: any query or
sentence (one module a page), figures (plots), HTML (templates), or a connection (store.published).

A page is one question. It begins with the answer in a sentence and its numbers; then come its views.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Literal

from pipeline.store.connection import Row
from pipeline.store.published import Snapshot
from pipeline.store.sqlfiles import identifier, sql
from pipeline.views.filters import DIMENSIONS, MAX_LENGTH, NOT_STATED, FilterError, Filters, parameters, spelled
from pipeline.words import percent, printable, usd

Unit = Literal[
    "usd",
    "edge",
    "tokens",
    "count",
    "share",
    "ratio",
    "seconds",
    "day",
    "month",
    "moment",
    "text",
    "segment",
    "long",
    "yes",
]
NUMBERS = ("usd", "edge", "tokens", "count", "share", "ratio", "seconds")
Figure = dict[str, Any]  # plotly's JSON: data and layout
ROWS_SHOWN = 25
# A figure is drawn from at most this many rows; a view whose query can give more states so itself.
MAX_FIGURE_ROWS = 20_000
# A remark on numbers of a team that come from the provider's account, which names keys only.
OF_TEAM_KEYS = (
    "Only usage whose key is the team's. What the team pays besides, of shared costs and by user or project, is under "
    "Who pays?"
)


@dataclass(frozen=True)
class Column:
    """A column of a table: its name in the query, its heading and unit, an explanation, and where its cells lead.

    `link` makes, from a row and the filters of the page, the page and the filters that show what is behind a cell; None
    for no link. `is_words`: made by the view's `words`, so it is no column of the query, and no table is ordered by it.
    """

    name: str
    label: str
    unit: Unit = "text"
    help: str = ""
    link: Callable[[Row, Filters], tuple[str, Filters] | None] | None = None
    is_words: bool = False

    @property
    def is_number(self) -> bool:
        """Whether cells are aligned to the right."""
        return self.unit in NUMBERS

    def leads_to(self, row: Row, filters: Filters) -> tuple[str, Filters] | None:
        """The page and filters behind a cell; None without a link, and for a name that no address can hold."""
        try:
            return self.link(row, filters) if self.link else None
        except FilterError:
            return None


@dataclass(frozen=True)
class Input:
    """A number that a reader enters: a field, or a slider (`range`) with a default."""

    name: str
    label: str
    kind: Literal["number", "range"]
    low: float
    high: float
    step: float | str = "any"
    default: float | None = None


@dataclass(frozen=True)
class View:
    """One query, and how its rows are shown.

    `query`: the SQL file, with the parts ${filters} (a condition) and those of `parts`. `knows`: the columns of its
    table by dimension. Both may depend on the filters. `date`: its column of the day. `figure` and `sentence` are made
    from all rows. `values`: named parameters besides those of the filters. `choices`: options in an address, and what
    they may be, the default first; `inputs`: numbers likewise. `of`: the filters that its usage gets. `note`: what the
    numbers mean, for readers who don't know the field. `is_list`: one row a record, read page by page, so without
    figure and sentence. `is_overview`: it lists everything on purpose, whatever the filters are. `words`: columns that
    are sentences about a row. `bound`: parts of the query that depend on the data, such as values computed in Python.
    """

    name: str
    title: str
    query: str | Callable[[Filters], str]
    columns: tuple[Column, ...]
    knows: Mapping[str, str] | Callable[[Filters], Mapping[str, str]] = field(default_factory=dict)
    date: str = ""
    figure: Callable[[Sequence[Row], Filters], Figure | None] | None = None
    sentence: Callable[[Sequence[Row], Filters], str] | None = None
    parts: Callable[[Filters], Mapping[str, str]] | None = None
    values: Callable[[Filters], Mapping[str, Any]] | None = None
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    inputs: tuple[Input, ...] = ()
    of: Callable[[Filters], Filters] = lambda filters: filters
    is_overview: bool = False
    note: str = ""
    empty: str = "No usage matches these filters."
    rows_shown: int = ROWS_SHOWN
    is_list: bool = False
    words: Callable[[Row], Row] | None = None
    bound: Callable[[Snapshot, Filters], Mapping[str, str]] | None = None

    def statement(self, filters: Filters, snapshot: Snapshot | None = None) -> tuple[str, dict[str, Any]]:
        """The query for these filters, and its named parameters; `snapshot` is needed where parts are `bound` to it."""
        condition, values = self.of(filters).conditions(self.known(filters), self.date)
        name = self.query(filters) if callable(self.query) else self.query
        parts = dict(self.parts(filters)) if self.parts else {}
        if self.bound and snapshot:
            parts |= self.bound(snapshot, filters)
        text = sql(name, filters=condition, **parts)
        values |= self.values(filters) if self.values else {}
        named = parameters(text)
        return text, {name: value for name, value in values.items() if name in named}

    def known(self, filters: Filters) -> Mapping[str, str]:
        """The table's columns by dimension."""
        return self.knows(filters) if callable(self.knows) else self.knows


@dataclass(frozen=True)
class Shown:
    """A view with its rows: what a template needs. `problem`: why it cannot be shown, in one sentence."""

    view: View
    columns: tuple[Column, ...] = ()
    rows: Sequence[Row] = ()
    total: int = 0
    figure: Figure | None = None
    sentence: str = ""
    sql: str = ""
    not_applied: tuple[str, ...] = ()
    order: str = ""
    page: int = 1
    problem: str = ""

    @property
    def pages(self) -> int:
        """How many pages the table has."""
        return max(1, -(-self.total // self.view.rows_shown))

    def behind(self, filters: Filters) -> Filters:
        """The filters of the rows: those of the page that the table knows, so that links lead to what is counted."""
        known = self.view.known(filters)
        return replace(filters, chosen=tuple((name, values) for name, values in filters.chosen if name in known))


@dataclass(frozen=True)
class Tile:
    """A key figure: a label, a value as text, what it is compared with, and the page behind it."""

    label: str
    value: str
    remark: str = ""
    to: tuple[str, Filters] | None = None


@dataclass(frozen=True)
class Answer:
    """The answer of a page: one sentence, its most important number, and key figures."""

    sentence: str
    number: str = ""
    tiles: tuple[Tile, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Page:
    """A question: its name in addresses, its title, how it is answered, and its views in order.

    `is_hidden`: about one record that the address names, so reached by links only and without filters.
    """

    name: str
    question: str
    short: str
    answer: Callable[[Snapshot, Filters], Answer]
    views: tuple[View, ...]
    is_hidden: bool = False

    def view(self, name: str) -> View | None:
        """The view of that name."""
        return next((view for view in self.views if view.name == name), None)


def run(view: View, snapshot: Snapshot, filters: Filters) -> Shown:
    """The view's rows: all of them for a figure and a sentence, one page of them for the table.

    Raises:
        FilterError: an order, a page or a choice does not exist.

    """
    query, values = view.statement(filters, snapshot)
    order, number = _order(view, filters)
    if view.is_list:
        total = snapshot.rows(f"select count(*) as total from ({query})", values)[0]["total"]
        number, first = _within(number, total, view.rows_shown)
        page = f"{_in_order(query, order)}\nlimit {view.rows_shown} offset {first}"
        rows = every = snapshot.rows(page, values)
    else:
        every = snapshot.rows(query, values)
        ranked = snapshot.rows(_in_order(query, order), values) if order else every
        total = len(every)
        number, first = _within(number, total, view.rows_shown)
        rows = ranked[first : first + view.rows_shown]
    if view.words:
        rows = [row | view.words(row) for row in rows]
    return Shown(
        view=view,
        columns=tuple(column for column in view.columns if not rows or column.name in rows[0]),
        rows=rows,
        total=total,
        figure=view.figure(every[:MAX_FIGURE_ROWS], filters) if view.figure and every else None,
        sentence=view.sentence(every, filters) if view.sentence and every else "",
        sql=spelled(query, values).strip(),
        not_applied=() if view.is_overview else tuple(filters.unknown_to(view.known(filters), bool(view.date))),
        order=order,
        page=number,
    )


def _within(page: int, total: int, rows_shown: int) -> tuple[int, int]:
    """A page that exists, and its first row: other filters can leave a table with fewer pages than an address names."""
    page = min(page, max(1, -(-total // rows_shown)))
    return page, (page - 1) * rows_shown


def _in_order(query: str, order: str) -> str:
    """The query, ordered by a column: `name`, or `-name` for descending."""
    if not order:
        return query
    direction = "desc" if order.startswith("-") else "asc"
    return f"select * from ({query}) order by {identifier(order.lstrip('-'))} {direction} nulls last"


def _order(view: View, filters: Filters) -> tuple[str, int]:
    """The column that the reader orders the table by, and the page of it."""
    order = filters.option(f"{view.name}.sort")
    if order and order.lstrip("-") not in {column.name for column in view.columns if not column.is_words}:
        raise FilterError(f"{view.name}.sort={order[:40]}: the table has no such column")
    text = filters.option(f"{view.name}.page", "1")
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= 1_000_000 and len(text) < 9):
        raise FilterError(f"{view.name}.page={text[:40]}: write a page as a whole number from 1")
    return order, int(text)


# ------------------------------------------------------------------------------------------------------ cells


def shown(value: Any, unit: Unit) -> str:
    """A value as the text of a cell; a dash where there is none."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    match unit:
        case "usd":
            return money(value)
        case "edge":
            return edge(value)
        case "tokens" | "count":
            return f"{value:,.0f}"
        case "share":
            return share(float(value))
        case "ratio":
            return f"{float(value):,.3g}" if abs(value) < 1000 else f"{float(value):,.0f}"
        case "seconds":
            return _duration(float(value))
        case "month":
            return f"{value:%B %Y}" if isinstance(value, dt.date) else str(value)
        case "moment":
            return f"{value:%Y-%m-%d %H:%M}" if isinstance(value, dt.datetime) else str(value)
        case "segment":
            return segment_name(str(value))
        case "yes":
            return "yes" if value else "no"
    return text(value)


def segment_name(segment: str) -> str:
    """A segment of schema analysis in words: `everything`, or a dimension and its value."""
    name, found, value = segment.partition("=")
    return (
        f"{DIMENSIONS.get(name, name)} {text(value)}" if found else "everything" if segment == "all" else text(segment)
    )


def text(value: Any) -> str:
    """A value as plain text, its control characters and bidirectional marks escaped; `(not stated)` for ''."""
    return NOT_STATED if value == "" else printable(str(value))


def money(value: Decimal | float) -> str:
    """Dollars and cents; more digits only for amounts below a cent."""
    return usd(value)


def edge(value: Decimal | float) -> str:
    """Dollars as the edge of a range: below a dollar with two significant digits, so that near edges differ."""
    if value >= 1:
        return money(value)
    digits = f"{Decimal(f'{value:.2g}'):f}"
    return f"${digits}{'0' if len(digits) == 3 else ''}"


def share(value: float) -> str:
    """A share as a percentage: 100% and 0% only if exact."""
    return "<0.1%" if 0 < value < 0.0005 else percent(value)


def _duration(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:,.1f} s"


def dimension_link(page: str, dimension: str) -> Callable[[Row, Filters], tuple[str, Filters] | None]:
    """A link of a cell to `page` with the row's value of `dimension` as a filter."""

    def link(row: Row, filters: Filters) -> tuple[str, Filters] | None:
        value = row.get(dimension)
        if value is None or dimension not in DIMENSIONS:
            return None
        return page, filters.without_options().with_values(**{dimension: value or NOT_STATED})

    return link


def session_link(row: Row, filters: Filters) -> tuple[str, Filters] | None:
    """A link of a cell to the page of the row's session."""
    session_id = row.get("session_id")
    if not session_id or len(session_id) > MAX_LENGTH:
        return None
    return "session", Filters(options=(("id", session_id),))


def day_link(page: str, column: str = "usage_date") -> Callable[[Row, Filters], tuple[str, Filters] | None]:
    """A link of a cell to `page` on the day of the row."""

    def link(row: Row, filters: Filters) -> tuple[str, Filters] | None:
        day = row.get(column)
        if day is None:
            return None
        day = day.date() if isinstance(day, dt.datetime) else day
        return page, filters.without_options().with_values(**{"from": f"{day}", "to": f"{day}"})

    return link
