"""Calling `token-analytics` as users do, on landings copied from the committed sample.

Belongs here: what the tests of the outer faces (command, Dagster, publishing) share. Does not belong here: homes whose
stages a test calls one by one (conftest).
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest
from dagster import DagsterInstance
from once import Once

from pipeline import settings
from pipeline.cli import commands
from pipeline.store import warehouse

CHECKOUT = Path(__file__).parent.parent
SAMPLE = CHECKOUT / "data" / "sample" / "landing"
CONSOLE_FILES = ("console/claude_api_tokens_2025_07.csv", "console/claude_api_cost_2025_07.csv")
SESSION_FILES = ("sessions/token_usage_sessions_2025_10_late.csv", "claude_projects/-srv-example-search-index")

ENVIRONMENT = os.environ | {"PYTHONPATH": str(CHECKOUT)}


@dataclass(frozen=True)
class Done:
    """The result of a call of `token-analytics`: exit code and output."""

    code: int
    out: str
    err: str

    @property
    def problem(self) -> str:
        """The one line printed for an unusable input or setting, with exit code 2 and an empty standard output."""
        assert (self.code, self.out) == (2, ""), self
        (line,) = self.err.splitlines()
        return line


def token_analytics(*arguments: str | Path, keeps_history: bool = False) -> Done:
    """Call the command's entry point in this process, without a terminal.

    Dagster's history of a run is kept in the home only on demand: writing it takes a third of a small run.
    """
    out, err, code = io.StringIO(), io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr(sys, "argv", ["token-analytics", *map(str, arguments)])
        if not keeps_history:
            patch.setattr(DagsterInstance, "from_config", lambda _folder: DagsterInstance.ephemeral())
        try:
            commands.main()
        except SystemExit as error:
            code = int(error.code or 0)
    return Done(code, out.getvalue(), err.getvalue())


def command_line(*arguments: str | Path) -> list[str]:
    """The command for a separate process; start it with `env=ENVIRONMENT`, in any folder."""
    return [sys.executable, "-P", "-m", "pipeline.cli", *map(str, arguments)]


def land(home: Path, *names: str) -> Path:
    """Copy the named files and folders of the sample's landing into that of `home`; without names, all."""
    for name in names or [path.name for path in SAMPLE.iterdir()]:
        target = home / "landing" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (SAMPLE / name).is_dir():
            shutil.copytree(SAMPLE / name, target)
        else:
            shutil.copy(SAMPLE / name, target)
    return home


def few_segments(home: Path) -> Path:
    """Let runs of `home` analyse only two segments besides `all`: for tests that are not about statistics."""
    (home / "token_analytics.toml").write_text("analysis_segments = 2\n", encoding="utf-8")
    return home


@dataclass(frozen=True)
class Completed:
    """A home after a complete run, and the output of that run."""

    home: Path
    run: Done


class CompletedHomes:
    """Homes after one run for all tests of a session; each test gets its own copy."""

    def __init__(self, once: Once, copies: Path) -> None:
        self._once, self._copies = once, copies

    def sample(self) -> Completed:
        """The whole sample, run with --json in a separate process, with few segments."""
        return self._copy("sample", lambda home: _started("run", "--json", "--home", few_segments(land(home))))

    def console(self) -> Completed:
        """Only console exports, run with --timings and all segments."""
        return self._copy(
            "console", lambda home: token_analytics("run", "--timings", "--home", land(home, *CONSOLE_FILES))
        )

    def _copy(self, name: str, run: Callable[[Path], Done]) -> Completed:
        original = self._once.folder / name / "home"
        result = self._once(name, lambda: asdict(run(original)))
        # A process keeps the lock of a home that it wrote.
        warehouse.release_lock(settings.load(original))
        home = self._copies / f"{name}-{len([*self._copies.iterdir()])}" / "home"
        shutil.copytree(original, home)
        there, here = str(original), str(home)
        return Completed(home, Done(result["code"], *(result[name].replace(there, here) for name in ("out", "err"))))


def _started(*arguments: str | Path) -> Done:
    """The command as a process of its own, to its end."""
    done = subprocess.run(
        command_line(*arguments), env=ENVIRONMENT, capture_output=True, text=True, timeout=600, check=False
    )
    return Done(done.returncode, done.stdout, done.stderr)
