"""`token-analytics`: the command line.

Does not belong here: any computation; a command calls a stage and prints what it returns.
"""
