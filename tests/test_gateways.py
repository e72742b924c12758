"""Records of gateways, tracers and provider bodies: each token gets the price of its kind, however counts are nested.

Belongs here: random calls, written in every nesting of their formats, against their usage and cost (oracle.Call); and
whose prices apply to resold models. Does not belong here: other rules of the formats (test_call_logs,
test_experiment_records), and the rate card itself (test_rates).
"""

from __future__ import annotations

import datetime as dt
import json
import random
from collections import Counter, defaultdict
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from oracle import PARTS, Call, cost

from pipeline.store import bundled

START = dt.datetime(2026, 6, 1, 9)
# Models with rates of audio and images, of one input price for text and images, of both kinds of writes, of text alone.
MODELS = {
    "gpt-realtime": "openai",
    "gemini-2.5-flash": "google",
    "claude-sonnet-4-5-20250929": "anthropic",
    "gpt-5-mini": "openai",
}
SPELT = {"openai": ("openai", "azure"), "google": ("gemini", "vertex_ai"), "anthropic": ("anthropic",)}
# Far from any sum of counts, so that a wrong total does not show which counts contain others.
OFF = 1_000_003


def at(second: float) -> str:
    return (START + dt.timedelta(seconds=second)).isoformat(timespec="milliseconds") + "Z"


def lines(*entries: Any) -> str:
    return "\n".join(map(json.dumps, entries)) + "\n"


def some_call(chance: random.Random) -> Call:
    def count(most: int = 20_000) -> int:
        return chance.choice((0, chance.randrange(most)))

    read, no_cache, output = count(), 1 + count(), 1 + count()
    parts = dict.fromkeys(PARTS, 0)
    if chance.random() < 0.5:
        for whole, name in ((no_cache, "input"), (read, "cache_read"), (output, "output")):
            parts[f"{name}_audio"] = chance.choice((0, whole // 3))
            parts[f"{name}_image"] = chance.choice((0, whole // 4))
    return Call(no_cache, count(), count(), read, output, chance.choice((0, 3)), parts)


def stated(chance: random.Random, call: Call, is_beside: bool) -> tuple[int | None, int]:
    """The stated total of a call, or None, and its error in tokens.

    If input excludes cached tokens, a total of input and output leaves them out and is correct.
    """
    off = chance.choice((0, 0, OFF))
    right = [(None, 0), (call.total + off, off)]
    return chance.choice([*right, (call.total - call.cached, 0)] if is_beside else right)


def split(call: Call) -> dict[str, int]:
    return {"ephemeral_5m_input_tokens": call.write_5m, "ephemeral_1h_input_tokens": call.write_1h}


def of_input(call: Call, kind: str, is_beside: bool) -> int:
    """Audio or image tokens of input, including cached ones if input includes them."""
    return call.parts[f"input_{kind}"] + (0 if is_beside else call.parts[f"cache_read_{kind}"])


def chat_details(call: Call, is_beside: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """Details of prompt and completion as OpenAI names them."""
    parts = call.parts
    cached = {f"{name}_tokens": parts[f"cache_read_{name}"] for name in ("audio", "image")}
    prompt = {f"{name}_tokens": of_input(call, name, is_beside) for name in ("audio", "image")}
    completion = {f"{name}_tokens": parts[f"output_{name}"] for name in ("audio", "image")}
    return (
        prompt | {"cached_tokens": call.read, "cached_tokens_details": cached},
        completion | {"reasoning_tokens": call.output // 5, "accepted_prediction_tokens": call.output // 9},
    )


def litellm(
    chance: random.Random, number: int, model: str, call: Call, total: int | None, is_beside: bool
) -> dict[str, Any]:
    prompt, completion = chat_details(call, is_beside)
    usage: dict[str, Any] = {"prompt_tokens_details": prompt, "completion_tokens_details": completion}
    if call.writes and chance.random() < 0.5:
        usage |= {"cache_creation_input_tokens": call.writes, "cache_creation": split(call)}
    else:
        prompt |= {"cache_creation_tokens": call.writes, "cache_creation_token_details": split(call)}
    if chance.random() < 0.5:
        usage["cache_read_input_tokens"] = call.read
    usage["server_tool_use"] = {"web_search_requests": call.searches}
    metadata = {chance.choice(("usage_object", "additional_usage_values")): usage}
    return {
        "request_id": f"l{number}", "startTime": at(number), "endTime": at(number), "spend": 0, "model": model,
        "custom_llm_provider": chance.choice(SPELT[MODELS[model]]), "completion_tokens": call.output,
        "prompt_tokens": call.no_cache if is_beside else call.input,
        "metadata": chance.choice((metadata, json.dumps(metadata))),
    } | ({} if total is None else {"total_tokens": total})  # fmt: skip


def span(
    chance: random.Random, number: int, model: str, call: Call, total: int | None, is_beside: bool
) -> dict[str, Any]:
    root = chance.choice(("gen_ai.usage.", "gen_ai.usage.details."))
    parts = call.parts
    used = {
        chance.choice(("cache_read.input_tokens", "cache_read_tokens")): call.read,
        chance.choice(("cache_creation.input_tokens", "cache_write_tokens")): call.writes,
        **split(call),
        **{f"input_{name}_tokens": of_input(call, name, is_beside) for name in ("audio", "image")},
        **{f"cache_{name}_read_tokens": parts[f"cache_read_{name}"] for name in ("audio", "image")},
        **{f"output_{name}_tokens": parts[f"output_{name}"] for name in ("audio", "image")},
        "web_search_requests": call.searches,
    }
    values = {root + name: count for name, count in used.items()}
    values |= {
        "gen_ai.usage.input_tokens": call.no_cache if is_beside else call.input,
        "gen_ai.usage.output_tokens": call.output,
    }
    values |= {} if total is None else {"gen_ai.usage.total_tokens": total}
    texts = {"gen_ai.request.model": model, "gen_ai.system": MODELS.get(model, ""), "gen_ai.operation.name": "chat"}
    attributes = [{"key": key, "value": {"intValue": str(value)}} for key, value in values.items()]
    attributes += [{"key": key, "value": {"stringValue": value}} for key, value in texts.items()]
    start = int((START.replace(tzinfo=dt.UTC) + dt.timedelta(seconds=number)).timestamp()) * 10**9
    one = {"traceId": f"t{number}", "spanId": f"s{number}", "startTimeUnixNano": str(start), "attributes": attributes}
    return {"resourceSpans": [{"scopeSpans": [{"spans": [one]}]}]}


def langfuse(
    chance: random.Random, number: int, model: str, call: Call, total: int | None, is_beside: bool
) -> dict[str, Any]:
    parts, reasoning = call.parts, call.output // 5
    output = {"output_reasoning": reasoning} | {
        f"output_{name}": parts[f"output_{name}"] for name in ("audio", "image")
    }
    beside = {f"input_{name}_tokens": parts[f"input_{name}"] for name in ("audio", "image")}
    if sum(output.values()) > call.output:
        output["output_reasoning"] = 0
    prefix = chance.choice(("input_", "cache_creation_", ""))
    details = {
        "input": call.no_cache - sum(beside.values()),
        "output": call.output - sum(output.values()),
        chance.choice(("cache_read_input_tokens", "input_cached_tokens", "input_cache_read")): call.read,
        chance.choice(("cache_creation_input_tokens", "input_cache_creation")): call.writes,
        **{prefix + name: count for name, count in split(call).items()},
        **beside,
        **output,
        **{f"input_cached_{name}": parts[f"cache_read_{name}"] for name in ("audio", "image")},
        "web_search_requests": call.searches,
    } | ({} if total is None else {"total": total})
    names = chance.choice((("startTime", "usageDetails"), ("start_time", "usage_details")))
    return {"id": f"o{number}", "traceId": "t", "type": "GENERATION", "model": model} | dict(
        zip(names, (at(number), details), strict=True)
    )


def body(
    chance: random.Random, number: int, model: str, call: Call, total: int | None, is_beside: bool
) -> dict[str, Any]:
    prompt, completion = chat_details(call, is_beside)
    usage: dict[str, Any]
    if MODELS[model] == "anthropic" and not any(call.parts.values()):
        usage = {
            "input_tokens": call.no_cache, "output_tokens": call.output, "cache_read_input_tokens": call.read,
            "cache_creation_input_tokens": call.writes, "cache_creation": split(call),
            "server_tool_use": {"web_search_requests": call.searches},
        }  # fmt: skip
    elif not is_beside and call.writes == 0 and MODELS[model] == "google":
        modalities = {
            "promptTokensDetails": ("input", "cache_read"),
            "cacheTokensDetails": ("cache_read",),
            "candidatesTokensDetails": ("output",),
        }
        thoughts = 0 if any(call.parts.values()) else call.output // 5
        usage = {
            "promptTokenCount": call.input, "cachedContentTokenCount": call.read, "thoughtsTokenCount": thoughts,
            "candidatesTokenCount": call.output - thoughts, "server_tool_use": {"web_search_requests": call.searches},
        } | {
            name: [
                {"modality": kind.upper(), "tokenCount": sum(call.parts[f"{part}_{kind}"] for part in of)}
                for kind in ("audio", "image")
            ]
            for name, of in modalities.items()
        }  # fmt: skip
    else:
        prompt |= {"cache_creation_tokens": call.writes, "cache_creation_token_details": split(call)}
        usage = {
            "prompt_tokens": call.no_cache if is_beside else call.input, "completion_tokens": call.output,
            "prompt_tokens_details": prompt, "completion_tokens_details": completion,
            "server_tool_use": {"web_search_requests": call.searches},
        }  # fmt: skip
    if total is not None:
        usage["totalTokenCount" if "promptTokenCount" in usage else "total_tokens"] = total
    return {
        "timestamp": at(number),
        "model": model,
        "provider": MODELS[model],
        "run_id": f"r{number}",
        "usage_raw": usage,
    }


WRITERS: dict[str, Callable[..., dict[str, Any]]] = {
    "litellm": litellm, "otel_genai": span, "langfuse": langfuse, "experiment_records": body,
}  # fmt: skip


def test_each_token_of_a_call_is_stored_as_what_it_is_and_priced_by_its_own_rate(models):
    chance = random.Random(5)
    files: dict[str, str] = {}
    calls: dict[tuple[str, str], list[Call]] = defaultdict(list)
    at_stake: Counter[str] = Counter()
    for name, write in WRITERS.items():
        entries = []
        for number in range(80):
            model, call = chance.choice(list(MODELS)), some_call(chance)
            # these counts allow only one reading, even where input usually contains cached tokens
            is_beside = name != "langfuse" and call.no_cache < call.cached and chance.random() < 0.5
            total, off = stated(chance, call, is_beside)
            second = (number * len(WRITERS) + list(WRITERS).index(name)) * 60
            entries.append(write(chance, second, model, call, total, is_beside))
            calls[name, model].append(call)
            at_stake[name] += off
        files[f"{name}.jsonl"] = lines(*entries)
    with models.over(files, "marts.requests", "marts.unpriced_usage") as connection:
        columns = ", ".join(f"{part}_tokens" for part in PARTS)
        rows = connection.execute(f"""
            SELECT source_format, model_version, input_tokens_no_cache, input_tokens_cache_write_5m,
                input_tokens_cache_write_1h, input_tokens_cache_read, output_tokens, web_search_count, {columns},
                provider, model, estimated_cost_usd
            FROM marts.requests
        """).fetchall()
        rates = {
            key: usd
            for *key, usd in connection.execute("""
                SELECT provider, model, token_kind, usd_per_mtok FROM raw.rate_card
                WHERE usage_type = 'standard' AND speed = 'standard' AND inference_geo = ''
                    AND context_window = '0-200k'
                    AND valid_from <= DATE '2026-06-01' AND (valid_to IS NULL OR valid_to > DATE '2026-06-03')
            """).fetchall()
            for key in [tuple(key)]
        }
        unpriced = connection.execute("SELECT sum(tokens)::bigint FROM marts.unpriced_usage").fetchone()
        totals = connection.execute((bundled.ROOT / "expectations/stated_totals.sql").read_text()).fetchall()
    found: dict[tuple[str, str], list[Call]] = defaultdict(list)
    lacking = 0
    for name, version, *counts, provider, model, usd in rows:
        call = Call(*counts[:6], dict(zip(PARTS, counts[6:], strict=True)))
        found[name, version].append(call)
        wanted, lacks = cost(call, {kind: rates.get((provider, model, kind)) for kind in call.kinds()})
        assert usd == wanted
        lacking += lacks
    assert {key: sorted(map(repr, each)) for key, each in found.items()} == {
        key: sorted(map(repr, each)) for key, each in calls.items()
    }
    assert unpriced == (lacking,)
    assert {row[0]: row[-1] for row in totals} == dict(at_stake)
    assert any(usd is None for *_, usd in rows)
    assert any(row[8] and row[-1] is not None for row in rows)


# ---------- who sold a call


def claude_code(number: int, model: str) -> dict[str, Any]:
    message = {"id": f"m{number}", "model": model, "usage": {"input_tokens": 0, "output_tokens": 1_000_000}}
    labels = {"type": "assistant", "sessionId": f"s{number}", "uuid": f"u{number}", "requestId": f"r{number}"}
    return labels | {"timestamp": at(number), "message": message}


def pi(number: int, provider: str, model: str) -> list[dict[str, Any]]:
    usage = {"input": 0, "output": 1_000_000, "cacheRead": 0, "cacheWrite": 0}
    message = {"role": "assistant", "provider": provider, "model": model, "usage": usage}
    header = {"type": "session", "version": 3, "id": f"pi{number}", "timestamp": at(number), "cwd": "/u/shop"}
    return [header, {"type": "message", "id": f"m{number}", "timestamp": at(number), "message": message}]


def gateway(number: int, provider: str, model: str) -> dict[str, Any]:
    return {
        "request_id": f"l{number}", "startTime": at(number), "spend": 0, "custom_llm_provider": provider,
        "model": model, "prompt_tokens": 0, "completion_tokens": 1_000_000, "metadata": {},
    }  # fmt: skip


def spans(number: int, provider: str, model: str) -> dict[str, Any]:
    call = Call(0, 0, 0, 0, 1_000_000, 0, dict.fromkeys(PARTS, 0))
    line = span(random.Random(number), number, model, call, None, is_beside=False)
    for attribute in line["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["attributes"]:
        if attribute["key"] == "gen_ai.system":
            attribute |= {"key": "gen_ai.provider.name", "value": {"stringValue": provider}}
    return line


BEDROCK = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
# Provider and model in a record, provider in the marts, and USD per million tokens of output.
SOLD = [
    (claude_code, (BEDROCK,), "aws", "16.5"),
    (claude_code, ("global.anthropic.claude-sonnet-4-5-20250929-v1:0",), "aws", "15"),
    (claude_code, ("anthropic.claude-sonnet-4-5-20250929-v1:0",), "aws", "16.5"),
    (claude_code, ("claude-sonnet-4-5@20250929",), "anthropic", "15"),
    (claude_code, ("glm-4.6",), "zai", "2.2"),
    (claude_code, ("gpt-5-mini",), "openai", "2"),
    (claude_code, ("openai/gpt-5-mini",), "openai", "2"),
    (pi, ("openai-codex", "gpt-5-mini"), "openai", "2"),
    (pi, ("amazon-bedrock", BEDROCK), "aws", "16.5"),
    (pi, ("google-vertex", "claude-sonnet-4-5@20250929"), "google", "15"),
    (pi, ("a-gateway-of-our-own", "gpt-5-mini"), "a-gateway-of-our-own", "2"),
    (pi, ("ollama", "gpt-5-mini"), "ollama", None),
    (gateway, ("bedrock", "bedrock/" + BEDROCK), "aws", "16.5"),
    (gateway, ("bedrock_converse", "anthropic.claude-sonnet-4-5-20250929-v1:0"), "aws", "16.5"),
    (gateway, ("vertex_ai", "vertex_ai/claude-sonnet-4-5@20250929"), "google", "15"),
    (gateway, ("azure", "azure/gpt-5-mini"), "azure", "2"),
    (gateway, ("openrouter", "openrouter/anthropic/claude-sonnet-4.5"), "openrouter", "15"),
    (spans, ("aws.bedrock", BEDROCK), "aws", "16.5"),
    (spans, ("azure.ai.openai", "gpt-5-mini"), "azure", "2"),
    (spans, ("gcp.vertex_ai", "gemini-2.5-flash"), "google", "2.5"),
    (spans, ("openrouter", "openai/gpt-5-mini"), "openrouter", "2"),
]  # fmt: skip


@pytest.fixture(scope="module")
def sold(models: Any) -> dict[int, tuple[str, Decimal | None]]:
    """Provider and cost of each record of SOLD, by its number."""
    files: dict[str, list[Any]] = defaultdict(list)
    for number, (write, arguments, *_) in enumerate(SOLD):
        entry = write(number * 60, *arguments)
        files[f"pi{number}" if write is pi else write.__name__] += entry if isinstance(entry, list) else [entry]
    with models.over({name: lines(*entries) for name, entries in files.items()}, "marts.requests") as connection:
        rows = connection.execute("SELECT requested_at, provider, estimated_cost_usd FROM marts.requests").fetchall()
    return {(moment - START).seconds // 60: (provider, usd) for moment, provider, usd in rows}


@pytest.mark.parametrize("number", range(len(SOLD)))
def test_a_call_costs_what_its_seller_takes_else_what_the_maker_does(sold, number):
    *_, provider, usd = SOLD[number]
    assert sold[number] == (provider, None if usd is None else Decimal(usd))


# As the registry of OpenTelemetry names them (gen_ai.provider.name, then gen_ai.system before it), and LiteLLM.
NAMES = {
    "anthropic": "anthropic", "aws.bedrock": "aws", "azure.ai.inference": "azure", "azure.ai.openai": "azure",
    "cohere": "cohere", "deepseek": "deepseek", "gcp.gemini": "google", "gcp.gen_ai": "google",
    "gcp.vertex_ai": "google", "groq": "groq", "ibm.watsonx.ai": "watsonx", "mistral_ai": "mistral",
    "moonshot_ai": "moonshotai", "openai": "openai", "perplexity": "perplexity", "x_ai": "x-ai",
    "vertex_ai": "google", "gemini": "google", "az.ai.inference": "azure", "az.ai.openai": "azure", "xai": "x-ai",
    "chatgpt": "openai", "text-completion-openai": "openai", "aiohttp_openai": "openai", "zai": "zai",
    "cohere_chat": "cohere", "anthropic_text": "anthropic", "together_ai": "together", "vertex_ai_beta": "google",
    "azure_text": "azure", "azure_ai": "azure", "bedrock": "aws", "bedrock_mantle": "aws", "mistral": "mistral",
    "codestral": "mistral", "text-completion-codestral": "mistral", "moonshot": "moonshotai", "minimax": "minimax",
    "voyage": "voyageai", "fireworks_ai": "fireworks", "github_copilot": "github-copilot", "meta_llama": "meta",
    "watsonx": "watsonx", "watsonx_text": "watsonx", "ai21_chat": "ai21", "ollama_chat": "ollama",
    "hosted_vllm": "vllm", "novita": "novita", "cloudflare": "cloudflare", "cerebras": "cerebras",
    # who copies an interface, or sells from another shop of the same house
    "openai_like": "openai_like", "custom_openai": "custom_openai", "openai-compatible": "openai-compatible",
    "sagemaker": "sagemaker", "sagemaker_chat": "sagemaker_chat", "amazon_nova": "amazon_nova", "github": "github",
}  # fmt: skip


def test_a_provider_has_one_name_however_a_logger_spells_it(home):
    home.land({"log": lines(*(gateway(number, name, "gpt-5-mini") for number, name in enumerate(NAMES)))})
    home.ingest()
    found = home.query("SELECT provider FROM raw.requests ORDER BY requested_at")
    assert dict(zip(NAMES, (provider for (provider,) in found), strict=True)) == NAMES
