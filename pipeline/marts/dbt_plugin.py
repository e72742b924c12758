"""dbt run by hand: prepares its connection to the warehouse of a home (dbt_project/profiles.yml).

Belongs here: the home's lock and DuckDB configuration. Does not belong here: runs (dbt_runner), and the rows that a
build by hand replaces (dbt_project/macros/scoped.sql: all).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dbt.adapters.duckdb.plugins import BasePlugin
from dbt_common.exceptions import DbtRuntimeError

from pipeline import settings
from pipeline.store import warehouse


class Plugin(BasePlugin):  # type: ignore[misc]  # dbt's adapter has no types
    """dbt-duckdb looks for a class of this name."""

    def update_connection_config(self, creds: Any, config: dict[str, Any]) -> None:
        """Hold the lock of the home until dbt ends, and open its file as a run does."""
        path = Path(creds.path).resolve()
        if not path.is_file():
            raise DbtRuntimeError(
                f"there is no {path}: run `token-analytics run --home {path.parent}` first, or set "
                "TOKEN_ANALYTICS_HOME to a home with data"
            )
        try:
            home = settings.load(path.parent)
            # Waits for a current run, and adds tables that an older version did not have.
            with warehouse.connect(home):
                config.update(warehouse.connection_config(home))
        except settings.ConfigurationError as error:
            raise DbtRuntimeError(str(error)) from None
