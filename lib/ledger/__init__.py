"""The ledger: every order with its final answer, and every position, in one SQLite file.

Only the order manager writes it (`writer`). Any other program may read it at any time:
`python -m lib.ledger` prints it and checks it.
"""
