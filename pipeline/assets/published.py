"""Stage 5: the files that people open. The work is done by `store.warehouse.publish` and `views.files`."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import dagster as dg

from pipeline.analysis import distributions
from pipeline.assets.checks import REPORT, RESULTS
from pipeline.assets.home import OWNERS, Home
from pipeline.assets.models import MARTS
from pipeline.assets.preview import markdown, page_metadata
from pipeline.finance import closing, focus
from pipeline.pricing import recommendation
from pipeline.savings import recommendations
from pipeline.store import memo, progress, warehouse
from pipeline.store.published import Publication, Snapshot
from pipeline.validation import history
from pipeline.views import files, site


class IncompleteError(Exception):
    """Some tables could not be computed; the message names them."""


_ANALYSIS = [
    dg.AssetKey(["analysis", name])
    for name in (*distributions.SCHEMAS, *recommendation.SCHEMAS, *recommendations.SCHEMAS, *closing.SCHEMAS)
]


PUBLISHED = dg.AssetKey("published")
PAGES = dg.AssetKey("pages")


# One step: pages show what is published also where some of its tables could not be computed, which fails the step.
@dg.multi_asset(
    name="published",
    specs=[
        dg.AssetSpec(
            PUBLISHED,
            description=(
                "token_analytics.duckdb, outputs/*.parquet, focus_1_2.csv: replaced as a whole, while readers have "
                "them open."
            ),
            group_name="published",
            kinds={"duckdb", "parquet"},
            owners=OWNERS,
            deps=[
                *MARTS,
                *_ANALYSIS,
                RESULTS,
                REPORT,
                dg.AssetKey(["ingest", "files"]),
                dg.AssetKey(["ingest", "rejected_rows"]),
            ],
            freshness_policy=dg.FreshnessPolicy.time_window(
                fail_window=timedelta(hours=36), warn_window=timedelta(hours=26)
            ),
        ),
        dg.AssetSpec(
            PAGES,
            description="reports/index.html and the pages that it links: each question with its answer.",
            group_name="published",
            kinds={"html"},
            owners=OWNERS,
            deps=[PUBLISHED],
        ),
    ],
    pool="warehouse",
)
def published(context: dg.AssetExecutionContext, home: Home) -> Iterator[dg.MaterializeResult[None]]:
    """Copy the public schemas to a new file that replaces the old one; then report tables that could not be computed.

    Raises:
        IncompleteError: tables of an earlier stage could not be computed; all others are published.

    """
    settings = home.settings()
    progress.report("publish")
    with warehouse.connect(settings) as connection:
        progress.store(connection, context.run_id)
        inputs = memo.fingerprint(
            connection,
            settings.published_group,
            memo.version(connection, "analysis"),
            memo.version(connection, "pricing"),
            memo.version(connection, "savings"),
            closing.state(connection),
            history.state(connection),
        )
        is_current = memo.outcome(connection, "published", inputs) == warehouse.published_state(settings)
        failures = memo.failures(connection)
        metadata: dict[str, Any] = {"path": dg.MetadataValue.path(str(settings.published))}
        if is_current and not home.full_refresh:
            metadata["unchanged"] = True
        else:
            rows = warehouse.publish(connection, settings)
            progress.handled(sum(rows.values()))
            focus.write(connection, settings)
            # the next run rewrites files that were damaged, lost or changed
            memo.note(connection, "published", inputs, warehouse.published_state(settings))
            table = markdown(["table", "rows"], [[name, f"{n:,}"] for name, n in rows.items()])
            metadata |= {"bytes": settings.published.stat().st_size, "tables": dg.MetadataValue.md(table)}
        progress.report("pages")
        entrance = settings.reports / files.ENTRANCE
        shown_metadata: dict[str, Any] = page_metadata(entrance, settings.reports)
        shown = memo.fingerprint(connection, warehouse.published_state(settings))
        if home.full_refresh or not entrance.exists() or memo.outcome(connection, "pages", shown) is None:
            snapshot = Publication(settings.published).current()
            warehouse.share(settings, *files.write(snapshot, settings.reports))
            memo.note(connection, "pages", shown)
            shown_metadata["answers"] = dg.MetadataValue.md(_answers(snapshot))
        progress.store(connection, context.run_id)
    yield dg.MaterializeResult(asset_key=PUBLISHED, metadata=metadata)
    yield dg.MaterializeResult(asset_key=PAGES, metadata=shown_metadata)
    if failures:
        raise IncompleteError(f"all is published but what could not be computed: {', '.join(failures)}")


def _answers(snapshot: Snapshot) -> str:
    """Each question with its answer, as Markdown."""
    answers = [(page.question, site.answered(page, snapshot, site.EVERYTHING).sentence) for page in site.QUESTIONS]
    return markdown(["question", "answer"], answers, widest=400)
