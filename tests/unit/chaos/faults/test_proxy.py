"""The fault proxy: each fault between two sockets, and the guarantees of the proxy itself."""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import suppress
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import chaos.faults.proxy
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

    def __init__(self, fault: ConnectionFault | None = None) -> None:
        self._listener = socket.create_server((HOST, 0))
        self.proxy = Proxy(self._listener.getsockname())
        if fault:
            self.proxy.fault = fault
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


def send_through(sender: socket.socket, receiver: socket.socket, data: bytes) -> bytes:
    """Send `data`; return as many bytes as arrive."""
    sending = threading.Thread(target=sender.sendall, args=(data,))
    sending.start()
    arrived = read_exactly(receiver, len(data))
    sending.join(DEADLINE_S)
    return arrived


def is_silent(sock: socket.socket, seconds: float = SILENCE_S) -> bool:
    """Whether the connection is open and nothing arrives."""
    sock.settimeout(seconds)
    try:
        sock.recv(1, socket.MSG_PEEK)
    except (TimeoutError, BlockingIOError):
        return True
    except ConnectionResetError:
        return False
    finally:
        sock.settimeout(DEADLINE_S)
    return False


def segments_received(sock: socket.socket) -> int:
    """How many segments with data the kernel has received: tcpi_data_segs_in of linux/tcp.h."""
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 156)
    return int(struct.unpack_from("I", info, 152)[0])


# What passes


@settings(max_examples=20)
@given(
    sizes=st.lists(st.integers(1, 5000), min_size=1, max_size=30),
    fault=st.sampled_from(
        [Clear(), Slice(size=1), Slice(size=700), AddedLatency(delay_ms=1, jitter_ms=1)]
    ),
)
def test_bytes_arrive_complete_and_in_order_however_they_were_split(
    sizes: list[int], fault: ConnectionFault
) -> None:
    line = Line(fault)
    try:
        sent = NOISE[: sum(sizes)]
        begin = 0
        for size in sizes:
            line.client.sendall(sent[begin : begin + size])
            begin += size
        assert read_exactly(line.server, len(sent)) == sent
    finally:
        line.close()


def test_a_fin_from_one_side_passes_and_the_other_side_may_still_send(line: Line) -> None:
    line.client.sendall(b"last words")
    line.client.shutdown(socket.SHUT_WR)
    assert read_to_end(line.server) == b"last words"
    line.server.sendall(b"answer")
    assert read_exactly(line.client, 6) == b"answer"
    line.server.close()
    assert read_to_end(line.client) == b""
    wait_until(lambda: line.proxy.connections == 0, "the proxy has let go of the connection")


def test_a_reset_by_one_side_is_a_reset_for_the_other(line: Line) -> None:
    line.server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    line.server.close()
    with pytest.raises(ConnectionResetError):
        line.client.recv(1)


@pytest.mark.parametrize("fault", [Clear(), Blackhole()])
def test_a_client_of_a_server_that_is_not_there_is_reset(fault: ConnectionFault) -> None:
    with socket.create_server((HOST, 0)) as listener:
        free_address = listener.getsockname()
    with Proxy(free_address) as proxy:
        proxy.fault = fault
        # The reset may come before connect() has returned.
        with (
            pytest.raises(ConnectionResetError),
            socket.create_connection((HOST, proxy.port), timeout=DEADLINE_S) as client,
        ):
            client.recv(1)


def test_a_server_that_comes_late_is_reached() -> None:
    with socket.create_server((HOST, 0)) as listener:
        address = listener.getsockname()
    with (
        Proxy(address) as proxy,
        socket.create_server(address) as listener,
        socket.create_connection((HOST, proxy.port), timeout=DEADLINE_S) as client,
    ):
        server, _ = listener.accept()
        client.sendall(b"hello")
        assert read_exactly(server, 5) == b"hello"
        server.close()


# The faults


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


def test_what_is_delayed_comes_after_what_is_not() -> None:
    slow, quick = Line(AddedLatency(delay_ms=150)), Line()
    try:
        slow.client.sendall(b"first")
        quick.client.sendall(b"second")
        assert read_exactly(quick.server, 6) == b"second"
        assert is_silent(slow.server, 0)
        assert read_exactly(slow.server, 5) == b"first"
    finally:
        slow.close()
        quick.close()


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
    assert is_silent(line.server)
    assert is_silent(line.client)
    line.proxy.fault = Blackhole(to=Direction.TO_CLIENT)
    assert read_to_end(line.server) == b"to the server"
    assert is_silent(line.client)
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
    line.server.sendall(b"the other direction")
    assert read_exactly(line.client, 19) == b"the other direction"


def test_an_end_that_closes_after_a_close_is_gone_for_the_other_side_too(line: Line) -> None:
    line.proxy.cut(Close(to=Direction.TO_CLIENT))
    assert read_to_end(line.client) == b""
    line.client.close()
    assert read_to_end(line.server) == b""

    def sending_fails() -> bool:
        try:
            line.server.sendall(b"never read")
        except (ConnectionResetError, BrokenPipeError):
            return True
        return False

    wait_until(sending_fails, "the server gets RST")


def test_reset_is_a_reset_for_both_sides_in_mid_stream(line: Line) -> None:
    assert line.proxy.cut(Reset()) == 1
    for sock in (line.client, line.server):
        with pytest.raises(ConnectionResetError):
            sock.recv(1)


def test_reset_of_one_side_leaves_the_other_in_silence(line: Line) -> None:
    line.proxy.cut(Reset(to=Direction.TO_SERVER))
    with pytest.raises(ConnectionResetError):
        line.server.recv(1)
    line.client.sendall(b"into the void")
    assert is_silent(line.client)


def test_half_open_is_silent_until_an_end_sends_into_it(line: Line) -> None:
    line.proxy.cut(HalfOpen())
    assert is_silent(line.client)
    assert is_silent(line.server)
    line.client.sendall(b"are you there?")
    if can_vanish():
        with pytest.raises(ConnectionResetError):
            line.client.recv(1)
    else:
        assert is_silent(line.client)
    assert is_silent(line.server)


def test_half_open_in_one_direction_leaves_the_other_side_a_silent_peer(line: Line) -> None:
    line.proxy.cut(HalfOpen(to=Direction.TO_CLIENT))
    line.server.sendall(b"into the void")
    assert is_silent(line.server)
    assert is_silent(line.client)


def test_bytes_after_a_close_are_dropped_also_under_the_next_fault(line: Line) -> None:
    line.proxy.fault = Close(to=Direction.TO_SERVER)
    assert read_to_end(line.server) == b""
    line.proxy.fault = Clear()
    line.client.sendall(b"too late")
    line.server.sendall(b"still heard")
    assert read_exactly(line.client, 11) == b"still heard"
    assert is_silent(line.client)  # and not reset


@pytest.mark.parametrize(("fault", "act"), [(Reset(), "reset"), (HalfOpen(), "vanish")])
def test_the_time_of_a_cut_is_taken_before_an_end_can_notice_it(
    line: Line, monkeypatch: pytest.MonkeyPatch, fault: ConnectionFault, act: str
) -> None:
    really = getattr(chaos.faults.proxy, act)
    known: list[int | None] = []

    def watched(sock: socket.socket) -> bool:
        known.append(line.proxy.cut_ns)
        return bool(really(sock))

    monkeypatch.setattr(chaos.faults.proxy, act, watched)
    line.proxy.cut(fault)
    assert known == [line.proxy.cut_ns] * 2
    assert None not in known


# The proxy


def test_a_fault_may_change_in_mid_stream_and_no_byte_is_lost(line: Line) -> None:
    sending = threading.Thread(target=line.client.sendall, args=(NOISE,))
    sending.start()
    arrived = b""
    for fault in (
        Slice(size=1),
        Blackhole(),
        AddedLatency(delay_ms=5),
        Bandwidth(bytes_per_s=1000),
    ):
        line.proxy.fault = fault
        if not fault.holds:
            arrived += read_exactly(line.server, 10)
    line.proxy.fault = Clear()
    arrived += read_exactly(line.server, len(NOISE) - len(arrived))
    sending.join(DEADLINE_S)
    assert arrived == NOISE


def test_bytes_that_a_fault_delays_are_sent_at_once_under_the_next(line: Line) -> None:
    line.proxy.fault = Bandwidth(bytes_per_s=10)
    line.client.sendall(NOISE[:5000])
    assert read_exactly(line.server, 1) == NOISE[:1]  # the rest waits for its 8 minutes
    line.proxy.fault = Clear()
    assert read_exactly(line.server, 4999) == NOISE[1:5000]


def test_a_cut_acts_on_open_connections_and_a_fault_on_later_ones_too(line: Line) -> None:
    line.proxy.cut(Blackhole())
    client, server = line.connect()
    client.sendall(b"through")
    assert read_exactly(server, 7) == b"through"
    line.client.sendall(b"not through")
    assert is_silent(line.server)
    line.proxy.fault = Close(after_bytes=3)
    for _ in range(2):  # each counts for itself
        client, server = line.connect()
        client.sendall(b"abcdef")
        assert read_to_end(server) == b"abc"


def test_a_receiver_that_does_not_read_makes_its_own_sender_wait_and_the_proxy_not_grow(
    line: Line,
) -> None:
    line.client.settimeout(SILENCE_S)
    sent = 0
    with suppress(TimeoutError):
        while sent < 100_000_000:
            sent += line.client.send(NOISE)
    assert sent < 100_000_000
    client, server = line.connect()
    assert send_through(client, server, NOISE) == NOISE
    assert len(read_exactly(line.server, sent)) == sent  # and all of it comes, once it reads


def test_a_closed_proxy_leaves_no_connection_thread_or_descriptor() -> None:
    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208

    threads_before, before = threading.active_count(), descriptors()
    line = Line()
    line.connect()
    line.proxy.cut(Reset(to=Direction.TO_CLIENT))
    _, server = line.connect()
    wait_until(lambda: line.proxy.connections == 1, "it is connected through to the server")
    line.proxy.close()
    with pytest.raises(ConnectionResetError):
        server.recv(1)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((HOST, line.proxy.port))
    line.close()  # may be called twice
    assert threading.active_count() == threads_before
    assert descriptors() == before
