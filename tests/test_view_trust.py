"""The page of trust: files and rows, freshness, checks over time, coverage, and what runs cost."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pytest
from published import shown_text, snapshot

from pipeline.serving.app import Served
from pipeline.views import site, trust
from pipeline.views.filters import Filters, parse
from pipeline.views.view import run

EVERYTHING = Filters()
RUN = dt.datetime(2026, 3, 1, 2)
HOSTILE = '=cmd|"<b>x</b>&\u202e'


def file(name="a", status="loaded", read=10, rejected=0, **other):
    row = {
        "file_sha256": f"sha-{name}",
        "path": f"landing/{name}",
        "format": "claude_code" if status == "loaded" else "",
        "status": status,
        "rows_read": read,
        "rows_loaded": read - rejected,
        "rows_rejected": rejected,
        "rows_ignored": 0,
        "rows_repeated": 0,
        "loaded_at": RUN,
        "message": "",
    }
    return row | other


def rejected(name="a", line=1, reason="no timestamp (1349 tokens)", **other):
    row = {"file_sha256": f"sha-{name}", "path": f"landing/{name}", "line": line, "byte_offset": 0, "reason": reason}
    return row | {"column_name": "", "value": ""} | other


def check(hour, suite, passed, *, is_blocking=False, expectation="No file is broken", **other):
    row = {
        "run_id": f"run-{hour:02}",
        "finished_at": RUN + dt.timedelta(hours=hour),
        "suite": suite,
        "expectation": expectation,
        "observed": "0 to 1",
        "passed": passed,
        "is_blocking": is_blocking,
    }
    return row | other


def side(source, day, provider="anthropic"):
    return {"source": source, "provider": provider, "usage_date": day}


def published(folder, **tables):
    schemas = {"files": "ingest", "rejected_rows": "ingest", "run_stages": "ingest", "validation_results": "analysis"}
    return snapshot(folder, {f"{schemas.get(name, 'marts')}.{name}": rows for name, rows in tables.items()})


def test_the_answer_counts_files_and_rows_and_says_what_the_checks_found(tmp_path):
    found = published(
        tmp_path,
        files=[
            file(read=1000, rejected=4),
            file("b", "unrecognised", 0),
            file("c", "unrecognised", 0, format="side_file"),
        ],
        validation_results=[check(0, "ledger_balance", True, is_blocking=True), check(0, "rejected_share", False)],
        charges=[side("console", dt.date(2026, 3, 1)), side("sessions", dt.date(2026, 2, 20))],
    )
    answer = trust.answer(found, EVERYTHING)
    assert answer.sentence == (
        "Mostly: 1 file loaded, 4 of 1,000 rows rejected; every check that must hold does, and 1 other warns."
    )
    assert answer.number == "99.6%"
    assert [tile.value for tile in answer.tiles] == ["1", "1,000", "1 of 2", "2026-03-01"]
    assert answer.warnings == (
        "Check rejected share: it should hold that no file is broken; found 0 to 1, since 2026-03-01.",
        "1 file holds nothing that is known as usage: see the list.",
        "These end 7 days or more before the newest day, 2026-03-01: our logs of anthropic on 2026-02-20.",
    )


@pytest.mark.parametrize(
    ("results", "begins"),
    [
        ([check(0, "ledger_balance", True), check(0, "x", None)], "Yes: 1 file loaded, none of 10 rows rejected"),
        ([check(0, "ledger_balance", False, is_blocking=True)], "No: 1 check failed that must hold"),
        ([], "1 file loaded, none of 10 rows rejected; no run has checked them yet"),
    ],
)
def test_the_answer_is_yes_only_where_every_check_passed(tmp_path, results, begins):
    assert trust.answer(
        published(tmp_path, files=[file()], validation_results=results), EVERYTHING
    ).sentence.startswith(begins)


def test_each_check_says_since_when_it_has_its_outcome_and_runs_are_shown_over_time(tmp_path):
    outcomes = {0: False, 1: True, 2: False, 3: False}
    results = [check(hour, "rejected_share", passed) for hour, passed in outcomes.items()]
    results += [check(hour, "token_sums", hour != 1, is_blocking=True) for hour in outcomes]
    results += [check(3, "new", None)]
    found = published(tmp_path, validation_results=results)
    shown = {row["suite"]: (row["outcome"], row["since"]) for row in run(trust.CHECKS, found, EVERYTHING).rows}
    assert shown == {
        "rejected_share": ("warning", RUN + dt.timedelta(hours=2)),
        "token_sums": ("passed", RUN + dt.timedelta(hours=2)),
        "new": ("nothing to check", RUN + dt.timedelta(hours=3)),
    }
    runs = run(trust.RUNS, found, EVERYTHING)
    assert [(row["warned"], row["stopped"]) for row in runs.rows] == [(1, 0), (1, 0), (0, 1), (1, 0)]
    assert runs.sentence == (
        "As of the run of 2026-03-01 05:00 UTC; a later run that published nothing is not shown. "
        "Checks stopped 1 of the last 4 runs, the latest on 2026-03-01 03:00."
    )
    counts = sum(value for trace in runs.figure["data"] for value in trace["y"])
    assert counts == len(results)


def test_rejected_rows_are_grouped_by_reason_and_shown_of_one_file(tmp_path):
    rows = [
        rejected(),
        rejected(line=2, reason="no timestamp (7 tokens)"),
        rejected("b", reason="x", column_name="model", value=HOSTILE),
    ]
    found = published(tmp_path, files=[file(rejected=2), file("b", rejected=1)], rejected_rows=rows)
    reasons = run(trust.REASONS, found, EVERYTHING)
    assert [(row["reason"], row["lines"], row["files"]) for row in reasons.rows] == [
        ("no timestamp", 2, 1),
        ("x", 1, 1),
    ]
    assert reasons.sentence == "3 rows rejected; the most frequent reason (2 rows): no timestamp."
    files = run(trust.FILES, found, EVERYTHING)
    (column,) = [column for column in files.columns if column.name == "rows_rejected"]
    page, filters = column.link(files.rows[1], EVERYTHING)
    assert (page, files.rows[1]["path"]) == ("trust", "landing/b")
    (row,) = run(trust.REJECTED, found, filters).rows
    assert row["value"] == HOSTILE
    html = site.question(Served(), trust.PAGE, found, filters)
    assert "<b>x</b>" not in html
    assert "=cmd|&#34;&lt;b&gt;x&lt;/b&gt;&amp;\\u202e" in shown_text(html)


def test_freshness_and_coverage_name_what_is_missing(tmp_path):
    day = dt.date(2026, 2, 10)
    cells = [
        {"usage_date": day, "compared": "console+billed", "console_tokens": 1, "billed_cost_usd": Decimal(1)},
        {"usage_date": day + dt.timedelta(days=1), "compared": "logged", "logged_tokens": 5},
    ]
    found = published(
        tmp_path,
        charges=[side("console", day), side("console", day + dt.timedelta(days=9)), side("sessions", day, "openai")],
        billed_costs=[{"provider": "anthropic", "usage_date": day}],
        usage_reconciliation=cells,
    )
    sides = run(trust.FRESHNESS, found, EVERYTHING)
    assert [(row["source_in_words"], row["provider"], row["days_behind"]) for row in sides.rows] == [
        ("bill", "anthropic", 9),
        ("our logs", "openai", 9),
        ("provider's account", "anthropic", 0),
    ]
    assert sides.sentence == "The newest day is 2026-02-19; 2 sources end 7 days or more before it."
    assert run(trust.FRESHNESS, found, parse({"provider": ["openai"]})).total == 1
    (month,) = run(trust.COVERAGE, found, EVERYTHING).rows
    assert [month[name] for name in ("days", "account_days", "logged_days", "billed_days", "compared_days")] == [
        2,
        1,
        1,
        1,
        1,
    ]


def test_stages_are_those_of_the_latest_runs(tmp_path):
    stages = [
        {"run_id": name, "stage": stage, "seconds": seconds, "cpu_seconds": 1.0, "peak_mb": 100.0, "rows": 5}
        for name, stage, seconds in (("run-00", "models", 9.0), ("run-01", "models", 4.0), ("run-01", "start", 6.0))
    ]
    stages.append(stages[0] | {"run_id": "before-checks-were-kept"})
    found = published(
        tmp_path, run_stages=stages, validation_results=[check(hour, "token_sums", True) for hour in (0, 1)]
    )
    shown = run(trust.STAGES, found, EVERYTHING)
    assert [row["run_id"] for row in shown.rows] == ["run-01", "run-01", "run-00", "before-checks-were-kept"]
    assert shown.sentence == "The last published run took 10 seconds, most of it for start (6)."
    assert shown.figure["data"][0]["x"][0] == "run before-c"


def test_an_empty_home_says_so(tmp_path):
    nothing = published(tmp_path)
    assert trust.answer(nothing, EVERYTHING).sentence == "No file is loaded yet, so there is nothing to trust."
    assert all(not site.attempt(view, nothing, EVERYTHING).problem for view in trust.PAGE.views)
