"""What did we spend? Where the provider's account has nothing, and the logs do."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path

from published import snapshot

from pipeline.views import spend
from pipeline.views.filters import parse

DAY = dt.date(2025, 11, 3)


def charge(source: str, team: str, cost: str, **other):
    row = {
        "usage_date": DAY, "source": source, "provider": "anthropic", "model": "claude-sonnet-4-5", "api_key": "bot",
        "workspace": "Default", "user_id": "", "project": "", "token_kind": "output", "tokens": 10,
        "billing_mode": "metered", "is_in_force": source == "console", "team": team, "cost_usd": Decimal(cost),
    }  # fmt: skip
    return row | other


def test_a_team_that_pays_by_user_is_shown_what_the_logs_have(tmp_path: Path) -> None:
    rows = [charge("console", "Support", "12"), charge("sessions", "Key accounts", "9.75", user_id="ann")]
    published = snapshot(tmp_path, {"marts.charges": rows})
    answer = spend.answer(published, parse({"team": ["Key accounts"]}))
    assert answer.sentence == "The provider's account has no usage of these filters; your logs have $9.75."
    (tile,) = answer.tiles
    assert spend.answer(published, tile.to[1]).number == "$9.75"
    assert spend.answer(published, parse({"team": ["nobody"]})).sentence == "No usage matches these filters."


def test_a_team_is_told_that_it_pays_more_than_its_keys(tmp_path: Path) -> None:
    published = snapshot(tmp_path, {"marts.charges": [charge("console", "Support", "12")]})
    (warning,) = spend.answer(published, parse({"team": ["Support"]})).warnings
    assert warning.endswith("is under Who pays?")
