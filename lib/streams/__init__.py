"""Numbered streams of ticks and news, without a socket where it can be.

The gateway's side, in reading order: `publication` (how far a tape has been published),
`schedule` (when the next tick is due), `server` (what each client still needs). The other side:
`client` (what has come, and what is missing) and `feed` (that client on a connection). Used by the
gateway, the orderbook and the strategy; must import neither the price book nor order entry.
"""
