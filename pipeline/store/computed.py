"""What a computation gives where it cannot be done: one row that says so, so that all else is still published.

Belongs here: which errors end a computation and which a run, the row that stands for the result, and how the failure
travels with the table. Does not belong here: any computation, storing its result (`assets/analysis`).
"""

from __future__ import annotations

from collections.abc import Callable

import duckdb
import pyarrow as pa

from pipeline.settings import ConfigurationError

# What the user has to change, a full or damaged disk and an interrupt end the run: the next table would meet them too.
ENDS_THE_RUN = (ConfigurationError, OSError, duckdb.IOException, duckdb.FatalException, duckdb.InterruptException)

_FAILURE = b"failure"
_REASONS = ("reason", "note", "verdict_reason", "answer", "warning", "evidence")
_STATUSES = ("status", "verdict", "kind")


def told(error: Exception) -> str:
    """An error in one line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__


def table_or_reason(schema: pa.Schema, build: Callable[[], pa.Table]) -> pa.Table:
    """What `build` gives; where it fails, a table of `schema` whose only row says why, marked by `failure`."""
    try:
        return build()
    except ENDS_THE_RUN:
        raise
    except Exception as error:
        reason = told(error)
        row = dict.fromkeys((name for name in _STATUSES if name in schema.names), "unavailable")
        row |= {name: f"unavailable: not computed, {reason}" for name in _REASONS if name in schema.names}
        found = pa.Table.from_pylist([row], schema=schema) if row else schema.empty_table()
        return found.replace_schema_metadata({**(schema.metadata or {}), _FAILURE: reason.encode()})


def failure(table: pa.Table) -> str | None:
    """Why the table could not be computed; None where it was."""
    found = (table.schema.metadata or {}).get(_FAILURE)
    return found.decode() if found else None
