"""What the running stack looks like from outside: for the dashboard, and for who scrapes it.

Nothing here writes anything that a role reads: the price book's ring and the decision log are
memory that is looked at, the ledger is opened for reading, the rest are log files, /proc and
supervisord's answers. `view` says what comes of it; each other module makes one part of that.
"""
