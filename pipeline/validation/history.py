"""analysis.validation_results: what each run's checks found, also of runs that a check has stopped.

Belongs here: the table, and keeping the latest runs in it. Does not belong here: checking (suites), publishing (store).

A run adds its own rows in the warehouse; the published copy has them once a run publishes. An unchanged result is no
reason to publish (`state`), so a published file can lag behind by the runs that found nothing new.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime

import duckdb
import pyarrow as pa

from pipeline.analysis.measures import FLAG, TEXT, TIME, described_field, described_schema
from pipeline.store import warehouse
from pipeline.store.connection import first_row, has_table, transaction
from pipeline.store.sqlfiles import sql
from pipeline.validation.suites import SuiteResult

NAME = "validation_results"
# About 60 rows a run.
MOST_RUNS = 200

SCHEMAS = {
    NAME: described_schema(
        f"What the checks of each run found: one row an expectation of a suite, for the last {MOST_RUNS} runs. The "
        "published file has the runs up to the last one that had something new to publish",
        [
            described_field("run_id", TEXT, "The run, as in ingest.run_stages and reports/validation"),
            described_field("finished_at", TIME, "When the checks of the run were done, UTC"),
            described_field("suite", TEXT, "The file in expectations/ that states the rule"),
            described_field("expectation", TEXT, "What must hold, in words"),
            described_field("observed", TEXT, "What was found: a range, values, or the greatest difference"),
            described_field("passed", FLAG, "Whether it holds; null where there was nothing to check"),
            described_field("is_blocking", FLAG, "Whether a failure stops the run before anything is published"),
        ],
    )
}


def keep(
    connection: duckdb.DuckDBPyConnection, results: Sequence[SuiteResult], run_id: str, finished_at: datetime
) -> None:
    """Add the results of a run, in place of its earlier ones, and drop the runs before the last `MOST_RUNS`."""
    if not has_table(connection, "analysis", NAME):
        warehouse.write_analysis(connection, NAME, SCHEMAS[NAME].empty_table())
    moment = finished_at.astimezone(UTC).replace(tzinfo=None)
    rows = [
        {
            "run_id": run_id,
            "finished_at": moment,
            "suite": result.name,
            "expectation": outcome.statement,
            "observed": outcome.observed,
            "passed": None if result.status == "nothing to check" else outcome.passed,
            "is_blocking": result.severity == "blocking",
        }
        for result in results
        for outcome in result.expectations
    ]
    connection.register("results_of_run", pa.Table.from_pylist(rows, schema=SCHEMAS[NAME]))
    try:
        with transaction(connection):
            connection.execute(sql("validation/forget_runs"), {"run_id": run_id, "most_others": MOST_RUNS - 1})
            connection.execute("INSERT INTO analysis.validation_results BY NAME FROM results_of_run")
    finally:
        connection.unregister("results_of_run")


def state(connection: duckdb.DuckDBPyConnection) -> str:
    """One value for what the last run's checks found, for the memo of publishing."""
    if not has_table(connection, "analysis", NAME):
        return ""
    found = first_row(connection, sql("validation/last_results"))
    return hashlib.sha256(repr(found).encode()).hexdigest()
