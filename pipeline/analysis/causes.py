"""Usage of a day, month or session with a rate for each kind of token: the input of `stats.decomposition`.

Belongs here: the effective rates of a model's tokens, derived from their known cost. Does not belong here: which
periods are compared (`days`), the bridge between months (its prices are exact), and the decomposition itself.

The marts hold the cost of a row, not of each kind of token in it. The rate card gives the ratios between the kinds. One
factor per model (tiers, regions, contract rates) scales them so that they add up to the known cost.
"""

from __future__ import annotations

import datetime as dt
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

import duckdb
import numpy as np

from pipeline.analysis.stats.decomposition import Usage
from pipeline.analysis.stats.describe import Floats
from pipeline.store.sqlfiles import sql

KINDS = ("input_no_cache", "cache_write_5m", "cache_write_1h", "cache_read", "output", "web_search")
# A cost without tokens (code execution, a fee) counts as usage at a constant price, so its change counts as volume.
_USD_PER_UNIT = 1e-6
_FIRST_DAY = dt.date(1970, 1, 1)


class RateRatios:
    """The standard rate of each kind of token on a day; zero where no rate is known."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._found: dict[tuple[str, str], dict[int, tuple[list[dt.date], list[float]]]] = {}
        for provider, model, kind, valid_from, rate in connection.execute(sql("analysis/bridge/rates")).fetchall():
            if kind in KINDS:
                days, rates = self._found.setdefault((provider, model), {}).setdefault(KINDS.index(kind), ([], []))
                days.append(valid_from or _FIRST_DAY)
                rates.append(rate)

    def of(self, provider: str, model: str, day: dt.date) -> Floats:
        """USD per token (per search) of each of `KINDS`; days before the first known rate use that rate."""
        ratios = np.zeros(len(KINDS))
        for place, (days, rates) in self._found.get((provider, model), {}).items():
            ratios[place] = rates[max(bisect_right(days, day) - 1, 0)]
        return ratios


@dataclass
class Model:
    """Tokens of each kind and their effective rates; nan where a rate is unknown."""

    tokens: Floats
    usd_per_token: Floats


@dataclass
class Lines:
    """Usage by (provider, model); `requests` and `sessions` are None where the source does not count them."""

    cost_usd: Decimal = Decimal(0)
    requests: float | None = None
    sessions: float | None = None
    models: dict[tuple[str, str], Model] = field(default_factory=dict)

    def scaled(self, factor: float) -> Lines:
        """The same usage times `factor`; the caller sets the cost in Decimal."""
        return Lines(
            requests=None if self.requests is None else self.requests * factor,
            sessions=None if self.sessions is None else self.sessions * factor,
            models={name: Model(model.tokens * factor, model.usd_per_token) for name, model in self.models.items()},
        )


def priced(tokens: Floats, cost_usd: float, ratios: Floats) -> Model:
    """Scale the ratios to rates that make the tokens cost `cost_usd`; without known ratios all kinds get one rate."""
    at_ratios = float(tokens @ ratios)
    if at_ratios > 0 and not (tokens[ratios == 0] > 0).any():
        return Model(tokens, ratios * (cost_usd / at_ratios))
    if tokens.sum() > 0:
        return Model(tokens, np.full(len(KINDS), cost_usd / float(tokens.sum())))
    return billed(tokens, np.array([0.0] * (len(KINDS) - 1) + [cost_usd]))


def billed(tokens: Floats, cost_usd: Floats) -> Model:
    """Rates from the known cost of each kind; a cost without tokens counts as usage at a constant price."""
    counted = np.where((tokens == 0) & (cost_usd != 0), np.abs(cost_usd) / _USD_PER_UNIT, tokens)
    rates = np.full(len(KINDS), np.nan)
    np.divide(cost_usd, counted, out=rates, where=counted > 0)
    return Model(counted, rates)


def comparable(*sides: Lines) -> list[Usage]:
    """The sides as `Usage` over the same models, sorted by name."""
    names = sorted({name for side in sides for name in side.models}) or [("", "")]
    unused = Model(np.zeros(len(KINDS)), np.full(len(KINDS), np.nan))
    return [
        Usage(
            np.array([side.models.get(name, unused).tokens for name in names]),
            np.array([side.models.get(name, unused).usd_per_token for name in names]),
            side.requests,
            side.sessions,
        )
        for side in sides
    ]


def tokens_of(row: Mapping[str, object]) -> Floats:
    """Tokens of each of `KINDS`, from the columns of these names."""
    return np.array([float(str(row[kind])) for kind in KINDS])
