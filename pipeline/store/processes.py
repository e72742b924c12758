"""Worker processes of a run: starting them, and ending them with the run.

Belongs here: the pool, whose processes ignore Ctrl-C and end when the run does, even a killed one; and work that this
process shares with them. Does not belong here: their tasks (ingest, analysis). They write nothing.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from types import TracebackType
from typing import Generic, Self, TypeVar

from pipeline import limits

Key = TypeVar("Key")
Task = TypeVar("Task")
Result = TypeVar("Result")

AHEAD = 2  # tasks queued per process, so that it does not wait for the next one


def pool(processes: int) -> ProcessPoolExecutor:
    """Worker processes for one run; each starts when there is work for it, and ends with this process."""
    return ProcessPoolExecutor(
        processes, multiprocessing.get_context("spawn"), initializer=_begin, initargs=(limits.in_force(),)
    )


@contextlib.contextmanager
def interrupts_held_back() -> Iterator[None]:
    """Delay Ctrl-C; processes started within ignore it, because it is handled by their parent."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin(in_force: limits.Limits) -> None:
    limits.use(in_force)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Exit when the parent process ends: a killed parent cannot stop its workers."""
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(0)


class Shared(Generic[Key, Task, Result]):
    """Tasks for this process, and for worker processes once the weight of waiting tasks reaches `worth`.

    `work` is a function of a module, so that other processes find it, and its result depends only on its task, not on
    the process that did it. If a process dies, this one does the rest. Leaving the context ends the processes.
    """

    def __init__(self, work: Callable[[Task], Result], processes: int, worth: int) -> None:
        self._work, self._others, self._worth = work, processes - 1, worth
        self._waiting: deque[tuple[Key, Task]] = deque()
        self._asked: dict[Future[Result], tuple[Key, Task]] = {}
        self._done: dict[Key, Result] = {}
        self._weight = 0
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._close()

    def add(self, key: Key, task: Task, weight: int = 1) -> None:
        """Submit a task; it runs at the latest in `results`. The waiting tasks weigh at most `worth`."""
        self._waiting.append((key, task))
        self._weight += weight
        if self._others > 0 and not self._pool and self._weight >= self._worth:
            self._pool = pool(self._others)
        self._ask()
        # without worker processes, waiting gains nothing
        while self._waiting and (self._pool or self._others < 1):
            self._do_one()

    def results(self) -> dict[Key, Result]:
        """The results of all tasks so far."""
        while self._waiting or self._asked:
            if self._waiting:
                self._do_one()
            else:
                wait(self._asked, return_when=FIRST_COMPLETED)
            self._ask()
        return self._done

    def _do_one(self) -> None:
        key, task = self._waiting.popleft()
        self._done[key] = self._work(task)
        self._ask()

    def _ask(self) -> None:
        """Collect results of the worker processes, and give them more tasks."""
        try:
            for future in [future for future in self._asked if future.done()]:
                self._done[self._asked[future][0]] = future.result()
                del self._asked[future]
            with interrupts_held_back():
                while self._pool and self._waiting and len(self._asked) < AHEAD * self._others:
                    future = self._pool.submit(self._work, self._waiting[0][1])
                    self._asked[future] = self._waiting.popleft()
        except (BrokenProcessPool, OSError):
            # a worker was killed, or the system has no memory for it
            self._waiting.extend(self._asked.values())
            self._asked.clear()
            self._others = 0
            self._close()

    def _close(self) -> None:
        if self._pool:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None
