"""A TCP proxy between a client and a server of a stack that injects faults on request.

    with Proxy(("127.0.0.1", 5001)) as proxy:      # clients connect to proxy.port
        proxy.fault = Latency(delay_ms=20)         # of all connections, open ones and later ones
        proxy.cut(Reset())                         # of the connections that are open now
        proxy.fault = Clear()

One thread, one loop. Each connection is a `_ProxiedConnection` of two sockets and two `_Flow`s, one
for each direction; `chaos.faults.connection_faults` decides what a flow does. Everything is
bounded: connections by `MAX_CONNECTIONS`, the bytes queued in a flow by `MAX_QUEUED_BYTES` and one
read (a receiver that does not read makes the sender wait, as it would without a proxy), sockets
whose peer is gone by `MAX_SILENT`.
"""

from __future__ import annotations

import copy
import selectors
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from chaos.faults.connection_faults import Clear, ConnectionFault, Direction
from lib.clock import SECOND_NS

HOST: Final = "127.0.0.1"
MAX_CONNECTIONS: Final = 256
"""The most connections at a time; a further client is reset."""
MAX_SILENT: Final = 64
"""The most sockets kept open after a cut so that their peer sees no end; the oldest is closed."""
MAX_QUEUED_BYTES: Final = 256 * 1024
"""The most bytes queued in one direction. Under a delay, this also limits the throughput."""
RECEIVE_BYTES: Final = 64 * 1024
MAX_SENDS_A_PASS: Final = 256
"""The most pieces a flow sends in one pass, so that small slices do not block other flows."""
CLOSE_S: Final = 10.0
"""How long the loop may take to end; normally it takes less than a millisecond."""

_TCP_REPAIR: Final = 19
"""From linux/tcp.h; tcp(7) does not list it. A socket closed in repair mode sends nothing."""


class Proxy:
    """The proxy of one server. Its methods may be called from any thread until it is closed."""

    def __init__(self, server: tuple[str, int]) -> None:
        """Listen on a free loopback port, `port`. The server need not be running yet."""
        self._server = server
        self._listener = socket.create_server((HOST, 0), backlog=64)
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        self.cut_ns: int | None = None
        """When the latest fault ended or silenced a connection: just before it did (monotonic).
        None: it has not yet, because the bytes that may still pass have not come."""
        self._fault: ConnectionFault = Clear()
        self._connections: set[_ProxiedConnection] = set()
        self._silent: deque[socket.socket] = deque()
        self._running = True
        self._lock = threading.RLock()  # held by whoever works, and not while the loop waits
        self._waker, self._woken = socket.socketpair()
        self._woken.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._selector.register(self._woken, selectors.EVENT_READ, self._on_woken)
        self._thread = threading.Thread(target=self._run, name=f"proxy-{self.port}", daemon=True)
        self._thread.start()

    @property
    def fault(self) -> ConnectionFault:
        """The fault of all later connections, and of the open ones unless `cut` gave them another.

        It is in force when the assignment returns. Bytes that the previous fault held back are
        then handled under the new one.
        """
        return self._fault

    @fault.setter
    def fault(self, fault: ConnectionFault) -> None:
        with self._lock:
            self._fault = fault
            self.cut(fault)

    def cut(self, fault: ConnectionFault) -> int:
        """Apply a fault to the connections that are open now; return how many there are."""
        with self._lock:
            self.cut_ns = None
            connections = list(self._connections)
            for connection in connections:
                connection.change(fault)
        self._waker.send(b"!")  # what to wait for has changed
        return len(connections)

    @property
    def connections(self) -> int:
        """How many clients are connected through to the server."""
        with self._lock:
            return sum(connection.connected for connection in self._connections)

    def close(self) -> None:
        """End all connections with RST, and stop the proxy. May be called again."""
        if self._running:
            self._running = False
            self._waker.send(b"!")
            self._thread.join(CLOSE_S)
            self._waker.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.close()

    # From here on: the loop's thread only.

    def _run(self) -> None:
        try:
            while self._running:
                ready = self._selector.select(self._sleep_s())
                with self._lock:
                    for key, events in ready:
                        key.data(events)
                    for connection in list(self._connections):
                        connection.settle()
        finally:
            for connection in list(self._connections):
                connection.close()
            for sock in (self._listener, *self._silent, self._woken):
                sock.close()
            self._selector.close()

    def _sleep_s(self) -> float | None:
        with self._lock:
            due = [flow.due_ns for connection in self._connections for flow in connection.flows]
        soonest = min((ns for ns in due if ns is not None), default=None)
        return None if soonest is None else max(0, soonest - time.monotonic_ns()) / SECOND_NS

    def _on_woken(self, _events: int) -> None:
        self._woken.recv(4096)

    def _accept(self, _events: int) -> None:
        try:
            client, _ = self._listener.accept()
        except OSError:  # it went away before its turn
            return
        if len(self._connections) >= MAX_CONNECTIONS:
            reset(client)
            return
        self._connections.add(
            _ProxiedConnection(
                self._selector,
                client,
                self._server,
                self._fault,
                on_cut=self._on_cut,
                on_end=self._on_end,
            )
        )

    def _on_cut(self) -> None:
        self.cut_ns = time.monotonic_ns()

    def _on_end(self, connection: _ProxiedConnection, silent: list[socket.socket]) -> None:
        self._connections.discard(connection)
        self._silent.extend(silent)
        while len(self._silent) > MAX_SILENT:
            reset(self._silent.popleft())


class _ProxiedConnection:
    """One client, its connection to the server, and the bytes between them."""

    def __init__(
        self,
        selector: selectors.BaseSelector,
        client: socket.socket,
        server_address: tuple[str, int],
        fault: ConnectionFault,
        *,
        on_cut: Callable[[], None],
        on_end: Callable[[_ProxiedConnection, list[socket.socket]], None],
    ) -> None:
        """Connect to the server; `fault` begins when that has succeeded.

        `on_cut()` is called when a fault takes effect, `on_end(connection, silent)` when the
        connection has ended; the sockets in `silent` must stay open.
        """
        self._selector = selector
        self._on_cut = on_cut
        self._on_end = on_end
        self._fault = fault
        self.connected = False
        self._over = False
        server = socket.socket()
        for sock in (client, server):
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.flows = (
            _Flow(client, server, Direction.TO_SERVER, on_cut),
            _Flow(server, client, Direction.TO_CLIENT, on_cut),
        )
        self._awaited = {client: 0, server: 0}
        server.connect_ex(server_address)  # it becomes writable when it has succeeded or failed
        self._await(server, selectors.EVENT_WRITE)

    def change(self, fault: ConnectionFault) -> None:
        """Replace the fault."""
        self._fault = fault
        if not self.connected:
            return
        for flow in self.flows:
            flow.change(fault)
        self.settle()

    def settle(self) -> None:
        """Send what is due, do what the faults decided, update the events to wait for."""
        if self._over or not self.connected:
            return
        try:
            for flow in self.flows:
                flow.pump(time.monotonic_ns())
        except OSError:  # one end was reset: reset the other one, too
            self.close()
            return
        if any(flow.end for flow in self.flows):
            self._cut()
        elif self._both_ended() and any(flow.source_ended for flow in self.flows):
            self.close()
        else:
            for flow, back in (self.flows, self.flows[::-1]):
                events = selectors.EVENT_READ if flow.wants_data else 0
                events |= selectors.EVENT_WRITE if back.wants_room else 0
                self._await(flow.source, events)

    def close(self) -> None:
        """End both connections, with RST unless FIN has already ended them."""
        end = socket.socket.close if self._both_ended() else reset
        for sock in self._awaited:
            self._await(sock, 0)
            end(sock)
        self._over = True
        self._on_end(self, [])

    def _both_ended(self) -> bool:
        return all(flow.ended for flow in self.flows)

    def _cut(self) -> None:
        """Close the sockets that a fault wants closed; the others stay open and receive nothing."""
        self._on_cut()  # first: the peer may react before this thread runs again
        silent = []
        for flow in self.flows:
            self._await(flow.sink, 0)
            if flow.end is None or not flow.end(flow.sink):
                silent.append(flow.sink)
        self._over = True
        self._on_end(self, silent)

    def _on_events(self, sock: socket.socket, events: int) -> None:
        if self._over:  # it has ended since the selector returned these events
            return
        if not self.connected:
            self._on_connected(sock)
            return
        for flow in self.flows:
            if flow.source is sock and events & selectors.EVENT_READ:
                try:
                    flow.receive(time.monotonic_ns())
                except OSError:
                    self.close()
                    return
            elif flow.sink is sock and events & selectors.EVENT_WRITE:
                flow.wants_room = False

    def _on_connected(self, server: socket.socket) -> None:
        if server.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0:
            self.close()
            return
        self.connected = True
        self.change(self._fault)

    def _await(self, sock: socket.socket, events: int) -> None:
        """Wait for `events` of a socket from now on; 0: for none."""
        awaited, self._awaited[sock] = self._awaited[sock], events
        if events == awaited:
            return
        if awaited == 0:
            self._selector.register(sock, events, lambda ready: self._on_events(sock, ready))
        elif events:
            self._selector.modify(sock, events, lambda ready: self._on_events(sock, ready))
        else:
            self._selector.unregister(sock)


class _Flow:
    """One direction: bytes from `source` are queued until `sink` has accepted them."""

    def __init__(
        self,
        source: socket.socket,
        sink: socket.socket,
        direction: Direction,
        on_cut: Callable[[], None],
    ) -> None:
        self.source = source
        self.sink = sink
        self.queued_bytes = 0
        self.wants_room = False
        """Whether the sink's buffer is full."""
        self.end: Callable[[socket.socket], bool] | None = None
        """How a fault wants the sink to be closed; returns whether it was."""
        self.ended = False
        """Whether FIN has been sent to the sink."""
        self.source_ended = False
        """Whether FIN has arrived from the source."""
        self._direction = direction
        self._on_cut = on_cut
        self._fault: ConnectionFault = Clear()
        self._queue: deque[tuple[int, memoryview]] = deque()
        self._ending = False  # send FIN after the queued bytes

    @property
    def wants_data(self) -> bool:
        """Whether to read more from the source."""
        return not (self.source_ended or self._fault.holds or self.queued_bytes >= MAX_QUEUED_BYTES)

    @property
    def due_ns(self) -> int | None:
        """When the next piece is due; None if no piece waits for its time only."""
        if not self._queue or self._fault.holds or self.wants_room:
            return None
        return self._queue[0][0]

    def change(self, fault: ConnectionFault) -> None:
        """Replace the fault; queued bytes are due now."""
        self._fault = copy.deepcopy(fault) if self._direction in fault.to else Clear()
        if self._fault.holds:
            self._on_cut()
        self._queue = deque((0, piece) for _, piece in self._queue)
        self._fault.begin(self)

    def receive(self, now_ns: int) -> None:
        """Read from the source. Raises OSError if it is gone."""
        try:
            data = self.source.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return
        if not data:
            self.source_ended = self._ending = True
        elif not self._ending:
            self._fault.on_data(self, data, now_ns)

    def pump(self, now_ns: int) -> None:
        """Send what is due, as much as the sink accepts. Raises OSError if it is gone."""
        try:
            for _ in range(MAX_SENDS_A_PASS):
                if self.due_ns is None or self.due_ns > now_ns:
                    break
                _, piece = self._queue[0]
                sent = self.sink.send(piece)
                self.queued_bytes -= sent
                if sent == len(piece):
                    self._queue.popleft()
                else:
                    self._queue[0] = (now_ns, piece[sent:])
        except BlockingIOError:
            self.wants_room = True
        if self._ending and not self._queue and not self.ended and not self._fault.holds:
            if not self.source_ended:
                self._on_cut()
            self.sink.shutdown(socket.SHUT_WR)
            self.ended = True

    # The interface for faults (chaos.faults.connection_faults.Flow).

    def deliver(self, data: bytes, at_ns: int) -> None:
        """Queue a piece. It is sent at its time, after the pieces ahead of it."""
        if data:
            self._queue.append((at_ns, memoryview(data)))
            self.queued_bytes += len(data)

    def finish(self) -> None:
        """Send FIN after the queued bytes."""
        self._ending = True

    def reset(self) -> None:
        """Send RST to the sink."""
        self.end = reset

    def vanish(self) -> None:
        """Close the socket to the sink without FIN or RST."""
        self.end = vanish


def reset(sock: socket.socket) -> bool:
    """Close a connection with RST; unsent bytes are lost. Always returns True."""
    # A linger time of 0 s makes close() send RST (socket(7), tcp_close in the kernel).
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()
    return True


def can_vanish() -> bool:
    """Whether this process has the capability that `vanish` needs."""
    with socket.socket() as sock:
        return _repair(sock)


def vanish(sock: socket.socket) -> bool:
    """Close a connection without FIN or RST; do nothing and return False if not permitted."""
    if not _repair(sock):
        return False
    sock.close()
    return True


def _repair(sock: socket.socket) -> bool:
    try:
        sock.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR, 1)
    except OSError:  # not permitted, or a kernel without it
        return False
    return True
