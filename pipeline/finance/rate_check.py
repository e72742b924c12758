"""The rate card against the bill: the rate that each billed cell implies, and override lines to match the bill.

Belongs here: intervals of possible rates within the rounding of the bill, pooled over the cells of a rate, and
proposals. Does not belong here: the reconciliation of amounts (usage_reconciliation), and the card itself (rates).

For a cell of `t` tokens, rate x t equals the billed amount within the rounding of its billed rows. One rate must fit
all cells and their sum, which is more precise than single small cells. Consecutive days are joined while one rate fits
all of them; otherwise the rate has changed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from fractions import Fraction
from itertools import groupby, pairwise
from math import ceil, floor
from pathlib import Path
from typing import Any, NamedTuple

import duckdb

from pipeline.reference import rates
from pipeline.store.connection import rows_of
from pipeline.store.sqlfiles import sql

_PER_MILLION = 10**6
# If the bill allows a wider range than this share of the card's rate, it does not determine the rate.
_TELLING = Fraction(1, 50)
_DECIMALS = 6


class Key(NamedTuple):
    """The dimensions of a rate."""

    provider: str
    model: str
    token_kind: str
    context_window: str
    usage_type: str
    inference_geo: str
    speed: str


@dataclass(frozen=True)
class _Cells:
    """Cells of one rate: their sums, and the range of rates (USD per million) that each cell and their sum allow."""

    tokens: int = 0
    billed_usd: Fraction = Fraction(0)
    slack: Fraction = Fraction(0)
    cells: int = 0
    low: Fraction = Fraction(0)
    high: Fraction | None = None

    def joined(self, other: _Cells) -> _Cells:
        both = _Cells(
            self.tokens + other.tokens,
            self.billed_usd + other.billed_usd,
            self.slack + other.slack,
            self.cells + other.cells,
            max(self.low, other.low),
            _overlap(self.high, other.high),
        )
        low = (both.billed_usd - both.slack) * _PER_MILLION / both.tokens
        high = (both.billed_usd + both.slack) * _PER_MILLION / both.tokens
        return replace(both, low=max(both.low, low), high=_overlap(both.high, high))

    @property
    def is_possible(self) -> bool:
        """Whether one rate fits all cells."""
        return self.high is None or self.low <= self.high


def _overlap(one: Fraction | None, other: Fraction | None) -> Fraction | None:
    bounds = [each for each in (one, other) if each is not None]
    return min(bounds) if bounds else None


@dataclass(frozen=True)
class Finding:
    """A rate over days on which one rate fits the bill.

    `low` and `high` are the smallest and largest rate that the bill allows, USD per million; `card` is the card's rate,
    or None. `verdict`: agrees, differs, unpriced (not in the card), undetectable (the card's rate fits, but so would
    one that is 1% off), inconsistent (no single rate fits the cells of a day: its tokens are uncertain).
    """

    key: Key
    first_day: date
    last_day: date
    next_day: date | None
    days: int
    cells: int
    tokens: int
    billed_usd: Decimal
    low: Fraction
    high: Fraction
    card: Decimal | None
    list_price: Decimal | None
    origin: str
    verdict: str

    @property
    def low_usd_per_mtok(self) -> float:
        """The smallest rate that the bill allows."""
        return float(self.low)

    @property
    def high_usd_per_mtok(self) -> float:
        """The largest rate that the bill allows."""
        return float(self.high)


@dataclass
class _Segment:
    days: list[date] = field(default_factory=list)
    cells: _Cells = field(default_factory=_Cells)


def check(
    connection: duckdb.DuckDBPyConnection, overrides: Path | None, aliases: Mapping[str, str]
) -> tuple[Finding, ...]:
    """A finding for each rate in the bill of the published database, by key and days, in order.

    Raises:
        ConfigurationError: the overrides file has an error.

    """
    connection.register("card", rates.rate_card([], overrides, aliases, rates.sold_in(connection)))
    try:
        at_rate = sql("reference/at_rate", usage="usage", card="card")
        cells = rows_of(connection, sql("finance/rate_check/cells", at_rate=at_rate))
    finally:
        connection.unregister("card")
    findings: list[Finding] = []
    for key, of_key in groupby(cells, key=lambda cell: Key(*(cell[name] for name in Key._fields))):
        # days are split where the card's rate changes
        for _, of_rate in groupby(of_key, key=lambda cell: (cell["valid_from"], cell["usd_per_mtok"])):
            findings += _findings(key, list(of_rate))
    return tuple(findings)


def _findings(key: Key, cells: Sequence[dict[str, Any]]) -> Iterable[Finding]:
    segments: list[_Segment] = []
    lone: list[_Segment] = []
    for day, of_day in groupby(cells, key=lambda cell: cell["usage_date"]):
        today = _Cells()
        for cell in of_day:
            today = today.joined(_cell(cell))
        if not today.is_possible:
            lone.append(_Segment([day], today))
            continue
        if segments and (joined := segments[-1].cells.joined(today)).is_possible:
            segments[-1].days.append(day)
            segments[-1].cells = joined
        else:
            segments.append(_Segment([day], today))
    starts = [segment.days[0] for segment in segments]
    following = dict(pairwise(starts))
    for segment in sorted([*segments, *lone], key=lambda each: each.days[0]):
        yield _finding(key, segment, following.get(segment.days[0]), cells[0])


def _cell(cell: Mapping[str, Any]) -> _Cells:
    alone = _Cells(cell["tokens"], Fraction(cell["billed_usd"]), Fraction(cell["rounding_usd"]), 1)
    low = (alone.billed_usd - alone.slack) * _PER_MILLION / alone.tokens
    high = (alone.billed_usd + alone.slack) * _PER_MILLION / alone.tokens
    return replace(alone, low=max(low, Fraction(0)), high=high)


def _finding(key: Key, segment: _Segment, next_day: date | None, cell: Mapping[str, Any]) -> Finding:
    low, high = segment.cells.low, segment.cells.high
    assert high is not None
    card = cell["usd_per_mtok"]
    if not segment.cells.is_possible:
        verdict = "inconsistent"
    elif card is None:
        verdict = "unpriced"
    elif not low <= Fraction(card) <= high:
        verdict = "differs"
    else:
        verdict = "undetectable" if high - low > _TELLING * Fraction(card) else "agrees"
    return Finding(
        key=key,
        first_day=segment.days[0],
        last_day=segment.days[-1],
        next_day=next_day,
        days=len(segment.days),
        cells=segment.cells.cells,
        tokens=segment.cells.tokens,
        billed_usd=Decimal(segment.cells.billed_usd.numerator) / Decimal(segment.cells.billed_usd.denominator),
        low=low,
        high=high,
        card=card,
        list_price=cell["list_usd_per_mtok"],
        origin=cell["origin"] or "",
        verdict=verdict,
    )


# ---------- proposals


def proposals(findings: Sequence[Finding]) -> list[dict[str, str]]:
    """The fewest lines for the overrides file that make the card agree with the bill.

    One multiplier for all rates or for a model, if it fits every finding there; else the simplest rate within each
    interval. The cells are those of the file's columns.
    """
    wrong = [each for each in findings if each.verdict in ("differs", "unpriced")]
    if not wrong:
        return []
    if (line := _discount(findings, "")) is not None:
        return [line]
    lines: list[dict[str, str]] = []
    by_model: dict[str, list[Finding]] = defaultdict(list)
    for each in findings:
        by_model[each.key.model].append(each)
    for model, of_model in by_model.items():
        if not any(each in wrong for each in of_model):
            continue
        if (line := _discount(of_model, model)) is not None:
            lines.append(line)
        else:
            lines += [_rate_line(each) for each in of_model if each in wrong]
    return lines


def _discount(findings: Sequence[Finding], model: str) -> dict[str, str] | None:
    """One multiplier that fits all findings, if they are several rates with one list price each; else None."""
    usable = [each for each in findings if each.verdict != "inconsistent"]
    if len({each.key for each in usable}) < 2 or any(not each.list_price or each.next_day for each in usable):
        return None
    if not any(each.verdict == "differs" for each in usable):
        return None
    low = max(each.low / Fraction(each.list_price or 1) for each in usable)
    high = min(each.high / Fraction(each.list_price or 1) for each in usable)
    if low > high or low <= 1 <= high:
        return None
    first = min(each.first_day for each in usable)
    return _line(model=model, valid_from=first.isoformat(), multiplier=_text(simplest(low, high)))


def _rate_line(finding: Finding) -> dict[str, str]:
    key = finding.key
    return _line(
        provider=key.provider if finding.card is None else "",
        model=key.model,
        token_kind=key.token_kind,
        context_window=key.context_window,
        usage_type=key.usage_type,
        inference_geo=key.inference_geo or "global",
        speed=key.speed,
        valid_from=finding.first_day.isoformat(),
        valid_to=finding.next_day.isoformat() if finding.next_day else "",
        usd_per_mtok=_text(simplest(finding.low, finding.high)),
        note=f"implied by the bill: {finding.low_usd_per_mtok:.6g} to {finding.high_usd_per_mtok:.6g}",
    )


COLUMNS = (
    "model", "token_kind", "context_window", "usage_type", "inference_geo", "speed", "valid_from", "usd_per_mtok",
    "multiplier", "valid_to", "provider", "note",
)  # fmt: skip


def _line(**cells: str) -> dict[str, str]:
    return {column: cells.get(column, "") for column in COLUMNS}


def simplest(low: Fraction, high: Fraction) -> Decimal:
    """The decimal in [low, high] with the fewest places (at most six), closest to the middle."""
    for places in range(_DECIMALS + 1):
        least, most = ceil(low * 10**places), floor(high * 10**places)
        if least <= most:
            middle = round((low + high) / 2 * 10**places)
            return Decimal(min(max(middle, least), most)).scaleb(-places)
    return Decimal(round((low + high) / 2 * 10**_DECIMALS)).scaleb(-_DECIMALS)


def _text(value: Decimal) -> str:
    return f"{value:f}"
