"""Dagster's run history in SQLite: a damaged one is moved away, so that Dagster starts a new one.

Does not belong here: the path of the history, and killed runs in it (cli).
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from pathlib import Path

# Larger files are not read completely for this check.
_CHECKED_BYTES = 1 << 26


def renew_damaged(folder: Path) -> list[str]:
    """Move away the parts of the history in `folder` that SQLite cannot read, and return their names.

    It only describes earlier runs and no result depends on it, so Dagster may start a new one.
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
        # Another process uses it, or it may not be read.
        return False
    except sqlite3.DatabaseError:
        return True
