"""The reports served with the Dagster UI: which files of a home a browser gets, and what it may do with them.

Belongs here: single requests, without a server. Does not belong here: a running UI, and who is answered (test_dagster).
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from pipeline.cli.ui import Reports

PAGE = '<!doctype html><meta http-equiv="Content-Security-Policy" content="default-src &#39;none&#39;; img-src data:">'


@pytest.fixture
def reports(tmp_path: Path) -> Path:
    """A folder of reports in a home, with links out of it."""
    folder = tmp_path / "home" / "reports"
    (folder / "pricing").mkdir(parents=True)
    (folder / "pricing" / "index.html").write_text(PAGE, encoding="utf-8")
    (folder / "bare.html").write_text("<p>no policy</p>", encoding="utf-8")
    (folder / "data.json").write_text("{}", encoding="utf-8")
    (folder / "latin.html").write_bytes(b"\xff")
    (tmp_path / "home" / "secret.html").write_text("secret", encoding="utf-8")
    (tmp_path / "reports-of-others").mkdir()
    (tmp_path / "reports-of-others" / "index.html").write_text("secret", encoding="utf-8")
    (folder / "linked.html").symlink_to(tmp_path / "home" / "secret.html")
    (folder / "elsewhere").symlink_to(tmp_path / "reports-of-others")
    (folder / "folder.html").mkdir()
    return folder


def asked(folder: Path, path: str, method: str = "GET", kind: str = "http") -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of an answer; 299 is the status of the application behind it."""
    sent: list[Any] = []

    async def behind(*_: Any) -> None:
        sent.extend(({"status": 299, "headers": []}, {"body": b""}))

    async def send(message: Any) -> None:
        sent.append(message)

    async def ask() -> None:
        await Reports(behind, folder)({"type": kind, "method": method, "path": path}, None, send)  # type: ignore[arg-type]

    asyncio.run(ask())
    start, body = sent
    return start["status"], {name.decode(): value.decode() for name, value in start["headers"]}, body["body"]


@pytest.mark.parametrize("path", ["/reports/pricing/index.html", "/reports/pricing", "/reports/pricing/"])
def test_a_page_is_served_whole_with_its_own_policy_and_an_origin_of_its_own(reports: Path, path: str) -> None:
    status, headers, body = asked(reports, path)
    assert (status, body.decode()) == (200, PAGE)
    assert headers["content-type"] == "text/html; charset=utf-8"
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; img-src data:; frame-ancestors 'none'; sandbox allow-scripts")
    assert "allow-same-origin" not in policy


def test_a_page_without_a_policy_gets_the_strictest_one(reports: Path) -> None:
    _, headers, _ = asked(reports, "/reports/bare.html")
    assert headers["content-security-policy"].startswith(
        "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors"
    )


@pytest.mark.parametrize(
    "path",
    [
        "/reports",
        "/reports/none.html",
        "/reports/../secret.html",
        "/reports/pricing/../../secret.html",
        "/reports//etc/passwd",
        "/reports/linked.html",
        "/reports/elsewhere",
        "/reports/elsewhere/index.html",
        "/reports/data.json",
        "/reports/folder.html",
        "/reports/a\0b.html",
        f"/reports/{'a' * 5000}.html",
    ],
)
def test_nothing_but_pages_inside_of_the_folder_is_served(reports: Path, path: str) -> None:
    status, _, body = asked(reports, path)
    assert status == 404
    assert b"secret" not in body


def test_reports_are_only_read(reports: Path) -> None:
    assert asked(reports, "/reports/bare.html", "HEAD")[::2] == (200, b"")
    status, headers, _ = asked(reports, "/reports/bare.html", "DELETE")
    assert (status, headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(("path", "kind"), [("/", "http"), ("/reportsother", "http"), ("/reports/x", "websocket")])
def test_all_else_is_for_dagster(reports: Path, path: str, kind: str) -> None:
    assert asked(reports, path, kind=kind)[0] == 299
