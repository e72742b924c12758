"""Is the bill right? What was checked and right, what could not be checked and why, and where to look.

Belongs here: the views of this page and its answer. Does not belong here: the sentences about gaps, keys and coverage
that `show reconciliation` prints too (reconciled), and which cell has which status (dbt_project).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from decimal import Decimal

from pipeline.store.connection import Row
from pipeline.store.published import Snapshot
from pipeline.store.sqlfiles import sql
from pipeline.views import plots, reconciled
from pipeline.views.filters import Filters
from pipeline.views.view import (
    Answer,
    Column,
    Figure,
    Page,
    Tile,
    View,
    day_link,
    dimension_link,
    money,
    share,
)
from pipeline.words import counted

OF_CELLS = {name: name for name in ("provider", "workspace", "api_key", "model")}
OF_RATES = {name: name for name in ("provider", "model")}
BY = ("key", "model", "day")
# Gaps that the page can show; each has its sentence.
MOST_GAPS = 500
# Why an amount could not be checked, and what makes it checkable.
UNCHECKED = {
    "no_usage": ("no usage export", "Download the usage export of these days from the provider's console."),
    "credit": ("credits, which no usage explains", "Compare them with your contract."),
    "kind_without_usage": ("kinds of cost that usage exports do not list", "Compare them with the provider's invoice."),
    "unpriced": ("no rate for this usage", "Add the rate to rate_overrides.csv; the table below names it."),
    "late": ("an export that ends too early", "Download it again: it was made before the day was over."),
    "out_of_scope": (
        "keys without usage export or logs",
        "Download the usage export of these days, or land the logs of these keys.",
    ),
    "unlogged": (
        "neither log nor usage export",
        "Download the usage export of these days; the gaps below say what else to check.",
    ),
}
DIFFERING = {
    "unlogged": "more than the provider's own usage costs",
    "mispriced": "another rate than the rate card's",
    "unbilled": "less than the usage costs",
}
OUTCOMES = {
    "matched": "equal",
    "within_rounding": "equal but for rounding",
    "consistent": "possible for sessions across midnight",
    "mispriced": "another rate",
    "unlogged": "in no log",
    "unbilled": "not on the bill",
    "late": "export ends too early",
    "unpriced": "no rate",
    "not_comparable": "nothing to compare with",
    "out_of_scope": "keys without logs",
}
VERDICTS = {
    "mispriced": "the bill implies another rate",
    "undetectable": "too little usage to tell",
    "agrees": "agrees",
}
INVOICES = {
    "matched": "equal",
    "within_rounding": "equal but for rounding",
    "differs": "differs from the bill",
    "incomplete_bill": "cost exports lack days of it",
    "no_bill": "no cost export of its days",
    "other_currency": "not compared: not in USD",
}


def _cells(filters: Filters) -> Mapping[str, str]:
    return {"cells": sql("views/bill/cells")}


def _gap_cells(filters: Filters) -> Mapping[str, str]:
    return {**_cells(filters), "most": str(MOST_GAPS)}


# ------------------------------------------------------------------------------------------------------- words


def _reason(row: Row) -> Row:
    """Why a part of the bill is in its group, and what to do."""
    if row["outcome"] == "not checkable":
        reason, remedy = UNCHECKED[row["why"]]
    elif row["outcome"] == "differs":
        reason, remedy = DIFFERING.get(row["why"], DIFFERING["mispriced"]), "See the gaps below."
    else:
        reason, remedy = "the same tokens at the rate card, or the logs, give this amount", None
    return {"reason": reason, "remedy": remedy}


def _gap(row: Row) -> Row:
    what, check = reconciled.explain(row)
    return {"outcome": OUTCOMES[row["status"]], "what": what, "check": check}


def _outcome(row: Row) -> Row:
    return {"outcome": OUTCOMES[row["status"]], "meaning": reconciled.MEANINGS[row["status"]]}


def _rate(row: Row) -> Row:
    low, high = row["implied_rate_low"], row["implied_rate_high"]
    implied = "–" if low is None or high is None else f"{reconciled.rate(low)} to {reconciled.rate(high)}"
    return {
        "kind": reconciled.kind_in_words(row["token_kind"]),
        "implied": implied,
        "verdict_in_words": VERDICTS[row["verdict"]],
    }


def _invoice(row: Row) -> Row:
    amounts = {name: f"{row[name]:,.2f} {row['currency']}" for name in ("amount", "credits", "tax", "due")}
    return {
        **{f"{name}_stated": text for name, text in amounts.items()},
        "covered": f"{row['covered_days']:,} of {counted(row['period_days'], 'day')}",
        "outcome": INVOICES[row["status"]],
    }


def _unpriced(row: Row) -> Row:
    return {"kind": reconciled.kind_in_words(row["token_kind"])}


def _span(first: dt.date, last: dt.date) -> str:
    """A period as one says it: a day, a month, a year, or its ends."""
    if first == last:
        return f"on {first}"
    if (first.year, first.month) == (last.year, last.month):
        return f"in {first:%B %Y}"
    return f"in {first:%Y}" if first.year == last.year else f"from {first:%Y} to {last:%Y}"


# ------------------------------------------------------------------------------------------- figures and sentences


def _checked_figure(rows: Sequence[Row], filters: Filters) -> Figure:
    figure = plots.stacked([row | {"year": str(row["year"])} for row in rows], "year", "usd", "outcome", "usd")
    figure["layout"]["xaxis"] = {"type": "category"}
    colours = {"checked and right": plots.SERIES[0], "differs": "var(--flag)", "not checkable": "var(--quiet)"}
    return plots.coloured(figure, colours)


def _steps_figure(rows: Sequence[Row], filters: Filters) -> Figure:
    return plots.waterfall([(row["step"], row["usd"], row["is_total"]) for row in rows])


def _steps_sentence(rows: Sequence[Row], filters: Filters) -> str:
    logged = rows[0]["usd"]
    compared = next(row["usd"] for row in rows if row["step"] == "Bill, compared")
    if not compared:
        return "No part of the bill has a side to compare it with."
    holder, come = ("Your logs", "come") if rows[0]["step"] == "Logged" else ("The provider's usage", "comes")
    return (
        f"{holder}, at the rate card, {come} to {money(logged)}; the bill of the same days and keys is "
        f"{money(compared)}."
    )


def _coverage_figure(rows: Sequence[Row], filters: Filters) -> Figure:
    parts = [
        {"name": row["name"], "part": part, "usd": row[column]}
        for row in rows
        for part, column in (("accounted for", "explained_usd"), ("open", "open_usd"))
    ]
    colours = {"accounted for": plots.SERIES[0], "open": "var(--flag)"}
    return plots.coloured(plots.stacked(parts, "name", "usd", "part", "usd"), colours)


def _coverage_sentence(rows: Sequence[Row], filters: Filters) -> str:
    billed = sum((row["billed_usd"] for row in rows), Decimal(0))
    explained = sum((row["explained_usd"] for row in rows), Decimal(0))
    if not billed:
        return "Nothing was billed for what is compared."
    largest = max(rows, key=lambda row: row["open_usd"])
    sentence = f"{money(explained)} of {money(billed)} is accounted for ({share(float(explained / billed))})"
    if largest["open_usd"] <= 0:
        return f"{sentence}."
    return f"{sentence}; the most is open for {largest['name']}: {money(largest['open_usd'])}."


def _rates_sentence(rows: Sequence[Row], filters: Filters) -> str:
    wrong = [row for row in rows if row["verdict"] == "mispriced"]
    unsure = sum(row["verdict"] == "undetectable" for row in rows)
    rates = counted(len(rows), "monthly rate")
    sentence = f"The bill contradicts {len(wrong):,} of {rates}" if wrong else f"The bill contradicts none of {rates}"
    return f"{sentence}; for {unsure:,} it is too small to show an error of 1%." if unsure else f"{sentence}."


def _invoices_sentence(rows: Sequence[Row], filters: Filters) -> str:
    agreed = sum(row["status"] in ("matched", "within_rounding") for row in rows)
    return f"{agreed:,} of {counted(len(rows), 'invoice period')} agree with the bill."


def _unpriced_sentence(rows: Sequence[Row], filters: Filters) -> str:
    tokens = sum(row["tokens"] for row in rows)
    return f"{tokens:,} tokens have no rate, so what they cost is unknown; a line in rate_overrides.csv gives one."


def _coverage_link(row: Row, filters: Filters) -> tuple[str, Filters] | None:
    by = filters.choice("by", BY)
    if by == "day":
        return day_link("bill", "name")(row | {"name": dt.date.fromisoformat(row["name"])}, filters)
    if row["name"].startswith("("):
        return None
    dimension = "api_key" if by == "key" else by
    return dimension_link("bill", dimension)({dimension: row["name"]}, filters)


# ------------------------------------------------------------------------------------------------------- views

_DAY = Column("usage_date", "Day", "day", link=day_link("spend"))
_MODEL = Column("model", "Model", link=dimension_link("spend", "model"))
_KEY = Column("api_key", "API key", link=dimension_link("spend", "api_key"))
_BILLED = Column("billed_cost_usd", "Billed", "usd")

CHECKED = View(
    name="checked",
    title="What could be checked",
    query="views/bill/checked",
    columns=(
        Column("outcome", "Outcome"),
        Column("reason", "Why", is_words=True),
        Column("year", "Year"),
        Column("usd", "Billed", "usd"),
        Column("gap_usd", "Difference", "usd", "Billed, less the provider's usage at the rate card"),
        Column("first_day", "First day", "day"),
        Column("last_day", "Last day", "day"),
        Column("cells", "Amounts", "count", "One a day, key, model and kind of token"),
        Column("remedy", "What to do", "long", is_words=True),
    ),
    knows=OF_CELLS,
    date="usage_date",
    figure=_checked_figure,
    parts=_cells,
    words=_reason,
    note="An amount is right if the provider's own usage at the rate card, or else the logs, give it but for rounding.",
    empty="No cost export matches these filters, so there is no bill to check.",
)
STEPS = View(
    name="steps",
    title="From your logs to the bill",
    query="views/bill/steps",
    columns=(
        Column("step", "Step"),
        Column("usd", "Amount", "usd"),
        Column("is_total", "Total", "yes"),
        Column("cells", "Amounts", "count", "One a day, key, model and kind of token"),
    ),
    knows=OF_CELLS,
    date="usage_date",
    figure=_steps_figure,
    sentence=_steps_sentence,
    parts=_cells,
    empty="No cost export matches these filters.",
)
GAPS = View(
    name="gaps",
    title="The largest gaps, and what to check",
    query="views/bill/gaps",
    columns=(
        _DAY,
        _KEY,
        _MODEL,
        Column("outcome", "Outcome", is_words=True),
        Column("gap_usd", "Gap", "usd"),
        Column("what", "What was found", "long", is_words=True),
        Column("check", "What to check", "long", is_words=True),
    ),
    knows=OF_CELLS,
    date="usage_date",
    parts=_gap_cells,
    words=_gap,
    note="The logs against the bill where there are logs, else the provider's own usage.",
    empty="There is no gap.",
    rows_shown=10,
)
COVERAGE = View(
    name="coverage",
    title="How much is accounted for",
    query="views/bill/coverage",
    columns=(
        Column("name", "Key, model or day", link=_coverage_link),
        Column("coverage", "Share", "share", "Of the billed amount, what the logs or the usage account for"),
        Column("billed_usd", "Billed", "usd"),
        Column("explained_usd", "Accounted for", "usd"),
        Column("open_usd", "Open", "usd"),
        Column("cells", "Amounts", "count", "One a day, key, model and kind of token"),
        Column("cells_tied_out", "Equal", "count", "Amounts that are equal but for rounding"),
    ),
    knows=OF_CELLS,
    date="usage_date",
    figure=_coverage_figure,
    sentence=_coverage_sentence,
    parts=_cells,
    values=lambda filters: {"dimension": filters.choice("by", BY)},
    choices={"by": BY},
    empty="No bill has a log or a usage export to compare it with.",
)
RATES = View(
    name="rates",
    title="Does the bill use your rates?",
    query="views/bill/rates",
    columns=(
        Column("month", "Month", "month"),
        _MODEL,
        Column("kind", "Kind", is_words=True),
        _BILLED,
        Column("computed_cost_usd", "At the rate card", "usd"),
        Column("cost_gap_usd", "Difference", "usd"),
        Column("implied", "Rate on the bill, per million", is_words=True),
        Column(
            "detectable_rate_change", "Would show", "share", "The smallest error of the rate that the bill can show"
        ),
        Column("verdict_in_words", "Verdict", is_words=True),
    ),
    knows=OF_RATES,
    date="month",
    sentence=_rates_sentence,
    words=_rate,
    note="Months whose first day lies in the period.",
    empty="No usage export and cost export share a day.",
)
INVOICES_VIEW = View(
    name="invoices",
    title="Invoices against the bill",
    query="views/bill/invoices",
    columns=(
        Column("period_start", "From", "day"),
        Column("period_end", "To", "day"),
        Column("amount_stated", "Invoiced", is_words=True),
        Column("credits_stated", "Credits", is_words=True),
        Column("tax_stated", "Tax", is_words=True),
        Column("due_stated", "Due", is_words=True),
        _BILLED,
        Column("gap_usd", "Difference", "usd", "Invoiced before credits and tax, less billed"),
        Column("covered", "Days in cost exports", is_words=True),
        Column("outcome", "Outcome", is_words=True),
    ),
    date="period_start",
    sentence=_invoices_sentence,
    words=_invoice,
    empty="No invoices are listed: invoices.csv in the home holds them.",
)
UNPRICED = View(
    name="unpriced",
    title="Usage without a rate",
    query="views/bill/unpriced",
    columns=(
        Column("provider", "Provider"),
        _MODEL,
        Column("kind", "Kind", is_words=True),
        Column(
            "missing", "Missing", help="What the rate card lacks: the model, a kind of token, a tier, or these days"
        ),
        Column("source", "Known from", help="console: the provider's account; sessions: your logs"),
        Column("tokens", "Tokens", "tokens"),
        Column("first_used", "First day", "day"),
        Column("last_used", "Last day", "day"),
    ),
    knows=OF_RATES,
    sentence=_unpriced_sentence,
    words=_unpriced,
    empty="All usage has a rate.",
)
KEYS = View(
    name="keys",
    title="Which keys paid for the logs",
    query="views/bill/scopes",
    columns=(
        Column("scope", "How it is known"),
        _KEY,
        Column("workspace", "Workspace"),
        Column("billed_usd", "Billed", "usd"),
        Column("logged_usd", "Logged", "usd"),
        Column("logged_tokens", "Logged tokens", "tokens"),
        Column("first_day", "First day", "day"),
        Column("last_day", "Last day", "day"),
    ),
    knows=OF_CELLS,
    date="usage_date",
    sentence=lambda rows, filters: " ".join(reconciled.scope_sentences(rows)),
    parts=_cells,
    empty="No logs are compared with the bill.",
)
RESULTS = View(
    name="outcomes",
    title="All outcomes",
    query="views/bill/outcomes",
    columns=(
        Column("outcome", "Outcome", is_words=True),
        Column("cells", "Amounts", "count", "One a day, key, model and kind of token"),
        Column("billed_usd", "Billed", "usd"),
        Column("console_usd", "Provider's usage", "usd", "At the rate card"),
        Column("logged_usd", "Your logs", "usd", "At the rate card"),
        Column("gap_usd", "Difference", "usd"),
        Column("meaning", "What it means", "long", is_words=True),
    ),
    knows=OF_CELLS,
    date="usage_date",
    parts=_cells,
    words=_outcome,
    empty="No usage, no logs and no bill match these filters.",
)


# ------------------------------------------------------------------------------------------------------- answer


def answer(snapshot: Snapshot, filters: Filters) -> Answer:
    """First what was checked and right, then what could not be checked and why."""

    def rows(view: View) -> Sequence[Row]:
        return snapshot.rows(*view.statement(filters))

    condition, values = filters.conditions(OF_CELLS)
    (totals,) = snapshot.rows(reconciled.query("totals", condition), values)
    warnings = _warnings(rows(RATES), rows(INVOICES_VIEW), rows(UNPRICED), filters)
    if not totals["has_bill"]:
        is_all = not (filters.chosen or filters.first or filters.last)
        missing = "is loaded" if is_all else "matches these filters"
        nothing = f"No cost export {missing}, so there is no bill to check."
        compared = f" {reconciled.headline(totals)}" if totals["cells_compared"] else ""
        return Answer(f"{nothing}{compared}", warnings=warnings)
    checked = rows(CHECKED)
    sums = {name: _sum(checked, name) for name in ("checked and right", "differs", "not checkable")}
    right, differing, open_usd = sums.values()
    here = filters.without_options()
    tiles = [
        Tile("Billed", money(right + differing + open_usd), to=("spend", here)),
        Tile("Checked and right", money(right)),
        *([Tile("Differs", money(differing))] if differing else []),
        *([Tile("Not checkable", money(open_usd))] if open_usd else []),
    ]
    if totals["has_logs"] and totals["billed_usd"]:
        part = share(float(totals["explained_usd"] / totals["billed_usd"]))
        remark = (
            f"{money(totals['explained_usd'])} of {money(totals['billed_usd'])}: by your logs, else by usage exports"
        )
        tiles.append(Tile("Accounted for", part, remark))
    return Answer(_sentence(checked, right, differing, open_usd), money(right), tuple(tiles), warnings)


def _sum(checked: Sequence[Row], outcome: str) -> Decimal:
    return sum((row["usd"] for row in checked if row["outcome"] == outcome), Decimal(0))


def _sentence(checked: Sequence[Row], right: Decimal, differing: Decimal, open_usd: Decimal) -> str:
    has_unchecked = any(row["outcome"] == "not checkable" and row["usd"] for row in checked)
    if not differing and not has_unchecked:
        return f"Yes: the whole bill, {money(right)}, was checked and is right."
    parts = [f"{money(right)} checked and right" if right else "Nothing could be checked and found right"]
    wrong = [row for row in checked if row["outcome"] == "differs"]
    if wrong:
        gap = sum((row["gap_usd"] for row in wrong), Decimal(0))
        direction = "too much" if gap > 0 else "too little"
        parts.append(f"{money(differing)} differs from the usage, together {money(abs(gap))} {direction}")
    if has_unchecked:
        parts.append(f"{money(open_usd)} not checkable: {_reasons(checked)}")
    return "; ".join(parts) + "."


def _reasons(checked: Sequence[Row]) -> str:
    """Why amounts could not be checked, with their days; amounts where there are several reasons."""
    found: dict[str, list[Row]] = {}
    for row in checked:
        if row["outcome"] == "not checkable" and row["usd"]:
            found.setdefault(row["why"], []).append(row)
    reasons = []
    for why, rows in found.items():
        span = _span(min(row["first_day"] for row in rows), max(row["last_day"] for row in rows))
        amount = f" ({money(sum((row['usd'] for row in rows), Decimal(0)))})" if len(found) > 1 else ""
        reasons.append(f"{UNCHECKED[why][0]} {span}{amount}")
    return ", ".join(reasons)


def _warnings(
    rates: Sequence[Row], invoices: Sequence[Row], unpriced: Sequence[Row], filters: Filters
) -> tuple[str, ...]:
    warnings = []
    contradicted = [row for row in rates if row["verdict"] == "mispriced"]
    if contradicted:
        gap = money(sum((row["cost_gap_usd"] for row in contradicted), Decimal(0)))
        warnings.append(
            f"The bill uses other rates than your rate card for {counted(len(contradicted), 'monthly rate')} ({gap}): "
            "`token-analytics rates check` proposes lines for rate_overrides.csv."
        )
    differing = [row for row in invoices if row["status"] == "differs"]
    if differing:
        gap = money(sum((row["gap_usd"] for row in differing), Decimal(0)))
        one = len(differing) == 1
        differ, together = ("differs", "") if one else ("differ", " together")
        warnings.append(f"{counted(len(differing), 'invoice period')} {differ} from the bill, by {gap}{together}.")
    if unpriced:
        warnings.append(_unpriced_sentence(unpriced, filters))
    unknown = filters.unknown_to(OF_CELLS)
    if unknown:
        warnings.append(f"A bill does not state a {' or '.join(unknown)}, so these numbers are not filtered by it.")
    return tuple(warnings)


PAGE = Page(
    "bill",
    "Is the bill right?",
    "Bill",
    answer,
    (CHECKED, STEPS, GAPS, COVERAGE, RATES, INVOICES_VIEW, UNPRICED, KEYS, RESULTS),
)
