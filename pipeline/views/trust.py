"""Can I trust it? Files loaded and rejected, how fresh each source is, what the checks found, and what is missing.

Belongs here: the views and sentences of this page. Does not belong here: the rules of the checks (expectations), and
whether the bill is right (bill).

Checks and costs are those of runs up to the last one that published: later runs had nothing new, or a check stopped
them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.store.connection import Row
from pipeline.store.published import Snapshot
from pipeline.store.sqlfiles import sql
from pipeline.views import bill, plots
from pipeline.views.filters import Filters
from pipeline.views.view import Answer, Column, Figure, Page, Tile, View, dimension_link, share
from pipeline.words import counted

OF_CELLS = bill.OF_CELLS
OF_SIDES = {"provider": "provider"}
SOURCES = {"console": "provider's account", "sessions": "our logs", "billed": "bill"}
STATUSES = {"loaded": "loaded", "unrecognised": "not recognised", "failed": "failed", "forgotten": "forgotten"}
MOST_RUNS = 20
# A source is late from this many days behind the newest day on.
LATE_DAYS = 7
# Warnings of checks that the answer names one by one.
MOST_WARNINGS = 5
_SIDES = {"account_days": "account", "logged_days": "logs", "billed_days": "bill"}


# ------------------------------------------------------------------------------------ words, figures, sentences


def _file(filters: Filters) -> Mapping[str, Any]:
    return {"file": filters.option("file")}


def _file_link(row: Row, filters: Filters) -> tuple[str, Filters] | None:
    if not row["rows_rejected"]:
        return None
    return "trust", filters.without_options().with_values(file=row["file_sha256"])


def _status(row: Row) -> Row:
    return {"status_in_words": STATUSES.get(row["status"], row["status"])}


def _source(row: Row) -> Row:
    return {"source_in_words": SOURCES.get(row["source"], row["source"])}


def _outcome(row: Row) -> Row:
    if row["passed"] is None:
        return {"outcome": "nothing to check"}
    if row["passed"]:
        return {"outcome": "passed"}
    return {"outcome": "stopped the run" if row["is_blocking"] else "warning"}


def _reasons_sentence(rows: Sequence[Row], filters: Filters) -> str:
    lines: Counter[str] = Counter()
    for row in rows:
        lines[row["reason"]] += row["lines"]
    reason, most = min(lines.items(), key=lambda each: (-each[1], each[0]))
    sentence = f"{counted(lines.total(), 'row')} rejected"
    if len(lines) == 1:
        return f"{sentence}: {reason}."
    return f"{sentence}; the most frequent reason ({counted(most, 'row')}): {reason}."


def _freshness_sentence(rows: Sequence[Row], filters: Filters) -> str:
    newest = max(row["last_day"] for row in rows)
    late = [row for row in rows if row["days_behind"] >= LATE_DAYS]
    return (
        f"The newest day is {newest}; {counted(len(late), 'source')} end {LATE_DAYS} days or more before it."
        if late
        else (f"The newest day is {newest}, and every source reaches the last {LATE_DAYS} days before it.")
    )


def _runs_figure(rows: Sequence[Row], filters: Filters) -> Figure:
    outcomes = {
        "passed": "passed",
        "warned": "warnings",
        "stopped": "stopped the run",
        "without_rows": "nothing to check",
    }
    parts = [
        {"run": f"{row['finished_at']:%Y-%m-%d %H:%M}", "outcome": words, "checks": row[column]}
        for row in reversed(rows)
        for column, words in outcomes.items()
        if row[column]
    ]
    figure = plots.stacked(parts, "run", "checks", "outcome", "count")
    figure["layout"]["xaxis"] = {"type": "category"}
    return figure


def _runs_sentence(rows: Sequence[Row], filters: Filters) -> str:
    stopped = [row for row in rows if row["stopped"]]
    latest = f"{rows[0]['finished_at']:%Y-%m-%d %H:%M}"
    sentence = f"As of the run of {latest} UTC; a later run that published nothing is not shown."
    if not stopped:
        runs = "it" if len(rows) == 1 else f"any of the last {len(rows):,} runs"
        return f"{sentence} No check stopped {runs}."
    last = stopped[0]
    return (
        f"{sentence} Checks stopped {len(stopped):,} of the last {counted(len(rows), 'run')}, the latest on "
        f"{last['finished_at']:%Y-%m-%d %H:%M}."
    )


def _stages_figure(rows: Sequence[Row], filters: Filters) -> Figure:
    figure = plots.stacked([row | {"run": _run(row)} for row in reversed(rows)], "run", "seconds", "stage", "seconds")
    figure["layout"]["xaxis"] = {"type": "category"}
    return figure


def _stages_sentence(rows: Sequence[Row], filters: Filters) -> str:
    last = [row for row in rows if row["run_id"] == rows[0]["run_id"]]
    seconds = sum(row["seconds"] for row in last)
    return (
        f"The last published run took {seconds:,.0f} seconds, most of it for {last[0]['stage'].replace('_', ' ')} "
        f"({last[0]['seconds']:,.0f})."
    )


def _run(row: Row) -> str:
    return f"{row['finished_at']:%Y-%m-%d %H:%M}" if row["finished_at"] else f"run {row['run_id'][:8]}"


def _coverage_figure(rows: Sequence[Row], filters: Filters) -> Figure:
    months = [f"{row['month']:%Y-%m}" for row in rows]
    cells = [
        {"month": month, "side": side, "days": row[column]}
        for month, row in zip(months, rows, strict=True)
        for column, side in _SIDES.items()
    ]
    return plots.heatmap(cells, "month", "side", "days", "count", months, list(_SIDES.values()))


def _coverage_sentence(rows: Sequence[Row], filters: Filters) -> str:
    days, compared = (sum(row[name] for row in rows) for name in ("days", "compared_days"))
    return f"On {compared:,} of {counted(days, 'day')} at least two sides can be compared."


# ------------------------------------------------------------------------------------------------------- views

CHECKS = View(
    name="checks",
    title="What the checks found",
    query="views/trust/checks",
    columns=(
        Column("outcome", "Outcome", is_words=True),
        Column("expectation", "What must hold", "long"),
        Column("observed", "Found", "long"),
        Column("since", "Since", "moment", "The first of the runs in a row with this outcome, UTC"),
        Column("suite", "Check", help="Its rule lies in expectations/"),
    ),
    words=_outcome,
    is_overview=True,
    empty="No run has checked anything yet.",
    rows_shown=10,
)
RUNS = View(
    name="runs",
    title="Checks over time",
    query="views/trust/runs",
    columns=(
        Column("finished_at", "Run", "moment"),
        Column("passed", "Passed", "count"),
        Column("warned", "Warnings", "count"),
        Column("stopped", "Stopped the run", "count", "Failures after which nothing was published"),
        Column("without_rows", "Nothing to check", "count"),
        Column("suites", "Failed", "long"),
    ),
    figure=_runs_figure,
    sentence=_runs_sentence,
    is_overview=True,
    empty="No run has checked anything yet.",
    rows_shown=10,
)
FRESHNESS = View(
    name="freshness",
    title="How fresh each source is",
    query="views/trust/freshness",
    columns=(
        Column("source_in_words", "Source", is_words=True),
        Column("provider", "Provider", link=dimension_link("spend", "provider")),
        Column("first_day", "First day", "day"),
        Column("last_day", "Last day", "day"),
        Column("days", "Days", "count", "Days with data"),
        Column("days_behind", "Days behind", "count", "Behind the newest day of all sources"),
    ),
    knows=OF_SIDES,
    date="usage_date",
    sentence=_freshness_sentence,
    words=_source,
    empty="No usage and no bill match these filters.",
)
FORMATS = View(
    name="formats",
    title="What was loaded",
    query="views/trust/formats",
    columns=(
        Column("format", "Format", help="Empty: files of no known format"),
        Column("files_loaded", "Files", "count"),
        Column("files_failed", "Not loaded", "count", "Files that failed, or hold no known format"),
        Column("rows_read", "Rows", "count"),
        Column("rows_loaded", "Loaded", "count"),
        Column("rows_rejected", "Rejected", "count"),
        Column("rows_ignored", "Without usage", "count", "Such as the other lines of a transcript"),
        Column("rows_repeated", "Repeats", "count", "Of the same call, by the format's own rule: they count once"),
        Column("last_usage_date", "Usage up to", "day"),
        Column("loaded_at", "Loaded", "moment"),
    ),
    is_overview=True,
    note="Rows = loaded + rejected + without usage + repeats, in every file.",
    empty="No file has landed yet.",
)
REASONS = View(
    name="reasons",
    title="Why rows were rejected",
    query="views/trust/reasons",
    columns=(
        Column("format", "Format"),
        Column("reason", "Reason", "long"),
        Column("column_name", "Column"),
        Column("lines", "Rows", "count"),
        Column("files", "Files", "count"),
    ),
    sentence=_reasons_sentence,
    values=_file,
    is_overview=True,
    empty="No row was rejected.",
)
REJECTED = View(
    name="rejected",
    title="Rejected rows",
    query="views/trust/rejected",
    columns=(
        Column("path", "File", "long"),
        Column("line", "Line", "count"),
        Column("reason", "Reason", "long"),
        Column("column_name", "Column"),
        Column("value", "Value", "long", "Of a CSV's cell only; the content of logs stays in landing"),
    ),
    values=_file,
    is_overview=True,
    is_list=True,
    empty="No row was rejected.",
    rows_shown=10,
)
FILES = View(
    name="files",
    title="All files",
    query="views/trust/files",
    columns=(
        Column("path", "File", "long"),
        Column("status_in_words", "Status", is_words=True),
        Column("message", "Message", "long"),
        Column("format", "Format"),
        Column("rows_read", "Rows", "count"),
        Column("rows_rejected", "Rejected", "count", link=_file_link),
        Column("first_usage_date", "Usage from", "day"),
        Column("last_usage_date", "to", "day"),
        Column("loaded_at", "Loaded", "moment"),
    ),
    words=_status,
    is_overview=True,
    is_list=True,
    empty="No file has landed yet.",
    rows_shown=10,
)
COVERAGE = View(
    name="coverage",
    title="Which days are covered",
    query="views/trust/coverage",
    columns=(
        Column("month", "Month", "month"),
        Column("days", "Days", "count", "With any data"),
        Column("account_days", "Provider's usage", "count"),
        Column("logged_days", "Our logs", "count"),
        Column("billed_days", "Bill", "count"),
        Column("compared_days", "Two of them", "count", "Days on which at least two sides can be compared"),
    ),
    knows=OF_CELLS,
    date="usage_date",
    figure=_coverage_figure,
    sentence=_coverage_sentence,
)
STAGES = View(
    name="stages",
    title="What the last runs cost",
    query="views/trust/stages",
    columns=(
        Column("finished_at", "Run", "moment"),
        Column("stage", "Stage"),
        Column("seconds", "Took", "seconds"),
        Column("cpu_seconds", "Processor", "seconds"),
        Column("peak_mb", "Memory, MB", "count", "The most that the process used up to the end of the stage"),
        Column("rows", "Rows", "count", "Read, checked or written"),
    ),
    figure=_stages_figure,
    sentence=_stages_sentence,
    values=lambda filters: {"most": MOST_RUNS},
    is_overview=True,
    empty="No run has published what it cost yet.",
)


# ------------------------------------------------------------------------------------------------------- answer


def answer(snapshot: Snapshot, filters: Filters) -> Answer:
    """What was loaded, what the checks found, and what is late or missing."""
    everything = Filters()

    def rows(view: View) -> Sequence[Row]:
        return snapshot.rows(*view.statement(everything))

    (loaded,) = snapshot.rows(sql("views/trust/summary"))
    if not loaded["loaded"]:
        return Answer("No file is loaded yet, so there is nothing to trust.", warnings=_of_files(loaded))
    checks, sides = rows(CHECKS), rows(FRESHNESS)
    failed = [row for row in checks if row["passed"] is False]
    good = share(1 - loaded["rows_rejected"] / loaded["rows_read"]) if loaded["rows_read"] else "–"
    tiles = (
        Tile("Files", f"{loaded['loaded']:,}", f"the last loaded {loaded['loaded_at']:%Y-%m-%d %H:%M}"),
        Tile("Rows", f"{loaded['rows_read']:,}", f"{loaded['rows_rejected']:,} rejected"),
        Tile("Checks passed", f"{sum(row['passed'] is True for row in checks):,} of {len(checks):,}"),
        *([Tile("Newest day", f"{max(row['last_day'] for row in sides)}")] if sides else []),
    )
    warnings = (*_of_checks(failed), *_of_files(loaded), *_of_sources(sides), *_unpriced(rows(bill.UNPRICED)))
    return Answer(_sentence(loaded, checks, failed), good, tiles, warnings)


def _sentence(loaded: Row, checks: Sequence[Row], failed: Sequence[Row]) -> str:
    read = counted(loaded["rows_read"], "row")
    rejected = (
        f"{loaded['rows_rejected']:,} of {read} rejected" if loaded["rows_rejected"] else f"none of {read} rejected"
    )
    files = f"{counted(loaded['loaded'], 'file')} loaded, {rejected}"
    if not checks:
        return f"{files}; no run has checked them yet."
    blocking = sum(row["is_blocking"] for row in failed)
    if blocking:
        return f"No: {counted(blocking, 'check')} failed that must hold; {files}."
    if failed:
        warned = "1 other warns" if len(failed) == 1 else f"{len(failed):,} others warn"
        return f"Mostly: {files}; every check that must hold does, and {warned}."
    return f"Yes: {files}, and every check that had something to check passed."


def _of_checks(failed: Sequence[Row]) -> list[str]:
    warnings = [
        f"Check {row['suite'].replace('_', ' ')}: it should hold that {_lowered(row['expectation'])}; found "
        f"{row['observed']}, since {row['since']:%Y-%m-%d}."
        for row in failed[:MOST_WARNINGS]
    ]
    more = len(failed) - MOST_WARNINGS
    return [*warnings, f"{counted(more, 'more check')} warned: see below."] if more > 0 else warnings


def _lowered(sentence: str) -> str:
    return f"{sentence[:1].lower()}{sentence[1:]}".rstrip(".")


def _of_files(loaded: Row) -> tuple[str, ...]:
    warnings = []
    if loaded["failed"]:
        warnings.append(f"{counted(loaded['failed'], 'file')} could not be loaded: the list of files says why.")
    if loaded["unrecognised"]:
        hold = "holds" if loaded["unrecognised"] == 1 else "hold"
        warnings.append(
            f"{counted(loaded['unrecognised'], 'file')} {hold} nothing that is known as usage: see the list."
        )
    return tuple(warnings)


def _of_sources(sides: Sequence[Row]) -> list[str]:
    late = [
        f"{_source(row)['source_in_words']} of {row['provider']} on {row['last_day']}"
        for row in sides
        if row["days_behind"] >= LATE_DAYS
    ]
    newest = max((row["last_day"] for row in sides), default=None)
    return [f"These end {LATE_DAYS} days or more before the newest day, {newest}: {', '.join(late)}."] if late else []


def _unpriced(rows: Sequence[Row]) -> list[str]:
    tokens = sum(row["tokens"] for row in rows)
    return [f"{tokens:,} tokens have no rate and are in no cost."] if tokens else []


PAGE = Page(
    "trust",
    "Can I trust it?",
    "Trust",
    answer,
    (CHECKS, RUNS, FRESHNESS, FORMATS, REASONS, REJECTED, FILES, COVERAGE, bill.UNPRICED, STAGES),
)
