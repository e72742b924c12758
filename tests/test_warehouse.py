"""The files of a home: one writer at a time, undisturbed readers, publishing in one step, private file modes.

Belongs here: locks, publishing, and what a killed publish leaves. Does not belong here: runs that are killed
(test_crash), and what the tables hold.
"""

from __future__ import annotations

import contextlib
import grp
import os
import re
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from commands import CONSOLE_FILES, ENVIRONMENT, land, token_analytics

from pipeline import settings
from pipeline.settings import ConfigurationError, Settings
from pipeline.store import warehouse
from pipeline.store.sqlfiles import sql

# The number of DuckDB 1.2's storage format, in the eight bytes behind `DUCK`; 1.2 refuses a file with a greater one.
STORAGE_OF_1_2 = 65
CANARY = "canary-3f1c"


def made_home(folder: Path) -> Path:
    (folder / "home").mkdir(mode=0o700)
    return folder / "home"


@pytest.fixture
def found(tmp_path: Path) -> Iterator[Settings]:
    """Settings of a new home."""
    made = settings.load(made_home(tmp_path), lock_timeout_seconds=0.3)
    yield made
    warehouse.release_lock(made)


@contextlib.contextmanager
def python(code: str, *arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
    """A Python process that has printed its first line; it ends when its standard input is closed or it is killed."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    with subprocess.Popen(
        command, env=ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def write_state(connection: duckdb.DuckDBPyConnection, rows: int) -> None:
    """A mart and an analysis table of `rows` rows each, and a private table."""
    for schema in ("marts", "analysis", "raw"):
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
        connection.execute(f"CREATE OR REPLACE TABLE {schema}.state AS SELECT range AS i FROM range({rows})")
    connection.execute(f"CREATE OR REPLACE TABLE raw.private AS SELECT '{CANARY}' AS text")


def publish(found: Settings, rows: int) -> dict[str, int]:
    with warehouse.connect(found) as connection:
        write_state(connection, rows)
        return warehouse.publish(connection, found)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# -------------------------------------------------------------------------------------------------- publishing


def test_a_published_file_can_be_opened_by_duckdb_1_2(found: Settings) -> None:
    publish(found, 10)
    head = found.published.read_bytes()[:20]
    assert head[8:12] == b"DUCK"
    assert int.from_bytes(head[12:20], "little") == STORAGE_OF_1_2


def test_what_is_published_holds_the_public_schemas_only(found: Settings) -> None:
    rows = publish(found, 10)
    with warehouse.connect_published(found) as connection:
        schemas = connection.execute("SELECT schema_name FROM duckdb_schemas() WHERE NOT internal").fetchall()
    assert {name for (name,) in schemas} == {"ingest", "marts", "analysis"}
    assert (rows["marts.state"], rows["analysis.state"], "raw.state" in rows) == (10, 10, False)
    assert CANARY.encode() not in found.published.read_bytes()


def test_each_analysis_table_is_a_parquet_file_too(found: Settings) -> None:
    publish(found, 10)
    assert [path.name for path in found.outputs.iterdir()] == ["state.parquet"]
    counted = duckdb.connect().execute("SELECT count(*) FROM read_parquet(?)", [str(found.outputs / "state.parquet")])
    assert counted.fetchone() == (10,)


def test_what_a_killed_publish_left_does_not_hinder_the_next_one(found: Settings) -> None:
    warehouse.make_home(found)
    for suffix in ("", ".wal"):
        (found.home / f".token_analytics.duckdb.next{suffix}").write_bytes(os.urandom(5000))
    publish(found, 10)
    assert {path.name for path in found.home.iterdir() if ".next" in path.name} == set()


_STATE = "SELECT (SELECT count(*) FROM marts.state), (SELECT count(*) FROM analysis.state)"
# A client that keeps the file open and queries it repeatedly.
_HOLDER = """
import sys, threading, duckdb
connection = duckdb.connect(sys.argv[1], read_only=True)
ended = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
print("ready", flush=True)
seen = set()
while not ended.is_set():
    seen.add(connection.execute(sys.argv[2]).fetchone())
print(sorted(seen))
"""
# A client that opens the file anew each time.
_POLLER = """
import sys, threading, duckdb
ended = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
print("ready", flush=True)
seen = []
while not ended.is_set() or not seen:
    with duckdb.connect(sys.argv[1], read_only=True) as connection:
        state = connection.execute(sys.argv[2]).fetchone()
    if state not in seen:
        seen.append(state)
print(seen)
"""


def test_readers_of_another_process_neither_block_publishing_nor_see_half_of_it(found: Settings) -> None:
    publish(found, 1)
    with python(_HOLDER, found.published, _STATE) as holder, python(_POLLER, found.published, _STATE) as poller:
        for rows in (2000, 3, 40_000, 5):
            publish(found, rows)
            time.sleep(0.1)
        held, polled = (process.communicate(timeout=30)[0].strip() for process in (holder, poller))
    assert (holder.returncode, poller.returncode) == (0, 0)
    assert held == "[(1, 1)]"
    states = [tuple(map(int, pair)) for pair in re.findall(r"\((\d+), (\d+)\)", polled)]
    assert states[-1] == (5, 5)
    assert set(states) <= {(rows, rows) for rows in (1, 2000, 3, 40_000, 5)}
    assert len(states) > 1


_PUBLISHER = """
import itertools, sys
from pathlib import Path
from pipeline import settings
from pipeline.store import warehouse
from pipeline.store.sqlfiles import sql
found = settings.load(Path(sys.argv[1]))
with warehouse.connect(found) as connection:
    for rows in itertools.cycle((200_000, 400_000)):
        for schema in ("marts", "analysis"):
            connection.execute(f"CREATE OR REPLACE TABLE {schema}.state AS SELECT range AS i FROM range({rows})")
        warehouse.publish(connection, found)
        print("ready", flush=True)
"""


@pytest.mark.parametrize("milliseconds", [0, 15, 40, 90, 150])
def test_a_publish_that_is_killed_at_any_moment_leaves_a_complete_state(found: Settings, milliseconds: int) -> None:
    publish(found, 1)
    warehouse.release_lock(found)
    with python(_PUBLISHER, found.home) as publisher:
        time.sleep(milliseconds / 1000)
        publisher.kill()
        publisher.wait()
    with warehouse.connect_published(found) as connection:
        assert connection.execute(_STATE).fetchone() in {(200_000, 200_000), (400_000, 400_000)}
    publish(found, 5)
    with warehouse.connect_published(found) as connection:
        assert connection.execute(_STATE).fetchone() == (5, 5)


# ------------------------------------------------------------------------------------------------------- modes


@pytest.fixture
def open_umask() -> Iterator[None]:
    """A umask with which everybody may read new files."""
    former = os.umask(0o000)
    yield
    os.umask(former)


def test_a_home_is_private_whatever_the_umask(open_umask: None, found: Settings) -> None:
    publish(found, 10)
    modes = {path: mode(path) for path in (found.home, *found.home.rglob("*"))}
    assert {found.published, found.warehouse, found.outputs / "state.parquet"} <= modes.keys()
    assert [path for path in modes if modes[path] != (0o700 if path.is_dir() else 0o600)] == []


def test_a_group_may_read_what_is_published_and_nothing_else(open_umask: None, tmp_path: Path) -> None:
    group = grp.getgrgid(os.getgid())
    found = settings.load(made_home(tmp_path), published_group=group.gr_name)
    publish(found, 10)
    warehouse.release_lock(found)
    opened = {path: mode(path) for path in (found.home, *found.home.rglob("*")) if mode(path) & 0o077}
    assert opened == {
        found.home: 0o710,
        found.outputs: 0o750,
        found.outputs / "state.parquet": 0o640,
        found.published: 0o640,
    }
    assert {path.stat().st_gid for path in opened} == {group.gr_gid}


def test_an_unknown_group_is_named_before_anything_is_loaded(tmp_path: Path) -> None:
    found = settings.load(made_home(tmp_path), published_group="no-such-group")
    with pytest.raises(ConfigurationError, match="no group 'no-such-group'"):
        warehouse.acquire_lock(found)


# ------------------------------------------------------------------------------------------------------- locks

_LOCKER = """
import sys
from pathlib import Path
from pipeline import settings
from pipeline.store import warehouse
from pipeline.store.sqlfiles import sql
warehouse.acquire_lock(settings.load(Path(sys.argv[1])))
print("ready", flush=True)
sys.stdin.read()
"""
_SHELL = """
import sys, duckdb
connection = duckdb.connect(sys.argv[1])
print("ready", flush=True)
sys.stdin.read()
"""


def test_a_second_run_waits_says_for_whom_and_goes_on(found: Settings) -> None:
    patient = found.model_copy(update={"lock_timeout_seconds": 30})
    notices: list[str] = []
    with python(_LOCKER, found.home) as holder:

        def on_wait(text: str) -> None:
            notices.append(text)
            assert holder.stdin
            holder.stdin.close()

        warehouse.acquire_lock(patient, on_wait)
        (text,) = notices
        assert f"process {holder.pid} on {socket.gethostname()}, since 20" in text
        assert str(found.home) in text


def test_a_run_that_waited_long_enough_ends_with_2_and_names_the_holder(
    found: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN_ANALYTICS_LOCK_TIMEOUT_SECONDS", "0.3")
    land(found.home, *CONSOLE_FILES)
    with python(_LOCKER, found.home) as holder:
        done = token_analytics("run", "--home", found.home)
    waiting, ended = done.err.splitlines()
    assert (done.code, done.out) == (2, "")
    assert waiting.startswith("waiting for another run")
    assert f"process {holder.pid} on {socket.gethostname()}" in ended
    assert "did not end within 0.3 s" in ended


def test_the_lock_of_a_killed_process_holds_nobody_up(found: Settings) -> None:
    with python(_LOCKER, found.home) as holder:
        with pytest.raises(ConfigurationError):
            warehouse.acquire_lock(found)
        holder.kill()
        holder.wait()
        warehouse.acquire_lock(found, on_wait=pytest.fail)


def test_a_shell_on_the_private_file_is_named_in_one_line(found: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN_ANALYTICS_LOCK_TIMEOUT_SECONDS", "0.3")
    publish(found, 1)
    warehouse.release_lock(found)
    land(found.home, *CONSOLE_FILES)
    with python(_SHELL, found.warehouse) as shell:
        done = token_analytics("run", "--home", found.home)
    waiting, ended = done.err.splitlines()
    assert (done.code, done.out) == (2, "")
    assert waiting.startswith("Waiting (")
    assert ended.startswith(f"token-analytics: cannot open {found.warehouse}: ")
    assert f"PID {shell.pid}" in ended


# ------------------------------------------------------------------------------------------------ a damaged file


def test_a_damaged_private_file_is_one_sentence_that_says_what_to_do(found: Settings) -> None:
    with warehouse.connect(found) as connection:
        connection.execute("CREATE TABLE raw.rows AS SELECT range AS i, range::varchar AS text FROM range(200_000)")
    whole = found.warehouse.read_bytes()
    damaged = {
        "cut off": whole[: len(whole) // 2],
        "overwritten": whole[:12_288] + b"\xff" * (len(whole) - 12_288),
        "no database": b"text",
        "empty": b"",
    }
    for content in damaged.values():
        found.warehouse.write_bytes(content)
        with pytest.raises(ConfigurationError, match=r"is damaged .+ or delete it and run again"):
            read_rows(found)


def read_rows(found: Settings) -> None:
    with warehouse.connect(found) as connection:
        connection.execute("SELECT count(text), sum(i) FROM raw.rows").fetchall()


# ---------- homes of earlier versions


def test_a_home_of_an_earlier_version_gains_all_columns_and_tables(found: Settings) -> None:
    columns = """
        SELECT table_schema, table_name, column_name, data_type FROM information_schema.columns
        WHERE table_schema IN ('ingest', 'raw', 'scope') ORDER BY ALL
    """
    with warehouse.connect(found) as connection:
        wanted = connection.execute(columns).fetchall()
        connection.execute("INSERT INTO raw.retention VALUES (DATE '2026-01-01')")
        added = re.findall(r"alter table (\S+) add column if not exists (\w+)", sql("ingest/schema"))
        assert {"span", "held_in", "lane"} <= {column for _, column in added}
        for table, column in added:
            connection.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
        connection.execute("DROP TABLE raw.span_links")
    # An earlier version was another process.
    warehouse.release_lock(found)
    with warehouse.connect(found) as connection:
        assert connection.execute(columns).fetchall() == wanted
        assert connection.execute("SELECT count(*) FROM raw.retention").fetchall() == [(1,)]


@pytest.mark.parametrize(
    ("container", "gigabytes", "limit"),
    [("max", 8, "2000MB"), ("max", 64, "4000MB"), (None, 2, "1000MB"), ("6000000000", 64, "1500MB")],
)
def test_a_run_takes_a_quarter_of_the_machine_or_container_from_1_to_4_gb(
    tmp_path, monkeypatch, container, gigabytes, limit
):
    file = tmp_path / "memory.max"
    if container:
        file.write_text(f"{container}\n")
    monkeypatch.setattr(settings, "CONTAINER_MEMORY", file)
    monkeypatch.setattr(os, "sysconf", {"SC_PAGE_SIZE": 4000, "SC_PHYS_PAGES": gigabytes * 250_000}.__getitem__)
    assert Settings(home=tmp_path).memory_limit == limit
