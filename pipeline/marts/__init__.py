"""Raw tables to marts: the increment of a build, and dbt itself.

1. `dbt_runner` fills the reference tables that the models join.
2. `increment` plans the days, responses and sessions that a build replaces.
3. `dbt_runner` parses dbt_project if it changed, and builds it inside this process.

Does not belong here: the SQL of models (dbt_project).
"""
