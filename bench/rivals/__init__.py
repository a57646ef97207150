"""The programs that the stack is compared with: the same two hops, done in other ways.

In reading order: `load` (which ticks are sent, and when), `work` (what a relay and a consumer do
with them), `rival` (the frame around the processes); then `alternatives`, which are what a user
would take instead, and `floor`, the least that the machine allows. Used by
`bench.measure.side_by_side`.
"""
