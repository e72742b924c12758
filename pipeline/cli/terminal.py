"""What reaches a terminal: text in which nothing can steer it.

Belongs here: making names, keys and messages of others harmless where they are shown. Does not belong here: what is
shown, and how (cli). Names of files and models come from outside, and may hold escape sequences.
"""

from __future__ import annotations

import re
from typing import IO

from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderableType, RenderHook, RenderResult
from rich.segment import Segment

# Control characters, separators of lines and paragraphs, what turns the direction of writing, and halves of pairs.
_STEERING = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_STEERING_IN_LINES = re.compile(f"(?!\n){_STEERING.pattern}")


def printable(text: str) -> str:
    """`text` on one line, with what would steer a terminal spelled out, as Python spells it."""
    return _STEERING.sub(_spelled, text)


def printable_lines(text: str) -> str:
    """`printable` of each line of a text."""
    return _STEERING_IN_LINES.sub(_spelled, text)


def _spelled(found: re.Match[str]) -> str:
    return found.group().encode("unicode_escape").decode("ascii")


class _Harmless:
    """What is drawn, after its text has been made printable; escape sequences of the console's own stay."""

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
    """A console to which no text gets otherwise than `printable`."""
    made = Console(stderr=stderr, file=file, width=width, highlight=False, soft_wrap=width is None)
    made.push_render_hook(_Hook())
    return made
