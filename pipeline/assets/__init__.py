"""The Dagster layer, one module per stage in the order of the flow: landing, models, checks, analysis, published.

Belongs here: dependencies between assets, and their metadata in the UI. Nothing is computed here.
"""
