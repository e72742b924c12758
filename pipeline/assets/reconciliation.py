"""Stage 4: the reconciliation page, written in each run. The work is done by `views`."""

from datetime import UTC, datetime

import dagster as dg

from pipeline.assets.checks import REPORT
from pipeline.assets.home import OWNERS, Home
from pipeline.assets.lineage import read_by
from pipeline.assets.preview import markdown, page_metadata
from pipeline.store import progress, warehouse
from pipeline.views import reconciled, reconciliation
from pipeline.words import usd

RECONCILIATION = dg.AssetKey("reconciliation_report")


@dg.asset(
    key=RECONCILIATION,
    description="What was billed, what explains it, and what to look at where nothing does: one page.",
    group_name="published",
    kinds={"html"},
    owners=OWNERS,
    deps=[*read_by("views/bill/cells", "views/bill/rates", "cli/show/invoices"), REPORT],
    pool="warehouse",
)
def reconciliation_report(home: Home) -> dg.MaterializeResult[None]:
    """Write reports/reconciliation/index.html."""
    settings = home.settings()
    progress.report("reconciliation")
    with warehouse.connect(settings) as connection:
        report = reconciled.collect(connection)
    page = reconciliation.write(report, settings.reports, datetime.now(UTC))
    steps = [[step.label, usd(step.usd), step.cells] for step in report.steps]
    return dg.MaterializeResult(
        metadata={
            **page_metadata(page, settings.reports),
            "headline": report.headline,
            "cells_compared": report.totals["cells_compared"],
            "cells_tied_out": report.totals["cells_tied_out"],
            "billed_usd": float(report.totals["billed_usd"]),
            "explained_usd": float(report.totals["explained_usd"]),
            "scope": dg.MetadataValue.md("\n".join(f"- {sentence}" for sentence in report.scope) or "no logs"),
            "waterfall": dg.MetadataValue.md(markdown(["step", "USD", "cells"], steps)),
        }
    )
