"""The list of formats, and recognising the format of a file.

Belongs here: the formats in the order in which they are tried, and the account of each. Does not belong here: the
definition of a format (sources), and loading the file (loader).
"""

from __future__ import annotations

from pathlib import Path

from pipeline.ingest import transcripts
from pipeline.ingest.sources import (
    anthropic_cost,
    anthropic_usage,
    claude_code,
    codex,
    console_cost,
    console_usage,
    experiment_records,
    gemini_cli,
    langfuse,
    litellm,
    openai_costs,
    openai_usage,
    opencode,
    otel_genai,
    pi,
    stream_events,
    tracker_events,
    usage_sessions,
)
from pipeline.ingest.sources.contract import Probe, Source, SourceError

SOURCES: tuple[Source, ...] = (
    # First: drained stream files may hold lines that look like any other format.
    stream_events,
    claude_code,
    codex,
    opencode,
    pi,
    gemini_cli,
    litellm,
    otel_genai,
    langfuse,
    tracker_events,
    anthropic_usage,
    anthropic_cost,
    openai_usage,
    openai_costs,
    console_usage,
    console_cost,
    usage_sessions,
    experiment_records,
)


FORMATS = tuple(dict.fromkeys(source.FORMAT for source in SOURCES))


# The known formats in words, printed once if a file is unrecognised.
KNOWN_FORMATS = (
    "Console usage or cost CSV, pages of Anthropic's and OpenAI's usage and cost APIs (JSON) and OpenAI's CSV exports "
    "of them, token_usage_sessions (CSV, JSON lines, Parquet), logs of Claude Code, Codex, OpenCode, Pi and Gemini CLI,"
    " LiteLLM spend logs, OpenTelemetry spans, Langfuse observations, events of the tracker, experiment records"
)


# The formats of a provider's account: the provider, and whether they hold usage (console) or the bill (billed). The
# models read this as raw.account_formats.
ACCOUNT_FORMATS = {
    "anthropic_usage": ("anthropic", "console"), "anthropic_cost": ("anthropic", "billed"),
    "openai_usage": ("openai", "console"), "openai_costs": ("openai", "billed"),
    "console_usage": ("anthropic", "console"), "console_cost": ("anthropic", "billed"),
}  # fmt: skip


# Formats of our own logs.
LOG_FORMATS = tuple(name for name in FORMATS if name not in ACCOUNT_FORMATS)


class UnrecognisedError(SourceError):
    """A file of no known format."""


class UnusableError(SourceError):
    """A file of a known format that misses a required part."""

    def __init__(self, message: str, name: str) -> None:
        super().__init__(message)
        self.format = name


def recognise(path: Path) -> tuple[Source, Probe]:
    """The format of a file, and the file's beginning; raises UnrecognisedError or UnusableError."""
    probe = Probe.of(path)
    if not probe.head.strip():
        raise UnrecognisedError("empty file: nothing to read")
    for source in SOURCES:
        verdict = transcripts.verdict(source, probe)
        if verdict:
            raise UnusableError(verdict, source.FORMAT)
        if verdict is not None:
            return source, probe
    if not probe.is_text:
        raise UnrecognisedError("binary content of no known format")
    raise UnrecognisedError(f"{'JSON' if probe.text.lstrip()[:1] in ('{', '[') else 'text'} of no known format")
