"""Reading the SQL files below pipeline/sql.

Belongs here: finding a file and filling its ${placeholders}. Does not belong here: SQL text, and running it.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from string import Template

ROOT = Path(__file__).parent / "sql"


@cache
def _template(name: str) -> Template:
    return Template((ROOT / f"{name}.sql").read_text(encoding="utf-8"))


def sql(name: str, **parts: str) -> str:
    """Text of `pipeline/sql/<name>.sql` with each `${part}` replaced.

    Raises:
        KeyError: the file has a placeholder that `parts` does not name.

    """
    return _template(name).substitute(parts)


def literal(value: str) -> str:
    """`value` as an SQL string literal."""
    return "'" + value.replace("'", "''") + "'"


def identifier(name: str) -> str:
    """`name` as a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'
