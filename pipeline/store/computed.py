"""The result of a failed computation: one row with the reason, so that all other tables are still published.

Belongs here: which errors end only a computation and which the run, the row that replaces the result, and marking the
table as failed. Does not belong here: any computation, storing its result (`assets/analysis`).
"""

from __future__ import annotations

from collections.abc import Callable

import duckdb
import pyarrow as pa

from pipeline.settings import ConfigurationError

# A wrong setting or input, a full or damaged disk and an interrupt end the run: they would stop the next table too.
ENDS_THE_RUN = (ConfigurationError, OSError, duckdb.IOException, duckdb.FatalException, duckdb.InterruptException)

_FAILURE = b"failure"
_REASONS = ("reason", "note", "verdict_reason", "answer", "warning", "evidence")
_STATUSES = ("status", "verdict", "kind")


def error_line(error: Exception) -> str:
    """An error in one line: its type and the first line of its message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__


def table_or_reason(schema: pa.Schema, build: Callable[[], pa.Table]) -> pa.Table:
    """The result of `build`; if it fails, a table of `schema` whose only row has the reason, marked for `failure`."""
    try:
        return build()
    except ENDS_THE_RUN:
        raise
    except Exception as error:
        reason = error_line(error)
        row = dict.fromkeys((name for name in _STATUSES if name in schema.names), "unavailable")
        row |= {name: f"unavailable: not computed, {reason}" for name in _REASONS if name in schema.names}
        table = pa.Table.from_pylist([row], schema=schema) if row else schema.empty_table()
        return table.replace_schema_metadata({**(schema.metadata or {}), _FAILURE: reason.encode()})


def failure(table: pa.Table) -> str | None:
    """Why the table could not be computed; None if it was."""
    reason = (table.schema.metadata or {}).get(_FAILURE)
    return reason.decode() if reason else None
