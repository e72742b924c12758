"""Names and prices: what a model is called, what a token costs, and the files that a user writes by hand.

`rates` has model names, the price list and overrides; `allocation` reads who pays for what, and invoices; `usercsv`
reads the cells of these files.

Does not belong here: the cost of usage, which is a join in dbt_project.
"""
