"""Fits, tails and intervals against what they replace: scipy's generic fits, the powerlaw package, a bare GROUP BY.

usage: python bench/statistics_speed.py [--powerlaw-python PYTHON] [--skip-scipy] [--runs 3]

One law throughout: lognormal tokens, rounded. (a) nine families and their KS distances at 1e6 rows: `scipy.stats.<law>.
fit(x, floc=0)` and `kstest` on the rows, once (minutes), against `np.unique` and `fit_families`. (b)
Clauset-Shalizi-Newman at 1e5 rows: `powerlaw.Fit` in an interpreter of its own that has the package (minutes; left out
without one), against `np.unique` and `power_law`. (c) Parquet of 1e7 rows to description, all families and point tails,
against the bare GROUP BY, and both peaks of memory: ours adds nothing that grows with the rows. (d) all intervals and
bootstrap p-values of a run: `all` and ten segments of six measures, with 1e5 distinct values each. Bounds: 500 times,
1000 times, 1.5 times + 0.5 s, 10 s.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import duckdb
import numpy as np
from measure import Measured, machine, report, run_call, run_process

LAWS = ("expon", "lognorm", "gamma", "weibull_min", "invgauss", "fisk", "lomax", "burr12", "pareto")
NINE = (
    "exponential",
    "lognormal",
    "gamma",
    "weibull",
    "inverse_gaussian",
    "loglogistic",
    "lomax",
    "burr12",
    "pareto",
)
POWERLAW = """
import sys, time, warnings, numpy, powerlaw
warnings.simplefilter("ignore")
rows = numpy.load(sys.argv[1])
started = time.process_time()
powerlaw.Fit(rows, verbose=False)
print(time.process_time() - started)
"""


def draw(rows: int, seed: int) -> np.ndarray:
    """Token counts with at most 1e5 distinct values."""
    return np.minimum(np.rint(np.random.default_rng(seed).lognormal(8.5, 1.0, rows)), 1e5)


def cpu_seconds(call: Callable[[], object], runs: int) -> float:
    """Median CPU time of some runs."""
    spent = []
    for _ in range(runs):
        started = time.process_time()
        call()
        spent.append(time.process_time() - started)
    return statistics.median(spent)


def nine_families(rows: np.ndarray) -> None:
    """The same as `scipy_nine`, on pairs."""
    from pipeline.analysis.stats.families import fit_families

    fit_families(*np.unique(rows, return_counts=True), families=NINE)


def scipy_nine(rows: np.ndarray) -> None:
    """Nine generic fits at location 0, and their KS distances."""
    from scipy import stats

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in LAWS:
            law = getattr(stats, name)
            stats.kstest(rows, law.cdf, law.fit(rows, floc=0))


def whole(path: str, only_group: bool) -> None:
    """From Parquet to pairs and, unless `only_group`, to description, fits and tails; prints times and memory."""
    from pipeline.analysis.stats import describe, detection, families, tails

    nine_families(draw(1000, 1))  # imports and first calls

    def pairs() -> tuple[np.ndarray, np.ndarray]:
        query = (
            "select v, count(*) as c from read_parquet(?) group by v order by v"
            if not only_group
            else ("select v, count(*) as c from read_parquet(?) group by v")
        )
        table = duckdb.connect().execute(query, [path]).to_arrow_table()
        return table["v"].to_numpy(), table["c"].to_numpy()

    def everything() -> None:
        x, c = pairs()
        if only_group:
            return
        describe.describe(x, c)
        detection.find_artefacts(x, c)
        families.fit_families(x, c)
        for share in (0.05, 0.10):
            tails.hill(x, c, share)
        for probability in (0.90, 0.95):
            tails.generalized_pareto(x, c, probability)
        tails.power_law(x, c)

    report(run_call(everything)[1])


def intervals_of_a_run(rows: np.ndarray) -> None:
    """66 columns: an interval of each quantity and a p-value each."""
    from pipeline.analysis.stats.intervals import row_intervals
    from pipeline.analysis.stats.tails import power_law, power_law_p_value

    x, c = np.unique(rows, return_counts=True)
    law = power_law(x, c)
    started = time.process_time()
    for seed in range(66):
        row_intervals(x, c, seed)
        power_law_p_value(x, c, law, seed)
    report({"seconds": time.process_time() - started})


def child(arguments: list[str]) -> Measured | dict[str, float]:
    """Run a part of this file in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "result.json"
        process = run_process([sys.executable, __file__, *arguments], {}, output)
        result = json.loads(output.read_text())
    return Measured(result["wall"], result["cpu"], process.megabytes) if "wall" in result else result


def verdict(value: float, bound: float, at_least: bool) -> str:
    """A number, its bound, and whether it holds."""
    holds = value >= bound if at_least else value <= bound
    return f"{value:,.2f} ({'holds' if holds else 'MISSED'}: at {'least' if at_least else 'most'} {bound:,.2f})"


def main() -> None:
    """Measure and print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--powerlaw-python")
    parser.add_argument("--skip-scipy", action="store_true")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--whole", help=argparse.SUPPRESS)
    parser.add_argument("--group", help=argparse.SUPPRESS)
    parser.add_argument("--intervals", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.whole or arguments.group:
        whole(arguments.whole or arguments.group, bool(arguments.group))
        return
    if arguments.intervals:
        intervals_of_a_run(draw(10**7, 4))
        return
    print(machine("numpy", "scipy", "duckdb"), "\n| | theirs, s | ours, s | |\n|---|---|---|---|", sep="\n")
    nine_families(draw(1000, 1))
    million = draw(10**6, 2)
    ours = cpu_seconds(lambda: nine_families(million), arguments.runs)
    theirs, bound_met = "", ""
    if not arguments.skip_scipy:
        spent = cpu_seconds(lambda: scipy_nine(million), 1)
        theirs, bound_met = f"{spent:.1f}", verdict(spent / ours, 500, True)
    print(f"| nine families and KS, 1e6 rows (CPU) | {theirs} | {ours:.3f} | {bound_met} |", flush=True)
    if arguments.powerlaw_python:
        from pipeline.analysis.stats.tails import power_law

        rows = draw(10**5, 3)
        ours = cpu_seconds(lambda: power_law(*np.unique(rows, return_counts=True)), arguments.runs)
        with tempfile.NamedTemporaryFile(suffix=".npy") as file:
            np.save(file.name, rows)
            command = [arguments.powerlaw_python, "-c", POWERLAW, file.name]
            spent = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        print(f"| CSN, 1e5 rows (CPU) | {spent:.1f} | {ours:.4f} | {verdict(spent / ours, 1000, True)} |", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/rows.parquet"
        values = draw(10**7, 4).astype(np.int64)  # noqa: F841 (read by DuckDB)
        duckdb.connect().execute(f"copy (select column0 as v from values) to '{path}' (format parquet)")
        runs = [(child(["--group", path]), child(["--whole", path])) for _ in range(arguments.runs)]
        bare, full = (statistics.median(pair[part].wall for pair in runs) for part in (0, 1))
        line = verdict(full, 1.5 * bare + 0.5, False)
        print(f"| Parquet of 1e7 rows to describe, families, tails (wall) | {bare:.2f} | {full:.2f} | {line} |")
        bare, full = (max(pair[part].megabytes for pair in runs) for part in (0, 1))
        print(f"| peak MB of the same | {bare:.0f} | {full:.0f} | {verdict(full, bare + 50, False)} |", flush=True)
    spent = child(["--intervals"])["seconds"]
    print(f"| all intervals and p-values of a run, 66 columns (CPU) | | {spent:.1f} | {verdict(spent, 10, False)} |")


if __name__ == "__main__":
    main()
