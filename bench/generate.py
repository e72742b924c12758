"""Synthetic inputs of any size for the benchmarks: console CSV, session tables, Claude Code transcripts.

Belongs here: files that look like real ones in shape and size, the same for the same seed on every machine. Does not
belong here: measuring (the other scripts of this folder), and the sample that ships with the product.

usage: python bench/generate.py console usage.csv --rows 10000000 --days 365 --bad 0.0001
       python bench/generate.py sessions sessions.parquet --rows 1000000
       python bench/generate.py transcripts TREE --lines 1000000 --files 5000
       python bench/generate.py transcript one.jsonl --bytes 700000000
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

Numbers = npt.NDArray[np.int64]

SEED = 20251128
FIRST_DAY = np.datetime64("2025-01-01", "s")
CHUNK_ROWS = 500_000
MODELS = (
    "claude-sonnet-4-5-20250929", "claude-haiku-4-5-20251001", "claude-opus-4-5-20251101",
    "claude-sonnet-4-20250514", "claude-opus-4-1-20250805", "claude-3-5-haiku-20241022",
)  # fmt: skip
MODEL_SHARES = (0.45, 0.25, 0.15, 0.08, 0.04, 0.03)
API_KEYS = (*(f"service-{i:02d}" for i in range(38)), "Support, EU", "")
WORKSPACES = ("Default", "Production", "Research, EU", "Staging")
CONTEXT_WINDOWS = ("≤ 200k", "> 200k")
USAGE_TYPES = ("standard", "batch")
COMBINATIONS = len(MODELS) * len(API_KEYS) * len(CONTEXT_WINDOWS) * len(USAGE_TYPES)
# Coprime to COMBINATIONS (960): the rows of one minute never repeat a combination, so the grain stays unique.
COMBINATION_STEP = 389


# -- console usage export --------------------------------------------------------------------------


def console_chunk(first: int, count: int, rows: int, first_day: int, days: int, bad: float, seed: int) -> pa.Table:
    """Rows first..first + count of a console usage export of `rows` rows, in order of time."""
    rng = np.random.default_rng([seed, first_day, first])
    row = np.arange(first, first + count, dtype=np.int64)
    minutes = days * 1440
    minute = row * minutes // rows
    first_of_minute = -(-minute * rows // minutes)
    combination = (minute * 7919 + (row - first_of_minute) * COMBINATION_STEP) % COMBINATIONS
    model, rest = combination % len(MODELS), combination // len(MODELS)
    key, rest = rest % len(API_KEYS), rest // len(API_KEYS)
    window, kind = rest % 2, rest // 2
    first_minute = int(minute[0])
    start = FIRST_DAY + np.timedelta64(first_day * 1440 + first_minute, "m")
    stamps = (start + np.arange(int(minute[-1]) - first_minute + 1).astype("timedelta64[m]")).astype("datetime64[m]")
    dates = [*np.char.replace(stamps.astype("U16"), "T", " ").tolist(), "soon"]
    date = minute - first_minute
    output = rng.lognormal(5.5, 1.2, count).astype(np.int64)
    if bad:
        is_bad = rng.random(count) < bad
        fault = rng.integers(0, 3, count)
        date[is_bad & (fault == 0)] = len(dates) - 1
        model[is_bad & (fault == 1)] = len(MODELS)
        output = np.where(is_bad & (fault == 2), -output - 1, output)
    cached = rng.random(count) < 0.7
    return pa.table(
        {
            "usage_date_utc": _labels(date, dates),
            "model_version": _labels(model, [*MODELS, ""]),
            "api_key": _labels(key, API_KEYS),
            "workspace": _labels(key % len(WORKSPACES), WORKSPACES),
            "usage_type": _labels(kind, USAGE_TYPES),
            "context_window": _labels(window, CONTEXT_WINDOWS),
            "usage_input_tokens_no_cache": _tokens(rng, 6, 1.5, np.full(count, True)),
            "usage_input_tokens_cache_write_5m": _tokens(rng, 7, 1.2, cached),
            "usage_input_tokens_cache_write_1h": _tokens(rng, 7, 1.0, rng.random(count) < 0.1),
            "usage_input_tokens_cache_read": _tokens(rng, 9, 1.4, cached),
            "usage_output_tokens": output,
            "web_search_count": rng.poisson(0.02, count),
            "inference_geo": _labels(np.zeros(count, np.int64), ["not_available"]),
            "speed": _labels(np.zeros(count, np.int64), ["standard"]),
        }
    )


def _labels(index: Numbers, names: Sequence[str]) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(index.astype(np.int32)), pa.array(names, pa.string()))


def _tokens(rng: np.random.Generator, mean: float, sigma: float, where: npt.NDArray[np.bool_]) -> Numbers:
    return np.where(where, rng.lognormal(mean, sigma, len(where)), 0).astype(np.int64)


def _bad_rows(chunk: pa.Table) -> int:
    import pyarrow.compute as pc

    dates, versions = (pc.cast(chunk[name], pa.string()) for name in ("usage_date_utc", "model_version"))
    faults = pc.or_(pc.equal(dates, "soon"), pc.equal(versions, ""))
    return int(pc.sum(pc.or_(faults, pc.less(chunk["usage_output_tokens"], 0))).as_py() or 0)


def console_csv(path: Path, rows: int, days: int = 365, first_day: int = 0, bad: float = 0.0, seed: int = SEED) -> int:
    """Write a console usage export with 14 columns, one row a minute and combination of dimensions.

    Args:
        path: the file.
        rows: data rows, bad ones included; at most 1440 x 960 a day.
        days: UTC days that the rows are spread over, evenly.
        first_day: first of these days, counted from 2025-01-01.
        bad: share of rows that cannot be loaded (a date, a model or a count is wrong); with it, two more lines that are
            no rows of this CSV end the file.
        seed: of the token counts.

    Returns:
        Bad rows in the file.

    """
    if rows > days * 1440 * COMBINATIONS:
        raise ValueError(f"{rows} rows do not fit into {days} days without repeating the grain")
    bad_rows = 0

    def batches() -> Iterator[pa.RecordBatch]:
        nonlocal bad_rows
        for first in range(0, rows, CHUNK_ROWS):
            chunk = console_chunk(first, min(CHUNK_ROWS, rows - first), rows, first_day, days, bad, seed)
            bad_rows += _bad_rows(chunk) if bad else 0
            yield from chunk.to_batches()

    schema = console_chunk(0, 1, rows, first_day, days, 0, seed).schema
    with duckdb.connect(config={"threads": "1", "preserve_insertion_order": "true"}) as connection:
        connection.execute("SET enable_progress_bar = false")
        connection.register("rows_arrow", pa.RecordBatchReader.from_batches(schema, batches()))
        connection.execute(f"COPY (FROM rows_arrow) TO '{path}' (FORMAT csv, HEADER)")
    if bad:
        with path.open("a", encoding="utf-8") as handle:
            handle.write("2025-01-01 00:00,claude-haiku-4-5-20251001,service-01\n")
            handle.write(
                "2025-01-01 00:00,claude-haiku-4-5-20251001,service-01,Default,standard,≤ 200k,many,0,0,0,1,0,,\n"
            )
        bad_rows += 2
    return bad_rows


# -- token_usage_sessions --------------------------------------------------------------------------


def session_table(path: Path, rows: int, days: int = 365, seed: int = SEED) -> None:
    """Write rows of the application's table token_usage_sessions, as CSV or Parquet by the suffix of `path`."""

    def batches() -> Iterator[pa.RecordBatch]:
        for first in range(0, rows, CHUNK_ROWS):
            count = min(CHUNK_ROWS, rows - first)
            rng = np.random.default_rng([seed, first])
            started = FIRST_DAY + rng.integers(0, days * 86400, count).astype("timedelta64[s]")
            writes = np.where(rng.random(count) < 0.6, rng.lognormal(8, 1.3, count), 0).astype(np.int64)
            number = np.arange(first, first + count)
            yield from pa.table(
                {
                    "session_id": np.char.add("session-", number.astype("U12")),
                    "user_id": np.char.add("user-", (rng.zipf(1.6, count) % 500).astype("U4")),
                    "session_started_at": started,
                    "last_updated_at": started + rng.lognormal(5, 1.5, count).astype("timedelta64[s]"),
                    "model": np.array(MODELS)[rng.choice(len(MODELS), count, p=MODEL_SHARES)],
                    "api_key": np.array(API_KEYS)[rng.integers(0, 38, count)],
                    "workspace": np.array(WORKSPACES)[rng.integers(0, 4, count)],
                    "input_tokens": rng.lognormal(7, 1.5, count).astype(np.int64),
                    "output_tokens": rng.lognormal(6.5, 1.3, count).astype(np.int64),
                    "cache_read_tokens": np.where(writes > 0, rng.lognormal(10, 1.4, count), 0).astype(np.int64),
                    "cache_creation_tokens": writes,
                    "cache_creation_5m_tokens": writes,
                    "cache_creation_1h_tokens": np.zeros(count, np.int64),
                }
            ).to_batches()

    stream = batches()
    head = next(stream)

    def all_batches() -> Iterator[pa.RecordBatch]:
        yield head
        yield from stream

    kind = "parquet" if path.suffix == ".parquet" else "csv, HEADER"
    with duckdb.connect(config={"threads": "1", "preserve_insertion_order": "true"}) as connection:
        connection.execute("SET enable_progress_bar = false")
        connection.register("rows_arrow", pa.RecordBatchReader.from_batches(head.schema, all_batches()))
        connection.execute(f"COPY (FROM rows_arrow) TO '{path}' (FORMAT {kind})")


# -- Claude Code transcripts -----------------------------------------------------------------------


@dataclass(frozen=True)
class TranscriptShape:
    """How transcripts look; shares are of assistant lines or of files.

    Attributes:
        repeats: share of assistant lines that continue a streamed response: same ids, growing output_tokens.
        line_bytes: bytes on disk for each assistant line, other lines included.
        user_lines: lines of the user for each assistant line.
        subagent_files: share of files in `<session>/subagents/`.
        forked_files: share of session files that start with the lines of another session.
        cut_files: share of files whose last line is half-written.
        replays: share of a subagent's responses that its session repeats without a requestId.
        days: the sessions start on these many days from 2025-01-01.
        seed: of everything.

    """

    repeats: float = 0.3
    line_bytes: int = 1300
    user_lines: float = 0.3
    subagent_files: float = 0.2
    forked_files: float = 0.05
    cut_files: float = 0.01
    replays: float = 0.02
    days: int = 90
    seed: int = SEED


WORDS = """
the cache holds a session whose tokens were counted twice because two exports overlap so we read both files again and
keep the finer grain where it covers the day return value function test passes fails import module naïve café ≤ 200k
path line error retry commit branch merge usage report
"""
USER_LINE_BYTES = 600
USER_LINE = (
    '{"parentUuid":"%s","isSidechain":%s,"userType":"external","cwd":"%s","sessionId":"%s","version":"2.1.40",'
    '"gitBranch":"main","type":"user","message":{"role":"user","content":[{"tool_use_id":"toolu_01%s","type":'
    '"tool_result","content":"%s"}]},"uuid":"%s","timestamp":"%s"}\n'
)
ASSISTANT_LINE = (
    '{"parentUuid":"%s","isSidechain":%s,"userType":"external","cwd":"%s","sessionId":"%s","version":"2.1.40",'
    '"gitBranch":"main","message":{"model":"%s","id":"%s","type":"message","role":"assistant","content":[{"type":"%s",'
    '"text":"%s"}],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":%d,"cache_creation_input_tokens":%d,'
    '"cache_read_input_tokens":%d,"cache_creation":{"ephemeral_5m_input_tokens":%d,"ephemeral_1h_input_tokens":%d},'
    '"output_tokens":%d,"service_tier":"standard","inference_geo":"not_available","server_tool_use":'
    '{"web_search_requests":0,"web_fetch_requests":0},"speed":"standard"}}%s,"type":"assistant","uuid":"%s",'
    '"timestamp":"%s"}\n'
)
ASSISTANT_LINE_BYTES = 925  # without its text


def _texts(mean_bytes: float, seed: int, count: int = 4096) -> list[str]:
    """JSON-escaped texts of variable length (lognormal) and the given mean."""
    rng = np.random.default_rng([seed, 1])
    lengths = rng.lognormal(0, 0.8, count)
    lengths = np.maximum(lengths * mean_bytes / lengths.mean(), 1)
    words = [
        json.dumps(word, ensure_ascii=False)[1:-1] for word in [*WORDS.split(), '"quoted"', "tab\there", "new\nline"]
    ]
    stock = " ".join(words[i] for i in rng.integers(0, len(words), 60_000))
    texts = []
    for length in lengths.astype(int).tolist():
        start = stock.index(" ", int(rng.integers(0, len(stock) - 40_000))) + 1
        piece = stock[start : start + length]
        texts.append(piece.rsplit(" ", 1)[0] + "." * (len(piece) - len(piece.rsplit(" ", 1)[0])))
    return texts


class Transcripts:
    """Lines of transcripts: a file depends only on its number, so any file can be made again."""

    def __init__(self, shape: TranscriptShape) -> None:
        self.shape = shape
        self._user_texts = _texts(USER_LINE_BYTES - 390, shape.seed)
        user_bytes = shape.user_lines * (1 - shape.repeats) * USER_LINE_BYTES
        mean = max(shape.line_bytes - user_bytes - ASSISTANT_LINE_BYTES, 1)
        self._texts = _texts(mean, shape.seed + 1)

    def session_id(self, number: int) -> str:
        """The session of file `number`, in the form of a UUID."""
        return _uuid(np.random.default_rng([self.shape.seed, 2, number]).bytes(16).hex())

    def lines(self, number: int, count: int, *, session: str = "", sidechain: bool = False, part: int = 0) -> list[str]:
        """`count` assistant lines of file `number`, the user's lines between them; `part` counts stretches."""
        shape = self.shape
        rng = np.random.default_rng([shape.seed, 3, number, part])
        session = session or self.session_id(number)
        cwd = f"/home/dev/code/project-{number % 50:02d}"
        ids = rng.bytes(48 * count).hex()
        is_repeat = (rng.random(count) < shape.repeats).tolist()
        is_repeat[:1] = [False]
        text = rng.integers(0, len(self._texts), count).tolist()
        kind = rng.choice(["text", "text", "thinking"], count).tolist()
        model = rng.choice(len(MODELS), p=MODEL_SHARES)
        models = np.where(rng.random(count) < 0.9, model, rng.integers(0, len(MODELS), count)).tolist()
        no_cache = rng.integers(1, 20, count).tolist()
        write = rng.lognormal(6.5, 1.4, count).astype(int)
        is_hour = rng.random(count) < 0.2
        write_1h, write_5m = np.where(is_hour, write, 0).tolist(), np.where(is_hour, 0, write).tolist()
        read = rng.lognormal(10.3, 0.9, count).astype(int).tolist()
        output = (rng.lognormal(5.2, 1.1, count).astype(int) + 2).tolist()
        started = FIRST_DAY + np.timedelta64(int(rng.integers(0, shape.days * 86400)), "s")
        elapsed = (rng.exponential(20, count).cumsum() * 1000 + part * 10_000_000).astype("timedelta64[ms]")
        stamps = np.char.add((started.astype("datetime64[ms]") + elapsed).astype("U23"), "Z").tolist()
        has_user = (rng.random(count) < shape.user_lines).tolist()
        side = "true" if sidechain else "false"
        made: list[str] = []
        parent = _uuid(ids[:32])
        response = request = ""
        kept: tuple[str, int, int, int, int, int, int] = ("", 0, 0, 0, 0, 0, 0)
        for i in range(count):
            hexes = ids[96 * i : 96 * i + 96]
            uuid = _uuid(hexes[:32])
            if is_repeat[i]:
                kept = (*kept[:6], kept[6] + output[i])
            else:
                if has_user[i]:
                    user_text = self._user_texts[text[i]]
                    made.append(
                        USER_LINE % (parent, side, cwd, session, hexes[70:92], user_text, _uuid(hexes[8:40]), stamps[i])
                    )
                response, request = f"msg_01{hexes[32:54]}", f',"requestId":"req_011C{hexes[54:74]}"'
                kept = (
                    MODELS[models[i]],
                    no_cache[i],
                    write_5m[i] + write_1h[i],
                    read[i],
                    write_5m[i],
                    write_1h[i],
                    output[i],
                )
            made.append(
                ASSISTANT_LINE
                % (
                    parent, side, cwd, session, kept[0], response, kind[i], self._texts[text[i]], *kept[1:],
                    request, uuid, stamps[i],
                )
            )  # fmt: skip
            parent = uuid
        return made

    def file(self, number: int, counts: list[int], sessions: int) -> list[str]:
        """All lines of file `number` of a tree; the last one may be cut."""
        made = self._whole_file(number, counts, sessions)
        if np.random.default_rng([self.shape.seed, 6, number]).random() < self.shape.cut_files:
            made.append(made[-1][: len(made[-1]) // 2])
        return made

    def _whole_file(self, number: int, counts: list[int], sessions: int) -> list[str]:
        """A session, a fork of an earlier one, or a subagent of one, with `counts[number]` assistant lines."""
        shape, count = self.shape, counts[number]
        rng = np.random.default_rng([shape.seed, 4, number])
        if number >= sessions:
            of = subagent_of(number, sessions)
            made = self.lines(number, count, session=self.session_id(of), sidechain=True)
            again = rng.random(len(made)) < shape.replays
            original = [line for line in self._whole_file(of, counts, sessions) if '"type":"assistant"' in line]
            for place in np.flatnonzero(again).tolist():
                if '"type":"assistant"' in made[place]:
                    made[place] = _as_replay(original[place % len(original)])
        elif number and rng.random() < shape.forked_files:
            of = int(rng.integers(0, number))
            copied = self._whole_file(of, counts, sessions)[: count // 2]
            own = count - sum('"type":"assistant"' in line for line in copied)
            made = [line.replace(self.session_id(of), self.session_id(number)) for line in copied]
            made += self.lines(number, own)
        else:
            made = self.lines(number, count)
        return made


def _uuid(digits: str) -> str:
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:32]}"


def _as_replay(line: str) -> str:
    """A main line as a sidechain repeats it: same message.id, no requestId."""
    head, _, tail = line.partition(',"requestId":"')
    return head.replace('"isSidechain":false', '"isSidechain":true', 1) + tail[tail.index('"') + 1 :]


def subagent_of(number: int, sessions: int) -> int:
    """The session to which subagent file `number` belongs."""
    return (number * 7919) % sessions


def transcript_path(tree: Path, transcripts: Transcripts, number: int, sessions: int) -> Path:
    """Where the tool would have written file `number`."""
    of = number if number < sessions else subagent_of(number, sessions)
    folder = tree / "projects" / f"-home-dev-work-project-{of % 50:02d}"
    session = transcripts.session_id(of)
    if number < sessions:
        return folder / f"{session}.jsonl"
    return folder / session / "subagents" / f"agent-{transcripts.session_id(number)[:8]}.jsonl"


def lines_of_files(lines: int, files: int, seed: int = SEED) -> list[int]:
    """Assistant lines of each file: skewed like real sessions, at least one, exactly `lines` in all."""
    weight = np.random.default_rng([seed, 5]).lognormal(0, 1, files)
    share = np.maximum((weight / weight.sum() * lines).astype(int), 1)
    share[np.argsort(-share)[: abs(lines - int(share.sum()))]] += np.sign(lines - int(share.sum()))
    share[share.argmax()] += lines - int(share.sum())
    return [int(count) for count in share]


def _write_files(tree: Path, shape: TranscriptShape, counts: list[int], sessions: int, numbers: range) -> int:
    transcripts = Transcripts(shape)
    written = 0
    for number in numbers:
        path = transcript_path(tree, transcripts, number, sessions)
        path.parent.mkdir(parents=True, exist_ok=True)
        data = "".join(transcripts.file(number, counts, sessions)).encode()
        path.write_bytes(data)
        written += len(data)
    return written


def transcript_tree(tree: Path, lines: int, files: int, shape: TranscriptShape) -> int:
    """Write `<tree>/projects/<dir>/<session>.jsonl` and subagents' files with `lines` assistant lines in all.

    Returns:
        Bytes written.

    """
    counts = lines_of_files(lines, files, shape.seed)
    sessions = max(files - int(files * shape.subagent_files), 1)
    workers = min(os.cpu_count() or 1, 8, files)
    parts = [range(start, files, workers) for start in range(workers)]
    with ProcessPoolExecutor(workers) as pool:
        done = [pool.submit(_write_files, tree, shape, counts, sessions, numbers) for numbers in parts]
        return sum(part.result() for part in done)


def one_more_session(tree: Path, files: int, lines: int, shape: TranscriptShape) -> Path:
    """Land one further session of `lines` assistant lines in a tree of `files` files."""
    transcripts = Transcripts(replace(shape, forked_files=0.0, cut_files=0.0))
    number = files + 1
    path = transcript_path(tree, transcripts, number, number + 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(transcripts.lines(number, lines)), encoding="utf-8")
    return path


def single_transcript(path: Path, size: int, shape: TranscriptShape) -> int:
    """Write one session of at least `size` bytes; returns its assistant lines."""
    transcripts = Transcripts(shape)
    written = lines = 0
    with path.open("wb") as handle:
        for part in range(size):
            count = min(10_000, max((size - written) // shape.line_bytes, 100))
            written += handle.write("".join(transcripts.lines(0, count, part=part)).encode())
            lines += count
            if written >= size:
                break
    return lines


# -- command line ----------------------------------------------------------------------------------


def add_shape_options(parser: argparse.ArgumentParser) -> None:
    """The options of TranscriptShape."""
    for name, kind, text in (
        ("repeats", float, "share of assistant lines that repeat a response while it streams"),
        ("line-bytes", int, "bytes on disk for each assistant line, other lines included"),
        ("user-lines", float, "lines of the user for each assistant line"),
        ("subagent-files", float, "share of files in <session>/subagents/"),
        ("forked-files", float, "share of session files that open with another session's lines"),
        ("cut-files", float, "share of files whose last line is half-written"),
        ("replays", float, "share of a subagent's responses that also stand in its session"),
        ("days", int, "days over which the sessions are spread"),
        ("seed", int, "the same seed gives the same files"),
    ):
        default = getattr(TranscriptShape, name.replace("-", "_"))
        parser.add_argument(f"--{name}", type=kind, default=default, help=f"{text} (default: {default})")


def shape_of(options: argparse.Namespace) -> TranscriptShape:
    """The shape that the options ask for."""
    return TranscriptShape(**{name: getattr(options, name) for name in TranscriptShape.__dataclass_fields__})


def main() -> None:
    """Write what the command line asks for and say how much, and how long it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    console = commands.add_parser("console", help="console usage CSV, minute grain, 14 columns")
    sessions = commands.add_parser("sessions", help="token_usage_sessions as CSV or Parquet")
    tree = commands.add_parser("transcripts", help="a tree of Claude Code transcripts, <path>/projects/...")
    single = commands.add_parser("transcript", help="one Claude Code transcript")
    for command in (console, sessions, tree, single):
        command.add_argument("path", type=Path)
    for command in (console, sessions):
        command.add_argument("--rows", type=int, default=100_000)
        command.add_argument("--days", type=int, default=365)
        command.add_argument("--seed", type=int, default=SEED)
    console.add_argument("--first-day", type=int, default=0, help="first day, counted from 2025-01-01")
    console.add_argument("--bad", type=float, default=0.0, help="share of rows that cannot be loaded")
    tree.add_argument("--lines", type=int, default=1_000_000, help="assistant lines in all files together")
    tree.add_argument("--files", type=int, default=5_000)
    single.add_argument("--bytes", type=int, default=700_000_000)
    for command in (tree, single):
        add_shape_options(command)
    options = parser.parse_args()
    started = time.perf_counter()
    if options.command == "console":
        bad = console_csv(options.path, options.rows, options.days, options.first_day, options.bad, options.seed)
        done = f"{options.rows} rows, {bad} bad, {options.path.stat().st_size / 1e6:.0f} MB"
    elif options.command == "sessions":
        session_table(options.path, options.rows, options.days, options.seed)
        done = f"{options.rows} rows, {options.path.stat().st_size / 1e6:.0f} MB"
    elif options.command == "transcripts":
        size = transcript_tree(options.path, options.lines, options.files, shape_of(options))
        done = f"{options.lines} assistant lines in {options.files} files, {size / 1e6:.0f} MB"
    else:
        lines = single_transcript(options.path, options.bytes, shape_of(options))
        done = f"{lines} assistant lines, {options.path.stat().st_size / 1e6:.0f} MB"
    print(f"{done}, {time.perf_counter() - started:.1f} s")


if __name__ == "__main__":
    main()
