"""Cost of tracking a call, and whether every acknowledged event arrives exactly once while processes are killed.

    python bench/tracker.py                          # both: 200,000 events, 4 processes of 32 threads, 40 kills
    python bench/tracker.py --events 20000 --no-cost

Prints one Markdown table; the exit code is 1 if a bound is missed. The processes are forked from one that has
tracked before them; each killed one (SIGKILL) is started again and goes on with the calls without acknowledgement.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tracker"))
from token_analytics_tracker import TokenTracker

COST_BOUND = 5.0
RESPONSE = {
    "id": "msg_013Zva2CMHLNnXjNJJKqJ2EF",
    "type": "message",
    "model": "claude-sonnet-4-5-20250929",
    "content": [{"type": "text", "text": "An answer. " * 200}],
    "usage": {
        "input_tokens": 2095,
        "cache_creation_input_tokens": 1024,
        "cache_read_input_tokens": 51200,
        "cache_creation": {"ephemeral_5m_input_tokens": 1024, "ephemeral_1h_input_tokens": 0},
        "output_tokens": 503,
        "server_tool_use": {"web_search_requests": 1},
        "service_tier": "standard",
    },
}


def main() -> int:
    """Run the requested parts, print them, and return whether the bounds hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--threads", type=int, default=32, help="of each process")
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--no-cost", action="store_true")
    arguments = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")
    print("| what | measured | bound |\n|---|---|---|")
    holds = True
    with tempfile.TemporaryDirectory(prefix="tracker-bench-") as folder:
        if not arguments.no_cost:
            holds &= print_cost(Path(folder) / "cost")
        if arguments.events:
            holds &= print_kills(Path(folder), arguments)
    return 0 if holds else 1


def print_cost(folder: Path) -> bool:
    """CPU time of one call, compared with json.dumps and os.write of the same event."""
    tracker = TokenTracker("anthropic", folder, api_key="backend", workspace="Default")
    details = {"conversation_id": "conversation-0001", "user_id": "user-42", "metadata": {"project": "webshop"}}
    tracker.track(response=RESPONSE, **details)
    (path,) = folder.iterdir()
    event = json.loads(path.read_text())
    descriptor = os.open(folder / "bare.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    rounds, calls = 15, 4000
    bare, tracked = [], []
    for _ in range(rounds):
        began = time.process_time()
        for _ in range(calls):
            os.write(descriptor, (json.dumps(event) + "\n").encode())
        between = time.process_time()
        for _ in range(calls):
            tracker.track(response=RESPONSE, **details)
        bare.append((between - began) / calls)
        tracked.append((time.process_time() - between) / calls)
    ratio = statistics.median(one / other for one, other in zip(tracked, bare, strict=True))
    micro = [f"{statistics.median(values) * 1e6:.1f} us" for values in (tracked, bare)]
    print(f"| one call / bare json.dumps + os.write ({micro[0]} / {micro[1]}) | {ratio:.2f} | {COST_BOUND:.0f} |")
    return ratio <= COST_BOUND and not tracker.errors


def work(tracker: TokenTracker, units: list[int], acknowledged: Path, threads: int) -> None:
    """Track each unit once, and record its acknowledgement in a second write after the tracker's."""
    notes = os.open(acknowledged, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def track(mine: list[int]) -> None:
        for unit in mine:
            event_id = tracker.track(conversation_id=f"unit-{unit}", input_tokens=unit, output_tokens=1)
            if event_id:
                os.write(notes, f"{unit} {event_id}\n".encode())

    pool = [threading.Thread(target=track, args=(units[i::threads],)) for i in range(threads)]
    for thread in pool:
        thread.start()
    for thread in pool:
        thread.join()


def acknowledgements(folder: Path, share: str = "*") -> dict[int, str]:
    """Unit -> event id, from whole lines only: a kill may have cut the last one."""
    found = {}
    for path in folder.glob(f"{share}-*"):
        for line in path.read_bytes().split(b"\n")[:-1]:
            unit, event_id = line.decode().split(" ")
            found[int(unit)] = event_id
    return found


def print_kills(folder: Path, arguments: argparse.Namespace) -> bool:
    """Track in processes that are killed and restarted; then compare acknowledged events with stored ones."""
    events, notes = folder / "events", folder / "acknowledged"
    notes.mkdir()
    chance = random.Random(arguments.seed)
    tracker = TokenTracker("anthropic", events, rotate_bytes=1 << 20)
    before_forks: list[str] = []
    running: dict[int, int] = {}
    generation = 0

    def start(share: int) -> None:
        nonlocal generation
        generation += 1
        before_forks.append(tracker.track(conversation_id="parent", input_tokens=0, output_tokens=0))
        known = acknowledgements(notes, str(share))
        units = [unit for unit in range(share, arguments.events, arguments.processes) if unit not in known]
        child = os.fork()
        if not child:
            work(tracker, units, notes / f"{share}-{generation}", arguments.threads)
            os._exit(0)
        running[child] = share

    began = time.monotonic()
    for share in range(arguments.processes):
        start(share)
    killed = 0
    doomed: set[int] = set()
    bytes_a_note = len(f"{arguments.events // 2} {before_forks[0]}\n") + 3
    while running:
        while running and (ended := os.waitpid(-1, os.WNOHANG))[0]:
            share = running.pop(ended[0])
            if os.WIFSIGNALED(ended[1]):
                killed += 1
                start(share)
        written = sum(path.stat().st_size for path in notes.iterdir())
        # All kills are due before 80% of the calls are tracked: an ended process cannot be killed.
        due = min(arguments.kills, int(written / bytes_a_note / arguments.events * arguments.kills / 0.8))
        alive = [child for child in running if child not in doomed]
        if alive and len(doomed) < due:
            doomed.add(chosen := chance.choice(alive))
            os.kill(chosen, signal.SIGKILL)
        time.sleep(0.002)
    seconds = time.monotonic() - began

    arrived: Counter[str] = Counter()
    unit_of: dict[str, str] = {}
    torn = 0
    for path in events.iterdir():
        *lines, rest = path.read_bytes().split(b"\n")
        torn += bool(rest)
        for line in lines:
            event = json.loads(line)
            arrived[event["event_id"]] += 1
            unit_of[event["event_id"]] = f"{event['conversation_id']} {event['usage']['input_tokens']}"
    known = acknowledgements(notes)
    lost = sum(not arrived[event_id] for event_id in [*known.values(), *before_forks])
    twice = sum(count > 1 for count in arrived.values())
    wrong = sum(unit_of.get(event_id) != f"unit-{unit} {unit}" for unit, event_id in known.items())
    unacknowledged = len(arrived) - len(known) - len(before_forks)
    print(f"| events acknowledged, of {arguments.events} ({seconds:.1f} s) | {len(known)} | {arguments.events} |")
    print(f"| processes killed, each with {arguments.threads} threads | {killed} | half of {arguments.kills} |")
    print(f"| acknowledged events that did not arrive | {lost} | 0 |")
    print(f"| events that arrived twice | {twice} | 0 |")
    print(f"| events that arrived with other numbers | {wrong} | 0 |")
    most = arguments.kills * arguments.threads
    print(f"| events that arrived without an acknowledgement (killed between the two) | {unacknowledged} | {most} |")
    print(f"| half lines at the end of a killed process's file | {torn} | {arguments.kills} |")
    return (
        len(known) == arguments.events
        and 2 * killed >= arguments.kills
        and (lost, twice, wrong) == (0, 0, 0)
        and 0 <= unacknowledged <= most
        and torn <= arguments.kills
    )


if __name__ == "__main__":
    sys.exit(main())
