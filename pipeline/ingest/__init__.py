"""Landed files to raw tables: each file, or a batch of transcripts, in one transaction with its ledger row.

1. `loader` finds the files of landing and `sources`, and asks each format whether a file is its own.
2. `sources` holds one module a format: how it is recognised, where its records have what.
3. `transcripts` reads and parses transcript files in bulk.
4. `loader` stores rows, enters the ledger and quarantines what cannot be used.

Does not belong here: which of several records of the same usage counts (dbt_project).
"""
