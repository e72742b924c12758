"""The command `token-analytics`.

Belongs here: arguments, progress, tables for a terminal, exit codes. Does not belong here: anything that a Dagster run
or an SQL query would do as well.

Exit codes: 0 done; 1 a blocking check failed; 2 unusable input, configuration or query.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import logging
import math
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import duckdb
import typer
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from pipeline import settings as settings_module
from pipeline.cli import interrupts, terminal
from pipeline.fetch import providers
from pipeline.finance import closing, rate_check
from pipeline.ingest import formats, loader, retraction
from pipeline.pricing import quotes
from pipeline.savings import repricing
from pipeline.settings import ConfigurationError, Settings, Terms
from pipeline.store import bundled, history, progress, redaction, warehouse
from pipeline.store.sqlfiles import sql
from pipeline.views import reconciliation

if TYPE_CHECKING:
    from dagster import DagsterInstance, ExecuteInProcessResult

app = typer.Typer(
    help="Token usage, reconciled to the cent: load exports and logs, validate, analyse, price, publish.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
out = terminal.console()
err = terminal.console(stderr=True)

rates_app = typer.Typer(help="The rate card.", no_args_is_help=True)
app.add_typer(rates_app, name="rates")

HomeOption = Annotated[
    Path | None,
    typer.Option(
        help="Folder with landing/; default: TOKEN_ANALYTICS_HOME, data/ if data/landing has files, or a sample."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON on standard output, for machines.")]
VerboseOption = Annotated[bool, typer.Option(help="Show Dagster's own log, with tracebacks.")]
LimitOption = Annotated[int, typer.Option(min=0, help="Rows to print; 0 prints all.")]

STAGES = {
    "waiting": "Waiting",
    "landing": "Loading files",
    "rates": "Preparing the rate card",
    "models": "Building marts",
    "validation": "Validating",
    "reconciliation": "Reconciling",
    "analysis": "Fitting distributions",
    "statistics": "Drawing the statistics",
    "pricing": "Pricing contracts",
    "savings": "Looking for savings",
    "pricing_page": "Drawing the contracts",
    "closing": "Comparing with closed months",
    "publish": "Publishing",
}
VERBOSE = "--verbose"
HERE = bundled.PACKAGE
# What Dagster takes for a pattern (* ? [), a variable ($) or part of a URL (%, ?), and dbt for one of its expressions.
REFUSED_IN_PATHS = "*?[%${"
# Runs of this command carry this tag; they hold the home's lock from their first moment to their last.
LAUNCHED_HERE = {"token_analytics/launched_by": "command line"}


class View(StrEnum):
    """What `show` can show."""

    DAILY = "daily"
    MODELS = "models"
    CACHE = "cache"
    SESSIONS = "sessions"
    RECONCILIATION = "reconciliation"
    TAILS = "tails"
    BRIDGE = "bridge"
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
def run(
    home: HomeOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
    full_refresh: Annotated[
        bool,
        typer.Option("--full-refresh", help="Build everything anew from what is loaded, also what has not changed."),
    ] = False,
) -> None:
    """Load what is new in landing, build what it touches, validate, analyse, price, publish; say what came out."""
    settings = settings_module.load(home)
    _run(settings, as_json, verbose, full_refresh=full_refresh, before=lambda: _copy_sample(settings))


@app.command()
def forget(
    name: Annotated[
        str | None, typer.Argument(metavar="[FILE]", help="A file as `status` shows it, or the start of its sha256.")
    ] = None,
    before: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Forget all usage before this day (UTC), for good.")
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Take a file, or all usage before a day, out of the tables; the ledger remembers it, so it is not loaded again."""
    if (name is None) == (before is None):
        raise ConfigurationError("forget: name a file, or a day with --before, and not both")
    settings = settings_module.load(home)

    def retract() -> None:
        with warehouse.connect(settings) as connection:
            if before is not None:
                retraction.forget_before(connection, before.date())
            elif name is not None:
                for path in retraction.forget_file(connection, name):
                    err.print(Text(f"Forgotten: {path}"))

    _run(settings, as_json, verbose, before=retract)


def _copy_sample(settings: Settings) -> None:
    """Fill the home that stands for no data at all, and say so.

    Raises:
        ConfigurationError: it cannot be written.

    """
    if settings.home != settings_module.SAMPLE_COPY.resolve():
        return
    try:
        copied = bundled.copy_sample(settings.home)
    except OSError as error:
        raise ConfigurationError(f"cannot copy the sample to {settings.home}: {error}") from None
    if copied:
        text = "No files in data/landing: taking the synthetic sample, copied to "
        err.print(Text(f"{text}./{settings.home.name}; put your own files into data/landing, or name a --home"))


@app.command()
def close(
    month: Annotated[str, typer.Argument(metavar="MONTH", help="A month that is over, such as 2026-01.")],
    home: HomeOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Store a month as finance books it: what changes later is listed in analysis.restatements and rewrites nothing."""
    settings = settings_module.load(home)
    first_day = closing.parse_month(month)

    def book() -> None:
        with warehouse.connect(settings) as connection:
            known = closing.close_month(connection, first_day, datetime.now(UTC))
        err.print(Text(f"Closed {month}: {_usd(known['billed_usd'])} billed"))
        if known["days_billed"] < known["days"]:
            missing = f"the cost exports cover {known['days_billed']} of {known['days']} days"
            err.print(Text(f"        {missing}: the rest will be restated when it is landed", style="yellow"))
        if known["unpriced_tokens"]:
            err.print(Text(f"        {known['unpriced_tokens']:,} tokens have no rate", style="yellow"))

    _run(settings, as_json, verbose, before=book)


@app.command("pull")
def pull_pages(
    home: HomeOption = None,
    source: Annotated[
        list[str] | None, typer.Option(help="A source to pull, such as anthropic_usage; by default those of [pull].")
    ] = None,
    first: Annotated[
        datetime | None, typer.Option("--from", formats=["%Y-%m-%d"], help="First day (UTC) to ask for.")
    ] = None,
    last: Annotated[
        datetime | None, typer.Option("--to", formats=["%Y-%m-%d"], help="Last day (UTC); yesterday by default.")
    ] = None,
) -> None:
    """Ask the providers' APIs for usage and costs, and land their answers as files; `run` then needs no network."""
    settings = settings_module.load(home)
    sources = [name for name in providers.APIS if name in (source or [])]
    if unknown := sorted(set(source or []) - set(sources)):
        raise ConfigurationError(f"--source {unknown[0]}: no such source; there are {', '.join(providers.APIS)}")
    first_day, last_day = providers.default_days(settings, datetime.now(UTC).date())
    last_day = last.date() if last else last_day
    first_day = first.date() if first else min(first_day, last_day)

    def tell(landed: providers.Landed) -> None:
        pages = f"{landed.pages:,} page{'' if landed.pages == 1 else 's'}, {landed.results:,} results"
        out.print(Text(f"Landed  {landed.path}: {pages}"))

    providers.pull(settings, first_day, last_day, sources, tell=tell)


@app.command("retry-rejected")
def retry_rejected(home: HomeOption = None, as_json: JsonOption = False, verbose: VerboseOption = False) -> None:
    """Load files with rejected rows, and files that were not loaded, again from where they lie: after a fix."""
    settings = settings_module.load(home)

    def retry() -> None:
        with warehouse.connect(settings) as connection:
            for line in loader.retry_rejected(connection, settings):
                err.print(Text(line))

    _run(settings, as_json, verbose, before=retry)


@app.command("pull-postgres")
def pull_postgres(
    home: HomeOption = None,
    as_json: JsonOption = False,
    everything: Annotated[
        bool, typer.Option("--full", help="All rows again, not only those since the last pull; they count once.")
    ] = False,
) -> None:
    """Land new and changed rows of token_usage_sessions from PostgreSQL (TOKEN_ANALYTICS_POSTGRES_DSN)."""
    from pipeline.fetch import postgres

    pulled = postgres.pull(settings_module.load(home), everything=everything)
    if as_json:
        _echo_json(asdict(pulled) | {"files": [str(path) for path in pulled.files]})
        return
    known = f" ({pulled.rows_known:,} more were landed before)" if pulled.rows_known else ""
    out.print(Text(f"{pulled.rows:,} new or changed rows of {pulled.table}{known}"))
    _print_landed(pulled.files)


@app.command()
def drain(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Land what the tracker's Redis stream holds (TOKEN_ANALYTICS_STREAM_URL), and acknowledge it."""
    from pipeline.fetch import stream

    drained = stream.drain(settings_module.load(home))
    if as_json:
        _echo_json(asdict(drained) | {"files": [str(path) for path in drained.files]})
        return
    recovered = f" ({drained.recovered:,} of them left by a drain that did not end)" if drained.recovered else ""
    out.print(Text(f"{drained.entries:,} entries of the stream{recovered}"))
    if drained.gone:
        text = f"{drained.gone:,} entries were deleted from the stream before they were landed"
        out.print(Text(text, style="yellow"))
    _print_landed(drained.files)


def _print_landed(files: Sequence[Path]) -> None:
    """Where what was fetched lies, and what to do with it."""
    for path in files:
        out.print(Text(f"        {path}"))
    if files:
        out.print("token-analytics run loads them")


def _run(
    settings: Settings,
    as_json: bool,
    verbose: bool,
    *,
    full_refresh: bool = False,
    before: Callable[[], None] | None = None,
) -> None:
    """Run the job under the home's lock, after `before`, and print what came out."""
    started = time.monotonic()
    try:
        warehouse.acquire_lock(settings, on_wait=lambda text: err.print(Text(text, style="yellow")))
        if before:
            before()
        with _shown_progress(quiet=as_json), _libraries_held_back(verbose):
            result = _materialize(settings, verbose, full_refresh)
    except KeyboardInterrupt:
        interrupts.leave()
    except ConfigurationError:
        raise
    except Exception as error:
        warehouse.refuse_full_disk(settings, *traceback.format_exception(error))
        raise
    finally:
        warehouse.release_lock(settings)
    summary = _summary(settings, result, time.monotonic() - started)
    if as_json:
        _echo_json(summary)
    else:
        _print_summary(summary)
    if not summary["succeeded"]:
        raise typer.Exit(1)


def _materialize(settings: Settings, verbose: bool, full_refresh: bool) -> ExecuteInProcessResult:
    """Run the job in this process, its history kept in the home.

    Raises:
        ConfigurationError: a stage stopped for something that the user has to change.
        KeyboardInterrupt: the user stopped the run.

    """
    warehouse.make_home(settings)
    from dagster import DagsterInstance

    from pipeline.assets.home import Home
    from pipeline.definitions import defs

    logging.getLogger("alembic").setLevel(logging.WARNING)
    folder = dagster_home(settings)
    for part in history.renew_damaged(folder):
        err.print(Text(f"Dagster's {part} of runs was damaged: set aside in {folder / part}.damaged", style="yellow"))
    with history.kept_open(), DagsterInstance.from_config(str(folder)) as instance:
        _close_dead_runs(instance, LAUNCHED_HERE)
        result = defs.resolve_job_def("daily_refresh").execute_in_process(
            instance=instance,
            raise_on_error=False,
            resources={"home": Home(path=str(settings.home), full_refresh=full_refresh)},
            tags=LAUNCHED_HERE,
            run_config={"loggers": {"console": {"config": {"log_level": "DEBUG" if verbose else "CRITICAL"}}}},
        )
    for event in result.all_events:
        error = event.step_failure_data.error if event.is_step_failure else None
        while error is not None:
            if error.cls_name == "ConfigurationError":
                raise ConfigurationError(error.message.split(": ", 1)[-1].strip())
            if "DagsterExecutionInterruptedError" in error.message:
                raise KeyboardInterrupt
            error = error.cause
        if event.is_step_failure:
            warehouse.refuse_full_disk(settings, str(event.step_failure_data.error))
    return result


@contextlib.contextmanager
def _libraries_held_back(verbose: bool) -> Iterator[None]:
    """Keep what libraries print until a run has ended, and drop it where it ends with an error: that is told by itself.

    On a full disk each of them tells at length that it cannot write its log.
    """
    if verbose:
        yield
        return
    kept = io.StringIO()
    with contextlib.redirect_stdout(kept), contextlib.redirect_stderr(kept):
        yield
    sys.stderr.write(terminal.printable_lines(kept.getvalue()))


def _close_dead_runs(instance: DagsterInstance, tags: dict[str, str]) -> None:
    """Mark runs with `tags` that the history calls running as failed: the caller holds the lock, so none of them lives.

    A killed process cannot say that its run is over, and the UI would queue every later run behind it for ever.
    """
    from dagster import DagsterRunStatus, RunsFilter

    unfinished = [
        DagsterRunStatus.NOT_STARTED,
        DagsterRunStatus.STARTING,
        DagsterRunStatus.STARTED,
        DagsterRunStatus.CANCELING,
    ]
    for run in instance.get_runs(filters=RunsFilter(statuses=unfinished, tags=tags)):
        instance.report_run_failed(run, "The process of this run was killed. What it had published stays readable.")


def dagster_home(settings: Settings) -> Path:
    """The folder of Dagster's history, with the instance's configuration in place.

    Raises:
        ConfigurationError: Dagster would not find the configuration there, and go on with telemetry switched on.

    """
    folder = settings.dagster_home
    if any(character in REFUSED_IN_PATHS or not character.isprintable() for character in str(folder)):
        known = " ".join(REFUSED_IN_PATHS)
        raise ConfigurationError(
            f"Dagster cannot keep its history in {folder}: use a home whose path is printable and has none of {known}"
        )
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    source = bundled.ROOT / "dagster.yaml"
    target = folder / "dagster.yaml"
    if not target.exists() or target.read_bytes() != source.read_bytes():
        target.write_bytes(source.read_bytes())
    return folder


def _summary(settings: Settings, result: ExecuteInProcessResult, seconds: float) -> dict[str, Any]:
    """What the run did, as plain values; usage and money come from what is published now."""
    landing: dict[str, Any] = {}
    for event in result.get_asset_materialization_events():
        if event.asset_key and event.asset_key.path == ["ingest", "files"]:
            metadata = event.materialization.metadata
            landing = {name: value.value for name, value in metadata.items() if name.startswith(("files_", "rows_"))}
    checks = [
        {
            "check": evaluation.check_name,
            "passed": evaluation.passed,
            "blocking": evaluation.severity.name == "ERROR",
            "status": str(evaluation.metadata["status"].value),
            "failures": str(evaluation.metadata["failures"].value),
        }
        for evaluation in result.get_asset_check_evaluations()
        if "status" in evaluation.metadata
    ]
    published: dict[str, Any] = {"usage": [], "reconciliation": None}
    # Of a run that failed, what an earlier one published may be damaged, or of another version.
    unusable = () if result.success else (ConfigurationError,)
    if settings.published.exists():
        with contextlib.suppress(*unusable), warehouse.connect_published(settings) as connection:
            published["usage"] = _rows(connection, sql("cli/summary/usage"))
            published["reconciliation"] = _rows(connection, sql("cli/summary/reconciliation"))[0]
            published["problems"] = _rows(connection, sql("cli/status/problems"))
            published["without_usage"] = _rows(connection, sql("cli/status/without_usage"))
            published["unpriced"] = _rows(connection, sql("cli/summary/unpriced"))
    report = settings.reports / "validation" / "latest.html"
    reconciled = settings.reports / "reconciliation" / "index.html"
    statistics = settings.reports / "analysis" / "index.html"
    pricing = settings.reports / "pricing" / "index.html"
    failed_stages = sorted({event.step_key or "" for event in result.all_events if event.is_step_failure})
    return {
        "succeeded": result.success,
        "home": str(settings.home),
        "seconds": round(seconds, 1),
        "landing": landing,
        "checks": checks,
        "failed_stages": failed_stages,
        "errors": _errors(result),
        **published,
        "database": str(settings.published),
        "outputs": str(settings.outputs),
        "report": str(report) if report.exists() else None,
        "reconciliation_report": str(reconciled) if reconciled.exists() else None,
        "statistics_report": str(statistics) if statistics.exists() else None,
        "pricing_report": str(pricing) if pricing.exists() else None,
    }


def _errors(result: ExecuteInProcessResult) -> list[str]:
    """The root cause of each failed stage, in one line."""
    found = []
    for event in result.all_events:
        if event.is_step_failure and (error := event.step_failure_data.error):
            while error.cause:
                error = error.cause
            if error.cls_name != "DagsterAssetCheckFailedError":
                found.append(f"{event.step_key}: {error.message.strip().splitlines()[0][:500]}")
    return found


def _print_summary(summary: dict[str, Any]) -> None:
    landing = summary["landing"]
    if landing:
        out.print(
            f"[bold]Files[/bold]   {landing['files_loaded']:,} loaded, {landing['files_unchanged']:,} unchanged, "
            f"{landing['files_unrecognised']:,} unrecognised, {landing['files_failed']:,} failed; "
            f"rows: {landing['rows_read']:,} read, {landing['rows_loaded']:,} loaded, "
            f"{landing['rows_rejected']:,} rejected, {landing['rows_ignored']:,} without usage, "
            f"{landing['rows_repeated']:,} repeated"
        )
        if ignored := landing["files_ignored"]:
            out.print(f"        {ignored:,} side files of known tools (settings, copies, notes) are no input")
        if landing["files_unrecognised"]:
            out.print(Text(f"        known: {formats.KNOWN_FORMATS}", style="dim"))
    for row in summary.get("without_usage", [])[:5]:
        many = f"{row['files']:,} files of format {row['format']}, such as " if row["files"] > 1 else ""
        out.print(Text(f"        loaded, and nothing counts: {many}{row['example_path']}: {row['message']}"))
    for problem in summary.get("problems", [])[:5]:
        out.print(Text(f"        {problem['status']}: {problem['path']}: {problem['message']}", style="yellow"))
    if len(summary.get("problems", [])) > 5:
        out.print(f"        … {len(summary['problems']) - 5} more: token-analytics status", style="yellow")
    for usage in summary["usage"]:
        unpriced = f", {usage['unpriced_rows']:,} rows unpriced" if usage["unpriced_rows"] else ""
        if covered := usage["api_equivalent_cost_usd"]:
            unpriced += f", {_usd(covered)} of it API-equivalent: a subscription covers it"
        out.print(
            f"[bold]Usage[/bold]   {usage['source']}: {usage['total_tokens']:,} tokens, {_usd(usage['cost_usd'])} "
            f"at the rate card{unpriced} ({usage['first_day']} to {usage['last_day']})"
        )
    for row in summary.get("unpriced", [])[:5]:
        searches = f" and {row['web_searches']:,} searches" if row["web_searches"] else ""
        model = (row["model"] or "an unnamed model") + (f" with {row['missing']}" if row["missing"] else "")
        text = f"        no rate for {model}: {row['tokens'] or 0:,} tokens{searches}"
        out.print(Text(f"{text} ({row['first_used']} to {row['last_used']})", style="yellow"))
    if len(summary.get("unpriced", [])) > 5:
        out.print(f"        … {len(summary['unpriced']) - 5} more: marts.unpriced_usage", style="yellow")
    found = summary["reconciliation"]
    if found and found["cells"]:
        out.print(
            f"[bold]Bill[/bold]    {found['cells_tied_out']:,} of {found['cells']:,} billed cells tie out: "
            f"{_usd(found['billed_cost_usd'])} billed, {_usd(found['console_cost_usd'])} computed "
            f"(rounding allows {_usd(found['rounding_tolerance_usd'])})"
        )
    if found and found["logged_cells"]:
        out.print(
            f"[bold]Logs[/bold]    {found['logged_cells_tied_out']:,} of {found['logged_cells']:,} cells tie out: "
            f"{_usd(found['logged_cost_usd'])} logged, {_usd(found['logged_against_usd'])} on the provider's side"
        )
    if found and not found["cells"] and not found["logged_cells"]:
        out.print("[bold]Bill[/bold]    nothing to compare: usage exports, cost exports and logs share no day")
    failed = [check for check in summary["checks"] if not check["passed"]]
    blocking = {check["check"]: check["failures"] for check in failed if check["blocking"]}
    warned = [check["check"] for check in failed if not check["blocking"]]
    idle = sum(check["status"] == "nothing to check" for check in summary["checks"])
    line = f"{len(summary['checks']) - len(failed)} of {len(summary['checks'])} checks passed"
    line += f", {idle} had nothing to check" if idle else ""
    line += f"; warnings: {', '.join(warned)}" if warned else ""
    line += f"; BLOCKING: {', '.join(blocking)}" if blocking else ""
    out.print(f"[bold]Checks[/bold]  {line}", style="red" if blocking else "")
    for name, failures in blocking.items():
        out.print(Text(f"        {name}: {failures}", style="red"))
    for error in summary["errors"]:
        out.print(Text(f"Failed  {error}", style="red"))
    if summary["succeeded"]:
        out.print(f"[bold]Query[/bold]   {escape(summary['database'])}")
    else:
        left = "the database still holds the last complete run" if summary["usage"] else "there is no database yet"
        out.print(f"Not published: {left}.", style="red")
    if summary["report"]:
        out.print(f"[bold]Report[/bold]  {escape(summary['report'])}")
    if summary["reconciliation_report"]:
        out.print(f"[bold]Gaps[/bold]    {escape(summary['reconciliation_report'])}")
    if summary["statistics_report"]:
        out.print(f"[bold]Swings[/bold]  {escape(summary['statistics_report'])}")
    if summary["pricing_report"]:
        out.print(f"[bold]Prices[/bold]  {escape(summary['pricing_report'])}")
    out.print(f"[bold]Tables[/bold]  {escape(summary['outputs'])}/*.parquet   ({summary['seconds']} s)")


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
        found = {
            name: _rows(connection, sql(f"cli/status/{name}"))
            for name in (("rejected", "rejected_total") if rejected else ("files", "problems", "without_usage"))
        }
    if as_json:
        _echo_json(found)
        return
    total = found.pop("rejected_total", [])
    for name, rows in found.items():
        _print_rows(rows, title=name.replace("_", " "), empty="none")
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
        str | None, typer.Argument(metavar="[YYYY-MM]", help="Only this month; of the bridge the last one by default.")
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
    limit: LimitOption = 30,
    month_option: Annotated[
        str | None, typer.Option("--month", metavar="YYYY-MM", help="The same as the month after the view.")
    ] = None,
) -> None:
    """One answer as a table: what was used, what it cost, whether the bill is right, who pays, and what would save."""
    settings = settings_module.load(home)
    month = month or month_option
    first_day = closing.parse_month(month) if month else None
    query_text = sql(f"cli/show/{view.value}")
    with warehouse.connect_published(settings) as connection:
        rows = _rows(connection, query_text, [first_day] if view is View.BRIDGE else None)
        if view is View.BRIDGE and first_day and not rows:
            known = _rows(
                connection, "SELECT DISTINCT strftime(month, '%Y-%m') AS m FROM analysis.month_bridge ORDER BY m"
            )
            months = ", ".join(row["m"] for row in known if row["m"]) or "none: a bridge needs two months of usage"
            raise ConfigurationError(f"show bridge: there is no bridge to {month}; there are {months}")
        report = reconciliation.collect(connection) if view is View.RECONCILIATION and not as_json else None
        if view is View.PRICING and not as_json:
            _print_answers(connection)
    if first_day:
        if rows and "month" not in rows[0]:
            raise ConfigurationError(f"show {view.value}: it is not by month; leave {month} out")
        rows = [row for row in rows if row["month"] == f"{first_day:%Y-%m}"]
    if as_json:
        _echo_json(rows)
        return
    if view is View.SAVINGS:
        _print_savings(rows, title=query_text.splitlines()[0].removeprefix("-- "), limit=limit)
        return
    shown = rows[:limit] if limit else rows
    title = query_text.splitlines()[0].removeprefix("-- ")
    _print_rows(shown, title=title, empty="no rows: the files in landing do not tell")
    if len(shown) < len(rows):
        out.print(
            f"{len(shown)} of {len(rows):,} rows; --limit 0 shows all, --json gives all to a machine", style="dim"
        )
    if report and rows:
        _print_reconciliation(report, settings.reports / "reconciliation" / "index.html", limit)
    page = settings.reports / "pricing" / "index.html"
    if view is View.PRICING and page.exists():
        out.print(Text(f"\nPage    {page}"))


def _print_answers(connection: duckdb.DuckDBPyConnection) -> None:
    """What was asked first: the user's quotes, then the cheapest contract for each target."""
    for name in ("quotes", "recommendation"):
        text = sql(f"cli/show/{name}")
        out.print(Text(text.splitlines()[0].removeprefix("-- "), style="italic"))
        for row in _rows(connection, text):
            out.print(Text(f"  {row.get('answer') or row.get('reason') or row['status']}"))
        out.print()


def _print_savings(rows: list[dict[str, Any]], title: str, limit: int) -> None:
    """Savings with what to do and why, then what they come to together, and rows that are no savings."""
    savings = [row for row in rows if row["rank"] is not None]
    shown = savings[:limit] if limit else savings
    columns = ("rank", "saving_usd_per_month", "standalone_usd_per_month", "confidence", "kind", "subject")
    _print_rows(
        [{name: row[name] for name in columns} for row in shown], title=title, empty="nothing to save was found"
    )
    for row in shown:
        out.print(Text(f"\n{row['rank']}  {row['action']}", style="bold"))
        out.print(Text(f"   {row['evidence']}"))
    if savings:
        left_out = f" ({len(shown)} of {len(savings)} shown; --limit 0 shows all)" if len(shown) < len(savings) else ""
        together = _usd(savings[0]["combined_usd_per_month"])
        out.print(f"\n[bold]Together[/bold] {together} a month, no request counted twice{left_out}")
        out.print("The query behind a row: select sql from analysis.recommendations where rank = 1", style="dim")
    for row in rows:
        if row["rank"] is None:
            change = row["what_if_usd_per_month"]
            amount = f" {_usd(change)} a month: {row['subject']}." if change is not None else ""
            out.print(Text(f"\n{row['kind']}:{amount} {row['evidence']}"))


def _print_reconciliation(report: reconciliation.Report, page: Path, limit: int) -> None:
    """What the page of the reconciliation says, for a terminal."""
    out.print(Text(f"\n{report.headline}", style="bold"))
    for sentence in report.scope:
        out.print(Text(sentence))
    steps = [{"step": step.label, "usd": step.usd, "cells": step.cells} for step in report.steps]
    if steps:
        _print_rows(steps, title="\nFrom what was logged to the bill", empty="")
    for title, shares in (("key", report.by_key), ("model", report.by_model), ("day", report.by_day[::-1])):
        rows = [
            {
                title: share.name,
                "coverage": reconciliation.percent(share.coverage),
                "billed_usd": share.billed_usd,
                "explained_usd": share.explained_usd,
                "open_usd": share.billed_usd - share.explained_usd,
            }
            for share in (shares[:limit] if limit else shares)
        ]
        if rows:
            _print_rows(rows, title=f"\nCoverage by {title}", empty="")
    if report.gaps:
        out.print(Text("\nThe largest gaps, and what to check", style="italic"))
    for gap in report.gaps:
        place = f"{gap.row['usage_date']}, {gap.row['api_key'] or 'all keys of the day'}, {gap.row['status']}: "
        out.print(Text(place + gap.what))
        if gap.check:
            out.print(Text(f"  Check: {gap.check}", style="dim"))
    if report.invoices:
        _print_rows(report.invoices, title="\nInvoices beside the bill", empty="")
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
    """Keep a quote in the home, and say what the last year would have cost under it."""
    given = {
        "fee_usd": fee_usd,
        "commitment_usd": commitment_usd,
        "discount": discount,
        "allowance_usd": allowance_usd,
        "overage_rate": overage_rate,
        "tiers": (),  # of a quote of the same name nothing stays
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
    name: Annotated[str, typer.Argument(help="Name of a quote that `quote add` has added.")], home: HomeOption = None
) -> None:
    """Take a quote out of the home's file."""
    err.print(Text(f"Removed from {quotes.remove(settings_module.load(home), name)}"))


def _answer_quotes(settings: Settings, name: str | None, as_json: bool) -> None:
    """Answer from the published history, without a run."""
    from pipeline.pricing import bill_history, recommendation

    if not settings.published.exists():
        if as_json:
            _echo_json([])
        else:
            out.print("no history yet: token-analytics run, then token-analytics quote list")
        return
    with warehouse.connect_published(settings) as connection:
        table = recommendation.pricing_quotes(bill_history.organisation(connection, settings), settings)
    rows = [row for row in table.to_pylist() if name is None or row["quote"] == name]
    if as_json:
        _echo_json(rows)
    else:
        for row in rows:
            out.print(Text(row["answer"]))


@app.command()
def reprice(
    home: HomeOption = None,
    rates: Annotated[Path | None, typer.Option(help="Another file of own rates, as rate_overrides.csv.")] = None,
    list_prices: Annotated[bool, typer.Option("--list-prices", help="List prices alone, without own rates.")] = False,
    model_map: Annotated[
        list[str] | None, typer.Option("--map", metavar="A=B", help="Price the usage of model A as that of B.")
    ] = None,
    cache: Annotated[str | None, typer.Option(help="Another cache policy: none, 5m or 1h.")] = None,
    batch: Annotated[bool, typer.Option("--batch", help="Price all standard usage as batch.")] = False,
    as_json: JsonOption = False,
    limit: LimitOption = 30,
) -> None:
    """What the same history would have cost: at other rates, with other models, in batch, with another cache policy."""
    settings = settings_module.load(home)
    if rates is None and not (list_prices or model_map or cache or batch):
        raise ConfigurationError(
            "reprice: say what is to be different: --rates, --list-prices, --map, --cache or --batch"
        )
    if rates is not None and list_prices:
        raise ConfigurationError("reprice: give --rates or --list-prices, not both")
    if cache not in (None, *repricing.CACHE_POLICIES):
        raise ConfigurationError(f"reprice: --cache {cache}: use one of {', '.join(repricing.CACHE_POLICIES)}")
    overrides = None if list_prices else rates or settings.overrides_file
    pairs = repricing.parse_map(model_map or [], settings.model_aliases)
    with warehouse.connect_published(settings) as connection:
        found = repricing.reprice(
            connection, overrides, settings.model_aliases, pairs, cache, usage_type="batch" if batch else None
        )
    totals = {column: found.total(column) for column in ("old_usd", "new_usd", "difference_usd")}
    if as_json:
        _echo_json({"assumptions": found.assumptions, "total": totals, "rows": found.rows})
        return
    shown = found.rows[-limit:] if limit else found.rows
    _print_rows(shown, title="The same history at other terms, by month, model and key", empty="no usage")
    if len(shown) < len(found.rows):
        out.print(f"the last {len(shown)} of {len(found.rows):,} rows; --limit 0 shows all", style="dim")
    out.print(
        f"[bold]Total[/bold]   {_usd(totals['old_usd'])} -> {_usd(totals['new_usd'])} "
        f"({_usd(totals['difference_usd'])})"
    )
    for sentence in found.assumptions:
        out.print(Text(f"        {sentence}", style="dim"))


@rates_app.command("check")
def rates_check(home: HomeOption = None, as_json: JsonOption = False, limit: LimitOption = 30) -> None:
    """Compare the rate card with the bill, and propose override lines where billed cells imply another rate."""
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
        _echo_json({"rates": rows, "proposed_lines": lines})
        return
    rows.sort(key=lambda row: row["verdict"] not in ("differs", "unpriced", "inconsistent"))
    shown = rows[:limit] if limit else rows
    _print_rows(shown, title="What the bill says of each rate", empty="no usage export and cost export share a day")
    if len(shown) < len(rows):
        out.print(f"{len(shown)} of {len(rows):,} rows; --limit 0 shows all", style="dim")
    if lines:
        target = settings.overrides_file or settings.home / "rate_overrides.csv"
        out.print(Text(f"\nLines that would make the card agree, for {target}:", style="italic"))
        writer = csv.DictWriter(sys.stdout, rate_check.COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
    elif rows:
        out.print("The card agrees with the bill, as far as the bill can tell.")


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
            names, rows = _table(connection, text)
        except duckdb.Error as error:
            raise ConfigurationError(f"query: {str(error).splitlines()[0]}") from None
    if form is Format.CSV and not as_json:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerows([_csv_cell(value) for value in row] for row in (names, *rows))
        return
    named = [dict(zip(names, row, strict=True)) for row in rows]
    if as_json or form is Format.JSON:
        _echo_json(named)
    else:
        _print_rows(named, title="", empty="no rows")


@app.command()
def validate(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Judge the published database by every suite again, and write a report; exit 1 where a blocking one fails."""
    from pipeline.validation import suites

    settings = settings_module.load(home)
    with warehouse.connect_published(settings) as connection:
        results = suites.run_suites(connection, max_rejected_share=settings.max_rejected_share)
    now = datetime.now(UTC)
    report = suites.write_report(results, settings.reports, f"manual-{now:%Y%m%dT%H%M%SZ}", now)
    rows = [
        {
            "suite": result.name,
            "severity": result.severity,
            "status": result.status,
            "rows_checked": result.evaluated_rows,
            "offending": result.offending_total,
        }
        for result in results
    ]
    if as_json:
        _echo_json({"suites": rows, "report": str(report)})
    else:
        _print_rows(rows, title="Validation", empty="no suites")
        for result in results:
            if result.blocks:
                out.print(Text(f"{result.name}: {result.failures}", style="red"))
        out.print(Text(f"Report  {report}"))
    if any(result.blocks for result in results):
        raise typer.Exit(1)


@app.command()
def ui(
    home: HomeOption = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the web interface.")] = 3000,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
) -> None:
    """Open the Dagster UI on this home: the whole graph, runs, schedule, sensor and checks."""
    settings = settings_module.load(home)
    warehouse.make_home(settings)
    _copy_sample(settings)
    environment = os.environ | {
        "TOKEN_ANALYTICS_HOME": str(settings.home),
        "DAGSTER_HOME": str(dagster_home(settings)),
        "DAGSTER_DISABLE_TELEMETRY": "yes",
        # No module of the folder where the user stands is taken for one of ours or of Dagster's.
        "PYTHONSAFEPATH": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, (str(HERE.parent), os.environ.get("PYTHONPATH")))),
    }
    with contextlib.suppress(ConfigurationError):
        _close_runs_of_former_ui(settings)
    out.print(Text(f"Dagster on http://{host}:{port} for {settings.home} (Ctrl-C ends it)"))
    sys.stdout.flush()
    # Dagster announces a successor of its own command here that is not part of it.
    quietly = ["-W", "ignore:Function `dev_command` is superseded"]
    command = ["-m", "pipeline.cli.ui", "dev", "-m", "pipeline.definitions", "-d", str(bundled.PACKAGE.parent)]
    command += ["-p", str(port), "-h", host]
    # In place of this process, so that whoever stops it stops Dagster and not a parent of it.
    os.execve(sys.executable, [sys.executable, *quietly, *command], environment)  # noqa: S606


def _close_runs_of_former_ui(settings: Settings) -> None:
    """Close what the history calls running, unless a run is alive.

    Raises:
        ConfigurationError: one is alive.

    """
    from dagster import DagsterInstance

    warehouse.acquire_lock(settings.model_copy(update={"lock_timeout_seconds": 0}))
    try:
        with DagsterInstance.from_config(str(dagster_home(settings))) as instance:
            _close_dead_runs(instance, {})
    finally:
        warehouse.release_lock(settings)


def _rows(
    connection: duckdb.DuckDBPyConnection, text: str, parameters: Sequence[object] | None = None
) -> list[dict[str, Any]]:
    """Rows of a query of our own.

    Raises:
        ConfigurationError: what is published lacks what it asks for.

    """
    try:
        names, rows = _table(connection, text, parameters)
    except (duckdb.CatalogException, duckdb.BinderException):
        raise ConfigurationError(
            "what is published was written by another version of token-analytics: `token-analytics run` writes it anew"
        ) from None
    return [dict(zip(names, row, strict=True)) for row in rows]


def _table(
    connection: duckdb.DuckDBPyConnection, text: str, parameters: Sequence[object] | None = None
) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Names and rows of a query; a name that comes again is numbered, so that no column hides another."""
    found = connection.execute(text, parameters)
    names: list[str] = []
    for column in found.description or ():
        name, number = str(column[0]), 0
        while (unique := f"{name}_{number}" if number else name) in names:
            number += 1
        names.append(unique)
    return names, found.fetchall() if names else []


def _echo_json(value: Any) -> None:
    typer.echo(json.dumps(_plain(value), indent=2, allow_nan=False))


def _plain(value: Any) -> Any:
    """A value for JSON: money as an exact decimal string, times in ISO format, null for what is no number."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Decimal):
        return _decimal(value)
    if isinstance(value, date | datetime):
        return value.isoformat()
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value)


def _decimal(value: Decimal) -> str:
    """All digits, without an exponent and without zeros that say nothing."""
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _csv_cell(value: Any) -> Any:
    """A spreadsheet would run a text that begins like a formula: keep it a text. Money has no exponent."""
    if isinstance(value, Decimal):
        return _decimal(value)
    return "'" + value if isinstance(value, str) and value[:1] in "=+-@\t\r" and value else value


def _usd(value: Decimal | None) -> str:
    return "no price" if value is None else f"${value:,.2f}"


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, Decimal):
        return f"{value:,.6f}".rstrip("0").rstrip(".") if abs(value) < 1 and value else f"{value:,.2f}"
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.1f}"
    if isinstance(value, datetime):
        return value.isoformat(" ", "seconds")
    return terminal.printable(str(value))


def _print_rows(rows: Sequence[dict[str, Any]], title: str, empty: str) -> None:
    if not rows:
        out.print(f"{title + ': ' if title else ''}{empty}")
        return
    table = Table(title=title or None, title_justify="left", header_style="bold", box=None, pad_edge=False)
    for name in rows[0]:
        numeric = any(isinstance(row[name], int | float | Decimal) for row in rows)
        table.add_column(name, justify="right" if numeric else "left", no_wrap=numeric, overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(value)) for value in row.values()))
    if out.is_terminal:
        out.print(table)
    else:
        # Without a terminal nothing is cut to a width.
        terminal.console(width=10_000, file=sys.stdout).print(table)


@contextlib.contextmanager
def _shown_progress(quiet: bool) -> Iterator[None]:
    """A live line for a terminal, one plain line a stage elsewhere, nothing for --json."""
    if quiet:
        yield
        return
    shown = terminal.console(file=sys.stderr)
    if shown.is_terminal:
        with Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[what]}", markup=False),
            TimeElapsedColumn(),
            console=shown,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        ) as bar:
            task = bar.add_task("Starting", total=None, what="")

            def draw(stage: str, done: int, total: int, what: str) -> None:
                bar.update(
                    task,
                    description=STAGES.get(stage, stage),
                    completed=done,
                    total=total or None,
                    what=terminal.printable(what)[-60:],
                )

            with progress.watched(draw):
                yield
        return
    last = ""

    def tell(stage: str, done: int, total: int, what: str) -> None:
        nonlocal last
        if stage != last:
            last = stage
            detail = what if stage == "waiting" else f"{total:,}" if total else ""
            shown.print(Text(STAGES.get(stage, stage) + (f" ({detail})" if detail else "")))

    with progress.watched(tell):
        yield


def main() -> None:
    """Entry point: whatever fails becomes one line and exit code 2."""
    os.umask(0o077)
    try:
        with interrupts.obeyed():
            app()
    except KeyboardInterrupt:
        interrupts.leave()
    except Exception as error:
        if VERBOSE in sys.argv and not isinstance(error, ConfigurationError):
            err.print(Text(traceback.format_exc()))
        problem = redaction.without_secrets(" ".join(_problem(error).split()))
        err.print(Text(f"token-analytics: {terminal.printable(problem)}", style="red"))
        sys.exit(2)


def _problem(error: Exception) -> str:
    """What went wrong, without content of a file: other messages than our own may quote it."""
    if isinstance(error, ConfigurationError):
        return str(error)
    if isinstance(error, OSError) and error.filename is not None:
        return f"cannot use {os.fsdecode(error.filename)}: {error.strerror}"
    ours = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).is_relative_to(HERE)]
    place = f" in {Path(ours[-1].filename).relative_to(HERE.parent)}, line {ours[-1].lineno}" if ours else ""
    return f"stopped by a fault of its own: {type(error).__name__}{place}; please report it (run --verbose tells more)"


if __name__ == "__main__":
    main()
