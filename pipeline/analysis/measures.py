"""Measures, segments and their observations in DuckDB, and the documented schemas of the analysis tables.

Belongs here: the source of an observation, the most expensive segments, and rows as a documented table. Does not belong
here: the tables themselves (`distributions`, `days`, `bridge`) and the SQL (`pipeline/analysis/sql`).

DuckDB groups every column. Python reads (value, count) pairs and daily sums, never single rows of a mart.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Any

import duckdb
import pyarrow as pa

from pipeline.store import sqlfiles
from pipeline.words import counted

NANO = 1e9
DIMENSIONS = ("model", "api_key", "workspace", "user_id", "project")


@dataclass(frozen=True)
class Measure:
    """A column to analyse: its SQL file of observations, the noun for one, and the message if there are none."""

    name: str
    observations: str
    noun: str
    missing: str
    grain: str = ""

    @property
    def is_cost(self) -> bool:
        """True for US dollars (nano-dollars in SQL), false for tokens."""
        return self.name.endswith("_cost_usd")

    @property
    def unit(self) -> float:
        """Number of database units in one unit of the table."""
        return NANO if self.is_cost else 1.0


_NO_SESSIONS = "No session logs have been loaded, and a console export knows no sessions"
_NO_REQUESTS = "No logs of single requests have been loaded, and a console export knows no requests"
MEASURES = {
    measure.name: measure
    for measure in (
        Measure("session_cost_usd", "session_observations", "session", _NO_SESSIONS),
        Measure("session_total_tokens", "session_observations", "session", _NO_SESSIONS),
        Measure("request_cost_usd", "request_observations", "request", _NO_REQUESTS),
        Measure("request_total_tokens", "request_observations", "request", _NO_REQUESTS),
        Measure("minute_cost_usd", "usage_observations", "minute", "No usage is known by the minute", "minute"),
        Measure("day_cost_usd", "usage_observations", "day", "No usage has been loaded", "day"),
    )
}


@dataclass(frozen=True)
class Segment:
    """One segment of one measure: `n` observations have a value, `unpriced_rows` usage rows have no price."""

    dimension: str
    key: str
    n: int
    observations: int
    cost_usd: Decimal
    total_tokens: int
    unpriced_rows: int
    source: str | None

    @property
    def name(self) -> str:
        """The value of column `segment`: all, or the dimension and its value."""
        return "all" if self.dimension == "all" else f"{self.dimension}={self.key}"


def left_out(measure: Measure, segment: Segment) -> str:
    """A clause on what has no price, without full stop; empty where everything has a price."""
    if not measure.is_cost or not segment.unpriced_rows:
        return ""
    noun = "usage row" if measure.grain else measure.noun
    return f"{counted(segment.unpriced_rows, noun)} without a price left out"


def unavailable(measure: Measure, segment: Segment) -> str:
    """Why there is nothing to analyse, as a sentence without full stop."""
    if not segment.observations:
        return measure.missing
    value = "price" if measure.is_cost else "token count"
    return f"None of the {counted(segment.observations, measure.noun)} has a {value}"


def joined(*parts: str) -> str:
    """The non-empty clauses, joined by semicolons."""
    return "; ".join(part for part in parts if part)


@cache
def _text(name: str) -> str:
    """SQL without substitution: `$name` is a query parameter of DuckDB here."""
    return sqlfiles.read(f"analysis/{name}")


def query_observations(
    connection: duckdb.DuckDBPyConnection, name: str, measure: Measure, parameters: Mapping[str, Any]
) -> duckdb.DuckDBPyRelation:
    """Run a query on the observations of a measure, available to it as table `observations`.

    `parameters` holds the `dimensions`; an observation appears once in each of them.
    """
    return _query(connection, {"observations": _text(measure.observations)}, name, measure, parameters)


def query_segments(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    measure: Measure,
    segments: Sequence[Segment],
    *,
    observations: str = "",
    **parameters: Any,
) -> duckdb.DuckDBPyRelation:
    """Run a query on the observations of at least one segment, available to it as table `chosen`.

    Its column `segment` is the index in `segments`. `observations` names other rows than those of the measure.
    """
    tables = {"observations": _text(observations or measure.observations), "chosen": _text("chosen")}
    parameters |= {
        "dimensions": sorted({segment.dimension for segment in segments}),
        "segment_dimensions": [segment.dimension for segment in segments],
        "keys": [segment.key for segment in segments],
    }
    return _query(connection, tables, name, measure, parameters)


def _query(
    connection: duckdb.DuckDBPyConnection,
    tables: Mapping[str, str],
    name: str,
    measure: Measure,
    parameters: Mapping[str, Any],
) -> duckdb.DuckDBPyRelation:
    """The query `name`, behind one CTE for each of `tables`, with those parameters that it uses."""
    body = _text(name)
    start = re.search(r"^(with|select)\b", body, re.MULTILINE)
    if start is None:
        raise ValueError(f"{name}.sql holds no query")
    body = body[start.start() :]
    body = f", {body[5:]}" if start.group() == "with" else body
    text = f"with {', '.join(f'{table} as ({query})' for table, query in tables.items())}\n{body}"
    known = {"grain": measure.grain, "is_cost": measure.is_cost, "unit": measure.unit, **parameters}
    used = set(re.findall(r"\$([a-z_]+)", text))
    return connection.sql(text, params={key: value for key, value in known.items() if key in used})


def costliest_segments(connection: duckdb.DuckDBPyConnection, measure: Measure, limit: int) -> list[Segment]:
    """`all`, then the most expensive segments over all dimensions (ties: more tokens first, then by name)."""
    parameters = {"dimensions": ["all", *(DIMENSIONS if limit else ())], "segment_limit": limit}
    found = query_observations(connection, "segments", measure, parameters).fetchall()
    segments = []
    for dimension, key, n, observations, cost, tokens, unpriced, console, sessions in found:
        source = "+".join(name for name, present in (("console", console), ("sessions", sessions)) if present)
        segments.append(
            Segment(dimension, key, n, observations, cost or Decimal(0), tokens or 0, unpriced, source or None)
        )
    overall = [segment for segment in segments if segment.dimension == "all"]
    if not overall:
        return [Segment("all", "all", 0, 0, Decimal(0), 0, 0, None)]
    parts = [segment for segment in segments if segment.dimension != "all"]
    parts.sort(key=lambda segment: (-segment.cost_usd, -segment.total_tokens, segment.name))
    return overall + parts[:limit]


def described_field(name: str, kind: pa.DataType, description: str) -> pa.Field:
    """A column with its description for the data dictionary."""
    return pa.field(name, kind, metadata={"description": description})


def described_schema(description: str, fields: Sequence[pa.Field]) -> pa.Schema:
    """A table with its description for the data dictionary."""
    return pa.schema(fields, metadata={"description": description})


TEXT, COUNT, NUMBER, FLAG, TIME = pa.string(), pa.int64(), pa.float64(), pa.bool_(), pa.timestamp("us")
MONEY = pa.decimal128(38, 12)
SEGMENT = described_field(
    "segment",
    TEXT,
    "all, or model=, api_key=, workspace=, user_id= or project= and a name; the most expensive segments of a measure "
    "(50, setting analysis_segments). A session belongs to its primary model",
)
MEASURE = described_field(
    "measure",
    TEXT,
    "The unit of observation: the cost or tokens of a session or request, or the cost of a minute (only usage that is "
    "known by the minute) or of a UTC day with usage. Costs in US dollars",
)


def as_table(name: str, schema: pa.Schema, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Rows as a table of the documented schema; a column missing from a row is null.

    Raises:
        ValueError: a row has a column that is not in the schema.

    """
    unknown = {key for row in rows for key in row} - set(schema.names)
    if unknown:
        raise ValueError(f"analysis.{name} has no column {', '.join(sorted(unknown))}")
    return pa.Table.from_pydict({column: [row.get(column) for row in rows] for column in schema.names}, schema=schema)


def published_before(connection: duckdb.DuckDBPyConnection, name: str, columns: Sequence[str]) -> list[tuple[Any, ...]]:
    """Columns of analysis.<name> as the previous run published it; empty without such a table or columns."""
    known = connection.execute(
        "SELECT column_name FROM duckdb_columns() WHERE schema_name = 'analysis' AND table_name = ?", [name]
    ).fetchall()
    if not set(columns) <= {column for (column,) in known}:
        return []
    return connection.execute(f"SELECT {', '.join(columns)} FROM analysis.{name}").fetchall()
