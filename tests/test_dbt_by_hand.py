"""dbt by hand, as in docs/models.md: plain `dbt` on a home, after a change of a model and with a new mart.

Belongs here: which rows it reads and replaces, the effect on the next run, and which home it may open. Does not belong
here: the models themselves (test_models).
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from dbt_common.exceptions import DbtRuntimeError

from pipeline.marts import dbt_runner
from pipeline.marts.dbt_plugin import Plugin
from pipeline.store import warehouse

HEAD = (
    "usage_date_utc,model_version,api_key,workspace,usage_type,context_window,usage_input_tokens_no_cache,"
    "usage_input_tokens_cache_write_5m,usage_input_tokens_cache_write_1h,usage_input_tokens_cache_read,"
    "usage_output_tokens,web_search_count\n"
)
ROWS = "".join(
    f"2026-02-0{day},claude-haiku-4-5,k,Default,standard,≤ 200k,1000000,0,0,0,{day},0\n" for day in range(1, 6)
)
COSTS = "SELECT usage_date, cost_usd FROM marts.daily_usage ORDER BY ALL"
RECIPE = Path(__file__).parent.parent / "docs" / "models.md"


@pytest.fixture(scope="module")
def home(new_home: Callable[..., Any]) -> Any:
    """A home whose marts a run has built: nothing is pending, and schema `scope` is empty."""
    made = new_home()
    made.land({"usage.csv": HEAD + ROWS})
    made.build()
    return made


@pytest.fixture(scope="module")
def rows(home: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Costs of each day as a run built them, as dbt by hand did with a doubled price, and after the next run."""
    project = tmp_path_factory.mktemp("by_hand") / "dbt_project"
    shutil.copytree(dbt_runner.project_dir(), project, ignore=shutil.ignore_patterns("target", "logs"))
    pricing = project / "macros" / "pricing.sql"
    doubled = pricing.read_text(encoding="utf-8").replace("* 0.000001 as decimal", "* 0.000002 as decimal")
    assert doubled != pricing.read_text(encoding="utf-8")
    pricing.write_text(doubled, encoding="utf-8")
    name, own_mart = re.findall(
        r"`dbt_project/(models/marts/\w+\.sql)`:\n\n((?:    .+\n)+)", RECIPE.read_text(encoding="utf-8")
    )[0]
    (project / name).write_text(own_mart, encoding="utf-8")

    found = {"run": home.query(COSTS)}
    warehouse.release_lock(home.settings)
    selected = ["int_usage", "token_usage_minutes", "daily_usage", "cost_by_project"]
    subprocess.run(
        [Path(sys.executable).with_name("dbt"), "build", "--exclude-resource-type", "unit_test", "--select", *selected],
        cwd=project, env={**os.environ, "TOKEN_ANALYTICS_HOME": str(home.root)}, check=True, capture_output=True,
    )  # fmt: skip
    found |= {"by hand": home.query(COSTS), "own mart": home.query("SELECT sum(cost_usd) FROM marts.cost_by_project")}
    found["built"] = [node.unique_id for node in dbt_runner.build(home.settings)]
    return found | {"next run": home.query(COSTS)}


def test_a_change_that_doubles_a_cost_doubles_it_on_every_day_that_was_built_before(rows: dict[str, Any]) -> None:
    assert len(rows["run"]) == 5
    assert all(cost > 0 for _, cost in rows["run"])
    assert rows["by hand"] == [(day, 2 * cost) for day, cost in rows["run"]]


def test_a_mart_of_ones_own_reads_what_was_just_built(rows: dict[str, Any]) -> None:
    assert rows["own mart"] == [(sum(cost for _, cost in rows["by hand"]),)]


def test_the_next_run_builds_everything_anew_by_the_models_as_they_are(rows: dict[str, Any]) -> None:
    assert "model.token_analytics.int_usage" in rows["built"]
    assert rows["next run"] == rows["run"]


def test_dbt_by_hand_opens_the_file_as_a_run_does(home: Any) -> None:
    config: dict[str, Any] = {}
    Plugin("home", {}).update_connection_config(SimpleNamespace(path=str(home.settings.warehouse)), config)
    assert config["TimeZone"] == "UTC"
    assert config.keys() == warehouse.connection_config(home.settings).keys()


def test_dbt_by_hand_waits_for_a_run_and_then_says_who_holds_the_home(
    home: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    warehouse.release_lock(home.settings)
    monkeypatch.setenv("TOKEN_ANALYTICS_LOCK_TIMEOUT_SECONDS", "0")
    with (home.root / "warehouse.lock").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(DbtRuntimeError, match="another run holds"):
            Plugin("home", {}).update_connection_config(SimpleNamespace(path=str(home.settings.warehouse)), {})


def test_dbt_by_hand_makes_no_home_where_there_is_none(tmp_path: Path) -> None:
    missing = tmp_path / "typo" / "warehouse.duckdb"
    with pytest.raises(DbtRuntimeError, match="token-analytics run --home"):
        Plugin("home", {}).update_connection_config(SimpleNamespace(path=str(missing)), {})
    assert list(tmp_path.iterdir()) == []
