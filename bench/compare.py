"""Compare two published databases table by table: same columns, same rows, however often each occurs.

    python bench/compare.py before/token_analytics.duckdb after/token_analytics.duckdb

Prints one line for each table that differs, with up to three rows of each side, and exits with 1 if any table differs.
Columns that differ between any two runs (time of loading, path of a file) are left out. Numbers of type DOUBLE are
compared to twelve significant digits, since the order of a sum may change the last ones.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import duckdb

OF_A_RUN = {
    "loaded_at", "modified_ns", "changed_ns", "closed_at", "previous_verdict", "run_id", "finished_at", "seconds",
    "cpu_seconds", "peak_mb",
}  # fmt: skip


def tables(connection: duckdb.DuckDBPyConnection, side: str) -> dict[str, dict[str, str]]:
    """Columns and types of each table and view by `schema.table`."""
    found: dict[str, dict[str, str]] = {}
    for schema, table, column, kind in connection.execute(
        "SELECT schema_name, table_name, column_name, data_type FROM duckdb_columns() "
        "WHERE database_name = ? AND NOT internal ORDER BY ALL",
        [side],
    ).fetchall():
        found.setdefault(f"{schema}.{table}", {})[column] = kind
    return found


def projection(columns: dict[str, str]) -> str:
    """The columns that are compared, doubles as text of twelve digits."""
    chosen = [name for name in columns if name not in OF_A_RUN]
    return ", ".join(
        f'printf(\'%.12g\', "{name}") AS "{name}"' if columns[name] == "DOUBLE" else f'"{name}"' for name in chosen
    )


def compare(before: Path, after: Path) -> list[str]:
    """One paragraph per difference; none if both databases are equal."""
    differences = []
    with duckdb.connect() as connection:
        connection.execute(f"ATTACH '{before}' AS before (READ_ONLY); ATTACH '{after}' AS after (READ_ONLY)")
        old, new = tables(connection, "before"), tables(connection, "after")
        differences += [f"{name}: only before" for name in sorted(old.keys() - new.keys())]
        differences += [f"{name}: only after" for name in sorted(new.keys() - old.keys())]
        for name in sorted(old.keys() & new.keys()):
            shared = {column: kind for column, kind in old[name].items() if column in new[name]}
            gone = sorted(old[name].keys() - shared.keys())
            added = sorted(new[name].keys() - shared.keys())
            if gone or added:
                differences.append(f"{name}: columns gone {gone or 'none'}, added {added or 'none'}")
            chosen = projection(shared)
            rows = {
                side: connection.sql(
                    f"SELECT {chosen} FROM {side}.{name} EXCEPT ALL SELECT {chosen} FROM {other}.{name}"
                ).fetchall()
                for side, other in (("before", "after"), ("after", "before"))
            }
            if rows["before"] or rows["after"]:
                lines = [f"{name}: {len(rows['before']):,} rows only before, {len(rows['after']):,} only after"]
                lines += [f"    {side:6} {row}" for side, found in rows.items() for row in found[:3]]
                differences.append("\n".join(lines))
    return differences


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    given = parser.parse_args()
    differences = compare(given.before, given.after)
    print("\n".join(differences) or "the same")
    sys.exit(bool(differences))


if __name__ == "__main__":
    main()
