"""The report of a validation: one HTML page per run, and the same in Markdown for the Dagster UI.

Belongs here: formatting results of suites. Does not belong here: checking (suites), or the page's template.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from pipeline.validation.suites import MAX_OFFENDING_ROWS, SuiteResult
from pipeline.views import pages
from pipeline.views.pages import display

_SAFE_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def write(results: Sequence[SuiteResult], reports_dir: Path, run_id: str, now: datetime) -> Path:
    """Write `validation/<run_id>/index.html` below `reports_dir` and put a copy in place as `validation/latest.html`.

    Each is one file that works offline, without scripts. `now` without a zone is UTC. Returns the path of the first.

    Raises:
        ValueError: `run_id` is no plain file name.

    """
    if not _SAFE_RUN_ID.fullmatch(run_id):
        raise ValueError("run_id must be 1 to 128 letters, digits, dots, dashes or underscores")
    page = _render(results, run_id, now)
    folder = pages.private_folder(reports_dir / "validation")
    report = pages.private_folder(folder / run_id) / "index.html"
    pages.write_atomically(report, page)
    pages.write_atomically(folder / "latest.html", page)
    return report


def _render(results: Sequence[SuiteResult], run_id: str, now: datetime) -> str:
    return pages.render(
        "validation",
        now,
        results=sorted(results, key=lambda result: (result.passed, result.passed or not result.blocks)),
        run_id=run_id,
        **_counts(results),
        max_offending_rows=MAX_OFFENDING_ROWS,
    )


def _counts(results: Sequence[SuiteResult]) -> dict[str, int]:
    return {
        "n_passed": sum(result.status == "passed" for result in results),
        "n_blocking": sum(result.blocks for result in results),
        "n_warnings": sum(result.status == "failed" and result.severity == "warn" for result in results),
        "n_nothing": sum(result.status == "nothing to check" for result in results),
    }


def markdown_summary(results: Sequence[SuiteResult], offending_rows: int = 10) -> str:
    """The suites as a Markdown table, then each failure with up to `offending_rows` rows, for Dagster."""
    table = _markdown_table(
        ("Status", "Suite", "Severity", "Guards", "Rows checked", "Offending"),
        [
            (
                result.status.upper() if result.status == "failed" else result.status,
                result.title,
                result.severity,
                ".".join(result.asset_key),
                f"{result.evaluated_rows:,}",
                f"{result.offending_total:,}",
            )
            for result in results
        ],
    )
    parts = [table]
    for result in results:
        if result.status != "failed":
            continue
        parts.append(f"**{_markdown(result.title)}** failed:")
        parts.append(
            "\n".join(
                f"- {_markdown(outcome.statement)}: observed {_markdown(outcome.observed)}"
                for outcome in result.expectations
                if not outcome.passed
            )
        )
        if shown := result.offending_rows[:offending_rows]:
            rows = [tuple(display(value) for value in row.values()) for row in shown]
            parts.append(_markdown_table(tuple(shown[0]), rows))
    return "\n\n".join(parts) + "\n"


def _markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(_markdown(cell) for cell in line) + " |" for line in lines)


def _markdown(text: str) -> str:
    """`text` as literal text of one Markdown cell: neither HTML nor Markdown of its own."""
    escaped = re.sub(r"([\\`*_\[\]|~#!])", r"\\\1", html.escape(text, quote=False))
    return re.sub(r"\s+", " ", escaped)
