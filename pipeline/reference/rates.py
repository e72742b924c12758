"""The dated rate card, and the naming of models.

Belongs here: mapping any spelling of a model to one id, the list prices of genai-prices as rows that SQL can join,
and the user's own rates on top of them. Does not belong here: computing costs (a join in dbt), the models in use (from
the warehouse), and downloading prices: only the data that genai-prices ships is used.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from functools import lru_cache
from itertools import pairwise, product
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, NoReturn

import pyarrow as pa

from pipeline.reference import usercsv

if TYPE_CHECKING:
    import duckdb
    from genai_prices.types import ConditionalPrice, ModelInfo, ModelPrice, PriceVariant, Provider, TieredPrices

TOKEN_KINDS = (
    "input_no_cache", "cache_write_5m", "cache_write_1h", "cache_read", "output", "web_search",
    "input_audio", "input_image", "cache_read_audio", "cache_read_image", "output_audio", "output_image",
)  # fmt: skip
# Values that an empty cell of an override matches; values named by some line of the file are added.
USAGE_TYPES = ("standard", "batch", "priority", "priority_on_demand", "flex", "flex_discount", "fast")
INFERENCE_GEOS = ("", "us")
SPEEDS = ("standard", "fast")

RATE_SCHEMA = pa.schema(
    [
        ("provider", pa.string()),
        ("model", pa.string()),
        ("token_kind", pa.string()),
        ("context_window", pa.string()),
        ("usage_type", pa.string()),
        ("inference_geo", pa.string()),
        ("speed", pa.string()),
        ("valid_from", pa.date32()),
        ("valid_to", pa.date32()),
        ("usd_per_mtok", pa.decimal128(18, 6)),
        ("origin", pa.string()),
        ("is_override", pa.bool_()),
        ("list_usd_per_mtok", pa.decimal128(18, 6)),
        ("price_list", pa.string()),
        ("override_line", pa.int64()),
    ]
)
COMMITMENT_SCHEMA = pa.schema(
    [
        ("override_line", pa.int64()),
        ("provider", pa.string()),
        ("model", pa.string()),
        ("token_kind", pa.string()),
        ("context_window", pa.string()),
        ("usage_type", pa.string()),
        ("inference_geo", pa.string()),
        ("speed", pa.string()),
        ("valid_from", pa.date32()),
        ("valid_to", pa.date32()),
        ("committed_usd_per_month", pa.decimal128(38, 12)),
    ]
)
NAME_SCHEMA = pa.schema(
    [
        ("name", pa.string()),
        ("model", pa.string()),
        ("provider", pa.string()),
        ("known", pa.bool_()),
        ("region", pa.string()),
    ]
)
WINDOW_SCHEMA = pa.schema(
    [
        ("model", pa.string()),
        ("context_window", pa.string()),
        ("above_tokens", pa.int64()),
        ("up_to_tokens", pa.int64()),
    ]
)

SYNTHETIC_MODEL = "<synthetic>"
# Entries of genai-prices for companies that price their own models. A reseller has the maker's prices unless the list
# has its own entry.
MAKERS = (
    "anthropic",
    "openai",
    "google",
    "mistral",
    "deepseek",
    "x-ai",
    "moonshotai",
    "minimax",
    "zhipuai",
    "zai",
    "cohere",
    "meta",
    "voyageai",
)
# Models on the user's own machines: nothing is sold.
LOCAL_PROVIDERS = (
    "ollama",
    "lmstudio",
    "lm_studio",
    "llama.cpp",
    "llamacpp",
    "llamafile",
    "vllm",
    "hosted_vllm",
    "local",
)
# US-only inference costs 1.1x for tokens since Claude Opus 4.6 and Sonnet 4.6; genai-prices does not include it.
# https://platform.claude.com/docs/en/manage-claude/data-residency
US_MULTIPLIER = Decimal("1.1")
US_FIRST_VERSION = (4, 6)

EPOCH = date(1970, 1, 1)
RATE_QUANTUM = Decimal("0.000001")
THOUSANDS_PER_MILLION = 1000

_NO_ALIASES: Mapping[str, str] = MappingProxyType({})


# ---------- names


@dataclass(frozen=True, slots=True)
class ModelName:
    """The model behind a spelling: its id without vendor prefix and date, its maker, and whether it is known."""

    model: str
    provider: str
    known: bool


_DECORATION = re.compile(r"(?<=\S)\s*[\[(][^\[\]()]*[\])]$")
_ROUTE = re.compile(
    r"^(?:anthropic|openai|google(?:-gla|-vertex)?|vertex(?:_ai)?|bedrock|openrouter|mistral|deepseek):"
)
_REGION = re.compile(r"^(?:us-gov|us|eu|apac|ap|au|ca|jp|in|sa|global|regional)\.(?=[a-z0-9-]+\.)")
_VENDOR = re.compile(r"^(?:anthropic|openai|google|mistral|deepseek|x-?ai|moonshotai|minimax|cohere|meta|zai)\.")
# Bedrock names a model by vendor and id, and the region of an inference profile before them.
BEDROCK = "aws"
_BEDROCK_NAME = re.compile(
    r"^(?:(us-gov|us|eu|apac|ap|au|ca|jp|in|sa|global)\.)?"
    r"(?:ai21|amazon|anthropic|cohere|deepseek|google|luma|meta|minimax|mistral|moonshotai|moonshot|nvidia|openai|qwen"
    r"|stability|twelvelabs|writer|xai|zai)\.[a-z]"
)
_IN_ONE_REGION = "regional"
_BEDROCK_VERSION = re.compile(r"-v.:.$")
_ROUTER_VARIANT = re.compile(r":(?:beta|thinking)$")
_HOST_VERSION = re.compile(r"(?<!^claude)-v\d+(?:-\d+)?(?:-\d+k)?$")
_NUMBERED_HOST_VERSION = re.compile(r"-v\d+-\d+(?:-\d+k)?$")
_DATE = re.compile(r"-(?:20\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])|20\d{2}-\d{2}-\d{2}|latest|default)$")
_CLAUDE_VERSION_FIRST = re.compile(r"^claude-(\d{1,2})(?:-(\d{1,2}))?-([a-z]+)$")
_CLAUDE_FAMILY_FIRST = re.compile(r"^claude-([a-z]+)-(\d{1,2})(?:-(\d{1,2}))?$")
_CLAUDE_INSTANT = re.compile(r"^claude-instant(?:-v?\d+(?:-\d+)?)?$")
_CLAUDE_TWO = re.compile(r"^claude-v?2(?:-([01]))?$")
# A name has one or two routes; the limit also stops nonsense such as eu.eu.eu.
_MOST_ROUTES = 8


def canonical_model(name: str, aliases: Mapping[str, str] = _NO_ALIASES) -> ModelName:
    """The id of a model for any spelling: API id, display name, or the id of a cloud or router that resells it.

    `aliases` (spelling -> model, ignoring case) override everything and count as known. A name that is not in the
    maker's price list is slugged and unknown; its provider is inferred from the name, or `''`.
    """
    if aliases:
        folded = {key.strip().casefold(): target for key, target in aliases.items()}
        plain = name.strip().casefold()
        target = folded.get(plain) or folded.get(_bare(plain)) or folded.get(_place(name).model)
        if target is not None:
            place = _place(target)
            return ModelName(place.model, place.provider, known=True)
    return _place(name)


def model_names(strings: Iterable[str], aliases: Mapping[str, str] = _NO_ALIASES) -> pa.Table:
    """One row per distinct string of `strings`, in order: name (as given), model, provider, known, region.

    See NAME_SCHEMA; `region` is that of `bedrock_region`.
    """
    names = list(dict.fromkeys(strings))
    found = [canonical_model(name, aliases) for name in names]
    columns = [
        names,
        [n.model for n in found],
        [n.provider for n in found],
        [n.known for n in found],
        [bedrock_region(name) for name in names],
    ]
    return pa.table(columns, schema=NAME_SCHEMA)


def bedrock_region(name: str) -> str:
    """The region of a Bedrock model id: us, eu, global, ..., or `regional` without a profile.

    Other names state no region: `''`.
    """
    found = _BEDROCK_NAME.match(name.strip().lower().rstrip("/").rsplit("/", 1)[-1])
    return "" if found is None else found[1] or _IN_ONE_REGION


@lru_cache(maxsize=4096)
def _place(name: str) -> ModelName:
    """The maker and id of a name; applied twice, because ids must map to themselves."""
    found = _placed_once(name)
    for _ in range(_MOST_ROUTES):
        again = _placed_once(found.model)
        if again.model == found.model:
            break
        found = again
    return again


def _placed_once(name: str) -> ModelName:
    text = name.strip().lower()
    if text == SYNTHETIC_MODEL:
        return ModelName(SYNTHETIC_MODEL, "anthropic", known=True)
    bare = _bare(text)
    if bare.startswith("claude"):
        model = _claude_id(bare)
        # Claude Instant was retired before genai-prices existed: a known name without a price.
        return ModelName(model, "anthropic", known=_find(model) is not None or model == "claude-instant")
    model = _without_date(_NUMBERED_HOST_VERSION.sub("", _slug(bare)))
    if (found := _find(model)) is not None:
        return ModelName(model, found.provider, known=True)
    return ModelName(model, _inferred_provider(model), known=False)


def _bare(text: str) -> str:
    """`text` without routes (paths, regions, vendors) and markers such as `[1m]`."""
    text = _DECORATION.sub("", text)
    text = text.rstrip("/").rsplit("/", 1)[-1]
    for pattern in (_ROUTE, _REGION, _VENDOR, _ROUTER_VARIANT):
        text = pattern.sub("", text)
    return text


def _slug(text: str) -> str:
    return re.sub(r"(?:[^\w.]|_)+", "-", text).strip("-.")


def _claude_id(text: str) -> str:
    """The id by Anthropic's rule: version before family up to 3.7 (claude-3-5-sonnet), after it from 4."""
    slug = _slug(text.replace(".", "-"))
    while (shorter := _DATE.sub("", _HOST_VERSION.sub("", slug))) != slug:
        slug = shorter
    if _CLAUDE_INSTANT.match(slug):
        return "claude-instant"
    if two := _CLAUDE_TWO.match(slug):
        return "claude-2.1" if two[1] == "1" else "claude-2"
    if parts := _CLAUDE_VERSION_FIRST.match(slug):
        major, minor, family = parts.groups()
    elif parts := _CLAUDE_FAMILY_FIRST.match(slug):
        family, major, minor = parts.groups()
    else:
        return slug
    version = major if minor in (None, "0") else f"{major}-{minor}"
    return f"claude-{family}-{version}" if int(major) >= 4 else f"claude-{version}-{family}"


def _without_date(slug: str) -> str:
    """`slug` without a trailing date or `latest`, unless the price list has the dated name as another model."""
    short = _DATE.sub("", slug)
    if short == slug:
        return slug
    dated, undated = _find(slug), _find(short)
    same = dated is None or (undated is not None and dated.info is undated.info)
    return short if same else slug


def _inferred_provider(model: str) -> str:
    families = {"anthropic": r"claude", "openai": r"gpt-|chatgpt|o\d", "google": r"gemini|gemma"}
    for provider, pattern in families.items():
        if re.match(pattern, model):
            return provider
    return next((maker.id for maker in _makers() if maker.model_match and maker.model_match.is_match(model)), "")


# ---------- the list prices of genai-prices


class _Listed(NamedTuple):
    provider: str
    info: ModelInfo


class _Window(NamedTuple):
    """A range of a request's total input in tokens: more than `above`, at most `up_to` (None: no limit)."""

    name: str
    above: int
    up_to: int | None


class _Key(NamedTuple):
    provider: str
    model: str
    token_kind: str
    context_window: str
    usage_type: str
    inference_geo: str
    speed: str


class _Span(NamedTuple):
    """One rate from `start` (inclusive) to `end` (exclusive, None: open), and its source.

    `list_usd` is the list price of the same key and days (None: no list price), `price_list` the version of the list
    behind the rate (`''`: none), `line` that of the overrides file.
    """

    start: date
    end: date | None
    usd: Decimal
    origin: str
    is_override: bool
    list_usd: Decimal | None
    price_list: str
    line: int | None


_LONG_CONTEXT_TOKENS = 200_000
_MOST_TOKENS = 1_000_000
# Tiers of genai-prices: usage_type and speed here, and the context that selects the price there.
_LISTED_TIERS: tuple[tuple[str, str, Mapping[str, str]], ...] = (
    ("standard", "standard", {}),
    ("batch", "standard", {"processing": "batch"}),
    ("priority", "standard", {"service_tier": "priority"}),
    ("flex", "standard", {"service_tier": "flex"}),
    ("fast", "standard", {"service_tier": "fast"}),
    ("standard", "fast", {"speed": "fast"}),
)
_STANDARD_WINDOWS = (_Window("0-200k", 0, _LONG_CONTEXT_TOKENS), _Window("200k-1M", _LONG_CONTEXT_TOKENS, None))

# genai-prices calls five-minute writes `cache_write`, and prices searches per thousand.
_PRICE_FIELDS: Mapping[str, tuple[str, ...]] = {
    "input_no_cache": ("input_mtok",),
    "cache_write_5m": ("cache_write_5m_mtok", "cache_write_mtok"),
    "cache_write_1h": ("cache_write_1h_mtok",),
    "cache_read": ("cache_read_mtok",),
    "output": ("output_mtok",),
    "web_search": ("web_searches_kcount",),
    "input_audio": ("input_audio_mtok",),
    "input_image": ("input_image_mtok",),
    "cache_read_audio": ("cache_audio_read_mtok",),
    "cache_read_image": ("cache_image_read_mtok",),
    "output_audio": ("output_audio_mtok",),
    "output_image": ("output_image_mtok",),
}
# Google states one input price of a Gemini model for text, images and video (https://ai.google.dev/gemini-api/docs/pricing):
# it applies if the entry has no price for images. Audio has its own price, or none.
_PRICED_AS_ONE: Mapping[str, tuple[str, ...]] = {
    "input_image": _PRICE_FIELDS["input_no_cache"],
    "cache_read_image": _PRICE_FIELDS["cache_read"],
}
_GEMINI = re.compile(r"^gemini-")


@lru_cache(maxsize=1)
def _providers() -> Mapping[str, Provider]:
    from genai_prices.data_snapshot import get_snapshot

    return {provider.id: provider for provider in get_snapshot().providers}


@lru_cache(maxsize=1)
def _makers() -> tuple[Provider, ...]:
    return tuple(_providers()[maker] for maker in MAKERS if maker in _providers())


@lru_cache(maxsize=1)
def _list_origin() -> str:
    import genai_prices

    return f"genai-prices {genai_prices.__version__}"


@lru_cache(maxsize=4096)
def _find(model: str) -> _Listed | None:
    """The entry of a canonical id in the maker's price list, or None.

    Claude ids must agree with the id that they matched: genai-prices matches by prefix, and claude-opus-4-10 would
    take the price of claude-opus-4-1. A router's free variant of a model is not the maker's to price.
    """
    if model.endswith("-free"):
        return None
    makers = _makers()
    if model.startswith("claude"):
        for maker in makers:
            info = maker.find_model(model) if maker.id == "anthropic" else None
            if info is not None and (_claude_id(info.id) == model or model == "claude-2.1"):
                return _Listed(maker.id, info)
        return None
    claimed = [maker for maker in makers if maker.model_match is not None and maker.model_match.is_match(model)]
    for maker in claimed or makers:
        info = maker.find_model(model)
        if info is not None and "claude" not in info.id:
            return _Listed(maker.id, info)
    # One maker may sell under two names, each with a list of its own, such as Zhipu and Z.ai.
    for maker in makers if claimed else ():
        info = maker.find_model(model)
        if info is not None and info.id.lower() == model:
            return _Listed(maker.id, info)
    return None


@lru_cache(maxsize=1)
def _anthropic_models() -> tuple[str, ...]:
    return tuple(
        sorted({_claude_id(info.id) for maker in _makers() if maker.id == "anthropic" for info in maker.models})
    )


def _conditional_prices(info: ModelInfo) -> Sequence[ConditionalPrice]:
    from genai_prices.types import ConditionalPrice

    return info.prices if isinstance(info.prices, list) else [ConditionalPrice(prices=info.prices)]


def _variants(info: ModelInfo, when: Mapping[str, str]) -> list[PriceVariant]:
    """The prices of one tier; none for the standard one, which has the prices of the model itself."""
    return [variant for variant in info.price_variants or () if when and variant.when == when]


def _start(condition: ConditionalPrice | PriceVariant) -> date | None:
    """The first day of a price; None if it depends on the time of day."""
    from genai_prices.types import StartDateConstraint

    if condition.constraint is None:
        return EPOCH
    return condition.constraint.start_date if isinstance(condition.constraint, StartDateConstraint) else None


def _hours_of_other_prices(info: ModelInfo) -> float:
    """Hours of the day in which some time-of-day price replaces the base price."""
    from genai_prices.types import TimeOfDateConstraint

    day = timedelta(days=1)
    total = timedelta()
    for condition in _conditional_prices(info):
        if isinstance(condition.constraint, TimeOfDateConstraint):
            total += (
                _since_midnight(condition.constraint.end_time) - _since_midnight(condition.constraint.start_time)
            ) % day
    return total / timedelta(hours=1)


def _since_midnight(moment: time) -> timedelta:
    return datetime.combine(EPOCH, moment.replace(tzinfo=None)) - datetime.combine(EPOCH, time())


def _prices_on(info: ModelInfo, day: date, when: Mapping[str, str]) -> dict[str, Decimal | TieredPrices] | None:
    """The price fields in force on `day`, like ModelInfo.get_prices but without time-of-day prices."""
    standard: ModelPrice | None = None
    for condition in _conditional_prices(info):
        start = _start(condition)
        if start is not None and start <= day:
            standard = condition.prices
    if standard is None:
        return None
    prices = {field: price for field, price in vars(standard).items() if price is not None}
    if not when:
        return prices
    active = [v for v in _variants(info, when) if (start := _start(v)) is not None and start <= day]
    if not active:
        return None
    for variant in reversed(active):
        prices.update({field: price for field, price in vars(variant.prices).items() if price is not None})
    return prices


def _kind_prices(
    model: str, prices: Mapping[str, Decimal | TieredPrices] | None
) -> Iterator[tuple[str, Decimal | TieredPrices]]:
    """The price of each token kind that has one. No kind uses another's price, unless the maker states one for both."""
    for kind, own_fields in _PRICE_FIELDS.items():
        fields = own_fields + (_PRICED_AS_ONE.get(kind, ()) if _GEMINI.match(model) else ())
        if prices and (field := next((field for field in fields if field in prices), None)):
            yield kind, prices[field]


def _tier_starts(info: ModelInfo) -> set[int]:
    from genai_prices.types import TieredPrices

    sources = [condition.prices for condition in _conditional_prices(info)]
    sources += [variant.prices for _, _, when in _LISTED_TIERS for variant in _variants(info, when)]
    tiered = [price for prices in sources for price in vars(prices).values() if isinstance(price, TieredPrices)]
    return {_boundary(tier.start) for price in tiered for tier in price.tiers if tier.start < _MOST_TOKENS}


def _boundary(tier_start_tokens: int) -> int:
    """Some makers charge the long rate from 200,000 tokens, others above that: this card uses one boundary."""
    return _LONG_CONTEXT_TOKENS if tier_start_tokens == _LONG_CONTEXT_TOKENS - 1 else tier_start_tokens


def _own_windows(info: ModelInfo) -> list[_Window]:
    """The windows of a model with price changes elsewhere than at 200,000 tokens; empty for other models."""
    starts = sorted(_tier_starts(info))
    if not starts or starts == [_LONG_CONTEXT_TOKENS]:
        return []
    return [
        _Window(f"{_tokens(above)}-{_tokens(up_to)}", above, up_to if up_to in starts else None)
        for above, up_to in pairwise([0, *starts, _MOST_TOKENS])
    ]


def _tokens(count: int) -> str:
    if count == _MOST_TOKENS:
        return "1M"
    return f"{count // 1000}k" if count and count % 1000 == 0 else str(count)


def _windows(model: str) -> list[_Window]:
    listed = _find(model)
    own = _own_windows(listed.info) if listed else []
    return list({window.name: window for window in (*_STANDARD_WINDOWS, *own)}.values())


def _rate_in(price: Decimal | TieredPrices, window: _Window) -> Decimal | None:
    """The rate of every request in `window`, or None if the price changes within it."""
    if isinstance(price, Decimal):
        return price
    rate = price.base
    for tier in price.tiers:
        start = _boundary(tier.start)
        if start <= window.above:
            rate = tier.price
        elif window.up_to is None or start < window.up_to:
            return None
    return rate


def _list_spans(model: str, listed: _Listed) -> dict[_Key, list[_Span]]:
    """The prices of a list entry for `model`."""
    info = listed.info
    hours = _hours_of_other_prices(info)
    if hours > 12:
        return {}
    origin = _list_origin() + (" (base price, time-of-day prices left out)" if hours else "")
    windows = _windows(model)
    spans: dict[_Key, list[_Span]] = defaultdict(list)
    for usage_type, speed, when in _LISTED_TIERS:
        dated: list[ConditionalPrice | PriceVariant] = [*_conditional_prices(info), *_variants(info, when)]
        starts = sorted({start for condition in dated if (start := _start(condition)) is not None})
        for start, end in zip(starts, [*starts[1:], None], strict=True):
            for kind, price in _kind_prices(model, _prices_on(info, start, when)):
                for window in windows:
                    if (usd := _rate_in(price, window)) is not None:
                        key = _Key(listed.provider, model, kind, window.name, usage_type, "", speed)
                        rate = _rounded(usd * THOUSANDS_PER_MILLION if kind == "web_search" else usd)
                        _append(spans[key], _listed_span(start, end, rate, origin))
    if listed.provider == "anthropic" and _has_us_rate(model):
        for key, found in list(spans.items()):
            spans[key._replace(inference_geo="us")] = [_us_span(key.token_kind, span) for span in found]
    return spans


def _sold_spans(seller: str, model: str, versions: Sequence[str]) -> dict[_Key, list[_Span]]:
    """The prices of `seller` for `model`, which was called by `versions`.

    The maker's prices, overridden by the list's own entries of the seller. A region without its own prices has the
    general ones.
    """
    listed = _find(model)
    made = _list_spans(model, listed) if listed is not None else {}
    if listed is not None and seller == listed.provider:
        return made
    if seller in LOCAL_PROVIDERS:
        return {}
    sold = {key._replace(provider=seller): spans for key, spans in made.items()}
    for region, called in sorted({(_priced_region(seller, version), version) for version in versions}):
        everywhere = {key: spans for key, spans in sold.items() if key.inference_geo == ""}
        for key, spans in everywhere.items():
            sold.setdefault(key._replace(inference_geo=region), spans)
        if (info := _sellers_entry(seller, model, called)) is not None:
            own = _list_spans(model, _Listed(seller, info))
            sold.update({key._replace(inference_geo=region): spans for key, spans in own.items()})
    return sold


def _priced_region(seller: str, version: str) -> str:
    """The region that a model's name states, as the rate card names it."""
    region = bedrock_region(version) if seller == BEDROCK else ""
    return "" if region == "global" else region


def _sellers_entry(seller: str, model: str, version: str) -> ModelInfo | None:
    """The seller's own entry for a model called `version`, or None.

    Entries of other models may also match the name, so the entry must map to the same id.
    """
    provider = _providers().get(seller)
    if provider is None:
        return None
    name = _DECORATION.sub("", version.strip().lower()).rstrip("/")
    names = [name, name.partition("/")[2], name.rsplit("/", 1)[-1]]
    if seller == BEDROCK and not bedrock_region(version):
        # the list maps a plain name to one region, but the call may have run in another
        names = [f"global.{canonical_model(version).provider}.{names[-1]}"]
    for each in filter(None, names):
        info = provider.find_model(each)
        if info is not None and canonical_model(info.id).model == model:
            return info
    return None


def _listed_span(start: date, end: date | None, usd: Decimal, origin: str) -> _Span:
    return _Span(start, end, usd, origin, is_override=False, list_usd=usd, price_list=_list_origin(), line=None)


def _append(spans: list[_Span], span: _Span) -> None:
    """Add a later span; merge it with the last one if only the dates differ."""
    if spans and spans[-1].end == span.start and spans[-1][2:] == span[2:]:
        span = span._replace(start=spans.pop().start)
    spans.append(span)


def _rounded(usd: Decimal) -> Decimal:
    return usd.quantize(RATE_QUANTUM, rounding=ROUND_HALF_EVEN)


def _has_us_rate(model: str) -> bool:
    parts = _CLAUDE_FAMILY_FIRST.match(model)
    return parts is not None and (int(parts[2]), int(parts[3] or 0)) >= US_FIRST_VERSION


def _us_span(kind: str, span: _Span) -> _Span:
    if kind == "web_search":  # the multiplier applies to token prices only
        return span
    origin = f"{span.origin} x {US_MULTIPLIER} (us)"
    return _listed_span(span.start, span.end, _rounded(span.usd * US_MULTIPLIER), origin)


# ---------- the user's own rates

_REQUIRED = (
    "model",
    "token_kind",
    "context_window",
    "usage_type",
    "inference_geo",
    "speed",
    "valid_from",
    "usd_per_mtok",
)
_OPTIONAL = ("multiplier", "discount_percent", "commitment_usd_per_month", "valid_to", "provider", "note")
_SELECTING = ("provider", "model", "token_kind", "context_window", "usage_type", "inference_geo", "speed")
_SPELLINGS: Mapping[str, Mapping[str, str]] = {
    "token_kind": {"input_cache_write": "cache_write_5m"},
    "context_window": {"≤ 200k": "0-200k"},
    "usage_type": {"message": "standard"},
}
_GLOBAL_GEOS = ("global", "not_available")


@dataclass(frozen=True, slots=True)
class _Override:
    """One line of the overrides file; None in a selecting field matches everything."""

    path: Path
    line: int
    provider: str | None
    model: str | None
    token_kind: str | None
    context_window: str | None
    usage_type: str | None
    inference_geo: str | None
    speed: str | None
    valid_from: date
    valid_to: date | None
    usd_per_mtok: Decimal | None
    multiplier: Decimal | None
    commitment_usd: Decimal | None

    def rank(self, key: _Key) -> tuple[int, bool, date, int]:
        """Precedence: of two lines for one key and day, the greater rank wins (a seller's line before the maker's)."""
        filled = sum(getattr(self, name) is not None for name in _SELECTING)
        return filled, self.provider == key.provider, self.valid_from, self.line

    @property
    def origin(self) -> str:
        origin = f"override {self.path.name} line {self.line}"
        return origin if self.multiplier is None else f"{origin}: {_list_origin()} x {self.multiplier.normalize():f}"

    def holds_on(self, day: date) -> bool:
        return self.valid_from <= day and (self.valid_to is None or day < self.valid_to)

    def multiplied_key(self, key: _Key) -> _Key:
        """The key of the list rate for a multiplier: standard in dimensions that the line names, else as in the key."""
        if self.usage_type is not None:
            key = key._replace(usage_type="standard")
        if self.inference_geo is not None:
            key = key._replace(inference_geo="")
        if self.speed is not None:
            key = key._replace(speed="standard")
        return key

    def fail(self, column: str, problem: str, remedy: str) -> NoReturn:
        usercsv.fail(self.path, self.line, column, problem, remedy)


def _read_overrides(path: Path, aliases: Mapping[str, str]) -> list[_Override]:
    return [_override(path, line, cells, aliases) for line, cells in usercsv.lines(path, _REQUIRED, _OPTIONAL, "rates")]


def _override(path: Path, line: int, cells: Mapping[str, str], aliases: Mapping[str, str]) -> _Override:
    def selected(column: str) -> str | None:
        value = cells.get(column, "").lower()
        return _SPELLINGS.get(column, {}).get(value, value) or None

    def number(column: str) -> Decimal | None:
        return usercsv.number(path, line, column, cells.get(column, ""))

    def day(column: str) -> date | None:
        return usercsv.day(path, line, column, cells.get(column, ""))

    kind = selected("token_kind")
    if kind is not None and kind not in TOKEN_KINDS:
        usercsv.fail(path, line, "token_kind", f"{kind!r} is unknown", f"use one of {', '.join(TOKEN_KINDS)}")
    for column in ("usage_type", "inference_geo", "speed"):
        if (value := selected(column)) is not None and not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", value):
            remedy = "use letters, digits, - and _, or leave it empty"
            usercsv.fail(path, line, column, f"{value!r} is no such value", remedy)
    usd, multiplier = number("usd_per_mtok"), number("multiplier")
    discount, commitment = number("discount_percent"), number("commitment_usd_per_month")
    given = {"usd_per_mtok": usd, "multiplier": multiplier, "discount_percent": discount}
    if not any(value is not None for value in (*given.values(), commitment)):
        usercsv.fail(path, line, "usd_per_mtok", "the line has no rate", "give USD per million tokens, or a multiplier")
    if sum(value is not None for value in given.values()) > 1:
        column = next(name for name in ("multiplier", "discount_percent") if given[name] is not None)
        usercsv.fail(path, line, column, f"the line has both a rate and a {column}", "empty one of the two")
    if discount is not None:
        if discount > 100:
            usercsv.fail(path, line, "discount_percent", f"{discount} is more than all of the price", "give 0 to 100")
        multiplier = 1 - discount / 100
    valid_from, valid_to = day("valid_from") or EPOCH, day("valid_to")
    if valid_to is not None and valid_to <= valid_from:
        usercsv.fail(
            path, line, "valid_to", f"{valid_to} is not after valid_from", "give the first day that it no longer holds"
        )
    if commitment is not None and any(each is not None and each.day != 1 for each in (valid_from, valid_to)):
        column = "valid_from" if valid_from.day != 1 else "valid_to"
        usercsv.fail(path, line, column, "a commitment is one of whole months", "give the first day of a month")
    geo = selected("inference_geo")
    name = cells["model"]
    return _Override(
        path=path,
        line=line,
        provider=selected("provider"),
        model=canonical_model(name, aliases).model if name else None,
        token_kind=kind,
        context_window=_window_name(cells["context_window"]),
        usage_type=selected("usage_type"),
        inference_geo="" if geo in _GLOBAL_GEOS else geo,
        speed=selected("speed"),
        valid_from=valid_from,
        valid_to=valid_to,
        usd_per_mtok=usd,
        multiplier=multiplier,
        commitment_usd=commitment,
    )


def _window_name(cell: str) -> str | None:
    value = cell.lower().replace("m", "M")
    return _SPELLINGS["context_window"].get(value, value) or None


def _check_targets(overrides: Sequence[_Override], sold: Iterable[tuple[str, str]], makers: Mapping[str, str]) -> None:
    """Refuse lines that can never match: a user's line is never ignored silently."""
    sellers = {seller for seller, _ in sold}
    for line in overrides:
        known = {*_providers(), *sellers, *makers.values()}
        if line.model is None and line.provider is not None and line.provider not in known:
            line.fail("provider", f"{line.provider!r} is unknown", f"use one of {', '.join(MAKERS)}, or who resells it")
        if line.model is not None and not _may_sell(line, sold, makers[line.model]):
            maker = makers[line.model] or "unknown"
            line.fail("provider", f"{line.model} belongs to {maker}, not {line.provider}", "correct or empty the cell")
        if line.context_window is not None:
            targets = [line.model] if line.model is not None else list(makers)
            names = list(dict.fromkeys(window.name for model in targets for window in _windows(model)))
            if line.context_window not in names:
                problem = f"{line.context_window!r} is unknown"
                line.fail("context_window", problem, f"use one of {', '.join(names)}, or leave it empty")


def _may_sell(line: _Override, sold: Iterable[tuple[str, str]], maker: str) -> bool:
    """Whether a line's provider made or sold its model, or is not only known as a maker of other models."""
    if line.model is None or line.provider in (None, maker) or line.provider not in MAKERS:
        return True
    return (line.provider, line.model) in sold or _sellers_entry(line.provider, line.model, line.model) is not None


class _Choices(NamedTuple):
    """The values that an empty cell matches."""

    usage_types: tuple[str, ...]
    inference_geos: tuple[str, ...]
    speeds: tuple[str, ...]


def _keys(
    line: _Override, sold: Iterable[tuple[str, str]], makers: Mapping[str, str], any_of: _Choices
) -> Iterator[_Key]:
    """Every key that a line matches; a line with a model's maker matches every seller."""
    usage_types = any_of.usage_types if line.usage_type is None else (line.usage_type,)
    geos = any_of.inference_geos if line.inference_geo is None else (line.inference_geo,)
    speeds = any_of.speeds if line.speed is None else (line.speed,)
    kinds = TOKEN_KINDS if line.token_kind is None else (line.token_kind,)
    for seller, model in sold:
        if line.model not in (None, model) or line.provider not in (None, seller, makers[model]):
            continue
        windows = [w.name for w in _windows(model)] if line.context_window is None else [line.context_window]
        for rest in product(kinds, windows, usage_types, geos, speeds):
            yield _Key(seller, model, *rest)


def _overridden(
    card: Mapping[_Key, list[_Span]],
    overrides: Sequence[_Override],
    sold: Iterable[tuple[str, str]],
    makers: Mapping[str, str],
) -> dict[_Key, list[_Span]]:
    """The card with all overrides applied."""
    regions = sorted({key.inference_geo for key in card})
    any_of = _Choices(
        tuple(dict.fromkeys([*USAGE_TYPES, *(o.usage_type for o in overrides if o.usage_type)])),
        tuple(dict.fromkeys([*INFERENCE_GEOS, *regions, *(o.inference_geo for o in overrides if o.inference_geo)])),
        tuple(dict.fromkeys([*SPEEDS, *(o.speed for o in overrides if o.speed)])),
    )
    claims: dict[_Key, list[_Override]] = defaultdict(list)
    for line in overrides:
        if line.usd_per_mtok is None and line.multiplier is None:
            continue
        effective = False
        for key in _keys(line, sold, makers, any_of):
            if line.multiplier is None or line.multiplied_key(key) in card:
                claims[key].append(line)
                effective = True
        if line.multiplier is not None and line.model is not None and not effective:
            line.fail("multiplier", f"{line.model} has no list price to multiply here", "give usd_per_mtok instead")
    merged = dict(card)
    for key, lines in claims.items():
        merged[key] = _laid_over(key, sorted(lines, key=lambda line: line.rank(key), reverse=True), card)
    return merged


def _laid_over(key: _Key, lines: Sequence[_Override], card: Mapping[_Key, list[_Span]]) -> list[_Span]:
    """The spans of one key: on each day the first of `lines` (best rank first) with a rate, else the list."""
    bases = {line.line: card.get(line.multiplied_key(key), []) for line in lines if line.multiplier is not None}
    below = card.get(key, [])
    cuts = {EPOCH}
    for span in (*below, *(span for spans in bases.values() for span in spans)):
        cuts.update(day for day in (span.start, span.end) if day is not None)
    for line in lines:
        cuts.update(day for day in (line.valid_from, line.valid_to) if day is not None)
    result: list[_Span] = []
    days = sorted(cuts)
    for start, end in zip(days, [*days[1:], None], strict=True):
        for line in lines:
            usd = _override_rate(line, start, bases) if line.holds_on(start) else None
            if usd is not None:
                price_list = "" if line.multiplier is None else _list_origin()
                list_usd = listed.usd if (listed := _span_on(below, start)) else None
                _append(result, _Span(start, end, usd, line.origin, True, list_usd, price_list, line.line))
                break
        else:
            if (listed := _span_on(below, start)) is not None:
                _append(result, listed._replace(start=start, end=end))
    return result


def _override_rate(line: _Override, day: date, bases: Mapping[int, Sequence[_Span]]) -> Decimal | None:
    if line.multiplier is None:
        return line.usd_per_mtok
    base = _span_on(bases[line.line], day)
    return None if base is None else _rounded(base.usd * line.multiplier)


def _span_on(spans: Sequence[_Span], day: date) -> _Span | None:
    return next((span for span in spans if span.start <= day and (span.end is None or day < span.end)), None)


# ---------- the card


def rate_card(
    models: Iterable[str],
    overrides: Path | None = None,
    aliases: Mapping[str, str] = _NO_ALIASES,
    sold: Iterable[tuple[str, str]] = (),
) -> pa.Table:
    """The rates of `models` (canonical ids), of all Anthropic models and of every model that `overrides` names.

    One row per provider, model, token_kind, context_window, usage_type, inference_geo, speed and period with a constant
    rate; see RATE_SCHEMA. `usd_per_mtok` is USD per million tokens, or per million searches where
    token_kind is web_search. `valid_from` is inclusive, `valid_to` exclusive and null where open; the periods of one
    key never overlap. A key without a row has no known price. `aliases` are those of `canonical_model`, for names in
    the overrides file; docs/rates.md describes its format.

    `sold` are providers and the model names that were called there: each provider has its own rows, with the prices of
    the model's maker, unless the list has an entry of that provider.

    Raises:
        ConfigurationError: a cell of the overrides file is wrong; the message names file, line, column and remedy.

    """
    lines = _read_overrides(overrides, aliases) if overrides is not None else []
    named: dict[str, str] = {}
    for line in lines:
        if line.model is not None:
            named[line.model] = named.get(line.model, "") or line.provider or ""
    versions: dict[tuple[str, str], list[str]] = defaultdict(list)
    for seller, version in sold:
        name = canonical_model(version, aliases)
        versions[seller_of(seller, version, name.provider), name.model].append(version)
    makers: dict[str, str] = {}
    for model in {*models, *_anthropic_models(), *named, *(model for _, model in versions)}:
        listed = _find(model)
        makers[model] = listed.provider if listed else canonical_model(model).provider or named.get(model, "")
        versions.setdefault((makers[model], model), [])
    _check_targets(lines, versions, makers)
    for line in lines:
        if line.model is not None and line.provider is not None:
            versions.setdefault((line.provider, line.model), [])
    pairs = sorted(versions)
    card: dict[_Key, list[_Span]] = {}
    for seller, model in pairs:
        card.update(_sold_spans(seller, model, versions[seller, model]))
    if lines:
        card = _overridden(card, lines, pairs, makers)
    rows = sorted((*key, *span) for key, spans in card.items() for span in spans)
    return pa.table(list(zip(*rows, strict=True)), schema=RATE_SCHEMA)


def sold_in(connection: duckdb.DuckDBPyConnection) -> list[tuple[str, str]]:
    """The sellers of models in the marts of `connection`, in the form for `rate_card`."""
    return connection.execute("SELECT DISTINCT provider, model_version FROM marts.token_usage_minutes").fetchall()


def seller_of(stated: str, version: str, maker: str) -> str:
    """The seller of a call: as the record states, else Bedrock if one of its profiles was called, or a model by its
    version there, else the maker.

    The models apply the same rule (macro seller_of).
    """
    region = bedrock_region(version)
    is_bedrocks = region not in ("", _IN_ONE_REGION) or (region and _BEDROCK_VERSION.search(version))
    return stated or (BEDROCK if is_bedrocks else maker)


def commitments(overrides: Path | None = None, aliases: Mapping[str, str] = _NO_ALIASES) -> pa.Table:
    """The commitments of the overrides file: one row per line with a commitment; see COMMITMENT_SCHEMA.

    The selecting columns are null if the line matches everything. Usage counts towards a line that it matches.

    Raises:
        ConfigurationError: the same as `rate_card`.

    """
    rows = [
        (
            line.line, line.provider, line.model, line.token_kind, line.context_window, line.usage_type,
            line.inference_geo, line.speed, line.valid_from, line.valid_to, line.commitment_usd,
        )
        for line in (_read_overrides(overrides, aliases) if overrides is not None else [])
        if line.commitment_usd is not None
    ]  # fmt: skip
    columns = list(zip(*rows, strict=True)) or [()] * len(COMMITMENT_SCHEMA)
    return pa.table(
        [pa.array(column, field.type) for column, field in zip(columns, COMMITMENT_SCHEMA, strict=True)],
        schema=COMMITMENT_SCHEMA,
    )


def window_of(model: str, window: str, other: str) -> str | None:
    """The window of `other` that contains every request of `model` in its `window`; None if two are possible."""
    names = [each.name for each in _windows(other)]
    if window in names:
        return window
    at = next((each for each in _windows(model) if each.name == window), None)
    for each in _windows(other) if at else ():
        if at and each.above <= at.above and (each.up_to is None or (at.up_to is not None and at.up_to <= each.up_to)):
            return each.name
    return None


def context_windows(models: Iterable[str]) -> pa.Table:
    """The context windows for pricing single requests, of `models` and of all Anthropic models.

    Columns: model, context_window, above_tokens, up_to_tokens (null: no end); a request belongs to the window in
    which above_tokens < input + cache writes + cache reads <= up_to_tokens. These are 0-200k and 200k-1M for all but
    the models whose price changes elsewhere, such as claude-haiku-5-5 (0-100k, 100k-1M).
    """
    rows: list[tuple[str, str, int, int | None]] = []
    for model in sorted({*models, *_anthropic_models()}):
        listed = _find(model)
        own = _own_windows(listed.info) if listed else []
        rows.extend((model, *window) for window in own or _STANDARD_WINDOWS)
    return pa.table(list(zip(*rows, strict=True)), schema=WINDOW_SCHEMA)
