"""Before stage 1: usage and costs from the providers' APIs, landed as files. The work is done by `fetch.providers`."""

from collections.abc import Collection, Iterator
from datetime import UTC, date, datetime
from typing import Any

import dagster as dg

from pipeline.assets.home import OWNERS, Home
from pipeline.fetch import providers
from pipeline.settings import Settings

# Days before the first of these are landed by `token-analytics pull --from`.
DAYS = dg.DailyPartitionsDefinition(start_date="2024-01-01", timezone="UTC")
_DESCRIPTIONS = {
    "anthropic_usage": "Pages of Anthropic's Admin API: tokens by minute, key, workspace, model and tier.",
    "anthropic_cost": "Pages of Anthropic's Admin API: costs by day, workspace and kind.",
    "openai_usage": "Pages of OpenAI's organisation API: tokens of completions by minute, key, project and model.",
    "openai_costs": "Pages of OpenAI's organisation API: costs by day, project and line item.",
}
GROUP = "pulled"
SPECS = [
    dg.AssetSpec(
        ["pulled", source],
        description=f"{_DESCRIPTIONS[source]} Landed as files; nothing is asked unless the setting `pull` names it.",
        group_name=GROUP,
        kinds={"json"},
        owners=OWNERS,
        # a source that is not configured has no output
        skippable=True,
    )
    for source in providers.APIS
]


def _landed(
    log: dg.DagsterLogManager, settings: Settings, first_day: date, last_day: date, wanted: Collection[str]
) -> Iterator[tuple[dg.AssetKey, dict[str, Any]]]:
    """Land these days of the `wanted` sources in the setting `pull`; returns the files of each.

    Raises:
        PullError: at the end, some sources failed; none of them stops the others.

    """
    failed: list[str] = []
    for source in providers.APIS:
        if source not in wanted:
            continue
        if source not in settings.pull.sources:
            log.info(f"{source}: not in the setting pull.sources, so nobody is asked")
            continue
        try:
            landed = providers.pull(settings, first_day, last_day, [source])
        except providers.PullError as error:
            failed.append(str(error))
            continue
        yield (
            dg.AssetKey(["pulled", source]),
            {
                "first_day": str(first_day),
                "last_day": str(last_day),
                "files": len(landed),
                "pages": sum(each.pages for each in landed),
                "results": sum(each.results for each in landed),
            },
        )
    if failed:
        raise providers.PullError("; ".join(failed))


# A run of everything pulls before it loads, and loads even if a pull fails: a priority instead of a dependency.
@dg.multi_asset(
    name="pull_providers", specs=SPECS, can_subset=True, pool="providers", op_tags={"dagster/priority": "1"}
)
def pull_providers(context: dg.AssetExecutionContext, home: Home) -> Iterator[dg.MaterializeResult[None]]:
    """Land the last complete days; a failed source does not stop the others."""
    settings = home.settings()
    days = providers.default_days(settings, datetime.now(UTC).date())
    wanted = {key.path[-1] for key in context.selected_asset_keys}
    for key, metadata in _landed(context.log, settings, *days, wanted):
        yield dg.MaterializeResult(asset_key=key, metadata=metadata)


@dg.op(pool="providers")
def pull_day(context: dg.OpExecutionContext, home: Home) -> None:
    """Land one day of all sources in the setting `pull`."""
    day = context.partition_time_window.start.date()
    for key, metadata in _landed(context.log, home.settings(), day, day, providers.APIS):
        context.log_event(dg.AssetMaterialization(key, metadata=metadata))


@dg.job(partitions_def=DAYS, description="One day of the providers' APIs, landed as files; backfill it over a range.")
def pull_days() -> None:
    """A partitioned job without assets: partitioned assets could not be materialized together with the others."""
    pull_day()


pull_last_days = dg.define_asset_job(
    "pull_last_days",
    selection=[pull_providers],
    description="What the providers' APIs say of the last days, landed as files.",
)


@dg.schedule(
    job=pull_last_days,
    cron_schedule="30 1 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
def pull_at_half_past_one(home: Home) -> dg.RunRequest | dg.SkipReason:
    """Before the nightly refresh: the last days of the sources in the setting `pull`."""
    sources = home.settings().pull.sources
    if not sources:
        return dg.SkipReason("the setting pull.sources names nothing to pull")
    return dg.RunRequest(asset_selection=[dg.AssetKey(["pulled", source]) for source in sources])
