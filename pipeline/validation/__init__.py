"""Runs the suites of expectations/ on the marts with Great Expectations, and writes the report.

Does not belong here: the rules themselves (expectations/*.json and their SQL), and stopping a run (assets).
"""
