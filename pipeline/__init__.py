"""token-analytics: from landing files to a reconciled, validated and priced warehouse.

Read the modules in the order of the flow: sources, reading, ingest, rates, transform (which runs dbt_project),
validation, analysis, billing, warehouse.publish. `definitions` and `assets` wire them into Dagster; `cli` is the other
way in. Nothing is re-exported here.
"""
