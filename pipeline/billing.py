"""The pricing tables: bills from the marts, four contracts at equal revenue over them, and the risk that each leaves.

Belongs here: which rows make a bill, what is left out and why, and the layout of analysis.pricing_bills and
analysis.pricing_risk. Does not belong here: statistics and contracts (`pipeline/pricing/`), aggregation
(`pipeline/sql/billing/`), storing the tables.

Two customer dimensions, each with its own terms. `organisation`: the buyer's own bill, 10,000 months simulated from
its daily costs. The configured one (or api_key, then workspace, where no row states it): the observed customer x
calendar month bills. A first or last month that the history holds only in part is left out where the history touches
at least three months; in a shorter one it stays, and is marked. A month in which a customer used nothing is not a
bill: it is counted as idle.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.pricing.bills import BLOCK_DAYS, resample_customer_months, simulate_months
from pipeline.pricing.mechanisms import Contract, Usd, defaults_at_equal_revenue
from pipeline.pricing.risk import (
    EXPECTED_VALUE_LAMBDA,
    POOL_CUSTOMERS,
    SHOCK_FACTOR,
    SHOCK_PROBABILITY,
    loadings,
    measure,
)
from pipeline.settings import Settings
from pipeline.sqlfiles import literal, sql

LEAST_BILLS = 20  # METHODS section 3
LEAST_HISTORY_DAYS = 4 * BLOCK_DAYS  # the shortest month, and four blocks to draw it from
LEAST_MONTHS_TO_DROP_PARTIAL = 3
LEAST_CLUSTERS = 30  # METHODS section 2: below 30 clusters an error by resampling is null
ORGANISATION = "organisation"
FALLBACK_DIMENSIONS = ("api_key", "workspace")
MONEY = pa.decimal128(38, 12)


def _field(name: str, kind: pa.DataType, description: str) -> pa.Field:
    return pa.field(name, kind, metadata={"description": description})


_STATUS_OF_BILL = (
    "ok: a contract is priced on the bill; partial_month: the history holds only a part of this first or "
    "last month, and has three months or more; unattributed: no customer is stated; unpriced: no row of "
    "the bill has a price; unavailable: there are no bills."
)
_STATUS_OF_RISK = (
    "ok; too_few: fewer than 20 bills, or (organisation) fewer than 28 days of history; unattributed: the "
    "row holds what states no customer; unpriced: usage without any price; unavailable: no usage."
)

PRICING_BILLS = pa.schema(
    [
        _field(
            "mechanism",
            pa.string(),
            "per_token, bundle, hybrid or insurance; null where no contract is priced (see status).",
        ),
        _field("segment", pa.string(), "Which usage the bills cover: all."),
        _field(
            "customer_dimension",
            pa.string(),
            "What a customer is: organisation, user_id, api_key, workspace or session_id.",
        ),
        _field("customer", pa.string(), "Who is billed; null where the usage states no customer."),
        _field(
            "month",
            pa.date32(),
            "First day of the calendar month (UTC); of a session, of the month in which it started.",
        ),
        _field("bill_usd", MONEY, "Usage of the month at list, in USD; null where none of it has a price."),
        _field("price_usd", MONEY, "What the mechanism charges for this bill, at the terms of pricing_risk, in USD."),
        _field("source", pa.string(), "Where the usage was read: console, sessions or console+sessions."),
        _field("partial_month", pa.bool_(), "The history begins or ends inside this month."),
        _field("unpriced_tokens", pa.int64(), "Tokens of the month without a price: the bill leaves them out."),
        _field("status", pa.string(), _STATUS_OF_BILL),
        _field("reason", pa.string(), "The status in words; null where it is ok."),
    ],
    metadata={
        "description": "Observed bills, one a customer and calendar month, and the price of each under each mechanism. "
        "Rows with mechanism = per_token and rows without a mechanism together hold all cost of the dimension's "
        "source."
    },
)

PRICING_RISK = pa.schema(
    [
        _field(
            "basis",
            pa.string(),
            "equal_revenue: fee or premium solved so that the mean price is the mean bill, loading 0.",
        ),
        _field(
            "mechanism",
            pa.string(),
            "per_token, bundle, hybrid or insurance; null in a row that only reports (see status).",
        ),
        _field("segment", pa.string(), "Which usage the bills cover: all."),
        _field(
            "customer_dimension",
            pa.string(),
            "What a customer is: organisation, user_id, api_key, workspace or session_id.",
        ),
        _field(
            "params", pa.string(), "Terms as JSON; amounts in USD a month, limit_usd is the width of the insured layer."
        ),
        _field("n_bills", pa.int64(), "Bills behind the row; simulated months for organisation."),
        _field("n_customers", pa.int64(), "Customers behind the row."),
        _field("mean", pa.float64(), "Mean price, USD a month; equal for all mechanisms of a dimension."),
        _field("median", pa.float64(), "Median price, USD."),
        _field("p90", pa.float64(), "90th percentile of the price (type 7), USD."),
        _field("sd", pa.float64(), "Standard deviation of the price (ddof 1), USD."),
        _field("cv", pa.float64(), "sd / mean."),
        _field(
            "variance_reduction",
            pa.float64(),
            "1 - Var(price) / Var(bill) after each customer's own mean is removed; null where no customer has two "
            "bills.",
        ),
        _field("variance_reduction_pooled", pa.float64(), "1 - Var(price) / Var(bill) over all bills."),
        _field("sd_reduction", pa.float64(), "1 - sd(price) / sd(bill) over all bills."),
        _field("var_95", pa.float64(), "Value at risk: 95% quantile of the price (type 7), USD; null below 20 bills."),
        _field("var_99", pa.float64(), "Value at risk: 99% quantile of the price (type 7), USD; null below 100 bills."),
        _field("tvar_95", pa.float64(), "Mean of the dearest 5% of prices, USD, ties split; null below 20 bills."),
        _field("tvar_99", pa.float64(), "Mean of the dearest 1% of prices, USD, ties split; null below 100 bills."),
        _field("p_over_budget", pa.float64(), "Share of prices above the budget; null without a budget."),
        _field(
            "ceded_share",
            pa.float64(),
            "Expected loss that the provider takes over / mean bill, before fee or premium.",
        ),
        _field(
            "expected_shortfall_share", pa.float64(), "Mean of (bill - price) where positive / mean bill: given away."
        ),
        _field("provider_sd", pa.float64(), "Standard deviation of price - bill, USD: the provider's risk."),
        _field("loading_principle", pa.string(), "expected_value or solvency_99; one row for each."),
        _field(
            "loading",
            pa.float64(),
            f"Added to the pure premium by the principle, USD a bill: {EXPECTED_VALUE_LAMBDA} x the mean ceded "
            "loss, or what each of pool_customers independent customers adds so that premiums meet the ceded "
            "losses in 99% of months.",
        ),
        _field("loss_ratio", pa.float64(), "Expected ceded loss / loaded premium; null where nothing is ceded."),
        _field(
            "simulation_error",
            pa.float64(),
            "Standard error of mean at these terms, USD: of the simulation for organisation (it says nothing of "
            "how short the history is), else by redrawing customers and then weeks of their days; null below 30 "
            "customers.",
        ),
        _field(
            "provider_covariance", pa.float64(), "Cov(price, bill - price), USD^2: Var B = Var P + Var(B - P) + 2 Cov."
        ),
        _field("pure_premium", pa.float64(), "Mean ceded loss, USD a bill."),
        _field("premium", pa.float64(), "Loaded premium: pure_premium + loading, USD a bill."),
        _field("pool_customers", pa.int64(), "Customers over whom solvency_99 pools the ceded losses."),
        _field(
            "loading_common_shock",
            pa.float64(),
            f"The solvency_99 loading where, with probability {SHOCK_PROBABILITY}, every bill of a month is "
            f"{SHOCK_FACTOR} times as high: a shock that all customers share does not diversify. USD a bill.",
        ),
        _field(
            "method",
            pa.string(),
            "block_bootstrap: months of 28 to 31 days simulated from days; observed: bills as they were.",
        ),
        _field("source", pa.string(), "Where the usage was read: console, sessions or console+sessions."),
        _field("first_usage_date", pa.date32(), "First UTC day of the history."),
        _field("last_usage_date", pa.date32(), "Last UTC day of the history."),
        _field("history_days", pa.int64(), "UTC days that the months are simulated from; null for observed bills."),
        _field("idle_months", pa.int64(), "Months without usage between a customer's first and last bill; no bills."),
        _field(
            "total_cost_usd",
            MONEY,
            "Priced usage behind the row, in USD; of a row unattributed, what states no customer.",
        ),
        _field(
            "unpriced_token_share", pa.float64(), "Share of the history's tokens without a price: bills are too low."
        ),
        _field("status", pa.string(), _STATUS_OF_RISK),
        _field("reason", pa.string(), "The status in words, and what was left out."),
    ],
    metadata={
        "description": "Risk under each mechanism, one row a basis, segment, customer dimension, mechanism and loading "
        "principle; the two rows of a mechanism differ in the columns of the loading only."
    },
)


@dataclass(frozen=True)
class _Pool:
    """One customer dimension: its observed months, the bills that contracts are priced on, and the contracts."""

    dimension: str
    summary: dict[str, Any]
    months: pa.Table
    bills: Usd
    customers: NDArray[np.int64]
    contracts: tuple[Contract, ...]
    history_days: int | None
    errors: tuple[float | None, ...]
    status: str
    notes: tuple[str, ...]

    @property
    def is_observed(self) -> bool:
        return self.dimension != ORGANISATION

    @property
    def source(self) -> str | None:
        names = [name for name in ("console", "sessions") if self.summary[f"has_{name}"]]
        return "+".join(names) or None


def pricing_bills(connection: duckdb.DuckDBPyConnection, settings: Settings) -> pa.Table:
    """Observed bills and their price under each mechanism; schema `PRICING_BILLS`.

    Reads marts.token_usage_minutes, or marts.token_usage_sessions where the customer is a session. In order of
    dimension (organisation first), mechanism, customer, month. Never empty: without a priced bill, one row says why.
    """
    parts = []
    for pool in _pools(connection, settings, with_errors=False):
        is_ok = pc.equal(pool.months["status"], "ok")
        priced = pool.months.filter(is_ok)
        bills = np.asarray(priced["bill_as_double"], dtype=np.float64)
        parts += [_bill_rows(pool, priced, contract, bills) for contract in pool.contracts if bills.size]
        if pc.sum(pc.is_valid(pool.months["bill_usd"])).as_py():
            parts.append(_bill_rows(pool, pool.months.filter(pc.invert(is_ok)), None, None))
        else:
            row = {"segment": "all", "customer_dimension": pool.dimension, "source": pool.source}
            row |= {"unpriced_tokens": pool.summary["unpriced_tokens"], "status": pool.status, "reason": _reason(pool)}
            parts.append(pa.Table.from_pylist([row], schema=PRICING_BILLS))
    return pa.concat_tables(parts).combine_chunks()


def pricing_risk(connection: duckdb.DuckDBPyConnection, settings: Settings) -> pa.Table:
    """What each mechanism does to the risk of bills at equal revenue, by both loading principles; schema PRICING_RISK.

    Reads what `pricing_bills` reads. In order of dimension (organisation first), mechanism, loading principle; what
    states no customer follows in a row of its own. Never empty: without a priced bill, one row says why.
    """
    rows: list[dict[str, Any]] = []
    for pool in _pools(connection, settings, with_errors=True):
        rows += _risk_rows(pool, settings.budget_usd)
        rows += _unattributed_rows(pool)
    return pa.Table.from_pylist(rows, schema=PRICING_RISK)


TABLES: dict[str, Callable[[duckdb.DuckDBPyConnection, Settings], pa.Table]] = {
    "pricing_bills": pricing_bills,
    "pricing_risk": pricing_risk,
}
SCHEMAS: dict[str, pa.Schema] = {"pricing_bills": PRICING_BILLS, "pricing_risk": PRICING_RISK}


def _pools(connection: duckdb.DuckDBPyConnection, settings: Settings, *, with_errors: bool) -> list[_Pool]:
    """Organisation, then the configured dimension; only the first where no usage at all has a price."""
    try:
        organisation = _organisation_pool(connection, settings)
        configured = _customer_pool(connection, settings, with_errors=with_errors)
    finally:
        connection.execute("drop table if exists temp.billing_months")
        connection.execute("drop table if exists temp.billing_days")
    if organisation.contracts or configured.summary["cost_usd"] is not None:
        return [organisation, configured]
    return [organisation]


def _organisation_pool(connection: duckdb.DuckDBPyConnection, settings: Settings) -> _Pool:
    _load_days(connection, ORGANISATION)
    pool = _base_pool(connection, ORGANISATION)
    if pool.status != "ok":
        return pool
    days = connection.sql(sql("billing/list_history_days")).to_arrow_table()
    bills = simulate_months(np.asarray(days["cost_usd"], dtype=np.float64), seed=settings.seed)
    span_days = (pool.summary["last_usage_date"] - pool.summary["first_usage_date"]).days + 1
    notes = [f"{bills.size} months simulated from {days.num_rows} days in blocks of {BLOCK_DAYS}"]
    if span_days > days.num_rows:
        notes.append(f"{span_days - days.num_rows} days whose usage has no price at all are left out")
    is_short = days.num_rows < LEAST_HISTORY_DAYS
    if is_short:
        notes.insert(0, f"{days.num_rows} days of history, at least {LEAST_HISTORY_DAYS} are needed")
    return replace(
        pool,
        bills=bills,
        customers=np.zeros(bills.size, dtype=np.int64),
        contracts=defaults_at_equal_revenue(bills),
        history_days=days.num_rows,
        status="too_few" if is_short else "ok",
        notes=(*notes, *pool.notes),
    )


def _customer_pool(connection: duckdb.DuckDBPyConnection, settings: Settings, *, with_errors: bool) -> _Pool:
    configured = settings.customer_dimension
    candidates = [configured, *(name for name in FALLBACK_DIMENSIONS if name != configured)]
    unattributed: _Pool | None = None
    for dimension in candidates:
        _load_days(connection, dimension)
        pool = _base_pool(connection, dimension)
        if pool.summary["unattributed_rows"] < pool.summary["usage_rows"]:
            break
        if unattributed is None or not unattributed.summary["usage_rows"]:
            unattributed = pool
    else:
        assert unattributed is not None
        if unattributed.status != "ok":
            return unattributed
        note = f"no row states {', '.join(candidates[:-1])} or {candidates[-1]}"
        return replace(unattributed, status="unattributed", notes=(note, *unattributed.notes))
    if dimension != configured:
        pool = replace(pool, notes=(f"no row states {configured}: customers are {dimension}", *pool.notes))
    if pool.status != "ok":
        return pool
    priced = pool.months.filter(pc.equal(pool.months["status"], "ok"))
    if priced.num_rows == 0:
        note = f"no {dimension} has a priced bill of a whole month"
        return replace(pool, status="too_few", notes=(note, *pool.notes))
    bills = np.asarray(priced["bill_as_double"], dtype=np.float64)
    customers = np.asarray(priced["customer_number"], dtype=np.int64)
    notes = list(pool.notes)
    if bills.size < LEAST_BILLS:
        notes.insert(0, f"{bills.size} bills, at least {LEAST_BILLS} are needed")
    contracts: tuple[Contract, ...] = defaults_at_equal_revenue(bills)
    pool = replace(
        pool,
        bills=bills,
        customers=customers,
        contracts=contracts,
        status="ok" if bills.size >= LEAST_BILLS else "too_few",
        notes=tuple(notes),
    )
    return replace(pool, errors=tuple(_errors(connection, pool, priced, settings.seed))) if with_errors else pool


def _load_days(connection: duckdb.DuckDBPyConnection, dimension: str) -> None:
    """Fill temp.billing_days and temp.billing_months for `dimension`."""
    is_session = dimension == "session_id"
    days = "billing/billing_days_of_sessions" if is_session else "billing/billing_days"
    connection.execute(sql(days, dimension=literal(dimension)))
    terms = {"bills_are_sessions": str(is_session), "least_months": str(LEAST_MONTHS_TO_DROP_PARTIAL)}
    connection.execute(sql("billing/billing_months", **terms))


def _base_pool(connection: duckdb.DuckDBPyConnection, dimension: str) -> _Pool:
    """The dimension without bills or contracts; status ok means that some of its usage has a price."""
    summary = connection.sql(sql("billing/summary")).to_arrow_table().to_pylist()[0]
    months = connection.sql(sql("billing/list_months")).to_arrow_table()
    notes = []
    if not summary["usage_rows"]:
        status, notes = "unavailable", ["there is no usage to bill"]
        if dimension == "user_id":
            notes = ["there are no sessions, from which bills by user_id are made"]
    elif summary["cost_usd"] is None:
        status, notes = "unpriced", [f"none of {summary['unpriced_tokens']} tokens has a price"]
    else:
        status = "ok"
        notes = _notes(summary, months, dimension)
    return _Pool(
        dimension=dimension,
        summary=summary,
        months=months,
        bills=np.zeros(0),
        customers=np.zeros(0, dtype=np.int64),
        contracts=(),
        history_days=None,
        errors=(),
        status=status,
        notes=tuple(notes),
    )


def _notes(summary: dict[str, Any], months: pa.Table, dimension: str) -> list[str]:
    notes = []
    partial = months.filter(months["is_partial_month"])
    if partial.num_rows and dimension != ORGANISATION:
        named = ", ".join(sorted({f"{month:%Y-%m}" for month in partial["month"].to_pylist()}))
        if summary["n_months"] >= LEAST_MONTHS_TO_DROP_PARTIAL:
            notes.append(f"the history holds only a part of {named}: left out")
        else:
            notes.append(f"the history holds only a part of {named}: counted as it is, the history being short")
    if summary["unpriced_tokens"]:
        share = summary["unpriced_tokens"] / summary["total_tokens"]
        notes.append(f"{share:.1%} of tokens have no price: bills are too low")
    return notes


def _errors(connection: duckdb.DuckDBPyConnection, pool: _Pool, priced: pa.Table, seed: int) -> Iterator[float | None]:
    """The standard error of the mean price of each contract of the pool at its terms, USD."""
    if np.unique(pool.customers).size < LEAST_CLUSTERS:
        yield from (None for _ in pool.contracts)
        return
    if pool.dimension == "session_id":
        scale = float(np.sqrt(pool.bills.size))
        yield from (float(contract.price(pool.bills).std(ddof=1)) / scale for contract in pool.contracts)
        return
    bill_days = np.asarray(priced["history_days"], dtype=np.int64)
    used = connection.sql(sql("billing/list_bill_days")).to_arrow_table()
    first_day = np.cumsum(bill_days) - bill_days
    daily = np.zeros(int(bill_days.sum()))
    daily[first_day[np.asarray(used["bill_number"])] + np.asarray(used["day_number"])] = np.asarray(used["cost_usd"])
    means = [
        [float(contract.price(bills).mean()) for contract in pool.contracts]
        for bills in resample_customer_months(daily, bill_days, pool.customers, seed=seed)
    ]
    yield from (float(error) for error in np.std(means, axis=0, ddof=1))


def _bill_rows(pool: _Pool, months: pa.Table, contract: Contract | None, bills: Usd | None) -> pa.Table:
    """Rows of pricing_bills: `months` priced by `contract`, or (None) as bills that no contract is priced on."""
    n = months.num_rows
    if contract is None or bills is None:
        price, reason = pa.nulls(n, MONEY), _reasons_of_bills(pool, months)
    else:
        prices = contract.price(bills)
        same = pa.array(prices == bills)  # a price that is the bill keeps the bill's own decimals
        price, reason = pc.if_else(same, months["bill_usd"], pc.cast(pa.array(prices), MONEY)), pa.nulls(n, pa.string())
    columns = {
        "mechanism": pa.array([contract.name if contract else None] * n, pa.string()),
        "segment": pa.array(["all"] * n, pa.string()),
        "customer_dimension": pa.array([pool.dimension] * n, pa.string()),
        "customer": months["customer"],
        "month": months["month"],
        "bill_usd": months["bill_usd"],
        "price_usd": price,
        "source": months["source"],
        "partial_month": months["is_partial_month"],
        "unpriced_tokens": months["unpriced_tokens"],
        "status": months["status"],
        "reason": reason,
    }
    return pa.table([columns[field.name] for field in PRICING_BILLS], schema=PRICING_BILLS)


def _reasons_of_bills(pool: _Pool, months: pa.Table) -> pa.Array:
    summary = pool.summary
    words = {
        "unattributed": f"the rows state no {pool.dimension}",
        "unpriced": "no row of this bill has a price",
        "partial_month": f"the history runs from {summary['first_usage_date']} to {summary['last_usage_date']}",
    }
    return pa.array([words.get(status) for status in months["status"].to_pylist()], pa.string())


def _risk_rows(pool: _Pool, budget_usd: float | None) -> list[dict[str, Any]]:
    """One row a contract and loading principle; a single row with the reason where there is no contract."""
    summary = pool.summary
    share = summary["unpriced_tokens"] / summary["total_tokens"] if summary["total_tokens"] else None
    common = {
        "basis": "equal_revenue",
        "segment": "all",
        "customer_dimension": pool.dimension,
        "method": "observed" if pool.is_observed else "block_bootstrap",
        "source": pool.source,
        "first_usage_date": summary["first_usage_date"],
        "last_usage_date": summary["last_usage_date"],
        "history_days": pool.history_days,
        "unpriced_token_share": share,
        "status": pool.status,
        "reason": _reason(pool),
    }
    if not pool.contracts:
        return [common | {"n_bills": 0, "n_customers": 0, "total_cost_usd": summary["cost_usd"]}]
    common |= {"total_cost_usd": _priced_cost(pool), "idle_months": _idle_months(pool)}
    mean_bill = float(pool.bills.mean())
    rows = []
    for number, contract in enumerate(pool.contracts):
        tails = pool.is_observed or pool.status == "ok"
        risk = measure(contract, pool.bills, pool.customers, budget_usd=budget_usd, tails=tails)
        if pool.is_observed:
            error = pool.errors[number]
        else:
            error = None if risk.sd is None else risk.sd / float(np.sqrt(risk.n_bills))
        shared = common | vars(risk)
        shared |= {
            "mechanism": contract.name,
            "params": json.dumps(contract.params(), sort_keys=True),
            "mean": mean_bill,  # the solver has checked that the mean price is this to 1e-9: equal means show as equal
            "simulation_error": error,
        }
        for loading in loadings(contract, pool.bills, pool_customers=POOL_CUSTOMERS):
            terms = vars(loading) | {"loading_principle": loading.principle}
            rows.append({field.name: (shared | terms).get(field.name) for field in PRICING_RISK})
    return rows


def _unattributed_rows(pool: _Pool) -> list[dict[str, Any]]:
    """What states no customer, in a row of its own beside those of the customers; none where all is attributed."""
    summary = pool.summary
    if not summary["unattributed_rows"] or pool.status == "unattributed":
        return []
    amount = summary["unattributed_cost_usd"]
    cost = "none of it priced" if amount is None else f"{amount:.2f} USD"
    rows = f"{summary['unattributed_rows']} of {summary['usage_rows']} rows"
    return [
        {
            "basis": "equal_revenue",
            "segment": "all",
            "customer_dimension": pool.dimension,
            "n_bills": 0,
            "n_customers": 0,
            "method": "observed",
            "source": pool.source,
            "first_usage_date": summary["first_usage_date"],
            "last_usage_date": summary["last_usage_date"],
            "total_cost_usd": amount,
            "status": "unattributed",
            "reason": f"{rows} state no {pool.dimension}, {cost}: in no bill above",
        }
    ]


def _reason(pool: _Pool) -> str | None:
    return "; ".join(pool.notes) or None


def _priced_cost(pool: _Pool) -> Decimal | None:
    """The observed cost behind the bills: the whole history for the organisation, else the bills that are priced."""
    if not pool.is_observed:
        cost: Decimal | None = pool.summary["cost_usd"]
        return cost
    total: Decimal | None = pc.sum(pool.months.filter(pc.equal(pool.months["status"], "ok"))["bill_usd"]).as_py()
    return total


def _idle_months(pool: _Pool) -> int | None:
    """Months between a customer's first and last bill in which it has none; None where bills are not such months."""
    if not pool.is_observed or pool.dimension == "session_id":
        return None
    priced = pool.months.filter(pc.equal(pool.months["status"], "ok"))
    months = np.asarray(priced["month_number"], dtype=np.int64)
    first = np.flatnonzero(np.diff(pool.customers, prepend=-1))
    last = np.append(first[1:], pool.customers.size) - 1
    return int((months[last] - months[first] + 1).sum()) - months.size
