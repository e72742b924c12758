"""Artefacts of logs in a column (atoms, a cap, zeros, a lattice), and the verdict whether its tail is heavy.

Belongs here: finding these artefacts in (value, count) pairs, removing them, and the verdict with its reason.
Does not belong here: the fits (`families`, `tails`), their weights (`evidence`), or where a column comes from.

Heavy means subexponential: the lognormal and a mixture of two, Pareto, Lomax, log-logistic, Burr XII, and a Weibull
with shape below 1. The gamma, the exponential, mixtures of two of either, the inverse Gaussian, a Weibull with shape of
1 or more, the truncated normal and the uniform are light, however skewed. All these families vote, weighted by their
marginal likelihoods (`evidence`). The verdict is `undetermined` if no family passes the test of its fit, if the vote
is split, or if the column ends before an inverse Gaussian becomes light. Other distributions count as the most similar
family. Both sides contain mixtures, so a column of two kinds of requests is not heavy by default.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from pipeline.analysis.stats.describe import Counts, Floats, check_pairs, merge_pairs
from pipeline.analysis.stats.evidence import log_evidence, most_log_evidence
from pipeline.analysis.stats.families import MIXTURES, FamilyFits, Fit, fit_families
from pipeline.analysis.stats.laws import cdf, quantile
from pipeline.analysis.stats.tails import GeneralizedPareto, generalized_pareto
from pipeline.words import counted

Verdict = Literal["heavy", "light", "undetermined", "too_few", "unavailable"]

MIN_ROWS = 50  # no verdict with fewer
ATOM_SHARE = 0.02  # an atom holds at least this share of the rows
MIN_ATOM_ROWS = 8  # P(Poisson(1) >= 8) is 1e-5: so many equal rows are no coincidence
ATOM_FACTOR = 3.0  # times the rows expected from its neighbours
ATOM_DEVIATIONS = 6.0  # Poisson standard deviations above that expectation
NEIGHBOURS = 5  # distinct values on either side whose median count is the expectation
MIN_NEIGHBOUR_ROWS = 5  # neighbours with fewer rows show no trend
CAP_SHARE = 0.002  # a pile at the maximum holds at least this share of the rows
RARE_TIES = 0.01  # rows per step of the column
MIN_CAP_ROWS = 4  # and at least as many rows: chance ties of large values are pairs
MIN_DISTINCT = 20  # with fewer distinct positive values (a lattice), atoms and continuous fits are meaningless
NO_WEIGHT = 40.0  # e^-40 is less than the rounding of 1
# A vote decides if the losing side has at most this weight; with fewer rows, where the priors and Laplace's
# approximation matter more, less of it: 0.06 at 100 rows. `bench/verdicts.py` counts what this decides, and how well.
LOSING_WEIGHT = 0.25
ROWS_OF_LOSING_WEIGHT = 200
MIN_LIGHT_ROWS = 5  # rows that must reach the light end of an inverse Gaussian
CONTRADICTION_RATIO = 6.635  # chi-square(1) at 1%: the top decile's shape differs from 0
CONTRADICTION_SHAPE = 0.1  # and by at least this much
CONTRADICTION_DEVIATIONS = 2.58  # and from that of the best family, in standard errors: the same 1%
TOP_DECILE = 1 - 0.1 * (np.arange(200, 0, -1) - 0.5) / 200  # probabilities
HEAVY = ("lognormal", "lognormal_mixture", "pareto", "lomax", "loglogistic", "burr12")
BENCHMARK_NAMES = {"truncated_normal": "normal"}


@dataclass(frozen=True)
class Atom:
    """A value with more rows than its neighbours explain; `share` is of all rows."""

    value: float
    rows: int
    share: float


@dataclass(frozen=True)
class Artefacts:
    """Artefacts of a column of `n` rows; without a cap, `cap_value` is None and `capped_share` 0."""

    n: int
    zeros: int
    atoms: tuple[Atom, ...]
    cap_value: float | None
    capped_share: float
    lattice: bool

    @property
    def any(self) -> bool:
        """Whether the adjusted column differs from the raw one."""
        return bool(self.atoms) or self.cap_value is not None


@dataclass(frozen=True)
class Judgement:
    """A verdict and a clause that says why."""

    verdict: Verdict
    reason: str


def _expected_rows(counts: Counts, index: int) -> float:
    """Rows expected at a distinct value: the median count of its neighbours, or their trend if that is higher.

    The trend extrapolates the two nearest counts of a side geometrically, so that the first value of a steep lattice
    (most rows with one tool call, fewer with two, ...) is no atom.
    """
    left = counts[max(index - NEIGHBOURS, 0) : index][::-1]
    right = counts[index + 1 : index + 1 + NEIGHBOURS]
    around = np.concatenate((left, right))
    if len(around) == 0:
        return 0.0
    expected = float(np.median(around))
    for side in (left, right):
        if len(side) >= 2 and side[:2].min() >= MIN_NEIGHBOUR_ROWS:
            expected = max(expected, float(side[0]) ** 2 / float(side[1]))
    return expected


def _is_pile(counts: Counts, index: int) -> bool:
    rows = float(counts[index])
    expected = _expected_rows(counts, index)
    deviation = ATOM_DEVIATIONS * float(np.sqrt(max(expected, 1.0)))
    return rows >= MIN_ATOM_ROWS and rows >= ATOM_FACTOR * expected and rows >= expected + deviation


def _is_cap(values: Floats, counts: Counts, rows: int) -> bool:
    """Whether rows pile up at the maximum: like an atom, or only a few of them where ties are rare.

    Ties are rare if the values just below the maximum are so far apart, in units of the column's smallest step, that
    only one row in a hundred would equal another.
    """
    pile = int(counts[-1])
    if pile < CAP_SHARE * rows or pile < MIN_CAP_ROWS:
        return False
    if _is_pile(counts, len(counts) - 1):
        return True
    below = slice(-1 - NEIGHBOURS, -1)
    step = float(np.diff(values).min())
    density = float(counts[below].sum()) * step / float(values[-1] - values[below][0])
    return density <= RARE_TIES and pile >= ATOM_FACTOR * float(counts[below].max())


def find_artefacts(values: npt.ArrayLike, counts: npt.ArrayLike) -> Artefacts:
    """Find atoms, a cap, zeros and a lattice.

    An atom has at least 2% of the rows and `MIN_ATOM_ROWS` rows, three times the rows expected from its neighbours, and
    more than chance allows. A cap is a pile at the maximum of at least 0.2% of the rows and `MIN_CAP_ROWS` rows. Zeros
    are counted separately and are no atom. A lattice (fewer than 20 distinct positive values) is not searched for
    atoms or a cap.
    """
    x, c = check_pairs(values, counts)
    rows = int(c.sum())
    zeros = int(c[x == 0].sum())
    positive = x > 0
    x, c = x[positive], c[positive]
    if len(x) < MIN_DISTINCT:
        return Artefacts(rows, zeros, (), None, 0.0, lattice=True)
    last = len(x) - 1
    cap_rows = int(c[last]) if _is_cap(x, c, rows) else 0
    below = last if cap_rows else last + 1
    large = np.flatnonzero(c[:below] >= ATOM_SHARE * rows)
    atoms = tuple(
        Atom(float(x[index]), int(c[index]), int(c[index]) / rows) for index in large if _is_pile(c, int(index))
    )
    return Artefacts(rows, zeros, atoms, float(x[last]) if cap_rows else None, cap_rows / rows, lattice=False)


def set_aside(values: npt.ArrayLike, counts: npt.ArrayLike, artefacts: Artefacts) -> tuple[Floats, Counts]:
    """The pairs without rows at atoms; rows at a cap remain, and `fit_families` censors them."""
    x, c = check_pairs(values, counts)
    kept = ~np.isin(x, [atom.value for atom in artefacts.atoms])
    return x[kept], c[kept]


def fit_adjusted(values: npt.ArrayLike, counts: npt.ArrayLike, artefacts: Artefacts) -> FamilyFits:
    """Fit all families without atoms and with the cap censored; plain fits if there are neither."""
    x, c = set_aside(values, counts, artefacts)
    return fit_families(x, c, cap=artefacts.cap_value)


def fit_raw(values: npt.ArrayLike, counts: npt.ArrayLike, artefacts: Artefacts) -> FamilyFits:
    """Fit all families to the unchanged column. With atoms, mixtures are not selectable: a component fits an atom."""
    return fit_families(values, counts, unselectable=MIXTURES if artefacts.atoms else ())


def is_heavy(fit: Fit) -> bool:
    """Whether the distribution is subexponential: `HEAVY`, or a Weibull with shape below 1."""
    return fit.family in HEAVY or (fit.family == "weibull" and fit.params["shape"] < 1)


@dataclass(frozen=True)
class Vote:
    """The total weight of heavy-tailed families, 0 to 1, and the fit with the most weight."""

    heavy_weight: float
    first: Fit


def vote(values: npt.ArrayLike, counts: npt.ArrayLike, artefacts: Artefacts, fits: FamilyFits) -> Vote:
    """Weight the adjusted fits of a column by their marginal likelihoods.

    Raises:
        ValueError: nothing was fitted.

    """
    if not fits.fits:
        raise ValueError("no fits to weigh")
    x, c = set_aside(values, counts, artefacts)
    x, c = x[x > 0], c[x > 0]
    evidence = np.full(len(fits.fits), -np.inf)
    for at in sorted(range(len(evidence)), key=lambda at: -fits.fits[at].log_likelihood):
        # The likelihood alone rules out most families of a long column.
        if most_log_evidence(fits.fits[at]) > evidence.max() - NO_WEIGHT:
            evidence[at] = log_evidence(fits.fits[at], x, c, artefacts.cap_value)
    weight = np.exp(evidence - evidence.max())
    heavy = np.array([is_heavy(fit) for fit in fits.fits])
    return Vote(float(weight[heavy].sum() / weight.sum()), fits.fits[int(np.argmax(evidence))])


def _light_end_unobserved(fit: Fit, artefacts: Artefacts) -> str:
    """A clause if too few rows are in the light part of a fitted inverse Gaussian's tail; else empty.

    Far above lam its density is a power, x^(-3/2), times exp(-lam x / (2 mean^2)). On logarithmic axes the exponential
    is the steeper factor only above 3 mean^2 / lam; below, the distribution looks heavy.
    """
    if fit.family != "inverse_gaussian":
        return ""
    start = 3 * fit.params["mean"] ** 2 / fit.params["lam"]
    upper = 1.0 if artefacts.cap_value is None else float(cdf(fit.family, fit.params, artefacts.cap_value))
    rows = fit.n * max(upper - float(cdf(fit.family, fit.params, start)), 0.0)
    if rows >= MIN_LIGHT_ROWS:
        return ""
    return f"that family is light only above {start:,.6g}, which {rows:,.1f} of the rows reach"


def _points_to(heavy: bool, gpd: GeneralizedPareto) -> bool:
    """Whether the top decile, by itself, has a shape of that side."""
    return gpd.likelihood_ratio > CONTRADICTION_RATIO and (gpd.xi if heavy else -gpd.xi) > CONTRADICTION_SHAPE


def _contradicts(heavy: bool, best: Fit, gpd: GeneralizedPareto) -> bool:
    """Whether the top decile has a shape of the other side, which the best family does not have there."""
    if not _points_to(not heavy, gpd):
        return False
    top = np.unique(quantile(best.family, best.params, TOP_DECILE))
    top = top[np.isfinite(top)]
    own = generalized_pareto(top, np.ones(len(top), dtype=np.int64), 0.0)
    error = (1 + gpd.xi) / gpd.n**0.5  # of a maximum-likelihood shape (Smith, 1987)
    return own is None or (own.xi - gpd.xi if heavy else gpd.xi - own.xi) > CONTRADICTION_DEVIATIONS * error


def _adjustments(artefacts: Artefacts) -> str:
    """How the column was adjusted before the fit, as the end of a sentence."""
    parts = []
    if artefacts.atoms:
        share = sum(atom.share for atom in artefacts.atoms)
        parts.append(f"{counted(len(artefacts.atoms), 'atom')} with {share:.1%} of the rows removed")
    if artefacts.cap_value is not None:
        parts.append(f"the cap at {artefacts.cap_value:,.6g} with {artefacts.capped_share:.1%} of the rows censored")
    if artefacts.zeros:
        parts.append(f"{counted(artefacts.zeros, 'zero')} left out")
    return f", with {' and '.join(parts)}" if parts else ""


def judge(
    artefacts: Artefacts, fits: FamilyFits | None, weighed: Vote | None, gpd: GeneralizedPareto | None
) -> Judgement:
    """The verdict on a column from its artefacts, its adjusted fits, their vote and the GPD of its top decile.

    A family of the winning side must pass the test of its fit, or, where none passes, the top decile must agree with
    the vote. A top decile that contradicts the vote makes the verdict undetermined; a cap disables these tests. So does
    an inverse Gaussian with fewer than `MIN_LIGHT_ROWS` rows in the light part of its tail, because its head looks like
    a power law. Columns below `MIN_ROWS` rows need no fits.
    """
    rows = artefacts.n
    if rows < MIN_ROWS:
        return Judgement("too_few", f"only {counted(rows, 'row')}, where a verdict needs {MIN_ROWS}")
    adjustments = _adjustments(artefacts)
    if artefacts.lattice:
        return Judgement(
            "undetermined",
            f"the {rows:,} rows hold fewer than {MIN_DISTINCT} distinct positive values: too few for a family",
        )
    if fits is None or weighed is None or fits.n < MIN_ROWS:
        left = fits.n if fits else 0
        return Judgement("undetermined", f"only {left:,} of {rows:,} rows are left to fit{adjustments}")
    best, weight = weighed.first, weighed.heavy_weight
    heavy = weight > 0.5
    verdict: Verdict = "heavy" if heavy else "light"
    is_split = min(weight, 1 - weight) > LOSING_WEIGHT * min(fits.n / ROWS_OF_LOSING_WEIGHT, 1.0) ** 2
    passing = [is_heavy(fit) for fit in fits.fits if fit.passes]
    if not passing:
        poor = (
            f"no simple family fits the {fits.n:,} rows{adjustments}: the best, {best.label}, has a KS distance of "
            f"{best.ks_distance:.3f}"
        )
        if is_split or gpd is None or artefacts.cap_value is not None or not _points_to(heavy, gpd):
            return Judgement("undetermined", poor)
        agreed = f"the top decile with a generalized-Pareto shape of {gpd.xi:.2f}, agree"
        return Judgement(
            verdict, f"the tail is {verdict}: {poor}, but the vote, {weight:.0%} for a heavy tail, and {agreed}"
        )
    evidence = (
        f"{weight:.0%} of the evidence of {fits.n:,} rows{adjustments} is for a heavy tail, and the best family is "
        f"{best.label} (KS distance {best.ks_distance:.3f})"
    )
    if is_split:
        return Judgement("undetermined", f"the rows do not tell a heavy tail from a light one: {evidence}")
    if heavy not in passing:
        other = "light" if heavy else "heavy"
        return Judgement("undetermined", f"{evidence}, but only families with a {other} tail fit the whole column")
    if gpd is not None and artefacts.cap_value is None and _contradicts(heavy, best, gpd):
        return Judgement(
            "undetermined",
            f"{evidence}, but the top decile has a generalized-Pareto shape of {gpd.xi:.2f}, which contradicts this",
        )
    if not heavy and (doubt := _light_end_unobserved(best, artefacts)):
        return Judgement("undetermined", f"{evidence}, but {doubt}")
    return Judgement(verdict, f"the tail is {verdict}: {evidence}")


def classify(values: npt.ArrayLike) -> dict[str, Any]:
    """Decide whether positive values come from a heavy-tailed distribution, and from which family of `laws.LAWS`.

    A forced choice: `heavy_tailed` (bool) is the side with more than half of the vote, even if `judge` returns
    undetermined; `family` has the most weight, '' if nothing can be fitted. `verdict` and `reason` come from `judge`.
    """
    rows = np.asarray(values, dtype=np.float64).ravel()
    x, c = merge_pairs(rows, np.ones(len(rows), dtype=np.int64))
    artefacts = find_artefacts(x, c)
    fits = fit_adjusted(x, c, artefacts)
    gpd = generalized_pareto(x, c, 0.90) if artefacts.cap_value is None else None
    weighed = vote(x, c, artefacts, fits) if fits.fits else None
    judgement = judge(artefacts, fits, weighed, gpd)
    outcome: dict[str, Any] = {"verdict": judgement.verdict, "reason": judgement.reason}
    if weighed is None:
        return {"heavy_tailed": False, "family": "", **outcome}
    family = weighed.first.family
    return {"heavy_tailed": weighed.heavy_weight > 0.5, "family": BENCHMARK_NAMES.get(family, family), **outcome}
