"""The pages as HTML: served live, with filters, or written as files by a run.

Belongs here: the list of pages, the template engine, and what differs between a served page and a file. Does not belong
here: a question (one module each), HTTP (serving), and queries.
"""

from __future__ import annotations

import calendar
import datetime as dt
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import duckdb
from jinja2 import Environment
from markupsafe import Markup

from pipeline.store.published import Snapshot
from pipeline.store.sqlfiles import sql
from pipeline.views import bill, contracts, forecast, moves, pages, session, sessions, spend, teams, trust, waste
from pipeline.views.filters import DIMENSIONS, NOT_STATED, SOURCES, FilterError, Filters
from pipeline.views.view import Answer, Page, Shown, View, run, shown

PAGES: tuple[Page, ...] = (
    spend.PAGE,
    moves.PAGE,
    forecast.PAGE,
    bill.PAGE,
    waste.PAGE,
    sessions.PAGE,
    contracts.PAGE,
    teams.PAGE,
    trust.PAGE,
    session.PAGE,
)
QUESTIONS = tuple(page for page in PAGES if not page.is_hidden)
STATIC = Path(__file__).parent / "static"
PLOTLY, PLOTLY_STYLE, HTMX = "plotly-cartesian-4.1.1.min.js", "plotly-cartesian-4.1.1.css", "htmx-4.0.1.min.js"
EVERYTHING = Filters()
# Values in the list of a filter: the most expensive; others can still be written into the address.
MOST_VALUES = 300

_log = logging.getLogger(__name__)


class Site(Protocol):
    """Where things are: addresses of pages, downloads and scripts, and what a reader can do there."""

    @property
    def is_live(self) -> bool:
        """Whether pages have filters: a server answers."""

    @property
    def policy(self) -> str:
        """The content security policy inside of a page; '' where it is sent as a header."""

    @property
    def downloads(self) -> tuple[str, ...]:
        """The kinds of files that a view's rows come in."""

    def page(self, name: str, filters: Filters | None) -> str | None:
        """The address of a page with filters; None where this site has none."""

    def download(self, page: str, view: str, kind: str, filters: Filters) -> str:
        """The address of a view's rows as a file."""

    def asset(self, name: str) -> str:
        """The address of a script or style."""


@dataclass(frozen=True)
class Choices:
    """What a filter can be: the most expensive values of each dimension, and the days of the data."""

    values: Mapping[str, Sequence[str]] = field(default_factory=dict)
    first: dt.date | None = None
    last: dt.date | None = None


def page_of(name: str) -> Page | None:
    """The page of that name."""
    return next((page for page in PAGES if page.name == name), None)


def index(site: Site, snapshot: Snapshot, filters: Filters) -> str:
    """The entrance: each question with its answer."""
    shared = filters.without_options()
    return _render(
        "index",
        site,
        snapshot,
        title="All questions",
        current="index",
        shared=shared,
        has_figures=False,
        answers=[(page, answered(page, snapshot, shared)) for page in QUESTIONS],
    )


def question(site: Site, page: Page, snapshot: Snapshot, filters: Filters) -> str:
    """A page: its answer, then each view as figure and table."""
    views = [attempt(view, snapshot, filters) for view in page.views]
    choices = choices_of(snapshot)
    return _render(
        "question",
        site,
        snapshot,
        title=page.question,
        current=page.name,
        shared=filters.without_options(),
        has_figures=any(each.figure for each in views),
        page=page,
        filters=filters,
        answer=answered(page, snapshot, filters),
        shown=views,
        sources=SOURCES,
        known=_known(page, filters),
        has_days=any(view.date for view in page.views),
        dimensions=DIMENSIONS,
        values=choices.values,
        not_stated=NOT_STATED,
        page_choices=_page_choices(page),
        page_inputs=[each for view in page.views for each in view.inputs],
        periods=_periods(choices, filters),
    )


def message(site: Site, title: str, text: str) -> str:
    """A page that says one thing."""
    return _render("message", site, None, title=title, current="", shared=None, has_figures=False, message=text)


def answered(page: Page, snapshot: Snapshot, filters: Filters) -> Answer:
    """The answer of a page; where it cannot be given, why."""
    try:
        return page.answer(snapshot, filters)
    except FilterError as error:
        return Answer(f"This cannot be shown: {error}.")
    except duckdb.Error as error:
        return Answer(_unreadable(page.name, error))


def attempt(view: View, snapshot: Snapshot, filters: Filters) -> Shown:
    """A view with its rows, or why it cannot be shown: one view never takes its page with it."""
    try:
        return run(view, snapshot, filters)
    except FilterError as error:
        return Shown(view, problem=f"This cannot be shown: {error}.")
    except duckdb.Error as error:
        return Shown(view, problem=_unreadable(view.name, error))


def _unreadable(name: str, error: duckdb.Error) -> str:
    if isinstance(error, duckdb.OutOfMemoryException):
        return "This is too much data for one view: choose a shorter period, or fewer values."
    _log.warning("view %s: %s", name, type(error).__name__)
    return "This cannot be read from what is published: another version wrote it. `token-analytics run` renews it."


def choices_of(snapshot: Snapshot) -> Choices:
    """What the filters can be in this version of the data."""
    try:
        rows = snapshot.rows(sql("views/choices", most=str(MOST_VALUES)))
    except duckdb.Error:
        return Choices(dict.fromkeys(DIMENSIONS, ()))
    values: dict[str, list[str]] = {name: [] for name in DIMENSIONS}
    for row in rows:
        if row["dimension"] in values:
            values[row["dimension"]].append(row["value"])
    days = [row for row in rows if row["dimension"] == "days"]
    return Choices(values, days[0]["first_day"] if days else None, days[0]["last_day"] if days else None)


def _known(page: Page, filters: Filters) -> set[str]:
    """The filters that at least one view of a page applies."""
    known: set[str] = set()
    for view in page.views:
        try:
            known |= set(view.known(filters))
        except FilterError:
            known |= {"source", *DIMENSIONS}
    return known


def _page_choices(page: Page) -> dict[str, tuple[str, tuple[str, ...]]]:
    """The page's own options: label and values, the first of which is the default."""
    found: dict[str, tuple[str, tuple[str, ...]]] = {}
    for view in page.views:
        for name, values in view.choices.items():
            if name not in found or len(values) > len(found[name][1]):
                found[name] = (name.replace("_", " ").capitalize(), values)
    return found


def _periods(choices: Choices, filters: Filters) -> list[tuple[str, Filters]]:
    """Usual periods, counted from the last day of the data."""
    last = choices.last
    if last is None:
        return []
    month = last.replace(day=1)
    before = (month - dt.timedelta(days=1)).replace(day=1)
    ranges = {
        "All days": (None, None),
        f"{last:%B %Y}": (month, month.replace(day=calendar.monthrange(month.year, month.month)[1])),
        f"{before:%B %Y}": (before, month - dt.timedelta(days=1)),
        "Last 30 days": (last - dt.timedelta(days=29), last),
        "Last 7 days": (last - dt.timedelta(days=6), last),
    }
    return [
        (label, filters.with_values(**{"from": f"{a}" if a else None, "to": f"{b}" if b else None}))
        for label, (a, b) in ranges.items()
    ]


# --------------------------------------------------------------------------------------------------- rendering

_CHOICE_NAMES = {"cost_usd": "cost", "api_key": "API key", "user_id": "user", "token_kind": "kind of token"}


@cache
def _environment() -> Environment:
    environment = pages.environment()
    environment.filters |= {
        "cell": shown,
        "heading": lambda label: f"{label[:1].upper()}{label[1:]}",
        "choice": lambda value: _CHOICE_NAMES.get(value, value.replace("_", " ")),
        "inert": lambda figure: Markup(_inert(figure)),  # noqa: S704
    }
    return environment


def _inert(data: Any) -> str:
    """JSON with the special characters of HTML escaped."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _render(name: str, site: Site, snapshot: Snapshot | None, **values: Any) -> str:
    return (
        _environment()
        .get_template(f"{name}.html.j2")
        .render(
            site=site,
            pages=QUESTIONS,
            plotly=PLOTLY,
            plotly_style=PLOTLY_STYLE,
            htmx=HTMX,
            published_at=snapshot.published_at if snapshot else None,
            **values,
        )
    )
