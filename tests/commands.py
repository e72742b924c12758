"""Calling `token-analytics` as people do, and landings taken from the committed sample.

Belongs here: what the tests of the outer faces (command, Dagster, publishing) share. Does not belong here: homes whose
stages a test calls one by one (conftest).
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.cli import commands

CHECKOUT = Path(__file__).parent.parent
SAMPLE = CHECKOUT / "data" / "sample" / "landing"
CONSOLE_FILES = ("console/claude_api_tokens_2025_07.csv", "console/claude_api_cost_2025_07.csv")
SESSION_FILES = ("sessions/token_usage_sessions_2025_10_late.csv", "claude_projects/-srv-example-search-index")

ENVIRONMENT = os.environ | {"PYTHONPATH": str(CHECKOUT)}


@dataclass(frozen=True)
class Done:
    """What a call of `token-analytics` left: its exit code, and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def problem(self) -> str:
        """The one line that an unusable input or setting gives, with exit code 2 and nothing on standard output."""
        assert (self.code, self.out) == (2, ""), self
        (line,) = self.err.splitlines()
        return line


def token_analytics(*arguments: str | Path) -> Done:
    """Call the command's entry point in this process, without a terminal."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr(sys, "argv", ["token-analytics", *map(str, arguments)])
        try:
            commands.main()
        except SystemExit as error:
            code = int(error.code or 0)
    return Done(code, out.getvalue(), err.getvalue())


def command_line(*arguments: str | Path) -> list[str]:
    """The command as a process of its own; start it with `env=ENVIRONMENT`, in any folder."""
    return [sys.executable, "-P", "-m", "pipeline.cli", *map(str, arguments)]


def land(home: Path, *names: str) -> Path:
    """Copy files and folders of the sample's landing into that of `home`; all of it where none is named."""
    for name in names or [path.name for path in SAMPLE.iterdir()]:
        target = home / "landing" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (SAMPLE / name).is_dir():
            shutil.copytree(SAMPLE / name, target)
        else:
            shutil.copy(SAMPLE / name, target)
    return home
