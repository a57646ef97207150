"""The clients of one server: accepts, evicts and disconnects them, within the same bounds for all.

A full server evicts a client or refuses the new one; only processes of the stack's own run have
`RESERVED_PLACES` more.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Generic, TypeVar

from msgspec import UNSET, UnsetType

from lib.clock import SECOND_NS
from lib.net.connection import Connection
from lib.net.listener import RESERVED_PLACES
from lib.process.client_log import ClientLog

SWEEP_NS: Final = SECOND_NS // 4
"""How often to look for clients to disconnect."""

_Client = TypeVar("_Client")


@dataclass(eq=False, kw_only=True)
class ClientTable(Generic[_Client]):
    """The clients of one server. Is a `Timed` for the event loop; used from there only."""

    max_clients: int
    log: ClientLog | None
    """Gets a line for each client that comes or goes; None for none."""
    make: Callable[[str], _Client]
    """Makes what the server knows of the client with this address."""
    connect: Callable[..., Connection]
    """Makes its connection: `Connection` with the loop and the server's bounds."""
    on_data: Callable[[_Client, bytes], None]
    on_drained: Callable[[_Client], None] = lambda _: None
    on_closed: Callable[[_Client], None] = lambda _: None
    client_id: Callable[[_Client], str | UnsetType | None] = lambda _: UNSET
    """Its name in the log when it goes."""
    why_evict: Callable[[_Client, Connection], str] = lambda *_: ""
    """Returns why a client makes room when the server is full; "" if it stays."""
    why_drop: Callable[[_Client, Connection, int], str]
    """Returns why a client is disconnected at a sweep, given its time; "" if it stays."""
    connections: dict[_Client, Connection] = field(default_factory=dict, init=False)
    """The oldest first, unless the server puts them in another order."""
    _sweep_ns: int = field(default=0, init=False)

    def accept(
        self,
        sock: socket.socket,
        peer: str,
        is_ours: bool,
        make: Callable[[str], _Client] | None = None,
    ) -> bool:
        """Take a new client, for a `Listener`. False if there is no place for it.

        `make` makes this client instead of the table's own.
        """
        places = self.max_clients + (RESERVED_PLACES if is_ours else 0)
        if len(self.connections) >= places and not self._evict():
            return False
        client = (make or self.make)(peer)
        self.connections[client] = self.connect(
            sock,
            on_data=partial(self.on_data, client),
            on_drained=partial(self.on_drained, client),
            on_closed=partial(self._closed, client, peer),
        )
        if self.log:
            self.log.connected(peer=peer, clients=len(self.connections))
        return True

    def next_deadline_ns(self) -> int:
        """When to sweep."""
        return self._sweep_ns

    def on_time(self, now_ns: int) -> None:
        """Sweep: disconnect each client that `why_drop` gives a reason for."""
        self._sweep_ns = now_ns + SWEEP_NS
        for client, connection in list(self.connections.items()):
            if reason := self.why_drop(client, connection, now_ns):
                connection.close(reason)

    def _evict(self) -> bool:
        """Evict the oldest client that may make room. False if there is none."""
        for client, connection in self.connections.items():
            if reason := self.why_evict(client, connection):
                connection.close(reason)
                return True
        return False

    def _closed(self, client: _Client, peer: str, reason: str) -> None:
        del self.connections[client]
        self.on_closed(client)
        if self.log:
            client_id, clients = self.client_id(client), len(self.connections)
            self.log.disconnected(peer=peer, reason=reason, clients=clients, client_id=client_id)
