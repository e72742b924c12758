"""A real browser over pages: Debian's Chromium, driven by playwright, and a served home.

Belongs here: starting both, and what each page must not do. Does not belong here: what a page shows (test_pages).
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from commands import ENVIRONMENT, command_line

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
# `make axe` puts it there.
AXE = Path(__file__).parent.parent / ".axe" / "node_modules" / "axe-core" / "axe.min.js"
SERIOUS = ("serious", "critical")

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (Debian's package chromium)")
needs_axe = pytest.mark.skipif(not AXE.exists(), reason="needs axe-core: make axe")


@contextlib.contextmanager
def served(home: Path) -> Iterator[str]:
    """The address at which `token-analytics serve` shows a home."""
    command = command_line("serve", "--home", home, "--port", "0")
    with subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            line = process.stderr.readline()
            assert " at http://127.0.0.1:" in line, line + process.stderr.read()
            yield line.rpartition(" at ")[2].strip().rstrip("/")
        finally:
            process.terminate()


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """A started browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Visit:
    """A page in a browser, and everything that it did that no page may do."""

    page: Any
    faults: list[str] = field(default_factory=list)

    def open(self, address: str) -> Visit:
        """Go to an address, and wait until its figures are drawn."""
        self.page.goto(address)
        self.drawn()
        return self

    def drawn(self) -> None:
        """Wait until the figures near the window are drawn."""
        self.page.wait_for_function(
            "() => [...document.querySelectorAll('.chart')].every(each => each.dataset.drawn || "
            "each.getBoundingClientRect().top > innerHeight + 600)"
        )

    def draw_all(self) -> None:
        """Scroll through the page, so that each figure is drawn."""
        for chart in self.page.locator(".chart").all():
            chart.scroll_into_view_if_needed()
            self.drawn()
        self.page.wait_for_function("() => !document.querySelector('.chart:not([data-drawn])')")

    def text(self, selector: str) -> str:
        """The text of the first element."""
        return str(self.page.locator(selector).first.inner_text())


@contextlib.contextmanager
def visit(browser: Any, *, width: int = 1300, scheme: str = "light") -> Iterator[Visit]:
    """A page of its own; at the end it has not logged an error, nor asked another host for anything."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    found = Visit(page)
    page.on("console", lambda message: message.type in ("error", "warning") and found.faults.append(message.text))
    page.on("pageerror", lambda error: found.faults.append(str(error)))
    page.on("dialog", lambda dialog: (found.faults.append(f"dialog {dialog.message}"), dialog.dismiss()))
    page.on("requestfailed", lambda request: found.faults.append(f"failed {request.url}"))
    page.on(
        "request",
        lambda request: (
            request.url.startswith(("http://127.0.0.1:", "file://", "data:", "blob:"))
            or found.faults.append(f"asked for {request.url}")
        ),
    )
    try:
        yield found
        assert found.faults == []
    finally:
        context.close()


def serious_faults(page: Any) -> list[str]:
    """What axe-core calls serious on a page."""
    # By the developer tools: a script element would be refused by the page's policy.
    page.evaluate(AXE.read_text(encoding="utf-8"))
    # Without preload: axe would ask for the styles again, which the policy of a page refuses.
    options = "{resultTypes: ['violations'], preload: false}"
    violations = page.evaluate(f"axe.run(document, {options}).then(found => found.violations)")
    return [
        f"{each['id']}: {each['nodes'][0]['html'][:200]} ({each['nodes'][0]['failureSummary'][:200]})"
        for each in violations
        if each["impact"] in SERIOUS
    ]
