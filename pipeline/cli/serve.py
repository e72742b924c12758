"""`serve`: the pages of a home as a website of this machine.

Belongs here: its arguments and what is refused. Does not belong here: the pages (views) and their server (serving).
"""

from __future__ import annotations

from typing import Annotated

import typer
from rich.text import Text

from pipeline import settings as settings_module
from pipeline.cli.application import HomeOption, app, err
from pipeline.settings import ConfigurationError


@app.command()
def serve(
    home: HomeOption = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; only loopback is allowed without access control.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8000,
) -> None:
    """Serve the pages of what is published: filters, figures, tables, downloads. Runs may go on meanwhile."""
    from pipeline.serving import server

    settings = settings_module.load(home)
    try:
        server.serve(settings, host, port, lambda address: err.print(Text(f"Serving {settings.home} at {address}")))
    except OSError as error:
        raise ConfigurationError(f"cannot listen on {host} port {port}: {error.strerror or error}") from None
