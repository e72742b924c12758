"""Replaces dbt's `adapter` when sqlfluff renders models without dbt: dispatches to DuckDB's macros."""

from typing import Any

from jinja2 import pass_context
from jinja2.runtime import Context


@pass_context
def dispatch(context: Context, name: str) -> Any:
    """The macro that dbt would call."""
    return context.resolve(f"duckdb__{name}")
