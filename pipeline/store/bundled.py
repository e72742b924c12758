"""Where the files of the product that are no Python lie, and the copy of the sample for a folder without data.

Belongs here: finding what a wheel carries inside the package, and a checkout has beside it. Does not belong here: what
is inside the package in both (SQL, templates), and reading any of the files.
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
    """Fill `home`/landing with the sample, whole or not at all; a landing that exists is left as it is.

    Returns:
        Whether the sample was copied.

    Raises:
        OSError: `home` cannot be written to.

    """
    if (home / "landing").exists():
        return False
    with tempfile.TemporaryDirectory(dir=home, prefix=".sample-") as folder:
        made = Path(folder) / "landing"
        # Contents without modes: an installation may be read-only, and its copy belongs to the user.
        shutil.copytree(ROOT / "data" / "sample" / "landing", made, copy_function=shutil.copyfile)
        made.rename(home / "landing")
    return True
