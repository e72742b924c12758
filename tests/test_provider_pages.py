"""Pages of the providers' usage and cost APIs, and OpenAI's CSV exports: each oddity, and which channel counts.

Belongs here: the meaning of such files, and Console exports and API pages of the same days. Does not belong here:
requests for pages (test_pull), and overlaps within one channel (test_overlaps).
"""

from __future__ import annotations

import datetime as dt
import json
import random
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import oracle
import pytest
from accounts import cost_csv
from pages import (
    COST_COLUMNS,
    DAY,
    MIDNIGHT,
    USAGE_COLUMNS,
    anthropic,
    bucket,
    console_csv,
    cost,
    openai,
    openai_bucket,
    openai_cost,
    page,
)

from pipeline.validation.suites import EXPECTATIONS

HAIKU = "claude-haiku-4-5-20251001"
KINDS = (
    "input_tokens_no_cache, input_tokens_cache_write_5m, input_tokens_cache_write_1h, input_tokens_cache_read, "
    "output_tokens"
)


def usage(home: Any, text: str | bytes, columns: str, name: str = "page.json") -> list[tuple[Any, ...]]:
    home.land({name: text})
    home.ingest()
    found: list[tuple[Any, ...]] = home.query(f"SELECT {columns} FROM raw.console_usage ORDER BY ALL")
    return found


def costs(home: Any, text: str, columns: str, name: str = "page.json") -> list[tuple[Any, ...]]:
    home.land({name: text})
    home.ingest()
    found: list[tuple[Any, ...]] = home.query(f"SELECT {columns} FROM raw.console_costs ORDER BY ALL")
    return found


# ---------- Anthropic: usage


def test_anthropic_input_excludes_cached_tokens(home):
    found = usage(home, page(bucket(anthropic())), f"provider, channel, {KINDS}, web_search_count, request_count")
    assert found == [("anthropic", "api", 100, 20, 3, 4000, 50, 2, None)]


def test_null_cache_creation_is_no_cache_write(home):
    assert usage(home, page(bucket(anthropic(cache_creation=None, server_tool_use=None))), KINDS) == [
        (100, 0, 0, 4000, 50)
    ]


@pytest.mark.parametrize(
    ("start", "seconds", "grain"),
    [(f"{DAY}T10:05:00Z", 60, "minute"), (f"{DAY}T10:00:00Z", 3600, "hour"), (f"{DAY}T00:00:00Z", 86400, "day")],
)
def test_buckets_of_a_minute_an_hour_and_a_day_keep_their_grain(home, start, seconds, grain):
    assert usage(home, page(bucket(anthropic(), start=start, seconds=seconds)), "bucket_seconds") == [(seconds,)]
    assert home.ledger("page.json")["grain"] == grain


def test_a_null_key_and_workspace_are_workbench_and_default_only_where_the_page_is_grouped_by_them(home):
    grouped = page(bucket(anthropic(), anthropic(api_key_id=None, workspace_id=None)))
    assert usage(home, grouped, "api_key, workspace") == [("(workbench)", "Default"), ("apikey_01", "wrkspc_01")]


def test_a_dimension_that_no_result_states_is_empty(home):
    nothing = dict.fromkeys(("api_key_id", "workspace_id", "model", "service_tier", "context_window", "inference_geo"))
    columns = "api_key, workspace, model_version, usage_type, context_window, inference_geo, stated"
    assert usage(home, page(bucket(anthropic(**nothing))), columns) == [("", "", "", "", "", "", "")]


@pytest.mark.parametrize(
    "text",
    [
        page(bucket(anthropic())),
        json.dumps(json.loads(page(bucket(anthropic()))), indent=2),
        f"[{page(bucket(anthropic()))}]",
        page(bucket(anthropic())) + "\n" + page() + "\n",
        "\ufeff" + page(bucket(anthropic())),
    ],
    ids=["one line", "indented", "array", "page after page", "byte order mark"],
)
def test_pages_are_read_however_they_were_saved(home, text):
    assert usage(home, text, KINDS) == [(100, 20, 3, 4000, 50)]


def test_a_page_of_many_megabytes_on_one_line_is_recognised(home):
    results = [anthropic(api_key_id=f"apikey_{number:05}") for number in range(6000)]
    assert len(page(bucket(*results))) > 1 << 21
    assert usage(home, page(bucket(*results)), "count(*)") == [(6000,)]


def test_an_empty_page_that_says_that_there_are_more_is_loaded_without_a_row(home):
    assert usage(home, page(has_more=True), KINDS) == []
    ledger = home.ledger("page.json")
    assert (ledger["status"], ledger["format"], ledger["rows_read"]) == ("loaded", "anthropic_usage", 0)


@pytest.mark.parametrize(
    ("results", "reason"),
    [
        (bucket(anthropic(output_tokens=-1)), "output_tokens is negative, expected a count"),
        (bucket(anthropic(uncached_input_tokens=None)), "uncached_input_tokens is empty, expected a whole number"),
        (bucket(anthropic(output_tokens=1.5)), "output_tokens is not a whole number"),
        (bucket(anthropic()) | {"starting_at": None}, "starting_at is not a time (4173 tokens)"),
        (
            bucket(anthropic(), seconds=7200),
            "ending_at does not end a UTC minute, hour or day that begins at starting_at (4173 tokens)",
        ),
        (
            bucket(anthropic(), start=f"{DAY}T05:00:00Z"),
            "ending_at does not end a UTC minute, hour or day that begins at starting_at (4173 tokens)",
        ),
        (bucket("no object"), "a result that is no object"),
        ({"starting_at": f"{DAY}T00:00:00Z"}, "a bucket without a list of results"),
    ],
)  # fmt: skip
def test_a_result_that_cannot_be_used_is_quarantined_and_the_others_load(home, results, reason):
    assert usage(home, page(bucket(anthropic()), results), KINDS) == [(100, 20, 3, 4000, 50)]
    assert home.rejected() == [(2, 0, reason, "", "")]
    ledger = home.ledger("page.json")
    assert (ledger["rows_read"], ledger["rows_loaded"], ledger["rows_rejected"]) == (2, 1, 1)


def test_half_a_page_is_listed_and_nothing_of_it_is_loaded(home):
    text = page(bucket(anthropic(), anthropic()))
    assert usage(home, text[: len(text) // 2], KINDS) == []
    ledger = home.ledger("page.json")
    assert (ledger["status"], ledger["message"]) == ("failed", "not valid JSON, perhaps cut off: save the pages again")


@pytest.mark.parametrize(
    "data", [[], [None], [3], [[]], [{}], [{"results": None}], [{"results": 3}], [{"results": {}}]]
)
def test_no_shape_of_a_file_stops_the_others(new_home, data):
    home = new_home()
    odd = json.dumps({"data": data, "has_more": False})
    files = {"b.json": odd, "c.json": page(bucket(anthropic()))}
    for number, grouped in enumerate([None, 3, [[]], [{}], ["model"]]):
        header = json.dumps({"token_analytics_pull": {"source": "anthropic_usage", "group_by": grouped}})
        files[f"{number}.jsonl"] = f"{header}\n{odd}"
    home.land(files)
    assert home.ingest().files_loaded >= 1
    assert home.query("SELECT output_tokens FROM raw.console_usage") == [(50,)]


def test_no_text_of_a_page_is_kept_beside_its_dimensions(home):
    canary = "XYZZYPLUGHCANARY"
    odd = anthropic(output_tokens=canary, description=canary) | {canary: 1, f"{canary}_tokens": 5, "note": {canary: 1}}
    files = {
        "u.json": page(bucket(odd, canary, anthropic(note=canary)), canary, {"results": canary}),
        "c.json": page(bucket(cost(canary), cost("1", currency=canary), cost("1", description=canary))),
        "cut.json": f'{{"data": [{{"starting_at": "{canary}", "results": [{{"amount": "1", "note": "{canary}',
    }
    home.land(files)
    home.ingest()
    for schema, table in home.query("SELECT schema_name, table_name FROM duckdb_tables()"):
        found = home.query(f"SELECT count(*) FROM {schema}.{table} AS t WHERE contains(t::varchar, '{canary}')")
        assert found == [(0,)], f"{schema}.{table}"


def test_an_answer_that_holds_an_error_is_no_page(home):
    home.land({"page.json": json.dumps({"type": "error", "error": {"type": "rate_limit_error", "message": "m"}})})
    home.ingest()
    assert home.ledger("page.json")["status"] == "unrecognised"


# ---------- Anthropic: costs


def test_amounts_of_the_cost_report_are_cents_in_text(home):
    found = costs(home, page(bucket(cost("123.45"), cost("0.000001", token_type="uncached_input_tokens"))), "cost_usd")
    assert found == [(Decimal("0.00000001"),), (Decimal("1.2345"),)]


def test_token_types_of_the_cost_report_are_kinds_of_tokens(models):
    types = {
        "uncached_input_tokens": "input_no_cache",
        "output_tokens": "output",
        "cache_read_input_tokens": "cache_read",
        "cache_creation.ephemeral_5m_input_tokens": "cache_write_5m",
        "cache_creation.ephemeral_1h_input_tokens": "cache_write_1h",
    }
    results = [cost("1", token_type=name) for name in types]
    others = [
        cost("2", token_type=None, model=None, cost_type=name, description=name)
        for name in ("web_search", "code_execution", "session_usage")
    ]
    with models.over({"page.json": page(bucket(*results, *others))}, "marts.billed_costs") as connection:
        found = connection.execute("SELECT token_kind, model, cost_usd::double FROM marts.billed_costs").fetchall()
    assert {row[0] for row in found if row[1] == "claude-sonnet-4-5"} == set(types.values())
    assert {row[0] for row in found if row[1] == ""} == {"web_search", "code_execution", "session_usage"}
    assert sum(row[2] for row in found) == pytest.approx(0.11)


def test_an_amount_in_another_currency_or_of_no_number_is_quarantined(home):
    text = page(bucket(cost("1"), cost("2", currency="EUR"), cost("much")))
    assert costs(home, text, "cost_usd::double") == [(0.01,)]
    assert [row[2] for row in home.rejected()] == ["currency is not USD", "amount is not an amount"]


def test_an_amount_for_everything_keeps_what_is_beyond_the_amounts_by_kind(models):
    whole = cost(
        "300", description=None, token_type=None, model=None, cost_type=None, service_tier=None, context_window=None
    )
    files = {
        "a.json": page(bucket(whole)),
        "b.json": page(bucket(cost("120"), cost("30", token_type="uncached_input_tokens"))),
    }
    with models.over(files, "marts.billed_costs") as connection:
        assert connection.execute(
            "SELECT token_kind, cost_usd::double FROM marts.billed_costs ORDER BY 1"
        ).fetchall() == [("input_no_cache", 0.3), ("other", 1.5), ("output", 1.2)]


# ---------- OpenAI


def test_openai_input_contains_cached_tokens_and_requests_are_counted(home):
    columns = f"provider, {KINDS}, request_count, api_key, workspace, usage_type, model_version"
    assert usage(home, page(openai_bucket(openai())), columns) == [
        ("openai", 200, 0, 0, 800, 60, 3, "key_1", "proj_1", "standard", "gpt-5-2025-08-07")
    ]


def test_more_cached_tokens_than_input_are_quarantined(home):
    assert usage(home, page(openai_bucket(openai(input_cached_tokens=1001))), KINDS) == []
    assert home.rejected()[0][2] == "input_cached_tokens is greater than input_tokens"


@pytest.mark.parametrize(
    ("batch", "tier", "usage_type"),
    [
        (True, None, "batch"),
        (False, None, "standard"),
        (None, "flex", "flex"),
        (False, "priority", "priority"),
        (None, None, ""),
    ],
)
def test_openai_batch_and_tier_are_one_usage_type(home, batch, tier, usage_type):
    assert usage(home, page(openai_bucket(openai(batch=batch, service_tier=tier))), "usage_type") == [(usage_type,)]


def test_openai_line_items_name_model_and_kind(models):
    meanings = {
        "gpt-5-2025-08-07, input": ("gpt-5", "input_no_cache"),
        "gpt-5-2025-08-07, cached input": ("gpt-5", "cache_read"),
        "gpt-5-2025-08-07, output": ("gpt-5", "output"),
        "gpt-5.6-terra, cache writes": ("gpt-5.6-terra", "cache_write_5m"),
        "gpt-5 batch, input": ("gpt-5", "input_no_cache"),
        "gpt-image-1 image, output": ("gpt-image-1", "output_image"),
        "gpt-image-1 text, input": ("gpt-image-1", "input_no_cache"),
        "gpt-audio-2025-08-28 audio, cached input": ("gpt-audio", "cache_read_audio"),
        "whisper": ("whisper", "other"),
        "web search tool calls | gpt-5": ("", "web_search"),
        "Image models": ("", "other"),
    }
    text = page(openai_bucket(*(openai_cost(0.06, line_item) for line_item in meanings)))
    with models.over({"page.json": text}, "marts.billed_costs") as connection:
        found = connection.execute("SELECT model, token_kind, workspace, cost_usd::double FROM marts.billed_costs")
        assert sorted(found.fetchall()) == sorted((*named, "proj_1", 0.06) for named in meanings.values())
    law = json.loads((EXPECTATIONS / "billed_token_kinds.json").read_text(encoding="utf-8"))
    known = {kind for each in law["expectations"] for kind in each["kwargs"].get("value_set", [])}
    assert {kind for _, kind in meanings.values()} <= known


def test_openai_exports_as_csv_are_read_like_pages(home):
    text = (
        "start_time,end_time,start_time_iso,project_id,num_model_requests,model,input_tokens,input_cached_tokens,"
        "output_tokens,batch\n"
        f"{MIDNIGHT},{MIDNIGHT + 86400},x,proj_1,3,gpt-5-2025-08-07,1000,800,60,False\n"
        f"{MIDNIGHT},{MIDNIGHT + 86400},x,,1,gpt-5-2025-08-07,many,0,60,False\n"
    )
    columns = f"channel, {KINDS}, request_count, api_key, workspace, usage_type"
    assert usage(home, text, columns, "u.csv") == [("csv", 200, 0, 0, 800, 60, 3, "", "proj_1", "standard")]
    assert home.rejected() == [(3, 192, "input_tokens is not a whole number", "input_tokens", "many")]
    amounts = (
        "start_time,end_time,amount_value,amount_currency,line_item,project_id\n"
        f'{MIDNIGHT},{MIDNIGHT + 86400},0.25,usd,"gpt-5-2025-08-07, output",proj_1\n'
    )
    assert costs(home, amounts, "channel, model_version, token_type, cost_usd::double", "c.csv") == [
        ("csv", "gpt-5-2025-08-07", "output", 0.25)
    ]


def test_cached_and_written_tokens_lie_inside_openai_input(home):
    wrote = openai(input_tokens=1000, input_cached_tokens=400, input_cache_write_tokens=200, input_uncached_tokens=400)
    assert usage(home, page(openai_bucket(wrote)), KINDS) == [(400, 200, 0, 400, 60)]
    assert home.ledger("page.json")["message"] == ""


def test_more_written_tokens_than_input_holds_are_quarantined(home):
    assert usage(home, page(openai_bucket(openai(input_cache_write_tokens=201))), KINDS) == []
    assert home.rejected()[0][2] == "input_cache_write_tokens is greater than input_tokens without input_cached_tokens"


PARTS = (
    "input_audio_tokens, input_image_tokens, cache_read_audio_tokens, cache_read_image_tokens, output_audio_tokens, "
    "output_image_tokens"
)


@pytest.mark.parametrize(
    ("stated", "parts"),
    [
        ({}, (0, 0, 0, 0, 0, 0)),
        (
            {"input_audio_tokens": 150, "input_cached_audio_tokens": 300, "output_audio_tokens": 40},
            (150, 0, 300, 0, 40, 0),
        ),
        (
            {"input_image_tokens": 20, "input_cached_image_tokens": 10, "output_image_tokens": 60},
            (0, 20, 0, 10, 0, 60),
        ),
        # before cached audio tokens were separate, audio input included them: 200 of the 1,000 were not cached
        ({"input_audio_tokens": 900}, (200, 0, 700, 0, 0, 0)),
    ],
)  # fmt: skip
def test_audio_and_image_tokens_are_parts_of_the_kinds(home, stated, parts):
    assert usage(home, page(openai_bucket(openai(**stated))), f"{KINDS}, {PARTS}") == [(200, 0, 0, 800, 60, *parts)]


def test_usage_of_embeddings_and_moderations_has_no_output_and_what_counts_no_tokens_is_ignored(home):
    def of(endpoint: str, **stated: Any) -> dict[str, Any]:
        common = {"num_model_requests": 7, "project_id": "proj_1", "model": "m"}
        return {"object": f"organization.usage.{endpoint}.result", **common, **stated}

    results = [
        of("embeddings", input_tokens=123_456), of("moderations", input_tokens=10), of("images", images=3),
        of("audio_transcriptions", seconds=60), of("completions", input_tokens=5, output_tokens=None),
    ]  # fmt: skip
    found = usage(home, page(openai_bucket(*results)), f"{KINDS}, request_count")
    assert found == [(10, 0, 0, 0, 0, 7), (123_456, 0, 0, 0, 0, 7)]
    ledger = home.ledger("page.json")
    assert (ledger["rows_read"], ledger["rows_ignored"], ledger["rows_rejected"]) == (5, 2, 1)
    assert ledger["message"] == "usage that is not counted in tokens: audio_transcriptions, images"
    assert home.rejected() == [(5, 0, "output_tokens is empty, expected a whole number", "", "")]


def openai_csv(columns: str, *rows: Mapping[str, str], day: int = 0) -> str:
    """An export of OpenAI: missing values are empty, as in real ones."""
    start = MIDNIGHT + day * 86400
    iso = [f"{dt.datetime.fromtimestamp(at, dt.UTC):%Y-%m-%dT%H:%M:%S+00:00}" for at in (start, start + 86400)]
    times = dict(zip(columns.split(",")[:4], [str(start), str(start + 86400), *iso], strict=True))
    lines = [",".join(f'"{text}"' if "," in text else text for text in (({**times, **row}).get(name, "")
             for name in columns.split(","))) for row in rows]  # fmt: skip
    return "\n".join([columns, *lines]) + "\n"


def test_an_export_of_openai_is_read_as_it_is(home):
    counts = {
        "input_tokens": "31422.0", "output_tokens": "1000.0", "input_cached_tokens": "20000.0",
        "input_cache_write_tokens": "1422.0", "input_audio_tokens": "500.0", "output_image_tokens": "10.0",
    }  # fmt: skip
    row = {
        "project_id": "proj_1",
        "num_model_requests": "4.0",
        "api_key_id": "key_1",
        "model": "gpt-5",
        "batch": "False",
    }
    older = ",".join(
        name for name in USAGE_COLUMNS.split(",") if name not in ("compute_units", "input_cache_write_tokens")
    )
    home.land(
        {
            "now.csv": openai_csv(USAGE_COLUMNS, {}, row | counts, {}),
            "older.csv": openai_csv(older, {}, row | counts, day=1),
            "embeddings.csv": openai_csv(
                "start_time,end_time,start_time_iso,end_time_iso,model,num_model_requests,input_tokens",
                {"model": "text-embedding-3-small", "num_model_requests": "2.0", "input_tokens": "77.0"}, day=2,
            ),
        }
    )  # fmt: skip
    home.ingest()
    assert home.query(f"SELECT {KINDS}, {PARTS}, request_count FROM raw.console_usage ORDER BY usage_start") == [
        (10000, 1422, 0, 20000, 1000, 500, 0, 0, 0, 0, 10, 4),
        (11422, 0, 0, 20000, 1000, 500, 0, 0, 0, 0, 10, 4),
        (77, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2),
    ]
    ledger = home.ledger("now.csv")
    assert (ledger["rows_read"], ledger["rows_ignored"], ledger["rows_rejected"], ledger["message"]) == (3, 2, 0, "")


def test_days_without_usage_or_costs_are_no_rows_and_an_export_of_them_says_so(home):
    paid = {"amount_value": "0.002160000000000000000000000000", "amount_currency": "usd", "organization_id": "org-x"}
    euros = {"amount_value": "1", "amount_currency": "eur"}
    home.land(
        {
            "month.csv": openai_csv("start_time,end_time,start_time_iso,end_time_iso", {}, {}),
            "usage.csv": openai_csv(USAGE_COLUMNS, {}),
            "none.csv": openai_csv(COST_COLUMNS, {}, {}),
            "cost.csv": openai_csv(COST_COLUMNS, {}, paid, euros),
        }
    )
    home.ingest()
    for name, rows, what in (("month.csv", 2, "usage"), ("usage.csv", 1, "usage"), ("none.csv", 2, "costs")):
        ledger = home.ledger(name)
        assert (ledger["status"], ledger["rows_read"], ledger["rows_ignored"]) == ("loaded", rows, rows)
        assert ledger["message"].endswith(f"the export holds no {what}: its days have none")
    assert home.query("SELECT cost_usd FROM raw.console_costs") == [(Decimal("0.00216"),)]
    assert [row[2:] for row in home.rejected()] == [("amount_currency is not USD", "amount_currency", "eur")]
    assert home.ledger("cost.csv")["message"] == ""


def test_an_export_of_completions_without_output_is_named_as_incomplete(home):
    home.land(
        {"u.csv": openai_csv("start_time,end_time,model,input_tokens,input_cached_tokens", {"input_tokens": "1"})}
    )
    home.ingest()
    assert home.ledger("u.csv")["message"].startswith("missing required column output_tokens")


def test_exports_of_one_day_in_any_groupings_bill_it_once(models):
    chance = random.Random(7)
    names = {"kind": "line_item", "workspace": "project_id", "api_key": "api_key_id", "user_id": "user_id"}
    values = {"kind": ["gpt-5, input", "gpt-5, output", "whisper"], "workspace": ["a", "b"], "api_key": ["k", "l"],
              "user_id": ["u", "v", ""]}  # fmt: skip
    groupings = [
        frozenset(names for n, names in enumerate(values) if number >> n & 1)
        for number in (0, 1, 2, 3, 4, 5, 6, 8, 10, 11)
    ]
    files, truth = {}, {}
    for day in range(40):
        charges = [
            (
                {name: chance.choice(some) for name, some in values.items()},
                Decimal(chance.randrange(-300, 2000)) / 10**5,
            )
            for _ in range(chance.randint(1, 9))
        ]
        exports = []
        for grouping in chance.sample(groupings, chance.randint(1, 4)):
            # some exports lack some keys of the others
            held = [charge for charge in charges if not grouping or day % 3 or chance.random() < 0.8]
            sums: dict[Any, Decimal] = {}
            for key, amount in held:
                group = tuple((name, key[name]) for name in values if name in grouping)
                sums[group] = sums.get(group, Decimal(0)) + amount
            # the dimensions of a file follow from its rows
            stated = frozenset(name for name in grouping if any(dict(group)[name] for group in sums))
            rows = [
                {names[name]: value for name, value in group}
                | {"amount_value": f"{amount:.30f}", "amount_currency": "usd"}
                for group, amount in sums.items()
            ]
            if rows and stated == grouping:
                files[f"{day}_{len(exports)}.csv"] = openai_csv(COST_COLUMNS, *rows, day=day)
                found = sorted(sums.items(), key=repr)
                exports.append((grouping, [(dict(group), amount) for group, amount in found]))
        if exports:
            truth[dt.date(2026, 2, 17) + dt.timedelta(day)] = oracle.billed(exports)
    with models.over(files, "marts.billed_costs") as connection:
        found = connection.execute(
            "SELECT usage_date, sum(cost_usd), bool_and(cost_usd >= 0 or token_kind = 'credit') "
            "FROM marts.billed_costs GROUP BY usage_date"
        ).fetchall()
    # a day without remaining usage has no row
    assert {day: usd for day, usd, _ in found if usd} == {day: usd for day, usd in truth.items() if usd}
    assert all(row[2] for row in found)


def test_a_line_item_of_long_context_is_of_the_second_window_of_its_model(models):
    items = ["gpt-5.4-2026-03-05, input, long context", "gpt-5.4-2026-03-05, input"]
    text = page(openai_bucket(*(openai_cost(0.5, item) for item in items)))
    with models.over({"page.json": text}, "marts.billed_costs") as connection:
        found = connection.execute("SELECT context_window, token_kind FROM marts.billed_costs ORDER BY 1").fetchall()
        windows = connection.execute(
            "SELECT context_window FROM raw.context_windows WHERE model = 'gpt-5.4' ORDER BY above_tokens"
        ).fetchall()
    assert found == [("", "input_no_cache"), (windows[1][0], "input_no_cache")]


@pytest.mark.parametrize("seed", range(5))
def test_the_tokens_and_amounts_of_any_pages_are_stored_or_listed(new_home, seed):
    chance = random.Random(seed)
    home = new_home()

    def count() -> Any:
        return chance.choice([0, 7, chance.randrange(10**9), chance.randrange(10**9), -1, "x"])

    def is_good(*counts: Any) -> bool:
        return all(isinstance(value, int) and value >= 0 for value in counts)

    rows, stored, cents = [], 0, 0
    for number in range(60):
        counts = [count() for _ in range(3)]
        fields = dict(zip(("uncached_input_tokens", "cache_read_input_tokens", "output_tokens"), counts, strict=True))
        rows.append(anthropic(**fields, cache_creation=None, api_key_id=f"apikey_{number % 7}"))
        stored += sum(counts) if is_good(*counts) else 0
    amounts = [chance.choice([chance.randrange(10**6), "none"]) for _ in range(30)]
    cents = sum(amount for amount in amounts if isinstance(amount, int))
    home.land({"u.json": page(bucket(*rows)), "c.json": page(bucket(*(cost(str(amount)) for amount in amounts)))})
    home.ingest()
    assert home.query(
        "SELECT sum(input_tokens_no_cache + input_tokens_cache_read + output_tokens)::bigint FROM raw.console_usage"
    ) == [(stored,)]
    assert home.query("SELECT (sum(cost_usd) * 100)::bigint FROM raw.console_costs") == [(cents,)]
    for name, total in (("u.json", 60), ("c.json", 30)):
        ledger = home.ledger(name)
        assert ledger["rows_read"] == total == ledger["rows_loaded"] + ledger["rows_rejected"]


# ---------- one channel counts


def api_page(*rows: tuple[str, int, int]) -> str:
    """A page of the Admin API: start, seconds and output tokens of each bucket."""
    none = {"uncached_input_tokens": 0, "cache_creation": None, "cache_read_input_tokens": 0, "server_tool_use": None}
    return page(
        *(
            bucket(anthropic(**none, output_tokens=out), start=f"{start}:00Z".replace(" ", "T"), seconds=seconds)
            for start, seconds, out in rows
        )
    )


# Each case has its own day, so that all of them are built at once.
CASES = {
    "export_and_page_differ": [console_csv(("2026-03-01", 1000)), api_page(("2026-03-01 00:00", 86400, 1010))],
    "page_alone": [api_page(("2026-03-02 00:00", 86400, 500))],
    "agree": [
        console_csv(("2026-03-03", 30)),
        api_page(("2026-03-03 10:05", 60, 10), ("2026-03-03 22:00", 60, 20)),
    ],
    "hour_beside_hours": [
        console_csv(("2026-03-04 15:10", 30), ("2026-03-04 15:59", 70)),
        api_page(("2026-03-04 09:00", 3600, 400), ("2026-03-04 15:00", 3600, 100)),
    ],
    "hour_beside_day": [
        console_csv(("2026-03-05 15:10", 30), ("2026-03-05 15:59", 70)),
        api_page(("2026-03-05 00:00", 86400, 500)),
    ],
    "same_hours": [
        console_csv(("2026-03-06 09:00", 30), ("2026-03-06 15:00", 70)),
        api_page(("2026-03-06 10:00", 3600, 400), ("2026-03-06 15:00", 3600, 70)),
    ],
    "reaches_further": [
        api_page(("2026-03-07 00:00", 86400, 900)),
        api_page(("2026-03-07 00:00", 86400, 800), ("2026-03-08 00:00", 86400, 5)),
    ],
    "greater": [api_page(("2026-03-09 00:00", 86400, 900)), api_page(("2026-03-09 00:00", 86400, 800))],
    "minutes_and_day": [api_page(("2026-03-10 10:05", 60, 30)), api_page(("2026-03-10 00:00", 86400, 100))],
}
MINUTES = """
    SELECT strftime(usage_minute, '%d %H:%M'), bucket_seconds, output_tokens FROM marts.token_usage_minutes ORDER BY ALL
"""
COMPARED = """
    SELECT strftime(usage_date, '%d'), account_of, model, token_kind, channel_in_force, token_gap, usd_gap::double,
        is_different
    FROM marts.channel_comparison ORDER BY ALL
"""
BALANCE = (
    "SELECT stored_tokens, superseded_tokens, in_force_tokens FROM marts.token_conservation WHERE source = 'console'"
)


def counted(models: Any, files: Mapping[str, str], **overrides: Any) -> dict[str, tuple[list[Any], list[Any]]]:
    """Minutes and comparison of these files by day; every token stored is in force or superseded."""
    built = ("marts.token_usage_minutes", "marts.channel_comparison", "marts.token_conservation")
    with models.over(files, *built, **overrides) as connection:
        ((stored, superseded, in_force),) = connection.execute(BALANCE).fetchall()
        minutes = connection.execute(MINUTES).fetchall()
        compared = connection.execute(COMPARED).fetchall()
    assert stored == superseded + in_force
    assert in_force == sum(row[-1] for row in minutes)
    return {
        day: ([row for row in minutes if row[0].startswith(day)], [row[4:6] for row in compared if row[0] == day])
        for day in sorted({row[0][:2] for row in minutes})
    }


@pytest.fixture(scope="module")
def days(models: Any) -> dict[str, tuple[list[Any], list[Any]]]:
    """For each day of `CASES`: the minutes that count, and the channel in force with its gap to the other."""
    return counted(models, {f"{name}_{n}": text for name, texts in CASES.items() for n, text in enumerate(texts)})


def test_of_an_export_and_a_page_of_one_day_the_export_counts_and_the_difference_is_listed(days):
    assert days["01"] == ([("01 00:00", 86400, 1000)], [("csv", -10)])


def test_a_page_counts_on_a_day_that_no_export_has(days):
    assert days["02"] == ([("02 00:00", 86400, 500)], [])


def test_channels_that_agree_are_compared_too(days):
    assert days["03"] == ([("03 00:00", 86400, 30)], [("csv", 0)])


def test_an_export_of_one_hour_does_not_hide_the_rest_of_the_day_that_a_page_has(days):
    assert days["04"] == ([("04 09:00", 3600, 400), ("04 15:00", 3600, 100)], [("api", 400)])
    assert days["05"] == ([("05 00:00", 86400, 500)], [("api", 400)])


def test_an_export_by_hours_counts_though_a_page_says_more_of_the_same_hours(days):
    assert days["06"] == ([("06 09:00", 3600, 30), ("06 15:00", 3600, 70)], [("csv", -370)])


def test_of_two_saved_pages_of_one_bucket_the_one_that_reaches_further_counts_then_the_greater(days):
    assert (days["07"][0], days["08"][0]) == ([("07 00:00", 86400, 800)], [("08 00:00", 86400, 5)])
    assert days["09"][0] == [("09 00:00", 86400, 900)]


def test_pages_of_minutes_and_of_the_day_count_once(days):
    assert days["10"][0] == [("10 00:00", 86400, 70), ("10 10:05", 60, 30)]


def test_the_setting_puts_the_pages_in_force(models):
    files = dict(enumerate(CASES["export_and_page_differ"]))
    found = counted(models, {f"{n}": text for n, text in files.items()}, account_channels={"anthropic": "api"})
    assert found == {"01": ([("01 00:00", 86400, 1010)], [("api", 10)])}


def test_of_costs_by_export_and_by_pages_the_export_counts_within_its_rounding(models):
    files = {
        "c.csv": cost_csv((DAY, "alpha", "1.23")),
        "c.json": page(
            bucket(cost("123.45", model=HAIKU)), bucket(cost("7", model=HAIKU), start="2026-02-18T00:00:00Z")
        ),
    }
    with models.over(files, "marts.billed_costs", "marts.channel_comparison") as connection:
        assert connection.execute(
            "SELECT usage_date::varchar, api_key, cost_usd::double FROM marts.billed_costs ORDER BY ALL"
        ).fetchall() == [(DAY, "alpha", 1.23), ("2026-02-18", "", 0.07)]
        assert connection.execute(COMPARED).fetchall() == [
            ("17", "cost", "claude-haiku-4-5", "output", "csv", None, pytest.approx(-0.0045), False)
        ]


def test_ids_of_keys_and_workspaces_follow_the_settings(models):
    names = {"api_key_aliases": {"apikey_01": "prod"}, "workspace_aliases": {"wrkspc_01": "Research"}}
    files = {"u.json": page(bucket(anthropic())), "c.json": page(bucket(cost()))}
    with models.over(files, "marts.daily_usage", "marts.billed_costs", **names) as connection:
        assert connection.execute("SELECT api_key, workspace FROM marts.daily_usage").fetchall() == [
            ("prod", "Research")
        ]
        assert connection.execute("SELECT workspace FROM marts.billed_costs").fetchall() == [("Research",)]


def test_a_bill_and_usage_from_pages_tie_out(models):
    price = {"uncached_input_tokens": 3, "output_tokens": 15, "cache_read_input_tokens": 0.3}
    tokens = {"uncached_input_tokens": 1_000_000, "output_tokens": 200_000, "cache_read_input_tokens": 5_000_000}
    result = anthropic(cache_creation=None, server_tool_use=None, **tokens)
    amounts = [cost(f"{tokens[name] * price[name] / 1e4:.6f}", token_type=name) for name in price]
    files = {"u.json": page(bucket(result)), "c.json": page(bucket(*amounts))}
    with models.over(files, "marts.usage_reconciliation") as connection:
        assert connection.execute("""
            SELECT token_kind, compared, status, cost_gap_usd::double FROM marts.usage_reconciliation ORDER BY 1
        """).fetchall() == [
            (kind, "console+billed", "matched", 0) for kind in ("cache_read", "input_no_cache", "output")
        ]


def test_a_bill_of_openai_is_compared_with_its_own_usage_and_never_with_anthropics(models):
    files = {
        "u.json": page(openai_bucket(openai())),
        "c.json": page(openai_bucket(openai_cost(0.0006, "gpt-5-2025-08-07, output"))),
        "day.csv": console_csv((DAY, 1000)),
    }
    with models.over(files, "marts.usage_reconciliation") as connection:
        found = connection.execute(
            "SELECT provider, token_kind, compared, status FROM marts.usage_reconciliation ORDER BY ALL"
        ).fetchall()
    assert ("anthropic", "output", "console", "not_comparable") in found
    assert ("openai", "output", "console+billed", "matched") in found


def test_half_a_cent_is_tolerated_only_where_the_bill_is_rounded_to_the_cent(models):
    tokens = {"uncached_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 100_000}
    result = anthropic(cache_creation=None, server_tool_use=None, **tokens)
    usage_pages = {"u.json": page(bucket(result)), "o.json": page(openai_bucket(openai(output_tokens=100_000)))}
    pages = {"c.json": page(bucket(cost("150.4"))), "oc.json": page(openai_bucket(openai_cost(1.004, "gpt-5, output")))}
    query = """
        SELECT provider, status, rounding_tolerance_usd::double FROM marts.usage_reconciliation
        WHERE token_kind = 'output' AND billed_rows > 0 ORDER BY 1
    """
    with models.over(usage_pages | pages, "marts.usage_reconciliation") as connection:
        assert connection.execute(query).fetchall() == [("anthropic", "mispriced", 1e-9), ("openai", "mispriced", 1e-9)]
    export = (
        "usage_date_utc,model,workspace,usage_type,context_window,token_type,cost_usd,cost_type\n"
        f"{DAY},Claude Sonnet 4.5,wrkspc_01,message,≤ 200k,output,1.504,token\n"
    )
    with models.over(usage_pages | {"c.csv": export}, "marts.usage_reconciliation") as connection:
        assert connection.execute(query).fetchall() == [("anthropic", "within_rounding", 0.005)]


def test_a_credit_is_a_charge_of_its_own_and_never_ties_out(models):
    tokens = {"uncached_input_tokens": 1_000_000, "cache_read_input_tokens": 0, "output_tokens": 0, "api_key_id": None}
    result = anthropic(cache_creation=None, server_tool_use=None, **tokens)
    used = {"input_tokens": 1_000_000, "input_cached_tokens": 0, "output_tokens": 0, "api_key_id": None}
    columns = "usage_date_utc,model,workspace,usage_type,context_window,token_type,cost_usd,cost_type\n"
    row = f"{DAY},Claude Sonnet 4.5,wrkspc_01,message,≤ 200k,"
    export = columns + "".join(f"{row}{kind},{usd},token\n" for kind, usd in (
        ("input_no_cache", "3.00"), ("input_no_cache", "-3.00"), ("output", "-1.00"), ("output", "-0.001")
    ))  # fmt: skip
    bills = {
        "a": {"u.json": page(bucket(result)), "c.csv": export},
        "b": {"u.json": page(bucket(result)), "c.json": page(bucket(
            cost("300", token_type="uncached_input_tokens"), cost("-300", token_type="uncached_input_tokens"),
            cost("-100.1"),
        ))},
        "c": {"u.json": page(openai_bucket(openai(**used))),
              "c.json": page(openai_bucket(
            openai_cost(1.25, "gpt-5-2025-08-07, input"), openai_cost(-1.25, "gpt-5-2025-08-07, input"),
            openai_cost(-2.751, "gpt-5-2025-08-07, output"),
        ))},
    }  # fmt: skip
    built = ("marts.usage_reconciliation", "marts.billed_costs", "marts.focus_1_2", "marts.chargeback")
    for files in bills.values():
        with models.over(files, *built) as connection:
            cells = connection.execute("""
                SELECT token_kind, status, billed_cost_usd::double FROM marts.usage_reconciliation
                WHERE billed_rows > 0 ORDER BY 1
            """).fetchall()
            ((net,),) = connection.execute("SELECT sum(cost_usd)::double FROM marts.billed_costs").fetchall()
            focus = connection.execute("""
                SELECT ChargeCategory, sum(BilledCost)::double FROM marts.focus_1_2 GROUP BY 1 ORDER BY 1
            """).fetchall()
            assert connection.execute(
                "SELECT sum(direct_usd + shared_usd + unallocated_usd)::double FROM marts.chargeback"
            ).fetchall() == [(pytest.approx(net),)]
        (credit, usage_cell) = cells
        assert (credit[0], credit[1]) == ("credit", "not_comparable")
        assert (usage_cell[0], usage_cell[1]) == ("input_no_cache", "matched")
        assert credit[2] + usage_cell[2] == pytest.approx(net)
        assert [(category, pytest.approx(usd)) for category, usd in focus] == [
            ("Credit", credit[2]), ("Usage", usage_cell[2])
        ]  # fmt: skip
