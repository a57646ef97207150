"""The ledger: every order with its final answer, and every position, in one SQLite file.

In reading order: `schema` (the file and its tables), `rows`, `positions` (what a fill does to one),
`loss_marks`, `writer`, `reader` (a consistent snapshot), `journal` and its `projection` (in a
cluster); what keeps it from harm: `files` (ours alone), `wal` (belongs to its file), `start_check`
with `replay`, `opened_files` (still there), `watch`; what `python -m lib.ledger` prints and checks:
`tables`, `check`, `reported_fills`. Only the order
manager writes it, through `lib.execution`. Must not import `lib.execution` or `lib.trading`.
"""
