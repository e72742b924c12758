"""What all HTML files share: the template engine, values with all their digits, and atomic writing.

Belongs here: these. Does not belong here: the content of a page (validation, statement, site), and its layout
(templates).
"""

from __future__ import annotations

import math
import os
import tempfile
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipeline.words import printable

# Path at which `token-analytics ui` serves the folder of reports.
ADDRESS = "/reports"


def display(value: Any) -> str:
    """A value as text: thousands separators, exact decimals, times in UTC; `null` and `(empty)` differ.

    Money (Decimal) keeps all its decimals and shows at least 6; a float is a ratio and shows 6 significant decimals.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "null"
    if value == "" and isinstance(value, str):
        return "(empty)"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, Decimal):
        whole, _, decimals = f"{value:,f}".partition(".")
        return f"{whole}.{decimals.rstrip('0').ljust(6, '0')}"
    if isinstance(value, float):
        if math.isinf(value) or (value != 0 and abs(value) < 1e-4):
            return f"{value:.6g}"
        return f"{value:,.6f}".rstrip("0").rstrip(".")
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="minutes" if value.second == 0 else "seconds")
    if isinstance(value, date):
        return value.isoformat()
    return printable(str(value))


@cache
def environment() -> Environment:
    """The template engine: every value is escaped, and an unknown name is an error."""
    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,  # an upgrade below a running server must not mix its templates with the old code
    )
    made.filters["display"] = display
    made.tests["numeric"] = lambda value: isinstance(value, int | float | Decimal) and not isinstance(value, bool)
    return made


def render(name: str, now: datetime, **values: Any) -> str:
    """The page of `templates/<name>.html.j2`; every value in it is escaped. `now` without a zone is UTC."""
    utc = now.replace(tzinfo=UTC) if now.tzinfo is None else now.astimezone(UTC)
    written_at = utc.strftime("%Y-%m-%d %H:%M:%S UTC")
    return environment().get_template(f"{name}.html.j2").render(written_at=written_at, **values)


def private_folder(folder: Path) -> Path:
    """Create `folder` and its parents with mode 0700 if they are new, and return it."""
    if not folder.is_dir():
        private_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def write_atomically(target: Path, content: str | bytes) -> None:
    """Write a file of mode 0600 so that readers see the old one or the new one, never a part."""
    handle, name = tempfile.mkstemp(prefix=f".{target.name}-", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
