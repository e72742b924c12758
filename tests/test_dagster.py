"""Dagster: the graph in the UI, its job, schedule and sensor, and *Materialize all* in a new UI.

Belongs here: what Dagster makes of the definitions. Does not belong here: what the assets compute (test_models,
test_analysis, test_billing) and what the checks judge (test_validation).
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest
from commands import CONSOLE_FILES, ENVIRONMENT, CompletedHomes, Done, command_line, land, token_analytics

from pipeline import settings
from pipeline.assets.home import Home
from pipeline.assets.published import published
from pipeline.cli import runs
from pipeline.definitions import defs, landing_changed
from pipeline.marts import dbt_runner
from pipeline.pricing import recommendation
from pipeline.store import warehouse

ASSETS = [
    "analysis/burstiness",
    "analysis/cost_forecast",
    "analysis/cost_variance",
    "analysis/day_patterns",
    "analysis/distribution_fits",
    "analysis/half_of_cost_sessions",
    "analysis/month_bridge",
    "analysis/outliers",
    "analysis/pricing_bills",
    "analysis/pricing_frontier",
    "analysis/pricing_per_conversation",
    "analysis/pricing_provider",
    "analysis/pricing_quotes",
    "analysis/pricing_recommendation",
    "analysis/pricing_risk",
    "analysis/recommendations",
    "analysis/restatements",
    "analysis/tail_metrics",
    "analysis/time_profile",
    "analysis/usage_anomalies",
    "analysis/validation_results",
    "ingest/files",
    "ingest/paths",
    "ingest/rejected_rows",
    "ingest/run_stages",
    "intermediate/int_billed_costs",
    "intermediate/int_billed_ranked",
    "intermediate/int_billed_rests",
    "intermediate/int_chargeback",
    "intermediate/int_chargeback_months",
    "intermediate/int_commitment_days",
    "intermediate/int_confirmed_rates",
    "intermediate/int_console_channels",
    "intermediate/int_console_ranked",
    "intermediate/int_console_rests",
    "intermediate/int_console_usage",
    "intermediate/int_daily_models",
    "intermediate/int_export_steps",
    "intermediate/int_key_days",
    "intermediate/int_log_spans",
    "intermediate/int_logged_keys",
    "intermediate/int_paying_keys",
    "intermediate/int_rates",
    "intermediate/int_reconciliation",
    "intermediate/int_reconciliation_days",
    "intermediate/int_reconciliation_keys",
    "intermediate/int_reconciliation_sides",
    "intermediate/int_requests",
    "intermediate/int_session_records",
    "intermediate/int_token_balance",
    "intermediate/int_unpriced_usage",
    "intermediate/int_usage",
    "landing",
    "marts/billed_costs",
    "marts/booked_costs",
    "marts/cache_efficiency_stats",
    "marts/channel_comparison",
    "marts/chargeback",
    "marts/charges",
    "marts/commitments",
    "marts/context_window_usage",
    "marts/daily_usage",
    "marts/focus_1_2",
    "marts/invoices",
    "marts/model_rates",
    "marts/model_usage_stats",
    "marts/rate_evidence",
    "marts/request_replays",
    "marts/requests",
    "marts/stale_exports",
    "marts/token_conservation",
    "marts/token_sum_audit",
    "marts/token_usage_minutes",
    "marts/token_usage_sessions",
    "marts/unpriced_usage",
    "marts/usage_reconciliation",
    "pages",
    "published",
    "pulled/anthropic_cost",
    "pulled/anthropic_usage",
    "pulled/openai_costs",
    "pulled/openai_usage",
    "pulled/token_usage_sessions",
    "pulled/tracker_events",
    "raw/booked_chargeback",
    "raw/booked_costs",
    "raw/closed_months",
    "raw/console_costs",
    "raw/console_usage",
    "raw/exports",
    "raw/pseudonym_key",
    "raw/requests",
    "raw/usage_sessions",
    "reference",
    "staging/stg_console_costs",
    "staging/stg_console_usage",
    "staging/stg_requests",
    "staging/stg_scoped_files",
    "staging/stg_usage_sessions",
    "validation_report",
]
# Suites that must pass before analysis and publishing.
BLOCKING = {
    "cache_shares",
    "finance_agrees",
    "kinds_add_up",
    "ledger_balance",
    "marts_agree",
    "minutes_grain",
    "money_agrees",
    "no_negative_tokens",
    "priced_or_listed",
    "sessions_agree",
    "token_sums",
    "tokens_conserved",
}
GRAPH = defs.resolve_asset_graph()
KEYS = GRAPH.get_all_asset_keys()


def test_the_graph_holds_these_assets_and_no_others() -> None:
    assert sorted(key.to_user_string() for key in KEYS) == ASSETS


def test_landing_is_the_only_asset_that_nobody_makes() -> None:
    assert [key.to_user_string() for key in KEYS if not GRAPH.get(key).is_materializable] == ["landing"]


def test_every_dependency_and_every_check_belongs_to_an_asset_that_exists() -> None:
    assert {parent for key in KEYS for parent in GRAPH.get(key).parent_keys} <= KEYS
    assert {check.asset_key for check in GRAPH.asset_check_keys} <= KEYS - {dg.AssetKey("landing")}


@pytest.mark.parametrize("name", ASSETS)
def test_every_asset_says_what_it_is_where_it_belongs_and_who_answers_for_it(name: str) -> None:
    node = GRAPH.get(dg.AssetKey.from_user_string(name))
    assert node.group_name not in (None, "default")
    assert node.kinds
    assert node.owners == ["team:finops"]
    assert node.description
    assert "Raw SQL" not in node.description
    assert "dbt model" not in node.description


def test_the_laws_of_the_house_are_blocking_checks() -> None:
    blocking = {key.name for key in GRAPH.asset_check_keys if GRAPH.get_check_spec(key).blocking}
    assert blocking >= BLOCKING


PULLED = {key for key in KEYS if key.path[0] == "pulled"}
PROVIDERS = PULLED - {dg.AssetKey(["pulled", name]) for name in ("token_usage_sessions", "tracker_events")}


def test_the_daily_job_refreshes_everything_from_landing_on_at_two_in_the_night() -> None:
    job = defs.resolve_job_def("daily_refresh")
    assert job.asset_layer.selected_asset_keys == KEYS - PULLED - {dg.AssetKey("landing")}
    schedule = defs.resolve_schedule_def("daily_at_two")
    assert (schedule.job_name, schedule.cron_schedule, schedule.execution_timezone) == (
        "daily_refresh",
        "0 2 * * *",
        "UTC",
    )


def test_what_is_pulled_has_jobs_of_its_own_and_does_nothing_where_nothing_is_configured(tmp_path: Path) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        for name, asset in (("pull_sessions", "token_usage_sessions"), ("drain_stream", "tracker_events")):
            job = defs.resolve_job_def(name)
            assert job.asset_layer.selected_asset_keys == {dg.AssetKey(["pulled", asset])}
            result = job.execute_in_process(instance=instance, resources={"home": Home(path=str(tmp_path))})
            (made,) = result.asset_materializations_for_node(f"pulled__{asset}")
            assert "is configured" in str(made.metadata["status"].value)
    assert not list(tmp_path.iterdir())


def test_the_last_days_are_pulled_before_the_daily_job() -> None:
    assert defs.resolve_job_def("pull_last_days").asset_layer.selected_asset_keys == PROVIDERS
    assert GRAPH.get(dg.AssetKey("landing")).parent_keys == PULLED
    schedule = defs.resolve_schedule_def("pull_at_half_past_one")
    assert (schedule.job_name, schedule.cron_schedule, schedule.execution_timezone) == (
        "pull_last_days",
        "30 1 * * *",
        "UTC",
    )


def test_all_assets_can_be_materialized_in_one_run_and_days_are_pulled_by_a_job_of_their_own() -> None:
    everything = defs.resolve_implicit_global_asset_job_def()
    assert everything.asset_layer.executable_asset_keys == KEYS - {dg.AssetKey("landing")}
    assert {GRAPH.get(key).partitions_def for key in KEYS} == {None}
    assert isinstance(defs.resolve_job_def("pull_days").partitions_def, dg.DailyPartitionsDefinition)


def test_what_is_pulled_comes_first_in_a_run_of_everything_and_holds_up_nothing() -> None:
    nodes = {node.name: node.definition for node in defs.resolve_implicit_global_asset_job_def().nodes}
    first = {name for name, op in nodes.items() if op.tags.get("dagster/priority") == "1"}
    assert first == {"pull_providers", "pulled__token_usage_sessions", "pulled__tracker_events"}
    assert {"landing"} <= {parent.path[0] for parent in GRAPH.get(dg.AssetKey(["raw", "requests"])).parent_keys}


def test_schedules_run_in_every_started_ui_and_sensors_when_they_are_switched_on() -> None:
    repository = defs.get_repository_def()
    assert {each.name for each in repository.schedule_defs} == {
        "daily_at_two",
        "pull_at_half_past_one",
        "sessions_each_hour",
    }
    assert {each.default_status for each in repository.schedule_defs} == {dg.DefaultScheduleStatus.RUNNING}
    assert {each.default_status for each in repository.sensor_defs} == {dg.DefaultSensorStatus.STOPPED}


def test_the_schedule_of_a_source_does_nothing_where_the_source_is_not_configured(tmp_path: Path) -> None:
    for name in ("pull_at_half_past_one", "sessions_each_hour"):
        context = dg.build_schedule_context(resources={"home": Home(path=str(tmp_path))})
        assert isinstance(defs.resolve_schedule_def(name)(context), dg.SkipReason)


def test_a_group_holds_more_than_one_asset_and_what_people_open_is_the_last_one() -> None:
    assert min(Counter(GRAPH.get(key).group_name for key in KEYS).values()) > 1
    last = {key for key in KEYS if GRAPH.get(key).group_name == "published"}
    assert {child for key in last for child in GRAPH.get(key).child_keys} <= last


def test_every_check_says_in_words_what_holds() -> None:
    descriptions = {key.name: GRAPH.get_check_spec(key).description or "" for key in GRAPH.asset_check_keys}
    assert [name for name, words in descriptions.items() if words.count(" ") < 2 or not words.endswith(".")] == []
    assert descriptions["requests_count_each_request_once"] == "requests count each request once (request_key)."


def test_what_is_published_goes_stale_after_a_missed_night() -> None:
    policy = published.specs_by_key[dg.AssetKey("published")].freshness_policy
    assert isinstance(policy, dg.FreshnessPolicy)
    assert policy == dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=36), warn_window=timedelta(hours=26))


def test_the_definitions_load_without_a_warning(tmp_path: Path) -> None:
    checked = subprocess.run(
        [sys.executable, "-W", "default", "-m", "dagster", "definitions", "validate", "-m", "pipeline.definitions"],
        cwd=tmp_path,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    output = checked.stdout + checked.stderr
    assert checked.returncode == 0, output
    assert "All code locations passed validation" in output
    warned = [line for line in output.splitlines() if re.search(r"\w*Warning:|WARNING", line)]
    ours = [line for line in warned if "/pipeline/" in line or re.search(r"(Beta|Preview)Warning", line)]
    # Warnings of Dagster about the command that this test calls, and of a dependency about its own dependency.
    foreign = ("SupersessionWarning: Function `definitions_validate", "DeprecationWarning: sqlglotrs")
    assert ours == []
    assert [line for line in warned if not any(text in line for text in foreign)] == []


# --------------------------------------------------------------------------------------------------- the sensor


class Looks:
    """Evaluations of the sensor, each with the cursor of the one before."""

    def __init__(self, home: Path) -> None:
        self._home = Home(path=str(home))
        self._cursor: str | None = None

    def __call__(self) -> list[str]:
        """Keys of the runs requested by this evaluation."""
        context = dg.build_sensor_context(cursor=self._cursor, resources={"home": self._home})
        found = landing_changed(context)
        if isinstance(found, dg.SkipReason):
            return []
        assert isinstance(found, dg.SensorResult)
        self._cursor = found.cursor
        return [str(request.run_key) for request in found.run_requests or []]


def test_the_sensor_asks_for_one_run_once_two_looks_agree(tmp_path: Path) -> None:
    look = Looks(land(tmp_path, *CONSOLE_FILES))
    first, second, third = look(), look(), look()
    assert (first, len(second), third) == ([], 1, [])


def test_the_sensor_waits_while_a_file_is_being_copied(tmp_path: Path) -> None:
    look = Looks(land(tmp_path, *CONSOLE_FILES))
    asked = []
    for size in (1, 2, 3):
        (tmp_path / "landing" / "growing.csv").write_bytes(b"x" * size)
        asked += look()
    assert asked == []
    assert len(look()) == 1


def test_the_sensor_asks_again_for_a_changed_landing_and_never_twice_for_one_state(tmp_path: Path) -> None:
    look = Looks(land(tmp_path, *CONSOLE_FILES))
    keys = [*look(), *look()]
    (tmp_path / "landing" / "new.csv").write_bytes(b"x")
    keys += [*look(), *look(), *look()]
    assert len(keys) == len(set(keys)) == 2
    fresh = Looks(tmp_path)
    assert [*fresh(), *fresh()] == keys[1:]


# ------------------------------------------------------------------------------------- one asset, one check alone


@pytest.fixture(scope="module")
def published_home(completed_homes: CompletedHomes) -> Path:
    return completed_homes.console().home


DAILY_USAGE = dg.AssetKey(["marts", "daily_usage"])
ONE_CHECK = dg.AssetCheckKey(DAILY_USAGE, "daily_usage_has_one_row_for_each_grain")


@pytest.mark.parametrize(("assets", "checks"), [({DAILY_USAGE}, None), (set(), {ONE_CHECK})])
def test_a_model_or_a_check_can_be_run_alone(
    published_home: Path, assets: set[dg.AssetKey], checks: set[dg.AssetCheckKey] | None
) -> None:
    job = defs.resolve_implicit_global_asset_job_def().get_subset(asset_selection=assets, asset_check_selection=checks)
    with dg.DagsterInstance.ephemeral() as instance:
        done = job.execute_in_process(
            instance=instance,
            resources={"home": Home(path=str(published_home))},
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )
    warehouse.release_lock(settings.load(published_home))
    assert {event.asset_key for event in done.get_asset_materialization_events()} == assets
    judged = {check.check_name for check in done.get_asset_check_evaluations()}
    assert judged >= {ONE_CHECK.name}
    assert checks is None or judged == {ONE_CHECK.name}


# ------------------------------------------------------------------------------- a table that cannot be computed


def test_a_table_that_cannot_be_computed_is_named_and_all_others_are_published_until_it_can(
    published_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (published_home / "token_analytics.toml").write_text(
        "analysis_segments = 2\npool_customers = 999\n"
    )  # so that pricing is computed again
    with monkeypatch.context() as broken:
        broken.setattr(recommendation, "_provider", _fails)
        first = token_analytics("run", "--home", published_home, "--json")
    again = token_analytics("run", "--home", published_home, "--json")
    summary = json.loads(first.out)
    assert (first.code, summary["failed_stages"]) == (1, ["published"])
    (error,) = summary["errors"]
    assert error.endswith(
        "all is published but what could not be computed: pricing_provider (OverflowError: too large)"
    )
    assert again.code == 0
    with duckdb.connect(str(published_home / "token_analytics.duckdb"), read_only=True) as connection:
        (statuses,) = connection.execute("select list(distinct status) from analysis.pricing_provider").fetchall()
    assert "unavailable" not in statuses[0]


def _fails(*_: object) -> None:
    raise OverflowError("too large")


# -------------------------------------------------------------------------------------------------- a failed suite


@pytest.fixture(scope="module")
def broken_run(published_home: Path) -> tuple[Done, dict[str, str], dict[str, str]]:
    """A run in which a total is wrong by one token after the marts are built; files of the home before and after it."""
    before = _digests(published_home)
    build = dbt_runner.build

    def build_wrongly(found: settings.Settings, *more: Any, **options: Any) -> list[dbt_runner.NodeResult]:
        results = build(found, *more, **options)
        with warehouse.connect(found) as connection:
            connection.execute(
                "UPDATE marts.token_usage_minutes SET total_tokens = total_tokens + 1 "
                "WHERE rowid = (SELECT min(rowid) FROM marts.token_usage_minutes)"
            )
        return results

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dbt_runner, "build", build_wrongly)
        done = token_analytics("run", "--home", published_home, "--json", keeps_history=True)
    return done, before, _digests(published_home)


def _digests(home: Path) -> dict[str, str]:
    files = [home / "token_analytics.duckdb", *(home / "outputs").iterdir()]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_a_broken_law_ends_the_run_with_exit_code_1_and_its_name(broken_run: Any) -> None:
    done, _, _ = broken_run
    summary = json.loads(done.out)
    failed = {check["check"] for check in summary["checks"] if not check["passed"] and check["blocking"]}
    assert (done.code, summary["succeeded"]) == (1, False)
    assert {"kinds_add_up", "token_sums"} <= failed


def test_a_broken_law_leaves_what_was_published_in_place(broken_run: Any) -> None:
    _, before, after = broken_run
    assert {"token_analytics.duckdb", "tail_metrics.parquet", "focus_1_2.parquet", "focus_1_2.csv"} < before.keys()
    assert after == before


def test_nothing_behind_a_broken_law_is_materialized(broken_run: Any, published_home: Path) -> None:
    instance_folder = runs.dagster_home(settings.load(published_home))
    with dg.DagsterInstance.from_config(str(instance_folder)) as instance:
        (last,) = instance.get_runs(limit=1)
        made = {
            event.asset_key
            for record in instance.all_logs(last.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
            if (event := record.get_dagster_event()).asset_key
        }
    results = {dg.AssetKey(["analysis", "validation_results"])}
    before = {"raw", "ingest", "reference", "staging", "intermediate", "marts", "validation_report"}
    assert results < made
    assert {key.path[0] for key in made - results} == before


def test_what_the_checks_of_a_stopped_run_found_is_kept_beside_that_of_the_published_run(
    broken_run: Any, published_home: Path
) -> None:
    failed = (
        "SELECT run_id, list(DISTINCT suite) FILTER (NOT passed AND is_blocking) FROM analysis.validation_results "
        "GROUP BY run_id ORDER BY max(finished_at)"
    )
    with warehouse.connect_published(settings.load(published_home)) as connection:
        published_runs = connection.execute(failed).fetchall()
    with warehouse.connect(settings.load(published_home)) as connection:
        *earlier, (_, found) = connection.execute(failed).fetchall()
    assert earlier[-len(published_runs) :] == published_runs
    assert {"kinds_add_up", "token_sums"} <= set(found)


# ---------------------------------------------------------------------------------------- Materialize all, in a UI

_LOCATION = "{repositoriesOrError{... on RepositoryConnection{nodes{name location{name}}}}}"
_ASSETS = """{assetNodes{assetKey{path} isMaterializable jobNames
    assetChecksOrError{... on AssetChecks{checks{name jobNames}}}}}"""
_LAUNCH = """mutation($params: ExecutionParams!) {launchPipelineExecution(executionParams: $params) {
    __typename ... on LaunchRunSuccess{run{runId}} ... on PythonError{message} ... on InvalidSubsetError{message}}}"""
_STATUS = "query($run: ID!){runOrError(runId: $run){... on Run{status}}}"
_EVENTS = """query($run: ID!){logsForRun(runId: $run){... on EventConnection{events{
    __typename ... on MessageEvent{level message stepKey}}}}}"""


_METADATA = """query($key: AssetKeyInput!){assetOrError(assetKey: $key){... on Asset{assetMaterializations(limit: 1){
    metadataEntries{label ... on UrlMetadataEntry{url} ... on FloatMetadataEntry{floatValue}
    ... on IntMetadataEntry{intValue} ... on TextMetadataEntry{text} ... on MarkdownMetadataEntry{mdStr}}}}}}"""


class Ui:
    """A running UI, called as its own pages call it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._address = f"http://127.0.0.1:{port}/graphql"

    def ask(self, query: str, **variables: Any) -> Any:
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(self._address, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return next(iter(json.load(answer)["data"].values()))

    def repository(self) -> tuple[str, str]:
        (node,) = self.ask(_LOCATION)["nodes"]
        return node["name"], node["location"]["name"]

    def materialize_all(self) -> str:
        """Send the button's request: all assets that can be materialized, with their checks. Returns the run id."""
        nodes = [node for node in self.ask(_ASSETS) if node["isMaterializable"]]
        checks = [
            {"name": check["name"], "assetKey": node["assetKey"]}
            for node in nodes
            for check in node["assetChecksOrError"].get("checks", [])
        ]
        assert len(nodes) == len(ASSETS) - 1
        name, location = self.repository()
        selector = {
            "repositoryName": name,
            "repositoryLocationName": location,
            "pipelineName": "__ASSET_JOB",
            "assetSelection": [node["assetKey"] for node in nodes],
            "assetCheckSelection": checks,
        }
        launched = self.ask(_LAUNCH, params={"selector": selector, "runConfigData": {}, "mode": "default"})
        assert launched["__typename"] == "LaunchRunSuccess", launched
        return str(launched["run"]["runId"])

    def metadata(self, *key: str) -> dict[str, Any]:
        """Metadata of an asset's last materialization: texts, numbers and addresses."""
        (made,) = self.ask(_METADATA, key={"path": key})["assetMaterializations"]
        entries = ([*entry.values()] for entry in made["metadataEntries"])
        return {label: value[0] for label, *value in entries if value}

    def finished(self, run: str) -> str:
        """The status in which the run ended."""
        return _until(lambda: _ended(self.ask(_STATUS, run=run)["status"]), seconds=120)


def _ended(status: str) -> str | None:
    return status if status in ("SUCCESS", "FAILURE", "CANCELED") else None


def _until(look: Any, seconds: float) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, ValueError, StopIteration, KeyError):
            if found := look():
                return found
        time.sleep(0.3)
    raise AssertionError("it did not happen in time")


@pytest.fixture
def home_of_a_killed_run(tmp_path: Path) -> Path:
    """A home with a killed run that its history still lists as running."""
    home = land(tmp_path / "home", *CONSOLE_FILES)
    found = settings.load(home)
    warehouse.make_home(found)
    with dg.DagsterInstance.from_config(str(runs.dagster_home(found))) as instance:
        # Pools have their limit from the second run of a home on.
        instance.event_log_storage.initialize_concurrency_limit_to_default("warehouse")
        run = instance.create_run_for_job(defs.resolve_job_def("daily_refresh"))
        started = dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, job_name="daily_refresh")
        instance.report_dagster_event(started, run.run_id)
        assert [one.status for one in instance.get_runs()] == [dg.DagsterRunStatus.STARTED]
    return home


@pytest.fixture
def ui(home_of_a_killed_run: Path, tmp_path: Path) -> Iterator[tuple[Ui, Path]]:
    """`token-analytics ui` in its own process group, and its log.

    It is started in a folder with modules whose names its own code uses.
    """
    for name in ("pipeline", "gql"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('this is not the module')")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = tmp_path / "ui.log"
    with log.open("w") as written:
        process = subprocess.Popen(
            command_line("ui", "--home", home_of_a_killed_run, "--port", str(port)),
            cwd=tmp_path,
            env=ENVIRONMENT,
            stdout=written,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        found = Ui(port)
        _until(found.repository, seconds=60)
        yield found, log
    finally:
        # Like Ctrl-C in a terminal: the whole group gets the signal.
        os.killpg(process.pid, signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(30)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


def _status(port: int, method: str, path: str, body: str | None = None, **headers: str) -> int:
    """Status of the answer to a request from another origin."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    status = connection.getresponse().status
    connection.close()
    return status


def assert_that_only_its_own_pages_are_answered(port: int) -> None:
    """Of a running UI."""
    own, evil = f"http://127.0.0.1:{port}", "http://evil.example"
    change = urllib.parse.quote('mutation { deletePipelineRun(runId: "x") { __typename } }')
    asked = urllib.parse.quote("{ version }")
    json_type, query = "application/json", json.dumps({"query": "{ version }"})
    assert _status(port, "GET", "/server_info") == 200
    assert _status(port, "GET", f"/graphql?query={asked}") == 200
    assert _status(port, "POST", "/graphql", query, Content_Type=json_type) == 200
    assert _status(port, "POST", "/graphql", query, Content_Type=json_type, Origin=own) == 200
    assert _status(port, "GET", "/server_info", Host=f"localhost:{port}") == 200
    assert _status(port, "GET", "/", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate") == 200
    for host in ("evil.example", f"evil.example:{port}", f"127.0.0.1.evil.example:{port}", f"127.0.0.1:{port + 1}"):
        assert _status(port, "GET", "/server_info", Host=host) == 403, host
    for origin in (
        evil,
        "null",
        f"{own}.evil.example",
        f"http://localhost:{port}",
        "file://",
        f"http://127.0.0.1:{port + 1}",
    ):
        assert _status(port, "POST", "/graphql", query, Content_Type=json_type, Origin=origin) == 403, origin
    assert _status(port, "POST", f"/graphql?query={change}", Origin=evil) == 403
    assert _status(port, "GET", f"/graphql?query={change}") == 403
    assert _status(port, "GET", "/graphql?query=mutation%20{") == 403
    assert _status(port, "GET", f"/graphql?query={asked}", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="no-cors") == 403
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec_WebSocket_Version": "13"}
    upgrade |= {"Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec_WebSocket_Protocol": "graphql-ws"}
    assert _status(port, "GET", "/graphql", Origin=evil, **upgrade) == 403
    assert _status(port, "GET", "/graphql", Origin=own, **upgrade) == 101


def assert_that_reports_open(page: Ui, home: Path) -> None:
    """From the address that the UI shows, with the key figures beside it, and nothing else of the home."""
    shown = {
        "validation_report": {"checks", "failed", "failed_blocking"},
        "pages": {"answers"},
    }
    for asset, figures in shown.items():
        known = page.metadata(asset)
        assert figures <= known.keys(), asset
        with urllib.request.urlopen(f"http://127.0.0.1:{page.port}{known['report']}", timeout=30) as answer:
            policy, text = answer.headers["Content-Security-Policy"], answer.read()
        assert policy.startswith("default-src 'none';"), asset
        assert text == (home / known["report"].lstrip("/")).read_bytes()
    for path in ("/reports/..%2ftoken_analytics.duckdb", "/reports/../warehouse.lock", "/reports/none.html"):
        assert _status(page.port, "GET", path) == 404, path
    assert _status(page.port, "POST", "/reports/index.html", "") == 405
    assert _status(page.port, "GET", "/reports/index.html", Host="evil.example") == 403


def test_materialize_all_in_a_fresh_ui_publishes_everything_even_behind_a_killed_run(
    ui: tuple[Ui, Path], home_of_a_killed_run: Path
) -> None:
    page, log = ui
    # Here, since a UI takes long to start.
    assert_that_only_its_own_pages_are_answered(page.port)
    run = page.materialize_all()
    status = page.finished(run)
    events = page.ask(_EVENTS, run=run)["events"]
    complaints = [event for event in events if event.get("level") in ("WARNING", "ERROR", "CRITICAL")]
    assert (status, complaints) == ("SUCCESS", [])
    assert page.repository()[1] == "token_analytics"
    assert_that_reports_open(page, home_of_a_killed_run)
    with duckdb.connect(str(home_of_a_killed_run / "token_analytics.duckdb"), read_only=True) as connection:
        assert connection.execute("SELECT sum(total_tokens) > 0 FROM marts.daily_usage").fetchone() == (True,)
    assert re.findall(r".*(?:Warning|WARNING|ERROR|Traceback).*", log.read_text()) == []
