"""Statistics of (value, count) pairs.

Belongs here: pure functions on NumPy arrays, and the dataclasses of their results.
Does not belong here: Dagster, DuckDB, files, settings, or the names of tables and columns of the marts.
"""
