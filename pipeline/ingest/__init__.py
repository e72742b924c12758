"""Landed files to raw tables: each file, or a batch of transcripts, in one transaction with its ledger row.

1. `loader` lists the files of landing and `sources`, and finds the format of each.
2. `sources` has one module per format: how to recognise it, and where its records keep which value.
3. `transcripts` reads and parses transcript files in bulk.
4. `loader` stores rows, writes the ledger and quarantines unusable rows.

Does not belong here: which of several records of the same usage counts (dbt_project).
"""
