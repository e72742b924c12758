"""The wheel alone, as `uvx` or `pipx run` use it: installed outside the checkout, run in an empty folder.

Belongs here: the content of the wheel, and that it needs nothing else of the checkout. Does not belong here: the
results of a run (test_sample) and the output of the command (test_cli).
"""

from __future__ import annotations

import os
import site
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from commands import CHECKOUT, SAMPLE

from pipeline.store import bundled

BUNDLED = "pipeline/_bundled/"


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheels of this checkout, built in a separate environment."""
    folder = tmp_path_factory.mktemp("wheels")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps"]
    projects = [str(CHECKOUT), str(CHECKOUT / "tracker")]
    built = subprocess.run([*command, "--wheel-dir", folder, *projects], capture_output=True, text=True, check=False)
    if built.returncode and "hatchling" in built.stderr and "No matching distribution" in built.stderr:
        pytest.skip("hatchling, which builds the wheel, cannot be fetched: no package index is reachable")
    assert built.returncode == 0, built.stderr
    return folder


@pytest.fixture(scope="module")
def wheel(wheels: Path) -> Path:
    """The wheel of the whole package."""
    (found,) = wheels.glob("token_analytics-*.whl")
    return found


@dataclass(frozen=True)
class Installed:
    """The wheel in a virtual environment that takes only its dependencies from that of the tests."""

    root: Path

    @property
    def packages(self) -> Path:
        return self.root / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"

    def files(self) -> set[Path]:
        return {path for path in (self.packages / "pipeline").rglob("*") if "__pycache__" not in path.parts}

    def call(self, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Call the command in `folder`, with its own cache and without the variables that name a home.

        Statistics of few segments are enough to show that the package is complete.
        """
        environment = {name: value for name, value in os.environ.items() if not name.startswith("TOKEN_ANALYTICS_")}
        environment.pop("PYTHONPATH", None)
        environment["XDG_CACHE_HOME"] = str(self.root / "cache")
        environment["TOKEN_ANALYTICS_ANALYSIS_SEGMENTS"] = "2"
        command = [str(self.root / "bin" / "token-analytics"), *arguments]
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    made = Installed(tmp_path_factory.mktemp("venv"))
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", made.root], check=True)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(made.root / "bin" / "python")]
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--no-index", wheel], check=True)
    # Appended as plain paths: their own .pth files, and with them an editable install of the checkout, are not read.
    lines = [f"import sys; sys.path.append({path!r})\n" for path in site.getsitepackages()]
    (made.packages / "dependencies.pth").write_text("".join(lines))
    return made


def test_the_wheel_carries_the_project_suites_and_sample_and_nothing_that_a_run_or_test_leaves(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    sample = {
        f"{BUNDLED}data/sample/landing/{path.relative_to(SAMPLE)}" for path in SAMPLE.rglob("*") if path.is_file()
    }
    project = {
        f"{BUNDLED}{path.relative_to(CHECKOUT)}"
        for folder in ("dbt_project/models", "dbt_project/macros", "expectations", "docs/migrations")
        for path in (CHECKOUT / folder).rglob("*")
        if path.is_file()
    }
    others = {
        f"{BUNDLED}{name}" for name in ("dagster.yaml", "dbt_project/dbt_project.yml", "dbt_project/profiles.yml")
    }
    assert {name for name in names if name.startswith(BUNDLED)} == sample | project | others
    kinds = {Path(name).suffix for name in names if not name.startswith(BUNDLED)}
    assert (kinds, {name.split("/")[0] for name in names}) == (
        {".py", ".sql", ".j2", ".js", ".css", ".md", ".typed"},
        {"pipeline", "token_analytics_tracker"},
    )


def test_the_tracker_is_a_typed_wheel_of_its_own_that_needs_nothing_else(wheels: Path, tmp_path: Path) -> None:
    (found,) = wheels.glob("token_analytics_tracker-*.whl")
    with zipfile.ZipFile(found) as archive:
        names = set(archive.namelist())
        (metadata,) = [archive.read(name).decode() for name in names if name.endswith("/METADATA")]
    own = {path.name for path in (CHECKOUT / "tracker" / "token_analytics_tracker").iterdir() if path.is_file()}
    assert {name for name in names if ".dist-info/" not in name} == {f"token_analytics_tracker/{name}" for name in own}
    assert "py.typed" in own
    required = [line for line in metadata.splitlines() if line.startswith("Requires-Dist:")]
    assert [line for line in required if "extra ==" not in line] == []
    assert len(required) == 1
    # -I and -S: only the standard library and the wheel itself can be imported.
    program = (
        f"import sys; sys.path.insert(0, {str(found)!r}); from token_analytics_tracker import TokenTracker; "
        "print(TokenTracker('anthropic', sys.argv[1]).track(conversation_id='c', input_tokens=1, output_tokens=2))"
    )
    command = [sys.executable, "-I", "-S", "-c", program, str(tmp_path / "events")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    (events,) = (tmp_path / "events").iterdir()
    assert done.stdout.strip() in events.read_text()


def test_the_whole_package_carries_the_tracker_too(installed: Installed, tmp_path: Path) -> None:
    program = (
        "import pipeline.tracker as again, token_analytics_tracker as tracker; "
        "print(again.TokenTracker is tracker.TokenTracker, tracker.__file__)"
    )
    command = [str(installed.root / "bin" / "python"), "-P", "-c", program]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"True {installed.packages}")


def test_a_run_in_an_empty_folder_takes_a_copy_of_the_sample_and_leaves_the_package_as_it_was(
    installed: Installed, tmp_path: Path
) -> None:
    before = installed.files()
    done = installed.call(tmp_path, "run")
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["token-analytics-sample"]
    first, *_ = done.stderr.splitlines()
    assert first.startswith("No files in data/landing: using the synthetic sample, copied to ./token-analytics-sample")
    assert "2,504 of 2,504 billed cells tie out: $1,216.30 billed, $1,216.89 computed" in done.stdout
    assert "540,079,005 tokens" in done.stdout
    assert "BLOCKING" not in done.stdout
    assert str(CHECKOUT) not in done.stdout + done.stderr
    assert installed.files() == before
    (parsed,) = (installed.root / "cache" / "token-analytics").iterdir()
    assert (parsed / "manifest.json").is_file()

    # The copy is the home of later commands.
    shown = installed.call(tmp_path, "query", "select count(*) as n from marts.daily_usage", "--format", "csv")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert int(shown.stdout.split()[1]) > 0


def test_what_the_user_does_to_the_copy_of_the_sample_stays(tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    assert bundled.copy_sample(tmp_path / "copy")
    (tmp_path / "copy" / "landing" / "notes.txt").unlink()
    assert not bundled.copy_sample(tmp_path / "copy")
    assert not (tmp_path / "copy" / "landing" / "notes.txt").exists()


def test_own_files_in_data_landing_are_preferred_to_the_sample(installed: Installed, tmp_path: Path) -> None:
    (tmp_path / "data" / "landing").mkdir(parents=True)
    (tmp_path / "data" / "landing" / "export.csv").write_text("anything\n")
    done = installed.call(tmp_path, "status")
    assert done.returncode == 2
    assert f"nothing is published in {tmp_path / 'data'} yet" in done.stderr
