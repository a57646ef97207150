"""The judge: finds every defect in the records of a run. It recomputes; it trusts no role. Pure.

In reading order: `records` (its input), `judge` (ledger, ticks and evaluations), `order_replay`
with `trading_rules` (what should have been traded), `streams` (those of a cluster). Used by
`chaos.lab` at the end of every experiment, and by the simulation. Must not import any code that a
role decides with.
"""
