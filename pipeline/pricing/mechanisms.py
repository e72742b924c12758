"""Contracts as terms: what a customer pays for a bill, what the provider takes over, and the fee at equal revenue.

Belongs here: one frozen dataclass a mechanism, under the names that the tables use, and the solver of its fee.
Does not belong here: where bills come from (`bills`), what risk a contract leaves and its loading (`risk`).

A *bill* is what one customer's usage of one calendar month costs at list, in USD. A contract applies to the bill,
never to the rows that it is the sum of. Arrays of bills are one-dimensional float64, finite and not negative; prices
and ceded losses have their shape. Each contract here is `price = bill - ceded(bill) + fee`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

Usd = NDArray[np.float64]
Params = dict[str, float | None]

DEFAULT_THETA = 0.5  # METHODS section 3
DEFAULT_DEDUCTIBLE_QUANTILE = 0.9  # METHODS section 3: the 90th percentile of the bills
EQUAL_REVENUE_TOLERANCE = 1e-9  # relative to E[B]


class Contract(Protocol):
    """Terms that turn a bill into a price."""

    name: ClassVar[str]

    def price(self, bills: Usd) -> Usd:
        """What the customer pays for each bill, in USD, fee or premium included."""

    def ceded(self, bills: Usd) -> Usd:
        """The part of each bill that the provider takes over, in USD, before any fee or premium."""

    def params(self) -> Params:
        """The terms by the names of the tables; None where a term is not set."""

    def with_fee(self, fee_usd: float) -> Self:
        """The same terms at another fee or premium."""


AnyContract = TypeVar("AnyContract", bound=Contract)


def checked_bills(bills: Usd) -> Usd:
    """Return `bills` as a float64 array.

    Raises:
        ValueError: not one-dimensional, empty, or a bill is negative or not finite.

    """
    array = np.asarray(bills, dtype=np.float64)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"bills must be a one-dimensional array with at least one bill, not of shape {array.shape}")
    if not np.isfinite(array).all() or (array < 0).any():
        raise ValueError("bills must be finite and not negative: leave out the bills that are unknown")
    return array


def _require(condition: bool, sentence: str) -> None:
    if not condition:
        raise ValueError(sentence)


def _is_amount(value: float) -> bool:
    return bool(np.isfinite(value) and value >= 0)


@dataclass(frozen=True)
class PerToken:
    """Usage at list: the customer pays the bill, and bears all of its risk."""

    name: ClassVar[str] = "per_token"

    def price(self, bills: Usd) -> Usd:
        """The bills themselves."""
        return np.array(bills, dtype=np.float64)

    def ceded(self, bills: Usd) -> Usd:
        """Nothing."""
        return np.zeros(np.shape(bills))

    def params(self) -> Params:
        """No terms."""
        return {}

    def with_fee(self, fee_usd: float) -> Self:
        """Per-token has no fee: only 0 (within rounding) is accepted."""
        _require(abs(fee_usd) <= EQUAL_REVENUE_TOLERANCE, "per_token has no fee to set")
        return self


@dataclass(frozen=True)
class Bundle:
    """Flat subscription: `fee_usd` a month, whatever the usage."""

    fee_usd: float = 0.0
    name: ClassVar[str] = "bundle"

    def __post_init__(self) -> None:
        _require(_is_amount(self.fee_usd), "bundle: fee_usd must be finite and not negative")

    def price(self, bills: Usd) -> Usd:
        """The fee for each bill."""
        return np.full(np.shape(bills), self.fee_usd)

    def ceded(self, bills: Usd) -> Usd:
        """The whole bill."""
        return np.array(bills, dtype=np.float64)

    def params(self) -> Params:
        """`fee_usd`: USD a month."""
        return {"fee_usd": self.fee_usd}

    def with_fee(self, fee_usd: float) -> Self:
        """The subscription at another fee."""
        return replace(self, fee_usd=fee_usd)


@dataclass(frozen=True)
class Hybrid:
    """F + theta B: a fee, and usage at the share `theta` of list."""

    fee_usd: float = 0.0
    theta: float = DEFAULT_THETA
    name: ClassVar[str] = "hybrid"

    def __post_init__(self) -> None:
        _require(_is_amount(self.fee_usd), "hybrid: fee_usd must be finite and not negative")
        _require(0 <= self.theta <= 1, "hybrid: theta must lie between 0 and 1")

    def price(self, bills: Usd) -> Usd:
        """F + theta B."""
        return self.fee_usd + self.theta * np.asarray(bills, dtype=np.float64)

    def ceded(self, bills: Usd) -> Usd:
        """(1 - theta) B."""
        return (1 - self.theta) * np.asarray(bills, dtype=np.float64)

    def params(self) -> Params:
        """`fee_usd`: USD a month; `theta`: share of list that usage still costs."""
        return {"fee_usd": self.fee_usd, "theta": self.theta}

    def with_fee(self, fee_usd: float) -> Self:
        """The same theta at another fee."""
        return replace(self, fee_usd=fee_usd)


@dataclass(frozen=True)
class Insurance:
    """Stop-loss on the month: the bill up to a deductible, then a share of a layer, and a premium.

    The layer is the part of the bill between `deductible_usd` and `deductible_usd + limit_usd` (no upper end where
    the limit is None). Of it the customer keeps the share `coinsurance`; what lies above the layer is the customer's
    again.
    """

    deductible_usd: float
    limit_usd: float | None = None
    coinsurance: float = 0.0
    premium_usd: float = 0.0
    name: ClassVar[str] = "insurance"

    def __post_init__(self) -> None:
        _require(_is_amount(self.deductible_usd), "insurance: deductible_usd must be finite and not negative")
        _require(
            self.limit_usd is None or _is_amount(self.limit_usd), "insurance: limit_usd must be None or not negative"
        )
        _require(0 <= self.coinsurance <= 1, "insurance: coinsurance must lie between 0 and 1")
        _require(_is_amount(self.premium_usd), "insurance: premium_usd must be finite and not negative")

    def price(self, bills: Usd) -> Usd:
        """Retained bill + premium."""
        return np.asarray(bills, dtype=np.float64) - self.ceded(bills) + self.premium_usd

    def ceded(self, bills: Usd) -> Usd:
        """(1 - coinsurance) min((B - d)+, limit)."""
        layer = np.maximum(np.asarray(bills, dtype=np.float64) - self.deductible_usd, 0.0)
        if self.limit_usd is not None:
            layer = np.minimum(layer, self.limit_usd)
        return (1 - self.coinsurance) * layer

    def params(self) -> Params:
        """`deductible_usd`, `limit_usd` (width of the layer or None), `coinsurance` (share kept), `premium_usd`."""
        return {
            "deductible_usd": self.deductible_usd,
            "limit_usd": self.limit_usd,
            "coinsurance": self.coinsurance,
            "premium_usd": self.premium_usd,
        }

    def with_fee(self, fee_usd: float) -> Self:
        """The same cover at another premium."""
        return replace(self, premium_usd=fee_usd)


def at_equal_revenue(contract: AnyContract, bills: Usd, weights: Usd | None = None) -> AnyContract:
    """The same contract with the fee or premium at which E[P(B)] = E[B], loading 0.

    One fee for all bills: every customer of the pool is offered the same terms. `weights` (same shape, summing to
    more than 0) are the bills' probabilities or counts; equal by default. The fee is E[B] - E[P(B) at fee 0].

    Raises:
        ValueError: bills that are not valid, or no fee >= 0 reaches equal revenue.

    """
    values = checked_bills(bills)
    target = float(np.average(values, weights=weights))
    fee_usd = float(np.average(values - contract.with_fee(0.0).price(values), weights=weights))
    solved = contract.with_fee(max(fee_usd, 0.0))
    reached = float(np.average(solved.price(values), weights=weights))
    if abs(reached - target) > EQUAL_REVENUE_TOLERANCE * target:
        raise ValueError(f"{contract.name}: E[P] = {reached!r} where E[B] = {target!r}; no fee >= 0 closes the gap")
    return solved


def defaults_at_equal_revenue(bills: Usd) -> tuple[PerToken, Bundle, Hybrid, Insurance]:
    """The four contracts at their default terms (METHODS section 3), each solved for E[P(B)] = E[B] over `bills`.

    Raises:
        ValueError: bills that are not valid.

    """
    values = checked_bills(bills)
    deductible_usd = float(np.quantile(values, DEFAULT_DEDUCTIBLE_QUANTILE))
    return (
        PerToken(),
        at_equal_revenue(Bundle(), values),
        at_equal_revenue(Hybrid(), values),
        at_equal_revenue(Insurance(deductible_usd), values),
    )
