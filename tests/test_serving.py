"""`token-analytics serve` as HTTP: what it answers, what it refuses, and that one answer is of one version."""

from __future__ import annotations

import io
import json
import random
import shutil
import string
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow.csv
import pyarrow.parquet
import pytest
from commands import CompletedHomes, token_analytics
from starlette.testclient import TestClient

from pipeline import settings
from pipeline.serving.app import POLICY, create
from pipeline.serving.guard import OwnPagesOnly, SafeHeaders
from pipeline.store.published import Publication
from pipeline.views import site
from pipeline.views.filters import Filters, parse

QUESTIONS = [page.name for page in site.QUESTIONS]


@pytest.fixture(scope="module")
def home(completed_homes: CompletedHomes) -> Path:
    return completed_homes.sample().home


def client_of(home: Path) -> TestClient:
    app = OwnPagesOnly(SafeHeaders(create(settings.load(home)), POLICY), "127.0.0.1")
    return TestClient(app, base_url="http://127.0.0.1", client=("127.0.0.1", 50000))


@pytest.fixture(scope="module")
def client(home: Path) -> Iterator[TestClient]:
    with client_of(home) as found:
        yield found


@pytest.mark.parametrize("name", ["", *QUESTIONS])
def test_a_page_comes_with_a_strict_policy_and_an_etag(client: TestClient, name: str) -> None:
    answer = client.get(f"/{name}")
    assert answer.status_code == 200
    assert answer.headers["content-security-policy"] == POLICY
    assert "unsafe" not in POLICY
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert client.get(f"/{name}", headers={"if-none-match": answer.headers["etag"]}).status_code == 304


def test_every_view_gives_its_rows_as_csv_parquet_json_and_sql(client: TestClient, home: Path) -> None:
    with duckdb.connect(str(home / "token_analytics.duckdb"), read_only=True) as connection:
        for page in site.QUESTIONS:
            for view in page.views:
                at = f"/{page.name}/{view.name}"
                rows = json.loads(client.get(f"{at}.json").content)
                assert pyarrow.parquet.read_table(io.BytesIO(client.get(f"{at}.parquet").content)).num_rows == len(rows)
                text = client.get(f"{at}.csv").content
                assert pyarrow.csv.read_csv(io.BytesIO(text)).num_rows == len(rows) if rows else text
                assert len(connection.execute(client.get(f"{at}.sql").text).fetchall()) == len(rows), at


@pytest.mark.parametrize(
    ("address", "status", "part"),
    [
        ("/nowhere", 404, "leads nowhere"),
        ("/spend/nothing.csv", 404, "leads nowhere"),
        ("/spend/split.exe", 404, "leads nowhere"),
        ("/../../etc/passwd", 404, "leads nowhere"),
        ("/static/..%2f..%2fsettings.py", 404, "leads nowhere"),
        ("/spend?from=yesterday", 400, "write a day as 2026-01-31"),
        ("/spend?from=2026-02-01&to=2026-01-01", 400, "is later than"),
        ("/spend?source=moon", 400, "choose console or sessions"),
        ("/spend?model=" + "x" * 500, 400, "characters"),
        ("/spend?by=1;drop", 200, "choose one of"),
        ("/spend?grain=minute", 200, "choose a period of at most"),
        ("/spend?split.sort=nothing", 200, "no such column"),
        ("/spend?split.page=0", 200, "whole number from 1"),
    ],
)
def test_what_cannot_be_read_is_told_in_one_sentence(client: TestClient, address: str, status: int, part: str) -> None:
    answer = client.get(address)
    assert answer.status_code == status
    assert part in answer.text
    assert "Traceback" not in answer.text


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_pages_are_only_read(client: TestClient, method: str) -> None:
    assert client.request(method, "/spend").status_code == 405


@pytest.mark.parametrize("address", ["/", "/spend", "/spend/split.csv", "/static/app.js", "/nowhere"])
def test_head_is_answered_like_get(client: TestClient, address: str) -> None:
    head, get = client.head(address), client.get(address)
    assert (head.status_code, head.headers["content-type"]) == (get.status_code, get.headers["content-type"])


def test_an_unexpected_error_is_told_in_words(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site, "question", lambda *_: 1 / 0)
    with TestClient(create(settings.load(home)), raise_server_exceptions=False) as failing:
        answer = failing.get("/spend")
    assert answer.status_code == 500
    assert "This went wrong" in answer.text


def test_an_address_of_a_page_of_rows_that_filters_left_out_shows_the_last(client: TestClient) -> None:
    for at in ("/spend?split.page=40", "/sessions?sessions.page=9999"):
        name = at.partition("?")[2].partition(".")[0]
        table = client.get(at).text.partition(f'<section id="{name}"')[2].partition("</section>")[0]
        assert "<td" in table
        assert "Next rows" not in table


def test_a_link_leads_to_the_usage_of_its_row(client: TestClient) -> None:
    # gaps of the bill know no teams, so their links name none
    gaps = client.get("/bill?team=Shop").text.partition('<section id="gaps"')[2].partition("</section>")[0]
    body = gaps.partition("<tbody>")[2].partition("</tbody>")[0]
    assert "/spend?" in body
    assert "team=" not in body


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"host": "127.0.0.1:81"},
        {"origin": "http://evil.example"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "cors"},
    ],
)
def test_other_sites_get_nothing(client: TestClient, headers: dict[str, str]) -> None:
    assert client.get("/spend", headers=headers).status_code == 403


def test_a_public_address_is_refused(home: Path) -> None:
    assert "no access control" in token_analytics("serve", "--home", home, "--host", "0.0.0.0").problem


def test_a_home_without_anything_published_says_so(tmp_path: Path) -> None:
    (tmp_path / "landing").mkdir()
    with client_of(tmp_path) as client:
        answer = client.get("/")
    assert answer.status_code == 503
    assert "token-analytics run" in answer.text


def test_a_damaged_file_is_not_called_missing(tmp_path: Path) -> None:
    (tmp_path / "landing").mkdir()
    (tmp_path / "token_analytics.duckdb").write_bytes(b"no database" * 1000)
    with client_of(tmp_path) as client:
        answer = client.get("/")
    assert answer.status_code == 503
    assert "cannot be opened" in answer.text
    assert "Nothing is published" not in answer.text


def test_an_answer_is_of_the_version_that_was_published_when_it_began(home: Path, tmp_path: Path) -> None:
    copy = tmp_path / "token_analytics.duckdb"
    shutil.copy(home / "token_analytics.duckdb", copy)
    publication = Publication(copy)
    before = publication.current()
    count = "SELECT count(*) AS n FROM marts.charges"
    rows = before.rows(count)
    changed = tmp_path / "next.duckdb"
    shutil.copy(copy, changed)
    with duckdb.connect(str(changed)) as connection:
        connection.execute("DELETE FROM marts.charges")
    changed.replace(copy)
    after = publication.current()
    assert before.rows("SELECT count(*) AS again FROM marts.charges")[0]["again"] == rows[0]["n"] > 0
    assert after.rows(count) == [{"n": 0}]
    assert after.version != before.version


def test_a_snapshot_can_neither_write_nor_read_other_files(home: Path) -> None:
    snapshot = Publication(home / "token_analytics.duckdb").current()
    for query in (
        "SELECT * FROM read_csv('/etc/passwd')",
        "COPY (SELECT 1) TO '/tmp/written.csv'",
        "DELETE FROM marts.charges",
        "ATTACH '/tmp/other.duckdb'",
        "SET enable_external_access = true",
    ):
        with pytest.raises(duckdb.Error):
            snapshot.rows(query)


def test_two_thousand_mutated_addresses_are_answered_without_an_error(client: TestClient) -> None:
    draw = random.Random(7)
    pieces = [
        "'; DROP TABLE marts.charges; --", "\\", "%00", "%ff", "%ed%a0%80", "../" * 8, "{{7*7}}", "${x}", "$source",
        "1e999", "-1", "99999999999999999999", "\u202e", "<script>", "(not stated)", "2026-01-01", "model", "cost_usd",
        "-cost_usd", "",
    ]  # fmt: skip
    keys = [
        "from",
        "to",
        "source",
        "model",
        "api_key",
        "user_id",
        "team",
        "by",
        "grain",
        "measure",
        "split.sort",
        "split.page",
    ]
    for _ in range(2000):
        parts = [
            f"{draw.choice([*keys, draw.choice(pieces)])}={draw.choice(pieces)}"
            if draw.random() < 0.5
            else urllib.parse.urlencode(
                {draw.choice(keys): "".join(draw.choices(string.printable, k=draw.randrange(40)))}
            )
            for _ in range(draw.randrange(1, 6))
        ]
        path = draw.choice(["/spend", "/spend/split.csv", "/spend/timeline.json", "/spend/split.sql", "/"])
        answer = client.get(f"{path}?{'&'.join(parts)}")
        assert answer.status_code in (200, 400, 404), (path, parts)


def test_filters_survive_their_address() -> None:
    draw = random.Random(3)
    for _ in range(300):
        pairs = {"from": ["2026-01-01"], "to": ["2026-03-31"]} if draw.random() < 0.5 else {}
        for name in ("model", "api_key", "workspace", "user_id"):
            if draw.random() < 0.5:
                values = [
                    "".join(draw.choices("ab '\"%&=<>é(\u202e", k=draw.randrange(1, 6)))
                    for _ in range(draw.randrange(1, 4))
                ]
                pairs[name] = values
        filters: Filters = parse(pairs)
        assert parse(urllib.parse.parse_qs(filters.address()[1:], keep_blank_values=True)) == filters
