"""What a row of usage or of a bill may hold: beyond it the row is quarantined, so that no value of one row stops a run.

Belongs here: the limits of a run, made of its settings, for the readers in SQL and in Python alike. Does not belong
here: the judgement of a row (`ingest`), limits of a file (`sources/contract`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time

# Defaults of the settings.
FIRST_USAGE_DATE = date(2020, 1, 1)
MAX_DAYS_AHEAD = 2
# Also the most that can be set: of ten million rows with the greatest count in every kind the sums fit in 64 bits.
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
        """What is wrong with a timestamp that lies outside of them."""
        return f"timestamp lies before {self.first:%Y-%m-%d} or too far ahead of today"


# One run a process: readers in Python are called for each line, far from any settings.
_in_force = Limits(
    datetime.combine(FIRST_USAGE_DATE, time(), UTC), datetime.max.replace(tzinfo=UTC), MAX_ROW_TOKENS, MAX_ROW_USD
)


def in_force() -> Limits:
    """The limits of this process."""
    return _in_force


def use(limits: Limits) -> None:
    """Let these be the limits of this process."""
    global _in_force
    _in_force = limits
