"""CSV files that a user writes by hand: own rates, allocation of costs, invoices.

Belongs here: reading their cells, and errors that name file, line, column and remedy. Does not belong here: what the
columns mean (rates, allocation), and files of landing (sources).
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import NoReturn

from pipeline.settings import ConfigurationError

_QUANTUM = Decimal("0.000001")


def fail(path: Path, line: int, column: str, problem: str, remedy: str) -> NoReturn:
    """Raise an error in one sentence: the problem of a cell, its position, and the remedy."""
    raise ConfigurationError(f"{path}, line {line}, column {column}: {problem}; {remedy}.")


def lines(
    path: Path, required: Sequence[str], optional: Sequence[str], what: str
) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and stripped cells by column of each non-blank line; `what` names the content in errors.

    Raises:
        ConfigurationError: unreadable or not CSV, or a missing, repeated or unknown column in the header.

    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield from _cells(path, file, required, optional)
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}; give the path of a readable CSV of {what}.") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path} is not UTF-8; save it as UTF-8.") from None


def _cells(
    path: Path, file: Iterable[str], required: Sequence[str], optional: Sequence[str]
) -> Iterator[tuple[int, dict[str, str]]]:
    reader = csv.reader(file, strict=True)
    line = 1
    try:
        header = [name.strip().lower() for name in next(reader, [])]
        _check_header(path, header, required, optional)
        line = reader.line_num + 1
        for values in reader:
            if values:
                if len(values) != len(header):
                    problem = f"the line has {len(values)} cells and the header {len(header)}"
                    fail(path, line, header[min(len(values), len(header) - 1)], problem, "add or remove commas")
                yield line, {name: value.strip() for name, value in zip(header, values, strict=True)}
            line = reader.line_num + 1
    except csv.Error as error:
        fail(path, line, "?", f"the line is not valid CSV ({error})", "check its quotes")


def _check_header(path: Path, header: Sequence[str], required: Sequence[str], optional: Sequence[str]) -> None:
    for name in required:
        if name not in header:
            fail(path, 1, name, "the column is missing", f"the header needs {', '.join(required)}")
    for name in header:
        if name not in (*required, *optional):
            fail(path, 1, name or "(empty)", "the column is unknown", f"remove it, or use one of {', '.join(optional)}")
        if header.count(name) > 1:
            fail(path, 1, name, "the column stands twice", "remove one of them")


def number(path: Path, line: int, column: str, cell: str) -> Decimal | None:
    """A number of zero or more, less than a billion, with at most six decimals; None if the cell is empty."""
    if not cell:
        return None
    if re.fullmatch(r"-\d*\.?\d+", cell):
        fail(path, line, column, f"{cell!r} is negative", "give zero or more")
    if not re.fullmatch(r"\d+(\.\d+)?", cell, re.ASCII):
        fail(path, line, column, f"{cell[:40]!r} is not a number", "write it like 2.55, without signs or separators")
    value = Decimal(cell)
    if value >= 10**9 or value != value.quantize(_QUANTUM):
        fail(path, line, column, f"{cell[:40]!r} does not fit", "give less than a billion and at most six decimals")
    return value


def day(path: Path, line: int, column: str, cell: str) -> date | None:
    """A date; None if the cell is empty."""
    if not cell:
        return None
    try:
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", cell, re.ASCII):
            return date.fromisoformat(cell)
    except ValueError:
        pass
    fail(path, line, column, f"{cell[:40]!r} is not a date", "write it as YYYY-MM-DD")
