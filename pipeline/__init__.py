"""token-analytics: from landing files to a reconciled, validated and priced warehouse.

A stage is a package with its SQL in `sql/`. In the order of the flow: `fetch`, `ingest`, `reference`, `marts`
(which runs dbt_project), `analysis`, `pricing`, `savings`, `finance`, `views`, `validation`. `store` and `settings`
serve them all. `definitions` and `assets` wire them into Dagster; `cli` is the other entry point. A stage imports only
earlier stages. Nothing is re-exported here.
"""

import os

# Matrices here are small: threads of OpenBLAS use more processor time waiting for each other than computing (0.7 s of a
# forecast's 0.9), and one thread gives the same digits on every machine. OpenBLAS reads this when numpy is imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
