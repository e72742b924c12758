"""Which files of landing, and of folders that are read in place, a run looks at; it reads none of them.

Belongs here: walking through folders, what is left out there, links and names that are refused, and names of files that
tools of coding agents keep beside their logs. Does not belong here: what stands in a file (sources).
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
# not worth a word. Files that begin with a dot are such too: what is being written has such names.
LITTER = (
    ".git", ".hg", ".svn", ".jj", ".appledouble", ".spotlight-v100", ".fseventsd", ".temporaryitems",
    ".documentrevisions-v100", "._*", ".trash*", "$recycle.bin", "lost+found", "thumbs.db", "desktop.ini",
    ".snapshot", ".snapshots", ".venv", "node_modules", "__pycache__", ".cache", ".*_cache", ".tox", ".nox", ".idea",
    ".vscode", ".vs", ".ipynb_checkpoints", ".dropbox.cache", ".stfolder", ".stversions",
    "*~", "~$*", "#*#", "*.swp", "*.swo", "*.crdownload",
)  # fmt: skip
# What tools of coding agents keep beside their logs, by the end of the path, in lower case.
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
# Of these a file may look like input: copies of what a session has read or written, and logs that say again what the
# transcripts beside them say.
COPIES = ("*/tool-results/*", "*/file-history/*", "*/paste-cache/*", "*/local_*/audit.jsonl")
# Those that nobody else has, so that they tell by themselves, wherever logs were copied to.
SIDE_FILES_ANYWHERE = ("*.meta.json", "*/journal.jsonl", "*/sessions-index.json")
# Below a folder of these names lie the logs of such a tool.
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
        """What the file looks like now."""
        return transcripts.fingerprint(self.path.stat())


@dataclass
class Found:
    """Files to look at, in a fixed order, and what cannot be looked at, with the reason."""

    files: list[LandedFile] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)


def discover(settings: Settings) -> Found:
    """What lies in landing and in `settings.sources`, folders with a dot included; LITTER is left out.

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
    """One value for the names, sizes and times of all files that a run would look at; it reads none of them."""
    listing = []
    for file in discover(settings).files:
        try:
            listing.append(f"{file.shown}\t{file.fingerprint()}")
        except OSError as error:
            # It went, or may not be looked at: that is a state too.
            listing.append(f"{file.shown}\t{error.errno}")
    return hashlib.sha256("\n".join(listing).encode("utf-8", "surrogateescape")).hexdigest()


def is_side_file(shown: str) -> bool:
    """Whether a tool is known to keep such a file beside its logs; asked of what is of no format."""
    name = f"/{shown}"
    return _SIDE_FILE_ANYWHERE.match(name) is not None or (_is_of_tool(shown) and _SIDE_FILE.match(name) is not None)


def is_copy(shown: str) -> bool:
    """Whether a tool keeps there what counts elsewhere, or nowhere: such files are not read."""
    return _is_of_tool(shown) and _COPY.match(f"/{shown}") is not None


def _is_of_tool(shown: str) -> bool:
    return not TOOL_FOLDERS.isdisjoint(shown.lower().split("/")[:-1])


def printable(name: str) -> str:
    """A file's name as the ledger can hold it, whatever bytes it consists of."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _is_utf8(name: str) -> bool:
    return printable(name) == name


def _leaves(link: Path, inside: Path) -> bool:
    """Whether a symbolic link leads out of a folder, to a folder, or round in a circle."""
    try:
        link.stat()
        return link.is_dir() or not link.resolve().is_relative_to(inside)
    except FileNotFoundError:
        return False
    except OSError:
        return True


@dataclass(frozen=True)
class _Closed:
    """A folder whose entries cannot be told."""

    path: str
    problem: str


def _entries(folder: Path | str) -> Iterator[os.DirEntry[str] | _Closed]:
    """What lies in a folder and is none itself, by name, then what lies in its folders."""
    try:
        with os.scandir(folder) as found:
            entries = sorted((entry for entry in found if not _is_litter(entry)), key=lambda entry: entry.name)
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
