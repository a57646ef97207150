"""The benchmark behind `performance_report.md`: the stack, and the alternatives beside it.

In reading order: `plan` (what a run measures), `run` (measures it step by step, with what is in
`bench.measure`), `results` (the records it writes), `bench.rivals` (what the stack is compared
with), `bench.report` (the pages). `watched` and `profile` are recordings of their own. Run as
`python -m bench`; must not import `chaos` or a daemon.
"""
