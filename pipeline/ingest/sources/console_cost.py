"""Anthropic Console cost exports (claude_api_cost_*.csv): billed amounts by day, rounded to the cent.

Belongs here: all versions of the columns since 2024. Does not belong here: rates, and the comparison with usage.
"""

from __future__ import annotations

from functools import partial

import duckdb

from pipeline.ingest.sources.base import CsvShape, cells, csv_header, csv_values, load_csv
from pipeline.ingest.sources.contract import Loaded, Probe
from pipeline.store.sqlfiles import literal, sql

FORMAT = "console_cost"
SHAPE = CsvShape(
    required=("usage_date_utc", "model", "usage_type", "token_type", "cost_usd"),
    optional=(
        "api_key", "workspace", "context_window", "cost_type", "inference_geo", "speed", "list_price_usd",
        "api_key_id", "api_key_status",
    ),
)  # fmt: skip


def recognise(probe: Probe) -> str | None:
    """Recognised by a header with token_type or cost_usd, and two more of the required columns."""
    header = set(csv_header(probe))
    if not header & {"token_type", "cost_usd"} or len(header & set(SHAPE.required)) < 3:
        return None
    return SHAPE.problem(csv_header(probe))


def load(connection: duckdb.DuckDBPyConnection, probe: Probe, sha256: str) -> Loaded:
    """Insert into raw.console_costs, one row per row of the file."""
    header = csv_header(probe)
    select = partial(
        sql,
        "ingest/console_cost",
        cells=cells(header, SHAPE.known),
        values=csv_values(header),
        file_sha256=literal(sha256),
        states_api_key=str("api_key" in header).lower(),
        states_workspace=str("workspace" in header).lower(),
    )
    loaded = load_csv(connection, probe, header, "raw.console_costs", select, grain="day")
    connection.execute(sql("ingest/console_cost_export"), [sha256])
    return loaded
