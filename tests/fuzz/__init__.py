"""Random and mutated inputs on every port of a stack, which must serve others meanwhile.

In reading order: `inputs` (what is sent; pure, by seed), `reached` (how much of it is looked at),
`sender` (connections that send it), `vitals` (what must hold of the stack), `campaign`.
`python -m tests.fuzz` runs it.
"""
