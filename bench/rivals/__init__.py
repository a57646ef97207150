"""The programs that the stack is compared with: the same two hops, done in other ways.

`rival` is their common frame; `alternatives` are what a user would take instead, `floor` is the
least that the machine allows. Used by `bench.measure.side_by_side`.
"""
