"""The bills of the marts under each contract, and their risk: the first two tables of pricing.

Belongs here: which rows make a bill, what is left out and why, and the columns of analysis.pricing_bills and
analysis.pricing_risk. Does not belong here: statistics and contracts (`terms`, `risk`), the choice of a contract
(`recommendation`), aggregation (`pipeline/pricing/sql/`), storing the tables.

There are two customer dimensions, each with its own terms:

- `organisation`: the user's own bill. Its months are the 10,000 equally likely totals of the next whole month, from the
  distribution of analysis.cost_forecast. Where the history carries none, months are drawn from its days in blocks of a
  week; below 28 days a month is also modelled as a sum of independent sessions.
- the configured dimension (if no row states it: api_key, then workspace): the observed bills of each customer and
  calendar month. If the history covers three calendar months or more, an incomplete first or last month is left out;
  in a shorter history it is used, and marked. A month without usage is idle and no bill.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.analysis.days import daily_series
from pipeline.analysis.measures import MONEY
from pipeline.analysis.measures import described_field as field
from pipeline.analysis.stats.forecast import Outlook
from pipeline.pricing.bill_model import (
    BLOCK_DAYS,
    MONTH_DAYS,
    SIMULATED_MONTHS,
    compound,
    count_law,
    resample_customer_months,
    simulate_months,
)
from pipeline.pricing.risk import SHOCK_FACTOR, SHOCK_PROBABILITY, loadings, measure
from pipeline.pricing.terms import (
    Combined,
    Contract,
    Ledger,
    Tiered,
    Usd,
    at_equal_revenue,
    defaults_at_equal_revenue,
)
from pipeline.settings import MECHANISM_NAMES, Settings, Terms
from pipeline.store.computed import error_line
from pipeline.store.sqlfiles import literal, sql
from pipeline.words import usd

LEAST_BILLS = 20  # the fewest with one bill in the highest 5%
LEAST_HISTORY_DAYS = 4 * BLOCK_DAYS  # the shortest month, drawn from four blocks
LEAST_MONTHS_TO_DROP_PARTIAL = 3
LEAST_CLUSTERS = 30  # an error resampled from fewer customers would be unreliable
ORGANISATION = "organisation"
MAX_SEGMENTS = 4  # the most expensive ones, besides `all`
SESSION_CAP_QUANTILE = 0.95  # the default cap: one session in twenty costs more
YEAR_MONTHS = 12  # consecutive simulated months, for contracts that depend on earlier months
_BATCHES = 20  # of 500 simulated months each; their spread gives the simulation error
FALLBACK_DIMENSIONS = ("api_key", "workspace")
_MECHANISM = f"{', '.join(MECHANISM_NAMES)}, or the name of a mechanism or quote of the settings"
_STATUS_OF_BILL = (
    "ok: contracts are priced on this bill; partial_month: the history covers only a part of this first or last month, "
    "and has three months or more; unattributed: the rows name no customer; unpriced: no row of the bill has a price; "
    "unavailable: there are no bills, or the computation failed (see reason)."
)
_STATUS_OF_RISK = (
    "ok; model: modelled, not observed; too_few: fewer than 20 bills, or (organisation) fewer than 28 days of history; "
    "unattributed: usage that names no customer; unpriced: no usage has a price; unavailable: no usage, or the "
    "computation failed (see reason)."
)

PRICING_BILLS = pa.schema(
    [
        field(
            "mechanism",
            pa.string(),
            f"{_MECHANISM}; null in a row without a contract (see status).",
        ),
        field("segment", pa.string(), "Usage of the bills: all."),
        field(
            "customer_dimension",
            pa.string(),
            "The dimension of customers: organisation, user_id, api_key, workspace or session_id.",
        ),
        field("customer", pa.string(), "The customer; null where the usage names none."),
        field(
            "month",
            pa.date32(),
            "First day of the calendar month (UTC); for a session, of the month of its start.",
        ),
        field("bill_usd", MONEY, "Usage of the month at list prices, in USD; null if none of it has a price."),
        field("price_usd", MONEY, "Price of this bill under the mechanism, at the terms of pricing_risk, in USD."),
        field("source", pa.string(), "Source of the usage: console, sessions or console+sessions."),
        field("basis", pa.string(), "equal_revenue or as_quoted; null in a row without a contract."),
        field("partial_month", pa.bool_(), "Whether the history starts or ends within this month."),
        field("unpriced_tokens", pa.int64(), "Tokens of the month without a price; not in the bill."),
        field("status", pa.string(), _STATUS_OF_BILL),
        field("reason", pa.string(), "Explains the status; null if ok."),
    ],
    metadata={
        "description": "Observed bills, one per customer and month, and the price of each under each mechanism. "
        "Rows with mechanism = per_token plus rows without a mechanism add up to all cost of the dimension's source."
    },
)

PRICING_RISK = pa.schema(
    [
        field(
            "basis",
            pa.string(),
            "equal_revenue: fee, premium, discount or rates are solved so that the mean price is the mean bill, before "
            "the loading; as_quoted: the unchanged terms of a quote.",
        ),
        field(
            "mechanism",
            pa.string(),
            f"{_MECHANISM}; null in a row with a status only.",
        ),
        field(
            "segment",
            pa.string(),
            "Usage of the bills: all, or one of the most expensive model=..., api_key=... and workspace=....",
        ),
        field(
            "customer_dimension",
            pa.string(),
            "The dimension of customers: organisation, user_id, api_key, workspace or session_id.",
        ),
        field(
            "params",
            pa.string(),
            "Terms as JSON; amounts in USD per month, limit_usd is the width of the covered layer.",
        ),
        field("n_bills", pa.int64(), "Number of bills; for organisation, of simulated months."),
        field("n_customers", pa.int64(), "Number of customers."),
        field(
            "mean",
            pa.float64(),
            "Mean price, USD per month; at equal revenue the same for all mechanisms of a dimension and segment.",
        ),
        field("median", pa.float64(), "Median price, USD."),
        field("p90", pa.float64(), "90th percentile of the price (type 7), USD."),
        field("sd", pa.float64(), "Standard deviation of the price (ddof 1), USD."),
        field("cv", pa.float64(), "sd / mean."),
        field(
            "variance_reduction",
            pa.float64(),
            "1 - Var(price) / Var(bill) about each customer's own mean; null if no customer has two bills.",
        ),
        field("variance_reduction_pooled", pa.float64(), "1 - Var(price) / Var(bill) over all bills."),
        field("sd_reduction", pa.float64(), "1 - sd(price) / sd(bill) over all bills."),
        field("var_95", pa.float64(), "Value at risk: 95% quantile of the price (type 7), USD; null below 20 bills."),
        field("var_99", pa.float64(), "Value at risk: 99% quantile of the price (type 7), USD; null below 100 bills."),
        field("tvar_95", pa.float64(), "Mean of the highest 5% of prices, USD, ties split; null below 20 bills."),
        field("tvar_99", pa.float64(), "Mean of the highest 1% of prices, USD, ties split; null below 100 bills."),
        field("p_over_budget", pa.float64(), "Share of prices above the budget; null without a budget."),
        field(
            "ceded_share",
            pa.float64(),
            "Expected loss that the provider covers / mean bill, before fee or premium.",
        ),
        field(
            "expected_shortfall_share",
            pa.float64(),
            "Mean of max(bill - price, 0) / mean bill: the provider's shortfall.",
        ),
        field("saving_usd", pa.float64(), "Mean bill - mean price, USD per month: the saving against list prices."),
        field("p_dearer", pa.float64(), "Share of bills with a price above the bill."),
        field("provider_sd", pa.float64(), "Standard deviation of price - bill, USD: the provider's risk."),
        field(
            "loading_principle",
            pa.string(),
            "expected_value, solvency_99 or cost_of_capital, one row each; null if as_quoted.",
        ),
        field(
            "loading",
            pa.float64(),
            "The provider's margin for the risk that it takes over, USD per bill. expected_value: setting "
            "loading_lambda (0.2) x the mean ceded loss above the least one, which is certain; solvency_99: the amount "
            "with which premiums of pool_customers independent customers cover the ceded losses in 99% of months; "
            "cost_of_capital: that setting (0.06) x (TVaR99 - mean) of the ceded loss.",
        ),
        field("loss_ratio", pa.float64(), "Expected ceded loss / loaded premium; null if nothing is ceded."),
        field(
            "simulation_error",
            pa.float64(),
            "Standard error of mean at these terms, USD. For organisation it is the error of the simulation, without "
            "that of a short history; else from resampled customers and weeks of their days: null below 30 customers, "
            "and for credits and session_cap.",
        ),
        field("sd_error", pa.float64(), "Standard error of sd, USD; null where simulation_error is."),
        field("variance_reduction_error", pa.float64(), "Standard error of variance_reduction_pooled."),
        field("tvar_99_error", pa.float64(), "Standard error of tvar_99, USD; for simulated months only."),
        field(
            "provider_covariance", pa.float64(), "Cov(price, bill - price), USD^2: Var B = Var P + Var(B - P) + 2 Cov."
        ),
        field("pure_premium", pa.float64(), "Mean ceded loss, USD per bill."),
        field("premium", pa.float64(), "Loaded premium: pure_premium + loading, USD per bill."),
        field("pool_customers", pa.int64(), "Number of customers in the pool of solvency_99."),
        field(
            "loading_common_shock",
            pa.float64(),
            f"The solvency_99 loading if, with probability {SHOCK_PROBABILITY}, all bills of a month are "
            f"{SHOCK_FACTOR} times as high: a shock common to all customers does not diversify. USD per bill.",
        ),
        field(
            "method",
            pa.string(),
            "forecast: equally likely totals of next_month in cost_forecast; block_bootstrap: months of 28 to 31 days "
            "drawn from days, where the history carries no such distribution; observed: the actual bills; "
            "compound_model: for a short history, a month modelled as a sum of independent sessions.",
        ),
        field("source", pa.string(), "Source of the usage: console, sessions or console+sessions."),
        field("first_usage_date", pa.date32(), "First UTC day of the history."),
        field("last_usage_date", pa.date32(), "Last UTC day of the history."),
        field("history_days", pa.int64(), "Number of UTC days for the simulation; null for observed bills."),
        field("idle_months", pa.int64(), "Months without usage between a customer's first and last bill."),
        field(
            "total_cost_usd", MONEY, "Cost of the priced usage, in USD; if unattributed, of that without a customer."
        ),
        field(
            "unpriced_token_share", pa.float64(), "Share of tokens without a price: bills are too low by their cost."
        ),
        field("status", pa.string(), _STATUS_OF_RISK),
        field("reason", pa.string(), "Explains the status, and what is left out."),
    ],
    metadata={
        "description": "Risk under each mechanism: one row per basis, segment, customer dimension, mechanism and "
        "loading principle. The three rows of a mechanism differ only in the loading columns."
    },
)


@dataclass(frozen=True)
class Pool:
    """One segment and customer dimension: its months, its bills, and the contracts priced on them.

    `ledger` holds the bills of the risk table (simulated for the organisation) and `customers` the customer of each;
    `observed` holds the actual bills with status ok. `contracts` are at equal revenue; `quotes` keep their own terms.
    `has_budget`: cost_forecast has budgets of the simulated month.
    """

    dimension: str
    summary: dict[str, Any]
    months: pa.Table
    status: str
    notes: tuple[str, ...]
    segment: str = "all"
    method: str = "observed"
    ledger: Ledger | None = None
    observed: Ledger | None = None
    customers: NDArray[np.int64] | None = None
    contracts: tuple[Contract, ...] = ()
    quotes: tuple[Contract, ...] = ()
    history_days: int | None = None
    errors: tuple[dict[str, float | None], ...] = ()
    has_budget: bool = False

    @property
    def is_observed(self) -> bool:
        """Whether the bills are actual ones of the history."""
        return self.method == "observed"

    @property
    def is_failed(self) -> bool:
        """Whether there are bills but the contracts could not be computed."""
        return self.status == "unavailable" and bool(self.summary["usage_rows"])

    @property
    def has_tails(self) -> bool:
        """Whether VaR and TVaR are meaningful, given enough bills."""
        return self.is_observed or self.status == "model" or (self.status == "ok" and self.has_budget)

    @property
    def source(self) -> str | None:
        """Source of the usage: console, sessions or both."""
        names = [name for name in ("console", "sessions") if self.summary[f"has_{name}"]]
        return "+".join(names) or None

    @property
    def reason(self) -> str | None:
        """Why the pool has its status, and what was left out."""
        return "; ".join(self.notes) or None

    @property
    def offered(self) -> list[tuple[str, Contract]]:
        """All contracts with their basis."""
        return [("equal_revenue", each) for each in self.contracts] + [("as_quoted", each) for each in self.quotes]


def pricing_bills(pools: Sequence[Pool]) -> pa.Table:
    """Observed bills of segment `all` and their price under each mechanism; schema `PRICING_BILLS`.

    Sorted by dimension (organisation first), mechanism, customer and month. Without a priced bill, one row says why.
    """
    parts = []
    for pool in pools:
        if pool.segment != "all" or pool.method == "compound_model":
            continue
        is_ok = pc.equal(pool.months["status"], "ok")
        priced = pool.months.filter(is_ok)
        if pool.observed is not None and priced.num_rows:
            for basis, contract in pool.offered:
                if contract.name != "session_cap" or pool.observed.over_cap is not None:
                    parts.append(_bill_rows(pool, priced, basis, contract.label, contract.price_in(pool.observed)))
        if pc.sum(pc.is_valid(pool.months["bill_usd"])).as_py():
            parts.append(_bill_rows(pool, pool.months.filter(pc.invert(is_ok)), None, None, None))
        else:
            row = {"segment": "all", "customer_dimension": pool.dimension, "source": pool.source}
            row |= {"unpriced_tokens": pool.summary["unpriced_tokens"], "status": pool.status, "reason": pool.reason}
            parts.append(pa.Table.from_pylist([row], schema=PRICING_BILLS))
    return pa.concat_tables(parts).combine_chunks()


def pricing_risk(pools: Sequence[Pool], settings: Settings) -> pa.Table:
    """The risk of bills under each mechanism, with each loading principle; schema `PRICING_RISK`.

    Sorted by segment (all first), dimension (organisation first), basis, mechanism and loading principle; usage without
    a customer has a row of its own. Without a priced bill, one row says why.
    """
    rows: list[dict[str, Any]] = []
    for pool in pools:
        rows += _risk_rows(pool, settings)
        if pool.segment == "all":
            rows += _unattributed_rows(pool)
    return pa.Table.from_pylist(rows, schema=PRICING_RISK)


SCHEMAS: dict[str, pa.Schema] = {"pricing_bills": PRICING_BILLS, "pricing_risk": PRICING_RISK}


def pools(connection: duckdb.DuckDBPyConnection, settings: Settings) -> list[Pool]:
    """The organisation's pool, then the configured dimension's, for `all` and for the most expensive segments.

    Reads marts.token_usage_minutes and marts.token_usage_sessions. Without any price there is only the organisation's
    pool of `all`; a segment has only pools with a price.
    """
    result = []
    try:
        outlooks = _outlooks(connection)
        for segment in [None, *_segments(connection)]:
            name = "all" if segment is None else f"{segment[0]}={segment[1]}"
            organisation = _organisation_pools(connection, settings, segment, outlooks.get(name))
            configured = _customer_pool(connection, settings, segment)
            priced = bool(organisation[0].contracts) or configured.summary["cost_usd"] is not None
            both = [*organisation, configured] if priced else organisation
            result += [pool for pool in both if segment is None or pool.contracts or pool.is_failed]
    finally:
        _drop(connection)
    return result


def organisation(connection: duckdb.DuckDBPyConnection, settings: Settings) -> Pool:
    """The organisation's pool over all usage."""
    try:
        return _organisation_pools(connection, settings, None, _outlooks(connection).get("all"))[0]
    finally:
        _drop(connection)


def _outlooks(connection: duckdb.DuckDBPyConnection) -> dict[str, Outlook]:
    """The forecasts of analysis.cost_forecast by segment: of all usage and the most expensive segments."""
    series = daily_series(connection, MAX_SEGMENTS)[1]
    return {each.segment.name: Outlook.of(each.days, each.first_day) for each in series}


def cost_between(connection: duckdb.DuckDBPyConnection, first: date, last: date) -> Decimal | None:
    """List price in USD of the organisation's usage from `first` to `last` (UTC); None if none has a price."""
    try:
        _load_days(connection, ORGANISATION, None)
        ((cost,),) = connection.execute(sql("pricing/cost_between"), {"first": first, "last": last}).fetchall()
    finally:
        _drop(connection)
    return None if cost is None else Decimal(cost)


def _drop(connection: duckdb.DuckDBPyConnection) -> None:
    for table in ("billing_months", "billing_days", "billing_sessions"):
        connection.execute(f"drop table if exists temp.{table}")


def _segments(connection: duckdb.DuckDBPyConnection) -> list[tuple[str, str]]:
    segments = connection.execute(sql("pricing/list_segments", most=str(MAX_SEGMENTS))).fetchall()
    return [(str(dimension), str(name)) for dimension, name in segments]


def contract_of(title: str, terms: Terms) -> Combined:
    """A contract from terms of the settings."""
    tiers = terms.tiers and Tiered(
        tuple(tier.from_usd for tier in terms.tiers), tuple(tier.rate for tier in terms.tiers), terms.tier_kind
    )
    return Combined(
        title,
        terms.fee_usd,
        terms.commitment_usd,
        terms.discount,
        terms.allowance_usd,
        terms.overage_rate,
        tiers or None,
    )


def _contracts(pool: Pool, ledger: Ledger, costs: Usd, settings: Settings) -> Pool:
    """The pool with every mechanism solved over `ledger`, and the quotes. `costs` are its session costs."""
    cap_usd = float(np.quantile(costs, SESSION_CAP_QUANTILE)) if costs.size and ledger.over_cap is not None else None
    solved = list(defaults_at_equal_revenue(ledger, session_cap_usd=cap_usd))
    notes = list(pool.notes)
    for title, terms in sorted(settings.mechanisms.items()):
        try:
            solved.append(at_equal_revenue(contract_of(title, terms), ledger))
        except ValueError as error:
            notes.append(f"left out: {error}")
    if cap_usd is None:
        notes.append("session_cap is left out: it needs the sessions of each bill")
    quotes = tuple(contract_of(title, terms) for title, terms in sorted(settings.quotes.items()))
    return replace(pool, ledger=ledger, contracts=tuple(solved), quotes=quotes, notes=tuple(notes))


def _by_rank(drawn: Usd, totals: Usd) -> Usd:
    """The ascending `totals` in the order of `drawn`: a month of many expensive sessions stays an expensive one."""
    bills = np.empty(drawn.size)
    bills[np.argsort(drawn, kind="stable")] = totals
    return bills


def _organisation_pools(
    connection: duckdb.DuckDBPyConnection,
    settings: Settings,
    segment: tuple[str, str] | None,
    outlook: Outlook | None,
) -> list[Pool]:
    """The next whole month by its forecast; for a short history with known sessions, also the compound model."""
    month = None if outlook is None else outlook.next_month
    _load_days(connection, ORGANISATION, segment)
    pool = _base_pool(connection, ORGANISATION, segment)
    if pool.status != "ok":
        return [pool]
    days = connection.sql(sql("pricing/list_history_days")).to_arrow_table()
    sessions = connection.sql(sql("pricing/list_sessions")).to_arrow_table()
    numbers = _day_numbers(days["usage_date"])
    started, costs = _day_numbers(sessions["usage_date"]), np.asarray(sessions["cost_usd"], dtype=np.float64)
    known = np.isin(started, numbers)
    at, costs = np.searchsorted(numbers, started[known]), costs[known]

    def over_cap(cap_usd: float) -> Usd:
        excess: Usd = np.asarray(np.bincount(at, np.maximum(costs - cap_usd, 0.0), numbers.size), dtype=np.float64)
        return simulate_months(excess, seed=settings.seed) * scale  # the seed draws the same days as for the bills

    drawn = simulate_months(np.asarray(days["cost_usd"], dtype=np.float64), seed=settings.seed)
    bills = drawn if month is None or month.spread is None else _by_rank(drawn, month.outcomes())
    scale = np.divide(bills, drawn, out=np.zeros(drawn.size), where=drawn > 0)
    span_days = (pool.summary["last_usage_date"] - pool.summary["first_usage_date"]).days + 1
    notes = [f"{bills.size} months simulated from {days.num_rows} days in blocks of {BLOCK_DAYS}"]
    if bills is not drawn and month is not None:
        notes = [f"{bills.size} equally likely totals of {month.month:%B %Y}, from {month.known_days} days"]
    if outlook is not None and month is not None and (doubt := outlook.doubt(month)):
        notes.append(doubt.rstrip("."))
    if span_days > days.num_rows:
        notes.append(f"{span_days - days.num_rows} days without any price are left out")
    is_short = days.num_rows < LEAST_HISTORY_DAYS
    if is_short:
        notes.insert(0, f"{days.num_rows} days of history, at least {LEAST_HISTORY_DAYS} are needed")
    pool = replace(
        pool,
        method="block_bootstrap" if bills is drawn else "forecast",
        has_budget=month is not None and month.budget(0.95) is not None,
        customers=np.zeros(bills.size, dtype=np.int64),
        observed=_observed_ledger(connection, pool.months),
        history_days=days.num_rows,
        status="too_few" if is_short else "ok",
        notes=(*notes, *pool.notes),
    )

    def simulated() -> Pool:
        ledger = _ledger_of_years(bills, over_cap if costs.size else None)
        offered = _contracts(pool, ledger, costs, settings)
        return replace(offered, errors=tuple(_simulation_errors(offered)))

    pools = [_or_reason(pool, simulated)]
    if is_short and (costs > 0).any():
        model = replace(pool, method="compound_model", status="model", observed=None)
        pools.append(_or_reason(model, lambda: _modelled(model, at, costs, settings)))
    return pools


def _or_reason(pool: Pool, compute: Callable[[], Pool]) -> Pool:
    """The result of `compute`; if it fails, the pool's bills without contracts, and the reason."""
    try:
        return compute()
    except (ValueError, ArithmeticError) as error:
        months = pool.months
        statuses = pc.replace_substring_regex(months["status"], "^ok$", "unavailable")
        months = months.set_column(months.schema.get_field_index("status"), "status", statuses)
        return replace(
            pool,
            months=months,
            status="unavailable",
            notes=(f"not computed, {error_line(error)}", *pool.notes),
            observed=None,
            customers=None,
        )


def _modelled(pool: Pool, at: NDArray[np.int64], costs: Usd, settings: Settings) -> Pool:
    """The organisation's month as N independent sessions; N has the moments of 30.4 independent days."""
    law = count_law(np.bincount(at, minlength=pool.history_days or 1), float(MONTH_DAYS.mean()))
    values, counts = np.unique(costs, return_counts=True)
    bills = compound(law, values, counts).strata(SIMULATED_MONTHS)
    shuffled = np.random.default_rng(settings.seed).permutation(bills)  # for contracts that depend on earlier months
    distribution = "Poisson" if law.k is None else f"negative binomial, k = {law.k:.3g}"
    notes = (
        f"a model, not a history: {law.mean:.0f} sessions a month ({distribution}), drawn independently from "
        f"{costs.size} sessions of {pool.history_days} days",
    )
    pool = _contracts(replace(pool, notes=notes), _ledger_of_years(shuffled, None), np.zeros(0), settings)
    return replace(pool, errors=tuple({} for _ in pool.offered))


def _ledger_of_years(bills: Usd, over_cap: Callable[[float], Usd] | None) -> Ledger:
    """Simulated months as contract years of twelve months; each year starts without credits."""
    months = np.arange(bills.size, dtype=np.int64)
    return Ledger(bills, months // YEAR_MONTHS, months, over_cap)


def _day_numbers(dates: pa.ChunkedArray) -> NDArray[np.int64]:
    return np.asarray(pc.cast(pc.cast(dates, pa.date32()), pa.int32()), dtype=np.int64)


def _observed_ledger(connection: duckdb.DuckDBPyConnection, months: pa.Table) -> Ledger | None:
    """The bills of temp.billing_months with status ok, and their sessions."""
    priced = months.filter(pc.equal(months["status"], "ok"))
    if not priced.num_rows:
        return None
    sessions = connection.sql(sql("pricing/list_bill_sessions")).to_arrow_table()
    at = np.asarray(sessions["bill_number"], dtype=np.int64)
    costs = np.asarray(sessions["cost_usd"], dtype=np.float64)
    n = priced.num_rows

    def over_cap(cap_usd: float) -> Usd:
        return np.asarray(np.bincount(at, np.maximum(costs - cap_usd, 0.0), n))

    return Ledger(
        np.asarray(priced["bill_as_double"], dtype=np.float64),
        np.asarray(priced["customer_number"], dtype=np.int64),
        np.asarray(priced["month_number"], dtype=np.int64),
        over_cap if costs.size else None,
    )


def _customer_pool(connection: duckdb.DuckDBPyConnection, settings: Settings, segment: tuple[str, str] | None) -> Pool:
    configured = settings.customer_dimension
    candidates = [configured, *(name for name in FALLBACK_DIMENSIONS if name != configured)]
    unattributed: Pool | None = None
    for dimension in candidates:
        _load_days(connection, dimension, segment)
        pool = _base_pool(connection, dimension, segment)
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
    ledger = _observed_ledger(connection, pool.months)
    if ledger is None:
        note = f"no {dimension} has a priced bill of a whole month"
        return replace(pool, status="too_few", notes=(note, *pool.notes))
    notes = list(pool.notes)
    n_bills = ledger.bills.size
    if n_bills < LEAST_BILLS:
        notes.insert(0, f"{n_bills} bills, at least {LEAST_BILLS} are needed")
    if dimension == "session_id":
        costs = ledger.bills
        ledger = replace(ledger, over_cap=lambda cap_usd: np.maximum(costs - cap_usd, 0.0))
    else:
        costs = np.asarray(
            connection.sql(sql("pricing/list_bill_sessions")).to_arrow_table()["cost_usd"], dtype=np.float64
        )
    pool = replace(
        pool,
        observed=ledger,
        customers=ledger.paths,
        status="ok" if n_bills >= LEAST_BILLS else "too_few",
        notes=tuple(notes),
    )

    def observed() -> Pool:
        offered = _contracts(pool, ledger, costs, settings)
        return replace(offered, errors=tuple(_observed_errors(connection, offered, settings.seed)))

    return _or_reason(pool, observed)


def _load_days(connection: duckdb.DuckDBPyConnection, dimension: str, segment: tuple[str, str] | None) -> None:
    """Fill temp.billing_days, temp.billing_months and temp.billing_sessions for `dimension` and segment."""
    is_session = dimension == "session_id"
    days = "pricing/billing_days_of_sessions" if is_session else "pricing/billing_days"
    of_minutes = "true" if segment is None else f"minutes.{segment[0]} = {literal(segment[1])}"
    column = "primary_model" if segment and segment[0] == "model" else segment and segment[0]
    of_sessions = "true" if segment is None else f"{column} = {literal(segment[1])}"
    parts = {"segment": of_sessions if is_session else of_minutes}
    if not is_session:
        parts["dimension"] = literal(dimension)
    connection.execute(sql(days, **parts))
    terms = {"bills_are_sessions": str(is_session), "least_months": str(LEAST_MONTHS_TO_DROP_PARTIAL)}
    connection.execute(sql("pricing/billing_months", **terms))
    connection.execute(sql("pricing/billing_sessions", dimension=literal(dimension), segment=of_sessions))


def _base_pool(connection: duckdb.DuckDBPyConnection, dimension: str, segment: tuple[str, str] | None) -> Pool:
    """The pool before bills and contracts; status ok means that some of its usage has a price."""
    summary = connection.sql(sql("pricing/summary")).to_arrow_table().to_pylist()[0]
    months = connection.sql(sql("pricing/list_months")).to_arrow_table()
    notes = []
    if not summary["usage_rows"]:
        status, notes = "unavailable", ["there is no usage to bill"]
        if dimension == "user_id":
            notes = ["bills by user_id need sessions, and there are none"]
    elif summary["cost_usd"] is None:
        status, notes = "unpriced", [f"none of {summary['unpriced_tokens']} tokens has a price"]
    else:
        status = "ok"
        notes = _notes(summary, months, dimension)
    name = "all" if segment is None else f"{segment[0]}={segment[1]}"
    return Pool(dimension, summary, months, status, tuple(notes), segment=name)


def _notes(summary: dict[str, Any], months: pa.Table, dimension: str) -> list[str]:
    notes = []
    partial = months.filter(months["is_partial_month"])
    if partial.num_rows and dimension != ORGANISATION:
        named = ", ".join(sorted({f"{month:%Y-%m}" for month in partial["month"].to_pylist()}))
        if summary["n_months"] >= LEAST_MONTHS_TO_DROP_PARTIAL:
            notes.append(f"the history covers only a part of {named}: left out")
        else:
            notes.append(f"the history covers only a part of {named}: used as it is, because the history is short")
    if summary["unpriced_tokens"]:
        share = summary["unpriced_tokens"] / summary["total_tokens"]
        notes.append(f"{share:.1%} of tokens have no price: bills are too low")
    return notes


def _simulation_errors(pool: Pool) -> Iterator[dict[str, float | None]]:
    """Standard errors of simulated months: the sd over batches / sqrt(number of batches)."""
    assert pool.ledger is not None
    bills = pool.ledger.bills.reshape(_BATCHES, -1)
    for _, contract in pool.offered:
        prices = contract.price_in(pool.ledger).reshape(_BATCHES, -1)
        worst = np.sort(prices, axis=1)[:, -(prices.shape[1] // 100) :].mean(axis=1)
        yield _standard_errors(prices, bills) | {
            "simulation_error": _spread(prices.ravel()) if contract.name != "credits" else _spread(prices.mean(axis=1)),
            "tvar_99_error": _spread(worst) if pool.has_tails else None,
        }


def _spread(values: Usd) -> float:
    return float(values.std(ddof=1)) / float(np.sqrt(values.size))


def _standard_errors(prices: Usd, bills: Usd) -> dict[str, float | None]:
    variance = bills.var(axis=1)
    reduction = 1 - prices.var(axis=1) / variance if (variance > 0).all() else None
    return {
        "sd_error": _spread(prices.std(axis=1, ddof=1)),
        "variance_reduction_error": None if reduction is None else _spread(reduction),
    }


def _observed_errors(connection: duckdb.DuckDBPyConnection, pool: Pool, seed: int) -> Iterator[dict[str, float | None]]:
    """Standard errors of each contract by resampling; none below 30 customers."""
    assert pool.ledger is not None
    bills, customers = pool.ledger.bills, pool.ledger.paths
    if np.unique(customers).size < LEAST_CLUSTERS:
        yield from ({} for _ in pool.offered)
        return
    if pool.dimension == "session_id":
        scale = float(np.sqrt(bills.size))
        for _, contract in pool.offered:
            yield {"simulation_error": float(contract.price_in(pool.ledger).std(ddof=1)) / scale}
        return
    priced = pool.months.filter(pc.equal(pool.months["status"], "ok"))
    bill_days = np.asarray(priced["history_days"], dtype=np.int64)
    used = connection.sql(sql("pricing/list_bill_days")).to_arrow_table()
    first_day = np.cumsum(bill_days) - bill_days
    daily = np.zeros(int(bill_days.sum()))
    daily[first_day[np.asarray(used["bill_number"])] + np.asarray(used["day_number"])] = np.asarray(used["cost_usd"])
    stateless = [contract for _, contract in pool.offered if contract.name not in ("credits", "session_cap")]
    moments = [
        [_moments(contract.price(redrawn), redrawn) for contract in stateless]
        for redrawn in resample_customer_months(daily, bill_days, customers, seed=seed)
    ]
    errors = iter(np.std(np.array(moments), axis=0, ddof=1))
    for _, contract in pool.offered:
        if contract.name in ("credits", "session_cap"):
            yield {}
        else:
            mean, sd, reduction = (float(error) if np.isfinite(error) else None for error in next(errors))
            yield {"simulation_error": mean, "sd_error": sd, "variance_reduction_error": reduction}


def _moments(prices: Usd, bills: Usd) -> tuple[float, float, float]:
    variance = float(bills.var())
    reduction = 1 - float(prices.var()) / variance if variance > 0 else np.nan
    return float(prices.mean()), float(prices.std(ddof=1)) if prices.size > 1 else np.nan, reduction


def _bill_rows(pool: Pool, months: pa.Table, basis: str | None, label: str | None, prices: Usd | None) -> pa.Table:
    """Rows of pricing_bills: `months` at `prices`; None for bills without a contract."""
    n = months.num_rows
    if prices is None:
        price, reason = pa.nulls(n, MONEY), _reasons_of_bills(pool, months)
    else:
        same = pa.array(prices == np.asarray(months["bill_as_double"]))  # an equal price keeps the bill's decimals
        price, reason = pc.if_else(same, months["bill_usd"], pc.cast(pa.array(prices), MONEY)), pa.nulls(n, pa.string())
    columns = {
        "mechanism": pa.array([label] * n, pa.string()),
        "segment": pa.array([pool.segment] * n, pa.string()),
        "customer_dimension": pa.array([pool.dimension] * n, pa.string()),
        "customer": months["customer"],
        "month": months["month"],
        "bill_usd": months["bill_usd"],
        "price_usd": price,
        "source": months["source"],
        "basis": pa.array([basis] * n, pa.string()),
        "partial_month": months["is_partial_month"],
        "unpriced_tokens": months["unpriced_tokens"],
        "status": months["status"],
        "reason": reason,
    }
    return pa.table([columns[field.name] for field in PRICING_BILLS], schema=PRICING_BILLS)


def _reasons_of_bills(pool: Pool, months: pa.Table) -> pa.Array:
    summary = pool.summary
    words = {
        "unattributed": f"the rows name no {pool.dimension}",
        "unpriced": "no row of this bill has a price",
        "unavailable": pool.reason,
        "partial_month": f"the history runs from {summary['first_usage_date']} to {summary['last_usage_date']}",
    }
    return pa.array([words.get(status) for status in months["status"].to_pylist()], pa.string())


def _risk_rows(pool: Pool, settings: Settings) -> list[dict[str, Any]]:
    """One row per contract and loading principle, and one per quote; without contracts, one row with the reason."""
    summary = pool.summary
    share = summary["unpriced_tokens"] / summary["total_tokens"] if summary["total_tokens"] else None
    common = {
        "basis": "equal_revenue",
        "segment": pool.segment,
        "customer_dimension": pool.dimension,
        "method": pool.method,
        "source": pool.source,
        "first_usage_date": summary["first_usage_date"],
        "last_usage_date": summary["last_usage_date"],
        "history_days": pool.history_days,
        "unpriced_token_share": share,
        "status": pool.status,
        "reason": pool.reason,
    }
    if pool.ledger is None:
        return [common | {"n_bills": 0, "n_customers": 0, "total_cost_usd": summary["cost_usd"]}]
    common |= {"total_cost_usd": _priced_cost(pool), "idle_months": _idle_months(pool)}
    mean_bill = float(pool.ledger.bills.mean())
    rows = []
    for (basis, contract), errors in zip(pool.offered, pool.errors, strict=True):
        risk = measure(contract, pool.ledger, pool.customers, budget_usd=settings.budget_usd, tails=pool.has_tails)
        shared = common | vars(risk) | errors
        shared |= {
            "basis": basis,
            "mechanism": contract.label,
            "params": json.dumps(contract.params(), sort_keys=True),
            "saving_usd": risk.saving,
        }
        if basis == "as_quoted":
            rows.append({field.name: shared.get(field.name) for field in PRICING_RISK})
            continue
        # the solver guarantees equality to 1e-9: publish exactly equal means
        shared |= {"mean": mean_bill, "saving_usd": 0.0}
        by_principle = loadings(
            contract,
            pool.ledger,
            pool_customers=settings.pool_customers,
            lambda_=settings.loading_lambda,
            cost_of_capital=settings.cost_of_capital,
        )
        for loading in by_principle:
            terms = vars(loading) | {"loading_principle": loading.principle}
            rows.append({field.name: (shared | terms).get(field.name) for field in PRICING_RISK})
    return rows


def _unattributed_rows(pool: Pool) -> list[dict[str, Any]]:
    """One row for usage that names no customer; no row if all usage names one."""
    summary = pool.summary
    if not summary["unattributed_rows"] or pool.status == "unattributed":
        return []
    amount = summary["unattributed_cost_usd"]
    cost = "unpriced usage" if amount is None else usd(amount)
    rows = f"{summary['unattributed_rows']:,} of {summary['usage_rows']:,} rows"
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
            "reason": f"{cost} names no {pool.dimension} and is left out ({rows})",
        }
    ]


def _priced_cost(pool: Pool) -> Decimal | None:
    """The observed cost: of the whole history for the organisation, else of the priced bills."""
    if not pool.is_observed:
        cost: Decimal | None = pool.summary["cost_usd"]
        return cost
    total: Decimal | None = pc.sum(pool.months.filter(pc.equal(pool.months["status"], "ok"))["bill_usd"]).as_py()
    return total


def _idle_months(pool: Pool) -> int | None:
    """Months without a bill between a customer's first and last one; None if bills are not customer months."""
    if not pool.is_observed or pool.dimension == "session_id" or pool.ledger is None:
        return None
    months, customers = pool.ledger.months, pool.ledger.paths
    first = np.flatnonzero(np.diff(customers, prepend=-1))
    last = np.append(first[1:], customers.size) - 1
    return int((months[last] - months[first] + 1).sum()) - months.size
