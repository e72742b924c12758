"""The web process: pages, and the rows behind them. Reads what is published, and nothing else.

1. `guard` answers only requests to its own host, with safe headers.
2. `app` routes a request to a page of `views`, or to a view's rows as a file.
3. `server` starts it.
"""
