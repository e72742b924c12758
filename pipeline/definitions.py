"""What exists and when it runs: assets, checks, jobs, schedules and sensors (those of a source are with its assets).

Schedules run in each started UI or daemon; those of a source do nothing until a setting names it. Sensors look once a
minute and are off until they are switched on: landing may be the folder of a live log, and each pause would be a run.

Loaded by `dagster dev` through workspace.yaml, and by `token-analytics run`.
"""

import dagster as dg

from pipeline.assets import analysis, checks, landing, models, postgres, published, pulled, stream
from pipeline.assets.home import Home
from pipeline.ingest import discovery

daily_refresh = dg.define_asset_job(
    "daily_refresh",
    selection=dg.AssetSelection.all() - dg.AssetSelection.groups(pulled.GROUP),
    description="Everything, from landing to the published database.",
)
daily = dg.ScheduleDefinition(
    name="daily_at_two",
    job=daily_refresh,
    cron_schedule="0 2 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Each night at 02:00 UTC.",
)


@dg.sensor(job=daily_refresh, minimum_interval_seconds=60, description="A run when files in landing have settled.")
def landing_changed(context: dg.SensorEvaluationContext, home: Home) -> dg.SensorResult | dg.SkipReason:
    """Two evaluations in a row must find the same files, so that a file that is being copied is not read."""
    settings = home.settings()
    digest = discovery.digest(settings)
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
        postgres.pulled_sessions,
        stream.drained_events,
        landing.LANDING,
        landing.load_landing,
        landing.load_reference,
        models.build_models,
        checks.validation_report,
        analysis.analyse_usage,
        analysis.price_contracts,
        analysis.recommend_savings,
        analysis.restate_closed_months,
        published.published,
    ],
    jobs=[daily_refresh, pulled.pull_last_days, pulled.pull_days, postgres.pull_sessions, stream.drain_stream],
    schedules=[daily, pulled.pull_at_half_past_one, postgres.sessions_each_hour],
    sensors=[landing_changed, stream.stream_waiting],
    resources={"home": Home()},
    executor=dg.in_process_executor,
)
