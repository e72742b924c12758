"""What logs add to a column (atoms, a cap, zeros, a lattice), and whether its tail is heavy.

Belongs here: finding these artefacts in (value, count) pairs, setting them aside, and the verdict with its reason.
Does not belong here: the fits (`families`, `tails`), their weights (`evidence`), or where a column comes from.

Heavy means sub-exponential: the lognormal and a mixture of two, Pareto, Lomax, log-logistic, Burr XII, and a Weibull
with shape below 1. The gamma, the exponential, mixtures of two of either, the inverse Gaussian, a Weibull with shape of
1 or more, the truncated normal and the uniform are light, however skewed. The verdict is a vote of all of them, weighed
by marginal likelihoods (`evidence`); it says `undetermined` where none describes the column, where the
votes are split, or where the column ends before an inverse Gaussian becomes light. A law outside them counts as its
nearest neighbour: light and heavy sides both hold mixtures, so that a column of two kinds of requests is not heavy by
default.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from pipeline.analysis.stats.describe import Counts, Floats, check_pairs, merge_pairs
from pipeline.analysis.stats.evidence import log_evidence
from pipeline.analysis.stats.families import DETECTOR_ONLY, FAMILIES, NO_FIT_DISTANCE, FamilyFits, Fit, fit_families
from pipeline.analysis.stats.laws import cdf
from pipeline.analysis.stats.tails import GeneralizedPareto, generalized_pareto
from pipeline.words import counted

Verdict = Literal["heavy", "light", "undetermined", "too_few", "unavailable"]

MIN_ROWS = 50  # below it no verdict is given
ATOM_SHARE = 0.02  # an atom holds at least this share of the rows
MIN_ATOM_ROWS = 8  # P(Poisson(1) >= 8) is 1e-5: a tie of as many rows is no coincidence
ATOM_FACTOR = 3.0  # times the rows that its neighbours make one expect
ATOM_DEVIATIONS = 6.0  # Poisson standard deviations above that expectation
NEIGHBOURS = 5  # distinct values on either side whose median count is the expectation
MIN_NEIGHBOUR_ROWS = 5  # neighbours with fewer rows carry no trend
CAP_SHARE = 0.002  # a pile at the maximum holds at least this share of the rows
RARE_TIES = 0.01  # rows per step of the column
MIN_CAP_ROWS = 4  # and as many rows: chance ties of large values are pairs
MIN_DISTINCT = 20  # fewer distinct positive values are a lattice: neither atoms nor continuous fits make sense
DECIDING_WEIGHT = 0.9  # share of the BIC weight that decides a vote
CONTRADICTION_RATIO = 6.635  # chi-square(1) at 1%: the top decile's shape differs from 0
CONTRADICTION_SHAPE = 0.1  # and by as much as this
HEAVY = ("lognormal", "lognormal_mixture", "pareto", "lomax", "loglogistic", "burr12")
CANDIDATES = (*FAMILIES, *DETECTOR_ONLY)
BENCHMARK_NAMES = {"truncated_normal": "normal"}


@dataclass(frozen=True)
class Atom:
    """One value that holds more rows than its surroundings explain; `share` is of all rows."""

    value: float
    rows: int
    share: float


@dataclass(frozen=True)
class Artefacts:
    """What was found in a column of `n` rows; `cap_value` is None and `capped_share` 0 where nothing piles up."""

    n: int
    zeros: int
    atoms: tuple[Atom, ...]
    cap_value: float | None
    capped_share: float
    lattice: bool

    @property
    def any(self) -> bool:
        """True where an adjusted column would differ from the raw one."""
        return bool(self.atoms) or self.cap_value is not None


@dataclass(frozen=True)
class Judgement:
    """A verdict and one sentence that gives its numbers."""

    verdict: Verdict
    reason: str


def _expected_rows(counts: Counts, index: int) -> float:
    """Rows at one distinct value if it were like its neighbours: their median count, or their trend where it is higher.

    The trend continues the two nearest counts of one side geometrically. It keeps the first value of a steep lattice
    (most rows with one tool call, fewer with two, ...) from looking like an atom.
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


def _stands_out(counts: Counts, index: int) -> bool:
    rows = float(counts[index])
    expected = _expected_rows(counts, index)
    deviation = ATOM_DEVIATIONS * float(np.sqrt(max(expected, 1.0)))
    return rows >= MIN_ATOM_ROWS and rows >= ATOM_FACTOR * expected and rows >= expected + deviation


def _is_cap(values: Floats, counts: Counts, rows: int) -> bool:
    """True where rows pile up at the maximum: as an atom would, or a few of them where ties are rare.

    Ties are rare where the values just below lie so far apart, in units of the smallest step of the column, that one
    row in a hundred would meet another.
    """
    pile = int(counts[-1])
    if pile < CAP_SHARE * rows or pile < MIN_CAP_ROWS:
        return False
    if _stands_out(counts, len(counts) - 1):
        return True
    below = slice(-1 - NEIGHBOURS, -1)
    step = float(np.diff(values).min())
    density = float(counts[below].sum()) * step / float(values[-1] - values[below][0])
    return density <= RARE_TIES and pile >= ATOM_FACTOR * float(counts[below].max())


def find_artefacts(values: npt.ArrayLike, counts: npt.ArrayLike) -> Artefacts:
    """Find atoms, a cap, zeros and a lattice.

    An atom holds at least 2% of the rows and `MIN_ATOM_ROWS` rows, three times what the neighbouring values hold, and
    more than chance. A cap is a pile at the maximum, from 0.2% of the rows and `MIN_CAP_ROWS` rows on. Zeros are
    counted apart, and are no atom. On a lattice (fewer than 20 distinct positive values) neither is looked for.
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
        Atom(float(x[index]), int(c[index]), int(c[index]) / rows) for index in large if _stands_out(c, int(index))
    )
    return Artefacts(rows, zeros, atoms, float(x[last]) if cap_rows else None, cap_rows / rows, lattice=False)


def set_aside(values: npt.ArrayLike, counts: npt.ArrayLike, artefacts: Artefacts) -> tuple[Floats, Counts]:
    """Return the pairs without the rows at atoms; the rows at a cap stay, to be censored by `fit_families`."""
    x, c = check_pairs(values, counts)
    kept = ~np.isin(x, [atom.value for atom in artefacts.atoms])
    return x[kept], c[kept]


def fit_adjusted(
    values: npt.ArrayLike,
    counts: npt.ArrayLike,
    artefacts: Artefacts,
    families: Sequence[str] = FAMILIES,
    known: FamilyFits | None = None,
) -> FamilyFits:
    """Fit families with atoms set aside and the cap censored; the plain fits where there are neither.

    `known` holds adjusted fits of the same column, which are not made again.
    """
    x, c = set_aside(values, counts, artefacts)
    return fit_families(x, c, cap=artefacts.cap_value, families=families, known=known)


def fit_raw(
    values: npt.ArrayLike, counts: npt.ArrayLike, artefacts: Artefacts, adjusted: FamilyFits | None = None
) -> FamilyFits:
    """Fit the column as it is; where an atom stands, the lognormal mixture, which would fit it, cannot be chosen.

    `adjusted` fits of the same column are taken over where it has no artefact.
    """
    unselectable = ("lognormal_mixture",) if artefacts.atoms else ()
    return fit_families(values, counts, unselectable=unselectable, known=None if artefacts.any else adjusted)


def is_heavy(fit: Fit) -> bool:
    """True for a sub-exponential law: those of `HEAVY`, and a Weibull with shape below 1."""
    return fit.family in HEAVY or (fit.family == "weibull" and fit.params["shape"] < 1)


@dataclass(frozen=True)
class Vote:
    """The weight on heavy-tailed families, 0 to 1, and the fit that has the most weight."""

    heavy_weight: float
    first: Fit


def vote(values: npt.ArrayLike, counts: npt.ArrayLike, artefacts: Artefacts, fits: FamilyFits) -> Vote:
    """Weigh the adjusted fits of a column by their marginal likelihoods.

    Raises:
        ValueError: nothing was fitted.

    """
    if not fits.fits:
        raise ValueError("no fits to weigh")
    x, c = set_aside(values, counts, artefacts)
    x, c = x[x > 0], c[x > 0]
    told = np.array([log_evidence(fit, x, c, artefacts.cap_value) for fit in fits.fits])
    weight = np.exp(told - told.max())
    heavy = np.array([is_heavy(fit) for fit in fits.fits])
    return Vote(float(weight[heavy].sum() / weight.sum()), fits.fits[int(np.argmax(told))])


def _too_little_of_the_light_end(fit: Fit, artefacts: Artefacts) -> str:
    """Why a fitted inverse Gaussian does not show its light end in the column, as a clause; empty where it does.

    Its density is a power, x^(-3/2), times exp(-lam x / (2 mean^2)) far above lam. On logarithmic axes the exponential
    is the steeper of the two only above 3 mean^2 / lam: below that the law looks like a heavy one.
    """
    if fit.family != "inverse_gaussian":
        return ""
    start = 3 * fit.params["mean"] ** 2 / fit.params["lam"]
    end = 1.0 if artefacts.cap_value is None else float(cdf(fit.family, fit.params, artefacts.cap_value))
    rows = fit.n * max(end - float(cdf(fit.family, fit.params, start)), 0.0)
    if rows >= MIN_ROWS:
        return ""
    return f"that law is light only above {start:,.6g}, with {rows:,.0f} of the rows, and a verdict needs {MIN_ROWS}"


def _handled(artefacts: Artefacts) -> str:
    """What was done before the fit, as the end of a sentence."""
    parts = []
    if artefacts.atoms:
        share = sum(atom.share for atom in artefacts.atoms)
        parts.append(f"{counted(len(artefacts.atoms), 'atom')} with {share:.1%} of the rows set aside")
    if artefacts.cap_value is not None:
        parts.append(f"the cap at {artefacts.cap_value:,.6g} with {artefacts.capped_share:.1%} of the rows censored")
    if artefacts.zeros:
        parts.append(f"{counted(artefacts.zeros, 'zero')} left out")
    return f", with {' and '.join(parts)}" if parts else ""


def judge(
    artefacts: Artefacts, fits: FamilyFits | None, weighed: Vote | None, gpd: GeneralizedPareto | None
) -> Judgement:
    """Give the verdict on a column from its artefacts, its adjusted fits, their vote and the GPD of its top decile.

    `gpd` is ignored where a cap exists. It cannot make a verdict, but a top decile that contradicts the vote (a shape
    beyond 0.1 on the other side of 0, significant at 1%) makes it undetermined. So does an inverse Gaussian that puts
    fewer than `MIN_ROWS` rows where it is light: near its head it looks like a power law. Below `MIN_ROWS` rows no fits
    are needed.
    """
    rows = artefacts.n
    if rows < MIN_ROWS:
        return Judgement("too_few", f"Only {counted(rows, 'row')}, where a verdict needs {MIN_ROWS}")
    handled = _handled(artefacts)
    if artefacts.lattice:
        return Judgement(
            "undetermined",
            f"The {rows:,} rows hold fewer than {MIN_DISTINCT} distinct positive values: too few for a family",
        )
    if fits is None or weighed is None or fits.n < MIN_ROWS:
        left = fits.n if fits else 0
        return Judgement("undetermined", f"Only {left:,} of {rows:,} rows are left to fit{handled}")
    best, heavy = weighed.first, weighed.heavy_weight
    named = f"{best.label}, KS distance {best.ks_distance:.3f}"
    if best.ks_distance > NO_FIT_DISTANCE:
        chance = " (so few rows can be that far from their own law)" if best.ks_distance * rows**0.5 < 1 else ""
        return Judgement(
            "undetermined", f"No simple family fits the {fits.n:,} rows{handled}: the best is {named}{chance}"
        )
    told = (
        f"of the weight of {len(fits.fits)} families is on heavy-tailed ones (best {named}, {fits.n:,} rows{handled})"
    )
    if 1 - DECIDING_WEIGHT < heavy < DECIDING_WEIGHT:
        return Judgement("undetermined", f"The vote is split: {heavy:.1%} {told}")
    verdict: Verdict = "heavy" if heavy >= DECIDING_WEIGHT else "light"
    if gpd is not None and artefacts.cap_value is None and gpd.likelihood_ratio > CONTRADICTION_RATIO:
        against = gpd.xi < -CONTRADICTION_SHAPE if verdict == "heavy" else gpd.xi > CONTRADICTION_SHAPE
        if against:
            return Judgement(
                "undetermined",
                f"{heavy:.1%} {told}, but the top decile has a generalized-Pareto shape of {gpd.xi:.2f}, "
                f"which says the opposite",
            )
    if verdict == "light" and (doubt := _too_little_of_the_light_end(best, artefacts)):
        return Judgement("undetermined", f"{heavy:.1%} {told}, but {doubt}")
    return Judgement(verdict, f"{heavy:.1%} {told}")


def classify(values: npt.ArrayLike) -> dict[str, Any]:
    """Say whether positive values come from a heavy-tailed law, and from which family: one of `laws.LAWS`.

    A forced choice: `heavy_tailed` (bool) is the side with more than half of the vote, also where `judge` would say
    undetermined; `family` is the first of the vote, '' where nothing can be fitted; `verdict` and `reason` are those of
    `judge`.
    """
    rows = np.asarray(values, dtype=np.float64).ravel()
    x, c = merge_pairs(rows, np.ones(len(rows), dtype=np.int64))
    artefacts = find_artefacts(x, c)
    fits = fit_adjusted(x, c, artefacts, CANDIDATES)
    gpd = generalized_pareto(x, c, 0.90) if artefacts.cap_value is None else None
    weighed = vote(x, c, artefacts, fits) if fits.fits else None
    judgement = judge(artefacts, fits, weighed, gpd)
    told: dict[str, Any] = {"verdict": judgement.verdict, "reason": judgement.reason}
    if weighed is None:
        return {"heavy_tailed": False, "family": "", **told}
    family = weighed.first.family
    return {"heavy_tailed": weighed.heavy_weight > 0.5, "family": BENCHMARK_NAMES.get(family, family), **told}
