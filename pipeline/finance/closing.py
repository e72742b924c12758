"""Closing a month: booked amounts never change, and later differences are restated.

Belongs here: storing a month, and analysis.restatements, the ledger of later changes. Does not belong here: the cost
of a month (dbt_project), and who pays for it (marts.chargeback).

Usage, rates and bills follow the data even in a closed month: late logs count, new prices apply. marts.chargeback of
the month and marts.booked_costs stay as `close` stored them. Each run compares both and adds a row for each cell that
differs from its last stated value: booked + restatements = current data.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import duckdb
import pyarrow as pa

from pipeline.ingest import formats
from pipeline.settings import ConfigurationError, Settings
from pipeline.store.connection import rows_of, transaction
from pipeline.store.sqlfiles import literal, sql

_MONEY = pa.decimal128(38, 12)


def _field(name: str, kind: pa.DataType, description: str) -> pa.Field:
    return pa.field(name, kind, metadata={"description": description})


RESTATEMENTS = pa.schema(
    [
        _field("month", pa.date32(), "First day of the closed month."),
        _field("side", pa.string(), "billed, console or sessions (cost at the rate card), or chargeback (of a team)."),
        _field("provider", pa.string(), "Provider; '' in rows of chargeback."),
        _field("model", pa.string(), "Model; '' in rows of chargeback."),
        _field("api_key", pa.string(), "API key; '' where it is not stated, and in rows of chargeback."),
        _field("workspace", pa.string(), "Workspace; '' where it is not stated, and in rows of chargeback."),
        _field("token_kind", pa.string(), "Kind of token; '' in rows of chargeback."),
        _field("team", pa.string(), "Team; '' in rows other than chargeback, and for unallocated costs."),
        _field("cost_centre", pa.string(), "Cost centre of the team."),
        _field("product", pa.string(), "Product of the team."),
        _field("environment", pa.string(), "Environment of the team."),
        _field("old_tokens", pa.int64(), "Tokens as booked, or as restated before; null for bill and chargeback."),
        _field("new_tokens", pa.int64(), "Tokens as of this row; null for bill and chargeback."),
        _field("old_usd", _MONEY, "Amount as booked, or as restated before, in USD; without unpriced tokens."),
        _field("new_usd", _MONEY, "Amount as of this row, in USD."),
        _field("difference_usd", _MONEY, "new_usd - old_usd; booked amount + sum of differences = current data."),
        _field(
            "cause",
            pa.string(),
            "late usage, usage withdrawn (a file was forgotten or replaced), new price, price added (it had none), "
            "price withdrawn, other tier, another bill, another allocation, or two of them.",
        ),
        _field("noticed_at", pa.timestamp("us"), "Time of the run that found it, UTC."),
    ],
    metadata={
        "description": "Changes in closed months since they were booked: one row each time that a cell of a "
        "month differs from its last stated value. Booked amounts are never rewritten."
    },
)
SCHEMAS = {"restatements": RESTATEMENTS}


def parse_month(text: str) -> date:
    """The first day of a month written as 2026-01.

    Raises:
        ConfigurationError: `text` is no month.

    """
    try:
        return datetime.strptime(text, "%Y-%m").replace(tzinfo=UTC).date()
    except ValueError:
        raise ConfigurationError(f"{text!r} is no month: write it as 2026-01") from None


def close_month(connection: duckdb.DuckDBPyConnection, month: date, now: datetime) -> dict[str, Any]:
    """Book `month` as the marts have it; the next build shows it as closed.

    Returns:
        Figures of the closed month: days, days_used, days_billed, unpriced_tokens, billed_usd.

    Raises:
        ConfigurationError: the month is not over, is closed already, or holds nothing; or the marts are not up to date.

    """
    name = f"{month:%Y-%m}"
    if month > now.date() or now.date() < _month_after(month):
        raise ConfigurationError(f"close: {name} is not over yet; close it after its last bill has been landed")
    built = connection.execute(
        "SELECT 1 FROM duckdb_tables() WHERE schema_name = 'marts' AND table_name = 'chargeback'"
    ).fetchall()
    if not built or connection.execute("SELECT 1 FROM scope.pending_files LIMIT 1").fetchall():
        raise ConfigurationError("close: the marts are not up to date; run `token-analytics run` first")
    if connection.execute("SELECT 1 FROM raw.closed_months WHERE month = ?", [month]).fetchall():
        raise ConfigurationError(f"close: {name} is closed already; later differences are in analysis.restatements")
    billed = ", ".join(literal(name) for name, (_, side) in formats.ACCOUNT_FORMATS.items() if side == "billed")
    (figures,) = rows_of(connection, sql("finance/closing/readiness", billed_formats=billed), [month])
    if not figures["days_used"] and not figures["days_billed"]:
        raise ConfigurationError(f"close: there is no usage and no bill of {name}")
    _read_current(connection, [month])
    with transaction(connection):
        connection.execute("INSERT INTO raw.closed_months VALUES (?, ?)", [month, _naive(now)])
        for statement in sql("finance/closing/book").split(";"):
            if statement.strip():
                connection.execute(statement, [month])
        # The next build then replaces the tables that show which months are closed.
        connection.execute("INSERT OR IGNORE INTO scope.days VALUES (?)", [month])
    return figures


def restate(connection: duckdb.DuckDBPyConnection, now: datetime) -> pa.Table:
    """Add the changes in closed months since the last run, and return the whole ledger; see RESTATEMENTS."""
    months = [month for (month,) in connection.execute("SELECT month FROM raw.closed_months").fetchall()]
    if months:
        _read_current(connection, months)
        connection.execute(sql("finance/closing/restate"), [_naive(now)])
    ledger: pa.Table = connection.sql(sql("finance/closing/restatements")).to_arrow_table()
    return ledger.cast(RESTATEMENTS)


def state(connection: duckdb.DuckDBPyConnection) -> tuple[int, int]:
    """Number of closed months and restatements, for the memo of publishing."""
    query = "SELECT (SELECT count(*) FROM raw.closed_months), (SELECT count(*) FROM raw.restatements)"
    ((months, restatements),) = connection.execute(query).fetchall()
    return int(months), int(restatements)


def table(connection: duckdb.DuckDBPyConnection, _settings: Settings) -> pa.Table:
    """analysis.restatements, brought up to date."""
    return restate(connection, datetime.now(UTC))


def _read_current(connection: duckdb.DuckDBPyConnection, months: list[date]) -> None:
    at_rate = sql("reference/at_rate", usage="charges", card="card")
    connection.execute(sql("finance/closing/current_costs", at_rate=at_rate), [months])


def _month_after(month: date) -> date:
    return date(month.year + month.month // 12, month.month % 12 + 1, 1)


def _naive(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(tzinfo=None)
