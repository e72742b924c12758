"""Dagster's log of events on connections that stay open: the same log as Dagster's own storage keeps."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.storage.event_log import SqliteEventLogStorage

from pipeline import settings
from pipeline.assets.event_log import EventLog
from pipeline.cli import runs


@dg.asset
def noted() -> dg.MaterializeResult[None]:
    return dg.MaterializeResult(metadata={"rows": 7})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "landing").mkdir()
    return runs.dagster_home(settings.load(tmp_path))


def materialize(instance: dg.DagsterInstance) -> str:
    return dg.materialize([noted], instance=instance).run_id


def opened_below(folder: Path) -> set[str]:
    """Names of the databases in `folder` that this process holds open."""
    opened = [descriptor.resolve() for descriptor in Path("/proc/self/fd").iterdir()]
    return {path.name for path in opened if path.parent == folder and path.suffix == ".db"}


def test_dagsters_own_storage_reads_what_was_logged(folder: Path) -> None:
    with dg.DagsterInstance.from_config(str(folder)) as instance:
        assert isinstance(instance.event_log_storage, EventLog)
        first, second = materialize(instance), materialize(instance)
        logged = {run: [event.message for event in instance.all_logs(run)] for run in (first, second)}
    theirs = SqliteEventLogStorage(str(folder / "history" / "runs"))
    assert {run: [event.message for event in theirs.get_logs_for_run(run)] for run in (first, second)} == logged
    assert all(len(messages) > 5 for messages in logged.values())
    found = theirs.get_latest_materialization_events([noted.key])[noted.key]
    assert found is not None
    assert found.run_id == second


def test_files_stay_open_for_the_index_and_the_last_run_alone(folder: Path) -> None:
    with dg.DagsterInstance.from_config(str(folder)) as instance:
        ran = [materialize(instance) for _ in range(3)]
        for run in ran:
            assert instance.all_logs(run)
        assert opened_below(folder / "history" / "runs") == {"index.db", f"{ran[-1]}.db"}
    assert opened_below(folder / "history" / "runs") == set()


def test_a_wiped_log_begins_anew(folder: Path) -> None:
    with dg.DagsterInstance.from_config(str(folder)) as instance:
        gone = materialize(instance)
        instance.wipe()
        assert instance.all_logs(gone) == []
        assert instance.all_logs(materialize(instance))


def test_threads_read_while_a_run_is_logged(folder: Path) -> None:
    with dg.DagsterInstance.from_config(str(folder)) as instance, ThreadPoolExecutor(4) as threads:
        known = materialize(instance)
        expected = len(instance.all_logs(known))
        readers = [threads.submit(lambda: len(instance.all_logs(known))) for _ in range(40)]
        materialize(instance)
        assert {reader.result() for reader in readers} == {expected}
