"""A connection of a client that is no role, over the simulated network."""

from __future__ import annotations

import selectors
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.simulation.seeded_world import SeededWorld


class Peer:
    """Sends what it is given as soon as it can; receives when it is asked to."""

    def __init__(self, world: SeededWorld, port: int, window: int | None = None) -> None:
        """Begin to connect; the kernel takes `window` bytes that are not received."""
        self._sock = world.network.connect(port, window)
        self._sock.adopt(world.client_host)
        self._unsent = b""
        self.is_open = True

    @property
    def is_cut_off(self) -> bool:
        """Whether nothing more will come from the server, known here or not."""
        receives = self._sock.receives
        return self._sock.refused or receives.swallows or receives.ends_ns is not None

    @property
    def last_arrival_ns(self) -> int:
        """When the last byte arrives that the server has sent so far."""
        return self._sock.receives.due_ns

    @property
    def is_full(self) -> bool:
        """Whether the server can send no more until something is received."""
        return self._sock.receives.room <= 0

    def send(self, data: bytes) -> None:
        self._unsent += data

    def receive(self, most: int) -> bytes:
        """Send what waits; return what has arrived, at most so many bytes."""
        received = b""
        if not self.is_open:
            return received
        try:
            if self._unsent and self._sock.ready(selectors.EVENT_WRITE):
                self._unsent = self._unsent[self._sock.sendmsg([self._unsent]) :]
            while len(received) < most and self._sock.ready(selectors.EVENT_READ):
                data = self._sock.recv(most - len(received))
                if not data:
                    self.close()
                    break
                received += data
        except OSError:
            self.close()
        return received

    def close(self) -> None:
        self.is_open = False
        self._sock.close()
