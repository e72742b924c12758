"""Raw tables to marts: what a build replaces, and dbt itself.

1. `dbt_runner` fills the reference tables that the models join.
2. `increment` plans which days, responses and sessions a build replaces.
3. `dbt_runner` parses dbt_project where it changed, and builds it inside this process.

Does not belong here: the SQL of models (dbt_project).
"""
