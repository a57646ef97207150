"""The framework of every experiment: steady state, injection, recovery, verdict.

In reading order: `experiment` (runs one), `target` (the stack under test), `recorder` (observes
it), `figures` (numbers from the recording), `recovery` (waits and measures), `gather` (the judge's
records), `verdict`; `stack_files` and `removals` (its files), `order_probe` (a client's look);
`cluster_target` and `cluster_streams` (a cluster under test), `outage` (what its faults cost). Used
by the experiments in `chaos`. Must not depend on any particular fault.
"""
