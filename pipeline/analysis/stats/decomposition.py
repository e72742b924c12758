"""Splits a cost difference by cause: Shapley values of a product of factors that add up exactly.

Belongs here: the excess of a day or session over its expectation, and the bridge from one month to the next.
Does not belong here: which periods are compared, and where usage comes from.

A cause's Shapley value is its contribution averaged over all orders in which the causes can change. It does not depend
on an order, and the parts add up to the difference. Sums are exact: parts are rounded to `RESOLUTION_USD`, and the
largest part takes the rounding difference.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from decimal import Decimal
from itertools import combinations
from math import factorial
from typing import Any

import numpy as np

from pipeline.analysis.stats.describe import Floats

RESOLUTION_USD = Decimal("1e-12")  # the scale of money columns
DAY_TERMS = ("sessions", "requests_per_session", "tokens_per_request", "model_mix", "cache_share", "price")
BRIDGE_TERMS = (
    "volume",
    "tokens_per_request",
    "model_mix",
    "cache_share",
    "list_price",
    "discount",
    "new_keys",
    "gone_keys",
)
_CHANGES = BRIDGE_TERMS[:6]


def shapley(value: Callable[[frozenset[str]], float], terms: Sequence[str]) -> dict[str, float]:
    """Shapley value of each term; `value` returns the outcome after a set of terms has changed. 2^n evaluations.

    Raises:
        ValueError: a term is named twice, or there are more than 12.

    """
    n = len(terms)
    if len(set(terms)) != n or n > 12:
        raise ValueError("terms must be different, and at most 12")
    outcomes = {
        frozenset(chosen): value(frozenset(chosen)) for size in range(n + 1) for chosen in combinations(terms, size)
    }
    weights = [factorial(size) * factorial(n - 1 - size) / factorial(n) for size in range(n)]
    parts: dict[str, Any] = {}
    for term in terms:
        parts[term] = sum(
            weights[len(others)] * (outcomes[others | {term}] - outcome)
            for others, outcome in outcomes.items()
            if term not in others
        )
    return parts


def exact_parts(parts: Mapping[str, float], total: Decimal) -> dict[str, Decimal]:
    """Round parts to `RESOLUTION_USD` so that they add up exactly to `total`; the largest part takes the difference.

    Raises:
        ValueError: there are no parts, or they do not sum to the total within rounding of floating point.

    """
    if not parts:
        raise ValueError("no parts to add up")
    rounded = {term: Decimal(repr(float(part))).quantize(RESOLUTION_USD) for term, part in parts.items()}
    rest = total - sum(rounded.values(), Decimal(0))
    size = max(abs(total), *(abs(part) for part in rounded.values()), Decimal(1))
    if abs(rest) > size * Decimal("1e-6"):
        raise ValueError(f"the parts miss the total of {total} by {rest}")
    rounded[max(rounded, key=lambda term: abs(rounded[term]))] += rest
    return rounded


@dataclass(frozen=True)
class Usage:
    """Usage of one side of a comparison: a day, a session, or a key in a month.

    `tokens` and `usd_per_token` have the shape models x kinds of tokens, in the same order on both sides. An unknown
    rate (nan) is taken from the other side. `sessions` and `requests` may be None if the source does not count them:
    the next term then includes their change, and where only sessions are counted, tokens per request are tokens per
    session. `discount` is 1 - billed / list.
    """

    tokens: Floats
    usd_per_token: Floats
    requests: float | None = None
    sessions: float | None = None
    discount: float = 0.0

    @property
    def cost_usd(self) -> float:
        """Cost of the tokens after the discount; unknown rates count as zero."""
        return float(np.sum(self.tokens * np.nan_to_num(self.usd_per_token))) * (1 - self.discount)


@dataclass(frozen=True)
class _Factors:
    """The factors of a cost; an undefined share or ratio is nan, and taken from the other side."""

    sessions: float
    requests_per_session: float
    tokens_per_request: float
    model_share: Floats
    kind_share: Floats
    usd_per_token: Floats
    discount: float


def _ratio(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator > 0 else np.nan


def _factors(usage: Usage, counts_requests: bool, counts_sessions: bool) -> _Factors:
    tokens = np.asarray(usage.tokens, dtype=np.float64)
    total = float(tokens.sum())
    sessions = float(usage.sessions or 0) if counts_sessions else 1.0 * (total > 0)
    # Where only one of the two is counted, the other one has no change of its own.
    requests = float(usage.requests or 0) if counts_requests else sessions
    sessions = sessions if counts_sessions else 1.0 * (requests > 0)
    by_model = tokens.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        model_share = by_model / total if total > 0 else np.full(len(tokens), np.nan)
        kind_share = np.where(by_model[:, None] > 0, tokens / by_model[:, None], np.nan)
    return _Factors(
        sessions,
        _ratio(requests, sessions),
        _ratio(total, requests),
        model_share,
        kind_share,
        np.asarray(usage.usd_per_token, dtype=np.float64),
        usage.discount,
    )


def _completed(chosen: _Factors, other: _Factors) -> _Factors:
    """The factors of one side; undefined ones are taken from the other side, or 0."""
    parts: dict[str, Any] = {}
    for name, own in vars(chosen).items():
        known = np.where(np.isnan(own), np.nan_to_num(np.asarray(getattr(other, name), dtype=np.float64)), own)
        parts[name] = known if np.ndim(known) else float(known)
    return _Factors(**parts)


def _outcome(before: _Factors, after: _Factors, changed: Set[str]) -> float:
    """Cost with the factors in `changed` from `after` and all others from `before`."""

    def side(term: str) -> _Factors:
        return after if term in changed else before

    tokens = (
        side("sessions").sessions
        * side("requests_per_session").requests_per_session
        * side("tokens_per_request").tokens_per_request
    )
    per_model = (side("cache_share").kind_share * side("price").usd_per_token).sum(axis=1)
    mixed = float(np.dot(side("model_mix").model_share, per_model))
    return tokens * mixed * (1 - side("discount").discount)


def _comparable(expected: Usage, actual: Usage) -> tuple[_Factors, _Factors]:
    if np.shape(expected.tokens) != np.shape(actual.tokens) or np.ndim(expected.tokens) != 2:
        raise ValueError("both sides need tokens of the same models and kinds, as two-dimensional arrays")
    for usage in (expected, actual):
        if np.shape(usage.usd_per_token) != np.shape(usage.tokens):
            raise ValueError("each model and kind needs a rate, or nan")
    has_requests = all(usage.requests for usage in (expected, actual) if np.sum(usage.tokens) > 0)
    has_sessions = all(usage.sessions for usage in (expected, actual) if np.sum(usage.tokens) > 0)
    before = _factors(expected, has_requests, has_sessions)
    after = _factors(actual, has_requests, has_sessions)
    return _completed(before, after), _completed(after, before)


def explain_excess(expected: Usage, actual: Usage, excess_usd: Decimal | None = None) -> dict[str, Decimal]:
    """Split the cost of `actual` minus that of `expected` exactly over `DAY_TERMS`, in US dollars.

    `excess_usd` is the booked difference (Decimal); by default it is computed from both costs. A side without usage
    has no ratios: the whole difference then counts as sessions (as requests or tokens where the source does not count
    those). `cache_share` is the mix of token kinds within a model. Discounts belong to the price.

    Raises:
        ValueError: the arrays do not match, or `excess_usd` is not the difference that usage and rates give.

    """
    before, after = _comparable(expected, actual)

    def outcome(changed: frozenset[str]) -> float:
        return _outcome(before, after, changed | {"discount"} if "price" in changed else changed)

    parts = shapley(outcome, DAY_TERMS)
    whole = Decimal(repr(sum(parts.values()))).quantize(RESOLUTION_USD) if excess_usd is None else excess_usd
    return exact_parts(parts, whole)


def month_bridge(
    before: Mapping[str, Usage], after: Mapping[str, Usage], change_usd: Decimal | None = None
) -> dict[str, Decimal]:
    """Split the change of a bill from one month to the next exactly over `BRIDGE_TERMS`, in US dollars.

    The mappings are keyed by the unit that is tracked: an API key, a workspace, a user. The whole cost of a new or gone
    key counts as `new_keys` or `gone_keys`. For each other key, the six remaining terms get their Shapley values;
    `volume` is the number of requests, or of tokens where requests are not counted. `change_usd` is the billed change;
    by default it is computed from usage, rates and discounts.

    Raises:
        ValueError: the same as `explain_excess`.

    """
    parts = dict.fromkeys(BRIDGE_TERMS, 0.0)
    parts["new_keys"] = sum(usage.cost_usd for key, usage in after.items() if key not in before)
    parts["gone_keys"] = -sum(usage.cost_usd for key, usage in before.items() if key not in after)
    for key in sorted(before.keys() & after.keys()):
        old, new = _comparable(before[key], after[key])

        def outcome(changed: frozenset[str], old: _Factors = old, new: _Factors = new) -> float:
            names = {"volume": ("sessions", "requests_per_session"), "list_price": ("price",)}
            return _outcome(old, new, {name for term in changed for name in names.get(term, (term,))})

        for term, part in shapley(outcome, _CHANGES).items():
            parts[term] += part
    whole = Decimal(repr(sum(parts.values()))).quantize(RESOLUTION_USD) if change_usd is None else change_usd
    return exact_parts(parts, whole)
