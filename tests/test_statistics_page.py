"""The page of the statistics, from tables that were built of marts filled by hand."""

from __future__ import annotations

import datetime as dt

import duckdb
import numpy as np
import pytest
from marts import MARTS, START, insert, lognormal_costs, session, usage

from pipeline import analysis, statistics_page, warehouse
from pipeline.settings import Settings

NOW = dt.datetime(2026, 6, 1)


@pytest.fixture
def marts():
    with duckdb.connect() as connection:
        connection.execute(MARTS)
        connection.execute("CREATE SCHEMA analysis")
        yield connection


def page(marts, tmp_path):
    knobs = Settings(home=tmp_path)
    for name, build in analysis.TABLES.items():
        warehouse.write_analysis(marts, name, build(marts, knobs))
    return statistics_page.write(statistics_page.collect(marts), tmp_path, NOW).read_text(encoding="utf-8")


def test_nothing_loaded_is_a_page_that_says_so(marts, tmp_path):
    text = page(marts, tmp_path)
    assert "a bridge needs two months" in text
    assert "No session logs have been loaded" in text
    assert "<svg" not in text


def test_names_of_users_and_keys_are_escaped(marts, tmp_path):
    evil = "<img src=x>\u202e"
    costs = lognormal_costs(100)
    insert(marts, "token_usage_sessions", [session(i, c, user_id=evil, api_key=evil) for i, c in enumerate(costs)])
    text = page(marts, tmp_path)
    assert "<img" not in text
    assert "\u202e" not in text
    assert "&lt;img src=x&gt;" in text


def test_a_cap_is_marked_and_fits_are_named(marts, tmp_path):
    tokens = np.minimum(np.rint(np.random.default_rng(3).lognormal(8, 1, 1000)), 9000).astype(int).tolist()
    insert(marts, "token_usage_sessions", [session(i, 1, total_tokens=count) for i, count in enumerate(tokens)])
    text = page(marts, tmp_path)
    assert "cap 9k" in text
    assert "lognormal</li>" in text


def test_a_flagged_day_is_framed_and_explained(marts, tmp_path):
    noise = np.random.default_rng(1).normal(0, 0.1, 100)
    rows = [usage(START + dt.timedelta(days=i), float(10 * np.exp(each))) for i, each in enumerate(noise)]
    rows[50]["estimated_cost_usd"] = 80
    kinds = ("input_tokens_no_cache", "input_tokens_cache_write_5m", "input_tokens_cache_write_1h")
    empty = dict.fromkeys((*kinds, "input_tokens_cache_read"), 0)
    insert(marts, "token_usage_minutes", [row | empty | {"output_tokens": 100} for row in rows])
    text = page(marts, tmp_path)
    assert 'flagged" x=' in text
    assert "2026-02-24: $80.00" in text
    assert "price $" in text
