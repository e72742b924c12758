"""Dagster's history of runs, which lies in SQLite: a damaged one is set aside, so that Dagster begins anew.

Does not belong here: where the history lies, and what it says of runs that were killed (cli).
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from pathlib import Path

# A larger file is not read from beginning to end to know whether it is sound.
_CHECKED_BYTES = 1 << 26


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
