"""Validation of a run: checks of the warehouse by Great Expectations.

Belongs here: running the suites of expectations/. Does not belong here: the report of their results (report), the laws
themselves (expectations/*.json and *.sql), what happens to a run when one fails
(assets), and the tests of single columns, which dbt makes while it builds.

DuckDB aggregates the marts to a small frame, `expectations/<name>.sql`; Great Expectations checks that frame by
`expectations/<name>.json`. Each frame has a column `rows_checked`, the number of the mart's rows behind a line: a check
that saw no rows never counts as passed. Outcomes are kept by suite and frame: a run without news need not load the
library (3 s of CPU time).
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache, cached_property
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import duckdb

from pipeline.ingest import formats
from pipeline.store import bundled, memo
from pipeline.store.sqlfiles import identifier
from pipeline.views.pages import display

if TYPE_CHECKING:
    import pandas as pd

Severity = Literal["blocking", "warn"]
Status = Literal["passed", "failed", "nothing to check"]

MAX_OFFENDING_ROWS = 100
ROWS_LAW = "rows_law"
STAGE = "validation"
EXPECTATIONS = bundled.ROOT / "expectations"
# Severities in Great Expectations' terms.
_GX_SEVERITY: Mapping[Severity, str] = {"blocking": "critical", "warn": "warning"}


class ValidationError(Exception):
    """The suites or the warehouse are unusable; the message is one sentence that says what to do."""


@dataclass(frozen=True)
class RowsLaw:
    """Where the ledger shows loaded rows of these channels, rows must have been checked.

    `fed_by` names what `_channel` gives. `where` picks lines of the frame, or, where `table` is
    given, rows of that table: for a suite that compares and may rightly find nothing to compare.
    """

    fed_by: tuple[str, ...]
    where: tuple[tuple[str, str], ...] = ()
    table: str = ""


@dataclass(frozen=True)
class Suite:
    """One file of expectations/: a rule, the mart that it checks, and its severity."""

    name: str
    title: str
    description: str
    severity: Severity
    asset_key: tuple[str, ...]
    also_reads: tuple[tuple[str, ...], ...]
    rows_law: tuple[RowsLaw, ...]
    nothing_to_check: str
    sql: str = field(repr=False)
    offending_sql: str | None = field(repr=False)
    expectations: tuple[dict[str, Any], ...] = field(repr=False)


@dataclass(frozen=True)
class ExpectationResult:
    """Result of one expectation: its statement, the observed values, and the number of failing lines of the frame."""

    type: str
    statement: str
    passed: bool
    observed: str
    failing_lines: int


@dataclass(frozen=True)
class SuiteResult:
    """Result of one suite on one state of the warehouse."""

    name: str
    title: str
    description: str
    severity: Severity
    asset_key: tuple[str, ...]
    status: Status
    evaluated_rows: int
    expectations: tuple[ExpectationResult, ...]
    offending_rows: tuple[dict[str, Any], ...] = ()
    offending_total: int = 0
    message: str = ""

    @property
    def passed(self) -> bool:
        """Whether nothing failed; also true if there was nothing to check (see `status`)."""
        return self.status != "failed"

    @property
    def failures(self) -> str:
        """The failed statements with the observed values, in one line; '' if nothing failed."""
        failed = [f"{each.statement}: {each.observed}" for each in self.expectations if not each.passed]
        return "; ".join(failed)

    @property
    def blocks(self) -> bool:
        """Whether the run must not be published."""
        return self.status == "failed" and self.severity == "blocking"


# ---------------------------------------------------------------------------------------------------- the suites


def load_suites(names: Sequence[str] | None = None, folder: Path = EXPECTATIONS) -> tuple[Suite, ...]:
    """The suites of `folder`, or those of these names in this order: blocking ones first, then by name.

    Cheap: it imports nothing, so that checks can be declared from it.

    Raises:
        ValidationError: there is no suite of a name, or a file of a suite is incomplete.

    """
    found = {path.stem: path for path in sorted(folder.glob("*.json"))}
    if unknown := sorted(set(names or ()) - set(found)):
        raise ValidationError(f"no suite {', '.join(unknown)} in expectations/; there are: {', '.join(found)}")
    suites = [_load_suite(path) for path in found.values()]
    if names is not None:
        return tuple(sorted((s for s in suites if s.name in names), key=lambda suite: list(names).index(suite.name)))
    return tuple(sorted(suites, key=lambda suite: (suite.severity != "blocking", suite.name)))


def _load_suite(path: Path) -> Suite:
    offending = path.with_name(f"{path.stem}.offending.sql")
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        meta = document["meta"]
        if document["name"] != path.stem:
            raise ValidationError(f"expectations/{path.name}: its name must be {path.stem}")
        if meta["severity"] not in _GX_SEVERITY:
            raise ValidationError(f"expectations/{path.name}: severity must be one of {', '.join(_GX_SEVERITY)}")
        if not document["expectations"] or not all(each["description"] for each in document["expectations"]):
            raise ValidationError(f"expectations/{path.name}: it must expect something, and describe what")
        return Suite(
            name=document["name"],
            title=meta["title"],
            description=meta["description"],
            severity=meta["severity"],
            asset_key=tuple(meta["asset"]),
            also_reads=tuple(tuple(key) for key in meta.get("also_reads", ())),
            rows_law=tuple(
                RowsLaw(tuple(law["fed_by"]), tuple(law.get("where", {}).items()), law.get("table", ""))
                for law in meta["rows_law"]
            ),
            nothing_to_check=meta.get(
                "nothing_to_check", "The ledger shows no rows that could have reached the table."
            ),
            sql=_query(path.with_suffix(".sql")),
            offending_sql=_query(offending) if offending.exists() else None,
            expectations=tuple(
                {**each, "severity": _GX_SEVERITY[meta["severity"]]} for each in document["expectations"]
            ),
        )
    except KeyError as error:
        raise ValidationError(f"expectations/{path.name}: {error} is missing") from None
    except FileNotFoundError:
        raise ValidationError(f"expectations/{path.stem}.sql is missing") from None


def queries(suites: Sequence[Suite]) -> list[str]:
    """Every SQL text of expectations/, and the names of the tables whose rows the suites also count."""
    texts = [_query(path) for path in sorted(EXPECTATIONS.glob("*.sql"))]
    return texts + [law.table for suite in suites for law in suite.rows_law if law.table]


def _query(path: Path) -> str:
    return path.read_text(encoding="utf-8").rstrip().removesuffix(";")


# --------------------------------------------------------------------------------------------------- running them


def run_suites(
    connection: duckdb.DuckDBPyConnection,
    names: Sequence[str] | None = None,
    *,
    max_rejected_share: float | None = None,
) -> list[SuiteResult]:
    """Run all suites, or those of these names, on the warehouse of `connection`.

    A suite whose query cannot run (a mart is missing, a number overflows) has failed; it does not stop the others.

    Args:
        connection: of the private or of the published database; nothing is written.
        names: of suites; all by default.
        max_rejected_share: limit of suite `rejected_threshold`, 0 to 1; without it that suite has nothing to check.

    Raises:
        ValidationError: there is no suite of a name, or no ledger (`ingest.files`) in the database.

    """
    suites = load_suites(names)
    ledger = _ledger_rows(connection)
    # A variable of the session, because the published database is open for reading only.
    connection.execute("SET VARIABLE max_rejected_share = ?", [max_rejected_share])
    share_views(connection)
    judge = _Judge(memo.Kept(connection, STAGE))
    results = [_run_suite(connection, suite, ledger, judge) for suite in suites]
    if names is None:
        judge.keep()
    return results


def share_views(connection: duckdb.DuckDBPyConnection) -> None:
    """Make the temporary view `token_rows`; without a mart there is none, and suites that read it fail."""
    with contextlib.suppress(*_MISSING):
        connection.execute(f"CREATE OR REPLACE TEMPORARY VIEW token_rows AS {_query(EXPECTATIONS / 'token_rows.sql')}")


def _ledger_rows(connection: duckdb.DuckDBPyConnection) -> dict[str, int]:
    try:
        rows = connection.execute(_query(EXPECTATIONS / "ledger_rows.sql")).fetchall()
    except duckdb.CatalogException:
        raise ValidationError("the database has no ledger (ingest.files): run the ingest first") from None
    loaded: Counter[str] = Counter()
    for name, count in rows:
        loaded[_channel(name)] += count
    return dict(loaded)


def _channel(name: str) -> str:
    """The channel of a format; all but formats of an account and the table of sessions are logs of requests.

    So a new format is covered automatically.
    """
    if name in formats.ACCOUNT_FORMATS:
        return {"console": "console_usage", "billed": "console_cost"}[formats.ACCOUNT_FORMATS[name][1]]
    return name if name == "token_usage_sessions" else "request_logs"


@cache
def _great_expectations() -> Any:
    """The library, imported on first use (3 to 4 s), with its analytics off before it can read the setting."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    import great_expectations

    return great_expectations


def _ephemeral_context() -> Any:
    """A context in memory that writes nothing, sends nothing and draws no progress bars."""
    gx = _great_expectations()
    from great_expectations.data_context.types.base import (
        DataContextConfig,
        InMemoryStoreBackendDefaults,
        ProgressBarsConfig,
    )

    # By default every ephemeral context leaves a temporary folder of Data Docs behind.
    stores = InMemoryStoreBackendDefaults(init_temp_docs_sites=False)
    configuration = DataContextConfig(
        store_backend_defaults=stores, progress_bars=ProgressBarsConfig(globally=False), analytics_enabled=False
    )
    return gx.get_context(mode="ephemeral", project_config=configuration)


class _Judge:
    """Checks each suite's frame in one ephemeral context, unless the result of the same suite and frame is kept."""

    def __init__(self, kept: memo.Kept) -> None:
        self._kept = kept
        self._judged: dict[str, str] = {}

    def __call__(self, suite: Suite, lines: _Rows) -> tuple[list[ExpectationResult], list[int]]:
        """The outcome of each expectation, and the indices of the failing lines of the frame."""
        key = hashlib.sha256(repr((suite.name, suite.expectations, lines, _version())).encode()).hexdigest()
        if (kept := self._kept.get(key)) is not None:
            self._judged[key] = kept
            outcomes, failing = json.loads(kept)
            return [ExpectationResult(**outcome) for outcome in outcomes], failing
        frame = _frame(lines)
        results = self._validate(suite, frame).results
        judged = [_outcome(result, frame) for result in results]
        failing = sorted({int(i) for result in results for i in _failing_lines(result)})
        if not any(_raised(result) for result in results):
            self._judged[key] = json.dumps([[asdict(outcome) for outcome in judged], failing])
        return judged, failing

    def keep(self) -> None:
        """Keep the outcomes of this run, and no others."""
        self._kept.replace(self._judged)

    @cached_property
    def _marts(self) -> Any:
        return _ephemeral_context().data_sources.add_pandas("marts")

    def _validate(self, suite: Suite, frame: pd.DataFrame) -> Any:
        """Great Expectations' result of `frame`, with the index of every failing line."""
        gx = _great_expectations()
        expectations = copy.deepcopy(list(suite.expectations))
        meta = {"title": suite.title, "severity": suite.severity}
        expectation_suite = gx.ExpectationSuite(name=suite.name, expectations=expectations, meta=meta)
        asset = self._marts.add_dataframe_asset(suite.name)
        batch = asset.add_batch_definition_whole_dataframe("frame").get_batch({"dataframe": frame})
        return batch.validate(expectation_suite, result_format={"result_format": "COMPLETE"})


@cache
def _version() -> str:
    """Version of the kept outcomes: that of the library and of this module."""
    return f"{metadata.version('great-expectations')} {hashlib.sha256(Path(__file__).read_bytes()).hexdigest()}"


def _run_suite(
    connection: duckdb.DuckDBPyConnection, suite: Suite, ledger: Mapping[str, int], judge: _Judge
) -> SuiteResult:
    try:
        lines = _rows(connection, suite.sql)
        law = _apply_rows_law(connection, suite, lines, ledger)
    except duckdb.Error as error:
        return _unanswered(suite, error)
    judged, failing = judge(suite, lines)
    outcomes = (*judged, law) if law else tuple(judged)
    evaluated_rows = lines.rows_checked()
    status: Status = "passed"
    message = ""
    offending: tuple[dict[str, Any], ...] = ()
    offending_total = 0
    if not all(outcome.passed for outcome in outcomes):
        status = "failed"
        offending, offending_total = _offending_rows(connection, suite, lines, failing)
    elif evaluated_rows == 0:
        status = "nothing to check"
        message = suite.nothing_to_check
    return SuiteResult(
        name=suite.name,
        title=suite.title,
        description=suite.description,
        severity=suite.severity,
        asset_key=suite.asset_key,
        status=status,
        evaluated_rows=evaluated_rows,
        expectations=outcomes,
        offending_rows=offending,
        offending_total=offending_total,
        message=message,
    )


def _unanswered(suite: Suite, error: duckdb.Error) -> SuiteResult:
    """The result of a suite with a failed query; DuckDB's message is not shown, because it can quote values."""
    reason = "a table or column that it reads is missing" if isinstance(error, _MISSING) else type(error).__name__
    statement = "The frame of this suite can be computed"
    outcome = ExpectationResult("query", statement, passed=False, observed=reason, failing_lines=0)
    return SuiteResult(
        name=suite.name,
        title=suite.title,
        description=suite.description,
        severity=suite.severity,
        asset_key=suite.asset_key,
        status="failed",
        evaluated_rows=0,
        expectations=(outcome,),
        message=f"expectations/{suite.name}.sql did not run: {reason}.",
    )


_MISSING = (duckdb.CatalogException, duckdb.BinderException)


def _apply_rows_law(
    connection: duckdb.DuckDBPyConnection, suite: Suite, lines: _Rows, ledger: Mapping[str, int]
) -> ExpectationResult | None:
    """The result of the suite's rows law; None if the suite has none."""
    if not suite.rows_law:
        return None
    seen = []
    broken = 0
    for law in suite.rows_law:
        loaded = sum(ledger.get(channel, 0) for channel in law.fed_by)
        rows = _rows_of(connection, law, lines)
        broken += loaded > 0 and rows == 0
        which = " ".join(value for _, value in law.where) or law.table or "all"
        seen.append(f"{which}: {rows:,} rows, {loaded:,} loaded")
    return ExpectationResult(
        type=ROWS_LAW,
        statement="Where the ledger shows loaded rows, there are rows to check",
        passed=broken == 0,
        observed="; ".join(seen),
        failing_lines=broken,
    )


def _rows_of(connection: duckdb.DuckDBPyConnection, law: RowsLaw, lines: _Rows) -> int:
    if law.table:
        table = ".".join(identifier(part) for part in law.table.split("."))
        conditions = " and ".join(f"{identifier(column)} = ?" for column, _ in law.where) or "true"
        ((rows,),) = connection.execute(
            f"select count(*) from {table} where {conditions}", [value for _, value in law.where]
        ).fetchall()
        return int(rows)
    return lines.rows_checked(law.where)


def _failing_lines(result: Any) -> Sequence[int]:
    return cast("Sequence[int]", result.result.get("unexpected_index_list") or ())


def _raised(result: Any) -> bool:
    return bool(result.exception_info and result.exception_info.get("raised_exception", True))


def _outcome(result: Any, frame: pd.DataFrame) -> ExpectationResult:
    configuration = result.expectation_config
    if _raised(result):
        # Not even an exception inside an expectation may show values: only its kind is kept.
        observed, failing = "it could not be judged", 0
    else:
        observed = _observed(configuration.kwargs, frame)
        failing = int(result.result.get("unexpected_count") or 0)
    return ExpectationResult(
        type=configuration.type,
        statement=configuration.description,
        passed=bool(result.success),
        observed=observed,
        failing_lines=failing,
    )


def _observed(kwargs: Mapping[str, Any], frame: pd.DataFrame) -> str:
    """Observed values of the checked columns: range, distinct values, or the greatest difference of a pair."""
    if frame.empty:
        return "no lines"
    if "column_A" in kwargs:
        left, right = frame[kwargs["column_A"]], frame[kwargs["column_B"]]
        both = left.notna() & right.notna()
        gap = max((abs(a - b) for a, b in zip(left[both], right[both], strict=True)), default=0)
        missing = f", {int((~both).sum()):,} missing" if not both.all() else ""
        return f"greatest difference {display(_plain(gap))}{missing}"
    column = frame[kwargs["column"]]
    values = column.dropna()
    missing = f", {len(column) - len(values):,} null" if len(values) < len(column) else ""
    if values.empty:
        return f"nothing but nulls{missing}"
    if values.map(lambda value: isinstance(value, str)).all():
        distinct = sorted(set(values))
        more = f" and {len(distinct) - 10:,} more" if len(distinct) > 10 else ""
        return ", ".join(display(value) for value in distinct[:10]) + more + missing
    low, high = display(_plain(values.min())), display(_plain(values.max()))
    return (low if low == high else f"{low} to {high}") + missing


def _plain(value: Any) -> Any:
    """A NumPy number as Python's own."""
    return value.item() if hasattr(value, "item") else value


def _offending_rows(
    connection: duckdb.DuckDBPyConnection, suite: Suite, lines: _Rows, failing: Sequence[int]
) -> tuple[tuple[dict[str, Any], ...], int]:
    """The first rows that break the rule, by the suite's own query, else from the frame; and their number."""
    if suite.offending_sql is None:
        return tuple(lines.dicts(failing[:MAX_OFFENDING_ROWS])), len(failing)
    ((total,),) = connection.execute(f"select count(*) from (\n{suite.offending_sql}\n)").fetchall()
    # The query ends in its order by, so that the limit keeps the first rows of that order.
    rows = _rows(connection, f"{suite.offending_sql}\nlimit {MAX_OFFENDING_ROWS}")
    return tuple(rows.dicts(range(len(rows.values)))), int(total)


@dataclass(frozen=True)
class _Rows:
    """Rows as DuckDB gave them: exact decimals, and whole numbers beside nulls, which a frame turns into floats."""

    columns: tuple[str, ...]
    values: list[tuple[Any, ...]]

    def dicts(self, indices: Iterable[int]) -> list[dict[str, Any]]:
        """The rows of these indices, each by column name."""
        return [dict(zip(self.columns, self.values[i], strict=True)) for i in indices]

    def rows_checked(self, where: Iterable[tuple[str, str]] = ()) -> int:
        """The mart's rows behind the lines that have these values."""
        lines = self.dicts(range(len(self.values)))
        return sum(
            int(line["rows_checked"] or 0) for line in lines if all(line[column] == value for column, value in where)
        )


def _rows(connection: duckdb.DuckDBPyConnection, query: str) -> _Rows:
    # Fetched to the end: a half-read result keeps DuckDB 2.0 from other work on its connection.
    cursor = connection.execute(query)
    columns = tuple(str(column[0]) for column in cursor.description or ())
    return _Rows(columns, cursor.fetchall())


def _frame(rows: _Rows) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(rows.values, columns=list(rows.columns))
