"""How often the 95% intervals of `pipeline.analysis.stats.intervals` contain the true value, on simulated columns.

usage: python bench/coverage.py [--repetitions 2000 --seed 20251122]

Three designs, each of lognormal(1) cost: 1,000 independent rows; 200 sessions of five requests whose log costs
correlate by .2 within a session; and 200 sessions of one to nine requests. In the clustered ones the marginal law is
lognormal(1) again, so the truth is the same. Each column gets an interval by rows and, where clustered, by clusters. A
coverage over 2,000 repetitions has a standard error of about half a percentage point. Bound: by the right unit, at
least 90% each.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import numpy as np
from measure import machine
from scipy import stats

from pipeline.analysis.stats.intervals import cluster_intervals, row_intervals

BOUND = 0.90
CORRELATION = 0.2
NAMES = ("p95_to_median", "gini", "top_10_share", "half_of_total_share")
TRUTH = {
    "p95_to_median": float(np.exp(stats.norm.ppf(0.95))),
    "gini": float(2 * stats.norm.cdf(1 / np.sqrt(2)) - 1),
    "top_10_share": float(stats.norm.cdf(1 - stats.norm.ppf(0.9))),
    "half_of_total_share": float(stats.norm.cdf(-1.0)),
}

Draw = Callable[[np.random.Generator], tuple[np.ndarray, np.ndarray]]


def independent(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """1,000 rows, each a cluster of its own."""
    return np.arange(1000), random.lognormal(0, 1, 1000)


def clustered(sizes: Callable[[np.random.Generator], np.ndarray]) -> Draw:
    """200 sessions of lognormal requests with a common part."""

    def draw(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        code = np.repeat(np.arange(200), sizes(random))
        common = random.normal(0, np.sqrt(CORRELATION), 200)[code]
        return code, np.exp(common + random.normal(0, np.sqrt(1 - CORRELATION), len(code)))

    return draw


DESIGNS: dict[str, tuple[Draw, bool]] = {
    "1,000 independent rows": (independent, False),
    "200 sessions of 5": (clustered(lambda _: np.full(200, 5)), True),
    "200 sessions of 1 to 9": (clustered(lambda random: random.integers(1, 10, 200)), True),
}


def main() -> None:
    """Simulate and print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=20251122)
    arguments = parser.parse_args()
    print(machine("numpy", "scipy"), f"repetitions {arguments.repetitions}, seed {arguments.seed}", sep="\n")
    print(f"\n| design | unit | {' | '.join(NAMES)} |\n|---|---|{'---|' * len(NAMES)}")
    missed = False
    for number, (design, (draw, has_clusters)) in enumerate(DESIGNS.items()):
        hits = {unit: dict.fromkeys(NAMES, 0) for unit in ("row", "cluster")}
        for repetition in range(arguments.repetitions):
            code, rows = draw(np.random.default_rng([arguments.seed, number, repetition]))
            values, counts = np.unique(rows, return_counts=True)
            found = {"row": row_intervals(values, counts, repetition)}
            if has_clusters:
                found["cluster"] = cluster_intervals(code, rows, np.ones(len(rows), dtype=int), repetition)
            for unit, intervals in found.items():
                for name in NAMES:
                    hits[unit][name] += intervals[name].low <= TRUTH[name] <= intervals[name].high
        for unit in found:
            shares = [hits[unit][name] / arguments.repetitions for name in NAMES]
            print(f"| {design} | {unit} | {' | '.join(f'{share:.3f}' for share in shares)} |", flush=True)
            right_unit = unit == "cluster" or not has_clusters
            missed |= right_unit and min(shares[:3]) < BOUND
    print(f"\nBound {BOUND:.0%} for p95/median, Gini and top-10% share, right unit: {'MISSED' if missed else 'holds'}")


if __name__ == "__main__":
    main()
