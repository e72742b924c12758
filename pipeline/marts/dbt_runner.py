"""Runs dbt inside this process: finds and parses the project, and builds it batch by batch.

Belongs here: the project, its parsed manifest, a build. Does not belong here: SQL of models (dbt_project), the tables
that they join (reference), and planning the increment of a build (increment).
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.marts import increment
from pipeline.settings import ConfigurationError, Settings, cache_dir
from pipeline.store import bundled, memo, warehouse

if TYPE_CHECKING:
    from dbt.contracts.graph.manifest import Manifest


def project_dir() -> Path:
    """The dbt project: beside the package in a checkout, inside it in an installed wheel."""
    return bundled.ROOT / "dbt_project"


def target_dir() -> Path:
    """Folder of the parsed project: in a checkout, else in the user's cache, one per version of project and dbt.

    An installed package is never written to: it may be read-only, or shared by environments.
    """
    if bundled.IS_CHECKOUT and os.access(project_dir(), os.W_OK):
        # Separate from dbt by hand: dbt discards a parse for another profile.
        return project_dir() / "target" / "runs"
    versions = [version("dbt-core"), version("dbt-duckdb")]
    digest = hashlib.sha256(repr((versions, _digest(".sql", ".yml", ".md"))).encode()).hexdigest()
    return cache_dir() / f"dbt-{digest[:16]}"


class TransformError(Exception):
    """dbt could not build the marts; the message names the models or tests that failed."""


@dataclass(frozen=True)
class NodeResult:
    """One model or data test that dbt ran; of its `seconds`, DuckDB spent `sql_seconds` on its statements."""

    unique_id: str
    kind: str
    succeeded: bool
    message: str
    seconds: float
    sql_seconds: float
    failures: int

    def joined(self, later: NodeResult) -> NodeResult:
        """This result combined with that of a later batch: it succeeded if both did."""
        return NodeResult(
            unique_id=self.unique_id,
            kind=self.kind,
            succeeded=self.succeeded and later.succeeded,
            message=later.message if self.succeeded else self.message,
            seconds=self.seconds + later.seconds,
            sql_seconds=self.sql_seconds + later.sql_seconds,
            failures=self.failures + later.failures,
        )


@cache
def manifest() -> Manifest:
    """The parsed project; parsing is partial if `target_dir` holds an earlier parse, and runs in one process at a time.

    Raises:
        ConfigurationError: `target_dir` cannot be made.
        TransformError: the project cannot be parsed.

    """
    target = target_dir()
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"cannot create {target}: {error.strerror}; set XDG_CACHE_HOME to a folder that can be written to"
        ) from None
    text, parse = target / "manifest.json", target / "partial_parse.msgpack"
    with (target / "parse.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _write_profile(target, path="warehouse.duckdb")
        result = _runner().invoke(["parse", "--no-write-json", *_common(target, target, target)])
        if not result.success:
            raise TransformError(f"the dbt project cannot be parsed: {result.exception}")
        parsed: Manifest = result.result
        # dbt would write it each time, which takes as long as reading an unchanged parse.
        if not text.is_file() or text.stat().st_mtime_ns < parse.stat().st_mtime_ns:
            parsed.write(str(text))
    return parsed


def manifest_text() -> str:
    """manifest.json of the parsed project, parsed again if a source file is newer, and never half written."""
    path = target_dir() / "manifest.json"
    changed = max(file.stat().st_mtime for file in _sources(".sql", ".yml"))
    if not path.is_file() or path.stat().st_mtime < changed:
        manifest()
        path.touch()
    with (target_dir() / "parse.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        return path.read_text(encoding="utf-8")


def _runner(**options: Any) -> Any:
    os.environ["DBT_SEND_ANONYMOUS_USAGE_STATS"] = "false"
    from dbt.cli.main import dbtRunner

    return dbtRunner(**options)


def _common(profiles: Path, target: Path, logs: Path) -> list[str]:
    return [
        "--project-dir", str(project_dir()), "--profiles-dir", str(profiles), "--target-path", str(target),
        "--log-path", str(logs), "--quiet", "--log-level-file", "none", "--no-version-check", "--no-use-colors",
    ]  # fmt: skip


def build(
    settings: Settings,
    on_node: Callable[[str], None] | None = None,
    select: Sequence[str] = (),
    *,
    full_refresh: bool = False,
    batch_rows: int = increment.BATCH_ROWS,
) -> list[NodeResult]:
    """Update the marts: run the models, in this process, on the increment of the pending files.

    Everything is rebuilt with `full_refresh`, and if the models, rates or settings have changed.
    Unit tests of the models belong to the test suite and are not run here.

    Args:
        settings: of the home; its lock must be held, and no connection to its warehouse be open.
        on_node: called with the name of each finished model.
        select: names of models and data tests to run; all by default. Pending files then stay pending.
        full_refresh: rebuild everything.
        batch_rows: raw rows to build in one step.

    Returns:
        The models and data tests that ran, up to the first batch with a failure; empty if nothing is pending.

    Raises:
        ConfigurationError: the disk is full.
        TransformError: dbt itself failed. Failed data tests are results, not exceptions.

    """
    fingerprint = project_fingerprint()
    results: dict[str, NodeResult] = {}
    with warehouse.connect(settings) as connection:
        if full_refresh or (not select and memo.version(connection, memo.MARTS)[1] != fingerprint):
            increment.mark_all(connection)
        batches = increment.plan(connection, batch_rows)
    for number, batch in enumerate(batches):
        # Held open, since dbt reopens the file for each model and test. Beside an open connection of the same
        # configuration that is cheap; without one it reads the catalog and writes a checkpoint each time (70 times a
        # build). Only for one batch: DuckDB's metadata of row groups that it has read stays in memory beyond its limit.
        with warehouse.connect(settings) as connection:
            increment.open_batch(connection, batch, keep=number == 0 or bool(select))
            ran = _run_dbt(settings, on_node, select)
        for result in ran:
            earlier = results.get(result.unique_id)
            results[result.unique_id] = earlier.joined(result) if earlier else result
        if failed := [result.message for result in results.values() if not result.succeeded]:
            warehouse.refuse_full_disk(settings, *failed)
            return list(results.values())
    if batches and not select:
        with warehouse.connect(settings) as connection:
            increment.close(connection, fingerprint)
    return list(results.values())


def project_fingerprint() -> str:
    """One value for the current models and macros."""
    return _digest(".sql")


def _sources(*suffixes: str) -> list[Path]:
    """Files of the project, without dbt's own output."""
    project = project_dir()
    files = (file for file in project.rglob("*") if file.suffix in suffixes)
    return sorted(file for file in files if "target" not in file.relative_to(project).parts)


def _digest(*suffixes: str) -> str:
    digest = hashlib.sha256()
    for file in _sources(*suffixes):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def _run_dbt(settings: Settings, on_node: Callable[[str], None] | None, select: Sequence[str] = ()) -> list[NodeResult]:
    folder = write_profile(settings)
    sql_seconds: Counter[str] = Counter()

    def observe(event: Any) -> None:
        if event.info.name == "SQLQueryStatus":
            sql_seconds[str(event.data.node_info.unique_id)] += event.data.elapsed
        if on_node and event.info.name == "NodeFinished":
            on_node(str(event.data.node_info.node_name))

    runner = _runner(manifest=manifest(), callbacks=[observe])
    selection = ["--select", *select, "--indirect-selection", "empty"] if select else []
    common = _common(folder, folder / "target", folder / "logs")
    result = runner.invoke(["build", "--no-write-json", "--exclude-resource-type", "unit_test", *selection, *common])
    if result.result is None:
        warehouse.refuse_full_disk(settings, str(result.exception))
        raise TransformError(
            f"dbt failed: {type(result.exception).__name__}; run `token-analytics run` again with --verbose"
        )
    return [
        NodeResult(
            unique_id=run.node.unique_id,
            kind=str(run.node.resource_type),
            succeeded=str(run.status) in ("success", "pass", "warn"),
            message=str(run.message or ""),
            seconds=float(run.execution_time),
            sql_seconds=sql_seconds[str(run.node.unique_id)],
            failures=int(run.failures or 0),
        )
        for run in result.result.results
        if run.node.resource_type in ("model", "test")
    ]


def write_profile(settings: Settings) -> Path:
    """Write the profile by which dbt opens the private file of a home, and return its folder."""
    folder = settings.dagster_home / "dbt"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    # The configuration of `warehouse.connect`, so that dbt shares its open connection.
    _write_profile(
        folder,
        path=str(settings.warehouse),
        threads=1,
        keep_open=False,
        config_options=warehouse.connection_config(settings),
        retries={"connect_attempts": 3},
    )
    return folder


def _write_profile(folder: Path, **output: Any) -> None:
    """Write a profile with one target; its name tells the models to build an increment (macro is_increment)."""
    profile = {"token_analytics": {"target": "increment", "outputs": {"increment": {"type": "duckdb", **output}}}}
    # JSON is valid YAML, and needs no quoting rules of our own.
    (folder / "profiles.yml").write_text(json.dumps(profile, indent=2), encoding="utf-8")
