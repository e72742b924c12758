"""For finance: closing months, the rate check, and the export to FOCUS.

Does not belong here: who pays for what, which is a model of dbt_project (chargeback), and its input files (reference).
"""
