"""Contracts on bills: `mechanisms` (terms -> price), `bills` (where bills come from), `risk` (what remains of it).

Belongs here: pure functions on numpy arrays of bills in USD. Does not belong here: Dagster, DuckDB, files, settings,
tables; `pipeline/billing.py` reads the marts, calls these and writes the tables.
"""
