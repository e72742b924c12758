"""Cost of the models when one day is added to a history, compared with a full rebuild.

usage: python bench/days.py [--rows 10000000 --history 36 365 --memory-limit 1GB]

For each length of history a fresh home gets its days as one console export of minutes (--rows is for 365 days; a
shorter history has as many rows per day), is built, gets one more day, and is built again; then everything is rebuilt.
Each build is a process of its own. "models' SQL" is what DuckDB spends on the statements of the models: the elapsed
times of dbt's SQLQueryStatus events, from BEGIN to COMMIT and with the deletes, of models and not of data tests. dbt's
own work (rendering, opening connections, its results) is the same for each build and is part of "build".
Bounds: the added day at most 1/100 of the rebuild, the same within 1.2 times for each length of history, and at most
1.25 GB (1e9 bytes) for the whole process.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import generate
from measure import Measured, machine, report, run_call, run_process

SHARE_BOUND = 1 / 100
GROWTH_BOUND = 1.2
# In units of 1024 x 1024 bytes, as the kernel counts.
MEMORY_BOUND_MB = 1.25e9 / 2**20
YEAR = 365


def work(home: Path, memory_limit: str, full_refresh: bool) -> None:
    """Ingest what is new, then build; prints times of both and of the models."""
    from pipeline import settings
    from pipeline.ingest import loader
    from pipeline.marts import dbt_runner
    from pipeline.reference import tables
    from pipeline.store import warehouse

    known = settings.load(home, settle_seconds=0, memory_limit=memory_limit)
    with warehouse.connect(known) as connection:
        summary, ingested = run_call(lambda: loader.ingest(connection, known))
        tables.write_reference_tables(connection, known)
    nodes, built = run_call(lambda: dbt_runner.build(known, full_refresh=full_refresh))
    warehouse.release_lock(known)
    failed = [node.unique_id for node in nodes if not node.succeeded]
    if summary.rows_rejected:
        # Rows in quarantine cost nothing to build; with them, the added day would look too cheap.
        failed.append(f"{summary.rows_rejected} rows were rejected")
    models = {node.unique_id.rsplit(".", 1)[-1]: node.sql_seconds for node in nodes if node.kind == "model"}
    report({"ingest": ingested, "build": built, "models": models, "failed": failed, "rows": summary.rows_loaded})


def build(home: Path, memory_limit: str, full_refresh: bool) -> tuple[Measured, Measured, dict[str, float], float]:
    """One `work` in a process of its own: ingest, build, seconds of each model's SQL, peak MB."""
    output = home / "result.json"
    command = [sys.executable, __file__, "--work", str(home), "--memory-limit", memory_limit]
    process = run_process(command + ["--full-refresh"] * full_refresh, {}, output)
    result = json.loads(output.read_text(encoding="utf-8"))
    if result["failed"]:
        raise SystemExit(f"failed: {', '.join(result['failed'])}")
    return Measured(**result["ingest"]), Measured(**result["build"]), result["models"], process.megabytes


def main() -> None:
    """Measure and print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--full-refresh", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--rows", type=int, default=10_000_000, help="usage rows of 365 days")
    parser.add_argument("--history", type=int, nargs="+", default=[36, YEAR], help="days that exist before the new one")
    parser.add_argument("--memory-limit", default="1GB", help="DuckDB's memory limit")
    parser.add_argument("--repetitions", type=int, default=3, help="added days; the table gives their median")
    parser.add_argument("--folder", type=Path, help="where to work (default: the system's temporary folder)")
    options = parser.parse_args()
    if options.work:
        work(options.work, options.memory_limit, options.full_refresh)
        return
    print(f"{machine('duckdb', 'dbt-core')}, memory_limit {options.memory_limit}\n")
    columns = "history | rows | step | ingest s | build s | build cpu s | models' SQL s | of the rebuild's | peak MB"
    print(f"| {columns} |")
    print("|---|---|---|---|---|---|---|---|---|")
    a_day = max(options.rows // YEAR, 1)
    added: list[float] = []
    peaks: list[float] = []
    shares: list[float] = []
    for days in options.history:
        with tempfile.TemporaryDirectory(dir=options.folder) as scratch:
            home = Path(scratch)
            landing = home / "landing"
            landing.mkdir()
            generate.console_csv(landing / "history.csv", a_day * days, days)
            steps = [("first build", build(home, options.memory_limit, full_refresh=False))]
            for extra in range(options.repetitions):
                generate.console_csv(landing / f"day-{extra}.csv", a_day, 1, first_day=days + extra)
                steps.append(("a day added", build(home, options.memory_limit, full_refresh=False)))
            steps.append(("full rebuild", build(home, options.memory_limit, full_refresh=True)))
        rebuild = sum(steps[-1][1][2].values())
        for name, (ingested, built, models, peak) in steps:
            seconds = sum(models.values())
            cells = (f"{days} days", f"{a_day * days}", name, f"{ingested.wall:.2f}", f"{built.wall:.2f}")
            cells = (*cells, f"{built.cpu:.2f}")
            print(f"| {' | '.join(cells)} | {seconds:.2f} | {seconds / rebuild:.4f} | {peak:.0f} |")
            peaks.append(peak)
        middle = sorted(sum(models.values()) for name, (_, _, models, _) in steps if name == "a day added")
        added.append(middle[len(middle) // 2])
        shares.append(added[-1] / rebuild)
        slowest = sorted(steps[-2][1][2].items(), key=lambda item: -item[1])[:5]
        print(
            f"\nslowest models' SQL after a day: {', '.join(f'{name} {seconds:.2f} s' for name, seconds in slowest)}\n"
        )
    print(f"a day / full rebuild, longest history: {shares[-1]:.4f} ({_verdict(shares[-1], SHARE_BOUND)})")
    growth = max(added) / max(min(added), 1e-9)
    print(f"a day, longest / shortest time over histories: {growth:.2f} ({_verdict(growth, GROWTH_BOUND)})")
    print(f"peak memory: {max(peaks):.0f} MB ({_verdict(max(peaks), MEMORY_BOUND_MB)})")


def _verdict(value: float, bound: float) -> str:
    return f"{'holds' if value <= bound else 'MISSED'}: at most {bound:.4g}"


if __name__ == "__main__":
    main()
