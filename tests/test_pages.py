"""The pages in a real browser, served and as files: filters, addresses, tables, policy, accessibility, print."""

from __future__ import annotations

import csv
import io
import re
import shutil
import urllib.request
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
from browser import AXE, chromium, needs_axe, needs_chromium, serious_faults, served, visit
from commands import CompletedHomes

from pipeline.views import site

pytestmark = needs_chromium

PAGES = ["", *(page.name for page in site.QUESTIONS)]
HOSTILE = (
    "<img src=x onerror=alert(1)>",
    "=1+1|cmd",
    "'\"><script>alert(2)</script>",
    "safe\u202egnp.exe",
    "%{x}<b>bold</b>",
)


@pytest.fixture(scope="module")
def home(completed_homes: CompletedHomes) -> Path:
    return completed_homes.sample().home


@pytest.fixture(scope="module")
def address(home: Path) -> Iterator[str]:
    with served(home) as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


def only(home: Path, query: str) -> Any:
    with duckdb.connect(str(home / "token_analytics.duckdb"), read_only=True) as connection:
        ((value,),) = connection.execute(query).fetchall()
    return value


def fits(page: Any) -> bool:
    """Whether nothing is wider than the window."""
    return bool(page.evaluate("document.documentElement.scrollWidth <= innerWidth"))


@pytest.mark.parametrize("name", PAGES)
def test_a_served_page_fits_a_wide_and_a_narrow_window_and_prints(browser: Any, address: str, name: str) -> None:
    with visit(browser) as seen:
        seen.open(f"{address}/{name}").draw_all()
        assert fits(seen.page)
        assert seen.text("h1")
        assert len(seen.page.query_selector_all(".chart svg.main-svg")) >= len(seen.page.query_selector_all(".chart"))
        assert seen.page.locator("section .problem").all_inner_texts() == []
        seen.page.emulate_media(media="print")
        assert not seen.page.locator("nav").is_visible()
        seen.page.emulate_media(media="screen")
        seen.page.set_viewport_size({"width": 390, "height": 844})
        seen.page.wait_for_timeout(200)
        assert fits(seen.page)


@needs_axe
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_on_the_pages_is_a_serious_obstacle(browser: Any, address: str, scheme: str) -> None:
    with visit(browser, scheme=scheme) as seen:
        faults = {name: serious_faults(seen.open(f"{address}/{name}").page) for name in PAGES}
    assert {name: found for name, found in faults.items() if found} == {}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_from_disk_works_without_a_server(browser: Any, home: Path, name: str) -> None:
    with visit(browser) as seen:
        seen.open((home / "reports" / f"{name or 'index'}.html").as_uri()).draw_all()
        assert fits(seen.page)
        if AXE.exists():
            assert serious_faults(seen.page) == []
        assert not seen.page.locator("form").count()
        for link in seen.page.locator("a[href]").evaluate_all("links => links.map(link => link.getAttribute('href'))"):
            assert link.startswith("#") or (home / "reports" / link.partition("#")[0]).exists(), link


def test_a_filter_changes_the_numbers_to_those_of_sql_and_the_address_restores_them(
    browser: Any, address: str, home: Path
) -> None:
    model = "claude-opus-4-1"
    expected = only(home, f"SELECT round(sum(cost_usd), 2) FROM marts.charges WHERE is_in_force AND model = '{model}'")
    with visit(browser) as seen:
        seen.open(f"{address}/spend")
        before = seen.text(".answer")
        seen.page.locator("#filter-model").select_option(model)
        seen.page.wait_for_function(f"before => document.querySelector('.answer').innerText !== {before!r}")
        assert f"model={model}" in seen.page.url
        assert "=&" not in seen.page.url
        assert f"${expected:,.2f}" in seen.text(".tiles")
        restored = seen.page.url
        seen.page.go_back()
        seen.page.wait_for_function(f"() => document.querySelector('.answer').innerText === {before!r}")
        seen.open(restored)
        assert f"${expected:,.2f}" in seen.text(".tiles")
        assert seen.page.locator("#filter-model").input_value() == model


def test_figure_table_and_files_hold_the_same_numbers(browser: Any, address: str, home: Path) -> None:
    with visit(browser) as seen:
        seen.open(f"{address}/spend?by=api_key").draw_all()
        drawn = seen.page.evaluate("document.getElementById('split-figure').textContent")
        shown = seen.page.locator("#split tbody tr").evaluate_all(
            "rows => rows.map(row => [row.cells[0].dataset.value, row.cells[1].dataset.value])"
        )
    with urllib.request.urlopen(f"{address}/spend/split.csv?by=api_key") as answer:
        filed = [
            (row["api_key"], Decimal(row["cost_usd"])) for row in csv.DictReader(io.StringIO(answer.read().decode()))
        ]
    with (
        urllib.request.urlopen(f"{address}/spend/split.sql?by=api_key") as answer,
        duckdb.connect(str(home / "token_analytics.duckdb"), read_only=True) as connection,
    ):
        queried = [row[:2] for row in connection.execute(answer.read().decode()).fetchall()]
    assert [(name, Decimal(cost)) for name, cost in shown] == filed == queried
    bars = [float(number) for number in re.search(r'"x":\[([^]]*)\]', drawn)[1].split(",")]
    assert bars == [float(cost) for _, cost in filed][::-1]


def test_hostile_names_are_text_everywhere(browser: Any, home: Path, tmp_path: Path) -> None:
    hostile = tmp_path / "home"
    hostile.mkdir()
    shutil.copy(home / "token_analytics.duckdb", hostile)
    with duckdb.connect(str(hostile / "token_analytics.duckdb")) as connection:
        named = connection.execute(
            "SELECT schema_name, table_name, column_name FROM duckdb_columns() JOIN duckdb_tables() "
            "USING (schema_name, table_name) WHERE column_name IN ('model', 'api_key', 'user_id', 'project', 'team')"
        ).fetchall()
        for place, (schema, table, column) in enumerate(named):
            text = HOSTILE[place % len(HOSTILE)].replace("'", "''")
            connection.execute(f"UPDATE {schema}.{table} SET {column} = '{text}' WHERE {column} <> ''")
    with served(hostile) as address, visit(browser) as seen:
        for name in PAGES:
            seen.open(f"{address}/{name}").draw_all()
            assert not seen.page.locator("main img, main script:not([type='application/json']), main b").count()
