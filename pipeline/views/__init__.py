"""The HTML pages: reconciliation, statistics and contracts, with their figures and templates.

Does not belong here: any computation of results; a view reads the tables of marts and analysis.
"""
