"""Experiments that break a running stack, measure its recovery, and judge the outcome.

Each module is an experiment that can be run (`python chaos/drop_gateway.py`), except
`role_experiment` (one fault of one role, repeatedly), `cluster_experiment` (with a cluster), and
`standard_set` and `cluster_set` (all experiments). Behind them, in reading order: `chaos.lab` (the
framework), `chaos.faults`, `chaos.storms`, `chaos.judge`, `chaos.report`. Must not import `bench`
or a daemon.
"""
