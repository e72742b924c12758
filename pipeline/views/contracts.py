"""Which contract? Your quotes first, then a simulator on precomputed terms, and what a month costs under each contract.

Belongs here: the views and sentences of this page. Does not belong here: any price or premium (pricing).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.pricing.recommendation import terms_in_words
from pipeline.store.connection import Row
from pipeline.store.published import Snapshot
from pipeline.store.sqlfiles import sql
from pipeline.views import plots
from pipeline.views.filters import Filters
from pipeline.views.view import Answer, Column, Figure, Input, Page, Tile, View, money, share

TITLES = {
    "per_token": "Per token",
    "bundle": "Flat fee",
    "hybrid": "Hybrid",
    "insurance": "Stop-loss",
    "allowance": "Allowance",
    "tiered": "Tiers",
    "commitment": "Commitment",
    "credits": "Prepaid credits",
    "session_cap": "Cap per session",
}
# The price of a month under each contract; docs/pricing.md has the formulas.
CHARGES = {
    "per_token": "usage at list prices, no contract",
    "bundle": "one fee for any usage",
    "hybrid": "a fee, and a share of the usage",
    "insurance": "usage up to a limit, and a premium; the provider pays the rest",
    "allowance": "a fee that covers an allowance, and usage above it",
    "tiered": "each part of the usage at the rate of its tier",
    "commitment": "usage, at least the commitment, after a discount",
    "credits": "credits bought ahead, which expire",
    "session_cap": "usage, with the cost of each session capped",
}
MARGINS = {
    "expected_value": "a percentage of what it takes over",
    "solvency_99": "enough to pay in 99 of 100 months",
    "cost_of_capital": "interest on the capital that it sets aside",
}


def _name(row: Row) -> str:
    mechanism = str(row["mechanism"] or "no contract")
    return TITLES.get(mechanism, mechanism)


def _terms(row: Row) -> str:
    return terms_in_words(json.loads(row["params"])) if row["params"] else ""


def _words(row: Row) -> Row:
    """A contract and its terms in words; where the row says so, whose bill it is of, and the provider's margin."""
    return {
        "contract": _name(row),
        "terms": _terms(row) or None,
        "charges": CHARGES.get(row["mechanism"] or "", "your quote"),
        "view_of": _dimension(row.get("customer_dimension") or "organisation"),
        "margin": MARGINS.get(row.get("loading_principle") or ""),
    }


def _principle(filters: Filters) -> Mapping[str, Any]:
    return {"principle": filters.choice("margin", tuple(MARGINS))}


def _asked(filters: Filters) -> Mapping[str, Any]:
    return {**_principle(filters), "calm": (filters.number("calm", 0, 100, 75) or 0.0) / 100}


def _simulated(rows: Sequence[Row], filters: Filters) -> str:
    calm = _asked(filters)["calm"]
    best = rows[0]
    extra = best["loading"] or 0.0
    more = "nothing more" if extra < 0.005 else f"{money(extra)} a month more"
    return (
        f"To remove {share(calm)} of the random swings of a month, the cheapest of these contracts is "
        f"{_name(best).lower()} ({_terms(best)}). It costs {more} than paying per token, on average."
    )


def _simulated_figure(rows: Sequence[Row], filters: Filters) -> Figure:
    named = [row | {"name": _name(row)} for row in rows]
    return plots.ranked(named, "name", "loading", "usd")


def _frontier(rows: Sequence[Row], filters: Filters) -> Figure:
    named = [row | {"name": _name(row)} for row in rows]
    return plots.curves(
        named, "variance_reduction", "loading", "name", ("share", "usd"), ("swings removed", "extra cost a month")
    )


_CONTRACT = Column("contract", "Contract", is_words=True)
_TERMS = Column("terms", "Terms", "long", is_words=True)
_EXTRA = Column("loading", "Extra a month", "usd", "What the provider adds for the risk that it takes over, on average")
_REMOVED = Column("variance_reduction", "Swings removed", "share", "Share of the variance of a month's bill")
_CHOICES = {"margin": tuple(MARGINS)}

QUOTES = View(
    name="quotes",
    title="Your quotes",
    query="views/contracts/quotes",
    columns=(
        Column("quote", "Quote"),
        Column("answer", "Result", "long"),
        Column("list_usd", "Per token", "usd", "What these months cost at list prices"),
        Column("quote_usd", "Under the quote", "usd"),
        Column("saving_usd", "Saves", "usd", "Negative where the quote costs more"),
        Column("p_dearer", "Chance of a dearer month", "share"),
        Column("p_over_budget", "Chance over budget", "share"),
        Column("break_even_usd", "Break-even", "usd", "Usage a month at which both cost the same"),
        Column("n_months", "Months", "count"),
    ),
    is_overview=True,
    empty="No quote is stored yet: token-analytics quote add NAME --fee-usd 100 shows what it would cost.",
)
SIMULATOR = View(
    name="simulator",
    title="How calm should the bill be?",
    query="views/contracts/simulator",
    columns=(_CONTRACT, _TERMS, _REMOVED, _EXTRA, Column("tvar_99", "Worst months", "usd", "Mean of the worst 1%")),
    values=_asked,
    figure=_simulated_figure,
    sentence=_simulated,
    choices=_CHOICES,
    inputs=(Input("calm", "Swings to remove, %", "range", 0, 100, 5, 75),),
    note="Extra cost at the chosen margin of the provider; before it, every contract costs the same on average.",
    is_overview=True,
    words=_words,
    empty="No contract removes that much, or the history is too short to price one.",
)
FRONTIER = View(
    name="frontier",
    title="Risk against price",
    query="views/contracts/frontier",
    columns=(_CONTRACT, _REMOVED, _EXTRA, _TERMS),
    values=_principle,
    figure=_frontier,
    choices=_CHOICES,
    is_overview=True,
    words=_words,
    empty="The history is too short to price a contract.",
)
RECOMMENDED = View(
    name="recommended",
    title="What to negotiate",
    query="views/contracts/recommended",
    columns=(
        Column("view_of", "View of", is_words=True),
        Column("margin", "Margin of the provider", is_words=True),
        _CONTRACT,
        _REMOVED,
        _EXTRA,
        Column("p_over_budget", "Chance over budget", "share"),
        Column("reason", "In words", "long"),
    ),
    is_overview=True,
    words=_words,
)
MONTHS = View(
    name="months",
    title="A month under each contract",
    query="views/contracts/months",
    columns=(
        _CONTRACT,
        _TERMS,
        Column("mean", "Mean", "usd"),
        Column("median", "Usual", "usd", "Half of the months cost less"),
        Column("var_95", "19 of 20 below", "usd"),
        Column("var_99", "99 of 100 below", "usd"),
        Column("tvar_99", "Worst 1%", "usd", "Mean of the worst 1% of the months"),
        Column("variance_reduction_pooled", "Swings removed", "share"),
        _EXTRA,
        Column("p_over_budget", "Chance over budget", "share"),
    ),
    values=_principle,
    choices=_CHOICES,
    note="The same months under each contract, at the same mean price before the provider's margin.",
    is_overview=True,
    words=_words,
)


def _dimension(name: str) -> str:
    if name == "organisation":
        return "your organisation's bill"
    return f"a provider's customers, by {name.replace('_', ' ')}"


UNCERTAIN = "There is too little history for a budget of a month, so what contracts would cost is as uncertain."


def answer(snapshot: Snapshot, filters: Filters) -> Answer:
    """The best quote, or what to negotiate."""
    (row,) = snapshot.rows(sql("views/contracts/answer"))
    tiles = []
    if row["budget_usd"] is not None:
        enough = f"is enough for {row['budget_month']:%B %Y} with a chance of 95%, without a contract"
        tiles.append(Tile("A budget of", money(row["budget_usd"]), enough))
    extra = "" if row["loading_usd"] is None else money(row["loading_usd"])
    if extra:
        tiles.append(Tile("A steadier bill costs", extra, "a month more, for the target in the settings"))
    if row["quotes"]:
        tiles.insert(0, Tile("Quotes compared", f"{row['quotes']}"))
        return Answer(str(row["best_answer"]), money(row["best_saving_usd"]), tuple(tiles), _warnings(row))
    if row["recommended"]:
        first, _, _ = str(row["recommended"]).partition(". ")
        return Answer(f"{first.rstrip('.')}.", extra, tuple(tiles), _warnings(row))
    return Answer("There is no priced bill yet, so no contract can be compared.")


def _warnings(row: Row) -> tuple[str, ...]:
    """Contracts are priced on the forecast of a month, so they are no better known than its budget."""
    return () if row["budget_usd"] is not None else (UNCERTAIN,)


PAGE = Page("contracts", "Which contract?", "Contracts", answer, (QUOTES, SIMULATOR, FRONTIER, RECOMMENDED, MONTHS))
