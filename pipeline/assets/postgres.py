"""Before stage 1: sessions of the application's database, landed as files. The work is done by `fetch.postgres`."""

import dagster as dg

from pipeline.assets.home import OWNERS, Home
from pipeline.fetch import postgres


@dg.asset(
    key=["pulled", "token_usage_sessions"],
    group_name="pulled",
    kinds={"postgres", "parquet"},
    owners=OWNERS,
    pool="postgres",
    op_tags={"dagster/priority": "1"},
)
def pulled_sessions(home: Home) -> dg.MaterializeResult[None]:
    """New and changed rows of token_usage_sessions in PostgreSQL, as files of landing; without a database: nothing."""
    settings = home.settings()
    if not settings.postgres_dsn:
        return dg.MaterializeResult(metadata={"status": "no database is configured (postgres_dsn)"})
    pulled = postgres.pull(settings)
    return dg.MaterializeResult(
        metadata={
            "rows": pulled.rows,
            "rows_known": pulled.rows_known,
            "files": [path.name for path in pulled.files],
            "up_to": pulled.up_to.isoformat() if pulled.up_to else "",
        }
    )


pull_sessions = dg.define_asset_job("pull_sessions", selection=[pulled_sessions])


@dg.schedule(
    job=pull_sessions,
    cron_schedule="30 * * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
def sessions_each_hour(home: Home) -> dg.RunRequest | dg.SkipReason:
    """At half past each hour, if a database is configured."""
    if home.settings().postgres_dsn:
        return dg.RunRequest()
    return dg.SkipReason("no database is configured (postgres_dsn)")
