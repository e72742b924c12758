"""Tables of schema analysis that describe distributions: tail_metrics, distribution_fits, outliers, cost_variance.

Belongs here: which measures and segments are analysed, from which source, and the columns of these tables.
Does not belong here: the statistics (`pipeline.stats`), the SQL (`pipeline/sql/analysis`), files or publishing.

DuckDB groups every column into (value, count) pairs, money as whole nano-dollars; Python sees only these pairs. Null
costs (usage without a price) are left out and counted in the sentence of the row; a minute or a day counts its priced
usage, and is left out where none of it has a price. A table is never empty: a row says what the sources cannot give.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from functools import cache
from importlib.resources import files
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from pipeline.settings import Settings
from pipeline.stats.describe import Counts, Description, Floats, describe, merge_pairs
from pipeline.stats.detection import CANDIDATES, MIN_ROWS, Artefacts, find_artefacts, fit_adjusted, fit_raw, judge
from pipeline.stats.families import FAMILIES, FamilyFits
from pipeline.stats.intervals import MIN_CLUSTERS, Interval, cluster_intervals
from pipeline.stats.tails import PowerLaw, generalized_pareto, hill, power_law, power_law_p_value, variance_in_doubt

MAX_SEGMENTS = 50  # the costliest ones of all dimensions together, beside `all`
MAX_BOOTSTRAP_SEGMENTS = 10  # the same for intervals and bootstrap p-values
MAX_VARIANCE_SEGMENTS = 10  # the same for rolling windows, which make a row an hour
MAX_OUTLIERS = 1000  # rows a measure and method
MIN_OUTLIER_ROWS = 20  # no z above 3 is possible below 11 rows; quartiles mean little below 20
IQR_FENCE = 1.5  # Tukey (1977)
Z_FENCE = 3.0
REFERENCE_DAYS = 28
INTERVALS = (
    "mean",
    "median",
    "cv",
    "p95",
    "p99",
    "p95_to_median",
    "p99_to_median",
    "gini",
    "top_1_share",
    "top_5_share",
    "top_10_share",
    "half_of_total_share",
)
MIN_REFERENCE_ROWS = 20  # below it a 95th percentile is the maximum or nearly so
NANO = 1e9
DIMENSIONS = ("model", "api_key", "workspace", "user_id")


@dataclass(frozen=True)
class Measure:
    """A column to analyse: the file of its observations, and the words for one of them and for where it comes from."""

    name: str
    observations: str
    noun: str
    missing: str
    grain: str = ""

    @property
    def is_cost(self) -> bool:
        """True for US dollars (nano-dollars in SQL), false for tokens."""
        return self.name.endswith("_cost_usd")

    @property
    def unit(self) -> float:
        """Database units in one unit of the table."""
        return NANO if self.is_cost else 1.0


_NO_SESSIONS = "No session logs have been loaded, and a console export knows no sessions"
_NO_REQUESTS = "No logs of single requests have been loaded, and a console export knows no requests"
MEASURES = {
    measure.name: measure
    for measure in (
        Measure("session_cost_usd", "session_observations", "session", _NO_SESSIONS),
        Measure("session_total_tokens", "session_observations", "session", _NO_SESSIONS),
        Measure("request_cost_usd", "request_observations", "request", _NO_REQUESTS),
        Measure("request_total_tokens", "request_observations", "request", _NO_REQUESTS),
        Measure("minute_cost_usd", "usage_observations", "minute", "No usage is known by the minute", "minute"),
        Measure("day_cost_usd", "usage_observations", "day", "No usage has been loaded", "day"),
    )
}


@dataclass(frozen=True)
class _Segment:
    """One segment of one measure; `n` observations have a value, `unpriced_rows` usage rows have no price."""

    dimension: str
    key: str
    n: int
    observations: int
    cost_usd: Decimal
    total_tokens: int
    unpriced_rows: int
    source: str | None

    @property
    def name(self) -> str:
        return "all" if self.dimension == "all" else f"{self.dimension}={self.key}"


@dataclass(frozen=True)
class _Column:
    """The pairs of one measure in one segment, in US dollars or tokens; empty where nothing has a value."""

    measure: Measure
    segment: _Segment
    values: Floats
    counts: Counts
    bootstrapped: bool


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _left_out(measure: Measure, segment: _Segment) -> str:
    """What has no price, as a clause without its full stop; empty where everything has one."""
    if not measure.is_cost or not segment.unpriced_rows:
        return ""
    noun = "usage row" if measure.grain else measure.noun
    return f"{_count(segment.unpriced_rows, noun)} without a price left out"


def _unavailable(measure: Measure, segment: _Segment) -> str:
    """Why there is nothing to analyse, as a sentence without its full stop."""
    if not segment.observations:
        return measure.missing
    lacking = "price" if measure.is_cost else "token count"
    return f"None of the {_count(segment.observations, measure.noun)} has a {lacking}"


def _joined(*parts: str) -> str:
    return "; ".join(part for part in parts if part)


@cache
def _sql(name: str) -> str:
    return files("pipeline").joinpath("sql", "analysis", f"{name}.sql").read_text(encoding="utf-8")


def _query(
    connection: duckdb.DuckDBPyConnection, name: str, measure: Measure, parameters: Mapping[str, Any]
) -> duckdb.DuckDBPyRelation:
    """Run a query over the observations of a measure, which it sees as the table `observations`."""
    body = _sql(name)
    start = re.search(r"^(with|select)\b", body, re.MULTILINE)
    if start is None:
        raise ValueError(f"{name}.sql holds no query")
    body = body[start.start() :]
    body = f", {body[5:]}" if start.group() == "with" else body
    text = f"with observations as (\n{_sql(measure.observations)}\n)\n{body}"
    known = {"grain": measure.grain, "is_cost": measure.is_cost, "unit": measure.unit, **parameters}
    used = set(re.findall(r"\$([a-z_]+)", text))
    return connection.sql(text, params={key: value for key, value in known.items() if key in used})


def _segments_of(connection: duckdb.DuckDBPyConnection, measure: Measure, dimension: str, limit: int) -> list[_Segment]:
    found = _query(connection, "segments", measure, {"dimension": dimension, "segment_limit": limit}).fetchall()
    segments = []
    for key, n, observations, cost, tokens, unpriced, console, sessions in found:
        source = "+".join(name for name, present in (("console", console), ("sessions", sessions)) if present)
        segments.append(
            _Segment(dimension, key, n, observations, cost or Decimal(0), tokens or 0, unpriced, source or None)
        )
    return segments


def _segments(connection: duckdb.DuckDBPyConnection, measure: Measure, limit: int) -> list[_Segment]:
    """`all` first, then the costliest segments of all dimensions together (more tokens, then the name, decide ties)."""
    whole = _segments_of(connection, measure, "all", 1)
    if not whole:
        return [_Segment("all", "all", 0, 0, Decimal(0), 0, 0, None)]
    parts = [segment for dimension in DIMENSIONS for segment in _segments_of(connection, measure, dimension, limit)]
    parts.sort(key=lambda segment: (-segment.cost_usd, -segment.total_tokens, segment.name))
    return whole + parts[:limit]


def _columns(connection: duckdb.DuckDBPyConnection, measure: Measure) -> Iterator[_Column]:
    """Pairs of every segment of a measure, in the order of `_segments`, read one dimension at a time."""
    segments = _segments(connection, measure, MAX_SEGMENTS)
    pairs: dict[tuple[str, str], tuple[Floats, Counts]] = {}
    for dimension in ("all", *DIMENSIONS):
        keys = [segment.key for segment in segments if segment.dimension == dimension and segment.n]
        if not keys:
            continue
        table = _query(connection, "pairs", measure, {"dimension": dimension, "keys": keys}).to_arrow_table()
        codes = table["key"].combine_chunks().dictionary_encode()
        ends = np.searchsorted(codes.indices.to_numpy(), np.arange(len(codes.dictionary)), side="right")
        values, counts = table["value"].to_numpy() / measure.unit, table["rows"].to_numpy()
        first = 0
        for key, end in zip(codes.dictionary.to_pylist(), ends, strict=True):
            pairs[dimension, key] = merge_pairs(values[first:end], counts[first:end])
            first = int(end)
    nothing = (np.empty(0), np.empty(0, dtype=np.int64))
    for place, segment in enumerate(segments):
        values, counts = pairs.get((segment.dimension, segment.key), nothing)
        yield _Column(measure, segment, values, counts, place <= MAX_BOOTSTRAP_SEGMENTS)


def _intervals(
    connection: duckdb.DuckDBPyConnection, column: _Column, seed: int
) -> tuple[str, dict[str, Interval | None]]:
    """What was resampled, and the interval of each quantity; none below `MIN_CLUSTERS` of these units."""
    measure, segment = column.measure, column.segment
    parameters = {"dimension": segment.dimension, "key": segment.key}
    table = _query(connection, "clusters", measure, parameters).to_arrow_table()
    found = cluster_intervals(
        table["cluster"].to_numpy(), table["value"].to_numpy() / measure.unit, table["rows"].to_numpy(), seed
    )
    unit = table["unit"][0].as_py() if len(table) else ""
    return unit, found or {}


def _field(name: str, kind: pa.DataType, description: str) -> pa.Field:
    return pa.field(name, kind, metadata={"description": description})


def _schema(description: str, fields: Sequence[pa.Field]) -> pa.Schema:
    return pa.schema(fields, metadata={"description": description})


_TEXT, _COUNT, _NUMBER, _FLAG, _TIME = pa.string(), pa.int64(), pa.float64(), pa.bool_(), pa.timestamp("us")
_SEGMENT = _field(
    "segment",
    _TEXT,
    "all, or model=, api_key=, workspace= or user_id= and a name; the 50 costliest segments of a measure. "
    "A session belongs to its primary model",
)
_MEASURE = _field(
    "measure",
    _TEXT,
    "What one observation is: the cost or tokens of a session or request, or the cost of a minute (usage known by the "
    "minute only) or a UTC day with usage. Costs in US dollars",
)

SCHEMAS: dict[str, pa.Schema] = {
    "tail_metrics": _schema(
        "How uneven a measure is and whether its tail is heavy; one row a measure and segment",
        [
            _SEGMENT,
            _MEASURE,
            _field(
                "source",
                _TEXT,
                "sessions or console, or console+sessions where the console stands for some provider-days only",
            ),
            _field("n", _COUNT, "Observations with a value; unpriced ones are left out of costs"),
            _field("zeros", _COUNT, "Observations that are exactly zero, part of n"),
            _field("mean", _NUMBER, "Arithmetic mean"),
            _field("median", _NUMBER, "Middle value, the same as p50"),
            _field("sd", _NUMBER, "Standard deviation with n - 1; null below two observations"),
            _field("cv", _NUMBER, "Coefficient of variation, sd / mean"),
            _field(
                "cv_unreliable",
                _FLAG,
                "True where the tail (gpd_xi_p90 of 0.5 or more) may have no variance: read quantiles and shares",
            ),
            _field("skewness", _NUMBER, "Third standardised moment, biased; null where all values are equal"),
            _field("excess_kurtosis", _NUMBER, "Fourth standardised moment less 3, biased; null where all are equal"),
            _field("p50", _NUMBER, "50th percentile; all percentiles interpolate linearly (type 7)"),
            _field("p75", _NUMBER, "75th percentile"),
            _field("p90", _NUMBER, "90th percentile"),
            _field("p95", _NUMBER, "95th percentile"),
            _field("p99", _NUMBER, "99th percentile"),
            _field("p999", _NUMBER, "99.9th percentile"),
            _field("max", _NUMBER, "Largest value"),
            _field("p95_to_median", _NUMBER, "p95 / median, a measure of spread and no proof of a heavy tail"),
            _field("p99_to_median", _NUMBER, "p99 / median"),
            _field("max_to_median", _NUMBER, "max / median"),
            _field("gini", _NUMBER, "Gini coefficient: 0 where all are equal, near 1 where one has everything"),
            _field("top_1_share", _NUMBER, "Share of the sum held by the largest 1% of observations (Lorenz curve)"),
            _field("top_5_share", _NUMBER, "Share of the sum held by the largest 5%"),
            _field("top_10_share", _NUMBER, "Share of the sum held by the largest 10%"),
            _field("half_of_total_share", _NUMBER, "Smallest share of observations that makes half of the sum"),
            *(
                _field(
                    f"{name}_{end}",
                    _NUMBER,
                    f"{'Lower' if end == 'low' else 'Upper'} end of the 95% interval of {name}, by bootstrap of "
                    f"interval_unit; null below {MIN_CLUSTERS} units and outside of all and the ten costliest segments",
                )
                for name in INTERVALS
                for end in ("low", "high")
            ),
            _field(
                "interval_unit",
                _TEXT,
                "What the bootstrap of the intervals resamples: session, user (where users repeat) or week (of minutes "
                "and days); null where none was tried",
            ),
            _field("cap_value", _NUMBER, "Value of the maximum where observations pile up at it, else null"),
            _field("capped_share", _NUMBER, "Share of observations at the cap; 0 where there is none"),
            _field(
                "atoms",
                _TEXT,
                "JSON list of {value, rows, share}: single values that hold 2% or more of the observations and far "
                "more than their neighbours",
            ),
            _field("verdict", _TEXT, "heavy, light, undetermined, too_few (under 50 observations) or unavailable"),
            _field("verdict_reason", _TEXT, "The numbers behind the verdict, and what was left out, in one sentence"),
            _field("hill_xi_5", _NUMBER, "Hill's tail index of the largest 5%; null under a cap or below 10 values"),
            _field("hill_xi_10", _NUMBER, "Hill's tail index of the largest 10%; null as for hill_xi_5"),
            _field(
                "gpd_xi_p90",
                _NUMBER,
                "Shape of the generalized Pareto law above p90, by maximum likelihood; null under a cap, below 50 rows",
            ),
            _field("gpd_xi_p95", _NUMBER, "The same above p95"),
            _field("csn_alpha", _NUMBER, "Power-law exponent of Clauset, Shalizi and Newman; null under a cap"),
            _field("csn_xmin", _NUMBER, "Value from which on that power law is fitted"),
            _field("csn_n", _COUNT, "Observations at or above csn_xmin, at least 50"),
            _field(
                "csn_z_lognormal",
                _NUMBER,
                "Vuong's z of the power law against a lognormal cut off at csn_xmin; negative favours the lognormal",
            ),
            _field(
                "csn_z_exponential",
                _NUMBER,
                "Vuong's z of the power law against an exponential cut off at csn_xmin; negative favours that",
            ),
            _field(
                "csn_p",
                _NUMBER,
                "Bootstrap p-value of the power law; a small one rejects it. Null outside of all and the ten costliest "
                "segments",
            ),
        ],
    ),
    "distribution_fits": _schema(
        "Families fitted by maximum likelihood with location 0; one row a measure, segment, treatment and family. "
        "Compare within one measure, segment and treatment",
        [
            _SEGMENT,
            _MEASURE,
            _field("treatment", _TEXT, "raw: the column as it is; adjusted: atoms set aside and a cap censored"),
            _field(
                "family", _TEXT, f"{', '.join(FAMILIES[:-1])} or {FAMILIES[-1]}; null where nothing could be fitted"
            ),
            _field(
                "params",
                _TEXT,
                "JSON. exponential: scale; lognormal: mu, sigma of the logarithm; gamma, weibull, loglogistic: shape, "
                "scale; inverse_gaussian: mean, lam; lomax: alpha, scale; burr12: c, d, scale; lognormal_mixture: p "
                "(of the first), mu1, sigma1, mu2, sigma2; truncated_normal: mu, sigma; uniform: low, high",
            ),
            _field("n", _COUNT, "Observations above zero that entered the fit, those at a censored cap included"),
            _field("log_likelihood", _NUMBER, "Maximised log-likelihood (densities per US dollar or token)"),
            _field("n_params", _COUNT, "Number of fitted parameters"),
            _field("aic", _NUMBER, "Akaike's criterion, 2 n_params - 2 log_likelihood"),
            _field("bic", _NUMBER, "Bayesian criterion, n_params ln(n) - 2 log_likelihood"),
            _field("aic_weight", _NUMBER, "Akaike weight among the families of this treatment"),
            _field("bic_weight", _NUMBER, "BIC weight among the families of this treatment"),
            _field("ks_distance", _NUMBER, "Largest gap between fitted and observed distribution function, 0 to 1"),
            _field("accepted", _FLAG, "AIC within 10 of the best: better than the others, not necessarily good"),
            _field("rank", _COUNT, "Place by BIC, 1 is the best; families that may not be chosen come last"),
            _field(
                "selectable",
                _FLAG,
                "False for the mixture of lognormals on a raw column with an atom, which it would fit; it then has no "
                "weight",
            ),
            _field(
                "compared_with", _TEXT, "On the best family's row: the second, against which it was tested; else null"
            ),
            _field(
                "comparison",
                _TEXT,
                "vuong, or likelihood_ratio where one of the two is a case of the other",
            ),
            _field(
                "comparison_statistic",
                _NUMBER,
                "Vuong's z, positive for the best; or twice the log-likelihood that the larger family gains",
            ),
            _field("comparison_p", _NUMBER, "Its p-value; a small one tells the two families apart"),
            _field("q50_error", _NUMBER, "Fitted / observed median - 1; null where the cap hides it"),
            _field("q90_error", _NUMBER, "Fitted / observed 90th percentile - 1"),
            _field("q95_error", _NUMBER, "Fitted / observed 95th percentile - 1"),
            _field("q99_error", _NUMBER, "Fitted / observed 99th percentile - 1"),
            _field("note", _TEXT, "That no simple family fits, what was left out, or why there is no fit; else null"),
        ],
    ),
    "outliers": _schema(
        "Sessions outside two customary fences, at most 1,000 a measure and method; a description of the distribution, "
        "not a list of errors: under a heavy tail many sessions lie outside",
        [
            _SEGMENT,
            _MEASURE,
            _field("session_id", _TEXT, "The session; null in the one row that says that there is none"),
            _field("value", _NUMBER, "Its cost in US dollars, or its tokens"),
            _field(
                "method",
                _TEXT,
                "iqr: more than 1.5 interquartile ranges outside the quartiles; z: more than 3 standard deviations "
                "from the mean",
            ),
            _field("score", _NUMBER, "Interquartile ranges beyond the quartile, or standard deviations from the mean"),
            _field("reason", _TEXT, "The comparison in one sentence, or why no session is listed"),
        ],
    ),
    "cost_variance": _schema(
        "Cost over rolling windows. The measure is session_cost_usd, a session counted when it started, where sessions "
        "with a price exist, else day_cost_usd. Segments: all and the ten costliest",
        [
            _field("window_hours", _COUNT, "Length of the window, 24 or 168"),
            _field(
                "window_end",
                _TIME,
                "End of the window, exclusive, UTC. Windows of 24 hours of sessions end every hour, all others at "
                "midnight; only windows wholly inside the segment's days and with an observation are listed",
            ),
            _SEGMENT,
            _MEASURE,
            _field("n", _COUNT, "Observations in the window"),
            _field("mean", _NUMBER, "Mean cost of an observation, US dollars"),
            _field("sd", _NUMBER, "Standard deviation with n - 1; null below two observations"),
            _field("cv", _NUMBER, "sd / mean"),
            _field("share_above_reference", _NUMBER, "Share of the observations that cost more than reference_p95"),
            _field(
                "reference_p95",
                _NUMBER,
                "95th percentile of the segment's first 28 days, fixed from then on, US dollars; null below 20 "
                "observations. In those days themselves about 5% lie above it by construction",
            ),
            _field("note", _TEXT, "What was left out, or why there is no window or no reference; else null"),
        ],
    ),
}


def _table(name: str, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Rows as a table of the documented schema; a column that a row does not name is null.

    Raises:
        ValueError: a row names a column that the schema does not have.

    """
    schema = SCHEMAS[name]
    unknown = {key for row in rows for key in row} - set(schema.names)
    if unknown:
        raise ValueError(f"analysis.{name} has no column {', '.join(sorted(unknown))}")
    return pa.Table.from_pydict({field: [row.get(field) for row in rows] for field in schema.names}, schema=schema)


def _power_law_columns(values: Floats, counts: Counts, law: PowerLaw, seed: int | None) -> dict[str, Any]:
    return {
        "csn_alpha": law.alpha,
        "csn_xmin": law.xmin,
        "csn_n": law.n,
        "csn_z_lognormal": law.z_lognormal,
        "csn_z_exponential": law.z_exponential,
        "csn_p": None if seed is None else power_law_p_value(values, counts, law, seed),
    }


def _tail_columns(values: Floats, counts: Counts, seed: int | None) -> tuple[dict[str, Any], str]:
    """Columns of tail_metrics that follow from the pairs alone, and the reason of the verdict; no p without a seed."""
    description: Description = describe(values, counts)
    artefacts: Artefacts = find_artefacts(values, counts)
    enough = description.n >= MIN_ROWS
    measurable = enough and artefacts.cap_value is None
    gpd, far = (generalized_pareto(values, counts, share) if measurable else None for share in (0.90, 0.95))
    law = power_law(values, counts) if measurable else None
    fits = fit_adjusted(values, counts, artefacts, CANDIDATES) if enough and not artefacts.lattice else None
    judgement = judge(artefacts, fits, gpd)
    columns = asdict(description) | {
        "verdict": judgement.verdict,
        "hill_xi_5": hill(values, counts, 0.05) if measurable else None,
        "hill_xi_10": hill(values, counts, 0.10) if measurable else None,
        "cv_unreliable": variance_in_doubt(gpd.xi if gpd else None),
        "gpd_xi_p90": gpd.xi if gpd else None,
        "gpd_xi_p95": far.xi if far else None,
    }
    if enough:
        columns |= {
            "cap_value": artefacts.cap_value,
            "capped_share": artefacts.capped_share,
            "atoms": json.dumps([asdict(atom) for atom in artefacts.atoms]),
        }
    if law:
        columns |= _power_law_columns(values, counts, law, seed)
    return columns, judgement.reason


class _TailRows:
    """Rows of tail_metrics; a column that is the same in two segments, such as the only workspace, is measured once."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, seed: int) -> None:
        self.connection = connection
        self.seed = seed
        self.known: dict[tuple[bytes, bytes, bool], tuple[dict[str, Any], str]] = {}

    def row(self, column: _Column) -> dict[str, Any]:
        segment = column.segment
        row: dict[str, Any] = {
            "segment": segment.name,
            "measure": column.measure.name,
            "source": segment.source,
            "n": segment.n,
            "zeros": 0,
        }
        if not segment.n:
            return {**row, "verdict": "unavailable", "verdict_reason": f"{_unavailable(column.measure, segment)}."}
        key = (column.values.tobytes(), column.counts.tobytes(), column.bootstrapped)
        if key not in self.known:
            self.known[key] = _tail_columns(column.values, column.counts, self.seed if column.bootstrapped else None)
        columns, reason = self.known[key]
        row |= columns
        row["verdict_reason"] = f"{_joined(reason, _left_out(column.measure, segment))}."
        if column.bootstrapped:
            row["interval_unit"], found = _intervals(self.connection, column, self.seed)
            for name in INTERVALS:
                if interval := found.get(name):
                    row |= {f"{name}_low": interval.low, f"{name}_high": interval.high}
        return row


def tail_metrics(connection: duckdb.DuckDBPyConnection, settings: Settings) -> pa.Table:
    """Describe every measure in `all` and its costliest segments, with a verdict on the tail.

    `connection` sees the marts; a read-only one will do. Raises duckdb.CatalogException where a mart does not exist.
    """
    rows = _TailRows(connection, settings.seed)
    return _table(
        "tail_metrics",
        [rows.row(column) for measure in MEASURES.values() for column in _columns(connection, measure)],
    )


def _fit_rows(column: _Column, treatment: str, fits: FamilyFits) -> list[dict[str, Any]]:
    row: dict[str, Any] = {
        "segment": column.segment.name,
        "measure": column.measure.name,
        "treatment": treatment,
        "n": fits.n,
    }
    excluded = f"{_count(fits.excluded, 'observation')} of zero left out" if fits.excluded else ""
    note = _joined(fits.note, excluded, _left_out(column.measure, column.segment)) or None
    if fits.status == "too_few":
        return [{**row, "note": note}]
    rows = []
    for fit in fits.fits:
        columns = asdict(fit)
        params = json.dumps(columns.pop("params"), allow_nan=False)
        rows.append({**row, **columns, "params": params, "note": note})
    if fits.comparison:
        rows[0] |= {
            "compared_with": fits.comparison.second,
            "comparison": fits.comparison.method,
            "comparison_statistic": fits.comparison.statistic,
            "comparison_p": fits.comparison.p_value,
        }
    return rows


def _fits(column: _Column) -> list[dict[str, Any]]:
    row: dict[str, Any] = {
        "segment": column.segment.name,
        "measure": column.measure.name,
        "treatment": "raw",
        "n": column.segment.n,
    }
    if not column.segment.n:
        return [{**row, "note": f"unavailable: {_unavailable(column.measure, column.segment)}"}]
    if column.segment.n < MIN_ROWS:
        return [{**row, "note": f"too few: {column.segment.n} observations, where a fit needs {MIN_ROWS}"}]
    artefacts = find_artefacts(column.values, column.counts)
    rows = _fit_rows(column, "raw", fit_raw(column.values, column.counts, artefacts))
    if artefacts.any:
        rows += _fit_rows(column, "adjusted", fit_adjusted(column.values, column.counts, artefacts))
    return rows


def distribution_fits(connection: duckdb.DuckDBPyConnection, settings: Settings) -> pa.Table:
    """Fit every family to every measure and segment of `tail_metrics`: raw, and adjusted where artefacts were found.

    Raises as `tail_metrics`.
    """
    rows = [row for measure in MEASURES.values() for column in _columns(connection, measure) for row in _fits(column)]
    return _table("distribution_fits", rows)


def _outlier_reason(measure: Measure, method: str, score: float, origin: float) -> str:
    place = f"{origin:,.4f} USD" if measure.is_cost else f"{origin:,.0f} tokens"
    side = "above" if score > 0 else "below"
    if method == "z":
        return f"{abs(score):,.1f} standard deviations {side} the mean of all sessions ({place})."
    quartile = "third" if score > 0 else "first"
    return f"{abs(score):,.1f} interquartile ranges {side} the {quartile} quartile of all sessions ({place})."


def outliers(connection: duckdb.DuckDBPyConnection, settings: Settings) -> pa.Table:
    """List the sessions beyond 1.5 interquartile ranges or 3 standard deviations in cost and in tokens, largest first.

    A measure and method without any has one row, without a session, that says why. Raises as `tail_metrics`.
    """
    rows: list[dict[str, Any]] = []
    for measure in (MEASURES["session_cost_usd"], MEASURES["session_total_tokens"]):
        segment = _segments(connection, measure, 0)[0]
        for method, fence in (("iqr", IQR_FENCE), ("z", Z_FENCE)):
            row: dict[str, Any] = {"segment": "all", "measure": measure.name, "method": method}
            parameters = {
                "dimension": "all",
                "method": method,
                "fence": fence,
                "min_rows": MIN_OUTLIER_ROWS,
                "outlier_limit": MAX_OUTLIERS,
            }
            found = _query(connection, "outliers", measure, parameters).fetchall()
            rows += [
                {
                    **row,
                    "session_id": session_id,
                    "value": value,
                    "score": score,
                    "reason": _outlier_reason(measure, method, score, origin),
                }
                for session_id, value, score, origin in found
            ]
            if not found:
                rows.append({**row, "reason": f"{_no_outlier(measure, segment, method)}."})
    return _table("outliers", rows)


def _no_outlier(measure: Measure, segment: _Segment, method: str) -> str:
    if not segment.n:
        return f"unavailable: {_unavailable(measure, segment)}"
    if segment.n < MIN_OUTLIER_ROWS:
        return f"too few: {_count(segment.n, 'session')}, where a fence needs {MIN_OUTLIER_ROWS}"
    rule = f"{IQR_FENCE} interquartile ranges" if method == "iqr" else f"{Z_FENCE:g} standard deviations"
    return f"None of the {_count(segment.n, 'session')} lies outside {rule}, or these are zero"


def _variance_measure(connection: duckdb.DuckDBPyConnection) -> tuple[Measure, list[_Segment]]:
    """Sessions where one has a price, else days."""
    measure = MEASURES["session_cost_usd"]
    segments = _segments(connection, measure, MAX_VARIANCE_SEGMENTS)
    if segments[0].n:
        return measure, segments
    measure = MEASURES["day_cost_usd"]
    return measure, _segments(connection, measure, MAX_VARIANCE_SEGMENTS)


def cost_variance(connection: duckdb.DuckDBPyConnection, settings: Settings) -> pa.Table:
    """Mean, sd and cv of cost in rolling windows of 24 hours and 7 days, with the share above a fixed reference.

    Sessions count at their start. Where no session has a price, days take their place (a window of 24 hours then holds
    one observation and has no sd). Raises as `tail_metrics`.
    """
    measure, segments = _variance_measure(connection)
    schema = SCHEMAS["cost_variance"]
    found: dict[str, list[dict[str, Any]]] = {segment.name: [] for segment in segments}
    for dimension in ("all", *DIMENSIONS):
        names = {segment.key: segment.name for segment in segments if segment.dimension == dimension and segment.n}
        if not names:
            continue
        parameters = {
            "dimension": dimension,
            "keys": list(names),
            "step_hours": 24 if measure.grain else 1,
            "reference_days": REFERENCE_DAYS,
            "min_reference_rows": MIN_REFERENCE_ROWS,
        }
        for row in _query(connection, "cost_variance", measure, parameters).to_arrow_table().to_pylist():
            found[names[row.pop("key")]].append(row)
    rows: list[dict[str, Any]] = []
    for segment in segments:
        base = {"segment": segment.name, "measure": measure.name}
        for row in found[segment.name]:
            lacking = row["reference_p95"] is None
            reference = f"fewer than {MIN_REFERENCE_ROWS} observations in the first {REFERENCE_DAYS} days: no reference"
            note = _joined(reference if lacking else "", _left_out(measure, segment)) or None
            rows.append({**row, **base, "note": note})
    for hours in (24, 168):
        if not any(row["window_hours"] == hours for row in found["all"]):
            missing: dict[str, Any] = {"window_hours": hours, "segment": "all", "measure": measure.name, "n": 0}
            if segments[0].n:
                rows.append(
                    {**missing, "note": f"The history holds no whole window of {hours} hours with a dated cost."}
                )
            else:
                reason = _unavailable(measure, segments[0])
                rows.append({**missing, "note": f"unavailable: {reason}."})
    return _table("cost_variance", [{name: row.get(name) for name in schema.names} for row in rows])


TABLES: dict[str, Callable[[duckdb.DuckDBPyConnection, Settings], pa.Table]] = {
    "tail_metrics": tail_metrics,
    "distribution_fits": distribution_fits,
    "outliers": outliers,
    "cost_variance": cost_variance,
}
