"""The remaining risk of a bill under a contract, who bears it, and the provider's loading for it.

Belongs here: the statistics of prices against bills, value at risk, and the loading principles. Does not belong here:
terms and fees (`terms`), the source of bills (`bill_model`), tables (`bill_history`).

Quantiles are type 7, standard deviations have ddof 1. "Pooled" means over all bills; "within" subtracts each customer's
mean first, because differences between customers are not risk.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.analysis.stats.describe import dot
from pipeline.pricing.bill_model import Distribution, sum_of_independent
from pipeline.pricing.search import tail_mean
from pipeline.pricing.terms import Contract, Ledger, Usd

EXPECTED_VALUE_LAMBDA = 0.2  # a risk margin of 20%, setting loading_lambda
SOLVENCY_QUANTILE = 0.99  # premiums cover the losses in 99% of months
COST_OF_CAPITAL = 0.06  # as in Solvency II; setting cost_of_capital
POOL_CUSTOMERS = 1_000  # setting pool_customers
SHOCK_PROBABILITY = 0.05  # one month in twenty: often enough to determine the 99% quantile
SHOCK_FACTOR = 1.25  # a new model or price that raises every customer's bill by a quarter
_CONSTANT = 1e-12  # a smaller share of the largest bill is a rounding error


@dataclass(frozen=True)
class Risk:
    """One contract over one set of bills; amounts in USD per month, shares as fractions, None if undefined."""

    n_bills: int
    n_customers: int
    mean: float
    median: float
    p90: float
    sd: float | None
    cv: float | None
    variance_reduction: float | None
    variance_reduction_pooled: float | None
    sd_reduction: float | None
    var_95: float | None
    var_99: float | None
    tvar_95: float | None
    tvar_99: float | None
    p_over_budget: float | None
    ceded_share: float | None
    expected_shortfall_share: float | None
    provider_sd: float | None
    provider_covariance: float | None
    pure_premium: float
    saving: float
    p_dearer: float


@dataclass(frozen=True)
class Loading:
    """The margin on the expected ceded loss under one principle; USD per bill."""

    principle: str
    loading: float
    premium: float
    loss_ratio: float | None
    pool_customers: int | None
    loading_common_shock: float | None


def measure(
    contract: Contract,
    bills: Usd | Ledger,
    customers: NDArray[np.int64] | None = None,
    *,
    budget_usd: float | None = None,
    tails: bool = True,
) -> Risk:
    """The risk of `contract` over `bills`.

    `bills` (n,) in USD, or a ledger of them; `customers` (n,) the customer of each as 0, 1, 2, ..., one customer by
    default. Use `tails=False` if the bills cannot support VaR and TVaR, however many (months simulated from too few
    days).

    - variance_reduction_pooled = 1 - Var P / Var B; sd_reduction = 1 - sd P / sd B.
    - variance_reduction: the same about each customer's own mean, over customers with at least two bills; None if there
      are none.
    - p_over_budget = P(price > budget). ceded_share = E[ceded] / E[B]. expected_shortfall_share = E[(B - P)+] / E[B].
    - saving = E[B] - E[P]; p_dearer = P(P > B), beyond rounding.
    - provider_sd = sd(P - B); provider_covariance = Cov(P, B - P): Var B = Var P + Var(B - P) + 2 Cov(P, B - P).

    Raises:
        ValueError: invalid bills, or `customers` of another shape.

    """
    ledger = Ledger.of(bills)
    values = ledger.bills
    codes = None if customers is None else np.asarray(customers, dtype=np.int64)
    if codes is not None and codes.shape != values.shape:
        raise ValueError("customers must name one customer for each bill")
    prices = contract.price_in(ledger)
    ordered = np.sort(prices)
    n, largest = values.size, float(values.max())
    ceded_mean = _pure_premium(contract, ledger)
    mean_bill, mean_price = float(values.mean()), float(prices.mean())
    # few passes over the bills and one reused array: a million bills take milliseconds
    price_deviations, bill_deviations = prices - mean_price, values - mean_bill
    bill_squares = dot(bill_deviations, bill_deviations)
    bills_vary = vary(values)
    prices_vary = float(ordered[-1] - ordered[0]) > _CONSTANT * max(abs(float(ordered[0])), abs(float(ordered[-1])))
    price_squares = dot(price_deviations, price_deviations) if prices_vary else 0.0
    products = dot(price_deviations, bill_deviations) if prices_vary else 0.0
    pooled = 1 - price_squares / bill_squares if bills_vary else None
    sd_price = float(np.sqrt(price_squares / (n - 1))) if n > 1 else None
    sd_bill = float(np.sqrt(bill_squares / (n - 1))) if n > 1 and bills_vary else None
    gap = np.subtract(price_deviations, bill_deviations, out=price_deviations)
    provider_squares = dot(gap, gap)
    gap = np.subtract(prices, values, out=gap)
    p_dearer = int(np.count_nonzero(gap > _CONSTANT * largest)) / n
    shortfall = max((float(np.abs(gap, out=gap).mean()) + mean_bill - mean_price) / 2, 0.0)  # x+ = (|x| + x) / 2
    return Risk(
        n_bills=n,
        n_customers=1 if codes is None else int(np.unique(codes).size),
        mean=mean_price,
        median=_sorted_quantile(ordered, 0.5),
        p90=_sorted_quantile(ordered, 0.9),
        sd=sd_price,
        cv=sd_price / mean_price if sd_price is not None and mean_price > 0 else None,
        variance_reduction=pooled if codes is None else variance_reduction_within(prices, values, codes),
        variance_reduction_pooled=pooled,
        sd_reduction=None if sd_price is None or sd_bill is None else 1 - sd_price / sd_bill,
        var_95=value_at_risk(ordered, 0.95, is_sorted=True) if tails else None,
        var_99=value_at_risk(ordered, 0.99, is_sorted=True) if tails else None,
        tvar_95=tail_value_at_risk(ordered, 0.95, is_sorted=True) if tails else None,
        tvar_99=tail_value_at_risk(ordered, 0.99, is_sorted=True) if tails else None,
        p_over_budget=None if budget_usd is None else float((prices > budget_usd).mean()),
        ceded_share=ceded_mean / mean_bill if mean_bill > 0 else None,
        expected_shortfall_share=shortfall / mean_bill if mean_bill > 0 else None,
        provider_sd=float(np.sqrt(provider_squares / (n - 1))) if n > 1 else None,
        provider_covariance=(products - price_squares) / (n - 1) if n > 1 else None,
        pure_premium=ceded_mean,
        saving=mean_bill - mean_price,
        p_dearer=p_dearer,
    )


def variance_reduction_within(prices: Usd, bills: Usd, customers: NDArray[np.int64]) -> float | None:
    """1 - Var(prices) / Var(bills), both about each customer's mean; all arrays of shape (n,).

    Uses customers with at least two bills; None if there are none, or if their bills do not vary.
    """
    if not vary(bills, customers):
        return None
    repeated = _repeated(customers)
    codes = customers[repeated]
    left, whole = (_without_customer_mean(column[repeated], codes) for column in (prices, bills))
    return 1 - dot(left, left) / dot(whole, whole)


def vary(values: Usd, customers: NDArray[np.int64] | None = None) -> bool:
    """Whether `values` (n,) vary beyond rounding; with `customers` (n,), within those that have at least two."""
    if customers is None:
        low, high = float(values.min()), float(values.max())
        return high - low > _CONSTANT * max(abs(low), abs(high))
    repeated = _repeated(customers)
    if not repeated.any():
        return False
    kept = values[repeated]
    spread = np.abs(_without_customer_mean(kept, customers[repeated])).max()
    return float(spread) > _CONSTANT * float(np.abs(kept).max())


def _repeated(customers: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which rows belong to a customer with at least two rows."""
    return np.asarray(np.bincount(customers)[customers] >= 2)


def _without_customer_mean(values: Usd, codes: NDArray[np.int64]) -> Usd:
    counts = np.maximum(np.bincount(codes), 1)
    return values - (np.bincount(codes, values) / counts)[codes]


def _supports(n: int, q: float) -> bool:
    """Whether the highest 1 - q of n values is at least one value: n of 20 for 95%, 100 for 99%."""
    return n * (1 - q) >= 1 - 1e-9


def _sorted_quantile(ordered: Usd, q: float) -> float:
    """The quantile q (type 7) of sorted values."""
    at = (ordered.size - 1) * q
    below = min(int(at), ordered.size - 1)
    low, high = float(ordered[below]), float(ordered[min(below + 1, ordered.size - 1)])
    return low + (high - low) * (at - below)


def value_at_risk(prices: Usd, q: float, *, is_sorted: bool = False) -> float | None:
    """The quantile q (type 7) of `prices` (n,), USD; None if n (1 - q) < 1. `is_sorted`: they are ascending."""
    ordered = prices if is_sorted else np.sort(prices)
    return _sorted_quantile(ordered, q) if _supports(prices.size, q) else None


def tail_value_at_risk(prices: Usd, q: float, *, is_sorted: bool = False) -> float | None:
    """The mean of the highest 1 - q of `prices` (n,), USD; None if n (1 - q) < 1.

    If n (1 - q) is fractional, the last price counts with that fraction: ties at the threshold are split and the
    weights add up to exactly 1 - q (Acerbi and Tasche 2002).
    """
    if not _supports(prices.size, q):
        return None
    size = prices.size * (1 - q)
    if abs(size - round(size)) < 1e-9 * prices.size:
        size = float(round(size))
    whole = int(size)
    ascending = prices if is_sorted else np.sort(prices)
    ordered = ascending[::-1]
    rest = (size - whole) * float(ordered[whole]) if whole < prices.size else 0.0
    mean_of_worst = (float(ordered[:whole].sum()) + rest) / size
    return max(mean_of_worst, _sorted_quantile(ascending, q))  # TVaR >= VaR, despite rounding


def loadings(
    contract: Contract,
    bills: Usd | Ledger,
    *,
    pool_customers: int = POOL_CUSTOMERS,
    lambda_: float = EXPECTED_VALUE_LAMBDA,
    cost_of_capital: float = COST_OF_CAPITAL,
) -> tuple[Loading, Loading, Loading]:
    """The loading of the contract's ceded loss under the three principles, over `bills` (n,) in USD.

    Only transferred risk is charged: the part of the ceded loss that every bill has (`ceded.min()`) is certain, so a
    commitment below every bill costs nothing.

    - expected_value: `lambda_` x the mean of the uncertain ceded loss, however uncertain it is.
    - solvency_99: the amount per bill with which the premiums of `pool_customers` independent customers cover the ceded
      losses in 99% of months, from the exact distribution of their sum. `loading_common_shock` is the same with a shock
      common to all customers (with probability 5% all bills of a month are 1.25 times as high); that part does not
      shrink with more customers.
    - cost_of_capital: that rate x (TVaR99 - mean) of one customer's ceded loss, the capital that a provider holds for
      it; of fewer than 100 bills the highest stands for TVaR99.

    loss_ratio = expected ceded loss / (expected ceded loss + loading); None if nothing is ceded. A loading is never
    negative.

    Raises:
        ValueError: invalid bills, or `pool_customers` below 1.

    """
    ledger = Ledger.of(bills)
    pure = _pure_premium(contract, ledger)
    by_name = {
        name: loading_of(contract, ledger, name, pool_customers=1, lambda_=lambda_, cost_of_capital=cost_of_capital)
        for name in ("expected_value", "cost_of_capital")
    }
    first, last = (
        Loading(name, loading, pure + loading, _loss_ratio(pure, loading), None, None)
        for name, loading in by_name.items()
    )
    return first, solvency_loading(contract, ledger, pool_customers), last


def loading_of(
    contract: Contract, ledger: Ledger, principle: str, *, pool_customers: int, lambda_: float, cost_of_capital: float
) -> float:
    """The loading of `loadings` under one principle, USD per bill."""
    ceded = contract.ceded_in(ledger)
    if float(np.ptp(ceded)) <= _CONSTANT * float(ledger.bills.max()):
        return 0.0
    if principle == "expected_value":
        return lambda_ * (float(ceded.mean()) - float(ceded.min()))
    if principle == "cost_of_capital":
        return cost_of_capital * (float(tail_mean(ceded[None, :])[0]) - float(ceded.mean()))
    total = sum_of_independent(ceded, pool_customers)
    return max(total.quantile(SOLVENCY_QUANTILE) / pool_customers - float(ceded.mean()), 0.0)


def solvency_loading(contract: Contract, bills: Usd | Ledger, pool_customers: int) -> Loading:
    """The solvency_99 loading of `loadings`."""
    ledger = Ledger.of(bills)
    pure = _pure_premium(contract, ledger)
    normal = sum_of_independent(contract.ceded_in(ledger), pool_customers)
    shocked = sum_of_independent(contract.ceded_in(ledger.scaled(SHOCK_FACTOR)), pool_customers)
    needed = normal.quantile(SOLVENCY_QUANTILE)
    needed_with_shock = _quantile_of_mixture(normal, shocked, SHOCK_PROBABILITY, SOLVENCY_QUANTILE)
    loading, with_shock = (max(total / pool_customers - pure, 0.0) for total in (needed, needed_with_shock))
    return Loading("solvency_99", loading, pure + loading, _loss_ratio(pure, loading), pool_customers, with_shock)


def _pure_premium(contract: Contract, ledger: Ledger) -> float:
    """Mean ceded loss, USD; 0 if it is only rounding."""
    pure = float(contract.ceded_in(ledger).mean())
    return 0.0 if abs(pure) <= _CONSTANT * float(ledger.bills.max()) else pure


def _loss_ratio(pure_premium: float, loading: float) -> float | None:
    return pure_premium / (pure_premium + loading) if pure_premium > 0 else None


def _quantile_of_mixture(first: Distribution, second: Distribution, weight_of_second: float, q: float) -> float:
    """The quantile q of the mixture, by bisection on its distribution function."""
    parts = [
        (weight, each.values_usd, np.cumsum(each.probabilities))
        for weight, each in ((1 - weight_of_second, first), (weight_of_second, second))
    ]

    def mixture_cdf(value: float) -> float:
        probability = 0.0
        for weight, values, upto in parts:
            at = int(np.searchsorted(values, value, side="right"))
            probability += weight * float(upto[at - 1]) if at else 0.0
        return probability

    low = min(float(values[0]) for _, values, _ in parts)
    high = max(float(values[-1]) for _, values, _ in parts)
    if mixture_cdf(low) >= q * (1 - 1e-12):
        return low
    for _ in range(70):
        middle = (low + high) / 2
        low, high = (low, middle) if mixture_cdf(middle) >= q * (1 - 1e-12) else (middle, high)
    return high
