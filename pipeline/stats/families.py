"""Maximum-likelihood fits of simple families, location fixed at 0, to (value, count) pairs.

Belongs here: exponential, lognormal, gamma, Weibull and inverse Gaussian; their likelihoods, criteria, distances and
quantile errors.
Does not belong here: what is set aside before a fit and what a fit says about tails (`detection`, `tails`).

A free location is never fitted: it moves mass below zero, where no token count and no cost lies. Values of zero and
below are left out and counted. Densities are per unit of the values, so log-likelihoods compare only within one column.
A cap is right-censored: a row at the cap says only that its value would have been the cap or more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from pipeline.stats.describe import Counts, Floats, check_pairs, quantiles

ACCEPTED_AIC_DIFFERENCE = 10.0  # Burnham and Anderson (2002): essentially no support beyond it
NO_FIT_DISTANCE = 0.05  # KS distance above which no simple family is said to fit
MIN_RELATIVE_SPREAD = 1e-6  # (largest - smallest) / largest; below it a column is constant for every purpose
MAX_ITERATIONS = 200
RELATIVE_TOLERANCE = 1e-12
LARGE_SHAPE = 1e5  # gamma shapes from here on use the asymptotic series, exact to 1e-16 there
ERROR_QUANTILES = (0.50, 0.90, 0.95, 0.99)


@dataclass(frozen=True)
class Fit:
    """One family fitted to one column; `q*_error` is fitted / observed quantile - 1, None where it is censored."""

    family: str
    params: dict[str, float]
    n: int
    log_likelihood: float
    n_params: int
    aic: float
    bic: float
    aic_weight: float
    bic_weight: float
    ks_distance: float
    accepted: bool
    rank: int
    q50_error: float | None
    q90_error: float | None
    q95_error: float | None
    q99_error: float | None

    @property
    def label(self) -> str:
        """The family's name as words of a sentence."""
        return self.family.replace("_", " ")


@dataclass(frozen=True)
class FamilyFits:
    """All fits of one column by rank (BIC), or none and a note that says why.

    `n` counts the rows used, `excluded` those at or below zero, `censored` those at the cap. `note` is empty where the
    first family describes the column within `NO_FIT_DISTANCE`.
    """

    status: Literal["fitted", "too_few"]
    fits: tuple[Fit, ...]
    n: int
    excluded: int
    censored: int
    note: str


@dataclass(frozen=True)
class _Sample:
    """Positive pairs below the cap, and the number of rows at it."""

    x: Floats
    c: Counts
    cap: float
    censored: int

    @property
    def seen(self) -> int:
        return int(self.c.sum())

    @property
    def n(self) -> int:
        return self.seen + self.censored

    def total(self, terms: Floats) -> float:
        return float(np.sum(terms * self.c))


@dataclass(frozen=True)
class _Estimate:
    params: dict[str, float]
    log_likelihood: float


def _inverse_gaussian_probabilities(mean: float, lam: float, x: Floats) -> tuple[Floats, Floats]:
    """P(X <= x) and log P(X > x) of the inverse Gaussian, accurate in both tails.

    With a = sqrt(lam / x) (x / mean - 1) and b = a + 2 sqrt(lam / x) the distribution function (Shuster, 1968) is
    Phi(a) + exp(2 lam / mean) Phi(-b), a product of something huge and something tiny. Since b^2 - a^2 = 4 lam / mean,
    it equals erfcx(b / sqrt 2) exp(-a^2 / 2) / 2, in which nothing overflows or cancels.
    """
    from scipy import special

    root = np.sqrt(lam / x)
    a = root * ((x - mean) / mean)
    b = root * (x / mean + 1)
    with np.errstate(under="ignore", divide="ignore"):
        scaled = special.erfcx(b / np.sqrt(2))
        below = np.minimum(special.ndtr(a) + scaled * np.exp(-a * a / 2) / 2, 1.0)
        beyond_mean = np.log((special.erfcx(np.maximum(a, 0) / np.sqrt(2)) - scaled) / 2) - a * a / 2
        log_survival = np.where(a > 0, beyond_mean, np.log1p(-below))
    return below, log_survival


def _inverse_gaussian_quantile(mean: float, lam: float, p: Floats) -> Floats:
    """Newton's steps in log x, kept inside a bracket by bisection, on the smaller of the two tails.

    The bracket is Markov's inequality for X (mean `mean`) and for 1 / X (mean 1 / mean + 1 / lam).
    """
    low = np.log(p) - np.log(1 / mean + 1 / lam)
    high = np.log(mean) - np.log1p(-p)
    at = np.clip(np.log(mean), low, high)
    upper = p > 0.5
    for _ in range(MAX_ITERATIONS):
        x = np.exp(at)
        below, log_survival = _inverse_gaussian_probabilities(mean, lam, x)
        excess = np.where(upper, (1 - p) - np.exp(log_survival), below - p)
        low, high = np.where(excess < 0, at, low), np.where(excess < 0, high, at)
        slope = np.sqrt(lam / (2 * np.pi * x)) * np.exp(-lam / x * ((x - mean) / mean) ** 2 / 2)
        with np.errstate(all="ignore"):
            updated = at - excess / slope
        updated = np.where((updated > low) & (updated < high), updated, (low + high) / 2)
        if (np.abs(updated - at) <= RELATIVE_TOLERANCE).all():
            break
        at = updated
    quantiles_of_p: Floats = np.exp(updated)
    return quantiles_of_p


def cdf(family: str, params: dict[str, float], x: npt.ArrayLike) -> Floats:
    """Distribution function of a fitted family at `x` > 0.

    Raises:
        KeyError: the family is unknown, or a parameter is missing.

    """
    from scipy import special

    at = np.asarray(x, dtype=np.float64)
    with np.errstate(over="ignore", under="ignore"):
        if family == "exponential":
            probability = -np.expm1(-at / params["scale"])
        elif family == "lognormal":
            probability = special.ndtr((np.log(at) - params["mu"]) / params["sigma"])
        elif family == "gamma":
            probability = special.gammainc(params["shape"], at / params["scale"])
        elif family == "weibull":
            probability = -np.expm1(-np.exp(params["shape"] * np.log(at / params["scale"])))
        elif family == "inverse_gaussian":
            probability, _ = _inverse_gaussian_probabilities(params["mean"], params["lam"], at)
        else:
            raise KeyError(family)
    return np.asarray(probability, dtype=np.float64)


def quantile(family: str, params: dict[str, float], probability: npt.ArrayLike) -> Floats:
    """Quantiles of a fitted family, for probabilities inside (0, 1).

    Raises:
        KeyError: the family is unknown, or a parameter is missing.

    """
    from scipy import special

    p = np.asarray(probability, dtype=np.float64)
    if family == "exponential":
        value = -params["scale"] * np.log1p(-p)
    elif family == "lognormal":
        value = np.exp(params["mu"] + params["sigma"] * special.ndtri(p))
    elif family == "gamma":
        value = params["scale"] * special.gammaincinv(params["shape"], p)
    elif family == "weibull":
        value = params["scale"] * (-np.log1p(-p)) ** (1 / params["shape"])
    elif family == "inverse_gaussian":
        value = _inverse_gaussian_quantile(params["mean"], params["lam"], p)
    else:
        raise KeyError(family)
    return np.asarray(value, dtype=np.float64)


def _simplex(objective: Callable[[Floats], float], start: list[float]) -> tuple[Floats, float]:
    """Maximise a smooth function of two parameters whose one evaluation costs O(1); twice, against early stops."""
    from scipy import optimize

    def loss(point: Floats) -> float:
        with np.errstate(all="ignore"):
            value = objective(point)
        return -value if np.isfinite(value) else np.inf

    point = np.asarray(start, dtype=np.float64)
    for _ in range(2):
        found = optimize.minimize(
            loss, point, method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-9, "maxiter": 2000, "maxfev": 4000}
        )
        point = np.asarray(found.x, dtype=np.float64)
    return point, -float(found.fun)


def _exponential(sample: _Sample) -> _Estimate:
    """Closed form: all the value seen over the number of rows not censored."""
    at_cap = sample.censored * sample.cap if sample.censored else 0.0
    amount = sample.total(sample.x) + at_cap
    scale = amount / sample.seen
    return _Estimate({"scale": scale}, -sample.seen * (np.log(scale) + 1))


def _lognormal(sample: _Sample) -> _Estimate:
    """Closed form; with a cap, the two-parameter censored likelihood on sufficient statistics."""
    from scipy import special

    logs = np.log(sample.x)
    seen = sample.seen
    mean = sample.total(logs) / seen
    variance = sample.total((logs - mean) ** 2) / seen
    constant = -sample.total(logs) - seen / 2 * np.log(2 * np.pi)
    sigma = float(np.sqrt(variance))
    if not sample.censored:
        return _Estimate({"mu": mean, "sigma": sigma}, constant - seen * (np.log(sigma) + 0.5))
    log_cap = float(np.log(sample.cap))

    def log_likelihood(point: Floats) -> float:
        mu, s = point[0], np.exp(point[1])
        squares = seen * (variance + (mean - mu) ** 2)
        survival = special.log_ndtr((mu - log_cap) / s)
        return float(constant - seen * np.log(s) - squares / (2 * s * s) + sample.censored * survival)

    point, best = _simplex(log_likelihood, [mean, float(np.log(sigma))])
    return _Estimate({"mu": float(point[0]), "sigma": float(np.exp(point[1]))}, best)


def _gamma_shape(gap: float) -> float:
    """Root a of log(a) - digamma(a) = gap by Minka's generalised Newton steps (2002)."""
    from scipy import special

    shape = (3 - gap + float(np.sqrt((gap - 3) ** 2 + 24 * gap))) / (12 * gap)
    if shape > LARGE_SHAPE:
        return (1 + float(np.sqrt(1 + 4 * gap / 3))) / (4 * gap)
    for _ in range(MAX_ITERATIONS):
        residual = float(np.log(shape) - special.digamma(shape)) - gap
        slope = 1 / shape - float(special.polygamma(1, shape))
        updated = 1 / (1 / shape + residual / (shape * shape * slope))
        if abs(updated - shape) <= RELATIVE_TOLERANCE * shape:
            return updated
        shape = updated
    return shape


def _stirling_remainder(shape: float) -> float:
    """a log(a) - a - log Gamma(a), without the cancellation that it has for large a."""
    from scipy import special

    if shape > LARGE_SHAPE:
        return 0.5 * float(np.log(shape / (2 * np.pi))) - 1 / (12 * shape)
    return float(shape * np.log(shape) - shape - special.gammaln(shape))


def _log_gamma_survival(shape: float, x: float) -> float:
    """log Q(shape, x); where Q underflows (x far above the shape) the first convergent of its continued fraction."""
    from scipy import special

    upper = float(special.gammaincc(shape, x))
    if upper > 0 or x <= shape:
        return float(np.log(upper))
    return float(shape * np.log(x) - x - special.gammaln(shape) - np.log(x - shape + 1))


def _gamma(sample: _Sample) -> _Estimate:
    """One Newton root; with a cap, the two-parameter censored likelihood on sufficient statistics."""
    seen = sample.seen
    mean = sample.total(sample.x) / seen
    ratio = sample.x / mean
    excess = ratio - 1
    log_ratio = np.where(np.abs(excess) < 0.5, np.log1p(np.maximum(excess, -0.5)), np.log(ratio))
    gap = sample.total(excess - log_ratio) / seen
    mean_log = sample.total(np.log(sample.x)) / seen
    shape = _gamma_shape(gap)
    if not sample.censored:
        log_likelihood = seen * (_stirling_remainder(shape) - shape * gap - mean_log)
        return _Estimate({"shape": shape, "scale": mean / shape}, log_likelihood)

    def censored_log_likelihood(point: Floats) -> float:
        """At log shape and at the log of (mean of the rows seen / mean of the law)."""
        a, shift = float(np.exp(point[0])), float(point[1])
        density = _stirling_remainder(a) - mean_log - a * (gap + float(np.expm1(shift)) - shift)
        return seen * density + sample.censored * _log_gamma_survival(a, a * sample.cap / mean * float(np.exp(shift)))

    point, best = _simplex(censored_log_likelihood, [float(np.log(shape)), 0.0])
    shape = float(np.exp(point[0]))
    return _Estimate({"shape": shape, "scale": mean * float(np.exp(-point[1])) / shape}, best)


def _weibull(sample: _Sample) -> _Estimate:
    """One Newton root of the profile likelihood in the shape, kept inside a bracket; a cap adds a term to the sums."""
    seen = sample.seen
    logs = np.log(sample.x)
    mean_log = sample.total(logs) / seen
    every = np.append(logs, np.log(sample.cap)) if sample.censored else logs
    rows = np.append(sample.c, sample.censored) if sample.censored else sample.c
    top = float(every[-1])
    below = every - top

    def moments(k: float) -> tuple[float, float, float]:
        weights = rows * np.exp(k * below)
        return float(weights.sum()), float((weights * below).sum()), float((weights * below * below).sum())

    spread = float(np.sqrt(np.sum(rows * (every - np.average(every, weights=rows)) ** 2) / rows.sum()))
    shape = float(np.pi / np.sqrt(6)) / spread
    low, high = 0.0, np.inf
    for _ in range(MAX_ITERATIONS):
        zeroth, first, second = moments(shape)
        score = first / zeroth + (top - mean_log) - 1 / shape
        low, high = (shape, high) if score < 0 else (low, shape)
        slope = second / zeroth - (first / zeroth) ** 2 + 1 / shape**2
        updated = shape - score / slope
        if not low < updated < high:
            updated = shape * 2 if np.isinf(high) else (low + high) / 2
        if abs(updated - shape) <= RELATIVE_TOLERANCE * shape:
            break
        shape = updated
    log_sum = shape * top + float(np.log(moments(shape)[0] / seen))
    scale = float(np.exp(log_sum / shape))
    log_likelihood = seen * (np.log(shape) - log_sum + (shape - 1) * mean_log - 1)
    return _Estimate({"shape": shape, "scale": scale}, float(log_likelihood))


def _inverse_gaussian(sample: _Sample) -> _Estimate:
    """Closed form; with a cap, the two-parameter censored likelihood on sufficient statistics.

    mean / lam is the mean of (r - 1)^2 / r with r = x / mean: the textbook's mean(1 / x) - 1 / mean without its
    cancellation. Where a cap hides so much that the likelihood rises towards an infinite mean (a Lévy law), the mean is
    merely very large.
    """
    seen = sample.seen
    mean = sample.total(sample.x) / seen
    ratio = sample.x / mean
    gap = sample.total((ratio - 1) ** 2 / ratio) / seen
    constant = -1.5 * sample.total(np.log(sample.x)) - seen / 2 * float(np.log(2 * np.pi))
    if not sample.censored:
        lam = mean / gap
        return _Estimate({"mean": mean, "lam": lam}, constant + seen / 2 * (float(np.log(lam)) - 1))
    cap = np.array([sample.cap])

    def log_likelihood(point: Floats) -> float:
        """At the log of (mean of the law / mean of the rows seen) and at log lam."""
        lam = float(np.exp(point[1]))
        squares = gap + float(np.expm1(-point[0])) ** 2
        density = constant + seen / 2 * (float(point[1]) - lam / mean * squares)
        _, survival = _inverse_gaussian_probabilities(mean * float(np.exp(point[0])), lam, cap)
        return density + sample.censored * float(survival[0])

    point, best = _simplex(log_likelihood, [0.0, float(np.log(mean / gap))])
    return _Estimate({"mean": mean * float(np.exp(point[0])), "lam": float(np.exp(point[1]))}, best)


ESTIMATORS: dict[str, Callable[[_Sample], _Estimate]] = {
    "exponential": _exponential,
    "lognormal": _lognormal,
    "gamma": _gamma,
    "weibull": _weibull,
    "inverse_gaussian": _inverse_gaussian,
}
FAMILIES = tuple(ESTIMATORS)


def _ks_distance(sample: _Sample, family: str, params: dict[str, float]) -> float:
    """Largest gap between fitted and empirical distribution function, on both sides of each step below the cap."""
    after = np.cumsum(sample.c) / sample.n
    before = np.concatenate(([0.0], after[:-1]))
    fitted = cdf(family, params, sample.x)
    distance = max(float(np.abs(fitted - after).max()), float(np.abs(fitted - before).max()))
    if sample.censored:
        distance = max(distance, abs(float(cdf(family, params, sample.cap)) - float(after[-1])))
    return distance


def _quantile_errors(sample: _Sample, family: str, params: dict[str, float]) -> tuple[float | None, ...]:
    x, c = sample.x, sample.c
    if sample.censored:
        x, c = np.append(x, sample.cap), np.append(c, sample.censored)
    observed = quantiles(x, c, ERROR_QUANTILES)
    reached = quantiles(np.arange(len(x), dtype=np.float64), c, ERROR_QUANTILES) > len(sample.x) - 1
    errors = quantile(family, params, ERROR_QUANTILES) / observed - 1
    return tuple(None if hidden else float(error) for error, hidden in zip(errors, reached, strict=True))


def _weights(criteria: Floats) -> Floats:
    relative = np.exp(-(criteria - criteria.min()) / 2)
    normalised: Floats = relative / relative.sum()
    return normalised


def fit_families(values: npt.ArrayLike, counts: npt.ArrayLike, cap: float | None = None) -> FamilyFits:
    """Fit every family by maximum likelihood and rank them by BIC (the family's name decides ties).

    Rows at or above `cap`, if one is given, are right-censored there. Fewer than two distinct positive values below the
    cap, or values that differ by less than one part in a million, give status `too_few` and no fit.

    Raises:
        ValueError: the pairs are malformed (see `check_pairs`), or the cap is not positive.

    """
    x, c = check_pairs(values, counts)
    if cap is not None and not cap > 0:
        raise ValueError("a cap must be positive")
    excluded = int(c[x <= 0].sum())
    limit = np.inf if cap is None else cap
    seen = (x > 0) & (x < limit)
    sample = _Sample(x[seen], c[seen], limit, int(c[(x > 0) & (x >= limit)].sum()))
    if len(sample.x) < 2 or (sample.x[-1] - sample.x[0]) <= MIN_RELATIVE_SPREAD * sample.x[-1]:
        note = f"too few: {len(sample.x)} distinct positive values to fit, in {sample.n} rows"
        return FamilyFits("too_few", (), sample.n, excluded, sample.censored, note)

    estimates = {family: estimate(sample) for family, estimate in ESTIMATORS.items()}
    families = list(estimates)
    log_likelihoods = np.array([estimates[family].log_likelihood for family in families])
    sizes = np.array([len(estimates[family].params) for family in families])
    aic = 2 * sizes - 2 * log_likelihoods
    bic = sizes * np.log(sample.n) - 2 * log_likelihoods
    aic_weights, bic_weights = _weights(aic), _weights(bic)
    order = sorted(range(len(families)), key=lambda index: (bic[index], families[index]))
    fits = []
    for rank, index in enumerate(order, start=1):
        family, params = families[index], estimates[families[index]].params
        q50, q90, q95, q99 = _quantile_errors(sample, family, params)
        fits.append(
            Fit(
                family=family,
                params={name: float(value) for name, value in params.items()},
                n=sample.n,
                log_likelihood=float(log_likelihoods[index]),
                n_params=int(sizes[index]),
                aic=float(aic[index]),
                bic=float(bic[index]),
                aic_weight=float(aic_weights[index]),
                bic_weight=float(bic_weights[index]),
                ks_distance=_ks_distance(sample, family, params),
                accepted=bool(aic[index] - aic.min() < ACCEPTED_AIC_DIFFERENCE),
                rank=rank,
                q50_error=q50,
                q90_error=q90,
                q95_error=q95,
                q99_error=q99,
            )
        )
    best = fits[0]
    note = ""
    if best.ks_distance > NO_FIT_DISTANCE:
        note = f"no simple family fits: the best, {best.label}, is {best.ks_distance:.3f} away (KS distance)"
    return FamilyFits("fitted", tuple(fits), sample.n, excluded, sample.censored, note)
