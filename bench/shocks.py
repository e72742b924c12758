"""Which shocks, new keys and level shifts the product finds in simulated organisations, and how often it is wrong.

usage: python bench/shocks.py [--organisations 20 --seed 20261129]

An organisation has three workspaces of three keys over 180 days: a weekday profile, growth of 0 to 10% a month, and
noise of sd .25 on the log scale, normal or by Student's law with 5 degrees of freedom in turn. In each, from day 70 on:
five shocks of one key (5 to 15 times its day: more sessions, more requests a session, more tokens a request, a dearer
model, or a cache that no longer hits), one level shift of +50% of a key, and one new key that adds 50% to the whole.
`usage_anomalies` sees usage by minute and sessions in DuckDB, at the end of the 180 days. A weekday flag uses the days
before it alone, so it counts as found on its day.

Goals: shocks found on their day .9; new keys and level shifts within 3 days .8; cause right .9; at most .05 of the
flags false, and at most 1 false flag of the whole per 100 days.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import duckdb
import numpy as np
import pandas as pd
from marts import MARTS
from measure import machine

from pipeline.analysis import days
from pipeline.settings import Settings

DAYS, FIRST, NOISE, FREEDOM = 180, dt.date(2026, 1, 5), 0.25, 5
PROFILE = np.array([1.0, 1.1, 1.15, 1.1, 0.9, 0.35, 0.3])
FIRST_EVENT, APART, AFTERMATH = 70, 8, 56  # a level that has moved may be noticed for eight weeks
KINDS = ("shock", "cause", "new_segment", "level_shift", "late_shift", "false")
CAUSES = ("sessions", "requests_per_session", "tokens_per_request", "model_mix", "cache_share")
MODELS = ("cheap", "dear")
USD_PER_MTOK = {"cheap": (3.0, 0.3), "dear": (15.0, 1.5)}  # of input, and of input read from the cache


@dataclass(frozen=True)
class Event:
    """What was done to a key, from which day on."""

    kind: str
    day: int
    workspace: str
    key: str
    factor: float = 1.0
    cause: str = ""

    def explains(self, segment: str, day: int) -> bool:
        """Whether it makes a flag of this segment on this day a right one."""
        if segment not in {"all", f"workspace={self.workspace}", f"api_key={self.key}"} and "model=" not in segment:
            return False
        return day == self.day if self.kind == "shock" else self.day <= day < self.day + AFTERMATH


def organisation(random: np.random.Generator, noise: str) -> tuple[pd.DataFrame, list[Event]]:
    """Usage by key, day and model, and what was done."""
    keys = [(f"w{place // 3}", f"k{place}") for place in range(9)]
    taken: list[int] = []

    def free_day() -> int:
        while True:
            day = int(random.integers(FIRST_EVENT, DAYS - 5))
            if all(abs(day - other) > APART for other in taken):
                taken.append(day)
                return day

    def draw(length: int) -> np.ndarray:
        if noise == "normal":
            return np.exp(random.normal(0, NOISE, length))
        return np.exp(random.standard_t(FREEDOM, length) * NOISE / np.sqrt(FREEDOM / (FREEDOM - 2)))

    shape = (1 + random.uniform(0, 0.1)) ** (np.arange(DAYS) / 30) * PROFILE[np.arange(DAYS) % 7]
    levels = {key: float(np.exp(random.normal(np.log(20), 0.8))) * shape * draw(DAYS) for key in keys}
    events = [
        Event("shock", free_day(), *keys[random.integers(9)], float(random.uniform(5, 15)), cause)
        for cause in random.permutation(CAUSES)
    ]
    shifted = keys[random.integers(9)]
    events.append(Event("level_shift", free_day(), *shifted, 1.5))
    levels[shifted][events[-1].day :] *= 1.5
    new = (f"w{random.integers(3)}", "new")
    events.append(Event("new_segment", free_day(), *new))
    whole = sum(levels.values())
    begin = events[-1].day
    levels[new] = np.zeros(DAYS)
    scale = 0.5 * float(whole[begin - 28 : begin].mean()) / float(PROFILE.mean())
    levels[new][begin:] = scale * PROFILE[np.arange(begin, DAYS) % 7] * draw(DAYS - begin)
    shocks = {(event.key, event.day): event for event in events if event.kind == "shock"}
    rows = [
        row
        for (workspace, key), level in levels.items()
        for day in np.flatnonzero(level)
        for row in _usage(workspace, key, int(day), float(level[day]), shocks.get((key, int(day))))
    ]
    return pd.DataFrame(rows), events


def _usage(workspace: str, key: str, day: int, cost: float, shock: Event | None) -> list[dict[str, Any]]:
    """A day of a key by model: ten requests a session, nine tenths of the tokens from the cache, mostly cheap."""
    factors = dict.fromkeys(CAUSES, 1.0)
    if shock:
        factors[shock.cause] = shock.factor
    sessions = max(round(cost * 2), 1)
    dear, cached = 0.05, 0.9
    usd = {model: (1 - cached) * fresh + cached * read for model, (fresh, read) in USD_PER_MTOK.items()}
    tokens = cost / ((1 - dear) * usd["cheap"] + dear * usd["dear"])
    if factors["model_mix"] > 1:
        dear = min(dear + (factors["model_mix"] - 1) * ((1 - dear) + 5 * dear) / 4, 1.0)
        tokens *= max(factors["model_mix"] / ((1 - dear) + 5 * dear) * 1.2, 1.0)
    if factors["cache_share"] > 1:
        cached = 0.0
        tokens *= max(factors["cache_share"] / (3.0 / usd["cheap"]), 1.0)
    sessions = round(sessions * factors["sessions"])
    requests = round(sessions * 10 * factors["requests_per_session"])
    tokens *= factors["sessions"] * factors["requests_per_session"] * factors["tokens_per_request"]
    return [
        {
            "workspace": workspace, "api_key": key, "day": day, "model": model, "sessions": sessions,
            "request_count": round(requests * share), "fresh": int(tokens * share * (1 - cached) * 1e6),
            "read": int(tokens * share * cached * 1e6),
        }
        for model, share in (("cheap", 1 - dear), ("dear", dear))
    ]  # fmt: skip


def warehouse(usage: pd.DataFrame) -> duckdb.DuckDBPyConnection:
    """Marts of this usage, with a rate card."""
    connection = duckdb.connect()
    connection.execute(MARTS)
    connection.register("usage", usage)
    rates = [
        (model, kind, rate)
        for model, pair in USD_PER_MTOK.items()
        for kind, rate in zip(("input_no_cache", "cache_read"), pair, strict=True)
    ]
    connection.executemany(
        "INSERT INTO marts.model_rates VALUES ('anthropic', ?, ?, '', '', '', '', DATE '2020-01-01', ?)", rates
    )
    cost = "(fresh * if(model = 'dear', 15.0, 3.0) + read * if(model = 'dear', 1.5, 0.3)) / 1e6"
    date = f"DATE '{FIRST}' + day::integer"
    connection.execute(
        f"""
        INSERT INTO marts.token_usage_minutes BY NAME
        SELECT 'sessions' AS source, 'anthropic' AS provider, {date} AS usage_date, usage_date AS usage_minute,
            86400 AS bucket_seconds, model, model AS model_version, api_key, workspace, '' AS user_id, '' AS project,
            fresh AS input_tokens_no_cache, 0 AS input_tokens_cache_write_5m, 0 AS input_tokens_cache_write_1h,
            read AS input_tokens_cache_read, 0 AS output_tokens, 0 AS web_search_count, fresh + read AS total_tokens,
            request_count, {cost} AS estimated_cost_usd
        FROM usage
        """
    )
    connection.execute(
        f"""
        INSERT INTO marts.token_usage_sessions BY NAME
        SELECT concat_ws('/', api_key, day, unnest(range(any_value(sessions)))) AS session_id, '' AS user_id,
            'anthropic' AS provider, api_key, workspace, '' AS project, 'cheap' AS primary_model,
            {date} AS session_started_at, 1 AS total_tokens, 0.01 AS estimated_cost_usd,
            'metered' AS billing_mode
        FROM usage GROUP BY api_key, workspace, day
        """
    )
    return connection


def main() -> None:
    """Simulate and print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--organisations", type=int, default=20)
    parser.add_argument("--seed", type=int, default=20261129)
    options = parser.parse_args()
    print(f"{machine('numpy', 'statsmodels')}, {options.organisations} organisations, seed {options.seed}\n")
    print(
        "| noise | shocks | cause right | new keys | level shifts | within 14 days | flags | false | "
        "of the whole per 100 days |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    totals: dict[str, list[float]] = {}
    for noise in ("normal", "student"):
        counts: dict[str, list[float]] = {name: [] for name in KINDS}
        of_whole = tested = 0
        for number in range(noise == "student", options.organisations, 2):
            usage, events = organisation(np.random.default_rng([options.seed, number]), noise)
            with warehouse(usage) as connection:
                found = days.usage_anomalies(connection, Settings(home=Path())).to_pylist()
            flags = [row for row in found if row["usage_date"] and row["method"] != "stl"]
            place = [((row["raised_on"] or row["usage_date"]) - FIRST).days for row in flags]
            for event in events:
                dated = [
                    (day - event.day, row)
                    for row, day in zip(flags, place, strict=True)
                    if row["segment"] == f"api_key={event.key}"
                ]
                own = [row for late, row in dated if 0 <= late <= (0 if event.kind == "shock" else 2)]
                counts[event.kind].append(bool(own))
                if event.kind == "level_shift":
                    counts["late_shift"].append(any(0 <= late <= 13 for late, _ in dated))
                if event.kind == "shock" and own and own[0]["contributions"]:
                    parts = json.loads(own[0]["contributions"])
                    counts["cause"].append(max(parts, key=parts.get) == event.cause)
            for row, day in zip(flags, place, strict=True):
                if day >= FIRST_EVENT:
                    is_false = not any(event.explains(row["segment"], day) for event in events)
                    counts["false"].append(is_false)
                    of_whole += is_false and row["segment"] == "all"
            tested += DAYS - FIRST_EVENT
        cells = [float(np.mean(counts[name])) for name in KINDS[:-1]]
        print(
            f"| {noise} | {' | '.join(f'{cell:.2f}' for cell in cells)} | {len(counts['false'])} | "
            f"{np.mean(counts['false']):.3f} | {100 * of_whole / tested:.2f} |",
            flush=True,
        )
        for name, values in counts.items():
            totals.setdefault(name, []).extend(values)
    moved = totals["new_segment"] + totals["level_shift"]
    for name, value, goal in (
        ("shocks found on their day", np.mean(totals["shock"]), 0.9),
        ("new keys and level shifts within 3 days", np.mean(moved), 0.8),
        ("cause right", np.mean(totals["cause"]), 0.9),
        ("flags that are right", 1 - np.mean(totals["false"]), 0.95),
    ):
        print(f"\n{name}: {value:.3f} ({'holds' if value >= goal else 'MISSED'}: at least {goal})")


if __name__ == "__main__":
    main()
