"""`ui`: Dagster's web server and daemon for a home.

Belongs here: starting them. Does not belong here: which requests the web server answers (ui).
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from pipeline import settings as settings_module
from pipeline.cli import runs
from pipeline.cli.application import HomeOption, app, out
from pipeline.settings import ConfigurationError, Settings
from pipeline.store import bundled, warehouse


@app.command()
def ui(
    home: HomeOption = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the web interface.")] = 3000,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
) -> None:
    """Open the Dagster UI on this home: the whole graph, runs, schedule, sensor and checks."""
    settings = settings_module.load(home)
    warehouse.make_home(settings)
    runs._copy_sample(settings)
    environment = os.environ | {
        "TOKEN_ANALYTICS_HOME": str(settings.home),
        "DAGSTER_HOME": str(runs.dagster_home(settings)),
        "DAGSTER_DISABLE_TELEMETRY": "yes",
        # modules in the current folder must not replace ours or Dagster's
        "PYTHONSAFEPATH": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, (str(bundled.PACKAGE.parent), os.environ.get("PYTHONPATH")))),
    }
    with contextlib.suppress(ConfigurationError):
        _close_runs_of_former_ui(settings)
    out.print(Text(f"Dagster on http://{host}:{port} for {settings.home} (Ctrl-C ends it)"))
    sys.stdout.flush()
    # Dagster announces a successor of its own command here that is not part of it.
    quietly = ["-W", "ignore:Function `dev_command` is superseded"]
    command = ["-m", "pipeline.cli.ui", "dev", "-w", str(_workspace(settings)), "-p", str(port), "-h", host]
    # In place of this process, so that whoever stops it stops Dagster and not a parent of it.
    os.execve(sys.executable, [sys.executable, *quietly, *command], environment)  # noqa: S606


def _workspace(settings: Settings) -> Path:
    """The workspace file with code and name of the code location, because the name has no option of its own."""
    code = {
        "module_name": "pipeline.definitions",
        "location_name": "token_analytics",
        "working_directory": str(bundled.PACKAGE.parent),
    }
    file = runs.dagster_home(settings) / "workspace.yaml"
    file.write_text(json.dumps({"load_from": [{"python_module": code}]}), encoding="utf-8")  # JSON is YAML
    return file


def _close_runs_of_former_ui(settings: Settings) -> None:
    """Close runs that the history lists as running, unless a run is alive.

    Raises:
        ConfigurationError: one is alive.

    """
    from dagster import DagsterInstance

    warehouse.acquire_lock(settings.model_copy(update={"lock_timeout_seconds": 0}))
    try:
        with DagsterInstance.from_config(str(runs.dagster_home(settings))) as instance:
            runs.close_dead_runs(instance, {})
    finally:
        warehouse.release_lock(settings)
