"""Anthropic Console usage exports (claude_api_tokens_*.csv): tokens by day, hour or minute.

Belongs here: the three versions of the columns, and the meaning of a missing column. Does not belong here: which of
several exports is in force (dbt_project/models/intermediate).
"""

from __future__ import annotations

from functools import partial

import duckdb

from pipeline.ingest.sources.base import CsvShape, cells, csv_header, csv_values, load_csv
from pipeline.ingest.sources.contract import Loaded, Probe
from pipeline.store.sqlfiles import literal, sql

FORMAT = "console_usage"
SHAPE = CsvShape(
    required=(
        "usage_date_utc", "model_version", "api_key", "workspace", "usage_type",
        "usage_input_tokens_no_cache", "usage_input_tokens_cache_read", "usage_output_tokens",
    ),
    optional=("web_search_count", "context_window", "inference_geo", "speed"),
    one_of=(
        ("usage_input_tokens_cache_write_5m", "usage_input_tokens_cache_write_1h"),
        ("usage_input_tokens_cache_write",),
    ),
)  # fmt: skip
GRAINS = {86400: "day", 3600: "hour", 60: "minute"}


def recognise(probe: Probe) -> str | None:
    """Recognised by a header with at least two of the token columns, complete or not."""
    header = csv_header(probe)
    tokens = {name for name in SHAPE.known if name.startswith("usage_") and name != "usage_date_utc"} - {"usage_type"}
    if len(tokens & set(header)) < 2:
        return None
    return SHAPE.problem(header)


def load(connection: duckdb.DuckDBPyConnection, probe: Probe, sha256: str) -> Loaded:
    """Insert into raw.console_usage; the grain follows from the times of all rows."""
    header = csv_header(probe)
    states_context_window = "context_window" in header
    states_geo_speed = "inference_geo" in header and "speed" in header
    stated = {"api_key", "model", "usage_type", "workspace"}
    stated |= {"context_window"} if states_context_window else set()
    stated |= {"inference_geo", "speed"} if states_geo_speed else set()
    one_write_column = "usage_input_tokens_cache_write_5m" not in header
    select = partial(
        sql,
        "ingest/console_usage",
        cells=cells(header, SHAPE.known),
        values=csv_values(header),
        file_sha256=literal(sha256),
        one_write_column=str(one_write_column).lower(),
        write_5m_name="usage_input_tokens_cache_write" + ("" if one_write_column else "_5m"),
        states_context_window=str(states_context_window).lower(),
        states_geo_speed=str(states_geo_speed).lower(),
        stated=literal(",".join(sorted(stated))),
    )
    loaded = load_csv(connection, probe, header, "raw.console_usage", select, grain="day")
    connection.execute(sql("ingest/console_usage_export"), [sha256])
    finest = connection.execute(
        "SELECT min(bucket_seconds) FROM raw.console_usage WHERE file_sha256 = ?", [sha256]
    ).fetchone()
    grain = GRAINS[finest[0]] if finest and finest[0] else ""
    return Loaded(grain, loaded.rows_read, loaded.rows_loaded, rejected=loaded.rejected)
