"""Many readers of the pages of a large history, while its data is published anew.

usage: python bench/pages.py --home HOME [--readers 50 --seconds 120]
       python bench/pages.py [--rows 10000000 ...]     generates a year of console rows and runs the pipeline first

Starts `token-analytics serve`, measures the SQL of each view alone in a started DuckDB, then lets readers click
through all pages with 1 to 3 seconds between clicks, with and without filters, while the published file is replaced
three times. A published version doubles, triples, ... all costs, so an answer that mixes two versions contradicts
itself.
Bounds: no failed request, none that mixes versions; p95 of each view at most 3 times its bare SQL + 100 ms; first page
at most 600 KB and 8 requests; less than 700 MB of memory.
"""

from __future__ import annotations

import argparse
import gzip
import http.client
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import duckdb
import generate
from measure import machine

from pipeline.store.published import Publication, Snapshot
from pipeline.views import site
from pipeline.views.filters import parse

SLACK_SECONDS, TIMES = 0.1, 3.0
MEMORY_MB, PAGE_BYTES, PAGE_REQUESTS = 700, 600_000, 8
COMMAND = str(Path(sys.executable).parent / "token-analytics")
PUBLISHED = "token_analytics.duckdb"


def complete(home: Path, rows: int) -> None:
    """A home with a year of console rows after a run."""
    (home / "landing").mkdir(parents=True)
    generate.console_csv(home / "landing" / "year.csv", rows)
    subprocess.run(
        [COMMAND, "run", "--home", str(home)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def addresses(first: str, last: str, models: list[str], keys: list[str]) -> list[str]:
    """Filters that readers choose."""
    return [
        "",
        f"?from={first}&to={last}",
        *(f"?model={model}" for model in models),
        *(f"?api_key={key}" for key in keys),
    ]


def bare_seconds(home: Path, snapshot: Snapshot, filters: list[str]) -> dict[tuple[str, str], float]:
    """The median time of each view's SQL with each of the filters, in a started DuckDB."""
    found = {}
    with duckdb.connect(str(home / PUBLISHED), read_only=True) as connection:
        for page in site.QUESTIONS:
            for view in page.views:
                for address in filters:
                    query, values = view.statement(parse({}) if not address else _parsed(address), snapshot)
                    times = []
                    for _ in range(3):
                        started = time.perf_counter()
                        connection.execute(query, values).fetchall()
                        times.append(time.perf_counter() - started)
                    found[f"{page.name}/{view.name}", address] = statistics.median(times)
    return found


def _parsed(address: str) -> site.Filters:
    pairs: dict[str, list[str]] = {}
    for part in address[1:].split("&"):
        name, _, value = part.partition("=")
        pairs.setdefault(name, []).append(value)
    return parse(pairs)


class Reader(threading.Thread):
    """Clicks through pages and views until told to stop, and notes how long each answer took."""

    def __init__(self, port: int, seed: int, filters: list[str], until: float) -> None:
        super().__init__()
        self._port, self._draw, self._filters, self._until = port, random.Random(seed), filters, until
        self.seconds: dict[tuple[str, str], list[float]] = defaultdict(list)
        self.failures: list[str] = []

    def run(self) -> None:
        """Click."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        time.sleep(self._draw.uniform(0, 3))
        while time.monotonic() < self._until:
            page, address = self._draw.choice(site.QUESTIONS), self._draw.choice(self._filters)
            self._get(connection, f"/{page.name}{address}", f"{page.name}", address)
            view = self._draw.choice(page.views)
            self._get(connection, f"/{page.name}/{view.name}.json{address}", f"{page.name}/{view.name}", address)
            time.sleep(self._draw.uniform(1, 3))

    def _get(self, connection: http.client.HTTPConnection, path: str, name: str, address: str) -> None:
        started = time.perf_counter()
        try:
            connection.request("GET", path, headers={"accept-encoding": "gzip"})
            answer = connection.getresponse()
            body = answer.read()
        except OSError as error:
            self.failures.append(f"{path}: {error}")
            connection.close()
            return
        self.seconds[name, address].append(time.perf_counter() - started)
        if answer.status != 200:
            self.failures.append(f"{path}: {answer.status}")
        elif name == "spend":
            text = gzip.decompress(body).decode() if answer.headers["content-encoding"] == "gzip" else body.decode()
            sums = set(re.findall(r"% of (\$[\d,.]+\d)\.", text))
            if address == "" and not any(f"<dd>{each}</dd>" in text for each in sums):
                self.failures.append(f"{path}: tile and table are of two versions")


def publish_again(home: Path, factor: int) -> None:
    """Replace the published file by one in which all usage costs `factor` times as much."""
    following = home / ".next.duckdb"
    shutil.copy(home / PUBLISHED, following)
    with duckdb.connect(str(following)) as connection:
        connection.execute(f"UPDATE marts.charges SET cost_usd = cost_usd * {factor}")
    following.replace(home / PUBLISHED)


def first_page(port: int) -> tuple[int, int]:
    """Bytes and requests of the entrance with everything that it loads."""
    connection = http.client.HTTPConnection("127.0.0.1", port)

    def size(path: str) -> tuple[int, bytes]:
        connection.request("GET", path, headers={"accept-encoding": "gzip"})
        answer = connection.getresponse()
        body = answer.read()
        return len(body), gzip.decompress(body) if answer.headers["content-encoding"] == "gzip" else body

    total, page = size("/spend")
    loaded = re.findall(rb'(?:src|href)="(/static/[^"]+)"', page)
    return total + sum(size(path.decode())[0] for path in loaded), 1 + len(loaded)


def peak_mb(pid: int) -> float:
    """The most memory that a process has taken."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024  # type: ignore[index]


def judged(value: float, bound: float) -> str:
    """Whether a bound holds."""
    return "holds" if value <= bound else "MISSED"


def main() -> None:
    """Measure and print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, help="a home after a run; it is copied")
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--readers", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=120)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch) / "home"
        if options.home:
            home.mkdir()
            shutil.copy(options.home / PUBLISHED, home)
        else:
            complete(home, options.rows)
        snapshot = Publication(home / PUBLISHED).current()
        choices = site.choices_of(snapshot)
        usage_rows = snapshot.rows("SELECT count(*) AS n FROM marts.token_usage_minutes")[0]["n"]
        assert choices.last
        filters = addresses(
            f"{choices.last:%Y-%m}-01",
            f"{choices.last}",
            list(choices.values["model"][:2]),
            list(choices.values["api_key"][:1]),
        )
        bare = bare_seconds(home, snapshot, filters)
        snapshot.close()
        server = subprocess.Popen(
            [COMMAND, "serve", "--home", str(home), "--port", "0"], stderr=subprocess.PIPE, text=True
        )
        try:
            assert server.stderr
            port = int(server.stderr.readline().rpartition(":")[2].strip().rstrip("/"))
            size, requests = first_page(port)
            until = time.monotonic() + options.seconds
            readers = [Reader(port, seed, filters, until) for seed in range(options.readers)]
            for reader in readers:
                reader.start()
            for factor in (2, 3, 4):
                time.sleep(options.seconds / 4)
                publish_again(home, factor)
            for reader in readers:
                reader.join()
            memory = peak_mb(server.pid)
        finally:
            server.terminate()
    times: dict[str, list[float]] = defaultdict(list)
    excess: dict[str, list[float]] = defaultdict(list)
    for reader in readers:
        for (name, address), seconds in reader.seconds.items():
            times[name] += seconds
            if (name, address) in bare:
                excess[name] += [each / (TIMES * bare[name, address] + SLACK_SECONDS) for each in seconds]
    failures = [failure for reader in readers for failure in reader.failures]
    load = f"{usage_rows} usage rows, {options.readers} readers, {options.seconds:g} s"
    print(f"{machine('fastapi', 'duckdb')}\n\n{load}\n")
    print("| page or view | answers | median ms | p95 ms | p95 / bound |\n|---|---|---|---|---|")
    for name in sorted(times):
        ranked = sorted(times[name])
        p95 = ranked[int(0.95 * (len(ranked) - 1))]
        of_bound = sorted(excess[name])[int(0.95 * (len(excess[name]) - 1))] if excess[name] else None
        shown = "" if of_bound is None else f"{of_bound:.2f}"
        print(f"| {name} | {len(ranked)} | {1000 * statistics.median(ranked):.0f} | {1000 * p95:.0f} | {shown} |")
    over = [name for name, ratios in excess.items() if ratios and sorted(ratios)[int(0.95 * (len(ratios) - 1))] > 1]
    print(f"\nviews beyond 3 times their SQL + 100 ms: {', '.join(over) or 'none'}")
    print(f"failed or mixed answers: {len(failures)} of {sum(map(len, times.values()))} {failures[:3] or ''}")
    print(f"first page with figures: {size / 1000:.0f} kB ({judged(size, PAGE_BYTES)})")
    print(f"its requests: {requests} ({judged(requests, PAGE_REQUESTS)})")
    print(f"memory: {memory:.0f} MB ({judged(memory, MEMORY_MB)})")


if __name__ == "__main__":
    main()
