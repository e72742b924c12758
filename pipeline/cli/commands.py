"""The command `token-analytics`.

Belongs here: collecting the commands, and printing a failure. Does not belong here: a command (runs, data,
answers, dagster_ui), or anything that a Dagster run or an SQL query could do.

Exit codes: 0 done; 1 a blocking check failed; 2 unusable input, configuration or query.
"""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path

from rich.text import Text

from pipeline.cli.application import VERBOSE, app, err

# Each module registers its commands; --help lists them in this order.
from pipeline.cli import runs  # noqa: F401  # isort: skip
from pipeline.cli import data  # noqa: F401  # isort: skip
from pipeline.cli import answers  # noqa: F401  # isort: skip
from pipeline.cli import statement  # noqa: F401  # isort: skip
from pipeline.cli import serve  # noqa: F401  # isort: skip
from pipeline.cli import dagster_ui  # noqa: F401  # isort: skip

from pipeline.cli import interrupts, terminal
from pipeline.settings import ConfigurationError
from pipeline.store import bundled, redaction


def main() -> None:
    """Entry point: any failure becomes one line and exit code 2."""
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
    """The error in one line, without file content: messages of libraries may quote it."""
    if isinstance(error, ConfigurationError):
        return str(error)
    if isinstance(error, OSError) and error.filename is not None:
        return f"cannot use {os.fsdecode(error.filename)}: {error.strerror}"
    package = bundled.PACKAGE
    ours = [frame for frame in traceback.extract_tb(error.__traceback__) if package in Path(frame.filename).parents]
    place = f" in {Path(ours[-1].filename).relative_to(package.parent)}, line {ours[-1].lineno}" if ours else ""
    return f"internal error: {type(error).__name__}{place}; please report it (run --verbose shows details)"


if __name__ == "__main__":
    main()
