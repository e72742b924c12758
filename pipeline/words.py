"""Formatting in text: money, shares, counts with their noun, and text of others.

Belongs here: formats that messages, pages and tables share. Does not belong here: sentences and table cells.
"""

from __future__ import annotations

from decimal import Decimal


def usd(value: Decimal | float | None, unknown: str = "unknown") -> str:
    """Dollars and cents, `-$49.48` below zero; fractions of a cent only for amounts below a cent. Never `-$0`."""
    if value is None:
        return unknown
    amount = abs(Decimal(value))
    text = f"{amount:.6f}".rstrip("0").rstrip(".") if 0 < amount < Decimal("0.005") else f"{amount:,.2f}"
    return f"{'-' if value < 0 and text.strip('0.') else ''}${text}"


def percent(share: float | None) -> str:
    """A share as a percentage; 100% only if it is exactly one."""
    if share is None:
        return "-"
    return "99.9%" if 0.999 < share < 1 else f"{share:.1%}"


def counted(number: int, noun: str) -> str:
    """A number with its noun: `1 row`, `2 rows`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def printable(text: str) -> str:
    """Text with its line breaks, control characters and bidirectional marks escaped."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
