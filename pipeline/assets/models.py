"""Stage 2: the dbt models, one asset each, and their data tests as asset checks. The work is done by `marts`."""

import json
from collections.abc import Iterator, Mapping
from graphlib import TopologicalSorter
from typing import Any

import dagster as dg
from dagster_dbt import DagsterDbtTranslator, DagsterDbtTranslatorSettings, DbtProject, dbt_assets
from dagster_dbt.asset_utils import get_asset_check_key_for_test

from pipeline.assets.home import OWNERS, Home
from pipeline.assets.lineage import asset_of
from pipeline.assets.preview import table_metadata
from pipeline.marts import dbt_runner
from pipeline.store import progress, warehouse

MANIFEST: Mapping[str, Any] = json.loads(dbt_runner.manifest_text())


class Translator(DagsterDbtTranslator):
    """Groups are the layers of the project; every model has an owner, every model and test a description in words."""

    def get_asset_key(self, dbt_resource_props: Mapping[str, Any]) -> dg.AssetKey:
        """For a source, the asset that loads it: several tables can be one asset."""
        if dbt_resource_props["resource_type"] == "source":
            return asset_of(dbt_resource_props["schema"], dbt_resource_props["name"])
        return super().get_asset_key(dbt_resource_props)

    def get_asset_check_spec(
        self, asset_spec: dg.AssetSpec, manifest: Mapping[str, Any], unique_id: str, project: DbtProject | None
    ) -> dg.AssetCheckSpec | None:
        """The check with a description in words instead of the test's name."""
        spec = super().get_asset_check_spec(asset_spec, manifest, unique_id, project)
        return spec and spec._replace(description=described_test(manifest["nodes"][unique_id]))

    def get_description(self, dbt_resource_props: Mapping[str, Any]) -> str:
        """The description in the model's .yml."""
        return str(dbt_resource_props["description"])

    def get_group_name(self, dbt_resource_props: Mapping[str, Any]) -> str | None:
        """staging, intermediate or marts."""
        return str(dbt_resource_props["fqn"][1])

    def get_owners(self, dbt_resource_props: Mapping[str, Any]) -> list[str]:
        """The owner of the models."""
        return OWNERS


_LONGEST_DETAIL = 120  # of an expression or a list of columns in a description


def described_test(node: Mapping[str, Any]) -> str:
    """A dbt test in words: its description in the .yml, else its name as a sentence with its columns."""
    if node.get("description"):
        return str(node["description"])
    name, model = str(node["name"]), str(node["attached_node"] or "").rpartition(".")[2]
    words = name.removeprefix(model).replace("_", " ")
    sentence = f"{model}{words}" if name.startswith(model) else f"{words[:1].upper()}{words[1:]}"
    given = (node.get("test_metadata") or {}).get("kwargs", {})
    seen = [given[key] for key in ("column_name", "columns", "expression", "values") if key in given]
    detail = "; ".join(each if isinstance(each, str) else ", ".join(map(str, each)) for each in seen)
    return f"{sentence} ({detail})." if 0 < len(detail) <= _LONGEST_DETAIL else f"{sentence}."


TRANSLATOR = Translator(DagsterDbtTranslatorSettings(enable_duplicate_source_asset_keys=True))
_IN_ORDER = TopologicalSorter(MANIFEST["parent_map"]).static_order()
MODELS = {
    unique_id: TRANSLATOR.get_asset_key(MANIFEST["nodes"][unique_id])
    for unique_id in _IN_ORDER
    if unique_id.startswith("model.")
}
MARTS = [key for key in MODELS.values() if key.path[0] == "marts"]


CHECKS = {
    unique_id: check
    for unique_id, node in MANIFEST["nodes"].items()
    if node["resource_type"] == "test"
    and (check := get_asset_check_key_for_test(MANIFEST, TRANSLATOR, unique_id, None)) is not None
}


@dbt_assets(manifest=MANIFEST, dagster_dbt_translator=TRANSLATOR, name="build_models", pool="warehouse")
def build_models(context: dg.AssetExecutionContext, home: Home) -> Iterator[Any]:
    """Build the selected models and run their data tests; a model behind a failed test is not built."""
    settings = home.settings()
    warehouse.acquire_lock(settings)
    progress.report("models")
    finished: list[str] = []

    def on_node(name: str) -> None:
        finished.append(name)
        progress.report("models", len(finished), 0, name)

    results = dbt_runner.build(settings, on_node, _selection(context), full_refresh=home.full_refresh)
    if not results:
        yield from _unchanged(context)
        return
    with warehouse.connect(settings) as connection:
        for result in results:
            if key := MODELS.get(result.unique_id):
                if result.succeeded:
                    found = {"seconds": round(result.seconds, 3)}
                    if key.path[0] == "marts":
                        found |= table_metadata(connection, *key.path)
                        progress.handled(int(found["dagster/row_count"]))
                    yield dg.MaterializeResult(asset_key=key, metadata=found)
            elif (check := CHECKS.get(result.unique_id)) and check in context.selected_asset_check_keys:
                yield dg.AssetCheckResult(
                    passed=result.succeeded,
                    asset_key=check.asset_key,
                    check_name=check.name,
                    metadata={"failing_rows": result.failures, "message": result.message or "none"},
                )
    if failed := [result for result in results if not result.succeeded]:
        names = ", ".join(result.unique_id.split(".", 2)[2].split(".")[0] for result in failed[:5])
        raise dbt_runner.TransformError(f"{len(failed)} models or data tests failed: {names}")


def _unchanged(context: dg.AssetExecutionContext) -> Iterator[Any]:
    """The results if nothing was pending: the marts are current, because a build only counts after all tests passed."""
    for key in MODELS.values():
        if key in context.selected_asset_keys:
            yield dg.MaterializeResult(asset_key=key, metadata={"unchanged": True})
    for check in context.selected_asset_check_keys:
        yield dg.AssetCheckResult(
            passed=True, asset_key=check.asset_key, check_name=check.name, metadata={"unchanged": True}
        )


def _selection(context: dg.AssetExecutionContext) -> list[str]:
    """Names of the models to build in this run; empty for all."""
    if not context.is_subset:
        return []
    models = [name for name, key in MODELS.items() if key in context.selected_asset_keys]
    checks = [name for name, key in CHECKS.items() if key in context.selected_asset_check_keys]
    return [str(MANIFEST["nodes"][name]["name"]) for name in (*models, *checks)]
