"""How well `detection.classify` distinguishes heavy tails from light ones, on labelled draws of many laws.

usage: python bench/detection.py [--seeds 5 --repetitions 6 --sizes 1000 5000 --first-seed 31]

Draws are made here, with ranges, shares and laws of their own, rounded to whole tokens. Tiers: `core`, shapes well
inside a family; `hard`, near the border between heavy and light; `contaminated`, core draws with 3% to 25% of the rows
at one value, 0.3% to 5% at a cap, and half of the time 5% short fixed-size rows; `unseen`, laws outside the candidates.
Beside `classify` stand the p95/median > 3 rule and a plain BIC vote: one-kind families on the column as it is, no
priors. Balanced accuracy is the mean of the shares of heavy and of light columns called right; `family` is the share
of exact names.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import numpy as np
from measure import machine
from scipy import stats

from pipeline.analysis.stats.detection import BENCHMARK_NAMES, classify, is_heavy
from pipeline.analysis.stats.families import FAMILIES, MIXTURES, fit_families

Law = Callable[[np.random.Generator, int, float], np.ndarray]
ONE_KIND = tuple(family for family in FAMILIES if family not in MIXTURES)
GOALS = {("core", 1000): 0.98, ("core", 5000): 0.98, ("hard", 1000): 0.92, ("hard", 5000): 0.97}
GOALS |= {("contaminated", 1000): 0.97, ("contaminated", 5000): 0.97, ("unseen", 1000): 0.88, ("unseen", 5000): 0.88}

# name: heavy, law of (generator, rows, shape), range of shapes in core, and in hard
KNOWN: dict[str, tuple[bool, Law, tuple[float, float], tuple[float, float]]] = {
    "lognormal": (True, lambda g, n, a: g.lognormal(0, a, n), (0.75, 2.0), (0.45, 0.75)),
    "pareto": (True, lambda g, n, a: 1 + g.pareto(a, n), (1.1, 3.0), (3.0, 5.0)),
    "lomax": (True, lambda g, n, a: g.pareto(a, n), (1.1, 3.0), (3.0, 5.5)),
    "loglogistic": (True, lambda g, n, a: stats.fisk.rvs(a, size=n, random_state=g), (1.2, 3.0), (3.0, 5.0)),
    "burr12": (
        True,
        lambda g, n, a: (c := g.uniform(1.5, 3.5)) and stats.burr12.rvs(c, a / c, size=n, random_state=g),
        (1.3, 3.0),
        (3.0, 5.0),
    ),
    "weibull": (True, lambda g, n, a: g.weibull(a, n), (0.45, 0.75), (0.75, 0.93)),
    "exponential": (False, lambda g, n, a: g.exponential(1, n), (1, 1), (1, 1)),
    "gamma": (False, lambda g, n, a: g.gamma(a, 1, n), (1.4, 7.0), (0.45, 0.95)),
    "weibull ": (False, lambda g, n, a: g.weibull(a, n), (1.25, 3.0), (1.07, 1.25)),
    "inverse_gaussian": (False, lambda g, n, a: g.wald(1, 1 / a**2, n), (0.3, 0.8), (0.8, 1.4)),
    "normal": (
        False,
        lambda g, n, a: stats.truncnorm.rvs(-1 / a, np.inf, loc=1, scale=a, size=n, random_state=g),
        (0.25, 0.8),
        (0.8, 1.4),
    ),
    "uniform": (False, lambda g, n, a: g.uniform(a, 1, n), (0.0, 0.3), (0.3, 0.6)),
}
UNSEEN: dict[str, tuple[bool, Law]] = {
    "three lognormals": (
        True,
        lambda g, n, _: g.lognormal(np.array([0.0, 1.2, 2.5])[g.integers(0, 3, n)], g.uniform(0.7, 1.1), n),
    ),
    "inverse gamma": (True, lambda g, n, _: 1 / g.gamma(g.uniform(1.3, 3), 1, n)),
    "F": (True, lambda g, n, _: g.f(g.uniform(2, 6), g.uniform(2.5, 6), n)),
    "Dagum": (True, lambda g, n, _: stats.burr.rvs(g.uniform(1.5, 3), g.uniform(0.4, 2), size=n, random_state=g)),
    "half-Cauchy": (True, lambda g, n, _: np.abs(g.standard_cauchy(n))),
    "lognormal body, Pareto tail": (
        True,
        lambda g, n, _: np.where(g.random(n) < 0.8, g.lognormal(0, 0.6, n), 2 * (1 + g.pareto(g.uniform(1.3, 2.5), n))),
    ),
    "three exponentials": (
        False,
        lambda g, n, _: g.exponential(np.array([1.0, 2.5, 5.0])[g.integers(0, 3, n)], n),
    ),
    "two normals": (
        False,
        lambda g, n, _: np.abs(np.where(g.random(n) < 0.5, g.normal(1, 0.3, n), g.normal(3, 0.8, n))),
    ),
    "generalised gamma": (False, lambda g, n, _: g.gamma(g.uniform(0.8, 2), 1, n) ** (1 / g.uniform(1.3, 2.5))),
    "Rayleigh": (False, lambda g, n, _: g.rayleigh(1, n)),
    "triangular": (False, lambda g, n, _: g.triangular(0, g.uniform(0.1, 0.9), 1, n)),
    "logistic, cut at 0": (False, lambda g, n, _: np.abs(g.logistic(g.uniform(2, 5), 1, n))),
}


def contaminated(random: np.random.Generator, rows: np.ndarray) -> np.ndarray:
    """Rows with an atom, a cap, and sometimes short fixed-size rows."""
    rows = np.minimum(rows, np.quantile(rows, 1 - random.uniform(0.003, 0.05)))
    atom = np.quantile(rows, random.uniform(0.1, 0.8))
    rows = np.where(random.random(len(rows)) < random.uniform(0.03, 0.25), atom, rows)
    if random.random() < 0.5:
        rows = np.where(random.random(len(rows)) < 0.05, max(np.quantile(rows, 0.03), 5.0), rows)
    return rows


def columns(tier: str, n: int, repetitions: int, seed: int) -> list[tuple[np.ndarray, bool, str]]:
    """Labelled columns of one tier: rows, whether the law is heavy, and its name."""
    found = []
    for number, name in enumerate(UNSEEN if tier == "unseen" else KNOWN):
        for repetition in range(repetitions):
            random = np.random.default_rng([seed, len(tier), n, number, repetition])
            if tier == "unseen":
                heavy, law = UNSEEN[name]
                rows = law(random, n, 0.0)
            else:
                heavy, law, core, hard = KNOWN[name]
                rows = law(random, n, random.uniform(*(hard if tier == "hard" else core)))
            rows = np.minimum(rows / np.median(rows) * np.exp(random.uniform(np.log(200), np.log(30000))), 1e12)
            rows = contaminated(random, rows) if tier == "contaminated" else rows
            found.append((np.maximum(np.rint(rows), 1.0), heavy, name.strip()))
    return found


def ratio_rule(rows: np.ndarray) -> dict[str, object]:
    """Heavy where p95 / median exceeds 3."""
    return {"heavy_tailed": bool(np.quantile(rows, 0.95) / np.median(rows) > 3), "family": ""}


def plain_vote(rows: np.ndarray) -> dict[str, object]:
    """BIC weights of one-kind families on the column as it is."""
    fits = fit_families(*np.unique(rows, return_counts=True), families=ONE_KIND).fits
    heavy = sum(fit.bic_weight for fit in fits if is_heavy(fit))
    return {"heavy_tailed": heavy > 0.5, "family": BENCHMARK_NAMES.get(fits[0].family, fits[0].family)}


RULES: dict[str, Callable[[np.ndarray], dict[str, object]]] = {
    "classify": classify,
    "plain BIC vote": plain_vote,
    "p95/median > 3": ratio_rule,
}


def main() -> None:
    """Draw, judge and print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=31)
    parser.add_argument("--repetitions", type=int, default=6, help="of each law, tier, size and seed")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 5000])
    arguments = parser.parse_args()
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    print(machine("numpy", "scipy"), f"seeds {list(seeds)}, {arguments.repetitions} repetitions", sep="\n")
    print("\n| tier | rows | rule | balanced accuracy | heavy found | light found | family | ms of CPU | |")
    print("|---|---|---|---|---|---|---|---|---|")
    for tier in ("core", "hard", "contaminated", "unseen"):
        for n in arguments.sizes:
            drawn = [column for seed in seeds for column in columns(tier, n, arguments.repetitions, seed)]
            for rule, judge in RULES.items():
                started = time.process_time()
                answers = [judge(rows) for rows, _, _ in drawn]
                spent = (time.process_time() - started) / len(drawn) * 1000
                right = np.array(
                    [answer["heavy_tailed"] == heavy for answer, (_, heavy, _) in zip(answers, drawn, strict=True)]
                )
                is_heavy_law = np.array([heavy for _, heavy, _ in drawn])
                named = np.mean([answer["family"] == name for answer, (_, _, name) in zip(answers, drawn, strict=True)])
                heavy, light = float(right[is_heavy_law].mean()), float(right[~is_heavy_law].mean())
                accuracy = (heavy + light) / 2
                goal = GOALS.get((tier, n)) if rule == "classify" else None
                verdict = "" if goal is None else f"{'holds' if accuracy >= goal else 'MISSED'}: {goal}"
                family = "" if tier == "unseen" or rule == "p95/median > 3" else f"{named:.3f}"
                numbers = f"{accuracy:.3f} | {heavy:.3f} | {light:.3f} | {family} | {spent:.0f}"
                print(f"| {tier} | {n:,} | {rule} | {numbers} | {verdict} |", flush=True)


if __name__ == "__main__":
    main()
