"""What logs add to a column (atoms, a cap, zeros, a lattice), and whether its tail is heavy.

Belongs here: finding these artefacts in (value, count) pairs, setting them aside, and the verdict with its reason.
Does not belong here: the fits themselves (`families`, `tails`), or where a column comes from.

Heavy means sub-exponential: the lognormal, and a Weibull with shape below 1. The gamma, the exponential, the inverse
Gaussian and a Weibull with shape of 1 or more are light, however skewed. The verdict is a vote of BIC weights among the
families of `families`; it says `undetermined` where none of them describes the column, where their votes are split, or
where the column ends before an inverse Gaussian becomes light. A law outside them counts as its nearest neighbour. A
Weibull with shape below 1 is itself a mixture of exponentials (Jewell, 1982), so that a mixture of a few, which is
light, can pass for one: a verdict that rests on it says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from pipeline.stats.describe import Counts, Floats, check_pairs
from pipeline.stats.families import NO_FIT_DISTANCE, FamilyFits, Fit, fit_families
from pipeline.stats.laws import cdf
from pipeline.stats.tails import GeneralizedPareto

Verdict = Literal["heavy", "light", "undetermined", "too_few", "unavailable"]

MIN_ROWS = 50  # below it no verdict is given
ATOM_SHARE = 0.02  # an atom holds at least this share of the rows
MIN_ATOM_ROWS = 8  # P(Poisson(1) >= 8) is 1e-5: a tie of as many rows is no coincidence
ATOM_FACTOR = 5.0  # times the rows that its neighbours make one expect
ATOM_DEVIATIONS = 6.0  # Poisson standard deviations above that expectation
NEIGHBOURS = 5  # distinct values on either side whose median count is the expectation
MIN_NEIGHBOUR_ROWS = 5  # neighbours with fewer rows carry no trend
CAP_SHARE = 0.005  # a pile at the maximum holds at least this share of the rows
MIN_DISTINCT = 20  # fewer distinct positive values are a lattice: neither atoms nor continuous fits make sense
DECIDING_WEIGHT = 0.9  # share of the BIC weight that decides a vote
CONTRADICTION_RATIO = 6.635  # chi-square(1) at 1%: the top decile's shape differs from 0
CONTRADICTION_SHAPE = 0.1  # and by as much as this


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


def find_artefacts(values: npt.ArrayLike, counts: npt.ArrayLike) -> Artefacts:
    """Find atoms, a cap, zeros and a lattice.

    An atom holds at least 2% of the rows and `MIN_ATOM_ROWS` rows, five times what the neighbouring values hold, and
    more than chance. A cap is the same at the maximum, from 0.5% of the rows on. Zeros are counted apart, and are no
    atom. On a lattice (fewer than 20 distinct positive values) neither is looked for.
    """
    x, c = check_pairs(values, counts)
    rows = int(c.sum())
    zeros = int(c[x == 0].sum())
    positive = x > 0
    x, c = x[positive], c[positive]
    if len(x) < MIN_DISTINCT:
        return Artefacts(rows, zeros, (), None, 0.0, lattice=True)
    last = len(x) - 1
    cap_rows = int(c[last]) if c[last] >= CAP_SHARE * rows and _stands_out(c, last) else 0
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


def fit_adjusted(values: npt.ArrayLike, counts: npt.ArrayLike, artefacts: Artefacts) -> FamilyFits:
    """Fit every family with atoms set aside and the cap censored; the plain fits where there are neither."""
    x, c = set_aside(values, counts, artefacts)
    return fit_families(x, c, cap=artefacts.cap_value)


def _is_stretched(fit: Fit) -> bool:
    """True for a stretched exponential, a Weibull with shape below 1."""
    return fit.family == "weibull" and fit.params["shape"] < 1


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


def heavy_weight(fits: FamilyFits) -> float:
    """Share of the BIC weight on sub-exponential families, 0 to 1."""
    heavy = sum(fit.bic_weight for fit in fits.fits if fit.family == "lognormal" or _is_stretched(fit))
    return min(float(heavy), 1.0)


def _handled(artefacts: Artefacts) -> str:
    """What was done before the fit, as the end of a sentence."""
    parts = []
    if artefacts.atoms:
        share = sum(atom.share for atom in artefacts.atoms)
        word = "atom" if len(artefacts.atoms) == 1 else "atoms"
        parts.append(f"{len(artefacts.atoms)} {word} with {share:.1%} of the rows set aside")
    if artefacts.cap_value is not None:
        parts.append(f"the cap at {artefacts.cap_value:,.6g} with {artefacts.capped_share:.1%} of the rows censored")
    if artefacts.zeros:
        parts.append(f"{artefacts.zeros:,} {'zero' if artefacts.zeros == 1 else 'zeros'} left out")
    return f", with {' and '.join(parts)}" if parts else ""


def judge(artefacts: Artefacts, fits: FamilyFits, gpd: GeneralizedPareto | None) -> Judgement:
    """Give the verdict on a column from its artefacts, its adjusted fits and the GPD of its top decile.

    `gpd` is ignored where a cap exists. It cannot make a verdict, but a top decile that contradicts the vote (a shape
    beyond 0.1 on the other side of 0, significant at 1%) makes it undetermined. So does an inverse Gaussian that puts
    fewer than `MIN_ROWS` rows where it is light: near its head it looks like a power law.
    """
    rows = artefacts.n
    if rows < MIN_ROWS:
        return Judgement("too_few", f"Only {rows:,} row{'' if rows == 1 else 's'}, where a verdict needs {MIN_ROWS}")
    handled = _handled(artefacts)
    if artefacts.lattice:
        return Judgement(
            "undetermined",
            f"The {rows:,} rows hold fewer than {MIN_DISTINCT} distinct positive values: too few for a family",
        )
    if fits.status == "too_few" or fits.n < MIN_ROWS:
        return Judgement("undetermined", f"Only {fits.n:,} of {rows:,} rows are left to fit{handled}")
    best = fits.fits[0]
    named = f"{best.label}, KS distance {best.ks_distance:.3f}"
    if best.ks_distance > NO_FIT_DISTANCE:
        chance = " (so few rows can be that far from their own law)" if best.ks_distance * rows**0.5 < 1 else ""
        return Judgement(
            "undetermined", f"No simple family fits the {fits.n:,} rows{handled}: the best is {named}{chance}"
        )
    heavy = heavy_weight(fits)
    vote = (
        f"of the BIC weight over {len(fits.fits)} simple families is on heavy-tailed ones "
        f"(best {named}, {fits.n:,} rows{handled})"
    )
    if 1 - DECIDING_WEIGHT < heavy < DECIDING_WEIGHT:
        return Judgement("undetermined", f"The vote is split: {heavy:.1%} {vote}")
    verdict: Verdict = "heavy" if heavy >= DECIDING_WEIGHT else "light"
    if gpd is not None and artefacts.cap_value is None and gpd.likelihood_ratio > CONTRADICTION_RATIO:
        against = gpd.xi < -CONTRADICTION_SHAPE if verdict == "heavy" else gpd.xi > CONTRADICTION_SHAPE
        if against:
            return Judgement(
                "undetermined",
                f"{heavy:.1%} {vote}, but the top decile has a generalized-Pareto shape of {gpd.xi:.2f}, "
                f"which says the opposite",
            )
    if verdict == "light" and (doubt := _too_little_of_the_light_end(best, artefacts)):
        return Judgement("undetermined", f"{heavy:.1%} {vote}, but {doubt}")
    if verdict == "heavy" and _is_stretched(best):
        vote += ", which a mixture of exponentials, light and not among them, can resemble"
    return Judgement(verdict, f"{heavy:.1%} {vote}")
