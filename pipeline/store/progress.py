"""Telling whoever watches a run what it is doing.

Belongs here: the one channel from the stages to the terminal. Does not belong here: how it is drawn (cli).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

Observer = Callable[[str, int, int, str], None]  # stage, done, total (0 = unknown), what

# One run a process, and dbt reports from threads of its own: a plain variable, where a context variable would be lost.
_observers: list[Observer] = []


def report(stage: str, done: int = 0, total: int = 0, what: str = "") -> None:
    """Say that `stage` has finished `done` of `total` things and is at `what`; free where nobody watches."""
    for observer in _observers:
        observer(stage, done, total, what)


@contextlib.contextmanager
def watched(observer: Observer) -> Iterator[None]:
    """Send what stages report to `observer`."""
    _observers.append(observer)
    try:
        yield
    finally:
        _observers.remove(observer)
