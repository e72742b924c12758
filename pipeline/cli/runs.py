"""`run` and `validate`: the whole graph in this process, its progress, and the final summary.

Belongs here: starting a run, and printing its results. Does not belong here: what a stage does (assets and stages).
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import duckdb
import typer
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from pipeline import settings as settings_module
from pipeline.cli import interrupts, output, terminal
from pipeline.cli.application import HomeOption, JsonOption, VerboseOption, app, err, out
from pipeline.ingest import formats, loader
from pipeline.settings import ConfigurationError, Settings
from pipeline.store import bundled, history, progress, warehouse
from pipeline.store.sqlfiles import sql
from pipeline.words import usd

if TYPE_CHECKING:
    from dagster import DagsterInstance, ExecuteInProcessResult


STAGES = {
    "waiting": "Waiting",
    "landing": "Loading files",
    "rates": "Preparing the rate card",
    "models": "Building marts",
    "validation": "Validating",
    "analysis": "Fitting distributions",
    "pricing": "Pricing contracts",
    "savings": "Looking for savings",
    "closing": "Comparing with closed months",
    "publish": "Publishing",
    "pages": "Writing the pages",
}


# Dagster reads these as a pattern (* ? [), a variable ($) or part of a URL (%, ?), and dbt as an expression.
REFUSED_IN_PATHS = "*?[%${"


# Tag of runs that this command started; they hold the home's lock from start to end.
LAUNCHED_HERE = {"token_analytics/launched_by": "command line"}


@app.command()
def run(
    home: HomeOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
    full_refresh: Annotated[
        bool,
        typer.Option("--full-refresh", help="Rebuild everything from the loaded rows, also what has not changed."),
    ] = False,
    timings: Annotated[bool, typer.Option("--timings", help="Print the cost of each stage.")] = False,
) -> None:
    """Load new files from landing, build what they touch, validate, analyse, price, publish; print a summary."""
    settings = settings_module.load(home)
    run_home(
        settings, as_json, verbose, full_refresh=full_refresh, timings=timings, before=lambda: _copy_sample(settings)
    )


def _copy_sample(settings: Settings) -> None:
    """Copy the sample into the default home of a folder without data, and say so.

    Raises:
        ConfigurationError: the home cannot be written.

    """
    if settings.home != settings_module.SAMPLE_COPY.resolve():
        return
    try:
        copied = bundled.copy_sample(settings.home)
    except OSError as error:
        raise ConfigurationError(f"cannot copy the sample to {settings.home}: {error}") from None
    if copied:
        text = "No files in data/landing: using the synthetic sample, copied to "
        err.print(Text(f"{text}./{settings.home.name}; put your own files into data/landing, or name a --home"))


def run_home(
    settings: Settings,
    as_json: bool,
    verbose: bool,
    *,
    full_refresh: bool = False,
    timings: bool = False,
    before: Callable[[], None] | None = None,
) -> None:
    """Run the job under the home's lock, after `before`, and print a summary."""
    started = time.monotonic()
    if settings.home != settings_module.SAMPLE_COPY.resolve():
        loader.refuse_no_home(settings)
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
        stages = [asdict(stage) for stage in progress.stages()]
        progress.forget()
    summary = _summary(settings, result, time.monotonic() - started) | {"stages": stages}
    if as_json:
        output.echo_json(summary)
    else:
        _print_summary(summary)
        if timings:
            output.print_rows([_timing(stage) for stage in stages], title="Stages", empty="none")
    if not summary["succeeded"]:
        raise typer.Exit(1)


def _timing(stage: dict[str, Any]) -> dict[str, Any]:
    """A row of the table of stages."""
    digits = {"seconds": 1, "cpu_seconds": 1, "peak_mb": 0}
    return {name: round(value, digits[name]) if name in digits else value for name, value in stage.items()}


def _materialize(settings: Settings, verbose: bool, full_refresh: bool) -> ExecuteInProcessResult:
    """Run the job in this process, its history kept in the home.

    Raises:
        ConfigurationError: a stage failed because of something that the user has to change.
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
    with DagsterInstance.from_config(str(folder)) as instance:
        close_dead_runs(instance, LAUNCHED_HERE)
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
            warehouse.refuse_damaged(settings, str(event.step_failure_data.error))
    if not result.success:
        # the cost of the stages so far; a successful run stored it when it published
        with contextlib.suppress(duckdb.Error), warehouse.connect(settings) as connection:
            progress.store(connection, result.run_id)
    return result


@contextlib.contextmanager
def _libraries_held_back(verbose: bool) -> Iterator[None]:
    """Hold back the output of libraries until a run has ended; drop it if the run fails, since that is reported anyway.

    On a full disk each library reports at length that it cannot write its log.
    """
    if verbose:
        yield
        return
    kept = io.StringIO()
    with contextlib.redirect_stdout(kept), contextlib.redirect_stderr(kept):
        yield
    sys.stderr.write(terminal.printable_lines(kept.getvalue()))


def close_dead_runs(instance: DagsterInstance, tags: dict[str, str]) -> None:
    """Mark unfinished runs with `tags` as failed: the caller holds the lock, so none of them is alive.

    A killed process cannot close its run, and the UI would queue every later run behind it for ever.
    """
    from dagster import DagsterRunStatus, RunsFilter

    unfinished = [
        DagsterRunStatus.NOT_STARTED,
        DagsterRunStatus.STARTING,
        DagsterRunStatus.STARTED,
        DagsterRunStatus.CANCELING,
    ]
    for run in instance.get_runs(filters=RunsFilter(statuses=unfinished, tags=tags)):
        instance.report_run_failed(run, "The process of this run was killed. The published tables stay readable.")


def dagster_home(settings: Settings) -> Path:
    """The folder of Dagster's history, with the instance's configuration in place.

    Raises:
        ConfigurationError: Dagster would not find the configuration there, and would leave telemetry switched on.

    """
    folder = settings.dagster_home
    if any(character in REFUSED_IN_PATHS or not character.isprintable() for character in str(folder)):
        refused = " ".join(REFUSED_IN_PATHS)
        raise ConfigurationError(
            f"Dagster cannot keep its history in {folder}: use a home whose path is printable and has none of {refused}"
        )
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    event_log = {
        "module": "pipeline.assets.event_log",
        "class": "EventLog",
        "config": {"base_dir": str(folder / "history" / "runs")},
    }
    # JSON is valid YAML.
    text = (bundled.ROOT / "dagster.yaml").read_text(encoding="utf-8")
    text += f"\nevent_log_storage: {json.dumps(event_log)}\n"
    target = folder / "dagster.yaml"
    if not target.exists() or target.read_text(encoding="utf-8") != text:
        target.write_text(text, encoding="utf-8")
    return folder


def _summary(settings: Settings, result: ExecuteInProcessResult, seconds: float) -> dict[str, Any]:
    """The results of the run as plain values; usage and money come from the published database."""
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
    # After a failed run, the published database may be damaged, or of another version.
    unusable = () if result.success else (ConfigurationError,)
    if settings.published.exists():
        with contextlib.suppress(*unusable), warehouse.connect_published(settings) as connection:
            published["usage"] = output.rows(connection, sql("cli/summary/usage"))
            published["reconciliation"] = output.rows(connection, sql("cli/summary/reconciliation"))[0]
            published["problems"] = output.rows(connection, sql("cli/status/problems"))
            published["without_usage"] = output.rows(connection, sql("cli/status/without_usage"))
            published["unpriced"] = output.rows(connection, sql("cli/summary/unpriced"))
    report = settings.reports / "validation" / "latest.html"
    pages = settings.reports / "index.html"
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
        "pages": str(pages) if pages.exists() else None,
        "report": str(report) if report.exists() else None,
    }


def _errors(result: ExecuteInProcessResult) -> list[str]:
    """The root cause of each failed stage, in one line."""
    errors = []
    for event in result.all_events:
        if event.is_step_failure and (error := event.step_failure_data.error):
            while error.cause:
                error = error.cause
            if error.cls_name != "DagsterAssetCheckFailedError":
                errors.append(f"{event.step_key}: {error.message.strip().splitlines()[0][:500]}")
    return errors


def _print_line(label: str, text: str, style: str = "") -> None:
    """A line of the summary; without a label, it continues the one above."""
    out.print(Text.assemble((f"{label:<16}", "bold"), text, style=style))


def _print_summary(summary: dict[str, Any]) -> None:
    landing = summary["landing"]
    if landing:
        _print_line(
            "Files",
            f"{landing['files_loaded']:,} loaded, {landing['files_unchanged']:,} unchanged, "
            f"{landing['files_unrecognised']:,} unrecognised, {landing['files_failed']:,} failed; "
            f"rows: {landing['rows_read']:,} read, {landing['rows_loaded']:,} loaded, "
            f"{landing['rows_rejected']:,} rejected, {landing['rows_ignored']:,} without usage, "
            f"{landing['rows_repeated']:,} repeated",
        )
        if ignored := landing["files_ignored"]:
            _print_line("", f"{ignored:,} side files of known tools (settings, copies, notes) skipped")
        if landing["files_unrecognised"]:
            _print_line("", f"known formats: {formats.KNOWN_FORMATS}", style="dim")
    for row in summary.get("without_usage", [])[:5]:
        many = f"{row['files']:,} files of format {row['format']}, such as " if row["files"] > 1 else ""
        _print_line("", f"loaded, but without usage: {many}{row['example_path']}: {row['message']}")
    for problem in summary.get("problems", [])[:5]:
        _print_line("", f"{problem['status']}: {problem['path']}: {problem['message']}", style="yellow")
    if len(summary.get("problems", [])) > 5:
        _print_line("", f"… {len(summary['problems']) - 5} more: token-analytics status", style="yellow")
    for usage in summary["usage"]:
        unpriced = f", {usage['unpriced_rows']:,} rows unpriced" if usage["unpriced_rows"] else ""
        if covered := usage["api_equivalent_cost_usd"]:
            unpriced += f", {usd(covered)} of it API-equivalent: a subscription covers it"
        _print_line(
            "Usage",
            f"{usage['source']}: {usage['total_tokens']:,} tokens, "
            f"{usd(usage['cost_usd'], 'no price')} at the rate card{unpriced} "
            f"({usage['first_day']} to {usage['last_day']})",
        )
    for row in summary.get("unpriced", [])[:5]:
        searches = f" and {row['web_searches']:,} searches" if row["web_searches"] else ""
        model = (row["model"] or "an unnamed model") + (f" with {row['missing']}" if row["missing"] else "")
        text = f"no rate for {model}: {row['tokens'] or 0:,} tokens{searches}"
        _print_line("", f"{text} ({row['first_used']} to {row['last_used']})", style="yellow")
    if len(summary.get("unpriced", [])) > 5:
        _print_line("", f"… {len(summary['unpriced']) - 5} more: marts.unpriced_usage", style="yellow")
    cells = summary["reconciliation"]
    if cells and cells["cells"]:
        _print_line(
            "Bill",
            f"{cells['cells_tied_out']:,} of {cells['cells']:,} billed cells tie out: "
            f"{usd(cells['billed_cost_usd'])} billed, {usd(cells['console_cost_usd'])} computed "
            f"(rounding allows {usd(cells['rounding_tolerance_usd'])})",
        )
    if cells and cells["logged_cells"]:
        _print_line(
            "Logs",
            f"{cells['logged_cells_tied_out']:,} of {cells['logged_cells']:,} cells tie out: "
            f"{usd(cells['logged_cost_usd'])} logged, {usd(cells['logged_against_usd'])} on the provider's side",
        )
    if cells and not cells["cells"] and not cells["logged_cells"]:
        _print_line("Bill", "nothing to compare: usage exports, cost exports and logs share no day")
    failed = [check for check in summary["checks"] if not check["passed"]]
    blocking = {check["check"]: check["failures"] for check in failed if check["blocking"]}
    warnings = [check["check"] for check in failed if not check["blocking"]]
    idle = sum(check["status"] == "nothing to check" for check in summary["checks"])
    line = f"{len(summary['checks']) - len(failed)} of {len(summary['checks'])} checks passed"
    line += f", {idle} had nothing to check" if idle else ""
    line += f"; warnings: {', '.join(warnings)}" if warnings else ""
    line += f"; BLOCKING: {', '.join(blocking)}" if blocking else ""
    _print_line("Checks", line, style="red" if blocking else "")
    for name, failures in blocking.items():
        _print_line("", f"{name}: {failures}", style="red")
    for error in summary["errors"]:
        _print_line("Failed", error, style="red")
    if summary["succeeded"]:
        _print_line("Query", summary["database"])
    else:
        left = "the database still holds the last complete run" if summary["usage"] else "there is no database yet"
        out.print(f"Not published: {left}.", style="red")
    if summary["pages"]:
        _print_line("Pages", f"{summary['pages']}   (with filters: token-analytics serve)")
    if summary["report"]:
        _print_line("Validation", summary["report"])
    slowest = max(summary["stages"], key=lambda stage: float(stage["seconds"]))
    label = STAGES.get(slowest["stage"], "Starting").lower()
    took = f"{summary['seconds']} s, most of it {label}: {slowest['seconds']:.1f} s"
    _print_line("Tables", f"{summary['outputs']}/*.parquet   ({took})")


@app.command()
def validate(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Run every suite on the published database, and write a report; exit code 1 if a blocking suite fails."""
    from pipeline.validation import report, suites

    settings = settings_module.load(home)
    with warehouse.connect_published(settings) as connection:
        results = suites.run_suites(connection, max_rejected_share=settings.max_rejected_share)
    now = datetime.now(UTC)
    page = report.write(results, settings.reports, f"manual-{now:%Y%m%dT%H%M%SZ}", now)
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
        output.echo_json({"suites": rows, "report": str(page)})
    else:
        output.print_rows(rows, title="Validation", empty="no suites")
        for result in results:
            if result.blocks:
                out.print(Text(f"{result.name}: {result.failures}", style="red"))
        _print_line("Report", str(page))
    if any(result.blocks for result in results):
        raise typer.Exit(1)


@contextlib.contextmanager
def _shown_progress(quiet: bool) -> Iterator[None]:
    """A live line on a terminal, else one plain line per stage, nothing for --json."""
    if quiet:
        yield
        return
    shown = terminal.console(file=sys.stderr)
    if shown.is_terminal:
        with Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[count]}"),
            TextColumn("{task.fields[what]}", markup=False),
            TimeElapsedColumn(),
            console=shown,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        ) as bar:
            task = bar.add_task("Starting", total=None, count="", what="")

            def draw(stage: str, done: int, total: int, what: str) -> None:
                bar.update(
                    task,
                    description=STAGES.get(stage, stage),
                    completed=done,
                    total=total or None,
                    count=f"{done:,} of {total:,}" if total else f"{done:,}" if done else "",
                    what=terminal.printable(what)[-60:],
                )

            with progress.watched(draw):
                yield
        return
    last = ""

    def print_stage(stage: str, done: int, total: int, what: str) -> None:
        nonlocal last
        if stage != last:
            last = stage
            detail = what if stage == "waiting" else f"{total:,}" if total else ""
            shown.print(Text(STAGES.get(stage, stage) + (f" ({detail})" if detail else "")))

    with progress.watched(print_stage):
        yield
