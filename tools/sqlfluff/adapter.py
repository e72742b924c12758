"""dbt's `adapter` where sqlfluff renders the models without dbt: a dispatched macro is DuckDB's."""

from typing import Any

from jinja2 import pass_context
from jinja2.runtime import Context


@pass_context
def dispatch(context: Context, name: str) -> Any:
    """The macro that dbt would call."""
    return context.resolve(f"duckdb__{name}")
