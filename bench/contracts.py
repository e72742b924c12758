"""Whether any terms of any contract reach a target for less than the recommended ones, by trying many at random.

usage: python bench/contracts.py [--contracts 4000 --seed 20261129]

Two customer dimensions: one organisation with 1,200 simulated months, and 60 users with six bills each; a bill is a sum
of lognormal sessions whose number and size differ between users. Ten targets of variance reduction (.1 to .95) under
three loading principles. Bound: nothing is cheaper than the recommendation by more than 0.5%.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import numpy as np
from measure import machine

from pipeline.pricing.frontier import PRINCIPLES, Market
from pipeline.pricing.risk import measure
from pipeline.pricing.search import Target
from pipeline.pricing.terms import (
    Allowance,
    Commitment,
    Contract,
    Credits,
    Hybrid,
    Insurance,
    Ledger,
    SessionCap,
    Tiered,
    at_equal_revenue,
)

TARGETS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.85, 0.95)
BOUND = 0.005


def ledger(random: np.random.Generator, paths: int, months: int) -> Ledger:
    """Bills of up to 40 sessions, with the sessions of each."""
    level = random.lognormal(0, 0.7, paths).repeat(months)
    counts = random.poisson(20 * random.lognormal(0, 0.3, paths).repeat(months)) + 1
    bill_of = np.repeat(np.arange(counts.size), counts)
    sessions = level[bill_of] * random.lognormal(0, 1.2, bill_of.size)

    def over_cap(cap_usd: float) -> np.ndarray:
        return np.bincount(bill_of, np.maximum(sessions - cap_usd, 0.0), counts.size)

    bills = np.bincount(bill_of, sessions, counts.size)
    return Ledger(bills, np.arange(paths).repeat(months), np.tile(np.arange(months), paths), over_cap)


def drawn(random: np.random.Generator, bills: np.ndarray, contracts: int) -> Iterator[Contract]:
    """Contracts with terms drawn at random over their whole range."""
    for _ in range(contracts):
        low, middle, high = np.sort(np.quantile(bills, random.random(3)))
        share, other = random.random(2)
        yield (
            Hybrid(theta=share),
            Insurance(low if other > 0.2 else 0.0, None if other > 0.6 else high - low, share if other < 0.9 else 0.0),
            Allowance(0.0, low if other > 0.1 else 0.0, 1.5 * share),
            Tiered((0.0, low, high), (1.0, share, share * other)),
            Tiered((0.0, middle), (1.0, share), "graduated" if other < 0.5 else "volume"),
            Commitment(bills.max() * share),
            Credits(0.0, 2 * share * bills.mean(), int(random.integers(1, 13)), 1.5 * other),
            SessionCap(bills.max() * share**4),
        )[int(random.integers(8))]


def main() -> None:
    """Try and print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--contracts", type=int, default=4000, help="drawn for each dimension")
    parser.add_argument("--seed", type=int, default=20261129)
    options = parser.parse_args()
    print(machine("numpy"), f"{options.contracts} contracts, seed {options.seed}\n", sep="\n")
    print("| dimension | principle | cheapest at .3, .6, .75, .95 | best drawn one / recommended, least of ten | |")
    print("|---|---|---|---|---|")
    for dimension, paths, months in (("organisation", 100, 12), ("user_id", 60, 6)):
        random = np.random.default_rng([options.seed, paths])
        bills = ledger(random, paths, months) if dimension == "user_id" else ledger(random, 1, 1200)
        if dimension == "organisation":
            bills = Ledger(bills.bills, np.arange(1200) // months, np.arange(1200), bills.over_cap)
        customers = bills.paths if dimension == "user_id" else np.zeros(1200, dtype=np.int64)
        started = time.process_time()
        market = Market.over(bills, customers)
        found = {target: market.cheapest(Target(target)) for target in TARGETS}
        seconds = (time.process_time() - started) / len(TARGETS)
        tried = []
        for contract in drawn(random, bills.bills, options.contracts):
            try:
                solved = at_equal_revenue(contract, bills)
            except ValueError:
                continue
            removed = measure(solved, bills, customers, tails=False).variance_reduction or 0.0
            tried.append((removed, [market.loading(solved, principle) for principle in PRINCIPLES]))
        for at, principle in enumerate(PRINCIPLES):
            ratios = [
                min(each[at] for removed, each in tried if removed >= target) / found[target][principle][0].loading
                for target in TARGETS
            ]
            names = ", ".join(found[target][principle][0].contract.label for target in (0.3, 0.6, 0.75, 0.95))
            verdict = "holds" if min(ratios) >= 1 - BOUND else "MISSED"
            print(f"| {dimension} | {principle} | {names} | {min(ratios):.4f} | {verdict} |", flush=True)
        print(f"| {dimension} | search of one target, CPU s | {seconds:.2f} | | |", flush=True)


if __name__ == "__main__":
    main()
