"""The framework of every experiment: steady state, injection, recovery, verdict.

In reading order: `experiment` (runs an experiment), `target` (the stack under test), `recorder`
(observes it from outside), `figures` (numbers from the recording), `recovery` (waits and measures),
`gather` (the judge's records, from logs, ledger and recording), `verdict`; `stack_files` and
`removals` (its files, and what becomes of those that are removed), `order_probe` (a client's look).
Used by the experiments in `chaos`. Must not depend on any particular fault.
"""
