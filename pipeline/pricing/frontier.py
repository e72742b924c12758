"""Risk against price for all parameters of a mechanism, and the cheapest contract that reaches a target.

Belongs here: variance reduction, premium and tail of stop-loss, allowance, commitment and hybrid for all parameters, in
one sorted pass each, and the choice among them. Does not belong here: single contracts (`terms`), the statistics of
given prices (`risk`), tables (`recommendation`).

All contracts are at equal revenue, E[P(B)] = E[B], before the loading. All four reduce to min(B, d): stop-loss retains
min(B, d); an allowance charges (B - Q)+ = B - min(B, Q); a commitment max(C, B) = C + (B - C)+.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipeline.analysis.stats.describe import dot
from pipeline.pricing.bill_model import sum_of_independent
from pipeline.pricing.risk import (
    EXPECTED_VALUE_LAMBDA,
    POOL_CUSTOMERS,
    SOLVENCY_QUANTILE,
    loadings,
    variance_reduction_within,
    vary,
)
from pipeline.pricing.terms import (
    Allowance,
    Commitment,
    Contract,
    Hybrid,
    Insurance,
    Integers,
    Ledger,
    Usd,
    at_equal_revenue,
    checked_bills,
)

Flags = NDArray[np.bool_]

MECHANISMS = ("hybrid", "insurance", "allowance", "commitment")
PRINCIPLES = ("expected_value", "solvency_99")
_KNOTS = (16, 25)  # parameters with an exact convolution, spaced by premium and by variance; others: interpolated
_TAIL = 0.99
_NEAR, _HALVINGS = 1e-4, 20  # relative accuracy of a parameter between two bills, and the bisection steps for it


@dataclass(frozen=True)
class Frontier:
    """One mechanism at each `parameter` (n,), ascending: a threshold in USD, or theta.

    `variance_reduction` (n,) is within customers, or over all bills of a single customer; None if no customer has two
    bills. `tvar_99` (n,) is that of the price in USD; None below 100 bills. `pure_premium` (n,) is the mean ceded loss;
    `fee` (n,) the fee, premium or (commitment) discount at equal revenue; `loading` USD per bill by principle.
    """

    mechanism: str
    parameter: Usd
    variance_reduction: Usd | None
    tvar_99: Usd | None
    pure_premium: Usd
    fee: Usd
    loading: dict[str, Usd]

    def contract(self, at: int) -> Contract:
        """The contract at one parameter."""
        value, fee = float(self.parameter[at]), float(self.fee[at])
        if self.mechanism == "hybrid":
            return Hybrid(fee, value)
        if self.mechanism == "insurance":
            return Insurance(value, premium_usd=fee)
        return Allowance(fee, value) if self.mechanism == "allowance" else Commitment(value, fee)

    def thinned(self, points: int) -> Frontier:
        """At most `points` parameters, evenly spaced by rank, including both ends."""
        n = self.parameter.size
        if n <= points:
            return self
        at = np.unique(np.linspace(0, n - 1, points).round().astype(np.int64))
        return replace(
            self,
            parameter=self.parameter[at],
            variance_reduction=None if self.variance_reduction is None else self.variance_reduction[at],
            tvar_99=None if self.tvar_99 is None else self.tvar_99[at],
            pure_premium=self.pure_premium[at],
            fee=self.fee[at],
            loading={name: values[at] for name, values in self.loading.items()},
        )


@dataclass(frozen=True)
class Cover:
    """The retained part min(B, d) of bills, for every bill as d; arrays of shape (n,) by ascending d."""

    threshold: Usd
    retained_mean: Usd
    variance_reduction: Usd | None
    tail_mean: Usd | None


def stop_loss(
    bills: Usd,
    customers: Integers | None = None,
    weights: Usd | None = None,
    *,
    tail: float | None = _TAIL,
) -> Cover:
    """Mean, variance reduction and tail mean of min(B, d) at every deductible d among `bills`, in one sorted pass.

    `bills` (n,) in USD; `customers` (n,) the customer of each as 0, 1, 2, ..., one customer by default. Variance is
    about each customer's own mean, for customers with at least two bills. `weights` (n,) are probabilities or counts,
    1 by default. pure premium = E[B] - retained_mean. `tail_mean` is the mean of min(B, d) over the highest 1 - `tail`
    of the bills, ties split; None if n (1 - tail) < 1. O(n log n).

    Raises:
        ValueError: invalid bills.

    """
    return _cover(checked_bills(bills), customers, weights, tail)


def _cover(values: Usd, customers: Integers | None, weights: Usd | None, tail: float | None) -> Cover:
    """`stop_loss` for any finite values; negated bills give max(B, d)."""
    if customers is None and weights is None:
        order, b = None, np.sort(values)
        w = np.ones(b.size)
    else:
        order = np.argsort(values, kind="stable")
        b = values[order]
        w = np.ones(b.size) if weights is None else np.asarray(weights, dtype=np.float64)[order]
    total = float(w.sum())
    centre = dot(w, b) / total
    b = b - centre  # against cancellation: squares of bills are large compared with the variance
    below = np.cumsum(w)
    above = np.maximum(total - below, 0.0)
    below_sum = np.cumsum(w * b)
    retained = (below_sum + above * b) / total
    tail_mean = None if tail is None else _tail_mean(b, w, total, tail)
    return Cover(
        threshold=b + centre,
        retained_mean=retained + centre,
        variance_reduction=(
            _within(b, w, None if customers is None or order is None else customers[order])
            if vary(values, customers)
            else None
        ),
        tail_mean=None if tail_mean is None else tail_mean + centre,
    )


def _tail_mean(b: Usd, w: Usd, total: float, tail: float) -> Usd | None:
    size = total * (1 - tail)
    if _weights_are_bills(w) and size < 1 - 1e-9:
        return None
    beyond = np.maximum(total - np.cumsum(w), 0.0)  # weight of the higher bills
    share = np.clip(size - beyond, 0.0, w)
    total_share = float(share.sum())
    partial, rest = np.cumsum(share * b), np.maximum(total_share - np.cumsum(share), 0.0)
    return np.asarray((partial + rest * b) / total_share)


def _weights_are_bills(w: Usd) -> bool:
    """Whether the weights are counts of bills; else they are probabilities, which support any tail."""
    return bool(w[0] >= 1)


def _within(b: Usd, w: Usd, customers: Integers | None) -> Usd:
    """1 - SS(min(B, d)) / SS(B), sums of squares about each customer's mean, at every d = b (ascending, centred).

    For one d, the sum of squares of min(B, d) is Q + W d^2, with Q over bills up to d and W the weight above. From it,
    each customer of weight m subtracts (S + k d)^2 / m, with S the sum up to d and k the weight above. From one bill to
    the next, S and k change for one customer only, so the sums over customers of S^2/m, S k/m and k^2/m are running
    sums too.
    """
    if customers is None:
        total = float(w.sum())
        upto, above = np.cumsum(w * b), np.maximum(total - np.cumsum(w), 0.0)
        squares = np.cumsum(w * b * b) + above * b * b
        about_mean = squares - (upto + above * b) ** 2 / total
    else:
        m = np.bincount(customers, w)[customers]
        repeated = np.bincount(customers)[customers] >= 2
        counted = np.where(repeated, w, 0.0)
        above = np.maximum(float(counted.sum()) - np.cumsum(counted), 0.0)
        squares = np.cumsum(counted * b * b) + above * b * b
        by_customer = np.argsort(customers, kind="stable")
        s_after, k_after = np.empty(b.size), np.empty(b.size)
        wb = w * b
        first = np.flatnonzero(np.diff(customers[by_customer], prepend=-1))
        lengths = np.diff(np.append(first, b.size))
        for target, parts in ((s_after, wb), (k_after, w)):
            running = np.cumsum(parts[by_customer])
            before = np.repeat(running[first] - parts[by_customer][first], lengths)
            target[by_customer] = running - before
        k_after = m - k_after
        s_before, k_before = s_after - wb, k_after + w
        mask = np.where(repeated, 1 / m, 0.0)
        start = float(
            np.bincount(customers, counted)[np.bincount(customers) >= 2].sum()
        )  # sum of k^2/m before the first bill
        ss = np.cumsum(mask * (s_after**2 - s_before**2))
        sk = np.cumsum(mask * (s_after * k_after - s_before * k_before))
        kk = start + np.cumsum(mask * (k_after**2 - k_before**2))
        about_mean = squares - (ss + 2 * sk * b + kk * b * b)
    whole = max(float(about_mean[-1]), np.finfo(np.float64).tiny)  # 0 by cancellation if bills hardly vary
    return np.clip(1 - about_mean / whole, 0.0, 1.0)


def frontiers(
    bills: Usd,
    customers: Integers | None = None,
    *,
    pool_customers: int = POOL_CUSTOMERS,
    lambda_: float = EXPECTED_VALUE_LAMBDA,
) -> tuple[Frontier, ...]:
    """All parameters of the four mechanisms of `MECHANISMS` over `bills` (n,) in USD.

    Thresholds are 0 and every bill; theta has equally many values from 0 to 1. The expected_value loading is `lambda_`
    x the pure premium. The solvency_99 loading is computed by convolution at 16 parameters evenly spaced by pure
    premium and 25 by variance reduction, and interpolated between them; for hybrid it is exact, because its ceded loss
    is a share of the bill.

    Raises:
        ValueError: invalid bills.

    """
    values = checked_bills(bills)
    unloaded = (
        _hybrid(values, customers),
        _insurance(values, customers),
        _allowance(values, customers),
        _commitment(values, customers),
    )
    return tuple(_loaded(each, values, pool_customers, lambda_) for each in unloaded)


def _hybrid(values: Usd, customers: Integers | None) -> Frontier:
    cover = _cover(values, customers, None, _TAIL)
    theta = np.linspace(0.0, 1.0, values.size + 1)
    mean = float(values.mean())
    pure = (1 - theta) * mean
    return Frontier(
        "hybrid",
        theta,
        None if cover.variance_reduction is None else 1 - theta**2,
        None if cover.tail_mean is None else pure + theta * float(cover.tail_mean[-1]),
        pure,
        pure,
        {},
    )


def _insurance(values: Usd, customers: Integers | None) -> Frontier:
    cover = _cover(values, customers, None, _TAIL)
    pure = np.maximum(float(values.mean()) - cover.retained_mean, 0.0)
    tvar = None if cover.tail_mean is None else cover.tail_mean + pure
    full = Frontier("insurance", cover.threshold, cover.variance_reduction, tvar, pure, pure, {})
    return _with_zero(full, 1.0, float(values.mean()), float(values.mean()))


def _with_zero(frontier: Frontier, reduction: float, pure: float, tvar: float) -> Frontier:
    """The frontier with threshold 0 prepended, unless a bill is 0."""
    if frontier.parameter[0] <= 0:
        return frontier
    front = np.concatenate
    return replace(
        frontier,
        parameter=front(([0.0], frontier.parameter)),
        variance_reduction=(
            None if frontier.variance_reduction is None else front(([reduction], frontier.variance_reduction))
        ),
        tvar_99=None if frontier.tvar_99 is None else front(([tvar], frontier.tvar_99)),
        pure_premium=front(([pure], frontier.pure_premium)),
        fee=front(([pure], frontier.fee)),
    )


def _excess(values: Usd, customers: Integers | None) -> tuple[Cover, Usd | None]:
    """A `Cover` of max(B, d) for every bill as d, ascending, and the mean of its highest 1%."""
    mirrored = _cover(-values, customers, None, None)
    flipped = Cover(
        -mirrored.threshold[::-1],
        -mirrored.retained_mean[::-1],
        None if mirrored.variance_reduction is None else mirrored.variance_reduction[::-1],
        None,
    )
    d = flipped.threshold
    size = d.size * (1 - _TAIL)
    if size < 1 - 1e-9:
        return flipped, None
    share = np.clip(size - np.arange(d.size - 1, -1, -1), 0.0, 1.0)
    upto = np.cumsum(share)
    above = dot(share, d) - np.cumsum(share * d)
    return flipped, (upto * d + above) / float(share.sum())


def _allowance(values: Usd, customers: Integers | None) -> Frontier:
    larger, tail = _excess(values, customers)
    mean = float(values.mean())
    fee = np.maximum(mean - (larger.retained_mean - larger.threshold), 0.0)  # E[min(B, Q)]
    tvar = None if tail is None else fee + tail - larger.threshold
    full = Frontier("allowance", larger.threshold, larger.variance_reduction, tvar, fee, fee, {})
    top = _cover(values, None, None, _TAIL).tail_mean
    return _with_zero(full, 0.0, 0.0, mean if top is None else float(top[-1]))


def _commitment(values: Usd, customers: Integers | None) -> Frontier:
    larger, tail = _excess(values, customers)
    mean = float(values.mean())
    factor = np.divide(mean, larger.retained_mean, out=np.ones(values.size), where=larger.retained_mean > 0)
    discount = np.clip(1 - factor, 0.0, 1.0)
    over = larger.retained_mean - larger.threshold  # E[(B - C)+]
    reduction = larger.variance_reduction
    return Frontier(
        "commitment",
        larger.threshold,
        None if reduction is None else 1 - (1 - discount) ** 2 * (1 - reduction),
        None if tail is None else (1 - discount) * tail,
        mean - (1 - discount) * over,
        discount,
        {},
    )


def _loaded(frontier: Frontier, values: Usd, pool_customers: int, lambda_: float) -> Frontier:
    expected = np.maximum(lambda_ * frontier.pure_premium, 0.0)
    if frontier.mechanism == "hybrid":
        solvency = _solvency(values, pool_customers) * (1 - frontier.parameter)
    else:
        at = _knots(frontier)
        exact = [_solvency(frontier.contract(int(k)).ceded(values), pool_customers) for k in at]
        by_premium = np.argsort(frontier.pure_premium[at], kind="stable")
        solvency = np.interp(frontier.pure_premium, frontier.pure_premium[at][by_premium], np.array(exact)[by_premium])
    return replace(frontier, loading={"expected_value": expected, "solvency_99": solvency})


def _knots(frontier: Frontier) -> Integers:
    """Both ends, and parameters evenly spaced by pure premium and by variance: one is flat where the other is steep."""
    knots = [np.array([0, frontier.parameter.size - 1])]
    for values, count in zip((frontier.pure_premium, frontier.variance_reduction), _KNOTS, strict=True):
        if values is not None:
            order = np.argsort(values, kind="stable")
            levels = np.linspace(float(values.min()), float(values.max()), count)
            knots.append(order[np.searchsorted(values[order], levels).clip(0, values.size - 1)])
    return np.unique(np.concatenate(knots)).astype(np.int64)


def _solvency(ceded: Usd, pool_customers: int) -> float:
    total = sum_of_independent(ceded, pool_customers)
    return max(total.quantile(SOLVENCY_QUANTILE) / pool_customers - float(ceded.mean()), 0.0)


@dataclass(frozen=True)
class Choice:
    """The cheapest contract of a mechanism that reaches a target, under one loading principle; USD per bill."""

    contract: Contract
    variance_reduction: float | None
    pure_premium: float
    loading: float

    @property
    def premium(self) -> float:
        """Pure premium + loading."""
        return self.pure_premium + self.loading


@dataclass(frozen=True)
class Market:
    """A ledger with its customers, the loading parameters, the frontiers over it, and contracts with fixed terms."""

    ledger: Ledger
    customers: Integers
    pool_customers: int
    lambda_: float
    frontiers: tuple[Frontier, ...]
    others: tuple[Contract, ...] = ()

    @classmethod
    def over(
        cls,
        bills: Usd | Ledger,
        customers: Integers,
        pool_customers: int,
        lambda_: float,
        others: tuple[Contract, ...] = (),
    ) -> Market:
        """The market of all four mechanisms and `others` with their terms; raises the same as `frontiers`."""
        ledger = Ledger.of(bills)
        all_frontiers = frontiers(ledger.bills, customers, pool_customers=pool_customers, lambda_=lambda_)
        return cls(ledger, customers, pool_customers, lambda_, all_frontiers, others)

    def cheapest_for_variance(self, target: float, principle: str) -> list[Choice]:
        """For each mechanism the cheapest contract that removes at least `target` of the variance, cheapest first.

        The cheapest has the smallest loading, because all cost E[B] before it. If a neighbour of the best parameter
        misses the target, the exact parameter between both is solved. `others` are included if they reach the target.
        Empty if the variance is unknown.
        """
        choices = []
        for frontier in self.frontiers:
            reduction = frontier.variance_reduction
            if reduction is None or not (reaches_target := reduction >= target - 1e-12).any():
                continue
            best = _least(frontier.loading[principle], reaches_target)
            contract = self._at_the_edge(frontier, best, reaches_target, target)
            choices.append(self._choice(contract, principle))
        for contract in self.others:
            reached = self._reduction(contract)
            if reached is not None and reached >= target - 1e-12:
                choices.append(self._choice(contract, principle))
        return sorted(choices, key=lambda choice: choice.loading)

    def _at_the_edge(self, frontier: Frontier, best: int, allowed: Flags, target: float) -> Contract:
        for other in (best - 1, best + 1):
            if not 0 <= other < allowed.size or allowed[other]:
                continue
            good, bad = float(frontier.parameter[best]), float(frontier.parameter[other])
            for _ in range(50):
                middle = (good + bad) / 2
                reached = self._reduction(self._solved(frontier.mechanism, middle))
                good, bad = (middle, bad) if reached is not None and reached >= target else (good, middle)
            return self._solved(frontier.mechanism, good)
        return frontier.contract(best)

    def _solved(self, mechanism: str, parameter: float) -> Contract:
        make: dict[str, Callable[[float], Contract]] = {
            "hybrid": lambda theta: Hybrid(theta=theta),
            "insurance": lambda deductible_usd: Insurance(deductible_usd),
            "allowance": lambda allowance_usd: Allowance(allowance_usd=allowance_usd),
            "commitment": lambda commitment_usd: Commitment(commitment_usd),
        }
        return at_equal_revenue(make[mechanism](parameter), self.ledger)

    def _reduction(self, contract: Contract) -> float | None:
        return variance_reduction_within(contract.price_in(self.ledger), self.ledger.bills, self.customers)

    def _choice(self, contract: Contract, principle: str) -> Choice:
        by_name = {
            loading.principle: loading
            for loading in loadings(contract, self.ledger, pool_customers=self.pool_customers, lambda_=self.lambda_)
        }
        ceded = float(contract.ceded_in(self.ledger).mean())
        return Choice(contract, self._reduction(contract), ceded, by_name[principle].loading)

    def cheapest_for_budget(self, budget_usd: float, probability: float, principle: str) -> list[Choice]:
        """For each mechanism the cheapest contract with a loaded price within the budget with `probability`.

        On a frontier the price rises with the bill, so only the bill at quantile `probability` needs a price. Cheapest
        first; empty if no contract is within the budget.
        """
        ordered = np.sort(self.ledger.bills)
        at = min(max(int(np.ceil(probability * ordered.size - 1e-9)) - 1, 0), ordered.size - 1)
        bill = float(ordered[at])

        def is_within(contract: Contract) -> bool:
            highest = float(contract.price(np.array([bill]))[0]) + self._loading(contract, principle)
            return highest <= budget_usd * (1 + 1e-9)

        choices = []
        for frontier in self.frontiers:
            price = _PRICE_OF[frontier.mechanism](frontier, bill) + frontier.loading[principle]
            affordable = np.flatnonzero(price <= budget_usd * (1 + 1e-12))
            order = affordable[np.argsort(frontier.loading[principle][affordable], kind="stable")]

            def is_within_at(place: int, frontier: Frontier = frontier, order: Integers = order) -> bool:
                return is_within(frontier.contract(int(order[place])))

            # candidates use the interpolated loading; the exact one decides
            place = _first(order.size, is_within_at)
            if place is not None:
                contract = self._cheaper(frontier, int(order[place]), is_within, principle)
                choices.append(self._choice(contract, principle))
        for contract in self.others:
            choice = self._choice(contract, principle)
            loaded = contract.price_in(self.ledger) + choice.loading
            if (loaded <= budget_usd * (1 + 1e-9)).mean() >= probability - 1e-9:
                choices.append(choice)
        return sorted(choices, key=lambda choice: choice.loading)

    def _cheaper(
        self, frontier: Frontier, best: int, is_within: Callable[[Contract], bool], principle: str
    ) -> Contract:
        """Bisect from the best parameter towards its cheaper neighbour, as far as the contract stays within budget."""
        loading = frontier.loading[principle]
        for other in (best - 1, best + 1):
            if not 0 <= other < loading.size or loading[other] >= loading[best]:
                continue
            good, bad = float(frontier.parameter[best]), float(frontier.parameter[other])
            for _ in range(_HALVINGS):
                if abs(good - bad) <= _NEAR * max(abs(good), abs(bad)):
                    break
                middle = (good + bad) / 2
                good, bad = (middle, bad) if is_within(self._solved(frontier.mechanism, middle)) else (good, middle)
            return self._solved(frontier.mechanism, good)
        return frontier.contract(best)

    def _loading(self, contract: Contract, principle: str) -> float:
        """The loading of `loadings` for one principle only."""
        ceded = contract.ceded_in(self.ledger)
        if principle == "expected_value":
            return max(self.lambda_ * float(ceded.mean()), 0.0)
        return _solvency(ceded, self.pool_customers)


_PRICE_OF: dict[str, Callable[[Frontier, float], Usd]] = {
    "hybrid": lambda frontier, bill: frontier.fee + frontier.parameter * bill,
    "insurance": lambda frontier, bill: frontier.fee + np.minimum(frontier.parameter, bill),
    "allowance": lambda frontier, bill: frontier.fee + np.maximum(bill - frontier.parameter, 0.0),
    "commitment": lambda frontier, bill: (1 - frontier.fee) * np.maximum(frontier.parameter, bill),
}


def _first(n: int, passes: Callable[[int], bool]) -> int | None:
    """The first of n indices that passes, if all later ones pass too; by doubling steps, then bisection."""
    low, at, last = -1, 0, n - 1
    while at < last and not passes(at):
        low, at = at, min(2 * at + 1, last)
    if at > last or not passes(at):
        return None
    while at - low > 1:
        middle = (low + at) // 2
        low, at = (low, middle) if passes(middle) else (middle, at)
    return at


def _least(loading: Usd, allowed: Flags) -> int:
    at = np.flatnonzero(allowed)
    return int(at[np.argmin(loading[at])])
