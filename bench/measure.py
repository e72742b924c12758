"""Shared by the benchmarks: measuring a whole process, medians, and the Markdown table with machine and versions.

Belongs here: measuring and printing. Does not belong here: the measured commands, and inputs (generate.py).
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import platform
import resource
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TypeVar

Value = TypeVar("Value")
# Interval of memory samples; the system keeps the peak, so only a peak in the last interval can be missed.
WATCHED_SECONDS = 0.2


@dataclass(frozen=True)
class Measured:
    """A command or call, all its processes together: seconds of wall and CPU time, peaks of resident memory in MB.

    Two processes need not have their peaks at the same time, and pages that they share count twice: an upper bound.
    """

    wall: float
    cpu: float
    megabytes: float


def run_process(command: Sequence[str], environment: Mapping[str, str], output: Path | None = None) -> Measured:
    """Run a command to its end; its output goes to `output` or nowhere. Raises CalledProcessError where it fails."""
    with (output or Path(os.devnull)).open("wb") as out:
        started = time.perf_counter()
        process = subprocess.Popen(command, env=os.environ | dict(environment), stdout=out, stderr=subprocess.PIPE)
        peaks: dict[int, int] = {}
        has_ended = threading.Event()
        watching = threading.Thread(target=_watch, args=(process.pid, peaks, has_ended))
        watching.start()
        error = process.stderr.read() if process.stderr else b""
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
        has_ended.set()
        watching.join()
    if status:
        raise subprocess.CalledProcessError(status, command, stderr=error.decode(errors="replace"))
    # The system reports only the largest process.
    return Measured(wall, usage.ru_utime + usage.ru_stime, max(usage.ru_maxrss, sum(peaks.values())) / 1024)


def _watch(process: int, peaks: dict[int, int], has_ended: threading.Event) -> None:
    """Record the peak memory (kB) of a process and its children while they run."""
    while not has_ended.wait(WATCHED_SECONDS):
        waiting = [process]
        while waiting:
            each = waiting.pop()
            with contextlib.suppress(OSError, StopIteration):
                status = Path(f"/proc/{each}/status").read_text().splitlines()
                peaks[each] = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
                for task in Path(f"/proc/{each}/task").iterdir():
                    waiting += map(int, (task / "children").read_text().split())


def run_call(call: Callable[[], Value]) -> tuple[Value, Measured]:
    """Call a function in this process; the memory is the peak of the process so far, imports included."""
    before = _cpu()
    started = time.perf_counter()
    value = call()
    wall = time.perf_counter() - started
    return value, Measured(wall, _cpu() - before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def _cpu() -> float:
    """CPU seconds of this process and of its ended children."""
    used = (resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in used)


def median(runs: Sequence[Measured]) -> Measured:
    """The median of each part."""
    return Measured(*(statistics.median(getattr(run, part.name) for run in runs) for part in fields(Measured)))


def machine(*distributions: str) -> str:
    """One line: processor, cores, Python, versions of `distributions`."""
    model = platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = f"{names[0]} ({model})" if names else model
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in distributions)
    cores = f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    return f"{model}, {cores}, Python {platform.python_version()}, {versions}"


def table(results: Mapping[str, Measured]) -> str:
    """Markdown rows of wall, CPU and memory."""
    lines = ["| | wall s | cpu s | peak MB |", "|---|---|---|---|"]
    lines += [f"| {name} | {run.wall:.2f} | {run.cpu:.2f} | {run.megabytes:.0f} |" for name, run in results.items()]
    return "\n".join(lines)


def ratio(name: str, ours: Measured, theirs: Measured, bounds: tuple[float | None, float | None, float | None]) -> str:
    """One line of ratios ours / theirs, each with its bound (None: no bound) and whether it holds."""
    parts = []
    for part, bound in zip(fields(Measured), bounds, strict=True):
        value = getattr(ours, part.name) / max(getattr(theirs, part.name), 1e-9)
        verdict = "" if bound is None else f" ({'holds' if value <= bound else 'MISSED'}: at most {bound:.3g})"
        parts.append(f"{part.name} {value:.3f}{verdict}")
    return f"{name}: " + ", ".join(parts)


def report(value: object) -> None:
    """Print the result of a worker process as one line of JSON."""
    print(json.dumps(value, default=lambda found: vars(found) if hasattr(found, "__dict__") else str(found)))
