"""How often a month ends inside the 80% interval of its forecast, on simulated histories.

usage: python bench/forecast.py [--histories 400 --seed 20251122]

Histories of 120 to 400 days with a weekly profile and lognormal noise of sd .25 to .5; the noise is independent or
correlates from day to day (.6), and cost is level or grows by 5% a month; and short ones of 75 to 120 days. Each is
forecast once, at a random day of its last month. Bounds over all histories: 75% to 90% inside the interval of 80%, and
the share above the 95% budget within the binomial interval of 5%.
"""

from __future__ import annotations

import argparse
import datetime as dt
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import numpy as np
from measure import machine
from scipy import stats

from pipeline.analysis.stats.forecast import History, MonthForecast

PROFILE = np.array([1.0, 1.1, 1.15, 1.1, 0.9, 0.35, 0.3])
BOUND = (0.75, 0.90)
KINDS = ("level", "growing", "correlated", "growing, correlated", "short", "short, correlated")


def history(random: np.random.Generator, kind: str) -> tuple[np.ndarray, int, dt.date, float]:
    """Daily cost to the end of a month, the number of days known, the first day, and the total of the last month."""
    length = int(random.integers(75, 121) if "short" in kind else random.integers(120, 401))
    last = dt.date(2026, int(random.integers(1, 13)), 1) - dt.timedelta(days=1)
    first = last - dt.timedelta(days=length - 1)
    noise = random.normal(0, random.uniform(0.25, 0.5), length)
    if "correlated" in kind:
        for day in range(1, length):
            noise[day] = 0.6 * noise[day - 1] + 0.8 * noise[day]
    level = np.exp(np.arange(length) / 30 * np.log(1.05)) if "growing" in kind else 1.0
    weekday = (first.weekday() + np.arange(length)) % 7
    days = 100 * level * PROFILE[weekday] * np.exp(noise)
    known = length - last.day + int(random.integers(0, last.day))
    return days, known, first, float(days[length - last.day :].sum())


def main() -> None:
    """Simulate and print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--histories", type=int, default=400, help="of each kind")
    parser.add_argument("--seed", type=int, default=20251122)
    arguments = parser.parse_args()
    print(
        machine("numpy", "scipy", "statsmodels"),
        f"{arguments.histories} histories a kind, seed {arguments.seed}",
        sep="\n",
    )
    print("\n| histories | inside 80% | inside 95% | above the budget | error of the point | width of 80% / month |")
    print("|---|---|---|---|---|---|")
    inside: list[bool] = []
    above: list[bool] = []
    for number, kind in enumerate(KINDS):
        found: list[tuple[MonthForecast, float]] = []
        for repetition in range(arguments.histories):
            days, known, first, total = history(np.random.default_rng([arguments.seed, number, repetition]), kind)
            told = History(days[:known], first).this_month()
            if told.spread is not None:
                found.append((told, total))
        in_80, in_95 = (
            [each.quantile((1 - level) / 2) <= total <= each.quantile((1 + level) / 2) for each, total in found]
            for level in (0.8, 0.95)
        )
        over = [total > each.budget(0.95) for each, total in found if each.has_budgets]
        error = np.mean([each.point / total - 1 for each, total in found])
        width = np.mean([(each.quantile(0.9) - each.quantile(0.1)) / total for each, total in found])
        shares = " | ".join(f"{np.mean(share):.3f}" for share in (in_80, in_95, over))
        print(f"| {kind} | {shares} | {error:+.1%} | {width:.3f} |", flush=True)
        inside += in_80
        above += over
    share, exceeded = float(np.mean(inside)), int(np.sum(above))
    verdict = "holds" if BOUND[0] <= share <= BOUND[1] else "MISSED"
    print(
        f"\nAll {len(inside)} histories: {share:.3f} inside the interval of 80% ({verdict}: {BOUND[0]} to {BOUND[1]})"
    )
    low, high = (float(end) / len(above) for end in stats.binom.interval(0.95, len(above), 0.05))
    verdict = "holds" if low <= exceeded / len(above) <= high else "MISSED"
    print(f"{exceeded / len(above):.4f} above the 95% budget ({verdict}: {low:.4f} to {high:.4f})")


if __name__ == "__main__":
    main()
