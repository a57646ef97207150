"""The frame of every experiment: a stack, a steady state, an injection, what came of it.

In reading order: `experiment` (steady state, hypothesis, inject, recover, verdict), `target` (the
stack that is acted on), `recorder` (what happens meanwhile, from outside), `figures` (numbers from
it), `recovery`, `gather` (the judge's records, from logs, ledger and recording), `verdict`. Used by
the experiments in `chaos`; must not know a single fault.
"""
