"""Progress of a run, for observers, and the cost of each of its stages.

Belongs here: the one channel from the stages to the terminal, and the cost of a stage: from its first report to that of
the next one, so that the stages of a run add up to the run. Does not belong here: drawing it (cli).
"""

from __future__ import annotations

import contextlib
import resource
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass

import duckdb

Observer = Callable[[str, int, int, str], None]  # stage, done, total (0 = unknown), what

WAITING = "waiting"  # waiting for another program is no stage; it counts for the waiting one
_START = "start"  # Python, imports and everything else before the first stage
_MAXRSS_PER_MB = 1 << 20 if sys.platform == "darwin" else 1 << 10

# A process has one run. A plain variable, since dbt reports from its own threads, where a context variable is lost.
_observers: list[Observer] = []


@dataclass
class Cost:
    """The cost of a stage so far; `peak_mb` is the peak memory of the process up to its end."""

    stage: str
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_mb: float = 0.0
    rows: int = 0


class _Meter:
    """Adds the time since the last measurement to the current stage."""

    def __init__(self, wall: float, cpu: float) -> None:
        self.stages = {_START: Cost(_START)}
        self.now = self.stages[_START]
        self.wall, self.cpu = wall, cpu

    def look(self) -> None:
        wall, cpu = time.monotonic(), _cpu_seconds()
        self.now.seconds += wall - self.wall
        self.now.cpu_seconds += cpu - self.cpu
        self.now.peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _MAXRSS_PER_MB
        self.wall, self.cpu = wall, cpu

    def enter(self, stage: str) -> None:
        if stage not in (WAITING, self.now.stage):
            self.look()
            self.now = self.stages.setdefault(stage, Cost(stage))


def _cpu_seconds() -> float:
    """CPU time of this process and of its finished children."""
    used = (resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in used)


_meter = _Meter(time.monotonic(), 0.0)


def report(stage: str, done: int = 0, total: int = 0, what: str = "") -> None:
    """Report that `stage` has finished `done` of `total` things and works on `what`."""
    _meter.enter(stage)
    for observer in _observers:
        observer(stage, done, total, what)


def handled(rows: int) -> None:
    """Add to the rows that the stage of the last report has read, checked or written."""
    _meter.now.rows += rows


def stages() -> list[Cost]:
    """The cost of each stage of this run up to now, in order of their starts."""
    _meter.look()
    return list(_meter.stages.values())


def forget() -> None:
    """Start over: the next stage belongs to another run of this process."""
    global _meter
    _meter = _Meter(time.monotonic(), _cpu_seconds())


def store(connection: duckdb.DuckDBPyConnection, run_id: str) -> None:
    """Write the cost of this run's stages up to now into ingest.run_stages, replacing its rows."""
    connection.execute("DELETE FROM ingest.run_stages WHERE run_id = ?", [run_id])
    for cost in stages():
        row = [run_id, *astuple(cost)]
        connection.execute("INSERT INTO ingest.run_stages VALUES (?, ?, round(?, 3), round(?, 3), round(?, 1), ?)", row)


@contextlib.contextmanager
def watched(observer: Observer) -> Iterator[None]:
    """Send progress to `observer` inside this context."""
    _observers.append(observer)
    try:
        yield
    finally:
        _observers.remove(observer)
