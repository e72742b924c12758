"""The page of the bill: what was checked and right, what was not checkable and why, and where to look."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pytest
from published import shown_text, snapshot

from pipeline.serving.app import Served
from pipeline.settings import Settings
from pipeline.store import warehouse
from pipeline.views import bill, reconciled, site
from pipeline.views.filters import Filters, parse
from pipeline.views.view import run

DAY = dt.date(2026, 2, 17)
EVERYTHING = Filters()
HOSTILE = '=cmd|"<b>x</b>&\u202e'


def cell(status="matched", billed="1", console="1", logged=None, **other):
    """A cell of the comparison; `logged` also gives the bounds of the logs."""
    money = {
        name: None if text is None else Decimal(text)
        for name, text in (("billed_cost_usd", billed), ("console_cost_usd", console), ("logged_cost_usd", logged))
    }
    tokens = None if logged is None else 1000
    sides = (("console", console), ("billed", billed), ("logged", logged))
    row = {
        "usage_date": DAY,
        "provider": "anthropic",
        "model": "claude-sonnet-4-5",
        "api_key": "prod",
        "workspace": "Default",
        "token_kind": "output",
        "compared": "+".join(name for name, text in sides if text is not None),
        "console_tokens": None if console is None else 1000,
        "logged_tokens": tokens,
        "logged_tokens_low": tokens,
        "logged_tokens_high": tokens,
        "rounding_tolerance_usd": Decimal("0.005"),
        "cost_gap_usd": None,
        "status": status,
        "scope": "" if logged is None else "stated",
        "implied_rate_low": 14.0,
        "implied_rate_high": 16.0,
    }
    compared = money["console_cost_usd"] if logged is None else money["logged_cost_usd"]
    if money["billed_cost_usd"] is not None and compared is not None:
        row["cost_gap_usd"] = money["billed_cost_usd"] - compared
    return row | money | other


def published(folder, *cells, **tables):
    named = {f"marts.{name}": rows for name, rows in tables.items()}
    return snapshot(folder, {"marts.usage_reconciliation": cells} | named)


OF_2024 = cell("out_of_scope", "235.17", None, usage_date=dt.date(2024, 3, 5), compared="billed")


def test_the_answer_names_what_was_right_then_what_could_not_be_checked_and_why(tmp_path):
    answer = bill.answer(published(tmp_path, cell(billed="33.39", console="33.39"), OF_2024), EVERYTHING)
    assert answer.sentence == "$33.39 checked and right; $235.17 not checkable: no usage export on 2024-03-05."
    assert answer.number == "$33.39"
    assert [(tile.label, tile.value) for tile in answer.tiles] == [
        ("Billed", "$268.56"),
        ("Checked and right", "$33.39"),
        ("Not checkable", "$235.17"),
    ]


def test_a_bill_without_open_amounts_is_said_to_be_right_even_where_no_log_explains_it(tmp_path):
    answer = bill.answer(published(tmp_path, cell("unlogged", "5", "5.004", "2"), cell(billed="1")), EVERYTHING)
    assert answer.sentence == "Yes: the whole bill, $6.00, was checked and is right."
    assert answer.tiles[-1].value == "50.0%"  # the logs have $2.00; $1.00 has no logs beside it


def test_an_amount_that_the_usage_does_not_give_differs(tmp_path):
    found = published(tmp_path, cell("mispriced", "12", "11.5"), cell(billed="1", token_kind="input_no_cache"))
    assert bill.answer(found, EVERYTHING).sentence == (
        "$1.00 checked and right; $12.00 differs from the usage, together $0.50 too much."
    )


# Each reason for which an amount cannot be checked: a cell, the open amount, and the words.
UNCHECKED = [
    (cell("not_comparable", "-3", None, token_kind="credit", compared="billed"), "-3", "credits"),
    (cell("not_comparable", "3", None, compared="console+billed"), "3", "kinds of cost"),
    (cell("unpriced", "3", None, compared="console+billed"), "3", "no rate"),
    (cell("late", "3", "1"), "3", "ends too early"),
    (cell("out_of_scope", "3", None, compared="billed+logged"), "3", "keys without"),
    (cell("unlogged", "3", None, "1"), "2", "neither log nor usage export"),
]


@pytest.mark.parametrize(("one", "open_usd", "words"), UNCHECKED, ids=[words for *_, words in UNCHECKED])
def test_each_reason_is_said_with_its_amount(tmp_path, one, open_usd, words):
    found = published(tmp_path, one, cell(billed="7"))
    (row,) = [row for row in run(bill.CHECKED, found, EVERYTHING).rows if row["outcome"] == "not checkable"]
    assert row["usd"] == Decimal(open_usd)
    assert words in row["reason"]
    assert words in bill.answer(found, EVERYTHING).sentence
    assert row["remedy"].endswith(".")


def test_the_parts_of_the_bill_add_up_to_it_whatever_is_compared(tmp_path):
    cells = [one for one, *_ in UNCHECKED] + [
        cell("mispriced", "12", "11.5"),
        cell("consistent", "2", None, "2"),
        OF_2024,
    ]
    found = published(tmp_path, *cells, cell("not_comparable", None, None, "4"))
    billed = sum(one["billed_cost_usd"] for one in cells)
    assert sum(row["usd"] for row in run(bill.CHECKED, found, EVERYTHING).rows) == billed
    steps = run(bill.STEPS, found, EVERYTHING).rows
    assert steps[-1]["usd"] == billed
    changes = sum(row["usd"] for row in steps[1:] if not row["is_total"])
    assert steps[0]["usd"] + changes == billed


def test_filters_choose_cells_and_what_a_bill_does_not_know_is_said(tmp_path):
    found = published(tmp_path, cell(billed="2"), cell(billed="3", api_key=HOSTILE), OF_2024)
    assert bill.answer(found, parse({"api_key": [HOSTILE]})).number == "$3.00"
    assert bill.answer(found, parse({"to": ["2024-12-31"]})).sentence.startswith("Nothing could be checked")
    (warning,) = bill.answer(found, parse({"user_id": ["ann"]})).warnings
    assert "user" in warning
    assert run(bill.CHECKED, found, parse({"team": ["search"]})).not_applied == ("team",)


def test_the_page_and_the_terminal_say_the_same(tmp_path):
    found = published(
        tmp_path, cell("unlogged", "5", "5", "2"), cell("unbilled", "1", "3", "3", model="claude-haiku-4-5")
    )
    page = [(row["what"], row["gap_usd"]) for row in run(bill.GAPS, found, EVERYTHING).rows]
    with warehouse.connect_published(Settings(home=tmp_path)) as connection:
        report = reconciled.collect(connection)
    assert page == [(gap.what, gap.row["gap_usd"]) for gap in report.gaps]
    steps = run(bill.STEPS, found, EVERYTHING).rows
    assert [(row["step"], row["cells"]) for row in steps] == [(step.label, step.cells) for step in report.steps]
    assert [(row["name"], row["open_usd"]) for row in run(bill.COVERAGE, found, EVERYTHING).rows] == [
        (each.name, each.billed_usd - each.explained_usd) for each in report.by_key
    ]


def test_rates_invoices_and_unpriced_usage_that_need_action_are_warnings(tmp_path):
    rate = {
        "month": DAY.replace(day=1), "provider": "anthropic", "model": "claude-sonnet-4-5", "token_kind": "output",
        "cells": 3, "billed_cost_usd": Decimal(12), "computed_cost_usd": Decimal(11), "cost_gap_usd": Decimal(1),
        "implied_rate_low": 16.1, "implied_rate_high": 16.4, "verdict": "mispriced",
    }  # fmt: skip
    invoice = {
        "period_start": DAY, "period_end": DAY, "currency": "EUR", "amount": Decimal("20.5"), "credits": Decimal(0),
        "tax": Decimal(0), "due": Decimal("20.5"), "covered_days": 0, "period_days": 1, "status": "other_currency",
    }  # fmt: skip
    other = invoice | {"currency": "USD", "gap_usd": Decimal("2.5"), "status": "differs", "covered_days": 1}
    unpriced = {
        "provider": "x",
        "model": "y",
        "token_kind": "output",
        "missing": "model",
        "tokens": 1234,
        "usage_rows": 1,
    }
    found = published(
        tmp_path, cell(), rate_evidence=[rate], invoices=[invoice, other], unpriced_usage=[unpriced, unpriced]
    )
    contradicted, differing, without_rate = bill.answer(found, EVERYTHING).warnings
    assert "1 monthly rate ($1.00)" in contradicted
    assert differing == "1 invoice period differs from the bill, by $2.50."
    assert without_rate.startswith("2,468 tokens have no rate")
    (shown,) = run(bill.RATES, found, EVERYTHING).rows
    assert (shown["implied"], shown["kind"]) == ("$16.1 to $16.4", "output")
    stated = {row["amount_stated"]: row["outcome"] for row in run(bill.INVOICES_VIEW, found, EVERYTHING).rows}
    assert stated == {"20.50 EUR": "not compared: not in USD", "20.50 USD": "differs from the bill"}


def test_coverage_leads_from_a_key_a_model_or_a_day_to_its_bill(tmp_path):
    found = published(tmp_path, cell(), cell(api_key="", scope="collapsed"))
    for by, last in (("key", {"api_key": ["prod"]}), ("model", {"model": ["claude-sonnet-4-5"]})):
        filters = parse({"by": [by]})
        shown = run(bill.COVERAGE, found, filters)
        links = [shown.columns[0].link(row, filters) for row in shown.rows]
        assert ("bill", parse(last)) in links
    by_day = parse({"by": ["day"]})
    (row,) = run(bill.COVERAGE, found, by_day).rows
    assert bill.COVERAGE.columns[0].link(row, by_day) == ("bill", parse({"from": [f"{DAY}"], "to": [f"{DAY}"]}))


def test_a_hostile_key_is_text_and_an_empty_home_says_that_there_is_no_bill(tmp_path):
    found = published(tmp_path, cell("unlogged", "5", "5", "2", api_key=HOSTILE, model=HOSTILE))
    html = site.question(Served(), bill.PAGE, found, EVERYTHING)
    assert "<b>x</b>" not in html
    assert "=cmd|&#34;&lt;b&gt;x&lt;/b&gt;&amp;\\u202e" in shown_text(html)
    (tmp_path / "empty").mkdir()
    nothing = published(tmp_path / "empty")
    assert bill.answer(nothing, EVERYTHING).sentence == "No cost export is loaded, so there is no bill to check."
    chosen = bill.answer(nothing, parse({"model": ["x"]}))
    assert chosen.sentence == "No cost export matches these filters, so there is no bill to check."
    assert all(not site.attempt(view, nothing, EVERYTHING).problem for view in bill.PAGE.views)
