"""Clients of a downlink: what they begin with, and what becomes of them at a gap."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from lib.cluster.broker import CLAIMANT, EPOCH, Delivered, Message
from lib.cluster.downlink import Downlink
from lib.cluster.publisher import headers_of
from lib.cluster.streams import LAST, NEWS, PRICE, TapePosition, live_subject
from lib.net.event_loop import EventLoop
from lib.process.client_log import ClientLog
from lib.process.role import RoleEndsError
from lib.stack.private_stack import free_ports
from lib.wire.stream_messages import encode_batch_header
from tests.cluster_broker import Faults, ModelBroker, ModelBrokers
from tests.helpers import wait_until

FRAME = {NEWS: b"50*", PRICE: b"A,1*"}


class Host:
    """A downlink, the stream that it serves, and its clients."""

    def __init__(self, stream: str, clean_up: ExitStack) -> None:
        self.name = stream
        self._clean_up = clean_up
        self.broker = ModelBroker(ModelBrokers(0, Faults()))
        self.loop = EventLoop()
        self.loop._longest_sleep_ns = 0  # a pass comes back at once, whatever there is
        (self.port,) = free_ports(1)
        self.downlink = Downlink(
            self.loop,
            self.broker,
            stream,
            host="127.0.0.1",
            port=self.port,
            setting="gateway.news_port",
            client_log=ClientLog("news", 8, self.loop.clock),
        )

    @property
    def messages(self) -> list[Message]:
        return self.broker.brokers.stream(self.name).messages

    def publish(self, first: int, count: int, **further: str) -> None:
        """Let a writer append frames, or a message without any."""
        headers = {EPOCH: "1", **headers_of(TapePosition("t", first + count)), **further}
        data = encode_batch_header(first, count, 7) + FRAME[self.name] * count if count else b""
        self.broker.brokers.stream(self.name).append(headers, data, len(self.messages))
        self.downlink.take(Delivered(live_subject(self.name), self.messages[-1]))

    def step(self) -> None:
        self.downlink.look()
        self.loop.poll()
        while self.broker.answers:
            self.downlink.take(self.broker.answers.pop(0))

    def join(self) -> tuple[socket.socket, list[bytes]]:
        """Connect, and return what is said first: the answer, and a batch if there is one."""
        sock = self._clean_up.enter_context(socket.create_connection(("127.0.0.1", self.port)))
        sock.setblocking(False)
        sock.sendall(b"HELLO,1,0*")
        said = b""

        def has_heartbeat() -> bool:
            nonlocal said
            self.step()
            said += received(sock)
            return b",0," in said  # one of none: it has all

        wait_until(has_heartbeat, "a heartbeat has come")
        frames = said.split(b"*")
        return sock, [frame.rpartition(b",")[0] for frame in frames if b"," in frame]


def received(sock: socket.socket) -> bytes:
    try:
        return sock.recv(1 << 16)
    except BlockingIOError:
        return b""


@pytest.fixture
def news() -> Iterator[Host]:
    with ExitStack() as clean_up:
        yield Host(NEWS, clean_up)


@pytest.fixture
def prices() -> Iterator[Host]:
    with ExitStack() as clean_up:
        yield Host(PRICE, clean_up)


def test_news_begin_with_the_latest_though_a_claim_came_after_it(news: Host) -> None:
    news.publish(1, 3)
    news.publish(4, 0, **{CLAIMANT: "a-1"})
    _, said = news.join()
    assert said == [b"HELLO,1,t", b"BATCH,3,1", b"BATCH,4,0"]


def test_where_only_a_claim_is_kept_there_is_no_sentiment_yet(news: Host) -> None:
    news.publish(4, 0, **{CLAIMANT: "a-1"})
    _, said = news.join()
    assert said == [b"HELLO,1,t", b"BATCH,4,0"]
    news.publish(4, 1)
    _, said = news.join()
    assert said == [b"HELLO,1,t", b"BATCH,4,1", b"BATCH,5,0"]


def test_a_gap_of_news_disconnects_their_clients_and_nobody_else(news: Host) -> None:
    """As behind an uplink that was away: its gateway gives the latest sentiment only."""
    news.publish(1, 3)
    sock, _ = news.join()
    news.publish(9, 2)

    def is_closed() -> bool:
        news.step()
        try:
            return sock.recv(1 << 16) == b""
        except ConnectionResetError:
            return True
        except BlockingIOError:
            return False

    wait_until(is_closed, "the client is disconnected")
    _, said = news.join()
    assert said == [b"HELLO,1,t", b"BATCH,10,1", b"BATCH,11,0"]


def test_a_gap_of_ticks_ends_the_role(prices: Host) -> None:
    prices.publish(1, 3)
    prices.join()
    with pytest.raises(RoleEndsError, match="4 to 8 of tape t are not in the stream"):
        prices.publish(9, 2)


def test_brokers_that_have_lost_the_stream_end_the_role(prices: Host) -> None:
    for number in range(1, 9):
        prices.publish(number, 1)
    prices.join()
    prices.messages.clear()
    prices.publish(9, 1)
    word = Message(0, {LAST: "1"}, b"")
    prices.downlink.take(Delivered(live_subject(PRICE), word))
    prices.step()  # it looks at the stream
    with pytest.raises(RoleEndsError, match="the brokers have lost messages"):
        prices.step()
