"""Names and prices: model names, token prices, and the files that a user writes by hand.

`rates` has model names, the price list and overrides; `allocation` reads allocation.csv and invoices.csv; `usercsv`
reads the cells of these files.

Does not belong here: the cost of usage, which is a join in dbt_project.
"""
