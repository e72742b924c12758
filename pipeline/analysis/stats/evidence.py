"""Marginal likelihoods of fitted families: the weights of the vote on a tail.

Belongs here: priors of the shapes, and the marginal likelihood of a fitted family.
Does not belong here: the fits (`families`), and the verdict (`detection`).

The marginal likelihood is the likelihood averaged over the prior of the parameters (Kass and Raftery, 1995), by
Laplace's approximation around the fit, so a parameter counts by how precisely the rows determine it. BIC assumes that
the rows determine all parameters equally well. At 1,000 rows this penalises a third parameter too much, and a mixture
of overlapping components even more. Capped rows enter as censored. Scales have a flat prior on their logarithm.
"""

from __future__ import annotations

import numpy as np

from pipeline.analysis.stats.describe import Counts, Floats
from pipeline.analysis.stats.families import Fit
from pipeline.analysis.stats.laws import LAWS, Params

# The centre of a shape, and the sd of its logarithm. The priors are wide: the lognormal sigma of public traces is 0.7
# to 1.1, its prior allows 0.31 to 3.2. An inverse Gaussian has nearly the same prior, on the sigma of the lognormal
# with the same coefficient of variation: the rows decide between the two, and where both fit a narrow column equally
# well, the light one is slightly preferred. A tail index of 8 is unlikely: that is how a power law fits a light tail.
SHAPE_PRIORS = {
    "lognormal": (1.0, 0.6),
    "gamma": (1.5, 0.8),
    "weibull": (1.0, 0.6),
    "inverse_gaussian": (0.75, 0.6),
    "loglogistic": (2.2, 0.5),
    "lomax": (2.5, 0.6),  # the tail index, as that of Pareto and of Burr XII
    "pareto": (2.5, 0.6),
    "burr12": (2.5, 0.6),
}
BURR_HEAD_PRIOR = (2.0, 0.6)  # its c
TRUNCATION_PRIOR = (1.5, 1.5)  # mean and sd of mu / sigma of a normal law cut off at 0
SHARE_PRIOR = 30.0  # p of a mixture has the density 30 p^2 (1 - p)^2: a rare second component looks like a heavy tail
DISTANCE_PRIOR = (0.0, 1.5)  # log of the ratio of both components: mean and sd
MIXTURES = 3  # kinds of mixtures; together they weigh as much as one family, because they resemble each other
LEAST_INFORMATION = 2.0  # of a parameter, from its prior: 1 / sd^2
STEP = 1e-4  # of a logarithm, for differences of densities
HALF_LOG_2_PI = 0.5 * float(np.log(2 * np.pi))


def _log_normal_density(value: float, prior: tuple[float, float]) -> float:
    return -0.5 * ((value - prior[0]) / prior[1]) ** 2 - float(np.log(prior[1])) - HALF_LOG_2_PI


def _log_prior_of(shape: float, prior: tuple[float, float]) -> float:
    """Log density of the logarithm of a shape."""
    return _log_normal_density(float(np.log(shape)), (float(np.log(prior[0])), prior[1]))


def _log_prior_of_mixture(family: str, q: Params) -> float:
    """Log density of a mixture: the logit of its share, the distance of its components (in any order), their shapes."""
    density = float(np.log(2 * SHARE_PRIOR / MIXTURES)) + 3 * float(np.log(q["p"] * (1 - q["p"])))
    if family == "lognormal_mixture":
        density += _log_normal_density(q["mu2"] - q["mu1"], DISTANCE_PRIOR)
        return density + sum(_log_prior_of(q[name], SHAPE_PRIORS["lognormal"]) for name in ("sigma1", "sigma2"))
    density += _log_normal_density(float(np.log(q["scale2"] / q["scale1"])), DISTANCE_PRIOR)
    if family == "gamma_mixture":
        density += sum(_log_prior_of(q[name], SHAPE_PRIORS["gamma"]) for name in ("shape1", "shape2"))
    return density


def _log_prior(family: str, q: Params) -> float:
    """Log density of a fit's shapes in the coordinates of `_unit`; 0 for a family without a shape."""
    if family.endswith("_mixture"):
        return _log_prior_of_mixture(family, q)
    if family == "truncated_normal":
        return _log_normal_density(q["mu"] / q["sigma"], TRUNCATION_PRIOR)
    if family == "burr12":
        return _log_prior_of(q["c"] * q["d"], SHAPE_PRIORS[family]) + _log_prior_of(q["c"], BURR_HEAD_PRIOR)
    if family == "inverse_gaussian":
        squared_cv = q["mean"] / q["lam"]
        squared_sigma = float(np.log1p(squared_cv))
        change = squared_cv / ((1 + squared_cv) * 2 * squared_sigma)  # of log sigma with the log of the squared CV
        return _log_prior_of(squared_sigma**0.5, SHAPE_PRIORS[family]) + float(np.log(change))
    if family not in SHAPE_PRIORS:
        return 0.0
    return _log_prior_of(next(q[name] for name in ("sigma", "shape", "alpha") if name in q), SHAPE_PRIORS[family])


def _unit(family: str, q: Params, name: str) -> float:
    """A unit step of a parameter: in its logarithm, for shares in their logit, for mu unchanged."""
    if name == "p":
        return q["p"] * (1 - q["p"])
    if name.startswith("mu"):
        return q["sigma"] if family == "truncated_normal" else 1.0
    return q[name]


def _log_information(fit: Fit, x: Floats, c: Counts, cap: float | None) -> float:
    """Log determinant of the sum of squared scores of all rows, including those at the cap."""
    law, q = LAWS[fit.family], fit.params
    at_cap = np.array([cap]) if cap is not None else np.empty(0)
    seen = x[:-1] if cap is not None else x

    def densities(params: Params) -> Floats:
        return np.concatenate((law.log_density(params, seen), law.log_survival(params, at_cap)))

    scores = []
    with np.errstate(all="ignore"):
        for name in law.parameters:
            change = STEP * _unit(fit.family, q, name)
            up, down = densities({**q, name: q[name] + change}), densities({**q, name: q[name] - change})
            scores.append(np.nan_to_num((up - down) / (2 * STEP), posinf=0.0, neginf=0.0))
    table = np.array(scores)
    information = (table * c) @ table.T + LEAST_INFORMATION * np.eye(len(table))
    return float(np.linalg.slogdet(information)[1])


def most_log_evidence(fit: Fit) -> float:
    """What `log_evidence` of a fit is at most, without a look at the rows: as if they left its parameters open."""
    if fit.family in ("uniform", "pareto"):
        return log_evidence(fit, np.empty(0), np.empty(0, dtype=np.int64), None)
    width = fit.n_params * (HALF_LOG_2_PI - 0.5 * float(np.log(LEAST_INFORMATION)))
    return fit.log_likelihood + width + _log_prior(fit.family, fit.params)


def log_evidence(fit: Fit, x: Floats, c: Counts, cap: float | None) -> float:
    """Log of the marginal likelihood of a fit, up to a constant that all families of a column share.

    `x` and `c` are the pairs of the fit, positive and ascending; rows at the last value are censored if it is the
    `cap`. The rows determine the ends of a uniform and the minimum of a Pareto within 1 / n: there the likelihood is
    integrated directly.
    """
    q, n = fit.params, fit.n
    if fit.family == "uniform":
        spread = max(1 - q["low"] / q["high"], 1 / n)
        return fit.log_likelihood - 2 * float(np.log(n)) + float(np.log(spread))
    if fit.family == "pareto":
        width = HALF_LOG_2_PI - 0.5 * float(np.log(n)) - float(np.log(n * q["alpha"]))
        return fit.log_likelihood + width + _log_prior_of(q["alpha"], SHAPE_PRIORS["pareto"])
    width = fit.n_params * HALF_LOG_2_PI - 0.5 * _log_information(fit, x, c, cap)
    return fit.log_likelihood + width + _log_prior(fit.family, q)
