"""The ledger: every order with its final answer, and every position, in one SQLite file.

In reading order: `schema` (the file and its tables), `rows`, `positions` (what a fill does to a
position), `loss_marks` (from where losses count), `writer`, `reader` (a consistent snapshot); what
keeps them from harm: `files` (ours alone), `opened_files` (none was removed), `wal` (it belongs to
its file), `start_check`, `replay` (positions are what the fills say); what `python -m lib.ledger`
prints and checks: `tables`, `check`, `reported_fills` (of the strategies' logs). Only the order
manager writes it; anybody may read it. Must not import `lib.execution` or `lib.trading`.
"""
