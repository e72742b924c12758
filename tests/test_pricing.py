"""Laws of contracts, bills and risk (METHODS section 3), on drawn bills and on the reference distribution."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.pricing import terms
from pipeline.pricing.bill_model import (
    MONTH_DAYS,
    CountLaw,
    Distribution,
    compound,
    count_law,
    resample_customer_months,
    simulate_months,
    sum_of_independent,
)
from pipeline.pricing.frontier import PRINCIPLES, Market, frontiers, stop_loss
from pipeline.pricing.risk import loadings, measure, solvency_loading, tail_value_at_risk, value_at_risk
from pipeline.pricing.search import Target
from pipeline.pricing.terms import (
    Allowance,
    Bundle,
    Combined,
    Commitment,
    Contract,
    Credits,
    Hybrid,
    Insurance,
    Ledger,
    PerToken,
    SessionCap,
    Tiered,
    at_equal_revenue,
    break_even,
    defaults_at_equal_revenue,
)

MOONCAKE = Path(__file__).resolve().parents[2] / "shared" / "data" / "traces" / "mooncake_conversation_trace.jsonl"

amounts = st.integers(min_value=0, max_value=10**7).map(lambda cents: cents / 100)
varied_bills = (
    st.lists(amounts, min_size=2, max_size=60).filter(lambda values: max(values) - min(values) >= 0.01).map(np.array)
)
shares = st.floats(min_value=0, max_value=1)


def reduction(contract: Contract, bills: np.ndarray) -> float:
    value = measure(contract, bills).variance_reduction_pooled
    assert value is not None
    return value


@given(varied_bills)
def test_per_token_removes_no_variance_and_a_flat_fee_all_of_it(bills):
    assert reduction(PerToken(), bills) == 0
    assert reduction(at_equal_revenue(Bundle(), bills), bills) == pytest.approx(1, abs=1e-12)


@given(varied_bills, shares)
def test_hybrid_removes_one_minus_theta_squared(bills, theta):
    assert reduction(at_equal_revenue(Hybrid(theta=theta), bills), bills) == pytest.approx(1 - theta**2, abs=1e-9)


@given(varied_bills, shares)
def test_ceding_a_share_pro_rata_removes_one_minus_the_square_of_the_rest(bills, share):
    pro_rata = Insurance(deductible_usd=0, coinsurance=1 - share)
    assert reduction(at_equal_revenue(pro_rata, bills), bills) == pytest.approx(1 - (1 - share) ** 2, abs=1e-9)


@given(varied_bills, amounts, amounts)
def test_a_higher_deductible_removes_less_variance(bills, first, second):
    low, high = sorted((first, second))
    assert reduction(Insurance(low), bills) >= reduction(Insurance(high), bills) - 1e-12


@given(varied_bills, shares)
def test_stop_loss_retains_the_least_variance_of_covers_of_one_pure_premium(bills, share):
    stop_loss = Insurance(float(np.quantile(bills, share)))
    ceded_mean = stop_loss.ceded(bills).mean()
    pro_rata = Insurance(0, coinsurance=float(np.clip(1 - ceded_mean / bills.mean(), 0, 1)))
    assert reduction(stop_loss, bills) >= reduction(pro_rata, bills) - 1e-9


@settings(deadline=None, max_examples=40)
@given(varied_bills, shares, shares, shares, st.one_of(st.none(), amounts))
def test_every_contract_earns_the_mean_bill(bills, theta, quantile, coinsurance, limit):
    insurance = Insurance(float(np.quantile(bills, quantile)), limit, coinsurance)
    contracts = (
        PerToken(),
        Bundle(),
        Hybrid(theta=theta),
        insurance,
        Allowance(allowance_usd=float(np.quantile(bills, quantile)), overage_rate=theta),
        Tiered((0.0, 10.0, 500.0), (1.0, 0.5, coinsurance)),
        Tiered((0.0, 10.0, 500.0), (1.0, 0.5, 0.2), "volume"),
        Commitment(float(np.quantile(bills, quantile))),
        Credits(credit_usd=float(bills.mean()), expiry_months=2),
        SessionCap(float(np.quantile(bills, quantile))),
        Combined("a quote", commitment_usd=5, discount=0.1, allowance_usd=10, overage_rate=1.5),
    )
    for contract in contracts:
        prices = at_equal_revenue(contract, bills).price(bills)
        assert prices.mean() == pytest.approx(bills.mean(), rel=1e-9)


@settings(deadline=None, max_examples=40)
@given(varied_bills, st.integers(-6, 6))
def test_shares_do_not_change_when_all_prices_are_scaled(bills, exponent):
    factor = 2.0**exponent
    scaled = bills * factor
    for before, after in zip(defaults_at_equal_revenue(bills), defaults_at_equal_revenue(scaled), strict=True):
        one, other = measure(before, bills), measure(after, scaled)
        for name in ("variance_reduction_pooled", "sd_reduction", "cv", "ceded_share", "expected_shortfall_share"):
            assert getattr(other, name) == pytest.approx(getattr(one, name), abs=1e-9), name
        assert other.sd == pytest.approx(one.sd * factor, rel=1e-9, abs=1e-12)


@given(st.lists(amounts, min_size=20, max_size=200).map(np.array), st.sampled_from((0.5, 0.9, 0.95)))
def test_tail_value_at_risk_is_at_least_value_at_risk_and_at_most_the_maximum(bills, q):
    assert value_at_risk(bills, q) <= tail_value_at_risk(bills, q) <= bills.max() * (1 + 1e-12)


@settings(deadline=None, max_examples=40)
@given(varied_bills)
def test_a_price_is_the_bill_less_what_is_ceded_plus_the_fee(bills):
    for contract in defaults_at_equal_revenue(bills):
        prices = contract.price_in(Ledger.of(bills))
        assert prices == pytest.approx(bills - contract.ceded_in(Ledger.of(bills)) + contract.idle_price(), abs=1e-6)
        assert prices.min() >= -1e-9


@given(varied_bills, shares)
def test_the_variance_of_the_bill_is_split_between_customer_provider_and_covariance(bills, theta):
    risk = measure(at_equal_revenue(Hybrid(theta=theta), bills), bills)
    together = risk.sd**2 + risk.provider_sd**2 + 2 * risk.provider_covariance
    assert together == pytest.approx(bills.var(ddof=1), rel=1e-9)


def test_ties_at_the_threshold_are_split():
    bills = np.array([1.0] * 90 + [10.0] * 10)
    assert tail_value_at_risk(bills, 0.8) == pytest.approx((10 * 10 + 10 * 1) / 20)
    assert tail_value_at_risk(bills, 0.95) == pytest.approx(10)


def test_a_tail_that_is_no_whole_number_of_bills_counts_the_last_one_in_part():
    assert tail_value_at_risk(np.arange(1.0, 31.0), 0.95) == pytest.approx((30 + 0.5 * 29) / 1.5)


@pytest.mark.parametrize(("n_bills", "has_95", "has_99"), [(19, False, False), (20, True, False), (100, True, True)])
def test_tails_are_null_where_the_bills_cannot_support_them(n_bills, has_95, has_99):
    risk = measure(PerToken(), np.arange(1.0, n_bills + 1))
    assert (risk.var_95 is not None, risk.tvar_95 is not None) == (has_95, has_95)
    assert (risk.var_99 is not None, risk.tvar_99 is not None) == (has_99, has_99)


def test_differences_between_customers_are_not_counted_as_risk():
    bills, customers = np.array([1.0, 3.0, 101.0, 103.0]), np.array([0, 0, 1, 1])
    capped = Insurance(deductible_usd=50)
    risk = measure(capped, bills, customers)
    assert risk.variance_reduction == pytest.approx(0.5)
    assert risk.variance_reduction_pooled > 0.7
    assert risk.n_customers == 2


def test_reduction_within_customers_is_null_below_two_months_a_customer():
    assert measure(Bundle(2.0), np.array([1.0, 3.0]), np.array([0, 1])).variance_reduction is None


def test_equal_bills_have_no_variance_to_reduce():
    risk = measure(Bundle(0.1), np.full(30, 0.1))
    assert (risk.variance_reduction, risk.variance_reduction_pooled, risk.sd_reduction) == (None, None, None)
    assert risk.sd == 0


def test_a_budget_is_exceeded_only_by_more_than_it():
    bills = np.array([1.0, 2.0, 3.0, 4.0])
    assert measure(PerToken(), bills, budget_usd=3).p_over_budget == 0.25
    assert measure(PerToken(), bills).p_over_budget is None


def test_ceded_shares_are_those_of_the_terms():
    bills = np.array([1.0, 2.0, 3.0, 4.0])
    contracts = (PerToken(), Bundle(2.5), Hybrid(1.875, 0.25), Insurance(3.0))
    assert [measure(contract, bills).ceded_share for contract in contracts] == pytest.approx([0, 1, 0.75, 0.1])
    assert measure(Bundle(2.5), bills).expected_shortfall_share == pytest.approx((0.5 + 1.5) / 10)


def test_insurance_pays_its_share_of_the_layer_and_nothing_above_it():
    cover = Insurance(deductible_usd=10, limit_usd=20, coinsurance=0.25, premium_usd=3)
    assert cover.price(np.array([5.0, 10.0, 20.0, 30.0, 50.0])).tolist() == [8.0, 13.0, 15.5, 18.0, 38.0]


def test_a_contract_applies_to_the_bill_and_not_to_its_parts():
    cover = Insurance(deductible_usd=10)
    assert cover.price(np.array([12.0])).sum() < cover.price(np.array([6.0, 6.0])).sum()


@pytest.mark.parametrize("bills", [[], [-1.0], [np.nan], [[1.0]]])
def test_unusable_bills_are_refused(bills):
    with pytest.raises(ValueError, match="bills must be"):
        measure(PerToken(), np.array(bills))


def test_impossible_terms_are_refused():
    for make in (
        lambda: Hybrid(0, 1.5),
        lambda: Bundle(-1),
        lambda: Insurance(1, coinsurance=2),
        lambda: Insurance(-1),
    ):
        with pytest.raises(ValueError, match="must"):
            make()


def test_simulated_months_repeat_with_the_seed_and_differ_with_another():
    daily = np.random.default_rng(1).lognormal(size=100)
    assert (simulate_months(daily, seed=5) == simulate_months(daily, seed=5)).all()
    assert (simulate_months(daily, seed=5) != simulate_months(daily, seed=6)).any()


def test_simulated_months_have_calendar_lengths_and_the_mean_of_the_history():
    assert set(simulate_months(np.ones(10), seed=1)) == {28.0, 29.0, 30.0, 31.0}
    daily = np.random.default_rng(1).lognormal(size=50)
    bills = simulate_months(daily, seed=1)
    assert bills.size == 10_000
    assert abs(bills.mean() - daily.mean() * MONTH_DAYS.mean()) < 3 * bills.std() / 100


def test_a_weekly_profile_alone_makes_months_swing_by_no_more_than_their_odd_days():
    daily = np.tile([10.0, 10, 10, 10, 10, 0, 0], 20)
    bills = simulate_months(daily, seed=1)
    assert bills.min() >= 200
    assert bills.max() <= 200 + 30


def test_blocks_keep_the_variance_that_independent_days_lose():
    generator = np.random.default_rng(7)
    noise = generator.normal(size=4000)
    daily = np.zeros(4000)
    for day in range(1, 4000):
        daily[day] = 0.6 * daily[day - 1] + noise[day]
    daily -= daily.min()
    of_month_length = MONTH_DAYS.var() * daily.mean() ** 2
    by_week, by_day = (simulate_months(daily, seed=1, block_days=days).var() - of_month_length for days in (7, 1))
    assert by_week / by_day == pytest.approx(2.96, rel=0.15)  # of 3.6: 7 + 2 sum (7 - k) .6^k over 7


def test_redrawn_customer_months_bring_whole_customers_and_only_their_own_days():
    daily = np.repeat([1.0, 100.0, 100.0], 30)
    replicates = list(resample_customer_months(daily, np.array([30, 30, 30]), np.array([0, 1, 1]), seed=3))
    assert all(set(bills) <= {30.0, 3000.0} and (bills == 3000).sum() % 2 == 0 for bills in replicates)
    assert len({bills.size for bills in replicates}) > 1


def test_the_error_by_redrawing_is_that_of_the_mean_over_customers():
    generator = np.random.default_rng(2)
    levels = generator.lognormal(size=200)
    daily = np.repeat(levels, 30)
    replicates = resample_customer_months(daily, np.full(200, 30), np.arange(200), seed=3)
    error = np.std([bills.mean() for bills in replicates], ddof=1)
    assert error == pytest.approx(30 * levels.std(ddof=1) / np.sqrt(200), rel=0.2)


def test_counts_that_vary_more_than_poisson_are_negative_binomial():
    counts = np.random.default_rng(1).negative_binomial(1.5, 1.5 / 61.5, 20_000)
    law = count_law(counts)
    assert law.kind == "negative_binomial"
    assert law.k == pytest.approx(1.5, rel=0.05)
    assert count_law(np.array([4, 4, 4, 4])).kind == "poisson"


@given(st.data())
def test_any_pattern_of_a_few_sessions_over_a_few_weeks_has_a_modelled_month(data):
    n_days = data.draw(st.integers(1, 40))
    sessions = data.draw(st.lists(st.integers(0, n_days - 1), min_size=1, max_size=10))
    costs = data.draw(st.lists(st.floats(1e-9, 1e4), min_size=len(sessions), max_size=len(sessions)))
    counts = np.bincount(sessions, minlength=n_days)
    law = count_law(counts, 365.25 / 12)
    mean = Fraction(len(sessions), n_days)
    variance = sum((Fraction(int(count)) - mean) ** 2 for count in counts) / max(n_days - 1, 1)
    assert law.mean == pytest.approx(float(mean) * 365.25 / 12)
    assert (law.kind == "poisson") == (variance <= mean)
    assert law.variance == pytest.approx(float(max(mean, variance)) * 365.25 / 12)
    bill = compound(law, np.array(costs), points=4096)
    assert bill.mean() == pytest.approx(law.mean * np.mean(costs), rel=1e-6)


@pytest.mark.parametrize("k", [1e3, 1e6, 1e9, 1e12, 1e15])
def test_a_negative_binomial_of_a_great_k_is_all_but_a_poisson(k):
    costs = np.array([0.2, 1.0, 3.0])
    near, limit = compound(CountLaw(60, k), costs), compound(CountLaw(60), costs)
    assert near.mean() == pytest.approx(limit.mean(), rel=1e-9)
    assert near.sd() == pytest.approx(limit.sd(), rel=30 / k + 1e-9)


def test_a_distribution_that_no_grid_holds_is_an_error_and_no_endless_search(monkeypatch):
    monkeypatch.setattr(Distribution, "mean", lambda self, of=None: 0.0)
    with pytest.raises(ArithmeticError, match="no grid"):
        compound(CountLaw(60, k=1.5), np.array([1.0]), points=64)


def mooncake_costs() -> np.ndarray:
    if not MOONCAKE.is_file():
        pytest.skip("no reference trace: ../shared/data/traces/mooncake_conversation_trace.jsonl is missing")
    with MOONCAKE.open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return np.array([3 * row["input_length"] + 15 * row["output_length"] for row in rows]) / 1e6


def test_the_compound_model_reaches_the_reference_distribution():
    bill = compound(CountLaw(60, k=1.5), mooncake_costs())
    computed = (bill.mean(), bill.sd(), *(f(q) for f in (bill.quantile, bill.tvar) for q in (0.95, 0.99)))
    assert computed == pytest.approx((2.4748, 2.0790, 6.562, 9.560, 8.422, 11.379), rel=0.01)


def test_the_compound_model_takes_pairs_as_well_as_rows():
    rows = np.array([1.0, 1.0, 1.0, 5.0])
    one = compound(CountLaw(10), rows)
    other = compound(CountLaw(10), np.array([1.0, 5.0]), np.array([3, 1]))
    assert one.probabilities == pytest.approx(other.probabilities, abs=1e-15)
    assert one.mean() == pytest.approx(20)
    assert one.variance() == pytest.approx(10 * (3 + 25) / 4, rel=1e-5)


def test_a_very_uneven_customer_base_keeps_its_mean_on_the_grid():
    bill = compound(CountLaw(5, k=0.05), np.array([0.01, 3.0]))
    assert bill.mean() == pytest.approx(5 * 1.505, rel=1e-6)


def test_monte_carlo_lies_within_three_standard_errors_of_fft():
    generator = np.random.default_rng(11)
    severities = generator.lognormal(-3.66, 0.98, 2_000)
    law = CountLaw(60, k=1.5)
    exact = compound(law, severities)
    counts = generator.negative_binomial(1.5, 1.5 / 61.5, 20_000)
    drawn = generator.choice(severities, counts.sum())
    months = np.bincount(np.repeat(np.arange(counts.size), counts), drawn, counts.size)
    for contract in (PerToken(), Hybrid(1.0, 0.5), Insurance(5.0, premium_usd=0.3)):
        prices = contract.price(months)
        expected = exact.mean(contract.price(exact.values_usd))
        assert abs(prices.mean() - expected) < 3 * prices.std() / np.sqrt(prices.size)


def test_the_sum_of_many_customers_is_exact_where_it_is_known():
    coin = sum_of_independent(np.array([0.0, 1.0]), 10, points=2**16)
    at_least_nine = coin.probabilities[coin.values_usd > 8.5].sum()
    assert coin.mean() == pytest.approx(5)
    assert coin.sd() == pytest.approx(np.sqrt(2.5), rel=1e-6)
    assert at_least_nine == pytest.approx(11 / 1024, rel=1e-6)


def test_the_loadings_are_named_and_charge_only_for_risk_that_is_transferred():
    bills = np.random.default_rng(3).lognormal(size=2_000)
    for contract in defaults_at_equal_revenue(bills):
        expected, solvency, capital = loadings(contract, bills)
        assert (expected.principle, solvency.principle, capital.principle) == PRINCIPLES
        ceded = contract.ceded_in(Ledger.of(bills))
        assert expected.loading == pytest.approx(0.2 * (ceded.mean() - ceded.min()), abs=1e-12)
        assert capital.loading == pytest.approx(0.06 * (tail_value_at_risk(ceded, 0.99) - ceded.mean()), abs=1e-12)
        if isinstance(contract, PerToken):
            assert (solvency.loading, solvency.loss_ratio, solvency.loading_common_shock) == (0, None, 0)
        else:
            assert 0 < solvency.loading < solvency.loading_common_shock


def test_a_commitment_below_every_bill_and_a_flat_fee_on_equal_bills_cost_nothing_more():
    bills = np.random.default_rng(3).uniform(50, 100, 200)
    for contract, of in ((Commitment(40.0), bills), (Bundle(10.0), np.full(200, 10.0))):
        assert [each.loading for each in loadings(at_equal_revenue(contract, of), of)] == [0, 0, 0]


def test_solvency_matches_a_simulated_pool():
    bills = np.random.default_rng(3).lognormal(sigma=1.5, size=2_000)
    ceded = Insurance(5.0).ceded(bills)
    drawn = np.random.default_rng(4).choice(ceded, (20_000, 100)).sum(axis=1)
    _, solvency, _ = loadings(Insurance(5.0), bills, pool_customers=100)
    assert solvency.premium == pytest.approx(np.quantile(drawn, 0.99) / 100, rel=0.03)


def test_more_customers_need_less_loading_each_but_a_common_shock_stays():
    bills = np.random.default_rng(3).lognormal(size=2_000)
    small, large = (loadings(Bundle(1.0), bills, pool_customers=n)[1] for n in (100, 10_000))
    assert large.loading < small.loading / 5
    assert large.loading_common_shock > 0.2 * bills.mean()


def test_the_ranking_of_contracts_depends_on_the_principle():
    bills = compound_months()
    target = 0.75
    hybrid = Hybrid(theta=float(np.sqrt(1 - target)))
    deductibles = np.quantile(bills, np.linspace(0.3, 0.99, 200))
    stop_loss = Insurance(float(max(d for d in deductibles if reduction(Insurance(float(d)), bills) >= target)))
    (hybrid_mean, hybrid_safe, _), (stop_mean, stop_safe, _) = loadings(hybrid, bills), loadings(stop_loss, bills)
    assert stop_mean.loading < hybrid_mean.loading
    assert hybrid_safe.loading < stop_safe.loading


def compound_months() -> np.ndarray:
    generator = np.random.default_rng(5)
    counts = generator.negative_binomial(1.5, 1.5 / 61.5, 5_000)
    costs = generator.lognormal(-3.66, 0.98, counts.sum())
    return np.bincount(np.repeat(np.arange(counts.size), counts), costs, counts.size)


@given(
    st.lists(amounts, min_size=1, max_size=14).map(np.array),
    amounts,
    st.integers(min_value=1, max_value=4),
    st.lists(st.integers(1, 3), min_size=14, max_size=14),
)
def test_credits_are_used_oldest_first_and_expire(bills, credit, expiry, gaps):
    months = np.cumsum(gaps)[: bills.size]
    ledger = Ledger(bills, np.zeros(bills.size, dtype=int), months)
    paid, held = [], []  # held: [month of purchase, what is left]
    for month, bill in zip(months, bills, strict=True):
        held = [[bought, left] for bought, left in held if month - bought < expiry] + [[month, credit]]
        for lot in held:
            used = min(lot[1], bill)
            lot[1], bill = lot[1] - used, bill - used
        paid.append(7 + 0.5 * bill)
    contract = Credits(7, credit, expiry, overage_rate=0.5)
    assert contract.price_in(ledger) == pytest.approx(np.array(paid), abs=1e-6)


def test_customers_do_not_share_their_credits():
    bills = np.array([0.0, 10.0, 10.0, 10.0])
    ledger = Ledger(bills, np.array([0, 1, 0, 1]), np.array([1, 1, 2, 2]))
    assert Credits(0, 5, 2).price_in(ledger).tolist() == [0, 5, 0, 5]


def test_no_session_costs_more_than_the_cap():
    over = {1.0: np.array([3.0, 0.0])}
    ledger = Ledger(np.array([5.0, 2.0]), np.array([0, 0]), np.array([0, 1]), lambda cap: over[cap])
    assert SessionCap(1.0, fee_usd=0.5).price_in(ledger).tolist() == [2.5, 2.5]
    with pytest.raises(ValueError, match="needs the sessions"):
        SessionCap(1.0).price_in(Ledger(np.ones(1), np.zeros(1, dtype=int), np.zeros(1, dtype=int)))


def test_graduated_tiers_price_each_part_and_volume_tiers_the_whole_bill():
    bills = np.array([5.0, 10.0, 30.0])
    assert Tiered((0, 10, 20), (1, 0.5, 0.1)).price(bills).tolist() == [5, 10, 16]
    assert Tiered((0, 10, 20), (1, 0.5, 0.1), "volume").price(bills).tolist() == [5, 5, 3]


@given(varied_bills, amounts, amounts, shares, amounts, st.floats(0, 3))
def test_the_classic_contracts_are_cases_of_a_quote(bills, fee, commitment, discount, allowance, rate):
    quote = Combined("q", fee, commitment, discount, allowance, rate)
    usage = rate * np.maximum(bills - allowance, 0)
    assert quote.price(bills) == pytest.approx(fee + (1 - discount) * np.maximum(usage, commitment))
    same = (
        (Combined("q", fee_usd=fee, overage_rate=0), Bundle(fee)),
        (Combined("q", fee_usd=fee, discount=1 - discount), Hybrid(fee, discount)),
        (Combined("q", fee, allowance_usd=allowance, overage_rate=rate), Allowance(fee, allowance, rate)),
        (Combined("q", commitment_usd=commitment, discount=discount), Commitment(commitment, discount)),
        (Combined("q"), PerToken()),
    )
    for one, other in same:
        assert one.price(bills) == pytest.approx(other.price(bills), abs=1e-6)


@given(amounts, amounts, shares, amounts, st.sampled_from((0.0, 0.5, 1.0, 2.0)))
def test_at_a_break_even_the_price_is_the_bill_and_beside_it_the_sign_changes(fee, commitment, discount, allowance, r):
    quote = Combined("q", fee, commitment, round(discount, 3), allowance, r)
    bills = np.linspace(0, 3e5, 3001)[1:]
    gap = quote.price(bills) - bills
    edges = [0.0, *break_even(quote), np.inf]
    for bill in edges[1:-1]:
        assert quote.price(np.array([bill])) == pytest.approx(bill, rel=1e-9, abs=1e-6)
    for low, high in itertools.pairwise(edges):
        signs = np.sign(gap[(bills > low * (1 + 1e-6) + 1e-6) & (bills < high * (1 - 1e-6)) & (np.abs(gap) > 1e-6)])
        assert np.unique(signs).size <= 1


def test_a_break_even_is_where_a_quote_becomes_cheaper_or_dearer_and_not_where_it_costs_the_same():
    assert break_even(Combined("q", fee_usd=80, allowance_usd=100, overage_rate=2)) == [80, 120]
    assert break_even(Combined("q", commitment_usd=100, discount=0.2)) == [80]
    assert break_even(Combined("q", discount=0.2)) == []
    assert break_even(Combined("q", fee_usd=260, allowance_usd=260, overage_rate=1.2)) == []
    assert break_even(Combined("q", fee_usd=100, allowance_usd=100)) == []
    assert break_even(Combined("q", fee_usd=100, tiers=Tiered((0, 100, 200), (0, 1, 0.5)))) == [200]
    assert break_even(Tiered((0, 100), (1.2, 0.8), "volume")) == [100]


@settings(deadline=None, max_examples=25)  # a hundred convolutions per example
@given(varied_bills, st.data())
def test_the_frontier_is_what_each_contract_measures(bills, data):
    customers = np.sort(data.draw(st.lists(st.integers(0, 4), min_size=bills.size, max_size=bills.size)))
    customers = np.unique(customers, return_inverse=True)[1]
    for frontier in frontiers(bills, customers, pool_customers=10):
        for at in {0, frontier.parameter.size // 2, frontier.parameter.size - 1}:
            contract = frontier.contract(at)
            risk = measure(contract, bills, customers)
            scale = bills.max()
            assert risk.mean == pytest.approx(bills.mean(), abs=1e-9 * scale)
            assert frontier.pure_premium[at] == pytest.approx(risk.pure_premium, abs=1e-9 * scale)
            assert (frontier.variance_reduction is None) == (risk.variance_reduction is None)
            if risk.variance_reduction is not None:
                assert frontier.variance_reduction[at] == pytest.approx(risk.variance_reduction, abs=1e-6)


def test_the_frontier_knows_the_tail_of_each_contract():
    bills = np.random.default_rng(8).lognormal(size=530)
    for frontier in frontiers(bills, pool_customers=10):
        for at in (0, 100, 400, 529):
            risk = measure(frontier.contract(at), bills)
            assert frontier.tvar_99[at] == pytest.approx(risk.tvar_99, rel=1e-9), (frontier.mechanism, at)


@pytest.mark.parametrize("sigma", [0.06, 1.0])  # months hardly differ, or by far
def test_the_loading_of_the_frontier_is_near_the_exact_one(sigma):
    bills = np.random.default_rng(8).lognormal(sigma=sigma, size=3_000)
    for frontier in frontiers(bills, pool_customers=500):
        for removed in (0.1, 0.5, 0.75, 0.95):
            at = int(np.argmin(np.abs(frontier.variance_reduction - removed)))
            exact = solvency_loading(frontier.contract(at), bills, 500).loading
            assert frontier.loading["solvency_99"][at] == pytest.approx(exact, rel=0.02), frontier.mechanism
            for loading in loadings(frontier.contract(at), bills)[::2]:
                assert frontier.loading[loading.principle][at] == pytest.approx(loading.loading, rel=1e-6, abs=1e-9)


def test_the_cheapest_contract_reaches_its_target_exactly_and_is_the_cheapest():
    bills = compound_months()
    found = Market.over(bills, np.zeros(bills.size, dtype=int)).cheapest(Target(0.75))
    assert [found[name][0].contract.name for name in PRINCIPLES[:2]] == ["insurance", "hybrid"]
    for choices in found.values():
        assert [choice.variance_reduction for choice in choices] == pytest.approx([0.75] * len(choices), abs=1e-4)
        loading = [choice.loading for choice in choices[1:]]
        assert loading == sorted(loading)
        assert choices[0].loading <= loading[0] * 1.002


def test_a_budget_holds_with_its_probability_once_the_loading_is_paid():
    bills = compound_months()[::4]
    market = Market.over(bills, np.zeros(bills.size, dtype=int))
    budget = 1.5 * bills.mean()
    for choices in market.cheapest(Target(budget_usd=budget)).values():
        for choice in choices:
            loaded = choice.contract.price(bills) + choice.loading
            assert (loaded <= budget * (1 + 1e-9)).mean() >= 0.95, choice
    assert set(map(len, market.cheapest(Target(budget_usd=0.5 * bills.mean())).values())) == {0}


def test_where_per_token_keeps_the_budget_no_contract_is_needed():
    bills = compound_months()
    market = Market.over(bills, np.zeros(bills.size, dtype=int))
    for choices in market.cheapest(Target(budget_usd=float(bills.max()))).values():
        assert (choices[0].contract, choices[0].loading) == (PerToken(), 0)


def everything(bills: np.ndarray) -> list[Contract]:
    """A grid over the terms of every mechanism."""
    amounts_usd = np.quantile(bills, [0, 0.2, 0.4, 0.55, 0.7, 0.8, 0.9, 0.95, 1]).tolist()
    shares_of_list = np.linspace(0, 1, 21).tolist()
    found: list[Contract] = [Hybrid(theta=share) for share in np.linspace(0, 1, 201)]
    found += [Insurance(share * bills.max()) for share in np.linspace(0, 1, 201)]
    for low, high in itertools.combinations([0.0, *amounts_usd], 2):
        found += [Insurance(low, high - low, share) for share in shares_of_list]
    found += [Insurance(low, None, share) for low in amounts_usd for share in shares_of_list]
    found += [Allowance(0.0, low, 1.5 * share) for low in amounts_usd for share in shares_of_list]
    found += [Commitment(share * bills.max()) for share in np.linspace(0, 1, 201)]
    kinds = ("graduated", "volume")
    found += [Tiered((0.0, e), (1.0, s), kind) for e in amounts_usd for s in shares_of_list for kind in kinds]
    found += [
        Tiered((0.0, low, high), (1.0, first, second))
        for low, high in itertools.combinations(amounts_usd, 2)
        for first, second in itertools.product((0.2, 0.6, 1.0), (0.0, 0.3, 0.7))
    ]
    found += [
        Credits(0.0, share * bills.mean(), months, rate)
        for share, months in itertools.product((0.2, 0.5, 1, 1.5), (1, 2, 3, 6))
        for rate in shares_of_list
    ]
    return found + [SessionCap(share * bills.max()) for share in np.linspace(0, 1, 101) ** 2]


@pytest.mark.parametrize("customers", [1, 12])
def test_no_terms_of_any_contract_reach_a_target_for_less_than_the_recommended_ones(customers):
    generator = np.random.default_rng(5)
    sessions = generator.lognormal(0, 1.2, (60, 8))
    ledger = Ledger(
        sessions.sum(axis=1),
        np.repeat(np.arange(12), 5),
        np.tile(np.arange(5), 12),
        lambda cap_usd: np.maximum(sessions - cap_usd, 0).sum(axis=1),
    )
    codes = ledger.paths if customers > 1 else np.zeros(60, dtype=int)
    market = Market.over(ledger, codes, 200)
    tried = []
    for contract in everything(ledger.bills):
        try:
            solved = at_equal_revenue(contract, ledger)
        except ValueError:
            continue
        removed = measure(solved, ledger, codes, tails=False).variance_reduction
        tried.append((removed, solved, [market.loading(solved, principle) for principle in PRINCIPLES]))
    budget = float(np.quantile(ledger.bills, 0.85))
    for target in (*(Target(removed) for removed in (0.3, 0.6, 0.75, 0.9)), Target(None, budget, 0.95)):
        found = market.cheapest(target)
        for at, principle in enumerate(PRINCIPLES):
            reached = [
                (each[at], contract)
                for removed, contract, each in tried
                if (
                    removed >= target.variance_reduction
                    if target.variance_reduction is not None
                    else (contract.price_in(ledger) + each[at] <= budget).mean() >= 0.95
                )
            ]
            least, cheapest = min(reached, key=lambda pair: pair[0])
            assert found[principle][0].loading <= least * 1.005, (target, principle, cheapest, found[principle][0])


def reference_bills() -> np.ndarray:
    return compound(CountLaw(60, k=1.5), mooncake_costs()).strata(10_000)


def test_bills_drawn_in_strata_keep_the_reference_distribution():
    risk = measure(PerToken(), reference_bills())
    computed = (risk.mean, risk.sd, risk.var_95, risk.var_99, risk.tvar_95, risk.tvar_99)
    assert computed == pytest.approx((2.4748, 2.0790, 6.562, 9.560, 8.422, 11.379), rel=0.01)


def test_contracts_on_the_reference_bills_reduce_what_they_must():
    bills = reference_bills()
    for theta, expected in ((0.75, 0.4375), (0.5, 0.75), (0.25, 0.9375)):
        assert reduction(at_equal_revenue(Hybrid(theta=theta), bills), bills) == pytest.approx(expected, abs=1e-9)
    stop_losses = {
        0.5: (0.912, 0.414),
        0.75: (0.696, 0.197),
        0.9: (0.412, 0.076),
        0.95: (0.257, 0.038),
        0.99: (0.075, 0.007),
    }
    for quantile, (expected, ceded) in stop_losses.items():
        risk = measure(Insurance(float(np.quantile(bills, quantile))), bills)
        assert risk.variance_reduction_pooled == pytest.approx(expected, abs=0.01)
        assert risk.ceded_share == pytest.approx(ceded, abs=0.01)
    market = Market.over(bills, np.zeros(bills.size, dtype=int))
    (best,) = [
        choice.contract
        for choice in market.cheapest(Target(0.75))["expected_value"]
        if isinstance(choice.contract, Insurance)
    ]
    assert best.deductible_usd / bills.mean() == pytest.approx(1.25, abs=0.01)
    assert best.premium_usd / bills.mean() == pytest.approx(0.233, abs=0.01)


def test_the_mechanism_that_the_documentation_shows_is_priced_and_measured():
    text = (Path(__file__).parent.parent / "docs" / "pricing.md").read_text(encoding="utf-8")
    names = {name: getattr(terms, name) for name in dir(terms) if not name.startswith("__")}
    exec(text.split("```python")[1].split("```")[0], names)
    bills = np.array([1.0, 4.0, 10.0])
    steps = at_equal_revenue(names["Steps"](step_usd=5.0), bills)
    assert steps.price(bills) - steps.fee_usd == pytest.approx([0, 0, 10])
    risk = measure(steps, bills)
    assert risk.mean == pytest.approx(5)
    assert risk.ceded_share == pytest.approx(1 / 3)


@given(varied_bills)
def test_stop_loss_on_probabilities_is_stop_loss_on_as_many_bills(bills):
    counts = np.arange(bills.size) % 3 + 1
    one = stop_loss(np.repeat(bills, counts), tail=None)
    other = stop_loss(bills, weights=counts / counts.sum(), tail=None)
    for threshold, mean, removed in zip(other.threshold, other.retained_mean, other.variance_reduction, strict=True):
        at = np.argmin(np.abs(one.threshold - threshold))
        assert mean == pytest.approx(one.retained_mean[at], abs=1e-6)
        assert removed == pytest.approx(one.variance_reduction[at], abs=1e-6)


def test_a_fixed_seed_of_strata_has_the_mean_and_the_tail_of_its_distribution():
    bill = compound(CountLaw(60, k=1.5), np.array([0.01, 0.5, 2.0]))
    bills = bill.strata(1_000)
    assert bills.mean() == pytest.approx(bill.mean(), rel=1e-9)
    assert tail_value_at_risk(bills, 0.95) == pytest.approx(bill.tvar(0.95), rel=1e-6)


_OF_MANY_BILLS = """
import numpy as np
from pipeline.pricing.frontier import stop_loss
from pipeline.pricing.terms import classics_at_equal_revenue
from pipeline.pricing.risk import loadings, measure
bills, customers = np.random.default_rng(1).lognormal(size=15_000), np.repeat(np.arange(5_000), 3)
for contract in classics_at_equal_revenue(bills):
    print(contract, measure(contract, bills, customers), loadings(contract, bills))
print(stop_loss(bills, customers).variance_reduction.tobytes().hex())
"""


def test_sums_over_many_bills_are_the_same_on_any_number_of_threads():
    results = [
        subprocess.run(
            [sys.executable, "-c", _OF_MANY_BILLS],
            env=os.environ | {f"{library}_NUM_THREADS": threads for library in ("OPENBLAS", "OMP", "MKL")},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for threads in ("1", "2")
    ]
    assert "insurance" in results[0]
    assert results[0] == results[1]
