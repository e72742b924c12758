"""Rows of a query as a table for a terminal, as JSON, or as CSV.

Belongs here: how values look. Does not belong here: which rows (the commands), and what is safe to print (terminal).
"""

from __future__ import annotations

import contextlib
import json
import math
import re
import sys
from collections.abc import Iterator, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Literal, NamedTuple

import duckdb
import typer
from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from pipeline.cli import terminal
from pipeline.cli.application import out
from pipeline.settings import ConfigurationError

GAP = "  "  # between two columns of a table
LEAST_TEXT = 12  # a narrower text wraps instead


def rows(
    connection: duckdb.DuckDBPyConnection, text: str, parameters: Sequence[object] | None = None
) -> list[dict[str, Any]]:
    """Rows of a query of our own.

    Raises:
        ConfigurationError: the published database lacks a table or column of the query.

    """
    with of_this_version():
        names, rows = table(connection, text, parameters)
    return [dict(zip(names, row, strict=True)) for row in rows]


@contextlib.contextmanager
def of_this_version() -> Iterator[None]:
    """Say what to do if the published database lacks a table or column of a query of our own.

    Raises:
        ConfigurationError: it does.

    """
    try:
        yield
    except (duckdb.CatalogException, duckdb.BinderException):
        raise ConfigurationError(
            "the published database is of another version of token-analytics: `token-analytics run` rewrites it"
        ) from None


def table(
    connection: duckdb.DuckDBPyConnection, text: str, parameters: Sequence[object] | None = None
) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Names and rows of a query; a repeated name is numbered, so that no column hides another."""
    result = connection.execute(text, parameters)
    names: list[str] = []
    for column in result.description or ():
        name, number = str(column[0]), 0
        while (unique := f"{name}_{number}" if number else name) in names:
            number += 1
        names.append(unique)
    return names, result.fetchall() if names else []


def echo_json(value: Any) -> None:
    """Print a value as JSON, money as exact decimals."""
    typer.echo(json.dumps(plain(value), indent=2, allow_nan=False))


def plain(value: Any) -> Any:
    """A value for JSON: money as an exact decimal string, times in ISO format, null for NaN and infinity."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Decimal):
        return decimal(value)
    if isinstance(value, date | datetime):
        return value.isoformat()
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return str(value)


def decimal(value: Decimal) -> str:
    """All digits, without an exponent and trailing zeros."""
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def csv_cell(value: Any) -> Any:
    """A cell of a CSV: money without an exponent; text like a formula gets an apostrophe, or a spreadsheet runs it.

    On a terminal, control characters are escaped.
    """
    if isinstance(value, Decimal):
        return decimal(value)
    if not isinstance(value, str):
        return value
    text = "'" + value if value and value[0] in "=+-@\t\r" else value
    return terminal.printable(text) if sys.stdout.isatty() else text


def cell(value: Any) -> str:
    """A value for a cell of a table."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, Decimal):
        text = f"{value:,.6f}".rstrip("0").rstrip(".") if abs(value) < 1 and value else f"{value:,.2f}"
        return text if text.strip("-0.") else text.removeprefix("-")
    if isinstance(value, float):
        return f"{value + 0.0:,.4g}" if abs(value) < 1000 else f"{value:,.1f}"
    if isinstance(value, datetime):
        return value.isoformat(" ", "seconds")
    return terminal.printable(str(value))


class Column(NamedTuple):
    """A column as a terminal shows it; widths in character cells. Text may wrap, values may not."""

    name: str
    cells: list[str]
    is_number: bool
    least: int
    natural: int

    @classmethod
    def of(cls, name: str, values: Sequence[Any]) -> Column:
        """The column of these values."""
        cells = [cell(value) for value in values]
        widest = max(map(cell_len, cells))
        header = max(map(len, _header_parts(name)))
        may_fold = any(isinstance(value, str | list | dict) for value in values)
        least = max(header, min(widest, LEAST_TEXT) if may_fold else widest)
        is_number = any(isinstance(value, int | float | Decimal) for value in values)
        return cls(name, cells, is_number, least, max(widest, len(name)))


def _header_parts(name: str) -> list[str]:
    """The parts between which a column name may wrap: after each underscore."""
    return re.findall(r"[^_]*_+|[^_]+", name) or [""]


def _header(name: str, width: int) -> str:
    lines = [""]
    for part in _header_parts(name):
        if lines[-1] and len(lines[-1]) + len(part) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)


def _needed(columns: Sequence[Column]) -> int:
    return sum(column.least for column in columns) + len(GAP) * (len(columns) - 1)


def _fitting(columns: Sequence[Column], width: int, minor: Sequence[str]) -> list[Column]:
    """The columns that fit: drop those named in `minor` first, then numbers, then names, each from the right."""
    named = [column for name in minor for column in columns if column.name == name]
    numbers = [column for column in reversed(columns) if column.is_number]
    kept = list(columns)
    for column in dict.fromkeys(column.name for column in (*named, *numbers, *reversed(columns[1:]))):
        if _needed(kept) <= width or len(kept) == 1:
            break
        kept = [each for each in kept if each.name != column]
    return kept


def _widths(columns: Sequence[Column], width: int) -> list[int]:
    """Each column's minimum; spare width goes to names first, and among these to the smallest shortfall."""
    left = width - _needed(columns)
    widths = {column.name: column.least for column in columns}
    for column in sorted(columns, key=lambda column: (column.is_number, column.natural - column.least)):
        more = max(0, min(column.natural - column.least, left))
        widths[column.name] += more
        left -= more
    return list(widths.values())


def print_rows(rows: Sequence[dict[str, Any]], title: str, empty: str, minor: Sequence[str] = ()) -> None:
    """Print rows as a table, or `empty` if there are none.

    On a terminal no value is cut: columns that do not fit are left out, `minor` ones first, and a line names them.
    """
    if not rows:
        out.print(f"{title + ': ' if title else ''}{empty}")
        return
    columns = [Column.of(name, [row[name] for row in rows]) for name in rows[0]]
    # Without a terminal nothing is left out.
    width = out.width if out.is_terminal else 10_000
    kept = _fitting(columns, width, minor)
    table = Table(title=title or None, title_justify="left", header_style="bold", box=None, pad_edge=False)
    for column, wide in zip(kept, _widths(kept, width), strict=True):
        justify: Literal["left", "right"] = "right" if column.is_number else "left"
        table.add_column(_header(column.name, wide), justify=justify, width=min(wide, width), overflow="fold")
    for cells in zip(*(column.cells for column in kept), strict=True):
        table.add_row(*map(Text, cells))
    printer = out if out.is_terminal else terminal.console(width=width, file=sys.stdout)
    printer.print(table)
    if left_out := [column.name for column in columns if column not in kept]:
        out.print(Text(f"Left out to fit {width} characters: {', '.join(left_out)} (--json has all)", style="dim"))
