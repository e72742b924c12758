"""How a command ends when it is told to: Ctrl-C and SIGTERM, at any moment, in one sentence.

Belongs here: leaving at once. Does not belong here: what is left then (ingest, warehouse): a process may be killed at
any moment, which costs nothing, so that there is nothing to be tidied up here either. An exception would have to find
its way through the threads of dbt and DuckDB and through code that takes it for a failure of its own, and the
interpreter aborts where it ends before such a thread.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import NoReturn

SENTENCE = "token-analytics: stopped; what was published stays as it was, and the next run completes the work"
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# A terminal whose line and cursor belong to a progress bar gets both back.
_GIVE_BACK = "\r\x1b[2K\x1b[?25h"
# Python's keeper of semaphores, a process that inherits this, would tell that it tidies up after a process that left.
_QUIETLY = "ignore:resource_tracker"

_leaving = threading.Lock()


@contextlib.contextmanager
def obeyed() -> Iterator[None]:
    """Within, either signal ends this process, whatever it does and whoever else handles signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    if _QUIETLY not in sys.warnoptions:
        sys.warnoptions.append(_QUIETLY)
    heard, told = os.pipe()
    os.set_blocking(told, False)
    former = {number: signal.signal(number, _noted) for number in _SIGNALS}
    # Written to by the system's own handler, also while the main thread waits for C code or others have handlers.
    former_told = signal.set_wakeup_fd(told, warn_on_full_buffer=False)
    listener = threading.Thread(target=_listen, args=(heard,), name="interrupts", daemon=True)
    listener.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(former_told)
        for number, handler in former.items():
            signal.signal(number, handler)
        os.close(told)
        listener.join()
        os.close(heard)


def leave(number: int = signal.SIGINT) -> NoReturn:
    """End this process as one that signal `number` has ended, and say so once."""
    _leaving.acquire()  # for good: whoever comes second waits for the end
    text = (_GIVE_BACK if os.isatty(2) else "") + SENTENCE + "\n"
    with contextlib.suppress(OSError):
        os.write(2, text.encode())
    os._exit(128 + number)


def _noted(_number: int, _frame: object) -> None:
    """The listener has it already."""


def _listen(heard: int) -> None:
    while numbers := os.read(heard, 64):
        for number in numbers:
            if number in _SIGNALS:
                leave(number)
