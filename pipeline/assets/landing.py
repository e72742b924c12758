"""Stage 1: files in landing to raw tables, and the rate card. The work is done by `ingest` and `reference`."""

from collections.abc import Iterator
from dataclasses import asdict

import dagster as dg

from pipeline.assets.home import OWNERS, Home
from pipeline.assets.postgres import pulled_sessions
from pipeline.assets.preview import markdown, table_metadata
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

_RAW = {
    ("raw", "console_usage"): "Rows of the providers' usage exports and API pages, as the files state them.",
    ("raw", "console_costs"): "Rows of the providers' cost exports and API pages, as the files state them.",
    ("raw", "exports"): "How far each export reaches: it decides which of two overlapping exports is in force.",
    ("raw", "usage_sessions"): "Rows of token_usage_sessions, as the files state them.",
    ("raw", "requests"): "Responses that request-level logs report, once a file.",
    ("ingest", "files"): "The ledger: one row for each content that was ever seen in landing.",
    ("ingest", "rejected_rows"): "The quarantine: which rows were not loaded, where they stand, and why.",
    ("raw", "closed_months"): "Months that `close` has stored.",
    ("raw", "booked_costs"): "Closed months as they were booked.",
    ("raw", "booked_chargeback"): "The chargeback of closed months as it was booked.",
    ("raw", "pseudonym_key"): "Key of the pseudonyms of user ids; made once, never published.",
}
_REFERENCE = {
    ("raw", "settings"): "What the models need of the settings.",
    ("raw", "api_key_aliases"): "Former names of API keys.",
    ("raw", "workspace_aliases"): "Ids and former names of workspaces.",
    ("raw", "account_channels"): "Which channel of a provider's account counts where both have a day.",
    (
        "raw",
        "account_formats",
    ): "Which formats are of a provider's account, and whether they tell of usage or of its bill.",
    ("raw", "reconciliation_scope"): "Which billed keys pay for logs that do not name theirs.",
    ("raw", "billing_modes"): "Keys and projects that are paid by usage or by a seat.",
    ("raw", "model_names"): "Every name of a model in the raw tables, with its canonical id.",
    ("raw", "context_windows"): "Input tokens between which a model has one price.",
    ("raw", "commitments"): "What lines of the overrides file commit to spend in a month.",
    ("raw", "allocation"): "Lines of allocation.csv: who pays for what.",
    ("raw", "invoices"): "Lines of invoices.csv.",
    ("raw", "rate_card"): "Dated rates from genai-prices and the overrides file, USD per million tokens.",
}


def _specs(tables: dict[tuple[str, str], str], group: str, deps: list[dg.AssetKey]) -> list[dg.AssetSpec]:
    return [
        dg.AssetSpec(
            dg.AssetKey(key), description=text, group_name=group, kinds={"duckdb", "python"}, owners=OWNERS, deps=deps
        )
        for key, text in tables.items()
    ]


@dg.multi_asset(name="load_landing", specs=_specs(_RAW, "landing", [LANDING.key]), pool="warehouse")
def load_landing(context: dg.AssetExecutionContext, home: Home) -> Iterator[dg.MaterializeResult[None]]:
    """Find, recognise and load new files; bad rows are quarantined, bad files listed."""
    settings = home.settings()
    with warehouse.connect(settings) as connection:
        summary = loader.ingest(connection, settings, lambda *at: progress.report("landing", *at))
        for problem in summary.problems:
            context.log.warning(problem)
        for schema, table in _RAW:
            found = {} if table == "pseudonym_key" else table_metadata(connection, schema, table)
            if table == "files":
                numbers = asdict(summary)
                problems = [text.split(": ", 1) for text in numbers.pop("problems")[:100]]
                found |= numbers | {
                    "problems": dg.MetadataValue.md(markdown(["file", "problem"], problems, widest=500))
                }
            yield dg.MaterializeResult(asset_key=[schema, table], metadata=found)


@dg.multi_asset(
    name="load_reference",
    specs=_specs(
        _REFERENCE, "rates", [dg.AssetKey(key) for key in _RAW if key[0] == "raw" and key[1] != "pseudonym_key"]
    ),
    pool="warehouse",
)
def load_reference(home: Home) -> Iterator[dg.MaterializeResult[None]]:
    """Rewrite the rate card and the names of models for what is loaded now."""
    settings = home.settings()
    progress.report("rates")
    with warehouse.connect(settings) as connection:
        tables.write_reference_tables(connection, settings)
        for schema, table in _REFERENCE:
            yield dg.MaterializeResult(asset_key=[schema, table], metadata=table_metadata(connection, schema, table))
