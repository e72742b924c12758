"""The pricing page: reports/pricing/index.html, one file that works offline, without scripts.

Belongs here: the page's content from the tables of pricing and savings, its figures and captions. Does not belong
here: any price, premium or saving (`recommendation`, `bill_history`, the tables of analysis), and the layout
(templates/pricing.html.j2).

No table stores the organisation's simulated months: the page simulates them again from the same seed.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from pipeline.pricing import bill_history, recommendation
from pipeline.pricing.bill_history import LEAST_BILLS, ORGANISATION
from pipeline.pricing.frontier import MECHANISMS, PRINCIPLES
from pipeline.pricing.recommendation import terms_in_words
from pipeline.pricing.risk import SHOCK_FACTOR, SHOCK_PROBABILITY
from pipeline.settings import Settings
from pipeline.store.connection import Row, rows_of
from pipeline.views import figures, pages
from pipeline.views.figures import Floats, Plot, figure, short
from pipeline.words import percent, usd

MAX_POINTS = 120  # of a line
LEVELS = (0.25, 0.5, 0.75, 0.9, 0.95)  # variance removed, in the table below the frontier
SAVINGS_DAYS = 30  # length of a month in analysis.recommendations
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
# The price of a month under each mechanism; docs/pricing.md has the formulas.
CHARGES = {
    "per_token": "the bill: usage at list prices",
    "bundle": "a fee for any usage",
    "hybrid": "a fee, and the share theta of the bill",
    "insurance": "the bill up to the deductible, and a premium; the provider pays the rest",
    "allowance": "a fee that covers the allowance, and usage above it at the overage rate",
    "tiered": "each part of the bill at the rate of its tier",
    "commitment": "the bill, at least the commitment, after the discount",
    "credits": "a fee that buys credits, which expire; usage without credits at the overage rate",
    "session_cap": "a fee, and the bill with each session's cost limited to the cap",
}
PRINCIPLE_WORDS = {
    "expected_value": "adds a share of the mean ceded loss",
    "solvency_99": "must be solvent in 99% of months",
}


@dataclass(frozen=True)
class Target:
    """The cheapest contracts for one target: the rows of each principle by rank, and their disagreement, if any."""

    aim: str
    by_principle: tuple[tuple[str, tuple[Row, ...]], ...]
    disagreement: str
    note: str | None


@dataclass(frozen=True)
class Spread:
    """The spread of one contract's prices: quantiles in USD, and their positions in percent of the common scale."""

    title: str
    low: float
    median: float
    high: float
    places: dict[str, float]


@dataclass(frozen=True)
class Dimension:
    """Everything about one customer dimension."""

    name: str
    title: str
    unit: str
    status: str
    notes: tuple[str, ...]
    targets: tuple[Target, ...]
    frontier: tuple[Plot, ...]
    levels: tuple[tuple[str, float, tuple[float | None, ...]], ...]
    ends: tuple[str, str]
    spreads: tuple[Spread, ...]
    histograms: tuple[Plot, ...]
    risks: tuple[Row, ...]
    bearing: tuple[Row, ...]
    provider_plots: tuple[Plot, ...]
    provider_sizes: tuple[int, ...]
    provider: tuple[tuple[str, tuple[Row, ...]], ...]


@dataclass(frozen=True)
class Savings:
    """Savings: rows by rank, what-ifs separately, and the steps from a month's cost to the cost after all savings."""

    rows: tuple[Row, ...] = ()
    what_ifs: tuple[Row, ...] = ()
    notes: tuple[str, ...] = ()
    steps: tuple[Row, ...] = ()
    bars_from_usd: Decimal = Decimal(0)


@dataclass(frozen=True)
class Report:
    """Everything that the page shows."""

    span: tuple[dt.date, dt.date] | None
    budget: str
    quotes: tuple[Row, ...]
    quote_note: str | None
    dimensions: tuple[Dimension, ...]
    savings: Savings


def collect(connection: duckdb.DuckDBPyConnection, settings: Settings) -> Report:
    """The content of the page, from the pricing tables and marts of `connection`; writes nothing."""
    risks = rows_of(connection, "FROM analysis.pricing_risk WHERE segment = 'all'")
    quotes = rows_of(connection, "FROM analysis.pricing_quotes ORDER BY quote")
    own = [row for row in quotes if row["quote"] is not None]
    names = list(dict.fromkeys(row["customer_dimension"] for row in risks))
    first = risks[0]
    span = None
    if first["first_usage_date"] is not None:
        span = (first["first_usage_date"], first["last_usage_date"])
    return Report(
        span=span,
        budget=_budget(connection),
        quotes=tuple(own),
        quote_note=None if own else quotes[0]["answer"],
        dimensions=tuple(_dimension(connection, settings, name, risks) for name in names),
        savings=_savings(connection),
    )


def _budget(connection: duckdb.DuckDBPyConnection) -> str:
    """Forecast and budget of the month, and of the month on which contracts are priced where that is a later one."""
    if not _has_table(connection, "cost_forecast"):
        return ""
    row = rows_of(connection, "FROM analysis.cost_forecast WHERE segment = 'all'")[0]
    words = pages.budget_in_words(row)
    if row["next_month"] == row["month"]:
        return words
    later = {name: row[f"next_{name}"] for name in ("month", "point", "budget_95")}
    return f"{words} Contracts are priced on the month after: {pages.budget_in_words(row | later)}"


def _has_table(connection: duckdb.DuckDBPyConnection, name: str) -> bool:
    query = "SELECT count(*) FROM duckdb_tables() WHERE schema_name = 'analysis' AND table_name = $name"
    return bool(connection.execute(query, {"name": name}).fetchall()[0][0])


def path(reports_dir: Path) -> Path:
    """Path of the page."""
    return reports_dir / "pricing" / "index.html"


def write(report: Report, reports_dir: Path, now: dt.datetime) -> Path:
    """Write `pricing/index.html` below `reports_dir`."""
    page = pages.render(
        "pricing",
        now,
        report=report,
        usd=usd,
        percent=percent,
        terms=_terms,
        title=_title,
        principle_words=PRINCIPLE_WORDS,
        charges=CHARGES.items(),
        mechanisms=MECHANISMS,
        shock=(SHOCK_PROBABILITY, SHOCK_FACTOR),
        box=figures.BOX,
    )
    target = path(reports_dir)
    pages.private_folder(target.parent)
    pages.write_atomically(target, page)
    return target


def _terms(params: str | None) -> str:
    return terms_in_words(json.loads(params)) if params else ""


def _title(mechanism: str, basis: str = "equal_revenue") -> str:
    return TITLES.get(mechanism, pages.display(mechanism)) + (" (as quoted)" if basis == "as_quoted" else "")


def _dimension(connection: duckdb.DuckDBPyConnection, settings: Settings, name: str, risks: Sequence[Row]) -> Dimension:
    own = [row for row in risks if row["customer_dimension"] == name]
    is_ours = name == ORGANISATION
    merged = tuple(_merged(own))
    bills, prices = _prices(connection, settings, name)
    unit = "month" if is_ours else "session" if name == "session_id" else "bill"
    enough = bills.size >= LEAST_BILLS
    provided = [row for row in _of(connection, "pricing_provider", name) if row["mechanism"] is not None]
    first = own[0]
    notes = [row["reason"] for row in own if row["mechanism"] is None and row["reason"]]
    if first["mechanism"] is not None and first["reason"]:
        notes.insert(0, first["reason"])
    return Dimension(
        name=name,
        title="The organisation's bill" if is_ours else f"Bills by {name}",
        unit=unit,
        status=first["status"],
        notes=tuple(dict.fromkeys(notes)),
        targets=tuple(_targets(_of(connection, "pricing_recommendation", name), first["reason"] or "")),
        **_frontier(connection, name, unit, settings.target_variance_reduction),
        ends=("5%", "95%") if enough else ("lowest", "highest"),
        spreads=tuple(_spreads(prices, enough)),
        histograms=tuple(_histograms(bills, prices, unit)) if enough else (),
        risks=merged,
        bearing=tuple(_bearing(merged)),
        provider_plots=tuple(_provider_plots(provided)),
        provider_sizes=tuple(dict.fromkeys(row["n_customers"] for row in provided)),
        provider=tuple(
            (mechanism, tuple(row for row in provided if row["mechanism"] == mechanism))
            for mechanism in dict.fromkeys(row["mechanism"] for row in provided)
        ),
    )


def _of(connection: duckdb.DuckDBPyConnection, table: str, dimension: str) -> list[Row]:
    return rows_of(connection, f"FROM analysis.{table} WHERE customer_dimension = $name", {"name": dimension})


# -------------------------------------------------------------------------------------------------- recommendation


def _targets(rows: Sequence[Row], shown: str) -> Iterator[Target]:
    """The contracts for each target; `shown` is printed above and not repeated."""
    for target in dict.fromkeys(row["target"] for row in rows):
        own = [row for row in rows if row["target"] == target]
        value = own[0]["target_value"]
        if target == "variance_reduction":
            aim = f"Remove {value:.0%} of the variance of a bill"
        elif value is None:
            continue
        else:
            aim = f"Keep a bill within {usd(value)} with a probability of {own[0]['target_probability']:.0%}"
        ranked = {
            name: tuple(row for row in own if row["loading_principle"] == name and row["rank"] is not None)
            for name in PRINCIPLES
        }
        first, second = (ranked[name] for name in PRINCIPLES)
        both = first and second
        sentence = recommendation.disagreement(first[0]["mechanism"], second[0]["mechanism"]) if both else ""
        # Both rows contain the sentence; the page prints it once, below them.
        contracts = tuple(
            (
                name,
                tuple(
                    row | {"reason": row["reason"].removesuffix(shown).replace(sentence, "").strip()} for row in chosen
                ),
            )
            for name, chosen in ranked.items()
            if chosen
        )
        unreached = [row["reason"] for row in own if row["rank"] is None and row["reason"] != shown]
        yield Target(aim, contracts, sentence, "; ".join(dict.fromkeys(unreached)) or None)


# ---------------------------------------------------------------------------------------------------------- frontier


def _frontier(connection: duckdb.DuckDBPyConnection, name: str, unit: str, target: float) -> dict[str, Any]:
    """Loading and premium against the removed variance, by principle, and the smallest loading for `LEVELS`."""
    rows = [row for row in _of(connection, "pricing_frontier", name) if row["variance_reduction"] is not None]
    chosen = [
        row
        for row in _of(connection, "pricing_recommendation", name)
        if row["target"] == "variance_reduction" and row["mechanism"] in MECHANISMS
    ]
    plots: dict[str, list[Plot]] = {"loading": [], "premium": []}
    levels: list[tuple[str, float, tuple[float | None, ...]]] = []
    for principle in PRINCIPLES:
        lines = {
            mechanism: np.array(
                [
                    (row["variance_reduction"], row["loading"], row["premium"])
                    for row in rows
                    if row["mechanism"] == mechanism and row["loading_principle"] == principle
                ]
            )
            for mechanism in MECHANISMS
        }
        lines = {mechanism: points for mechanism, points in lines.items() if points.size}
        if not lines:
            continue
        marked = [row for row in chosen if row["loading_principle"] == principle]
        for place, column, words in (
            (1, "loading", f"Loading by {principle}: average extra cost over per token, USD per {unit}"),
            (2, "premium", f"Premium by {principle}: ceded loss plus loading, USD per {unit}"),
        ):
            plots[column].append(
                figure(
                    f"{words}, against the share of variance removed",
                    [
                        (f"m{MECHANISMS.index(mechanism)}", *_thin(points[:, 0], points[:, place]), _title(mechanism))
                        for mechanism, points in lines.items()
                    ],
                    (False, False),
                    (0.0, 1.0, 0.0, max(float(points[:, place].max()) for points in lines.values()) or 1.0),
                    (target, f"{target:.0%}"),
                    dots=[
                        (
                            f"m{MECHANISMS.index(row['mechanism'])}",
                            row["variance_reduction"],
                            row[column],
                            f"{_title(row['mechanism'])} ({_terms(row['params'])}): {usd(row[column])}",
                        )
                        for row in marked
                        if row["variance_reduction"] is not None
                    ],
                    shown=(_share, _dollars),
                    description=f"{words}, by variance removed; the table below has the numbers",
                )
            )
        for level in sorted({*LEVELS, target}):
            least = (_least(lines.get(mechanism), level) for mechanism in MECHANISMS)
            levels.append((principle, level, tuple(least)))
    return {"frontier": (*plots["loading"], *plots["premium"]), "levels": tuple(levels)}


def _least(points: Floats | None, level: float) -> float | None:
    """The smallest loading of the parameters that remove at least `level` of the variance."""
    if points is None:
        return None
    reached = points[:, 0] >= level - 1e-9
    return float(points[reached, 1].min()) if reached.any() else None


def _thin(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    at = np.unique(np.linspace(0, x.size - 1, min(x.size, MAX_POINTS)).round().astype(int))
    return x[at], y[at]


def _share(value: float) -> str:
    return f"{value:.0%}"


def _dollars(value: float) -> str:
    return f"${short(value)}"


# ------------------------------------------------------------------------------------------------------------ bills


def _prices(
    connection: duckdb.DuckDBPyConnection, settings: Settings, name: str
) -> tuple[Floats, list[tuple[str, Floats]]]:
    """The bills of a dimension in USD, and the prices of each contract on them, both of shape (n,)."""
    if name == ORGANISATION:
        pool = bill_history.organisation(connection, settings)
        if pool.ledger is None:
            return np.zeros(0), []
        return pool.ledger.bills, [
            (_title(contract.label, basis), contract.price_in(pool.ledger)) for basis, contract in pool.offered
        ]
    rows = connection.execute(
        "SELECT mechanism, basis, bill_usd::DOUBLE AS bill_usd, price_usd::DOUBLE AS price_usd "
        "FROM analysis.pricing_bills WHERE segment = 'all' AND status = 'ok' AND customer_dimension = $name "
        "ORDER BY customer, month",
        {"name": name},
    ).fetchnumpy()
    labels = list(dict.fromkeys(zip(rows["mechanism"].tolist(), rows["basis"].tolist(), strict=True)))
    order = {name: at for at, name in enumerate(TITLES)}
    labels.sort(key=lambda label: (label[1] == "as_quoted", order.get(label[0], len(order)), label[0]))
    prices, bills = [], np.zeros(0)
    for mechanism, basis in labels:
        at = (rows["mechanism"] == mechanism) & (rows["basis"] == basis)
        prices.append((_title(mechanism, basis), np.asarray(rows["price_usd"][at], dtype=np.float64)))
        bills = np.asarray(rows["bill_usd"][at], dtype=np.float64)
    return bills, prices


def _spreads(prices: Sequence[tuple[str, Floats]], enough: bool) -> Iterator[Spread]:
    probabilities = (0.05, 0.25, 0.5, 0.75, 0.95) if enough else (0.0, 0.25, 0.5, 0.75, 1.0)
    quantiles = [(title, np.quantile(values, probabilities)) for title, values in prices]
    least, most = (
        min((float(ends[0]) for _, ends in quantiles), default=0.0),
        max((float(ends[-1]) for _, ends in quantiles), default=0.0),
    )
    span = (most - least) or 1.0
    for title, ends in quantiles:
        low, quarter, median, three_quarters, high = (float(end) for end in ends)
        places = {"low": low, "quarter": quarter, "median": median, "three_quarters": three_quarters, "high": high}
        yield Spread(title, low, median, high, {key: 100 * (value - least) / span for key, value in places.items()})


def _histograms(bills: Floats, prices: Sequence[tuple[str, Floats]], unit: str) -> Iterator[Plot]:
    """Bills and their prices under each contract, on one scale."""
    ends = [np.quantile(values, (0.005, 0.995)) for values in (bills, *(values for _, values in prices))]
    low, high = float(min(pair[0] for pair in ends)), float(max(pair[1] for pair in ends))
    if high <= low:
        return
    edges = np.linspace(low, high, int(np.clip(2 * np.sqrt(bills.size), 10, 40)) + 1)
    before = _heights(bills, edges)
    before_95 = float(np.quantile(bills, 0.95))
    for title, values in prices:
        if title == _title("per_token"):
            continue
        smallest, largest = float(values.min()), float(values.max())
        if largest - smallest <= 1e-9 * largest:
            words = f"{title}: every {unit} costs {usd(largest)}"
        else:
            words = f"{title}: 95% of {unit}s cost at most {usd(float(np.quantile(values, 0.95)))}"
        yield figure(
            f"{words} (per token: {usd(before_95)})",
            [
                ("before", *_steps(edges, before), "per token"),
                ("after", *_steps(edges, _heights(values, edges)), title),
            ],
            (False, False),
            (low, high, 0.0, 1.25 * float(before.max())),
            shown=(_dollars, _share),
            description=f"Share of {unit}s by their price in USD, before and after. {words}; the table above has "
            "the numbers",
        )


def _heights(values: Floats, edges: Floats) -> Floats:
    """Share of the values in each bin; values beyond the ends count in the outermost bins."""
    return np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0] / values.size


def _steps(edges: Floats, heights: Floats) -> tuple[Floats, Floats]:
    """The outline of a histogram, from baseline to baseline."""
    return np.repeat(edges, 2), np.concatenate(([0.0], np.repeat(heights, 2), [0.0]))


# ------------------------------------------------------------------------------------------------- metrics and risk


def _merged(rows: Sequence[Row]) -> Iterator[Row]:
    """One row per method, basis and mechanism, with the loading principles side by side."""
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        if row["mechanism"] is not None:
            groups.setdefault((row["method"], row["basis"], row["mechanism"]), []).append(row)
    for (method, basis, mechanism), own in groups.items():
        by_principle = {row["loading_principle"]: row for row in own}
        yield own[0] | {
            "title": _title(mechanism, basis) + (" (modelled month)" if method == "compound_model" else ""),
            "loadings": tuple(by_principle[name]["loading"] if name in by_principle else None for name in PRINCIPLES),
            "loading_common_shock": next((row["loading_common_shock"] for row in own[::-1]), None),
        }


def _bearing(rows: Sequence[Row]) -> Iterator[Row]:
    """Var P, Var(P - B) and 2 Cov(P, B - P) as shares of Var B; empty if bills do not vary."""
    variances = {row["method"]: row["sd"] ** 2 for row in rows if row["mechanism"] == "per_token" and row["sd"]}
    for row in rows:
        whole = variances.get(row["method"])
        if whole and row["provider_sd"] is not None and row["provider_covariance"] is not None:
            yield {
                "title": row["title"],
                "customer": row["sd"] ** 2 / whole,
                "provider": row["provider_sd"] ** 2 / whole,
                "shared": 2 * row["provider_covariance"] / whole,
                "ceded_share": row["ceded_share"],
            }


def _provider_plots(rows: Sequence[Row]) -> Iterator[Plot]:
    """The loss ratio by number of customers: independent, and with a common shock."""
    for column, words in (
        ("loading", "independent customers"),
        ("loading_common_shock", "customers who share one shock"),
    ):
        lines = []
        for mechanism in MECHANISMS:
            own = [row for row in rows if row["mechanism"] == mechanism and row["pure_premium"]]
            if own:
                customers = np.array([row["n_customers"] for row in own], dtype=np.float64)
                ratios = np.array([_loss_ratio(row, column) for row in own])
                lines.append((f"m{MECHANISMS.index(mechanism)}", customers, ratios, _title(mechanism)))
        if lines:
            largest = max(float(line[1].max()) for line in lines)
            yield figure(
                f"Loss ratio by number of customers, {words}",
                lines,
                (True, False),
                (1.0, max(largest, 10.0), 0.0, 1.0),
                shown=(short, _share),
                description=f"Expected ceded loss as a share of the loaded premium, by number of customers: {words}; "
                "the table below has the numbers",
            )


def _loss_ratio(row: Row, column: str) -> float:
    """Expected ceded loss / loaded premium."""
    pure = float(row["pure_premium"])
    return pure / (pure + float(row[column]))


# ---------------------------------------------------------------------------------------------------------- savings


def _savings(connection: duckdb.DuckDBPyConnection) -> Savings:
    """The rows of analysis.recommendations, and the steps of the waterfall."""
    if not _has_table(connection, "recommendations"):
        return Savings(notes=("Savings have not been computed: there is no table analysis.recommendations.",))
    rows = rows_of(connection, "FROM analysis.recommendations ORDER BY rank NULLS LAST, kind, subject")
    counted = [row for row in rows if row["kind"] != "what_if" and row["saving_usd_per_month"] is not None]
    asked = [row for row in rows if row["kind"] == "what_if"]
    others = [row for row in rows if row["kind"] != "what_if" and row["saving_usd_per_month"] is None]
    steps, bars_from_usd = _waterfall(counted, _cost_of_window(connection, counted))
    return Savings(
        rows=tuple(row | {"amount": row["saving_usd_per_month"]} for row in counted),
        what_ifs=tuple(row | {"amount": row["what_if_usd_per_month"]} for row in asked),
        notes=tuple(dict.fromkeys(row["evidence"] or row["kind"] for row in others)),
        steps=steps,
        bars_from_usd=bars_from_usd,
    )


def _cost_of_window(connection: duckdb.DuckDBPyConnection, rows: Sequence[Row]) -> Decimal | None:
    """The organisation's cost of 30 days, from the mean of the days that the savings cover."""
    if not rows:
        return None
    first, last = rows[0]["first_usage_date"], rows[0]["last_usage_date"]
    cost = bill_history.cost_between(connection, first, last)
    return None if cost is None else cost * SAVINGS_DAYS / ((last - first).days + 1)


def _waterfall(rows: Sequence[Row], today_usd: Decimal | None) -> tuple[tuple[Row, ...], Decimal]:
    """The steps from a month's cost to the cost after all savings, and the USD amount at which bars start.

    Savings are applied in their order, each to the remaining cost. Bars start above 0 if the steps would otherwise be
    too small to see.
    """
    if not rows or today_usd is None or today_usd <= 0:
        return (), Decimal(0)
    left = today_usd - sum((row["saving_usd_per_month"] for row in rows), Decimal(0))
    base = max(left - (today_usd - left) / 2, Decimal(0)) if 2 * left > today_usd else Decimal(0)

    def step(label: str, start: Decimal, end: Decimal, *, is_total: bool = False) -> Row:
        low, high = (max(each, base) - base for each in sorted((start, end)))
        span = today_usd - base or Decimal(1)
        return {
            "label": label,
            "usd": end - start,
            "is_total": is_total,
            "left": float(100 * low / span),
            "width": float(100 * (high - low) / span),
        }

    steps = [step("30 days today", Decimal(0), today_usd, is_total=True)]
    at = today_usd
    for row in sorted(rows, key=lambda row: row["applied_order"]):
        if row["saving_usd_per_month"]:
            after = at - row["saving_usd_per_month"]
            steps.append(step(f"{row['kind'].replace('_', ' ')}: {row['subject']}", at, after))
            at = after
    steps.append(step("After all savings", Decimal(0), left, is_total=True))
    return tuple(steps), base
