"""Extracts the usage of a provider's response, without any content.

Belongs here: finding the usage body in responses of Anthropic, OpenAI (chat completions and responses), Gemini and
compatible APIs, as objects or dictionaries, and extracting only its numbers; cleaning ids and labels. Does not belong
here: the meaning of the numbers (up to the reader of the events), and writing them.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

MAX_LABEL_CHARACTERS = 256
_MAX_NAME_CHARACTERS = 64
# A usage body contains details, and these at most one more level (the cache creation of an iteration).
_MAX_DEPTH = 3
_MAX_FIELDS = 200

_BODIES = ("usage", "usage_metadata", "usageMetadata")
_IDS = ("id", "response_id", "responseId")
_MODELS = ("model", "model_version", "modelVersion")
# Words that affect the price: in the usage body, or next to it, like OpenAI's tier.
_PRICED_LABELS = (
    ("service_tier", ("service_tier", "serviceTier")),
    ("inference_geo", ("inference_geo",)),
    ("speed", ("speed",)),
)
_WORD = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
# Counts that identify a usage body without its response; also the only fields read from an object that does not keep
# its fields in a dictionary (protocol buffers).
_COUNTS = (
    "input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens",
    "prompt_tokens", "completion_tokens", "total_tokens",
    "prompt_token_count", "candidates_token_count", "cached_content_token_count", "thoughts_token_count",
    "tool_use_prompt_token_count", "total_token_count",
    "promptTokenCount", "candidatesTokenCount", "cachedContentTokenCount", "thoughtsTokenCount",
    "toolUsePromptTokenCount", "totalTokenCount",
    "inputTokens", "outputTokens", "cacheReadInputTokens", "cacheWriteInputTokens",
)  # fmt: skip
# Keys of OpenAI and Anthropic (as the warehouse knows them), Google, AWS, Groq, xAI, GitHub and Slack; bearer tokens.
_SECRET = re.compile(
    r"(?:^|[^A-Za-z0-9])(?:sk-[A-Za-z0-9_.-]{6,}|AIza[A-Za-z0-9_-]{20,}|(?:AKIA|ASIA)[A-Z0-9]{12,}|gsk_[A-Za-z0-9]{16,}"
    r"|xai-[A-Za-z0-9_-]{16,}|gh[pousr]_[A-Za-z0-9]{16,}|xox[abprs]-[A-Za-z0-9-]{10,}|[Bb]earer\s+\S{6,})"
)


class NoUsageError(ValueError):
    """A response in which no usage was found."""


@dataclass(frozen=True, slots=True)
class Read:
    """The usage body of a response, reduced to numbers and few words, with provider and model."""

    usage: dict[str, Any]
    model: str = ""
    response_id: str = ""


def read(response: object) -> Read:
    """Read the usage of a response, of the last event of a stream, or of a bare usage body.

    Raises:
        NoUsageError: there is no usage.

    """
    body = _first(response, _BODIES)
    if body is None:
        inner = _get(response, "response")
        if inner is not None and (body := _first(inner, _BODIES)) is not None:
            response = inner
        elif _first(response, _COUNTS) is not None:
            body = response
        else:
            raise NoUsageError
    usage = _numbers(body, _MAX_DEPTH)
    if not usage:
        raise NoUsageError
    iterations = _get(body, "iterations")
    if isinstance(iterations, list | tuple) and iterations:
        usage["iterations"] = [_iteration(each) for each in iterations[:_MAX_FIELDS]]
    for name, names in _PRICED_LABELS:
        word = _first(body, names)
        word = _first(response, names) if word is None else word
        if isinstance(word, str) and _WORD.fullmatch(word):
            usage[name] = str(word)
    return Read(usage, _text(_first(response, _MODELS)), _text(_first(response, _IDS)))


def _iteration(node: object) -> dict[str, Any]:
    """The numbers of one iteration of a response, with its type and model."""
    kept = _numbers(node, _MAX_DEPTH - 1)
    kind, model = _get(node, "type"), _text(_get(node, "model"))
    if isinstance(kind, str) and _WORD.fullmatch(kind):
        kept["type"] = str(kind)
    return kept | ({"model": model} if model else {})


def label(value: object) -> str:
    """An id or name for writing: text of at most 256 characters; a secret is replaced by its fingerprint.

    The fingerprint (`key-` and 12 hexadecimal digits of the SHA-256) is the same as the warehouse's.
    """
    if value is None:
        return ""
    return _label(value if type(value) is str else str(value))


@lru_cache(maxsize=4096)
def _label(text: str) -> str:
    text = text.strip()
    if _SECRET.search(text):
        return "key-" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    # readers of the event could not write half a surrogate pair as UTF-8
    return text[:MAX_LABEL_CHARACTERS].encode("utf-8", "replace").decode("utf-8")


def _text(value: object) -> str:
    return label(value) if isinstance(value, str) else ""


def _get(node: object, name: str) -> object:
    return node.get(name) if isinstance(node, Mapping) else getattr(node, name, None)


def _first(node: object, names: Iterable[str]) -> object:
    for name in names:
        if (value := _get(node, name)) is not None:
            return value
    return None


def _fields(node: object) -> Iterable[tuple[object, object]]:
    """The fields of a dictionary or object, including extra fields of pydantic models."""
    if isinstance(node, Mapping):
        return node.items()
    own: dict[str, object] = getattr(node, "__dict__", None) or {}
    public = {name: value for name, value in own.items() if not name.startswith("_")}
    extra = getattr(node, "__pydantic_extra__", None)
    if isinstance(extra, Mapping):
        public.update(extra)
    return (public or {name: getattr(node, name, None) for name in _COUNTS}).items()


def _numbers(node: object, depth: int) -> dict[str, Any]:
    """The numbers of a usage body and of nested bodies; no text, lists or flags."""
    kept: dict[str, Any] = {}
    for name, value in _fields(node):
        kind = type(value)
        if value is None or kind is str or kind is bool or kind is list:
            continue
        if not (isinstance(name, str) and name.isascii() and name.isidentifier() and len(name) <= _MAX_NAME_CHARACTERS):
            continue
        if kind is int:
            kept[name] = value
        elif isinstance(value, int) and not isinstance(value, bool):
            kept[name] = int(value)
        elif isinstance(value, float):
            if math.isfinite(value):
                kept[name] = float(value)
        elif (
            depth
            and (isinstance(value, Mapping) or hasattr(value, "__dict__"))
            and (inner := _numbers(value, depth - 1))
        ):
            kept[name] = inner
        if len(kept) >= _MAX_FIELDS:
            break
    return kept
