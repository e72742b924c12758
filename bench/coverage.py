"""How often the 95% intervals of `pipeline.analysis.stats.intervals` contain the true value, on simulated columns.

usage: python bench/coverage.py [--repetitions 2000 --seed 20251122]

Designs, each of lognormal(1) cost: 1,000 independent rows; 200 sessions of five requests whose log costs correlate by
.2 within a session; 200 sessions of one to nine requests; and sessions of users, correlated by .25 (the log costs of
users have an sd of .5), some of which name no user, because one person or many made them. In the clustered ones the
marginal law is lognormal(1) again, so the truth is the same. Each column gets an interval by rows and by clusters; with
sessions of no user also one that takes each of them for a cluster, and the rule in use, all of them for one. `printed`
is the share of columns with an interval: few or unequal clusters have none. A coverage over 2,000 repetitions has a
standard error of about half a percentage point. Bound: by the right unit, at least 90% each, where it is printed.
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
USER_SD = 0.5
NAMES = ("p95_to_median", "gini", "top_10_share", "half_of_total_share")
TRUTH = {
    "p95_to_median": float(np.exp(stats.norm.ppf(0.95))),
    "gini": float(2 * stats.norm.cdf(1 / np.sqrt(2)) - 1),
    "top_10_share": float(stats.norm.cdf(1 - stats.norm.ppf(0.9))),
    "half_of_total_share": float(stats.norm.cdf(-1.0)),
}

# The clusters of the rows by each way to make them, the right one last, and the rows.
Drawn = tuple[dict[str, np.ndarray], np.ndarray]
Draw = Callable[[np.random.Generator], Drawn]


def correlated(code: np.ndarray, sd: float, random: np.random.Generator) -> np.ndarray:
    """Lognormal(1) rows with a common part, of that sd on the log scale, in each cluster."""
    common = random.normal(0, sd, code.max() + 1)[code]
    return np.exp(common + random.normal(0, np.sqrt(1 - sd**2), len(code)))


def independent(random: np.random.Generator) -> Drawn:
    """1,000 rows, each a cluster of its own."""
    return {"row": np.arange(1000)}, random.lognormal(0, 1, 1000)


def clustered(sizes: Callable[[np.random.Generator], np.ndarray], sd: float = CORRELATION**0.5) -> Draw:
    """Clusters of correlated rows, one for each size."""

    def draw(random: np.random.Generator) -> Drawn:
        rows_of_cluster = sizes(random)
        code = np.repeat(np.arange(len(rows_of_cluster)), rows_of_cluster)
        return {"row": np.arange(len(code)), "cluster": code}, correlated(code, sd, random)

    return draw


def nameless(users: int, per_user: int, without: int, people: int) -> Draw:
    """Sessions of users, and sessions that name no user although `people` other users made them."""

    def draw(random: np.random.Generator) -> Drawn:
        named = np.repeat(np.arange(users), np.minimum(random.geometric(1 / per_user, users), 5 * per_user))
        person = np.concatenate((named, users + np.arange(without) % people))
        each = np.concatenate((named, users + np.arange(without)))
        together = np.concatenate((named, np.full(without, users)))
        clusters = {"row": np.arange(len(person)), "each its own": each, "together": together}
        return clusters, correlated(person, USER_SD, random)

    return draw


DESIGNS: dict[str, Draw] = {
    "1,000 independent rows": independent,
    "200 sessions of 5": clustered(lambda _: np.full(200, 5)),
    "200 sessions of 1 to 9": clustered(lambda random: random.integers(1, 10, 200)),
    "60 users of 6 on average": clustered(lambda random: random.geometric(1 / 6, 60), USER_SD),
    "60 users, one with half of 720": clustered(lambda _: np.append(np.full(59, 6), 360), USER_SD),
    "10 users, 60 without a name by 1 person": nameless(10, 6, 60, 1),
    "100 users, 20 without a name by 1 person": nameless(100, 6, 20, 1),
    "100 users, 20 without a name by 20": nameless(100, 6, 20, 20),
    "100 users, 200 without a name by 1 person": nameless(100, 6, 200, 1),
}


def main() -> None:
    """Simulate and print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=20251122)
    arguments = parser.parse_args()
    print(machine("numpy", "scipy"), f"repetitions {arguments.repetitions}, seed {arguments.seed}", sep="\n")
    print(f"\n| design | unit | printed | {' | '.join(NAMES)} |\n|---|---|---|{'---|' * len(NAMES)}")
    missed = False
    for number, (design, draw) in enumerate(DESIGNS.items()):
        hits: dict[str, list[list[bool]]] = {}
        for repetition in range(arguments.repetitions):
            clusters, rows = draw(np.random.default_rng([arguments.seed, number, repetition]))
            for unit, code in clusters.items():
                if unit == "row":
                    found = row_intervals(*np.unique(rows, return_counts=True), repetition)
                else:
                    found = cluster_intervals(code, rows, np.ones(len(rows), dtype=int), repetition)
                covered = hits.setdefault(unit, [])
                if found:
                    covered.append([found[name].low <= TRUTH[name] <= found[name].high for name in NAMES])
        for unit, covered in hits.items():
            printed = len(covered) / arguments.repetitions
            shares = np.mean(covered, axis=0) if covered else np.full(len(NAMES), np.nan)
            numbers = " | ".join(f"{share:.3f}" for share in (printed, *shares))
            print(f"| {design} | {unit} | {numbers} |", flush=True)
        missed |= bool(covered) and float(np.min(shares[:3])) < BOUND
    print(f"\nBound {BOUND:.0%} for p95/median, Gini and top-10% share, right unit: {'MISSED' if missed else 'holds'}")


if __name__ == "__main__":
    main()
