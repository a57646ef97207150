"""The ledger: every order with its final answer, and every position, in one SQLite file.

In reading order: `schema` (the file and its tables), `rows`, `positions` (what a fill does to a
position), `writer`, `reader` (a consistent snapshot); then what keeps them from harm: `files` (they
are ours alone), `opened_files` (none was removed), `wal` (it belongs to its file), `start_check`
and `replay` (the positions are what the fills say); then what `python -m lib.ledger` prints and
checks: `tables`, `check` and `reported_fills` (the fills in the strategies' logs). Only the order
manager writes it, through `lib.execution`; any program may read it at any time. Must not import
`lib.execution` or `lib.trading`.
"""
