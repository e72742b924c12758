"""How numbers read in a sentence: money, shares, and counts with their noun.

Belongs here: words that messages, pages and tables share. Does not belong here: a sentence, or the cell of a table.
"""

from __future__ import annotations

from decimal import Decimal


def usd(value: Decimal | float | None, unknown: str = "unknown") -> str:
    """Dollars and cents, `-$49.48` below zero; parts of a cent only where there is nothing else. Never `-$0`."""
    if value is None:
        return unknown
    amount = abs(Decimal(value))
    text = f"{amount:.6f}".rstrip("0").rstrip(".") if 0 < amount < Decimal("0.005") else f"{amount:,.2f}"
    return f"{'-' if value < 0 and text.strip('0.') else ''}${text}"


def percent(share: float | None) -> str:
    """A share as a percentage; never 100% unless it is whole."""
    if share is None:
        return "-"
    return "99.9%" if 0.999 < share < 1 else f"{share:.1%}"


def counted(number: int, noun: str) -> str:
    """A number with its noun, in the plural where it is not one: `1 row`, `2 rows`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
