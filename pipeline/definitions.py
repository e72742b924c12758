"""What exists and when it runs: assets, checks, jobs with schedules, sensors on landing and on the stream.

Loaded by `dagster dev` through workspace.yaml, and by `token-analytics run`.
"""

import dagster as dg

from pipeline import ingest, pull
from pipeline import stream as stream_module
from pipeline.assets import analysis, checks, landing, models, postgres, published, pulled, reconciliation, stream
from pipeline.assets.home import Home

daily_refresh = dg.define_asset_job(
    "daily_refresh",
    selection=dg.AssetSelection.all() - dg.AssetSelection.groups(pulled.GROUP),
    description="Everything, from landing to the published database.",
)
pull_sessions = dg.define_asset_job("pull_sessions", selection=[postgres.pulled_sessions])
drain_stream = dg.define_asset_job("drain_stream", selection=[stream.drained_events])

pull_days = dg.define_asset_job(
    "pull_days",
    selection=[pulled.pull_providers],
    description="What the providers' APIs say of some days, landed as files.",
)

daily = dg.ScheduleDefinition(
    name="daily_at_two",
    job=daily_refresh,
    cron_schedule="0 2 * * *",
    execution_timezone="UTC",
    description="Each night at 02:00 UTC.",
)

hourly_pull = dg.ScheduleDefinition(
    name="sessions_each_hour",
    job=pull_sessions,
    cron_schedule="30 * * * *",
    execution_timezone="UTC",
    description="At half past each hour, where a database is configured.",
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


@dg.sensor(job=drain_stream, minimum_interval_seconds=60, description="A drain when the stream holds new entries.")
def stream_waiting(home: Home) -> dg.RunRequest | dg.SkipReason:
    """Nothing is asked of any server where no stream is configured."""
    if stream_module.waiting(home.settings()):
        return dg.RunRequest()
    return dg.SkipReason("no stream is configured, or nothing waits in it")


defs = dg.Definitions(
    assets=[
        pulled.pull_providers,
        postgres.pulled_sessions,
        stream.drained_events,
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
        analysis.pricing_report,
        analysis.restate_closed_months,
        published.published,
    ],
    jobs=[daily_refresh, pull_days, pull_sessions, drain_stream],
    schedules=[daily, pull_at_half_past_one, hourly_pull],
    sensors=[landing_changed, stream_waiting],
    resources={"home": Home()},
    executor=dg.in_process_executor,
)
