"""The measurements, on a private stack: the real daemons under supervisord, as a user runs them.

In reading order: `measured_stack`, `observer` (joins each tick with its decision), `latency`,
`throughput`, `tapes`, `orders`, `stages`, `footprint`, `profile`; `side_by_side` takes turns with
the rivals; `measured_cluster`, `subscribers` (of its ticks). Used by `bench.run`, `bench.watched`
and `bench.cluster`; must not write a page.
"""
