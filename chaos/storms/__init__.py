"""A storm: faults of all kinds, one after another and overlapping, while the stack trades.

`planned_faults` decides from a seed which fault comes when; `runner` injects them and undoes them.
Used by `chaos/storm.py`. Must not judge the outcome.
"""
