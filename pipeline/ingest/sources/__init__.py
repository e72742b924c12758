"""One module per format: how to recognise a file by its content, and how to read it into raw rows.

To add a format, add a module and list it in `formats.SOURCES`. These modules do not use the ledger or dbt.
"""
