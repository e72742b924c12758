"""Writes fetched data into landing: complete files, in a folder that one process fills at a time.

Belongs here: the folder, its lock, and files that appear only when complete. Does not belong here: fetching the content
(providers, postgres, stream), and reading it (ingest, like any other file).
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
    """The folder landing/pulled/<source>, for this process only; unfinished files of a killed process are removed.

    Raises:
        ConfigurationError: another process uses it, or the home is that of the sample.

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
                f"another process is filling landing/pulled/{source} of {settings.home}: wait for it to end"
            ) from None
        folder = settings.landing / "pulled" / source
        _make_folder(folder)
        for leftover in folder.glob(f".*{_UNFINISHED}"):
            leftover.unlink()
        try:
            yield folder
        except OSError as error:
            warehouse.refuse_full_disk(settings, str(error))
            raise


def _make_folder(folder: Path) -> None:
    """Create a folder and its parents so that they, and files in them, survive a power cut."""
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
        warehouse.sync_folder(folder.parent)


def unfinished(folder: Path, name: str) -> Path:
    """Path for a file until `finish`: ingest skips hidden names."""
    return folder / f".{name}{_UNFINISHED}"


def finish(source: Path, folder: Path, name: str) -> Path:
    """Give a complete file its name in `folder`; after this returns, it survives a power cut."""
    target = folder / name
    warehouse.rename_durably(source, target)
    return target
