"""What did we spend? Where the provider's account has nothing, and the logs do."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path

import pytest
from published import snapshot

from pipeline.views import spend
from pipeline.views.filters import parse
from pipeline.views.view import run

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


@pytest.mark.parametrize(
    ("address", "days"),
    [
        ({"grain": ["week"]}, ("2025-11-03", "2025-11-09")),
        ({"grain": ["month"]}, ("2025-11-01", "2025-11-30")),
        ({"grain": ["month"], "from": ["2025-11-02"], "to": ["2025-11-20"]}, ("2025-11-02", "2025-11-20")),
        ({"grain": ["day"]}, ("2025-11-03", "2025-11-03")),
    ],
)
def test_the_amount_of_a_week_or_month_leads_to_its_days(tmp_path: Path, address, days) -> None:
    charges = [charge("console", "", "12"), charge("console", "", "3", usage_date=dt.date(2025, 11, 5))]
    published, filters = snapshot(tmp_path, {"marts.charges": charges}), parse(address)
    shown = run(spend.TIMELINE, published, filters)
    page, behind = shown.columns[0].leads_to(shown.rows[0], shown.behind(filters))
    assert (page, f"{behind.first}", f"{behind.last}") == ("spend", *days)
    assert sum(row["cost_usd"] for row in run(spend.SPLIT, published, behind).rows) == shown.rows[0]["cost_usd"]


def test_a_month_is_as_long_as_the_data_not_as_the_usage_of_one_model(tmp_path: Path) -> None:
    days = {"2025-10-02": "7", "2025-10-20": "13", "2025-11-03": "10"}
    charges = [charge("console", "", cost, usage_date=dt.date.fromisoformat(day)) for day, cost in days.items()]
    rest = charge("console", "", "1", model="other", usage_date=dt.date(2025, 11, 30))
    whole = snapshot(tmp_path, {"marts.charges": [*charges, rest]})
    sentence = spend.answer(whole, parse({"model": ["claude-sonnet-4-5"]})).sentence
    assert sentence == "November 2025 cost $10.00, 50.0% less than October ($20.00)."
    (tmp_path / "early").mkdir()
    early = snapshot(tmp_path / "early", {"marts.charges": charges})
    sentence = spend.answer(early, parse({})).sentence
    assert sentence == (
        "November 2025 cost $10.00 up to 3 November, 42.9% more than October up to the same day ($7.00)."
    )
