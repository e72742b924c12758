"""`statement`: a month of a team as one file to send.

Belongs here: its arguments, and where the file goes. Does not belong here: what it says (views.statement).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import duckdb
import typer
from rich.text import Text

from pipeline import settings as settings_module
from pipeline.cli.application import HomeOption, app, out
from pipeline.settings import ConfigurationError
from pipeline.words import usd


@app.command()
def statement(
    month: Annotated[str, typer.Option(help="The month, such as 2026-02.", metavar="MONTH")],
    team: Annotated[
        str, typer.Option(help="A team of allocation.csv; left out, the statement is of the whole organisation.")
    ] = "",
    file: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Where to write it; default: reports/statements/.")
    ] = None,
    home: HomeOption = None,
) -> None:
    """Write what a team pays for a month: one HTML file to send, without scripts, that prints well."""
    from pipeline.store.published import NothingPublishedError, Publication
    from pipeline.views import pages
    from pipeline.views import statement as statements

    settings = settings_module.load(home)
    try:
        snapshot = Publication(settings.published).current()
    except NothingPublishedError as error:
        raise ConfigurationError(f"{error}: token-analytics run") from None
    try:
        made = statements.make(snapshot, month, team)
    except duckdb.Error:
        raise ConfigurationError("statement: another version wrote what is published: token-analytics run") from None
    if file is None:
        file = pages.private_folder(settings.reports / "statements") / made.file_name
    elif file.is_dir():
        file = file / made.file_name
    elif not file.parent.is_dir():
        raise ConfigurationError(f"statement: there is no folder {file.parent}")
    pages.write_atomically(file, made.html())
    out.print(Text(f"{made.title}: {usd(made.cost_usd)}. {made.status}"))
    out.print(Text(f"Written to {file}"))
