"""Real exports and logs, whose totals are known: each test states one of them.

Belongs here: files of ../shared/data, which are no part of the repository; without them these tests are skipped. All of
them lie in one landing, so each total also says that no other file disturbs it. Does not belong here: made-up files
(test_ingest, test_overlaps).
"""

from __future__ import annotations

import json
import shutil
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

DATA = Path(__file__).parents[2] / "shared" / "data"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"no real data in {DATA.name} beside the repository")
COSTS_OF_2024 = "console_csv/ph3n4t3s_M5stackHuskyLens/claude_api_cost_2024_{:02}.csv"


@pytest.fixture(scope="module")
def expected() -> Any:
    return json.loads((DATA / "EXPECTED.json").read_text())


@pytest.fixture(scope="module")
def home(new_home):
    """A home with every file of every kind in its landing, ingested and transformed."""
    made = new_home()
    for folder in (path for path in DATA.iterdir() if path.is_dir()):
        shutil.copytree(folder, made.settings.landing / folder.name)
    made.summary = made.build()
    return made


def test_console_tokens_of_february_2026_are_those_of_the_account(home):
    assert home.query("""
        SELECT sum(total_tokens)::bigint, sum(input_tokens_no_cache)::bigint, sum(output_tokens)::bigint
        FROM marts.token_usage_minutes
        WHERE source = 'console' AND usage_date BETWEEN DATE '2026-02-01' AND DATE '2026-02-28'
    """) == [(10_850_131, 10_779_468, 70_663)]


def test_every_billed_cell_of_february_2026_is_tokens_times_rate_to_the_cent(home):
    cells = home.query("""
        SELECT abs(billed_cost_usd - console_cost_usd), status, billed_cost_usd FROM marts.usage_reconciliation
        WHERE usage_date BETWEEN DATE '2026-02-01' AND DATE '2026-02-28'
    """)
    assert len(cells) == 12
    assert max(gap for gap, _, _ in cells) <= Decimal("0.005")
    assert {status for _, status, _ in cells} <= {"matched", "within_rounding"}
    assert sum(billed for _, _, billed in cells) == Decimal("33.39")


@pytest.mark.parametrize("month", [3, 5, 7, 9, 11])
def test_each_cost_export_of_2024_is_billed_in_full(home, expected, month):
    name = COSTS_OF_2024.format(month)
    wanted = expected["console_csv"][name]
    ledger = home.ledger(name)
    assert (ledger["rows_loaded"], ledger["rows_rejected"]) == (wanted["rows"], 0)
    month_of = f"usage_date BETWEEN DATE '2024-{month:02}-01' AND last_day(DATE '2024-{month:02}-01')"
    total = home.query(f"SELECT coalesce(sum(cost_usd), 0) FROM marts.billed_costs WHERE {month_of}")
    assert total == [(Decimal(wanted["total_cost_usd"]),)]

    stored = home.query(
        """
        SELECT usage_date::varchar || '|' || model_version, sum(cost_usd) FROM raw.console_costs
        WHERE file_sha256 = ? GROUP BY 1
        """,
        [ledger["file_sha256"]],
    )
    by_date_model = {cell: Decimal(usd) for cell, usd in wanted.get("by_date_model", {}).items()}
    assert dict(stored) == by_date_model
    kinds = home.query(f"SELECT token_kind, sum(cost_usd) FROM marts.billed_costs WHERE {month_of} GROUP BY 1")
    renamed = {"input_cache_write": "cache_write_5m"}
    by_kind = {renamed.get(kind, kind): Decimal(usd) for kind, usd in wanted.get("by_token_type", {}).items()}
    assert dict(kinds) == by_kind


def test_the_cost_export_of_june_2026_is_billed_in_full(home, expected):
    (name,) = (name for name in expected["console_vs_runs"] if name.endswith(".csv"))
    total = home.query("SELECT sum(cost_usd) FROM marts.billed_costs WHERE usage_date >= DATE '2026-06-01'")
    assert total == [(Decimal(expected["console_vs_runs"][name]["total_cost_usd"]),)]


def test_transcripts_add_up_to_the_known_requests_tokens_and_cost_of_each_model(home, expected):
    found = home.query("""
        SELECT model_version, count(*), sum(input_tokens_no_cache)::bigint, sum(input_tokens_cache_write_5m)::bigint,
            sum(input_tokens_cache_write_1h)::bigint, sum(input_tokens_cache_read)::bigint, sum(output_tokens)::bigint,
            sum(web_search_count)::bigint, sum(estimated_cost_usd)
        FROM marts.requests GROUP BY 1 ORDER BY 1
    """)
    wanted = expected["claude_code_all"]["max_policy_totals"]
    assert sum(row[1] for row in found) == expected["claude_code_all"]["unique_requests"] == 3157
    for model, requests, *kinds, cost in found:
        totals = wanted[model]
        assert requests == totals["requests"], model
        assert kinds == [
            totals["input_tokens"], totals["cache_write_5m"], totals["cache_write_1h"],
            totals["cache_read_input_tokens"], totals["output_tokens"], totals["web_search_requests"],
        ], model  # fmt: skip
        assert cost == Decimal(totals.get("list_cost_usd", "0")), model
    assert {row[0] for row in found} == set(wanted)


def test_each_transcript_holds_the_requests_that_it_is_known_to_hold(home, expected):
    ledger = {
        path: (status, loaded)
        for path, status, loaded in home.query("""
            SELECT paths.path, files.status, files.rows_loaded
            FROM ingest.paths INNER JOIN ingest.files USING (file_sha256)
        """)
    }
    for name, wanted in expected["claude_code_per_file"].items():
        status, loaded = ledger[f"landing/{name}"]
        assert loaded == wanted["unique_requests"], name
        empty = not (DATA / name).read_bytes().strip()
        assert status == ("unrecognised" if empty else "loaded"), name


def test_empty_transcripts_are_reported_and_nothing_is_fatal(home):
    empty = [path for path in (DATA / "claude_code").rglob("*.jsonl") if not path.read_bytes().strip()]
    reported = [problem for problem in home.summary.problems if "empty file: nothing to read" in problem]
    assert len(reported) == len(empty) > 0
    assert home.summary.files_failed == 0


def test_of_all_files_together_only_our_formats_are_loaded_and_the_rest_is_named(home):
    assert home.summary.files_failed == 0
    loaded = {
        path.removeprefix("landing/").split("/")[0]
        for (path,) in home.query("SELECT path FROM ingest.files WHERE status = 'loaded'")
    }
    assert loaded == {"console_csv", "console_vs_runs", "claude_code"}
    assert (
        home.query("""
        SELECT path FROM ingest.files
        WHERE status = 'loaded' AND path LIKE 'landing/console_vs_runs/%' AND path NOT LIKE '%.csv'
    """)
        == []
    )
    named = home.query("SELECT count(*) FROM ingest.files WHERE status = 'unrecognised' AND message = ''")
    assert named == [(0,)]
    files = [path for path in DATA.rglob("*") if path.is_file() and path.parent != DATA]
    assert home.summary.files_seen == len(files)
