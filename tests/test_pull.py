"""Pulling from the providers' APIs: faults of the server, landed files, and that no key is revealed.

Belongs here: the client, its files, the command and the Dagster assets. Does not belong here: what pages mean
(test_provider_pages).
"""

from __future__ import annotations

import datetime as dt
import email.utils
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from commands import token_analytics
from conftest import Home
from providers import KEY, MONDAY, Call, FakeProvider, serving

from pipeline import settings
from pipeline.assets.home import Home as HomeResource
from pipeline.assets.pulled import pull_at_half_past_one, pull_days, pull_providers
from pipeline.fetch import providers
from pipeline.settings import ConfigurationError

FIRST, LAST = MONDAY.date(), MONDAY.date() + dt.timedelta(days=6)
NOW = dt.datetime(2026, 2, 24, 2, tzinfo=dt.UTC)


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    with serving(FakeProvider()) as fake:
        yield fake


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ANTHROPIC_ADMIN_KEY", "OPENAI_ADMIN_KEY"):
        monkeypatch.setenv(name, KEY)


def configured(provider: FakeProvider, *sources: str, **more: Any) -> dict[str, Any]:
    """The setting `pull`."""
    own = {"base_url": provider.base_url}
    return {"sources": sources or ("anthropic_usage",), "anthropic": own, "openai": own, **more}


class Waits(list[float]):
    """A sleep that returns at once and records the requested time."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)


def pulled(
    home: Home,
    provider: FakeProvider,
    *sources: str,
    first: dt.date = FIRST,
    last: dt.date = FIRST,
    now: dt.datetime = NOW,
    waits: Callable[[float], None] | None = None,
    **more: Any,
) -> dict[str, bytes]:
    """Pull, and return every file in landing afterwards, also hidden ones."""
    found = settings.load(home.root, settle_seconds=0, pull=configured(provider, *sources, **more))
    providers.pull(found, first, last, sleep=Waits() if waits is None else waits, now=lambda: now)
    return landed(home)


def landed(home: Home) -> dict[str, bytes]:
    files = (path for path in home.settings.landing.rglob("*") if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(home.settings.landing)): path.read_bytes() for path in files}


def once(*faults: Any) -> Callable[[], Any]:
    """These faults in turn, then none."""
    left = list(faults)
    return lambda: left.pop(0) if left else None


def tokens(calls: list[Call]) -> Counter[Any]:
    """Tokens of the five kinds and searches by day, model, key and workspace, in the words of the marts."""
    found: Counter[Any] = Counter()
    for call in calls:
        given = call.dimensions
        key = (given["api_key_id"] or "(workbench)", given["workspace_id"] or "Default")
        found[call.at.date(), given["model"], *key] += sum(call.tokens.values())
    return +found


MINUTES = """
    SELECT usage_date, model_version, api_key, workspace, sum(total_tokens + web_search_count)::bigint
    FROM marts.token_usage_minutes WHERE source = 'console' AND provider = 'anthropic' GROUP BY ALL
"""


def test_a_week_with_every_fifth_call_failing_is_the_week_pulled_cleanly_and_replays_without_network(
    models, new_home, provider
):
    sources = ("anthropic_usage", "anthropic_cost", "openai_usage", "openai_costs")
    clean = pulled(new_home(), provider, *sources, last=LAST)
    asked = len(provider.asked)

    chance = random.Random(20251128)
    kinds = [(429, {"Retry-After": "7"}), (429, {}), (500, {}), (529, {}), "cut", "torn"]
    provider.fault = lambda: chance.choice(kinds) if chance.random() < 0.2 else None
    waits = Waits()
    faulty = pulled(new_home(), provider, *sources, last=LAST, waits=waits)
    assert len(waits) > 0.1 * asked
    assert faulty == clean

    # seven days of minutes twice, and two files of costs
    assert len(clean) == 16
    provider.key = "nobody can ask any more"
    built = ("marts.token_usage_minutes", "marts.billed_costs", "marts.token_conservation")
    with models.over(faulty, *built) as connection:
        found = {row[:-1]: row[-1] for row in connection.execute(MINUTES).fetchall()}
        assert found == tokens(provider.calls)
        openai = connection.execute("""
            SELECT sum(total_tokens)::bigint, sum(request_count)::bigint FROM marts.token_usage_minutes
            WHERE provider = 'openai'
        """).fetchone()
        kinds_of_openai = ("input", "read", "output")
        assert openai[0] == sum(call.tokens[kind] for call in provider.calls for kind in kinds_of_openai)
        output = sum(call.tokens["output"] for call in provider.calls)
        assert connection.execute(
            "SELECT provider, sum(cost_usd)::double FROM marts.billed_costs GROUP BY ALL ORDER BY ALL"
        ).fetchall() == [("anthropic", pytest.approx(output * 15e-6)), ("openai", pytest.approx(output / 1e6))]
        (balance,) = connection.execute("FROM marts.token_conservation WHERE source = 'console'").fetchall()
        source, stored, superseded, in_force, in_marts = balance
        assert (stored, superseded, source) == (in_force, 0, "console")
        assert in_force == in_marts


def test_every_page_of_a_day_is_asked_for_and_landed_in_one_file(home, provider):
    files = pulled(home, provider)
    ((name, content),) = files.items()
    assert name == "pulled/anthropic_usage/2026-02-16_2026-02-16.1m.20260224T020000Z.jsonl"
    header, *pages = [json.loads(line) for line in content.splitlines()]
    assert header["token_analytics_pull"]["pulled_at"] == "2026-02-24T02:00:00Z"
    assert [len(page["data"]) for page in pages] == [500, 500, 440]
    queries = [query for _, query in provider.asked]
    assert [query.get("page") for query in queries] == [None, ["page_500"], ["page_1000"]]
    assert {query["limit"][0] for query in queries} == {"1440"}
    assert all(len(query["group_by[]"]) == 5 for query in queries)


def test_an_empty_page_that_says_that_there_are_more_does_not_end_a_day(home, new_home, provider):
    provider.empty_pages = True
    pulled(home, provider)
    home.ingest()
    stored = home.query("SELECT sum(output_tokens)::bigint FROM raw.console_usage")
    day = [call for call in provider.calls if call.at.date() == FIRST]
    assert stored == [(sum(call.tokens["output"] for call in day),)]


def test_pages_that_point_at_each_other_end_the_pull_with_an_error(home, provider):
    provider.answer = lambda path, query: {"data": [], "has_more": True, "next_page": "page_0"}
    with pytest.raises(providers.PullError, match="says that there are more pages, and not where"):
        pulled(home, provider)
    assert landed(home) == {}


def test_retry_after_is_waited_for_in_seconds_and_as_a_date(home, provider):
    later = email.utils.format_datetime(NOW + dt.timedelta(seconds=90), usegmt=True)
    provider.fault = once((429, {"Retry-After": "7"}), (429, {"Retry-After": later}))
    waits = Waits()
    pulled(home, provider, waits=waits)
    assert waits == [7, 90]


def test_without_retry_after_each_wait_is_twice_the_one_before_it(home, provider):
    provider.fault = once((429, {}), (500, {}), (503, {}), "cut", "torn", (529, {}))
    waits = Waits()
    pulled(home, provider, waits=waits)
    assert waits == [1, 2, 4, 8, 16, 32]


def test_a_provider_that_asks_for_an_hour_is_left_alone(home, provider):
    provider.fault = once((429, {"Retry-After": "3600"}))
    with pytest.raises(providers.PullError, match="asks to wait 3,600 seconds"):
        pulled(home, provider)


def test_a_day_that_fails_in_the_middle_is_not_landed_and_the_days_before_it_are(home, provider):
    # three pages per day: the fifth answer is the second page of the second day
    provider.fault = once(*[None] * 4, *[(500, {})] * 99)
    with pytest.raises(providers.PullError, match="did not answer 3 times, last: status 500"):
        pulled(home, provider, last=LAST, attempts=3)
    assert [name[:41] for name in landed(home)] == ["pulled/anthropic_usage/2026-02-16_2026-02"]
    assert len(landed(home)) == 1
    provider.fault = lambda: None
    assert len(pulled(home, provider, last=LAST, now=NOW + dt.timedelta(hours=1))) == 8


@pytest.mark.parametrize(("status", "sentence"), [(401, "is refused"), (403, "may not read")])
@pytest.mark.parametrize(
    ("source", "variable", "permission"),
    [
        ("anthropic_cost", "ANTHROPIC_ADMIN_KEY", "Admin API key"),
        ("openai_usage", "OPENAI_ADMIN_KEY", "api.usage.read"),
    ],
)
def test_a_refused_key_ends_the_pull_at_once_and_is_named_by_its_variable(
    home, provider, status, sentence, source, variable, permission
):
    provider.fault = lambda: (status, {})
    waits = Waits()
    with pytest.raises(providers.PullError, match=f"the key in {variable} {sentence}") as caught:
        pulled(home, provider, source, waits=waits)
    assert permission in str(caught.value)
    assert (len(provider.asked), waits, landed(home)) == (1, [], {})
    assert KEY not in repr(caught.getrepr(showlocals=False))


def test_a_source_that_is_refused_does_not_stop_the_others(home, provider, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_ADMIN_KEY", "sk-ant-admin-of-yesterday")
    with pytest.raises(providers.PullError, match=r"^anthropic_usage: the key in ANTHROPIC_ADMIN_KEY is refused"):
        pulled(home, provider, "anthropic_usage", "openai_costs")
    assert [name.split("/")[1] for name in landed(home)] == ["openai_costs"]


def test_a_bad_request_is_not_repeated(home, provider):
    provider.fault = lambda: (400, {})
    with pytest.raises(providers.PullError, match=r"refuses the request \(400, invalid_request_error\): check"):
        pulled(home, provider)
    assert len(provider.asked) == 1


def test_a_redirect_does_not_take_the_key_elsewhere(home, provider):
    with serving(FakeProvider()) as other:
        provider.fault = lambda: (302, {"Location": f"{other.base_url}/v1/organizations/usage_report/messages"})
        with pytest.raises(providers.PullError, match="refuses the request"):
            pulled(home, provider)
        assert other.asked == []


def test_without_a_key_nobody_is_asked(home, provider, monkeypatch):
    monkeypatch.delenv("ANTHROPIC_ADMIN_KEY")
    with pytest.raises(providers.PullError, match="there is no key in ANTHROPIC_ADMIN_KEY: set it to an Admin API key"):
        pulled(home, provider)
    assert provider.asked == []


def test_a_key_with_a_line_end_is_named_and_not_told(home, provider, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_ADMIN_KEY", f"{KEY}\nX-Other: 1")
    with pytest.raises(providers.PullError, match="what ANTHROPIC_ADMIN_KEY holds is no key") as caught:
        pulled(home, provider)
    assert KEY not in str(caught.value)


def test_what_is_not_configured_is_not_pulled(home):
    with pytest.raises(ConfigurationError, match="nothing to pull: name sources"):
        providers.pull(home.settings, FIRST, LAST)


def test_the_sample_takes_no_real_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / "sample" / "landing").mkdir(parents=True)
    with pytest.raises(ConfigurationError, match="takes no real data"):
        providers.pull(settings.load(), FIRST, LAST, ["openai_costs"])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"anthropic": {"base_url": "http://api.example.com"}}, "must begin with https://"),
        ({"openai": {"base_url": "https://me:secret@api.example.com"}}, "must not hold a name or password"),
        ({"sources": ["anthropic"]}, "pull.sources"),
        ({"anthropic": {"group_by": ["model", "speed", "inference_geo", "api_key_id", "workspace_id", "service_tier"]}},
         "at most 5"),
    ],
)  # fmt: skip
def test_a_setting_that_cannot_be_used_is_named(tmp_path, wrong, message):
    with pytest.raises(ConfigurationError, match=message):
        settings.load(tmp_path, pull=wrong)


def test_null_dimensions_that_were_asked_for_are_the_workbench_and_the_default_workspace(home, provider):
    pulled(home, provider)
    home.ingest()
    found = home.query("SELECT DISTINCT api_key, workspace, usage_type, stated FROM raw.console_usage")
    day = [call.dimensions for call in provider.calls if call.at.date() == FIRST]
    assert {row[0] for row in found} == {given["api_key_id"] or "(workbench)" for given in day}
    assert {row[1] for row in found} == {given["workspace_id"] or "Default" for given in day}
    assert {row[3] for row in found} == {"api_key,context_window,model,usage_type,workspace"}


def test_fields_that_are_not_known_are_ignored_and_those_that_look_like_usage_are_noted(home, provider):
    provider.extra = {"reasoning_effort": "high", "thinking_tokens": 3, "future_tokens": 0, "notes": {"a": [1]}}
    pulled(home, provider)
    home.ingest()
    (name,) = landed(home)
    ledger = home.ledger(name)
    assert (ledger["status"], ledger["rows_rejected"]) == ("loaded", 0)
    assert ledger["message"].startswith("fields of usage that are not read: thinking_tokens (")


# ---------- pulling again


def test_a_pull_of_days_to_come_covers_them_up_to_its_own_time(home, provider):
    at = dt.datetime(2026, 2, 18, 12, tzinfo=dt.UTC)
    provider.calls = [call for call in provider.calls if call.at < at]
    days = {"anthropic": {"base_url": provider.base_url, "bucket_width": "1d"}}
    (name,) = pulled(home, provider, last=LAST, now=at, **days)
    home.ingest()
    assert (home.ledger(name)["first_usage_date"], home.ledger(name)["last_usage_date"]) == (FIRST, at.date())


def test_a_later_pull_of_the_same_days_counts_with_all_that_it_says_and_does_not_say(models, home, provider):
    tuesday = FIRST + dt.timedelta(days=1)
    pulled(home, provider, last=tuesday)
    # an hour later: one call has grown, one has another key, and one day has no calls any more
    first, second, *rest = [call for call in provider.calls if call.at.date() == FIRST]
    grown = Call(first.at, first.dimensions, first.tokens | {"output": 77})
    moved = Call(second.at, second.dimensions | {"api_key_id": "apikey_99"}, second.tokens)
    provider.calls = [grown, moved, *rest]
    files = pulled(home, provider, last=tuesday, now=NOW + dt.timedelta(hours=1))
    assert len(files) == 4
    for order in (files, dict(reversed(files.items()))):
        with models.over(order, "marts.token_usage_minutes") as connection:
            assert {row[:-1]: row[-1] for row in connection.execute(MINUTES).fetchall()} == tokens(provider.calls)


def test_a_pull_of_days_beside_one_of_minutes_counts_once(models, home, provider):
    own = {"base_url": provider.base_url}
    pulled(home, provider)
    days = {"anthropic": own | {"bucket_width": "1d", "group_by": ["model"]}}
    files = pulled(home, provider, last=LAST, now=NOW + dt.timedelta(hours=1), **days)
    with models.over(files, "marts.token_usage_minutes", "marts.stale_exports") as connection:
        found = connection.execute(
            "SELECT usage_date, sum(total_tokens + web_search_count)::bigint FROM marts.token_usage_minutes GROUP BY 1"
        ).fetchall()
        expected: Counter[Any] = Counter()
        for (day, *_), count in tokens(provider.calls).items():
            expected[day] += count
        assert dict(found) == expected
        assert connection.execute("SELECT count(*) FROM marts.stale_exports").fetchone() == (0,)


# ---------- the command


def test_the_command_lands_the_last_days_and_tells_the_key_to_nobody(tmp_path, provider):
    home = tmp_path / "home"
    home.mkdir()
    (home / "token_analytics.toml").write_text(
        f"settle_seconds = 0\n[pull]\nsources = ['anthropic_usage', 'openai_costs']\ndays = 2\n"
        f"[pull.anthropic]\nbase_url = '{provider.base_url}'\nbucket_width = '1d'\n"
        f"[pull.openai]\nbase_url = '{provider.base_url}'\n"
    )
    done = token_analytics("pull", "--home", home, "--from", "2026-02-16", "--to", "2026-02-22")
    assert (done.code, done.err) == (0, "")
    assert done.out.count("Landed  landing/pulled/") == 2
    assert token_analytics("pull", "--home", home).code == 0
    yesterday = dt.datetime.now(dt.UTC).date() - dt.timedelta(days=1)
    (query,) = [query for path, query in provider.asked if path.endswith("messages")][-1:]
    assert query["ending_at"] == [f"{yesterday + dt.timedelta(days=1)}T00:00:00Z"]
    assert query["starting_at"] == [f"{yesterday - dt.timedelta(days=1)}T00:00:00Z"]
    provider.key = "another one"
    refused = token_analytics("pull", "--home", home, "--source", "openai_costs")
    assert refused.code == 2
    assert "the key in OPENAI_ADMIN_KEY is refused (401)" in refused.err
    assert token_analytics("pull", "--home", home, "--source", "gemini").code == 2

    output = done.out + done.err + refused.out + refused.err
    files = [path for path in home.rglob("*") if path.is_file()]
    assert [path for path in files if KEY.encode() in path.read_bytes() or KEY in str(path)] == []
    assert KEY not in output
    assert [oct(path.stat().st_mode & 0o777) for path in files if "pulled" in path.parts] == ["0o600"] * len(
        [path for path in files if "pulled" in path.parts]
    )


# ---------- Dagster


def dagster_home(root: Path, provider: FakeProvider, *sources: str) -> HomeResource:
    (root / "landing").mkdir(parents=True)
    own = f"base_url = '{provider.base_url}'\nbucket_width = '1d'\n"
    text = f"[pull]\nsources = {list(sources)}\n[pull.anthropic]\n{own}[pull.openai]\n{own}"
    (root / "token_analytics.toml").write_text(text)
    return HomeResource(path=str(root))


def test_a_day_of_a_backfill_is_one_run_that_pulls_this_day_of_every_configured_source(tmp_path, provider):
    home = dagster_home(tmp_path / "home", provider, "anthropic_usage", "openai_costs")
    done = pull_days.execute_in_process(
        resources={"home": home},
        partition_key="2026-02-16",
        instance=dg.DagsterInstance.ephemeral(),
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
    )
    made = {
        event.asset_key.path[-1]: {name: value.value for name, value in event.materialization.metadata.items()}
        for event in done.filter_events(lambda event: event.is_step_materialization)
        if event.asset_key
    }
    assert made.keys() == {"anthropic_usage", "openai_costs"}
    days = {(each["first_day"], each["last_day"], each["files"]) for each in made.values()}
    assert days == {("2026-02-16", "2026-02-16", 1)}
    assert {query["starting_at"][0] for _, query in provider.asked if "starting_at" in query} == {
        "2026-02-16T00:00:00Z"
    }


def test_the_schedule_asks_for_what_is_configured_and_else_for_nothing(tmp_path, provider):
    def asked(*sources: str) -> Any:
        home = dagster_home(tmp_path / f"home{len(sources)}", provider, *sources)
        return pull_at_half_past_one(dg.build_schedule_context(resources={"home": home}))

    assert isinstance(asked(), dg.SkipReason)
    assert asked("openai_usage").asset_selection == [dg.AssetKey(["pulled", "openai_usage"])]


def test_materializing_a_source_pulls_its_last_days(tmp_path, provider):
    home = dagster_home(tmp_path / "home", provider, "openai_costs")
    done = dg.materialize(
        [pull_providers],
        resources={"home": home},
        instance=dg.DagsterInstance.ephemeral(),
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
    )
    (made,) = done.get_asset_materialization_events()
    days = [made.materialization.metadata[name].value for name in ("first_day", "last_day")]
    today = dt.datetime.now(dt.UTC).date()
    assert days == [str(today - dt.timedelta(days=3)), str(today - dt.timedelta(days=1))]


def test_materializing_what_is_not_configured_asks_nobody(tmp_path, provider):
    home = dagster_home(tmp_path / "home", provider)
    done = dg.materialize(
        [pull_providers],
        resources={"home": home},
        instance=dg.DagsterInstance.ephemeral(),
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
    )
    assert (done.success, done.get_asset_materialization_events(), provider.asked) == (True, [], [])


def test_in_a_dagster_run_too_a_source_that_fails_does_not_stop_the_others(tmp_path, provider, monkeypatch):
    home = dagster_home(tmp_path / "home", provider, "anthropic_usage", "anthropic_cost", "openai_costs")
    monkeypatch.delenv("ANTHROPIC_ADMIN_KEY")
    done = dg.materialize(
        [pull_providers],
        resources={"home": home},
        instance=dg.DagsterInstance.ephemeral(),
        raise_on_error=False,
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
    )
    assert [event.asset_key.path[-1] for event in done.get_asset_materialization_events()] == ["openai_costs"]
    (failure,) = [event for event in done.all_events if event.is_step_failure]
    message = failure.step_failure_data.error.cause.message
    assert "anthropic_usage: there is no key in ANTHROPIC_ADMIN_KEY" in message
    assert "anthropic_cost: there is no key in ANTHROPIC_ADMIN_KEY" in message
    assert "openai" not in message


def test_a_refused_key_is_in_no_event_of_a_dagster_run(tmp_path, provider):
    home = dagster_home(tmp_path / "home", provider, "anthropic_usage")
    provider.fault = lambda: (403, {})
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        done = dg.materialize(
            [pull_providers],
            resources={"home": home},
            instance=instance,
            raise_on_error=False,
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )
        log = "".join(str(record) for record in instance.all_logs(done.run_id))
    assert not done.success
    assert "the key in ANTHROPIC_ADMIN_KEY may not read" in log
    assert KEY not in log
    assert [path for path in tmp_path.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()] == []
