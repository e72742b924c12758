"""What exists and when it runs: assets, checks, the daily jobs with their schedules, and the sensor on landing.

Loaded by `dagster dev` through workspace.yaml, and by `token-analytics run`.
"""

import dagster as dg

from pipeline import ingest, pull
from pipeline.assets import analysis, checks, landing, models, published, pulled, reconciliation
from pipeline.assets.home import Home

daily_refresh = dg.define_asset_job(
    "daily_refresh",
    selection=dg.AssetSelection.all() - dg.AssetSelection.groups(pulled.GROUP),
    description="Everything, from landing to the published database.",
)

pull_days = dg.define_asset_job(
    "pull_days",
    selection=dg.AssetSelection.groups(pulled.GROUP),
    description="What the providers' APIs say of some days, landed as files.",
)

daily = dg.ScheduleDefinition(
    name="daily_at_two",
    job=daily_refresh,
    cron_schedule="0 2 * * *",
    execution_timezone="UTC",
    description="Each night at 02:00 UTC.",
)


@dg.schedule(job=pull_days, cron_schedule="30 1 * * *", execution_timezone="UTC")
def pull_at_half_past_one(context: dg.ScheduleEvaluationContext, home: Home) -> dg.RunRequest | dg.SkipReason:
    """Before the nightly refresh: the last days once more, of the sources that the setting `pull` names."""
    settings = home.settings()
    if not settings.pull.sources:
        return dg.SkipReason("the setting pull.sources names nothing to pull")
    days = pull.default_days(settings, context.scheduled_execution_time.date())
    return pulled.request(settings.pull.sources, *days)


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
        pulled.pull_providers,
        landing.LANDING,
        landing.load_landing,
        landing.load_reference,
        models.build_models,
        checks.validation_report,
        reconciliation.reconciliation_report,
        analysis.analyse_usage,
        analysis.statistics_report,
        analysis.price_contracts,
        analysis.restate_closed_months,
        published.published,
    ],
    jobs=[daily_refresh, pull_days],
    schedules=[daily, pull_at_half_past_one],
    sensors=[landing_changed],
    resources={"home": Home()},
    executor=dg.in_process_executor,
)
