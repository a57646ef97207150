"""The ledger: every order with its final answer, and every position, in one SQLite file.

In reading order: `schema` (the tables, and how the file is opened), `rows`, `positions` (cost and
profit), `writer` (only the order manager has one), `reader` (any program, at any time), `check`
with `reported_fills` (does the ledger agree with itself and with the logs?), `tables` (for a
screen). `python -m lib.ledger` prints and checks it. Must know no connection and no risk limit.
"""
