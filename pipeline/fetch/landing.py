"""How what is fetched from elsewhere gets into landing: whole files, in a folder that one process at a time fills.

Belongs here: that folder, its lock, and files that are there whole or not at all. Does not belong here: where the
content comes from (providers, postgres, stream), and reading it (ingest, to which it is a file like any other).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from pipeline.settings import SAMPLE_HOMES, ConfigurationError, Settings
from pipeline.store import bundled, warehouse

_UNFINISHED = ".part"


@contextlib.contextmanager
def opened(settings: Settings, source: str) -> Iterator[Path]:
    """The folder landing/pulled/<source>, for this process alone; what a killed one left unfinished is removed.

    Raises:
        ConfigurationError: another process is at it, or the home is that of the sample.

    """
    if settings.home in {home.resolve() for home in (bundled.ROOT / "data" / "sample", *SAMPLE_HOMES)}:
        raise ConfigurationError("the sample's home takes no real data: name another one, such as --home data")
    warehouse.make_home(settings)
    settings.pulled.mkdir(mode=0o700, exist_ok=True)
    lock = settings.pulled / f"{source}.lock"
    with os.fdopen(os.open(lock, os.O_RDWR | os.O_CREAT, 0o600), "r+b") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigurationError(
                f"another process fills landing/pulled/{source} of {settings.home} just now: wait for it to end"
            ) from None
        folder = settings.landing / "pulled" / source
        _make_folder(folder)
        for left in folder.glob(f".*{_UNFINISHED}"):
            left.unlink()
        try:
            yield folder
        except OSError as error:
            warehouse.refuse_full_disk(settings, str(error))
            raise


def _make_folder(folder: Path) -> None:
    """Create a folder and those above it so that a power cut does not take them, and what they hold, away."""
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
        warehouse.sync_folder(folder.parent)


def unfinished(folder: Path, name: str) -> Path:
    """Where to write a file before `finish`: ingest does not look at hidden names."""
    return folder / f".{name}{_UNFINISHED}"


def finish(source: Path, folder: Path, name: str) -> Path:
    """Give a complete file its name in `folder`; when this returns, it is there for good."""
    target = folder / name
    warehouse.rename_durably(source, target)
    return target
