"""A run of the sample without new files, compared with a bare `dbt build` of the same project.

usage: python bench/second_run.py [--repetitions 3]

Both are whole processes, run in turn on the same copy of the sample, in one session; the table gives medians. The bare
build runs every model and data test over an empty scope and no unit tests; the run ingests, validates and publishes.
Bound: the run takes at most twice the wall time of the bare build.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

from measure import Measured, machine, median, ratio, run_process, table

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
TIME_BOUND = 2.0


def main() -> None:
    """Measure and print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=3)
    repetitions = parser.parse_args().repetitions
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        shutil.copytree(ROOT / "data" / "sample" / "landing", home / "landing")
        run = [str(BIN / "token-analytics"), "run", "--home", str(home)]
        project = str(ROOT / "dbt_project")
        build = [
            str(BIN / "dbt"), "build", "--project-dir", project, "--profiles-dir", str(home / "dagster" / "dbt"),
            "--target-path", f"{folder}/target", "--log-path", f"{folder}/logs", "--exclude-resource-type", "unit_test",
        ]  # fmt: skip
        run_process(run, {})  # this run writes the profile that limits a build to the increment, which is empty
        run_process(build, {})  # the first build parses the project
        runs: dict[str, list[Measured]] = defaultdict(list)
        for _ in range(repetitions):
            runs["bare dbt build"].append(run_process(build, {}))
            runs["second run"].append(run_process(run, {}))
    found = {name: median(part) for name, part in runs.items()}
    print(f"{machine('dagster', 'dbt-core', 'duckdb')}\n")
    print(table(found) + "\n")
    print(ratio("second run / bare build", found["second run"], found["bare dbt build"], (TIME_BOUND, None, None)))


if __name__ == "__main__":
    main()
