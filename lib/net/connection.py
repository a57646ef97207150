"""One connected, non-blocking stream socket with a bounded send queue.

Both sides use it: servers for each accepted client, `lib.net.reconnect` for the connection it
maintains. The queue holds references, so that one encoded batch can wait in the queues of many
clients at once.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
from collections import deque
from collections.abc import Callable, Collection
from itertools import islice
from typing import Final

from lib.clock import SECOND_NS
from lib.net.event_loop import EventLoop
from lib.net.peer_process import connected_from
from lib.wire.framing import RECEIVE_BYTES

MAX_PIECES_A_SEND: Final = 64
LINGER_NS: Final = 1 * SECOND_NS
"""How long the peer may take to read the last message of a connection and to close."""


class Connection:
    """A socket in an event loop. Owned by one process and used from its loop only.

    `on_data` gets what arrived. `on_closed` gets the reason, once, and no callback follows it.
    `on_drained` is called when the send queue has become empty after it was not. With
    `may_half_close`, sending continues to a peer that shut down its sending side (as some versions
    of nc do at the end of their input); that it is gone altogether shows at the next send. An owner
    with nothing more to send can then close in `on_drained`, which is also called at that shutdown
    if the queue is empty. At most `receive_bytes` are received in one pass of the loop; with 0
    nothing is, as with `limit_receiving`.
    """

    def __init__(
        self,
        loop: EventLoop,
        sock: socket.socket,
        *,
        max_queued_bytes: int,
        on_data: Callable[[bytes], None],
        on_closed: Callable[[str], None],
        on_drained: Callable[[], None] | None = None,
        may_half_close: bool = False,
        receive_bytes: int = RECEIVE_BYTES,
    ) -> None:
        self._loop = loop
        self._clock = loop.clock
        self._sock = sock
        self._max_queued_bytes = max_queued_bytes
        self._on_data = on_data
        self._on_closed = on_closed
        self._on_drained = on_drained
        self._may_half_close = may_half_close
        self._receive_bytes = receive_bytes
        self._queue: deque[memoryview | bytes] = deque()
        self._finishing: str | None = None
        self._finish_ns = 0
        self._awaited = 0
        self.open = True
        self.paused = False
        """While true, nothing is received, and what the peer sends waits in the kernel. Set by an
        owner that still has earlier input to process."""
        self.half_closed = False
        """Whether the peer shut down its sending side."""
        self.queued_bytes = 0
        self.opened_ns = self._clock()
        """When this object took the socket over."""
        self.last_progress_ns = self.opened_ns
        """When the peer last took bytes, or the queue was last empty."""
        sock.setblocking(False)
        if sock.family != socket.AF_UNIX:
            # A tick must not wait for the one after it.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._await_events()

    def send(self, *pieces: bytes) -> None:
        """Send what the socket takes now and queue the rest.

        A peer whose queue passes the bound is disconnected.
        """
        if not self.open or self._finishing:
            return
        if not self.queued_bytes:
            self.last_progress_ns = self._clock()
        was_empty = not self._queue
        # An empty piece could never be sent: it would stay at the head of the queue.
        self._queue.extend(filter(None, pieces))
        self.queued_bytes += sum(map(len, pieces))
        if was_empty:
            self._flush()
        if self.queued_bytes > self._max_queued_bytes:
            self.close(f"does not read: more than {self._max_queued_bytes} bytes wait for it")

    def finish(self, reason: str, *last_pieces: bytes) -> None:
        """Send the last pieces, then close. What the peer still sends is discarded.

        Closing a socket with unread input resets the connection, and a reset can overtake the last
        bytes sent; so the peer has `LINGER_NS` to read them and to close first. The owner checks
        that with `lingers_too_long`. A second call does nothing.
        """
        self.send(*last_pieces)
        if not self.open or self._finishing:
            return
        self._finishing = reason
        self._finish_ns = self._clock()
        self._end_sending_when_drained()

    def limit_receiving(self, most_bytes: int) -> None:
        """Receive at most so many bytes in one pass of the loop from now on.

        With 0 nothing is received, not even the end of the connection: what the peer sends waits in
        the kernel, and the loop does not wake for it.
        """
        self._receive_bytes = most_bytes
        if self.open:
            self._await_events()

    @property
    def finishing(self) -> bool:
        """Whether `finish` was called and the peer has not closed yet."""
        return self._finishing is not None

    def lingers_too_long(self, now_ns: int) -> bool:
        """Whether a connection that is finishing has used up its time."""
        return self._finishing is not None and now_ns - self._finish_ns > LINGER_NS

    def has_input(self) -> bool:
        """Whether the peer has sent something that is still to be received."""
        try:
            return bool(self._sock.recv(1, socket.MSG_PEEK))
        except OSError:  # nothing has arrived, or it is disconnected
            return False

    def comes_from(self, pids: Collection[int]) -> bool:
        """Whether the peer is known to be one of these processes."""
        return bool(pids) and bool(connected_from([self._sock], pids))

    def close(self, reason: str) -> None:
        """Close at once. `on_closed` gets the reason."""
        if not self.open:
            return
        self.open = False
        if self._awaited:
            self._loop.unregister(self._sock)
        self._sock.close()
        self._queue.clear()
        self.queued_bytes = 0
        self._on_closed(self._finishing or reason)

    def _on_events(self, events: int) -> None:
        if events & selectors.EVENT_WRITE:
            self._flush()
            if self.open and not self.queued_bytes and self._on_drained:
                self._on_drained()
        if self.open and events & selectors.EVENT_READ and self._receive_bytes and not self.paused:
            self._receive()

    def _receive(self) -> None:
        try:
            data = self._sock.recv(self._receive_bytes)
        except BlockingIOError:
            return
        except OSError as error:
            self.close(error.strerror or str(error))
            return
        if not data:
            self._end_of_input()
        elif not self._finishing:
            self._on_data(data)

    def _end_of_input(self) -> None:
        if self._may_half_close and not self._finishing:
            self.half_closed = True
            self._await_events()
            if not self.queued_bytes and self._on_drained:
                self._on_drained()
        else:
            self.close("closed by peer")

    def _await_events(self) -> None:
        """Register for the events that matter now."""
        awaited = selectors.EVENT_READ if self._receive_bytes and not self.half_closed else 0
        if self._queue:
            awaited |= selectors.EVENT_WRITE
        if awaited == self._awaited:
            return
        if not self._awaited:
            self._loop.register(self._sock, awaited, self._on_events)
        elif awaited:
            self._loop.modify(self._sock, awaited, self._on_events)
        else:
            self._loop.unregister(self._sock)
        self._awaited = awaited

    def _flush(self) -> None:
        try:
            while self._queue:
                pieces = list(islice(self._queue, MAX_PIECES_A_SEND))
                self._forget(self._sock.sendmsg(pieces))
                self.last_progress_ns = self._clock()
        except BlockingIOError:
            pass
        except OSError as error:
            self.close(error.strerror or str(error))
            return
        self._await_events()
        self._end_sending_when_drained()

    def _forget(self, sent: int) -> None:
        """Drop `sent` bytes from the head of the queue."""
        if sent == self.queued_bytes:  # the usual case
            self._queue.clear()
            self.queued_bytes = 0
            return
        self.queued_bytes -= sent
        while sent:
            piece = self._queue.popleft()
            if len(piece) > sent:
                self._queue.appendleft(memoryview(piece)[sent:])
                return
            sent -= len(piece)

    def _end_sending_when_drained(self) -> None:
        if self._finishing and not self._queue:
            with contextlib.suppress(OSError):
                self._sock.shutdown(socket.SHUT_WR)
