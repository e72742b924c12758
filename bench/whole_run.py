"""Cost of a run, stage by stage: a first run, a run with one more session, and a run with nothing new.

usage: python bench/whole_run.py [--lines 200000 --files 1000 --threads 0 --ccusage DIR] [--sample] [--console ROWS]

Generates Claude Code transcripts, runs `token-analytics run` over them three times as processes of their own, and
prints what `--json` says of the stages, which ingest.run_stages stores too. With --sample the input is the sample, and
what is added is one transcript; with --console ROWS it is a year's console export of minutes, and what is added is its
last day. With --ccusage DIR (bench/transcripts.py says how to install it) its report over the
same tree stands beside each run. Bounds at 1e6 lines: the first run takes at most 4 times ccusage's wall time; after
one more session at most 1.2 times ccusage's report and 1.5 times an empty delta.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

import generate
from measure import Measured, machine, ratio, run_process, table
from transcripts import find_ccusage, theirs

ROOT = Path(__file__).parent.parent
STEPS = ("first run", "one more session", "nothing new")
BOUNDS = dict(zip(STEPS, (4.0, 1.2, None), strict=True))


def run(home: Path, tree: Path, threads: int) -> tuple[Measured, list[dict[str, Any]]]:
    """One run as a process, and the cost of its stages."""
    output = home.parent / "output.json"
    environment = {
        "TOKEN_ANALYTICS_SOURCES": json.dumps([str(tree)]),
        "TOKEN_ANALYTICS_SETTLE_SECONDS": "0",
    } | ({"TOKEN_ANALYTICS_THREADS": str(threads)} if threads else {})
    command = [str(Path(sys.executable).parent / "token-analytics"), "run", "--json", "--home", str(home)]
    measured = run_process(command, environment, output)
    stages: list[dict[str, Any]] = json.loads(output.read_text(encoding="utf-8"))["stages"]
    return measured, stages


def stage_table(steps: dict[str, list[dict[str, Any]]]) -> str:
    """Markdown: seconds and CPU seconds of each stage, peak memory up to its end and rows, by step."""
    names = dict.fromkeys(cost["stage"] for costs in steps.values() for cost in costs)
    head = "| stage | " + " | ".join(f"{step}: s | cpu s | peak MB | rows" for step in steps) + " |"
    lines = [head, "|---" * (1 + 4 * len(steps)) + "|"]
    for name in names:
        cells = []
        for costs in steps.values():
            found = next((cost for cost in costs if cost["stage"] == name), None)
            cells += (
                ["", "", "", ""]
                if found is None
                else [
                    f"{found['seconds']:.1f}",
                    f"{found['cpu_seconds']:.1f}",
                    f"{found['peak_mb']:.0f}",
                    f"{found['rows']}",
                ]
            )
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure and print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=200_000)
    parser.add_argument("--files", type=int, default=1_000)
    parser.add_argument("--threads", type=int, default=0, help="threads and processes (default: one for each core)")
    parser.add_argument("--sample", action="store_true", help="take the sample in place of generated transcripts")
    parser.add_argument("--ccusage", type=Path, help="folder into which npm installed ccusage")
    parser.add_argument("--console", type=int, metavar="ROWS", help="take a console export of a year instead")
    options = parser.parse_args()
    ccusage = find_ccusage(options.ccusage) if options.ccusage else None
    shape = generate.TranscriptShape()
    runs: dict[str, Measured] = {}
    stages: dict[str, list[dict[str, Any]]] = {}
    others: dict[str, Measured] = {}
    with tempfile.TemporaryDirectory() as scratch:
        home, tree = Path(scratch) / "home", Path(scratch) / "tree"
        (home / "landing").mkdir(parents=True)
        tree.mkdir()
        if options.sample:
            shutil.copytree(ROOT / "data" / "sample" / "landing", home / "landing", dirs_exist_ok=True)
        elif options.console:
            generate.console_csv(home / "landing" / "year.csv", options.console * 364 // 365, days=364)
        else:
            generate.transcript_tree(tree, options.lines, options.files, shape)
        for step in STEPS:
            if step == STEPS[1] and options.console:
                generate.console_csv(home / "landing" / "day.csv", options.console // 365, days=1, first_day=364)
            elif step == STEPS[1]:
                generate.one_more_session(tree, options.files, max(options.lines // options.files, 1), shape)
            if ccusage:
                others[step], _ = theirs(ccusage, tree, Path(scratch) / "ccusage.json")
            runs[step], stages[step] = run(home, tree, options.threads)
    what = f"{options.lines} assistant lines in {options.files} files"
    if options.sample or options.console:
        what = "the sample" if options.sample else f"{options.console} console rows of a year, then its last day"
    print(f"{machine('dagster', 'dbt-core', 'duckdb', 'scipy')}\n\n{what}\n")
    print(table(runs) + "\n\n" + stage_table(stages) + "\n")
    for step, other in others.items():
        print(ratio(f"{step} / ccusage", runs[step], other, (BOUNDS[step], None, None)))
    print(ratio("one more session / nothing new", runs[STEPS[1]], runs[STEPS[2]], (1.5, None, None)))


if __name__ == "__main__":
    main()
