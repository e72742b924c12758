"""Stage 3: the suites of expectations/ as asset checks of the validation report; all later stages go through it.

The work is done by `validation`. The checks belong to the report, not on the marts that they guard: marts feed one
another inside one dbt build, so a blocking check on one of them would have to run in the middle of it.
"""

from collections.abc import Iterator
from datetime import UTC, datetime

import dagster as dg

from pipeline.assets.home import OWNERS, Home
from pipeline.assets.lineage import named_in
from pipeline.assets.preview import columns, page_metadata, table_metadata
from pipeline.store import memo, progress, warehouse
from pipeline.validation import history, report, suites

SUITES = suites.load_suites()
REPORT = dg.AssetKey("validation_report")
RESULTS = dg.AssetKey(["analysis", history.NAME])


@dg.multi_asset(
    name="validation_report",
    specs=[
        dg.AssetSpec(
            REPORT,
            description="Checks of the marts: one page per run. Later stages wait for its blocking checks.",
            group_name="marts",
            kinds={"greatexpectations", "html"},
            owners=OWNERS,
            deps=named_in(*suites.queries(SUITES)),
        ),
        dg.AssetSpec(
            RESULTS,
            description=warehouse.description(history.SCHEMAS[history.NAME]),
            group_name="marts",
            kinds={"greatexpectations", "parquet"},
            owners=OWNERS,
            deps=[REPORT],
            metadata={"dagster/column_schema": columns(history.SCHEMAS[history.NAME])},
        ),
    ],
    check_specs=[
        dg.AssetCheckSpec(
            suite.name,
            asset=REPORT,
            description=f"{suite.title}. {suite.description} Guards {'.'.join(suite.asset_key)}.",
            blocking=suite.severity == "blocking",
        )
        for suite in SUITES
    ],
    pool="warehouse",
)
def validation_report(context: dg.AssetExecutionContext, home: Home) -> Iterator[dg.MaterializeResult[None]]:
    """Check the marts, keep what the checks found, and write the report of this run; also where a check blocks."""
    settings = home.settings()
    progress.report("validation")
    with warehouse.connect(settings) as connection:
        if home.full_refresh:
            memo.forget_results(connection, suites.STAGE)
        results = suites.run_suites(connection, max_rejected_share=settings.max_rejected_share)
        finished_at = datetime.now(UTC)
        history.keep(connection, results, context.run_id, finished_at)
        kept = table_metadata(connection, "analysis", history.NAME)
    progress.handled(sum(result.evaluated_rows for result in results))
    page = report.write(results, settings.reports, context.run_id, finished_at)
    links = page_metadata(page, settings.reports)
    failed = [result for result in results if not result.passed]
    yield dg.MaterializeResult(
        asset_key=REPORT,
        metadata={
            **links,
            "checks": len(results),
            "failed": ", ".join(result.name for result in failed) or "none",
            "failed_blocking": sum(result.blocks for result in failed),
            "summary": dg.MetadataValue.md(report.markdown_summary(results)),
        },
        check_results=[
            dg.AssetCheckResult(
                passed=result.passed,
                asset_key=REPORT,
                check_name=result.name,
                severity=dg.AssetCheckSeverity.ERROR if result.severity == "blocking" else dg.AssetCheckSeverity.WARN,
                metadata={
                    **links,
                    "status": result.status,
                    "guards": ".".join(result.asset_key),
                    "rows_checked": result.evaluated_rows,
                    "offending_rows": result.offending_total,
                    "failures": result.failures,
                    "summary": dg.MetadataValue.md(report.markdown_summary([result])),
                },
            )
            for result in results
        ],
    )
    yield dg.MaterializeResult(asset_key=RESULTS, metadata=kept)
