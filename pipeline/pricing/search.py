"""The cheapest contract that reaches a target, over all terms of every mechanism.

Belongs here: the terms of each mechanism as numbers to search, and the search. Does not belong here: the price of a
contract (`terms`), its loading (`risk`), which targets there are and their sentences (`recommendation`).

1. A `Family` has up to two outer terms and a `relief` between 0 and 1: the more, the less the provider takes over.
2. `cheapest` tries the outer terms on a grid, finds for each the largest relief that reaches the target, and refines
   the grid around the best under each loading principle. It works on a few hundred bills that stand for all.
3. The relief of the best terms is solved again on all bills, with exact loadings.

Loadings do not change when a constant is added to the ceded loss, so the search compares bill - price at equal revenue.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pipeline.pricing.terms import (
    Allowance,
    Commitment,
    Contract,
    Credits,
    Hybrid,
    Insurance,
    Integers,
    Ledger,
    SessionCap,
    Tiered,
    Usd,
)

Flags = NDArray[np.bool_]

SAMPLE_BILLS = 500  # on which terms are compared
CREDIT_SAMPLE = 1_200
MAX_PATH_MONTHS = 240  # credits are followed month by month: longer than twenty years is no history of bills
_RELIEFS, _HALVINGS, _ZOOM = 9, 9, 5
_PRECISION = 1e-7  # of the final relief
_TAIL = 0.99
_Z_99 = 2.3263478740408408
_QUANTILES = np.array([0, 0.05, 0.15, 0.3, 0.45, 0.6, 0.7, 0.8, 0.87, 0.92, 0.95, 0.97, 0.985, 1.0])
_EXPIRIES = (2, 3, 6)  # months; credits of one month are an allowance
MAX_OVERAGE = 1.5  # of list


@dataclass(frozen=True)
class Sample:
    """Bills (n,) with their weights (sum 1), the customer of each (sorted codes), and the loading parameters."""

    bills: Usd
    weights: Usd
    customers: Integers
    pool_customers: int
    lambda_: float
    cost_of_capital: float

    def of(self, bills: Usd, customers: Integers) -> Sample:
        """Other bills of the same customers, each of one weight; one customer stays one."""
        is_one = self.customers[0] == self.customers[-1]
        codes = np.zeros(bills.size, dtype=np.int64) if is_one else customers
        return replace(self, bills=bills, weights=np.full(bills.size, 1 / bills.size), customers=codes)

    @cached_property
    def _starts(self) -> Integers:
        return np.flatnonzero(np.diff(self.customers, prepend=-1))

    @cached_property
    def _bill_squares(self) -> float:
        return max(float(self._squares(self.bills[None, :])[0]), float(np.finfo(np.float64).tiny))

    def mean(self, values: Usd) -> Usd:
        """The mean (m,) of values (m, n)."""
        return np.asarray(np.einsum("ij,j->i", values, self.weights))  # the same on any number of threads

    def variance_left(self, prices: Usd) -> Usd:
        """Sum of squares of prices (m, n) about each customer's mean / that of the bills; customers with two bills."""
        return self._squares(prices) / self._bill_squares

    def _squares(self, values: Usd) -> Usd:
        centred = values - self.mean(values)[:, None]
        if self._starts.size == 1:
            return self.mean(centred**2)
        counts = np.diff(np.append(self._starts, self.customers.size))
        sums = np.add.reduceat(centred, self._starts, axis=1)
        squares = np.add.reduceat(centred**2, self._starts, axis=1)
        return np.asarray(((squares - sums**2 / counts) * (counts >= 2)).sum(axis=1) / self.bills.size)

    def loading(self, prices: Usd, principle: str) -> Usd:
        """The loading (m,) of prices (m, n) at equal revenue; of solvency_99 an approximation by three moments."""
        ceded = self.bills - prices
        ceded = ceded - self.mean(ceded)[:, None]
        if principle == "expected_value":
            return np.asarray(-self.lambda_ * ceded.min(axis=1))
        if principle == "cost_of_capital":
            return self.cost_of_capital * tail_mean(ceded, self.weights)
        sd = np.sqrt(self.mean(ceded**2))
        skew = np.divide(self.mean(ceded**3), sd**3, out=np.zeros(sd.size), where=sd > 0)
        root = np.sqrt(self.pool_customers)
        return np.asarray(sd / root * (_Z_99 + skew * (_Z_99**2 - 1) / (6 * root)))

    def quantile(self, values: Usd, probability: float) -> Usd:
        """The smallest value (m,) of values (m, n) that is not exceeded with this probability."""
        order = np.argsort(values, axis=1)
        at = (np.cumsum(self.weights[order], axis=1) < probability - 1e-9).sum(axis=1)
        return np.take_along_axis(values, np.take_along_axis(order, at[:, None], axis=1), axis=1)[:, 0]


def tail_mean(values: Usd, weights: Usd | None = None) -> Usd:
    """The mean (m,) of the highest 1% of values (m, n), ties split; at least of the highest one.

    `weights` (n,) are probabilities, equal by default.
    """
    if weights is None:
        weights = np.full(values.shape[1], 1 / values.shape[1])
    order = np.argsort(-values, axis=1)
    ordered = weights[order]
    share = np.clip(1 - _TAIL - (np.cumsum(ordered, axis=1) - ordered), 0.0, ordered)
    return np.asarray((share * np.take_along_axis(values, order, axis=1)).sum(axis=1) / share.sum(axis=1))


@dataclass(frozen=True)
class Family:
    """A mechanism with its terms as numbers: `outer` (m, k) and `relief` (m,) in 0 to 1.

    `prices(outer, relief)` (m, n) on the bills of its sample, before the fee and up to a factor; `make` the contract.
    `has_fee`: equal revenue by a fee (at least 0), else by a factor. `axes`: the grid of each outer term.
    """

    name: str
    sample: Sample
    axes: tuple[Usd, ...]
    prices: Callable[[Usd, Usd], Usd]
    make: Callable[[Usd, float], Contract]
    has_fee: bool = True
    rounds: int = 4

    def at_equal_revenue(self, outer: Usd, relief: Usd) -> tuple[Usd, Flags]:
        """Prices (m, n) of mean E[B], and whether the terms are possible."""
        raw = self.prices(outer, relief)
        mean, target = self.sample.mean(raw)[:, None], float(self.sample.mean(self.sample.bills[None, :])[0])
        if self.has_fee:
            return raw + (target - mean), mean[:, 0] <= target * (1 + 1e-9)
        return raw * np.divide(target, mean, out=np.zeros_like(mean), where=mean > 0), mean[:, 0] > 0


@dataclass(frozen=True)
class Target:
    """What a contract has to reach: at least `variance_reduction`, or a loaded price within a budget."""

    variance_reduction: float | None = None
    budget_usd: float = 0.0
    probability: float = 0.95

    def stricter(self, margin: float) -> Target:
        """A target that leaves less variance, or less of the budget, by a share."""
        if self.variance_reduction is None:
            return replace(self, budget_usd=self.budget_usd * (1 - margin))
        return replace(self, variance_reduction=1 - (1 - self.variance_reduction) * (1 - margin))

    def reached(self, sample: Sample, prices: Usd, principle: str) -> Flags:
        """Whether prices (m, n) at equal revenue reach it."""
        if self.variance_reduction is not None:
            return np.asarray(1 - sample.variance_left(prices) >= self.variance_reduction - 1e-12)
        high = sample.quantile(prices, self.probability)
        return np.asarray(high + sample.loading(prices, principle) <= self.budget_usd * (1 + 1e-9))


def families(ledger: Ledger, sample: Sample) -> list[Family]:
    """Every mechanism that the ledger allows; `sample` stands for its bills."""
    bills = sample.bills
    ordered = np.sort(bills)

    def amount(place: Usd) -> Usd:
        """The bill at a place of 0 (no bill) to 1 (the highest)."""
        known = np.concatenate(([0.0], ordered))
        return np.asarray(np.interp(place, np.linspace(0, 1, known.size), known))

    def layer(outer: Usd) -> tuple[Usd, Usd]:
        low, high = amount(outer[:, :1]), amount(outer[:, 1:2])
        return low, np.where(outer[:, 1:2] >= 1, np.inf, np.maximum(high, low))

    def insurance(outer: Usd, relief: Usd) -> Usd:
        low, high = layer(outer)
        return np.asarray(bills - (1 - relief[:, None]) * (np.minimum(bills, high) - np.minimum(bills, low)))

    def make_insurance(outer: Usd, relief: float) -> Contract:
        low, high = (float(each[0, 0]) for each in layer(outer[None, :]))
        return Insurance(low, None if np.isinf(high) else high - low, relief)

    def tiers(outer: Usd, relief: Usd) -> Usd:
        below = np.minimum(bills, amount(outer))
        return below + relief[:, None] * (bills - below)

    def volume(outer: Usd, relief: Usd) -> Usd:
        return np.where(bills < amount(outer), bills, relief[:, None] * bills)

    def make_tiers(kind: str) -> Callable[[Usd, float], Contract]:
        def make(outer: Usd, relief: float) -> Contract:
            edge = float(amount(outer)[0])
            return Tiered((0.0, edge), (1.0, relief), kind) if edge > 0 else Tiered((0.0,), (1.0,))  # type: ignore[arg-type]

        return make

    top = 1.001 * float(ordered[-1])
    found = [
        Family("hybrid", sample, (), lambda outer, relief: relief[:, None] * bills, lambda o, s: Hybrid(theta=s)),
        Family(
            "insurance",
            sample,
            (),
            lambda outer, relief: np.minimum(bills, amount(relief[:, None])),
            lambda outer, relief: Insurance(float(amount(np.array(relief)))),
        ),
        Family("insurance", sample, (_QUANTILES, _QUANTILES), insurance, make_insurance),
        Family(
            "allowance",
            sample,
            (_QUANTILES,),
            lambda outer, relief: MAX_OVERAGE * relief[:, None] * np.maximum(bills - amount(outer), 0.0),
            lambda outer, relief: Allowance(0.0, float(amount(outer)[0]), MAX_OVERAGE * relief),
        ),
        Family("tiered", sample, (_QUANTILES,), tiers, make_tiers("graduated"), has_fee=False),
        Family("tiered", sample, (_QUANTILES,), volume, make_tiers("volume"), has_fee=False),
        Family(
            "commitment",
            sample,
            (),
            lambda outer, relief: np.maximum(bills, (1 - relief[:, None]) * top),
            lambda outer, relief: Commitment((1 - relief) * top),
            has_fee=False,
        ),
    ]
    return [*found, *_of_the_ledger(ledger, sample)]


def _of_the_ledger(ledger: Ledger, sample: Sample) -> list[Family]:
    """Credits and caps per session depend on earlier months or on sessions: they need the bills themselves."""
    found = []
    if int(np.bincount(ledger.paths).max()) <= MAX_PATH_MONTHS:
        found = [_credits(ledger, sample, expiry_months) for expiry_months in _EXPIRIES]
    over_cap = ledger.over_cap
    if over_cap is not None:
        highest = float(ledger.bills.max())

        def cap(relief: float) -> float:
            return float(highest * 1e-4 ** (1 - relief))

        def capped(outer: Usd, relief: Usd) -> Usd:
            rows = {share: ledger.bills - SessionCap(cap(share)).ceded_in(ledger) for share in set(relief.tolist())}
            return np.array([rows[share] for share in relief.tolist()])

        whole = sample.of(ledger.bills, ledger.paths)
        found.append(Family("session_cap", whole, (), capped, lambda outer, relief: SessionCap(cap(relief))))
    return found


def _credits(ledger: Ledger, sample: Sample, expiry_months: int) -> Family:
    """Prepaid credits that are valid for `expiry_months`, on the first whole paths of the ledger."""
    n = ledger.bills.size
    paths_in_order = bool((np.diff(ledger.paths) >= 0).all())
    end = int(np.searchsorted(ledger.paths, ledger.paths[CREDIT_SAMPLE])) if n > CREDIT_SAMPLE and paths_in_order else 0
    first = slice(end or None)
    part = Ledger(ledger.bills[first], ledger.paths[first], ledger.months[first])
    mean = float(part.bills.mean())
    known: dict[float, Usd] = {}

    def uncovered(credit_usd: float) -> Usd:
        if credit_usd not in known:
            known[credit_usd] = Credits(0.0, credit_usd, expiry_months).price_in(part)
        return known[credit_usd]

    return Family(
        "credits",
        sample.of(part.bills, part.paths),
        (np.array([0.1, 0.4, 0.8, 1.2, 2.0]),),
        lambda outer, relief: (
            MAX_OVERAGE * relief[:, None] * np.array([uncovered(share * mean) for share in outer[:, 0].tolist()])
        ),
        lambda outer, relief: Credits(0.0, float(outer[0]) * mean, expiry_months, MAX_OVERAGE * relief),
        rounds=2,
    )


def sample_of(ledger: Ledger, customers: Integers, pool_customers: int, lambda_: float, capital: float) -> Sample:
    """Bills that stand for those of the ledger: of one customer strata, finest above; of many some whole customers."""
    n = ledger.bills.size
    if customers.min() == customers.max() and n > SAMPLE_BILLS:
        ordered = np.sort(ledger.bills)
        # strata grow downwards: the highest hundredth of 10,000 bills has one bill each
        edges = np.unique(np.floor(n * (1 - np.linspace(1, 0, SAMPLE_BILLS + 1)[:-1] ** 2)).astype(np.int64))
        counts = np.diff(np.append(edges, n))
        bills = np.add.reduceat(ordered, edges) / counts
        return Sample(bills, counts / n, np.zeros(bills.size, dtype=np.int64), pool_customers, lambda_, capital)
    order = np.argsort(customers, kind="stable")
    bills, codes = ledger.bills[order], customers[order]
    if n > 4 * SAMPLE_BILLS:
        names = np.unique(codes)
        share = max(int(names.size * 2 * SAMPLE_BILLS / n), 2)
        inside = np.isin(codes, np.random.default_rng(0).permutation(names)[:share])
        bills, codes = bills[inside], codes[inside]
    return Sample(bills, np.full(bills.size, 1 / bills.size), codes, pool_customers, lambda_, capital)


@dataclass(frozen=True)
class Found:
    """The terms of the cheapest contract of a family, and its loading on the sample, USD per bill."""

    family: Family
    outer: Usd
    relief: float
    loading: float


def least_covers(family: Family, target: Target, principles: Sequence[str]) -> dict[str, Found]:
    """By principle the cheapest contract of the family that reaches the target on its sample."""
    found: dict[str, Found] = {}
    start = _product(family.axes)
    coarse = None
    if not principles:
        return found
    for principle in principles:
        if coarse is None or target.variance_reduction is None:
            coarse = _solved(family, start, target, principle)
        reliefs, prices = coarse
        best = _best(family, start, reliefs, prices, principle)
        if best is None:
            continue
        outer, relief, cost = best
        width = np.array([float(np.diff(axis).max()) for axis in family.axes])
        for _ in range(family.rounds if width.size else 0):
            near = _product(tuple(np.linspace(-1, 1, _ZOOM) * each for each in width)) + outer
            near = np.clip(near, *(np.array([edge(axis) for axis in family.axes]) for edge in (np.min, np.max)))
            again = _best(family, near, *_solved(family, near, target, principle), principle)
            if again is not None and again[2] < cost:
                outer, relief, cost = again
            width = width / 2.5
        found[principle] = Found(family, outer, relief, cost)
    return found


def _product(axes: tuple[Usd, ...]) -> Usd:
    """All combinations (m, k) of the axes."""
    if not axes:
        return np.zeros((1, 0))
    return np.stack([each.ravel() for each in np.meshgrid(*axes, indexing="ij")], axis=1)


def _solved(family: Family, outer: Usd, target: Target, principle: str) -> tuple[Usd, Usd]:
    """The largest relief (m,) that reaches the target, nan where none does, and the prices (m, n) there."""
    sample = family.sample
    low, high = np.full(len(outer), np.nan), np.full(len(outer), np.nan)

    def reached(relief: Usd) -> Flags:
        prices, possible = family.at_equal_revenue(outer, relief)
        return possible & target.reached(sample, prices, principle)

    for relief in np.linspace(1, 0, _RELIEFS):
        open_ = np.isnan(low)
        passes = open_ & reached(np.full(len(outer), relief))
        low[passes] = relief
        high[open_ & ~passes] = relief
    high = np.where(np.isnan(high), 1.0, high)
    known = ~np.isnan(low)
    high = np.where(known & (high < low), low, high)
    for _ in range(_HALVINGS):
        middle = np.where(known, (low + high) / 2, 0.0)
        passes = reached(middle)
        low, high = np.where(known & passes, middle, low), np.where(known & ~passes, middle, high)
    return low, family.at_equal_revenue(outer, np.nan_to_num(low))[0]


def _best(family: Family, outer: Usd, reliefs: Usd, prices: Usd, principle: str) -> tuple[Usd, float, float] | None:
    cost = np.where(np.isnan(reliefs), np.inf, family.sample.loading(prices, principle))
    at = int(np.argmin(cost))
    return None if np.isinf(cost[at]) else (outer[at], float(reliefs[at]), float(cost[at]))


def tightened(found: Found, reaches: Callable[[Contract], bool]) -> Contract | None:
    """The contract with the largest relief near the found one that reaches the target on all bills; None if none."""
    steps = (0.0, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)

    def contract(relief: float) -> Contract:
        return found.family.make(found.outer, relief)

    def first(places: Iterable[float], is_reached: bool) -> float | None:
        return next((each for each in places if reaches(contract(each)) == is_reached), None)

    low = first((found.relief * (1 - step) for step in steps), True)
    if low is None:
        return None
    high = first((low + (1 - low) * step for step in steps[1:]), False)
    if high is None:
        return contract(1.0)
    while high - low > _PRECISION:
        middle = (low + high) / 2
        low, high = (middle, high) if reaches(contract(middle)) else (low, middle)
    return contract(low)
