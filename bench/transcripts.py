"""Claude Code transcripts to de-duplicated daily usage: `ingest` and one query against `ccusage claude daily`.

usage: npm install --prefix DIR ccusage@20.0.24 @ccusage/ccusage-linux-x64@20.0.24
       python bench/transcripts.py --ccusage DIR [--lines 1000000 --files 5000 --repetitions 3 --whole-run]

Both read the same tree, in turn, in one session; the table gives medians. Ours is `ingest` into a fresh home and
bench/daily_usage.sql, timed inside a started process (its memory is the whole process's); ccusage is a whole process.
Then one more session lands and both answer again: ours from what it has stored, ccusage from all files. The tokens of
each day and model are compared. Bounds: at most 1/2 of the wall time, 1/2.5 of the CPU time and 1/1.5 of the memory;
after one more session at most 1/10 of the wall time.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import generate
from measure import Measured, machine, median, ratio, report, run_call, run_process, table

ROOT = Path(__file__).parent.parent
DAILY = ROOT / "bench" / "daily_usage.sql"
KINDS = ("input", "cache write", "cache read", "output")
Daily = dict[tuple[str, str], tuple[int, ...]]  # day, model_version -> tokens by KINDS


def work(home: Path, tree: Path) -> None:
    """Ingest, then query, in the started process; prints both measurements, the sums of the ledger, and rows."""
    import pandas  # noqa: F401 - pyarrow asks for it when it is first used, which belongs to the start

    from pipeline import settings
    from pipeline.ingest import loader
    from pipeline.store import warehouse

    known = settings.load(home, sources=(tree,), settle_seconds=0)
    with warehouse.connect(known) as connection:
        summary, ingested = run_call(lambda: loader.ingest(connection, known))
        # DuckDB keeps what it has read, up to its limit, even if it needs little of it.
        connection.execute("SET memory_limit = '300MB'")
        rows, queried = run_call(lambda: connection.execute(DAILY.read_text(encoding="utf-8")).fetchall())
    warehouse.release_lock(known)
    report({"ingest": ingested, "query": queried, "summary": summary, "rows": rows})


def ours(home: Path, tree: Path) -> tuple[dict[str, Measured], Daily, dict[str, int]]:
    """One run of `work` in a process of its own, in parts and as a whole."""
    output = home.with_suffix(".json")
    process = run_process([sys.executable, __file__, "--work", str(home), str(tree)], {"TZ": "UTC"}, output)
    result = json.loads(output.read_text(encoding="utf-8"))
    ingested, queried = Measured(**result["ingest"]), Measured(**result["query"])
    parts = {
        "ours: ingest": ingested,
        "ours: daily query": queried,
        "ours": Measured(ingested.wall + queried.wall, ingested.cpu + queried.cpu, process.megabytes),
        "ours, with start of Python": process,
    }
    daily: Daily = {
        (str(day), model): (no_cache, write_5m + write_1h, read, output_tokens)
        for day, model, _, no_cache, write_5m, write_1h, read, output_tokens in result["rows"]
    }
    return parts, daily, result["summary"]


def theirs(ccusage: Path, tree: Path, output: Path) -> tuple[Measured, Daily]:
    """One run of ccusage over the tree."""
    command = [str(ccusage), "claude", "daily", "--json", "--offline"]
    measured = run_process(command, {"TZ": "UTC", "CLAUDE_CONFIG_DIR": str(tree)}, output)
    daily: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0] * len(KINDS))
    for day in json.loads(output.read_text(encoding="utf-8"))["daily"]:
        for model in day["modelBreakdowns"]:
            tokens = ("inputTokens", "cacheCreationTokens", "cacheReadTokens", "outputTokens")
            for i, name in enumerate(tokens):
                daily[day["date"], model["modelName"]][i] += model[name]
    return measured, {key: tuple(tokens) for key, tokens in daily.items()}


def difference(mine: Daily, other: Daily) -> str:
    """One line on how the two answers differ."""
    nothing = (0,) * len(KINDS)
    cells = mine.keys() | other.keys()
    off = [cell for cell in cells if mine.get(cell, nothing) != other.get(cell, nothing)]
    ours_sums, their_sums = (
        [sum(tokens[i] for tokens in daily.values()) for i in range(len(KINDS))] for daily in (mine, other)
    )
    kinds = ", ".join(
        f"{kind} {a} and {b} ({a - b:+d})" for kind, a, b in zip(KINDS, ours_sums, their_sums, strict=True)
    )
    return f"{len(cells) - len(off)} of {len(cells)} cells (day x model) are equal; tokens ours and ccusage: {kinds}"


def find_ccusage(folder: Path | None) -> Path:
    """The `ccusage` that npm installed into `folder`, or the one on the PATH."""
    found = folder / "node_modules" / ".bin" / "ccusage" if folder else Path(shutil.which("ccusage") or "")
    if not found.is_file():
        raise SystemExit(
            "ccusage was not found: install it as the first lines of this file say, and name --ccusage DIR"
        )
    return found


def main() -> None:
    """Measure and print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", nargs=2, type=Path, metavar=("HOME", "TREE"), help=argparse.SUPPRESS)
    parser.add_argument("--ccusage", type=Path, help="folder into which npm installed ccusage")
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--files", type=int, default=5_000)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--tree", type=Path, help="a tree that generate.py has made; the further session is removed")
    parser.add_argument("--folder", type=Path, help="where to work (default: the system's temporary folder)")
    parser.add_argument("--whole-run", action="store_true", help="also time `token-analytics run` as a whole")
    options = parser.parse_args()
    if options.work:
        work(*options.work)
        return
    ccusage = find_ccusage(options.ccusage)
    with tempfile.TemporaryDirectory(dir=options.folder) as scratch:
        folder = Path(scratch)
        tree = options.tree or folder / "tree"
        shape = generate.TranscriptShape()
        if not options.tree:
            generate.transcript_tree(tree, options.lines, options.files, shape)
        compare(ccusage, folder, tree, shape, options)


def compare(
    ccusage: Path, folder: Path, tree: Path, shape: generate.TranscriptShape, options: argparse.Namespace
) -> None:
    """All measurements over one tree."""
    files = list(tree.rglob("*.jsonl"))
    size = sum(path.stat().st_size for path in files)
    runs: dict[str, list[Measured]] = defaultdict(list)
    further: dict[str, list[Measured]] = defaultdict(list)
    session_lines = max(options.lines // options.files, 1)
    for repetition in range(options.repetitions):
        home = folder / f"home-{repetition}"
        home.mkdir()
        measured, their_daily = theirs(ccusage, tree, folder / "ccusage.json")
        runs["ccusage"].append(measured)
        parts, our_daily, summary = ours(home, tree)
        for name, part in parts.items():
            runs[name].append(part)
        landed = generate.one_more_session(tree, len(files), session_lines, shape)
        try:
            measured, their_more = theirs(ccusage, tree, folder / "ccusage.json")
            further["ccusage"].append(measured)
            parts, our_more, _ = ours(home, tree)
            for name, part in parts.items():
                further[name].append(part)
        finally:
            landed.unlink()
        if options.whole_run and repetition == 0:
            whole = folder / "home-whole"
            (whole / "landing").mkdir(parents=True)
            environment = {"TOKEN_ANALYTICS_SOURCES": json.dumps([str(tree)])}
            command = [str(Path(sys.executable).parent / "token-analytics"), "run", "--home", str(whole)]
            runs["ours: whole `run`, for comparison"].append(run_process(command, environment))
        shutil.rmtree(home)
    version = subprocess.run([str(ccusage), "--version"], capture_output=True, text=True, check=True).stdout.strip()
    first, second = ({name: median(part) for name, part in found.items()} for found in (runs, further))
    print(f"{machine('duckdb')}, {version}\n")
    print(
        f"{options.lines} assistant lines in {len(files)} files, {size / 1e6:.0f} MB; {options.repetitions} repetitions"
    )
    print(f"ledger: {', '.join(f'{summary[name]} {name}' for name in summary if name.startswith('rows'))}\n")
    print(table(first) + "\n")
    print(ratio("ours / ccusage", first["ours"], first["ccusage"], (1 / 2, 1 / 2.5, 1 / 1.5)))
    print(difference(our_daily, their_daily) + "\n")
    print(f"After one more session of {session_lines} lines:\n\n{table(second)}\n")
    print(ratio("ours / ccusage", second["ours"], second["ccusage"], (1 / 10, None, None)) + " (aim 0.05)")
    print(difference(our_more, their_more))


if __name__ == "__main__":
    os.environ.setdefault("TZ", "UTC")
    main()
