"""Marts that a test fills by hand: their tables, and rows with default values for all other columns.

Does not belong here: how the models fill them (test_models).
"""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import numpy as np

KINDS = """
    input_tokens_no_cache BIGINT, input_tokens_cache_write_5m BIGINT, input_tokens_cache_write_1h BIGINT,
    input_tokens_cache_read BIGINT, output_tokens BIGINT
"""
MARTS = f"""
    CREATE SCHEMA marts;
    CREATE TABLE marts.requests (
        request_key VARCHAR, session_id VARCHAR, source_format VARCHAR, requested_at TIMESTAMP, provider VARCHAR,
        model VARCHAR, model_version VARCHAR, api_key VARCHAR, workspace VARCHAR, user_id VARCHAR, project VARCHAR,
        usage_type VARCHAR, context_window VARCHAR, inference_geo VARCHAR, speed VARCHAR, is_sidechain BOOLEAN, {KINDS},
        web_search_count BIGINT, total_tokens BIGINT, estimated_cost_usd DECIMAL(38, 12), billing_mode VARCHAR
    );
    CREATE TABLE marts.token_usage_minutes (
        source VARCHAR, provider VARCHAR, usage_minute TIMESTAMP, bucket_seconds INTEGER, model VARCHAR,
        model_version VARCHAR, api_key VARCHAR, workspace VARCHAR, user_id VARCHAR, project VARCHAR, usage_type VARCHAR,
        context_window VARCHAR, inference_geo VARCHAR, speed VARCHAR, usage_date DATE, {KINDS}, web_search_count BIGINT,
        total_tokens BIGINT, request_count BIGINT, estimated_cost_usd DECIMAL(38, 12),
        billing_mode VARCHAR DEFAULT 'metered', is_in_force BOOLEAN DEFAULT true
    );
    CREATE TABLE marts.token_usage_sessions (
        session_id VARCHAR, conversation_id VARCHAR, source_format VARCHAR, user_id VARCHAR, provider VARCHAR,
        api_key VARCHAR, workspace VARCHAR, project VARCHAR, tags VARCHAR, context_window VARCHAR,
        session_started_at TIMESTAMP, last_updated_at TIMESTAMP, duration_seconds DOUBLE, primary_model VARCHAR,
        models VARCHAR, request_count BIGINT, {KINDS}, cache_creation_tokens BIGINT, web_search_count BIGINT,
        total_tokens BIGINT, estimated_cost_usd DECIMAL(38, 12), cost_per_token DOUBLE, input_output_ratio DOUBLE,
        cache_split_assumed BOOLEAN, billing_mode VARCHAR
    );
    CREATE TABLE marts.billed_costs (
        usage_date DATE, provider VARCHAR, model VARCHAR, api_key VARCHAR, workspace VARCHAR, token_kind VARCHAR,
        cost_usd DECIMAL(38, 12), list_price_usd DECIMAL(38, 12), cost_rows BIGINT,
        rounding_tolerance_usd DECIMAL(38, 12) DEFAULT 0.005
    );
    CREATE TABLE marts.charges (
        usage_date DATE, source VARCHAR DEFAULT 'console', provider VARCHAR DEFAULT 'anthropic',
        model VARCHAR DEFAULT 'claude-sonnet-4-5', api_key VARCHAR DEFAULT 'prod', workspace VARCHAR DEFAULT 'Default',
        user_id VARCHAR DEFAULT '', project VARCHAR DEFAULT '', billing_mode VARCHAR DEFAULT 'metered',
        usage_type VARCHAR DEFAULT 'standard', context_window VARCHAR DEFAULT '0-200k',
        inference_geo VARCHAR DEFAULT '', speed VARCHAR DEFAULT 'standard', token_kind VARCHAR DEFAULT 'output',
        tokens BIGINT,
        cost_usd DECIMAL(38, 12), list_cost_usd DECIMAL(38, 12), is_in_force BOOLEAN DEFAULT true,
        team VARCHAR DEFAULT ''
    );
    CREATE TABLE marts.model_rates (
        provider VARCHAR, model VARCHAR, token_kind VARCHAR, context_window VARCHAR, usage_type VARCHAR,
        inference_geo VARCHAR, speed VARCHAR, valid_from DATE, usd_per_mtok DECIMAL(18, 6),
        list_usd_per_mtok DECIMAL(18, 6)
    );
"""
IN_FORCE = """
    UPDATE marts.token_usage_minutes
    SET is_in_force = source = 'console' OR (provider, usage_date, billing_mode) NOT IN (
        SELECT (provider, usage_date, billing_mode) FROM marts.token_usage_minutes WHERE source = 'console'
    )
"""
START = dt.datetime(2026, 1, 5)


def insert(connection, table, rows):
    for row in rows:
        names = ", ".join(row)
        marks = ", ".join("?" for _ in row)
        connection.execute(f"INSERT INTO marts.{table} ({names}) VALUES ({marks})", list(row.values()))
    if table == "token_usage_minutes":
        connection.execute(IN_FORCE)


def money(value):
    return None if value is None else Decimal(f"{value:.12f}")


def session(number, cost, *, at=None, **other):
    row = {
        "session_id": f"s{number:05}",
        "session_started_at": at or START + dt.timedelta(hours=number),
        "primary_model": "claude-sonnet-4-5",
        "api_key": "prod",
        "workspace": "Default",
        "user_id": "",
        "total_tokens": 1000 + number,
        "estimated_cost_usd": money(cost),
    }
    return row | other


def usage(minute, cost, *, source="console", bucket=60, **other):
    row = {
        "source": source,
        "provider": "anthropic",
        "usage_minute": minute,
        "bucket_seconds": bucket,
        "model": "claude-sonnet-4-5",
        "api_key": "prod",
        "workspace": "Default",
        "user_id": "",
        "usage_date": minute.date(),
        "total_tokens": 100,
        "estimated_cost_usd": money(cost),
    }
    return row | other


def lognormal_costs(n, seed=7):
    return [round(float(cost), 9) for cost in np.random.default_rng(seed).lognormal(-2, 1, n)]


def rows_of(table, **wanted):
    return [row for row in table.to_pylist() if all(row[name] == value for name, value in wanted.items())]


def one(table, **wanted):
    (row,) = rows_of(table, **wanted)
    return row
