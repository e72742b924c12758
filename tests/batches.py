"""Transcripts that are read in batches, and everything that a landing of them produced.

Does not belong here: how they are read (test_batches, test_reading).
"""

from __future__ import annotations

import gzip
import json
from typing import Any

from conftest import Home

from pipeline.store import warehouse

LEDGER = """
    SELECT file_sha256, path, format, grain, bytes, first_usage_date, last_usage_date, rows_read, rows_loaded,
        rows_rejected, rows_ignored, rows_repeated, status, message
    FROM ingest.files ORDER BY ALL
"""


def everything(home: Home) -> list[Any]:
    """The result of a landing: raw rows, ledger, rejected rows and the text in quarantine."""
    texts = {path.name: gzip.decompress(path.read_bytes()) for path in home.settings.quarantine.glob("*.gz")}
    asked = (
        "FROM raw.requests ORDER BY ALL",
        LEDGER,
        "FROM ingest.rejected_rows ORDER BY ALL",
        "FROM scope.pending_files ORDER BY ALL",
        "SELECT path, file_sha256 FROM ingest.paths ORDER BY ALL",
    )
    with warehouse.connect(home.settings) as connection:
        tables = [connection.execute(query).fetchall() for query in asked]
    return [*tables, sorted(texts.items())]


def good_file(name: str, lines: int = 3, **fields: Any) -> bytes:
    entry = {
        "type": "assistant", "sessionId": name, "timestamp": "2026-02-17T09:00:00.000Z",
        "message": {"id": "", "model": "claude-haiku-4-5", "usage": {"input_tokens": 1, "output_tokens": 2}},
    }  # fmt: skip
    made = []
    for number in range(lines):
        entry = entry | {"uuid": f"u{number}", **fields}
        entry["message"] = dict(entry["message"], id=f"{name}-{number}")
        made.append(json.dumps(entry))
    return ("\n".join(made) + "\n").encode()
