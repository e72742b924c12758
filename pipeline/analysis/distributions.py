"""Tables of schema analysis that describe distributions: tail_metrics, distribution_fits, outliers, cost_variance.

Belongs here: the columns and rows of these tables. Does not belong here: measures and segments (`measures`), the
statistics (`analysis.stats`), the SQL (`pipeline/analysis/sql`), files or publishing.

DuckDB groups every column into (value, count) pairs, money as whole nano-dollars; Python reads only these pairs. Null
costs (usage without a price) are left out, and the row says how many. The cost of a minute or day is that of its priced
usage; without any, it is left out. A table is never empty: one row says what the sources do not contain.
"""

from __future__ import annotations

import itertools
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
    query_segments,
    unavailable,
)
from pipeline.analysis.stats.anomalies import MIN_USER_ROWS, user_rule
from pipeline.analysis.stats.column import Clustered, Pairs, compute
from pipeline.analysis.stats.decomposition import RESOLUTION_USD, explain_excess
from pipeline.analysis.stats.describe import Counts, Floats, merge_pairs
from pipeline.analysis.stats.families import FAMILIES
from pipeline.analysis.stats.intervals import MIN_CLUSTERS, MIN_EFFECTIVE_CLUSTERS
from pipeline.settings import Settings
from pipeline.store import memo, progress, warehouse
from pipeline.store.computed import table_or_reason
from pipeline.store.processes import Shared
from pipeline.words import counted

# A process takes a second to start; a column of a few thousand distinct values takes 0.03 s.
WORTH_PROCESSES = 256
BYTES_OF_A_TASK = 1 << 18
MAX_BOOTSTRAP_SEGMENTS = 10  # the most expensive segments besides `all` that get intervals and p-values
MAX_VARIANCE_SEGMENTS = 10  # the same for rolling windows, two a day
MAX_OUTLIERS = 1000  # rows per measure, method and segment
MAX_EXPLAINED = 100  # rows with an excess by cause
OWNERS = ("user_id", "api_key")  # dimensions with a fence for each of their own segments
MIN_OUTLIER_ROWS = 20  # no z above 3 is possible below 11 rows; quartiles mean little below 20
IQR_FENCE = 1.5  # Tukey (1977)
Z_FENCE = 3.0
MATERIAL_SHARE = 0.10  # of the sum, made by the largest 1%: a few drive it
IMMATERIAL_SHARE = 0.05  # less than in an exponential column (5.6%): whatever the family, no few rows matter
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
MIN_REFERENCE_ROWS = 20  # with fewer rows the 95th percentile is nearly the maximum


@dataclass(frozen=True)
class Column:
    """(value, count) pairs of a measure in a segment, in US dollars or tokens; empty if no observation has a value."""

    measure: Measure
    segment: Segment
    values: Floats
    counts: Counts
    bootstrapped: bool


def read_columns(connection: duckdb.DuckDBPyConnection, measure: Measure, limit: int) -> Iterator[Column]:
    """Pairs of the most expensive segments of a measure, in the order of `costliest_segments`."""
    return columns_of(connection, measure, costliest_segments(connection, measure, limit))


def columns_of(
    connection: duckdb.DuckDBPyConnection, measure: Measure, segments: Sequence[Segment]
) -> Iterator[Column]:
    """Pairs of these segments, in their order."""
    valued = [segment for segment in segments if segment.n]
    pairs: dict[str, tuple[Floats, Counts]] = {}
    for place, lines in _lines_of(connection, "pairs", measure, valued):
        values, counts = lines["value"].to_numpy() / measure.unit, lines["rows"].to_numpy()
        pairs[valued[place].name] = merge_pairs(values, counts)
    no_pairs = (np.empty(0), np.empty(0, dtype=np.int64))
    for place, segment in enumerate(segments):
        values, counts = pairs.get(segment.name, no_pairs)
        yield Column(measure, segment, values, counts, place <= MAX_BOOTSTRAP_SEGMENTS)


def _clustered(
    connection: duckdb.DuckDBPyConnection, measure: Measure, segments: Sequence[Segment], seed: int
) -> Iterator[tuple[str, str, Clustered]]:
    """For each segment with values: its name, the unit that the bootstrap resamples, and its values by cluster."""
    valued = [segment for segment in segments if segment.n]
    for place, lines in _lines_of(connection, "clusters", measure, valued):
        clusters, values, rows = (lines[name].to_numpy() for name in ("cluster", "value", "rows"))
        yield valued[place].name, lines["unit"][0].as_py(), Clustered(clusters, values / measure.unit, rows, seed)


def _lines_of(
    connection: duckdb.DuckDBPyConnection, query: str, measure: Measure, segments: Sequence[Segment]
) -> Iterator[tuple[int, pa.Table]]:
    """The lines of a query by the index of their segment, in that order; segments without lines are left out."""
    if not segments:
        return
    table = query_segments(connection, query, measure, segments).to_arrow_table()
    ends = np.searchsorted(table["segment"].to_numpy(), np.arange(len(segments) + 1))
    for place, (start, end) in enumerate(itertools.pairwise(ends.tolist())):
        if end > start:
            yield place, table.slice(start, end - start)


SCHEMAS: dict[str, pa.Schema] = {
    "tail_metrics": described_schema(
        "How unevenly a measure is distributed, and whether its tail is heavy; one row per measure and segment",
        [
            SEGMENT,
            MEASURE,
            described_field(
                "source",
                TEXT,
                "sessions or console; console+sessions where the console covers only some provider-days",
            ),
            described_field("n", COUNT, "Observations with a value; costs leave out unpriced ones"),
            described_field("zeros", COUNT, "Observations that are exactly zero, part of n"),
            described_field("mean", NUMBER, "Arithmetic mean"),
            described_field("median", NUMBER, "Middle value, the same as p50"),
            described_field("sd", NUMBER, "Standard deviation with n - 1; null below two observations"),
            described_field("cv", NUMBER, "Coefficient of variation, sd / mean"),
            described_field(
                "cv_unreliable",
                FLAG,
                "True where the tail may have no variance (gpd_xi_p90 of 0.5 or more): use quantiles and shares",
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
            described_field("p95_to_median", NUMBER, "p95 / median: a measure of spread, no proof of a heavy tail"),
            described_field("p99_to_median", NUMBER, "p99 / median"),
            described_field("max_to_median", NUMBER, "max / median"),
            described_field("gini", NUMBER, "Gini coefficient: 0 where all are equal, near 1 where one has everything"),
            described_field(
                "top_1_share", NUMBER, "Share of the sum held by the largest 1% of observations (Lorenz curve)"
            ),
            described_field("top_5_share", NUMBER, "Share of the sum held by the largest 5%"),
            described_field("top_10_share", NUMBER, "Share of the sum held by the largest 10%"),
            described_field("half_of_total_share", NUMBER, "Smallest share of observations that holds half of the sum"),
            described_field(
                "month_variance_share_top_1",
                NUMBER,
                "Share of a month's variance, if its number of sessions or requests is random (Poisson), that the "
                "largest 1% of them make: their share of the sum of squares. Null for minutes and days",
            ),
            *(
                described_field(
                    f"{name}_{end}",
                    NUMBER,
                    f"{'Lower' if end == 'low' else 'Upper'} end of the 95% interval of {name}, bootstrap by "
                    f"interval_unit; null where interval_note says why, and except for all and the ten most expensive "
                    "segments",
                )
                for name in INTERVALS
                for end in ("low", "high")
            ),
            described_field(
                "interval_unit",
                TEXT,
                "Unit that the bootstrap resamples: session, user (where users have several sessions; those that name "
                "no user are one unit together) or week (of minutes and days); null without a bootstrap",
            ),
            described_field(
                "effective_units",
                NUMBER,
                "How many equally large units interval_unit is worth (Carter, Schnepel and Steigerwald 2017): few "
                "where a few units hold most observations",
            ),
            described_field(
                "interval_note",
                TEXT,
                f"Why a bootstrap gave no interval: fewer than {MIN_CLUSTERS} units, or units worth fewer than "
                f"{MIN_EFFECTIVE_CLUSTERS:.0f} equally large ones; else null",
            ),
            described_field("cap_value", NUMBER, "The maximum, where observations pile up at it; else null"),
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
                "heavy_weight",
                NUMBER,
                "Share of the evidence for a heavy tail, 0 to 1: the weights of the heavy families of "
                "distribution_fits; null where nothing could be fitted",
            ),
            described_field(
                "previous_verdict",
                TEXT,
                "Verdict of the previous run for this segment and measure; null if it had no such row",
            ),
            described_field("verdict_changed", FLAG, "True if the verdict differs from the previous run's"),
            described_field(
                "verdict_reason",
                TEXT,
                "What the largest 1% amount to, then the numbers behind the verdict, and what was left out",
            ),
            described_field(
                "hill_xi_5", NUMBER, "Hill's tail index of the largest 5%; null under a cap or below 10 values"
            ),
            described_field("hill_xi_10", NUMBER, "Hill's tail index of the largest 10%; null as for hill_xi_5"),
            described_field(
                "gpd_xi_p90",
                NUMBER,
                "Maximum-likelihood shape of the generalized Pareto above p90; null under a cap or below 50 rows",
            ),
            described_field("gpd_xi_p95", NUMBER, "The same above p95"),
            described_field("csn_alpha", NUMBER, "Power-law exponent of Clauset, Shalizi and Newman; null under a cap"),
            described_field("csn_xmin", NUMBER, "Value above which that power law is fitted"),
            described_field("csn_n", COUNT, "Observations at or above csn_xmin, at least 50"),
            described_field(
                "csn_z_lognormal",
                NUMBER,
                "Vuong's z of the power law against a lognormal cut off at csn_xmin; negative favours the lognormal",
            ),
            described_field(
                "csn_z_exponential",
                NUMBER,
                "Vuong's z of the power law against an exponential cut off at csn_xmin; negative favours the "
                "exponential",
            ),
            described_field(
                "csn_p",
                NUMBER,
                "Bootstrap p-value of the power law; a small one rejects it. Null except for all and the ten most "
                "expensive segments",
            ),
        ],
    ),
    "distribution_fits": described_schema(
        "Distributions fitted by maximum likelihood with location 0; one row per measure, segment, treatment and "
        "family. Compare only within one measure, segment and treatment",
        [
            SEGMENT,
            MEASURE,
            described_field("treatment", TEXT, "raw: the unchanged column; adjusted: atoms removed and a cap censored"),
            described_field(
                "family", TEXT, f"{', '.join(FAMILIES[:-1])} or {FAMILIES[-1]}; null where nothing could be fitted"
            ),
            described_field(
                "params",
                TEXT,
                "JSON. exponential: scale; lognormal: mu, sigma of the logarithm; gamma, weibull, loglogistic: shape, "
                "scale; inverse_gaussian: mean, lam; lomax: alpha, scale; burr12: c, d, scale; lognormal_mixture: p "
                "(of the first), mu1, sigma1, mu2, sigma2; exponential_mixture: p, scale1, scale2; gamma_mixture: p, "
                "shape1, scale1, shape2, scale2; pareto: alpha, xmin; truncated_normal: mu, sigma; uniform: low, high",
            ),
            described_field("n", COUNT, "Fitted observations (above zero), including those at a censored cap"),
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
                "ks_limit",
                NUMBER,
                "Largest ks_distance with which this family counts as fitting: 0.05, or with few rows the 99% point of "
                "what chance makes of it",
            ),
            described_field(
                "accepted", FLAG, "AIC within 10 of the best: better than the others, not necessarily good"
            ),
            described_field("rank", COUNT, "Rank by BIC, 1 is best; families that are not selectable come last"),
            described_field(
                "selectable",
                FLAG,
                "False for mixtures on a raw column with an atom, because one component would fit the atom; they then "
                "have no weight",
            ),
            described_field(
                "compared_with", TEXT, "On the best family's row: the second best, for the test below; else null"
            ),
            described_field(
                "comparison",
                TEXT,
                "vuong, or likelihood_ratio where one family is a special case of the other",
            ),
            described_field(
                "comparison_statistic",
                NUMBER,
                "Vuong's z, positive for the best family; or twice the log-likelihood gain of the larger family",
            ),
            described_field("comparison_p", NUMBER, "Its p-value; a small one separates the two families"),
            described_field("q50_error", NUMBER, "Fitted / observed median - 1; null where the cap hides it"),
            described_field("q90_error", NUMBER, "Fitted / observed 90th percentile - 1"),
            described_field("q95_error", NUMBER, "Fitted / observed 95th percentile - 1"),
            described_field("q99_error", NUMBER, "Fitted / observed 99th percentile - 1"),
            described_field(
                "note", TEXT, "Says that no simple family fits, what was left out, or why there is no fit; else null"
            ),
        ],
    ),
    "outliers": described_schema(
        "Sessions outside two usual fences of all sessions (a description, not a list of errors: a heavy tail has many "
        "such sessions), and sessions that are expensive for their own user or key; at most 1,000 per measure, method "
        "and segment",
        [
            SEGMENT,
            MEASURE,
            described_field("session_id", TEXT, "The session; null in a row that says there is none"),
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
            described_field("expected", NUMBER, "Median session cost of the segment, USD; null where contributions is"),
            described_field(
                "contributions",
                TEXT,
                "JSON of USD by cause (requests_per_session, tokens_per_request, model_mix, cache_share, price; "
                "sessions is 0), adding up exactly to value - expected; the baseline is the segment's mean session, "
                "scaled to expected. Null for tokens, low outliers and all but the 100 most expensive rows",
            ),
        ],
    ),
    "cost_variance": described_schema(
        "Cost in windows of a day and of seven days. The measure is session_cost_usd, dated by the session's start, "
        "where priced sessions exist; else day_cost_usd. Segments: all and the ten most expensive",
        [
            described_field("window_hours", COUNT, "Length of the window, 24 or 168"),
            described_field(
                "window_end",
                TIME,
                "End of the window, exclusive: midnight UTC. Only windows within the segment's days and with an "
                "observation are listed",
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
                "95th percentile of the segment's first 28 days, US dollars, fixed after that; null below 20 "
                "observations. Within those 28 days about 5% are above it by construction",
            ),
            described_field("note", TEXT, "What was left out, or why there is no window or no reference; else null"),
        ],
    ),
    "half_of_cost_sessions": described_schema(
        "The most expensive sessions that together cause half of the cost, at most 1,000 of them; every row also holds "
        "their number and that of all sessions",
        [
            described_field("rank", COUNT, "1 is the most expensive; null in a row that says there is none"),
            described_field("session_id", TEXT, "The session"),
            described_field("cost_usd", pa.decimal128(38, 12), "Its cost, USD"),
            described_field("upto_share", NUMBER, "Cumulative share of the total cost, up to this session"),
            described_field("sessions_needed", COUNT, "Number of sessions that cause half of the cost"),
            described_field("sessions", COUNT, "All sessions with a cost"),
            described_field("share", NUMBER, "sessions_needed / sessions"),
            described_field(
                "share_low", NUMBER, "Lower end of its 95% interval (as half_of_total_share of tail_metrics)"
            ),
            described_field("share_high", NUMBER, "Upper end of it; null where the note says why"),
            described_field("note", TEXT, "What was left out, or why there is no list; else null"),
        ],
    ),
    "month_bridge": bridge.SCHEMA,
    **days.SCHEMAS,
}


@dataclass(frozen=True)
class _ColumnTask:
    """One column of a run, and the keys of its results."""

    measure: Measure
    segment: Segment
    pairs: str
    interval_unit: str | None
    intervals: str | None


def _measure_all(
    connection: duckdb.DuckDBPyConnection, settings: Settings, kept: memo.Kept
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of tail_metrics and distribution_fits; every column is read once.

    The results of a column are computed only if no earlier run has them, and once for segments with equal columns, such
    as `all` and the only workspace. Enough new columns use all cores.
    """
    with Shared[str, Pairs | Clustered, str](compute, warehouse.threads(settings), WORTH_PROCESSES) as shared:
        keys: set[str] = set()

        def submit(task: Pairs | Clustered) -> str:
            key = task.key()
            if key not in keys:
                keys.add(key)
                if kept.get(key) is None:
                    shared.add(key, task, weight=1 + task.values.nbytes // BYTES_OF_A_TASK)
            return key

        tasks = []
        for measure in MEASURES.values():
            segments = costliest_segments(connection, measure, settings.analysis_segments)
            bootstrapped = segments[: MAX_BOOTSTRAP_SEGMENTS + 1]
            intervals = {
                name: (unit, submit(clustered))
                for name, unit, clustered in _clustered(connection, measure, bootstrapped, settings.seed)
            }
            for column in columns_of(connection, measure, segments):
                seed = settings.seed if column.bootstrapped else None
                pairs = Pairs(column.values, column.counts, seed, settings.analysis_min_rows)
                key = submit(pairs) if column.segment.n else ""
                tasks.append(
                    _ColumnTask(measure, column.segment, key, *intervals.get(column.segment.name, (None, None)))
                )
                progress.report("analysis", len(tasks), 0, f"{measure.name} of {column.segment.name}")
        known = {key: result for key in keys if (result := kept.get(key)) is not None}
        texts = known | shared.results()
    kept.replace(texts)
    results = {key: json.loads(text) for key, text in texts.items()}
    verdicts = {
        (segment, measure): verdict
        for segment, measure, verdict in published_before(connection, "tail_metrics", ["segment", "measure", "verdict"])
    }
    tails = [_tail_row(task, results, verdicts) for task in tasks]
    return tails, [row for task in tasks for row in _fit_rows(task, results, settings.analysis_min_rows)]


def _tail_row(
    task: _ColumnTask, results: Mapping[str, Mapping[str, Any]], verdicts: Mapping[tuple[str, str], str]
) -> dict[str, Any]:
    """The row of tail_metrics of a column, with the verdict of the previous run."""
    measure, segment = task.measure, task.segment
    row: dict[str, Any] = {
        "segment": segment.name,
        "measure": measure.name,
        "source": segment.source,
        "n": segment.n,
        "zeros": 0,
    }
    result = results[task.pairs] if segment.n else {}
    if not segment.n:
        row |= {"verdict": "unavailable", "verdict_reason": f"{unavailable(measure, segment)}."}
    elif error := result.get("error"):
        row |= {"verdict": "unavailable", "verdict_reason": f"Not computed, {error}."}
    else:
        row |= result["columns"]
        if measure.grain:
            row["month_variance_share_top_1"] = None
        reason = joined(_materiality(measure, row), result["reason"], left_out(measure, segment))
        row["verdict_reason"] = f"{reason[:1].upper()}{reason[1:]}."
        if task.intervals:
            bootstrap = results[task.intervals]
            row["interval_unit"] = task.interval_unit
            row["effective_units"] = bootstrap.get("effective_clusters")
            row["interval_note"] = _without_interval(task.interval_unit, bootstrap) or None
            for name in INTERVALS:
                if interval := bootstrap.get("intervals", {}).get(name):
                    row[f"{name}_low"], row[f"{name}_high"] = interval
    previous = verdicts.get((segment.name, measure.name))
    return {**row, "previous_verdict": previous, "verdict_changed": previous not in (None, row["verdict"])}


def _materiality(measure: Measure, row: Mapping[str, Any]) -> str:
    """What the largest 1% of the observations amount to; empty where there are too few or shares make no sense."""
    share, month = row["top_1_share"], row["month_variance_share_top_1"]
    if share is None or row["verdict"] == "too_few":
        return ""
    kind, very = ("cost", "expensive") if measure.is_cost else ("tokens", "large")
    made = f"of the {kind}" + ("" if month is None else f" and {month:.0%} of a month's variance")
    if share >= MATERIAL_SHARE:
        return f"a few very {very} {measure.noun}s, the largest 1%, make {share:.0%} {made}"
    if share < IMMATERIAL_SHARE:
        return f"the largest {measure.noun}s are immaterial: 1% of them make {share:.1%} {made}"
    return f"the largest 1% of {measure.noun}s make {share:.0%} {made}"


def _without_interval(unit: str | None, bootstrap: Mapping[str, Any]) -> str:
    """Why a bootstrap has no intervals; empty if it has."""
    if bootstrap.get("intervals"):
        return ""
    if error := bootstrap.get("error"):
        return f"No interval: not computed, {error}"
    units = f"{counted(bootstrap['clusters'], unit or 'unit')}"
    if bootstrap["clusters"] < MIN_CLUSTERS:
        return f"No interval: {units}, where {MIN_CLUSTERS} are needed"
    worth = f"worth {bootstrap['effective_clusters']:.1f} equally large ones"
    return f"No interval: {units} of very different sizes are {worth}, where {MIN_EFFECTIVE_CLUSTERS:.0f} are needed"


def _fit_rows(task: _ColumnTask, results: Mapping[str, Mapping[str, Any]], min_rows: int) -> list[dict[str, Any]]:
    """The rows of distribution_fits of a column: one per treatment and family, or one that says why there is none."""
    measure, segment = task.measure, task.segment
    row = {"segment": segment.name, "measure": measure.name, "treatment": "raw", "n": segment.n}
    if not segment.n:
        return [{**row, "note": f"unavailable: {unavailable(measure, segment)}"}]
    result = results[task.pairs]
    if error := result.get("error"):
        return [{**row, "note": f"unavailable: not computed, {error}"}]
    if not result["treatments"]:
        return [{**row, "note": f"too few: {segment.n} observations, where a fit needs {min_rows}"}]
    rows: list[dict[str, Any]] = []
    for treatment, fits in result["treatments"].items():
        note = joined(*fits["notes"], left_out(measure, segment)) or None
        base = {**row, "treatment": treatment, "n": fits["n"], "note": note}
        rows += [{**base, **fit} for fit in fits["rows"] or [{}]]
    return rows


def tail_metrics(connection: duckdb.DuckDBPyConnection, settings: Settings) -> pa.Table:
    """Describe every measure in `all` and its most expensive segments, with a verdict on the tail.

    `connection` reads the marts and may be read-only. Raises duckdb.CatalogException if a mart does not exist.
    """
    rows, _ = _measure_all(connection, settings, memo.Kept(connection, "analysis"))
    return as_table("tail_metrics", SCHEMAS["tail_metrics"], rows)


def distribution_fits(connection: duckdb.DuckDBPyConnection, settings: Settings) -> pa.Table:
    """Fit every family to every measure and segment of `tail_metrics`: raw, and adjusted if it has atoms or a cap.

    Raises the same as `tail_metrics`.
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
    """List sessions beyond 1.5 interquartile ranges or 3 standard deviations in cost or tokens, largest first.

    A measure and method without outliers has one row that says why. Raises the same as `tail_metrics`.
    """
    rows: list[dict[str, Any]] = []
    for measure in (MEASURES["session_cost_usd"], MEASURES["session_total_tokens"]):
        segment = costliest_segments(connection, measure, 0)[0]
        for method, fence in (("iqr", IQR_FENCE), ("z", Z_FENCE)):
            row: dict[str, Any] = {"segment": "all", "measure": measure.name, "method": method}
            parameters = {
                "dimensions": ["all"],
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
    segments = costliest_segments(connection, MEASURES["session_cost_usd"], settings.analysis_segments)
    rows += _outliers_of_owners(connection, segments)
    costly = [row for row in rows if row["measure"] == "session_cost_usd" and row.get("score", 0) > 0]
    _explain(connection, segments, costly)
    return as_table("outliers", SCHEMAS["outliers"], rows)


def _explain(connection: duckdb.DuckDBPyConnection, segments: Sequence[Segment], rows: list[dict[str, Any]]) -> None:
    """Split the excess over the segment's median session by cause, for the `MAX_EXPLAINED` most expensive rows."""
    rows = sorted(rows, key=lambda row: (-row["value"], row["session_id"], row["method"]))[:MAX_EXPLAINED]
    named = {row["segment"] for row in rows}
    segments = [segment for segment in segments if segment.name in named]
    if not segments:
        return
    sessions = sorted({row["session_id"] for row in rows})
    found = query_segments(connection, "session_lines", MEASURES["session_cost_usd"], segments, sessions=sessions)
    ratios = RateRatios(connection)
    lines: dict[tuple[str, str | None], Lines] = {}
    medians: dict[str, float] = {}
    for line in (dict(zip(found.columns, values, strict=True)) for values in found.fetchall()):
        segment = segments[line["segment"]].name
        each = lines.setdefault((segment, line["session_id"]), Lines(requests=0, sessions=1))
        each.cost_usd += line["cost_usd"]
        known = each.requests is not None and line["requests"] is not None
        each.requests = (each.requests or 0) + line["requests"] if known else None
        model = (line["provider"], line["primary_model"])
        rates = ratios.of(*model, line["last_day"])
        each.models[model] = priced(tokens_of(line), float(line["cost_usd"]), rates)
        medians[segment] = line["median_usd"]
    for row in rows:
        segment, median = row["segment"], medians[row["segment"]]
        whole = lines[segment, None]
        if not whole.cost_usd or not median:
            continue
        typical = whole.scaled(median / float(whole.cost_usd))
        typical.sessions = 1
        expected = Decimal(repr(median)).quantize(RESOLUTION_USD)
        session = lines[segment, row["session_id"]]
        before, after = comparable(typical, session)
        parts = explain_excess(before, after, session.cost_usd - expected)
        row["expected"] = median
        row["contributions"] = "{" + ", ".join(f"{json.dumps(term)}: {usd:f}" for term, usd in parts.items()) + "}"


def _outliers_of_owners(connection: duckdb.DuckDBPyConnection, segments: Sequence[Segment]) -> list[dict[str, Any]]:
    """Sessions that are expensive for their own user or key; without any, one row that says why."""
    measure = MEASURES["session_cost_usd"]
    columns = columns_of(connection, measure, [segment for segment in segments if segment.dimension in OWNERS])
    rules = [(column.segment, rule) for column in columns if (rule := user_rule(column.values, column.counts))]
    rows: list[dict[str, Any]] = []
    if rules:
        owners, fences = [segment for segment, _ in rules], [rule.limit * measure.unit for _, rule in rules]
        found = query_segments(
            connection, "outliers_of_owner", measure, owners, fences=fences, outlier_limit=MAX_OUTLIERS
        )
        for place, session_id, value in found.fetchall():
            segment, rule = rules[place]
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
    whole = segments[0]
    if not whole.n:
        reason = f"unavailable: {unavailable(measure, whole)}"
    elif not rules:
        reason = f"too few: no user and no key has the {MIN_USER_ROWS} sessions with a cost that a rule needs"
    else:
        reason = f"No session lies above the fence of its user or key; {len(rules)} have one"
    return [{"segment": "all", "measure": measure.name, "method": "robust", "reason": f"{reason}."}]


def _no_outlier(measure: Measure, segment: Segment, method: str) -> str:
    if not segment.n:
        return f"unavailable: {unavailable(measure, segment)}"
    if segment.n < MIN_OUTLIER_ROWS:
        return f"too few: {counted(segment.n, 'session')}, where a fence needs {MIN_OUTLIER_ROWS}"
    rule = f"{IQR_FENCE} interquartile ranges" if method == "iqr" else f"{Z_FENCE:g} standard deviations"
    return f"None of the {counted(segment.n, 'session')} lies outside {rule}, or these are zero"


def _variance_measure(connection: duckdb.DuckDBPyConnection) -> tuple[Measure, list[Segment]]:
    """Sessions if at least one has a price, else days."""
    measure = MEASURES["session_cost_usd"]
    segments = costliest_segments(connection, measure, MAX_VARIANCE_SEGMENTS)
    if segments[0].n:
        return measure, segments
    measure = MEASURES["day_cost_usd"]
    return measure, costliest_segments(connection, measure, MAX_VARIANCE_SEGMENTS)


def cost_variance(connection: duckdb.DuckDBPyConnection, settings: Settings) -> pa.Table:
    """Mean, sd and cv of cost in windows of a day and of seven days, with the share above a fixed reference.

    Windows end at midnight UTC. Sessions are dated by their start. If no session has a price, days replace them; a
    24-hour window then has one observation and no sd. Raises the same as `tail_metrics`.
    """
    measure, segments = _variance_measure(connection)
    schema = SCHEMAS["cost_variance"]
    windows: dict[str, list[dict[str, Any]]] = {segment.name: [] for segment in segments}
    if valued := [segment for segment in segments if segment.n]:
        found = query_segments(
            connection,
            "cost_variance",
            measure,
            valued,
            reference_days=REFERENCE_DAYS,
            min_reference_rows=MIN_REFERENCE_ROWS,
        )
        for row in found.to_arrow_table().to_pylist():
            windows[valued[row.pop("segment")].name].append(row)
    rows: list[dict[str, Any]] = []
    for segment in segments:
        base = {"segment": segment.name, "measure": measure.name}
        for row in windows[segment.name]:
            note = left_out(measure, segment)
            if row["reference_p95"] is None:
                short = f"fewer than {MIN_REFERENCE_ROWS} observations in the first {REFERENCE_DAYS} days: no reference"
                note = joined(short, note)
            rows.append({**row, **base, "note": note or None})
    for hours in (24, 168):
        if not any(row["window_hours"] == hours for row in windows["all"]):
            note = f"unavailable: {unavailable(measure, segments[0])}."
            if segments[0].n:
                note = f"The history holds no whole window of {hours} hours with a dated cost."
            rows.append({"window_hours": hours, "segment": "all", "measure": measure.name, "n": 0, "note": note})
    return as_table(
        "cost_variance", SCHEMAS["cost_variance"], [{name: row.get(name) for name in schema.names} for row in rows]
    )


def half_of_cost_sessions(connection: duckdb.DuckDBPyConnection, settings: Settings) -> pa.Table:
    """List the sessions that cause half of the cost, with their share of all sessions and its interval.

    Raises the same as `tail_metrics`.
    """
    measure = MEASURES["session_cost_usd"]
    column = next(read_columns(connection, measure, 0))
    parameters = {"dimensions": ["all"], "session_limit": MAX_OUTLIERS}
    found = query_observations(connection, "half_of_cost", measure, parameters).fetchall()
    if not found:
        reason = "All sessions cost nothing" if column.segment.n else unavailable(measure, column.segment)
        none = [{"note": f"unavailable: {reason}."}]
        return as_table("half_of_cost_sessions", SCHEMAS["half_of_cost_sessions"], none)
    ((_, unit, clustered),) = _clustered(connection, measure, [column.segment], settings.seed)
    bootstrap = clustered.result()
    interval = bootstrap["intervals"].get("half_of_total_share")
    note = joined(_without_interval(unit, bootstrap), left_out(measure, column.segment))
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
    """Every table of `TABLES` by name, in order; a table that cannot be computed says why (`computed.failure`)."""
    # the first two tables share their fits
    measured = cache(lambda: _measure_all(connection, settings, memo.Kept(connection, "analysis")))
    shared = {
        "tail_metrics": lambda: as_table("tail_metrics", SCHEMAS["tail_metrics"], measured()[0]),
        "distribution_fits": lambda: as_table("distribution_fits", SCHEMAS["distribution_fits"], measured()[1]),
    }
    for name, build in TABLES.items():
        yield name, table_or_reason(SCHEMAS[name], shared.get(name, partial(build, connection, settings)))
