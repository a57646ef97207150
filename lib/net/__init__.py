"""One thread, many sockets: the event loop and the connections on it.

In reading order: `event_loop`, `connection` (frames over a socket), `listener` (who comes in),
`reconnect` with `backoff` (a connection that comes back). `peer_process` and `rate_limit` keep
what clients do at will bounded. Used by the roles through `lib.streams`, `lib.trading` and
`lib.execution`; must know no message of the protocol but its framing.
"""
