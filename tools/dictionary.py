"""The data dictionary: every published table and column with its description.

Belongs here: rendering docs/data-dictionary.md (`python -m tools.dictionary` writes it). Does not belong here: the
descriptions, which are in dbt_project/models (ingest and marts) and in the schemas of the analysis tables.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from pipeline.analysis import distributions
from pipeline.finance import closing
from pipeline.marts import dbt_runner
from pipeline.pricing import recommendation
from pipeline.savings import recommendations
from pipeline.store import warehouse
from pipeline.validation import history

PATH = Path(__file__).parent.parent / "docs" / "data-dictionary.md"
_INTRODUCTION = """\
# Data dictionary

Tables of `token_analytics.duckdb`; those of schema analysis are also `outputs/<name>.parquet`. Times are UTC, tokens
are counts, money is USD. The file itself holds the texts of marts and analysis as comments:
`SELECT column_name, comment FROM duckdb_columns() WHERE table_name = 'daily_usage'`.

Written by `python -m tools.dictionary`: edit the descriptions, not this page.
"""


@dataclass(frozen=True)
class Column:
    """A column with its DuckDB type in lower case."""

    name: str
    type: str
    description: str


@dataclass(frozen=True)
class Table:
    """A published table: its schema, what one row is, and its columns in order."""

    schema: str
    name: str
    description: str
    columns: tuple[Column, ...]


def tables() -> list[Table]:
    """All published tables by schema (ingest, marts, analysis) and name."""
    project = dbt_runner.manifest()
    described = [source for source in project.sources.values() if source.source_name == "ingest"]
    described += [node for node in project.nodes.values() if node.resource_type == "model" and node.schema == "marts"]
    found = [Table(node.schema, node.name, node.description, tuple(_dbt_columns(node))) for node in described]
    found += _analysis_tables()
    return sorted(found, key=lambda table: (warehouse.PUBLISHED_SCHEMAS.index(table.schema), table.name))


def _dbt_columns(node: Any) -> Iterator[Column]:
    for column in node.columns.values():
        yield Column(column.name, str(column.data_type or ""), column.description)


def _analysis_tables() -> Iterator[Table]:
    """The analysis tables, with the types that DuckDB gives to their Arrow columns."""
    owners = (distributions, recommendation, recommendations, closing, history)
    schemas = {name: schema for owner in owners for name, schema in owner.SCHEMAS.items()}
    with duckdb.connect() as connection:
        for name, schema in schemas.items():
            types = connection.from_arrow(schema.empty_table()).types
            texts = [warehouse.description(field) for field in schema]
            columns = zip(schema.names, (str(found).lower() for found in types), texts, strict=True)
            yield Table("analysis", name, warehouse.description(schema), tuple(Column(*each) for each in columns))


def render() -> str:
    """The page, in Markdown."""
    described = tables()
    parts = [_INTRODUCTION]
    for schema in warehouse.PUBLISHED_SCHEMAS:
        links = [f"[{table.name}](#{schema}{table.name})" for table in described if table.schema == schema]
        parts.append(f"- **{schema}**: {', '.join(links)}")
    for table in described:
        parts += [f"\n## {table.schema}.{table.name}\n", _sentence(table.description), "\n| column | type | meaning |"]
        parts.append("|---|---|---|")
        for column in table.columns:
            meaning = _sentence(column.description).replace("|", "\\|")
            parts.append(f"| `{column.name}` | {column.type} | {meaning} |")
    return "\n".join(parts) + "\n"


def _sentence(text: str) -> str:
    """`text` on one line, with its full stop."""
    joined = " ".join(text.split())
    return joined if joined.endswith((".", "?", "!")) else f"{joined}."


def write(path: Path = PATH) -> None:
    """Write the page to `path`."""
    path.write_text(render(), encoding="utf-8")


if __name__ == "__main__":
    write()
