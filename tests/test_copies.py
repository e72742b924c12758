"""Sessions of agents that copy their parent's calls: each call counts once, for any landed files in any order.

Belongs here: random families of sessions against their actual calls (oracle.reported_calls), and each way to tell a
copy from an equal call. Does not belong here: other rules of the formats (test_call_logs).
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from conftest import Warehouse
from oracle import Session, reported_calls

START = dt.datetime(2026, 3, 2, 9)
Counts = tuple[int, int, int, int]  # input with cached, cached, written to the cache, output


def at(second: float) -> str:
    return (START + dt.timedelta(seconds=second)).isoformat(timespec="milliseconds") + "Z"


def lines(*entries: Any) -> str:
    return "\n".join(map(json.dumps, entries)) + "\n"


class Family:
    """Random sessions of one root, and the counts and times of their calls."""

    def __init__(self, name: str, chance: random.Random) -> None:
        self.name, self.chance = name, chance
        self.counts: dict[str, Counts] = {}
        self.seconds: dict[str, float] = {}
        self.began: dict[str, float] = {}
        self.sessions: list[Session] = []
        self._grow()

    def _grow(self) -> None:
        chance = self.chance
        equals: dict[str, Counts] = defaultdict(self._counts)
        for number in range(chance.randint(2, 5)):
            parent = chance.choice(self.sessions) if self.sessions else None
            inherited = chance.randint(1, len(parent.history)) if parent else 0
            name = f"{self.name}-{number}"
            self.began[name] = 100_000.0 * number
            calls = []
            for place in range(chance.randint(1, 4)):
                call = f"{name}/{place}"
                # The first calls of siblings are equal, but separate calls.
                self.counts[call] = equals[parent.name] if parent and place == 0 else self._counts()
                self.seconds[call] = self.began[name] + 60 * (place + 1) + chance.random()
                calls.append(call)
            self.sessions.append(Session(name, tuple(calls), parent, inherited))

    def _counts(self) -> Counts:
        read, write = self.chance.randrange(10**6), self.chance.randrange(10**5)
        return (read + write + self.chance.randrange(10**6), read, write, self.chance.randrange(1, 10**5))


# ---------- Codex


def usage(counts: Counts) -> dict[str, int]:
    total = {"total_tokens": counts[0] + counts[3]}
    names = ("input_tokens", "cached_input_tokens", "cache_write_input_tokens", "output_tokens")
    return dict(zip(names, counts, strict=True)) | total


def line(second: float, kind: str, payload: dict[str, Any]) -> dict[str, Any]:
    return {"timestamp": at(second), "type": kind, "payload": payload}


class Rollout:
    """The rollout of one session, as one of the versions of Codex writes it."""

    def __init__(self, family: Family, session: Session, parent: Rollout | None, is_parent_landed: bool) -> None:
        self.family, self.session, self.chance = family, session, family.chance
        # The counter after each call, which copies keep.
        self.totals: dict[str, Counts] = dict(parent.totals) if parent else {}
        self.entries: list[dict[str, Any]] = []
        self.held: list[str] = []
        self.total: Counts = (0, 0, 0, 0)
        # Copies with plausible new times can only be recognised with the parent's file.
        self.pace = self.chance.choice(["burst", "old"] + ["new", "slow"] * is_parent_landed)
        self.steps = family.chance.choice(["stated", "stated", "cumulative"])
        self._write()

    def _write(self) -> None:
        session, began = self.session, self.family.began[self.session.name]
        header = {"id": session.name, "cwd": "/w/shop", "model_provider": "openai", "timestamp": at(began)}
        if session.parent:
            stated_ids = self.chance.choice(
                [["id"], ["forked_from_id"], ["parent_thread_id", "id"], ["forked_from_id", "id"]]
            )
            header |= {name: session.parent.name for name in stated_ids if name != "id"}
        self.entries.append(line(began, "session_meta", header))
        if session.parent and "id" in stated_ids:
            self.entries.append(line(began, "session_meta", {"id": session.parent.name}))
        inherited = session.history[: session.inherited]
        for number, (_, call) in enumerate(inherited):
            pace = {
                "burst": began + 0.3 + number / 1000,
                "slow": began + 0.3 + number * 1.4,
                "old": self.family.seconds[call],
                "new": began + 3 + number * 9,
            }
            self._call(call, pace[self.pace], is_copy=True)
        if inherited and self.chance.random() < 0.2:
            # A resumed session starts its counter again.
            self.total = (0, 0, 0, 0)
        self.entries.append(line(began + 50, "turn_context", {"cwd": "/w/shop", "model": "gpt-5"}))
        for call in session.calls:
            self._call(call, self.family.seconds[call], is_copy=False)

    def _call(self, call: str, second: float, is_copy: bool) -> None:
        counts = self.family.counts[call]
        # As first written: a compaction has only a record, and so have some other calls.
        kind = random.Random(call).choice(["count", "count", "both", "compaction"])
        record = {"thread_id": call.split("/")[0], "response_id": f"resp-{call}", "usage": usage(counts)}
        if kind in ("both", "compaction") and not is_copy:
            self.entries.append(line(second, "token_usage_record", record))
        if kind == "compaction" and is_copy:
            return
        self.held.append(call)
        if kind == "compaction":
            return
        grown: Any = tuple(a + b for a, b in zip(self.total, counts, strict=True))
        self.total = self.totals[call] if is_copy else grown
        self.totals[call] = self.total
        info = {"total_token_usage": usage(self.total), "last_token_usage": usage(counts)}
        if self.steps == "cumulative":
            info["last_token_usage"] = None  # type: ignore[assignment]
        event = {"type": "token_count", "info": info}
        self.entries.append(line(second + 0.0001, "event_msg", event))
        if self.chance.random() < 0.3:
            self.entries.append(line(second + 0.0002, "event_msg", event))


def rollouts(family: Family) -> tuple[dict[str, str], dict[str, str]]:
    """Files of a family, some of them not landed, and the calls that they report."""
    missing = family.sessions[0].name if family.chance.random() < 0.3 else ""
    written: dict[str, Rollout] = {}
    for session in family.sessions:
        parent = written[session.parent.name] if session.parent else None
        written[session.name] = Rollout(family, session, parent, session.parent is family.sessions[0] and not missing)
    landed = {name: rollout for name, rollout in written.items() if name != missing}
    files = {f"rollout-{name}.jsonl": lines(*rollout.entries) for name, rollout in landed.items()}
    return files, reported_calls((rollout.session, rollout.held) for rollout in landed.values())


# ---------- OpenCode, Pi and Gemini


def opencode(family: Family) -> tuple[dict[str, str], dict[str, str]]:
    files, histories = {}, []
    states_times, keeps_ids = family.chance.random() < 0.5, family.chance.random() < 0.3
    # Its session ids decrease with time.
    names = {session.name: f"ses_{9 - number}{session.name}" for number, session in enumerate(family.sessions)}
    for session in family.sessions:
        began = family.began[session.name] if states_times else -(START - dt.datetime(1970, 1, 1)).total_seconds()
        messages = []
        for place, (_, call) in enumerate(session.history):
            wholly, read, write, output = family.counts[call]
            tokens = {"input": wholly - read - write, "output": output, "cache": {"read": read, "write": write}}
            created = epoch(family.seconds[call])
            name = call.replace("/", "_") if keeps_ids else f"{session.name}_{place}"
            info = {"id": f"msg_{name}", "sessionID": names[session.name], "role": "assistant"}
            model = {"modelID": "claude-sonnet-4-5", "providerID": "anthropic"}
            messages.append({"info": info | model | {"tokens": tokens, "time": {"created": created}}})
        info = {"id": names[session.name], "time": {"created": epoch(began)}}
        files[f"{session.name}.json"] = json.dumps({"info": info, "messages": messages}, indent=1)
        histories.append((session, [call for _, call in session.history]))
    makers = reported_calls(histories)
    return files, {call: names[maker] if states_times else "" for call, maker in makers.items()}


def epoch(second: float) -> int:
    return int((START.replace(tzinfo=dt.UTC) + dt.timedelta(seconds=second)).timestamp() * 1000)


def pi(family: Family) -> tuple[dict[str, str], dict[str, str]]:
    files, histories = {}, []
    keeps_ids = family.chance.random() < 0.7
    for session in family.sessions:
        header = {"type": "session", "version": 3, "id": session.name, "timestamp": at(family.began[session.name])}
        entries: list[dict[str, Any]] = [header | {"cwd": "/w/shop"}]
        for _, call in session.history:
            wholly, read, write, output = family.counts[call]
            counts = {"input": wholly - read - write, "output": output, "cacheRead": read, "cacheWrite": write}
            entry = {"id": call if keeps_ids else f"{session.name}:{call}", "timestamp": at(family.seconds[call])}
            kind = random.Random(call).choice(["assistant", "assistant", "toolResult", "compaction", "branch_summary"])
            if kind in ("compaction", "branch_summary"):
                entries.append(entry | {"type": kind, "usage": counts})
            else:
                message = {"role": kind, "usage": counts, "provider": "anthropic", "model": "claude-opus-4-5"}
                entries.append(entry | {"type": "message", "message": message})
        files[f"{session.name}.jsonl"] = lines(*entries)
        histories.append((session, [call for _, call in session.history]))
    return files, reported_calls(histories)


def gemini(family: Family) -> tuple[dict[str, str], dict[str, str]]:
    files, histories = {}, []
    keeps_ids = family.chance.random() < 0.7
    for session in family.sessions:
        # Some forks state the time of their parent.
        began = session.parent if session.parent and family.chance.random() < 0.3 else session
        messages = []
        for _, call in session.history:
            wholly, read, write, output = family.counts[call]
            family.counts[call] = (wholly - write, read, 0, output)
            messages.append({
                "id": call if keeps_ids else f"{session.name}:{call}", "timestamp": at(family.seconds[call]),
                "type": "gemini", "model": "gemini-2.5-pro",
                "tokens": {"input": wholly - write, "cached": read, "output": output, "thoughts": 0, "tool": 0},
            })  # fmt: skip
        header = {"sessionId": session.name, "projectHash": "h", "startTime": at(family.began[began.name])}
        files[f"{session.name}.json"] = json.dumps(header | {"messages": messages}, indent=1)
        histories.append((session, [call for _, call in session.history]))
    return files, reported_calls(histories)


# ---------- Claude Code


@dataclass(frozen=True)
class Report:
    """A call as a transcript reports it: time and ids."""

    second: float
    uuid: str
    request: str | None


class Transcripts:
    """The transcripts of a family: ids of the provider or of a gateway, with or without a request id."""

    def __init__(self, family: Family) -> None:
        self.family, self.chance = family, family.chance
        self.is_gateways, self.states_requests = self.chance.random() < 0.5, self.chance.random() < 0.5
        self.missing = family.sessions[0].name if self.chance.random() < 0.3 else ""
        # Under a gateway's id, which all calls share, copies are recognised by their times or their own ids.
        changes = (
            ("times", "ids", "") if self.is_gateways and not self.states_requests else ("times", "ids", "both", "")
        )
        self.change = {session.name: self.chance.choice(changes) for session in family.sessions}
        if self.missing and self.is_gateways and not self.states_requests:
            self.change = dict.fromkeys(self.change, self.chance.choice(changes))
        self.reports: dict[str, dict[str, Report]] = {}
        self.by_agents = {call for call in family.counts if self.chance.random() < 0.2}

    def files(self) -> tuple[dict[str, str], dict[str, str]]:
        files: dict[str, str] = {}
        for session in self.family.sessions:
            self.reports[session.name] = held = self._held(session)
            main = [call for call in held if call not in self.by_agents]
            files[f"{session.name}.jsonl"] = self._lines(session, main)
            agents = [call for call in held if call in self.by_agents]
            if agents:
                files[f"{session.name}/subagents/agent-1.jsonl"] = self._lines(session, agents)
        landed = [session for session in self.family.sessions if session.name != self.missing]
        makers = reported_calls((session, [*self.reports[session.name]]) for session in landed)
        # A call that only copies report belongs to the copy written first.
        for call in makers:
            holders = [session.name for session in landed if call in self.reports[session.name]]
            makers[call] = min(holders, key=lambda name: (at(self.reports[name][call].second), name))
        return {
            name: text for name, text in files.items() if name.split("/")[0].removesuffix(".jsonl") != self.missing
        }, makers

    def _held(self, session: Session) -> dict[str, Report]:
        change, parent = self.change[session.name], self.reports.get(session.parent.name if session.parent else "", {})
        drops_requests = self.chance.random() < 0.3 and not self.is_gateways
        held = {}
        for maker, call in session.history:
            if maker is session:
                request = f"req_{call}" if self.states_requests else None
                held[call] = Report(self.family.seconds[call], f"u-{call}", request)
            elif call in parent and call not in self.by_agents:
                was = parent[call]
                held[call] = Report(
                    was.second + (5000 if change in ("times", "both") else 0),
                    was.uuid + (f"+{session.name}" if change in ("ids", "both") else ""),
                    None if drops_requests else was.request,
                )
        return held

    def _lines(self, session: Session, calls: Sequence[str]) -> str:
        entries = []
        for call in calls:
            wholly, read, write, output = self.family.counts[call]
            report = self.reports[session.name][call]
            # A streamed response is written several times as it grows.
            outputs = sorted({*random.Random(call).choices(range(1, output + 1), k=2), output})
            for place, so_far in enumerate(outputs):
                usage = {
                    "input_tokens": wholly - read - write, "cache_read_input_tokens": read,
                    "cache_creation_input_tokens": write, "output_tokens": so_far,
                }  # fmt: skip
                number = hashlib.md5(call.encode(), usedforsecurity=False).hexdigest()[:20]
                name = "msg_1" if self.is_gateways else f"msg_{number}"
                entry = {
                    "type": "assistant", "sessionId": session.name, "uuid": f"{report.uuid}.{place}", "cwd": "/w/shop",
                    "isSidechain": call in self.by_agents, "timestamp": at(report.second + place / 10),
                    "message": {"id": name, "model": "claude-sonnet-4-5", "usage": usage},
                }  # fmt: skip
                entry |= {"requestId": report.request} if report.request else {}
                entries.append(entry | ({"agentId": "1"} if call in self.by_agents else {}))
        return lines(*entries)


def claude(family: Family) -> tuple[dict[str, str], dict[str, str]]:
    return Transcripts(family).files()


WRITERS = {
    "codex": (rollouts, 10),
    "claude_code": (claude, 20),
    "opencode": (opencode, 3),
    "pi": (pi, 3),
    "gemini_cli": (gemini, 3),
}


def test_each_call_of_a_family_of_sessions_counts_once_and_for_the_session_that_made_it(models, new_home):
    chance = random.Random(0)
    files: dict[str, str] = {}
    wanted: dict[tuple[str, str], list[Counts]] = defaultdict(list)
    for name, (write, count) in WRITERS.items():
        for number in range(count):
            family = Family(f"{name}{number}", chance)
            written, makers = write(family)
            files |= written
            for call, maker in makers.items():
                wanted[name, maker].append(family.counts[call])
    names = chance.sample(sorted(files), len(files))
    kept_up = Warehouse(models, new_home(), "marts.requests")
    for portion in (names[::3], names[1::3], names[2::3]):
        kept_up.home.land({name: files[name] for name in portion})
        kept_up.update(10**9)
    found: dict[tuple[str, str], list[Counts]] = defaultdict(list)
    for source, session, *counts in kept_up.connection.execute("""
        SELECT source_format, session_id, input_tokens_no_cache, input_tokens_cache_read,
            input_tokens_cache_write_5m + input_tokens_cache_write_1h, output_tokens
        FROM marts.requests
    """).fetchall():
        no_cache, read, write, output = counts
        maker = session if (source, session) in wanted else ""
        found[source, maker].append((no_cache + read + write, read, write, output))
    assert {key: sorted(calls) for key, calls in found.items()} == {key: sorted(calls) for key, calls in wanted.items()}
    assert kept_up.marts() == kept_up.rebuilt()


def test_a_copy_of_a_copy_that_was_written_slowly_is_the_call_of_whom_all_of_them_name(models):
    def rollout(name: str, day: int, parent: str, *counters: tuple[int, int]) -> str:
        begun = day * 86_400.0
        header = {"id": name, "timestamp": at(begun)} | ({"parent_thread_id": parent} if parent else {})
        counts = []
        for place, (total, step) in enumerate(counters):
            info = {"total_token_usage": usage((total, 0, 0, 1)), "last_token_usage": usage((step, 0, 0, 1))}
            counts.append(line(begun + 10 + 7 * place, "event_msg", {"type": "token_count", "info": info}))
        return lines(line(begun, "session_meta", header), *counts)

    root, child, grandchild = (100, 100), (250, 150), (450, 200)
    files = {
        "1": rollout("a", 0, "", root),
        "2": rollout("b", 1, "a", root, child),
        "3": rollout("c", 2, "b", root, child, grandchild),
    }
    for landed in (files, dict(reversed(files.items()))):
        with models.over(landed, "marts.requests") as connection:
            query = "SELECT session_id, input_tokens_no_cache FROM marts.requests ORDER BY ALL"
            found = connection.execute(query).fetchall()
        assert found == [("a", 100), ("b", 150), ("c", 200)]
