"""Stage 4: tables of schema analysis, from marts that passed validation.

The work is done by `analysis` and `billing`.
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime

import dagster as dg
import duckdb
import pyarrow as pa

from pipeline import analysis, billing, progress, scope, statistics_page, warehouse
from pipeline.assets.checks import REPORT
from pipeline.assets.home import OWNERS, Home
from pipeline.assets.models import MARTS
from pipeline.assets.preview import table_metadata
from pipeline.settings import Settings

Tables = Mapping[str, Callable[[duckdb.DuckDBPyConnection, Settings], pa.Table]]


def _specs(tables: Mapping[str, pa.Schema], group: str) -> list[dg.AssetSpec]:
    return [
        dg.AssetSpec(
            ["analysis", name],
            description=warehouse.description(schema),
            group_name=group,
            kinds={"python", "parquet"},
            owners=OWNERS,
            deps=[*MARTS, REPORT],
            metadata={"dagster/column_schema": _columns(schema)},
        )
        for name, schema in tables.items()
    ]


def _columns(schema: pa.Schema) -> dg.TableSchema:
    return dg.TableSchema(
        [dg.TableColumn(field.name, type=str(field.type), description=warehouse.description(field)) for field in schema]
    )


def _build(tables: Tables, stage: str, home: Home) -> Iterator[dg.MaterializeResult[None]]:
    settings = home.settings()
    with warehouse.connect(settings) as connection:
        rests_on = scope.fingerprint(
            connection,
            settings.seed,
            settings.customer_dimension,
            settings.budget_usd,
            settings.analysis_segments,
            settings.analysis_min_rows,
            settings.anomaly_floor_usd,
            tuple(tables),
        )
        is_current = not home.full_refresh and scope.outcome(connection, stage, rests_on) is not None
        for done, (name, build) in enumerate(tables.items()):
            progress.report(stage, done, len(tables), name)
            if is_current:
                yield dg.MaterializeResult(asset_key=["analysis", name], metadata={"unchanged": True})
                continue
            warehouse.write_analysis(connection, name, build(connection, settings))
            yield dg.MaterializeResult(
                asset_key=["analysis", name], metadata=table_metadata(connection, "analysis", name)
            )
        scope.note(connection, stage, rests_on)
        progress.report(stage, len(tables), len(tables), "")


@dg.multi_asset(name="analyse_usage", specs=_specs(analysis.SCHEMAS, "analysis"), pool="warehouse")
def analyse_usage(home: Home) -> Iterator[dg.MaterializeResult[None]]:
    """How cost and tokens spread: metrics of the tail, fitted families, outliers, rolling variance."""
    yield from _build(analysis.TABLES, "analysis", home)


@dg.multi_asset(name="price_contracts", specs=_specs(billing.SCHEMAS, "pricing"), pool="warehouse")
def price_contracts(home: Home) -> Iterator[dg.MaterializeResult[None]]:
    """What the same history would have been billed under each contract, and at which risk."""
    yield from _build(billing.TABLES, "pricing", home)


STATISTICS = dg.AssetKey("statistics_report")


@dg.asset(
    key=STATISTICS,
    description="How cost and tokens spread, which days stand out and why, and what the month will cost: one page.",
    group_name="analysis",
    kinds={"html"},
    owners=OWNERS,
    deps=[dg.AssetKey(["analysis", name]) for name in analysis.TABLES],
    pool="warehouse",
)
def statistics_report(home: Home) -> dg.MaterializeResult[None]:
    """Write reports/analysis/index.html, unless its tables are as they were."""
    settings = home.settings()
    progress.report("statistics")
    with warehouse.connect(settings) as connection:
        rests_on = scope.fingerprint(connection, scope.version(connection, "analysis"))
        page = statistics_page.path(settings.reports)
        is_current = page.exists() and scope.outcome(connection, "statistics", rests_on) is not None
        if not is_current or home.full_refresh:
            statistics_page.write(statistics_page.collect(connection), settings.reports, datetime.now(UTC))
            scope.note(connection, "statistics", rests_on)
    return dg.MaterializeResult(
        metadata={
            "report": dg.MetadataValue.url(page.as_uri()),
            "report_path": dg.MetadataValue.path(str(page)),
            "unchanged": is_current and not home.full_refresh,
        }
    )
