"""A view's rows as a file: CSV, Parquet or JSON.

Belongs here: these formats. Does not belong here: the query, and where a file lies or is sent.
"""

from __future__ import annotations

import io
import json
import math
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet


def encoded(table: pa.Table, kind: str) -> bytes:
    """Rows as a file. In CSV a text that a spreadsheet would take for a formula gets a leading apostrophe."""
    if kind == "json":
        rows = [{name: _plain(value) for name, value in row.items()} for row in table.to_pylist()]
        return json.dumps(rows, ensure_ascii=False, separators=(",", ":")).encode()
    sink = io.BytesIO()
    if kind == "parquet":
        pyarrow.parquet.write_table(table, sink, compression="zstd")
    else:
        pyarrow.csv.write_csv(_without_formulas(table), sink)
    return sink.getvalue()


def _plain(value: Any) -> Any:
    """A value as JSON holds it; decimals as exact text."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _without_formulas(table: pa.Table) -> pa.Table:
    for place, column in enumerate(table.schema):
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            texts = table.column(place).to_pylist()
            table = table.set_column(
                place, column.name, pa.array([_not_a_formula(text) for text in texts], pa.string())
            )
        elif pa.types.is_nested(column.type):
            table = table.set_column(
                place, column.name, pa.array([str(each) for each in table.column(place).to_pylist()])
            )
    return table


def _not_a_formula(text: str | None) -> str | None:
    return f"'{text}" if text and text[0] in "=+-@\t\r" else text
