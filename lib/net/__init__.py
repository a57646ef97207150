"""One thread, many sockets: the event loop and the connections on it.

In reading order: `event_loop`, `connection` (frames over a socket), `listener` (accepts clients),
`reconnect` with `backoff` (a connection that comes back). `rate_limit` bounds how often clients are
accepted; `peer_process` finds the process at the other end. Used by the daemons, `lib.process`,
`lib.streams` and `lib.trading`; must know no message of the protocol but its framing.
"""
