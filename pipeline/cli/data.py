"""Commands that add or remove data, or close a month: pull, drain, forget, close and so on.

Belongs here: their arguments and what they print. Does not belong here: the work itself (fetch, ingest, finance).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from pipeline import settings as settings_module
from pipeline.cli import output, runs
from pipeline.cli.application import HomeOption, JsonOption, VerboseOption, app, err, out
from pipeline.fetch import providers
from pipeline.finance import closing
from pipeline.ingest import loader, retraction
from pipeline.settings import ConfigurationError
from pipeline.store import warehouse
from pipeline.words import counted, usd


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
    """Remove a file, or all usage before a day, from the tables; the ledger remembers it, so it is not loaded again."""
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

    runs.run_home(settings, as_json, verbose, before=retract)


@app.command()
def close(
    month: Annotated[str, typer.Argument(metavar="MONTH", help="A complete month, such as 2026-01.")],
    home: HomeOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Close a month for finance: later changes are listed in analysis.restatements, and the booked month stays."""
    settings = settings_module.load(home)
    first_day = closing.parse_month(month)

    def book() -> None:
        with warehouse.connect(settings) as connection:
            booked = closing.close_month(connection, first_day, datetime.now(UTC))
        err.print(Text(f"Closed {month}: {usd(booked['billed_usd'])} billed"))
        if booked["days_billed"] < booked["days"]:
            missing = f"the cost exports cover {booked['days_billed']} of {booked['days']} days"
            err.print(Text(f"        {missing}: the rest will be restated when it is landed", style="yellow"))
        if booked["unpriced_tokens"]:
            err.print(Text(f"        {booked['unpriced_tokens']:,} tokens have no rate", style="yellow"))

    runs.run_home(settings, as_json, verbose, before=book)


@app.command("pull")
def pull_pages(
    home: HomeOption = None,
    source: Annotated[
        list[str] | None, typer.Option(help="A source to pull, such as anthropic_usage; by default those of [pull].")
    ] = None,
    first: Annotated[
        datetime | None, typer.Option("--from", formats=["%Y-%m-%d"], help="First day (UTC) to pull.")
    ] = None,
    last: Annotated[
        datetime | None, typer.Option("--to", formats=["%Y-%m-%d"], help="Last day (UTC); yesterday by default.")
    ] = None,
) -> None:
    """Fetch usage and costs from the providers' APIs, and land them as files; `run` then needs no network."""
    settings = settings_module.load(home)
    sources = [name for name in providers.APIS if name in (source or [])]
    if unknown := sorted(set(source or []) - set(sources)):
        raise ConfigurationError(f"--source {unknown[0]}: no such source; there are {', '.join(providers.APIS)}")
    first_day, last_day = providers.default_days(settings, datetime.now(UTC).date())
    last_day = last.date() if last else last_day
    first_day = first.date() if first else min(first_day, last_day)

    def print_landed(landed: providers.Landed) -> None:
        pages = f"{counted(landed.pages, 'page')}, {counted(landed.results, 'result')}"
        out.print(Text(f"Landed  {landed.path}: {pages}"))

    providers.pull(settings, first_day, last_day, sources, tell=print_landed)


@app.command("retry-rejected")
def retry_rejected(home: HomeOption = None, as_json: JsonOption = False, verbose: VerboseOption = False) -> None:
    """After a fix: load files with rejected rows, and files that failed to load, again."""
    settings = settings_module.load(home)

    def retry() -> None:
        with warehouse.connect(settings) as connection:
            for line in loader.retry_rejected(connection, settings):
                err.print(Text(line))

    runs.run_home(settings, as_json, verbose, before=retry)


@app.command("pull-postgres")
def pull_postgres(
    home: HomeOption = None,
    as_json: JsonOption = False,
    everything: Annotated[
        bool, typer.Option("--full", help="Pull all rows again, not only new ones; they count once.")
    ] = False,
) -> None:
    """Land new and changed rows of token_usage_sessions from PostgreSQL (TOKEN_ANALYTICS_POSTGRES_DSN)."""
    from pipeline.fetch import postgres

    pulled = postgres.pull(settings_module.load(home), everything=everything)
    if as_json:
        output.echo_json(asdict(pulled) | {"files": [str(path) for path in pulled.files]})
        return
    repeats = f" ({pulled.rows_known:,} more were landed before)" if pulled.rows_known else ""
    out.print(Text(f"{pulled.rows:,} new or changed rows of {pulled.table}{repeats}"))
    _print_landed(pulled.files)


@app.command()
def drain(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Land the waiting events of the tracker's Redis stream (TOKEN_ANALYTICS_STREAM_URL), and acknowledge them."""
    from pipeline.fetch import stream

    drained = stream.drain(settings_module.load(home))
    if as_json:
        output.echo_json(asdict(drained) | {"files": [str(path) for path in drained.files]})
        return
    recovered = f" ({drained.recovered:,} of them left by an interrupted drain)" if drained.recovered else ""
    out.print(Text(f"{drained.entries:,} entries of the stream{recovered}"))
    if drained.gone:
        text = f"{drained.gone:,} entries were deleted from the stream before they were landed"
        out.print(Text(text, style="yellow"))
    _print_landed(drained.files)


def _print_landed(files: Sequence[Path]) -> None:
    """Print the paths of the landed files, and the next step."""
    for path in files:
        out.print(Text(f"        {path}"))
    if files:
        out.print("token-analytics run loads them")
