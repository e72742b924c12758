"""Experiment records (records.jsonl): one JSON object per call, with the provider's original usage body (`usage_raw`).

Belongs here: which lines are records of calls, and the format's repeat rule within one file. Does not belong here: the
same record in several files (dbt_project/models/intermediate). Only the run, the time, the model, the account and the
numbers of the usage body are read from a line, as pipeline/ingest/sql/usage_bodies.sql lists them. A call log with
Gemini's counts as flat fields (`prompt`, `cached`, `candidates`, `thoughts`) also has this format.
"""

from __future__ import annotations

from typing import Any

import duckdb

from pipeline.ingest.sources import usage_bodies
from pipeline.ingest.sources.contract import Loaded, Probe, json_of

FORMAT = "experiment_records"
# Fields of a record next to its usage body, and the fields of a flat record.
_COMPANIONS = frozenset(("run_id", "timestamp", "model", "model_id", "model_version"))
_FLAT = frozenset(("model", "prompt", "candidates"))


def recognise(probe: Probe) -> str | None:
    """Recognised by objects with `usage_raw` or Gemini's flat counts in the first lines."""
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
    """Insert into raw.requests, one row per call in the file."""
    return usage_bodies.load(connection, probe, sha256, "$.usage_raw", "ingest/experiment_records_calls")
