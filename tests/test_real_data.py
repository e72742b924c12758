"""Real exports and logs with known totals: each test states one of them.

Belongs here: files of ../shared/data, which are not part of the repository; without them these tests are skipped. All
of them are in one landing, so each total also shows that no other file changes it. Does not belong here: made-up files
(test_ingest, test_overlaps).
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from conftest import Warehouse

from pipeline.ingest import loader
from pipeline.savings import recommendations
from pipeline.store import warehouse
from pipeline.views import reconciled

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


def test_every_billed_cell_of_february_2026_is_tokens_times_rate_to_the_cent(models):
    with models.over(files_of("console_csv/wellfleetmike_C"), "marts.usage_reconciliation") as connection:
        cells = connection.execute(
            "SELECT abs(billed_cost_usd - console_cost_usd), status, billed_cost_usd FROM marts.usage_reconciliation"
        ).fetchall()
    assert len(cells) == 12
    assert max(gap for gap, _, _ in cells) <= Decimal("0.005")
    assert {status for _, status, _ in cells} <= {"matched", "within_rounding"}
    assert sum(billed for _, _, billed in cells) == Decimal("33.39")


def files_of(folder: str) -> dict[str, bytes]:
    """The files of a folder of the data, each at its place in a landing."""
    return {
        str(path.relative_to(DATA)): path.read_bytes() for path in sorted((DATA / folder).rglob("*")) if path.is_file()
    }


@pytest.fixture(scope="module", params=["declared", "inferred"])
def june(request, models):
    """Cells of June 2026, with records of experiments and a bill; the scope of the records; and the report."""
    scope = {"scope": {"experiment_records": "Tokenomics"}} if request.param == "declared" else {}
    names = ("marts.usage_reconciliation", "marts.rate_evidence", "marts.invoices")
    with models.over(files_of("console_vs_runs"), *names, reconciliation=scope) as connection:
        cells = connection.execute(
            "SELECT usage_date::varchar, model, token_kind, status, billed_cost_usd, logged_cost_usd, scope "
            "FROM marts.usage_reconciliation WHERE api_key = 'Tokenomics'"
        ).fetchall()
        others = connection.execute(
            "SELECT DISTINCT api_key, status FROM marts.usage_reconciliation WHERE api_key <> 'Tokenomics'"
        ).fetchall()
        report = reconciled.collect(connection)
    return request.param, cells, others, report


def test_june_is_compared_with_the_key_that_paid_for_its_records_declared_or_not(june):
    how, cells, others, report = june
    assert {scope for *_, scope in cells} == {how}
    assert others == [("other-key-redacted", "out_of_scope")]
    assert report.scope[0].startswith(how.capitalize())
    assert "Tokenomics" in report.scope[0]


def test_of_21_june_everything_agrees_but_a_cent_of_output(june):
    _, cells, _, _ = june
    day = {(model, kind): rest for day, model, kind, *rest, _ in cells if day == "2026-06-21"}
    assert sum(billed for _, billed, _ in day.values()) == Decimal("4.63")
    assert sum(logged for _, _, logged in day.values()) == Decimal("4.61685")
    assert day.pop(("claude-haiku-4-5", "output")) == ["unlogged", Decimal("0.01"), Decimal("0.003995")]
    assert {status for status, _, _ in day.values()} == {"within_rounding"}


def test_of_22_june_two_cents_of_output_are_in_no_log(june):
    _, cells, _, _ = june
    day = {(model, kind): rest for day, model, kind, *rest, _ in cells if day == "2026-06-22"}
    assert day.pop(("claude-sonnet-4-6", "output")) == ["unlogged", Decimal("0.02"), Decimal(0)]
    assert {status for status, _, _ in day.values()} == {"matched"}


def test_of_28_june_only_opus_is_not_explained(june):
    _, cells, _, report = june
    day = {(model, kind): rest for day, model, kind, *rest, _ in cells if day == "2026-06-28"}
    opus = {kind: day.pop(("claude-opus-4-8", kind)) for kind in ("input_no_cache", "output")}
    assert opus == {
        "input_no_cache": ["unlogged", Decimal("6.62"), Decimal("0.253695")],
        "output": ["unlogged", Decimal("2.28"), Decimal("1.713375")],
    }
    assert {status for status, _, _ in day.values()} == {"within_rounding"}
    largest = report.gaps[0]
    assert "$8.90 was billed for claude-opus-4-8; the logs account for $1.97. $6.93" in largest.what
    assert "without logging" in largest.check


def test_records_of_experiments_hold_the_known_tokens_of_each_day_and_model(home, expected):
    found = {
        f"{day}|{model}": dict(zip(("calls", "input", "write_5m", "write_1h", "read", "output"), counts, strict=True))
        for day, model, *counts in home.query("""
            SELECT requested_at::date::varchar, model_version, count(*), sum(input_tokens_no_cache)::bigint,
                sum(input_tokens_cache_write_5m)::bigint, sum(input_tokens_cache_write_1h)::bigint,
                sum(input_tokens_cache_read)::bigint, sum(output_tokens)::bigint
            FROM marts.requests WHERE source_format = 'experiment_records' GROUP BY ALL
        """)
    }
    wanted: dict[str, dict[str, int]] = {}
    for run in expected["console_vs_runs"]["runs"].values():
        for cell, counts in run["by_utc_date_model"].items():
            sums = wanted.setdefault(cell, dict.fromkeys(counts, 0))
            wanted[cell] = {name: sums[name] + counts[name] for name in counts}
    assert found == wanted


def test_calls_without_a_time_are_rejected_with_their_tokens(home):
    reasons = home.query(
        "SELECT reason FROM ingest.rejected_rows WHERE path LIKE '%gemini_micropilot_usage.jsonl' ORDER BY line"
    )
    assert all(reason.startswith("no timestamp (") for (reason,) in reasons)
    assert sum(int(reason.split("(")[1].split(" ")[0]) for (reason,) in reasons) == 10_769


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
        FROM marts.requests WHERE source_format = 'claude_code' GROUP BY 1 ORDER BY 1
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


def sums_of(home, where: str) -> tuple[Any, ...]:
    """Input, cache reads and output in force of the requests selected by `where`, and their number."""
    ((row),) = home.query(f"""
        SELECT coalesce(sum(input_tokens_no_cache), 0)::bigint, coalesce(sum(input_tokens_cache_read), 0)::bigint,
            coalesce(sum(output_tokens), 0)::bigint, count(*)
        FROM marts.requests WHERE {where}
    """)
    return tuple(row)


def test_rollouts_of_codex_count_replayed_sessions_once(home):
    no_cache, read, output, _ = sums_of(home, "source_format = 'codex'")
    assert no_cache + read + output == 13_219_708


def codex_sums(totals: dict[str, int] | None) -> tuple[int, int, int]:
    totals = totals or {}
    cached = totals.get("cached_input_tokens", 0)
    return totals.get("input_tokens", 0) - cached, cached, totals.get("output_tokens", 0)


def test_each_rollout_holds_its_own_sum_before_copies_are_recognised(home, expected):
    for name, wanted in expected["codex"].items():
        sha256 = hashlib.sha256((DATA / name).read_bytes()).hexdigest()
        ((found),) = home.query(
            """
            SELECT coalesce(sum(input_tokens_no_cache), 0)::bigint, coalesce(sum(input_tokens_cache_read), 0)::bigint,
                coalesce(sum(output_tokens), 0)::bigint
            FROM raw.requests WHERE file_sha256 = ?
            """,
            [sha256],
        )
        assert tuple(found) == codex_sums(wanted["sum_of_last_over_distinct_totals"]), name


def test_sessions_of_opencode_and_pi_hold_their_known_tokens(home, expected):
    for name, wanted in expected["opencode_pi"].items():
        models = wanted["by_model"].values()
        reasoning = sum(model["reasoning"] for model in models) if wanted["agent"] == "opencode" else 0
        assert sums_of(home, f"session_id = '{wanted['session']}'") == (
            sum(model["input"] for model in models),
            sum(model["cache_read"] for model in models),
            sum(model["output"] for model in models) + reasoning,
            sum(model["messages"] for model in models),
        ), name


def test_snapshots_of_a_gemini_session_count_once(home, expected):
    (longest,) = max(
        (list(snapshot["by_model"].values()) for snapshot in expected["gemini_cli"].values()),
        key=lambda models: models[0]["messages"],
    )
    assert sums_of(home, "source_format = 'gemini_cli'") == (
        longest["input"] - longest["cached"],
        longest["cached"],
        longest["output"] + longest["thoughts"],
        longest["messages"],
    )


def test_empty_transcripts_are_reported_and_nothing_is_fatal(home):
    empty = [path for path in (DATA / "claude_code").rglob("*.jsonl") if not path.read_bytes().strip()]
    reported = [problem for problem in home.summary.problems if "empty file: nothing to read" in problem]
    assert len(reported) == len(empty) > 0
    assert home.summary.files_failed == 0


def test_what_is_no_log_is_unrecognised(home):
    """Descriptions of runs, prices, bodies without a time, traces of requests: they have tokens, but are not usage."""
    no_logs = [path for folder in ("genai_prices", "traces") for path in (DATA / folder).rglob("*") if path.is_file()]
    no_logs += DATA.rglob("metadata.json")
    found = home.query("SELECT paths.path, files.status FROM ingest.paths INNER JOIN ingest.files USING (file_sha256)")
    status = dict(found)
    assert len(no_logs) > 5
    assert {status[f"landing/{path.relative_to(DATA)}"] for path in no_logs} == {"unrecognised"}


@pytest.fixture(scope="module")
def one_by_one(models, new_home):
    """A warehouse in which each file was loaded by a separate run, in random order, and then deleted from landing.

    The marts are built after the last file; with TOKEN_ANALYTICS_TEST_EACH_RUN=1 after each, which takes minutes.
    """
    made = Warehouse(models, new_home())
    files = sorted(path for path in DATA.rglob("*") if path.is_file() and path.parent != DATA)
    random.Random(int(os.environ.get("TOKEN_ANALYTICS_TEST_SEED", "20260301"))).shuffle(files)
    for path in files:
        landed = made.home.settings.landing / path.relative_to(DATA)
        landed.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, landed)
        if os.environ.get("TOKEN_ANALYTICS_TEST_EACH_RUN"):
            made.update(10**9)
        else:
            loader.ingest(made.connection, made.home.settings)
        landed.unlink()
    made.update(10**9)
    return made


def test_each_file_in_a_run_of_its_own_in_random_order_gives_the_marts_of_one_landing(home, one_by_one):
    at_once, apart = home.tables("intermediate", "marts"), one_by_one.marts()
    assert at_once.keys() == apart.keys()
    assert len(at_once["marts.requests"]) > 4000
    different = [name for name, rows in at_once.items() if rows != apart[name]]
    assert different == []


def test_each_file_in_a_run_of_its_own_is_judged_as_in_one_landing(home, one_by_one):
    for query in (
        "SELECT file_sha256, format, status, rows_read, rows_loaded, rows_rejected, rows_ignored, rows_repeated "
        "FROM ingest.files ORDER BY ALL",
        "SELECT file_sha256, line, byte_offset, reason FROM ingest.rejected_rows ORDER BY ALL",
    ):
        assert one_by_one.connection.execute(query).fetchall() == home.query(query)


def test_of_all_files_together_only_our_formats_are_loaded_and_the_rest_is_named(home):
    assert home.summary.files_failed == 0
    loaded = {
        path.removeprefix("landing/").split("/")[0]
        for (path,) in home.query("SELECT path FROM ingest.files WHERE status = 'loaded'")
    }
    assert loaded == {"console_csv", "console_vs_runs", "claude_code", "codex", "opencode_pi", "gemini_cli"}
    metadata = home.query("SELECT count(*) FROM ingest.files WHERE status = 'loaded' AND path LIKE '%metadata.json'")
    assert metadata == [(0,)]
    named = home.query("SELECT count(*) FROM ingest.files WHERE status = 'unrecognised' AND message = ''")
    assert named == [(0,)]
    files = [path for path in DATA.rglob("*") if path.is_file() and path.parent != DATA]
    assert home.summary.files_seen == len(files)


def test_savings_of_real_transcripts_are_reproduced_and_no_session_is_taken_for_a_loop(home):
    """Most outputs of these transcripts are first counts: sessions of up to 69 requests grow and put out one token."""
    with warehouse.connect(home.settings) as connection:
        rows = recommendations.recommendations(connection, home.settings).to_pylist()
        found = [row for row in rows if row["status"] == "ok"]
        queried = [connection.execute(row["sql"]).fetchall()[0][0] for row in found]
        ((paid,),) = connection.execute("SELECT sum(estimated_cost_usd) FROM marts.requests").fetchall()
    assert {row["kind"] for row in found} >= {"cache_policy", "lost_cache"}
    assert "runaway_sessions" not in {row["kind"] for row in found}
    assert queried == [row["observed_saving_usd"] for row in found]
    assert 0 < sum(queried) < paid / 10
    (left,) = [row for row in rows if row["kind"] == "unavailable"]
    assert "runaway sessions cannot be detected" in left["evidence"]
