"""Paths of the product's files other than Python, and the copy of the sample for a folder without data.

Belongs here: finding files that a wheel has inside the package, and a checkout beside it. Does not belong here: files
that are inside the package in both (SQL, templates), and reading any of the files.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

PACKAGE = Path(__file__).parent.parent
_INSIDE = PACKAGE / "_bundled"
IS_CHECKOUT = not _INSIDE.is_dir()
ROOT = PACKAGE.parent if IS_CHECKOUT else _INSIDE


def copy_sample(home: Path) -> bool:
    """Fill `home`/landing with the sample, completely or not at all; an existing landing is left as it is.

    Returns:
        Whether the sample was copied.

    Raises:
        OSError: `home` cannot be written to.

    """
    if (home / "landing").exists():
        return False
    with tempfile.TemporaryDirectory(dir=home, prefix=".sample-") as folder:
        landing = Path(folder) / "landing"
        # Without file modes: an installation may be read-only, and the copy belongs to the user.
        shutil.copytree(ROOT / "data" / "sample" / "landing", landing, copy_function=shutil.copyfile)
        landing.rename(home / "landing")
    return True
