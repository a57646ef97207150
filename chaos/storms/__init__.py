"""A storm: faults of all kinds, one after another and overlapping, while the stack trades.

`planned_faults` says which comes when, from a seed, and `runner` does it and puts all of it back.
Used by `chaos/storm.py`; must not judge what came of it.
"""
