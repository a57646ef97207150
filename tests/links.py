"""A connection that comes back, as its owner sees it, without a socket."""

from __future__ import annotations

from collections.abc import Callable


class Link:
    """Keeps what its owner does to it; the test says when it opens, hears something or is lost."""

    peer = "there"

    def __init__(
        self,
        *,
        on_open: Callable[[], None],
        on_data: Callable[[bytes], None],
        on_lost: Callable[[str], None],
    ) -> None:
        self.open, self.data, self.lost = on_open, on_data, on_lost
        self.sent = b""
        self.dropped: list[str] = []
        self.waits_ns: list[int] = []
        """The times for which its owner has asked to wait before the next connection."""
        self.proofs = 0
        self.receive_limits: list[int] = []

    def send(self, *pieces: bytes) -> None:
        self.sent += b"".join(pieces)

    def proved(self) -> None:
        self.proofs += 1

    def drop(self, reason: str, wait_ns: int = 0) -> None:
        self.dropped.append(reason)
        self.lost(reason)
        if wait_ns:
            self.hold_back(wait_ns)

    def hold_back(self, wait_ns: int) -> None:
        self.waits_ns.append(wait_ns)

    def limit_receiving(self, most_bytes: int) -> None:
        self.receive_limits.append(most_bytes)

    def taken(self) -> bytes:
        """Return what was sent since the last call."""
        sent, self.sent = self.sent, b""
        return sent
