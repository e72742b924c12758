"""Contracts: the price of a bill, the part that the provider covers, and the terms at equal revenue.

Belongs here: one frozen dataclass per mechanism, with the names of the tables, and the solver of its fee.
Does not belong here: the source of bills (`bill_model`, `bill_history`), the risk under a contract and its loading
(`risk`).

A *bill* is the cost of one customer's usage in one calendar month at list prices, in USD. A contract applies to the
bill, never to its rows. Arrays of bills are one-dimensional float64, finite and not negative; prices and ceded losses
have the same shape. For each contract, `price = bill - ceded(bill) + price of a month without usage`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, ClassVar, Literal, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

Usd = NDArray[np.float64]
Integers = NDArray[np.int64]
Params = dict[str, Any]

DEFAULT_THETA = 0.5  # docs/pricing.md lists the default terms
DEFAULT_DEDUCTIBLE_QUANTILE = 0.9  # of the bills
DEFAULT_TIER_QUANTILES = (0.5, 0.9)  # lower rates above the median and above the 90th percentile
DEFAULT_TIER_RATES = (1.0, 0.9, 0.8)
DEFAULT_EXPIRY_MONTHS = 3
EQUAL_REVENUE_TOLERANCE = 1e-9  # relative to E[B]


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


@dataclass(frozen=True)
class Ledger:
    """Bills, with their order and sessions for contracts that need more than a single bill; arrays of shape (n,).

    `paths`: the customer (or simulated year) of a bill, as 0, 1, 2, ...; `months`: the number of its calendar month,
    ascending within a path. `over_cap(cap_usd)`: for each bill, the sum of (cost - cap)+ over its sessions, USD; None
    without sessions.
    """

    bills: Usd
    paths: Integers
    months: Integers
    over_cap: Callable[[float], Usd] | None = None

    @classmethod
    def of(cls, bills: Usd | Ledger) -> Ledger:
        """A ledger unchanged; an array as one customer's bills of consecutive months, each a single session.

        Raises:
            ValueError: invalid bills.

        """
        if isinstance(bills, Ledger):
            return bills
        values = checked_bills(bills)
        months = np.arange(values.size, dtype=np.int64)
        return cls(
            values, np.zeros(values.size, dtype=np.int64), months, lambda cap_usd: np.maximum(values - cap_usd, 0.0)
        )

    def scaled(self, factor: float) -> Ledger:
        """The same usage at `factor` times the price."""
        over_cap = self.over_cap
        if over_cap is None:
            return replace(self, bills=self.bills * factor)
        return replace(self, bills=self.bills * factor, over_cap=lambda cap_usd: factor * over_cap(cap_usd / factor))


def _require(condition: bool, sentence: str) -> None:
    if not condition:
        raise ValueError(sentence)


def _is_amount(value: float) -> bool:
    return bool(np.isfinite(value) and value >= 0)


def _mean(values: Usd, weights: Usd | None) -> float:
    return float(values.mean() if weights is None else np.average(values, weights=weights))


class Contract(ABC):
    """Terms that turn a bill into a price."""

    name: ClassVar[str]

    @property
    def label(self) -> str:
        """The name in the tables."""
        return self.name

    @abstractmethod
    def price(self, bills: Usd) -> Usd:
        """The customer's price for each bill, in USD, including fee or premium."""

    def ceded(self, bills: Usd) -> Usd:
        """The part of each bill that the provider covers, before any fee: bill - price + price of an idle month.

        Negative if usage costs more than at list.
        """
        return np.asarray(bills, dtype=np.float64) - self.price(bills) + self.idle_price()

    def idle_price(self) -> float:
        """The price of a month without usage, USD."""
        return float(self.price(np.zeros(1))[0])

    def price_in(self, ledger: Ledger) -> Usd:
        """`price` for the bills of a ledger; by default it depends only on the bills."""
        return self.price(ledger.bills)

    def ceded_in(self, ledger: Ledger) -> Usd:
        """`ceded` for the bills of a ledger."""
        return self.ceded(ledger.bills)

    def params(self) -> Params:
        """The terms by their names in the tables; None if a term is not set."""
        return {term.name: getattr(self, term.name) for term in fields(self)}  # type: ignore[arg-type]

    @abstractmethod
    def with_fee(self, fee_usd: float) -> Self:
        """The same terms at another fee or premium."""

    def solved(self, ledger: Ledger, weights: Usd | None) -> Self:
        """The terms with one solved for E[P(B)] = E[B] if possible: by default the fee, E[B] - E[P(B) at fee 0]."""
        fee_usd = _mean(ledger.bills, weights) - _mean(self.with_fee(0.0).price_in(ledger), weights)
        return self.with_fee(max(fee_usd, 0.0))

    def kinks(self) -> tuple[float, ...]:
        """The bills in USD, ascending, at which the slope of the price changes; the price is linear between them."""
        return ()


AnyContract = TypeVar("AnyContract", bound=Contract)


@dataclass(frozen=True)
class PerToken(Contract):
    """Usage at list prices: the customer pays the bill and bears all of its risk. P = B."""

    name: ClassVar[str] = "per_token"

    def price(self, bills: Usd) -> Usd:
        """The bills themselves."""
        return np.array(bills, dtype=np.float64)

    def with_fee(self, fee_usd: float) -> Self:
        """Per-token has no fee: only 0 (within rounding) is accepted."""
        _require(abs(fee_usd) <= EQUAL_REVENUE_TOLERANCE, "per_token has no fee to set")
        return self

    def solved(self, ledger: Ledger, weights: Usd | None) -> Self:
        """Unchanged: the price is the bill."""
        return self


@dataclass(frozen=True)
class Bundle(Contract):
    """Flat subscription: `fee_usd` (USD per month) for any usage. P = F."""

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

    def with_fee(self, fee_usd: float) -> Self:
        """The subscription at another fee."""
        return replace(self, fee_usd=fee_usd)


@dataclass(frozen=True)
class Allowance(Contract):
    """Subscription with an allowance of usage. P = F + r (B - Q)+.

    `fee_usd`: USD per month; `allowance_usd`: usage at list that the fee covers, USD per month; `overage_rate`: price
    of usage above it as a share of list (1 = list; above 1 = more expensive).
    """

    fee_usd: float = 0.0
    allowance_usd: float = 0.0
    overage_rate: float = 1.0
    name: ClassVar[str] = "allowance"

    def __post_init__(self) -> None:
        for term in ("fee_usd", "allowance_usd", "overage_rate"):
            _require(_is_amount(getattr(self, term)), f"allowance: {term} must be finite and not negative")

    def price(self, bills: Usd) -> Usd:
        """F + r (B - Q)+."""
        over = np.maximum(np.asarray(bills, dtype=np.float64) - self.allowance_usd, 0.0)
        return self.fee_usd + self.overage_rate * over

    def with_fee(self, fee_usd: float) -> Self:
        """The same allowance at another fee."""
        return replace(self, fee_usd=fee_usd)

    def kinks(self) -> tuple[float, ...]:
        """The allowance."""
        return (self.allowance_usd,)


@dataclass(frozen=True)
class Hybrid(Contract):
    """A fee, and usage at a share of list. P = F + theta B.

    `fee_usd`: USD per month; `theta`: the price of usage as a share of list, 0 to 1.
    """

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

    def with_fee(self, fee_usd: float) -> Self:
        """The same theta at another fee."""
        return replace(self, fee_usd=fee_usd)


@dataclass(frozen=True)
class Insurance(Contract):
    """Stop-loss for a month: the customer pays the bill up to a deductible, a share of a layer above, and a premium.

    The layer is the part of the bill between `deductible_usd` and `deductible_usd + limit_usd` (unlimited if the limit
    is None). The customer pays the share `coinsurance` of the layer, and everything above it. `premium_usd`: USD per
    month. P = B - (1 - coinsurance) min((B - d)+, limit) + premium.
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

    def with_fee(self, fee_usd: float) -> Self:
        """The same cover at another premium."""
        return replace(self, premium_usd=fee_usd)

    def kinks(self) -> tuple[float, ...]:
        """Both ends of the layer."""
        top = () if self.limit_usd is None else (self.deductible_usd + self.limit_usd,)
        return (self.deductible_usd, *top)


@dataclass(frozen=True)
class Tiered(Contract):
    """Usage at rates that depend on its amount, and a fee: any piecewise linear price.

    `from_usd`: lower bounds of the tiers as usage at list, USD per month, ascending from 0; `rates`: their prices as a
    share of list. graduated: each part of the bill at the rate of its own tier, P = F + sum rate_i (part of B in tier
    i). volume: the whole bill at the rate of the tier that it reaches, P = F + rate(B) B, with jumps between tiers.
    """

    from_usd: tuple[float, ...]
    rates: tuple[float, ...]
    kind: Literal["graduated", "volume"] = "graduated"
    fee_usd: float = 0.0
    name: ClassVar[str] = "tiered"

    def __post_init__(self) -> None:
        edges = np.asarray(self.from_usd, dtype=np.float64)
        _require(edges.size > 0 and edges.size == len(self.rates), "tiered: one rate for each tier is needed")
        _require(
            bool(np.isfinite(edges).all()) and edges[0] == 0 and bool((np.diff(edges) > 0).all()),
            "tiered: from_usd must start at 0 and be ascending",
        )
        _require(all(_is_amount(rate) for rate in self.rates), "tiered: rates must be finite and not negative")
        _require(self.kind in ("graduated", "volume"), "tiered: kind must be graduated or volume")
        _require(_is_amount(self.fee_usd), "tiered: fee_usd must be finite and not negative")

    def price(self, bills: Usd) -> Usd:
        """The formula of `kind`."""
        values = np.asarray(bills, dtype=np.float64)
        edges, rates = np.asarray(self.from_usd, dtype=np.float64), np.asarray(self.rates, dtype=np.float64)
        tier = np.searchsorted(edges, values, side="right") - 1
        if self.kind == "volume":
            return np.asarray(self.fee_usd + rates[tier] * values)
        below = np.concatenate(([0.0], np.cumsum(rates[:-1] * np.diff(edges))))
        return np.asarray(self.fee_usd + below[tier] + rates[tier] * (values - edges[tier]))

    def with_fee(self, fee_usd: float) -> Self:
        """The same tiers at another fee."""
        return replace(self, fee_usd=fee_usd)

    def solved(self, ledger: Ledger, weights: Usd | None) -> Self:
        """All rates times one factor, and no fee."""
        free = self.with_fee(0.0)
        priced = _mean(free.price_in(ledger), weights)
        if priced <= 0:
            return super().solved(ledger, weights)
        factor = _mean(ledger.bills, weights) / priced
        return replace(free, rates=tuple(rate * factor for rate in self.rates))

    def kinks(self) -> tuple[float, ...]:
        """The lower bounds of the tiers, except 0."""
        return self.from_usd[1:]


@dataclass(frozen=True)
class Commitment(Contract):
    """Committed spend at a discount. P = max(C, B) (1 - discount).

    `commitment_usd`: the least usage that is charged, at list, USD per month; `discount`: share of list, 0 to 1.
    """

    commitment_usd: float
    discount: float = 0.0
    name: ClassVar[str] = "commitment"

    def __post_init__(self) -> None:
        _require(_is_amount(self.commitment_usd), "commitment: commitment_usd must be finite and not negative")
        _require(0 <= self.discount <= 1, "commitment: discount must lie between 0 and 1")

    def price(self, bills: Usd) -> Usd:
        """max(C, B) (1 - discount)."""
        return (1 - self.discount) * np.maximum(np.asarray(bills, dtype=np.float64), self.commitment_usd)

    def with_fee(self, fee_usd: float) -> Self:
        """A commitment has no fee: only 0 (within rounding) is accepted."""
        _require(abs(fee_usd) <= EQUAL_REVENUE_TOLERANCE, "commitment has no fee to set")
        return self

    def solved(self, ledger: Ledger, weights: Usd | None) -> Self:
        """The discount that offsets the commitment: 1 - E[B] / E[max(C, B)]."""
        priced = _mean(np.maximum(ledger.bills, self.commitment_usd), weights)
        return replace(self, discount=max(1 - _mean(ledger.bills, weights) / priced, 0.0) if priced > 0 else 0.0)

    def kinks(self) -> tuple[float, ...]:
        """The commitment."""
        return (self.commitment_usd,)


@dataclass(frozen=True)
class Credits(Contract):
    """Prepaid credits: each month buys credits, the oldest are used first, and unused ones expire.

    `fee_usd`: USD per month; `credit_usd`: usage at list that a month's fee buys; `expiry_months`: how many months
    credits are valid, including the month of purchase; `overage_rate`: price of usage without credits, as a share of
    list. P depends on earlier months and needs a ledger; `price` takes bills as consecutive months of one customer.
    Each path starts without credits, and a month without a bill buys none.
    """

    fee_usd: float = 0.0
    credit_usd: float = 0.0
    expiry_months: int = DEFAULT_EXPIRY_MONTHS
    overage_rate: float = 1.0
    name: ClassVar[str] = "credits"

    def __post_init__(self) -> None:
        for term in ("fee_usd", "credit_usd", "overage_rate"):
            _require(_is_amount(getattr(self, term)), f"credits: {term} must be finite and not negative")
        _require(self.expiry_months >= 1, "credits: expiry_months must be at least 1")

    def price(self, bills: Usd) -> Usd:
        """The price of consecutive months of one customer."""
        return self.price_in(Ledger.of(bills))

    def price_in(self, ledger: Ledger) -> Usd:
        """F + r (usage without credits)."""
        return self.fee_usd + self.overage_rate * self._uncovered(ledger)

    def ceded_in(self, ledger: Ledger) -> Usd:
        """Bill - price + fee."""
        return ledger.bills - self.price_in(ledger) + self.fee_usd

    def idle_price(self) -> float:
        """The fee."""
        return self.fee_usd

    def _uncovered(self, ledger: Ledger) -> Usd:
        """Usage without credits: month by month for all paths at once; the columns of `held` are months to expiry."""
        order = np.lexsort((ledger.months, ledger.paths))
        paths = np.unique(ledger.paths[order], return_inverse=True)[1]
        first = np.flatnonzero(np.diff(paths, prepend=-1))
        step = np.arange(paths.size) - first[paths]
        held = np.zeros((first.size, self.expiry_months))  # column j: credits valid for j more months
        last_month = ledger.months[order][first]
        uncovered = np.zeros(paths.size)
        by_step = np.argsort(step, kind="stable")
        ends = np.cumsum(np.bincount(step))
        for begin, end in zip(np.concatenate(([0], ends[:-1])), ends, strict=True):
            rows = by_step[begin:end]
            who, at = paths[rows], order[rows]
            ages = np.minimum(ledger.months[at] - last_month[who], self.expiry_months)[:, None]
            source = np.arange(self.expiry_months)[None, :] + ages
            credit = np.where(
                source < self.expiry_months,
                np.take_along_axis(held[who], np.minimum(source, self.expiry_months - 1), axis=1),
                0.0,
            )
            credit[:, -1] += self.credit_usd
            used = np.minimum(np.cumsum(credit, axis=1), ledger.bills[at][:, None])
            held[who] = credit - np.diff(used, axis=1, prepend=0.0)
            uncovered[at] = ledger.bills[at] - used[:, -1]
            last_month[who] = ledger.months[at]
        return uncovered

    def with_fee(self, fee_usd: float) -> Self:
        """The same credits at another fee."""
        return replace(self, fee_usd=fee_usd)


@dataclass(frozen=True)
class SessionCap(Contract):
    """A fee, and a cap on the cost of each session. P = F + B - sum over the bill's sessions of (cost - cap)+.

    `fee_usd`: USD per month; `cap_usd`: USD per session. Needs a ledger with sessions; `price` takes each bill as a
    single session. Usage outside of sessions is at list.
    """

    cap_usd: float
    fee_usd: float = 0.0
    name: ClassVar[str] = "session_cap"

    def __post_init__(self) -> None:
        for term in ("cap_usd", "fee_usd"):
            _require(_is_amount(getattr(self, term)), f"session_cap: {term} must be finite and not negative")

    def price(self, bills: Usd) -> Usd:
        """The price of bills that are single sessions."""
        return self.price_in(Ledger.of(bills))

    def price_in(self, ledger: Ledger) -> Usd:
        """F + the bill - the cost of its sessions above the cap, at least F.

        Raises:
            ValueError: the ledger has no sessions.

        """
        return self.fee_usd + ledger.bills - self.ceded_in(ledger)

    def ceded(self, bills: Usd) -> Usd:
        """The ceded part of bills that are single sessions."""
        return self.ceded_in(Ledger.of(bills))

    def ceded_in(self, ledger: Ledger) -> Usd:
        """Sum of (cost - cap)+, at most the bill."""
        if ledger.over_cap is None:
            raise ValueError("session_cap needs the sessions of each bill")
        return np.minimum(ledger.over_cap(self.cap_usd), ledger.bills)

    def idle_price(self) -> float:
        """The fee."""
        return self.fee_usd

    def with_fee(self, fee_usd: float) -> Self:
        """The same cap at another fee."""
        return replace(self, fee_usd=fee_usd)


@dataclass(frozen=True)
class Combined(Contract):
    """The terms of a quote, all of them optional. P = F + (1 - discount) max(C, U(B)).

    U is r (B - Q)+, or the price under `tiers`. Without any term this is per-token. `title`: the user's name for it;
    all amounts in USD per month.
    """

    title: str
    fee_usd: float = 0.0
    commitment_usd: float = 0.0
    discount: float = 0.0
    allowance_usd: float = 0.0
    overage_rate: float = 1.0
    tiers: Tiered | None = None
    name: ClassVar[str] = "combined"

    def __post_init__(self) -> None:
        for term in ("fee_usd", "commitment_usd", "allowance_usd", "overage_rate"):
            _require(_is_amount(getattr(self, term)), f"{self.title}: {term} must be finite and not negative")
        _require(0 <= self.discount <= 1, f"{self.title}: discount must lie between 0 and 1")

    @property
    def label(self) -> str:
        """The user's name for the quote."""
        return self.title

    def _usage(self, bills: Usd) -> Usd:
        if self.tiers is not None:
            return self.tiers.price(bills)
        return self.overage_rate * np.maximum(np.asarray(bills, dtype=np.float64) - self.allowance_usd, 0.0)

    def price(self, bills: Usd) -> Usd:
        """F + (1 - discount) max(C, U(B))."""
        return self.fee_usd + (1 - self.discount) * np.maximum(self._usage(bills), self.commitment_usd)

    def params(self) -> Params:
        """The terms that differ from per-token."""
        terms = {key: value for key, value in asdict(self).items() if key not in ("title", "tiers")}
        neutral = {"overage_rate": 1.0}
        named = {key: value for key, value in terms.items() if value != neutral.get(key, 0.0)}
        if self.tiers is None:
            return named
        tiers = [
            {"from_usd": edge, "rate": rate} for edge, rate in zip(self.tiers.from_usd, self.tiers.rates, strict=True)
        ]
        return named | {"tiers": tiers, "tier_kind": self.tiers.kind}

    def with_fee(self, fee_usd: float) -> Self:
        """The same terms at another fee."""
        return replace(self, fee_usd=fee_usd)

    def solved(self, ledger: Ledger, weights: Usd | None) -> Self:
        """The fee; if usage alone earns more than E[B], no fee and a discount."""
        free = replace(self, fee_usd=0.0)
        target, priced = _mean(ledger.bills, weights), _mean(free.price_in(ledger), weights)
        if priced <= target:
            return super().solved(ledger, weights)
        return replace(free, discount=1 - (1 - self.discount) * target / priced)

    def kinks(self) -> tuple[float, ...]:
        """The bounds of the allowance or tiers, and where usage reaches the commitment."""
        edges = self.tiers.kinks() if self.tiers is not None else (self.allowance_usd,)
        bounds = {edge for edge in edges if edge > 0}
        crossings = _crossings(self._usage, self.commitment_usd, 0.0, tuple(sorted(bounds)))
        return tuple(sorted(bounds.union(crossings)))


def _crossings(line: Callable[[Usd], Usd], level: float, slope: float, kinks: tuple[float, ...]) -> list[float]:
    """Where `line` (linear between kinks) crosses or jumps over level + slope B, ascending; touching does not count."""
    edges = [0.0, *kinks]
    crossings: list[float] = []
    before = 0.0  # the last nonzero gap before the edge
    for number, start in enumerate(edges):
        is_last = number + 1 == len(edges)
        end = start + max(start, 1.0) if is_last else edges[number + 1]
        inside = np.array([start + (end - start) / 3, start + 2 * (end - start) / 3])
        gap = line(inside) - level - slope * inside
        steep = float(gap[1] - gap[0]) / float(inside[1] - inside[0])
        at_start = float(gap[0]) - steep * float(inside[0] - start)
        noise = 1e-12 * (1.0 + abs(level) + end)
        at_start = 0.0 if abs(at_start) <= noise else at_start
        at_end = at_start + steep * (end - start)
        at_end = 0.0 if abs(at_end) <= noise else at_end
        after = at_start or at_end
        if before * after < 0:
            crossings.append(start)
        root = start - at_start / steep if abs(steep) > 1e-12 else np.inf
        if at_start * steep < 0 and (is_last or at_start * at_end < 0) and root > 0:
            crossings.append(float(root))
            before = steep
        else:
            before = after or before
    return sorted(set(crossings))


def break_even(contract: Contract) -> list[float]:
    """The bills in USD, ascending, at which the contract changes between cheaper and more expensive than per-token.

    For contracts on single bills (not credits or session_cap): their price is linear between kinks.
    """
    return _crossings(contract.price, 0.0, 1.0, contract.kinks())


def at_equal_revenue(contract: AnyContract, bills: Usd | Ledger, weights: Usd | None = None) -> AnyContract:
    """The contract with the fee, premium, discount or rates at which E[P(B)] = E[B], before the loading.

    All customers of the pool get the same terms. `weights` (same shape, sum above 0) are the bills' probabilities or
    counts; equal by default.

    Raises:
        ValueError: invalid bills, or no fee >= 0 reaches equal revenue.

    """
    ledger = Ledger.of(bills)
    target = _mean(ledger.bills, weights)
    solved = contract.solved(ledger, weights)
    reached = _mean(solved.price_in(ledger), weights)
    if abs(reached - target) > EQUAL_REVENUE_TOLERANCE * target:
        raise ValueError(f"{contract.label}: E[P] = {reached!r} where E[B] = {target!r}; no fee >= 0 closes the gap")
    return solved


def classics_at_equal_revenue(bills: Usd | Ledger) -> tuple[PerToken, Bundle, Hybrid, Insurance]:
    """The four classic contracts at their default terms, each solved for E[P(B)] = E[B].

    Raises:
        ValueError: invalid bills.

    """
    ledger = Ledger.of(bills)
    deductible_usd = float(np.quantile(ledger.bills, DEFAULT_DEDUCTIBLE_QUANTILE))
    return (
        PerToken(),
        at_equal_revenue(Bundle(), ledger),
        at_equal_revenue(Hybrid(), ledger),
        at_equal_revenue(Insurance(deductible_usd), ledger),
    )


def defaults_at_equal_revenue(bills: Usd | Ledger, *, session_cap_usd: float | None = None) -> tuple[Contract, ...]:
    """Every mechanism at its default terms over `bills`, each solved for E[P(B)] = E[B].

    The classics; an allowance of the mean bill with overage at list; graduated tiers at 1, and at 0.9 and 0.8 above the
    median and the 90th percentile, with all rates scaled; a commitment to the median bill, with its discount solved;
    credits of the mean bill per month, valid for three months. `session_cap_usd` adds a cap per session, and needs
    sessions in the ledger.

    Raises:
        ValueError: invalid bills.

    """
    ledger = Ledger.of(bills)
    mean, median = float(ledger.bills.mean()), float(np.median(ledger.bills))
    edges = sorted({0.0, *(float(np.quantile(ledger.bills, q)) for q in DEFAULT_TIER_QUANTILES)})
    contracts: list[Contract] = [
        *classics_at_equal_revenue(ledger),
        at_equal_revenue(Allowance(allowance_usd=mean), ledger),
        at_equal_revenue(Tiered(tuple(edges), DEFAULT_TIER_RATES[: len(edges)]), ledger),
        at_equal_revenue(Commitment(median), ledger),
        at_equal_revenue(Credits(credit_usd=mean), ledger),
    ]
    if session_cap_usd is not None:
        contracts.append(at_equal_revenue(SessionCap(session_cap_usd), ledger))
    return tuple(contracts)
