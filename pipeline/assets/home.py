"""The home that a run works on, as a Dagster resource. Does not belong here: what a home holds (settings)."""

from __future__ import annotations

from pathlib import Path

import dagster as dg

from pipeline import settings

OWNERS = ["team:finops"]


class Home(dg.ConfigurableResource[settings.Settings]):
    """Where a run reads and writes; by default what TOKEN_ANALYTICS_HOME and the rules of README say."""

    path: str | None = None
    full_refresh: bool = False

    def settings(self) -> settings.Settings:
        """The settings of this home, read anew for each asset."""
        return settings.load(Path(self.path) if self.path else None)
