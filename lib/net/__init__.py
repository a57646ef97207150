"""One thread, many sockets: the event loop and the connections on it.

In reading order: `host` (the machine: its clock and its sockets), `event_loop`, `connection` (bytes
over a socket), `listener` (accepts clients) with `rate_limit` (how fast) and `peer_process` (which
of them are of the same run), `reconnect` with `backoff` (a connection that comes back). Used by the
daemons and by `lib.process`, `lib.streams` and `lib.trading`; must know nothing of the protocol but
its framing.
"""
