"""How often the day rules of `pipeline.analysis.stats.anomalies` raise a false alarm, and what they find.

usage: python bench/days_rules.py [--histories 100 --runs 40 --seed 20251122]

Histories of 400 days: a weekly profile times lognormal noise of sd .25; 2% of the days are multiplied by 2 to 5. Beside
that benchmark: the same with growth of 9% a month, with noise that correlates from day to day (.6), and with noise
whose logarithm has Student's law of 5 degrees (same sd). Each rule alone, then both over 50 segments at once, a fifth
of which has such days, with the false-discovery rate controlled over all days and segments of a run; flags of clean
days over all flags are the share of false discoveries. There also `mixed`: every fourth segment has the heavy noise.
Bounds on the plain history: at most 1 false alarm per 100 clean days and segment, recall for factors of 3 and more of
.7 (weekday) and .9 (STL); over segments a mean share of false discoveries of at most the rate.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import numpy as np
from measure import machine

from pipeline.analysis.stats.anomalies import DayScores, allowing_for_tails, benjamini_hochberg, stl_days, weekday_days

HEAVY_FREEDOM = 5
DAYS, NOISE, SHARE, SEGMENTS, RATE = 400, 0.25, 0.02, 50, 0.05
PROFILE = np.array([1.0, 1.1, 1.15, 1.1, 0.9, 0.35, 0.3])
RULES: dict[str, Callable[..., DayScores]] = {"weekday": weekday_days, "stl": stl_days}
KINDS = ("plain", "growing", "correlated", "heavy")
RECALL_BOUND = {"weekday": 0.7, "stl": 0.9}


def history(random: np.random.Generator, kind: str, has_anomalies: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Daily cost and the factor of each day, 1 where nothing was done to it."""
    noise = random.normal(0, NOISE, DAYS)
    if kind == "heavy":
        noise = random.standard_t(HEAVY_FREEDOM, DAYS) * NOISE / np.sqrt(HEAVY_FREEDOM / (HEAVY_FREEDOM - 2))
    if kind == "correlated":
        for day in range(1, DAYS):
            noise[day] = 0.6 * noise[day - 1] + np.sqrt(1 - 0.36) * noise[day]
    level = np.exp(np.arange(DAYS) / 30 * np.log(1.09)) if kind == "growing" else 1.0
    factor = np.ones(DAYS)
    chosen = random.random(DAYS) < SHARE * has_anomalies
    factor[chosen] = random.uniform(2, 5, int(chosen.sum()))
    return 100 * level * PROFILE[np.arange(DAYS) % 7] * np.exp(noise) * factor, factor


def one_rule(name: str, kind: str, histories: int, seed: int) -> tuple[float, float, float]:
    """False alarms per 100 clean days; recall for factors of 3 and more, and for those below."""
    false = clean = 0
    found: dict[bool, list[bool]] = {True: [], False: []}
    for number in range(histories):
        days, factor = history(np.random.default_rng([seed, number]), kind)
        scores = RULES[name](days)
        judged = np.isfinite(scores.z)
        false += int((scores.flagged & (factor == 1) & judged).sum())
        clean += int(((factor == 1) & judged).sum())
        for day in np.flatnonzero((factor > 1) & judged):
            found[bool(factor[day] >= 3)].append(bool(scores.flagged[day]))
    return 100 * false / clean, float(np.mean(found[True])), float(np.mean(found[False]))


def many_segments(name: str, kind: str, runs: int, seed: int) -> tuple[float, float, float, float]:
    """Mean share of false discoveries over runs without and with control, its standard error, and recall from 3 on."""
    plain, shares, found = [], [], []
    for run in range(runs):
        flags, factors, p_values = [], [], []
        for segment in range(SEGMENTS):
            random = np.random.default_rng([seed, 1, run, segment])
            own = kind if kind != "mixed" else "heavy" if segment % 4 == 3 else "plain"
            days, factor = history(random, own, has_anomalies=segment % 5 == 0)
            scores = RULES[name](days)
            flags.append(scores.flagged)
            p_values.append(scores.p_value)
            factors.append(np.where(np.isfinite(scores.z), factor, np.nan))
        flagged = np.array(flags) & benjamini_hochberg(np.array(allowing_for_tails(p_values)), RATE)
        true = np.array(factors)
        plain.append((np.array(flags) & (true == 1)).sum() / max(np.array(flags).sum(), 1))
        shares.append((flagged & (true == 1)).sum() / max(flagged.sum(), 1))
        found.append(flagged[true >= 3].mean())
    error = float(np.std(shares, ddof=1)) / float(np.sqrt(runs))
    return float(np.mean(plain)), float(np.mean(shares)), error, float(np.mean(found))


def main() -> None:
    """Simulate and print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--histories", type=int, default=100)
    parser.add_argument("--runs", type=int, default=40, help="of many segments at once")
    parser.add_argument("--seed", type=int, default=20251122)
    arguments = parser.parse_args()
    print(machine("numpy", "statsmodels"), f"{arguments.histories} histories, seed {arguments.seed}", sep="\n")
    print("\n| history | rule | false alarms per 100 clean days | recall, factor 3 to 5 | recall, factor 2 to 3 | |")
    print("|---|---|---|---|---|---|")
    for kind in KINDS:
        for name in RULES:
            false, large, small = one_rule(name, kind, arguments.histories, arguments.seed)
            holds = false <= 1 and large >= RECALL_BOUND[name]
            verdict = ("holds" if holds else "MISSED") if kind == "plain" else ""
            print(f"| {kind} | {name} | {false:.3f} | {large:.3f} | {small:.3f} | {verdict} |", flush=True)
    print(f"\n{arguments.runs} runs of {SEGMENTS} segments, rate {RATE}")
    print("\n| history | rule | false, no control | false | standard error | recall, factor 3 to 5 | |")
    print("|---|---|---|---|---|---|---|")
    for kind in (*KINDS, "mixed"):
        for name in RULES:
            plain, share, error, recall = many_segments(name, kind, arguments.runs, arguments.seed)
            told = f"{plain:.3f} | {share:.4f} | {error:.4f} | {recall:.3f}"
            print(f"| {kind} | {name} | {told} | {'holds' if share <= RATE else 'MISSED'} |", flush=True)


if __name__ == "__main__":
    main()
