"""A TCP proxy between a client and a server of a stack that injects faults on request.

    with Proxy(("127.0.0.1", 5001)) as proxy:      # clients connect to proxy.port
        proxy.fault = AddedLatency(delay_ms=20)    # of all connections, open ones and later ones
        proxy.cut(Reset())                         # of the connections that are open now
        proxy.fault = Clear()

`proxied` puts one into each connection of a private stack.

One thread, one asyncio loop. A `_ProxiedConnection` has two `_End`s, one to the client and one to
the server; what an end receives goes to the other one as `chaos.faults.connection_faults` decides.
A receiver that does not read makes the sender wait, as it would without a proxy.
"""

from __future__ import annotations

import asyncio
import copy
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from configparser import RawConfigParser
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Final, Self

import msgspec

from chaos.faults.connection_faults import Clear, ConnectionFault, Direction
from chaos.lab.figures import ROLE_CONNECTIONS
from chaos.lab.target import TargetStack
from lib.clock import SECOND_NS
from lib.settings import Settings
from lib.stack.private_stack import to_toml
from lib.stack.supervisord_configuration import PROGRAM

HOST: Final = "127.0.0.1"
MAX_SILENT: Final = 64
"""The most ends kept open after a cut so that their peer sees no end; the oldest is reset."""
MAX_QUEUED_BYTES: Final = 256 * 1024
"""The most bytes queued in one direction. Under a delay, this also limits the throughput."""
MAX_WRITES_A_TURN: Final = 256
"""The most pieces written to an end in one turn: small slices must not block other ends."""
REQUEST_LIMIT_S: Final = 10.0
"""How long a request to the loop may take; normally it takes less than a millisecond."""

_TCP_REPAIR: Final = 19
"""From linux/tcp.h; tcp(7) does not list it. A socket closed in repair mode sends nothing."""


class Proxy:
    """The proxy of one server. Its methods may be called from any thread until it is closed."""

    def __init__(self, server: tuple[str, int]) -> None:
        """Listen on a free loopback port, `port`. The server need not be running yet."""
        self.server = server
        self.cut_ns: int | None = None
        """When the latest fault ended or silenced a connection: just before it did (monotonic).
        None: it has not yet, because the bytes that may still pass have not come."""
        self.open: set[_ProxiedConnection] = set()
        """For the loop's thread."""
        self._fault: ConnectionFault = Clear()
        self._silent: deque[asyncio.Transport] = deque()
        self._listener = socket.create_server((HOST, 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self._loop = asyncio.new_event_loop()
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
        self._fault = fault
        self.cut(fault)

    def cut(self, fault: ConnectionFault) -> int:
        """Apply a fault to the connections that are open now; return how many there are."""
        return self._request(lambda: self._change(fault))

    @property
    def connections(self) -> int:
        """How many clients are connected through to the server."""
        return self._request(lambda: sum(connection.connected for connection in self.open))

    def close(self) -> None:
        """End all connections with RST, and stop the proxy. May be called again."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(REQUEST_LIMIT_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _request(self, work: Callable[[], int]) -> int:
        """Run `work` in the loop; return its result. Raises RuntimeError on a closed proxy."""
        result: Future[int] = Future()
        self._loop.call_soon_threadsafe(lambda: result.set_result(work()))
        return result.result(REQUEST_LIMIT_S)

    # From here on: the loop's thread only.

    def _run(self) -> None:
        make_server = self._loop.create_server(
            lambda: _ProxiedConnection(self).client, sock=self._listener
        )
        server = self._loop.run_until_complete(make_server)
        self._loop.run_forever()
        server.close()
        for connection in list(self.open):
            connection.close()
        for transport in self._silent:
            transport.abort()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0.001))  # asyncio closes sockets a turn later
        self._loop.close()

    def _change(self, fault: ConnectionFault) -> int:
        self.cut_ns = None
        connections = list(self.open)
        for connection in connections:
            connection.change(fault)
        return len(connections)

    def keep_silent(self, transport: asyncio.Transport) -> None:
        """Keep an end open and read nothing from it."""
        self._silent.append(transport)
        if len(self._silent) > MAX_SILENT:
            _abort(self._silent.popleft())


class _ProxiedConnection:
    """One client, its connection to the server, and the bytes between them."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._fault = proxy.fault
        self.connected = False
        self._is_over = False
        self.client = _End(self, Direction.TO_SERVER)
        self._server = _End(self, Direction.TO_CLIENT)
        self.client.other, self._server.other = self._server, self.client
        self._ends = (self.client, self._server)
        proxy.open.add(self)

    async def connect(self) -> None:
        """Connect to the server; the fault begins when that has succeeded."""
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: self._server, *self._proxy.server)
        except OSError:
            self.close()
        else:
            self.connected = True
            self.change(self._fault)

    def change(self, fault: ConnectionFault) -> None:
        """Replace the fault. It begins when the server is connected."""
        self._fault = fault
        if self.connected and not self._is_over:
            for end in self._ends:
                end.change(fault)
            self.settle()

    def settle(self) -> None:
        """Send what is due, and do what the faults decided."""
        if self._is_over:
            return
        for end in self._ends:
            end.pump()
        if any(end.cut_by for end in self._ends):
            self._cut()
        elif all(end.is_finished for end in self._ends) and any(e.source_ended for e in self._ends):
            self.close()

    def close(self) -> None:
        """End both connections, with RST unless FIN has already ended them."""
        if not self._is_over:
            self._end()
            are_finished = all(end.is_finished for end in self._ends)
            for end in self._ends:
                if end.transport and are_finished:
                    end.transport.close()
                elif end.transport:
                    _abort(end.transport)

    def note_cut(self) -> None:
        """A fault takes effect. Called before the peer can notice."""
        self._proxy.cut_ns = time.monotonic_ns()

    def _cut(self) -> None:
        """Close the ends that a fault wants closed; the others stay open and receive nothing."""
        self.note_cut()
        self._end()
        for end in self._ends:
            sink = end.other.transport
            assert sink
            sink.pause_reading()
            if end.cut_by and end.cut_by(sink.get_extra_info("socket")):
                sink.abort()
            else:
                self._proxy.keep_silent(sink)

    def _end(self) -> None:
        self._is_over = True
        self._proxy.open.discard(self)
        for end in self._ends:
            end.stop()


class _End(asyncio.Protocol):
    """One end of a connection, and the bytes from it to the other end."""

    other: _End

    def __init__(self, connection: _ProxiedConnection, direction: Direction) -> None:
        self.transport: asyncio.Transport | None = None
        self.cut_by: Callable[[socket.socket], bool] | None = None
        """How a fault wants the other end to be closed; returns whether that can be done."""
        self.is_finished = False
        """Whether FIN has been sent to the other end."""
        self.source_ended = False
        """Whether FIN has arrived."""
        self._connection = connection
        self._direction = direction
        self._fault: ConnectionFault = Clear()
        self._queue: deque[tuple[int, bytes]] = deque()
        self._queued_bytes = 0
        self._ending = False  # send FIN after the queued bytes
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.pause_reading()  # until the other end is connected
        if self is self._connection.client:
            self._connecting = asyncio.get_running_loop().create_task(self._connection.connect())

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by asyncio: the peer has reset the connection, or we have closed it."""
        self._connection.close()

    def data_received(self, data: bytes) -> None:
        """Called by asyncio."""
        if not self._ending:
            self._fault.on_data(self, data, time.monotonic_ns())
        self._connection.settle()

    def eof_received(self) -> bool:
        """Called by asyncio. The other direction stays open."""
        self.source_ended = self._ending = True
        self._connection.settle()
        return True

    def resume_writing(self) -> None:
        """Called by asyncio: this end accepts more bytes again."""
        self._connection.settle()

    def change(self, fault: ConnectionFault) -> None:
        """Replace the fault; queued bytes are due now."""
        self._fault = copy.deepcopy(fault) if self._direction in fault.to else Clear()
        if self._fault.holds:
            self._connection.note_cut()
        self._queue = deque((0, piece) for _, piece in self._queue)
        self._fault.begin(self)

    def pump(self) -> None:
        """Send what is due, and wait for what comes next."""
        assert self.transport
        assert self.other.transport
        self.stop()
        for _ in range(MAX_WRITES_A_TURN):
            if not self._may_write() or self._queue[0][0] > time.monotonic_ns():
                break
            _, piece = self._queue.popleft()
            self._queued_bytes -= len(piece)
            self.other.transport.write(piece)
        if self._may_write():
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(self._queue[0][0] / SECOND_NS, self._connection.settle)
        elif self._ending and not self._queue and not self._fault.holds and not self.is_finished:
            self.is_finished = True
            if not self.source_ended:
                self._connection.note_cut()
            self.other.transport.write_eof()
        if self._fault.holds or self._queued_bytes >= MAX_QUEUED_BYTES:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    def _may_write(self) -> bool:
        assert self.other.transport
        # Beyond the upper limit, asyncio calls `resume_writing` once it is below the lower one.
        _, limit = self.other.transport.get_write_buffer_limits()
        is_full = self.other.transport.get_write_buffer_size() > limit
        return bool(self._queue) and not self._fault.holds and not is_full

    def stop(self) -> None:
        """Wait for nothing any more."""
        if self._timer:
            self._timer.cancel()
            self._timer = None

    # The interface for faults (chaos.faults.connection_faults.Flow).

    def deliver(self, data: bytes, at_ns: int) -> None:
        """Queue a piece. It is sent at its time, after the pieces ahead of it."""
        if data:
            self._queue.append((at_ns, data))
            self._queued_bytes += len(data)

    def finish(self) -> None:
        """Send FIN after the queued bytes."""
        self._ending = True

    def reset(self) -> None:
        """Send RST to the other end."""
        self.cut_by = reset

    def vanish(self) -> None:
        """Close the other end without FIN or RST."""
        self.cut_by = vanish


def reset(sock: socket.socket) -> bool:
    """Make a connection end with RST when it is closed; unsent bytes are lost. Returns True."""
    # A linger time of 0 s makes close() send RST (socket(7), tcp_close in the kernel).
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return True


def _abort(transport: asyncio.Transport) -> None:
    """Close a connection with RST."""
    reset(transport.get_extra_info("socket"))
    transport.abort()


def can_vanish() -> bool:
    """Whether this process has the capability that `vanish` needs."""
    with socket.socket() as sock:
        return vanish(sock)


def vanish(sock: socket.socket) -> bool:
    """Make a connection end without FIN or RST when it is closed; return False if not permitted."""
    try:
        sock.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR, 1)
    except OSError:  # not permitted, or a kernel without it
        return False
    return True


@contextmanager
def proxied(target: TargetStack) -> Iterator[dict[str, Proxy]]:
    """Put a proxy into each connection of a private stack; yield the proxies by stream.

    The client roles are restarted with their own settings file, which differs in the ports only.
    The proxies end with the block: the stack should then be ended. Raises TargetError.
    """
    assert target.private
    with ExitStack() as stack:
        proxies = {
            stream: stack.enter_context(Proxy(address))
            for stream, address in target.addresses().items()
        }
        ports = {stream: proxy.port for stream, proxy in proxies.items()}
        clients_file = target.var_dir / "clients.toml"
        clients_file.write_text(to_toml(client_settings(target.settings, ports)), encoding="utf-8")
        target.reconfigure(partial(use_client_settings, clients_file=clients_file))
        yield proxies


def client_settings(settings: Settings, ports: Mapping[str, int]) -> Settings:
    """Return the settings of the client roles: the same, with the proxies as servers."""
    replace = msgspec.structs.replace
    return replace(
        settings,
        gateway=replace(
            settings.gateway, host=HOST, price_port=ports["price"], news_port=ports["news"]
        ),
        order_manager=replace(settings.order_manager, host=HOST, port=ports["orders"]),
    )


def use_client_settings(configuration: RawConfigParser, clients_file: Path) -> None:
    """Give the client roles a separate settings file in supervisord's configuration."""
    for role in {connection.client for connection in ROLE_CONNECTIONS}:
        configuration[f"{PROGRAM}{role}"]["environment"] = f'TRADING_CONFIG="{clients_file}"'
