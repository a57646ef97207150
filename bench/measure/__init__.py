"""The measurements, on a private stack: the real daemons under supervisord, as a user runs them.

In reading order: `measured_stack`, `observer` (joins each tick with its decision), `latency`,
`throughput`, `orders`, `stages`, `footprint`; `symbols` makes settings with any number of symbols,
`side_by_side` takes turns with the rivals. Used by `bench.run`, `bench.watched` and
`bench.profile`; must not write a page.
"""
