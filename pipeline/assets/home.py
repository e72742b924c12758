"""The home of a run, as a Dagster resource. Does not belong here: the layout of a home (settings)."""

from __future__ import annotations

from pathlib import Path

import dagster as dg

from pipeline import settings

OWNERS = ["team:finops"]


class Home(dg.ConfigurableResource[settings.Settings]):
    """The folder where a run reads and writes; by default from TOKEN_ANALYTICS_HOME and the rules in the README."""

    path: str | None = None
    full_refresh: bool = False

    def settings(self) -> settings.Settings:
        """The settings of this home, read again for each asset."""
        return settings.load(Path(self.path) if self.path else None)
