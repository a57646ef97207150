"""The judge: names every defect in the records of a run. It recomputes; it trusts no role. Pure.

In reading order: `records` (what it gets), `judge` (ticks and news), `orders` with `trading_rules`
(what should have been traded). Used by `chaos.lab` at the end of every experiment, and by the
simulation; must not import anything that a role decides with.
"""
