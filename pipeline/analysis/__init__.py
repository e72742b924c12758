"""What usage looks like: how cost spreads, which days stand out, why a month's bill moved, what the next one will be.

1. `measures` says what is observed, of which segments, and reads (value, count) pairs.
2. `distributions` describes and fits them.
3. `days` has anomalies, forecast and profiles; `bridge` has the change from month to month; `causes` splits a change.
`stats` is pure: arrays in, results out.

Does not belong here: bills under other contracts (pricing). Limit: the whole history is read whenever marts changed.
"""
