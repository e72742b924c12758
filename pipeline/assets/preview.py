"""Metadata for the UI: of tables (columns, first rows) and of pages (address). Does not belong here: any single one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pyarrow as pa

from pipeline.store import warehouse
from pipeline.views.pages import ADDRESS

PREVIEW_ROWS = 5
_WIDEST_CELL = 60


def row_count(connection: duckdb.DuckDBPyConnection, schema: str, table: str) -> int:
    """The number of rows of a table."""
    ((count,),) = connection.execute(f'SELECT count(*) FROM {schema}."{table}"').fetchall()
    return int(count)


def table_metadata(connection: duckdb.DuckDBPyConnection, schema: str, table: str) -> dict[str, Any]:
    """Row count, and a Markdown preview of the first rows."""
    found = connection.execute(f'SELECT * FROM {schema}."{table}" LIMIT {PREVIEW_ROWS}')
    names = [column[0] for column in found.description or ()]
    return {
        "dagster/row_count": row_count(connection, schema, table),
        "preview": dg.MetadataValue.md(markdown(names, found.fetchall())),
    }


def columns(schema: pa.Schema) -> dg.TableSchema:
    """The columns of a table of schema analysis, with their descriptions."""
    return dg.TableSchema(
        [dg.TableColumn(field.name, type=str(field.type), description=warehouse.description(field)) for field in schema]
    )


def page_metadata(page: Path, reports: Path) -> dict[str, Any]:
    """The path of a page, and its address in the UI of `token-analytics ui`, which serves the reports."""
    return {
        "report": dg.MetadataValue.url(f"{ADDRESS}/{page.relative_to(reports).as_posix()}"),
        "report_path": dg.MetadataValue.path(str(page)),
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
