"""How often a month exceeds its budgets, and how far its forecast is off, on simulated histories with growth.

usage: python bench/budget.py [--months 600 --seed 20261129]

Histories of five months and more (150 to 400 days) with a weekly profile and lognormal noise of sd .25 to .5, half of
them with noise that correlates from day to day (.6), at a growth of 0, 5 and 9% a month. Each is forecast on the last
day of a month, and the next month compared with its budgets: the share above lies within the binomial interval of 20%,
5% and 1%. Then the error of the forecast by day of the month, beside the same forecast without growth and the run rate;
the last rows with independent noise of sd .25 alone.
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

from pipeline.analysis.stats.forecast import BUDGETS, History

PROFILE = np.array([1.0, 1.1, 1.15, 1.1, 0.9, 0.35, 0.3])
GROWTHS = (0.0, 0.05, 0.09)
KNOWN_DAYS = (0, 5, 10, 15, 20, 25)


def history(random: np.random.Generator, growth: float, is_calm: bool = False) -> tuple[np.ndarray, dt.date, int]:
    """Daily cost to the end of a month, the first day, and the number of days before that month."""
    last = dt.date(2026, int(random.integers(1, 13)), 1) - dt.timedelta(days=1)
    length = int(random.integers(150, 401)) + last.day
    first = last - dt.timedelta(days=length - 1)
    noise = random.normal(0, 0.25 if is_calm else random.uniform(0.25, 0.5), length)
    if not is_calm and random.random() < 0.5:
        for day in range(1, length):
            noise[day] = 0.6 * noise[day - 1] + 0.8 * noise[day]
    level = np.exp(np.arange(length) / 30 * np.log1p(growth))
    days = 100 * level * PROFILE[(first.weekday() + np.arange(length)) % 7] * np.exp(noise)
    return days, first, length - last.day


def without_growth(days: np.ndarray, left: int) -> float:
    """The days to come at the means of the last four same weekdays."""
    return float(np.resize(days[-28:].reshape(4, 7).mean(axis=0), left).sum())


def exceedances(months: int, seed: int) -> None:
    """Print the share of months above each budget, by growth."""
    print(f"| growth a month | {' | '.join(f'above the {level:.0%} budget' for level in BUDGETS)} | |")
    print("|---|" + "---|" * (len(BUDGETS) + 1))
    for growth in GROWTHS:
        over = dict.fromkeys(BUDGETS, 0)
        for repetition in range(months):
            days, first, known = history(np.random.default_rng([seed, repetition, round(100 * growth)]), growth)
            forecast = History(days[:known], first).this_month()
            for level in BUDGETS:
                over[level] += float(days[known:].sum()) > (forecast.budget(level) or 0.0)
        ends = {level: stats.binom.interval(0.95, months, 1 - level) for level in BUDGETS}
        missed = [f"{level:.0%}" for level in BUDGETS if not ends[level][0] <= over[level] <= ends[level][1]]
        cells = " | ".join(
            f"{over[level] / months:.4f} ({ends[level][0] / months:.4f} to {ends[level][1] / months:.4f})"
            for level in BUDGETS
        )
        print(f"| {growth:.0%} | {cells} | {'MISSED: ' + ', '.join(missed) if missed else 'holds'} |", flush=True)


def errors(months: int, seed: int) -> None:
    """Print the mean |log error| by days known, of ours, of the same without growth, and of the run rate."""
    print(f"\n| growth a month | method | {' | '.join(f'day {max(known, 1)}' for known in KNOWN_DAYS)} |")
    print("|---|---|" + "---|" * len(KNOWN_DAYS))
    for growth, is_calm in (*((growth, False) for growth in (*GROWTHS, 0.15)), (0.0, True), (0.15, True)):
        found: dict[str, list[list[float]]] = {"forecast": [], "without growth": [], "run rate": []}
        for repetition in range(months):
            random = np.random.default_rng([seed, repetition, 100, round(100 * growth)])
            days, first, start = history(random, growth, is_calm)
            total, length = float(days[start:].sum()), len(days) - start
            rows: dict[str, list[float]] = {name: [] for name in found}
            for known in KNOWN_DAYS:
                past = days[: start + known]
                so_far = float(past[start:].sum())
                rows["forecast"].append(History(past, first).this_month().point)
                rows["without growth"].append(so_far + without_growth(past, length - known))
                mean = so_far / known if known else float(past[-30:].mean())
                rows["run rate"].append(so_far + mean * (length - known))
            for name, points in rows.items():
                found[name].append([abs(float(np.log(point / total))) for point in points])
        for name, each in found.items():
            cells = " | ".join(f"{100 * mean:.1f}%" for mean in np.mean(each, axis=0))
            print(f"| {growth:.0%}{', calm' if is_calm else ''} | {name} | {cells} |", flush=True)


def main() -> None:
    """Simulate and print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--months", type=int, default=600, help="simulated months for each growth")
    parser.add_argument("--seed", type=int, default=20261129)
    arguments = parser.parse_args()
    print(machine("numpy", "scipy"), f"{arguments.months} months each, seed {arguments.seed}\n", sep="\n")
    exceedances(arguments.months, arguments.seed)
    errors(arguments.months, arguments.seed)


if __name__ == "__main__":
    main()
