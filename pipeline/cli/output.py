"""Rows of a query as a table for a terminal, as JSON, or as CSV.

Belongs here: how values look. Does not belong here: which rows (the commands), and what is safe to print (terminal).
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import duckdb
import typer
from rich.table import Table
from rich.text import Text

from pipeline.cli import terminal
from pipeline.cli.application import out
from pipeline.settings import ConfigurationError


def rows(
    connection: duckdb.DuckDBPyConnection, text: str, parameters: Sequence[object] | None = None
) -> list[dict[str, Any]]:
    """Rows of a query of our own.

    Raises:
        ConfigurationError: what is published lacks what it asks for.

    """
    try:
        names, rows = table(connection, text, parameters)
    except (duckdb.CatalogException, duckdb.BinderException):
        raise ConfigurationError(
            "what is published was written by another version of token-analytics: `token-analytics run` writes it anew"
        ) from None
    return [dict(zip(names, row, strict=True)) for row in rows]


def table(
    connection: duckdb.DuckDBPyConnection, text: str, parameters: Sequence[object] | None = None
) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Names and rows of a query; a name that comes again is numbered, so that no column hides another."""
    found = connection.execute(text, parameters)
    names: list[str] = []
    for column in found.description or ():
        name, number = str(column[0]), 0
        while (unique := f"{name}_{number}" if number else name) in names:
            number += 1
        names.append(unique)
    return names, found.fetchall() if names else []


def echo_json(value: Any) -> None:
    """Print a value as JSON, money as exact decimals."""
    typer.echo(json.dumps(plain(value), indent=2, allow_nan=False))


def plain(value: Any) -> Any:
    """A value for JSON: money as an exact decimal string, times in ISO format, null for what is no number."""
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
    """All digits, without an exponent and without zeros that say nothing."""
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def csv_cell(value: Any) -> Any:
    """A spreadsheet would run a text that begins like a formula: keep it a text. Money has no exponent."""
    if isinstance(value, Decimal):
        return decimal(value)
    return "'" + value if isinstance(value, str) and value[:1] in "=+-@\t\r" and value else value


def usd(value: Decimal | None) -> str:
    """An amount for a terminal."""
    return "no price" if value is None else f"${value:,.2f}"


def cell(value: Any) -> str:
    """A value for a cell of a table."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, Decimal):
        return f"{value:,.6f}".rstrip("0").rstrip(".") if abs(value) < 1 and value else f"{value:,.2f}"
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.1f}"
    if isinstance(value, datetime):
        return value.isoformat(" ", "seconds")
    return terminal.printable(str(value))


def print_rows(rows: Sequence[dict[str, Any]], title: str, empty: str) -> None:
    """Print rows as a table, or `empty` where there are none."""
    if not rows:
        out.print(f"{title + ': ' if title else ''}{empty}")
        return
    table = Table(title=title or None, title_justify="left", header_style="bold", box=None, pad_edge=False)
    for name in rows[0]:
        numeric = any(isinstance(row[name], int | float | Decimal) for row in rows)
        table.add_column(name, justify="right" if numeric else "left", no_wrap=numeric, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell(value)) for value in row.values()))
    if out.is_terminal:
        out.print(table)
    else:
        # Without a terminal nothing is cut to a width.
        terminal.console(width=10_000, file=sys.stdout).print(table)
