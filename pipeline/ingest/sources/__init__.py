"""One module a format: how to recognise a file by its content, and how to read it into raw rows.

A format is added by adding its module and naming it in `formats.SOURCES`. Nothing here knows the ledger or dbt.
"""
