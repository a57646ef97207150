"""A TCP proxy that stands between a client and a server of a stack and injects faults on request.

    with Proxy(("127.0.0.1", 5001)) as proxy:      # clients connect to proxy.port
        proxy.fault = Latency(delay_ms=20)         # of all connections, open ones and later ones
        proxy.cut(Reset())                         # of the connections that are open now
        proxy.fault = Clear()

One thread, one loop. Each connection is a `_ProxiedConnection` of two sockets and two `_Flow`s, one
for each direction; `chaos.faults.connection_faults` decides what a flow does. Everything is
bounded: connections by `MAX_LINKS`, the bytes queued in a flow by `MAX_QUEUED_BYTES` and one read
(a receiver that does not read makes the sender wait, as it would without a proxy), sockets whose
peer is gone by `MAX_SILENT`.
"""

from __future__ import annotations

import contextlib
import copy
import selectors
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Final, Self

from chaos.faults.connection_faults import Clear, ConnectionFault, Direction
from lib.clock import SECOND_NS

HOST: Final = "127.0.0.1"
MAX_LINKS: Final = 256
"""A client beyond these is reset."""
MAX_SILENT: Final = 64
"""Ends of connections that keep a peer from noticing; beyond these the oldest is closed."""
MAX_QUEUED_BYTES: Final = 256 * 1024
"""What waits in one direction. With a delay it is also what can pass in that time."""
RECEIVE_BYTES: Final = 64 * 1024
MAX_SENDS_A_PASS: Final = 256
"""So that a flow in small slices does not keep the others waiting."""
PATIENCE_S: Final = 10.0
"""How long a request to the loop may take; it takes less than a millisecond."""

_TCP_REPAIR: Final = 19
"""tcp(7) does not tell of it: linux/tcp.h. A socket closed in repair mode sends nothing."""


class Proxy:
    """One server's proxy. Its methods may be called from any thread until it is closed."""

    def __init__(self, server: tuple[str, int]) -> None:
        """Listen on a free loopback port, `port`. The server need not be there yet."""
        self._server = server
        self._listener = socket.create_server((HOST, 0), backlog=64)
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        self.cut_ns: int | None = None
        """When a fault last ended or silenced a connection: just before it did (monotonic)."""
        self._fault: ConnectionFault = Clear()
        self._links: set[_ProxiedConnection] = set()
        self._silent: deque[socket.socket] = deque()
        self._requests: SimpleQueue[tuple[Callable[[], int], Future[int]]] = SimpleQueue()
        self._running = True
        self._waker, self._woken = socket.socketpair()
        self._woken.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._selector.register(self._woken, selectors.EVENT_READ, self._serve_requests)
        self._thread = threading.Thread(target=self._run, name=f"proxy-{self.port}", daemon=True)
        self._thread.start()

    @property
    def fault(self) -> ConnectionFault:
        """The fault of connections that are yet to come, and of the open ones unless they were cut.

        It is in force when the assignment returns. What waited under the fault before it goes on
        under the new one.
        """
        return self._fault

    @fault.setter
    def fault(self, fault: ConnectionFault) -> None:
        def change() -> int:
            self._fault = fault
            return self._change_links(fault)

        self._request(change)

    def cut(self, fault: ConnectionFault) -> int:
        """Let a fault act on the connections that are open now; return how many those are."""
        return self._request(lambda: self._change_links(fault))

    @property
    def connections(self) -> int:
        """How many clients are connected, to a server that is there."""
        return self._request(lambda: sum(link.connected for link in self._links))

    @property
    def queued_bytes(self) -> int:
        """How much waits in the proxy, over all connections."""
        return self._request(
            lambda: sum(flow.queued_bytes for link in self._links for flow in link.flows)
        )

    def close(self) -> None:
        """End all connections with RST, and the proxy. Doing so twice does no harm."""
        if not self._thread.is_alive():
            return

        def stop() -> int:
            self._running = False
            return 0

        self._request(stop)
        self._thread.join(PATIENCE_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _request(self, work: Callable[[], int]) -> int:
        """Have the loop do something; return its result. Raises RuntimeError on a closed proxy."""
        if not self._thread.is_alive():
            raise RuntimeError("the proxy is closed")
        result: Future[int] = Future()
        self._requests.put((work, result))
        self._waker.send(b"!")
        return result.result(PATIENCE_S)

    # From here on: the loop's thread only.

    def _run(self) -> None:
        try:
            while self._running:
                for key, events in self._selector.select(self._sleep_s()):
                    key.data(events)
                for link in list(self._links):
                    link.settle()
        finally:
            for link in list(self._links):
                link.close()
            for sock in (self._listener, *self._silent, self._waker, self._woken):
                sock.close()
            self._selector.close()

    def _sleep_s(self) -> float | None:
        due = [flow.due_ns for link in self._links for flow in link.flows]
        soonest = min((ns for ns in due if ns is not None), default=None)
        return None if soonest is None else max(0, soonest - time.monotonic_ns()) / SECOND_NS

    def _serve_requests(self, _events: int) -> None:
        self._woken.recv(4096)
        with contextlib.suppress(Empty):
            while True:
                work, result = self._requests.get_nowait()
                result.set_result(work())

    def _change_links(self, fault: ConnectionFault) -> int:
        links = list(self._links)
        for link in links:
            link.change(fault)
        return len(links)

    def _accept(self, _events: int) -> None:
        try:
            client, _ = self._listener.accept()
        except OSError:  # it went away before its turn
            return
        if len(self._links) >= MAX_LINKS:
            reset(client)
            return
        self._links.add(
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

    def _on_end(self, link: _ProxiedConnection, silent: list[socket.socket]) -> None:
        self._links.discard(link)
        self._silent.extend(silent)
        while len(self._silent) > MAX_SILENT:
            reset(self._silent.popleft())


class _ProxiedConnection:
    """A client, the server, and the bytes between them."""

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
        """Connect on to the server; `fault` begins when that has been done.

        `on_cut()`: a fault takes effect. `on_end(link, silent)`: it is over, but for the sockets
        that are to stay open in silence.
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
        server.connect_ex(server_address)  # the outcome is told by its becoming writable
        self._await(server, selectors.EVENT_WRITE)

    def change(self, fault: ConnectionFault) -> None:
        """Put another fault in force."""
        self._fault = fault
        if not self.connected:
            return
        for flow in self.flows:
            flow.change(fault)
        self.settle()

    def settle(self) -> None:
        """Send what is due, carry out what the faults decided, wait for what is of interest now."""
        if self._over or not self.connected:
            return
        try:
            for flow in self.flows:
                flow.pump(time.monotonic_ns())
        except OSError:  # an end that is gone, by force: so is the other one
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
        """End both connections, with RST where they have not been ended with FIN."""
        end = socket.socket.close if self._both_ended() else reset
        for sock in self._awaited:
            self._await(sock, 0)
            end(sock)
        self._over = True
        self._on_end(self, [])

    def _both_ended(self) -> bool:
        return all(flow.ended for flow in self.flows)

    def _cut(self) -> None:
        """End the ends that a fault said should; the others stay, and hear nothing any more."""
        self._on_cut()  # first: its peer may act on it before we come to run again
        silent = []
        for flow in self.flows:
            self._await(flow.sink, 0)
            if flow.end is None or not flow.end(flow.sink):
                silent.append(flow.sink)
        self._over = True
        self._on_end(self, silent)

    def _on_events(self, sock: socket.socket, events: int) -> None:
        if self._over:  # since the loop was told of these events
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
        """Have the loop wait for `events` of a socket, and for nothing if that is 0."""
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
    """One direction: what came from `source` waits here until `sink` has taken it."""

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
        """Whether the sink took no more."""
        self.end: Callable[[socket.socket], bool] | None = None
        """What a fault wants to be done to the sink; it tells whether it could."""
        self.ended = False
        """Whether FIN has been sent to the sink."""
        self.source_ended = False
        """Whether FIN has come from the source."""
        self._direction = direction
        self._on_cut = on_cut
        self._fault: ConnectionFault = Clear()
        self._queue: deque[tuple[int, memoryview]] = deque()
        self._ending = False  # FIN follows what is queued

    @property
    def wants_data(self) -> bool:
        """Whether more may be received."""
        return not (self.source_ended or self._fault.holds or self.queued_bytes >= MAX_QUEUED_BYTES)

    @property
    def due_ns(self) -> int | None:
        """When something is to be sent; None where time alone changes nothing."""
        if not self._queue or self._fault.holds or self.wants_room:
            return None
        return self._queue[0][0]

    def change(self, fault: ConnectionFault) -> None:
        """Put another fault in force; what waits is due now."""
        self._fault = copy.deepcopy(fault) if self._direction in fault.to else Clear()
        if self._fault.holds:
            self._on_cut()
        self._queue = deque((0, piece) for _, piece in self._queue)
        self._fault.begin(self)

    def receive(self, now_ns: int) -> None:
        """Take what came from the source. Raises OSError if it is gone."""
        try:
            data = self.source.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return
        if not data:
            self.source_ended = self._ending = True
        elif not self._ending:
            self._fault.take(self, data, now_ns)

    def pump(self, now_ns: int) -> None:
        """Send what is due and what the sink takes. Raises OSError if it is gone."""
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

    # What faults may do (chaos.faults.connection_faults.Flow).

    def deliver(self, data: bytes, at_ns: int) -> None:
        """Queue a piece. It goes when its time has come and nothing is ahead of it."""
        if data:
            self._queue.append((at_ns, memoryview(data)))
            self.queued_bytes += len(data)

    def finish(self) -> None:
        """FIN behind what is queued."""
        self._ending = True

    def reset(self) -> None:
        """RST to the sink."""
        self.end = reset

    def vanish(self) -> None:
        """No more of us for the sink."""
        self.end = vanish


def reset(sock: socket.socket) -> bool:
    """Close a connection with RST; what is under way is lost. Always can: True."""
    # Lingering for 0 s means just that (socket(7), tcp_close in the kernel).
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()
    return True


def can_vanish() -> bool:
    """Whether `vanish` would do anything here."""
    with socket.socket() as sock:
        return _repair(sock)


def vanish(sock: socket.socket) -> bool:
    """Close a connection without a word to its peer; False, and nothing done, without the right."""
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
