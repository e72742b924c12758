"""Statistics of usage: how cost is distributed, which days are unusual, why a bill changed, and next month's forecast.

1. `measures` defines what is measured and for which segments, and reads (value, count) pairs.
2. `distributions` describes these pairs and fits distributions to them.
3. `days` computes anomalies, forecasts and profiles; `bridge` explains a bill's change from month to month, with the
   rates of `causes`.
`stats` is pure: arrays in, results out.

Does not belong here: bills under other contracts (pricing). Limit: each change of the marts re-reads the whole history.
"""
