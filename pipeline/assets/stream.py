"""Before stage 1: events of the tracker's stream, landed as files. The work is done by `fetch.stream`."""

import dagster as dg

from pipeline.assets.home import OWNERS, Home
from pipeline.fetch import stream


@dg.asset(
    key=["pulled", "tracker_events"],
    group_name="pulled",
    kinds={"redis", "json"},
    owners=OWNERS,
    pool="stream",
    op_tags={"dagster/priority": "1"},
)
def drained_events(context: dg.AssetExecutionContext, home: Home) -> dg.MaterializeResult[None]:
    """Waiting events of the Redis stream, as files in landing; nothing without a stream."""
    settings = home.settings()
    if not settings.stream_url:
        return dg.MaterializeResult(metadata={"status": "no stream is configured (stream_url)"})
    drained = stream.drain(settings)
    if drained.gone:
        context.log.warning(f"{drained.gone} entries were deleted from the stream before they were landed")
    return dg.MaterializeResult(
        metadata={
            "entries": drained.entries,
            "recovered": drained.recovered,
            "gone": drained.gone,
            "files": [path.name for path in drained.files],
        }
    )


drain_stream = dg.define_asset_job("drain_stream", selection=[drained_events])


@dg.sensor(job=drain_stream, minimum_interval_seconds=60, description="A drain when the stream holds new entries.")
def stream_waiting(home: Home) -> dg.RunRequest | dg.SkipReason:
    """Contacts no server unless a stream is configured."""
    if stream.waiting(home.settings()):
        return dg.RunRequest()
    return dg.SkipReason("no stream is configured, or nothing waits in it")
