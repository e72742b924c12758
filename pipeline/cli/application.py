"""Shared by all commands: the application, its consoles, and common options.

Belongs here: these objects. Does not belong here: any command.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli import terminal

app = typer.Typer(
    help="Token usage, reconciled to the cent: load exports and logs, validate, analyse, price, publish.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


out = terminal.console()
err = terminal.console(stderr=True)


HomeOption = Annotated[
    Path | None,
    typer.Option(
        help="Folder with landing/; default: TOKEN_ANALYTICS_HOME, data/ if data/landing has files, or a sample."
    ),
]


JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for other programs.")]


VerboseOption = Annotated[bool, typer.Option(help="Show Dagster's own log, with tracebacks.")]


LimitOption = Annotated[int, typer.Option(min=0, help="Rows to print; 0 prints all.")]


VERBOSE = "--verbose"
