"""Stage 1: files in landing to raw tables, and the rate card. The work is done by `ingest` and `reference`."""

from collections.abc import Iterator
from dataclasses import asdict

import dagster as dg

from pipeline.assets.home import OWNERS, Home
from pipeline.assets.lineage import REFERENCE, asset_of, read_by
from pipeline.assets.models import MANIFEST
from pipeline.assets.postgres import pulled_sessions
from pipeline.assets.preview import markdown, row_count, table_metadata
from pipeline.assets.pulled import SPECS
from pipeline.assets.stream import drained_events
from pipeline.ingest import loader
from pipeline.reference import tables
from pipeline.store import progress, warehouse

LANDING = dg.AssetSpec(
    "landing",
    description="Console exports and session logs as they were dropped: the input, never written to.",
    group_name="landing",
    kinds={"csv", "json"},
    owners=OWNERS,
    deps=[*(spec.key for spec in SPECS), pulled_sessions, drained_events],
)

_SOURCES = {(source["schema"], source["name"]): source["description"] for source in MANIFEST["sources"].values()}
_LOADED = {pair: text for pair, text in _SOURCES.items() if asset_of(*pair) != REFERENCE}
_REFERENCE = {table: _SOURCES["raw", table] for table in tables.TABLES}
# Not from landing: written by each run or by `close`, or created once.
_OWN = ("run_stages", "closed_months", "booked_costs", "booked_chargeback", "pseudonym_key")

_SPECS = [
    dg.AssetSpec(
        asset_of(schema, table),
        description=text,
        group_name="landing",
        kinds={"duckdb", "python"},
        owners=OWNERS,
        deps=[] if table in _OWN else [LANDING.key],
    )
    for (schema, table), text in _LOADED.items()
]


@dg.multi_asset(name="load_landing", specs=_SPECS, pool="warehouse")
def load_landing(context: dg.AssetExecutionContext, home: Home) -> Iterator[dg.MaterializeResult[None]]:
    """Find, recognise and load new files; bad rows are quarantined, bad files listed."""
    settings = home.settings()
    with warehouse.connect(settings) as connection:
        summary = loader.ingest(connection, settings, lambda *at: progress.report("landing", *at))
        progress.handled(summary.rows_read)
        for problem in summary.problems:
            context.log.warning(problem)
        for schema, table in _LOADED:
            found = {} if table == "pseudonym_key" else table_metadata(connection, schema, table)
            if table == "files":
                numbers = asdict(summary)
                problems = [text.split(": ", 1) for text in numbers.pop("problems")[:100]]
                found |= numbers | {
                    "problems": dg.MetadataValue.md(markdown(["file", "problem"], problems, widest=500))
                }
            yield dg.MaterializeResult(asset_key=[schema, table], metadata=found)


@dg.asset(
    key=REFERENCE,
    description="Names, prices and settings that the models join: small tables of schema raw, rewritten in each run.",
    group_name="landing",
    kinds={"duckdb", "python"},
    owners=OWNERS,
    deps=read_by("reference/model_versions"),
    metadata={
        "tables": dg.MetadataValue.md(markdown(["table", "what it holds"], list(_REFERENCE.items()), widest=500))
    },
    pool="warehouse",
)
def load_reference(home: Home) -> dg.MaterializeResult[None]:
    """Rewrite the rate card, model names, and the settings for the models."""
    settings = home.settings()
    progress.report("rates")
    with warehouse.connect(settings) as connection:
        tables.write_reference_tables(connection, settings)
        rows = {name: row_count(connection, "raw", name) for name in _REFERENCE}
    shown = [[f"raw.{name}", f"{count:,}", _REFERENCE[name]] for name, count in rows.items()]
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": sum(rows.values()),
            "tables": dg.MetadataValue.md(markdown(["table", "rows", "what it holds"], shown, widest=500)),
        }
    )
