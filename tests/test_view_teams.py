"""The page of teams, and the statement of a month and team as a file, by command and by address."""

from __future__ import annotations

import datetime as dt
import re
import stat
from decimal import Decimal
from pathlib import Path

import pytest
from commands import token_analytics
from published import shown_text, snapshot
from starlette.testclient import TestClient

from pipeline import settings
from pipeline.serving import app
from pipeline.settings import ConfigurationError
from pipeline.views import site, statement, teams
from pipeline.views.filters import Filters, parse
from pipeline.views.view import run

JANUARY, FEBRUARY = dt.date(2026, 1, 1), dt.date(2026, 2, 1)
EVERYTHING = Filters()
HOSTILE = '../=cmd|"<b>x</b>&\u202e'


def share_of(month: dt.date, team: str, direct: str, **other):
    row = {
        "month": month, "team": team, "cost_centre": "", "product": "", "environment": "",
        "direct_usd": Decimal(direct), "shared_usd": Decimal(0), "unallocated_usd": Decimal(0),
        "estimated_usd": Decimal(0), "budget_usd": None, "shared_rule": "by_direct_cost", "is_closed": False,
    } | other  # fmt: skip
    return row | {"total_usd": row["direct_usd"] + row["shared_usd"] + row["unallocated_usd"]}


def charge(day: dt.date, key: str, team: str, cost: str, **other):
    row = {
        "usage_date": day, "source": "console", "provider": "anthropic", "model": "claude-sonnet-4-5", "api_key": key,
        "workspace": "Default", "user_id": "", "project": "", "token_kind": "output", "tokens": 10,
        "billing_mode": "metered", "is_in_force": True, "team": team, "cost_usd": Decimal(cost),
    }  # fmt: skip
    return row | other


TABLES = {
    "marts.chargeback": [
        share_of(JANUARY, "Search", "40", budget_usd=Decimal(100), is_closed=True),
        share_of(FEBRUARY, "Search", "80", shared_usd=Decimal(20), budget_usd=Decimal(90)),
        share_of(FEBRUARY, "Shop", "30", estimated_usd=Decimal(5), budget_usd=Decimal(70)),
        share_of(FEBRUARY, "", "0", unallocated_usd=Decimal(7)),
    ],
    "marts.charges": [
        charge(FEBRUARY, "finder", "Search", "81"),
        charge(FEBRUARY, "both", "Search", "2", model="claude-haiku-4-5"),
        charge(FEBRUARY, "both", "Shop", "30"),
        charge(FEBRUARY, "stray", "", "7.5"),
        charge(FEBRUARY, "finder", "Search", "60", source="sessions", user_id="ann", is_in_force=False),
        charge(JANUARY, "finder", "Search", "40"),
    ],
    "analysis.month_bridge": [
        {
            "month": FEBRUARY, "segment": "all", "term": term, "usd": Decimal(usd), "previous_usd": Decimal(40),
            "month_usd": Decimal(142),
        }
        for term, usd in (("volume", "110"), ("cache share", "-8"), ("discount", "0"))
    ],
    "analysis.cost_forecast": [
        {"segment": "all", "month": dt.date(2026, 3, 1), "point": 150.0, "budget_95": 210.0},
        {"segment": "api_key=finder", "month": dt.date(2026, 3, 1), "point": 90.0},
        {"segment": "api_key=both", "month": dt.date(2026, 3, 1), "point": 35.0},
    ],
}  # fmt: skip


@pytest.fixture
def published(tmp_path):
    return snapshot(tmp_path, TABLES)


@pytest.fixture
def home(tmp_path):
    """A home in which these tables are published, and nothing else."""
    (tmp_path / "landing").mkdir()
    snapshot(tmp_path, TABLES).close()
    return tmp_path


def words(made: statement.Statement) -> str:
    return re.sub(r"\s+", " ", shown_text(made.html().partition("</style>")[2]))


# --------------------------------------------------------------------------------------------------- the page


def test_the_answer_says_who_pays_and_who_is_over_budget(published):
    answer = teams.answer(published, EVERYTHING)
    assert answer.sentence == (
        "With what is not billed yet, February 2026 comes to $142.00: Search pays $100.00, "
        "Shop pays $35.00, $7.00 is not allocated."
    )
    assert answer.number == "$142.00"
    assert answer.warnings == (
        "Search is over its budget: $100.00 of $90.00.",
        "No line of allocation.csv matches 4.9% of February 2026.",
        "$5.00 of February 2026 is not billed yet: it is usage at the rate card.",
        "February 2026 is not closed, so amounts may still change.",
    )


def test_months_add_up_to_the_bill_and_what_is_not_billed_yet(published):
    shown = run(teams.MONTHS, published, EVERYTHING)
    assert [(row["month"], row["payer"], row["cost_usd"], row["over_usd"]) for row in shown.rows] == [
        (FEBRUARY, "Search", 100, 10),
        (FEBRUARY, "Shop", 35, 0),
        (FEBRUARY, "(not allocated)", 7, None),
        (JANUARY, "Search", 40, 0),
    ]
    assert shown.sentence == "A budget was exceeded once, most by Search in February 2026: $100.00 of $90.00."
    assert [trace["name"] for trace in shown.figure["data"]] == ["Search", "Shop", "(not allocated)"]


def test_a_period_takes_the_months_that_it_begins_and_ends_in_and_a_team_its_own(published):
    filters = parse({"from": ["2026-02-10"], "to": ["2026-02-20"], "team": ["Shop"], "model": ["x"]})
    assert [row["cost_usd"] for row in run(teams.MONTHS, published, filters).rows] == [35]
    answer = teams.answer(published, filters)
    assert answer.sentence == "February 2026 cost $35.00: Shop pays $35.00."
    assert answer.warnings[0] == "The split by team does not know model, and is not filtered by it."


def test_keys_name_their_teams_and_what_no_team_pays_for(published):
    shown = run(teams.KEYS, published, parse({"from": ["2026-02-01"]}))
    assert [(row["api_key"], row["teams"], row["cost_usd"]) for row in shown.rows] == [
        ("finder", "Search", 81),
        ("both", "Search, Shop", 32),
        ("stray", None, Decimal("7.5")),
    ]
    assert shown.sentence == "No team pays for stray ($7.50)."


def test_without_an_allocation_the_page_says_what_to_do_and_shows_keys(tmp_path):
    tables = {
        "marts.chargeback": [share_of(FEBRUARY, "", "0", unallocated_usd=Decimal(9))],
        "marts.charges": [charge(FEBRUARY, "stray", "", "9")],
    }
    published = snapshot(tmp_path, tables)
    answer = teams.answer(published, EVERYTHING)
    assert answer.sentence == f"The bill for February 2026 is $9.00, and no team pays for it yet. {teams.HOW}"
    assert answer.warnings == ()
    assert [row["api_key"] for row in run(teams.KEYS, published, EVERYTHING).rows] == ["stray"]


def test_changes_in_closed_months_are_listed(tmp_path):
    change = {
        "month": JANUARY, "side": "chargeback", "team": "Search", "old_usd": Decimal(40), "new_usd": Decimal(42),
        "difference_usd": Decimal(2), "cause": "late usage", "noticed_at": dt.datetime(2026, 2, 3),
    }  # fmt: skip
    published = snapshot(tmp_path, {"analysis.restatements": [change, change | {"side": "billed"}]})
    (row,) = run(teams.RESTATEMENTS, published, EVERYTHING).rows
    assert (row["payer"], row["difference_usd"], row["cause"]) == ("Search", 2, "late usage")


def test_the_page_without_any_rows_says_so(tmp_path):
    published = snapshot(tmp_path, {})
    assert teams.answer(published, EVERYTHING).sentence.startswith("Neither a bill nor usage")
    for view in teams.PAGE.views:
        shown = run(view, published, EVERYTHING)
        assert (shown.total, shown.problem, shown.figure) == (0, "", None)


def test_the_page_links_statements_as_downloads(published):
    html = site.question(app.Served(), teams.PAGE, published, EVERYTHING)
    assert '<a href="/teams/statement?month=2026-02" download>' in html
    assert '<a href="/teams/statement?team=Search&amp;month=2026-02" download>' in html


# ---------------------------------------------------------------------------------------------- the statement


def test_a_statement_says_what_a_team_pays_and_why(published):
    made = statement.make(published, "2026-02", "search")
    assert made.title == "Statement of February 2026: Search"
    assert made.cost_usd == 100
    assert made.sentences == (
        "$60.00, 150.0% more than in January 2026 ($40.00).",
        "$10.00 over the budget of $90.00.",
        "March 2026 is forecast at $90.00 for the keys that only this team uses: finder.",
    )
    assert made.status == "Preliminary: the month is not closed and the data ends on 2026-02-01."
    assert dict(made.composition) == {
        "Direct costs": 80,
        "This team's part of the costs that all teams share, split in proportion to their direct costs": 20,
    }
    tables = {table.title: table for table in made.tables}
    assert [(name, usd) for name, usd, _ in tables["By API key"].rows] == [("finder", 81), ("both", 2)]
    assert [(name, usd) for name, usd, _ in tables["By user"].rows] == [("ann", 60)]
    causes = tables["Why it changed since January 2026"]
    assert [(name, usd) for name, usd, _ in causes.rows] == [
        ("more usage", 110),
        ("more from the cache, or less output", -8),
    ]
    assert causes.note.startswith("Of the whole organisation: the causes are not known by team.")


def test_the_causes_are_the_teams_own_where_the_bridge_has_them(tmp_path):
    own = {"month": FEBRUARY, "segment": "team=Search", "term": "volume", "usd": Decimal(60)}
    bills = {"previous_usd": Decimal(40), "month_usd": Decimal(100)}
    tables = {**TABLES, "analysis.month_bridge": [*TABLES["analysis.month_bridge"], own | bills]}
    made = statement.make(snapshot(tmp_path, tables), "2026-02", "Search")
    (causes,) = [table for table in made.tables if table.title.startswith("Why")]
    assert causes.note.startswith("From $40.00 to $100.00")
    assert [(name, usd) for name, usd, _ in causes.rows] == [("more usage", 60)]


def test_a_statement_of_the_organisation_lists_teams_and_the_forecast_with_its_budget(published):
    made = statement.make(published, "2026-02", "")
    assert made.cost_usd == 142
    assert made.sentences[-1] == (
        "March 2026 is forecast at $150.00; a budget of $210.00 has a 95% chance of being enough."
    )
    assert "$5.00 is not billed yet" in made.status
    tables = {table.title: table for table in made.tables}
    assert [(name, usd) for name, usd, _ in tables["By team"].rows] == [
        ("Search (budget $90.00, over by $10.00)", 100),
        ("Shop (budget $70.00)", 35),
        ("not allocated", 7),
    ]


def test_a_closed_month_is_final_and_an_old_one_has_no_forecast(tmp_path):
    tables = {
        "marts.chargeback": [
            share_of(dt.date(2025, 6, 1), "Search", "9", is_closed=True, budget_usd=Decimal(10)),
            share_of(FEBRUARY, "Search", "1"),
        ],
        "analysis.cost_forecast": TABLES["analysis.cost_forecast"],
    }
    made = statement.make(snapshot(tmp_path, tables), "2025-06", "Search")
    assert made.status.startswith("Final")
    assert made.sentences == (
        "There is no earlier month to compare with.",
        "90.0% of the budget of $10.00; $1.00 is left.",
    )


@pytest.mark.parametrize(
    ("month", "team", "problem"),
    [
        ("2026-04", "", "there are no costs in 2026-04; the nearest month is 2026-02"),
        ("2026-01", "Shop", "there are no costs of Shop in 2026-01; the nearest month is 2026-02"),
        ("2026-02", "Serch", "no team is called Serch; the nearest is Search"),
        ("2026-02", "Zzzzz", "no team is called Zzzzz; there are Search, Shop"),
        ("February", "", "'February' is no month: write it as 2026-01"),
    ],
)
def test_an_unknown_month_or_team_is_an_error_that_names_the_nearest(published, month, team, problem):
    with pytest.raises(ConfigurationError) as raised:
        statement.make(published, month, team)
    assert str(raised.value) == problem


def test_a_team_where_nothing_is_allocated_is_an_error_that_says_what_to_do(tmp_path):
    rows = [share_of(FEBRUARY, "", "0", unallocated_usd=Decimal(9))]
    with pytest.raises(ConfigurationError, match=r"assign usage to teams in allocation\.csv"):
        statement.make(snapshot(tmp_path, {"marts.chargeback": rows}), "2026-02", "Search")


def test_hostile_teams_stay_text_and_their_files_in_the_folder(tmp_path):
    names = [HOSTILE, "../" + "x" * 400, "organisation", "a/b", "a b", "\u202e", "CON:"]
    rows = [share_of(FEBRUARY, name, "1", product=HOSTILE) for name in names]
    charges = [charge(FEBRUARY, HOSTILE, HOSTILE, "1", model=HOSTILE, workspace=HOSTILE)]
    published = snapshot(tmp_path, {"marts.chargeback": rows, "marts.charges": charges})
    made = [statement.make(published, "2026-02", name) for name in names]
    files = [each.file_name for each in made]
    assert len({*files, statement.make(published, "2026-02", "").file_name}) == len(names) + 1
    assert all(re.fullmatch(r"2026-02-[A-Za-z0-9-]{1,80}\.html", name) for name in files)
    html = made[0].html()
    assert "<b>x" not in html
    assert "\u202e" not in html
    assert "&lt;b&gt;x" in words(made[0])
    page = site.question(app.Served(), teams.PAGE, published, EVERYTHING)
    assert "<b>x" not in page
    assert "\u202e" not in shown_text(page)


def test_a_statement_loads_nothing_and_runs_nothing(published):
    html = statement.make(published, "2026-02", "").html()
    assert "<script" not in html
    assert not re.search(r"(?:src|href)=|url\(|@import|https?://", html)


def test_the_command_writes_a_private_file_and_says_where(home):
    done = token_analytics("statement", "--home", home, "--month", "2026-02", "--team", "search")
    target = home / "reports" / "statements" / "2026-02-Search.html"
    assert done.code == 0, done
    assert "Statement of February 2026: Search: $100.00. Preliminary" in " ".join(done.out.split())
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert "$100.00" in target.read_text()
    other = home / "mine.html"
    assert token_analytics("statement", "--home", home, "--month", "2026-02", "--out", other).code == 0
    assert "the whole organisation" in other.read_text()


def test_the_command_refuses_what_it_cannot_write_or_find(home, tmp_path_factory):
    missing = token_analytics("statement", "--home", home, "--month", "2026-02", "--out", home / "no" / "x.html")
    assert "there is no folder" in missing.problem
    unknown = token_analytics("statement", "--home", home, "--month", "2026-02", "--team", "Shopp")
    assert "the nearest is Shop" in unknown.problem
    empty = tmp_path_factory.mktemp("empty")
    (empty / "landing").mkdir()
    assert "nothing is published" in token_analytics("statement", "--home", empty, "--month", "2026-02").problem
    assert not (home / "reports").exists()


def test_the_server_sends_the_same_file_as_a_download(home: Path):
    client = TestClient(app.create(settings.load(home)), base_url="http://127.0.0.1")
    sent = client.get("/teams/statement", params={"month": "2026-02", "team": "Search"})
    assert sent.status_code == 200
    assert sent.headers["content-disposition"] == 'attachment; filename="2026-02-Search.html"'
    token_analytics("statement", "--home", home, "--month", "2026-02", "--team", "Search")
    assert sent.text == (home / "reports" / "statements" / "2026-02-Search.html").read_text()
    refused = client.get("/teams/statement", params={"month": "2026-02", "team": "<b>"})
    assert refused.status_code == 400
    assert "no team is called &lt;b&gt;" in refused.text
