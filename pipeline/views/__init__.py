"""The HTML pages: reconciliation, statistics, contracts, with their figures and templates.

Does not belong here: computing numbers; a view reads the tables of marts and analysis.
"""
