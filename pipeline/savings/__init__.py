"""Possible savings (`recommendations`), and the history at other prices (`repricing`).

Does not belong here: contracts on the bill (pricing). Limit: only logs of single requests can be replayed.
"""
