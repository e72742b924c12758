"""Architecture: which stage may import which, which packages are pure, and where SQL belongs.

Belongs here: rules for the code as a whole. Does not belong here: behaviour.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PIPELINE = TESTS.parent / "pipeline"
# A stage imports only those before it.
STAGES = (
    "limits", "words", "settings", "store", "ingest", "fetch", "reference", "marts", "analysis", "pricing", "savings",
    "finance", "views", "serving", "validation", "assets", "definitions", "cli",
)  # fmt: skip
PURE = ("analysis/stats", "pricing/terms.py", "pricing/bill_model.py", "pricing/risk.py", "pricing/frontier.py")


def modules(place: str = "") -> list[Path]:
    found = PIPELINE / place
    return [found] if found.suffix else sorted(found.rglob("*.py"))


def imported(module: Path) -> Iterator[str]:
    """Dotted names of the imports of a module, also inside functions."""
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def stage_of(module: Path) -> str:
    return module.relative_to(PIPELINE).parts[0].removesuffix(".py")


def test_a_stage_imports_only_those_before_it():
    wrong = {
        f"{module.relative_to(PIPELINE)} imports {name}"
        for module in modules()
        if stage_of(module) in STAGES
        for name in imported(module)
        if name.startswith("pipeline.") and (other := name.split(".")[1]) != stage_of(module)
        if STAGES.index(other) > STAGES.index(stage_of(module))
    }
    assert wrong == set()


def test_every_module_stands_in_the_room_of_a_stage():
    assert {stage_of(module) for module in modules()} == {*STAGES, "__init__", "tracker"}


@pytest.mark.parametrize("place", PURE)
def test_statistics_and_contracts_know_neither_dagster_nor_duckdb(place: str):
    names = {name.split(".")[0] for module in modules(place) for name in imported(module)}
    assert "numpy" in names
    assert not names & {"dagster", "duckdb", "dbt"}


def test_each_sql_file_is_used_by_its_name():
    code = "\n".join(module.read_text(encoding="utf-8") for module in modules())
    unused, seen = [], 0
    for file in PIPELINE.glob("*/sql/**/*.sql"):
        stage, inside = file.relative_to(PIPELINE).parts[0], file.relative_to(PIPELINE).parts[2:]
        name = "/".join((stage, *inside)).removesuffix(".sql")
        seen += 1
        # By its whole name, by its file name if the folder is fixed, or by a composed name.
        if not any(text in code for text in (f'"{name}"', f'"{file.stem}"', f'"{name.rpartition("/")[0]}/{{')):
            unused.append(name)
    assert seen > 50
    assert unused == []


def test_only_the_settings_read_the_environment():
    readers = {
        str(module.relative_to(PIPELINE))
        for module in modules()
        if "os.environ" in module.read_text(encoding="utf-8") and stage_of(module) != "settings"
    }
    # These pass it to a child process, or set a library's variables: threads, telemetry.
    assert readers == {"__init__.py", "cli/dagster_ui.py", "marts/dbt_runner.py", "validation/suites.py"}


def test_what_tests_share_lies_beside_them_and_in_none_of_them():
    shared = {module.stem for module in TESTS.glob("*.py") if not module.stem.startswith("test_")}
    assert shared >= {"conftest", "oracle"}
    wrong = {
        f"{module.name} imports {name}"
        for module in TESTS.glob("*.py")
        for name in imported(module)
        if name.split(".")[0].startswith("test_")
    }
    assert wrong == set()
