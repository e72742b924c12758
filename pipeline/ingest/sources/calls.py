"""JSON formats with one record per call: the description of a format (`CallShape`), and a reader for all of them.

Belongs here: reading lines, arrays and documents of JSON into raw.requests by a `CallShape`, which names the path of
each number and label in a record. Does not belong here: any single format. Only the paths of the shape are read; other
text of a record never leaves DuckDB's reader.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import duckdb

from pipeline.ingest.sources.base import (
    MisreadError,
    count_reader_errors,
    file_literal,
    forget_reader_errors,
    line_relation,
    load_tidily,
    locate_lines,
    readable_lines,
    scratch,
    store_records,
    tidy_document,
    tidy_lines,
)
from pipeline.ingest.sources.contract import MAX_DOCUMENT_BYTES, Loaded, Probe, RejectedRow, SourceError, json_of
from pipeline.store.sqlfiles import literal, sql

# Lines of the head used for recognition: a log may start with lines of other kinds.
HEAD_LINES = 200
# No document of a known format is nested this deeply.
MAX_NESTING = 100
COUNTS = (
    "input", "input_beside", "cache_read", "cache_write", "cache_write_5m", "cache_write_1h", "output", "output_beside",
)  # fmt: skip
# Parts of the counts above with their own rates, and the sum of all counts as the record states it.
PARTS = (
    "input_audio", "input_image", "cache_read_audio", "cache_read_image", "output_audio", "output_image", "total",
)  # fmt: skip
LABELS = (
    "response_id", "session_id", "logged_at", "is_sidechain", "provider", "model", "project", "user_id", "api_key",
    "workspace", "usage_type", "inference_geo", "speed", "web_searches", "session_started_at", "copy_key", "is_copied",
    "copied_from", "held_in", "span", "parent_span",
)  # fmt: skip
_PATH = re.compile(r"\$(\.\w+|\.\"[\w.-]+\"|\[\*\])*")

Places = str | tuple[str, ...]


@dataclass(frozen=True)
class CallShape:
    """The paths of a format's fields. A place is a JSON path in the record (`$.usage.input`).

    `^.id` is a path in what surrounds the record: its document, or the line that `header` describes. `=text` is the
    constant `text`. Of several places, the first with a value counts.

    Attributes:
        format: name of the format.
        logger: kind of logger: tracker, transcript, gateway or span.
        columns: a name of `COUNTS`, `PARTS` or `LABELS` -> its places. Counts named `*_beside` are tokens that the
            format does not include in that count; those of all places are added to it. `logged_at` is ISO 8601, or
            seconds, milliseconds, microseconds or nanoseconds since 1970. If `session_started_at` has a place and
            `is_copied` has none, a record that is older than its session is a copy from another session, and any other
            record may be one; copies keep time, model and counts.
            `held_in` is the session of the file, if the record may belong to another session.
            If `span` and `parent_span` have places, a record that sums up those below it is not a call.
        key: places of the parts of a record's key; without any value, the record's content is the key.
        is_inclusive: whether `input` includes cached tokens, and `input_audio` cached audio. A record with less input
            than cached tokens, or with a total that only fits exclusive counts, is still read as exclusive.
        total_tells_beside: whether `output_beside` is part of output if the stated total is the sum without it.
        is_keyed_by_response: whether the provider's response id alone identifies a call, if it is stated.
        only: a path -> its values in a record of a call; other records are ignored.
        records: path of the records in a line or document; `$` if each line or array element is a record.
        header: path and value that identify the line for `^`; '' if `^` is the document.
        prepare: name of an SQL file with an expression that converts `record`; '' if no conversion is needed.
        inside: name of an SQL file with steps from `prepared` to `holding`, which find the records of calls within each
            `record` (`calls_within`); they get its key and response id, with `#` and their number.

    """

    format: str
    logger: str
    columns: Mapping[str, Places]
    key: tuple[str, ...]
    is_inclusive: bool
    total_tells_beside: bool = False
    is_keyed_by_response: bool = True
    only: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    records: str = "$"
    header: tuple[str, str] | None = None
    prepare: str = ""
    inside: str = "no_calls_inside"


def first_objects(probe: Probe) -> Iterator[dict[str, Any]]:
    """The first JSON objects of a file: its lines, an array's elements, or the part of its one document in the head."""
    if not probe.is_text:
        return
    text = probe.text.lstrip()
    for line in islice(text.splitlines(), HEAD_LINES):
        entry = json_of(line)
        yield from (each for each in (entry if isinstance(entry, list) else [entry]) if isinstance(each, dict))
    if is_document(probe):
        yield from _parts(text)


def _parts(text: str) -> Iterator[dict[str, Any]]:
    """The document at the beginning of `text`, or an array's elements; of a cut document the complete part."""
    decoder = json.JSONDecoder()
    if text.startswith("["):
        at = 1
        for _ in range(HEAD_LINES):
            try:
                entry, at = decoder.raw_decode(text, at + len(text[at:]) - len(text[at:].lstrip(" \t\r\n,")))
            except (ValueError, RecursionError):
                return
            if isinstance(entry, dict):
                yield entry
        return
    try:
        entry, _ = decoder.raw_decode(text)
    except (ValueError, RecursionError):
        entry = cut_document(text)
    if isinstance(entry, dict):
        yield entry


def cut_document(text: str) -> Any:
    """A cut document, closed after its last complete value."""
    closers: list[str] = []
    safe: tuple[int, str] | None = None
    for token in re.finditer(r'"(?:[^"\\]|\\.)*"|["{}\[\],]', text):
        mark = token.group()
        if mark == '"':
            # the head ends within this text
            break
        if mark in "{[" and len(closers) == MAX_NESTING:
            return None
        if mark in "{[":
            closers.append("}" if mark == "{" else "]")
            safe = (token.end(), "".join(reversed(closers)))
        elif mark in "}]":
            if closers:
                closers.pop()
            safe = (token.end(), "".join(reversed(closers)))
        elif mark == ",":
            safe = (token.start(), "".join(reversed(closers)))
    return json_of(text[: safe[0]] + safe[1]) if safe else None


def is_document(probe: Probe) -> bool:
    """Whether the file is one JSON value over several lines, or an array, and not one object per line."""
    text = probe.text.lstrip()
    if text.startswith("["):
        first, second = [*islice(text.splitlines(), 2), ""][:2]
        # unless the array is only the first line, and the next line is a record
        return not (first.rstrip().endswith("]") and isinstance(json_of(second), dict))
    if not text.startswith("{"):
        return False
    if any(json_of(line) is not None for line in islice(text.splitlines(), 2)):
        return False
    return "\n" in text.rstrip()


def load(connection: duckdb.DuckDBPyConnection, probe: Probe, sha256: str, shape: CallShape) -> Loaded:
    """Insert into raw.requests, one row per call in the file.

    Raises:
        SourceError: the file is one document of invalid JSON, or not every row could be accounted for.

    """
    if not is_document(probe):
        return load_tidily(connection, probe, lambda file: _load_lines(connection, file, sha256, shape), tidy_lines)
    try:
        return _load_document(connection, probe, sha256, shape)
    except MisreadError:
        connection.execute("ROLLBACK")
        connection.execute("BEGIN")
    with scratch() as folder:
        try:
            return _load_document(connection, tidy_document(probe, folder / "tidied"), sha256, shape)
        except MisreadError as error:
            raise SourceError(str(error)) from None


def _load_document(connection: duckdb.DuckDBPyConnection, probe: Probe, sha256: str, shape: CallShape) -> Loaded:
    is_array = probe.text.lstrip().startswith("[")
    # DuckDB needs a buffer for the largest object
    size = probe.size(MAX_DOCUMENT_BYTES, "a document")
    relation = (
        f"(select json::varchar as line from read_json_objects({file_literal(probe.path)}, "
        f"format = '{'array' if is_array else 'unstructured'}', compression = '{probe.compression}', "
        f"maximum_object_size = {max(size, 1 << 20)}))"
    )
    try:
        read(connection, relation, shape)
    except (duckdb.InvalidInputException, duckdb.IOException):
        raise MisreadError("not valid JSON, perhaps cut off: copy the file again") from None
    # records of a document have no lines: line is the record's number from 1, the offset is 0
    bad = connection.execute(
        "SELECT place, reason FROM call_records WHERE reason IS NOT NULL ORDER BY place, part"
    ).fetchall()
    return _store(connection, sha256, shape, tuple(RejectedRow(int(place), 0, reason) for place, reason in bad), 0)


def _load_lines(connection: duckdb.DuckDBPyConnection, probe: Probe, sha256: str, shape: CallShape) -> Loaded:
    forget_reader_errors(connection)
    try:
        read(connection, line_relation(probe), shape)
    except (duckdb.InvalidInputException, duckdb.IOException):
        raise MisreadError("not readable as lines of text: copy the file again") from None
    return store_lines(connection, probe, sha256, shape)


def store_lines(connection: duckdb.DuckDBPyConnection, probe: Probe, sha256: str, shape: CallShape) -> Loaded:
    """Store the records of a file of lines from `call_records`, and locate its rejected lines.

    Raises:
        MisreadError: not every rejected line could be located.

    """
    # equal lines have equal problems
    reasons = connection.execute(
        "SELECT line_md5, string_agg(reason, '\n' ORDER BY place, part) FROM ("
        "SELECT DISTINCT line_md5, place, part, reason FROM call_records WHERE reason IS NOT NULL) GROUP BY 1"
    ).fetchall()
    unread = count_reader_errors(connection) + probe.left_out
    rejected = tuple(
        replace(row, reason=reason)
        for row in (locate_lines(probe, dict(reasons)) if reasons or unread else ())
        for reason in row.reason.split("\n")
    )
    return _store(connection, sha256, shape, rejected, unread)


def read(connection: duckdb.DuckDBPyConnection, relation: str, shape: CallShape, document: str = "line") -> None:
    """Create the temporary table call_records from `relation`; its column `line` is the text of a line or document.

    `document` is an SQL expression for the JSON, if that is not the line itself.
    """
    own, around = _paths(shape, "$"), _paths(shape, "^")
    is_call = " and ".join(
        f"{_field(path, own, around)} in ({', '.join(map(literal, values))})" for path, values in shape.only.items()
    )
    columns = {
        name: _column(name, shape.columns.get(name, ()), own, around, among="names" if name in LABELS else "fields")
        for name in LABELS + COUNTS + PARTS
    }
    stated = [place for name in COUNTS for place in _places(shape.columns.get(name, ())) if place[0] in "$^"]
    header = "document"
    if shape.header:
        path, value = shape.header
        header = (
            f"(select any_value(line) from {relation} where line is not null and contains(line, {literal(value)}) "
            f"and case when json_valid(line) then json_extract_string(line, {literal(path)}) = {literal(value)} end)"
        )
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE call_records AS "
        + sql(
            "ingest/calls",
            readable_lines=readable_lines(relation, document),
            records="[document::json]" if shape.records == "$" else f"json_extract(document, {literal(shape.records)})",
            record=sql(f"ingest/{shape.prepare}") if shape.prepare else "record",
            inside=sql(f"ingest/{shape.inside}", is_inclusive=str(shape.is_inclusive).lower()).rstrip(),
            around=header,
            paths=_path_list(own),
            around_paths=_path_list(around),
            is_call=is_call or "true",
            is_stated=" or ".join(f"{_field(place, own, around)} is not null" for place in stated),
            columns=",\n        ".join(f"{expression} as {name}" for name, expression in columns.items()),
            key=_key(shape, own, around),
            is_inclusive=str(shape.is_inclusive).lower(),
            total_tells_beside=str(shape.total_tells_beside).lower(),
            tells_copies_by_age=str("session_started_at" in shape.columns and "is_copied" not in shape.columns).lower(),
        )
    )


def _key(shape: CallShape, own: list[str], around: list[str]) -> str:
    parts = [f"coalesce({_field(place, own, around, 'names')}, '')" for place in shape.key]
    # parts of the surroundings alone would give all records one key
    named = " and ".join(
        f"coalesce({_field(place, own, around, 'names')}, '') <> ''" for place in shape.key if place[0] == "$"
    )
    return f"if({named}, {' || chr(58) || '.join(parts)}, md5(json(record)))" if named else "md5(json(record))"


def _store(
    connection: duckdb.DuckDBPyConnection, sha256: str, shape: CallShape, rejected: tuple[RejectedRow, ...], unread: int
) -> Loaded:
    """Insert the valid records of call_records by the repeat rule; raises MisreadError if rows are missing."""
    insert = sql(
        "ingest/calls_requests",
        file_sha256=literal(sha256),
        source_format=literal(shape.format),
        logger=literal(shape.logger),
        counting_record=sql("ingest/counting_record").rstrip(),
        named_by="coalesce(nullif(response_id, ''), own_key)" if shape.is_keyed_by_response else "own_key",
    )
    loaded = store_records(connection, "call_records", insert, rejected, unread)
    if "parent_span" in shape.columns:
        connection.execute(sql("ingest/span_links", file_sha256=literal(sha256)))
    connection.execute("DROP TABLE call_records")
    return loaded


def _places(places: Places) -> tuple[str, ...]:
    return (places,) if isinstance(places, str) else places


def _paths(shape: CallShape, root: str) -> list[str]:
    """The distinct JSON paths of a shape that start at `root`."""
    every = [place for places in shape.columns.values() for place in _places(places)]
    every += [*shape.key, *shape.only]
    return list(dict.fromkeys("$" + place[1:] for place in every if place[0] == root))


def _path_list(paths: list[str]) -> str:
    for path in paths:
        if not _PATH.fullmatch(path):
            raise ValueError(f"not a JSON path: {path}")
    return "[" + ", ".join(map(literal, paths)) + "]::varchar[]"


def _field(place: str, own: list[str], around: list[str], among: str = "fields") -> str:
    """SQL for the value of a place; for names (`among`), objects and lists are no value."""
    if place[0] == "=":
        return literal(place[1:])
    if place[0] == "^":
        return f"around_fields[{around.index('$' + place[1:]) + 1}]"
    return f"{among}[{own.index(place) + 1}]"


def _column(name: str, places: Places, own: list[str], around: list[str], among: str) -> str:
    found = [f"nullif(trim({_field(place, own, around, among)}), '')" for place in _places(places)]
    if name.endswith("_beside") and len(found) > 1:
        return f"sum_of_counts([{', '.join(found)}])"
    return f"coalesce({', '.join(found)})" if found else "null::varchar"
