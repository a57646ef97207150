"""What the stack is measured beside: the same two hops, done as others would do them.

`rival` is their common frame; `alternatives` are what one would use instead, `floor` is what the
machine allows. Used by `bench.measure.side_by_side`; must import nothing of the stack but its clock
and settings.
"""
