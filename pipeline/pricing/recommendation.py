"""Which contract to choose: quotes, frontier and recommendation, and the list of all pricing tables.

Belongs here: the user's quotes against actual bills, the frontier, the recommendation and its sentences, the provider's
view, the naive figures per conversation, and the columns of these tables. Does not belong here: which rows make a bill
and the risk of single contracts (`bill_history`), contracts and statistics (`terms`, `risk`, `frontier`).
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from functools import cache
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.analysis.measures import MONEY
from pipeline.analysis.measures import described_field as field
from pipeline.pricing import bill_history
from pipeline.pricing.bill_history import ORGANISATION, Pool
from pipeline.pricing.frontier import PRINCIPLES, Choice, Market
from pipeline.pricing.risk import SHOCK_FACTOR, SHOCK_PROBABILITY, measure, solvency_loading, value_at_risk, vary
from pipeline.pricing.search import Target
from pipeline.pricing.terms import Contract, Ledger, Usd, break_even, classics_at_equal_revenue
from pipeline.settings import Settings
from pipeline.store.computed import table_or_reason
from pipeline.store.sqlfiles import sql
from pipeline.words import usd

LAST_YEAR_MONTHS = 12
FRONTIER_POINTS = 501  # parameters that the table lists, of all that are computed
CALM = 0.05  # a buyer whose 95% month exceeds the mean by less needs no contract
PROVIDER_CUSTOMERS = (1, 10, 100, 1_000, 10_000)
NAMES = {
    "per_token": "per-token",
    "bundle": "a flat fee",
    "hybrid": "hybrid",
    "insurance": "stop-loss",
    "allowance": "an allowance",
    "commitment": "a commitment",
    "tiered": "tiers",
    "credits": "prepaid credits",
    "session_cap": "a cap per session",
}
QUESTIONS = {
    "expected_value": "a share of the expected claims",
    "solvency_99": "a reserve for all its customers together",
    "cost_of_capital": "the cost of capital for your worst months",
}

PRICING_QUOTES = pa.schema(
    [
        field("quote", pa.string(), "Name of the quote in the settings or in quotes.toml; null without quotes."),
        field("params", pa.string(), "Its terms as JSON; amounts in USD per month."),
        field("first_month", pa.date32(), "First compared month, of up to twelve complete ones."),
        field("last_month", pa.date32(), "Last compared month."),
        field("n_months", pa.int64(), "Number of months, including months without usage: a fee is due in them."),
        field("list_usd", MONEY, "Cost of these months at list prices (per token), in USD."),
        field("quote_usd", MONEY, "Cost of these months under the quote, in USD."),
        field("saving_usd", MONEY, "list_usd - quote_usd; negative if the quote costs more."),
        field("saving_share", pa.float64(), "saving_usd / list_usd."),
        field("dearer_months", pa.int64(), "Number of months in which the quote costs more than list."),
        field(
            "p_dearer",
            pa.float64(),
            "Probability that a month costs more than list, over the simulated months of pricing_risk.",
        ),
        field("p_over_budget", pa.float64(), "Probability that a month exceeds the budget; null without a budget."),
        field(
            "break_even_usd",
            pa.float64(),
            "Monthly usage at list prices at which the quote costs the same; the lowest if several, null if none.",
        ),
        field("break_evens_usd", pa.string(), "All break-evens, as a JSON list."),
        field("answer", pa.string(), "The result in words."),
        field("status", pa.string(), "ok; none: no quote is set; unavailable: there are no priced bills."),
    ],
    metadata={"description": "Cost of the organisation's last twelve complete months under each quote of the user."},
)

PRICING_FRONTIER = pa.schema(
    [
        field("mechanism", pa.string(), "hybrid, insurance (stop-loss), allowance (overage at list) or commitment."),
        field("segment", pa.string(), "Usage of the bills: all."),
        field("customer_dimension", pa.string(), "The dimension of customers: organisation or the configured one."),
        field("params", pa.string(), "Terms as JSON, at equal revenue before the loading; amounts in USD per month."),
        field(
            "variance_reduction",
            pa.float64(),
            "1 - Var(price) / Var(bill) about each customer's own mean; null if no customer has two bills.",
        ),
        field(
            "tvar_99", pa.float64(), "Mean of the highest 1% of prices before the loading, USD; null below 100 bills."
        ),
        field("pure_premium", pa.float64(), "Mean ceded loss, USD per bill."),
        field("premium", pa.float64(), "pure_premium + loading, USD per bill."),
        field("loading_principle", pa.string(), "expected_value, solvency_99 or cost_of_capital; one row each."),
        field(
            "loading",
            pa.float64(),
            "Average extra cost over per-token, USD per bill. solvency_99 is exact at up to 43 parameters, and "
            "interpolated between them.",
        ),
    ],
    metadata={
        "description": "Risk against price by theta, deductible, allowance and commitment: computed at every bill as a "
        f"threshold; the table lists {FRONTIER_POINTS} of them, evenly spaced by rank."
    },
)

PRICING_RECOMMENDATION = pa.schema(
    [
        field(
            "target",
            pa.string(),
            "variance_reduction: at least setting target_variance_reduction; budget: the loaded price stays within "
            "budget_usd with budget_probability.",
        ),
        field("target_value", pa.float64(), "The share of variance, or the budget in USD."),
        field("target_probability", pa.float64(), "The probability of the budget; null for variance_reduction."),
        field("customer_dimension", pa.string(), "The dimension of customers: organisation or the configured one."),
        field(
            "view",
            pa.string(),
            "buyer: the organisation's own bill; provider: bills by user, key, workspace or session, for a provider or "
            "platform team that charges them. A buyer gets no contract of the second kind.",
        ),
        field("loading_principle", pa.string(), "expected_value, solvency_99 or cost_of_capital."),
        field("rank", pa.int64(), "1 is the cheapest: the smallest loading, because all cost the mean bill before it."),
        field(
            "mechanism",
            pa.string(),
            "The contract, with the best of all its terms; your own mechanisms with theirs. per_token: no contract is "
            "needed. Null if none reaches the target, or with too few bills.",
        ),
        field("params", pa.string(), "Its terms as JSON, before the loading; amounts in USD per month."),
        field("variance_reduction", pa.float64(), "Variance reduction reached, within customers."),
        field("pure_premium", pa.float64(), "Mean ceded loss, USD per bill."),
        field("loading", pa.float64(), "Price of certainty: average extra cost over per-token, USD per bill."),
        field("premium", pa.float64(), "pure_premium + loading, USD per bill."),
        field("expected_cost_usd", pa.float64(), "Mean loaded price: mean bill + loading, USD per month."),
        field("p_over_budget", pa.float64(), "Probability that the loaded price exceeds the budget; null without one."),
        field("customer_variance_share", pa.float64(), "Var(price) / Var(bill): the customer's risk."),
        field("provider_variance_share", pa.float64(), "Var(price - bill) / Var(bill): the provider's risk."),
        field(
            "shared_variance_share",
            pa.float64(),
            "2 Cov(price, bill - price) / Var(bill): the shared part; the three shares add up to 1.",
        ),
        field("status", pa.string(), "ok; too_few, unpriced, ... as in pricing_risk; unreachable; no_budget."),
        field(
            "reason",
            pa.string(),
            "The recommendation in words, and what to ask the provider where the principles disagree.",
        ),
    ],
    metadata={
        "description": "The cheapest contract of each mechanism that reaches the target, under each loading principle, "
        "and how it splits the risk."
    },
)

PRICING_PROVIDER = pa.schema(
    [
        field("mechanism", pa.string(), "As in pricing_risk, at equal revenue; null with too few bills."),
        field("customer_dimension", pa.string(), "The dimension of the provider's customers."),
        field("params", pa.string(), "Terms as JSON; amounts in USD per month."),
        field("n_customers", pa.int64(), "Number of the provider's independent customers."),
        field("pure_premium", pa.float64(), "Mean ceded loss, USD per bill."),
        field(
            "loading",
            pa.float64(),
            "Loading with which premiums cover the ceded losses in 99% of months, USD per bill.",
        ),
        field("premium", pa.float64(), "pure_premium + loading, USD per bill."),
        field("loss_ratio", pa.float64(), "Expected ceded loss / premium; null if nothing is ceded."),
        field(
            "loading_common_shock",
            pa.float64(),
            f"The loading if, with probability {SHOCK_PROBABILITY}, all bills of a month are {SHOCK_FACTOR} times as "
            "high; more customers do not reduce it to 0. USD per bill.",
        ),
        field("status", pa.string(), "As in pricing_risk."),
        field("reason", pa.string(), "Explains the status."),
    ],
    metadata={
        "description": "Loading for a provider's solvency in 99% of months, by number of customers: from the sum of "
        "independent ceded losses (by convolution), and with one shock common to all customers."
    },
)

PRICING_PER_CONVERSATION = pa.schema(
    [
        field("mechanism", pa.string(), "per_token, bundle, hybrid or insurance; null without sessions."),
        field("params", pa.string(), "Terms as JSON, amounts in USD per conversation, as if each were a bill."),
        field("n_conversations", pa.int64(), "Number of sessions with a price."),
        field("mean", pa.float64(), "Mean price of a conversation, USD; the same for all."),
        field("median", pa.float64(), "Median, USD."),
        field("p90", pa.float64(), "90th percentile, USD."),
        field("sd", pa.float64(), "Standard deviation (ddof 1), USD."),
        field("cv", pa.float64(), "sd / mean."),
        field("variance_reduction_naive", pa.float64(), "1 - Var(price) / Var(cost) over conversations, not bills."),
        field("var_95", pa.float64(), "95% quantile, USD; null below 20."),
        field("var_99", pa.float64(), "99% quantile, USD; null below 100."),
        field("tvar_95", pa.float64(), "Mean of the highest 5%, USD."),
        field("tvar_99", pa.float64(), "Mean of the highest 1%, USD."),
        field("warning", pa.string(), "Why not to choose a contract by these figures."),
    ],
    metadata={
        "description": "The naive view: the four classic contracts applied to each conversation as if it were a bill, "
        "for comparison with such figures. A month of many conversations varies much less: see pricing_risk."
    },
)

SCHEMAS: dict[str, pa.Schema] = {
    **bill_history.SCHEMAS,
    "pricing_quotes": PRICING_QUOTES,
    "pricing_frontier": PRICING_FRONTIER,
    "pricing_recommendation": PRICING_RECOMMENDATION,
    "pricing_provider": PRICING_PROVIDER,
    "pricing_per_conversation": PRICING_PER_CONVERSATION,
}


def tables(connection: duckdb.DuckDBPyConnection, settings: Settings) -> dict[str, pa.Table]:
    """Every table of pricing by name, from one set of bills; a table that cannot be computed says why (`computed`)."""
    pools = cache(lambda: bill_history.pools(connection, settings))
    markets = cache(lambda: [_market(pool, settings) for pool in _main(pools())])
    builds: dict[str, Callable[[], pa.Table]] = {
        "pricing_bills": lambda: bill_history.pricing_bills(pools()),
        "pricing_risk": lambda: bill_history.pricing_risk(pools(), settings),
        "pricing_quotes": lambda: pricing_quotes(pools()[0], settings),
        "pricing_frontier": lambda: _frontier(_main(pools()), markets()),
        "pricing_recommendation": lambda: _recommendation(_main(pools()), markets(), settings),
        "pricing_provider": lambda: _provider(_main(pools()), settings),
        "pricing_per_conversation": lambda: pricing_per_conversation(connection),
    }
    return {name: table_or_reason(SCHEMAS[name], build) for name, build in builds.items()}


def _main(pools: Sequence[Pool]) -> list[Pool]:
    """The pools of all usage: the organisation's and the configured dimension's."""
    return [pool for pool in pools if pool.segment == "all" and pool.method != "compound_model"]


def _market(pool: Pool, settings: Settings) -> Market | None:
    if pool.ledger is None or pool.customers is None:
        return None
    # per_token and bundle are the ends of the hybrid frontier
    others = tuple(each for each in pool.contracts if each.name not in ("per_token", "bundle"))
    return Market.over(
        pool.ledger,
        pool.customers,
        settings.pool_customers,
        settings.loading_lambda,
        others,
        settings.cost_of_capital,
    )


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True)


def pricing_quotes(organisation: Pool, settings: Settings) -> pa.Table:
    """Cost of the organisation's last complete months under each quote; schema `PRICING_QUOTES`."""
    if not settings.quotes:
        answer = "no quote yet: add one with `token-analytics quote add NAME`, or as [quotes.NAME] in the settings"
        return pa.Table.from_pylist([{"status": "none", "answer": answer}], schema=PRICING_QUOTES)
    contracts = [bill_history.contract_of(title, terms) for title, terms in sorted(settings.quotes.items())]
    rows = [_quote_row(organisation, contract, settings) for contract in contracts]
    return pa.Table.from_pylist(rows, schema=PRICING_QUOTES)


def _quote_row(pool: Pool, contract: Contract, settings: Settings) -> dict[str, Any]:
    points = break_even(contract)
    row: dict[str, Any] = {
        "quote": contract.label,
        "params": _json(contract.params()),
        "break_even_usd": points[0] if points else None,
        "break_evens_usd": _json(points),
    }
    months = pool.months.filter(pc.equal(pool.months["status"], "ok"))
    if pool.ledger is None or not months.num_rows:
        answer = f"no answer yet: {pool.reason or 'there are no complete months'}. {_break_even_words(contract)}"
        return row | {"status": "unavailable", "answer": answer}
    last = max(months["month_number"].to_pylist())
    by_number = dict(zip(months["month_number"].to_pylist(), months["bill_usd"].to_pylist(), strict=True))
    numbers = [number for number in range(min(by_number), last + 1) if number > last - LAST_YEAR_MONTHS]
    # pricing_bills has no row for a month without usage, but a fee or commitment is due in it
    bills: list[Decimal] = [by_number.get(number, Decimal(0)) for number in numbers]
    listed = np.array([float(bill) for bill in bills])
    prices = contract.price(listed)
    list_usd = sum(bills, Decimal(0))
    quote_usd = sum((_money(price) for price in prices), Decimal(0))
    more_expensive = int((prices > listed * (1 + 1e-12)).sum())
    risk = measure(contract, pool.ledger, budget_usd=settings.budget_usd)
    saving = list_usd - quote_usd
    share = float(saving / list_usd) if list_usd else None
    first_month, last_month = (
        np.datetime64(number, "M").astype("datetime64[D]").item() for number in (numbers[0], last)
    )
    more = "" if len(numbers) == LAST_YEAR_MONTHS else f" (the history has only {len(numbers)} complete months)"
    direction = "more" if saving < 0 else "less"
    percent = "" if share is None else f" ({abs(share):.1%})"
    answer = (
        f"From {first_month:%Y-%m} to {last_month:%Y-%m}{more} usage cost {usd(list_usd)} at list; under "
        f"{contract.label} it would have cost {usd(quote_usd)}, {usd(abs(saving))}{percent} {direction}. "
        f"It would have cost more in {more_expensive} of {len(numbers)} months, and does in {risk.p_dearer:.1%} of "
        f"simulated months. {_break_even_words(contract)}"
    )
    return row | {
        "first_month": first_month,
        "last_month": last_month,
        "n_months": len(numbers),
        "list_usd": list_usd,
        "quote_usd": quote_usd,
        "saving_usd": saving,
        "saving_share": share,
        "dearer_months": more_expensive,
        "p_dearer": risk.p_dearer,
        "p_over_budget": risk.p_over_budget,
        "answer": answer,
        "status": "ok",
    }


def _money(amount: float) -> Decimal:
    return round(Decimal(float(amount)), 12)


def _break_even_words(contract: Contract) -> str:
    """The range of bills in which the contract is cheaper than list prices."""
    edges = [0.0, *break_even(contract), np.inf]
    cheaper: list[str] = []
    costs_more = False
    for low, high in itertools.pairwise(edges):
        middle = (low + high) / 2 if np.isfinite(high) else low * 2 + 1e6
        gap = float(contract.price(np.array([middle]))[0]) - middle
        costs_more |= gap > 1e-9 * (1 + middle)
        if gap < -1e-9 * (1 + middle):
            cheaper.append(f"above {usd(low)}" if np.isinf(high) else f"between {usd(low)} and {usd(high)}")
    if not cheaper:
        return "It is never cheaper than list prices."
    if not costs_more:
        return "It never costs more than list prices."
    return f"It is cheaper if a month's usage at list prices is {' or '.join(cheaper)}."


def _frontier(pools: Sequence[Pool], markets: Sequence[Market | None]) -> pa.Table:
    parts = [PRICING_FRONTIER.empty_table()]
    for pool, market in zip(pools, markets, strict=True):
        for frontier in market.frontiers if market else ():
            thin = frontier.thinned(FRONTIER_POINTS)
            n = thin.parameter.size
            params = [_json(thin.contract(at).params()) for at in range(n)]
            for principle in PRINCIPLES:
                columns = {
                    "mechanism": [thin.mechanism] * n,
                    "segment": ["all"] * n,
                    "customer_dimension": [pool.dimension] * n,
                    "params": params,
                    "variance_reduction": pa.nulls(n) if thin.variance_reduction is None else thin.variance_reduction,
                    "tvar_99": pa.nulls(n) if thin.tvar_99 is None or not pool.has_tails else thin.tvar_99,
                    "pure_premium": thin.pure_premium,
                    "premium": thin.pure_premium + thin.loading[principle],
                    "loading_principle": [principle] * n,
                    "loading": thin.loading[principle],
                }
                parts.append(pa.table(columns).cast(PRICING_FRONTIER))
    table = pa.concat_tables(parts).combine_chunks()
    if table.num_rows:
        return table
    row = {"segment": "all", "customer_dimension": ORGANISATION}
    return pa.Table.from_pylist([row], schema=PRICING_FRONTIER)


def _recommendation(pools: Sequence[Pool], markets: Sequence[Market | None], settings: Settings) -> pa.Table:
    rows = []
    for pool, market in zip(pools, markets, strict=True):
        for target in ("variance_reduction", "budget"):
            is_budget = target == "budget"
            common = {
                "target": target,
                "target_value": settings.budget_usd if is_budget else settings.target_variance_reduction,
                "target_probability": settings.budget_probability if is_budget else None,
                "customer_dimension": pool.dimension,
                "view": "buyer" if pool.dimension == ORGANISATION else "provider",
                "status": pool.status,
            }
            if market is None:
                rows.append(common | {"reason": pool.reason})
            elif is_budget and settings.budget_usd is None:
                rows.append(common | {"status": "no_budget", "reason": "no budget is set: see setting budget_usd"})
            else:
                rows += [common | row for row in _recommended(pool, market, settings, target)]
    return pa.Table.from_pylist(rows, schema=PRICING_RECOMMENDATION)


def _recommended(pool: Pool, market: Market, settings: Settings, target: str) -> list[dict[str, Any]]:
    budget, probability = settings.budget_usd, settings.budget_probability
    if target == "budget" and budget is not None:
        aim = f"to keep a month within {usd(budget)} with a probability of {probability:.0%}"
        by_principle = market.cheapest(Target(budget_usd=budget, probability=probability))
    else:
        aim = f"to remove {settings.target_variance_reduction:.0%} of the variance of a month"
        by_principle = market.cheapest(Target(settings.target_variance_reduction))
    needless = market.per_token()
    varies = vary(market.ledger.bills, market.customers) or np.bincount(market.customers).max() < 2
    winners = {name: choices[0].contract.label for name, choices in by_principle.items() if choices}
    calm = _calm(pool, market) if target == "variance_reduction" and varies else ""
    sentence = disagreement(winners)
    rows: list[dict[str, Any]] = []
    mean = float(market.ledger.bills.mean())
    for principle in PRINCIPLES:
        choices = by_principle[principle] if varies or target == "budget" else [needless]
        if not choices:
            why = "no contract reaches the target"
            if target != "budget" and np.bincount(market.customers).max() < 2:
                why = "no customer has two bills, so their variance is unknown"
            rows.append({"loading_principle": principle, "status": "unreachable", "reason": f"{why}: {aim}"})
        for rank, choice in enumerate(choices, 1):
            customer, provider, shared = _shares(choice.contract, market.ledger)
            loaded = choice.contract.price_in(market.ledger) + choice.loading
            is_needless = choice.contract == needless.contract
            needs = "per-token is enough" if varies or target == "budget" else "bills do not vary, so nothing is needed"
            notes = [
                calm if rank == 1 else "",
                f"You need no contract: {needs} {aim}."
                if is_needless
                else _recommendation_words(choice, rank, principle, market, aim),
                "" if is_needless else _bearing(customer, provider, shared),
                sentence if rank == 1 else "",
                _provider_view(pool),
                pool.reason if pool.status != "ok" else "",
            ]
            rows.append(
                {
                    "loading_principle": principle,
                    "rank": rank,
                    "mechanism": choice.contract.label,
                    "params": _json(choice.contract.params()),
                    "variance_reduction": choice.variance_reduction,
                    "pure_premium": choice.pure_premium,
                    "loading": choice.loading,
                    "premium": choice.premium,
                    "expected_cost_usd": mean + choice.loading,
                    "p_over_budget": None if budget is None else float((loaded > budget * (1 + 1e-9)).mean()),
                    "customer_variance_share": customer,
                    "provider_variance_share": provider,
                    "shared_variance_share": shared,
                    "reason": " ".join(note for note in notes if note),
                }
            )
    return rows


def _calm(pool: Pool, market: Market) -> str:
    """A sentence for a buyer whose bill hardly varies; else ''."""
    bills = market.ledger.bills
    high = value_at_risk(bills, 0.95)
    if pool.dimension != ORGANISATION or not pool.has_tails or high is None or high > bills.mean() * (1 + CALM):
        return ""
    return (
        f"You need no contract: 19 of 20 months cost at most {usd(high)}, where {usd(float(bills.mean()))} is "
        "expected. Should you want one all the same:"
    )


def _recommendation_words(choice: Choice, rank: int, principle: str, market: Market, aim: str) -> str:
    cost = "nothing" if choice.loading < 0.005 else f"{usd(choice.loading)} a month"
    return (
        f"If {_pricing_rule(principle, market)}, {_name(choice.contract.label)} "
        f"({terms_in_words(choice.contract.params())}) costs {cost} extra: {_place(rank)} {aim}."
    )


def _provider_view(pool: Pool) -> str:
    """A sentence for bills that no buyer has a contract about; '' for the organisation's."""
    if pool.dimension == ORGANISATION:
        return ""
    return (
        f"This is the view of a provider or platform team that bills by {pool.dimension}; for your own bill see "
        "customer_dimension organisation."
    )


def _place(rank: int) -> str:
    return "the cheapest way" if rank == 1 else f"number {rank} in price"


def _pricing_rule(principle: str, market: Market) -> str:
    """A loading principle as a clause about the provider."""
    if principle == "expected_value":
        return f"the provider adds a {market.lambda_:.0%} risk margin"
    if principle == "cost_of_capital":
        return (
            f"the provider charges {market.cost_of_capital:.0%} on the capital that it holds for the worst 1% of months"
        )
    return f"premiums must cover the losses of {market.pool_customers:,} customers in 99% of months"


def terms_in_words(params: Mapping[str, Any]) -> str:
    """Terms of a contract in words; unset terms are left out."""
    words = []
    for name, value in params.items():
        if (
            value is None
            or (name in ("coinsurance", "fee_usd") and not value)
            or name in ("rates", "tier_kind", "kind")
        ):
            continue
        if name == "tiers":
            words.append(_tiers_in_words([(tier["from_usd"], tier["rate"]) for tier in value], params["tier_kind"]))
        elif name == "from_usd":
            words.append(_tiers_in_words(list(zip(value, params["rates"], strict=True)), params["kind"]))
        elif name.endswith("_usd"):
            words.append(f"{name.removesuffix('_usd').replace('_', ' ')} {usd(value)}")
        else:
            words.append(f"{name.replace('_', ' ')} {value:.3g}")
    return ", ".join(words)


def _tiers_in_words(tiers: Sequence[tuple[float, float]], kind: str) -> str:
    return f"{kind} tiers: " + ", ".join(f"{rate:.3g} of list from {usd(start)}" for start, rate in tiers)


def _shares(contract: Contract, ledger: Ledger) -> tuple[float | None, float | None, float | None]:
    """Var P, Var(P - B) and 2 Cov(P, B - P), each / Var B."""
    risk = measure(contract, ledger)
    variance = float(ledger.bills.var(ddof=1)) if ledger.bills.size > 1 else 0.0
    if not variance or risk.sd is None or risk.provider_sd is None or risk.provider_covariance is None:
        return None, None, None
    return risk.sd**2 / variance, risk.provider_sd**2 / variance, 2 * risk.provider_covariance / variance


def _bearing(customer: float | None, provider: float | None, shared: float | None) -> str:
    if customer is None or provider is None or shared is None:
        return ""
    return (
        f"The customer keeps {customer:.0%} of the bill's variance, the provider takes {provider:.0%}, and "
        f"{shared:.0%} is their covariance."
    )


def _name(mechanism: str) -> str:
    return NAMES.get(mechanism, mechanism)


def disagreement(winners: Mapping[str, str]) -> str:
    """What to ask the provider if the principles choose different mechanisms (by principle); else ''."""
    if len(set(winners.values())) < 2:
        return ""
    by_mechanism: dict[str, list[str]] = {}
    for principle, mechanism in winners.items():
        by_mechanism.setdefault(mechanism, []).append(QUESTIONS[principle])
    answers = ", ".join(
        f"{_name(mechanism)} is cheapest if it is {' or '.join(rules)}" for mechanism, rules in by_mechanism.items()
    )
    return f"Ask the provider how it sets its margin: {answers}."


def _provider(pools: Sequence[Pool], settings: Settings) -> pa.Table:
    rows: list[dict[str, Any]] = []
    sizes = sorted({*PROVIDER_CUSTOMERS, settings.pool_customers})
    for pool in pools:
        common = {"customer_dimension": pool.dimension, "status": pool.status, "reason": pool.reason}
        if pool.ledger is None:
            rows.append(common)
            continue
        for contract in pool.contracts:
            terms = {"mechanism": contract.label, "params": _json(contract.params())}
            pure = measure(contract, pool.ledger).pure_premium
            for n_customers in sizes:
                loading = vars(solvency_loading(contract, pool.ledger, n_customers))
                row = common | terms | {"n_customers": n_customers, "pure_premium": pure} | loading
                rows.append({name: row.get(name) for name in PRICING_PROVIDER.names})
    return pa.Table.from_pylist(rows, schema=PRICING_PROVIDER)


def pricing_per_conversation(connection: duckdb.DuckDBPyConnection) -> pa.Table:
    """The four classic contracts on each priced session as if it were a bill; schema `PRICING_PER_CONVERSATION`."""
    table = connection.sql(sql("pricing/list_conversations")).to_arrow_table()
    costs = np.asarray(table["cost_usd"], dtype=np.float64)
    if not costs.size:
        row = {"n_conversations": 0, "warning": "no session has a price"}
        return pa.Table.from_pylist([row], schema=PRICING_PER_CONVERSATION)
    return pa.Table.from_pylist(conversation_rows(costs), schema=PRICING_PER_CONVERSATION)


def conversation_rows(costs: Usd) -> list[dict[str, Any]]:
    """The four classic contracts on conversations (n,) in USD, each as if it were a bill."""
    ledger = Ledger.of(costs)
    warning = (
        "nobody pays per conversation: the unit of risk is the bill. A flat fee per conversation removes all variance "
        "by construction; choose by pricing_risk"
    )
    rows = []
    for contract in classics_at_equal_revenue(ledger):
        risk = vars(measure(contract, ledger))
        named = {
            "mechanism": contract.label,
            "params": _json(contract.params()),
            "n_conversations": costs.size,
            "variance_reduction_naive": risk["variance_reduction_pooled"],
            "warning": warning,
        }
        rows.append({name: (risk | named).get(name) for name in PRICING_PER_CONVERSATION.names})
    return rows
