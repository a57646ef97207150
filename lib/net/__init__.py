"""One thread, many sockets: the event loop and the connections on it.

In reading order: `event_loop`, `connection` (bytes over a socket), `listener` (accepts clients),
`reconnect` with `backoff` (a client's connection that comes back). `peer_process`, `rate_limit`,
`client_log` and `throttled_log` bound what misbehaving clients can cost. Used by the roles through
`lib.streams`, `lib.trading` and `lib.execution`; must know nothing of the protocol but its framing.
"""
