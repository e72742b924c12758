"""The FOCUS export: outputs/focus_1_2.parquet and outputs/focus_1_2.csv.

Belongs here: writing marts.focus_1_2 as files in the formats of the specification. Does not belong here: its columns
(dbt_project, focus_1_2). FinOps Open Cost and Usage Specification 1.2: https://focus.finops.org
"""

from __future__ import annotations

from pathlib import Path

import duckdb

from pipeline.settings import Settings
from pipeline.store import warehouse
from pipeline.store.sqlfiles import identifier, literal

NAME = "focus_1_2"
# First characters of a formula in spreadsheets.
_FORMULA = r"^[=+\-@\t\r]"


def paths(settings: Settings) -> tuple[Path, Path]:
    """The two files of the export, Parquet and CSV."""
    return settings.outputs / f"{NAME}.parquet", settings.outputs / f"{NAME}.csv"


def write(connection: duckdb.DuckDBPyConnection, settings: Settings) -> None:
    """Write both files from the warehouse, each in one atomic step.

    Times in the CSV are ISO 8601 with `Z`; a text that starts like a formula is prefixed with an apostrophe.
    """
    settings.outputs.mkdir(mode=0o700, parents=True, exist_ok=True)
    parquet, text = paths(settings)
    columns = connection.execute(f"DESCRIBE marts.{NAME}").fetchall()
    cells = ", ".join(_cell(str(name), str(kind)) for name, kind, *_ in columns)
    _copy(connection, f"FROM marts.{NAME}", parquet, "FORMAT parquet, COMPRESSION zstd", settings)
    _copy(connection, f"SELECT {cells} FROM marts.{NAME}", text, "FORMAT csv, HEADER", settings)


def _cell(name: str, kind: str) -> str:
    column = identifier(name)
    if kind == "TIMESTAMP":
        return f"strftime({column}, '%Y-%m-%dT%H:%M:%SZ') AS {column}"
    if kind == "VARCHAR":
        return f"if(regexp_matches({column}, {literal(_FORMULA)}), '''' || {column}, {column}) AS {column}"
    return column


def _copy(connection: duckdb.DuckDBPyConnection, query: str, target: Path, options: str, settings: Settings) -> None:
    following = target.with_name(f".{target.name}.next")
    try:
        connection.execute(f"COPY ({query}) TO {literal(str(following))} ({options})")
        warehouse.replace(following, target, settings)
    except BaseException:
        following.unlink(missing_ok=True)
        raise
