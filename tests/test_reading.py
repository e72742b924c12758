"""Worker processes that read files change only the time of a run, even if they die.

Belongs here: which process reads, the order of results, and how the processes end. Does not belong here: the content of
the files (test_batches), and time (bench/transcripts.py).
"""

from __future__ import annotations

import gzip
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from batches import everything, good_file
from conftest import Home

from pipeline.ingest import transcripts

BAD_LINE = b'{"type":"user","text":"my secret prompt\n'
LANDED = {
    **{f"a/{number:02}.jsonl": good_file(f"s{number}", lines=number) for number in range(1, 20)},
    **{f"b/{number:02}.jsonl": good_file(f"s{number}", lines=number) for number in range(5, 9)},
    "c/bad.jsonl": good_file("bad") + BAD_LINE,
    "c/broken.jsonl.gz": gzip.compress(good_file("broken"), mtime=0)[:-20],
    "c/large.jsonl": good_file("large", lines=100),
    "c/nothing.jsonl": b"",
    "c/other.csv": b"a,b\n1,2\n",
    "c/packed.jsonl.gz": gzip.compress(good_file("packed"), mtime=0),
    "d/last.jsonl": good_file("s3", lines=3),
}


@pytest.fixture
def pools(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The pools that are created; small files suffice for one, and two of them make a portion."""
    made: list[Any] = []
    make = transcripts.pool

    def making(processes: int) -> Any:
        made.append(make(processes))
        return made[-1]

    monkeypatch.setattr(transcripts, "pool", making)
    monkeypatch.setattr(transcripts, "WORTH_PROCESSES", 0)
    monkeypatch.setattr(transcripts, "PORTION_FILES", 2)
    return made


@pytest.fixture(scope="module")
def expected(new_home: Callable[..., Home]) -> list[Any]:
    """The result of the landing when one process reads it."""
    home = new_home()
    home.land(LANDED)
    home.ingest()
    return everything(home)


@pytest.fixture
def landed(new_home: Callable[..., Home]) -> Home:
    """The same landing, not read yet."""
    home = new_home(threads=3)
    home.land(LANDED)
    return home


def test_more_processes_change_nothing(landed: Home, expected: list[Any], pools: list[Any]) -> None:
    landed.ingest()
    assert everything(landed) == expected
    assert len(pools) == 1
    assert multiprocessing.active_children() == []


def test_what_a_process_that_dies_leaves_is_read_by_this_one(
    landed: Home,
    expected: list[Any],
    pools: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    portions = transcripts._portions_of_processes

    def dying(*arguments: Any) -> Any:
        for number, portion in enumerate(portions(*arguments)):
            yield portion
            if number == 1:
                for child in multiprocessing.active_children():
                    child.kill()

    monkeypatch.setattr(transcripts, "_portions_of_processes", dying)
    landed.ingest()
    assert everything(landed) == expected
    assert capfd.readouterr().err == ""


def test_without_room_for_a_process_one_reads_all(
    landed: Home, expected: list[Any], pools: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> Any:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    with monkeypatch.context() as patched:
        patched.setattr(os, "posix_spawn", refuse)
        patched.setattr("multiprocessing.util.spawnv_passfds", refuse)
        landed.ingest()
    assert everything(landed) == expected
    assert len(pools) == 1


def test_with_one_thread_there_is_one_process(
    new_home: Callable[..., Home], expected: list[Any], pools: list[Any]
) -> None:
    home = new_home(threads=1)
    home.land(LANDED)
    home.ingest()
    assert everything(home) == expected
    assert pools == []


BEGIN = """
import multiprocessing
from pipeline.ingest import transcripts
if __name__ == "__main__":
    share = [transcripts.Wanted("/nowhere", (1, 1, 1))]
    portions = transcripts._portions_of_processes(transcripts.deque([share] * 9), 1)
    next(portions)
    print(multiprocessing.active_children()[0].pid, flush=True)
    input()
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_they_end_with_the_one_that_began_them_and_say_nothing(tmp_path: Path, number: signal.Signals) -> None:
    program = tmp_path / "begin.py"
    program.write_text(BEGIN)
    parent = subprocess.Popen(
        [sys.executable, program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True, cwd=Path(__file__).parent.parent,
    )  # fmt: skip
    assert parent.stdout
    child = int(parent.stdout.readline())
    os.kill(child, 0)
    # Ctrl-C reaches the whole group.
    os.killpg(parent.pid, number) if number == signal.SIGINT else parent.send_signal(number)
    _, output = parent.communicate()
    deadline = time.monotonic() + 20
    while _runs(child) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not _runs(child)
    assert output.count("Traceback") == (number == signal.SIGINT), "of the process that began them alone"


def _runs(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
