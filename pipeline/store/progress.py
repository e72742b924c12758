"""Telling whoever watches a run what it is doing, and measuring what each stage of it costs.

Belongs here: the one channel from the stages to the terminal, and the cost of a stage: from its first report to that of
the next one, so that the stages of a run add up to the run. Does not belong here: how it is drawn (cli).
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

WAITING = "waiting"  # for another program: no stage, it belongs to the one that waits
_START = "start"  # Python, imports and what else comes before the first stage
_MAXRSS_PER_MB = 1 << 20 if sys.platform == "darwin" else 1 << 10

# One run a process, and dbt reports from threads of its own: a plain variable, where a context variable would be lost.
_observers: list[Observer] = []


@dataclass
class Cost:
    """What a stage of a run has cost so far; `peak_mb` is the most memory of the process up to its end."""

    stage: str
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_mb: float = 0.0
    rows: int = 0


class _Meter:
    """Adds the time since the last look to the stage that it was spent on."""

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
    """Of this process and of those that it has begun and that have ended."""
    used = (resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in used)


_meter = _Meter(time.monotonic(), 0.0)


def report(stage: str, done: int = 0, total: int = 0, what: str = "") -> None:
    """Say that `stage` has finished `done` of `total` things and is at `what`."""
    _meter.enter(stage)
    for observer in _observers:
        observer(stage, done, total, what)


def handled(rows: int) -> None:
    """Say that the stage of the last report has read, judged or written so many more rows."""
    _meter.now.rows += rows


def stages() -> list[Cost]:
    """What each stage of this run has cost up to now, in order of their beginnings."""
    _meter.look()
    return list(_meter.stages.values())


def forget() -> None:
    """Begin anew: the next stage is one of another run of this process."""
    global _meter
    _meter = _Meter(time.monotonic(), _cpu_seconds())


def store(connection: duckdb.DuckDBPyConnection, run_id: str) -> None:
    """Write what the stages of this run have cost up to now into ingest.run_stages, in place of what stands there."""
    connection.execute("DELETE FROM ingest.run_stages WHERE run_id = ?", [run_id])
    for cost in stages():
        row = [run_id, *astuple(cost)]
        connection.execute("INSERT INTO ingest.run_stages VALUES (?, ?, round(?, 3), round(?, 3), round(?, 1), ?)", row)


@contextlib.contextmanager
def watched(observer: Observer) -> Iterator[None]:
    """Send what stages report to `observer`."""
    _observers.append(observer)
    try:
        yield
    finally:
        _observers.remove(observer)
