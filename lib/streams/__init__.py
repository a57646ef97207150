"""Numbered streams of ticks and news: the gateway's side and its clients' side.

The gateway's side, in the order in which a tick passes: `schedule` (when the next is due),
`publication` (its number, its encoded frame), `server` (the clients on their connections),
`subscriber` (what one client is sent next). The other side: `stream_client` (what was received, and
what is missing), `feed` (that client on a connection) and `recorder` (what it gets, in a file).
Used by three roles and by recordings; must import neither the price book nor order entry.
"""
