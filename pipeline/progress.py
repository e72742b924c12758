"""Telling whoever watches a run what it is doing.

Belongs here: the one channel from the stages to the terminal. Does not belong here: how it is drawn (cli).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar

Observer = Callable[[str, int, int, str], None]  # stage, done, total (0 = unknown), what

_observer: ContextVar[Observer | None] = ContextVar("observer", default=None)


def report(stage: str, done: int = 0, total: int = 0, what: str = "") -> None:
    """Say that `stage` has finished `done` of `total` things and is at `what`; free where nobody watches."""
    if observer := _observer.get():
        observer(stage, done, total, what)


@contextlib.contextmanager
def watched(observer: Observer) -> Iterator[None]:
    """Send what stages report to `observer`."""
    token = _observer.set(observer)
    try:
        yield
    finally:
        _observer.reset(token)
