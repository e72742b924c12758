"""Stage 3: the suites of expectations/ as asset checks of the validation report; all later stages go through it.

The work is done by `validation`. The checks stand on the report, not on the marts that they guard: marts feed one
another inside one dbt build, so a blocking check on one of them would have to run in the middle of it.
"""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb

from pipeline import progress, scope, validation, warehouse
from pipeline.assets.home import OWNERS, Home
from pipeline.assets.models import MARTS
from pipeline.settings import Settings

SUITES = validation.load_suites()
REPORT = dg.AssetKey("validation_report")


@dg.asset(
    key=REPORT,
    description="What the marts must hold, judged: one page a run. What follows waits for its blocking checks.",
    group_name="validation",
    kinds={"greatexpectations", "html"},
    owners=OWNERS,
    deps=[*MARTS, dg.AssetKey(["ingest", "files"]), dg.AssetKey(["ingest", "rejected_rows"])],
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
def validation_report(context: dg.AssetExecutionContext, home: Home):  # type: ignore[no-untyped-def]  # Dagster reads an annotation as outputs
    """Judge the marts, and write the validation report of this run; unchanged marts keep the report that they have."""
    settings = home.settings()
    progress.report("validation")
    with warehouse.connect(settings) as connection:
        rests_on = scope.fingerprint(connection)
        outcome = None if home.full_refresh else scope.outcome(connection, "validation", rests_on)
        judged = json.loads(outcome) if outcome else None
        if judged is None or not Path(judged["report"]).is_file():
            judged = _judge(connection, settings, context.run_id)
            scope.note(connection, "validation", rests_on, json.dumps(judged))
    links = {
        "report": dg.MetadataValue.url(Path(judged["report"]).as_uri()),
        "report_path": dg.MetadataValue.path(judged["report"]),
        "data_docs": dg.MetadataValue.path(judged["data_docs"]),
        "unchanged": judged["run_id"] != context.run_id,
    }
    return dg.MaterializeResult(
        metadata={**links, "summary": dg.MetadataValue.md(judged["summary"])},
        check_results=[
            dg.AssetCheckResult(
                passed=suite["passed"],
                check_name=suite["name"],
                severity=dg.AssetCheckSeverity[suite["severity"]],
                metadata={
                    **links,
                    "status": suite["status"],
                    "guards": suite["guards"],
                    "rows_checked": suite["rows_checked"],
                    "offending_rows": suite["offending_rows"],
                    "summary": dg.MetadataValue.md(suite["summary"]),
                },
            )
            for suite in judged["suites"]
        ],
    )


def _judge(connection: duckdb.DuckDBPyConnection, settings: Settings, run_id: str) -> dict[str, Any]:
    """Run the suites and write both reports; what Dagster shows of it, as plain values."""
    results = validation.run_suites(connection)
    return {
        "run_id": run_id,
        "report": str(validation.write_report(results, settings.reports, run_id, datetime.now(UTC))),
        "data_docs": str(validation.write_data_docs(results, settings.reports)),
        "summary": validation.markdown_summary(results),
        "suites": [
            {
                "name": result.name,
                "passed": result.passed,
                "severity": "ERROR" if result.severity == "blocking" else "WARN",
                "status": result.status,
                "guards": ".".join(result.asset_key),
                "rows_checked": result.evaluated_rows,
                "offending_rows": result.offending_total,
                "summary": validation.markdown_summary([result]),
            }
            for result in results
        ],
    }
