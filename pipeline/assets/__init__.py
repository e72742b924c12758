"""The Dagster layer, one module a stage in the order of the flow: landing, models, checks, analysis, published.

Belongs here: what depends on what, and what the UI shows of it. Nothing is computed here.
"""
