"""The quotes file of a home, for `token-analytics quote`.

Belongs here: reading and writing <home>/quotes.toml. Does not belong here: the terms and their validation (`settings`),
the cost under a quote (`recommendation`), and quotes of token_analytics.toml.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

from pipeline.settings import QUOTES_NAME, ConfigurationError, Settings, Terms

_HEADER = "# Quotes, written by `token-analytics quote`. Amounts in USD per month.\n"


def add(settings: Settings, name: str, terms: Terms) -> Path:
    """Add the quote to the home's file, replacing one of the same name, and return the file.

    Raises:
        ConfigurationError: the file cannot be read or written.

    """
    return _write(settings, _stored(settings) | {name: terms.model_dump(exclude_defaults=True)})


def remove(settings: Settings, name: str) -> Path:
    """Delete a quote from the home's file.

    Raises:
        ConfigurationError: there is no such quote.

    """
    stored = _stored(settings)
    if name not in stored:
        known = ", ".join(sorted(stored)) or "none"
        raise ConfigurationError(f"quote remove: {_path(settings)} has no quote {name!r}; it has {known}")
    del stored[name]
    return _write(settings, stored)


def _path(settings: Settings) -> Path:
    return settings.home / QUOTES_NAME


def _stored(settings: Settings) -> dict[str, dict[str, Any]]:
    path = _path(settings)
    if not path.is_file():
        return {}
    try:
        quotes = tomllib.loads(path.read_text(encoding="utf-8")).get("quotes", {})
    except (tomllib.TOMLDecodeError, OSError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from None
    return dict(quotes)


def _write(settings: Settings, quotes: dict[str, dict[str, Any]]) -> Path:
    parts = [_HEADER]
    for name, terms in sorted(quotes.items()):
        parts.append(f"\n[quotes.{_text(name)}]\n")
        parts += [f"{term} = {_value(value)}\n" for term, value in terms.items()]
    path = _path(settings)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        written = path.with_name(f".{path.name}.new")
        written.write_text("".join(parts), encoding="utf-8")
        written.replace(path)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error}") from None
    return path


def _text(value: str) -> str:
    """A TOML basic string: as in JSON, but TOML forbids a raw DEL."""
    return json.dumps(value).replace("\x7f", "\\u007f")


def _value(value: Any) -> str:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_value(item)}" for key, item in value.items()) + " }"
    return repr(value)
