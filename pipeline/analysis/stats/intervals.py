"""Intervals of descriptive statistics by the Bayesian bootstrap, with one random weight per cluster.

Belongs here: random weights of rows or clusters, and the statistics of `describe` under such weights.
Does not belong here: the point estimates (`describe`), p-values of a tail (`tails`), or the choice of clusters.

Rows of a cluster (the requests of a session, the sessions of a user) are not independent. They share one exponential
weight (Rubin, 1981), so a whole cluster counts more or less. All repetitions are computed at once on cells of
neighbouring values; each bound is then scaled by the error that the cells cause in the point estimate.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.analysis.stats.describe import Counts, Floats, check_pairs, describe

MIN_CLUSTERS = 30  # a bootstrap of fewer clusters says little about other clusters
MIN_EFFECTIVE_CLUSTERS = 10.0  # nor does one of many, if a few hold most rows: `bench/coverage.py`
MAX_GROUPS = 1000  # more clusters are randomly merged into this many groups: the same variance, bounded work
BODY_CELLS = 300  # equal numbers of rows each
TAIL_CELLS = 150  # in the top decile, in geometric steps from 10% of the rows to one row
TAIL_SHARE = 0.10
LEVEL = 0.95
REPETITIONS = 500
LARGEST_CORRECTION = 0.2  # limits the bias correction: a share of repetitions on either side
TOP_SHARES = {"top_1_share": 0.01, "top_5_share": 0.05, "top_10_share": 0.10}
QUANTILES = {"median": 0.50, "p95": 0.95, "p99": 0.99}
QUANTILE_RATIOS = (*QUANTILES, "p95_to_median", "p99_to_median")
QUANTITIES = (
    "mean",
    "cv",
    *QUANTILE_RATIOS,
    "gini",
    *TOP_SHARES,
    "half_of_total_share",
)


@dataclass(frozen=True)
class Interval:
    """The bounds of a 95% interval, in the unit of the quantity."""

    low: float
    high: float


@dataclass(frozen=True)
class _Cells:
    """Cells of neighbouring values, ascending: rows, mean, mean square, smallest and largest value of each."""

    index: npt.NDArray[np.int64]
    rows: Floats
    mean: Floats
    square: Floats
    low: Floats
    high: Floats


def _cells(x: Floats, c: Counts) -> _Cells:
    """About `BODY_CELLS` + `TAIL_CELLS` cells at most; with fewer distinct values, one cell each."""
    if len(x) <= BODY_CELLS + TAIL_CELLS:
        index = np.arange(len(x))
    else:
        n = int(c.sum())
        middle = (np.cumsum(c) - c / 2) / n
        body = np.linspace(0, 1 - TAIL_SHARE, BODY_CELLS, endpoint=False)
        tail = 1 - np.geomspace(TAIL_SHARE, 1 / n, TAIL_CELLS)
        index = np.searchsorted(np.concatenate((body, tail)), middle, side="right")
        index = np.unique(index, return_inverse=True)[1]
    first = np.flatnonzero(np.diff(index, prepend=-1))
    rows = np.add.reduceat(c.astype(np.float64), first)
    return _Cells(
        index,
        rows,
        np.add.reduceat(c * x, first) / rows,
        np.add.reduceat(c * x * x, first) / rows,
        x[first],
        x[np.append(first[1:], len(x)) - 1],
    )


def _statistics(weights: Floats, cells: _Cells) -> dict[str, Floats]:
    """Each quantity for each row of `weights` (repetitions x cells), which may be fractional."""
    total = weights.sum(axis=1)
    upto = np.cumsum(weights, axis=1) / total[:, None]
    amounts = weights * cells.mean
    sums = np.cumsum(amounts, axis=1)
    amount = sums[:, -1]
    mean = amount / total
    line = np.arange(len(weights))

    def place(cumulative: Floats, level: float) -> tuple[npt.NDArray[np.int64], Floats]:
        """The cell where a cumulative share reaches `level`, and the fraction of the cell needed."""
        cell = np.minimum((cumulative < level).sum(axis=1), cumulative.shape[1] - 1)
        before = np.where(cell > 0, cumulative[line, np.maximum(cell - 1, 0)], 0.0)
        size = np.maximum(cumulative[line, cell] - before, 1e-300)
        return cell, np.clip((level - before) / size, 0.0, 1.0)

    quantities: dict[str, Floats] = {"mean": mean}
    variance = np.maximum((weights @ cells.square) / total - mean * mean, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        quantities["cv"] = np.sqrt(variance) / mean
        for name, probability in QUANTILES.items():
            at, part = place(upto, probability)
            quantities[name] = cells.low[at] + (cells.high - cells.low)[at] * part
        quantities["p95_to_median"] = quantities["p95"] / quantities["median"]
        quantities["p99_to_median"] = quantities["p99"] / quantities["median"]
        lorenz = sums / amount[:, None]
        rank = 2 * upto - weights / total[:, None] - 1
        quantities["gini"] = (amounts * rank).sum(axis=1) / amount
        for name, share in TOP_SHARES.items():
            at, part = place(upto, 1 - share)
            before = np.where(at > 0, lorenz[line, np.maximum(at - 1, 0)], 0.0)
            quantities[name] = 1 - (before + part * (lorenz[line, at] - before))
        at, part = place(lorenz, 0.5)
        before = np.where(at > 0, upto[line, np.maximum(at - 1, 0)], 0.0)
        quantities["half_of_total_share"] = 1 - (before + part * (upto[line, at] - before))
    return quantities


def _influence(cells: _Cells) -> dict[str, Floats]:
    """The effect of one more row in each cell on each quantity, by a small change of the cell's weight."""
    step = 1e-4 * float(cells.rows.sum())
    changed = _statistics(cells.rows[None, :] + step * np.eye(len(cells.rows)), cells)
    before = _statistics(cells.rows[None, :], cells)
    with np.errstate(invalid="ignore"):  # a ratio to a median of 0 is infinite before and after
        return {name: changed[name] - before[name] for name in changed}


def _intervals(
    x: Floats, c: Counts, cells: _Cells, weights: Floats, by_cluster: Callable[[Floats], Floats] | None
) -> dict[str, Interval | None]:
    """Bias-corrected accelerated percentiles (Efron, 1987), scaled by the exact estimate over that on cells.

    For a skewed column, shares and Gini are biased low and plain intervals are too short. Besides the correction, the
    width is a Student's t quantile with 2 / sum(u^4) degrees of freedom, for influences u with sum of squares 1: the
    fewer rows or clusters dominate the estimate, the wider. `by_cluster` sums influences of cells over clusters; None
    if each row is a cluster. Quantiles are only bias-corrected.
    """
    from scipy import special

    drawn = _statistics(weights, cells)
    on_cells = _statistics(cells.rows[None, :], cells)
    influence = _influence(cells)
    exact = describe(x, c)
    intervals: dict[str, Interval | None] = {}
    for name in QUANTITIES:
        point = getattr(exact, name)
        if point is None or not np.isfinite(drawn[name]).all():
            intervals[name] = None
            continue
        on_cell = float(on_cells[name][0])
        below = float(np.mean(drawn[name] < on_cell) + np.mean(drawn[name] == on_cell) / 2)
        shift = float(special.ndtri(np.clip(below, LARGEST_CORRECTION, 1 - LARGEST_CORRECTION)))
        width, acceleration = float(special.ndtri((1 + LEVEL) / 2)), 0.0
        effect = influence[name] if by_cluster is None else by_cluster(influence[name])
        rows = cells.rows if by_cluster is None else np.ones(len(effect))
        squares = float(np.dot(rows, effect**2))
        if name not in QUANTILE_RATIOS and squares > 0:
            acceleration = float(np.dot(rows, effect**3)) / squares**1.5 / 6
            freedom = 2 * squares**2 / float(np.dot(rows, effect**4))
            width = float(special.stdtrit(max(freedom, 1.0), (1 + LEVEL) / 2))
        moved = shift + np.array([-width, width])
        levels = special.ndtr(shift + moved / (1 - np.clip(acceleration * moved, -0.5, 0.5)))
        low, high = (float(end) for end in np.quantile(drawn[name], levels))
        ratio = point / on_cell if on_cell else 1.0
        intervals[name] = Interval(low * ratio, high * ratio)
    return intervals


def row_intervals(
    values: npt.ArrayLike, counts: npt.ArrayLike, seed: int, repetitions: int = REPETITIONS
) -> dict[str, Interval | None] | None:
    """95% intervals of `QUANTITIES` for independent rows; the same seed gives the same bounds.

    The weight of n equal rows is a gamma variable of shape n, so a repetition costs O(cells). None with fewer than
    `MIN_CLUSTERS` rows; a quantity that is None in `describe` has no interval.

    Raises:
        ValueError: the pairs are malformed.

    """
    x, c = check_pairs(values, counts)
    if int(c.sum()) < MIN_CLUSTERS:
        return None
    cells = _cells(x, c)
    weights = np.random.default_rng(seed).standard_gamma(cells.rows, (repetitions, len(cells.rows)))
    return _intervals(x, c, cells, weights, None)


def effective_clusters(rows: npt.ArrayLike) -> float:
    """How many equally large clusters are worth as much as clusters of these numbers of rows; at most their number.

    G* = G / (1 + squared CV of gamma) of Carter, Schnepel and Steigerwald (2017). As they advise where it is unknown,
    all rows of a cluster are taken to move together, so the variance that a cluster adds, gamma, is its rows squared.
    """
    gamma = (np.asarray(rows, dtype=np.float64) / np.max(rows)) ** 2
    return float(gamma.sum() ** 2 / (gamma**2).sum())


def cluster_intervals(
    clusters: npt.ArrayLike,
    values: npt.ArrayLike,
    counts: npt.ArrayLike,
    seed: int,
    repetitions: int = REPETITIONS,
) -> dict[str, Interval | None] | None:
    """95% intervals of `QUANTITIES` for clustered rows; the same seed gives the same bounds.

    Three arrays of equal length: `counts[i]` rows of `values[i]` in cluster `clusters[i]` (a number or a name), in any
    order; pairs may repeat. None with fewer than `MIN_CLUSTERS` clusters, or than `MIN_EFFECTIVE_CLUSTERS` effective
    ones.

    Raises:
        ValueError: the arrays differ in length, a value is not finite, or a count is below 1.

    """
    from scipy import sparse

    names, code = np.unique(np.asarray(clusters), return_inverse=True)
    rows = np.asarray(counts, dtype=np.int64)
    distinct, at = np.unique(np.asarray(values, dtype=np.float64), return_inverse=True)
    if not len(code) == len(at) == len(rows):
        raise ValueError("clusters, values and counts must be equally long")
    if (rows < 1).any():
        raise ValueError("counts must be whole numbers of at least 1")
    if len(names) < MIN_CLUSTERS or effective_clusters(np.bincount(code, rows)) < MIN_EFFECTIVE_CLUSTERS:
        return None
    x, c = check_pairs(distinct, np.bincount(at, rows, len(distinct)).astype(np.int64))
    random = np.random.default_rng(seed)
    groups = len(names)
    if groups > MAX_GROUPS:
        group_of_cluster = random.permutation(groups) % MAX_GROUPS
        code, groups = group_of_cluster[code], MAX_GROUPS
    cells = _cells(x, c)
    table = sparse.csr_matrix((rows.astype(np.float64), (code, cells.index[at])), shape=(groups, len(cells.rows)))
    weights = random.standard_exponential((repetitions, groups))
    drawn = np.asarray(weights @ (table.toarray() if table.nnz > 0.1 * groups * len(cells.rows) else table))
    return _intervals(x, c, cells, drawn, lambda influence: np.asarray(table @ influence))
