"""Splits a cost difference by cause: Shapley values of a product of factors that add up exactly.

Belongs here: the excess of a day or session over its expectation, and the bridge from one month to the next.
Does not belong here: which periods are compared, and where usage comes from.

A cause's Shapley value is its contribution averaged over all orders in which the causes can change. It does not depend
on an order, and the parts add up to the difference. Sums are exact: parts are rounded to `RESOLUTION_USD`, and the
largest part takes the rounding difference.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from math import factorial

import numpy as np

from pipeline.analysis.stats.describe import Floats

RESOLUTION_USD = Decimal("1e-12")  # the scale of money columns
# The axes of `Usage.tokens`, outermost first: the mix along each is a cause of its own.
AXES = ("model_mix", "cache_share", "long_context", "tier", "region", "speed")
DAY_TERMS = ("sessions", "requests_per_session", "tokens_per_request", "model_mix", "cache_share", "price")
BRIDGE_TERMS = ("volume", "tokens_per_request", *AXES, "list_price", "discount", "new_keys", "gone_keys")
_Factors = dict[str, Floats]


def shapley(outcomes: Floats) -> list[float]:
    """Shapley value of each cause, given the outcome of each combination of causes.

    `outcomes` has one axis of length 2 per cause: index 0 before it has changed, 1 after.
    """
    n = outcomes.ndim
    weights = np.array([factorial(size) * factorial(n - 1 - size) / factorial(n) for size in range(n)])
    others_changed = np.indices((2,) * (n - 1)).sum(axis=0) if n > 1 else np.array(0)
    return [float(np.sum(np.diff(outcomes, axis=axis).squeeze(axis) * weights[others_changed])) for axis in range(n)]


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

    `tokens` has one axis for each of the first two or more of `AXES` (models, kinds of tokens, context windows, ...),
    with the same entries on both sides; `usd_per_token` has the same shape, and `discount` too, or it is one number:
    1 - paid / list. An unknown rate or discount (nan) is taken from the other side. `sessions` and `requests` may be
    None if the source does not count them: the next term then includes their change, and where only sessions are
    counted, tokens per request are tokens per session.
    """

    tokens: Floats
    usd_per_token: Floats
    requests: float | None = None
    sessions: float | None = None
    discount: Floats | float = 0.0

    @property
    def cost_usd(self) -> float:
        """Cost of the tokens after the discount; unknown rates count as zero."""
        return float(np.sum(self.tokens * np.nan_to_num(self.usd_per_token) * (1 - np.nan_to_num(self.discount))))


def _ratio(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator > 0 else np.nan


def _factors(usage: Usage, counts_requests: bool, counts_sessions: bool) -> _Factors:
    """The factors whose product is the cost; an undefined share or ratio is nan."""
    tokens = np.asarray(usage.tokens, dtype=np.float64)
    total = float(tokens.sum())
    sessions = float(usage.sessions or 0) if counts_sessions else 1.0 * (total > 0)
    # Where only one of the two is counted, the other one has no change of its own.
    requests = float(usage.requests or 0) if counts_requests else sessions
    sessions = sessions if counts_sessions else 1.0 * (requests > 0)
    factors = {
        "list_price": np.asarray(usage.usd_per_token, dtype=np.float64),
        "discount": np.broadcast_to(np.asarray(usage.discount, dtype=np.float64), tokens.shape),
        "sessions": np.array(sessions),
        "requests_per_session": np.array(_ratio(requests, sessions)),
        "tokens_per_request": np.array(_ratio(total, requests)),
    }
    # the share of each entry of an axis, given the entries of the axes before it
    for axis, name in enumerate(AXES[: tokens.ndim]):
        upto = tokens.sum(axis=tuple(range(axis + 1, tokens.ndim)))
        whole = upto.sum(axis=-1, keepdims=True)
        factors[name] = np.divide(upto, whole, out=np.full(upto.shape, np.nan), where=whole > 0)
    return factors


def _completed(chosen: _Factors, other: _Factors) -> _Factors:
    """The factors of one side; undefined ones are taken from the other side, or 0."""
    return {name: np.where(np.isnan(own), np.nan_to_num(other[name]), own) for name, own in chosen.items()}


def _comparable(expected: Usage, actual: Usage) -> tuple[_Factors, _Factors]:
    if np.shape(expected.tokens) != np.shape(actual.tokens) or not 2 <= np.ndim(expected.tokens) <= len(AXES):
        raise ValueError(f"both sides need tokens of the same models and kinds, as arrays of 2 to {len(AXES)} axes")
    for usage in (expected, actual):
        if np.shape(usage.usd_per_token) != np.shape(usage.tokens):
            raise ValueError("each model and kind needs a rate, or nan")
    has_requests = all(usage.requests for usage in (expected, actual) if np.sum(usage.tokens) > 0)
    has_sessions = all(usage.sessions for usage in (expected, actual) if np.sum(usage.tokens) > 0)
    before = _factors(expected, has_requests, has_sessions)
    after = _factors(actual, has_requests, has_sessions)
    return _completed(before, after), _completed(after, before)


def _parts(before: _Factors, after: _Factors) -> dict[str, float]:
    """Shapley value of each factor that changed; the others have no part in the difference.

    The cost of every combination of changed factors is computed at once, from the prices of single cells outwards: each
    axis of tokens is averaged by its shares, and each changed factor doubles the number of combinations.
    """
    changed: list[str] = []
    costs = np.ones((1, *before["price" if "price" in before else "list_price"].shape))

    def multiply(name: str, step: Callable[[Floats, Floats], Floats]) -> None:
        nonlocal costs
        if name not in before:
            return
        if np.array_equal(before[name], after[name]):
            costs = step(costs, before[name])
            return
        changed.insert(0, name)
        costs = np.concatenate([step(costs, before[name]), step(costs, after[name])])

    for name in ("price", "list_price"):
        multiply(name, lambda cost, rate: cost * rate)
    multiply("discount", lambda cost, discount: cost * (1 - discount))
    for name in reversed(AXES):
        multiply(name, lambda cost, share: (cost * share).sum(axis=-1))
    for name in ("tokens_per_request", "volume", "requests_per_session", "sessions"):
        multiply(name, lambda cost, count: cost * count)
    return dict(zip(changed, shapley(costs.reshape((2,) * len(changed))), strict=True))


def explain_excess(expected: Usage, actual: Usage, excess_usd: Decimal | None = None) -> dict[str, Decimal]:
    """Split the cost of `actual` minus that of `expected` exactly over `DAY_TERMS`, in US dollars.

    `excess_usd` is the booked difference (Decimal); by default it is computed from both costs. A side without usage
    has no ratios: the whole difference then counts as sessions (as requests or tokens where the source does not count
    those). `cache_share` is the mix of token kinds within a model. Discounts belong to the price.

    Raises:
        ValueError: the arrays do not match, or `excess_usd` is not the difference that usage and rates give.

    """
    sides = _comparable(expected, actual)
    for side in sides:
        side["price"] = side.pop("list_price") * (1 - side.pop("discount"))
    return _exact(DAY_TERMS, _parts(*sides), excess_usd)


def month_bridge(
    before: Mapping[str, Usage], after: Mapping[str, Usage], change_usd: Decimal | None = None
) -> dict[str, Decimal]:
    """Split the change of a bill from one month to the next exactly over `BRIDGE_TERMS`, in US dollars.

    The mappings are keyed by the unit that is tracked: an API key, a workspace, a user. The whole cost of a new or gone
    key counts as `new_keys` or `gone_keys`. For each other key, the remaining terms get their Shapley values; `volume`
    is the number of requests, or of tokens where requests are not counted. A term whose factor is the same in both
    months is exactly zero. `change_usd` is the billed change; by default it follows from usage, rates and discounts.

    Raises:
        ValueError: the same as `explain_excess`.

    """
    parts = dict.fromkeys(BRIDGE_TERMS, 0.0)
    parts["new_keys"] = sum(usage.cost_usd for key, usage in after.items() if key not in before)
    parts["gone_keys"] = -sum(usage.cost_usd for key, usage in before.items() if key not in after)
    for key in sorted(before.keys() & after.keys()):
        sides = _comparable(before[key], after[key])
        for side in sides:
            side["volume"] = side.pop("sessions") * side.pop("requests_per_session")
        for term, part in _parts(*sides).items():
            parts[term] += part
    return _exact(BRIDGE_TERMS, parts, change_usd)


def _exact(terms: tuple[str, ...], parts: Mapping[str, float], whole: Decimal | None) -> dict[str, Decimal]:
    """Parts in the order of `terms`, rounded so that they add up to the whole."""
    ordered = {term: parts.get(term, 0.0) for term in terms}
    if whole is None:
        whole = Decimal(repr(sum(ordered.values()))).quantize(RESOLUTION_USD)
    return exact_parts(ordered, whole)
