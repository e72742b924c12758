"""A published database that a test fills by hand: every table of the data dictionary, with the rows that matter.

Does not belong here: how the tables are made (test_models, test_analysis), and marts in memory (marts).
"""

from __future__ import annotations

import datetime as dt
import re
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import duckdb

from pipeline.store.published import Snapshot

DICTIONARY = Path(__file__).parent.parent / "docs" / "data-dictionary.md"


@cache
def empty() -> bytes:
    """A database with all published tables, as the data dictionary describes them."""
    statements = ["CREATE SCHEMA ingest; CREATE SCHEMA marts; CREATE SCHEMA analysis;"]
    for part in DICTIONARY.read_text(encoding="utf-8").split("\n## ")[1:]:
        columns = re.findall(r"^\| `(\w+)` \| ([^|]+) \|", part, re.MULTILINE)
        described = ", ".join(f'"{name}" {kind.strip()}' for name, kind in columns)
        statements.append(f"CREATE TABLE {part.split()[0]} ({described});")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "empty.duckdb"
        with duckdb.connect(str(path)) as connection:
            connection.execute("\n".join(statements))
        return path.read_bytes()


def shown_text(html: str) -> str:
    """What a page shows, escaped: without tags, data of figures, and SQL to copy."""
    return re.sub(r"<pre.*?</pre>|<script.*?</script>|<[^>]*>", "", html, flags=re.DOTALL)


def snapshot(folder: Path, tables: Mapping[str, Sequence[Mapping[str, Any]]]) -> Snapshot:
    """A published database with these rows; columns that a row does not name are null."""
    path = folder / "token_analytics.duckdb"
    path.write_bytes(empty())
    with duckdb.connect(str(path)) as connection:
        for table, rows in tables.items():
            for row in rows:
                names, marks = ", ".join(f'"{name}"' for name in row), ", ".join("?" for _ in row)
                connection.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", list(row.values()))
    return Snapshot(path, "test", dt.datetime(2026, 3, 1, tzinfo=dt.UTC))
