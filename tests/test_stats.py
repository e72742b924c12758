"""The statistics: against NumPy and scipy on the same rows, reference numbers of real traces, and oddities."""

from __future__ import annotations

import csv
import json
import math
import warnings
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pipeline.analysis.stats import detection, evidence, families, intervals, tails
from pipeline.analysis.stats.describe import (
    check_pairs,
    describe,
    gini,
    lorenz_curve,
    merge_pairs,
    quantiles,
    top_share,
)
from pipeline.analysis.stats.laws import LAWS, cdf, quantile

TRACES = Path(__file__).resolve().parents[2] / "shared" / "data" / "traces"
SCIPY = {
    "exponential": stats.expon,
    "lognormal": stats.lognorm,
    "gamma": stats.gamma,
    "weibull": stats.weibull_min,
    "inverse_gaussian": stats.invgauss,
    "loglogistic": stats.fisk,
    "lomax": stats.lomax,
    "burr12": stats.burr12,
}
RNG_SEED = 20251128


def pairs(rows):
    return np.unique(np.asarray(rows, dtype=float), return_counts=True)


def scipy_shape(family, params):
    if family == "exponential":
        return (0, params["scale"])
    if family == "lognormal":
        return (params["sigma"], 0, math.exp(params["mu"]))
    if family == "inverse_gaussian":
        return (params["mean"] / params["lam"], 0, params["lam"])
    if family == "lomax":
        return (params["alpha"], 0, params["scale"])
    if family == "burr12":
        return (params["c"], params["d"], 0, params["scale"])
    return (params["shape"], 0, params["scale"])


def by_family(fits):
    return {fit.family: fit for fit in fits.fits}


pair_lists = st.lists(
    st.tuples(st.integers(0, 10**12), st.integers(1, 500)), min_size=1, max_size=60, unique_by=lambda pair: pair[0]
).map(lambda chosen: tuple(np.array(column) for column in zip(*sorted(chosen), strict=True)))


# ---------------------------------------------------------------- describe


@given(pair_lists)
def test_a_description_of_pairs_is_that_of_the_rows(chosen):
    values, counts = chosen
    rows = np.repeat(values.astype(float), counts)
    found = describe(values, counts)
    assert found.n == len(rows)
    assert found.zeros == (rows == 0).sum()
    assert found.mean == pytest.approx(rows.mean(), rel=1e-9)
    if len(rows) > 1:
        assert found.sd == pytest.approx(rows.std(ddof=1), rel=1e-9)
    expected = np.quantile(rows, [0.5, 0.75, 0.9, 0.95, 0.99, 0.999])
    assert [found.p50, found.p75, found.p90, found.p95, found.p99, found.p999] == pytest.approx(expected, rel=1e-12)
    assert found.max == rows.max()


@given(pair_lists)
def test_shares_and_gini_stay_within_their_bounds_and_do_not_change_when_every_row_is_doubled(chosen):
    values, counts = chosen
    once, twice = describe(values, counts), describe(values, counts * 2)
    if values[-1] == 0:
        assert once.gini is None
        assert once.top_10_share is None
        return
    shares = [once.top_1_share, once.top_5_share, once.top_10_share]
    assert sorted(shares) == shares
    assert shares[0] >= 0.01 - 1e-12
    assert 0 <= once.gini < 1
    assert 0 < once.half_of_total_share <= 1
    assert asdict(twice)["top_10_share"] == pytest.approx(once.top_10_share, rel=1e-9)
    assert twice.gini == pytest.approx(once.gini, abs=1e-9)


def test_skewness_and_kurtosis_are_the_biased_ones_of_scipy():
    rows = np.random.default_rng(RNG_SEED).lognormal(8, 1, 500)
    found = describe(*pairs(rows))
    assert found.skewness == pytest.approx(stats.skew(rows))
    assert found.excess_kurtosis == pytest.approx(stats.kurtosis(rows))


def test_what_a_nearly_constant_column_has_in_common_does_not_blur_its_spread():
    steps = np.random.default_rng(RNG_SEED).integers(0, 4, 1000)
    for rows, unit in ((10**12 + steps, 1.0), (0.013 + steps * 1e-9, 1e-9)):
        found = describe(*pairs(rows))
        exact = np.unique(rows, return_inverse=True)[1] if unit == 1 else (rows - rows.min()) / unit
        assert found.sd / unit == pytest.approx(exact.std(ddof=1), rel=1e-9)
        assert found.skewness == pytest.approx(stats.skew(exact), rel=1e-7)
        assert found.excess_kurtosis == pytest.approx(stats.kurtosis(exact), rel=1e-7)


@given(pair_lists)
def test_the_lorenz_curve_tells_the_same_as_gini_and_the_top_shares(chosen):
    values, counts = (np.asarray(part) for part in chosen)
    curve = lorenz_curve(values.astype(float), counts, 1001)
    if values[-1] == 0:
        assert curve is None
        return
    rows, sums = curve
    assert (np.diff(sums) >= -1e-12).all()
    assert 1 - np.interp(0.9, rows, sums) == pytest.approx(describe(values, counts).top_10_share, abs=1e-9)
    assert 1 - 2 * np.trapezoid(sums, rows) <= describe(values, counts).gini + 0.01


def test_half_of_the_total_counts_whole_rows_from_the_largest():
    assert describe([1, 2, 3, 10], [1, 1, 1, 1]).half_of_total_share == 1 / 4
    assert describe([5], [8]).half_of_total_share == 4 / 8
    assert describe([5], [7]).half_of_total_share == 4 / 7
    assert describe([1, 2], [2, 2]).half_of_total_share == 2 / 4


def test_gini_is_half_the_relative_mean_difference():
    rows = np.array([0.0, 1, 1, 4, 9])
    differences = np.abs(rows[:, None] - rows[None, :]).mean()
    assert gini(*pairs(rows)) == pytest.approx(differences / (2 * rows.mean()))


def test_a_top_share_of_equal_rows_is_the_fraction_itself():
    assert top_share(np.array([3.0]), np.array([7]), 0.1) == pytest.approx(0.1)


def test_what_a_constant_column_does_not_have_is_null():
    found = describe([0.1], [1000])
    assert found.mean == 0.1
    assert found.sd == 0
    assert found.skewness is None
    assert found.excess_kurtosis is None
    assert describe([0.1], [1]).sd is None
    assert describe([0.0], [9]).cv is None


def test_days_merge_by_addition():
    values, counts = merge_pairs([5, 1, 5], [2, 1, 3])
    assert values.tolist() == [1, 5]
    assert counts.tolist() == [1, 5]


@pytest.mark.parametrize(
    ("values", "counts"), [([2, 1], [1, 1]), ([1, 1], [1, 1]), ([1], [0]), ([float("nan")], [1]), ([1, 2], [1])]
)
def test_malformed_pairs_are_refused(values, counts):
    with pytest.raises(ValueError, match=r"values|counts"):
        check_pairs(values, counts)


def test_no_rows_have_no_quantiles():
    with pytest.raises(ValueError, match="no rows"):
        quantiles(np.empty(0), np.empty(0, dtype=np.int64), 0.5)


# ---------------------------------------------------------------- intervals


def test_the_same_seed_gives_the_same_interval_around_the_estimate_in_any_order():
    rng = np.random.default_rng(RNG_SEED)
    rows, users = rng.lognormal(8, 1, 3000), rng.integers(0, 120, 3000)
    found = intervals.cluster_intervals(users, rows, np.ones(3000, dtype=int), 7)
    shuffled = rng.permutation(3000)
    again = intervals.cluster_intervals(users[shuffled], rows[shuffled], np.ones(3000, dtype=int), 7)
    point = describe(*pairs(rows))
    assert set(found) == set(intervals.QUANTITIES)
    for name, interval in found.items():
        assert interval.low < getattr(point, name) < interval.high, name
        assert (interval.low, interval.high) == pytest.approx((again[name].low, again[name].high), rel=1e-9)


def test_rows_that_move_together_make_wider_intervals():
    rng = np.random.default_rng(RNG_SEED)
    session = np.repeat(np.arange(60), 40)
    rows = np.exp(rng.normal(0, 1, 60)[session] + rng.normal(0, 0.3, 2400))
    by_row = intervals.row_intervals(*pairs(rows), 1)
    by_session = intervals.cluster_intervals(session, rows, np.ones(2400, dtype=int), 1)
    for name in ("mean", "gini", "top_10_share"):
        assert by_session[name].high - by_session[name].low > 2 * (by_row[name].high - by_row[name].low)


def test_below_thirty_clusters_there_is_no_interval():
    rows = np.arange(1.0, 101)
    ones = np.ones(100, dtype=int)
    assert intervals.cluster_intervals(np.arange(100) % 29, rows, ones, 1) is None
    assert intervals.cluster_intervals(np.arange(100) % 30, rows, ones, 1) is not None
    assert intervals.row_intervals(rows[:29], ones[:29], 1) is None


def test_clusters_count_by_how_evenly_they_hold_the_rows():
    assert intervals.effective_clusters([7] * 40) == pytest.approx(40)
    assert intervals.effective_clusters([1000] + [1] * 400) == pytest.approx(1, abs=0.01)
    # G / (1 + squared CV of gamma), gamma the squared rows
    rows = np.random.default_rng(RNG_SEED).integers(1, 30, 50)
    assert intervals.effective_clusters(rows) == pytest.approx(50 / (1 + np.var(rows**2) / np.mean(rows**2) ** 2))


def test_many_clusters_have_no_interval_if_one_holds_most_rows():
    rows = np.random.default_rng(RNG_SEED).lognormal(8, 1, 700)
    ones = np.ones(700, dtype=int)
    evenly, one_of_half = np.arange(700) % 50, np.maximum(np.arange(700) - 350, 0) // 7
    assert intervals.cluster_intervals(evenly, rows, ones, 1) is not None
    assert intervals.cluster_intervals(one_of_half, rows, ones, 1) is None


def test_many_clusters_and_values_give_the_interval_of_independent_rows():
    rows = np.random.default_rng(RNG_SEED).lognormal(8, 1, 20000)
    by_row = intervals.row_intervals(*pairs(rows), 1)
    by_cluster = intervals.cluster_intervals(np.arange(20000), rows, np.ones(20000, dtype=int), 1)
    for name in ("mean", "gini", "p95_to_median", "top_10_share"):
        width = by_row[name].high - by_row[name].low
        assert by_cluster[name].low == pytest.approx(by_row[name].low, abs=width / 4)
        assert by_cluster[name].high == pytest.approx(by_row[name].high, abs=width / 4)


@settings(deadline=None, max_examples=40)
@given(pair_lists)
def test_intervals_of_any_column_are_ordered_and_finite_or_none(chosen):
    found = intervals.row_intervals(*chosen, 1, 50) or {}
    for interval in found.values():
        if interval is not None:
            assert math.isfinite(interval.low)
            assert interval.low <= interval.high


# ---------------------------------------------------------------- families


DRAWS = {
    "lognormal": lambda rng: rng.lognormal(8, 1.2, 120),
    "narrow lognormal": lambda rng: rng.lognormal(8, 0.02, 120),
    "gamma": lambda rng: rng.gamma(0.3, 1000, 120),
    "weibull": lambda rng: rng.weibull(4, 120) * 1e-6,
    "pareto": lambda rng: 1 + rng.pareto(1.1, 120),
    "small integers": lambda rng: rng.integers(1, 6, 120).astype(float),
    "money": lambda rng: np.rint(rng.lognormal(14, 2, 120)) / 1e9,
}


def scipy_log_likelihood(family, rows):
    law = SCIPY[family]
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            return law.logpdf(rows, *law.fit(rows, floc=0)).sum()
        except (ValueError, RuntimeError, stats.FitError):
            return -np.inf


def assert_no_fit_is_worse_than_that_of_scipy(rows):
    fits = by_family(families.fit_families(*pairs(rows)))
    for family in fits.keys() & SCIPY.keys():
        rival = scipy_log_likelihood(family, rows)
        assert fits[family].log_likelihood >= rival - 0.05 or math.isnan(rival), family
    for family, fit in fits.items():
        with np.errstate(all="ignore"):
            own = LAWS[family].log_density(fit.params, rows).sum()
        assert fit.log_likelihood == pytest.approx(own, rel=1e-7, abs=1e-3), family


@pytest.mark.parametrize("draw", DRAWS)
def test_no_fit_is_worse_than_that_of_scipy_at_location_zero(draw):
    rows = DRAWS[draw](np.random.default_rng(RNG_SEED))
    assert set(by_family(families.fit_families(*pairs(rows)))) == set(families.FAMILIES)
    assert_no_fit_is_worse_than_that_of_scipy(rows)


ROWS_OF_ANY_SHAPE = {
    "lognormal": lambda g, n, a: g.lognormal(0, a, n),
    "gamma": lambda g, n, a: g.gamma(a, 1, n),
    "weibull": lambda g, n, a: g.weibull(a, n),
    "lomax": lambda g, n, a: g.pareto(a, n),
    "pareto": lambda g, n, a: 1 + g.pareto(a, n),
    "inverse gaussian": lambda g, n, a: g.wald(1, a, n),
    "uniform": lambda g, n, a: a + g.random(n),
    "nearly constant": lambda g, n, a: 1 + 1e-3 * a * g.random(n),
    "atom": lambda g, n, a: np.append(np.ones(n), g.lognormal(0, a, n)),
    "two humps": lambda g, n, a: np.append(g.lognormal(0, 0.1, n), g.lognormal(a, 0.1, n)),
}


@settings(deadline=None, max_examples=30)
@given(
    st.sampled_from(sorted(ROWS_OF_ANY_SHAPE)),
    st.integers(0, 2**32 - 1),
    st.sampled_from([2, 3, 7, 30, 150]),
    st.floats(-1.3, 1.3),
    st.floats(-9, 12),
    st.booleans(),
)
def test_no_fit_of_any_law_size_scale_or_shape_is_worse_than_that_of_scipy(law, seed, n, shape, scale, as_integers):
    with np.errstate(all="ignore"):
        rows = ROWS_OF_ANY_SHAPE[law](np.random.default_rng(seed), n, 10.0**shape) * 10.0**scale
    rows = np.rint(rows / rows.max() * 1000) if as_integers else rows
    rows = rows[np.isfinite(rows) & (rows > 1e-250) & (rows < 1e250)]
    if len(rows):
        assert_no_fit_is_worse_than_that_of_scipy(rows)


@pytest.mark.parametrize("family", SCIPY)
def test_parameters_are_those_of_scipy(family):
    rows = stats.burr12.rvs(1.6, 1.4, scale=900, size=2000, random_state=RNG_SEED)
    fit = by_family(families.fit_families(*pairs(rows)))[family]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert scipy_shape(family, fit.params) == pytest.approx(SCIPY[family].fit(rows, floc=0), rel=1e-3)


def test_fits_of_many_distinct_values_are_those_of_the_rows_and_not_of_bins():
    rows = np.random.default_rng(RNG_SEED).lognormal(8, 1.2, 20000)
    fits = by_family(families.fit_families(*pairs(rows), families=tuple(families.ESTIMATORS)))
    for family, fit in fits.items():
        own = LAWS[family].log_density(fit.params, rows).sum()
        assert fit.log_likelihood == pytest.approx(own, abs=1e-3)
        for name, value in fit.params.items():
            for factor in (0.9995, 1.0005):
                moved = LAWS[family].log_density({**fit.params, name: value * factor}, rows).sum()
                held = family in ("pareto", "uniform", "truncated_normal") or name == "p"
                assert held or moved <= fit.log_likelihood + 1e-3, (family, name)


def test_a_mixture_of_two_lognormals_is_found_and_keeps_to_its_bounds():
    rng = np.random.default_rng(RNG_SEED)
    rows = np.where(rng.random(20000) < 0.3, rng.lognormal(5, 0.4, 20000), rng.lognormal(8, 0.9, 20000))
    best = families.fit_families(*pairs(rows)).fits[0]
    assert best.family == "lognormal_mixture"
    assert list(best.params.values()) == pytest.approx([0.3, 5, 0.4, 8, 0.9], rel=0.05)
    spike = by_family(families.fit_families(*pairs(np.append(rows, np.full(4000, 777.0)))))["lognormal_mixture"].params
    assert min(spike["sigma1"], spike["sigma2"]) >= families.MIN_MIXTURE_SIGMA
    assert families.MIN_MIXTURE_WEIGHT <= spike["p"] <= 1 - families.MIN_MIXTURE_WEIGHT


def test_on_a_raw_column_with_an_atom_the_mixture_is_fitted_but_not_chosen():
    rng = np.random.default_rng(RNG_SEED)
    column = pairs(np.append(np.rint(rng.lognormal(8, 1, 3000)), np.full(900, 512)))
    found = detection.fit_raw(*column, detection.find_artefacts(*column))
    for family in families.MIXTURES:
        mixture = by_family(found)[family]
        assert (mixture.selectable, mixture.accepted, mixture.bic_weight) == (False, False, 0)
        assert mixture.rank > len(families.FAMILIES) - len(families.MIXTURES)
    assert by_family(found)["lognormal_mixture"].bic < found.fits[0].bic
    assert sum(fit.bic_weight for fit in found.fits) == pytest.approx(1)


def test_the_first_two_families_are_compared_by_vuong_or_by_the_likelihood_ratio_of_a_case():
    rng = np.random.default_rng(RNG_SEED)
    rows = rng.lognormal(8, 1, 3000)
    comparison = families.fit_families(*pairs(rows), families=("lognormal", "gamma")).comparison
    assert (comparison.first, comparison.second, comparison.method) == ("lognormal", "gamma", "vuong")
    one, other = (by_family(families.fit_families(*pairs(rows)))[name] for name in ("lognormal", "gamma"))
    ratio = stats.lognorm.logpdf(rows, *scipy_shape("lognormal", one.params)) - stats.gamma.logpdf(
        rows, *scipy_shape("gamma", other.params)
    )
    assert comparison.statistic == pytest.approx(np.sqrt(len(rows)) * ratio.mean() / ratio.std())
    assert comparison.p_value < 0.001
    case = families.fit_families(*pairs(rng.exponential(9, 3000)), families=("exponential", "weibull")).comparison
    assert (case.first, case.method) == ("exponential", "likelihood_ratio")
    assert case.p_value > 0.01
    assert case.statistic >= 0


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(sorted(LAWS)), st.floats(1e-6, 1 - 1e-6), st.floats(-1, 1), st.floats(-3, 8))
def test_quantiles_undo_distribution_functions_of_every_law(family, p, shape, scale):
    unit = 10.0**scale
    names = LAWS[family].parameters
    kinds = {"p": 0.4, "mu1": np.log(unit), "mu2": np.log(unit) + 2, "mu": np.log(unit), "low": unit, "high": 3 * unit}
    kinds |= dict.fromkeys(("scale", "scale1", "mean", "lam", "xmin"), unit) | {"scale2": 5 * unit}
    params = {name: kinds.get(name, 10.0**shape) for name in names}
    if family == "truncated_normal":
        params = {"mu": unit, "sigma": unit * 10.0**shape}
    (value,) = quantile(family, params, [p])
    assert cdf(family, params, value) == pytest.approx(p, rel=1e-6)
    survival = LAWS[family].log_survival(params, np.array([value]))[0]
    assert survival == pytest.approx(math.log1p(-p), rel=1e-4, abs=1e-9)


@pytest.mark.parametrize("family", SCIPY)
def test_a_capped_fit_is_a_maximum_of_the_censored_likelihood_and_finds_the_law(family):
    law = SCIPY[family]
    shapes = {"exponential": (0, 900.0), "lognormal": (0.9, 0, 900.0), "burr12": (1.6, 1.2, 0, 900.0)}
    shape = shapes.get(family, (1.6, 0, 900.0))
    rows = law.rvs(*shape, size=4000, random_state=RNG_SEED)
    cap = float(np.quantile(rows, 0.93))
    fit = by_family(families.fit_families(*pairs(np.minimum(rows, cap)), cap=cap))[family]

    def censored(arguments):
        seen = rows[rows < cap]
        return law.logpdf(seen, *arguments).sum() + (len(rows) - len(seen)) * law.logsf(cap, *arguments)

    fitted = scipy_shape(family, fit.params)
    assert fit.log_likelihood == pytest.approx(censored(fitted), abs=1e-4)
    for index, value in enumerate(fitted):
        for factor in (0.999, 1.001):
            nearby = [*fitted]
            nearby[index] = value * factor
            assert censored(nearby) <= fit.log_likelihood + 1e-6
    assert fitted == pytest.approx(shape, rel=0.25 if family in ("lomax", "burr12") else 0.1)
    assert fit.ks_distance < 0.03
    assert fit.q99_error is None
    assert fit.q50_error == pytest.approx(0, abs=0.1)


def test_the_ks_distance_looks_at_both_sides_of_every_step():
    rows = np.repeat([1.0, 2.0, 5.0, 9.0], [5, 1, 3, 2])
    fit = families.fit_families(*pairs(rows)).fits[0]
    expected = stats.ks_1samp(rows, lambda x: cdf(fit.family, fit.params, x)).statistic
    assert fit.ks_distance == pytest.approx(expected)


def test_ranks_follow_bic_and_weights_sum_to_one():
    found = families.fit_families(*pairs(np.random.default_rng(RNG_SEED).lognormal(8, 1, 400)))
    assert [fit.rank for fit in found.fits] == list(range(1, len(families.FAMILIES) + 1))
    assert {fit.family for fit in found.fits} == set(families.FAMILIES)
    assert [fit.bic for fit in found.fits] == sorted(fit.bic for fit in found.fits)
    assert sum(fit.aic_weight for fit in found.fits) == pytest.approx(1)
    assert sum(fit.bic_weight for fit in found.fits) == pytest.approx(1)
    best = min(fit.aic for fit in found.fits)
    assert [fit.accepted for fit in found.fits] == [fit.aic - best < 10 for fit in found.fits]
    assert found.fits[0].family == "lognormal"
    assert found.note == ""


def test_values_of_zero_are_left_out_of_fits_and_counted():
    rows = np.random.default_rng(RNG_SEED).gamma(2, 10, 200)
    with_zeros = families.fit_families(*pairs(np.append(rows, np.zeros(31))))
    assert with_zeros.excluded == 31
    assert with_zeros.fits == families.fit_families(*pairs(rows)).fits


@pytest.mark.parametrize("family", ["lognormal", "inverse_gaussian", "lomax", "gamma"])
def test_the_true_law_passes_the_test_of_its_fit_at_any_number_of_rows_and_another_one_does_not(family):
    params = {"lognormal": (0, 1), "inverse_gaussian": (1, 0.5), "lomax": (1.5, 1), "gamma": (0.5, 1)}[family]
    law = dict(zip(LAWS[family].parameters, params, strict=True))
    for n in (60, 200, 1000):
        failed = 0
        for seed in range(50):
            rows = quantile(family, law, np.random.default_rng([seed, n]).random(n))
            (fit,) = families.fit_families(*pairs(rows), families=(family,)).fits
            failed += not fit.passes
        assert failed <= 2, n
    rows = np.random.default_rng(RNG_SEED).uniform(1000, 1100, 200)
    (fit,) = families.fit_families(*pairs(rows), families=("exponential",)).fits
    assert fit.ks_limit == pytest.approx(1.26 / 200**0.5)
    assert not fit.passes


def test_one_family_that_fits_is_enough_although_another_ranks_first():
    found = families.fit_families(*pairs(np.random.default_rng(RNG_SEED).lognormal(8, 1, 80)))
    assert found.note == ""
    poor = [replace(fit, ks_distance=0.9) for fit in found.fits]
    weighed = detection.Vote(1.0, poor[0])
    artefacts = detection.find_artefacts(*pairs(np.random.default_rng(RNG_SEED).lognormal(8, 1, 80)))
    none, one = (replace(found, fits=(*poor[:-1], last)) for last in (poor[-1], replace(poor[-1], ks_distance=0.01)))
    assert "no simple family fits" in detection.judge(artefacts, none, weighed, None).reason
    assert "no simple family fits" not in detection.judge(artefacts, one, weighed, None).reason


@pytest.mark.parametrize("seed", range(4))
def test_a_mixture_of_lognormals_is_found_from_wherever_its_parts_lie(seed):
    """A narrow part, a rare one, and equal values: no start of a hundred random ones leads further."""
    rng = np.random.default_rng([RNG_SEED, seed])
    rows = (
        np.where(rng.random(900) < 0.04, np.exp(rng.normal(1, 0.02, 900)), rng.lognormal(0, 1, 900)),
        np.where(rng.random(400) < 0.97, rng.lognormal(0, 0.5, 400), rng.lognormal(-4, 1, 400)),
        np.maximum(np.rint(rng.gamma(0.25, 100, 4700)), 1),
        np.exp(rng.choice([-2, 0, 2], 600) + rng.normal(0, 0.4, 600)),
    )[seed]
    (fit,) = families.fit_families(*pairs(rows), families=("lognormal_mixture",)).fits
    t, least = np.log(rows), families.MIN_MIXTURE_SIGMA
    share = families.MIN_MIXTURE_WEIGHT
    for _ in range(100):
        mu, sigma, p = rng.choice(t, 2), np.maximum(rng.uniform(0.02, 1.5, 2) * t.std(), least), rng.uniform(0.03, 0.97)
        for _ in range(100):
            density = stats.norm.pdf(t, mu[:, None], sigma[:, None]) * np.array([[p], [1 - p]])
            weight = density / np.maximum(density.sum(axis=0), 1e-300)
            total = np.maximum(weight.sum(axis=1), 1e-9)
            mu = weight @ t / total
            sigma = np.maximum(np.sqrt((weight * (t - mu[:, None]) ** 2).sum(axis=1) / total), least)
            p = np.clip(total[0] / len(t), share, 1 - share)
        assert np.log(np.maximum(density.sum(axis=0), 1e-300)).sum() - t.sum() < fit.log_likelihood + 0.5


def test_a_bad_best_fit_is_said_to_be_none():
    rows = np.concatenate((np.linspace(1, 2, 500), np.linspace(100, 101, 500)))
    assert families.fit_families(*pairs(rows)).note.startswith("no simple family fits")


@pytest.mark.parametrize("rows", [[], [0, 0], [7], [7] * 500, [0, 0, 7], [1.0, 1.0 + 1e-12]])
def test_too_few_distinct_values_give_a_plain_answer(rows):
    found = families.fit_families(*pairs(rows))
    assert found.status == "too_few"
    assert found.fits == ()
    assert found.note.startswith("too few")


@settings(deadline=None, max_examples=40)
@given(pair_lists, st.booleans())
def test_no_column_makes_a_fit_fail_or_a_number_that_is_not_one(chosen, capped):
    values, counts = chosen
    cap = float(values[-1]) if capped and values[-1] > 0 else None
    for fit in families.fit_families(values, counts, cap=cap).fits:
        numbers = [*fit.params.values(), fit.log_likelihood, fit.aic, fit.bic, fit.bic_weight, fit.ks_distance]
        assert all(math.isfinite(number) for number in numbers)
        assert 0 <= fit.ks_distance <= 1
        assert all(math.isfinite(error) for error in (fit.q50_error, fit.q99_error) if error is not None)


@pytest.mark.parametrize("cap", [None, 1e6 + 2])
def test_a_nearly_constant_column_is_fitted_without_cancellation(cap):
    rows = 1e6 + np.random.default_rng(RNG_SEED).normal(0, 2, 400)
    rows = rows if cap is None else np.minimum(rows, cap)
    fits = by_family(families.fit_families(*pairs(rows), cap=cap))
    for family in ("gamma", "inverse_gaussian"):
        assert fits[family].log_likelihood == pytest.approx(fits["lognormal"].log_likelihood, abs=0.01)
        assert fits[family].ks_distance == pytest.approx(fits["lognormal"].ks_distance, abs=0.001)


@settings(deadline=None)
@given(
    st.floats(-6, 6),
    st.floats(-5, 8),
    st.one_of(st.floats(1e-12, 0.5), st.floats(0.5, 0.999), st.sampled_from([0.5, 1 - 1e-9])),
)
def test_quantiles_of_an_inverse_gaussian_undo_its_distribution_function_in_both_tails(scale, concentration, p):
    mean = 10.0**scale
    params = {"mean": mean, "lam": mean * 10.0**concentration}
    (value,) = quantile("inverse_gaussian", params, [p])
    assert cdf("inverse_gaussian", params, value) == pytest.approx(p, rel=1e-6)


def test_the_tails_of_an_inverse_gaussian_neither_overflow_nor_cancel():
    law = stats.invgauss(1e-4, 0, 1e10)
    at = np.array([0.9e6, 0.99e6, 1.01e6, 1.2e6])
    with np.errstate(all="raise", under="ignore"):
        found = cdf("inverse_gaussian", {"mean": 1e6, "lam": 1e10}, at)
    assert np.log(found[:2]) == pytest.approx(law.logcdf(at[:2]), rel=1e-9)
    assert 1 - found[2:3] == pytest.approx(law.sf(at[2:3]), rel=1e-9)
    assert found[3] == 1


@pytest.mark.parametrize(("mean", "lam"), [(1.0, 1.0), (1e6, 1e3), (1e3, 1e6)])
def test_rows_far_above_the_law_of_the_others_do_not_break_a_censored_inverse_gaussian(mean, lam):
    cap = 40 * mean
    rows = np.append(np.random.default_rng(RNG_SEED).wald(mean, lam, 500).clip(max=0.999 * cap), np.full(20, cap))
    fit = by_family(families.fit_families(*pairs(rows), cap=cap))["inverse_gaussian"]
    arguments = scipy_shape("inverse_gaussian", fit.params)
    expected = stats.invgauss.logpdf(rows[:500], *arguments).sum() + 20 * stats.invgauss.logsf(cap, *arguments)
    assert fit.log_likelihood == pytest.approx(expected, abs=1e-4)


# ---------------------------------------------------------------- tails


def test_hill_and_gpd_find_the_index_of_a_pareto_law():
    rows = np.random.default_rng(RNG_SEED).pareto(2, 20000) + 1
    assert tails.hill(*pairs(rows), 0.05) == pytest.approx(0.5, abs=0.05)
    largest = np.sort(rows)[::-1]
    assert tails.hill(*pairs(rows), 0.05) == pytest.approx(np.log(largest[:1000] / largest[1000]).mean())
    assert tails.generalized_pareto(*pairs(rows), 0.9).xi == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize(
    "draw", [lambda g: g.exponential(1, 3000), lambda g: g.pareto(1, 3000), lambda g: g.random(3000)]
)
def test_the_gpd_is_no_worse_than_that_of_scipy(draw):
    rows = draw(np.random.default_rng(RNG_SEED))
    found = tails.generalized_pareto(*pairs(rows), 0.9)
    excess = rows[rows > found.threshold] - found.threshold
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        shape, _, scale = stats.genpareto.fit(excess, floc=0)
    own = stats.genpareto.logpdf(excess, found.xi, 0, found.scale).sum()
    assert found.n == len(excess)
    if shape > -1:
        assert own >= stats.genpareto.logpdf(excess, shape, 0, scale).sum() - 0.05
    exponential = stats.expon.logpdf(excess, 0, excess.mean()).sum()
    assert found.likelihood_ratio == pytest.approx(2 * (own - exponential), abs=1e-3)


@pytest.mark.parametrize("seed", range(6))
def test_the_scan_of_xmin_finds_the_least_distance_of_all(seed):
    rng = np.random.default_rng(seed)
    rows = np.rint(np.concatenate((rng.lognormal(6, 1, 700), 400 * (1 + rng.pareto(2, 400)))))
    values, counts = pairs(rows)
    found = tails.power_law(values, counts)
    least = np.inf
    for xmin in values[: -tails.MIN_TAIL_VALUES + 1]:
        tail = rows[rows >= xmin]
        if len(tail) >= 50:
            alpha = 1 + len(tail) / np.log(tail / xmin).sum()
            law = stats.pareto(alpha - 1, scale=xmin)
            least = min(least, stats.ks_1samp(tail, law.cdf).statistic)
    assert found.ks_distance == pytest.approx(least, rel=1e-9)
    assert found.n == (rows >= found.xmin).sum()


def test_vuong_prefers_the_law_that_made_the_tail():
    rng = np.random.default_rng(RNG_SEED)
    light = tails.power_law(*pairs(np.rint(rng.lognormal(8, 0.8, 20000))), min_rows=4000)
    assert light.z_lognormal < -1.96
    power = tails.power_law(*pairs(np.rint(1000 * (1 + rng.pareto(1.5, 5000)))))
    assert power.z_lognormal > -1.96
    assert power.alpha == pytest.approx(2.5, abs=0.3)


def test_the_mean_excess_is_that_of_the_rows_and_a_heavy_tail_puts_the_variance_in_doubt():
    rows = np.random.default_rng(RNG_SEED).pareto(1.5, 400)
    thresholds, means = tails.mean_excess(*pairs(rows))
    for place in (0, 100, len(thresholds) - 1):
        assert means[place] == pytest.approx((rows[rows > thresholds[place]] - thresholds[place]).mean())
    assert (rows > thresholds[-1]).sum() == tails.MIN_HILL_ROWS
    assert tails.variance_in_doubt(tails.generalized_pareto(*pairs(rows), 0.8).xi)
    assert not tails.variance_in_doubt(0.2)
    assert tails.variance_in_doubt(None) is None


def test_a_power_law_is_preferred_to_an_exponential_where_there_is_one():
    power = tails.power_law(*pairs(np.rint(1000 * (1 + np.random.default_rng(RNG_SEED).pareto(1.5, 5000)))))
    assert power.z_exponential > 1.96
    rows = 1000 + np.random.default_rng(RNG_SEED).exponential(900, 5000)
    assert tails.power_law(*pairs(rows), min_rows=4000).z_exponential < -1.96


def test_the_bootstrap_rejects_a_lognormal_tail_and_keeps_to_its_level_under_a_power_law():
    rng = np.random.default_rng(RNG_SEED)
    p_values = []
    for number in range(60):
        rows = np.append(rng.uniform(10, 1000, 1200), 1000 * (1 + rng.pareto(1.8, 800)))
        p_values.append(tails.power_law_p_value(*pairs(rows), tails.power_law(*pairs(rows)), number, 100))
    assert np.mean(np.array(p_values) < 0.1) < 0.2
    assert np.mean(np.array(p_values) < 0.5) > 0.2
    column = pairs(np.rint(rng.lognormal(8, 1, 20000)))
    law = tails.power_law(*column, min_rows=5000)
    assert tails.power_law_p_value(*column, law, 1) < 0.05
    assert tails.power_law_p_value(*column, law, 1) == tails.power_law_p_value(*column, law, 1)
    with pytest.raises(ValueError, match="belongs to another column"):
        tails.power_law_p_value([1, 2], [1, 1], law, 1)


@settings(deadline=None, max_examples=60)
@given(pair_lists)
def test_tails_of_any_column_are_finite_or_none(chosen):
    values, counts = chosen
    numbers = [tails.hill(values, counts, 0.05), tails.hill(values, counts, 0.1)]
    if (gpd := tails.generalized_pareto(values, counts, 0.9)) is not None:
        numbers += asdict(gpd).values()
    if (law := tails.power_law(values, counts)) is not None:
        numbers += asdict(law).values()
    assert all(math.isfinite(number) for number in numbers if number is not None)


# ---------------------------------------------------------------- detection


def verdict_of(rows):
    values, counts = pairs(rows)
    found = detection.find_artefacts(values, counts)
    gpd = tails.generalized_pareto(values, counts, 0.9) if found.cap_value is None else None
    return judged(values, counts, found, gpd)


def integrated(family, rows, scale_of, shape_prior):
    """Log of likelihood times prior, summed over a grid of log scale and log shape around the column."""
    logs = np.linspace(-0.6, 0.6, 61)
    law, found = LAWS[family], by_family(families.fit_families(*pairs(rows), families=(family,)))[family]
    terms = []
    for a in logs:
        for b in logs:
            params, log_shape, log_jacobian = scale_of(found.params, a, b)
            prior = stats.norm.logpdf(log_shape, math.log(shape_prior[0]), shape_prior[1]) + log_jacobian
            terms.append(law.log_density(params, rows).sum() + prior)
    top = max(terms)
    return top + math.log(sum(math.exp(term - top) for term in terms)) + 2 * math.log(logs[1] - logs[0])


def shape_and_scale(q, a, b):
    return {"shape": q["shape"] * math.exp(b), "scale": q["scale"] * math.exp(a)}, math.log(q["shape"]) + b, 0.0


def mean_and_cv(q, a, b):
    """The prior is on log sigma of the lognormal with the same CV; b moves the log of the squared CV."""
    mean, squared = q["mean"] * math.exp(a), q["mean"] / q["lam"] * math.exp(b)
    sigma = math.sqrt(math.log1p(squared))
    change = squared / (2 * (1 + squared) * math.log1p(squared))
    return {"mean": mean, "lam": mean / squared}, math.log(sigma), math.log(change)


@pytest.mark.parametrize(
    ("family", "moved"), [("weibull", shape_and_scale), ("gamma", shape_and_scale), ("inverse_gaussian", mean_and_cv)]
)
def test_the_weight_of_a_family_is_its_likelihood_averaged_over_its_prior(family, moved):
    rows = np.random.default_rng(RNG_SEED).gamma(1.6, 1000, 150)
    (fit,) = families.fit_families(*pairs(rows), families=(family,)).fits
    log_evidence = evidence.log_evidence(fit, *pairs(rows), None)
    assert log_evidence == pytest.approx(integrated(family, rows, moved, evidence.SHAPE_PRIORS[family]), abs=0.3)


def test_a_column_that_two_families_describe_goes_to_the_one_with_fewer_shapes():
    rows = np.random.default_rng(RNG_SEED).exponential(1000, 2000)
    values, counts = pairs(rows)
    fits = families.fit_families(values, counts, families=("exponential", "weibull", "gamma", "lomax", "burr12"))
    log_evidences = {fit.family: evidence.log_evidence(fit, values, counts, None) for fit in fits.fits}
    assert max(log_evidences, key=log_evidences.get) == "exponential"
    assert log_evidences["exponential"] - log_evidences["burr12"] > 2


@pytest.mark.parametrize(("draw", "rows"), [("lognormal", 60), ("lognormal", 3000), ("exponential", 3000)])
def test_what_is_out_of_the_vote_by_its_likelihood_alone_would_have_no_weight(draw, rows, monkeypatch):
    values, counts = pairs(getattr(np.random.default_rng(RNG_SEED), draw)(size=rows))
    found = detection.find_artefacts(values, counts)
    fits = detection.fit_adjusted(values, counts, found)
    for fit in fits.fits:
        assert evidence.log_evidence(fit, values, counts, None) <= evidence.most_log_evidence(fit)
    weighed = detection.vote(values, counts, found, fits)
    monkeypatch.setattr(detection, "NO_WEIGHT", math.inf)
    complete = detection.vote(values, counts, found, fits)
    assert complete.first == weighed.first
    assert complete.heavy_weight == pytest.approx(weighed.heavy_weight, abs=1e-16)


def judged(values, counts, found, gpd):
    fits = detection.fit_adjusted(values, counts, found)
    return detection.judge(found, fits, detection.vote(values, counts, found, fits) if fits.fits else None, gpd)


def test_forty_different_rows_hold_no_atom():
    rows = np.random.default_rng(RNG_SEED).lognormal(8, 1, 40)
    found = detection.find_artefacts(*pairs(rows))
    assert not found.any


@pytest.mark.parametrize(
    "rows",
    [
        np.random.default_rng(1).geometric(0.3, 5000),
        np.random.default_rng(2).zipf(2.5, 5000),
        np.random.default_rng(3).poisson(12, 5000) + 1,
        np.random.default_rng(4).integers(1, 30, 5000),
    ],
    ids=["geometric", "zipf", "poisson", "uniform"],
)
def test_small_integers_are_a_lattice_and_hold_no_atom(rows):
    assert not detection.find_artefacts(*pairs(rows)).any


def test_requests_of_one_fixed_size_are_an_atom():
    rng = np.random.default_rng(RNG_SEED)
    rows = np.append(np.rint(rng.lognormal(8, 1, 950)), [512] * 50)
    found = detection.find_artefacts(*pairs(rows))
    assert [(atom.value, atom.rows) for atom in found.atoms] == [(512, (rows == 512).sum())]
    assert found.atoms[0].share == pytest.approx(0.05, abs=0.002)
    assert found.cap_value is None
    values, counts = detection.set_aside(*pairs(rows), found)
    assert 512 not in values
    assert counts.sum() == len(rows) - found.atoms[0].rows


def test_a_pile_at_the_maximum_is_a_cap_and_no_atom():
    rows = np.minimum(np.rint(np.random.default_rng(RNG_SEED).lognormal(8, 1, 2000)), 12000)
    found = detection.find_artefacts(*pairs(rows))
    assert found.cap_value == 12000
    assert found.capped_share == pytest.approx((rows == 12000).mean())
    assert found.atoms == ()


def test_zeros_are_counted_apart():
    rows = np.append(np.random.default_rng(RNG_SEED).lognormal(8, 1, 500), np.zeros(100))
    found = detection.find_artefacts(*pairs(rows))
    assert found.zeros == 100
    assert found.atoms == ()


def test_a_lognormal_is_heavy_and_a_skewed_gamma_is_not():
    rng = np.random.default_rng(RNG_SEED)
    heavy, light = verdict_of(rng.lognormal(8, 1, 2000)), verdict_of(rng.gamma(0.7, 500, 2000))
    assert heavy.verdict == "heavy"
    assert "lognormal" in heavy.reason
    assert "2,000 rows" in heavy.reason
    assert light.verdict == "light"


@pytest.mark.parametrize("capped", [False, True])
def test_an_inverse_gaussian_is_light_and_not_taken_for_a_lognormal(capped):
    rows = np.rint(np.random.default_rng(RNG_SEED).wald(5000, 10000, 4000))
    rows = np.minimum(rows, np.quantile(rows, 0.99, method="lower")) if capped else rows
    found = verdict_of(rows)
    assert found.verdict == "light"
    assert found.reason.startswith("the tail is light: 0% of the evidence of 4,000 rows")
    assert "the best family is inverse Gaussian" in found.reason


def test_a_law_between_lognormal_and_inverse_gaussian_is_left_undetermined():
    found = verdict_of(np.rint(np.random.default_rng(RNG_SEED).wald(5000, 20000, 100)))
    assert found.verdict == "undetermined"
    assert "do not tell a heavy tail from a light one" in found.reason


def test_a_skewed_inverse_gaussian_is_no_proof_of_a_light_tail_where_few_rows_reach_its_light_end():
    rng = np.random.default_rng(RNG_SEED)
    found = verdict_of(np.rint(rng.wald(5000, 1000, 1000)))
    assert found.verdict == "undetermined"
    assert "light only above" in found.reason
    assert verdict_of(np.rint(rng.wald(5000, 6000, 4000))).verdict == "light"


def test_a_stable_law_is_not_called_light_because_a_cap_hides_its_tail():
    levy = np.rint(1e4 / np.random.default_rng(RNG_SEED).normal(0, 1, 4000) ** 2)
    assert verdict_of(np.minimum(levy, np.quantile(levy, 0.8, method="lower"))).verdict != "light"


def test_two_kinds_of_light_requests_are_not_called_heavy():
    rng = np.random.default_rng(RNG_SEED)
    kinds = rng.random(5000) < 0.5
    two_exponentials = np.where(kinds, rng.exponential(300, 5000), rng.exponential(1200, 5000))
    two_gammas = np.where(kinds, rng.gamma(2, 300, 5000), rng.gamma(8, 700, 5000))
    for rows in (two_exponentials, two_gammas):
        assert verdict_of(rows).verdict in ("light", "undetermined")
        assert not detection.classify(rows)["heavy_tailed"]


def test_a_forced_choice_names_a_side_and_a_family():
    rng = np.random.default_rng(RNG_SEED)
    answer = detection.classify(np.rint(rng.lognormal(8, 1.1, 2000)))
    assert (answer["heavy_tailed"], answer["family"], answer["verdict"]) == (True, "lognormal", "heavy")
    answer = detection.classify(np.rint(rng.gamma(3, 500, 2000)))
    assert (answer["heavy_tailed"], answer["family"]) == (False, "gamma")
    answer = detection.classify(np.rint(rng.normal(5000, 1000, 2000)))
    assert (answer["heavy_tailed"], answer["family"]) == (False, "normal")
    assert detection.classify([7, 7, 7])["family"] == ""


@pytest.mark.parametrize("share", [0.03, 0.25])
@pytest.mark.parametrize("capped", [0.003, 0.05])
def test_few_or_many_rows_at_one_value_and_at_the_cap_are_found(share, capped):
    rng = np.random.default_rng(RNG_SEED)
    rows = np.rint(rng.lognormal(8, 1, 5000))
    rows = np.minimum(rows, np.quantile(rows, 1 - capped, method="lower"))
    rows[rng.random(5000) < share] = np.rint(np.median(rows))
    found = detection.find_artefacts(*pairs(rows))
    assert [atom.value for atom in found.atoms] == [np.rint(np.median(rows))]
    assert found.cap_value == rows.max()


def test_a_maximum_that_stands_alone_is_no_cap():
    for seed in range(20):
        rows = np.rint(np.random.default_rng(seed).lognormal(8, 1, 2000))
        assert detection.find_artefacts(*pairs(rows)).cap_value is None


def test_a_heap_and_a_cap_do_not_change_the_verdict():
    rng = np.random.default_rng(RNG_SEED)
    for draw, verdict in ((rng.lognormal(8, 1, 3000), "heavy"), (rng.gamma(3, 2000, 3000), "light")):
        rows = np.minimum(np.rint(draw), np.quantile(np.rint(draw), 0.98, method="lower"))
        rows[:300] = np.rint(np.median(rows))
        found = verdict_of(rows)
        assert found.verdict == verdict
        assert "1 atom" in found.reason
        assert "the cap" in found.reason


def test_what_cannot_be_told_is_undetermined_or_too_few():
    rng = np.random.default_rng(RNG_SEED)
    assert verdict_of(rng.lognormal(8, 1, 49)).verdict == "too_few"
    two_humps = np.concatenate((rng.normal(100, 5, 500), rng.normal(10000, 50, 500)))
    assert verdict_of(two_humps).verdict == "undetermined"
    assert "no simple family fits" in verdict_of(two_humps).reason
    assert verdict_of(rng.integers(1, 6, 1000)).verdict == "undetermined"
    assert verdict_of(np.full(1000, 3.0)).verdict == "undetermined"
    assert verdict_of(np.zeros(1000)).verdict == "undetermined"


def test_a_top_decile_that_says_the_opposite_leaves_the_vote_undetermined():
    values, counts = pairs(np.random.default_rng(RNG_SEED).lognormal(8, 1, 2000))
    found = detection.find_artefacts(values, counts)
    bounded = tails.GeneralizedPareto(xi=-0.4, scale=1.0, threshold=1.0, n=200, likelihood_ratio=20.0)
    verdict = judged(values, counts, found, bounded)
    assert verdict.verdict == "undetermined"
    assert "-0.40" in verdict.reason


@settings(deadline=None, max_examples=60)
@given(pair_lists)
def test_every_column_gets_a_verdict_and_one_sentence(chosen):
    values, counts = chosen
    found = detection.find_artefacts(values, counts)
    verdict = judged(values, counts, found, None)
    assert verdict.verdict in ("heavy", "light", "undetermined", "too_few")
    assert "nan" not in verdict.reason
    assert verdict.reason


# ---------------------------------------------------------------- reference numbers of public traces

needs_traces = pytest.mark.skipif(not TRACES.is_dir(), reason="../shared/data/traces is not here")


def trace(name):
    """Input and output tokens per request."""
    if name == "azure":
        with (TRACES / "AzureLLMInferenceTrace_conv.csv").open(encoding="utf-8") as file:
            rows = [(int(row["ContextTokens"]), int(row["GeneratedTokens"])) for row in csv.DictReader(file)]
    else:
        text = (TRACES / "mooncake_conversation_trace.jsonl").read_text(encoding="utf-8")
        lines = [json.loads(line) for line in text.splitlines()]
        rows = [(line["input_length"], line["output_length"]) for line in lines]
    return np.array(rows)


def column(name, kind):
    tokens = trace(name)
    return pairs(tokens.sum(axis=1) if kind == "total" else tokens @ [3000, 15000] / 1e9)


@needs_traces
@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("azure", "total", (19366, 1365.82, 1412, 4136, 4259, 0.807, 0.404, 0.301, 2.93)),
        ("azure", "cost", (19366, 0.0066310, 0.0067770, 0.0130612, 0.0152083, 0.588, 0.328, 0.205, 1.93)),
        ("mooncake", "total", (12031, 12377.68, 7255, 40052, 85851, 1.278, 0.552, 0.399, 5.52)),
        ("mooncake", "cost", (12031, 0.0412445, 0.0261300, 0.1249290, 0.2614765, 1.159, 0.505, 0.371, 4.78)),
    ],
)
def test_the_description_of_a_public_trace_is_the_published_one(name, kind, expected):
    found = describe(*column(name, kind))
    ratios = (found.cv, found.gini, found.top_10_share, found.p95_to_median)
    numbers = (found.n, found.mean, found.median, found.p95, found.p99)
    assert numbers == pytest.approx(expected[:5], rel=1.2e-5)
    assert ratios == pytest.approx(expected[5:], abs=0.0051)
    assert ratios[:3] == pytest.approx(expected[5:8], abs=0.00051)


def best_simple(pairs_of_column):
    """The best family except mixtures."""
    fits = families.fit_families(*pairs_of_column).fits
    return next(fit for fit in fits if fit.family not in families.MIXTURES)


@needs_traces
def test_intervals_and_the_power_law_p_of_public_traces_are_the_published_ones():
    for name, quantity, low, high in (("azure", "cv", 0.799, 0.817), ("mooncake", "cv", 1.249, 1.306)):
        found = intervals.row_intervals(*column(name, "total"), 1, 2000)[quantity]
        assert (found.low, found.high) == pytest.approx((low, high), abs=0.005)
    found = intervals.row_intervals(*column("mooncake", "cost"), 1, 2000)["p95_to_median"]
    assert (found.low, found.high) == pytest.approx((4.57, 4.96), abs=0.04)
    law = tails.power_law(*column("mooncake", "cost"))
    assert tails.power_law_p_value(*column("mooncake", "cost"), law, 1, 400) < 0.03


@needs_traces
def test_the_best_family_of_a_public_trace_is_the_published_one():
    mooncake = best_simple(column("mooncake", "cost"))
    assert mooncake.family == "lognormal"
    assert (mooncake.params["mu"], mooncake.params["sigma"]) == pytest.approx((-3.6592, 0.9796), abs=6e-5)
    assert mooncake.ks_distance == pytest.approx(0.018, abs=5e-4)
    azure = best_simple(column("azure", "cost"))
    assert azure.family == "weibull"
    assert (azure.params["shape"], azure.params["scale"]) == pytest.approx((1.7646, 0.0075), abs=6e-5)
    assert azure.ks_distance == pytest.approx(0.170, abs=5e-4)


@needs_traces
@pytest.mark.parametrize(
    ("name", "mean", "lam", "distance"), [("azure", 1365.8, 1514.1, 0.201), ("mooncake", 12377.7, 5492.5, 0.065)]
)
def test_the_inverse_gaussian_of_a_public_trace_is_the_published_one_and_the_best(name, mean, lam, distance):
    best = best_simple(column(name, "total"))
    assert best.family == "inverse_gaussian"
    assert (best.params["mean"], best.params["lam"]) == pytest.approx((mean, lam), abs=0.051)
    assert best.ks_distance == pytest.approx(distance, abs=5e-4)


@needs_traces
@pytest.mark.parametrize(
    ("name", "kind", "alpha", "xmin", "n", "z"),
    [
        ("azure", "total", 7.742, 4824, 115, -0.03),
        ("mooncake", "total", 2.971, 22667, 1725, -4.71),
        ("mooncake", "cost", 3.038, 0.07104, 1785, -4.47),
    ],
)
def test_the_power_law_of_a_public_trace_is_the_published_one(name, kind, alpha, xmin, n, z):
    found = tails.power_law(*column(name, kind))
    assert found.alpha == pytest.approx(alpha, abs=5.1e-4)
    assert found.xmin == pytest.approx(xmin, rel=5e-5)
    assert found.n == n
    assert found.z_lognormal == pytest.approx(z, abs=0.0051)
