"""The dbt project: its unit tests, its data tests, and that every table and column has a description.

Belongs here: the models as dbt knows them. The unit tests themselves are with the models, in
dbt_project/models/**/*.yml. Does not belong here: how files get into the raw tables (test_ingest).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import yaml

from pipeline.marts import dbt_runner
from pipeline.reference import tables
from pipeline.settings import Settings
from pipeline.store import warehouse
from tools import dictionary

# One worker builds the empty project and runs dbt for all of these.
pytestmark = pytest.mark.xdist_group("models")

DESCRIBED_SCHEMAS = ["ingest", "staging", "intermediate", "marts"]
UNIT_TESTS = [
    (test["model"], test["name"])
    for file in sorted((dbt_runner.project_dir() / "models").rglob("*.yml"))
    for test in yaml.safe_load(file.read_text(encoding="utf-8")).get("unit_tests", [])
]
Described = dict[tuple[str, str], dict[str, tuple[str, str]]]


def dbt_test(settings: Settings, select: str) -> dict[str, tuple[str, str]]:
    """Status and message of each selected test: of unit tests by `model.name`, of data tests by their name."""
    folder = settings.dagster_home / "dbt"
    runner = dbt_runner._runner(manifest=dbt_runner.manifest())
    options = dbt_runner._common(folder, folder / "target", folder / "logs")
    outcome = runner.invoke(["test", "--select", select, *options])
    assert outcome.result is not None, outcome.exception
    return {
        run.node.unique_id.split(".", 2)[2] if run.node.resource_type == "unit_test" else run.node.name: (
            str(run.status),
            str(run.message),
        )
        for run in outcome.result.results
        if run.node.resource_type != "operation"
    }


@pytest.fixture(scope="module")
def empty(new_home: Callable[..., Any]) -> Settings:
    """A home with all tables built and empty."""
    settings: Settings = new_home().settings
    with warehouse.connect(settings) as connection:
        tables.write_reference_tables(connection, settings)
    assert [node for node in dbt_runner.build(settings) if not node.succeeded] == []
    return settings


@pytest.fixture(scope="module")
def unit_tests(empty: Settings) -> dict[str, tuple[str, str]]:
    return dbt_test(empty, "test_type:unit")


@pytest.fixture(scope="module")
def described() -> Described:
    """Type and description of each column that the project describes, by schema and table."""
    project = dbt_runner.manifest()
    nodes = [node for node in project.nodes.values() if node.resource_type == "model"]
    ledger = [source for source in project.sources.values() if source.source_name == "ingest"]
    return {
        (node.schema, node.name): {
            column.name: (column.data_type, column.description) for column in node.columns.values()
        }
        for node in (*nodes, *ledger)
    }


@pytest.fixture(scope="module")
def built(empty: Settings) -> dict[tuple[str, str], dict[str, str]]:
    """Type of each column in the warehouse, by schema and table."""
    found: dict[tuple[str, str], dict[str, str]] = {}
    with warehouse.connect(empty) as connection:
        for schema, table, column, kind in connection.execute(
            "SELECT schema_name, table_name, column_name, lower(data_type) FROM duckdb_columns() "
            "WHERE list_contains(?, schema_name) ORDER BY column_index",
            [DESCRIBED_SCHEMAS],
        ).fetchall():
            found.setdefault((schema, table), {})[column] = kind
    return found


@pytest.mark.parametrize(("model", "name"), UNIT_TESTS, ids=[f"{model}-{name}" for model, name in UNIT_TESTS])
def test_unit_test_of_a_model(model: str, name: str, unit_tests: dict[str, tuple[str, str]]) -> None:
    status, message = unit_tests[f"{model}.{name}"]
    assert status == "pass", message


def test_every_model_has_a_unit_test() -> None:
    models = {node.name for node in dbt_runner.manifest().nodes.values() if node.resource_type == "model"}
    assert {model for model, _ in UNIT_TESTS} == models


def test_every_model_and_column_says_what_it_is(described: Described) -> None:
    models = [node for node in dbt_runner.manifest().nodes.values() if node.resource_type == "model"]
    assert [node.name for node in models if not node.description.strip()] == []
    assert [
        f"{table}.{column}"
        for (_, table), columns in described.items()
        for column, (_, description) in columns.items()
        if not description.strip()
    ] == []


def test_exactly_the_columns_that_exist_are_described_with_their_types(
    described: Described, built: dict[tuple[str, str], dict[str, str]]
) -> None:
    stated = {table: {name: kind for name, (kind, _) in columns.items()} for table, columns in described.items()}
    assert stated == built


def test_published_columns_are_described_in_the_order_in_which_they_stand(
    described: Described, built: dict[tuple[str, str], dict[str, str]]
) -> None:
    published = {table: list(columns) for table, columns in built.items() if table[0] in warehouse.PUBLISHED_SCHEMAS}
    assert {table: list(described[table]) for table in published} == published


def test_money_is_decimal_and_tokens_are_whole_numbers(built: dict[tuple[str, str], dict[str, str]]) -> None:
    kinds = {(table, name): kind for (_, table), columns in built.items() for name, kind in columns.items()}
    money = {where: kind for where, kind in kinds.items() if where[1].endswith("_usd")}
    tokens = {where: kind for where, kind in kinds.items() if where[1].endswith("tokens") and "share" not in where[1]}
    assert {where: kind for where, kind in money.items() if kind != "decimal(38,12)"} == {}
    assert {where: kind for where, kind in tokens.items() if kind != "bigint"} == {}


def test_the_published_file_carries_the_descriptions_as_comments(empty: Settings, described: Described) -> None:
    with warehouse.connect(empty) as connection:
        warehouse.publish(connection, empty)
    with warehouse.connect_published(empty) as connection:
        comments = connection.execute(
            "SELECT table_name, column_name, comment FROM duckdb_columns() WHERE schema_name = 'marts'"
        ).fetchall()
        uncommented = connection.execute(
            "SELECT table_name FROM duckdb_tables() WHERE schema_name = 'marts' AND coalesce(comment, '') = ''"
        ).fetchall()
    assert comments
    assert [(table, column) for table, column, text in comments if text != described["marts", table][column][1]] == []
    assert uncommented == []


def test_a_broken_law_fails_its_data_test_and_no_other(empty: Settings) -> None:
    """Two equal rows without a model, whose total is one too many."""
    row = """
        INSERT INTO marts.token_usage_minutes BY NAME
        SELECT
            'console' AS source, 'p' AS provider, TIMESTAMP '2026-02-17 10:05:00' AS usage_minute, 60 AS bucket_seconds,
            NULL AS model, '' AS model_version, '' AS api_key, '' AS workspace, '' AS user_id, '' AS project,
            '' AS usage_type, '' AS context_window, '' AS inference_geo, '' AS speed, DATE '2026-02-17' AS usage_date,
            1 AS input_tokens_no_cache, 0 AS input_tokens_cache_write_5m, 0 AS input_tokens_cache_write_1h,
            0 AS input_tokens_cache_read, 2 AS output_tokens, 0 AS web_search_count, 4 AS total_tokens
        FROM range(2)
    """
    with warehouse.connect(empty) as connection:
        connection.execute(row)
        connection.execute("INSERT INTO scope.days VALUES (DATE '2026-02-17')")
    try:
        outcome = dbt_test(empty, "token_usage_minutes,test_type:data")
    finally:
        with warehouse.connect(empty) as connection:
            connection.execute("DELETE FROM marts.token_usage_minutes")
            connection.execute("DELETE FROM scope.days")
    assert {name for name, (status, _) in outcome.items() if status == "fail"} == {
        "token_usage_minutes_has_one_row_for_each_grain",
        "token_usage_minutes_knows_every_column_of_its_grain",
        "token_usage_minutes_total_is_the_sum_of_the_five_kinds",
    }
    assert len(outcome) == 5


def test_every_published_table_is_in_the_dictionary_and_the_page_is_up_to_date(
    built: dict[tuple[str, str], dict[str, str]],
) -> None:
    tables = dictionary.tables()
    assert {table for table in built if table[0] in warehouse.PUBLISHED_SCHEMAS} == {
        (table.schema, table.name) for table in tables if table.schema != "analysis"
    }
    assert [
        f"{table.name}.{column.name}" for table in tables for column in table.columns if not column.description
    ] == []
    assert dictionary.PATH.read_text(encoding="utf-8") == dictionary.render(), "run `python -m tools.dictionary`"
