"""Which contract makes the bill steadier, and what it costs.

1. `bill_history` reads the bills of the marts; `bill_model` simulates and models monthly bills.
2. `terms` prices a bill under a contract; `risk` measures the variation; `frontier` compares risk and premium.
3. `recommendation` chooses a contract; `quotes` stores the user's quotes.

`terms`, `bill_model`, `risk` and `frontier` are pure functions on arrays of bills in USD: no Dagster, DuckDB or files.
"""
