"""The suites of expectations/, run over the marts with Great Expectations, and the report of what they found.

Does not belong here: the rules themselves (expectations/*.json and their SQL), and what a failed check stops (assets).
"""
