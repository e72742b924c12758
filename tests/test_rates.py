"""The rate card has the prices of genai-prices, and the user's own rates override them day by day."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import genai_prices
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.reference.rates import (
    RATE_SCHEMA,
    TOKEN_KINDS,
    ModelName,
    canonical_model,
    context_windows,
    model_names,
    rate_card,
)
from pipeline.settings import ConfigurationError

HEADER = "model,token_kind,context_window,usage_type,inference_geo,speed,valid_from,usd_per_mtok,multiplier,valid_to"
KEY = RATE_SCHEMA.names[:7]
# Kinds and searches, as five counts and a sixth.
TEXT_KINDS = TOKEN_KINDS[:6]
MODELS_IN_USE = (
    "gpt-5",
    "gpt-5-codex",
    "gpt-5.4",
    "gpt-4o",
    "gpt-4.1",
    "gemini-2.5-flash",
    "gemini-2.5-pro",
    "deepseek-chat",
    "deepseek-v4-flash",
    "grok-4.5",
    "mistral-large",
    "house-model",
)

Row = dict[str, Any]
Write = Callable[..., Path]


@pytest.fixture(scope="module")
def card() -> list[Row]:
    rows: list[Row] = rate_card(MODELS_IN_USE, None).to_pylist()
    return rows


@pytest.fixture
def overrides(tmp_path: Path) -> Write:
    """Writes an overrides file of the given lines under the full header."""

    def write(*lines: str, header: str = HEADER) -> Path:
        path = tmp_path / "rate_overrides.csv"
        path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
        return path

    return write


def rate_row(
    rows: list[Row], model: str, token_kind: str, day: date = date(2026, 11, 1), **dimensions: str
) -> Row | None:
    wanted = {
        "context_window": "0-200k",
        "usage_type": "standard",
        "inference_geo": "",
        "speed": "standard",
    } | dimensions
    found = [
        row
        for row in rows
        if (row["model"], row["token_kind"]) == (model, token_kind)
        and all(row[name] == value for name, value in wanted.items())
        and row["valid_from"] <= day
        and (row["valid_to"] is None or day < row["valid_to"])
    ]
    assert len(found) <= 1, found
    return found[0] if found else None


def rate(
    rows: list[Row], model: str, token_kind: str, day: date = date(2026, 11, 1), **dimensions: str
) -> Decimal | None:
    row = rate_row(rows, model, token_kind, day, **dimensions)
    return None if row is None else row["usd_per_mtok"]


def usd(*values: str) -> tuple[Decimal, ...]:
    return tuple(Decimal(value) for value in values)


# ---------- names


@pytest.mark.parametrize(
    ("name", "model", "provider"),
    [
        ("claude-sonnet-4-5-20250929", "claude-sonnet-4-5", "anthropic"),
        ("claude-sonnet-4-5", "claude-sonnet-4-5", "anthropic"),
        ("Claude Sonnet 4.5", "claude-sonnet-4-5", "anthropic"),
        ("claude-sonnet-4-5[1m]", "claude-sonnet-4-5", "anthropic"),
        ("Claude Haiku 4.5", "claude-haiku-4-5", "anthropic"),
        ("Claude 3.5 Sonnet 2024-06-20", "claude-3-5-sonnet", "anthropic"),
        ("Claude 3 Opus", "claude-3-opus", "anthropic"),
        ("Claude Haiku 3.5", "claude-3-5-haiku", "anthropic"),
        ("Claude Instant", "claude-instant", "anthropic"),
        ("claude-instant-1.2", "claude-instant", "anthropic"),
        ("Claude Sonnet 4", "claude-sonnet-4", "anthropic"),
        ("claude-sonnet-4-20250514", "claude-sonnet-4", "anthropic"),
        ("claude-sonnet-4-0", "claude-sonnet-4", "anthropic"),
        ("claude-opus-4-20250514", "claude-opus-4", "anthropic"),
        ("claude-opus-4-1-20250805", "claude-opus-4-1", "anthropic"),
        ("claude-3-5-haiku-latest", "claude-3-5-haiku", "anthropic"),
        ("claude-3-7-sonnet-20250219", "claude-3-7-sonnet", "anthropic"),
        ("claude-4-5-haiku", "claude-haiku-4-5", "anthropic"),
        ("claude-2.1", "claude-2.1", "anthropic"),
        ("anthropic.claude-v2:1", "claude-2.1", "anthropic"),
        ("anthropic/claude-3.5-sonnet", "claude-3-5-sonnet", "anthropic"),
        ("anthropic/claude-3.7-sonnet:thinking", "claude-3-7-sonnet", "anthropic"),
        ("anthropic:claude-opus-4-5", "claude-opus-4-5", "anthropic"),
        ("us.anthropic.claude-sonnet-4-20250514-v1:0", "claude-sonnet-4", "anthropic"),
        ("eu.anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4-5", "anthropic"),
        ("apac.anthropic.claude-3-haiku-20240307-v1:0", "claude-3-haiku", "anthropic"),
        ("global.anthropic.claude-opus-4-6-v1", "claude-opus-4-6", "anthropic"),
        ("anthropic.claude-3-sonnet-20240229-v1:0:200k", "claude-3-sonnet", "anthropic"),
        ("bedrock/anthropic.claude-3-5-sonnet-20241022-v2:0", "claude-3-5-sonnet", "anthropic"),
        ("claude-sonnet-4@20250514", "claude-sonnet-4", "anthropic"),
        ("vertex_ai/claude-opus-4-1@20250805", "claude-opus-4-1", "anthropic"),
        ("openrouter/anthropic/claude-sonnet-4.5", "claude-sonnet-4-5", "anthropic"),
        ("models/gemini-2.5-flash", "gemini-2.5-flash", "google"),
        ("gemini-2.5-flash", "gemini-2.5-flash", "google"),
        ("Gemini 2.5 Flash", "gemini-2.5-flash", "google"),
        ("openai/gpt-5", "gpt-5", "openai"),
        ("gpt-5-codex", "gpt-5-codex", "openai"),
        ("gpt-4o-2024-08-06", "gpt-4o", "openai"),
        ("gpt-4.1", "gpt-4.1", "openai"),
        ("o3-2025-04-16", "o3", "openai"),
        ("deepseek/deepseek-chat", "deepseek-chat", "deepseek"),
        ("mistral-large-latest", "mistral-large", "mistral"),
        ("<synthetic>", "<synthetic>", "anthropic"),
    ],
)
def test_every_spelling_of_a_model_leads_to_one_id(name: str, model: str, provider: str) -> None:
    assert canonical_model(name) == ModelName(model, provider, known=True)


@pytest.mark.parametrize(
    ("name", "model", "provider"),
    [
        ("House Model / v2", "v2", ""),
        ("Our_Fine Tune!", "our-fine-tune", ""),
        ("sonnet", "sonnet", ""),
        ("claude-zebra-9-20300101", "claude-zebra-9", "anthropic"),
        ("gpt-99", "gpt-99", "openai"),
        ("gemini-99-pro", "gemini-99-pro", "google"),
        ("", "", ""),
    ],
)
def test_an_unknown_name_is_slugged_and_says_so(name: str, model: str, provider: str) -> None:
    assert canonical_model(name) == ModelName(model, provider, known=False)


def test_a_version_beyond_the_price_list_does_not_take_the_price_of_a_name_it_begins_with() -> None:
    assert not canonical_model("claude-opus-4-10").known
    assert not [row for row in rate_card(["claude-opus-4-10"], None).to_pylist() if row["model"] == "claude-opus-4-10"]


def test_a_free_variant_of_a_router_is_not_priced_at_list() -> None:
    assert not canonical_model("deepseek-v4-flash-free").known
    assert not [r for r in rate_card(["deepseek-v4-flash-free"], None).to_pylist() if r["provider"] == "deepseek"]


def test_a_dated_model_with_a_price_of_its_own_keeps_its_date() -> None:
    dated = canonical_model("gpt-4o-2024-05-13").model
    rows = rate_card([dated, "gpt-4o"], None).to_pylist()
    assert dated == "gpt-4o-2024-05-13"
    assert rate(rows, dated, "input_no_cache") != rate(rows, "gpt-4o", "input_no_cache")


@pytest.mark.parametrize("name", ["claude-sonnet-4-5", "CLAUDE-SONNET-4-5 ", "anthropic/claude-sonnet-4-5"])
def test_aliases_of_the_user_win(name: str) -> None:
    assert canonical_model(name, {"claude-sonnet-4-5": "gpt-5"}) == ModelName("gpt-5", "openai", known=True)


def test_an_alias_makes_a_house_name_known() -> None:
    assert canonical_model("gateway/fast", {"gateway/fast": "Claude Haiku 4.5"}).model == "claude-haiku-4-5"
    assert canonical_model("fast", {"fast": "house-model"}) == ModelName("house-model", "", known=True)


@given(st.text(max_size=40) | st.from_regex(r"(anthropic/)?(claude|gpt|gemini)[-. 0-9a-z@:\[\]]{0,25}", fullmatch=True))
def test_an_id_is_its_own_id(name: str) -> None:
    found = canonical_model(name)
    assert canonical_model(found.model).model == found.model


def test_names_become_one_row_each_for_a_join() -> None:
    table = model_names(["Claude Haiku 4.5", "gpt-5", "Claude Haiku 4.5", "x1"], {"x1": "claude-opus-4-5"})
    assert table.drop_columns(["region"]).to_pylist() == [
        {"name": "Claude Haiku 4.5", "model": "claude-haiku-4-5", "provider": "anthropic", "known": True},
        {"name": "gpt-5", "model": "gpt-5", "provider": "openai", "known": True},
        {"name": "x1", "model": "claude-opus-4-5", "provider": "anthropic", "known": True},
    ]
    assert model_names([], {}).num_rows == 0


# ---------- list prices


def test_sonnet_4_5_has_its_rates_in_both_windows(card: list[Row]) -> None:
    def rates_in(window: str) -> tuple[Decimal | None, ...]:
        return tuple(rate(card, "claude-sonnet-4-5", kind, context_window=window) for kind in TEXT_KINDS)

    assert rates_in("0-200k") == usd("3", "3.75", "6", "0.3", "15", "10000")
    assert rates_in("200k-1M") == usd("6", "7.5", "12", "0.6", "22.5", "10000")


def test_haiku_4_5_costs_the_same_in_both_windows(card: list[Row]) -> None:
    for window in ("0-200k", "200k-1M"):
        rates = tuple(rate(card, "claude-haiku-4-5", kind, context_window=window) for kind in TEXT_KINDS)
        assert rates == usd("1", "1.25", "2", "0.1", "5", "10000")


def test_cache_reads_are_not_one_fixed_share_of_input(card: list[Row]) -> None:
    shares = {
        read / full
        for model in ("claude-sonnet-5", "claude-opus-5-5", "claude-fable-5-1")
        if (read := rate(card, model, "cache_read")) and (full := rate(card, model, "input_no_cache"))
    }
    assert shares == set(usd("0.1", "0.05", "0.025"))


def test_a_price_change_ends_one_row_and_begins_the_next(card: list[Row]) -> None:
    before = rate_row(card, "claude-opus-4-6", "output", date(2026, 3, 12), context_window="200k-1M")
    after = rate_row(card, "claude-opus-4-6", "output", date(2026, 3, 13), context_window="200k-1M")
    assert before
    assert after
    assert (before["usd_per_mtok"], before["valid_from"], before["valid_to"]) == (
        Decimal("37.5"),
        date(1970, 1, 1),
        date(2026, 3, 13),
    )
    assert (after["usd_per_mtok"], after["valid_from"], after["valid_to"]) == (Decimal(25), date(2026, 3, 13), None)


def test_batch_has_a_price_only_from_the_day_that_the_list_knows_one(card: list[Row]) -> None:
    assert rate(card, "claude-haiku-4-5", "output", date(2026, 10, 13), usage_type="batch") is None
    assert rate(card, "claude-haiku-4-5", "output", date(2026, 10, 14), usage_type="batch") == Decimal("2.5")
    assert rate(card, "claude-haiku-4-5", "web_search", usage_type="batch") == Decimal(10000)
    assert rate(card, "claude-sonnet-4", "output", usage_type="batch") is None


def test_us_inference_costs_a_tenth_more_from_the_4_6_models_on(card: list[Row]) -> None:
    row = rate_row(card, "claude-sonnet-4-6", "cache_read", inference_geo="us")
    assert row
    assert row["usd_per_mtok"] == Decimal("0.33")
    assert row["origin"] == f"genai-prices {genai_prices.__version__} x 1.1 (us)"
    assert not row["is_override"]
    assert rate(card, "claude-sonnet-4-6", "web_search", inference_geo="us") == Decimal(10000)
    with_us_rates = {row["model"] for row in card if row["inference_geo"] == "us"}
    assert {"claude-opus-4-6", "claude-opus-5", "claude-haiku-5-5", "claude-fable-5"} <= with_us_rates
    assert not {"claude-haiku-4-5", "claude-sonnet-4-5", "claude-3-opus", "gpt-5"} & with_us_rates


def test_a_kind_without_a_price_has_no_row(card: list[Row]) -> None:
    assert rate(card, "gpt-5", "cache_write_1h") is None
    assert rate(card, "claude-3-haiku", "web_search") is None
    assert rate(card, "claude-2", "cache_read") is None


def test_a_window_in_which_the_price_changes_has_no_row_but_its_parts_have(card: list[Row]) -> None:
    assert rate(card, "claude-haiku-5-5", "output", context_window="0-200k") is None
    by_window = [rate(card, "claude-haiku-5-5", "output", context_window=w) for w in ("0-100k", "100k-1M", "200k-1M")]
    assert by_window == [Decimal("0.5"), Decimal("2.5"), Decimal("2.5")]
    assert rate(card, "gpt-5.4", "output", context_window="0-200k") is not None
    assert rate(card, "gpt-5.4", "output", context_window="200k-1M") is None
    assert rate(card, "gpt-5.4", "output", context_window="272k-1M") is not None


def test_prices_by_the_hour_are_left_out_and_a_price_of_a_minority_of_hours_is_no_base(card: list[Row]) -> None:
    row = rate_row(card, "deepseek-v4-flash", "output")
    assert row
    assert row["usd_per_mtok"] == Decimal("0.6")
    assert "time-of-day prices left out" in row["origin"]
    assert "deepseek-chat" not in {row["model"] for row in card}


def test_models_belong_to_their_makers(card: list[Row]) -> None:
    makers = {row["model"]: row["provider"] for row in card}
    assert makers["gpt-5-codex"] == "openai"
    assert makers["gemini-2.5-pro"] == "google"
    assert {provider for model, provider in makers.items() if model.startswith("claude")} == {"anthropic"}
    assert "house-model" not in makers


def test_the_card_has_all_anthropic_models_whatever_is_in_use() -> None:
    from genai_prices.data_snapshot import get_snapshot

    anthropic = next(provider for provider in get_snapshot().providers if provider.id == "anthropic")
    listed = {canonical_model(info.id).model for info in anthropic.models}
    assert set(rate_card([], None)["model"].to_pylist()) == listed


def test_a_request_has_one_window_of_its_model() -> None:
    windows = [row for row in context_windows(["gpt-5.4"]).to_pylist() if row["model"] in ("gpt-5.4", "claude-opus-5")]
    assert [tuple(row.values()) for row in windows] == [
        ("claude-opus-5", "0-200k", 0, 200_000),
        ("claude-opus-5", "200k-1M", 200_000, None),
        ("gpt-5.4", "0-272k", 0, 272_000),
        ("gpt-5.4", "272k-1M", 272_000, None),
    ]


def test_the_schema_is_the_contract() -> None:
    table = rate_card([], None)
    assert table.schema == RATE_SCHEMA
    assert table.schema.field("usd_per_mtok").type == pa.decimal128(18, 6)
    nullable = {name for name in table.column_names if table[name].null_count}
    assert nullable == {"valid_to", "override_line"}


def test_six_decimals_lose_nothing_of_any_rate_of_any_maker() -> None:
    from genai_prices.types import ModelPrice, TieredPrices

    from pipeline.reference.rates import _makers

    for maker in _makers():
        for info in maker.models:
            stored = [info.prices] if isinstance(info.prices, ModelPrice) else [c.prices for c in info.prices]
            stored += [variant.prices for variant in info.price_variants or ()]
            for value in (value for prices in stored for value in vars(prices).values() if value is not None):
                rates = (
                    [value.base, *(tier.price for tier in value.tiers)] if isinstance(value, TieredPrices) else [value]
                )
                for one in rates:
                    assert one == one.quantize(Decimal("0.000001")), (maker.id, info.id)


ANTHROPIC_ROWS: list[Row] = rate_card([], None).to_pylist()
RATES: dict[tuple[str, str, str], list[Row]] = defaultdict(list)
for _row in ANTHROPIC_ROWS:
    if (_row["usage_type"], _row["inference_geo"], _row["speed"]) == ("standard", "", "standard"):
        RATES[_row["model"], _row["context_window"], _row["token_kind"]].append(_row)
WINDOWS: dict[str, list[Row]] = defaultdict(list)
for _row in context_windows([]).to_pylist():
    WINDOWS[_row["model"]].append(_row)


@settings(max_examples=400, deadline=None)
@given(
    model=st.sampled_from(sorted(WINDOWS)),
    day=st.dates(date(2024, 1, 1), date(2027, 12, 31)),
    counts=st.tuples(*[st.integers(0, 90_000) | st.integers(0, 400_000) | st.just(0)] * 5),
    searches=st.integers(0, 5),
)
def test_a_request_costs_what_genai_prices_says(model: str, day: date, counts: tuple[int, ...], searches: int) -> None:
    usage = dict(zip(TEXT_KINDS, (*counts, searches), strict=True))
    usage = {
        kind: count
        for kind, count in usage.items()
        if any((model, w["context_window"], kind) in RATES for w in WINDOWS[model])
    }
    total_input = sum(count for kind, count in usage.items() if kind not in ("output", "web_search"))
    window = next(
        w["context_window"]
        for w in WINDOWS[model]
        if w["above_tokens"] < max(total_input, 1) and (w["up_to_tokens"] is None or total_input <= w["up_to_tokens"])
    )
    cost = sum(
        count * row["usd_per_mtok"] * Decimal("0.000001")
        for kind, count in usage.items()
        for row in RATES[model, window, kind]
        if row["valid_from"] <= day and (row["valid_to"] is None or day < row["valid_to"])
    )
    writes = usage.get("cache_write_5m", 0) + usage.get("cache_write_1h", 0)
    priced = genai_prices.calc_price(
        genai_prices.Usage(
            input_tokens=total_input,
            cache_write_tokens=writes,
            cache_write_1h_tokens=usage.get("cache_write_1h", 0),
            cache_read_tokens=usage.get("cache_read", 0),
            output_tokens=usage.get("output", 0),
            web_searches=usage.get("web_search", 0),
        ),
        model,
        provider_id="anthropic",
        genai_request_timestamp=datetime(day.year, day.month, day.day, 12, tzinfo=UTC),
    )
    assert cost == priced.total_price


# ---------- the user's own rates


def test_an_override_holds_from_its_day_on(overrides: Write) -> None:
    path = overrides("claude-haiku-4-5,output,0-200k,standard,global,standard,2026-02-01,4.25,,")
    rows = rate_card([], path).to_pylist()
    before = rate_row(rows, "claude-haiku-4-5", "output", date(2026, 1, 31))
    after = rate_row(rows, "claude-haiku-4-5", "output", date(2026, 2, 1))
    assert before
    assert after
    assert (before["usd_per_mtok"], before["is_override"]) == (Decimal(5), False)
    assert (after["usd_per_mtok"], after["is_override"]) == (Decimal("4.25"), True)
    assert after["origin"] == "override rate_overrides.csv line 2"
    assert rate(rows, "claude-haiku-4-5", "output", context_window="200k-1M") == Decimal(5)
    assert rate(rows, "claude-haiku-4-5", "input_no_cache") == Decimal(1)


def test_an_empty_cell_is_any(overrides: Write) -> None:
    rows = rate_card(["gpt-5", "house-model"], overrides(",output,,,,,,9,,")).to_pylist()
    assert {row["usd_per_mtok"] for row in rows if row["token_kind"] == "output"} == {Decimal(9)}
    assert rate(rows, "house-model", "output", usage_type="priority", speed="fast", inference_geo="us") == Decimal(9)
    assert rate(rows, "gpt-5", "output", date(1999, 1, 1)) == Decimal(9)


def test_the_more_specific_line_wins_then_the_later_date_then_the_later_line(overrides: Write) -> None:
    path = overrides(
        "claude-opus-5,output,0-200k,standard,global,standard,2026-01-01,1,,",
        "claude-opus-5,output,,,,,2026-06-01,2,,",
        "claude-opus-5,output,,,,,2026-05-01,3,,",
        "claude-opus-5,output,,,,,2026-05-01,4,,",
        ",output,,,,,2026-12-01,5,,",
    )
    rows = rate_card([], path).to_pylist()

    def at(day: date, window: str = "200k-1M", model: str = "claude-opus-5") -> Decimal | None:
        return rate(rows, model, "output", day, context_window=window)

    assert at(date(2027, 1, 1), "0-200k") == 1
    assert at(date(2026, 4, 30)) == 25
    assert at(date(2026, 5, 31)) == 4
    assert at(date(2027, 1, 1)) == 2
    assert at(date(2027, 1, 1), model="claude-haiku-4-5") == 5


def test_an_override_ends_before_its_last_day_and_the_list_holds_again(overrides: Write) -> None:
    path = overrides("claude-haiku-4-5,output,,standard,,,2026-02-01,4,,2026-03-01")
    rows = rate_card([], path).to_pylist()
    days = [date(2026, 1, 31), date(2026, 2, 1), date(2026, 2, 28), date(2026, 3, 1)]
    assert [rate(rows, "claude-haiku-4-5", "output", day) for day in days] == [*usd("5", "4", "4", "5")]


def test_an_override_creates_the_rows_of_an_unknown_model(overrides: Write) -> None:
    header = f"{HEADER},provider,note"
    path = overrides("House Model,output,,standard,global,standard,2026-01-01,7,,,acme,by contract", header=header)
    rows = [row for row in rate_card([], path).to_pylist() if row["model"] == "house-model"]
    assert {(row["provider"], row["context_window"]) for row in rows} == {("acme", "0-200k"), ("acme", "200k-1M")}


def test_overrides_know_display_names_and_aliases(overrides: Write) -> None:
    path = overrides("Claude Opus 5,output,,,,,,1,,", "our-best,input_no_cache,,,,,,2,,")
    rows = rate_card([], path, {"our-best": "claude-opus-5"}).to_pylist()
    assert rate(rows, "claude-opus-5", "output") == 1
    assert rate(rows, "claude-opus-5", "input_no_cache") == 2


def test_a_multiplier_on_batch_is_one_of_the_standard_rate(overrides: Write) -> None:
    rows = rate_card([], overrides("claude-sonnet-4-5,,,batch,,,2025-01-01,,0.5,2026-10-14")).to_pylist()
    day = date(2025, 12, 1)
    assert rate(rows, "claude-sonnet-4-5", "output", day, usage_type="batch") == Decimal("7.5")
    long_context = rate_row(rows, "claude-sonnet-4-5", "output", day, usage_type="batch", context_window="200k-1M")
    assert long_context
    assert long_context["usd_per_mtok"] == Decimal("11.25")
    assert long_context["origin"].endswith(f"line 2: genai-prices {genai_prices.__version__} x 0.5")
    assert rate(rows, "claude-sonnet-4-5", "output", date(2024, 12, 31), usage_type="batch") is None


def test_a_multiplier_that_names_no_tier_is_a_discount_on_every_list_rate(overrides: Write) -> None:
    rows = rate_card([], overrides(",,,,,,2026-11-01,,0.9,")).to_pylist()
    day = date(2026, 11, 2)
    assert rate(rows, "claude-sonnet-4-6", "output", day) == Decimal("13.5")
    assert rate(rows, "claude-sonnet-4-6", "output", day, usage_type="batch") == Decimal("6.75")
    assert rate(rows, "claude-sonnet-4-6", "output", day, inference_geo="us") == Decimal("14.85")
    assert rate(rows, "claude-sonnet-4-6", "output", day, usage_type="priority") is None


def test_overrides_give_a_price_to_tiers_and_speeds_that_the_list_has_not(overrides: Write) -> None:
    path = overrides(
        "claude-opus-4-6,output,,priority,,,,40,,",
        "claude-opus-4-6,,,standard,,fast,,,6,",
        "claude-opus-4-6,,,,eu,,,,1.2,",
    )
    rows = rate_card([], path).to_pylist()
    assert rate(rows, "claude-opus-4-6", "output", usage_type="priority") == 40
    assert rate(rows, "claude-opus-4-6", "output", speed="fast") == 150
    assert rate(rows, "claude-opus-4-6", "output", inference_geo="eu") == 30


@pytest.mark.parametrize(
    ("line", "column", "remedy"),
    [
        ("claude-opus-5,tokens,,,,,,1,,", "token_kind", "use one of input_no_cache"),
        ("claude-opus-5,output,,,,,,$1,,", "usd_per_mtok", "write it like 2.55"),
        ('claude-opus-5,output,,,,,,"1,5",,', "usd_per_mtok", "write it like 2.55"),
        ("claude-opus-5,output,,,,,,nan,,", "usd_per_mtok", "write it like 2.55"),
        ("claude-opus-5,output,,,,,,-1,,", "usd_per_mtok", "give zero or more"),
        ("claude-opus-5,output,,,,,,1.2345678,,", "usd_per_mtok", "at most six decimals"),
        ("claude-opus-5,output,,,,,,,,", "usd_per_mtok", "give USD per million tokens"),
        ("claude-opus-5,output,,,,,,1,0.5,", "multiplier", "empty one of the two"),
        ("claude-opus-5,output,,,,,,,-0.5,", "multiplier", "give zero or more"),
        ("claude-opus-5,output,,,,,01.02.2026,1,,", "valid_from", "YYYY-MM-DD"),
        ("claude-opus-5,output,,,,,2026-02-30,1,,", "valid_from", "YYYY-MM-DD"),
        ("claude-opus-5,output,,,,,2026-02-01,1,,2026-02-01", "valid_to", "first day that it no longer holds"),
        ("claude-opus-5,output,0-300k,,,,,1,,", "context_window", "use one of 0-200k, 200k-1M"),
        ("claude-opus-5,output,,a b,,,,1,,", "usage_type", "leave it empty"),
        ("house-model,output,,,,,,,0.5,", "multiplier", "give usd_per_mtok instead"),
        ("claude-opus-5,output,,,,,1,,", "valid_to", "add or remove commas"),
    ],
)
def test_a_wrong_cell_names_file_line_column_and_remedy(overrides: Write, line: str, column: str, remedy: str) -> None:
    path = overrides("claude-opus-5,output,,,,,,1,,", line)
    with pytest.raises(ConfigurationError) as error:
        rate_card([], path)
    message = str(error.value)
    assert f"{path}, line 3, column {column}:" in message
    assert remedy in message
    assert message.count("\n") == 0


@pytest.mark.parametrize("missing", HEADER.split(",")[:8])
def test_a_missing_column_is_named(overrides: Write, missing: str) -> None:
    header = ",".join(name for name in HEADER.split(",") if name != missing)
    with pytest.raises(ConfigurationError, match=f"line 1, column {missing}: the column is missing"):
        rate_card([], overrides(header=header))


@pytest.mark.parametrize(("extra", "problem"), [("price", "is unknown"), ("model", "stands twice")])
def test_an_unknown_or_repeated_column_is_not_passed_over(overrides: Write, extra: str, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=f"column {extra}: the column {problem}"):
        rate_card([], overrides(header=f"{HEADER},{extra}"))


@pytest.mark.parametrize(("provider", "model"), [("openai", "claude-opus-5"), ("antropic", "")])
def test_a_line_for_the_wrong_provider_is_an_error(overrides: Write, provider: str, model: str) -> None:
    with pytest.raises(ConfigurationError, match="line 2, column provider"):
        rate_card([], overrides(f"{model},output,,,,,,1,,,{provider}", header=f"{HEADER},provider"))


def test_a_file_that_is_absent_or_no_text_is_an_error_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"none\.csv: .*readable CSV"):
        rate_card([], tmp_path / "none.csv")
    (tmp_path / "bad.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationError, match="UTF-8"):
        rate_card([], tmp_path / "bad.csv")


def test_a_byte_order_mark_blank_lines_and_spaces_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "rates.csv"
    path.write_bytes(f"\ufeff{HEADER}\r\n\r\n Claude-Opus-5 , output ,,,,,, 1 ,,\r\n\r\n".encode())
    row = rate_row(rate_card([], path).to_pylist(), "claude-opus-5", "output")
    assert row
    assert (row["usd_per_mtok"], row["origin"]) == (Decimal(1), "override rates.csv line 3")


def test_the_example_of_the_documentation_is_a_valid_file(tmp_path: Path) -> None:
    page = (Path(__file__).parents[1] / "docs" / "rates.md").read_text(encoding="utf-8")
    path = tmp_path / "rate_overrides.csv"
    path.write_text(page.split("```csv\n")[1].split("```")[0], encoding="utf-8")
    rows = rate_card([], path).to_pylist()
    day = date(2026, 3, 2)
    assert rate(rows, "claude-sonnet-4-5", "output", day) == Decimal("12.75")
    assert rate(rows, "claude-haiku-4-5", "output", day, usage_type="batch") == Decimal("2.5")
    assert rate(rows, "claude-haiku-4-5", "web_search", day, usage_type="batch") == Decimal(10000)
    assert rate(rows, "claude-opus-4-6", "output", day, speed="fast") == Decimal(150)
    assert rate(rows, "house-model", "input_no_cache", day) == Decimal("0.4")


_days = st.dates(date(2025, 1, 1), date(2027, 1, 1))
_amounts = st.integers(0, 10**8).map(lambda n: f"{Decimal(n).scaleb(-6):f}")


@st.composite
def _override_lines(draw: st.DrawFn) -> str:
    """A line of an overrides file; multipliers only where the list has something to multiply."""
    model = draw(st.sampled_from(["", "claude-opus-4-6", "claude-haiku-5-5", "house-model"]))
    kind = draw(st.sampled_from(["", "output", "cache_write_1h", "web_search"]))
    window = draw(st.sampled_from(["", "0-200k", "200k-1M"]))
    usage_type = draw(st.sampled_from(["", "standard", "batch", "priority"]))
    geo = draw(st.sampled_from(["", "us", "global"]))
    speed = draw(st.sampled_from(["", "standard", "fast"]))
    start = draw(st.none() | _days)
    end = start + timedelta(days=draw(st.integers(1, 400))) if start and draw(st.booleans()) else None
    multiplied = model in ("", "claude-opus-4-6") and draw(st.booleans())
    value = ("", draw(st.sampled_from(["0", "0.5", "1.25"]))) if multiplied else (draw(_amounts), "")
    return ",".join([model, kind, window, usage_type, geo, speed, str(start or ""), *value, str(end or "")])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(_override_lines(), max_size=6), day=_days, usage_type=st.sampled_from(["standard", "batch"]))
def test_the_periods_of_a_key_never_overlap_and_the_winner_is_the_one_by_the_rule(
    overrides: Write, lines: list[str], day: date, usage_type: str
) -> None:
    plain = rate_card(["house-model"], None).to_pylist()
    rows = rate_card(["house-model"], overrides(*lines)).to_pylist()
    periods: dict[tuple[str, ...], list[tuple[date, date]]] = defaultdict(list)
    for row in rows:
        periods[tuple(row[name] for name in KEY)].append((row["valid_from"], row["valid_to"] or date.max))
    for spans in periods.values():
        spans.sort()
        assert all(start < end for start, end in spans)
        assert all(before[1] <= after[0] for before, after in pairwise(spans))

    key = {"context_window": "200k-1M", "usage_type": usage_type, "inference_geo": "us", "speed": "standard"}
    for model in ("claude-opus-4-6", "house-model"):
        assert rate(rows, model, "output", day, **key) == _expected(lines, plain, model, day, key)


def _expected(lines: list[str], plain: list[Row], model: str, day: date, key: dict[str, str]) -> Decimal | None:
    """The rule of docs/rates.md in its simplest form: one key, one day, all lines compared."""
    wanted = [model, "output", *key.values()]
    plain_values = {"usage_type": "standard", "inference_geo": "", "speed": "standard"}
    candidates: list[tuple[tuple[int, str, int], Decimal]] = []
    for number, line in enumerate(lines):
        cells = dict(zip(HEADER.split(","), line.split(","), strict=True))
        selecting = list(cells.values())[:6]
        fits = all(cell in ("", want) for cell, want in zip(selecting, wanted, strict=True))
        start = cells["valid_from"] or "1970-01-01"
        if not fits or not start <= str(day) < (cells["valid_to"] or "9999-12-31"):
            continue
        value = Decimal(cells["usd_per_mtok"] or cells["multiplier"])
        if cells["multiplier"]:
            named = {name: plain_value for name, plain_value in plain_values.items() if cells[name]}
            base = rate(plain, model, "output", day, **(key | named))
            if base is None:
                continue
            value *= base
        candidates.append(((sum(cell != "" for cell in selecting), start, number), value))
    return max(candidates)[1] if candidates else rate(plain, model, "output", day, **key)


def test_the_card_is_the_same_whatever_the_order_of_the_models(card: list[Row]) -> None:
    assert rate_card(reversed(MODELS_IN_USE), None).to_pylist() == card


# ---------- who sells a model, and kinds that are parts of others

SOLD = [("openai", "gpt-5-mini"), ("azure", "gpt-5-mini"), ("openrouter", "openai/gpt-5-mini")]


@pytest.mark.parametrize(
    ("lines", "wanted"),
    [
        (["gpt-5-mini,output,,,,,,1,,,azure"], "2 1 2"),
        # resellers have the maker's price
        (["gpt-5-mini,output,,,,,,1,,,openai"], "1 1 1"),
        (["gpt-5-mini,output,,,,,,1,,,openai", "gpt-5-mini,output,,,,,,3,,,azure"], "1 3 1"),
        (["gpt-5-mini,output,,,,,,3,,,azure", "gpt-5-mini,output,,,,,,1,,,openai"], "1 3 1"),
        (["gpt-5-mini,output,,,,,,1,,,"], "1 1 1"),
        ([",output,,,,,,1,,,openrouter"], "2 2 1"),
        (["gpt-5-mini,,,,,,,,0.5,,azure"], "2 1 2"),
    ],
)
def test_an_override_names_the_reseller_or_the_maker(overrides: Write, lines: list[str], wanted: str) -> None:
    rows = rate_card([], overrides(*lines, header=f"{HEADER},provider"), sold=SOLD).to_pylist()
    found = [rate([row for row in rows if row["provider"] == seller], "gpt-5-mini", "output") for seller, _ in SOLD]
    assert found == [*usd(*wanted.split())]


def test_audio_has_its_own_rate_and_images_that_of_text_only_where_the_maker_states_one_for_both() -> None:
    rows = rate_card(["gpt-realtime", "gemini-2.5-flash", "gemini-2.5-pro", "gpt-5-mini"], None).to_pylist()
    kinds = ("input_no_cache", "input_audio", "input_image", "cache_read_image", "output_audio", "output_image")
    found = {
        model: [rate(rows, model, kind) for kind in kinds]
        for model in ("gpt-realtime", "gemini-2.5-flash", "gemini-2.5-pro", "gpt-5-mini")
    }
    assert found["gpt-realtime"] == [*usd("4", "32", "5", "0.5", "64"), None]
    assert found["gemini-2.5-flash"] == [*usd("0.3", "1", "0.3", "0.03"), None, None]
    assert found["gemini-2.5-pro"] == [Decimal("1.25"), None, *usd("1.25", "0.125"), None, None]
    assert found["gpt-5-mini"] == [Decimal("0.25"), *[None] * 5]
