"""The page of pricing, from tables built on marts filled by hand."""

from __future__ import annotations

import datetime as dt
import html
from decimal import Decimal

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from marts import MARTS, lognormal_costs, session, usage

from pipeline.analysis.days import cost_forecast
from pipeline.pricing import recommendation
from pipeline.settings import Settings
from pipeline.store import warehouse
from pipeline.store.connection import rows_of
from pipeline.views import contracts
from pipeline.words import usd

NOW = dt.datetime(2026, 6, 1)
FIRST = dt.datetime(2026, 1, 1)
EVIL = "<img src=x>\u202e"
NINE = (
    "Per token",
    "Flat fee",
    "Hybrid",
    "Stop-loss",
    "Allowance",
    "Tiers",
    "Commitment",
    "Prepaid credits",
    "Cap per session",
)


def filled(*users, days=151, **knobs):
    """Marts with one session per day and user, and the tables of pricing built from them."""
    connection = duckdb.connect()
    connection.execute(MARTS)
    connection.execute("CREATE SCHEMA analysis")
    costs = iter(lognormal_costs(days * len(users)))
    rows = {"token_usage_minutes": [], "token_usage_sessions": []}
    for day in range(days):
        for user in users:
            cost, at = next(costs), FIRST + dt.timedelta(days=day)
            known = {"user_id": user, "billing_mode": "metered"}
            rows["token_usage_minutes"].append(usage(at, cost, source="sessions", **known))
            rows["token_usage_sessions"].append(session(day, cost, at=at, **known))
    for table, loaded in rows.items():
        if loaded:
            connection.register("loaded", pa.Table.from_pylist(loaded))
            connection.execute(f"INSERT INTO marts.{table} BY NAME SELECT * FROM loaded")
            connection.unregister("loaded")
    settings = Settings(home="unused", **knobs)
    for name, table in recommendation.tables(connection, settings).items():
        warehouse.write_analysis(connection, name, table)
    return connection, settings


@pytest.fixture(scope="module")
def plain():
    """Five customers, nothing set."""
    return filled("ana", "bo", "cy", "di", "eve")


@pytest.fixture(scope="module")
def offered():
    """One customer with a malicious name, quotes, a custom mechanism and a budget."""
    quotes = {"acme": {"commitment_usd": 5, "discount": 0.1}, EVIL: {"fee_usd": 9}}
    return filled(EVIL, quotes=quotes, mechanisms={f"{EVIL} too": {"discount": 0.5}}, budget_usd=60)


@pytest.fixture
def saved(plain):
    """The plain marts; changes of a test are undone after it."""
    connection, settings = plain
    yield connection, settings
    connection.execute("DROP TABLE IF EXISTS analysis.recommendations")


@pytest.mark.parametrize("last_day", [150, 140])  # 31 May, where the month and the next whole month are one, and 21 May
def test_pages_and_contracts_have_the_budget_of_one_table(last_day):
    connection, settings = filled("ana", days=last_day + 1)
    warehouse.write_analysis(connection, "cost_forecast", cost_forecast(connection, settings))
    (row,) = rows_of(connection, "FROM analysis.cost_forecast WHERE segment = 'all'")
    (risk,) = rows_of(
        connection,
        "FROM analysis.pricing_risk WHERE mechanism = 'per_token' AND customer_dimension = 'organisation' "
        "AND segment = 'all' AND loading_principle = 'solvency_99'",
    )
    assert risk["method"] == "forecast"
    assert (risk["var_95"], risk["var_99"]) == (row["next_budget_95"], row["next_budget_99"])
    assert risk["mean"] == pytest.approx(row["next_point"])
    page = contracts.collect(connection, settings).budget
    assert f"a budget of {usd(row['budget_95'])} has a 95% chance of being enough" in page
    assert usd(row["next_budget_95"]) in page
    assert ("Contracts are priced on" in page) == (last_day == 140)


def save(marts, *rows):
    """analysis.recommendations; missing values are null."""
    marts.execute(
        "CREATE TABLE analysis.recommendations (rank BIGINT, kind VARCHAR, subject VARCHAR, "
        "saving_usd_per_month DECIMAL(38, 12), confidence VARCHAR, evidence VARCHAR, sql VARCHAR, action VARCHAR, "
        "applied_order BIGINT, standalone_usd_per_month DECIMAL(38, 12), combined_usd_per_month DECIMAL(38, 12), "
        "what_if_usd_per_month DECIMAL(38, 12), first_usage_date DATE, last_usage_date DATE)"
    )
    span = {"first_usage_date": FIRST.date(), "last_usage_date": (FIRST + dt.timedelta(days=150)).date()}
    for row in rows:
        whole = span | row
        marts.execute(
            f"INSERT INTO analysis.recommendations ({', '.join(whole)}) VALUES ({', '.join('?' for _ in whole)})",
            list(whole.values()),
        )


def saving(rank, amount, *, order, **other):
    known = {"kind": "cache_policy", "subject": f"api_key=k{rank}", "sql": "select 1", "evidence": "seen"}
    money = Decimal(amount)
    return (
        known
        | {"rank": rank, "saving_usd_per_month": money, "standalone_usd_per_month": money}
        | {
            "applied_order": order,
            **other,
        }
    )


def page(built, tmp_path):
    report = contracts.collect(*built)
    return contracts.write(report, tmp_path, NOW).read_text(encoding="utf-8")


def test_nothing_loaded_is_a_page_that_says_so(tmp_path):
    text = page(filled(), tmp_path)
    assert "there is no usage to bill" in text
    assert "Savings have not been computed" in text
    assert "<svg" not in text


def test_the_page_loads_nothing_and_runs_nothing(offered, tmp_path):
    text = page(offered, tmp_path)
    assert "<script" not in text
    assert "http" not in text.replace('http-equiv="', "")
    assert text.count("<svg") == text.count("aria-label=") > 10


def test_what_a_quote_would_have_cost_comes_first(offered, tmp_path):
    text = html.unescape(page(offered, tmp_path))
    (answer,) = offered[0].execute("SELECT answer FROM analysis.pricing_quotes WHERE quote = 'acme'").fetchone()
    assert text.index(answer) < text.index("Which contract")
    assert "acme (as quoted)" in text


def test_without_a_quote_the_page_says_how_to_set_one(plain, tmp_path):
    assert "quote add" in page(plain, tmp_path)


def test_names_of_quotes_mechanisms_keys_and_queries_are_escaped(offered, tmp_path):
    save(
        offered[0],
        saving(1, "1", order=1, subject=EVIL, evidence=EVIL, sql=f"select '{EVIL}'\n\n-- {EVIL}", action=EVIL),
        {"kind": "what_if", "subject": EVIL, "what_if_usd_per_month": Decimal(-1), "evidence": EVIL},
        {"kind": "unavailable", "subject": EVIL, "evidence": EVIL},
    )
    text = page(offered, tmp_path)
    offered[0].execute("DROP TABLE analysis.recommendations")
    assert "<img" not in text
    assert "\u202e" not in text
    assert "&lt;img src=x&gt;" in text


def test_the_recommendation_is_told_for_each_customer_and_principle_and_a_disagreement_once(plain, tmp_path):
    text = html.unescape(page(plain, tmp_path))
    best = (
        plain[0]
        .execute(
            "SELECT customer_dimension, reason FROM analysis.pricing_recommendation WHERE rank = 1 "
            "AND target = 'variance_reduction'"
        )
        .fetchall()
    )
    assert len(best) == 4
    sentences = [reason.split(" The two principles disagree")[0] for _, reason in best]
    assert all(sentence in text for sentence in sentences)
    disagreeing = {dimension for dimension, reason in best if "The two principles disagree" in reason}
    assert text.count("The two principles disagree") == len(disagreeing) > 0


def test_a_budget_has_a_recommendation_of_its_own(offered, tmp_path):
    assert "Keep a bill within $60.00 with a probability of 95%" in page(offered, tmp_path)


def test_bills_before_and_after_are_those_of_the_tables(plain):
    for dimension in contracts.collect(*plain).dimensions:
        assert tuple(row.title for row in dimension.spreads) == NINE
        assert len(dimension.histograms) == 8
        known = dict(
            plain[0]
            .execute(
                "SELECT mechanism, var_95 FROM analysis.pricing_risk WHERE segment = 'all' AND customer_dimension = ?",
                [dimension.name],
            )
            .fetchall()
        )
        for row, mechanism in zip(dimension.spreads, contracts.TITLES, strict=True):
            assert row.high == pytest.approx(known[mechanism], rel=1e-9), mechanism


def test_the_table_beside_the_frontier_holds_the_least_loading_that_reaches_a_level(plain):
    dimension = contracts.collect(*plain).dimensions[0]
    assert len(dimension.frontier) == 4
    levels = {(principle, level): least for principle, level, least in dimension.levels}
    hybrid, *_ = levels["expected_value", 0.75]
    mean = next(row["mean"] for row in dimension.risks)
    assert hybrid == pytest.approx(0.2 * 0.5 * mean, rel=0.01)  # theta = 0.5 removes 75%, and cedes half of the bill


def test_few_bills_are_said_and_not_drawn(offered, tmp_path):
    organisation, customers = contracts.collect(*offered).dimensions
    assert (organisation.status, customers.status) == ("ok", "too_few")
    assert customers.histograms == ()
    assert customers.ends == ("lowest", "highest")
    text = page(offered, tmp_path)
    assert "Too few bills for a histogram" in text
    assert "5 bills, at least 20 are needed" in text


def test_the_risk_of_a_bill_is_split_and_adds_up(plain):
    for dimension in contracts.collect(*plain).dimensions:
        assert len(dimension.bearing) == 9
        for row in dimension.bearing:
            assert row["customer"] + row["provider"] + row["shared"] == pytest.approx(1)


def test_a_loss_ratio_is_drawn_for_each_number_of_customers(plain):
    dimension = contracts.collect(*plain).dimensions[0]
    assert dimension.provider_sizes == (1, 10, 100, 1_000, 10_000)
    assert [plot.title.split(", ")[1] for plot in dimension.provider_plots] == [
        "independent customers",
        "customers who share one shock",
    ]


def test_savings_lead_from_the_cost_of_a_month_to_what_is_left(saved, tmp_path):
    connection, _ = saved
    save(
        connection,
        saving(1, "3", order=2),
        saving(2, "1.5", order=1, standalone_usd_per_month=Decimal(4)),
        {"kind": "what_if", "subject": "cheap", "what_if_usd_per_month": Decimal(-20), "evidence": "asked"},
        {"kind": "unavailable", "subject": "rest", "evidence": "only days are known"},
    )
    first, *between, last = contracts.collect(*saved).savings.steps
    (cost,) = connection.execute("SELECT sum(estimated_cost_usd) FROM marts.token_usage_minutes").fetchone()
    assert float(first["usd"]) == pytest.approx(float(cost) * 30 / 151)
    assert [step["usd"] for step in between] == [Decimal("-1.5"), Decimal("-3")]
    assert last["usd"] == first["usd"] - Decimal("4.5")
    text = page(saved, tmp_path)
    assert "would have saved $4.50 of" in text
    assert "$4.00 alone" in text
    assert "only days are known" in text
    assert text.index("api_key=k1") < text.index("api_key=k2") < text.index("What if (not counted above)")


def test_savings_that_cannot_be_judged_are_said(saved):
    save(saved[0], {"kind": "unavailable", "subject": "all", "evidence": "only days are known"})
    found = contracts.collect(*saved).savings
    assert found.steps == found.rows == ()
    assert found.notes == ("only days are known",)


def test_a_flat_fee_is_one_price_in_the_picture(plain):
    flat = contracts.collect(*plain).dimensions[0].histograms[0]
    assert flat.title.startswith("Flat fee: every month costs $")
    heights = np.array([float(part.split()[1]) for part in flat.paths[1][1].replace("M", "").split("L")])
    assert (heights < heights.max()).sum() == 2  # the top of one column
