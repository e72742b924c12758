"""Descriptive statistics of a column given as (value, count) pairs.

Belongs here: checking and merging pairs, moments, quantiles and measures of concentration.
Does not belong here: anything that assumes a distribution (`families`, `tails`) or classifies one (`detection`).

Throughout `analysis.stats`, `values` is a one-dimensional float array, strictly ascending and finite, and `counts` an
integer array of the same length, each at least 1: the column holds `values[i]` exactly `counts[i]` times.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

QUANTILES = {"p50": 0.50, "p75": 0.75, "p90": 0.90, "p95": 0.95, "p99": 0.99, "p999": 0.999}


@dataclass(frozen=True)
class Description:
    """Descriptive statistics of a column, in the unit of its values; shares and ratios are fractions.

    None: `sd` with fewer than two rows; `cv` if the mean is not positive; skewness and kurtosis if all rows are equal;
    ratios if the median is not positive; `gini` and the shares if a value is negative or the sum is zero.
    """

    n: int
    zeros: int
    mean: float
    median: float
    sd: float | None
    cv: float | None
    skewness: float | None
    excess_kurtosis: float | None
    p50: float
    p75: float
    p90: float
    p95: float
    p99: float
    p999: float
    max: float
    p95_to_median: float | None
    p99_to_median: float | None
    max_to_median: float | None
    gini: float | None
    top_1_share: float | None
    top_5_share: float | None
    top_10_share: float | None
    half_of_total_share: float | None


def check_pairs(values: npt.ArrayLike, counts: npt.ArrayLike) -> tuple[Floats, Counts]:
    """Return the pairs as float64 and int64 arrays; they may be empty.

    Raises:
        ValueError: the arrays differ in length, a value is not finite, values do not ascend strictly, or a count is not
            a whole number of at least 1.

    """
    checked_values = np.asarray(values, dtype=np.float64)
    given_counts = np.asarray(counts)
    if checked_values.ndim != 1 or checked_values.shape != given_counts.shape:
        raise ValueError("values and counts must be one-dimensional and equally long")
    if not np.isfinite(checked_values).all():
        raise ValueError("values must be finite")
    if (np.diff(checked_values) <= 0).any():
        raise ValueError("values must ascend strictly: merge equal ones with merge_pairs")
    checked_counts = given_counts.astype(np.int64)
    if (checked_counts != given_counts).any() or (checked_counts < 1).any():
        raise ValueError("counts must be whole numbers of at least 1")
    return checked_values, checked_counts


def merge_pairs(values: npt.ArrayLike, counts: npt.ArrayLike) -> tuple[Floats, Counts]:
    """Sort pairs and add up the counts of equal values, for example of two days or files."""
    unsorted_values = np.asarray(values, dtype=np.float64)
    distinct, inverse = np.unique(unsorted_values, return_inverse=True)
    summed = np.zeros(len(distinct), dtype=np.int64)
    np.add.at(summed, inverse, np.asarray(counts, dtype=np.int64))
    return check_pairs(distinct, summed)


def dot(terms: npt.NDArray[np.float64], weights: npt.NDArray[np.float64]) -> float:
    """Sum of products in one thread: the same result on every machine, and no waiting for a busy second core."""
    return float(np.einsum("i,i->", terms, weights))


def quantiles(values: Floats, counts: Counts, probabilities: npt.ArrayLike) -> Floats:
    """Type-7 quantiles (linear interpolation between order statistics, NumPy's default), one per probability.

    Raises:
        ValueError: there are no rows, or a probability is outside [0, 1].

    """
    levels = np.atleast_1d(np.asarray(probabilities, dtype=np.float64))
    if len(values) == 0:
        raise ValueError("no rows, no quantiles")
    if not ((levels >= 0) & (levels <= 1)).all():
        raise ValueError("probabilities must lie between 0 and 1")
    cumulative = np.cumsum(counts)
    last = int(cumulative[-1]) - 1
    position = last * levels
    below = np.minimum(np.floor(position).astype(np.int64), last)
    above = np.minimum(below + 1, last)
    low = values[np.searchsorted(cumulative, below, side="right")]
    high = values[np.searchsorted(cumulative, above, side="right")]
    interpolated: Floats = low + (high - low) * (position - below)
    return interpolated


def top_share(values: Floats, counts: Counts, fraction: float) -> float | None:
    """Share of the sum held by the largest `fraction` of the rows: 1 - L(1 - fraction) with the Lorenz curve L.

    A fractional row counts in part, so the result does not change when every count is doubled. None where a value is
    negative or the sum is zero.
    """
    if len(values) == 0 or values[0] < 0 or values[-1] == 0:
        return None
    amounts = values[::-1] / values[-1] * counts[::-1]
    rows = np.concatenate(([0], np.cumsum(counts[::-1])))
    sums = np.concatenate(([0.0], np.cumsum(amounts)))
    return float(min(np.interp(fraction * rows[-1], rows, sums) / sums[-1], 1.0))


def lorenz_curve(values: Floats, counts: Counts, points: int = 101) -> tuple[Floats, Floats] | None:
    """Share of the sum (second) that the smallest share of the rows (first) holds; None as in `top_share`."""
    if len(values) == 0 or values[0] < 0 or values[-1] == 0:
        return None
    rows = np.concatenate(([0], np.cumsum(counts)))
    sums = np.concatenate(([0.0], np.cumsum(values / values[-1] * counts)))
    shares = np.linspace(0, 1, points)
    return shares, np.asarray(np.interp(shares * rows[-1], rows, sums) / sums[-1], dtype=np.float64)


def half_of_total_share(values: Floats, counts: Counts) -> float | None:
    """Smallest share of whole rows, the largest first, that makes at least half of the sum; None as in `top_share`."""
    if len(values) == 0 or values[0] < 0 or values[-1] == 0:
        return None
    scaled = values[::-1] / values[-1]
    sums = np.cumsum(scaled * counts[::-1])
    half = sums[-1] / 2
    index = int(np.searchsorted(sums, half * (1 - 1e-12), side="left"))
    before = float(sums[index - 1]) if index else 0.0
    rows_before = int(counts[::-1][:index].sum())
    needed = max(int(np.ceil((half - before) / scaled[index] * (1 - 1e-12))), 1)
    return (rows_before + min(needed, int(counts[::-1][index]))) / int(counts.sum())


def gini(values: Floats, counts: Counts) -> float | None:
    """Gini coefficient of the rows: mean absolute difference over twice the mean; None as in `top_share`."""
    if len(values) == 0 or values[0] < 0 or values[-1] == 0:
        return None
    amounts = values / values[-1] * counts
    rows = int(counts.sum())
    middle_rank = np.cumsum(counts) - (counts - 1) / 2
    coefficient = float(np.sum(amounts * (2 * middle_rank - rows - 1)) / (rows * amounts.sum()))
    return min(max(coefficient, 0.0), 1.0)


def describe(values: npt.ArrayLike, counts: npt.ArrayLike) -> Description:
    """Describe a column of at least one row; sd with ddof 1, skewness and excess kurtosis biased (scipy's default).

    Raises:
        ValueError: there are no rows, or the pairs are malformed (see `check_pairs`).

    """
    x, c = check_pairs(values, counts)
    if len(x) == 0:
        raise ValueError("no rows to describe")
    n = int(c.sum())
    # relative to the smallest value, against cancellation in a nearly constant column
    width = float(x[-1] - x[0]) or 1.0
    offsets = (x - x[0]) / width
    middle = float(np.clip(np.sum(offsets * c) / n, 0.0, 1.0))
    mean = float(np.clip(x[0] + width * middle, x[0], x[-1]))
    deviation = offsets - middle if len(x) > 1 else np.zeros(1)
    second, third, fourth = (float(np.sum(deviation**power * c) / n) for power in (2, 3, 4))
    sd = width * float(np.sqrt(second * n / (n - 1))) if n > 1 else None
    spread = second > 0 and second**2 > 0
    p50, p75, p90, p95, p99, p999 = (float(q) for q in quantiles(x, c, list(QUANTILES.values())))
    top = float(x[-1])

    def to_median(quantile: float) -> float | None:
        return quantile / p50 if p50 > 0 else None

    return Description(
        n=n,
        zeros=int(c[x == 0].sum()),
        mean=mean,
        median=p50,
        sd=sd,
        cv=sd / mean if sd is not None and mean > 0 else None,
        skewness=third / second**1.5 if spread else None,
        excess_kurtosis=fourth / second**2 - 3 if spread else None,
        p50=p50,
        p75=p75,
        p90=p90,
        p95=p95,
        p99=p99,
        p999=p999,
        max=top,
        p95_to_median=to_median(p95),
        p99_to_median=to_median(p99),
        max_to_median=to_median(top),
        gini=gini(x, c),
        top_1_share=top_share(x, c, 0.01),
        top_5_share=top_share(x, c, 0.05),
        top_10_share=top_share(x, c, 0.10),
        half_of_total_share=half_of_total_share(x, c),
    )
