"""Numbered streams of ticks and news: the gateway's side and its clients' side.

The gateway's side, in the order in which a tick passes: `schedule` (when the next is due),
`publication` (its number, its encoded frame), `server` (the clients on their connections),
`subscriber` (what one client is sent next). The other side: `stream_client` (what was received, and
what is missing) and `feed` (that client on a connection). Used by the gateway, the orderbook and
the strategy; must import neither the price book nor order entry.
"""
