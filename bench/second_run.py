"""A second run over the sample against a bare `dbt build` of the same project: wall time, CPU time, peak memory.

usage: python bench/second_run.py [--repetitions 3]

Both are whole processes, run in turn on the same copy of the sample, in one session; the table gives medians. The bound
that the project sets itself: wall time of the run <= 3 x the bare build + 10 s, and at most 800 MB.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Measured:
    """One process: seconds of wall and CPU time, and peak resident memory in MB."""

    wall: float
    cpu: float
    megabytes: float


def measure(command: list[str], environment: dict[str, str]) -> Measured:
    """Run a command to its end; its output is thrown away. Raises CalledProcessError where it fails."""
    started = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    if status:
        raise subprocess.CalledProcessError(status, command)
    return Measured(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=3)
    repetitions = parser.parse_args().repetitions
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        shutil.copytree(ROOT / "data" / "sample" / "landing", home / "landing")
        environment = os.environ | {"TOKEN_ANALYTICS_WAREHOUSE": str(home / "warehouse.duckdb")}
        run = [str(BIN / "token-analytics"), "run", "--home", str(home)]
        project = str(ROOT / "dbt_project")
        build = [
            str(BIN / "dbt"), "build", "--project-dir", project, "--profiles-dir", project,
            "--target-path", f"{folder}/target", "--log-path", f"{folder}/logs", "--exclude-resource-type", "unit_test",
        ]  # fmt: skip
        measure(run, environment)
        measure(build, environment)  # the first build parses the project
        results: dict[str, list[Measured]] = {"bare dbt build": [], "second run": []}
        for _ in range(repetitions):
            results["bare dbt build"].append(measure(build, environment))
            results["second run"].append(measure(run, environment))
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("dagster", "dbt-core", "duckdb"))
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {versions}\n")
    print("| | wall s | cpu s | peak MB |\n|---|---|---|---|")
    medians = {}
    for name, runs in results.items():
        median = Measured(
            *(statistics.median(getattr(run, part) for run in runs) for part in ("wall", "cpu", "megabytes"))
        )
        medians[name] = median
        print(f"| {name} | {median.wall:.1f} | {median.cpu:.1f} | {median.megabytes:.0f} |")
    bound = 3 * medians["bare dbt build"].wall + 10
    ratio = medians["second run"].wall / medians["bare dbt build"].wall
    print(f"\nsecond run / bare build = {ratio:.2f}; bound {bound:.1f} s")


if __name__ == "__main__":
    main()
