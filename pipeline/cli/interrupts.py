"""Ctrl-C and SIGTERM: exit at once, at any moment, with one sentence.

Belongs here: exiting. Does not belong here: cleaning up (ingest, warehouse): a process may be killed at any moment
without loss, so there is nothing to clean up. An exception would not work: it would have to pass through threads of
dbt and DuckDB and through code that takes it for a failure, and the interpreter aborts if it ends before such a thread.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import NoReturn

SENTENCE = "token-analytics: stopped; the published tables are unchanged, and the next run completes the work"
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# Clear the line of a progress bar, and show the cursor again.
_GIVE_BACK = "\r\x1b[2K\x1b[?25h"
# Python's resource tracker inherits this; otherwise it would warn that it cleans up after this process.
_QUIETLY = "ignore:resource_tracker"

_leaving = threading.Lock()


@contextlib.contextmanager
def obeyed() -> Iterator[None]:
    """Inside this context either signal ends the process, whatever it does and whoever else handles signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    if _QUIETLY not in sys.warnoptions:
        sys.warnoptions.append(_QUIETLY)
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    previous_handlers = {number: signal.signal(number, _ignored) for number in _SIGNALS}
    # The C handler writes to it, even while the main thread waits for C code or others have installed handlers.
    previous_wakeup = signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
    listener = threading.Thread(target=_listen, args=(read_end,), name="interrupts", daemon=True)
    listener.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(previous_wakeup)
        for number, handler in previous_handlers.items():
            signal.signal(number, handler)
        os.close(write_end)
        listener.join()
        os.close(read_end)


def leave(number: int = signal.SIGINT) -> NoReturn:
    """End this process with the exit code of signal `number`, and print one sentence, once."""
    _leaving.acquire()  # never released: a second caller waits for the exit
    text = (_GIVE_BACK if os.isatty(2) else "") + SENTENCE + "\n"
    with contextlib.suppress(OSError):
        os.write(2, text.encode())
    os._exit(128 + number)


def _ignored(_number: int, _frame: object) -> None:
    """The listener handles the signal."""


def _listen(read_end: int) -> None:
    while numbers := os.read(read_end, 64):
        for number in numbers:
            if number in _SIGNALS:
                leave(number)
