"""Stage 4: tables of schema analysis, from marts that passed validation.

The work is done by `analysis`, `recommendation`, `recommendations` and `closing`.
"""

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial

import dagster as dg
import duckdb
import pyarrow as pa

from pipeline.analysis import distributions
from pipeline.assets.checks import REPORT
from pipeline.assets.home import OWNERS, Home
from pipeline.assets.lineage import read_by
from pipeline.assets.preview import columns, table_metadata
from pipeline.finance import closing
from pipeline.pricing import recommendation
from pipeline.savings import recommendations
from pipeline.settings import Settings
from pipeline.store import computed, memo, progress, warehouse

Write = Callable[[duckdb.DuckDBPyConnection, Settings], None]
Produce = Callable[[duckdb.DuckDBPyConnection, Settings], Iterable[tuple[str, pa.Table]]]


# The SQL of each table. All of them depend on the report: nothing is analysed after a failed blocking check.
_USAGE, _SESSIONS, _REQUESTS = (f"analysis/{of}_observations" for of in ("usage", "session", "request"))
_SQL_OF_ANALYSIS = {
    "tail_metrics": (_USAGE, _SESSIONS, _REQUESTS),
    "distribution_fits": (_USAGE, _SESSIONS, _REQUESTS),
    "outliers": (_SESSIONS, "analysis/session_lines", "analysis/bridge/rates"),
    "cost_variance": (_USAGE, _SESSIONS),
    "half_of_cost_sessions": (_SESSIONS,),
    "month_bridge": ("analysis/bridge/*",),
    "usage_anomalies": (_USAGE, _SESSIONS, "analysis/usage_lines", "analysis/bridge/rates"),
    "cost_forecast": (_USAGE,),
    "time_profile": (_SESSIONS, _REQUESTS),
    "burstiness": (_SESSIONS, _REQUESTS),
    "day_patterns": (_USAGE,),
}
_SQL_OF_BILLS = ("pricing/billing_*", "pricing/list_segments")
_SQL_OF_PRICING = dict.fromkeys(recommendation.SCHEMAS, _SQL_OF_BILLS) | {
    "pricing_per_conversation": ("pricing/list_conversations",)
}
_SQL_OF_SAVINGS = dict.fromkeys(recommendations.SCHEMAS, ("savings/*", "savings/repricing/*"))
_SQL_OF_CLOSING = dict.fromkeys(closing.SCHEMAS, ("finance/closing/restate*", "finance/closing/current_costs"))


def _specs(
    tables: Mapping[str, pa.Schema], group: str, files: Mapping[str, Sequence[str]], *others: dg.AssetKey
) -> list[dg.AssetSpec]:
    """The assets of tables: their descriptions, and their dependencies from the SQL files and `others`."""
    return [
        dg.AssetSpec(
            ["analysis", name],
            description=warehouse.description(schema),
            group_name=group,
            kinds={"python", "parquet"},
            owners=OWNERS,
            deps=[*read_by(*files[name]), *others, REPORT],
            metadata={"dagster/column_schema": columns(schema)},
        )
        for name, schema in tables.items()
    ]


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
            if home.full_refresh:
                memo.forget_results(connection, stage)
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
        "cost_of_capital",
        "pool_customers",
        "quotes",
        "mechanisms",
    }
)
_OF_SAVINGS = frozenset({"savings", "what_if", "model_aliases"})


def _price(connection: duckdb.DuckDBPyConnection, settings: Settings) -> Iterable[tuple[str, pa.Table]]:
    return recommendation.tables(connection, settings).items()


@dg.multi_asset(
    name="analyse_usage", specs=_specs(distributions.SCHEMAS, "analysis", _SQL_OF_ANALYSIS), pool="warehouse"
)
def analyse_usage(home: Home) -> Iterator[dg.MaterializeResult[None]]:
    """Distribution of cost and tokens: tail metrics, fitted families, outliers, rolling variance."""
    yield from _build(distributions.TABLES, distributions.tables, "analysis", _OF_ANALYSIS, home)


@dg.multi_asset(
    name="price_contracts", specs=_specs(recommendation.SCHEMAS, "pricing", _SQL_OF_PRICING), pool="warehouse"
)
def price_contracts(home: Home) -> Iterator[dg.MaterializeResult[None]]:
    """Bills of the same history under each contract, and their risk."""
    yield from _build(recommendation.SCHEMAS, _price, "pricing", _OF_PRICING, home)


@dg.multi_asset(
    name="recommend_savings",
    specs=_specs(recommendations.SCHEMAS, "pricing", _SQL_OF_SAVINGS),
    pool="warehouse",
)
def recommend_savings(home: Home) -> Iterator[dg.MaterializeResult[None]]:
    """Possible savings, and the user's what-if questions, priced with the current overrides file."""
    overrides = home.settings().overrides_file
    digest = hashlib.sha256(overrides.read_bytes()).hexdigest() if overrides else ""
    yield from _build(recommendations.SCHEMAS, recommendations.tables, "savings", _OF_SAVINGS, home, digest)


@dg.multi_asset(
    name="restate_closed_months", specs=_specs(closing.SCHEMAS, "analysis", _SQL_OF_CLOSING), pool="warehouse"
)
def restate_closed_months(home: Home) -> Iterator[dg.MaterializeResult[None]]:
    """Differences from closed months: checked in each run, because rates can change without a new file."""
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
