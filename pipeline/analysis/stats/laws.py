"""Distribution families on x > 0: density, distribution function, survival and quantiles of each.

Belongs here: one `Law` per family, with given parameters.
Does not belong here: the estimation of parameters (`families`) and conclusions about a tail (`detection`).

Parameters: exponential scale; lognormal mu, sigma; gamma and weibull shape, scale; inverse_gaussian mean, lam;
loglogistic shape, scale; lomax alpha, scale; burr12 c, d, scale; lognormal_mixture p (of the first), mu1, sigma1, mu2,
sigma2; pareto alpha, xmin; truncated_normal mu, sigma (before the part below 0 is cut off); uniform low, high;
exponential_mixture p (of the first), scale1, scale2; gamma_mixture p (of the first), shape1, scale1, shape2, scale2.
Survival is 1 - cdf = (1 + (x / scale) ** c) ** -d for burr12, its case d = 1 for loglogistic, and (1 + x / scale) **
-alpha for lomax.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.analysis.stats.describe import Floats

Params = Mapping[str, float]

MAX_ITERATIONS = 200
LARGE_SHAPE = 1e5  # larger gamma shapes use the asymptotic series, which is exact to 1e-16 there
RELATIVE_TOLERANCE = 1e-12


@dataclass(frozen=True)
class Law:
    """One family. The functions take the parameters and an array of x > 0 (`quantile`: of probabilities in (0, 1)).

    `log_density` is -inf outside the support; `log_survival` is log P(X > x), accurate far in the tail.
    """

    label: str
    parameters: tuple[str, ...]
    log_density: Callable[[Params, Floats], Floats]
    cdf: Callable[[Params, Floats], Floats]
    log_survival: Callable[[Params, Floats], Floats]
    quantile: Callable[[Params, Floats], Floats]


def softplus(w: Floats) -> Floats:
    """log(1 + e^w), without overflow and exact to the last digits for very negative w."""
    result: Floats = np.maximum(w, 0) + np.log1p(np.exp(-np.abs(w)))
    return result


def invert(cdf: Callable[[Floats], Floats], p: Floats, low: Floats, high: Floats) -> Floats:
    """Quantiles by bisection of a distribution function between two bounds of log x, exact to 1e-12 in log x."""
    for _ in range(MAX_ITERATIONS):
        middle = (low + high) / 2
        under = cdf(np.exp(middle)) < p
        low, high = np.where(under, middle, low), np.where(under, high, middle)
        if (high - low <= RELATIVE_TOLERANCE).all():
            break
    roots: Floats = np.exp((low + high) / 2)
    return roots


# ---------------------------------------------------------------- exponential, Weibull


def _exponential_log_density(q: Params, x: Floats) -> Floats:
    result: Floats = -np.log(q["scale"]) - x / q["scale"]
    return result


def _exponential_log_survival(q: Params, x: Floats) -> Floats:
    return -x / q["scale"]


def _exponential_cdf(q: Params, x: Floats) -> Floats:
    return -np.expm1(-x / q["scale"])


def _exponential_quantile(q: Params, p: Floats) -> Floats:
    return -q["scale"] * np.log1p(-p)


def _weibull_log_density(q: Params, x: Floats) -> Floats:
    log_ratio = np.log(x / q["scale"])
    result: Floats = np.log(q["shape"] / q["scale"]) + (q["shape"] - 1) * log_ratio - np.exp(q["shape"] * log_ratio)
    return result


def _weibull_log_survival(q: Params, x: Floats) -> Floats:
    return -np.exp(q["shape"] * np.log(x / q["scale"]))


def _weibull_cdf(q: Params, x: Floats) -> Floats:
    return -np.expm1(_weibull_log_survival(q, x))


def _weibull_quantile(q: Params, p: Floats) -> Floats:
    return q["scale"] * (-np.log1p(-p)) ** (1 / q["shape"])


# ---------------------------------------------------------------- lognormal; mixtures of lognormals, of exponentials


def _normal_log_density(mu: float, sigma: float, log_x: Floats) -> Floats:
    """Density of x, not of log x."""
    result: Floats = -0.5 * ((log_x - mu) / sigma) ** 2 - np.log(sigma) - 0.5 * np.log(2 * np.pi) - log_x
    return result


def _lognormal_log_density(q: Params, x: Floats) -> Floats:
    return _normal_log_density(q["mu"], q["sigma"], np.log(x))


def _lognormal_log_survival(q: Params, x: Floats) -> Floats:
    from scipy import special

    result: Floats = special.log_ndtr((q["mu"] - np.log(x)) / q["sigma"])
    return result


def _lognormal_cdf(q: Params, x: Floats) -> Floats:
    from scipy import special

    result: Floats = special.ndtr((np.log(x) - q["mu"]) / q["sigma"])
    return result


def _lognormal_quantile(q: Params, p: Floats) -> Floats:
    from scipy import special

    result: Floats = np.exp(q["mu"] + q["sigma"] * special.ndtri(p))
    return result


def _mixture_log_density(q: Params, x: Floats) -> Floats:
    logs = np.log(x)
    first = np.log(q["p"]) + _normal_log_density(q["mu1"], q["sigma1"], logs)
    result: Floats = np.logaddexp(first, np.log1p(-q["p"]) + _normal_log_density(q["mu2"], q["sigma2"], logs))
    return result


def _mixture_parts(q: Params) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    return (q["p"], q["mu1"], q["sigma1"]), (1 - q["p"], q["mu2"], q["sigma2"])


def _mixture_log_survival(q: Params, x: Floats) -> Floats:
    from scipy import special

    logs = np.log(x)
    first, second = (np.log(share) + special.log_ndtr((mu - logs) / sigma) for share, mu, sigma in _mixture_parts(q))
    result: Floats = np.logaddexp(first, second)
    return result


def _mixture_cdf(q: Params, x: Floats) -> Floats:
    from scipy import special

    logs = np.log(x)
    first, second = (share * special.ndtr((logs - mu) / sigma) for share, mu, sigma in _mixture_parts(q))
    result: Floats = first + second
    return result


def _mixture_quantile(q: Params, p: Floats) -> Floats:
    from scipy import special

    each = np.array([mu + sigma * special.ndtri(p) for _, mu, sigma in _mixture_parts(q)])
    return invert(lambda x: _mixture_cdf(q, x), p, each.min(axis=0), each.max(axis=0))


def _exponentials(q: Params) -> tuple[tuple[float, float], tuple[float, float]]:
    return (q["p"], q["scale1"]), (1 - q["p"], q["scale2"])


def _exponential_mixture_log_density(q: Params, x: Floats) -> Floats:
    first, second = (np.log(share / scale) - x / scale for share, scale in _exponentials(q))
    result: Floats = np.logaddexp(first, second)
    return result


def _exponential_mixture_log_survival(q: Params, x: Floats) -> Floats:
    first, second = (np.log(share) - x / scale for share, scale in _exponentials(q))
    result: Floats = np.logaddexp(first, second)
    return result


def _exponential_mixture_cdf(q: Params, x: Floats) -> Floats:
    first, second = (-share * np.expm1(-x / scale) for share, scale in _exponentials(q))
    return first + second


def _exponential_mixture_quantile(q: Params, p: Floats) -> Floats:
    each = np.log(np.array([-scale * np.log1p(-p) for _, scale in _exponentials(q)]))
    return invert(lambda x: _exponential_mixture_cdf(q, x), p, each.min(axis=0), each.max(axis=0))


# ---------------------------------------------------------------- gamma


def log_gamma_survival(shape: float, x: Floats) -> Floats:
    """log Q(shape, x); where Q underflows (x far above the shape) the first convergent of its continued fraction."""
    from scipy import special

    upper = special.gammaincc(shape, x)
    with np.errstate(divide="ignore", invalid="ignore"):
        far = shape * np.log(x) - x - special.gammaln(shape) - np.log(np.maximum(x - shape + 1, 1.0))
        return np.asarray(np.where((upper > 0) | (x <= shape), np.log(upper), far), dtype=np.float64)


def stirling_remainder(shape: float) -> float:
    """a log(a) - a - log Gamma(a), without the cancellation for large a."""
    from scipy import special

    if shape > LARGE_SHAPE:
        return 0.5 * float(np.log(shape / (2 * np.pi))) - 1 / (12 * shape)
    return float(shape * np.log(shape) - shape - special.gammaln(shape))


def _gamma_log_density(q: Params, x: Floats) -> Floats:
    """Written with x / mean - 1 and Stirling's remainder, because neither cancels for a large shape."""
    mean = q["shape"] * q["scale"]
    excess = (x - mean) / mean
    log_ratio = np.where(np.abs(excess) < 0.5, np.log1p(np.maximum(excess, -0.5)), np.log(x / mean))
    gap = excess - log_ratio
    result: Floats = stirling_remainder(q["shape"]) - np.log(x) - q["shape"] * gap
    return result


def _gamma_log_survival(q: Params, x: Floats) -> Floats:
    return log_gamma_survival(q["shape"], x / q["scale"])


def _gamma_cdf(q: Params, x: Floats) -> Floats:
    from scipy import special

    result: Floats = special.gammainc(q["shape"], x / q["scale"])
    return result


def _gamma_quantile(q: Params, p: Floats) -> Floats:
    from scipy import special

    result: Floats = q["scale"] * special.gammaincinv(q["shape"], p)
    return result


def _gammas(q: Params) -> tuple[tuple[float, Params], tuple[float, Params]]:
    first, second = ({"shape": q[f"shape{n}"], "scale": q[f"scale{n}"]} for n in (1, 2))
    return (q["p"], first), (1 - q["p"], second)


def _gamma_mixture_log_density(q: Params, x: Floats) -> Floats:
    first, second = (np.log(share) + _gamma_log_density(part, x) for share, part in _gammas(q))
    result: Floats = np.logaddexp(first, second)
    return result


def _gamma_mixture_log_survival(q: Params, x: Floats) -> Floats:
    first, second = (np.log(share) + _gamma_log_survival(part, x) for share, part in _gammas(q))
    result: Floats = np.logaddexp(first, second)
    return result


def _gamma_mixture_cdf(q: Params, x: Floats) -> Floats:
    first, second = (share * _gamma_cdf(part, x) for share, part in _gammas(q))
    return first + second


def _gamma_mixture_quantile(q: Params, p: Floats) -> Floats:
    each = np.log(np.maximum([_gamma_quantile(part, p) for _, part in _gammas(q)], 1e-300))
    return invert(lambda x: _gamma_mixture_cdf(q, x), p, each.min(axis=0), each.max(axis=0))


# ---------------------------------------------------------------- inverse Gaussian


def inverse_gaussian_probabilities(mean: float, lam: float, x: Floats) -> tuple[Floats, Floats]:
    """P(X <= x) and log P(X > x) of the inverse Gaussian, accurate in both tails.

    With a = sqrt(lam / x) (x / mean - 1) and b = a + 2 sqrt(lam / x) the distribution function (Shuster, 1968) is
    Phi(a) + exp(2 lam / mean) Phi(-b). The product has a huge and a tiny factor; since b^2 - a^2 = 4 lam / mean, it
    equals erfcx(b / sqrt 2) exp(-a^2 / 2) / 2, which neither overflows nor cancels.
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


def _inverse_gaussian_quantile(q: Params, p: Floats) -> Floats:
    """Newton's method in log x on the smaller of the two tails, with bisection to stay in a bracket.

    The bracket is Markov's inequality for X (mean `mean`) and for 1 / X (mean 1 / mean + 1 / lam).
    """
    mean, lam = q["mean"], q["lam"]
    low = np.log(p) - np.log(1 / mean + 1 / lam)
    high = np.log(mean) - np.log1p(-p)
    at = np.clip(np.log(mean), low, high)
    upper = p > 0.5
    for _ in range(MAX_ITERATIONS):
        x = np.exp(at)
        below, log_survival = inverse_gaussian_probabilities(mean, lam, x)
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


def _inverse_gaussian_log_density(q: Params, x: Floats) -> Floats:
    mean, lam = q["mean"], q["lam"]
    result: Floats = 0.5 * np.log(lam / (2 * np.pi)) - 1.5 * np.log(x) - lam / x * ((x - mean) / mean) ** 2 / 2
    return result


def _inverse_gaussian_cdf(q: Params, x: Floats) -> Floats:
    return inverse_gaussian_probabilities(q["mean"], q["lam"], x)[0]


def _inverse_gaussian_log_survival(q: Params, x: Floats) -> Floats:
    return inverse_gaussian_probabilities(q["mean"], q["lam"], x)[1]


# ---------------------------------------------------------------- Burr XII and its cases: log-logistic, Lomax; Pareto


def _burr_log_density(q: Params, x: Floats) -> Floats:
    w = q["c"] * np.log(x / q["scale"])
    result: Floats = np.log(q["c"] * q["d"]) + w - np.log(x) - (q["d"] + 1) * softplus(w)
    return result


def _burr_log_survival(q: Params, x: Floats) -> Floats:
    return -q["d"] * softplus(q["c"] * np.log(x / q["scale"]))


def _burr_cdf(q: Params, x: Floats) -> Floats:
    return -np.expm1(_burr_log_survival(q, x))


def _burr_quantile(q: Params, p: Floats) -> Floats:
    with np.errstate(over="ignore"):
        w = -np.log1p(-p) / q["d"]
        return q["scale"] * np.exp(np.where(w > 30, w, np.log(np.expm1(np.minimum(w, 30)))) / q["c"])


def _as_burr(q: Params) -> Params:
    if "alpha" in q:
        return {"c": 1.0, "d": q["alpha"], "scale": q["scale"]}
    return {"c": q["shape"], "d": 1.0, "scale": q["scale"]}


def _burr_case(function: Callable[[Params, Floats], Floats]) -> Callable[[Params, Floats], Floats]:
    return lambda q, at: function(_as_burr(q), at)


def _pareto_log_survival(q: Params, x: Floats) -> Floats:
    return np.minimum(-q["alpha"] * np.log(x / q["xmin"]), 0.0)


def _pareto_log_density(q: Params, x: Floats) -> Floats:
    inside = np.log(q["alpha"]) - np.log(x) - q["alpha"] * np.log(x / q["xmin"])
    return np.where(x >= q["xmin"], inside, -np.inf)


def _pareto_cdf(q: Params, x: Floats) -> Floats:
    return -np.expm1(_pareto_log_survival(q, x))


def _pareto_quantile(q: Params, p: Floats) -> Floats:
    return q["xmin"] * np.exp(-np.log1p(-p) / q["alpha"])


# ---------------------------------------------------------------- truncated normal, uniform


def _truncated_normal_log_survival(q: Params, x: Floats) -> Floats:
    from scipy import special

    start = q["mu"] / q["sigma"]
    result: Floats = np.minimum(special.log_ndtr(start - x / q["sigma"]) - special.log_ndtr(start), 0.0)
    return result


def _truncated_normal_log_density(q: Params, x: Floats) -> Floats:
    from scipy import special

    mu, sigma = q["mu"], q["sigma"]
    normal = -0.5 * ((x - mu) / sigma) ** 2 - np.log(sigma) - 0.5 * np.log(2 * np.pi)
    result: Floats = normal - special.log_ndtr(mu / sigma)
    return result


def _truncated_normal_cdf(q: Params, x: Floats) -> Floats:
    return -np.expm1(_truncated_normal_log_survival(q, x))


def _truncated_normal_quantile(q: Params, p: Floats) -> Floats:
    from scipy import special

    start = q["mu"] / q["sigma"]
    result: Floats = q["mu"] - q["sigma"] * special.ndtri_exp(np.log1p(-p) + special.log_ndtr(start))
    return result


def _uniform_log_density(q: Params, x: Floats) -> Floats:
    inside = (x >= q["low"]) & (x <= q["high"])
    return np.where(inside, -np.log(q["high"] - q["low"]), -np.inf)


def _uniform_cdf(q: Params, x: Floats) -> Floats:
    return np.clip((x - q["low"]) / (q["high"] - q["low"]), 0.0, 1.0)


def _uniform_log_survival(q: Params, x: Floats) -> Floats:
    with np.errstate(divide="ignore"):
        return np.log1p(-_uniform_cdf(q, x))


def _uniform_quantile(q: Params, p: Floats) -> Floats:
    return q["low"] + (q["high"] - q["low"]) * p


LAWS: dict[str, Law] = {
    "exponential": Law(
        "exponential",
        ("scale",),
        _exponential_log_density,
        _exponential_cdf,
        _exponential_log_survival,
        _exponential_quantile,
    ),
    "lognormal": Law(
        "lognormal",
        ("mu", "sigma"),
        _lognormal_log_density,
        _lognormal_cdf,
        _lognormal_log_survival,
        _lognormal_quantile,
    ),
    "gamma": Law("gamma", ("shape", "scale"), _gamma_log_density, _gamma_cdf, _gamma_log_survival, _gamma_quantile),
    "weibull": Law(
        "Weibull", ("shape", "scale"), _weibull_log_density, _weibull_cdf, _weibull_log_survival, _weibull_quantile
    ),
    "inverse_gaussian": Law(
        "inverse Gaussian",
        ("mean", "lam"),
        _inverse_gaussian_log_density,
        _inverse_gaussian_cdf,
        _inverse_gaussian_log_survival,
        _inverse_gaussian_quantile,
    ),
    "loglogistic": Law(
        "log-logistic",
        ("shape", "scale"),
        _burr_case(_burr_log_density),
        _burr_case(_burr_cdf),
        _burr_case(_burr_log_survival),
        _burr_case(_burr_quantile),
    ),
    "lomax": Law(
        "Lomax",
        ("alpha", "scale"),
        _burr_case(_burr_log_density),
        _burr_case(_burr_cdf),
        _burr_case(_burr_log_survival),
        _burr_case(_burr_quantile),
    ),
    "burr12": Law("Burr XII", ("c", "d", "scale"), _burr_log_density, _burr_cdf, _burr_log_survival, _burr_quantile),
    "lognormal_mixture": Law(
        "mixture of two lognormals",
        ("p", "mu1", "sigma1", "mu2", "sigma2"),
        _mixture_log_density,
        _mixture_cdf,
        _mixture_log_survival,
        _mixture_quantile,
    ),
    "pareto": Law(
        "Pareto", ("alpha", "xmin"), _pareto_log_density, _pareto_cdf, _pareto_log_survival, _pareto_quantile
    ),
    "truncated_normal": Law(
        "truncated normal",
        ("mu", "sigma"),
        _truncated_normal_log_density,
        _truncated_normal_cdf,
        _truncated_normal_log_survival,
        _truncated_normal_quantile,
    ),
    "uniform": Law(
        "uniform", ("low", "high"), _uniform_log_density, _uniform_cdf, _uniform_log_survival, _uniform_quantile
    ),
    "exponential_mixture": Law(
        "mixture of two exponentials",
        ("p", "scale1", "scale2"),
        _exponential_mixture_log_density,
        _exponential_mixture_cdf,
        _exponential_mixture_log_survival,
        _exponential_mixture_quantile,
    ),
    "gamma_mixture": Law(
        "mixture of two gammas",
        ("p", "shape1", "scale1", "shape2", "scale2"),
        _gamma_mixture_log_density,
        _gamma_mixture_cdf,
        _gamma_mixture_log_survival,
        _gamma_mixture_quantile,
    ),
}


def cdf(family: str, params: Params, x: npt.ArrayLike) -> Floats:
    """Distribution function of a family at `x` > 0. Raises KeyError for an unknown family or a missing parameter."""
    law = LAWS[family]
    with np.errstate(over="ignore", under="ignore"):
        return np.asarray(law.cdf(params, np.asarray(x, dtype=np.float64)), dtype=np.float64)


def quantile(family: str, params: Params, probability: npt.ArrayLike) -> Floats:
    """Quantiles of a family for probabilities in (0, 1). Raises the same as `cdf`."""
    law = LAWS[family]
    with np.errstate(over="ignore", under="ignore"):
        return np.asarray(law.quantile(params, np.asarray(probability, dtype=np.float64)), dtype=np.float64)
