"""How much of the bill the logs account for, and where to look for the rest: figures and sentences.

Belongs here: what `show reconciliation`, the page of the bill and the written report say alike. Does not belong here:
which cell has which status (dbt_project/models/marts/usage_reconciliation.sql), and pages.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

import duckdb

from pipeline.store.connection import Row, rows_of
from pipeline.store.sqlfiles import sql
from pipeline.words import usd

# Each status in words, in the order of the page.
MEANINGS = {
    "matched": "Equal to the last digit.",
    "within_rounding": "Equal within the rounding of the bill: half a cent for each row that is rounded to the cent.",
    "consistent": "Between the least and the most that the sessions of the day can have used.",
    "mispriced": "The tokens agree but the money does not: the bill implies another rate than the rate card.",
    "unlogged": "The provider billed or counted usage that is in no log.",
    "unbilled": "The logs, or the provider's usage, contain more than was billed.",
    "late": "One export ends before the other side does: the rest of the day is missing.",
    "unpriced": "There is no rate for this usage, so its cost cannot be computed.",
    "not_comparable": "Only one side covers the day, or this kind of cost never has usage, like credits.",
    "out_of_scope": "Keys that the landed logs do not cover, and usage within a subscription.",
}
_KINDS = {
    "input_no_cache": "input",
    "cache_write_5m": "cache writes (5 minutes)",
    "cache_write_1h": "cache writes (1 hour)",
    "cache_read": "cache reads",
    "output": "output",
    "web_search": "web searches",
}


@dataclass(frozen=True)
class Step:
    """One bar of the waterfall, from `start_usd` to `end_usd`; a total starts at zero."""

    label: str
    start_usd: Decimal
    end_usd: Decimal
    is_total: bool
    cells: int

    @property
    def usd(self) -> Decimal:
        """The amount that the step adds; for a total, all of it."""
        return self.end_usd - self.start_usd


@dataclass(frozen=True)
class Share:
    """A day, key or model: its billed amount, and the explained part of it."""

    name: str
    billed_usd: Decimal
    explained_usd: Decimal
    cells: int
    cells_tied_out: int

    @property
    def coverage(self) -> float | None:
        """Explained share of the billed amount; None if nothing was billed."""
        return float(self.explained_usd / self.billed_usd) if self.billed_usd else None


@dataclass(frozen=True)
class Gap:
    """One of the largest differences, its explanation, and what to check ('' if the same as for the gap before)."""

    row: Row
    what: str
    check: str


@dataclass(frozen=True)
class Report:
    """Everything that the page and the terminal show."""

    headline: str
    is_whole: bool
    totals: Row
    scope: tuple[str, ...]
    steps: tuple[Step, ...]
    by_day: tuple[Share, ...]
    by_key: tuple[Share, ...]
    by_model: tuple[Share, ...]
    gaps: tuple[Gap, ...]
    statuses: tuple[Row, ...]
    rates: tuple[Row, ...]
    undetectable_rates: int
    sides: tuple[Row, ...]
    invoices: tuple[Row, ...]


# The most gaps that the report explains.
MOST_GAPS = 10


def query(name: str, filters: str = "true", **parts: str) -> str:
    """A query of the comparison, over the cells that meet the condition `filters`."""
    return sql(f"views/bill/{name}", cells=sql("views/bill/cells"), filters=filters, **parts)


def collect(connection: duckdb.DuckDBPyConnection) -> Report:
    """The report on the warehouse or published database of `connection`; writes nothing."""

    def rows(name: str, **parts: str) -> list[Row]:
        return rows_of(connection, query(name, **parts))

    (totals,) = rows("totals")
    rates = rows("rates")
    return Report(
        headline=headline(totals),
        is_whole=bool(totals["cells_compared"]) and totals["cells_compared"] == totals["cells_tied_out"],
        totals=totals,
        scope=tuple(scope_sentences(rows("scopes"))),
        steps=tuple(_steps(rows("steps"))),
        by_day=_shares(connection, "day"),
        by_key=_shares(connection, "key"),
        by_model=_shares(connection, "model"),
        gaps=tuple(_gaps(rows("gaps", most=str(MOST_GAPS)))),
        statuses=tuple(row | {"meaning": MEANINGS[row["status"]]} for row in rows("outcomes")),
        rates=tuple(row for row in rates if row["verdict"] == "mispriced"),
        undetectable_rates=sum(row["verdict"] == "undetectable" for row in rates),
        sides=tuple(rows("sides")),
        invoices=tuple(rows_of(connection, sql("cli/show/invoices"))),
    )


def _shares(connection: duckdb.DuckDBPyConnection, dimension: str) -> tuple[Share, ...]:
    rows = rows_of(connection, query("coverage"), {"dimension": dimension})
    return tuple(
        Share(row["name"], row["billed_usd"], row["explained_usd"], row["cells"], row["cells_tied_out"]) for row in rows
    )


def _steps(rows: Sequence[Row]) -> Iterator[Step]:
    """The waterfall: computed amount, each kind of difference, and the bill; it adds up exactly."""
    at = Decimal(0)
    for row in rows:
        start = Decimal(0) if row["is_total"] else at
        at = start + row["usd"]
        yield Step(row["step"], start, at, row["is_total"], row["cells"])


# ------------------------------------------------------------------------------------------------- sentences


def headline(totals: Row) -> str:
    """The comparison in a sentence or two."""
    if not totals["cells_compared"]:
        return "There is nothing to compare: usage exports, cost exports and logs have no day in common."
    tied, compared = totals["cells_tied_out"], totals["cells_compared"]
    cells = f"{tied:,} of {compared:,} cells tie out"
    if not totals["has_bill"]:
        return f"{cells}. No cost export was landed, so tokens were compared, but no money."
    explainer = "the logs explain" if totals["has_logs"] else "the provider's own usage explains"
    whole = f"Of {usd(totals['billed_usd'])} billed, {explainer} {usd(totals['explained_usd'])}"
    missing = totals["billed_usd"] - totals["explained_usd"]
    rest = f", and {usd(missing)} stays open" if missing else ""
    headline = f"{whole}{rest}. {cells}; rounding allows {usd(totals['tolerance_usd'])}."
    if totals["has_logs"] and totals["cells_priced"]:
        right = f"{totals['cells_priced_right']:,} of {totals['cells_priced']:,} cells"
        headline += f" The provider's own usage, at the rate card, equals the bill in {right}."
    return headline


def scope_sentences(scopes: Sequence[Row]) -> list[str]:
    """Which keys paid for the logs, and how that is known."""
    by_scope: dict[str, list[Row]] = {}
    for row in scopes:
        by_scope.setdefault(row["scope"], []).append(row)
    sentences = []
    for scope, rows in by_scope.items():
        keys = _list([row["api_key"] for row in rows if row["api_key"]])
        unlogged = _list([row["api_key"] for row in rows if row["api_key"] and not row["logged_tokens"]])
        billed = usd(sum((row["billed_usd"] for row in rows), Decimal(0)))
        days = f"{min(row['first_day'] for row in rows)} to {max(row['last_day'] for row in rows)}"
        if scope == "declared":
            sentences.append(f"Declared: by [reconciliation.scope], {keys} paid for logs without a key.")
        elif scope == "inferred":
            sentences.append(
                f"Inferred: the logs do not name their key. {keys} is the only key with cost on their days, "
                "so it is assumed to have paid for them. If that is wrong, correct it in [reconciliation.scope]."
            )
        elif scope == "stated":
            named = _list([row["api_key"] for row in rows if row["logged_tokens"]])
            sentences.append(
                f"Stated: logs name the keys {named}." + (f" No log names {unlogged}." if unlogged else "")
            )
        elif scope == "collapsed":
            sentences.append(
                "All keys as one: some logs do not name their key, and several keys may have paid for them, so on "
                f"these days ({days}) keys are compared together. To compare them one by one, assign the logs in "
                "[reconciliation.scope]."
            )
        elif scope == "unknown":
            tokens = sum(row["logged_tokens"] for row in rows)
            sentences.append(
                f"Unknown: logs of {tokens:,} tokens name no key, and no key of the account was used on their "
                "days: another organisation, a subscription, or exports that do not cover these days."
            )
        else:
            loose = next((row for row in rows if not row["api_key"] and row["logged_tokens"]), None)
            if keys:
                sentences.append(f"Out of scope: {keys}; the landed logs do not cover {billed} of the bill.")
            if loose:
                sentences.append(
                    f"No rule of [reconciliation.scope] matches logs of {loose['logged_tokens']:,} tokens: left out."
                )
    return sentences


def _gaps(rows: Sequence[Row]) -> Iterator[Gap]:
    before = ""
    for row in rows:
        what, check = explain(row)
        yield Gap(row, what, "" if check == before else check)
        before = check


def explain(row: Row) -> tuple[str, str]:
    """An explanation of a gap in one or two sentences, and what to check."""
    parts = [f"{kind_in_words(part['kind'])} {usd(abs(part['gap_usd']))}" for part in row["kinds"]]
    one_kind = kind_in_words(row["kinds"][0]["kind"])
    model = row["model"] or "an unnamed model"
    what = f"{one_kind} of {model}" if len(parts) == 1 else model
    billed, computed = usd(row["billed_cost_usd"]), usd(row["computed_usd"])
    gap = usd(abs(row["gap_usd"])) + (f" ({', '.join(parts)})" if len(parts) > 1 else "")
    has_logs, has_bill = row["logged_tokens_high"] is not None, row["billed_cost_usd"] is not None
    holder = "the logs" if has_logs else "the provider's usage"
    status = row["status"]
    if status == "unlogged" and has_bill and row["is_silent"]:
        return (
            f"{gap} was billed for {what}; no log contains this key on that day.",
            "Does the application with this key write logs, and were those of this day landed? If they do not name it, "
            "assign them in [reconciliation.scope].",
        )
    if status == "unlogged" and has_bill:
        return (
            f"{billed} was billed for {what}; {holder} account for {computed}. {gap} was billed for unlogged calls."
            if row["computed_usd"]
            else f"{gap} was billed for {what}; {holder} account for none of it.",
            "Does a job, an evaluation or a retry call the API without logging? Was a log file not landed? Does "
            "another application use the same key? (Logs of coding tools miss up to 15% of their calls.)",
        )
    if status == "unlogged":
        return (
            f"The provider counts {row['console_tokens']:,} tokens of {what}, the logs at most "
            f"{row['logged_tokens_high']:,}: {gap} at the rate card.",
            "Does a job call the API without logging? Was a log file not landed?",
        )
    if status == "unbilled" and has_bill:
        return (
            f"{holder[0].upper()}{holder[1:]} contain {computed} of {what}; {billed} was billed. {gap} is on no bill.",
            "Did another key or organisation, a subscription seat or a free tier pay for these calls? Then assign them "
            "in [reconciliation.scope] or [billing_mode]. Is this key missing in the cost export?",
        )
    if status == "unbilled":
        return (
            f"The logs contain at least {row['logged_tokens_low']:,} tokens of {what}, the provider counts "
            f"{row['console_tokens']:,}: {gap} at the rate card.",
            "Were these calls made with another key or organisation? Is the usage export filtered?",
        )
    if status == "mispriced":
        return (
            f"{billed} was billed for {what}; at the rate card the same tokens cost {computed}: {gap} apart. "
            f"For {one_kind} the bill implies a rate between {rate(row['kinds'][0]['low'])} and "
            f"{rate(row['kinds'][0]['high'])} per million.",
            "Is there a contract rate, a discount or a new price? Add it to rate_overrides.csv. Is usage of another "
            "tier (batch, long context, region) priced as standard?",
        )
    if status == "late":
        return (
            f"On {row['usage_date']} one side of {what} ends before the other: {gap} apart.",
            "Download the export again: it was created before the day was over.",
        )
    return (
        f"{billed if has_bill else 'An unknown amount'} of {what} cannot be recomputed: the rate card has no rate.",
        "See marts.unpriced_usage, and add the rate to rate_overrides.csv.",
    )


def rate(usd_per_mtok: float) -> str:
    """A rate per million tokens, as precise as a bill states it."""
    return f"${usd_per_mtok:,.4g}"


def kind_in_words(token_kind: str) -> str:
    """A kind of tokens as a reader calls it."""
    return _KINDS.get(token_kind, token_kind.replace("_", " "))


def _list(names: Sequence[str]) -> str:
    shown = list(dict.fromkeys(names))
    more = f" and {len(shown) - 8} more" if len(shown) > 8 else ""
    return ", ".join(shown[:8]) + more
