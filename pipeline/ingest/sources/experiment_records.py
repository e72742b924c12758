"""Experiment records (records.jsonl): one JSON object a call, with the provider's usage body as it was (`usage_raw`).

Belongs here: which lines are records of calls, and the format's own repeat rule inside one file. Does not belong here:
the same record in several files (dbt_project/models/intermediate). Of a line only the run, the time, the model, the
account and the numbers of the usage body are read, as pipeline/ingest/sql/usage_bodies.sql lists them. A call log
that keeps Gemini's counts flat (`prompt`, `cached`, `candidates`, `thoughts`) is a record of this format too.
"""

from __future__ import annotations

from typing import Any

import duckdb

from pipeline.ingest.sources import usage_bodies
from pipeline.ingest.sources.contract import Loaded, Probe, json_of

FORMAT = "experiment_records"
# What a record has beside its usage body, and what a flat one consists of.
_COMPANIONS = frozenset(("run_id", "timestamp", "model", "model_id", "model_version"))
_FLAT = frozenset(("model", "prompt", "candidates"))


def recognise(probe: Probe) -> str | None:
    """The first lines of the head that are objects hold `usage_raw`, or Gemini's counts flat."""
    if not probe.is_text:
        return None
    for line in probe.text.splitlines():
        if not line.lstrip().startswith("{"):
            continue
        entry = json_of(line)
        if isinstance(entry, dict):
            return "" if _is_record(entry) else None
    return None


def _is_record(entry: dict[str, Any]) -> bool:
    if "usage_raw" in entry:
        return bool(_COMPANIONS & entry.keys())
    return entry.keys() >= _FLAT and isinstance(entry["prompt"], int) and isinstance(entry["candidates"], int)


def load(connection: duckdb.DuckDBPyConnection, probe: Probe, sha256: str) -> Loaded:
    """Insert into raw.requests, one row for each call that the file records."""
    return usage_bodies.load(connection, probe, sha256, "$.usage_raw", "ingest/experiment_records_calls")
