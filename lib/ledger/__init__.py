"""The ledger: every order with its final answer, and every position, in one SQLite file.

Only the order manager writes it (`writer`). Anyone may read it at any time, with any tool:
`python -m lib.ledger` prints it and checks it.
"""
