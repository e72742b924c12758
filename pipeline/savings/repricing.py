"""What-if: the history under another rate card, with other models, in batch, or with another cache policy.

Belongs here: the other card and the mappings, given to one query over the published marts. Does not belong here: any
pricing of its own; a cost is tokens x rate, joined in SQL (pipeline/savings/sql/repricing) as in the models of dbt.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from pipeline.reference import rates
from pipeline.settings import ConfigurationError
from pipeline.store.connection import rows_of
from pipeline.store.sqlfiles import literal, sql

# What each token of a kind becomes under a policy; other kinds stay what they are.
CACHE_POLICIES: Mapping[str, Mapping[str, str]] = {
    "none": {
        **dict.fromkeys(("cache_write_5m", "cache_write_1h", "cache_read"), "input_no_cache"),
        "cache_read_audio": "input_audio",
        "cache_read_image": "input_image",
    },
    "5m": {"cache_write_1h": "cache_write_5m"},
    "1h": {"cache_write_5m": "cache_write_1h"},
}
_ASSUMED_OF_CACHE = {
    "none": "Without a cache every cached token, written or read, is input at the input rate.",
    "5m": "One-hour cache writes are priced as five-minute writes; that entries which lived longer would have to be "
    "written again is not counted.",
    "1h": "Five-minute cache writes are priced as one-hour writes; that they would have been read more often is not "
    "counted.",
}


@dataclass(frozen=True)
class Repriced:
    """The history under other terms: what was assumed, its days, and one row a month, model and key (see reprice.sql).

    `query` gives the totals on the published database by itself; None where it would show rates that are not published.
    """

    assumptions: tuple[str, ...]
    rows: tuple[dict[str, Any], ...]
    first_day: dt.date | None
    last_day: dt.date | None
    query: str | None

    @property
    def days(self) -> int:
        """UTC days of the history, those without usage included; 0 where there is none."""
        return (self.last_day - self.first_day).days + 1 if self.first_day and self.last_day else 0

    def unpriced_models(self) -> dict[str, int]:
        """Tokens without a rate before or after, by the model that they would have gone to."""
        found: dict[str, int] = {}
        for row in self.rows:
            if row["unpriced_tokens"]:
                found[row["new_model"]] = found.get(row["new_model"], 0) + row["unpriced_tokens"]
        return found

    def total(self, column: str) -> Decimal:
        """The sum of a column of money."""
        return sum((row[column] for row in self.rows), Decimal(0))


def parse_map(pairs: Sequence[str], aliases: Mapping[str, str]) -> dict[str, str]:
    """`A=B` pairs, in any spelling of the models, as canonical id -> canonical id.

    Raises:
        ConfigurationError: a pair has no `=`, names a model twice, or leads to a model without any price.

    """
    found: dict[str, str] = {}
    for pair in pairs:
        old, separator, new = pair.partition("=")
        if not (separator and old.strip() and new.strip()):
            raise ConfigurationError(f"--map {pair!r}: write it as claude-opus-4-5=claude-sonnet-4-5")
        source = rates.canonical_model(old, aliases).model
        if source in found:
            raise ConfigurationError(f"--map names {source} twice; leave one of the two")
        found[source] = rates.canonical_model(new, aliases).model
    return found


def reprice(
    connection: duckdb.DuckDBPyConnection,
    overrides: Path | None,
    aliases: Mapping[str, str],
    model_map: Mapping[str, str] | None = None,
    cache: str | None = None,
    usage_type: str | None = None,
) -> Repriced:
    """The history of the database that `connection` has open, priced by the card of `overrides`.

    Args:
        connection: to the published database or the warehouse; only temporary views are made.
        overrides: the file of own rates that the other card takes; None for list prices alone.
        aliases: as for `rates.rate_card`.
        model_map: canonical id -> the canonical id that its usage would have gone to.
        cache: a name of CACHE_POLICIES, or None for the cache as it was used.
        usage_type: the tier that all standard usage would have had, such as batch; None for the tiers as they were.

    Raises:
        ConfigurationError: the overrides file has an error, or nothing has a price for a model that is mapped to.

    """
    model_map = model_map or {}
    used = [str(model) for (model,) in connection.execute("SELECT DISTINCT model FROM marts.charges").fetchall()]
    card = rates.rate_card([*used, *model_map.values()], overrides, aliases, rates.sold_in(connection))
    priced = set(card.column("model").to_pylist())
    if unknown := sorted(set(model_map.values()) - priced):
        raise ConfigurationError(f"--map: there is no price for {', '.join(unknown)}; give one in the file of --rates")
    if unused := sorted(set(model_map) - set(used)):
        raise ConfigurationError(f"--map: {', '.join(unused)} was never used; see token-analytics show models")
    # Under another model the rates are those of its maker.
    makers = {new: _maker(card, new) for new in model_map.values()}
    windows = [
        (old, window, new, rates.window_of(old, window, new), makers[new])
        for old, new in model_map.items()
        for (window,) in connection.execute(
            "SELECT DISTINCT context_window FROM marts.charges WHERE model = ?", [old]
        ).fetchall()
    ]
    tables = {
        "new_card": card,
        "model_map": _table(("model", "context_window", "new_model", "new_window", "new_provider"), windows),
        "kind_map": _table(("token_kind", "new_kind"), list(CACHE_POLICIES[cache].items()) if cache else []),
        "usage_type_map": _table(("usage_type", "new_usage_type"), [("standard", usage_type)] if usage_type else []),
    }
    for name, table in tables.items():
        connection.register(name, table)
    try:
        rows = tuple(rows_of(connection, _reprice()))
        in_use = connection.sql(sql("savings/repricing/card_in_use")).to_arrow_table()
        ((first_day, last_day),) = connection.execute(
            "SELECT min(usage_date), max(usage_date) FROM marts.charges WHERE billing_mode = 'metered'"
        ).fetchall()
    finally:
        for name in tables:
            connection.unregister(name)
    is_own = any(in_use.column("is_override").to_pylist())
    query = None if is_own else _query(tables | {"new_card": in_use.drop_columns(["is_override"])})
    return Repriced(tuple(_assumptions(overrides, model_map, cache, usage_type)), rows, first_day, last_day, query)


def _maker(card: pa.Table, model: str) -> str:
    """The provider by whose rates another model is priced: its maker, else the first that the card has for it."""
    sellers = {row["provider"] for row in card.select(["provider", "model"]).to_pylist() if row["model"] == model}
    maker = rates.canonical_model(model).provider
    return maker if maker in sellers else min(sellers)


def _query(tables: Mapping[str, pa.Table]) -> str:
    """The totals of reprice.sql, with its tables written out."""
    return sql(
        "savings/repricing/totals",
        tables=",\n\n".join(_written_out(name, table) for name, table in tables.items()),
        reprice=_reprice().rstrip(),
    )


def _reprice() -> str:
    return sql("savings/repricing/reprice", at_rate=sql("reference/at_rate", usage="mapped", card="new_card"))


def _written_out(name: str, table: pa.Table) -> str:
    """A table as a common table expression: one line a row, each value with its type."""
    kinds = {field.name: _SQL_TYPES[str(field.type)] for field in table.schema}
    lines = [
        ", ".join("NULL" if value is None else literal(str(value)) for value in row.values())
        for row in table.to_pylist()
    ]
    columns = ", ".join(f"{column}::{kind} AS {column}" for column, kind in kinds.items())
    if not lines:
        nothing = ", ".join(f"NULL::{kind} AS {column}" for column, kind in kinds.items())
        return f"{name} AS (SELECT {nothing} WHERE false)"
    values = ",\n    ".join(f"({line})" for line in lines)
    return f"{name} AS (\n    SELECT {columns} FROM (VALUES\n    {values}) AS given ({', '.join(kinds)})\n)"


_SQL_TYPES = {"string": "VARCHAR", "date32[day]": "DATE", "decimal128(18, 6)": "DECIMAL(18, 6)"}


def _assumptions(
    overrides: Path | None, model_map: Mapping[str, str], cache: str | None, usage_type: str | None
) -> list[str]:
    card = f"the list and {overrides.name}" if overrides else "the list alone"
    said = [
        f"The same calls and tokens, at the rates of {card} on the day of each call.",
        "Usage that a subscription covers is left out. Amounts are of what has a rate before and after.",
    ]
    if model_map:
        pairs = ", ".join(f"{old} -> {new}" for old, new in model_map.items())
        said.append(
            f"{pairs}: the other model would have taken and given as many tokens, though tokenizers and answers differ."
        )
    if usage_type:
        said.append(f"All standard usage could have waited: it is priced as {usage_type}.")
    if cache:
        said.append(_ASSUMED_OF_CACHE[cache])
    return said


def _table(names: Sequence[str], rows: Sequence[tuple[str | None, ...]]) -> pa.Table:
    columns = list(zip(*rows, strict=True)) or [()] * len(names)
    return pa.table({name: pa.array(list(column), pa.string()) for name, column in zip(names, columns, strict=True)})
