"""What a provider's response says of the tokens it used, without a word of what was said.

Belongs here: finding the usage body in responses of Anthropic, OpenAI (chat completions and responses), Gemini and
those who copy them, as objects or as dictionaries, and taking only its numbers; making ids and labels fit to be
written. Does not belong here: what the numbers mean (the reader of the events decides that) and writing them.
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
# A usage body holds a body of details, and that at most one more (the cache creation of an iteration).
_MAX_DEPTH = 3
_MAX_FIELDS = 200

_BODIES = ("usage", "usage_metadata", "usageMetadata")
_IDS = ("id", "response_id", "responseId")
_MODELS = ("model", "model_version", "modelVersion")
# The words that change a price: in the usage body, or beside it, as OpenAI's tier is.
_PRICED_LABELS = (
    ("service_tier", ("service_tier", "serviceTier")),
    ("inference_geo", ("inference_geo",)),
    ("speed", ("speed",)),
)
_WORD = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
# The counts by which a body is known that was given without its response; also all that is asked of an object that
# keeps its fields elsewhere than in its dictionary (protocol buffers).
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
    """What was read from one response: its usage body, reduced to numbers and few words, and who answered."""

    usage: dict[str, Any]
    model: str = ""
    response_id: str = ""


def read(response: object) -> Read:
    """Take the usage from a response, from the last event of a stream that holds one, or from a bare usage body.

    Raises:
        NoUsageError: it holds none.

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
    """The numbers of one sampling inside of a response, of which kind it was, and whose model's."""
    kept = _numbers(node, _MAX_DEPTH - 1)
    kind, model = _get(node, "type"), _text(_get(node, "model"))
    if isinstance(kind, str) and _WORD.fullmatch(kind):
        kept["type"] = str(kind)
    return kept | ({"model": model} if model else {})


def label(value: object) -> str:
    """An id or name as it is written: text of at most 256 characters; what looks like a secret, as a fingerprint.

    The fingerprint, `key-` and 12 hexadecimal digits of the SHA-256, is the one that the warehouse makes of such a key.
    """
    if value is None:
        return ""
    return _label(value if type(value) is str else str(value))


@lru_cache(maxsize=4096)
def _label(text: str) -> str:
    text = text.strip()
    if _SECRET.search(text):
        return "key-" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    # Half of a surrogate pair cannot be written as UTF-8 by those who read the event.
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
    """The fields of a dictionary or an object; those beyond its class, which pydantic keeps apart, too."""
    if isinstance(node, Mapping):
        return node.items()
    own: dict[str, object] = getattr(node, "__dict__", None) or {}
    public = {name: value for name, value in own.items() if not name.startswith("_")}
    extra = getattr(node, "__pydantic_extra__", None)
    if isinstance(extra, Mapping):
        public.update(extra)
    return (public or {name: getattr(node, name, None) for name in _COUNTS}).items()


def _numbers(node: object, depth: int) -> dict[str, Any]:
    """The numbers of a usage body, and those of the bodies in it; no text, no lists, no flags."""
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
