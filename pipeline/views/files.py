"""The pages as files: reports/index.html and the pages that it links, readable from disk without a server.

Belongs here: writing them, each in one atomic step. Does not belong here: what they show (the same views as served).

Files have no filters: they show all days. One copy of the scripts lies beside them.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.store.published import Snapshot
from pipeline.views import site
from pipeline.views.filters import Filters
from pipeline.views.pages import private_folder, write_atomically
from pipeline.views.rows import encoded

ASSETS = (site.PLOTLY, site.PLOTLY_STYLE, "app.js", "style.css")
FOLDER = "static"
ENTRANCE = "index.html"
# Rows of a view that are written beside its page; the served page and the Parquet files in outputs/ have the others.
MOST_ROWS = 10_000


class Files:
    """Addresses in a folder of reports. A page is linked without filters, or not at all where they would be needed."""

    is_live = False
    downloads = ("csv", "parquet")

    # As strict as files allow: nothing from the network, no script or style inside of a page.
    policy = (
        "default-src 'none'; script-src file: 'self'; style-src file: 'self'; img-src data: blob:; base-uri 'none'; "
        "form-action 'none'"
    )

    def page(self, name: str, filters: Filters | None) -> str | None:
        """The file of a page."""
        is_written = name == "index" or any(page.name == name for page in site.QUESTIONS)
        return f"{name}.html" if is_written and filters in (None, site.EVERYTHING) else None

    def download(self, page: str, view: str, kind: str, filters: Filters) -> str:
        """The file of a view's rows."""
        return f"data/{page}-{view}.{kind}"

    def asset(self, name: str) -> str:
        """The file of a script or style."""
        return f"{FOLDER}/{name}"


def write(snapshot: Snapshot, reports: Path) -> list[Path]:
    """Write all pages, their rows and their scripts below `reports`; returns the files."""
    files, written = Files(), []
    static, data = private_folder(reports / FOLDER), private_folder(reports / "data")

    def put(target: Path, content: str | bytes) -> None:
        write_atomically(target, content)
        written.append(target)

    for name in ASSETS:
        put(static / name, (site.STATIC / name).read_bytes())
    for page in site.QUESTIONS:
        for view in page.views:
            query, values = view.statement(site.EVERYTHING, snapshot)
            table = snapshot.arrow(f"select * from ({query}) limit {MOST_ROWS}", values)
            for kind in files.downloads:
                put(data / f"{page.name}-{view.name}.{kind}", encoded(table, kind))
        put(reports / f"{page.name}.html", site.question(files, page, snapshot, site.EVERYTHING))
    put(reports / ENTRANCE, site.index(files, snapshot, site.EVERYTHING))
    return written
