"""The pages that people look at: reconciliation, statistics, contracts, with their figures and templates.

Does not belong here: any number of its own; a view reads the tables of marts and analysis.
"""
