"""Before stage 1: what the providers' APIs say of each day, landed as files. The work is done by `fetch.providers`."""

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta

import dagster as dg

from pipeline.assets.home import OWNERS, Home
from pipeline.fetch import providers

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
        partitions_def=DAYS,
        # a source that is not configured makes nothing
        skippable=True,
    )
    for source in providers.APIS
]


def request(sources: Iterable[str], first_day: date, last_day: date) -> dg.RunRequest:
    """One run that pulls these sources for a range of days."""
    tags = {"dagster/asset_partition_range_start": first_day, "dagster/asset_partition_range_end": last_day}
    return dg.RunRequest(
        asset_selection=[dg.AssetKey(["pulled", source]) for source in sources],
        tags={name: str(day) for name, day in tags.items()},
    )


@dg.multi_asset(
    name="pull_providers",
    specs=SPECS,
    can_subset=True,
    partitions_def=DAYS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    pool="providers",
)
def pull_providers(context: dg.AssetExecutionContext, home: Home) -> Iterator[dg.MaterializeResult[None]]:
    """Land the days of the run, or the last ones that are over where it names none; a whole range is one run.

    A source that fails does not stop the others: the run fails at its end, and names all that did.
    """
    settings = home.settings()
    first_day, last_day = providers.default_days(settings, datetime.now(UTC).date())
    if context.has_partition_key or context.has_partition_key_range:
        window = context.partition_time_window
        first_day, last_day = window.start.date(), (window.end - timedelta(microseconds=1)).date()
    failed: list[str] = []
    for source in providers.APIS:
        key = dg.AssetKey(["pulled", source])
        if key not in context.selected_asset_keys:
            continue
        if source not in settings.pull.sources:
            context.log.info(f"{source}: not in the setting pull.sources, so nobody is asked")
            continue
        try:
            landed = providers.pull(settings, first_day, last_day, [source])
        except providers.PullError as error:
            failed.append(str(error))
            continue
        yield dg.MaterializeResult(
            asset_key=key,
            metadata={
                "first_day": str(first_day),
                "last_day": str(last_day),
                "files": len(landed),
                "pages": sum(each.pages for each in landed),
                "results": sum(each.results for each in landed),
            },
        )
    if failed:
        raise providers.PullError("; ".join(failed))


pull_days = dg.define_asset_job(
    "pull_days",
    selection=[pull_providers],
    description="What the providers' APIs say of some days, landed as files.",
)


@dg.schedule(job=pull_days, cron_schedule="30 1 * * *", execution_timezone="UTC")
def pull_at_half_past_one(context: dg.ScheduleEvaluationContext, home: Home) -> dg.RunRequest | dg.SkipReason:
    """Before the nightly refresh: the last days once more, of the sources that the setting `pull` names."""
    settings = home.settings()
    if not settings.pull.sources:
        return dg.SkipReason("the setting pull.sources names nothing to pull")
    days = providers.default_days(settings, context.scheduled_execution_time.date())
    return request(settings.pull.sources, *days)
