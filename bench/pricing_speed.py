"""Contracts at a million conversations against a loop over rows, and the whole stop-loss frontier over a million bills.

usage: python bench/pricing_speed.py [--runs 5] [--oracle]

(a) Parquet of 1e6 conversations to the four classic mechanisms with all metrics (`contracts.conversation_rows`),
against what it replaces: a loop over the rows of a data frame for each of the four contracts, and the
same metrics of the lists. The loop runs on a twentieth of the rows, and its time counts twenty times.
(b) `frontier.stop_loss` over 1e6 bills: variance reduction, premium and tail at every deductible. Bounds: 1 s, 200
times, 0.2 s; all of CPU time, which a busy machine distorts less. `--oracle` also holds the compound model (60 requests
a month, negative binomial with k = 1.5) against the package `aggregate`, which an environment of its own has to hold
(`pip install aggregate` beside this package): to three digits.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import duckdb
import numpy as np
import pandas as pd
from measure import machine

ROWS = 1_000_000
ORACLE_BOUND = 0.001  # three digits


def seconds(call: Callable[[], object], runs: int) -> tuple[float, float]:
    """Median wall and CPU time of some runs, after a warm-up."""
    call()
    walls, cpus = [], []
    for _ in range(runs):
        wall, cpu = time.perf_counter(), time.process_time()
        call()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return statistics.median(walls), statistics.median(cpus)


def vectorised(path: str) -> object:
    """From Parquet to the table of the four mechanisms."""
    from pipeline.pricing.recommendation import conversation_rows

    with duckdb.connect() as connection:
        table = connection.sql(f"select cost_usd from read_parquet('{path}')").to_arrow_table()
    return conversation_rows(table["cost_usd"].to_numpy())


def loop(frame: pd.DataFrame) -> list[dict[str, float]]:
    """The same with a loop over rows."""
    from pipeline.pricing.terms import classics_at_equal_revenue

    terms = {contract.name: contract.params() for contract in classics_at_equal_revenue(frame["cost_usd"].to_numpy())}
    fee, hybrid, cover = terms["bundle"]["fee_usd"], terms["hybrid"], terms["insurance"]
    prices: dict[str, list[float]] = {name: [] for name in terms}
    rules = {
        "per_token": lambda row: row["cost_usd"],
        "bundle": lambda row: fee,
        "hybrid": lambda row: hybrid["fee_usd"] + hybrid["theta"] * row["cost_usd"],
        "insurance": lambda row: min(row["cost_usd"], cover["deductible_usd"]) + cover["premium_usd"],
    }
    for name, rule in rules.items():
        for _, row in frame.iterrows():
            prices[name].append(rule(row))
    costs = frame["cost_usd"].tolist()
    n = len(costs)
    spread = sum((cost - fee) ** 2 for cost in costs)
    found = []
    for charged in prices.values():
        ordered = sorted(charged)
        average = sum(charged) / n
        variance = sum((each - average) ** 2 for each in charged)
        metrics = {"mean": average, "sd": (variance / (n - 1)) ** 0.5, "reduction": 1 - variance / spread}
        for q in (0.5, 0.9, 0.95, 0.99):
            metrics[f"p{q}"] = ordered[int(q * (n - 1))]
            metrics[f"tvar{q}"] = sum(ordered[int(n * q) :]) / (n - int(n * q))
        metrics["shortfall"] = sum(max(cost - each, 0.0) for cost, each in zip(costs, charged, strict=True)) / n
        found.append(metrics)
    return found


def oracle() -> None:
    """Mean, sd, VaR and TVaR of a compound distribution by `aggregate` and by ours, as a table."""
    from importlib.metadata import version

    from aggregate import build

    from pipeline.pricing.bill_model import CountLaw, compound

    severities = np.round(np.random.default_rng(1).lognormal(-3.66, 0.98, 200), 4)
    ours = compound(CountLaw(60, k=1.5), severities)
    text = " ".join(str(value) for value in severities)
    theirs = build(f"agg Bill 60 claims dsev [{text}] mixed gamma {1 / 1.5**0.5}", bs=1 / 1024, log2=16)
    pairs = {
        "mean": (float(theirs.est_m), ours.mean()),
        "sd": (float(theirs.est_sd), ours.sd()),
        **{f"VaR {q:.0%}": (float(theirs.q(q)), ours.quantile(q)) for q in (0.95, 0.99)},
        **{f"TVaR {q:.0%}": (float(theirs.tvar(q)), ours.tvar(q)) for q in (0.95, 0.99)},
    }
    print(f"\n| bill of a month, USD | aggregate {version('aggregate')} | ours | difference | |\n|---|---|---|---|---|")
    for name, (one, other) in pairs.items():
        gap = abs(other / one - 1)
        print(f"| {name} | {one:.4f} | {other:.4f} | {gap:.4%} | {verdict(gap, ORACLE_BOUND)} |")


def verdict(value: float, bound: float, at_least: bool = False) -> str:
    """Whether a number meets its bound."""
    holds = value >= bound if at_least else value <= bound
    return f"{'holds' if holds else 'MISSED'}: at {'least' if at_least else 'most'} {bound:g}"


def main() -> None:
    """Measure and print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--oracle", action="store_true")
    arguments = parser.parse_args()
    from pipeline.pricing.frontier import stop_loss

    costs = np.random.default_rng(1).lognormal(-3.66, 0.98, ROWS)
    print(machine("numpy", "duckdb"), "\n| | wall, s | CPU, s | |\n|---|---|---|---|", sep="\n")
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/conversations.parquet"
        with duckdb.connect() as connection:
            connection.execute(f"copy (select column0 as cost_usd from costs) to '{path}' (format parquet)")
        wall, cpu = seconds(lambda: vectorised(path), arguments.runs)
    print(
        f"| four mechanisms, 1e6 conversations from Parquet | {wall:.3f} | {cpu:.3f} | {verdict(cpu, 1)} |", flush=True
    )
    started = time.process_time()
    loop(pd.DataFrame({"session": np.arange(ROWS // 20), "cost_usd": costs[: ROWS // 20]}))
    slow = 20 * (time.process_time() - started)
    print(f"| the same in a loop over rows | | {slow:.1f} | |", flush=True)
    print(f"| ratio of CPU times | | {slow / cpu:.0f} | {verdict(slow / cpu, 200, at_least=True)} |", flush=True)
    wall, cpu = seconds(lambda: stop_loss(costs), arguments.runs)
    print(f"| stop-loss frontier, 1e6 bills | {wall:.3f} | {cpu:.3f} | {verdict(cpu, 0.2)} |")
    if arguments.oracle:
        oracle()


if __name__ == "__main__":
    main()
