"""The edges of the asset graph, compared with the tables that the stages read when they run on the sample.

Belongs here: every dependency is a table that is read, and every table that is read is a dependency. Does not belong
here: which assets exist and when they run (test_dagster), and the inputs of dbt's models, which dbt itself knows.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import dagster as dg
import duckdb
import pytest
import sqlglot
from commands import SAMPLE
from conftest import Models
from sqlglot import exp

from pipeline.analysis import distributions
from pipeline.assets.checks import REPORT
from pipeline.assets.lineage import REFERENCE, asset_of
from pipeline.definitions import defs
from pipeline.finance import closing
from pipeline.pricing import bill_history, recommendation
from pipeline.reference import tables
from pipeline.savings import recommendations
from pipeline.settings import Settings
from pipeline.store import warehouse
from pipeline.validation import suites

GRAPH = defs.resolve_asset_graph()
KEYS = GRAPH.get_all_asset_keys()
WHAT_IF = {"what_if": {"batch": {"usage_type": "batch"}}}
EXPORTS = {f"console/claude_api_{of}_2025_{month}.csv" for of in ("tokens", "cost") for month in ("08", "09", 10, 11)}
LOGS = ("sessions/token_usage_sessions_2025_11", "tracker/", "claude_projects/-srv-example-search-index/")
# dbt's manifest has the edges of its models; loading, pulling and publishing are not queries.
STAGES = {"analysis", "reference", "validation_report"}
DERIVED = sorted(key.to_user_string() for key in KEYS if key.path[0] in STAGES)


class Recorded:
    """A connection that records which stored tables its statements read, also through temporary tables and views."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self._behind: dict[str, set[tuple[str, str]]] = {}
        self.reads: set[tuple[str, str]] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, query: str, *parameters: Any) -> Any:
        self._note(query)
        return self._connection.execute(query, *parameters)

    def sql(self, query: str, **options: Any) -> Any:
        self._note(query)
        return self._connection.sql(query, **options)

    def _note(self, query: str) -> None:
        for statement in sqlglot.parse(query, dialect="duckdb"):
            written = (
                statement.this if isinstance(statement, (exp.Create, exp.Insert, exp.Update, exp.Delete)) else None
            )
            target = written.find(exp.Table) if written else None
            found: set[tuple[str, str]] = set()
            for table in statement.find_all(exp.Table) if statement else ():
                if table is not target:
                    stored = table.db not in ("", "temp")
                    found |= {(table.db, table.name)} if stored else self._behind.get(table.name, set())
            if isinstance(statement, exp.Create):
                self._behind[target.name] = found
            self.reads |= found


Read = dict[str, set[dg.AssetKey]]


def judge(connection: Any) -> None:
    """Run every suite and its query for offending rows, even if the suite passes."""
    suites.run_suites(connection)
    for suite in suites.load_suites():
        if suite.offending_sql:
            connection.execute(suite.offending_sql).fetchall()


def read_on(connection: duckdb.DuckDBPyConnection, settings: Settings) -> Read:
    """The tables of `connection` that each derived asset reads when its stage runs."""
    found: Read = {}

    def run(build: Callable[[Any], Any], *assets: str) -> Any:
        recorded = Recorded(connection)
        built = build(recorded)
        keys = {asset_of(*pair) for pair in recorded.reads} & KEYS
        found.update(dict.fromkeys(assets, keys))
        return built

    def store(name: str, build: Callable[[Any], Any]) -> None:
        warehouse.write_analysis(connection, name, run(build, f"analysis/{name}"))

    run(lambda seen: tables.write_reference_tables(seen, settings), "reference")
    run(judge, "validation_report")
    for name, build in distributions.TABLES.items():
        store(name, lambda seen, build=build: build(seen, settings))
    for name, table in recommendation.tables(connection, settings).items():
        warehouse.write_analysis(connection, name, table)
    priced = (f"analysis/{name}" for name in recommendation.SCHEMAS)
    run(lambda seen: bill_history.pools(seen, settings), *priced)
    run(recommendation.pricing_per_conversation, "analysis/pricing_per_conversation")
    store("recommendations", lambda seen: recommendations.recommendations(seen, settings))
    store("restatements", lambda seen: closing.table(seen, settings))
    return found


@pytest.fixture(scope="module")
def read(models: Models, tmp_path_factory: pytest.TempPathFactory) -> Read:
    """The tables that each asset reads with all inputs and a closed month, or with exports only."""
    sample = {str(file.relative_to(SAMPLE)): file.read_bytes() for file in SAMPLE.rglob("*") if file.is_file()}
    exports = {name: content for name, content in sample.items() if name in EXPORTS}
    everything = exports | {name: content for name, content in sample.items() if name.startswith(LOGS)}
    every_model = [model.name for model in models.all]
    settings = Settings(home=tmp_path_factory.mktemp("home"), analysis_segments=1, **WHAT_IF)
    together: Read = defaultdict(set)
    for files in (everything, exports):
        with models.over(files, *every_model) as connection:
            connection.execute("CREATE SCHEMA IF NOT EXISTS analysis")
            connection.execute("DELETE FROM scope.pending_files")
            closing.close_month(connection, dt.date(2025, 10, 1), dt.datetime(2026, 1, 1))
            for asset, keys in read_on(connection, settings).items():
                together[asset] |= keys
    return together


def made_together(key: dg.AssetKey) -> set[dg.AssetKey]:
    """Assets of the same step: it reads their state from the previous run."""
    return {key} | set(GRAPH.get(key).execution_set_asset_keys)


@pytest.mark.parametrize("asset", DERIVED)
def test_an_asset_depends_on_exactly_the_tables_that_it_reads(read: Read, asset: str) -> None:
    key = dg.AssetKey.from_user_string(asset)
    declared = GRAPH.get(key).parent_keys - {REPORT}
    assert {each.to_user_string() for each in read[asset] - made_together(key)} == {
        each.to_user_string() for each in declared
    }


@pytest.mark.parametrize("asset", [name for name in DERIVED if name.startswith("analysis/")])
def test_every_table_of_analysis_waits_for_the_blocking_checks(asset: str) -> None:
    assert REPORT in GRAPH.get(dg.AssetKey.from_user_string(asset)).parent_keys


def test_all_tables_of_names_prices_and_settings_are_one_asset() -> None:
    assert {asset_of("raw", table) for table in tables.TABLES} == {REFERENCE}
    shown = str(GRAPH.get(REFERENCE).metadata["tables"].value)
    assert [table for table in tables.TABLES if f"| {table} |" not in shown] == []
