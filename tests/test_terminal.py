"""Tables in a terminal: at any width, no value is cut, and omitted columns are named."""

from __future__ import annotations

import datetime as dt
import io
from collections import Counter
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.console import Console

from pipeline import words
from pipeline.cli import output

MODELS = [
    {
        "source": "console",
        "model": "claude-sonnet-4-5-with-a-name-that-goes-on-and-on",
        "total_tokens": 251_487_272,
        "percent_of_non_cache_tokens": 54.86,
        "cost_usd": Decimal("411.21"),
        "first_used": dt.date(2025, 7, 1),
        "is_priced": True,
    },
    {
        "source": "sessions",
        "model": "gpt-5",
        "total_tokens": 7,
        "percent_of_non_cache_tokens": None,
        "cost_usd": Decimal("-0.000000004"),
        "first_used": dt.date(2025, 11, 30),
        "is_priced": False,
    },
]
VALUES = {
    "a_count_of_something": st.integers(0, 10**14),
    "cost_usd": st.decimals(-(10**9), 10**9, places=6),
    "share": st.floats(-(10**6), 10**6),
    "day": st.dates(dt.date(2020, 1, 1), dt.date(2030, 1, 1)),
    "name": st.text("abcdefghij-_. ", max_size=90),
}


Rows = list[dict[str, Any]]


def printed(
    monkeypatch: pytest.MonkeyPatch, rows: list[dict[str, Any]], width: int, minor: tuple[str, ...] = ()
) -> str:
    """The output of `rows` in a terminal of `width`."""
    written = io.StringIO()
    terminal = Console(file=written, force_terminal=True, width=width, color_system=None, highlight=False)
    monkeypatch.setattr(output, "out", terminal)
    output.print_rows(rows, title="", empty="none", minor=minor)
    return written.getvalue()


def test_a_narrow_terminal_leaves_out_the_minor_columns_first_and_names_them(monkeypatch: pytest.MonkeyPatch) -> None:
    text = printed(monkeypatch, MODELS, 72, ("percent_of_non_cache_tokens", "is_priced"))
    assert "251,487,272" in text
    assert "2025-07-01" in text
    assert "411.21" in text
    assert "54.86" not in text
    assert "Left out to fit 72 characters: percent_of_non_cache_tokens" in " ".join(text.split())
    assert "Left out" not in printed(monkeypatch, MODELS, 200)


@given(
    rows=st.lists(st.fixed_dictionaries(VALUES), min_size=1, max_size=4),
    width=st.integers(24, 160),
    minor=st.lists(st.sampled_from([*VALUES]), unique=True),
)
@example(rows=[{**dict.fromkeys(VALUES, 0), "name": "x" * 90}], width=24, minor=[])
def test_no_value_is_ever_cut(rows: Rows, width: int, minor: list[str]) -> None:
    with pytest.MonkeyPatch.context() as patched:
        table, _, note = printed(patched, rows, width, tuple(minor)).partition("Left out to fit")
        left_out = [name for name in VALUES if name in note]
    assert max(map(len, table.splitlines())) <= width
    for name in VALUES.keys() - {"name", *left_out}:
        assert [row[name] for row in rows if output.cell(row[name]) not in table] == []
    # A name may continue on the next line, and loses no character.
    if "name" not in left_out:
        letters = Counter("".join(row["name"] for row in rows).replace(" ", ""))
        assert letters <= Counter(table)
    assert len(left_out) < len(VALUES)


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (Decimal("-49.48"), "-$49.48"), (Decimal("-0.004"), "-$0.004"), (Decimal("-1e-9"), "$0"),
        (Decimal("-0"), "$0.00"), (-0.0, "$0.00"), (1234567.891, "$1,234,567.89"), (None, "unknown"),
    ],
)  # fmt: skip
def test_dollars_have_their_sign_in_front_and_zero_has_none(amount: Decimal | float | None, text: str) -> None:
    assert words.usd(amount) == text


@pytest.mark.parametrize("value", [-0.0, Decimal("-0.0000000001"), Decimal("-0")])
def test_zero_in_a_table_has_no_sign(value: float | Decimal) -> None:
    assert not output.cell(value).startswith("-")
