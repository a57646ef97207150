"""Numbered streams of ticks and news: the gateway's side and the client's.

The gateway's side, in the order in which a tick passes: `schedule` (when the next is due),
`publication` (its number, its encoded frame), `server` (the clients on their connections),
`subscriber` (what one client is sent next). The client's side: `client` (what has come, and what is
missing) and `feed` (that client on a connection). Sockets are in `server` and `feed` only. Used by
the gateway, the orderbook and the strategy; must import neither the price book nor order entry.
"""
