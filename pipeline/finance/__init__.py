"""For finance: closing months, the rate check, and the export to FOCUS.

Does not belong here: the allocation of costs, which is a dbt model (chargeback), and its input files (reference).
"""
