"""After a killed run or on a full disk, the last published state remains, and the next run completes the home.

Belongs here: whole runs that are disturbed at random moments, while somebody reads, and what Dagster then says of them.
Does not belong here: locks and publishing alone (test_warehouse), and what the tables hold (the other tests).

Every run is a process of its own, forked from one that has imported everything, so that it costs no start. By default
four runs are killed and three are asked to stop; `make crash` does so with twenty each.
"""

from __future__ import annotations

import contextlib
import csv
import datetime as dt
import gc
import hashlib
import io
import itertools
import json
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from commands import ENVIRONMENT, token_analytics

from pipeline import settings
from pipeline.cli import commands, interrupts, runs
from pipeline.store import warehouse
from tools import sample

KILLS = int(os.environ.get("TOKEN_ANALYTICS_TEST_KILLS", "4"))
INTERRUPTS = int(os.environ.get("TOKEN_ANALYTICS_TEST_INTERRUPTS", "3"))
SEED = 20260117
FILES = 60
BEGUN = 16  # files in a home before the interrupted run
FILLER = "filler"
START = "Starting"
# The progress messages of a run, in this order; the run starts before the first.
STAGES = (START, *(text for stage, text in runs.STAGES.items() if stage != "waiting"))
QUIET = {
    "TOKEN_ANALYTICS_SETTLE_SECONDS": "0",
    "TOKEN_ANALYTICS_USER_IDS": "plain",
    "TOKEN_ANALYTICS_ANALYSIS_SEGMENTS": "1",
}

# ------------------------------------------------------------------------------------------------- the landing


@dataclass(frozen=True)
class Landed:
    """A file, and its tokens in the marts by source."""

    name: str
    content: bytes
    console_tokens: int = 0
    session_tokens: int = 0


def small_landing() -> list[Landed]:
    """Small files of every format in a seeded order; no two share usage, so each adds its tokens."""
    chance = random.Random(SEED)
    truth = sample.ground_truth()
    days: dict[dt.date, list[sample.Request]] = {}
    for request in truth:
        days.setdefault(request.at.date(), []).append(request)
    files: list[Landed] = []
    for number, day in enumerate(chance.sample(sorted(days), 20)):
        requests = days[day][:25]
        total = sum(request.tokens.total for request in requests)
        rows = sample.usage_rows(requests, "day")
        if number % 10 == 0:
            rows.append([f"{day}", "claude-haiku-4-5-20251001", "k", "Default", "standard", "", 1, 1, 1, 1, -5, 0])
        files.append(Landed(f"console/claude_api_tokens_{day:%Y_%m_%d}.csv", _csv(rows), console_tokens=total))
        files.append(Landed(f"console/claude_api_cost_{day:%Y_%m_%d}.csv", _csv(sample.cost_rows(requests))))
    sessions: dict[str, list[sample.Request]] = {}
    for request in truth:
        if request.session and not request.agent:
            sessions.setdefault(request.session, []).append(request)
    of_tool = [own for own in sessions.values() if own[0].api_key == sample.DEVELOPERS and len(own) < 9]
    of_application = [own for own in sessions.values() if own[0].api_key in sample.APPLICATION_KEYS]
    for number, own in enumerate(chance.sample(of_tool, 12)):
        transcript = sample.Transcript(random.Random(number), own[0].session, "webshop")
        for place, request in enumerate(own):
            transcript.response(request, f"msg_{own[0].session}_{place}", f"req_{place}")
        transcript.tail = '{"type":"assistant","mess' if number % 10 == 0 else ""
        files.append(Landed(transcript.path, transcript.content, session_tokens=_tokens(own)))
    for number in range(FILES - len(files) - 1):
        table = chance.sample(of_application, 6)
        of_application = [own for own in of_application if own not in table]
        rows = [sample.session_row(own) for own in table]
        content = _csv([[*rows[0]], *(list(row.values()) for row in rows)])
        files.append(Landed(f"sessions/part_{number:02d}.csv", content, session_tokens=sum(map(_tokens, table))))
    files.append(Landed("notes.txt", b"no usage in it\n"))
    chance.shuffle(files)
    return files


def _tokens(requests: Sequence[sample.Request]) -> int:
    return sum(request.tokens.total for request in requests)


def _csv(rows: Sequence[Sequence[object]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def land(home: Path, files: Sequence[Landed]) -> None:
    for file in files:
        path = home / "landing" / file.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.content)


def state_of(files: Sequence[Landed]) -> list[int]:
    """The state after all of these are published: loaded files, tokens of console and of sessions."""
    loaded = sum(file.name != "notes.txt" for file in files)
    return [loaded, sum(file.console_tokens for file in files), sum(file.session_tokens for file in files)]


# ------------------------------------------------------------------------------------------------ interrupted runs


@dataclass(frozen=True)
class Ended:
    """The end of a run: exit code (negative: the signal), output, and when it reached each stage (s)."""

    code: int
    text: str
    stages: dict[str, float]
    seconds: float

    @property
    def last_stage(self) -> str:
        return list(self.stages)[-1]


class Server:
    """A process that has imported everything, and forks a run on demand."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run(self, home: Path, disturb_at: str = "", after_seconds: float = 0.0, by: str = "") -> Ended:
        """A whole run; `after_seconds` after stage `disturb_at` it gets the signal `by`, or its disk is filled."""
        assert self._process.stdin
        assert self._process.stdout
        order = {"home": str(home), "disturb_at": disturb_at, "after_seconds": after_seconds, "by": by}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "the server of runs has ended"
        return Ended(**json.loads(answer))


@contextlib.contextmanager
def _python(*arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
    """A Python process that has said its first line; it ends when its standard input is closed."""
    environment = ENVIRONMENT | QUIET
    with subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            if process.stdin and not process.stdin.closed:
                process.stdin.close()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the homes."""
    return tmp_path_factory.mktemp("crash")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    with _python(__file__, folder / "undisturbed") as process:
        yield Server(process)


def _serve(folder: Path) -> None:
    """An undisturbed run in this process, which imports and parses everything; then fork one run per order."""
    import tqdm

    # Its watchdog is a thread, and a fork has none of its parent's threads.
    tqdm.tqdm.monitor_interval = 0
    land(folder, small_landing())
    done = token_analytics("run", "--home", folder, keeps_history=True)
    assert done.code == 0, done
    assert threading.active_count() == 1
    gc.freeze()
    _say("ready")
    for line in sys.stdin:
        _say(json.dumps(asdict(_forked(**json.loads(line)))))


def _forked(home: str, disturb_at: str, after_seconds: float, by: str) -> Ended:
    read_end, write_end = os.pipe()
    began = time.monotonic()
    child = os.fork()
    if not child:
        _become_a_run(home, write_end)
    os.close(write_end)
    stages, text, deadline = {START: 0.0}, b"", float("inf")
    while True:
        now = time.monotonic() - began
        if disturb_at and deadline == float("inf") and _reached(stages, disturb_at):
            deadline = stages[list(stages)[-1]] + after_seconds
        if now >= deadline:
            disturb_at, deadline = "", float("inf")
            if by == "full disk":
                fill(Path(home))
            elif by == "SIGKILL":
                os.killpg(child, signal.SIGKILL)
            else:
                os.kill(child, signal.Signals[by])
        if select.select([read_end], [], [], min(0.5, max(0.0, deadline - now)))[0]:
            read = os.read(read_end, 65536)
            if not read:
                break
            text += read
            for line in text.decode(errors="replace").splitlines():
                stage = line.split(" (")[0].strip()
                if stage in STAGES:
                    stages.setdefault(stage, time.monotonic() - began)
    os.close(read_end)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    return Ended(code, text.decode(errors="replace"), stages, time.monotonic() - began)


def _reached(stages: Mapping[str, float], wanted: str) -> bool:
    return max(map(STAGES.index, stages)) >= STAGES.index(wanted)


def _become_a_run(home: str, write_end: int) -> None:
    code = 70
    try:
        os.setsid()
        os.dup2(write_end, 1)
        os.dup2(write_end, 2)
        sys.argv = ["token-analytics", "run", "--home", home]
        commands.main()
        code = 0
    except SystemExit as error:
        code = int(error.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


# ------------------------------------------------------------------------------------------------------ a reader

_STATE = """
select
    (select count(*) from ingest.files where status = 'loaded'),
    (select coalesce(sum(total_tokens), 0)::bigint from marts.token_usage_minutes where source = 'console'),
    (select coalesce(sum(total_tokens), 0)::bigint from marts.token_usage_minutes where source = 'sessions')
"""
# Tables of different stages, which must be of the same state.
_TIES = """
select
    (select sum(total_tokens) from marts.daily_usage) = (select sum(total_tokens) from marts.token_usage_minutes)
    and (select sum(total_tokens) from marts.token_usage_sessions)
        = (select sum(total_tokens) from marts.token_usage_minutes where source = 'sessions')
    and (select count(*) from ingest.rejected_rows) = (select sum(rows_rejected) from ingest.files)
    and (select n from analysis.tail_metrics where segment = 'all' and measure = 'session_total_tokens')
        = (select count(*) from marts.token_usage_sessions)
"""


# Opens the published file over and over until standard input ends; then prints each state that was new, and errors.
_POLLER = """
import json, select, sys
from pathlib import Path
import duckdb

published, state_query, ties_query = Path(sys.argv[1]), *sys.argv[2:]
print("ready", flush=True)
states, errors, polls = [], [], 0
while not select.select([sys.stdin], [], [], 0.2)[0]:
    polls += 1
    try:
        with duckdb.connect(str(published), read_only=True, config={"threads": "1"}) as connection:
            state = list(connection.execute(state_query).fetchall()[0])
            ties = connection.execute(ties_query).fetchall()
    except duckdb.Error as error:
        errors.append(str(error))
        continue
    if ties != [(True,)]:
        errors.append(f"tables of different states: {state}")
    states += [state] if [state] != states[-1:] else []
print(json.dumps({"states": states, "errors": errors, "polls": polls}), flush=True)
"""


# ------------------------------------------------------------------------------------------------------- kills


def tables(home: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Everything published, sorted, without times of loading, and what runs cost and found."""
    found = {}
    with warehouse.connect_published(settings.load(home)) as connection:
        for schema, table in connection.execute(
            "SELECT schema_name, table_name FROM duckdb_tables() "
            "WHERE table_name NOT IN ('run_stages', 'validation_results') ORDER BY ALL"
        ).fetchall():
            what = "* EXCLUDE (loaded_at)" if (schema, table) == ("ingest", "files") else "*"
            what = "* EXCLUDE (modified_ns, changed_ns)" if (schema, table) == ("ingest", "paths") else what
            # columns on the previous run, which depend on the runs and not on the data
            what = "* EXCLUDE (previous_verdict, verdict_changed)" if table == "tail_metrics" else what
            rows = connection.execute(f"SELECT {what} FROM {schema}.{table}").fetchall()
            found[f"{schema}.{table}"] = sorted(rows, key=repr)
    return found


@dataclass(frozen=True)
class Begun:
    """A home with a first published state, and how long each stage of its run took (s)."""

    home: Path
    seconds: dict[str, float]


@pytest.fixture(scope="module")
def begun(server: Server, folder: Path) -> Begun:
    home = folder / "begun"
    land(home, small_landing()[:BEGUN])
    killed = server.run(home, START, random.Random(SEED).random(), "SIGKILL")
    assert (killed.code, killed.last_stage) == (-signal.SIGKILL, START), killed.text
    ended = server.run(home)
    assert ended.code == 0, ended.text
    reached = [*ended.stages.values(), ended.seconds]
    lengths = (later - earlier for earlier, later in itertools.pairwise(reached))
    return Begun(home, dict(zip(ended.stages, lengths, strict=True)))


def random_moments(lengths: Mapping[str, float], count: int) -> list[tuple[str, float]]:
    """Random moments of a run as (stage, seconds after it was reached): one early in each stage, others anywhere."""
    chance = random.Random(SEED)
    early = [(stage, chance.random() * lengths[stage] / 3) for stage in STAGES]
    anywhere = chance.choices(list(lengths), list(lengths.values()), k=max(0, count - len(early)))
    moments = [*early, *((stage, chance.random() * lengths[stage]) for stage in anywhere)][-count:]
    chance.shuffle(moments)
    return moments


@dataclass(frozen=True)
class Disturbance:
    """A signal, some seconds after a run has reached a stage."""

    stage: str
    after_seconds: float
    by: str


def disturbances(lengths: Mapping[str, float]) -> list[Disturbance]:
    """Kills, and signals that tell a run to stop: one while dbt works, in threads of its own, and others anywhere."""
    chance = random.Random(SEED)
    # One more was killed in the fixture, before anything was published.
    kills = [Disturbance(*moment, "SIGKILL") for moment in random_moments(lengths, KILLS - 1)]
    moments = [
        ("Building marts", chance.random() * lengths["Building marts"]),
        *random_moments(lengths, INTERRUPTS - 1),
    ]
    return kills + [Disturbance(*moment, chance.choice(["SIGINT", "SIGTERM"])) for moment in moments]


def test_a_run_killed_or_told_to_stop_at_any_moment_costs_nothing_and_its_readers_never_notice(
    server: Server, begun: Begun, folder: Path
) -> None:
    home = folder / "disturbed"
    shutil.copytree(begun.home, home)
    files = small_landing()
    known = [state_of(files[:BEGUN])]
    planned = disturbances(begun.seconds)
    with _python("-c", _POLLER, home / "token_analytics.duckdb", _STATE, _TIES) as poller:
        killed_in: set[str] = set()
        for number, found in enumerate(planned):
            if number % 2 == 0:
                landed = files[: BEGUN + (FILES - BEGUN) * number // len(planned)]
                land(home, landed)
                known.append(state_of(landed))
            before, seconds = digest_of(home), found.after_seconds
            ended = server.run(home, found.stage, seconds, found.by)
            while ended.code == 0 and found.by == "SIGKILL":  # The run had already ended: again, with a shorter delay.
                before, seconds = digest_of(home), seconds / 2
                ended = server.run(home, found.stage, seconds, found.by)
            if found.by == "SIGKILL":
                assert ended.code == -signal.SIGKILL, ended.text
                killed_in.add(ended.last_stage)
                assert ended.last_stage in STAGES[-2:] or digest_of(home) == before
            elif ended.code != 0:
                assert_that_it_stopped_with_a_sentence(ended, found.by)
        land(home, files)
        ended = server.run(home)
        time.sleep(0.5)
        seen = json.loads(poller.communicate("")[0])
    assert ended.code == 0, ended.text
    assert len(killed_in) >= min(KILLS - 1, len(STAGES)) // 2, killed_in
    assert seen["errors"] == []
    assert seen["polls"] > 10 * len(planned)
    assert [state for state in seen["states"] if state not in [*known, state_of(files)]] == []
    assert seen["states"] == sorted(seen["states"])
    assert (seen["states"][0], seen["states"][-1]) == (known[0], state_of(files))

    assert tables(home) == tables(folder / "undisturbed")
    assert [path for path in home.rglob("*") if path.name.endswith(".next")] == []
    with dg.DagsterInstance.from_config(str(runs.dagster_home(settings.load(home)))) as instance:
        last, *others = [run.status for run in instance.get_runs()]
    assert last == dg.DagsterRunStatus.SUCCESS
    assert dg.DagsterRunStatus.FAILURE in others
    ended_states = {dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED}
    assert {*others} <= ended_states, "nobody waits for a run that is dead"


def digest_of(home: Path) -> dict[str, str]:
    """What is published, byte by byte."""
    files = [home / "token_analytics.duckdb", *(home / "outputs").glob("*.parquet")]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def assert_that_it_stopped_with_a_sentence(ended: Ended, by: str) -> None:
    """The sentence comes last, after the stages reached."""
    assert ended.code == 128 + signal.Signals[by], ended
    *stages, sentence = ended.text.splitlines()
    assert sentence == interrupts.SENTENCE
    assert {line.split(" (")[0] for line in stages} <= set(STAGES), ended


# ---------------------------------------------------------------------------------------------------- full disks


@pytest.fixture
def small_disk(folder: Path) -> Iterator[Path]:
    """A disk of 96 MB."""
    place = folder / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=96m", "tmpfs", str(place)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("this user cannot mount a tmpfs: a full disk is not tried")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_is_one_sentence_and_the_next_run_completes_the_work(
    server: Server, begun: Begun, small_disk: Path
) -> None:
    home = small_disk / "home"
    shutil.copytree(begun.home, home)
    files = small_landing()[: BEGUN + 12]
    land(home, files)
    before = tables(home)
    for stage in ("Loading files", "Publishing"):
        ended = server.run(home, stage, 0.01, by="full disk")
        last = ended.text.splitlines()[-1]
        assert ended.code == 2, ended.text
        assert last.startswith(f"token-analytics: the disk of {home} is full: free some space")
        assert all(line.split(" (")[0] in STAGES for line in ended.text.splitlines()[:-1]), ended.text
        assert tables(home) == before
        assert [path for path in home.rglob("*") if path.name.endswith(".next")] == []
        (home / FILLER).unlink()
    assert server.run(home).code == 0
    assert state_seen(home) == state_of(files)


def state_seen(home: Path) -> list[int]:
    with warehouse.connect_published(settings.load(home)) as connection:
        return list(connection.execute(_STATE).fetchall()[0])


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def fill(folder: Path) -> None:
    """Leave no space on the disk of `folder`."""
    with contextlib.suppress(OSError), (folder / FILLER).open("ab", buffering=0) as handle:
        while True:
            handle.write(bytes(65536))


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
