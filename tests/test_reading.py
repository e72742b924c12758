"""A second process that reads files changes nothing but the time it takes, whatever becomes of it.

Belongs here: who reads, in which order it comes, and how the second process ends. Does not belong here: what stands in
the files (test_batches), and the time (bench/transcripts.py).
"""

from __future__ import annotations

import gzip
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Home
from test_batches import everything, good_file

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
def answers(monkeypatch: pytest.MonkeyPatch) -> list[transcripts.Portion | None]:
    """What a second process has answered; small files are worth one, and two of them make a portion."""
    heard: list[transcripts.Portion | None] = []
    answer = transcripts._Beside.answer

    def hearing(beside: Any) -> transcripts.Portion | None:
        heard.append(answer(beside))
        return heard[-1]

    monkeypatch.setattr(transcripts._Beside, "answer", hearing)
    monkeypatch.setattr(transcripts, "WORTH_A_PROCESS", 0)
    monkeypatch.setattr(transcripts, "PORTION_FILES", 2)
    monkeypatch.setattr(transcripts, "MAX_BYTES", 20_000)
    return heard


@pytest.fixture
def expected(new_home: Callable[..., Home]) -> list[Any]:
    """What the landing gives that is read by one process."""
    home = new_home()
    home.land(LANDED)
    home.ingest()
    return everything(home)


@pytest.fixture
def landed(new_home: Callable[..., Home], expected: list[Any]) -> Home:
    """The same landing, not read yet."""
    home = new_home(threads=2)
    home.land(LANDED)
    return home


def test_a_second_process_changes_nothing(
    landed: Home, expected: list[Any], answers: list[transcripts.Portion | None]
) -> None:
    landed.ingest()
    assert everything(landed) == expected
    assert sum(len(portion.outcomes) for portion in answers if portion) >= 4


@pytest.mark.parametrize("is_ahead", [True, False])
def test_whoever_is_faster_the_first_of_equal_files_is_named(
    landed: Home,
    expected: list[Any],
    answers: list[transcripts.Portion | None],
    monkeypatch: pytest.MonkeyPatch,
    is_ahead: bool,
) -> None:
    # The one waits for each answer before it reads on, the other reads on as far as it may.
    monkeypatch.setattr(transcripts._Beside, "has_answered", lambda beside: is_ahead)
    landed.ingest()
    assert everything(landed) == expected
    assert None not in answers
    assert len(answers) >= 2


def test_what_a_process_that_dies_leaves_is_read_by_the_other(
    landed: Home,
    expected: list[Any],
    answers: list[transcripts.Portion | None],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    ask = transcripts._Beside.ask

    def asking(beside: Any, share: Any) -> None:
        if len(answers) == 1:
            beside._process.kill()
        ask(beside, share)

    monkeypatch.setattr(transcripts._Beside, "ask", asking)
    landed.ingest()
    assert everything(landed) == expected
    assert answers[-1] is None
    assert capfd.readouterr().err == ""


def test_without_room_for_a_process_one_reads_all(
    landed: Home, expected: list[Any], answers: list[transcripts.Portion | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*command: Any, **options: Any) -> Any:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    with monkeypatch.context() as patched:
        patched.setattr(subprocess, "Popen", refuse)
        landed.ingest()
    assert everything(landed) == expected
    assert answers == []


def test_with_one_thread_there_is_one_process(
    new_home: Callable[..., Home], expected: list[Any], answers: list[transcripts.Portion | None]
) -> None:
    home = new_home(threads=1)
    home.land(LANDED)
    home.ingest()
    assert everything(home) == expected
    assert answers == []


def test_many_long_questions_wait_for_no_answer() -> None:
    beside = transcripts._Beside()
    share = [transcripts.Wanted(f"/{'x' * 100_000}/{number}", (1, 1, 1)) for number in range(30)]
    for _ in range(3):
        beside.ask(share)
    for _ in range(3):
        portion = beside.answer()
        assert portion
        assert [str(outcome.error) for outcome in portion.outcomes] == [
            f"[Errno 36] File name too long: '{file.path}'" for file in share
        ]
        assert portion.rows.num_rows == 0
    beside.close()


def test_it_ends_with_the_one_that_began_it() -> None:
    begin = (
        "from pipeline.ingest import transcripts; b = transcripts._Beside(); print(b._process.pid, flush=True); input()"
    )
    parent = subprocess.Popen([sys.executable, "-c", begin], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert parent.stdout
    child = int(parent.stdout.readline())
    os.kill(child, 0)
    parent.send_signal(signal.SIGKILL)
    parent.communicate()
    deadline = time.monotonic() + 20
    while _runs(child) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not _runs(child)


def _runs(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_it_is_ended_when_a_run_is_interrupted(
    landed: Home, answers: list[transcripts.Portion | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[int] = []
    ask = transcripts._Beside.ask

    def asking(beside: Any, share: Any) -> None:
        begun.append(beside._process.pid)
        if answers:
            raise KeyboardInterrupt
        ask(beside, share)

    monkeypatch.setattr(transcripts._Beside, "ask", asking)
    with pytest.raises(KeyboardInterrupt):
        landed.ingest()
    assert begun
    assert not _runs(begun[0])


def test_it_starts_without_what_it_does_not_need() -> None:
    instead = transcripts.PROGRAM.replace(
        "transcripts.serve()", "print(*(name for name, found in sys.modules.items() if found))"
    )
    found = subprocess.run([sys.executable, "-c", instead], capture_output=True, text=True, check=True)
    modules = set(found.stdout.split())
    assert "pyarrow" in modules
    assert not modules & {"duckdb", "numpy", "pandas", "pyarrow.compute", "pipeline.ingest.loader", "pipeline.settings"}
