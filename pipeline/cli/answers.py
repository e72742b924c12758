"""Commands that query the published database: status, show, query, reprice, rates and quote.

Belongs here: their arguments and tables. Does not belong here: the queries (pipeline/cli/sql and the stages).
"""

from __future__ import annotations

import csv
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import duckdb
import typer
from rich.text import Text

from pipeline import settings as settings_module
from pipeline.analysis import bridge
from pipeline.cli import output
from pipeline.cli.application import HomeOption, JsonOption, LimitOption, app, err, out
from pipeline.finance import closing, rate_check
from pipeline.pricing import quotes
from pipeline.savings import repricing
from pipeline.settings import ConfigurationError, Settings, Terms
from pipeline.store import warehouse
from pipeline.store.sqlfiles import sql
from pipeline.views import reconciled
from pipeline.words import percent, usd

rates_app = typer.Typer(help="The rate card.", no_args_is_help=True)
app.add_typer(rates_app, name="rates")


# Columns of the files table that a narrow terminal leaves out.
MINOR_OF_STATUS = ("last_loaded_at", "rows_ignored", "rows_repeated")


class View(StrEnum):
    """Views of `show`."""

    DAILY = "daily"
    MODELS = "models"
    CACHE = "cache"
    SESSIONS = "sessions"
    USERS = "users"
    RECONCILIATION = "reconciliation"
    TAILS = "tails"
    BRIDGE = "bridge"
    ANOMALIES = "anomalies"
    FORECAST = "forecast"
    PRICING = "pricing"
    SAVINGS = "savings"
    CHARGEBACK = "chargeback"
    INVOICES = "invoices"
    RESTATEMENTS = "restatements"


class Format(StrEnum):
    """How `query` prints its rows."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


@app.command()
def status(
    home: HomeOption = None,
    as_json: JsonOption = False,
    rejected: Annotated[
        bool, typer.Option("--rejected", help="Group the quarantined rows by reason, with an example.")
    ] = False,
) -> None:
    """What was loaded, what was not, and why."""
    settings = settings_module.load(home)
    with warehouse.connect_published(settings) as connection:
        tables = {
            name: output.rows(connection, sql(f"cli/status/{name}"))
            for name in (("rejected", "rejected_total") if rejected else ("files", "problems", "without_usage"))
        }
    if as_json:
        output.echo_json(tables)
        return
    total = tables.pop("rejected_total", [])
    for name, rows in tables.items():
        output.print_rows(rows, title=name.replace("_", " "), empty="none", minor=MINOR_OF_STATUS)
    if total and total[0]["rows_rejected"]:
        _print_rejected_total(total[0])


def _print_rejected_total(total: dict[str, Any]) -> None:
    share = total["rows_rejected"] / total["rows_read"]
    out.print(
        f"{total['rows_rejected']:,} of {total['rows_read']:,} rows ({share:.3%}) were rejected, "
        f"in {total['files_with_rejected_rows']:,} of {total['files']:,} files. "
        "After a fix: token-analytics retry-rejected"
    )


@app.command()
def show(
    view: Annotated[View, typer.Argument(help="What to show.")],
    month: Annotated[
        str | None,
        typer.Argument(metavar="[YYYY-MM]", help="Only this month; for the bridge, the last one by default."),
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
    limit: LimitOption = 30,
    month_option: Annotated[
        str | None, typer.Option("--month", metavar="YYYY-MM", help="The same as the month after the view.")
    ] = None,
    first: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="PERIOD", help="Bridge between any two periods: 2026-01, 2026-01-05..2026-01-11."
        ),
    ] = None,
    second: Annotated[
        str | None, typer.Option("--to", metavar="PERIOD", help="The later period of the bridge.")
    ] = None,
) -> None:
    """Show a table: usage, cost, reconciliation with the bill, who pays, forecast, possible savings."""
    settings = settings_module.load(home)
    month = month or month_option
    first_day = closing.parse_month(month) if month else None
    periods = _periods(view, first, second) if first or second else None
    if month and periods:
        raise ConfigurationError("show bridge: name a month, or two periods by --from and --to")
    query_text = sql(f"cli/show/{view.value}", bridge="between_periods" if periods else "analysis.month_bridge")
    with warehouse.connect_published(settings) as connection:
        if periods:
            with output.of_this_version():
                connection.register("between_periods", bridge.bridge_between(connection, *periods))
        rows = output.rows(connection, query_text, [first_day] if view is View.BRIDGE else None)
        if view is View.BRIDGE and first_day and not rows:
            bridges = output.rows(
                connection, "SELECT DISTINCT strftime(month, '%Y-%m') AS m FROM analysis.month_bridge ORDER BY m"
            )
            months = ", ".join(row["m"] for row in bridges if row["m"]) or "none: a bridge needs two months of usage"
            raise ConfigurationError(f"show bridge: there is no bridge to {month}; there are {months}")
        report = reconciled.collect(connection) if view is View.RECONCILIATION and not as_json else None
        if view is View.PRICING and not as_json:
            _print_answers(connection)
    if first_day:
        if rows and "month" not in rows[0]:
            raise ConfigurationError(f"show {view.value}: this view has no months; leave {month} out")
        rows = [row for row in rows if row["month"] == f"{first_day:%Y-%m}"]
    if as_json:
        output.echo_json(rows)
        return
    if view is View.SAVINGS:
        _print_savings(rows, title=_remark(query_text, 0), limit=limit)
        return
    shown = rows[:limit] if limit else rows
    sentences = {row["segment"]: row.pop("days_sentence") for row in rows} if view is View.BRIDGE else {}
    minor = _remark(query_text, 1).removeprefix("minor: ").split(", ")
    empty = "no rows: the landed files don't contain this"
    output.print_rows(shown, title=_remark(query_text, 0), empty=empty, minor=minor)
    if len(shown) < len(rows):
        out.print(
            f"{len(shown)} of {len(rows):,} rows; --limit 0 shows all, --json gives all to a machine", style="dim"
        )
    for segment in dict.fromkeys(row["segment"] for row in shown if sentences.get(row.get("segment"))):
        out.print(Text(sentences[segment] if segment == "all" else f"{segment}: {sentences[segment]}"))
    if report and rows:
        _print_reconciliation(report, settings.reports / "bill.html", limit)
    page = settings.reports / "contracts.html"
    if view is View.PRICING and page.exists():
        out.print(Text(f"\nPage    {page}"))


def _periods(view: View, first: str | None, second: str | None) -> tuple[bridge.Period, bridge.Period]:
    if view is not View.BRIDGE or not first or not second:
        raise ConfigurationError("--from and --to belong together, and to show bridge")
    try:
        return bridge.Period.parse(first), bridge.Period.parse(second)
    except ValueError as error:
        raise ConfigurationError(f"show bridge: {error}") from None


def _remark(query_text: str, number: int) -> str:
    """A comment at the head of a query: first its title, then the columns that a narrow terminal leaves out."""
    return query_text.splitlines()[number].removeprefix("-- ")


def _print_answers(connection: duckdb.DuckDBPyConnection) -> None:
    """The user's quotes, then the cheapest contract for each target."""
    for name in ("quotes", "recommendation"):
        text = sql(f"cli/show/{name}")
        out.print(Text(_remark(text, 0), style="italic"))
        for row in output.rows(connection, text):
            out.print(Text(f"  {row.get('answer') or row.get('reason') or row['status']}"))
        out.print()


def _print_savings(rows: list[dict[str, Any]], title: str, limit: int) -> None:
    """Savings with action and evidence, then their combined sum, then rows that are not savings."""
    savings = [row for row in rows if row["rank"] is not None]
    shown = savings[:limit] if limit else savings
    columns = ("rank", "saving_usd_per_month", "standalone_usd_per_month", "confidence", "kind", "subject")
    output.print_rows([{name: row[name] for name in columns} for row in shown], title=title, empty="no savings found")
    for row in shown:
        out.print(Text(f"\n{row['rank']}  {row['action']}", style="bold"))
        out.print(Text(f"   {row['evidence']}"))
    if savings:
        left_out = f" ({len(shown)} of {len(savings)} shown; --limit 0 shows all)" if len(shown) < len(savings) else ""
        together = usd(savings[0]["combined_usd_per_month"])
        out.print(f"\n[bold]Together[/bold] {together} a month, no request counted twice{left_out}")
        out.print("The query behind a row: select sql from analysis.recommendations where rank = 1", style="dim")
    for row in rows:
        if row["rank"] is None:
            change = row["what_if_usd_per_month"]
            amount = f" {usd(change)} a month: {row['subject']}." if change is not None else ""
            out.print(Text(f"\n{row['kind']}:{amount} {row['evidence']}"))


def _print_reconciliation(report: reconciled.Report, page: Path, limit: int) -> None:
    """The content of the reconciliation page, for a terminal."""
    out.print(Text(f"\n{report.headline}", style="bold"))
    for sentence in report.scope:
        out.print(Text(sentence))
    steps = [{"step": step.label, "usd": step.usd, "cells": step.cells} for step in report.steps]
    if steps:
        output.print_rows(steps, title="\nFrom what was logged to the bill", empty="")
    for title, shares in (("key", report.by_key), ("model", report.by_model), ("day", report.by_day[::-1])):
        rows = [
            {
                title: share.name,
                "coverage": percent(share.coverage),
                "billed_usd": share.billed_usd,
                "explained_usd": share.explained_usd,
                "open_usd": share.billed_usd - share.explained_usd,
            }
            for share in (shares[:limit] if limit else shares)
        ]
        if rows:
            output.print_rows(rows, title=f"\nCoverage by {title}", empty="")
    if report.gaps:
        out.print(Text("\nThe largest gaps, and what to check", style="italic"))
    for gap in report.gaps:
        place = f"{gap.row['usage_date']}, {gap.row['api_key'] or 'all keys of the day'}, {gap.row['status']}: "
        out.print(Text(place + gap.what))
        if gap.check:
            out.print(Text(f"  Check: {gap.check}", style="dim"))
    if report.invoices:
        output.print_rows(report.invoices, title="\nInvoices and the bill", empty="")
    if page.exists():
        out.print(Text(f"\nPage    {page}"))


quote_app = typer.Typer(help="Contracts that you were offered, and what they would have cost.", no_args_is_help=True)
app.add_typer(quote_app, name="quote")


@quote_app.command("add")
def quote_add(
    name: Annotated[str, typer.Argument(help="A name for the quote; one of the same name is replaced.")],
    fee_usd: Annotated[float, typer.Option(help="Fee a month, whatever the usage.")] = 0.0,
    commitment_usd: Annotated[float, typer.Option(help="Usage a month that is paid whether used or not.")] = 0.0,
    discount: Annotated[float, typer.Option(help="Discount on usage and commitment, 0 to 1.")] = 0.0,
    allowance_usd: Annotated[float, typer.Option(help="Usage a month at list that the fee covers.")] = 0.0,
    overage_rate: Annotated[float, typer.Option(help="Price of usage beyond the allowance, 1 = list.")] = 1.0,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Store a quote in the home, and show what the last year would have cost under it."""
    given = {
        "fee_usd": fee_usd,
        "commitment_usd": commitment_usd,
        "discount": discount,
        "allowance_usd": allowance_usd,
        "overage_rate": overage_rate,
        "tiers": (),  # replaces a quote of the same name completely
    }
    settings = settings_module.load(home)
    terms = settings_module.load(home, quotes={name: given}).quotes[name]
    if terms == Terms():
        raise ConfigurationError("quote add: name at least one term, such as --fee-usd 100 (see quote add --help)")
    path = quotes.add(settings, name, terms)
    err.print(Text(f"Written to {path}; the next run prices it in all tables"))
    _answer_quotes(settings_module.load(home), name, as_json)


@quote_app.command("list")
def quote_list(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """What the last year would have cost under each quote of the settings and of the home."""
    _answer_quotes(settings_module.load(home), None, as_json)


@quote_app.command("remove")
def quote_remove(
    name: Annotated[str, typer.Argument(help="Name of a quote that `quote add` wrote.")], home: HomeOption = None
) -> None:
    """Remove a quote from the home's file."""
    err.print(Text(f"Removed from {quotes.remove(settings_module.load(home), name)}"))


def _answer_quotes(settings: Settings, name: str | None, as_json: bool) -> None:
    """Print the quotes' prices on the published history, without a run."""
    from pipeline.pricing import bill_history, recommendation

    if not settings.published.exists():
        if as_json:
            output.echo_json([])
        else:
            out.print("no history yet: token-analytics run, then token-analytics quote list")
        return
    with warehouse.connect_published(settings) as connection:
        table = recommendation.pricing_quotes(bill_history.organisation(connection, settings), settings)
    rows = [row for row in table.to_pylist() if name is None or row["quote"] == name]
    if as_json:
        output.echo_json(rows)
    else:
        for row in rows:
            out.print(Text(row["answer"]))


@app.command()
def reprice(
    home: HomeOption = None,
    rates: Annotated[Path | None, typer.Option(help="Another file of own rates, like rate_overrides.csv.")] = None,
    list_prices: Annotated[bool, typer.Option("--list-prices", help="List prices only, without own rates.")] = False,
    model_map: Annotated[
        list[str] | None, typer.Option("--map", metavar="A=B", help="Price the usage of model A as that of B.")
    ] = None,
    cache: Annotated[str | None, typer.Option(help="Another cache policy: none, 5m or 1h.")] = None,
    batch: Annotated[bool, typer.Option("--batch", help="Price all standard usage as batch.")] = False,
    as_json: JsonOption = False,
    limit: LimitOption = 30,
) -> None:
    """Reprice the same history with other rates, other models, batch, or another cache policy."""
    settings = settings_module.load(home)
    if rates is None and not (list_prices or model_map or cache or batch):
        raise ConfigurationError("reprice: say what to change: --rates, --list-prices, --map, --cache or --batch")
    if rates is not None and list_prices:
        raise ConfigurationError("reprice: give --rates or --list-prices, not both")
    if cache not in (None, *repricing.CACHE_POLICIES):
        raise ConfigurationError(f"reprice: --cache {cache}: use one of {', '.join(repricing.CACHE_POLICIES)}")
    overrides = None if list_prices else rates or settings.overrides_file
    pairs = repricing.parse_map(model_map or [], settings.model_aliases)
    with warehouse.connect_published(settings) as connection:
        repriced = repricing.reprice(
            connection, overrides, settings.model_aliases, pairs, cache, usage_type="batch" if batch else None
        )
    totals = {column: repriced.total(column) for column in ("old_usd", "new_usd", "difference_usd")}
    unpriced = repriced.unpriced_models()
    price = "batch price" if batch else "price before and after"
    if unpriced and not any(row["tokens"] > row["unpriced_tokens"] for row in repriced.rows):
        raise ConfigurationError(
            f"reprice: none of the used models has a {price}: give prices in rate_overrides.csv or with --rates"
        )
    if as_json:
        output.echo_json(
            {"assumptions": repriced.assumptions, "total": totals, "unpriced": unpriced, "rows": repriced.rows}
        )
        return
    shown = repriced.rows[-limit:] if limit else repriced.rows
    output.print_rows(
        shown,
        title="The same history, repriced, by month, model and key",
        empty="no usage",
        minor=("unpriced_tokens", "workspace", "provider", "tokens"),
    )
    if len(shown) < len(repriced.rows):
        out.print(f"the last {len(shown)} of {len(repriced.rows):,} rows; --limit 0 shows all", style="dim")
    out.print(
        f"[bold]Total[/bold]   {usd(totals['old_usd'])} -> {usd(totals['new_usd'])} ({usd(totals['difference_usd'])})"
    )
    for model, tokens in unpriced.items():
        text = f"        no {price} for {model}: {tokens:,} tokens are in neither sum"
        out.print(Text(text, style="yellow"))
    for sentence in repriced.assumptions:
        out.print(Text(f"        {sentence}", style="dim"))


@rates_app.command("check")
def rates_check(home: HomeOption = None, as_json: JsonOption = False, limit: LimitOption = 30) -> None:
    """Compare the rate card with the bill, and propose override lines if billed cells imply another rate."""
    settings = settings_module.load(home)
    with warehouse.connect_published(settings) as connection:
        findings = rate_check.check(connection, settings.overrides_file, settings.model_aliases)
    lines = rate_check.proposals(findings)
    rows = [
        each.key._asdict()
        | {
            "first_day": each.first_day,
            "last_day": each.last_day,
            "cells": each.cells,
            "billed_usd": each.billed_usd,
            "card_usd_per_mtok": each.card,
            "implied_low": each.low_usd_per_mtok,
            "implied_high": each.high_usd_per_mtok,
            "verdict": each.verdict,
        }
        for each in findings
    ]
    if as_json:
        output.echo_json({"rates": rows, "proposed_lines": lines})
        return
    rows.sort(key=lambda row: row["verdict"] not in ("differs", "unpriced", "inconsistent"))
    shown = rows[:limit] if limit else rows
    nothing = "no usage export and cost export share a day"
    minor = ("first_day", "last_day", "cells", "billed_usd")
    output.print_rows(shown, title="Each rate against the bill", empty=nothing, minor=minor)
    if len(shown) < len(rows):
        out.print(f"{len(shown)} of {len(rows):,} rows; --limit 0 shows all", style="dim")
    if lines:
        target = settings.overrides_file or settings.home / "rate_overrides.csv"
        out.print(Text(f"\nLines that would make the card agree, for {target}:", style="italic"))
        writer = csv.DictWriter(sys.stdout, rate_check.COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
    elif rows:
        out.print("The card agrees with the bill, within its rounding.")


@app.command()
def query(
    text: Annotated[str, typer.Argument(metavar="SQL", help="A query over schemas marts, analysis and ingest.")],
    home: HomeOption = None,
    form: Annotated[Format, typer.Option("--format", help="How to print the rows.")] = Format.TABLE,
    as_json: JsonOption = False,
) -> None:
    """Run SQL on the published database, read-only."""
    settings = settings_module.load(home)
    with warehouse.connect_published(settings) as connection:
        try:
            warehouse.refuse_writing(connection, text)
            names, rows = output.table(connection, text)
        except duckdb.Error as error:
            raise ConfigurationError(f"query: {str(error).splitlines()[0]}") from None
    if form is Format.CSV and not as_json:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerows([output.csv_cell(value) for value in row] for row in (names, *rows))
        return
    named = [dict(zip(names, row, strict=True)) for row in rows]
    if as_json or form is Format.JSON:
        output.echo_json(named)
    else:
        output.print_rows(named, title="", empty="no rows")
