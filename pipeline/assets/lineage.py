"""Dependencies of an asset, from the tables in its SQL: each edge of the graph is a table that is read.

Belongs here: which asset a table is, and the assets behind SQL files. Does not belong here: what dbt's models read
(its manifest says that), and the SQL. `tests/test_lineage.py` compares this with the statements that the stages run.
"""

from __future__ import annotations

import re

import dagster as dg

from pipeline.reference import tables
from pipeline.store import sqlfiles

REFERENCE = dg.AssetKey("reference")

_COMMENT = re.compile(r"--.*")
_TABLE = re.compile(r"\b(raw|ingest|staging|intermediate|marts|analysis)\.([a-z_][a-z0-9_]*)")
# Internal to closing; published as analysis.restatements.
_NO_ASSETS = {("raw", "restatements")}


def asset_of(schema: str, table: str) -> dg.AssetKey:
    """The asset that holds a table; the reference tables are one."""
    is_reference = schema == "raw" and table in tables.TABLES
    return REFERENCE if is_reference else dg.AssetKey([schema, table])


def named_in(*texts: str) -> list[dg.AssetKey]:
    """The assets of the tables in these SQL texts, without comments."""
    found = {pair for text in texts for pair in _TABLE.findall(_COMMENT.sub("", text))}
    return sorted({asset_of(*pair) for pair in found - _NO_ASSETS})


def read_by(*files: str) -> list[dg.AssetKey]:
    """The assets of the tables in SQL files: `stage/name`, where * matches any part of the name."""
    return named_in(*(sqlfiles.read(name) for pattern in files for name in sqlfiles.names(pattern)))
