"""One connection over a real loopback socket: its bounds, its order, its end."""

from __future__ import annotations

import random
import socket
import struct
import time
import tracemalloc
from contextlib import suppress

import pytest

from lib.net.connection import LINGER_NS, MAX_PIECES_A_SEND, Connection
from lib.net.event_loop import EventLoop
from tests.helpers import DEADLINE_S
from tests.loops import run_until, tcp_pair

PLENTY = 64 * 1024 * 1024
BUFFER_BYTES = 64 * 1024
BLOCKING_BYTES = 1024 * 1024
"""Far more than the kernel takes for a peer that reads nothing."""


class Owner:
    """Owns one connection and records its callbacks."""

    def __init__(self, max_queued_bytes: int = PLENTY, may_half_close: bool = False):
        self.loop = EventLoop()
        self.received: list[bytes] = []
        self.closed: list[str] = []
        self.drained: list[int] = []
        self.sock, self.peer = tcp_pair(BUFFER_BYTES)
        self.connection = Connection(
            self.loop,
            self.sock,
            max_queued_bytes=max_queued_bytes,
            on_data=self.received.append,
            on_closed=self.closed.append,
            on_drained=lambda: self.drained.append(1),
            may_half_close=may_half_close,
        )

    def read_at_peer(self, count: int) -> bytes:
        """Read so many bytes at the peer, fewer if the stream ends, while the loop runs."""
        self.peer.setblocking(False)
        received = bytearray()
        give_up = time.monotonic() + DEADLINE_S
        while len(received) < count:
            assert time.monotonic() < give_up, f"got only {len(received)} of {count} bytes"
            try:
                part = self.peer.recv(min(65536, count - len(received)))
            except BlockingIOError:
                self.loop.poll(may_sleep=False)
                continue
            if not part:
                break
            received += part
        return bytes(received)

    def read_until_end(self) -> bytes:
        return self.read_at_peer(PLENTY)


@pytest.fixture
def make_owner():
    owners = []

    def make(**options):
        owners.append(Owner(**options))
        return owners[-1]

    yield make
    for owner in owners:
        owner.connection.close("the test is over")
        owner.peer.close()


@pytest.fixture
def owner(make_owner):
    return make_owner()


def test_no_message_waits_for_the_one_after_it(owner):
    assert owner.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_slow_reader_gets_everything_in_order(owner):
    dice = random.Random(5)
    # Pieces of every kind: many small ones (more than one sendmsg takes), a few huge ones.
    pieces = [dice.randbytes(dice.choice([1, 7, 90, 500])) for _ in range(30 * MAX_PIECES_A_SEND)]
    pieces[0] = dice.randbytes(BLOCKING_BYTES)
    pieces[100] = dice.randbytes(500_000)
    for begin in range(0, len(pieces), 37):
        owner.connection.send(*pieces[begin : begin + 37])
    assert owner.connection.queued_bytes > 0
    expected = b"".join(pieces)
    assert owner.read_at_peer(len(expected)) == expected
    assert (owner.connection.queued_bytes, owner.closed) == (0, [])


def test_a_peer_that_does_not_read_is_disconnected_beyond_the_bound(make_owner):
    owner, finishing = (make_owner(max_queued_bytes=BLOCKING_BYTES) for _ in range(2))
    owner.connection.send(bytes(BLOCKING_BYTES))
    owner.connection.send(bytes(BLOCKING_BYTES - owner.connection.queued_bytes))
    assert owner.connection.queued_bytes == BLOCKING_BYTES
    assert owner.closed == []
    owner.connection.send(b"*")
    assert owner.closed == [f"does not read: more than {BLOCKING_BYTES} bytes wait for it"]
    assert owner.connection.queued_bytes == 0
    finishing.connection.send(bytes(BLOCKING_BYTES))
    finishing.connection.finish("replaced", bytes(BLOCKING_BYTES))
    assert not finishing.connection.finishing
    assert finishing.closed == owner.closed


@pytest.mark.timeout(20)
def test_empty_pieces_are_harmless(owner):
    owner.connection.send(b"", b"a", b"", b"b", b"")
    assert owner.peer.recv(100) == b"ab"  # at once: no loop has run
    assert owner.connection.queued_bytes == 0
    owner.connection.send(bytes(BLOCKING_BYTES))
    owner.connection.send(b"", b"c", b"")
    assert owner.read_at_peer(BLOCKING_BYTES + 1)[-1:] == b"c"


@pytest.mark.timeout(20)
def test_the_owner_hears_once_that_the_queue_has_drained(owner):
    owner.connection.send(bytes(BLOCKING_BYTES))
    owner.loop.poll(may_sleep=False)
    assert owner.drained == []
    owner.read_at_peer(BLOCKING_BYTES)
    run_until(owner.loop, lambda: owner.drained, "the queue drains")
    for _ in range(20):
        owner.loop.poll(may_sleep=False)
    assert owner.drained == [1]


def test_progress_is_when_the_peer_last_took_something(owner):
    owner.connection.send(bytes(BLOCKING_BYTES))
    stuck_ns = owner.connection.last_progress_ns
    for _ in range(10):
        owner.loop.poll(may_sleep=False)
        owner.connection.send(b"more")
    assert owner.connection.last_progress_ns == stuck_ns
    owner.read_at_peer(BLOCKING_BYTES // 2)
    run_until(owner.loop, lambda: owner.connection.last_progress_ns > stuck_ns, "it takes more")


def test_a_peer_that_owed_nothing_has_its_time_from_the_sending_on(owner):
    """An hour of silence before it must not make a client look stalled."""
    with suppress(BlockingIOError):
        while True:
            owner.sock.send(bytes(BUFFER_BYTES))  # nothing waits with us, but the kernel is full
    owner.connection.last_progress_ns = 0
    owner.connection.send(b"x")
    assert owner.connection.queued_bytes == 1
    assert owner.connection.last_progress_ns > 0


def test_what_waits_for_many_peers_is_in_memory_once(make_owner):
    owners = [make_owner() for _ in range(10)]
    batch = bytes(BLOCKING_BYTES)
    tracemalloc.start()
    for owner in owners:
        owner.connection.send(b"header", batch)
    grown, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert all(owner.connection.queued_bytes for owner in owners)
    assert max(grown, peak) < BLOCKING_BYTES // 2


def test_finish_delivers_the_last_words_though_input_is_unread_and_nothing_after_them(owner):
    """A plain close would reset the connection, and the reset would overtake the words."""
    owner.peer.send(bytes(100_000))
    owner.connection.finish("replaced", b"first,", b"last words*")
    owner.connection.send(b"too late")
    owner.connection.finish("another reason", b"too late as well")
    owner.peer.send(b"never read")
    assert owner.read_until_end() == b"first,last words*"
    assert owner.closed == []
    owner.peer.close()
    run_until(owner.loop, lambda: owner.closed, "the peer has closed")
    assert owner.closed == ["replaced"]
    assert owner.received == []


def test_finish_delivers_what_was_queued_before_in_a_bounded_time(owner):
    assert not owner.connection.lingers_too_long(time.monotonic_ns() + 1000 * LINGER_NS)
    before_ns = time.monotonic_ns()
    owner.connection.send(bytes(BLOCKING_BYTES))
    owner.connection.finish("replaced", b"last words*")
    after_ns = time.monotonic_ns()
    owner.connection.send(b"too late")
    assert owner.connection.finishing
    assert not owner.connection.lingers_too_long(before_ns + LINGER_NS)
    assert owner.connection.lingers_too_long(after_ns + LINGER_NS + 1)
    # Taking a little now and then does not buy more time.
    owner.read_at_peer(BLOCKING_BYTES // 2)
    assert owner.connection.lingers_too_long(after_ns + LINGER_NS + 1)
    rest = owner.read_until_end()
    assert len(rest) == BLOCKING_BYTES // 2 + len(b"last words*")
    assert rest.endswith(b"last words*")


@pytest.mark.parametrize("waiting", [0, BLOCKING_BYTES], ids=["idle", "much-waits"])
def test_a_reset_is_reported_once_with_its_reason(owner, waiting):
    owner.connection.send(bytes(waiting))
    owner.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    owner.peer.close()
    run_until(owner.loop, lambda: owner.closed, "the reset comes")
    assert owner.closed == ["Connection reset by peer"]
    assert owner.drained == []


def test_a_half_closed_peer_gets_everything_and_does_not_keep_the_loop_busy(make_owner):
    owner = make_owner(may_half_close=True)
    owner.peer.shutdown(socket.SHUT_WR)
    run_until(owner.loop, lambda: owner.connection.half_closed, "the end of its side is seen")
    with pytest.raises(FileNotFoundError):  # the loop does not wait for it at all
        owner.loop.modify(owner.sock, 1, lambda _: None)
    owner.connection.send(bytes(BLOCKING_BYTES))
    assert owner.connection.queued_bytes > 0
    assert owner.read_at_peer(BLOCKING_BYTES) == bytes(BLOCKING_BYTES)
    assert owner.closed == []


def test_a_limit_on_receiving_holds_and_with_none_the_loop_sleeps(make_owner):
    owner = make_owner()
    owner.connection.limit_receiving(3)
    owner.peer.sendall(b"abcdef")
    run_until(owner.loop, lambda: owner.received, "it has received")
    assert owner.received == [b"abc"]
    owner.connection.limit_receiving(0)
    assert owner.loop._wait(0) == []  # it would wake for nothing else
    owner.peer.close()
    owner.loop.poll(may_sleep=False)
    assert (owner.received, owner.closed) == ([b"abc"], [])
    owner.connection.limit_receiving(2)
    run_until(owner.loop, lambda: owner.closed, "it has seen the end")
    assert owner.received == [b"abc", b"de", b"f"]
