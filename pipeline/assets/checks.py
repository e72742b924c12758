"""Stage 3: the suites of expectations/ as asset checks; the blocking ones hold back what lies behind them.

The work is done by `validation`.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import dagster as dg

from pipeline import progress, validation, warehouse
from pipeline.assets.home import Home

SUITES = validation.load_suites()


@dg.multi_asset_check(
    name="validate_marts",
    specs=[
        dg.AssetCheckSpec(
            suite.name,
            asset=dg.AssetKey(suite.asset_key),
            additional_deps=[dg.AssetKey(key) for key in suite.also_reads],
            description=f"{suite.title}. {suite.description}",
            blocking=suite.severity == "blocking",
        )
        for suite in SUITES
    ],
    pool="warehouse",
)
def validate_marts(context: dg.AssetCheckExecutionContext, home: Home) -> Iterator[dg.AssetCheckResult]:
    """Judge the marts, and write the validation report of this run."""
    settings = home.settings()
    progress.report("validation")
    with warehouse.connect(settings) as connection:
        results = validation.run_suites(connection)
    report = validation.write_report(results, settings.reports, context.run_id, datetime.now(UTC))
    docs = validation.write_data_docs(results, settings.reports)
    for result in results:
        yield dg.AssetCheckResult(
            passed=result.passed,
            asset_key=dg.AssetKey(result.asset_key),
            check_name=result.name,
            severity=dg.AssetCheckSeverity.ERROR if result.severity == "blocking" else dg.AssetCheckSeverity.WARN,
            metadata={
                "status": result.status,
                "rows_checked": result.evaluated_rows,
                "report": dg.MetadataValue.url(report.as_uri()),
                "report_path": dg.MetadataValue.path(str(report)),
                "data_docs": dg.MetadataValue.path(str(docs)),
                "summary": dg.MetadataValue.md(validation.markdown_summary([result])),
            },
        )
