"""Cost of pricing in a run: the rate card, the join that prices each row, and the tables of rates and charges.

usage: python bench/pricing.py [--rows 10000000 --memory-limit 2GB]

A fresh home gets one console export of minutes and is ingested and built. Pricing is the time of the reference tables
and of the models that are about prices alone, plus what the rates add to int_usage: its query is run with and without
them, over the days of one batch, and scaled to all rows. Bound: at most 20% of the rest of ingest and build.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import duckdb
import generate
from measure import machine

from pipeline import settings
from pipeline.ingest import loader
from pipeline.marts import dbt_runner, increment
from pipeline.reference import tables
from pipeline.store import warehouse

BOUND = 0.20
PRICE_MODELS = (
    "int_rates",
    "int_unpriced_usage",
    "unpriced_usage",
    "model_rates",
    "charges",
    "int_commitment_days",
    "commitments",
)


def seconds_of(connection: duckdb.DuckDBPyConnection, query: str) -> float:
    """Wall time of creating a table from a query: the minimum of three, since other load can only add to it."""
    times = []
    for _ in range(3):
        started = time.perf_counter()
        connection.execute(f"CREATE OR REPLACE TEMP TABLE measured AS {query}")
        times.append(time.perf_counter() - started)
    return min(times)


def main() -> None:
    """Measure and print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000, help="usage rows")
    parser.add_argument("--days", type=int, default=365, help="days that they are spread over")
    parser.add_argument("--memory-limit", default="2GB", help="DuckDB's memory limit")
    parser.add_argument("--folder", type=Path, help="where to work (default: the system's temporary folder)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as scratch:
        home = Path(scratch)
        (home / "landing").mkdir()
        generate.console_csv(home / "landing" / "history.csv", options.rows, options.days)
        known = settings.load(home, settle_seconds=0, memory_limit=options.memory_limit)
        started = time.perf_counter()
        with warehouse.connect(known) as connection:
            rows = loader.ingest(connection, known).rows_loaded
            ingested = time.perf_counter()
            tables.write_reference_tables(connection, known)
            referenced = time.perf_counter()
        nodes = dbt_runner.build(known)
        built = time.perf_counter()
        models = {node.unique_id.rsplit(".", 1)[-1]: node.seconds for node in nodes if node.kind == "model"}
        query = dbt_runner.manifest().nodes["model.token_analytics.int_usage"].compiled_code
        plain = query[: query.index("priced as (")].rstrip().rstrip(",") + " select * from tiered"
        with warehouse.connect(known) as connection:
            connection.execute(
                "INSERT INTO scope.days SELECT usage_date FROM (SELECT usage_date, sum(count(*)) OVER (ORDER BY "
                "usage_date) AS upto FROM intermediate.int_usage GROUP BY usage_date) WHERE upto <= ?",
                [increment.BATCH_ROWS],
            )
            in_batch = connection.execute(
                "SELECT count(*) FROM intermediate.int_usage WHERE usage_date IN (FROM scope.days)"
            ).fetchall()[0][0]
            joined = seconds_of(connection, query) - seconds_of(connection, plain)
        warehouse.release_lock(known)
    join = joined * rows / max(in_batch, 1)
    alone = {name: models[name] for name in PRICE_MODELS}
    pricing = referenced - ingested + join + sum(alone.values())
    rest = built - started - pricing
    print(f"{machine('duckdb', 'dbt-core')}, memory_limit {options.memory_limit}, {rows:,} rows\n")
    print("| part | seconds |\n|---|---|")
    print(f"| reference tables | {referenced - ingested:.2f} |\n| rates of int_usage | {join:.2f} |")
    print("\n".join(f"| {name} | {took:.2f} |" for name, took in alone.items()))
    print(f"| pricing | {pricing:.2f} |\n| the rest of ingest and build | {rest:.2f} |\n")
    share = pricing / rest
    print(f"pricing adds {share:.1%} ({'holds' if share <= BOUND else 'MISSED'}: at most {BOUND:.0%})")


if __name__ == "__main__":
    main()
