"""Saved pages of providers' usage and cost APIs, and the CSV exports of the same rows.

Belongs here: what these formats share: recognition, reading pages into rows, and the dimensions that a file states.
Does not belong here: the fields of one API (its module), and requesting it (fetch). A file contains one page, an array
of pages, or several pages in sequence; a file from `fetch` starts with `HEADER`, which holds the request.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from typing import Any

import duckdb

from pipeline.ingest.sources.base import (
    CsvShape,
    MisreadError,
    csv_header,
    csv_values,
    file_literal,
    insert_rows,
    load_csv,
    scratch,
    tidy_document,
)
from pipeline.ingest.sources.calls import HEAD_LINES, cut_document, first_objects
from pipeline.ingest.sources.contract import MAX_DOCUMENT_BYTES, Loaded, Probe, RejectedRow, SourceError
from pipeline.store.sqlfiles import identifier, literal, sql

# The key of the object that `pull` writes before the pages.
HEADER = "token_analytics_pull"
# Dimensions that an API can group by -> the columns of the raw tables that rows then state.
DIMENSIONS = {
    "api_key_id": "api_key",
    "workspace_id": "workspace",
    "project_id": "workspace",
    "user_id": "user_id",
    "model": "model",
    "service_tier": "usage_type",
    "batch": "usage_type",
    "context_window": "context_window",
    "inference_geo": "inference_geo",
    "speed": "speed",
    "description": "kind",
    "line_item": "kind",
}
# Column of sql/provider_console.sql -> field of a result: tokens that are parts of the kinds (OpenAI only).
MODALITIES = {
    "input_audio": "input_audio_tokens",
    "input_image": "input_image_tokens",
    "cached_audio": "input_cached_audio_tokens",
    "cached_image": "input_cached_image_tokens",
    "output_audio": "output_audio_tokens",
    "output_image": "output_image_tokens",
}
NAMES = frozenset((
    "api_key", "workspace", "user_id", "description", "model", "token_type", "cost_type", "service_tier",
    "context_window", "inference_geo", "speed",
))  # fmt: skip
GRAINS = {60: "minute", 3600: "hour", 86400: "day"}
_FIELD_NAME = re.compile(r"[a-z0-9_]{1,60}")


@dataclass(frozen=True)
class AccountShape:
    """The fields of one API.

    Attributes:
        format: name of the format.
        provider: its name in the rate card.
        side: `console` for usage, `billed` for costs, as in marts.usage_reconciliation.
        fields: column of sql/provider_<side>.sql -> field of a result, with dots (`cache_creation.x`); the CSV export,
            if any, has the same names. `starts` and `ends` are fields of the bucket.
        parts: further parts of the SQL file, by name.
        csv: columns of the CSV export.
        renamed: header of the CSV export -> name of the field, if they differ.
        of_others: pattern of usage fields that are parts of other fields.
        counts_tokens: pattern of `object` for results that count tokens, if the API has other results.
        counts_output: pattern of `object` for results that must state output, if others have none.

    """

    format: str
    provider: str
    side: str
    fields: Mapping[str, str]
    parts: Mapping[str, str] = field(default_factory=dict)
    csv: CsvShape | None = None
    renamed: Mapping[str, str] = field(default_factory=dict)
    of_others: str = ""
    counts_tokens: str = ""
    counts_output: str = ""

    @property
    def table(self) -> str:
        """The raw table of the rows."""
        return "raw.console_usage" if self.side == "console" else "raw.console_costs"


def header_of(probe: Probe) -> Mapping[str, Any]:
    """The request, if `pull` landed the file; empty for pages that were saved by hand."""
    first = next(first_objects(probe), {}).get(HEADER)
    return first if isinstance(first, dict) else {}


def source_of(probe: Probe) -> str | None:
    """The format of a file of pages, by its first result; None if it is not a page of a known API."""
    if f'"{HEADER}"' in probe.text[: 1 << 12] and (asked := header_of(probe)):
        return str(asked.get("source"))
    if not probe.text.lstrip()[:1] or probe.text.lstrip()[0] not in "{[" or '"data"' not in probe.text:
        return None
    pages = [entry for entry in islice(first_objects(probe), HEAD_LINES) if _is_page(entry)]
    if not pages:
        cut = cut_document(probe.text.lstrip())
        pages = [entry for entry in (cut if isinstance(cut, list) else [cut]) if _is_page(entry)]
    for page in pages:
        for bucket in page["data"]:
            for result in results_of(bucket):
                if isinstance(result, dict) and (found := _source_of_result(bucket, result)):
                    return found
    for page in pages:
        buckets = [bucket for bucket in page["data"] if isinstance(bucket, dict)]
        if page.get("object") == "page" and all(bucket.get("object") == "bucket" for bucket in buckets):
            return "openai_usage"
        if "has_more" in page and all({"starting_at", "results"} <= bucket.keys() for bucket in buckets):
            return "anthropic_usage"
    return None


def results_of(bucket: Any) -> list[Any]:
    """The results of a bucket of an API; empty for anything else."""
    results = bucket.get("results") if isinstance(bucket, dict) else None
    return results if isinstance(results, list) else []


def _is_page(entry: Any) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("data"), list)


def _source_of_result(bucket: Mapping[str, Any], result: Mapping[str, Any]) -> str | None:
    if "starting_at" in bucket:
        if "uncached_input_tokens" in result:
            return "anthropic_usage"
        return "anthropic_cost" if "amount" in result else None
    if "start_time" in bucket:
        is_usage = str(result.get("object")).startswith("organization.usage.")
        if is_usage or ("input_tokens" in result and result.keys() & {"output_tokens", "num_model_requests"}):
            return "openai_usage"
        return "openai_costs" if isinstance(result.get("amount"), dict) else None
    return None


def load_pages(connection: duckdb.DuckDBPyConnection, probe: Probe, sha256: str, shape: AccountShape) -> Loaded:
    """Insert one row per result of the file's pages.

    Raises:
        SourceError: the file is invalid JSON.

    """
    asked = header_of(probe)
    _read(connection, probe)
    ignored, message = _ignore(connection, shape)
    names = list(shape.fields)
    own = [name for name in names if name not in ("starts", "ends")]
    paths = ", ".join(literal("$." + ".".join(f'"{part}"' for part in shape.fields[name].split("."))) for name in own)
    values = ", ".join(
        f"coalesce(trim({'names' if name in NAMES else 'fields'}[{number}]), '') as {name}"
        for number, name in enumerate(own, 1)
    )
    rows = _select(shape, asked)(
        channel=literal("api"),
        file_sha256=literal(sha256),
        cells=f"place, misshapen, coalesce(starts, '') as starts, coalesce(ends, '') as ends, {values}, "
        f"{_lacks_output(shape)} as lacks_output",
        values="place",
        relation=f"(select *, json_extract_string(result, [{paths}]) as fields, "
        f"names_of(result, [{paths}], fields) as names from page_results)",
        **{f"name_{name}": shape.fields[name] for name in names},
    )
    loaded = insert_rows(
        connection, shape.table, f"SELECT * EXCLUDE (problem, cells) FROM ({rows}) WHERE problem IS NULL"
    )
    bad = connection.execute(f"SELECT cells, problem.reason FROM ({rows}) WHERE problem IS NOT NULL ORDER BY 1")
    # rows of a document have no lines: line is the result's number from 1, the offset is 0
    rejected = tuple(RejectedRow(int(place), 0, reason) for place, reason in bad.fetchall())
    grain = _enter_export(connection, sha256, shape, asked)
    message = "; ".join(filter(None, (message, _unread(connection, shape))))
    connection.execute("DROP TABLE page_results")
    connection.execute("DROP TABLE page_buckets")
    return Loaded(
        grain, loaded + len(rejected) + ignored, loaded, rows_ignored=ignored, rejected=rejected, message=message
    )


def _lacks_output(shape: AccountShape) -> str:
    """SQL condition for a result without output."""
    if not shape.counts_output:
        return "false"
    kind = "json_extract_string(result, '$.object')"
    return f"not coalesce(json_exists(result, '$.output_tokens') or {kind} = {literal(shape.counts_output)}, false)"


def _ignore(connection: duckdb.DuckDBPyConnection, shape: AccountShape) -> tuple[int, str]:
    """Remove results that count no tokens from page_results; returns their number, and a sentence about them."""
    if not shape.counts_tokens:
        return 0, ""
    kind = "json_extract_string(result, '$.object')"
    found = connection.execute(
        f"DELETE FROM page_results WHERE regexp_full_match({kind}, 'organization\\.usage\\.[a-z_]+\\.result') "
        f"AND NOT regexp_full_match({kind}, {literal(shape.counts_tokens)}) RETURNING split_part({kind}, '.', 3)"
    ).fetchall()
    endpoints = ", ".join(sorted({str(endpoint) for (endpoint,) in found}))
    return len(found), f"usage that is not counted in tokens: {endpoints}" if found else ""


def load_export(connection: duckdb.DuckDBPyConnection, probe: Probe, sha256: str, shape: AccountShape) -> Loaded:
    """Insert one row per row of a CSV export of the same API."""
    named = csv_header(probe)
    header = tuple(shape.renamed.get(name, name) for name in named)
    in_file = dict(zip(header, named, strict=True))
    lacks_output = str(shape.fields.get("output") not in header).lower()
    cells = ", ".join(
        f"coalesce(trim({identifier(header_name)}), '') as {name}" if header_name in header else f"'' as {name}"
        for name, header_name in shape.fields.items()
    )
    select = partial(
        _select(shape, {}),
        channel=literal("csv"),
        file_sha256=literal(sha256),
        cells=f"null::varchar as misshapen, {cells}, {lacks_output} as lacks_output",
        values=csv_values(header),
        **{f"name_{name}": in_file.get(header_name, header_name) for name, header_name in shape.fields.items()},
    )
    # a day without usage is a row with times only
    own = [
        identifier(name) for name in shape.fields.values() if name in header and name not in ("start_time", "end_time")
    ]
    nothing = " AND ".join(f"coalesce(trim({name}), '') = ''" for name in own) or "true"
    loaded = load_csv(connection, probe, header, shape.table, select, grain="day", ignored=nothing)
    grain = _enter_export(connection, sha256, shape, {})
    is_empty = loaded.rows_ignored == loaded.rows_read
    what = "usage" if shape.side == "console" else "costs"
    return replace(loaded, grain=grain, message=f"the export holds no {what}: its days have none" if is_empty else "")


def csv_problem(probe: Probe, shape: AccountShape) -> str | None:
    """`recognise` for a CSV export: a header with the API's times, and one of its amounts or counts."""
    header = tuple(shape.renamed.get(name, name) for name in csv_header(probe))
    if shape.csv is None or not {"start_time", "end_time"} <= set(header):
        return None
    names = set(shape.csv.required) - {"start_time", "end_time"}
    return shape.csv.problem(header) if names & set(header) else None


def _select(shape: AccountShape, asked: Mapping[str, Any]) -> partial[str]:
    return partial(
        sql,
        f"ingest/provider_{shape.side}",
        provider=literal(shape.provider),
        grouped_by=_units(asked) if isinstance(asked.get("group_by"), list) else "null::varchar[]",
        **shape.parts,
    )


def _units(asked: Mapping[str, Any]) -> str:
    """SQL list of the dimensions that rows state, from the grouping of the request."""
    grouped = asked["group_by"] if isinstance(asked.get("group_by"), list) else []
    units = sorted({DIMENSIONS[name] for name in grouped if isinstance(name, str) and name in DIMENSIONS})
    return "[" + ", ".join(map(literal, units)) + "]::varchar[]"


def _read(connection: duckdb.DuckDBPyConnection, probe: Probe) -> None:
    """Create the temporary tables page_buckets, one row per bucket, and page_results, one row per result.

    Raises:
        SourceError: the file is invalid JSON, or too large.

    """
    # DuckDB needs a buffer for the largest object
    size = probe.size(MAX_DOCUMENT_BYTES, "pages")
    try:
        return _open_pages(connection, probe, size)
    except MisreadError:
        connection.execute("ROLLBACK")
        connection.execute("BEGIN")
    with scratch() as folder:
        try:
            _open_pages(connection, tidy_document(probe, folder / "tidied"), size)
        except MisreadError as error:
            raise SourceError(str(error)) from None


def _open_pages(connection: duckdb.DuckDBPyConnection, probe: Probe, size: int) -> None:
    shape = "array" if probe.text.lstrip().startswith("[") else "unstructured"
    relation = (
        f"read_json_objects({file_literal(probe.path)}, format = '{shape}', compression = '{probe.compression}', "
        f"maximum_object_size = {max(size, 1 << 20)})"
    )
    try:
        for statement in sql("ingest/provider_pages", relation=relation, header=literal(f"$.{HEADER}")).split(";"):
            if statement.strip():
                connection.execute(statement)
    except (duckdb.InvalidInputException, duckdb.IOException):
        # the exception quotes the file
        raise MisreadError("not valid JSON, perhaps cut off: save the pages again") from None


def _enter_export(
    connection: duckdb.DuckDBPyConnection, sha256: str, shape: AccountShape, asked: Mapping[str, Any]
) -> str:
    """Store the time range and coverage of the file; returns the grain of its rows."""
    has_pages = connection.execute("SELECT 1 FROM duckdb_tables() WHERE table_name = 'page_buckets'").fetchall()
    connection.execute(
        sql(
            "ingest/provider_export",
            table=shape.table,
            rows=sql(f"ingest/provider_export_{shape.side}"),
            buckets="page_buckets" if has_pages else "(select null::varchar as starts, null::varchar as ends limit 0)",
            grouped_by=_units(asked),
        ),
        {
            "sha256": sha256,
            "provider": shape.provider,
            "side": shape.side,
            "pulled_at": asked.get("pulled_at"),
            "covers_from": asked.get("from"),
            "covers_to": asked.get("to"),
            "bucket_seconds": asked.get("bucket_seconds"),
        },
    )
    if shape.side == "billed":
        return "day"
    ((finest,),) = connection.execute(
        "SELECT min(bucket_seconds) FROM raw.console_usage WHERE file_sha256 = ?", [sha256]
    ).fetchall()
    return GRAINS.get(finest, "")


def _unread(connection: duckdb.DuckDBPyConnection, shape: AccountShape) -> str:
    """A sentence for the ledger about unread fields that look like usage; '' if there are none."""
    known = {name.partition(".")[0] for name in shape.fields.values()}
    keys = connection.execute(
        "SELECT DISTINCT unnest(json_keys(result)) AS name FROM page_results WHERE json_type(result) = 'OBJECT' "
        "ORDER BY 1"
    ).fetchall()
    found = []
    for (name,) in keys:
        is_known = name in known or (shape.of_others and re.fullmatch(shape.of_others, name))
        if is_known or "token" not in name or not _FIELD_NAME.fullmatch(name):
            continue
        ((tokens,),) = connection.execute(
            "SELECT coalesce(sum(tokens_or_null(json_extract_string(result, ?))), 0)::bigint FROM page_results",
            [f'$."{name}"'],
        ).fetchall()
        if tokens:
            found.append(f"{name} ({tokens:,})")
    return f"fields of usage that are not read: {', '.join(found)}" if found else ""
