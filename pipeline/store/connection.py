"""Helpers for a warehouse connection: a transaction, one row, all rows, whether a table exists.

Does not belong here: opening a connection (warehouse), or any query.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import duckdb

Row = dict[str, Any]


@contextlib.contextmanager
def transaction(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Inside this context all statements take effect together; if one fails, none does."""
    connection.execute("BEGIN")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # A commit that failed leaves nothing to roll back.
        with contextlib.suppress(duckdb.TransactionException):
            connection.execute("ROLLBACK")
        raise


def has_table(connection: duckdb.DuckDBPyConnection, schema: str, table: str) -> bool:
    """Whether the warehouse holds a table."""
    query = "SELECT 1 FROM duckdb_tables() WHERE schema_name = ? AND table_name = ?"
    return first_row(connection, query, [schema, table]) is not None


def first_row(
    connection: duckdb.DuckDBPyConnection, query: str, parameters: Sequence[object] = ()
) -> tuple[Any, ...] | None:
    """The first row. All are fetched, since DuckDB refuses `connection.sql` while a result has unread rows."""
    rows = connection.execute(query, list(parameters)).fetchall()
    return rows[0] if rows else None


def rows_of(
    connection: duckdb.DuckDBPyConnection, query: str, parameters: Sequence[object] | Mapping[str, object] | None = None
) -> list[Row]:
    """All rows of a query by the names of its columns."""
    result = connection.execute(query, parameters)
    names = [str(column[0]) for column in result.description or ()]
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]
