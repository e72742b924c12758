"""Stage 4: tables of schema analysis, from marts that passed validation.

The work is done by `analysis`, `recommendation`, `recommendations`, `closing`, and the modules of the pages.
"""

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import dagster as dg
import duckdb
import pyarrow as pa

from pipeline.analysis import distributions
from pipeline.assets.checks import REPORT
from pipeline.assets.home import OWNERS, Home
from pipeline.assets.models import MARTS
from pipeline.assets.preview import table_metadata
from pipeline.finance import closing
from pipeline.pricing import recommendation
from pipeline.savings import recommendations
from pipeline.settings import Settings
from pipeline.store import computed, memo, progress, warehouse
from pipeline.views import contracts, statistics

Write = Callable[[duckdb.DuckDBPyConnection, Settings], None]
Produce = Callable[[duckdb.DuckDBPyConnection, Settings], Iterable[tuple[str, pa.Table]]]


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


def _build(
    names: Collection[str], produce: Produce, stage: str, relevant: frozenset[str], home: Home, *others: object
) -> Iterator[dg.MaterializeResult[None]]:
    settings = home.settings()
    with warehouse.connect(settings) as connection:
        rests_on = memo.fingerprint(
            connection, sorted(settings.model_dump(mode="json", include=set(relevant)).items()), tuple(names), *others
        )
        if not home.full_refresh and memo.outcome(connection, stage, rests_on) is not None:
            for name in names:
                yield dg.MaterializeResult(asset_key=["analysis", name], metadata={"unchanged": True})
        else:
            progress.report(stage, 0, len(names), "")
            failed = []
            for done, (name, table) in enumerate(produce(connection, settings), 1):
                progress.report(stage, done, len(names), name)
                warehouse.write_analysis(connection, name, table)
                if reason := computed.failure(table):
                    failed.append(f"{name} ({reason})")
                yield dg.MaterializeResult(
                    asset_key=["analysis", name], metadata=table_metadata(connection, "analysis", name)
                )
            if failed:
                memo.note_failure(connection, stage, rests_on, ", ".join(failed))
            else:
                memo.note(connection, stage, rests_on)
        progress.report(stage, len(names), len(names), "")


_OF_ANALYSIS = frozenset({"seed", "analysis_segments", "analysis_min_rows", "anomaly_floor_usd"})
_OF_PRICING = frozenset(
    {
        "seed",
        "customer_dimension",
        "budget_usd",
        "budget_probability",
        "target_variance_reduction",
        "loading_lambda",
        "pool_customers",
        "quotes",
        "mechanisms",
    }
)
_OF_SAVINGS = frozenset({"savings", "what_if", "model_aliases", "publish_contract_rates"})


def _price(connection: duckdb.DuckDBPyConnection, settings: Settings) -> Iterable[tuple[str, pa.Table]]:
    return recommendation.tables(connection, settings).items()


@dg.multi_asset(name="analyse_usage", specs=_specs(distributions.SCHEMAS, "analysis"), pool="warehouse")
def analyse_usage(home: Home) -> Iterator[dg.MaterializeResult[None]]:
    """How cost and tokens spread: metrics of the tail, fitted families, outliers, rolling variance."""
    yield from _build(distributions.TABLES, distributions.tables, "analysis", _OF_ANALYSIS, home)


@dg.multi_asset(name="price_contracts", specs=_specs(recommendation.SCHEMAS, "pricing"), pool="warehouse")
def price_contracts(home: Home) -> Iterator[dg.MaterializeResult[None]]:
    """What the same history would have been billed under each contract, and at which risk."""
    yield from _build(recommendation.SCHEMAS, _price, "pricing", _OF_PRICING, home)


@dg.multi_asset(name="recommend_savings", specs=_specs(recommendations.SCHEMAS, "savings"), pool="warehouse")
def recommend_savings(home: Home) -> Iterator[dg.MaterializeResult[None]]:
    """What to change, and what it would have saved; questions are priced by the file of own rates as it is."""
    overrides = home.settings().overrides_file
    digest = hashlib.sha256(overrides.read_bytes()).hexdigest() if overrides else ""
    yield from _build(recommendations.SCHEMAS, recommendations.tables, "savings", _OF_SAVINGS, home, digest)


@dg.multi_asset(name="restate_closed_months", specs=_specs(closing.SCHEMAS, "closing"), pool="warehouse")
def restate_closed_months(home: Home) -> Iterator[dg.MaterializeResult[None]]:
    """What differs from closed months now: noticed in each run, since rates change without a new file."""
    settings = home.settings()
    progress.report("closing")
    with warehouse.connect(settings) as connection:
        for name, schema in closing.SCHEMAS.items():
            table = computed.table_or_reason(schema, partial(closing.table, connection, settings))
            warehouse.write_analysis(connection, name, table)
            if reason := computed.failure(table):
                memo.note_failure(connection, "closing", "", f"{name} ({reason})")
            else:
                memo.note(connection, "closing", "")
            yield dg.MaterializeResult(
                asset_key=["analysis", name], metadata=table_metadata(connection, "analysis", name)
            )


def _page(home: Home, stage: str, of: Sequence[str], page: Path, write: Write) -> dg.MaterializeResult[None]:
    """Write a page of the tables of the stages `of`, unless they are as they were."""
    settings = home.settings()
    progress.report(stage)
    with warehouse.connect(settings) as connection:
        rests_on = memo.fingerprint(connection, [memo.version(connection, each) for each in of])
        is_current = page.exists() and memo.outcome(connection, stage, rests_on) is not None
        if not is_current or home.full_refresh:
            write(connection, settings)
            memo.note(connection, stage, rests_on)
    return dg.MaterializeResult(
        metadata={
            "report": dg.MetadataValue.url(page.as_uri()),
            "report_path": dg.MetadataValue.path(str(page)),
            "unchanged": is_current and not home.full_refresh,
        }
    )


def _write_statistics(connection: duckdb.DuckDBPyConnection, settings: Settings) -> None:
    statistics.write(statistics.collect(connection), settings.reports, datetime.now(UTC))


def _write_pricing(connection: duckdb.DuckDBPyConnection, settings: Settings) -> None:
    contracts.write(contracts.collect(connection, settings), settings.reports, datetime.now(UTC))


@dg.asset(
    key=dg.AssetKey("statistics_report"),
    description="How cost and tokens spread, which days stand out and why, and what the month will cost: one page.",
    group_name="analysis",
    kinds={"html"},
    owners=OWNERS,
    deps=[dg.AssetKey(["analysis", name]) for name in distributions.TABLES],
    pool="warehouse",
)
def statistics_report(home: Home) -> dg.MaterializeResult[None]:
    """Write reports/analysis/index.html."""
    page = statistics.path(home.settings().reports)
    return _page(home, "statistics", ["analysis"], page, _write_statistics)


@dg.asset(
    key=dg.AssetKey("pricing_report"),
    description="What a quote would have cost, which contract tames the bill at which price, and what would save.",
    group_name="pricing",
    kinds={"html"},
    owners=OWNERS,
    deps=[dg.AssetKey(["analysis", name]) for name in (*recommendation.SCHEMAS, *recommendations.SCHEMAS)],
    pool="warehouse",
)
def pricing_report(home: Home) -> dg.MaterializeResult[None]:
    """Write reports/pricing/index.html."""
    page = contracts.path(home.settings().reports)
    return _page(home, "pricing_page", ["pricing", "savings"], page, _write_pricing)
