"""What takes seconds to make is made once a session, by the worker that asks first, and kept for the others.

Does not belong here: what is made so (conftest, commands).
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable
from typing import Any

import pytest


class Once:
    """A folder that all workers of a session know, and what they have made in it."""

    def __init__(self, factory: pytest.TempPathFactory) -> None:
        base = factory.getbasetemp()
        # A worker's own folder lies in that of the session.
        self.folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "once"
        self.folder.mkdir(exist_ok=True)

    def __call__(self, name: str, make: Callable[[], Any]) -> Any:
        """What `make` gave when it was called in this session, which is anything that JSON can hold."""
        made = self.folder / f"{name}.json"
        with (self.folder / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not made.exists():
                text = json.dumps(make())
                made.write_text(text, encoding="utf-8")
        return json.loads(made.read_text(encoding="utf-8"))
