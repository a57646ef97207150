"""The ledger: every order with its final answer, and every position, in one SQLite file.

In reading order: `schema` (the file and its tables), `rows`, `positions` (what a fill does to a
position), `loss_marks` (from where losses count), `writer`, `reader` (a consistent snapshot); then
what `python -m lib.ledger` prints and checks: `tables`, `check` and `reported_fills` (the fills in
the strategies' logs). Only the order manager writes it, through `lib.execution`; any program may
read it at any time. Must not import `lib.execution` or `lib.trading`.
"""
