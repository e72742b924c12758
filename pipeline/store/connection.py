"""What every stage does with a connection to the warehouse: a transaction, one row, whether a table is there.

Belongs here: that. Does not belong here: opening one (warehouse), or any query.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import duckdb

Row = dict[str, Any]


@contextlib.contextmanager
def transaction(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Within, all statements take effect together, or none where one fails."""
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
    found = first_row(connection, query, [schema, table])
    return found is not None


def first_row(
    connection: duckdb.DuckDBPyConnection, query: str, parameters: Sequence[object] = ()
) -> tuple[Any, ...] | None:
    """The first row. All are fetched: DuckDB refuses `connection.sql` while a result is not read to its end."""
    rows = connection.execute(query, list(parameters)).fetchall()
    return rows[0] if rows else None


def rows_of(
    connection: duckdb.DuckDBPyConnection, query: str, parameters: Sequence[object] | Mapping[str, object] | None = None
) -> list[Row]:
    """All rows of a query by the names of its columns."""
    found = connection.execute(query, parameters)
    names = [str(column[0]) for column in found.description or ()]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]
