"""The fault proxy: what each fault does to two sockets, and that nothing else happens to them."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from random import Random

import pytest

from chaos.faults.connection_faults import (
    AddedLatency,
    Bandwidth,
    Blackhole,
    Clear,
    Close,
    ConnectionFault,
    Direction,
    HalfOpen,
    Reset,
    Slice,
)
from chaos.faults.proxy import HOST, Proxy, can_vanish
from lib.clock import SECOND_NS
from tests.helpers import DEADLINE_S, wait_until

SILENCE_S = 0.2
"""A connection that is silent for this long counts as silent; other waits are much longer."""
NOISE = Random(7).randbytes(300_000)


class Line:
    """A client and a server that are connected through a proxy."""

    def __init__(self) -> None:
        self._listener = socket.create_server((HOST, 0))
        self.proxy = Proxy(self._listener.getsockname())
        self._sockets: list[socket.socket] = []
        self.client, self.server = self.connect()

    def connect(self) -> tuple[socket.socket, socket.socket]:
        """Open another connection; return the client's and the server's end."""
        client = socket.create_connection((HOST, self.proxy.port), timeout=DEADLINE_S)
        self._listener.settimeout(DEADLINE_S)
        server, _ = self._listener.accept()
        server.settimeout(DEADLINE_S)
        self._sockets += [client, server]
        return client, server

    def close(self) -> None:
        self.proxy.close()
        for sock in (self._listener, *self._sockets):
            sock.close()


class RecordedFlow:
    """A flow that only records what is delivered."""

    def __init__(self) -> None:
        self.delivered: list[tuple[bytes, int]] = []

    def deliver(self, data: bytes, at_ns: int) -> None:
        self.delivered.append((data, at_ns))


@pytest.fixture
def line() -> Iterator[Line]:
    line = Line()
    wait_until(lambda: line.proxy.connections == 1, "the client is connected to the server")
    yield line
    line.close()


def read_exactly(sock: socket.socket, count: int) -> bytes:
    """Receive exactly `count` bytes."""
    data = b""
    while len(data) < count:
        piece = sock.recv(count - len(data))
        assert piece, f"the connection ended after {len(data)} of {count} bytes"
        data += piece
    return data


def read_to_end(sock: socket.socket) -> bytes:
    data = b""
    while piece := sock.recv(65536):
        data += piece
    return data


def condition(sock: socket.socket, wait_s: float = SILENCE_S) -> str:
    """What this end gets: "bytes", the "end", a "reset"; or it is "silent"."""
    sock.settimeout(wait_s)
    try:
        return "bytes" if sock.recv(1, socket.MSG_PEEK) else "end"
    except TimeoutError:
        return "silent"
    except ConnectionResetError:
        return "reset"
    finally:
        sock.settimeout(DEADLINE_S)


def segments_received(sock: socket.socket) -> int:
    """How many segments with data the kernel has received: tcpi_data_segs_in of linux/tcp.h."""
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 156)
    return int(struct.unpack_from("I", info, 152)[0])


def test_slices_travel_in_segments_of_their_own(line: Line) -> None:
    line.proxy.fault = Slice(size=1, to=Direction.TO_SERVER)
    # Each slice is a segment when it has been read before the next one, so give it the time.
    for byte in NOISE[:100]:
        line.client.sendall(bytes([byte] * 3))
        assert read_exactly(line.server, 3) == bytes([byte] * 3)
    assert segments_received(line.server) > 200
    before = segments_received(line.client)
    line.server.sendall(NOISE[:100])
    assert read_exactly(line.client, 100) == NOISE[:100]
    assert segments_received(line.client) == before + 1


def test_bytes_are_delayed_by_at_least_the_added_latency(line: Line) -> None:
    line.proxy.fault = AddedLatency(delay_ms=150)
    sent_s = time.monotonic()
    line.client.sendall(b"first")
    assert read_exactly(line.server, 5) == b"first"
    assert time.monotonic() - sent_s >= 0.15


def test_the_bandwidth_is_shared_by_all_that_was_sent() -> None:
    flow = RecordedFlow()
    fault = Bandwidth(bytes_per_s=100)
    fault.on_data(flow, b"ab", now_ns=0)
    fault.on_data(flow, b"c", now_ns=0)
    fault.on_data(flow, b"d", now_ns=SECOND_NS)  # it was free again long before
    hundredth_ns = SECOND_NS // 100
    assert flow.delivered == [
        (b"a", hundredth_ns),
        (b"b", 2 * hundredth_ns),
        (b"c", 3 * hundredth_ns),
        (b"d", SECOND_NS + hundredth_ns),
    ]


def test_a_blackhole_is_silent_and_keeps_the_connection_and_all_that_was_sent(line: Line) -> None:
    line.proxy.fault = Blackhole()
    line.client.sendall(b"to the server")
    line.server.sendall(b"to the client")
    line.client.shutdown(socket.SHUT_WR)
    assert condition(line.server) == condition(line.client) == "silent"
    line.proxy.fault = Blackhole(to=Direction.TO_CLIENT)
    assert read_to_end(line.server) == b"to the server"
    assert condition(line.client) == "silent"
    line.proxy.fault = Clear()
    assert read_exactly(line.client, 13) == b"to the client"


@pytest.mark.parametrize("count", [0, 1, 999])
def test_close_ends_the_direction_after_exactly_so_many_bytes(line: Line, count: int) -> None:
    line.client.sendall(b"before")
    assert read_exactly(line.server, 6) == b"before"
    line.proxy.fault = Close(after_bytes=count, to=Direction.TO_SERVER)
    line.client.sendall(NOISE[:5000])
    assert read_to_end(line.server) == NOISE[:count]
    assert line.proxy.cut_ns
    line.proxy.fault = Clear()
    line.client.sendall(b"too late")
    line.server.sendall(b"the other direction")
    assert read_exactly(line.client, 19) == b"the other direction"
    assert condition(line.client) == "silent"  # and not reset


GONE = "reset" if can_vanish() else "silent"


@pytest.mark.parametrize(
    ("fault", "conditions", "once_they_send"),
    [
        (Reset(), ("reset", "reset"), ()),
        (Reset(to=Direction.TO_SERVER), ("silent", "reset"), ("silent",)),
        (HalfOpen(), ("silent", "silent"), (GONE, GONE)),
        (HalfOpen(to=Direction.TO_CLIENT), ("silent", "silent"), (GONE, "silent")),
    ],
)
def test_a_cut_is_seen_by_client_and_server_at_once_or_once_they_send_or_never(
    line: Line, fault: ConnectionFault, conditions: tuple[str, str], once_they_send: tuple[str, ...]
) -> None:
    began_ns = time.monotonic_ns()
    assert line.proxy.cut(fault) == 1
    assert line.proxy.cut_ns
    assert began_ns <= line.proxy.cut_ns <= time.monotonic_ns()

    def seen_by(ends: list[socket.socket], expected: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(
            condition(end, SILENCE_S if one == "silent" else DEADLINE_S)
            for end, one in zip(ends, expected, strict=True)
        )

    ends = [line.client, line.server]
    assert seen_by(ends, conditions) == conditions
    still_open = [end for end, one in zip(ends, conditions, strict=True) if one == "silent"]
    for end in still_open:
        end.sendall(b"are you there?")
    assert seen_by(still_open, once_they_send) == once_they_send


def test_a_fault_may_change_in_mid_stream_and_no_byte_is_lost(line: Line) -> None:
    sending = threading.Thread(target=line.client.sendall, args=(NOISE,))
    sending.start()
    arrived = b""
    for fault in (
        Slice(size=1),
        Blackhole(),
        AddedLatency(delay_ms=5, jitter_ms=5),
        Bandwidth(bytes_per_s=1000),  # what it delays is sent at once under the next fault
    ):
        line.proxy.fault = fault
        if not fault.holds:
            arrived += read_exactly(line.server, 10)
    line.proxy.fault = Clear()
    arrived += read_exactly(line.server, len(NOISE) - len(arrived))
    sending.join(DEADLINE_S)
    assert arrived == NOISE


def test_a_cut_acts_on_open_connections_and_a_fault_on_later_ones_too(line: Line) -> None:
    line.proxy.cut(Blackhole())
    client, server = line.connect()
    client.sendall(b"through")
    assert read_exactly(server, 7) == b"through"
    line.client.sendall(b"not through")
    assert condition(line.server) == "silent"
    line.proxy.fault = Close(after_bytes=3)
    for _ in range(2):  # each counts for itself
        client, server = line.connect()
        client.sendall(b"abcdef")
        assert read_to_end(server) == b"abc"


def test_a_receiver_that_does_not_read_makes_the_sender_wait_and_not_the_proxy_grow(
    line: Line,
) -> None:
    line.client.settimeout(SILENCE_S)
    sent = 0
    with suppress(TimeoutError):
        while sent < 100_000_000:
            sent += line.client.send(NOISE)
    assert sent < 100_000_000
    assert len(read_exactly(line.server, sent)) == sent  # and all of it comes, once it reads
