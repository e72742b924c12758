"""Reads the files of finance: allocation.csv (which team pays for what) and invoices.csv.

Belongs here: reading both files of a home. Does not belong here: the split of the bill (dbt_project, chargeback and
invoices), and closing a month (closing).
"""

from __future__ import annotations

import re
from calendar import monthrange
from datetime import date
from decimal import Decimal
from pathlib import Path

import pyarrow as pa

from pipeline.reference import usercsv

# Costs of this team are split over all teams by the setting shared_cost_rule.
SHARED = "shared"

_MONEY = pa.decimal128(38, 12)
_SELECTING = ("api_key", "workspace", "user_id", "project")
_TARGET = ("team", "cost_centre", "product", "environment")
ALLOCATION_SCHEMA = pa.schema(
    [
        ("line", pa.int64()),
        *((name, pa.string()) for name in _SELECTING),
        ("valid_from", pa.date32()),
        *((name, pa.string()) for name in _TARGET),
        ("budget_usd_per_month", _MONEY),
    ]
)
INVOICE_SCHEMA = pa.schema(
    [
        ("line", pa.int64()),
        ("period_start", pa.date32()),
        ("period_end", pa.date32()),
        ("amount", _MONEY),
        ("credits", _MONEY),
        ("tax", _MONEY),
        ("currency", pa.string()),
    ]
)
_ALWAYS = date(1970, 1, 1)


def allocation(path: Path | None) -> pa.Table:
    """The lines of allocation.csv (ALLOCATION_SCHEMA); empty without a file. An empty selecting cell matches all.

    Raises:
        ConfigurationError: a cell cannot be used; the message names file, line, column and remedy.

    """
    if path is None:
        return _table([], ALLOCATION_SCHEMA)
    rows: list[tuple[object, ...]] = []
    optional = (*_SELECTING, "valid_from", *_TARGET[1:], "budget_usd_per_month", "note")
    for line, cells in usercsv.lines(path, ("team",), optional, "allocations"):
        if not cells["team"]:
            usercsv.fail(path, line, "team", "the cell is empty", f"name the team, or {SHARED!r} for all of them")
        team = SHARED if cells["team"].lower() == SHARED else cells["team"]
        budget = usercsv.number(path, line, "budget_usd_per_month", cells.get("budget_usd_per_month", ""))
        valid_from = usercsv.day(path, line, "valid_from", cells.get("valid_from", "")) or _ALWAYS
        selected = (cells.get(name) or None for name in _SELECTING)
        rows.append((line, *selected, valid_from, team, *(cells.get(name, "") for name in _TARGET[1:]), budget))
    return _table(rows, ALLOCATION_SCHEMA)


def invoices(path: Path | None) -> pa.Table:
    """The lines of invoices.csv (INVOICE_SCHEMA); empty without a file.

    A period is a month (2026-01) or its first and last day (2026-01-01/2026-01-31); both days belong to it. `amount`
    is the charge before credits and tax; credits are deductions, as numbers of at least zero.

    Raises:
        ConfigurationError: a cell cannot be used; the message names file, line, column and remedy.

    """
    if path is None:
        return _table([], INVOICE_SCHEMA)
    rows: list[tuple[object, ...]] = []
    optional = ("credits", "tax", "currency", "note")
    for line, cells in usercsv.lines(path, ("period", "amount"), optional, "invoices"):
        amounts = [usercsv.number(path, line, name, cells.get(name, "")) for name in ("amount", "credits", "tax")]
        if amounts[0] is None:
            usercsv.fail(path, line, "amount", "the cell is empty", "give what was charged, before credits and tax")
        currency = (cells.get("currency") or "USD").upper()
        if not re.fullmatch(r"[A-Z]{3}", currency):
            usercsv.fail(path, line, "currency", f"{currency!r} is no currency", "give its three letters, such as USD")
        first, last = _period(path, line, cells["period"])
        rows.append((line, first, last, amounts[0], amounts[1] or Decimal(0), amounts[2] or Decimal(0), currency))
    return _table(rows, INVOICE_SCHEMA)


def _period(path: Path, line: int, cell: str) -> tuple[date, date]:
    remedy = "write a month as 2026-01, or its days as 2026-01-01/2026-01-31"
    if re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])", cell, re.ASCII) and cell >= "0001":
        first = date.fromisoformat(f"{cell}-01")
        return first, first.replace(day=monthrange(first.year, first.month)[1])
    days = [usercsv.day(path, line, "period", each.strip()) for each in cell.split("/")] if "/" in cell else []
    if len(days) != 2 or days[0] is None or days[1] is None or days[1] < days[0]:
        usercsv.fail(path, line, "period", f"{cell[:40]!r} is no period", remedy)
    return days[0], days[1]


def _table(rows: list[tuple[object, ...]], schema: pa.Schema) -> pa.Table:
    columns = list(zip(*rows, strict=True)) or [()] * len(schema)
    arrays = [pa.array(list(column), field.type) for column, field in zip(columns, schema, strict=True)]
    return pa.table(arrays, schema=schema)
