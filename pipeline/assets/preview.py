"""What the UI shows of a table: its rows and the first few of them. Does not belong here: any table in particular."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dagster as dg
import duckdb

PREVIEW_ROWS = 5
_WIDEST_CELL = 60


def table_metadata(connection: duckdb.DuckDBPyConnection, schema: str, table: str) -> dict[str, Any]:
    """Row count, and a Markdown preview of the first rows."""
    counted = connection.execute(f'SELECT count(*) FROM {schema}."{table}"').fetchone()
    found = connection.execute(f'SELECT * FROM {schema}."{table}" LIMIT {PREVIEW_ROWS}')
    names = [column[0] for column in found.description or ()]
    return {
        "dagster/row_count": int(counted[0]) if counted else 0,
        "preview": dg.MetadataValue.md(markdown(names, found.fetchall())),
    }


def markdown(names: Sequence[str], rows: Sequence[Sequence[Any]], widest: int = _WIDEST_CELL) -> str:
    """Rows as a Markdown table; cells are cut at `widest` characters and cannot break out of it."""
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    lines += ["| " + " | ".join(_cell(value, widest) for value in row) + " |" for row in rows]
    return "\n".join(lines)


def _cell(value: Any, widest: int) -> str:
    text = "" if value is None else str(value)
    text = text if len(text) <= widest else text[: widest - 1] + "…"
    for char, shown in (("&", "&amp;"), ("<", "&lt;"), ("|", "&#124;"), ("\n", " "), ("\r", " ")):
        text = text.replace(char, shown)
    return text
