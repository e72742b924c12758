"""How often `detection.judge` decides between heavy and light, and how often it is right, on draws of seven known laws.

usage: python bench/verdicts.py [--draws 60 --seed 61 --sizes 60 100 200 300 500 1000 3000]
       python bench/verdicts.py --distances [--draws 1000]

Two tables: every law with one typical shape, and with a shape drawn anew for each column from a range well inside the
law's side. Values are whole tokens. Bounds of the first: at 200 rows at most 15% undetermined, at 1,000 at most 6%; at
most 1% of all columns wrong. `--distances` prints the 99% points of sqrt(n) times the KS distance to the fitted family,
from which `families.CHANCE_DISTANCES` comes.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import numpy as np
from measure import machine

from pipeline.analysis.stats.detection import classify
from pipeline.analysis.stats.families import CHANCE_DISTANCES, fit_families
from pipeline.analysis.stats.laws import quantile

UNDETERMINED_BOUNDS = {200: 0.15, 1000: 0.06}
WRONG_BOUND = 0.01
MEDIAN_TOKENS = 5000

# name: heavy, parameters for a shape, the typical shape, range of shapes
LAWS: dict[str, tuple[bool, Callable[[float], dict[str, float]], float, tuple[float, float]]] = {
    "exponential": (False, lambda _: {"scale": 1.0}, 1.0, (1.0, 1.0)),
    "lognormal": (True, lambda a: {"mu": 0.0, "sigma": a}, 1.0, (0.8, 1.8)),
    "gamma": (False, lambda a: {"shape": a, "scale": 1.0}, 2.0, (1.5, 6.0)),
    "weibull": (True, lambda a: {"shape": a, "scale": 1.0}, 0.6, (0.4, 0.75)),
    "inverse_gaussian": (False, lambda a: {"mean": 1.0, "lam": 1 / a**2}, 1.0, (0.3, 1.2)),
    "loglogistic": (True, lambda a: {"shape": a, "scale": 1.0}, 2.0, (1.3, 3.0)),
    "lomax": (True, lambda a: {"alpha": a, "scale": 1.0}, 2.0, (1.2, 3.0)),
}
# Shapes among which the largest 99% point is taken; one where it does not depend on the shape.
SHAPES: dict[str, list[dict[str, float]]] = {
    "exponential": [{"scale": 1}],
    "lognormal": [{"mu": 0, "sigma": 1}],
    "gamma": [{"shape": shape, "scale": 1} for shape in (0.4, 1, 4)],
    "weibull": [{"shape": 1, "scale": 1}],
    "inverse_gaussian": [{"mean": 1, "lam": lam} for lam in (6, 1, 0.3)],
    "loglogistic": [{"shape": 2, "scale": 1}],
    "lomax": [{"alpha": alpha, "scale": 1} for alpha in (1.2, 3)],
    "burr12": [{"c": 2, "d": 0.7, "scale": 1}, {"c": 1.5, "d": 2, "scale": 1}],
    "pareto": [{"alpha": 2, "xmin": 1}],
    "lognormal_mixture": [
        {"p": 0.5, "mu1": 0, "sigma1": 0.7, "mu2": 2.5, "sigma2": 0.7},
        {"p": 0.8, "mu1": 0, "sigma1": 1, "mu2": 1, "sigma2": 1},
    ],
    "exponential_mixture": [{"p": 0.5, "scale1": 1, "scale2": 6}, {"p": 0.8, "scale1": 1, "scale2": 2}],
    "gamma_mixture": [
        {"p": 0.5, "shape1": 2, "scale1": 1, "shape2": 6, "scale2": 2},
        {"p": 0.8, "shape1": 2, "scale1": 1, "shape2": 2, "scale2": 1.3},
    ],
    "truncated_normal": [{"mu": 1, "sigma": 0.3}, {"mu": 1, "sigma": 1}],
    "uniform": [{"low": 0.1, "high": 1}],
}


def tokens(family: str, shape: float, n: int, random: np.random.Generator) -> np.ndarray:
    """Rows of a law as whole tokens around one median."""
    params = LAWS[family][1](shape)
    rows = quantile(family, params, random.random(n)) / quantile(family, params, 0.5) * MEDIAN_TOKENS
    whole: np.ndarray = np.maximum(np.rint(rows), 1.0)
    return whole


def verdicts(sizes: list[int], draws: int, seed: int, *, vary: bool) -> bool:
    """Print one table; whether its bounds hold."""
    print(f"\n{'Shapes drawn' if vary else 'Typical shapes'}:\n")
    print("| rows | right | wrong | undetermined | forced choice right | undetermined by law | wrong by law |")
    print("|---|---|---|---|---|---|---|")
    holds, all_wrong = True, 0.0
    for n in sizes:
        outcomes: Counter[str] = Counter()
        by_law: dict[str, Counter[str]] = {"undetermined": Counter(), "wrong": Counter()}
        for number, (family, (heavy, _, typical, shapes)) in enumerate(LAWS.items()):
            for draw in range(draws):
                random = np.random.default_rng([seed, vary, n, number, draw])
                answer = classify(tokens(family, random.uniform(*shapes) if vary else typical, n, random))
                verdict = answer["verdict"]
                outcome = "right" if verdict == ("heavy" if heavy else "light") else "wrong"
                outcome = outcome if verdict in ("heavy", "light") else "undetermined"
                outcomes[outcome] += 1
                outcomes["forced"] += answer["heavy_tailed"] == heavy
                if outcome in by_law:
                    by_law[outcome][family] += 1
        total = draws * len(LAWS)
        shares = {name: outcomes[name] / total for name in ("right", "wrong", "undetermined", "forced")}
        named = (", ".join(f"{law} {k / draws:.0%}" for law, k in by_law[kind].most_common()) for kind in by_law)
        print(
            f"| {n:,} | {' | '.join(f'{share:.1%}' for share in shares.values())} | {' | '.join(named)} |", flush=True
        )
        holds &= shares["undetermined"] <= UNDETERMINED_BOUNDS.get(n, 1.0)
        all_wrong += shares["wrong"] / len(sizes)
    print(f"\nwrong in all: {all_wrong:.2%}")
    return holds and all_wrong <= WRONG_BOUND


def distances(draws: int, seed: int) -> None:
    """Print the 99% points of sqrt(n) D beside those in use."""
    print("\n| family | 60 rows | 200 | 420 | in use |\n|---|---|---|---|---|")
    for family, shapes in SHAPES.items():
        points = []
        for n in (60, 200, 420):
            largest = 0.0
            for number, params in enumerate(shapes):
                found = []
                for draw in range(draws):
                    rows = np.sort(quantile(family, params, np.random.default_rng([seed, n, number, draw]).random(n)))
                    (fit,) = fit_families(rows, np.ones(n, dtype=int), families=(family,)).fits
                    found.append(fit.ks_distance * n**0.5)
                largest = max(largest, float(np.quantile(found, 0.99)))
            points.append(f"{largest:.2f}")
        print(f"| {family} | {' | '.join(points)} | {CHANCE_DISTANCES[family]:.2f} |", flush=True)


def main() -> None:
    """Simulate and print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=60, help="of each law and size")
    parser.add_argument("--seed", type=int, default=61)
    parser.add_argument("--sizes", type=int, nargs="+", default=[60, 100, 200, 300, 500, 1000, 3000])
    parser.add_argument("--distances", action="store_true")
    arguments = parser.parse_args()
    print(machine("numpy", "scipy"), f"seed {arguments.seed}, {arguments.draws} draws", sep="\n")
    if arguments.distances:
        distances(arguments.draws, arguments.seed)
        return
    holds = verdicts(arguments.sizes, arguments.draws, arguments.seed, vary=False)
    verdicts(arguments.sizes, arguments.draws, arguments.seed, vary=True)
    print(f"\nBounds of the typical shapes: {'hold' if holds else 'MISSED'}")


if __name__ == "__main__":
    main()
