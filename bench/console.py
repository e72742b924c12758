"""A console usage CSV into the warehouse, rejects accounted for, against `pyarrow.csv.read_csv` alone on the same file.

usage: python bench/console.py [--rows 10000000 --bad 0.0001 --repetitions 3]

Each is a started process that times itself, in turn; the table gives medians and the whole process's peak memory.
Bounds: at most 6 times the time of pyarrow (wall), and at most 600 MB.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import generate
from measure import Measured, machine, median, ratio, report, run_call, run_process, table

TIME_BOUND = 6.0
MEMORY_BOUND_MB = 600


def work(home: Path) -> None:
    """Ingest the landing of `home`; prints time, memory and the counts of the ledger."""
    from pipeline import settings
    from pipeline.ingest import loader
    from pipeline.store import warehouse

    known = settings.load(home, settle_seconds=0)
    with warehouse.connect(known) as connection:
        summary, measured = run_call(lambda: loader.ingest(connection, known))
    warehouse.release_lock(known)
    report({"measured": measured, "summary": summary})


def peer(path: Path) -> None:
    """Read the file with pyarrow, skipping the rows that it refuses."""
    import pyarrow.csv

    options = pyarrow.csv.ParseOptions(invalid_row_handler=lambda row: "skip")
    # A count that is not a number would end the read, so pyarrow reads these columns as text, which is faster.
    kinds = {"usage_output_tokens": "string", "usage_input_tokens_no_cache": "string"}
    convert = pyarrow.csv.ConvertOptions(column_types=kinds)
    rows, measured = run_call(
        lambda: pyarrow.csv.read_csv(path, parse_options=options, convert_options=convert).num_rows
    )
    report({"measured": measured, "rows": rows})


def main() -> None:
    """Measure and print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--peer", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--bad", type=float, default=0.0001, help="share of rows that cannot be loaded")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where to work (default: the system's temporary folder)")
    options = parser.parse_args()
    if options.work or options.peer:
        work(options.work) if options.work else peer(options.peer)
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as scratch:
        compare(Path(scratch), options)


def compare(folder: Path, options: argparse.Namespace) -> None:
    """All measurements over one file."""
    path = folder / "usage.csv"
    bad = generate.console_csv(path, options.rows, bad=options.bad)
    rows = options.rows + (2 if options.bad else 0)
    runs: dict[str, list[Measured]] = defaultdict(list)
    summary: dict[str, int] = {}
    for repetition in range(options.repetitions):
        home = folder / f"home-{repetition}"
        (home / "landing").mkdir(parents=True)
        (home / "landing" / path.name).hardlink_to(path)
        for name, arguments in {"pyarrow.csv": ["--peer", str(path)], "ours": ["--work", str(home)]}.items():
            output = folder / "result.json"
            process = run_process([sys.executable, __file__, *arguments], {}, output)
            result = json.loads(output.read_text(encoding="utf-8"))
            inside = Measured(**result["measured"])
            runs[name].append(Measured(inside.wall, inside.cpu, process.megabytes))
            summary = result.get("summary", summary)
        for file in sorted(home.rglob("*"), reverse=True):
            file.rmdir() if file.is_dir() else file.unlink()
    found = {name: median(part) for name, part in runs.items()}
    print(f"{machine('duckdb', 'pyarrow')}\n")
    print(f"{rows} rows, {bad} of them bad, {path.stat().st_size / 1e6:.0f} MB; {options.repetitions} repetitions\n")
    print(table(found) + "\n")
    print(ratio("ours / pyarrow.csv", found["ours"], found["pyarrow.csv"], (TIME_BOUND, None, None)))
    verdict = "holds" if found["ours"].megabytes <= MEMORY_BOUND_MB else "MISSED"
    print(f"memory: {found['ours'].megabytes:.0f} MB ({verdict}: at most {MEMORY_BOUND_MB} MB)")
    counted = {name: summary.get(name) for name in ("rows_read", "rows_loaded", "rows_rejected")}
    expected = {"rows_read": rows, "rows_loaded": rows - bad, "rows_rejected": bad}
    print(f"ledger: {counted}, {'as generated' if counted == expected else f'EXPECTED {expected}'}")


if __name__ == "__main__":
    main()
