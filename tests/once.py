"""Slow fixtures are made once per session, by the first worker that needs them, and shared with the others.

Does not belong here: the fixtures themselves (conftest, commands).
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable
from typing import Any

import pytest


class Once:
    """A folder shared by all workers of a session, and the results stored in it."""

    def __init__(self, factory: pytest.TempPathFactory) -> None:
        base = factory.getbasetemp()
        # The folder of a worker is inside that of the session.
        self.folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "once"
        self.folder.mkdir(exist_ok=True)

    def __call__(self, name: str, make: Callable[[], Any]) -> Any:
        """The result of the session's only call of `make`, a JSON value."""
        made = self.folder / f"{name}.json"
        with (self.folder / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not made.exists():
                text = json.dumps(make())
                made.write_text(text, encoding="utf-8")
        return json.loads(made.read_text(encoding="utf-8"))
