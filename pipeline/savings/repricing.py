"""What-if: the history with another rate card, other models, batch prices, or another cache policy.

Belongs here: the other card and the mappings, as inputs of one query over the published marts. Does not belong here:
pricing; a cost is tokens x rate, joined in SQL (pipeline/savings/sql/repricing) as in the dbt models.
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

# Token kinds that a policy converts; other kinds are unchanged.
CACHE_POLICIES: Mapping[str, Mapping[str, str]] = {
    "none": {
        **dict.fromkeys(("cache_write_5m", "cache_write_1h", "cache_read"), "input_no_cache"),
        "cache_read_audio": "input_audio",
        "cache_read_image": "input_image",
    },
    "5m": {"cache_write_1h": "cache_write_5m"},
    "1h": {"cache_write_5m": "cache_write_1h"},
}
_CACHE_ASSUMPTIONS = {
    "none": "Without a cache, tokens that were written or read are priced as input.",
    "5m": "One-hour cache writes are priced as five-minute writes; writing entries again that would expire earlier is "
    "not counted.",
    "1h": "Five-minute cache writes are priced as one-hour writes; additional reads of them are not counted.",
}


@dataclass(frozen=True)
class Repriced:
    """The history under other terms: assumptions, days, and one row per month, model and key (see reprice.sql).

    `query` reproduces the totals on the published database; None if it would show unpublished rates.
    """

    assumptions: tuple[str, ...]
    rows: tuple[dict[str, Any], ...]
    first_day: dt.date | None
    last_day: dt.date | None
    query: str | None

    @property
    def days(self) -> int:
        """Number of UTC days, including days without usage; 0 without a history."""
        return (self.last_day - self.first_day).days + 1 if self.first_day and self.last_day else 0

    def unpriced_models(self) -> dict[str, int]:
        """Tokens without a rate before or after, by their new model."""
        tokens: dict[str, int] = {}
        for row in self.rows:
            if row["unpriced_tokens"]:
                tokens[row["new_model"]] = tokens.get(row["new_model"], 0) + row["unpriced_tokens"]
        return tokens

    def total(self, column: str) -> Decimal:
        """The sum of a column of money."""
        return sum((row[column] for row in self.rows), Decimal(0))


def parse_map(pairs: Sequence[str], aliases: Mapping[str, str]) -> dict[str, str]:
    """`A=B` pairs of models in any spelling, as canonical id -> canonical id.

    Raises:
        ConfigurationError: a pair has no `=`, or a model is mapped twice.

    """
    model_map: dict[str, str] = {}
    for pair in pairs:
        old, separator, new = pair.partition("=")
        if not (separator and old.strip() and new.strip()):
            raise ConfigurationError(f"--map {pair!r}: write it as claude-opus-4-5=claude-sonnet-4-5")
        source = rates.canonical_model(old, aliases).model
        if source in model_map:
            raise ConfigurationError(f"--map names {source} twice; leave one of the two")
        model_map[source] = rates.canonical_model(new, aliases).model
    return model_map


def reprice(
    connection: duckdb.DuckDBPyConnection,
    overrides: Path | None,
    aliases: Mapping[str, str],
    model_map: Mapping[str, str] | None = None,
    cache: str | None = None,
    usage_type: str | None = None,
) -> Repriced:
    """The history in the database of `connection`, priced with another card.

    Args:
        connection: of the published database or the warehouse; only temporary views are created.
        overrides: a file with own rates for the other card; None for list prices only.
        aliases: the same as for `rates.rate_card`.
        model_map: canonical id -> canonical id of the model that replaces it.
        cache: a name of CACHE_POLICIES, or None to keep the actual cache usage.
        usage_type: a tier for all standard usage, such as batch; None to keep the actual tiers.

    Raises:
        ConfigurationError: the overrides file has an error, or a replacement model has no price.

    """
    model_map = model_map or {}
    used = [str(model) for (model,) in connection.execute("SELECT DISTINCT model FROM marts.charges").fetchall()]
    card = rates.rate_card([*used, *model_map.values()], overrides, aliases, rates.sold_in(connection))
    priced = set(card.column("model").to_pylist())
    if unknown := sorted(set(model_map.values()) - priced):
        raise ConfigurationError(f"--map: there is no price for {', '.join(unknown)}; give one in the file of --rates")
    if unused := sorted(set(model_map) - set(used)):
        raise ConfigurationError(f"--map: {', '.join(unused)} was never used; see token-analytics show models")
    # a replacement model is priced at the rates of its maker
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
    """The provider whose rates price a replacement model: its maker, else the first in the card."""
    sellers = {row["provider"] for row in card.select(["provider", "model"]).to_pylist() if row["model"] == model}
    maker = rates.canonical_model(model).provider
    return maker if maker in sellers else min(sellers)


def _query(tables: Mapping[str, pa.Table]) -> str:
    """A query for the totals of reprice.sql, with its tables as values."""
    return sql(
        "savings/repricing/totals",
        tables=",\n\n".join(_values(name, table) for name, table in tables.items()),
        reprice=_reprice().rstrip(),
    )


def _reprice() -> str:
    return sql("savings/repricing/reprice", at_rate=sql("reference/at_rate", usage="mapped", card="new_card"))


def _values(name: str, table: pa.Table) -> str:
    """A table as a common table expression: one line per row, each value with its type."""
    kinds = {field.name: _SQL_TYPES[str(field.type)] for field in table.schema}
    lines = [
        ", ".join("NULL" if value is None else literal(str(value)) for value in row.values())
        for row in table.to_pylist()
    ]
    columns = ", ".join(f"{column}::{kind} AS {column}" for column, kind in kinds.items())
    if not lines:
        nulls = ", ".join(f"NULL::{kind} AS {column}" for column, kind in kinds.items())
        return f"{name} AS (SELECT {nulls} WHERE false)"
    values = ",\n    ".join(f"({line})" for line in lines)
    return f"{name} AS (\n    SELECT {columns} FROM (VALUES\n    {values}) AS given ({', '.join(kinds)})\n)"


_SQL_TYPES = {"string": "VARCHAR", "date32[day]": "DATE", "decimal128(18, 6)": "DECIMAL(18, 6)"}


def _assumptions(
    overrides: Path | None, model_map: Mapping[str, str], cache: str | None, usage_type: str | None
) -> list[str]:
    card = f"list prices and {overrides.name}" if overrides else "list prices"
    assumptions = [
        f"The same calls and tokens, at {card} on the day of each call.",
        "Usage within a subscription is left out. Amounts include only usage with a rate before and after.",
    ]
    if model_map:
        pairs = ", ".join(f"{old} -> {new}" for old, new in model_map.items())
        assumptions.append(
            f"{pairs}: the other model is assumed to use as many tokens, although tokenizers and answers differ."
        )
    if usage_type:
        assumptions.append(f"All standard usage is priced as {usage_type}.")
    if cache:
        assumptions.append(_CACHE_ASSUMPTIONS[cache])
    return assumptions


def _table(names: Sequence[str], rows: Sequence[tuple[str | None, ...]]) -> pa.Table:
    columns = list(zip(*rows, strict=True)) or [()] * len(names)
    return pa.table({name: pa.array(list(column), pa.string()) for name, column in zip(names, columns, strict=True)})
