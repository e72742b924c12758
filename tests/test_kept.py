"""An unchanged column of statistics keeps its rows, and the others do not depend on the process that computes them.

Belongs here: results kept between runs, and work shared by processes. Does not belong here: the content of the rows
(test_analysis, test_stats), and how processes end with the run (test_reading).
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import random
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
from marts import MARTS, insert, lognormal_costs, session

from pipeline.analysis import distributions
from pipeline.analysis.stats import column
from pipeline.settings import Settings
from pipeline.store import memo, processes
from pipeline.store.processes import Shared

PLACE = "CREATE SCHEMA scope; CREATE TABLE scope.results (stage VARCHAR, item VARCHAR, result VARCHAR)"


@pytest.fixture
def kept() -> Iterator[duckdb.DuckDBPyConnection]:
    """Marts of a home with earlier runs."""
    with duckdb.connect() as connection:
        connection.execute(MARTS)
        connection.execute(PLACE)
        yield connection


@pytest.fixture
def knobs(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, analysis_segments=2, threads=1)


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The tasks that are computed, in order."""
    tasks: list[Any] = []

    def noting(task: Any) -> str:
        tasks.append(task)
        return column.compute(task)

    monkeypatch.setattr(distributions, "compute", noting)
    return tasks


def statistics(connection: duckdb.DuckDBPyConnection, knobs: Settings, tables: int | None = 2) -> list[Any]:
    """Rows of tail_metrics and distribution_fits (or of all tables), without what they say of the run before."""
    found = [table.to_pylist() for _, table in itertools.islice(distributions.tables(connection, knobs), tables)]
    for row in found[0]:
        del row["previous_verdict"], row["verdict_changed"]
    return found


def anew(connection: duckdb.DuckDBPyConnection, knobs: Settings, folder: Path, tables: int | None = 2) -> list[Any]:
    """The statistics of the same marts in a home without earlier runs."""
    copy = folder / "anew.duckdb"
    connection.execute(f"ATTACH '{copy}' AS copy; CREATE SCHEMA copy.marts")
    for (name,) in connection.execute("SELECT table_name FROM duckdb_tables() WHERE schema_name = 'marts'").fetchall():
        connection.execute(f"CREATE TABLE copy.marts.{name} AS FROM marts.{name}")
    connection.execute("DETACH copy")
    with duckdb.connect(str(copy)) as other:
        found = statistics(other, knobs, tables)
    copy.unlink()
    return found


def sessions(chance: random.Random, first: int, many: int) -> list[dict[str, Any]]:
    users = chance.sample(["a", "b", "c"], chance.randint(1, 3))
    costs = [chance.choice([0.25, cost]) for cost in lognormal_costs(many, chance.randrange(10**6))]
    return [session(first + n, cost, user_id=chance.choice(users)) for n, cost in enumerate(costs)]


@pytest.mark.parametrize("seed", range(3))
def test_statistics_after_each_step_of_a_random_history_equal_those_made_anew(kept, knobs, tmp_path, seed):
    chance = random.Random(seed)
    for step in range(3):
        insert(kept, "token_usage_sessions", sessions(chance, 1000 * step, chance.choice([1, 30, 70])))
        if chance.random() < 0.5:
            kept.execute("DELETE FROM marts.token_usage_sessions WHERE user_id = ?", [chance.choice(["a", "b"])])
        if chance.random() < 0.3:
            kept.execute("UPDATE marts.token_usage_sessions SET estimated_cost_usd = 2 * estimated_cost_usd")
        for table, other in zip(statistics(kept, knobs, None), anew(kept, knobs, tmp_path, None), strict=True):
            assert table == other


def test_only_the_columns_that_a_session_touches_are_computed_again(kept, knobs, computed):
    insert(kept, "token_usage_sessions", [session(n, c, user_id="a") for n, c in enumerate(lognormal_costs(60, 1))])
    insert(
        kept, "token_usage_sessions", [session(99 + n, c, user_id="b") for n, c in enumerate(lognormal_costs(90, 2))]
    )
    wide = knobs.model_copy(update={"analysis_segments": 9})
    first = statistics(kept, wide)
    assert len(computed) > 4
    computed.clear()
    assert statistics(kept, wide) == first
    assert computed == []
    insert(kept, "token_usage_sessions", [session(9999, 3.5, user_id="b")])
    statistics(kept, wide)
    # The sessions of one user are unchanged; a model, key and workspace contain all of them.
    assert sorted({int(task.counts.sum()) for task in computed}) == [91, 151]


def test_another_seed_method_or_a_full_refresh_compute_anew(kept, knobs, computed, monkeypatch):
    insert(kept, "token_usage_sessions", [session(n, cost) for n, cost in enumerate(lognormal_costs(80))])

    def again(settings: Settings = knobs) -> int:
        computed.clear()
        statistics(kept, settings)
        return len(computed)

    everything = again()
    assert everything > 0
    assert again() == 0
    assert again(knobs.model_copy(update={"seed": 5})) == everything
    column.method_version.cache_clear()
    monkeypatch.setattr(column, "METHOD", column.METHOD + 1)
    assert again(knobs.model_copy(update={"seed": 5})) == everything
    memo.forget_results(kept, "analysis")
    assert again(knobs.model_copy(update={"seed": 5})) == everything
    column.method_version.cache_clear()


def test_what_no_column_asks_for_any_more_is_not_kept(kept, knobs):
    insert(kept, "token_usage_sessions", [session(n, cost) for n, cost in enumerate(lognormal_costs(80))])
    statistics(kept, knobs)
    items = "SELECT item FROM scope.results ORDER BY item"
    before = kept.execute(items).fetchall()
    kept.execute("UPDATE marts.token_usage_sessions SET estimated_cost_usd = estimated_cost_usd + 1")
    statistics(kept, knobs)
    after = kept.execute(items).fetchall()
    assert len(after) == len(before) > 0
    assert len(set(after) & set(before)) == 2, "the tokens are as they were, and their clusters"


@pytest.mark.parametrize("threads", [2, 3])
def test_more_processes_give_the_same_rows(kept, knobs, tmp_path, monkeypatch, threads):
    chance = random.Random(1)
    insert(kept, "token_usage_sessions", sessions(chance, 0, 90))
    alone = anew(kept, knobs, tmp_path)
    monkeypatch.setattr(distributions, "WORTH_PROCESSES", 2)
    begun: list[int] = []
    pool = processes.pool
    monkeypatch.setattr(processes, "pool", lambda count: begun.append(count) or pool(count))
    assert statistics(kept, knobs.model_copy(update={"threads": threads})) == alone
    assert begun == [threads - 1]
    assert multiprocessing.active_children() == []


# ---------------------------------------------------------------- shared work


def squared(number: int) -> tuple[int, int]:
    return number**2, os.getpid()


def dies_elsewhere(number: int) -> int:
    """The square; dies in any process other than that of the test."""
    if multiprocessing.parent_process():
        os.kill(os.getpid(), signal.SIGKILL)
    return number**2


def shared(work: Callable[[int], Any], count: int, worth: int) -> dict[int, Any]:
    with Shared[int, int, Any](work, count, worth) as tasks:
        for number in range(20):
            tasks.add(number, number)
        return tasks.results()


def test_with_one_process_or_little_work_none_is_begun(monkeypatch):
    monkeypatch.setattr(processes, "pool", lambda _: pytest.fail("a process was begun"))
    for count, worth in ((1, 1), (3, 21)):
        assert {number: root for number, (root, _) in shared(squared, count, worth).items()} == {
            number: number**2 for number in range(20)
        }


def test_what_a_process_that_dies_leaves_is_done_by_this_one():
    assert shared(dies_elsewhere, 2, 4) == {number: number**2 for number in range(20)}


def test_a_task_that_fails_ends_the_work_and_its_processes():
    with pytest.raises(ZeroDivisionError):
        shared(reciprocal, 2, 4)
    assert multiprocessing.active_children() == []


def reciprocal(number: int) -> float:
    return 1 / number
