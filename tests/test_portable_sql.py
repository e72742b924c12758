"""The models keep to SQL that Spark also understands; macros (portable.sql and others) hold what only DuckDB has.

Belongs here: constructs of the compiled models. Does not belong here: results of the models (test_models).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import sqlglot
from sqlglot import exp

from pipeline.marts import dbt_runner

# Constructs that only macros may write, with a pattern for each in a model.
BY_MACROS = {
    "columns left out of *": r"\*\s+(exclude|except)\b",
    "series": r"\bunnest\(|\bgenerate_series\(",
    "lambda": r"\blambda\b",
    "glob": r"\bglob\b",
    "list": r"\[\w+ \w+",
    "named struct": r"(?<![{%])\{\w+: (?!')",
    "128-bit integer": r"\bhugeint\b",
    "whole division": r"//",
    "map": r"\bmap_\w+\(",
    "function map_extract_value": r"\bmap_\w+\(",
    "function epoch_us": r"\bepoch_us\(",
    "function to_seconds": r"\bto_seconds\(",
    "function arg_max_null": r"\barg_max_null\(",
    "function to_json": r"\bto_json\(",
}
# Functions that both databases have, but sqlglot does not know.
OF_BOTH = {"hash"}
WIDE = {exp.DataType.Type.INT128, exp.DataType.Type.UINT128, exp.DataType.Type.UBIGINT, exp.DataType.Type.UINT}


def constructs(text: str) -> Iterator[str]:
    """Names of the constructs of a statement that Spark cannot read, even after translation by sqlglot."""
    tree = sqlglot.parse_one(text, read="duckdb")
    for node in tree.walk():
        match node:
            case exp.SetOperation() if node.args.get("by_name"):
                yield "union by name"
            case exp.CTE() if node.args.get("materialized") is not None:
                yield "materialized CTE"
            case exp.Star() if node.args.get("replace") or node.args.get("rename"):
                yield "columns replaced in *"
            case exp.Star() if node.args.get("except_"):
                yield "columns left out of *"
            case exp.Join() if node.args.get("method"):
                yield f"{node.args['method'].lower()} join"
            case exp.DataType() if node.this in WIDE:
                yield "128-bit integer" if node.this == exp.DataType.Type.INT128 else "unsigned integer"
            case exp.Unnest() | exp.Explode() | exp.GenerateSeries():
                yield "series"
            case exp.Array() | exp.Bracket():
                yield "list"
            case exp.Anonymous() if node.name.lower() not in OF_BOTH:
                yield f"function {node.name.lower()}"
            case exp.Glob() | exp.Lambda() | exp.Qualify():
                yield type(node).__name__.lower()
            case exp.Struct():
                yield "named struct"
            case exp.Map() | exp.MapFromEntries():
                yield "map"
            case exp.IntDiv():
                yield "whole division"
            case _:
                pass
    try:
        tree.sql("spark", unsupported_level=sqlglot.ErrorLevel.RAISE)
    except sqlglot.errors.UnsupportedError as error:
        yield str(error)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("select 1 as a union all by name select 2 as a", "union by name"),
        ("with a as materialized (select 1) select * from a", "materialized CTE"),
        ("select * exclude (a) from b", "columns left out of *"),
        ("select * replace (1 as a) from b", "columns replaced in *"),
        ("select a from b asof join c using (d)", "asof join"),
        ("select a::hugeint from b", "128-bit integer"),
        ("select a::ubigint from b", "unsigned integer"),
        ("select list_filter(a, lambda x: x > 1) from b", "lambda"),
        ("select a glob 'b*' from c", "glob"),
        ("select [a, b] from c", "list"),
        ("select {a: b} from c", "named struct"),
        ("select a // b from c", "whole division"),
        ("select unnest(generate_series(1, 2))", "series"),
        ("select a from b qualify row_number() over (order by a) = 1", "qualify"),
    ],
)
def test_the_constructs_of_one_database_are_found(text: str, found: str) -> None:
    assert found in set(constructs(text))


def test_plain_sql_has_none_of_them() -> None:
    plain = "select a, sum(b) filter (where c) as d, min_by(e, (f, g)) as h from i left join j using (k) group by all"
    assert set(constructs(plain)) == set()


def test_models_keep_to_sql_that_two_databases_share(models: Any) -> None:
    found = {model.name.partition(".")[2]: {*constructs(model.text)} - BY_MACROS.keys() for model in models.all}
    assert len(found) > 40
    assert {name: names for name, names in found.items() if names} == {}


def test_what_macros_write_stands_in_no_model_itself() -> None:
    wrong = set()
    for file in (dbt_runner.project_dir() / "models").rglob("*.sql"):
        text = re.sub(r"--[^\n]*|\{#.*?#\}", "", file.read_text(encoding="utf-8"), flags=re.DOTALL)
        for name, pattern in BY_MACROS.items():
            if re.search(pattern, text):
                wrong.add(f"{file.stem}: {name}")
    assert wrong == set()
