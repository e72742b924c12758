"""Fixtures that several test files share: homes with landed files, their marts, and dbt's models as plain SQL.

Belongs here: how a test gets a home, a landing and built tables. Does not belong here: what a format or a rule says
(oracle, and the test files themselves).
"""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import hypothesis
import pytest
from commands import CompletedHomes
from once import Once

from pipeline import settings
from pipeline.ingest import loader
from pipeline.marts import dbt_runner, increment
from pipeline.reference import tables
from pipeline.store import memo, warehouse
from pipeline.store.sqlfiles import sql

Rows = list[tuple[Any, ...]]

# Slow files by measured CPU time: the others should not wait for one of them at the end.
LONGEST_FIRST = (
    "test_cli", "test_crash", "test_incremental", "test_provider_pages", "test_real_data", "test_overlaps",
    "test_call_logs", "test_ingest", "test_wheel", "test_finance", "test_dagster", "test_models", "test_validation",
    "test_hostile", "test_billing", "test_reconciliation", "test_stats", "test_analysis", "test_copies",
)  # fmt: skip


# Homes of tests are in memory if there is room: on a disk, the suite waits a third of its time for it.
MEMORY = Path("/dev/shm")
ROOM_BYTES = 4 << 30
if os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ROOM_BYTES:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))

# Of a warehouse in memory; its tables are too small for a second thread to be worth its start.
IN_MEMORY = {"TimeZone": "UTC", "autoinstall_known_extensions": "false", "threads": "1"}

# A slow example only means that the machine is busy.
hypothesis.settings.register_profile("unhurried", deadline=None)
hypothesis.settings.load_profile("unhurried")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start the slowest files first; the order of the others stays."""
    place = {name: at for at, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(place)))


class Home:
    """A home of a test: files are landed by name, and its tables are read from the private warehouse."""

    def __init__(self, root: Path, **overrides: Any) -> None:
        (root / "landing").mkdir(parents=True)
        self.settings = settings.load(root, **{"settle_seconds": 0, **overrides})

    @property
    def root(self) -> Path:
        return self.settings.home

    def land(self, files: Mapping[str, str | bytes]) -> None:
        """Write files below landing/; text is stored as UTF-8, with its line ends as they are."""
        for name, content in files.items():
            path = self.settings.landing / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)

    def ingest(self) -> loader.IngestSummary:
        with warehouse.connect(self.settings) as connection:
            return loader.ingest(connection, self.settings)

    def build(self) -> loader.IngestSummary:
        """Ingest, reference tables and all models of dbt; its data tests must hold."""
        with warehouse.connect(self.settings) as connection:
            summary = loader.ingest(connection, self.settings)
            tables.write_reference_tables(connection, self.settings)
        failed = [node for node in dbt_runner.build(self.settings) if not node.succeeded]
        assert failed == []
        return summary

    @contextlib.contextmanager
    def opened(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """The private file, to read what stands in it."""
        if not self.settings.warehouse.exists():
            with warehouse.connect(self.settings):
                pass
        with duckdb.connect(str(self.settings.warehouse), config=warehouse.connection_config(self.settings)) as opened:
            yield opened

    def query(self, text: str, parameters: Sequence[Any] = ()) -> Rows:
        with self.opened() as connection:
            return connection.execute(text, list(parameters)).fetchall()

    def ledger(self, name: str) -> dict[str, Any]:
        """The ledger row of the file landed as `name`."""
        with self.opened() as connection:
            found = connection.execute("FROM ingest.files WHERE path = ?", [f"landing/{name}"])
            columns = [column[0] for column in found.description or []]
            (row,) = found.fetchall()
        return dict(zip(columns, row, strict=True))

    def rejected(self) -> Rows:
        return self.query(
            "SELECT line, byte_offset, reason, column_name, value FROM ingest.rejected_rows ORDER BY path, line"
        )

    def tables(self, *schemas: str) -> dict[str, Rows]:
        """All rows of all tables of `schemas`, sorted."""
        with self.opened() as connection:
            names = connection.execute("SELECT schema_name, table_name FROM duckdb_tables()").fetchall()
            found = sorted(f"{schema}.{table}" for schema, table in names if schema in schemas)
            return {name: sorted(connection.execute(f"FROM {name}").fetchall(), key=repr) for name in found}


@pytest.fixture(scope="session")
def new_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Home]]:
    """A function that makes empty homes; keyword arguments are settings."""
    made: list[Home] = []

    def make(**overrides: Any) -> Home:
        made.append(Home(tmp_path_factory.mktemp("home") / "home", **overrides))
        return made[-1]

    yield make
    for home in made:
        warehouse.release_lock(home.settings)


@pytest.fixture
def home(new_home: Callable[..., Home]) -> Home:
    return new_home()


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    return Once(tmp_path_factory)


@pytest.fixture(scope="session")
def completed_homes(once: Once, tmp_path_factory: pytest.TempPathFactory) -> CompletedHomes:
    """Homes after a run of the command."""
    return CompletedHomes(once, tmp_path_factory.mktemp("copies"))


@dataclass(frozen=True)
class Model:
    """A model as dbt compiled it, and the models that it reads."""

    name: str
    kind: str
    text: str
    reads: Sequence[str]
    scope_column: str = ""
    scope_of: str = "days"
    before: str = ""
    after: str = ""
    start: str = ""
    side: str = ""
    unique_key: Sequence[str] = ()

    def build(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Build the model, or what schema `scope` names of it, as its materialization does it, between its hooks."""
        connection.execute(self.before)
        self._build(connection)
        connection.execute(self.after)

    def _build(self, connection: duckdb.DuckDBPyConnection) -> None:
        schema, _, table = self.name.partition(".")
        text = f"FROM {self.start}" if self.kind == "STEPWISE" else self.text
        exists = connection.execute(
            "SELECT 1 FROM duckdb_tables() WHERE schema_name = ? AND table_name = ?", [schema, table]
        ).fetchall()
        if self.scope_column and exists:
            if self.scope_of != "days" and not connection.execute(f"FROM scope.{self.scope_of} LIMIT 1").fetchall():
                return
            connection.execute(
                f"DELETE FROM {self.name} WHERE {self.scope_column} IN (SELECT item FROM scope.{self.scope_of})"
            )
            connection.execute(f"INSERT INTO {self.name} BY NAME {text}")
        else:
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
            connection.execute(f"CREATE OR REPLACE {'VIEW' if self.kind == 'VIEW' else 'TABLE'} {self.name} AS {text}")
        if self.kind == "STEPWISE":
            self._take_steps(connection)

    def _take_steps(self, connection: duckdb.DuckDBPyConnection) -> None:
        key = ", ".join(self.unique_key)
        steps = connection.execute(
            "SELECT DISTINCT step FROM intermediate.int_export_steps "
            "WHERE side = ? AND usage_date IN (SELECT item FROM scope.days) ORDER BY step",
            [self.side],
        ).fetchall()
        for (step,) in steps:
            connection.execute(f"DELETE FROM scope.step; INSERT INTO scope.step VALUES ({step})")
            connection.execute(f"CREATE OR REPLACE TEMP TABLE step_rows AS {self.text}")
            connection.execute(f"DELETE FROM {self.name} WHERE ({key}) IN (SELECT {key} FROM step_rows)")
            connection.execute(f"INSERT INTO {self.name} BY NAME FROM step_rows")


class Models:
    """dbt's models, compiled once and run as plain SQL in memory: milliseconds instead of seconds by dbt."""

    def __init__(self, models: Sequence[Model], scratch: Callable[[], Path]) -> None:
        self.all = models
        self._scratch = scratch

    def _up_to(self, *names: str) -> list[Model]:
        """The models `names` (schema.name) and all models that they read, in build order."""
        wanted = set(names)
        for model in reversed(self.all):
            wanted.update(model.reads if model.name in wanted else ())
        return [model for model in self.all if model.name in wanted]

    def named(self, name: str) -> Model:
        """The model `name` (schema.name)."""
        return next(model for model in self.all if model.name == name)

    @contextlib.contextmanager
    def over(
        self, files: Mapping[str, str | bytes], *names: str, **overrides: Any
    ) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection with the models `names` and those that they read, built from `files` of a landing."""
        home = Home(self._scratch(), **overrides)
        home.land(files)
        with duckdb.connect(config=IN_MEMORY) as connection:
            connection.execute("ATTACH ':memory:' AS warehouse; USE warehouse")
            connection.execute(sql("ingest/schema"))
            loader.ingest(connection, home.settings)
            tables.write_reference_tables(connection, home.settings)
            for batch in increment.plan(connection, batch_rows=10**9):
                increment.open_batch(connection, batch, keep=False)
            for model in self._up_to(*names):
                model.build(connection)
            yield connection


def compiled(known: settings.Settings, *selection: str) -> list[Any]:
    """The nodes of a selection as dbt compiles them in this home, in the order in which it would run them."""
    from dbt.cli.main import dbtRunner

    folder = dbt_runner.write_profile(known)
    result = dbtRunner(manifest=dbt_runner.manifest()).invoke(
        ["compile", *selection, "--project-dir", str(dbt_runner.project_dir()), "--profiles-dir", str(folder),
         "--target-path", str(folder / "compiled"), "--log-path", str(folder / "logs"), "--quiet", "--no-version-check"]
    )  # fmt: skip
    assert result.success, result.exception
    return [found.node for found in result.result.results]


def compiled_hooks(known: settings.Settings, nodes: Sequence[Any]) -> dict[tuple[str, str], str]:
    """SQL of the models' hooks by model and `pre` or `post`; dbt itself renders them only when it runs a model."""
    texts = {
        (node.unique_id, kind): ";".join(hook.sql for hook in found).replace("(this)", f"(ref('{node.name}'))")
        for node in nodes
        for kind, found in (("pre", node.config.pre_hook), ("post", node.config.post_hook))
        if found
    }
    border = "\n-- next hook\n"
    (all_hooks,) = compiled(known, "--inline", border.join(texts.values()))
    return dict(zip(texts, all_hooks.compiled_code.split(border), strict=True))


@pytest.fixture(scope="session")
def models(once: Once, new_home: Callable[..., Home], tmp_path_factory: pytest.TempPathFactory) -> Models:
    """All models as dbt compiled them for an empty home, in the order in which it ran them."""
    folder, number = tmp_path_factory.mktemp("models"), itertools.count()
    found = [Model(**fields) for fields in once("models", lambda: compiled_models(new_home()))]
    return Models(found, lambda: folder / str(next(number)))


def compiled_models(empty: Home) -> list[dict[str, Any]]:
    """Fields of a `Model` for each model that dbt runs."""
    with warehouse.connect(empty.settings) as connection:
        tables.write_reference_tables(connection, empty.settings)
        nodes = [node for node in compiled(empty.settings) if node.resource_type == "model"]
        hooks = compiled_hooks(empty.settings, nodes)
    names = {node.unique_id: f"{node.schema}.{node.name}" for node in nodes}
    return [
        {
            "name": names[node.unique_id],
            "kind": node.config.materialized.upper(),
            "text": node.compiled_code,
            "reads": [names[read] for read in node.depends_on.nodes if read in names],
            "scope_column": node.config.get("scope_column") or "",
            "scope_of": node.config.get("scope_of") or "days",
            "before": hooks.get((node.unique_id, "pre"), ""),
            "after": hooks.get((node.unique_id, "post"), ""),
            "start": f"intermediate.{node.config.get('start')}",
            "side": node.config.get("side") or "",
            "unique_key": node.config.get("unique_key") or [],
        }
        for node in nodes
    ]


class Warehouse:
    """A warehouse in memory. The compiled models keep its marts up to date, as dbt builds would."""

    def __init__(self, models: Models, home: Home, *names: str) -> None:
        """Keeps the models `names` and those that they read up to date; without names, all models."""
        self.models, self.home = models, home
        self.kept_up = models._up_to(*names) if names else models.all
        self.connection = duckdb.connect(config=IN_MEMORY)
        self.connection.execute("ATTACH ':memory:' AS warehouse; USE warehouse")
        self.connection.execute(sql("ingest/schema"))

    def update(self, batch_rows: int) -> None:
        loader.ingest(self.connection, self.home.settings)
        tables.write_reference_tables(self.connection, self.home.settings)
        if increment.is_built(self.connection) and memo.version(self.connection, memo.MARTS)[1] != "models":
            increment.mark_all(self.connection)
        self.build(batch_rows)

    def build(self, batch_rows: int) -> None:
        for number, batch in enumerate(increment.plan(self.connection, batch_rows)):
            increment.open_batch(self.connection, batch, keep=number == 0)
            for model in self.kept_up:
                model.build(self.connection)
        increment.close(self.connection, "models")

    def query(self, text: str) -> Rows:
        return self.connection.execute(text).fetchall()

    def marts(self) -> dict[str, list[tuple[Any, ...]]]:
        names = self.connection.execute(
            "SELECT schema_name || '.' || table_name FROM duckdb_tables() "
            "WHERE schema_name IN ('intermediate', 'marts')"
        ).fetchall()
        return {name: sorted(self.connection.execute(f"FROM {name}").fetchall(), key=repr) for (name,) in sorted(names)}

    def rebuilt(self) -> dict[str, list[tuple[Any, ...]]]:
        """The marts of a full build, from a copy of the raw tables and the ledger."""
        copy = Warehouse(self.models, self.home, *(model.name for model in self.kept_up))
        for schema, table in self.connection.execute(
            "SELECT schema_name, table_name FROM duckdb_tables() WHERE schema_name IN ('raw', 'ingest')"
        ).fetchall():
            rows = self.connection.sql(f"FROM {schema}.{table}").to_arrow_table()  # noqa: F841  # DuckDB reads it
            copy.connection.execute(f"DELETE FROM {schema}.{table}")
            copy.connection.execute(f"INSERT INTO {schema}.{table} BY NAME SELECT * FROM rows")
        increment.mark_all(copy.connection)
        copy.build(10**9)
        return copy.marts()


def utc(text: str) -> dt.datetime:
    """`2026-02-17 10:00` as the naive UTC time stored in the warehouse."""
    return dt.datetime.fromisoformat(text)
