"""What exists and when it runs: assets, checks, the daily job with its schedule, and the sensor on landing.

Loaded by `dagster dev` through workspace.yaml, and by `token-analytics run`.
"""

import dagster as dg

from pipeline import ingest
from pipeline.assets import analysis, checks, landing, models, published, reconciliation
from pipeline.assets.home import Home

daily_refresh = dg.define_asset_job(
    "daily_refresh",
    selection=dg.AssetSelection.all(),
    description="Everything, from landing to the published database.",
)

daily = dg.ScheduleDefinition(
    name="daily_at_two",
    job=daily_refresh,
    cron_schedule="0 2 * * *",
    execution_timezone="UTC",
    description="Each night at 02:00 UTC.",
)


@dg.sensor(job=daily_refresh, minimum_interval_seconds=60, description="A run when files in landing have settled.")
def landing_changed(context: dg.SensorEvaluationContext, home: Home) -> dg.SensorResult | dg.SkipReason:
    """Two looks in a row must find the same files: a file that is still being copied is left alone."""
    settings = home.settings()
    digest = ingest.landing_digest(settings)
    seen, _, handled = (context.cursor or "").partition("|")
    if digest == handled:
        return dg.SkipReason("nothing new in landing")
    if digest != seen:
        return dg.SensorResult(
            cursor=f"{digest}|{handled}", skip_reason="landing has changed: waiting for it to settle"
        )
    return dg.SensorResult(run_requests=[dg.RunRequest(run_key=digest)], cursor=f"{digest}|{digest}")


defs = dg.Definitions(
    assets=[
        landing.LANDING,
        landing.load_landing,
        landing.load_reference,
        models.build_models,
        checks.validation_report,
        reconciliation.reconciliation_report,
        analysis.analyse_usage,
        analysis.statistics_report,
        analysis.price_contracts,
        analysis.recommend_savings,
        analysis.restate_closed_months,
        published.published,
    ],
    jobs=[daily_refresh],
    schedules=[daily],
    sensors=[landing_changed],
    resources={"home": Home()},
    executor=dg.in_process_executor,
)
