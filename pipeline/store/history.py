"""Dagster's history of runs, which lies in SQLite: how its files are opened while a run writes it.

Does not belong here: where the history lies, and what it says of runs that were killed (cli).
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# A larger file is not read from beginning to end to know whether it is sound.
_CHECKED_BYTES = 1 << 26


@contextlib.contextmanager
def kept_open() -> Iterator[None]:
    """Within, what this process writes to the history costs neither a new engine nor a wait for the disk.

    For each of the 500 events of a run Dagster makes engines of SQLAlchemy, which word their statements anew, and opens
    and closes a file, whose log SQLite then copies into it: a fifth of the processor's time of a small run, and some
    thousand waits for the disk. Kept open, and in WAL mode, a power cut costs the last events at most, never the file.
    """
    import sqlalchemy
    from dagster._core.storage.event_log.sqlite import sqlite_event_log
    from dagster._core.storage.runs.sqlite import sqlite_run_storage
    from dagster._core.storage.schedules.sqlite import sqlite_schedule_storage

    engines: dict[str, sqlalchemy.Engine] = {}
    with contextlib.ExitStack() as at_end:

        def engine_of(address: str, **options: Any) -> sqlalchemy.Engine:
            if address not in engines:
                engines[address] = sqlalchemy.create_engine(address, **options)
                sqlalchemy.event.listen(engines[address], "connect", _keep_open(engines[address].url, at_end))
            return engines[address]

        for module in (sqlite_event_log, sqlite_run_storage, sqlite_schedule_storage):
            names = vars(module)
            at_end.callback(names.update, create_engine=names["create_engine"])
            names.update(create_engine=engine_of)
        yield


def renew_damaged(folder: Path) -> list[str]:
    """Set aside what of the history in `folder` SQLite cannot read any more; returns what that is.

    It tells of earlier runs and nothing rests on it, so that Dagster may begin it anew.
    """
    parts = {"history": ("runs.db", "runs/index.db"), "schedules": ("schedules.db",)}
    damaged = [part for part, names in parts.items() if any(_is_damaged(folder / part / name) for name in names)]
    for part in damaged:
        aside = folder / f"{part}.damaged"
        shutil.rmtree(aside, ignore_errors=True)
        (folder / part).rename(aside)
    return damaged


def _is_damaged(file: Path) -> bool:
    if not file.exists():
        return False
    if not file.is_file():
        return True
    try:
        with contextlib.closing(sqlite3.connect(file)) as connection:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchall()
            return file.stat().st_size < _CHECKED_BYTES and connection.execute("PRAGMA quick_check(1)").fetchall() != [
                ("ok",)
            ]
    except sqlite3.OperationalError:
        # Somebody else is at it, or it may not be read.
        return False
    except sqlite3.DatabaseError:
        return True


def _keep_open(url: Any, at_end: contextlib.ExitStack) -> Any:
    """What to do with each new connection to the file of `url`: from the first one on it is held open until the end."""
    held: list[sqlite3.Connection] = []

    def on_connect(connection: sqlite3.Connection, _: Any) -> None:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        if not held:
            held.append(sqlite3.connect(str(url.database), check_same_thread=False))
            at_end.callback(held[0].close)
        # The last connection that has read a file copies its log into it when it closes: that shall be this one.
        held[0].execute("SELECT count(*) FROM sqlite_master").fetchall()

    return on_connect
