"""Validation: each suite passes on sound marts, fails on a row that breaks its rule, and never passes without rows."""

from __future__ import annotations

import socket
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.validation import history, report, suites
from pipeline.validation.suites import SuiteResult, ValidationError, display, load_suites, run_suites

NOW = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)
BLOCKING = [suite.name for suite in load_suites() if suite.severity == "blocking"]
ALL = [suite.name for suite in load_suites()]

KINDS = """input_tokens_no_cache bigint, input_tokens_cache_write_5m bigint, input_tokens_cache_write_1h bigint,
    input_tokens_cache_read bigint, output_tokens bigint"""

SCHEMA = f"""
create schema ingest;
create schema marts;
create table ingest.files (
    file_sha256 varchar, path varchar, format varchar, rows_read bigint, rows_loaded bigint, rows_rejected bigint,
    rows_ignored bigint, rows_repeated bigint, status varchar
);
create table ingest.rejected_rows (
    file_sha256 varchar, path varchar, line bigint, byte_offset bigint, reason varchar, column_name varchar,
    value varchar
);
create table marts.token_usage_minutes (
    source varchar, provider varchar, usage_minute timestamp, bucket_seconds integer, model varchar,
    model_version varchar, api_key varchar, workspace varchar, user_id varchar, project varchar, usage_type varchar,
    context_window varchar, inference_geo varchar, speed varchar, usage_date date, {KINDS}, web_search_count bigint,
    total_tokens bigint, request_count bigint, estimated_cost_usd decimal(38, 12)
);
create table marts.requests (
    request_key varchar, session_id varchar, source_format varchar, requested_at timestamp, provider varchar,
    model varchar, api_key varchar, workspace varchar, {KINDS}, web_search_count bigint, total_tokens bigint,
    estimated_cost_usd decimal(38, 12), stated_total_tokens bigint
);
create table marts.token_usage_sessions (
    session_id varchar, provider varchar, api_key varchar, workspace varchar, session_started_at timestamp,
    primary_model varchar, {KINDS}, cache_creation_tokens bigint, web_search_count bigint, total_tokens bigint
);
create table marts.billed_costs (
    provider varchar, model varchar, token_kind varchar, cost_usd decimal(38, 12),
    usage_date date default date '2026-01-01'
);
create table marts.channel_comparison (
    usage_date date, provider varchar, account_of varchar, model varchar, token_kind varchar, channel_in_force varchar,
    in_force_tokens bigint, checking_tokens bigint, token_gap bigint, in_force_usd decimal(38, 12),
    checking_usd decimal(38, 12), usd_gap decimal(38, 12), tolerance_usd decimal(38, 12), is_different boolean
);
create table marts.booked_costs (month date, side varchar, cost_usd decimal(38, 12));
create table marts.unpriced_usage (
    source varchar, provider varchar, model varchar, model_version varchar, usage_type varchar,
    context_window varchar, inference_geo varchar, speed varchar, token_kind varchar, tokens bigint,
    first_used date, last_used date
);
"""

LANDED = """
insert into ingest.files values
    ('a1', 'usage.csv', 'console_usage', 30, 30, 0, 0, 0, 'loaded'),
    ('a2', 'costs.csv', 'console_cost', 80, 79, 1, 0, 0, 'loaded'),
    ('a3', 'session.jsonl', 'claude_code', 60, 30, 0, 20, 10, 'loaded'),
    ('a4', 'notes.txt', 'unrecognised', 0, 0, 0, 0, 0, 'unrecognised');
"""

# 30 days of two models in both sources; the sessions have half of the account's tokens, in the same proportions.
USAGE = """
insert into marts.token_usage_minutes
select
    source, 'anthropic', timestamp '2026-01-01 09:00' + to_days(day::integer), 60, model, model || '-20251001', 'team',
    'Default', '', '', 'standard', '', '', '', date '2026-01-01' + day::integer,
    100 * scale, 10 * scale, 0, 800 * scale, 90 * scale, 0, 1000 * scale, 1, 0.001234567891 * scale
from (values ('console', 2), ('sessions', 1)) as sources(source, scale)
cross join (values ('claude-sonnet-4-5'), ('claude-haiku-4-5')) as models(model)
cross join range(30) as days(day);
insert into marts.requests
select
    model || day_number, 's' || day_number, 'claude_code', usage_minute, provider, model, api_key, workspace,
    columns('^input_tokens|^output'), web_search_count, total_tokens, estimated_cost_usd,
    if(day_number = 1, total_tokens, null)
from (select *, day(usage_date) as day_number from marts.token_usage_minutes where source = 'sessions');
insert into marts.token_usage_sessions
select
    session_id, provider, api_key, workspace, min(requested_at), min(model), sum(input_tokens_no_cache),
    sum(input_tokens_cache_write_5m), sum(input_tokens_cache_write_1h), sum(input_tokens_cache_read),
    sum(output_tokens), sum(input_tokens_cache_write_5m + input_tokens_cache_write_1h), 0, sum(total_tokens)
from marts.requests group by all;
insert into marts.channel_comparison by name
select
    usage_date, provider, 'usage' as account_of, model, 'output' as token_kind, 'csv' as channel_in_force,
    output_tokens as in_force_tokens, output_tokens as checking_tokens, 0 as token_gap, false as is_different
from marts.token_usage_minutes where source = 'console';
insert into marts.billed_costs (provider, model, token_kind, cost_usd) values
    ('anthropic', 'claude-sonnet-4-5', 'input_no_cache', 0.5), ('anthropic', 'claude-sonnet-4-5', 'cache_read', 1.25),
    ('anthropic', 'claude-haiku-4-5', 'web_search', 0.01);
"""

DERIVED = """
create table marts.token_sum_audit as
select
    usage_date, source, model, count(*) as rows, 0::bigint as rows_off, sum(total_tokens)::bigint as parts,
    sum(total_tokens)::bigint as total
from marts.token_usage_minutes group by all;
create table marts.daily_usage as
select
    usage_date, source, provider, model, api_key, workspace,
    sum(input_tokens_no_cache)::bigint as input_tokens_no_cache,
    sum(input_tokens_cache_write_5m)::bigint as input_tokens_cache_write_5m,
    sum(input_tokens_cache_write_1h)::bigint as input_tokens_cache_write_1h,
    sum(input_tokens_cache_read)::bigint as input_tokens_cache_read, sum(output_tokens)::bigint as output_tokens,
    sum(total_tokens)::bigint as total_tokens, sum(estimated_cost_usd) as cost_usd, 0.0 as api_equivalent_cost_usd
from marts.token_usage_minutes group by all;
create table marts.cache_efficiency_stats as
select
    usage_date, source, provider, model, '' as user_id, api_key, workspace,
    input_tokens_cache_read as total_cache_reads, total_tokens, cost_usd,
    100.0 * input_tokens_cache_read / total_tokens as cache_hit_percentage,
    input_tokens_cache_read / (total_tokens - output_tokens) as cache_read_share_of_input
from marts.daily_usage;
create table marts.model_usage_stats as
select
    source, provider, model, count(*) as usage_rows, sum(total_tokens)::bigint as total_tokens,
    sum(cost_usd) as total_cost_usd
from marts.daily_usage group by all;
create table marts.usage_reconciliation as
select
    usage_date, provider, model, sum(cost_usd) filter (source = 'console') as console_cost_usd,
    sum(cost_usd) filter (source = 'sessions') as logged_cost_usd, null::decimal(38, 12) as billed_cost_usd
from marts.daily_usage group by all
union all
select date '2026-01-01', provider, model, null, null, cost_usd from marts.billed_costs;
create table marts.charges as
select source, model, usage_date, sum(total_tokens)::bigint as tokens, sum(estimated_cost_usd) as cost_usd
from marts.token_usage_minutes group by all;
create table marts.chargeback as
select
    date_trunc('month', usage_date)::date as month, model as team, sum(cost_usd) as direct_usd,
    0::decimal(38, 12) as shared_usd, 0::decimal(38, 12) as unallocated_usd, false as is_closed
from marts.billed_costs group by all;
create table marts.focus_1_2 as
select date_trunc('month', usage_date) as BillingPeriodStart, sum(cost_usd) as BilledCost
from marts.billed_costs group by all;
create table marts.token_conservation as
select
    source, (sum(total_tokens) + 5)::bigint as stored_tokens, 5::bigint as superseded_tokens,
    sum(total_tokens)::bigint as in_force_tokens, sum(total_tokens)::bigint as marts_tokens
from marts.token_usage_minutes group by all;
"""


def warehouse(*changes: str, landed: bool = True, usage: bool = True) -> duckdb.DuckDBPyConnection:
    """Sound marts, then `changes`."""
    connection = duckdb.connect(config={"preserve_insertion_order": "false"})
    connection.execute(SCHEMA + (LANDED if landed else "") + (USAGE if usage else "") + DERIVED)
    for change in changes:
        connection.execute(change)
    return connection


def outcome(connection: duckdb.DuckDBPyConnection, name: str) -> SuiteResult:
    (result,) = run_suites(connection, [name], max_rejected_share=0.02)
    return result


def test_every_suite_passes_on_sound_marts() -> None:
    results = run_suites(warehouse(), max_rejected_share=0.02)
    assert {result.name: result.status for result in results} == dict.fromkeys(ALL, "passed")
    assert all(result.evaluated_rows > 0 and not result.offending_rows for result in results)


def test_a_frame_is_judged_once_and_again_when_it_has_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    connection = warehouse("create schema scope; create table scope.results (stage text, item text, result text)")
    judged: list[str] = []
    validate = suites._Judge._validate
    monkeypatch.setattr(
        suites._Judge, "_validate", lambda self, suite, frame: judged.append(suite.name) or validate(self, suite, frame)
    )

    def run() -> list[SuiteResult]:
        judged.clear()
        return run_suites(connection, max_rejected_share=0.02)

    first = run()
    assert sorted(judged) == sorted(ALL)
    assert run() == first
    assert judged == []
    connection.execute("update marts.token_usage_minutes set total_tokens = total_tokens + 1 where source = 'console'")
    changed = run()
    failed = {result.name for result in changed if result.status == "failed"}
    assert "kinds_add_up" in failed
    assert failed <= set(judged) < set(ALL)
    assert run() == changed
    assert judged == []
    connection.execute("update marts.token_usage_minutes set total_tokens = total_tokens - 1 where source = 'console'")
    assert run() == first
    assert "kinds_add_up" in judged


M = "marts.token_usage_minutes"
GRAIN = [
    "source",
    "provider",
    "usage_minute",
    "bucket_seconds",
    "model",
    "model_version",
    "api_key",
    "workspace",
    "user_id",
    "project",
    "usage_type",
    "context_window",
    "inference_geo",
    "speed",
]
FIRST_MINUTE = "source = 'console' and model = 'claude-haiku-4-5' and usage_date = date '2026-01-03'"
BROKEN = [
    ("token_sums", f"update marts.token_sum_audit set rows_off = 1 where {FIRST_MINUTE}"),
    ("token_sums", f"update marts.token_sum_audit set parts = parts + 1 where {FIRST_MINUTE}"),
    ("token_sums", f"update marts.token_sum_audit set total = total + 1, parts = parts + 1 where {FIRST_MINUTE}"),
    ("token_sums", f"delete from marts.token_sum_audit where {FIRST_MINUTE}"),
    ("minutes_grain", f"insert into {M} from {M} where {FIRST_MINUTE}"),
    *[("minutes_grain", f"update {M} set {column} = null where {FIRST_MINUTE}") for column in GRAIN],
    ("minutes_grain", f"update {M} set source = 'invoice' where {FIRST_MINUTE}"),
    *[
        (
            "no_negative_tokens",
            f"update marts.{table} set {column} = -1 where {column} = (select min({column}) from marts.{table})",
        )
        for table, column in [
            ("token_usage_minutes", "output_tokens"),
            ("token_usage_minutes", "web_search_count"),
            ("token_usage_sessions", "cache_creation_tokens"),
            ("requests", "input_tokens_cache_read"),
            ("daily_usage", "total_tokens"),
        ]
    ],
    *[
        ("kinds_add_up", f"update marts.{table} set {change}")
        for table in ("token_usage_minutes", "token_usage_sessions", "requests", "daily_usage")
        for change in ("output_tokens = output_tokens + 1", "input_tokens_cache_write_1h = null")
    ],
    ("kinds_add_up", "update marts.token_usage_sessions set cache_creation_tokens = cache_creation_tokens + 1"),
    ("billed_token_kinds", "insert into marts.billed_costs (token_kind) values ('input_cache_write')"),
    ("billed_token_kinds", "insert into marts.billed_costs (token_kind) values (null)"),
    ("billed_token_kinds", "insert into marts.billed_costs (token_kind) values ('')"),
    ("priced_or_listed", f"update {M} set estimated_cost_usd = null where {FIRST_MINUTE}"),
    ("cache_shares", "update marts.cache_efficiency_stats set cache_hit_percentage = 100.1"),
    ("cache_shares", "update marts.cache_efficiency_stats set cache_hit_percentage = -0.1"),
    ("cache_shares", "update marts.cache_efficiency_stats set cache_hit_percentage = 'nan'"),
    ("cache_shares", "update marts.cache_efficiency_stats set cache_hit_percentage = null"),
    ("cache_shares", "update marts.cache_efficiency_stats set cache_hit_percentage = cache_hit_percentage / 100"),
    ("cache_shares", "update marts.cache_efficiency_stats set cache_read_share_of_input = 1.5"),
    ("ledger_balance", "update ingest.files set rows_ignored = rows_ignored + 1 where file_sha256 = 'a3'"),
    ("ledger_balance", "update ingest.files set rows_loaded = null where file_sha256 = 'a3'"),
    (
        "ledger_balance",
        "update ingest.files set rows_read = rows_read - 1, rows_rejected = -1 where file_sha256 = 'a1'",
    ),
    *[
        ("marts_agree", f"delete from marts.{table} where source = 'sessions' and model = 'claude-haiku-4-5'")
        for table in ("token_usage_minutes", "daily_usage", "cache_efficiency_stats", "model_usage_stats")
    ],
    ("marts_agree", "update marts.daily_usage set source = 'console'"),
    *[
        ("money_agrees", f"update marts.{table} set {column} = {column} + 0.000000000001 where {column} is not null")
        for table, column in [
            ("token_usage_minutes", "estimated_cost_usd"),
            ("daily_usage", "cost_usd"),
            ("cache_efficiency_stats", "cost_usd"),
            ("model_usage_stats", "total_cost_usd"),
            ("billed_costs", "cost_usd"),
            ("usage_reconciliation", "logged_cost_usd"),
        ]
    ],
    ("money_agrees", "delete from marts.usage_reconciliation where billed_cost_usd is not null"),
    *[
        ("finance_agrees", f"update marts.{table} set {column} = {column} + 0.000000000001")
        for table, column in [
            ("billed_costs", "cost_usd"),
            ("chargeback", "shared_usd"),
            ("focus_1_2", "BilledCost"),
            ("charges", "cost_usd"),
        ]
    ],
    ("finance_agrees", "delete from marts.chargeback where team = 'claude-haiku-4-5'"),
    ("finance_agrees", "update marts.chargeback set is_closed = true"),
    ("finance_agrees", "update marts.charges set tokens = tokens - 1 where source = 'sessions'"),
    ("sessions_agree", "delete from marts.token_usage_sessions where session_id = 's7'"),
    ("rejected_threshold", "update ingest.files set rows_rejected = 2, rows_loaded = 78 where file_sha256 = 'a2'"),
    ("tokens_conserved", "update marts.token_conservation set superseded_tokens = 4 where source = 'console'"),
    ("tokens_conserved", "update marts.token_conservation set marts_tokens = marts_tokens - 1"),
    ("tokens_conserved", f"delete from {M} where {FIRST_MINUTE}"),
    ("tokens_conserved", "delete from marts.token_conservation where source = 'sessions'"),
    ("tokens_conserved", "update marts.token_conservation set stored_tokens = null"),
]


@pytest.mark.parametrize(("name", "change"), BROKEN)
def test_a_blocking_suite_fails_on_a_row_that_breaks_its_law(name: str, change: str) -> None:
    result = outcome(warehouse(change), name)
    assert result.blocks
    assert result.offending_rows
    assert result.offending_total >= len(result.offending_rows)


def test_every_blocking_suite_is_shown_to_fail() -> None:
    assert {name for name, _ in BROKEN} == set(BLOCKING)


WARNED = [
    (
        "cache_share_between_sources",
        "update marts.daily_usage set input_tokens_cache_read = 1399 where source = 'console'",
    ),
    ("model_mix_between_sources", f"update marts.daily_usage set total_tokens = 3 * total_tokens where {FIRST_MINUTE}"),
    (
        "recent_drift",
        "update marts.daily_usage set input_tokens_cache_read = 0 where usage_date > '2026-01-25'",
    ),
    (
        "recent_drift",
        "update marts.daily_usage set total_tokens = 0 where model = 'claude-haiku-4-5' and usage_date > '2026-01-25'",
    ),
    (
        "possible_overlaps",
        "insert into marts.requests select * replace ('otel_genai' as source_format, "
        "request_key || '-span' as request_key, requested_at + interval 5 second as requested_at) from marts.requests",
    ),
    # one too many and one too few do not cancel out
    (
        "stated_totals",
        "update marts.requests set stated_total_tokens = total_tokens + if(day(requested_at) = 1, 5, -5)",
    ),
    ("channels_agree", "update marts.channel_comparison set is_different = true where usage_date = date '2026-01-03'"),
    ("rejected_share", "update ingest.files set rows_rejected = 4, rows_loaded = 56 where file_sha256 = 'a3'"),
]


@pytest.mark.parametrize(("name", "change"), WARNED)
def test_a_warning_does_not_block(name: str, change: str) -> None:
    result = outcome(warehouse(change), name)
    assert (result.status, result.severity, result.blocks) == ("failed", "warn", False)
    assert result.offending_rows


def test_every_warning_is_shown_to_fail() -> None:
    assert {name for name, _ in WARNED} == set(ALL) - set(BLOCKING)


@pytest.mark.parametrize("percentage", [70, 90])
def test_a_difference_of_exactly_ten_points_is_no_warning(percentage: int) -> None:
    change = f"update marts.daily_usage set input_tokens_cache_read = {20 * percentage} where source = 'console'"
    assert outcome(warehouse(change), "cache_share_between_sources").status == "passed"


def test_the_cache_shares_of_different_providers_are_not_compared() -> None:
    changes = (
        "update marts.daily_usage set provider = 'openai', input_tokens_cache_read = 0 where source = 'sessions'",
    )
    result = outcome(warehouse(*changes), "cache_share_between_sources")
    assert (result.status, result.message) == (
        "nothing to check",
        "No day of a provider is covered by both the account and the logs.",
    )


def test_a_half_written_last_line_of_a_short_log_is_no_warning() -> None:
    change = "insert into ingest.files values ('b', 'b.jsonl', 'claude_code', 5, 4, 1, 0, 0, 'loaded')"
    assert outcome(warehouse(change), "rejected_share").status == "passed"


# -------------------------------------------------------------------------------------- the limit of the settings

UNFIT = "update ingest.files set rows_rejected = 29, rows_loaded = 51 where file_sha256 = 'a2'"  # of 80 rows


def threshold(connection: duckdb.DuckDBPyConnection, max_rejected_share: float | None) -> SuiteResult:
    (result,) = run_suites(connection, ["rejected_threshold"], max_rejected_share=max_rejected_share)
    return result


def test_a_file_with_more_rejected_rows_than_allowed_blocks_and_is_named_with_a_reason() -> None:
    connection = warehouse(
        UNFIT, "insert into ingest.rejected_rows values ('a2', 'costs.csv', 7, 0, 'cost_usd is not an amount', '', '')"
    )
    result = threshold(connection, 0.2)
    assert result.blocks
    assert result.failures.endswith("than max_rejected_share: costs.csv (36.2%)")
    (row,) = result.offending_rows
    assert (row["path"], row["rows_rejected"], row["most_frequent_reason"], row["first_line"]) == (
        "costs.csv", 29, "cost_usd is not an amount", 7,
    )  # fmt: skip


def test_all_files_together_block_where_none_of_them_would() -> None:
    small = [
        f"insert into ingest.files values ('b{i}', 'b{i}.jsonl', 'claude_code', 19, 0, 19, 0, 0, 'loaded')"
        for i in range(9)
    ]
    result = threshold(warehouse(*small), 0.4)
    assert (result.blocks, result.offending_total) == (True, 10)
    assert "all files (50.4%)" in result.failures
    assert ".jsonl" not in result.failures


def test_the_limit_itself_is_allowed() -> None:
    assert threshold(warehouse(UNFIT), 29 / 80).status == "passed"
    assert threshold(warehouse(UNFIT), 1.0).status == "passed"
    assert threshold(warehouse(), 0.0).failures.endswith("costs.csv (1.2%), all files (0.6%)")


def test_without_a_limit_rejected_rows_are_a_warning_only_whatever_was_judged_before() -> None:
    connection = warehouse(UNFIT)
    assert threshold(connection, 0.2).blocks
    result = threshold(connection, None)
    assert (result.status, result.message.startswith("No limit is set")) == ("nothing to check", True)
    assert outcome(connection, "rejected_share").status == "failed"


def test_at_most_five_files_over_the_limit_are_named_and_the_others_counted() -> None:
    many = [
        f"insert into ingest.files values ('b{i}', 'b{i}.csv', 'console_cost', 100, {100 - i}, {i}, 0, 0, 'loaded')"
        for i in range(90, 98)
    ]
    failures = threshold(warehouse(*many), 0.8).failures
    assert ": b97.csv (97.0%), b96.csv (96.0%), b95.csv (95.0%), b94.csv" in failures
    assert failures.endswith("b93.csv (93.0%) and 3 more")


LISTED = f"""
insert into marts.unpriced_usage
select
    source, provider, model, model_version, usage_type, context_window, inference_geo, speed, 'output', output_tokens,
    usage_date, usage_date
from {M} where {FIRST_MINUTE}
"""


def test_unpriced_usage_that_is_listed_passes() -> None:
    connection = warehouse(f"update {M} set estimated_cost_usd = null where {FIRST_MINUTE}", LISTED)
    assert outcome(connection, "priced_or_listed").status == "passed"


def test_unpriced_usage_is_not_excused_by_the_list_of_another_day() -> None:
    connection = warehouse(
        f"update {M} set estimated_cost_usd = null where {FIRST_MINUTE}",
        LISTED,
        "update marts.unpriced_usage set first_used = '2026-01-04', last_used = '2026-01-31'",
    )
    assert outcome(connection, "priced_or_listed").blocks


def test_requests_that_name_no_session_are_not_missed_among_the_sessions() -> None:
    connection = warehouse(
        "update marts.requests set session_id = '' where session_id = 's7'",
        "delete from marts.token_usage_sessions where session_id = 's7'",
    )
    assert outcome(connection, "sessions_agree").status == "passed"


# ------------------------------------------------------------------------------------------------- the rows law


def test_without_files_every_suite_says_that_there_is_nothing_to_check() -> None:
    results = run_suites(warehouse(landed=False, usage=False))
    assert {result.status for result in results} == {"nothing to check"}
    assert all(result.passed and result.message for result in results)


@pytest.mark.parametrize("name", [suite.name for suite in load_suites() if suite.rows_law])
def test_no_rows_fail_where_the_ledger_shows_rows(name: str) -> None:
    result = outcome(warehouse(usage=False), name)
    assert result.status == "failed"
    assert [each.type for each in result.expectations if not each.passed] == [suites.ROWS_LAW]


@pytest.mark.parametrize("source", ["console", "sessions"])
def test_no_rows_of_one_source_fail_where_the_ledger_shows_rows_for_it(source: str) -> None:
    tables = ("token_usage_minutes", "daily_usage", "cache_efficiency_stats", "model_usage_stats", "token_sum_audit")
    connection = warehouse(*[f"delete from marts.{table} where source = '{source}'" for table in tables])
    for name in (
        "token_sums",
        "minutes_grain",
        "marts_agree",
        "cache_shares",
        "priced_or_listed",
        "no_negative_tokens",
    ):
        assert outcome(connection, name).status == "failed", name


@pytest.mark.parametrize("status", ["unrecognised", "failed", "forgotten"])
def test_files_that_are_not_loaded_ask_for_no_rows(status: str) -> None:
    connection = warehouse(f"update ingest.files set status = '{status}'", usage=False)
    assert outcome(connection, "minutes_grain").status == "nothing to check"


def test_cost_exports_alone_ask_for_no_usage() -> None:
    connection = warehouse("delete from ingest.files where format <> 'console_cost'", usage=False)
    assert outcome(connection, "minutes_grain").status == "nothing to check"
    assert outcome(connection, "billed_token_kinds").status == "failed"


def test_a_format_that_validation_does_not_know_asks_for_logged_rows() -> None:
    connection = warehouse("update ingest.files set format = 'brand_new'", usage=False)
    assert outcome(connection, "minutes_grain").status == "failed"


def test_every_suite_of_a_mart_has_a_rows_law() -> None:
    assert {suite.name for suite in load_suites() if not suite.rows_law} == {
        "ledger_balance",
        "rejected_share",
        "rejected_threshold",
    }


# --------------------------------------------------------------------------------------------- tests of the suites


def test_no_judged_column_can_pass_by_being_null() -> None:
    """Great Expectations skips nulls: a checked number must be a count, which is never null, or be checked for null."""
    connection = warehouse()
    suites.share_views(connection)
    for suite in load_suites():
        cursor = connection.execute(suite.sql)
        columns = [column[0] for column in cursor.description or ()]
        lines = [dict(zip(columns, line, strict=True)) for line in cursor.fetchall()]
        judged = {each["kwargs"]["column"] for each in suite.expectations if "column" in each["kwargs"]}
        assert judged | {"rows_checked"} <= set(columns)
        assert all(line[column] is not None for line in lines for column in judged)


def test_offending_rows_are_those_that_the_law_counts() -> None:
    connection = warehouse(f"update {M} set total_tokens = total_tokens + 1 where {FIRST_MINUTE}")
    (row,) = outcome(connection, "kinds_add_up").offending_rows
    assert (row["mart"], row["model"], row["sum_of_kinds"], row["total_tokens"]) == (M, "claude-haiku-4-5", 2000, 2001)


def test_at_most_a_hundred_offending_rows_are_kept_and_all_are_counted() -> None:
    connection = warehouse(
        f"update {M} set output_tokens = -1", f"update {M} set bucket_seconds = range.range from range(9)"
    )
    result = outcome(connection, "no_negative_tokens")
    assert (len(result.offending_rows), result.offending_total) == (100, 120)


def test_at_most_a_hundred_offending_lines_of_a_frame_are_kept() -> None:
    result = outcome(warehouse("update marts.token_sum_audit set rows_off = 1"), "token_sums")
    assert (len(result.offending_rows), result.offending_total) == (100, 120)


def test_a_missing_mart_fails_its_suites_and_stops_no_other() -> None:
    results = {result.name: result for result in run_suites(warehouse("drop table marts.billed_costs"))}
    assert [name for name, result in results.items() if result.blocks] == [
        "billed_token_kinds",
        "finance_agrees",
        "money_agrees",
    ]
    assert "is missing" in results["billed_token_kinds"].message


def test_an_expectation_that_cannot_be_judged_fails_without_showing_why(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (suite,) = load_suites(["minutes_grain"])
    absent = {
        "type": "expect_column_values_to_not_be_null",
        "kwargs": {"column": "absent"},
        "description": "It is there",
    }
    monkeypatch.setattr(suites, "load_suites", lambda _: (replace(suite, expectations=(absent,)),))
    results = run_suites(warehouse())
    assert [(each.passed, each.observed) for each in results[0].expectations[:1]] == [(False, "it could not be judged")]
    assert results[0].blocks
    assert "Traceback" not in report.write(results, tmp_path, "run-1", NOW).read_text(encoding="utf-8")


def test_without_a_ledger_the_error_says_what_to_do() -> None:
    with pytest.raises(ValidationError, match="run the ingest first"):
        run_suites(duckdb.connect())


def test_an_unknown_suite_is_named() -> None:
    with pytest.raises(ValidationError, match="no suite nonsense"):
        run_suites(warehouse(), ["nonsense"])


def test_an_incomplete_suite_is_named(tmp_path: Path) -> None:
    (tmp_path / "odd.json").write_text('{"name": "odd", "meta": {"severity": "blocking"}, "expectations": []}')
    with pytest.raises(ValidationError, match=r"odd\.json"):
        load_suites(folder=tmp_path)


count = st.integers(min_value=0, max_value=10**15)


@settings(max_examples=20, deadline=None)
@given(loaded=count, rejected=count, ignored=count, repeated=count, lost=st.integers(min_value=-3, max_value=3))
def test_the_ledger_balances_exactly_when_no_row_is_lost(
    loaded: int, rejected: int, ignored: int, repeated: int, lost: int
) -> None:
    connection = warehouse("delete from ingest.files", usage=False)
    read = loaded + rejected + ignored + repeated + lost
    connection.execute(
        "insert into ingest.files values ('c', 'c.csv', 'console_usage', ?, ?, ?, ?, ?, 'loaded')",
        [read, loaded, rejected, ignored, repeated],
    )
    assert outcome(connection, "ledger_balance").passed == (lost == 0 and read >= 0)


def test_validation_sends_nothing_and_draws_nothing(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("validation opened a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    report.write(run_suites(warehouse()), tmp_path, "run-1", NOW)
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


# ---------------------------------------------------------------------------------------------------- the reports

SCRIPT = "<script>alert(1)</script>"
HOSTILE = (
    f"update {M} set workspace = '{SCRIPT}', total_tokens = total_tokens + 1 where {FIRST_MINUTE}",
    f"insert into marts.billed_costs (token_kind, cost_usd) values ('{SCRIPT}', 1)",
)


class _Tags(HTMLParser):
    """Every tag of a page, and every attribute that could load something."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [
            f"{name}={value}"
            for name, value in attrs
            if name == "src" or (name == "href" and value and value[0] != "#")
        ]


def test_the_report_escapes_what_the_marts_hold(tmp_path: Path) -> None:
    page = report.write(run_suites(warehouse(*HOSTILE)), tmp_path, "run-1", NOW).read_text()
    assert SCRIPT not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_the_report_loads_and_runs_nothing(tmp_path: Path) -> None:
    page = report.write(run_suites(warehouse(*HOSTILE)), tmp_path, "run-1", NOW).read_text()
    parsed = _Tags(page)
    assert not {"script", "link", "img", "iframe"} & set(parsed.tags)
    assert parsed.loads == []
    assert "url(" not in page
    assert "@import" not in page


def test_the_report_shows_a_hundred_rows_and_says_how_many_there_are(tmp_path: Path) -> None:
    results = run_suites(warehouse("update marts.token_sum_audit set rows_off = 1"), ["token_sums"])
    page = report.write(results, tmp_path, "run-1", NOW).read_text()
    assert "the first 100 of 120" in page
    assert (
        page.count("<td><bdi>claude-haiku-4-5</bdi></td>") + page.count("<td><bdi>claude-sonnet-4-5</bdi></td>") == 100
    )


def test_nulls_and_empty_strings_differ_from_text_in_the_report(tmp_path: Path) -> None:
    changes = (f"update {M} set user_id = null, project = 'null', speed = '(empty)'", "delete from marts.requests")
    results = run_suites(warehouse(*changes), ["minutes_grain"])
    page = report.write(results, tmp_path, "run-1", NOW).read_text()
    for cell in ('class="absent">null<', 'class="absent">(empty)<', "<bdi>null</bdi>", "<bdi>(empty)</bdi>"):
        assert cell in page


def test_the_report_and_its_latest_copy_are_private_and_alike(tmp_path: Path) -> None:
    page = report.write(run_suites(warehouse(), ["minutes_grain"]), tmp_path / "reports", "run-1", NOW)
    latest = tmp_path / "reports" / "validation" / "latest.html"
    assert page == tmp_path / "reports" / "validation" / "run-1" / "index.html"
    assert page.read_bytes() == latest.read_bytes()
    assert {path.stat().st_mode & 0o777 for path in (page, latest)} == {0o600}
    assert {path.stat().st_mode & 0o777 for path in (page.parent, latest.parent, latest.parent.parent)} == {0o700}
    assert sorted(path.name for path in latest.parent.iterdir()) == ["latest.html", "run-1"]
    assert "2026-02-03 04:05:06 UTC" in page.read_text()


@pytest.mark.parametrize("run_id", ["../up", "", "a/b", ".", "..", "<b>"])
def test_a_run_id_that_is_no_file_name_is_refused(run_id: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="run_id"):
        report.write([], tmp_path, run_id, NOW)


def test_the_summary_is_a_table_that_values_cannot_break() -> None:
    result = outcome(
        warehouse(f"insert into marts.billed_costs (token_kind, cost_usd) values ('a|b\n{SCRIPT}[x](y)', 1)"),
        "billed_token_kinds",
    )
    summary = report.markdown_summary([result])
    assert SCRIPT not in summary
    rows = [line for line in summary.splitlines() if line.startswith("| a")]
    assert rows == [r"| a\|b\\n&lt;script&gt;alert(1)&lt;/script&gt;\[x\](y) | 1 | 1.000000 |"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "null"),
        (float("nan"), "null"),
        ("", "(empty)"),
        (0, "0"),
        (-1234567, "-1,234,567"),
        (Decimal("1234.500000000000"), "1,234.500000"),
        (Decimal("0.000000123400"), "0.0000001234"),
        (Decimal("0.000000000001"), "0.000000000001"),
        (83.4, "83.4"),
        (1234.5, "1,234.5"),
        (0.00001234, "1.234e-05"),
        (datetime(2026, 1, 2, 3, 4), "2026-01-02 03:04"),
        ("a\nb\u202ec", "a\\nb\\u202ec"),
    ],
)
def test_values_are_shown_exactly(value: object, shown: str) -> None:
    assert display(value) == shown


# ----------------------------------------------------------------------------------------------------- the history


def kept(connection: duckdb.DuckDBPyConnection, what: str) -> list[tuple[Any, ...]]:
    return connection.execute(f"select {what} from analysis.validation_results order by all").fetchall()


def test_a_run_keeps_each_expectation_once_with_what_it_found() -> None:
    connection = warehouse("create schema analysis", "update ingest.files set rows_read = rows_read + 1")
    results = run_suites(connection, ["ledger_balance", "channels_agree"])
    for _ in range(2):
        history.keep(connection, results, "run-1", NOW)
    (row,) = kept(connection, "* exclude (observed)")[-1:]
    assert row == (
        "run-1", NOW.replace(tzinfo=None), "ledger_balance", "No file has rows that are not accounted for", False, True,
    )  # fmt: skip
    assert len(kept(connection, "*")) == sum(len(result.expectations) for result in results)


def test_where_there_was_nothing_to_check_nothing_has_passed() -> None:
    connection = warehouse("create schema analysis", landed=False, usage=False)
    history.keep(connection, run_suites(connection, ["token_sums"]), "run-1", NOW)
    assert kept(connection, "distinct passed") == [(None,)]


def test_the_latest_runs_are_kept_whatever_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MOST_RUNS", 3)
    connection = warehouse("create schema analysis")
    results = run_suites(connection, ["ledger_balance"])
    for hour, run_id in enumerate(("d", "a", "c", "b", "e")):
        history.keep(connection, results, run_id, NOW + timedelta(hours=hour))
    assert kept(connection, "distinct run_id") == [("b",), ("c",), ("e",)]


def test_a_run_that_finds_the_same_is_no_reason_to_publish_and_one_that_finds_another_result_is() -> None:
    connection = warehouse("create schema analysis")
    assert history.state(connection) == ""
    states = []
    for run_id, change in (("a", "select 1"), ("b", "select 1"), ("c", "update ingest.files set rows_loaded = 0")):
        connection.execute(change)
        history.keep(connection, run_suites(connection, ["ledger_balance"]), run_id, NOW + timedelta(hours=len(states)))
        states.append(history.state(connection))
    assert states[0] == states[1] != states[2]
