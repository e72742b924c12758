"""The page of the statistics, from tables built on marts filled by hand, also in a browser."""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import hashlib
import html
import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

import duckdb
import numpy as np
import plotly.graph_objects as go
import pytest
from marts import MARTS, START, insert, lognormal_costs, session, usage
from scipy import stats

from pipeline.analysis import distributions
from pipeline.settings import Settings
from pipeline.store import warehouse
from pipeline.views import statistics

NOW = dt.datetime(2026, 6, 1)


@contextlib.contextmanager
def empty_marts():
    with duckdb.connect() as connection:
        connection.execute(MARTS)
        connection.execute("CREATE SCHEMA analysis")
        yield connection


@pytest.fixture
def marts():
    with empty_marts() as connection:
        yield connection


def page(marts, tmp_path):
    knobs = Settings(home=tmp_path)
    for name, build in distributions.TABLES.items():
        warehouse.write_analysis(marts, name, build(marts, knobs))
    return statistics.write(statistics.collect(marts), tmp_path, NOW).read_text(encoding="utf-8")


class Parts(HTMLParser):
    """Parts of a page: scripts (type, text), addresses that a browser would load, policy."""

    def __init__(self, text):
        super().__init__()
        self.scripts, self.addresses, self.policy, self.charts, self.is_script = [], [], "", [], False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.is_script = tag == "script"
        if self.is_script:
            self.scripts.append((given.get("type", ""), ""))
        self.addresses += [value for name, value in attributes if name in ("src", "href", "srcset", "data", "action")]
        if given.get("http-equiv") == "Content-Security-Policy":
            self.policy = given["content"]
        if given.get("class") == "chart":
            self.charts.append((given["data-figure"], given["aria-label"]))

    def handle_endtag(self, tag):
        self.is_script = False

    def handle_data(self, data):
        if self.is_script:
            kind, text = self.scripts[-1]
            self.scripts[-1] = (kind, text + data)

    @property
    def drawn(self):
        (data,) = (text for kind, text in self.scripts if kind == "application/json")
        return json.loads(data)

    @property
    def figures(self):
        return self.drawn["figures"]


def trace(figure, name):
    (found,) = (each for each in figure["data"] if each["name"] == name)
    return found


TOKENS = np.sort(np.minimum(np.rint(np.random.default_rng(3).lognormal(8, 1, 1000)), 9000).astype(int))


def one_dear_day(marts, *, last_day=None, **names):
    noise = np.random.default_rng(1).normal(0, 0.1, 100)
    rows = [usage(START + dt.timedelta(days=i), float(10 * np.exp(each)), **names) for i, each in enumerate(noise)]
    rows[50]["estimated_cost_usd"] = 80
    if last_day is not None:
        rows.append(usage(START + dt.timedelta(days=last_day), 0.0, **names))
    kinds = ("input_tokens_no_cache", "input_tokens_cache_write_5m", "input_tokens_cache_write_1h")
    empty = dict.fromkeys((*kinds, "input_tokens_cache_read"), 0)
    insert(marts, "token_usage_minutes", [row | empty | {"output_tokens": 100} for row in rows])


@dataclass(frozen=True)
class Full:
    """The page of sessions with a cap (`TOKENS`) and of a hundred days, one expensive; `tables` is schema analysis."""

    tables: duckdb.DuckDBPyConnection
    path: Path
    text: str
    parts: Parts

    @property
    def figures(self):
        return self.parts.figures


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reports")
    with empty_marts() as connection:
        # Costs within a small part of a decade, where a logarithmic axis has no 1, 2 or 5.
        sessions = [session(i, 1.3 + i % 7 / 50, total_tokens=count) for i, count in enumerate(TOKENS.tolist())]
        insert(connection, "token_usage_sessions", sessions)
        one_dear_day(connection)
        text = page(connection, folder)
        yield Full(connection, statistics.path(folder), text, Parts(text))


def test_nothing_loaded_is_a_page_that_says_so(marts, tmp_path):
    text = page(marts, tmp_path)
    assert "a bridge needs two months" in text
    assert "No session logs have been loaded" in text
    assert "<script" not in text
    assert "script-src" not in text


def test_names_of_users_and_keys_stay_text(marts, tmp_path):
    evil = "</script><script>alert(1)</script><img src=x><b>%{x}\u202e\u2028"
    costs = lognormal_costs(100)
    insert(marts, "token_usage_sessions", [session(i, c, user_id=evil, api_key=evil) for i, c in enumerate(costs)])
    one_dear_day(marts, api_key=evil)
    text = page(marts, tmp_path)
    found = Parts(text)
    assert [kind for kind, _ in found.scripts] == ["application/json", "", ""]
    assert not [script for _, script in found.scripts if "alert(1)" in script]
    assert found.addresses == []
    assert "\u202e" not in text
    assert "&lt;img src=x&gt;&lt;b&gt;%{x}" in text
    assert "alert" not in json.dumps(found.figures)


def test_data_of_figures_cannot_end_their_block(full):
    (data,) = (script for kind, script in full.parts.scripts if kind == "application/json")
    assert not set("<>&\u2028\u2029") & set(data)
    assert "<extra>" in json.dumps(full.parts.figures)  # escaped characters


def test_the_page_runs_what_it_carries_and_loads_nothing(full):
    assert full.parts.addresses == []
    assert not re.search(r"@import|url\(", full.text[: full.text.index("</style>")])
    runs = [script for kind, script in full.parts.scripts if not kind]
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in runs]
    assert "plotly.js v" in runs[0][:200]
    assert full.parts.policy == (
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
        f"script-src 'sha256-{hashes[0]}' 'sha256-{hashes[1]}'; img-src data: blob:"
    )


def test_every_figure_is_described_in_words(full):
    assert {name for name, _ in full.parts.charts} == set(full.parts.figures)
    assert len(full.parts.charts) == len(full.parts.figures) > 8
    assert all(description.endswith(".") and re.search(r"\d", description) for _, description in full.parts.charts)


def test_plotly_accepts_every_figure_as_it_is(full):
    template = go.layout.Template(full.parts.drawn["template"])
    assert template.to_plotly_json() == full.parts.drawn["template"]
    for figure in full.figures.values():
        accepted = go.Figure(**figure).to_plotly_json()
        del accepted["layout"]["template"]
        assert {"shapes": (), **accepted["layout"]} == {"shapes": (), **figure["layout"]}
        assert accepted["data"] == figure["data"]


def test_the_survival_function_shows_data_cap_and_fits_as_the_tables_have_them(full):
    tokens = TOKENS
    figure = full.figures["session_total_tokens-0-survival"]
    observed, law = trace(figure, "observed"), trace(figure, "lognormal")
    assert observed["y"] == pytest.approx([float(np.mean(tokens >= x)) for x in observed["x"]])
    assert observed["x"][-1] == max(tokens)
    at = "segment = 'all' AND measure = 'session_total_tokens'"
    ((cap,),) = full.tables.execute(f"SELECT cap_value FROM analysis.tail_metrics WHERE {at}").fetchall()
    assert trace(figure, "cap 9k tokens")["x"] == [cap, cap] == [9000, 9000]
    ((given,),) = full.tables.execute(
        f"SELECT params FROM analysis.distribution_fits WHERE {at} AND family = 'lognormal' ORDER BY treatment LIMIT 1"
    ).fetchall()
    law_of = json.loads(given)
    assert law["y"] == pytest.approx(stats.lognorm.sf(law["x"], law_of["sigma"], scale=np.exp(law_of["mu"])).tolist())
    assert figure["layout"]["xaxis"]["type"] == figure["layout"]["yaxis"]["type"] == "log"


def test_mean_excess_and_lorenz_curve_are_those_of_the_rows(full):
    tokens = TOKENS
    (excess,) = full.figures["session_total_tokens-0-excess"]["data"]
    assert excess["y"] == pytest.approx([float(np.mean(tokens[tokens > x] - x)) for x in excess["x"]])
    lorenz = trace(full.figures["session_total_tokens-0-lorenz"], "observed")
    held = [tokens[: round(share * len(tokens))].sum() / tokens.sum() for share in lorenz["x"]]
    assert lorenz["y"] == pytest.approx(held)


def test_no_line_has_more_points_than_a_page_can_carry(full):
    assert max(len(each["x"]) for figure in full.figures.values() for each in figure["data"]) <= 100


def test_a_flagged_day_is_framed_and_explained(full):
    figure = full.figures["day_cost_usd-0-calendar"]
    (heat,) = figure["data"]
    week, tuesday = heat["x"].index("2026-02-23"), 1
    assert heat["z"][tuesday][week] == 4
    ((value, expected),) = full.tables.execute(
        "SELECT value, expected FROM analysis.usage_anomalies WHERE segment = 'all' AND usage_date = '2026-02-24'"
    ).fetchall()
    assert value == 80
    assert heat["customdata"][tuesday][week] == f"Tue 2026-02-24: $80.00<br>flagged, expected ${expected:.2f}"
    (frame,) = figure["layout"]["shapes"]
    assert (frame["y0"], frame["y1"]) == (0.5, 1.5)
    assert (frame["x0"], frame["x1"]) == ("2026-02-19 12:00", "2026-02-26 12:00")
    assert "price $" in full.text


def test_the_forecast_is_drawn_with_the_intervals_of_the_table(full):
    figure = full.figures["day_cost_usd-0-forecast"]
    rows = full.tables.execute(
        """SELECT point, low_80, high_80, low_95, high_95 FROM analysis.cost_forecast
        WHERE segment = 'all' AND point IS NOT NULL ORDER BY point"""
    ).fetchall()
    assert rows
    assert sorted(trace(figure, "forecast")["x"]) == [row[0] for row in rows]
    for level, first in ((80, 1), (95, 3)):
        drawn = trace(figure, f"{level}% interval")
        ends = sorted((row[first], row[first + 1]) for row in rows if row[first] is not None)
        assert sorted(map(tuple, drawn["customdata"])) == ends
        assert drawn["base"] == [low for low, _ in drawn["customdata"]]
        assert np.add(drawn["base"], drawn["x"]).tolist() == pytest.approx([high for _, high in drawn["customdata"]])
    assert f"95%: ${rows[0][3]:,.2f} to ${rows[0][4]:,.2f}" in full.text


def test_a_forecast_of_nothing_is_told_and_not_drawn(marts, tmp_path):
    one_dear_day(marts, last_day=170)
    text = page(marts, tmp_path)
    points = marts.execute("SELECT point FROM analysis.cost_forecast WHERE segment <> 'all'").fetchall()
    assert points == [(0,)] * len(points) != []
    drawn = [name for name in Parts(text).figures if name.endswith("-forecast")]
    assert set(drawn) <= {"day_cost_usd-0-forecast"}
    assert text.count("No usage in the last four weeks") >= len(points)


def pieces(document):
    """Names of figures, and the part of the document between each and the next."""
    parts = re.split(r'data-figure="([^"]*)"', document)
    return zip(parts[1::2], parts[2::2], strict=True)


@pytest.fixture(scope="module")
def browser():
    """A browser: it opens a file and returns the document after its scripts, and the console's errors."""
    names = ("chromium", "chromium-browser", "google-chrome")
    program = next((found for name in names if (found := shutil.which(name))), None)
    if program is None:
        pytest.skip("there is no Chromium: that a browser draws the figures is not tried")

    def opened(target, profile):
        switches = ("--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom")
        command = [program, *switches, "--virtual-time-budget=8000", f"--user-data-dir={profile}", target.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        return done.stdout, re.findall(r"CONSOLE.*", done.stderr)

    return opened


def test_a_browser_draws_open_figures_and_runs_nothing_else(full, tmp_path, browser):
    drawn, complaints = browser(full.path, tmp_path / "profile")
    assert complaints == []
    places = re.findall(r'<div class="chart([^"]*)" data-figure="([^"]*)"', drawn)
    is_open = {name: "js-plotly-plot" in kinds for kinds, name in places}
    assert is_open == {name: "-0-" in name for name in full.figures}
    parts = {name: part for name, part in pieces(drawn) if is_open[name]}
    one_bar = {("y", name) for name in parts if name.endswith("-forecast")}
    ticks = {(axis, name): part.count(f'class="{axis}tick"') for name, part in parts.items() for axis in "xy"}
    assert {place: count for place, count in ticks.items() if count < (1 if place in one_bar else 2)} == {}
    assert "cap 9k tokens" in html.unescape(drawn[drawn.index("main-svg") :])
    other = tmp_path / "other.html"
    other.write_text(full.text.replace("One after the other", "one after the other"), encoding="utf-8")
    drawn, complaints = browser(other, tmp_path / "profile")
    assert any("Content Security Policy" in each for each in complaints)
    assert "main-svg" not in drawn[: drawn.index('id="figures"')]
