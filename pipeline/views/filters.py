"""The filters of a page: period, dimensions, and how they are written in an address and in SQL.

Belongs here: reading an address, writing one, and the conditions that a query gets. Does not belong here: any query.

A filter that a table does not know is not applied; the view says so in words (`Filters.unknown_to`).
"""

from __future__ import annotations

import datetime as dt
import math
import re
import urllib.parse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pipeline.store.sqlfiles import literal

# Dimensions of usage in the order of the form, with their names on a page.
DIMENSIONS = {
    "provider": "provider",
    "workspace": "workspace",
    "api_key": "API key",
    "model": "model",
    "user_id": "user",
    "project": "project",
    "team": "team",
}
# Known from logs only: with one of them, usage of the logs is shown in place of the provider's account.
OF_LOGS = ("user_id", "project")
SOURCES = {"": "account, else logs", "console": "provider's account", "sessions": "our logs"}
GRAINS = ("minute", "hour", "day", "week", "month")
NOT_STATED = "(not stated)"  # an empty value of a dimension, in an address and on a page
MAX_VALUES = 50
MAX_LENGTH = 300
MAX_OPTIONS = 30
_PARAMETER = re.compile(r"\$([a-z_][a-z_0-9]*)")
_FIRST, _LAST = dt.date(1990, 1, 1), dt.date(2200, 1, 1)


class FilterError(ValueError):
    """An address cannot be read; the message says which part, and what it may be."""


@dataclass(frozen=True)
class Filters:
    """What a reader asked for. Days are UTC and inclusive; None is open. Empty `chosen` means everything.

    `options` are parameters of a single page or table, such as `by`, `grain`, or the order of a table.
    """

    first: dt.date | None = None
    last: dt.date | None = None
    source: str = ""
    chosen: tuple[tuple[str, tuple[str, ...]], ...] = ()
    options: tuple[tuple[str, str], ...] = field(default=())

    @property
    def of(self) -> dict[str, tuple[str, ...]]:
        """The chosen values by dimension."""
        return dict(self.chosen)

    def option(self, name: str, default: str = "") -> str:
        """An option of the page."""
        return dict(self.options).get(name, default)

    def choice(self, name: str, allowed: Sequence[str]) -> str:
        """An option that must be one of `allowed`; the first is the default.

        Raises:
            FilterError: it is none of them.

        """
        value = self.option(name, allowed[0])
        if value not in allowed:
            raise FilterError(f"{name}={value[:40]}: choose one of {', '.join(allowed)}")
        return value

    def number(self, name: str, low: float, high: float, default: float | None = None) -> float | None:
        """An option that is a number between `low` and `high`; None or the default without it.

        Raises:
            FilterError: it is no such number.

        """
        given = self.option(name)
        if not given:
            return default
        try:
            value = float(given)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            raise FilterError(f"{name}={given[:40]}: write a number from {low:g} to {high:g}")
        return value

    @property
    def reads_logs(self) -> bool:
        """Whether usage comes from the logs: chosen, or because only they know what was asked for."""
        asked = {*self.of, self.option("by")}
        return self.source == "sessions" or (not self.source and any(name in asked for name in OF_LOGS))

    def conditions(self, columns: Mapping[str, str], date: str = "usage_date") -> tuple[str, dict[str, Any]]:
        """An SQL condition with named parameters, `true` without any.

        `columns`: the table's column of each dimension that it knows (`source` too, where the table has `is_in_force`);
        `date`: its column of the day, '' without one.
        """
        parts: list[str] = []
        values: dict[str, Any] = {}
        if date:
            for name, operator, day in (("first_day", ">=", self.first), ("last_day", "<=", self.last)):
                if day is not None:
                    parts.append(f"{date} {operator} ${name}")
                    values[name] = day
        if "source" in columns:
            if self.source or self.reads_logs:
                parts.append(f"{columns['source']} = $source")
                values["source"] = self.source or "sessions"
            else:
                parts.append("is_in_force")
        for name, chosen in self.chosen:
            if name in columns:
                names = [f"{name}_{number}" for number in range(len(chosen))]
                parts.append(f"{columns[name]} in ({', '.join(f'${each}' for each in names)})")
                values |= dict(zip(names, chosen, strict=True))
        return " and ".join(parts) or "true", values

    def unknown_to(self, columns: Iterable[str], has_date: bool = True) -> list[str]:
        """Names of the active filters that a table with these dimensions does not know."""
        names = [DIMENSIONS[name] for name, _ in self.chosen if name not in set(columns)]
        return names + (["period"] if not has_date and (self.first or self.last) else [])

    @property
    def segment(self) -> str | None:
        """The segment of schema analysis: `all`, `<dimension>=<value>`, or None where the choice is no segment."""
        if not self.chosen:
            return "all"
        (name, values), *others = self.chosen
        return None if others or len(values) != 1 or name in ("provider", "team") else f"{name}={values[0]}"

    def with_values(self, **values: str | None) -> Filters:
        """These filters with dimensions, days, source or options replaced; None removes one."""
        pairs = {key: texts for key, texts in _pairs(self).items() if key not in values}
        pairs |= {key: [value] for key, value in values.items() if value is not None}
        return parse(pairs)

    def address(self) -> str:
        """The query of an address that restores these filters: '' or `?...`."""
        pairs = [(key, text) for key, texts in _pairs(self).items() for text in texts]
        return f"?{urllib.parse.urlencode(pairs)}" if pairs else ""

    def without_options(self) -> Filters:
        """The filters that every page shares."""
        return replace(self, options=())


def _pairs(filters: Filters) -> dict[str, list[str]]:
    pairs: dict[str, list[str]] = {}
    if filters.first:
        pairs["from"] = [filters.first.isoformat()]
    if filters.last:
        pairs["to"] = [filters.last.isoformat()]
    if filters.source:
        pairs["source"] = [filters.source]
    for name, values in filters.chosen:
        pairs[name] = [value or NOT_STATED for value in values]
    for name, text in filters.options:
        pairs[name] = [text]
    return pairs


def parse(pairs: Mapping[str, Sequence[str]]) -> Filters:
    """Filters from the parts of an address; a part without a value is no filter.

    Raises:
        FilterError: a value cannot be read.

    """
    given = {key: [text for text in texts if text != ""] for key, texts in pairs.items()}
    given = {key: texts for key, texts in given.items() if texts}
    for key, texts in given.items():
        if len(texts) > MAX_VALUES or len(key) > MAX_LENGTH or any(len(text) > MAX_LENGTH for text in texts):
            raise FilterError(f"{key[:40]}: at most {MAX_VALUES} values of {MAX_LENGTH} characters")
        if any("\0" in text or not _is_text(text) for text in (key, *texts)):
            raise FilterError(f"{key[:40].encode('unicode_escape').decode()}: contains a character that is no text")
    first, last = (_day(name, given.pop(name, [""])[-1]) for name in ("from", "to"))
    if first and last and first > last:
        raise FilterError(f"from={first} is later than to={last}")
    source = given.pop("source", [""])[-1]
    if source not in SOURCES:
        raise FilterError(f"source={source[:40]}: choose console or sessions, or leave it out")
    chosen = tuple(
        (name, tuple(sorted({"" if text == NOT_STATED else text for text in given.pop(name)})))
        for name in DIMENSIONS
        if name in given
    )
    if len(given) > MAX_OPTIONS:
        raise FilterError(f"at most {MAX_OPTIONS} other parts of an address are read")
    return Filters(first, last, source, chosen, tuple((name, texts[-1]) for name, texts in sorted(given.items())))


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    return True


def _day(name: str, text: str) -> dt.date | None:
    if not text:
        return None
    try:
        day = dt.date.fromisoformat(text)
    except ValueError:
        raise FilterError(f"{name}={text[:40]}: write a day as 2026-01-31") from None
    if not _FIRST <= day <= _LAST:
        raise FilterError(f"{name}={text[:40]}: the day lies outside of {_FIRST} to {_LAST}")
    return day


def parameters(query: str) -> set[str]:
    """The names of a query's parameters."""
    return set(_PARAMETER.findall(query))


def spelled(query: str, values: Mapping[str, Any]) -> str:
    """A query with its named parameters written in, so that a reader can run it as it is."""
    return _PARAMETER.sub(lambda found: _spelled(values[found.group(1)]), query)


def _spelled(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, dt.date):
        return f"date '{value}'"
    return str(value).lower() if isinstance(value, bool | int | float) else literal(str(value))
