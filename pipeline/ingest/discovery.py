"""Lists the files of landing, and of folders that are read in place, without reading them.

Belongs here: walking through folders, skipped files, refused links and names, and names of side files of coding
agents' tools. Does not belong here: the content of a file (sources).
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.ingest import transcripts
from pipeline.settings import ConfigurationError, Settings
from pipeline.store import redaction

LINK_REFUSED = "symbolic link that leaves its folder: copy the file in, or name its folder in `sources`"
NAME_REFUSED = "its name or a folder's is not valid UTF-8: rename it"

# Names of files and folders that systems, editors and development tools leave anywhere, in lower case: never input, and
# skipped silently. So are files that begin with a dot: files that are being written have such names.
LITTER = (
    ".git", ".hg", ".svn", ".jj", ".appledouble", ".spotlight-v100", ".fseventsd", ".temporaryitems",
    ".documentrevisions-v100", "._*", ".trash*", "$recycle.bin", "lost+found", "thumbs.db", "desktop.ini",
    ".snapshot", ".snapshots", ".venv", "node_modules", "__pycache__", ".cache", ".*_cache", ".tox", ".nox", ".idea",
    ".vscode", ".vs", ".ipynb_checkpoints", ".dropbox.cache", ".stfolder", ".stversions",
    "*~", "~$*", "#*#", "*.swp", "*.swo", "*.crdownload",
)  # fmt: skip
# Side files of coding agents' tools, by the end of the path, in lower case.
SIDE_FILES = (
    # Claude Code and its desktop application
    "*/history.jsonl", "*/settings.json", "*/settings.local.json",
    "*/.claude.json", "*/config.json", "*/todos/*.json", "*/tasks/*", "*/shell-snapshots/*", "*/session-env/*",
    "*/statsig/*", "*/plugins/*", "*/plans/*", "*/commands/*", "*/agents/*.md", "*/skills/*", "*/memory/*", "*/debug/*",
    "*/ide/*.lock", "*/stats-cache.json", "*journal*.jsonl", "*/claude.md", "*/agents.md", "*/gemini.md", "*/memory.md",
    "*/local_*.json",
    # Codex
    "*/session_index.jsonl", "*/config.toml", "*/auth.json", "*/version.json", "*/models_cache.json",
    "*/log/codex-*.log", "*/internal_storage.json", "*/installation_id", "*/rules/*.rules", "*/logs_*.sqlite*",
    "*/state_*.sqlite*",
    # OpenCode, Pi, Gemini CLI
    "*/storage/part/*", "*/storage/session/*", "*/storage/session_diff/*", "*/storage/session_share/*",
    "*/storage/project/*", "*/storage/todo/*", "*/storage/migration", "*/snapshot/*", "*/logs.json",
    "*/checkpoint*.json", "*/google_accounts.json", "*/oauth_creds.json", "*/projects.json", "*/trustedfolders.json",
    "*/state.json",
)  # fmt: skip
# Side files that may look like input: copies of files that a session has read or written, and logs that repeat the
# transcripts beside them.
COPIES = ("*/tool-results/*", "*/file-history/*", "*/paste-cache/*", "*/local_*/audit.jsonl")
# Side files with unique names, recognised wherever logs were copied to.
SIDE_FILES_ANYWHERE = ("*.meta.json", "*/journal.jsonl", "*/sessions-index.json")
# Folders of these names contain the logs of such a tool.
TOOL_FOLDERS = frozenset(
    (
        ".claude", "claude", "projects", "claude_projects", "claude_code", "local-agent-mode-sessions", "subagents",
        "tool-results", "file-history", "paste-cache",
        ".codex", "codex", "sessions", "opencode", ".opencode", ".pi", "pi", ".gemini", "gemini", "chats",
    )
)  # fmt: skip


def _any_of(patterns: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(map(fnmatch.translate, patterns)), re.IGNORECASE)


_LITTER, _SIDE_FILE, _COPY = _any_of(LITTER), _any_of(SIDE_FILES), _any_of(COPIES)
_SIDE_FILE_ANYWHERE = _any_of(SIDE_FILES_ANYWHERE)


@dataclass(frozen=True)
class LandedFile:
    """A file of landing or of a folder that is read in place; `shown` is its path in the ledger."""

    path: Path
    shown: str

    def fingerprint(self) -> transcripts.Fingerprint:
        """Size and times of the file now."""
        return transcripts.fingerprint(self.path.stat())


@dataclass
class Found:
    """Files in a fixed order, and refused files and folders with the reason."""

    files: list[LandedFile] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)


def discover(settings: Settings) -> Found:
    """The files in landing and in `settings.sources`, including folders with a dot, without LITTER.

    Raises:
        ConfigurationError: a folder in `settings.sources` does not exist.

    """
    found = Found()
    roots = [(settings.landing, True)] + [(root, False) for root in settings.sources]
    for root, is_landing in roots:
        if not root.exists():
            if not is_landing:
                raise ConfigurationError(f"sources: {root} does not exist; correct the path or remove it")
            continue
        inside = root.resolve()
        for entry in _entries(root):
            path = Path(entry.path)
            shown = redaction.without_secrets(str(path.relative_to(settings.home) if is_landing else path))
            if isinstance(entry, _Closed):
                found.refused.append((printable(shown), f"folder that cannot be read ({entry.problem}): allow it"))
            elif entry.is_symlink() and _leaves(path, inside):
                found.refused.append((printable(shown), LINK_REFUSED))
            elif not _is_utf8(entry.path):
                found.refused.append((printable(shown), NAME_REFUSED))
            elif entry.is_file():
                found.files.append(LandedFile(path, shown))
    return found


def digest(settings: Settings) -> str:
    """One value for the names, sizes and times of all files that a run would list; it reads none of them."""
    listing = []
    for file in discover(settings).files:
        try:
            listing.append(f"{file.shown}\t{file.fingerprint()}")
        except OSError as error:
            # It is gone, or not accessible: that is a state too.
            listing.append(f"{file.shown}\t{error.errno}")
    return hashlib.sha256("\n".join(listing).encode("utf-8", "surrogateescape")).hexdigest()


def is_side_file(shown: str) -> bool:
    """Whether the file is a known side file of a tool; used for unrecognised files."""
    name = f"/{shown}"
    return _SIDE_FILE_ANYWHERE.match(name) is not None or (_is_of_tool(shown) and _SIDE_FILE.match(name) is not None)


def is_copy(shown: str) -> bool:
    """Whether the file is a tool's copy of usage that counts elsewhere, or not at all; such files are not read."""
    return _is_of_tool(shown) and _COPY.match(f"/{shown}") is not None


def _is_of_tool(shown: str) -> bool:
    return not TOOL_FOLDERS.isdisjoint(shown.lower().split("/")[:-1])


def printable(name: str) -> str:
    """A file's name as valid text for the ledger, whatever its bytes."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _is_utf8(name: str) -> bool:
    return printable(name) == name


def _leaves(link: Path, inside: Path) -> bool:
    """Whether a symbolic link leads out of a folder, to a folder, or in a circle."""
    try:
        link.stat()
        return link.is_dir() or not link.resolve().is_relative_to(inside)
    except FileNotFoundError:
        return False
    except OSError:
        return True


@dataclass(frozen=True)
class _Closed:
    """A folder whose entries cannot be listed."""

    path: str
    problem: str


def _entries(folder: Path | str) -> Iterator[os.DirEntry[str] | _Closed]:
    """The files of a folder by name, then those of its subfolders."""
    try:
        with os.scandir(folder) as listing:
            entries = sorted((entry for entry in listing if not _is_litter(entry)), key=lambda entry: entry.name)
    except OSError as error:
        yield _Closed(str(folder), error.strerror or type(error).__name__)
        return
    folders = [entry for entry in entries if entry.is_dir(follow_symlinks=False)]
    yield from (entry for entry in entries if not entry.is_dir(follow_symlinks=False))
    for inner in folders:
        yield from _entries(inner.path)


def _is_litter(entry: os.DirEntry[str]) -> bool:
    if entry.name.startswith(".") and not entry.is_dir(follow_symlinks=False):
        return True
    return _LITTER.match(entry.name) is not None
