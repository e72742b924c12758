"""Stage 4: the report of the reconciliation, one page, written in each run. The work is done by `views`."""

from datetime import UTC, datetime

import dagster as dg

from pipeline.assets.checks import REPORT
from pipeline.assets.home import OWNERS, Home
from pipeline.assets.preview import markdown
from pipeline.store import progress, warehouse
from pipeline.views import reconciliation
from pipeline.words import usd

RECONCILIATION = dg.AssetKey("reconciliation_report")


@dg.asset(
    key=RECONCILIATION,
    description="What was billed, what explains it, and what to look at where nothing does: one page.",
    group_name="reconciliation",
    kinds={"html"},
    owners=OWNERS,
    deps=[
        dg.AssetKey(["marts", "usage_reconciliation"]),
        dg.AssetKey(["marts", "rate_evidence"]),
        dg.AssetKey(["marts", "invoices"]),
        REPORT,
    ],
    pool="warehouse",
)
def reconciliation_report(home: Home) -> dg.MaterializeResult[None]:
    """Write reports/reconciliation/index.html."""
    settings = home.settings()
    progress.report("reconciliation")
    with warehouse.connect(settings) as connection:
        report = reconciliation.collect(connection)
    page = reconciliation.write(report, settings.reports, datetime.now(UTC))
    steps = [[step.label, usd(step.usd), step.cells] for step in report.steps]
    return dg.MaterializeResult(
        metadata={
            "report": dg.MetadataValue.url(page.as_uri()),
            "report_path": dg.MetadataValue.path(str(page)),
            "headline": report.headline,
            "scope": dg.MetadataValue.md("\n".join(f"- {sentence}" for sentence in report.scope) or "no logs"),
            "waterfall": dg.MetadataValue.md(markdown(["step", "USD", "cells"], steps)),
        }
    )
