"""Tables of schema analysis that describe distributions: tail_metrics, distribution_fits, outliers, cost_variance.

Belongs here: the columns of these tables, and what is put into them. Does not belong here: measures and segments
(`measures`), the statistics (`analysis.stats`), the SQL (`pipeline/analysis/sql`), files or publishing.

DuckDB groups every column into (value, count) pairs, money as whole nano-dollars; Python sees only these pairs. Null
costs (usage without a price) are left out and counted in the sentence of the row; a minute or a day counts its priced
usage, and is left out where none of it has a price. A table is never empty: a row says what the sources cannot give.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache, partial
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from pipeline.analysis import bridge, days
from pipeline.analysis.causes import Lines, RateRatios, comparable, priced, tokens_of
from pipeline.analysis.measures import (
    COUNT,
    DIMENSIONS,
    FLAG,
    MEASURE,
    MEASURES,
    NUMBER,
    SEGMENT,
    TEXT,
    TIME,
    Measure,
    Segment,
    as_table,
    costliest_segments,
    described_field,
    described_schema,
    joined,
    left_out,
    published_before,
    query_observations,
    unavailable,
)
from pipeline.analysis.stats.anomalies import MIN_USER_ROWS, user_rule
from pipeline.analysis.stats.column import Clustered, Pairs, compute
from pipeline.analysis.stats.decomposition import RESOLUTION_USD, explain_excess
from pipeline.analysis.stats.describe import Counts, Floats, merge_pairs
from pipeline.analysis.stats.families import FAMILIES
from pipeline.analysis.stats.intervals import MIN_CLUSTERS
from pipeline.settings import Settings
from pipeline.store import memo, progress, warehouse
from pipeline.store.computed import table_or_reason
from pipeline.store.processes import Shared
from pipeline.words import counted

# A process takes a second to start, and a column 0.03 s where it has some thousand distinct values.
WORTH_PROCESSES = 256
BYTES_OF_A_TASK = 1 << 18
MAX_BOOTSTRAP_SEGMENTS = 10  # the costliest ones of all dimensions together, beside `all`: intervals and p-values
MAX_VARIANCE_SEGMENTS = 10  # the same for rolling windows, which make a row an hour
MAX_OUTLIERS = 1000  # rows a measure, method and segment
MAX_EXPLAINED = 100  # rows with an excess by cause
OWNERS = ("user_id", "api_key")  # whose own habits make a fence
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


@dataclass(frozen=True)
class Column:
    """The pairs of one measure in one segment, in US dollars or tokens; empty where nothing has a value."""

    measure: Measure
    segment: Segment
    values: Floats
    counts: Counts
    bootstrapped: bool


def read_columns(connection: duckdb.DuckDBPyConnection, measure: Measure, limit: int) -> Iterator[Column]:
    """Pairs of the costliest segments of a measure, in the order of `costliest_segments`."""
    return columns_of(connection, measure, costliest_segments(connection, measure, limit))


def columns_of(
    connection: duckdb.DuckDBPyConnection, measure: Measure, segments: Sequence[Segment]
) -> Iterator[Column]:
    """Pairs of these segments, in their order, read one dimension at a time."""
    pairs: dict[tuple[str, str], tuple[Floats, Counts]] = {}
    for dimension in ("all", *DIMENSIONS):
        keys = [segment.key for segment in segments if segment.dimension == dimension and segment.n]
        if not keys:
            continue
        table = query_observations(
            connection, "pairs", measure, {"dimension": dimension, "keys": keys}
        ).to_arrow_table()
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
        yield Column(measure, segment, values, counts, place <= MAX_BOOTSTRAP_SEGMENTS)


def _clustered(
    connection: duckdb.DuckDBPyConnection, measure: Measure, segments: Sequence[Segment], seed: int
) -> Iterator[tuple[str, str, Clustered]]:
    """The name of each segment, what is resampled for its intervals, and its column in these clusters."""
    for dimension in ("all", *DIMENSIONS):
        names = {segment.key: segment.name for segment in segments if segment.dimension == dimension and segment.n}
        if not names:
            continue
        parameters = {"dimension": dimension, "keys": list(names)}
        table = query_observations(connection, "clusters", measure, parameters).to_arrow_table()
        codes = table["key"].combine_chunks().dictionary_encode()
        starts = np.searchsorted(codes.indices.to_numpy(), np.arange(len(codes.dictionary) + 1))
        clusters, values, rows = (table[name].to_numpy() for name in ("cluster", "value", "rows"))
        for place, key in enumerate(codes.dictionary.to_pylist()):
            lines = slice(starts[place], starts[place + 1])
            clustered = Clustered(clusters[lines], values[lines] / measure.unit, rows[lines], seed)
            yield names[key], table["unit"][int(starts[place])].as_py(), clustered


SCHEMAS: dict[str, pa.Schema] = {
    "tail_metrics": described_schema(
        "How uneven a measure is and whether its tail is heavy; one row a measure and segment",
        [
            SEGMENT,
            MEASURE,
            described_field(
                "source",
                TEXT,
                "sessions or console, or console+sessions where the console stands for some provider-days only",
            ),
            described_field("n", COUNT, "Observations with a value; unpriced ones are left out of costs"),
            described_field("zeros", COUNT, "Observations that are exactly zero, part of n"),
            described_field("mean", NUMBER, "Arithmetic mean"),
            described_field("median", NUMBER, "Middle value, the same as p50"),
            described_field("sd", NUMBER, "Standard deviation with n - 1; null below two observations"),
            described_field("cv", NUMBER, "Coefficient of variation, sd / mean"),
            described_field(
                "cv_unreliable",
                FLAG,
                "True where the tail (gpd_xi_p90 of 0.5 or more) may have no variance: read quantiles and shares",
            ),
            described_field("skewness", NUMBER, "Third standardised moment, biased; null where all values are equal"),
            described_field(
                "excess_kurtosis", NUMBER, "Fourth standardised moment less 3, biased; null where all are equal"
            ),
            described_field("p50", NUMBER, "50th percentile; all percentiles interpolate linearly (type 7)"),
            described_field("p75", NUMBER, "75th percentile"),
            described_field("p90", NUMBER, "90th percentile"),
            described_field("p95", NUMBER, "95th percentile"),
            described_field("p99", NUMBER, "99th percentile"),
            described_field("p999", NUMBER, "99.9th percentile"),
            described_field("max", NUMBER, "Largest value"),
            described_field("p95_to_median", NUMBER, "p95 / median, a measure of spread and no proof of a heavy tail"),
            described_field("p99_to_median", NUMBER, "p99 / median"),
            described_field("max_to_median", NUMBER, "max / median"),
            described_field("gini", NUMBER, "Gini coefficient: 0 where all are equal, near 1 where one has everything"),
            described_field(
                "top_1_share", NUMBER, "Share of the sum held by the largest 1% of observations (Lorenz curve)"
            ),
            described_field("top_5_share", NUMBER, "Share of the sum held by the largest 5%"),
            described_field("top_10_share", NUMBER, "Share of the sum held by the largest 10%"),
            described_field("half_of_total_share", NUMBER, "Smallest share of observations that makes half of the sum"),
            *(
                described_field(
                    f"{name}_{end}",
                    NUMBER,
                    f"{'Lower' if end == 'low' else 'Upper'} end of the 95% interval of {name}, by bootstrap of "
                    f"interval_unit; null below {MIN_CLUSTERS} units and outside of all and the ten costliest segments",
                )
                for name in INTERVALS
                for end in ("low", "high")
            ),
            described_field(
                "interval_unit",
                TEXT,
                "What the bootstrap of the intervals resamples: session, user (where users repeat) or week (of minutes "
                "and days); null where none was tried",
            ),
            described_field("cap_value", NUMBER, "Value of the maximum where observations pile up at it, else null"),
            described_field("capped_share", NUMBER, "Share of observations at the cap; 0 where there is none"),
            described_field(
                "atoms",
                TEXT,
                "JSON list of {value, rows, share}: single values that hold 2% or more of the observations and far "
                "more than their neighbours",
            ),
            described_field(
                "verdict",
                TEXT,
                "heavy, light, undetermined, too_few (under 50 observations, setting analysis_min_rows) or unavailable",
            ),
            described_field(
                "previous_verdict",
                TEXT,
                "What the run before said of this segment and measure; null where it had no such row",
            ),
            described_field("verdict_changed", FLAG, "True where the verdict is another one than in the run before"),
            described_field(
                "verdict_reason", TEXT, "The numbers behind the verdict, and what was left out, in one sentence"
            ),
            described_field(
                "hill_xi_5", NUMBER, "Hill's tail index of the largest 5%; null under a cap or below 10 values"
            ),
            described_field("hill_xi_10", NUMBER, "Hill's tail index of the largest 10%; null as for hill_xi_5"),
            described_field(
                "gpd_xi_p90",
                NUMBER,
                "Shape of the generalized Pareto law above p90, by maximum likelihood; null under a cap, below 50 rows",
            ),
            described_field("gpd_xi_p95", NUMBER, "The same above p95"),
            described_field("csn_alpha", NUMBER, "Power-law exponent of Clauset, Shalizi and Newman; null under a cap"),
            described_field("csn_xmin", NUMBER, "Value from which on that power law is fitted"),
            described_field("csn_n", COUNT, "Observations at or above csn_xmin, at least 50"),
            described_field(
                "csn_z_lognormal",
                NUMBER,
                "Vuong's z of the power law against a lognormal cut off at csn_xmin; negative favours the lognormal",
            ),
            described_field(
                "csn_z_exponential",
                NUMBER,
                "Vuong's z of the power law against an exponential cut off at csn_xmin; negative favours that",
            ),
            described_field(
                "csn_p",
                NUMBER,
                "Bootstrap p-value of the power law; a small one rejects it. Null outside of all and the ten costliest "
                "segments",
            ),
        ],
    ),
    "distribution_fits": described_schema(
        "Families fitted by maximum likelihood with location 0; one row a measure, segment, treatment and family. "
        "Compare within one measure, segment and treatment",
        [
            SEGMENT,
            MEASURE,
            described_field(
                "treatment", TEXT, "raw: the column as it is; adjusted: atoms set aside and a cap censored"
            ),
            described_field(
                "family", TEXT, f"{', '.join(FAMILIES[:-1])} or {FAMILIES[-1]}; null where nothing could be fitted"
            ),
            described_field(
                "params",
                TEXT,
                "JSON. exponential: scale; lognormal: mu, sigma of the logarithm; gamma, weibull, loglogistic: shape, "
                "scale; inverse_gaussian: mean, lam; lomax: alpha, scale; burr12: c, d, scale; lognormal_mixture: p "
                "(of the first), mu1, sigma1, mu2, sigma2; truncated_normal: mu, sigma; uniform: low, high",
            ),
            described_field(
                "n", COUNT, "Observations above zero that entered the fit, those at a censored cap included"
            ),
            described_field("log_likelihood", NUMBER, "Maximised log-likelihood (densities per US dollar or token)"),
            described_field("n_params", COUNT, "Number of fitted parameters"),
            described_field("aic", NUMBER, "Akaike's criterion, 2 n_params - 2 log_likelihood"),
            described_field("bic", NUMBER, "Bayesian criterion, n_params ln(n) - 2 log_likelihood"),
            described_field("aic_weight", NUMBER, "Akaike weight among the families of this treatment"),
            described_field("bic_weight", NUMBER, "BIC weight among the families of this treatment"),
            described_field(
                "ks_distance", NUMBER, "Largest gap between fitted and observed distribution function, 0 to 1"
            ),
            described_field(
                "accepted", FLAG, "AIC within 10 of the best: better than the others, not necessarily good"
            ),
            described_field("rank", COUNT, "Place by BIC, 1 is the best; families that may not be chosen come last"),
            described_field(
                "selectable",
                FLAG,
                "False for the mixture of lognormals on a raw column with an atom, which it would fit; it then has no "
                "weight",
            ),
            described_field(
                "compared_with", TEXT, "On the best family's row: the second, against which it was tested; else null"
            ),
            described_field(
                "comparison",
                TEXT,
                "vuong, or likelihood_ratio where one of the two is a case of the other",
            ),
            described_field(
                "comparison_statistic",
                NUMBER,
                "Vuong's z, positive for the best; or twice the log-likelihood that the larger family gains",
            ),
            described_field("comparison_p", NUMBER, "Its p-value; a small one tells the two families apart"),
            described_field("q50_error", NUMBER, "Fitted / observed median - 1; null where the cap hides it"),
            described_field("q90_error", NUMBER, "Fitted / observed 90th percentile - 1"),
            described_field("q95_error", NUMBER, "Fitted / observed 95th percentile - 1"),
            described_field("q99_error", NUMBER, "Fitted / observed 99th percentile - 1"),
            described_field(
                "note", TEXT, "That no simple family fits, what was left out, or why there is no fit; else null"
            ),
        ],
    ),
    "outliers": described_schema(
        "Sessions outside two customary fences of all sessions (a description of the distribution, no list of errors: "
        "under a heavy tail many lie outside), and those that are dear for their own user or key; at most 1,000 a "
        "measure, method and segment",
        [
            SEGMENT,
            MEASURE,
            described_field("session_id", TEXT, "The session; null in the one row that says that there is none"),
            described_field("value", NUMBER, "Its cost in US dollars, or its tokens"),
            described_field(
                "method",
                TEXT,
                "iqr: more than 1.5 interquartile ranges outside the quartiles; z: more than 3 standard deviations "
                "from the mean; robust: among the sessions of one user or key, log cost more than 5 robust deviations "
                "(MAD) above the median",
            ),
            described_field(
                "score",
                NUMBER,
                "Interquartile ranges beyond the quartile, or (robust) standard deviations from the mean or median",
            ),
            described_field("reason", TEXT, "The comparison in one sentence, or why no session is listed"),
            described_field("expected", NUMBER, "Median cost of a session of the segment, USD; null as contributions"),
            described_field(
                "contributions",
                TEXT,
                "JSON of USD by cause (requests_per_session, tokens_per_request, model_mix, cache_share, price; "
                "sessions is 0), summing exactly to value - expected, against the segment's mean session brought to "
                "expected; null for tokens, low outliers and beyond the 100 dearest rows",
            ),
        ],
    ),
    "cost_variance": described_schema(
        "Cost over rolling windows. The measure is session_cost_usd, a session counted when it started, where sessions "
        "with a price exist, else day_cost_usd. Segments: all and the ten costliest",
        [
            described_field("window_hours", COUNT, "Length of the window, 24 or 168"),
            described_field(
                "window_end",
                TIME,
                "End of the window, exclusive, UTC. Windows of 24 hours of sessions end every hour, all others at "
                "midnight; only windows wholly inside the segment's days and with an observation are listed",
            ),
            SEGMENT,
            MEASURE,
            described_field("n", COUNT, "Observations in the window"),
            described_field("mean", NUMBER, "Mean cost of an observation, US dollars"),
            described_field("sd", NUMBER, "Standard deviation with n - 1; null below two observations"),
            described_field("cv", NUMBER, "sd / mean"),
            described_field(
                "share_above_reference", NUMBER, "Share of the observations that cost more than reference_p95"
            ),
            described_field(
                "reference_p95",
                NUMBER,
                "95th percentile of the segment's first 28 days, fixed from then on, US dollars; null below 20 "
                "observations. In those days themselves about 5% lie above it by construction",
            ),
            described_field("note", TEXT, "What was left out, or why there is no window or no reference; else null"),
        ],
    ),
    "half_of_cost_sessions": described_schema(
        "The costliest sessions that together make half of the cost, at most 1,000 of them; every row also says how "
        "many they are, and of how many",
        [
            described_field("rank", COUNT, "1 is the costliest; null in the row that says that there is none"),
            described_field("session_id", TEXT, "The session"),
            described_field("cost_usd", pa.decimal128(38, 12), "Its cost, USD"),
            described_field("upto_share", NUMBER, "Share of the whole cost that it and those before it make"),
            described_field("sessions_needed", COUNT, "Sessions that make half of the cost"),
            described_field("sessions", COUNT, "All sessions with a cost"),
            described_field("share", NUMBER, "sessions_needed / sessions"),
            described_field(
                "share_low", NUMBER, "Lower end of its 95% interval (as half_of_total_share of tail_metrics)"
            ),
            described_field("share_high", NUMBER, "Upper end of it; null below 30 users or sessions"),
            described_field("note", TEXT, "What was left out, or why there is no such list; else null"),
        ],
    ),
    "month_bridge": bridge.SCHEMA,
    **days.SCHEMAS,
}


@dataclass(frozen=True)
class _Asked:
    """One column of a run, with the keys of what follows from it."""

    measure: Measure
    segment: Segment
    pairs: str
    interval_unit: str | None
    intervals: str | None


def _measure_all(
    connection: duckdb.DuckDBPyConnection, settings: Settings, kept: memo.Kept
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of tail_metrics and of distribution_fits, from one reading of every column.

    What follows from a column is computed where no run before has, and once where it is the same in two segments, such
    as the only workspace; on all cores where there is enough of it.
    """
    with Shared[str, Pairs | Clustered, str](compute, warehouse.threads(settings), WORTH_PROCESSES) as shared:
        wanted: set[str] = set()

        def want(task: Pairs | Clustered) -> str:
            key = task.key()
            if key not in wanted:
                wanted.add(key)
                if kept.get(key) is None:
                    shared.add(key, task, weight=1 + task.values.nbytes // BYTES_OF_A_TASK)
            return key

        asked = []
        for measure in MEASURES.values():
            segments = costliest_segments(connection, measure, settings.analysis_segments)
            bootstrapped = segments[: MAX_BOOTSTRAP_SEGMENTS + 1]
            intervals = {
                name: (unit, want(clustered))
                for name, unit, clustered in _clustered(connection, measure, bootstrapped, settings.seed)
            }
            for column in columns_of(connection, measure, segments):
                seed = settings.seed if column.bootstrapped else None
                pairs = Pairs(column.values, column.counts, seed, settings.analysis_min_rows)
                key = want(pairs) if column.segment.n else ""
                asked.append(_Asked(measure, column.segment, key, *intervals.get(column.segment.name, (None, None))))
                progress.report("analysis", len(asked), 0, f"{measure.name} of {column.segment.name}")
        known = {key: result for key in wanted if (result := kept.get(key)) is not None}
        results = known | shared.results()
    kept.replace(results)
    found = {key: json.loads(result) for key, result in results.items()}
    before = {
        (segment, measure): verdict
        for segment, measure, verdict in published_before(connection, "tail_metrics", ["segment", "measure", "verdict"])
    }
    tails = [_tail_row(each, found, before) for each in asked]
    return tails, [row for each in asked for row in _fit_rows(each, found, settings.analysis_min_rows)]


def _tail_row(
    asked: _Asked, found: Mapping[str, Mapping[str, Any]], verdicts: Mapping[tuple[str, str], str]
) -> dict[str, Any]:
    """The row of tail_metrics of a column, with what the run before said of it."""
    measure, segment = asked.measure, asked.segment
    row: dict[str, Any] = {
        "segment": segment.name,
        "measure": measure.name,
        "source": segment.source,
        "n": segment.n,
        "zeros": 0,
    }
    measured = found[asked.pairs] if segment.n else {}
    if not segment.n:
        row |= {"verdict": "unavailable", "verdict_reason": f"{unavailable(measure, segment)}."}
    elif error := measured.get("error"):
        row |= {"verdict": "unavailable", "verdict_reason": f"Not computed, {error}."}
    else:
        row |= measured["columns"]
        row["verdict_reason"] = f"{joined(measured['reason'], left_out(measure, segment))}."
        if asked.intervals:
            row["interval_unit"] = asked.interval_unit
            for name in INTERVALS:
                if interval := found[asked.intervals].get(name):
                    row[f"{name}_low"], row[f"{name}_high"] = interval
    before = verdicts.get((segment.name, measure.name))
    return {**row, "previous_verdict": before, "verdict_changed": before is not None and before != row["verdict"]}


def _fit_rows(asked: _Asked, found: Mapping[str, Mapping[str, Any]], min_rows: int) -> list[dict[str, Any]]:
    """The rows of distribution_fits of a column: one a treatment and family, or one that says why there is none."""
    measure, segment = asked.measure, asked.segment
    row = {"segment": segment.name, "measure": measure.name, "treatment": "raw", "n": segment.n}
    if not segment.n:
        return [{**row, "note": f"unavailable: {unavailable(measure, segment)}"}]
    measured = found[asked.pairs]
    if error := measured.get("error"):
        return [{**row, "note": f"unavailable: not computed, {error}"}]
    if not measured["treatments"]:
        return [{**row, "note": f"too few: {segment.n} observations, where a fit needs {min_rows}"}]
    rows: list[dict[str, Any]] = []
    for treatment, fits in measured["treatments"].items():
        note = joined(*fits["notes"], left_out(measure, segment)) or None
        base = {**row, "treatment": treatment, "n": fits["n"], "note": note}
        rows += [{**base, **fit} for fit in fits["rows"] or [{}]]
    return rows


def tail_metrics(connection: duckdb.DuckDBPyConnection, settings: Settings) -> pa.Table:
    """Describe every measure in `all` and its costliest segments, with a verdict on the tail.

    `connection` sees the marts; a read-only one will do. Raises duckdb.CatalogException where a mart does not exist.
    """
    rows, _ = _measure_all(connection, settings, memo.Kept(connection, "analysis"))
    return as_table("tail_metrics", SCHEMAS["tail_metrics"], rows)


def distribution_fits(connection: duckdb.DuckDBPyConnection, settings: Settings) -> pa.Table:
    """Fit every family to every measure and segment of `tail_metrics`: raw, and adjusted where artefacts were found.

    Raises as `tail_metrics`.
    """
    _, rows = _measure_all(connection, settings, memo.Kept(connection, "analysis"))
    return as_table("distribution_fits", SCHEMAS["distribution_fits"], rows)


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
        segment = costliest_segments(connection, measure, 0)[0]
        for method, fence in (("iqr", IQR_FENCE), ("z", Z_FENCE)):
            row: dict[str, Any] = {"segment": "all", "measure": measure.name, "method": method}
            parameters = {
                "dimension": "all",
                "method": method,
                "fence": fence,
                "min_rows": MIN_OUTLIER_ROWS,
                "outlier_limit": MAX_OUTLIERS,
            }
            found = query_observations(connection, "outliers", measure, parameters).fetchall()
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
    rows += _outliers_of_owners(connection, settings)
    _explain(connection, [row for row in rows if row["measure"] == "session_cost_usd" and row.get("score", 0) > 0])
    return as_table("outliers", SCHEMAS["outliers"], rows)


def _explain(connection: duckdb.DuckDBPyConnection, rows: list[dict[str, Any]]) -> None:
    """Add the excess over the median session of the segment, by cause, to the dearest `MAX_EXPLAINED` of these rows."""
    chosen = sorted(rows, key=lambda row: (-row["value"], row["session_id"], row["method"]))[:MAX_EXPLAINED]
    ratios = RateRatios(connection)
    for segment in sorted({row["segment"] for row in chosen}):
        dimension, _, key = segment.partition("=")
        of_segment = [row for row in chosen if row["segment"] == segment]
        parameters = {
            "dimension": dimension,
            "key": key or "all",
            "sessions": sorted({row["session_id"] for row in of_segment}),
        }
        found = query_observations(connection, "session_lines", MEASURES["session_cost_usd"], parameters)
        lines: dict[str | None, Lines] = {}
        median = 0.0
        for line in (dict(zip(found.columns, values, strict=True)) for values in found.fetchall()):
            each = lines.setdefault(line["session_id"], Lines(requests=0, sessions=1))
            each.cost_usd += line["cost_usd"]
            known = each.requests is not None and line["requests"] is not None
            each.requests = (each.requests or 0) + line["requests"] if known else None
            name = (line["provider"], line["primary_model"])
            rates = ratios.of(*name, line["last_day"])
            each.models[name] = priced(tokens_of(line), float(line["cost_usd"]), rates)
            median = line["median_usd"]
        whole = lines.get(None)
        if whole is None or not whole.cost_usd or not median:
            continue
        typical = whole.scaled(median / float(whole.cost_usd))
        typical.sessions = 1
        for row in of_segment:
            expected = Decimal(repr(median)).quantize(RESOLUTION_USD)
            excess = lines[row["session_id"]].cost_usd - expected
            before, after = comparable(typical, lines[row["session_id"]])
            parts = explain_excess(before, after, excess)
            row["expected"] = median
            row["contributions"] = "{" + ", ".join(f"{json.dumps(term)}: {usd:f}" for term, usd in parts.items()) + "}"


def _outliers_of_owners(connection: duckdb.DuckDBPyConnection, settings: Settings) -> list[dict[str, Any]]:
    """Sessions that are dear for their own user or key; one row that says so where no user or key has such a rule."""
    measure = MEASURES["session_cost_usd"]
    rows: list[dict[str, Any]] = []
    tested = 0
    for column in read_columns(connection, measure, settings.analysis_segments):
        segment = column.segment
        rule = user_rule(column.values, column.counts) if segment.dimension in OWNERS and segment.n else None
        if rule is None:
            continue
        tested += 1
        parameters = {
            "dimension": segment.dimension,
            "key": segment.key,
            "fence": rule.limit * measure.unit,
            "outlier_limit": MAX_OUTLIERS,
        }
        for session_id, value in query_observations(connection, "outliers_of_owner", measure, parameters).fetchall():
            score = float(rule.z([value])[0])
            rows.append(
                {
                    "segment": segment.name,
                    "measure": measure.name,
                    "session_id": session_id,
                    "value": value,
                    "method": "robust",
                    "score": score,
                    "reason": f"{score:,.1f} robust deviations of log cost above the median of {segment.name} "
                    f"({rule.median:,.4f} USD): {value / rule.median:,.1f} times as much.",
                }
            )
    if rows:
        return rows
    whole = costliest_segments(connection, measure, 0)[0]
    if not whole.n:
        reason = f"unavailable: {unavailable(measure, whole)}"
    elif not tested:
        reason = f"too few: no user and no key has the {MIN_USER_ROWS} sessions with a cost that a rule needs"
    else:
        reason = f"No session lies above the fence of its user or key; {tested} have one"
    return [{"segment": "all", "measure": measure.name, "method": "robust", "reason": f"{reason}."}]


def _no_outlier(measure: Measure, segment: Segment, method: str) -> str:
    if not segment.n:
        return f"unavailable: {unavailable(measure, segment)}"
    if segment.n < MIN_OUTLIER_ROWS:
        return f"too few: {counted(segment.n, 'session')}, where a fence needs {MIN_OUTLIER_ROWS}"
    rule = f"{IQR_FENCE} interquartile ranges" if method == "iqr" else f"{Z_FENCE:g} standard deviations"
    return f"None of the {counted(segment.n, 'session')} lies outside {rule}, or these are zero"


def _variance_measure(connection: duckdb.DuckDBPyConnection) -> tuple[Measure, list[Segment]]:
    """Sessions where one has a price, else days."""
    measure = MEASURES["session_cost_usd"]
    segments = costliest_segments(connection, measure, MAX_VARIANCE_SEGMENTS)
    if segments[0].n:
        return measure, segments
    measure = MEASURES["day_cost_usd"]
    return measure, costliest_segments(connection, measure, MAX_VARIANCE_SEGMENTS)


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
        for row in query_observations(connection, "cost_variance", measure, parameters).to_arrow_table().to_pylist():
            found[names[row.pop("key")]].append(row)
    rows: list[dict[str, Any]] = []
    for segment in segments:
        base = {"segment": segment.name, "measure": measure.name}
        for row in found[segment.name]:
            lacking = row["reference_p95"] is None
            reference = f"fewer than {MIN_REFERENCE_ROWS} observations in the first {REFERENCE_DAYS} days: no reference"
            note = joined(reference if lacking else "", left_out(measure, segment)) or None
            rows.append({**row, **base, "note": note})
    for hours in (24, 168):
        if not any(row["window_hours"] == hours for row in found["all"]):
            missing: dict[str, Any] = {"window_hours": hours, "segment": "all", "measure": measure.name, "n": 0}
            if segments[0].n:
                rows.append(
                    {**missing, "note": f"The history holds no whole window of {hours} hours with a dated cost."}
                )
            else:
                reason = unavailable(measure, segments[0])
                rows.append({**missing, "note": f"unavailable: {reason}."})
    return as_table(
        "cost_variance", SCHEMAS["cost_variance"], [{name: row.get(name) for name in schema.names} for row in rows]
    )


def half_of_cost_sessions(connection: duckdb.DuckDBPyConnection, settings: Settings) -> pa.Table:
    """List the sessions that make half of the cost, with the share that they are and its interval.

    Raises as `tail_metrics`.
    """
    measure = MEASURES["session_cost_usd"]
    column = next(read_columns(connection, measure, 0))
    parameters = {"dimension": "all", "session_limit": MAX_OUTLIERS}
    found = query_observations(connection, "half_of_cost", measure, parameters).fetchall()
    if not found:
        reason = "All sessions cost nothing" if column.segment.n else unavailable(measure, column.segment)
        lacking = [{"note": f"unavailable: {reason}."}]
        return as_table("half_of_cost_sessions", SCHEMAS["half_of_cost_sessions"], lacking)
    ((_, _, clustered),) = _clustered(connection, measure, [column.segment], settings.seed)
    interval = clustered.result().get("half_of_total_share")
    note = left_out(measure, column.segment)
    rows = [
        {
            "rank": place,
            "session_id": session_id,
            "cost_usd": cost,
            "upto_share": upto,
            "sessions_needed": needed,
            "sessions": sessions,
            "share": needed / sessions,
            "share_low": interval[0] if interval else None,
            "share_high": interval[1] if interval else None,
            "note": f"{note}." if note else None,
        }
        for place, session_id, cost, upto, needed, sessions in found
    ]
    return as_table("half_of_cost_sessions", SCHEMAS["half_of_cost_sessions"], rows)


TABLES: dict[str, Callable[[duckdb.DuckDBPyConnection, Settings], pa.Table]] = {
    "tail_metrics": tail_metrics,
    "distribution_fits": distribution_fits,
    "outliers": outliers,
    "cost_variance": cost_variance,
    "half_of_cost_sessions": half_of_cost_sessions,
    "month_bridge": bridge.month_bridge_table,
    **days.TABLES,
}


def tables(connection: duckdb.DuckDBPyConnection, settings: Settings) -> Iterator[tuple[str, pa.Table]]:
    """Every table of `TABLES` by name, in their order; one that cannot be computed says so (`computed.failure`)."""
    measured = cache(
        lambda: _measure_all(connection, settings, memo.Kept(connection, "analysis"))
    )  # the first two share their fits
    shared = {
        "tail_metrics": lambda: as_table("tail_metrics", SCHEMAS["tail_metrics"], measured()[0]),
        "distribution_fits": lambda: as_table("distribution_fits", SCHEMAS["distribution_fits"], measured()[1]),
    }
    for name, build in TABLES.items():
        yield name, table_or_reason(SCHEMAS[name], shared.get(name, partial(build, connection, settings)))
