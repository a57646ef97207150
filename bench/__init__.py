"""The benchmark behind `performance_report.md`: the stack, and the alternatives beside it.

In reading order: `plan` (what is measured), `run` (measures it step by step, with what is in
`bench.measure`), `results` (the records it writes), `bench.rivals` (what the stack is compared
with), `bench.report` (the pages). `watched` and `cluster` are recordings of their own; `processes`
is the frame of the processes that are started. Run as `python -m bench`; must not import `chaos` or
a daemon.
"""
