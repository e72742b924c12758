"""Limits of the values in a row of usage or of a bill: a row beyond them is quarantined, so that it cannot stop a run.

Belongs here: the limits of a run, from its settings, for readers in SQL and in Python. Does not belong here: checking
a row (`ingest`), limits of a file (`sources/contract`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time

# Defaults of the settings.
FIRST_USAGE_DATE = date(2020, 1, 1)
MAX_DAYS_AHEAD = 2
# Also the greatest allowed setting: sums over ten million rows with this count in every kind fit in 64 bits.
MAX_ROW_TOKENS = 100_000_000_000
MAX_ROW_USD = 100_000_000


@dataclass(frozen=True)
class Limits:
    """Times of usage lie from `first` to before `end`, UTC; counts of a row are at most `tokens`, amounts `usd`."""

    first: datetime
    end: datetime
    tokens: int
    usd: int

    @property
    def time_problem(self) -> str:
        """The message for a timestamp outside of the limits."""
        return f"timestamp lies before {self.first:%Y-%m-%d} or too far ahead of today"


# A process has one run. Readers in Python are called for each line, without access to settings.
_in_force = Limits(
    datetime.combine(FIRST_USAGE_DATE, time(), UTC), datetime.max.replace(tzinfo=UTC), MAX_ROW_TOKENS, MAX_ROW_USD
)


def in_force() -> Limits:
    """The limits of this process."""
    return _in_force


def use(limits: Limits) -> None:
    """Set the limits of this process."""
    global _in_force
    _in_force = limits
