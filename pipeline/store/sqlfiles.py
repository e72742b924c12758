"""Reads the SQL files of the stages: `<stage>/<name>` is pipeline/<stage>/sql/<name>.sql.

Belongs here: finding a file and filling its ${placeholders}. Does not belong here: SQL text, and running it.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from string import Template

_STAGES = Path(__file__).parent.parent


def read(name: str) -> str:
    """Text of the SQL file `name`, placeholders not filled in."""
    stage, _, inside = name.partition("/")
    return (_STAGES / stage / "sql" / f"{inside}.sql").read_text(encoding="utf-8")


def names(pattern: str) -> list[str]:
    """Names of the SQL files that a pattern such as `finance/closing/*` matches.

    Raises:
        FileNotFoundError: there is none.

    """
    stage, _, inside = pattern.partition("/")
    folder = _STAGES / stage / "sql"
    matches = sorted(
        f"{stage}/{file.relative_to(folder).with_suffix('').as_posix()}" for file in folder.glob(f"{inside}.sql")
    )
    if not matches:
        raise FileNotFoundError(f"no SQL file is called {pattern}")
    return matches


@cache
def _template(name: str) -> Template:
    return Template(read(name))


def sql(name: str, **parts: str) -> str:
    """Text of the SQL file `name` with each `${part}` replaced.

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
