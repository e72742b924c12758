"""Terminal output without control characters.

Belongs here: escaping names, keys and messages before they are printed; names of files and models come from outside,
and may hold escape sequences. Does not belong here: what is printed, and how (cli).
"""

from __future__ import annotations

import re
from typing import IO

from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderableType, RenderHook, RenderResult
from rich.segment import Segment

# Control characters, line and paragraph separators, bidirectional controls, and lone surrogates.
_STEERING = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_STEERING_IN_LINES = re.compile(f"(?!\n){_STEERING.pattern}")


def printable(text: str) -> str:
    """`text` on one line, with control characters escaped as Python does."""
    return _STEERING.sub(_spelled, text)


def printable_lines(text: str) -> str:
    """`printable` of each line of a text."""
    return _STEERING_IN_LINES.sub(_spelled, text)


def _spelled(found: re.Match[str]) -> str:
    return found.group().encode("unicode_escape").decode("ascii")


class _Harmless:
    """A renderable whose text is made printable; the console's own escape sequences stay."""

    def __init__(self, drawn: RenderableType) -> None:
        self._drawn = drawn

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for segment in console.render(self._drawn, options):
            if segment.control:
                yield segment
            else:
                yield Segment(printable_lines(segment.text), segment.style)


class _Hook(RenderHook):
    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        return [_Harmless(each) for each in renderables]


def console(*, stderr: bool = False, file: IO[str] | None = None, width: int | None = None) -> Console:
    """A console that makes all of its text `printable`."""
    made = Console(stderr=stderr, file=file, width=width, highlight=False, soft_wrap=width is None)
    made.push_render_hook(_Hook())
    return made
