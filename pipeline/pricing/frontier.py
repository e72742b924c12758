"""Risk against price for all parameters of a mechanism, and the cheapest contract that reaches a target.

Belongs here: variance reduction, premium and tail of stop-loss, allowance, commitment and hybrid for all parameters, in
one sorted pass each, and the choice among all mechanisms. Does not belong here: single contracts (`terms`), the
statistics of given prices (`risk`), the search over terms (`search`), tables (`recommendation`).

All contracts are at equal revenue, E[P(B)] = E[B], before the loading. All four reduce to min(B, d): stop-loss retains
min(B, d); an allowance charges (B - Q)+ = B - min(B, Q); a commitment max(C, B) = C + (B - C)+.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from pipeline.analysis.stats.describe import dot
from pipeline.pricing.bill_model import sum_of_independent
from pipeline.pricing.risk import (
    COST_OF_CAPITAL,
    EXPECTED_VALUE_LAMBDA,
    POOL_CUSTOMERS,
    SOLVENCY_QUANTILE,
    loading_of,
    variance_reduction_within,
    vary,
)
from pipeline.pricing.search import Family, Target, families, least_covers, sample_of, tail_mean, tightened
from pipeline.pricing.terms import (
    Allowance,
    Commitment,
    Contract,
    Hybrid,
    Insurance,
    Integers,
    Ledger,
    PerToken,
    Usd,
    at_equal_revenue,
    checked_bills,
)

MECHANISMS = ("hybrid", "insurance", "allowance", "commitment")
PRINCIPLES = ("expected_value", "solvency_99", "cost_of_capital")
_KNOTS = (16, 25)  # parameters with an exact convolution, spaced by premium and by variance; others: interpolated
_TAIL = 0.99
_TIE = 0.002  # a contract with fewer terms is recommended if it costs at most this share more
_MARGINS = (0.0, 0.0005, 0.003, 0.02)  # by which the sample of a search aims at more than the target
_SIMPLEST = (
    "per_token", "bundle", "hybrid", "insurance", "session_cap", "allowance", "commitment", "credits", "tiered",
    "combined",
)  # fmt: skip


@dataclass(frozen=True)
class Frontier:
    """One mechanism at each `parameter` (n,), ascending: a threshold in USD, or theta.

    `variance_reduction` (n,) is within customers, or over all bills of a single customer; None if no customer has two
    bills. `tail` (n,) is the mean of the highest 1% of prices in USD (of fewer than 100 bills the highest one).
    `pure_premium` (n,) is the mean ceded loss; `fee` (n,) the fee, premium or (commitment) discount at equal revenue;
    `loading` USD per bill by principle.
    """

    mechanism: str
    parameter: Usd
    variance_reduction: Usd | None
    tail: Usd
    pure_premium: Usd
    fee: Usd
    n_bills: int
    loading: dict[str, Usd]

    @property
    def tvar_99(self) -> Usd | None:
        """TVaR 99% of the price; None below 100 bills."""
        return self.tail if _supports(self.n_bills, _TAIL) else None

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
            tail=self.tail[at],
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
    cover = _cover(checked_bills(bills), customers, weights, tail)
    has_tail = tail is None or weights is not None or _supports(cover.threshold.size, tail)
    return cover if has_tail else replace(cover, tail_mean=None)


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


def _tail_mean(b: Usd, w: Usd, total: float, tail: float) -> Usd:
    size = max(total * (1 - tail), min(float(w[-1]), total))
    beyond = np.maximum(total - np.cumsum(w), 0.0)  # weight of the higher bills
    share = np.clip(size - beyond, 0.0, w)
    total_share = float(share.sum())
    partial, rest = np.cumsum(share * b), np.maximum(total_share - np.cumsum(share), 0.0)
    return np.asarray((partial + rest * b) / total_share)


def _supports(n: int, tail: float) -> bool:
    """Whether the highest 1 - tail of n bills is at least one bill."""
    return n * (1 - tail) >= 1 - 1e-9


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
    cost_of_capital: float = COST_OF_CAPITAL,
) -> tuple[Frontier, ...]:
    """All parameters of the four mechanisms of `MECHANISMS` over `bills` (n,) in USD.

    Thresholds are 0 and every bill; theta has equally many values from 0 to 1. Loadings are those of `risk.loadings`;
    that of solvency_99 is computed by convolution at 16 parameters evenly spaced by pure premium and 25 by variance
    reduction, and interpolated between them; for hybrid it is exact, because its ceded loss is a share of the bill.

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
    return tuple(_loaded(each, values, (pool_customers, lambda_, cost_of_capital)) for each in unloaded)


def _highest(cover: Cover) -> Usd:
    """The tail mean of a cover that was asked for one."""
    assert cover.tail_mean is not None
    return cover.tail_mean


def _hybrid(values: Usd, customers: Integers | None) -> Frontier:
    cover = _cover(values, customers, None, _TAIL)
    theta = np.linspace(0.0, 1.0, values.size + 1)
    pure = (1 - theta) * float(values.mean())
    reduction = None if cover.variance_reduction is None else 1 - theta**2
    tail = pure + theta * float(_highest(cover)[-1])
    return Frontier("hybrid", theta, reduction, tail, pure, pure, values.size, {})


def _insurance(values: Usd, customers: Integers | None) -> Frontier:
    cover = _cover(values, customers, None, _TAIL)
    pure = np.maximum(float(values.mean()) - cover.retained_mean, 0.0)
    tail = _highest(cover) + pure
    full = Frontier("insurance", cover.threshold, cover.variance_reduction, tail, pure, pure, values.size, {})
    return _with_zero(full, 1.0, float(values.mean()), float(values.mean()))


def _with_zero(frontier: Frontier, reduction: float, pure: float, tail: float) -> Frontier:
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
        tail=front(([tail], frontier.tail)),
        pure_premium=front(([pure], frontier.pure_premium)),
        fee=front(([pure], frontier.fee)),
    )


def _excess(values: Usd, customers: Integers | None) -> tuple[Cover, Usd]:
    """A `Cover` of max(B, d) for every bill as d, ascending, and the mean of its highest 1%."""
    mirrored = _cover(-values, customers, None, None)
    flipped = Cover(
        -mirrored.threshold[::-1],
        -mirrored.retained_mean[::-1],
        None if mirrored.variance_reduction is None else mirrored.variance_reduction[::-1],
        None,
    )
    d = flipped.threshold
    size = max(d.size * (1 - _TAIL), 1.0)
    share = np.clip(size - np.arange(d.size - 1, -1, -1), 0.0, 1.0)
    upto = np.cumsum(share)
    above = dot(share, d) - np.cumsum(share * d)
    return flipped, (upto * d + above) / float(share.sum())


def _allowance(values: Usd, customers: Integers | None) -> Frontier:
    larger, tail = _excess(values, customers)
    mean = float(values.mean())
    fee = np.maximum(mean - (larger.retained_mean - larger.threshold), 0.0)  # E[min(B, Q)]
    own_tail = fee + tail - larger.threshold
    full = Frontier("allowance", larger.threshold, larger.variance_reduction, own_tail, fee, fee, values.size, {})
    return _with_zero(full, 0.0, 0.0, float(_highest(_cover(values, None, None, _TAIL))[-1]))


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
        (1 - discount) * tail,
        mean - (1 - discount) * over,
        discount,
        values.size,
        {},
    )


def _loaded(frontier: Frontier, values: Usd, terms: tuple[int, float, float]) -> Frontier:
    pool_customers, lambda_, cost_of_capital = terms
    least = float(values.min())
    certain = least - _price(frontier, least) + _price(frontier, 0.0)
    expected = np.maximum(lambda_ * (frontier.pure_premium - certain), 0.0)
    # price and ceded loss rise with the bill, so both tails are of the same bills
    top = float(tail_mean(values[None, :])[0])
    capital = np.maximum(cost_of_capital * (top - frontier.tail), 0.0)
    if frontier.mechanism == "hybrid":
        solvency = _solvency(values, pool_customers) * (1 - frontier.parameter)
    else:
        at = _knots(frontier)
        exact = [_solvency(frontier.contract(int(k)).ceded(values), pool_customers) for k in at]
        by_premium = np.argsort(frontier.pure_premium[at], kind="stable")
        solvency = np.interp(frontier.pure_premium, frontier.pure_premium[at][by_premium], np.array(exact)[by_premium])
    return replace(frontier, loading=dict(zip(PRINCIPLES, (expected, solvency, capital), strict=True)))


def _price(frontier: Frontier, bill: float) -> Usd:
    """The price of one bill at every parameter."""
    if frontier.mechanism == "hybrid":
        return np.asarray(frontier.fee + frontier.parameter * bill)
    if frontier.mechanism == "insurance":
        return np.asarray(frontier.fee + np.minimum(frontier.parameter, bill))
    if frontier.mechanism == "allowance":
        return np.asarray(frontier.fee + np.maximum(bill - frontier.parameter, 0.0))
    return np.asarray((1 - frontier.fee) * np.maximum(frontier.parameter, bill))


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
    cost_of_capital: float
    frontiers: tuple[Frontier, ...]
    others: tuple[Contract, ...] = ()

    @classmethod
    def over(
        cls,
        bills: Usd | Ledger,
        customers: Integers,
        pool_customers: int = POOL_CUSTOMERS,
        lambda_: float = EXPECTED_VALUE_LAMBDA,
        others: tuple[Contract, ...] = (),
        cost_of_capital: float = COST_OF_CAPITAL,
    ) -> Market:
        """The market of all mechanisms, and `others` with their terms; raises the same as `frontiers`."""
        ledger = Ledger.of(bills)
        all_frontiers = frontiers(
            ledger.bills, customers, pool_customers=pool_customers, lambda_=lambda_, cost_of_capital=cost_of_capital
        )
        return cls(ledger, customers, pool_customers, lambda_, cost_of_capital, all_frontiers, others)

    @cached_property
    def _families(self) -> list[Family]:
        terms = (self.pool_customers, self.lambda_, self.cost_of_capital)
        return families(self.ledger, sample_of(self.ledger, self.customers, *terms))

    def cheapest(self, target: Target) -> dict[str, list[Choice]]:
        """For each principle and mechanism the cheapest contract that reaches the target, cheapest first.

        The cheapest has the smallest loading, because all cost E[B] before it. Of contracts within `_TIE` of the
        cheapest the one with the fewest terms comes first. `others` are included if they reach the target; per-token,
        if no contract is needed. Empty if none reaches it.
        """
        found: dict[str, list[Choice]] = {principle: [] for principle in PRINCIPLES}
        if target.variance_reduction is not None and not vary(self.ledger.bills, self.customers):
            return found
        for name in dict.fromkeys(family.name for family in self._families):
            for principle, contract in self._cheapest_of(name, target).items():
                found[principle].append(self._choice(at_equal_revenue(contract, self.ledger), principle))
        for principle, choices in found.items():
            for contract in (PerToken(), *self.others):
                if self._reaches(contract, target, principle):
                    choices.append(self._choice(contract, principle))
            found[principle] = _ranked(choices)
        return found

    def _cheapest_of(self, name: str, target: Target) -> dict[str, Contract]:
        """By principle; where the sample misses what all bills need, the search repeats with a stricter target."""
        contracts: dict[str, Contract] = {}
        solved: dict[tuple[object, ...], Contract | None] = {}
        for margin in _MARGINS:
            open_ = [principle for principle in PRINCIPLES if principle not in contracts]
            covers = [
                least_covers(family, target.stricter(margin), open_) for family in self._families if family.name == name
            ]
            for principle in open_:
                candidates = [each[principle] for each in covers if principle in each]
                if not candidates:
                    continue
                least = min(each.loading for each in candidates) * (1 + _TIE)
                best = next(each for each in candidates if each.loading <= least)  # the simplest family is the first
                is_same = target.variance_reduction is not None  # reached or not under every principle
                at = (id(best.family), *best.outer.tolist(), best.relief, None if is_same else principle)
                if at not in solved:

                    def reaches(contract: Contract, principle: str = principle) -> bool:
                        return self._reaches(contract, target, principle)

                    solved[at] = tightened(best, reaches)
                if (contract := solved[at]) is not None:
                    contracts[principle] = contract
        return contracts

    def _reaches(self, contract: Contract, target: Target, principle: str) -> bool:
        try:
            solved = at_equal_revenue(contract, self.ledger)
        except ValueError:
            return False
        if target.variance_reduction is not None:
            reached = self._reduction(solved)
            return reached is not None and reached >= target.variance_reduction - 1e-12
        # at most the share 1 - probability of the prices lies above the budget
        loaded = solved.price_in(self.ledger) + self.loading(solved, principle)
        return float((loaded <= target.budget_usd * (1 + 1e-9)).mean()) >= target.probability - 1e-9

    def per_token(self) -> Choice:
        """No contract: it costs nothing and removes nothing."""
        return Choice(PerToken(), self._reduction(PerToken()), 0.0, 0.0)

    def _reduction(self, contract: Contract) -> float | None:
        return variance_reduction_within(contract.price_in(self.ledger), self.ledger.bills, self.customers)

    def loading(self, contract: Contract, principle: str) -> float:
        """The loading of a contract over the ledger, USD per bill."""
        return loading_of(
            contract,
            self.ledger,
            principle,
            pool_customers=self.pool_customers,
            lambda_=self.lambda_,
            cost_of_capital=self.cost_of_capital,
        )

    def _choice(self, contract: Contract, principle: str) -> Choice:
        ceded = float(contract.ceded_in(self.ledger).mean())
        return Choice(contract, self._reduction(contract), ceded, self.loading(contract, principle))


def _ranked(choices: list[Choice]) -> list[Choice]:
    """The cheapest of each mechanism by loading; first the simplest of those that cost as good as the least."""
    best: dict[str, Choice] = {}
    for choice in sorted(choices, key=lambda choice: choice.loading):
        best.setdefault(choice.contract.label, choice)
    ranked = list(best.values())
    if not ranked:
        return []
    least = ranked[0].loading * (1 + _TIE) + 1e-9
    simplest = min(
        (each for each in ranked if each.loading <= least), key=lambda each: _SIMPLEST.index(each.contract.name)
    )
    return [simplest, *(each for each in ranked if each is not simplest)]
