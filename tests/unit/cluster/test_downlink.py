"""A stream of another host, served on a port of this one: what is passed on, and as how old."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Mapping

import pytest
from structlog.testing import capture_logs

from lib.clock import SECOND_NS
from lib.cluster.broker import EPOCH, HOST, Delivered, Message
from lib.cluster.downlink import Downlink
from lib.cluster.publisher import headers_of
from lib.cluster.streams import CLOCK, LAST, PRICE, TapePosition, live_subject
from lib.net.event_loop import EventLoop
from lib.process.client_log import ClientLog
from lib.stack.private_stack import free_ports
from lib.wire.stream_messages import encode_batch_header
from tests.cluster_broker import Faults, ModelBroker, ModelBrokers
from tests.loops import run_until

TAPE = "tape"


class Host:
    """A strategy host with one client, and the market host's end of the stream."""

    def __init__(self) -> None:
        self.broker = ModelBroker(ModelBrokers(0, Faults()))
        self.stream = self.broker.brokers.stream(PRICE)
        self.loop = EventLoop()
        self.ahead_ns = 0
        """How far the wall clock of the market host is ahead."""
        (port,) = free_ports(1)
        self.write(1, 3)
        self._downlink = Downlink(
            self.loop,
            self.broker,
            PRICE,
            host="127.0.0.1",
            port=port,
            setting="gateway.price_port",
            client_log=ClientLog("price", 8, self.loop.clock),
        )
        self._received = b""
        self._client = socket.create_connection(("127.0.0.1", port))
        self._client.setblocking(False)
        self._client.sendall(b"HELLO,1,1*")
        self.wait_for(b"S,3*")

    def close(self) -> None:
        self._client.close()

    def clock(self) -> Mapping[str, str]:
        offset_ns = self.loop.host.wall_ns() - self.loop.clock() + self.ahead_ns
        return {EPOCH: "1", HOST: "market-1", CLOCK: str(offset_ns)}

    def write(self, first: int, count: int, headers: Mapping[str, str] | None = None) -> Message:
        """Append ticks, sent now by the clock of the market host."""
        frames = b"".join(b"S,%d*" % number for number in range(first, first + count))
        position = headers_of(TapePosition(TAPE, first + count))
        headers = {**self.clock(), **position} if headers is None else headers
        data = encode_batch_header(first, count, self.loop.clock()) + frames
        self.stream.append(headers, data, len(self.stream.messages))
        return self.stream.messages[-1]

    def deliver(self, message: Message) -> None:
        self._downlink.take(Delivered(live_subject(PRICE), message))

    def give_word(self, data: bytes | None = None) -> None:
        headers = {**self.clock(), LAST: str(len(self.stream.messages))}
        data = encode_batch_header(1, 0, self.loop.clock()) if data is None else data
        self.deliver(Message(0, headers, data))

    def wait_for(self, expected: bytes) -> bytes:
        """Return what the client has been sent when this was there."""

        def has_come() -> bool:
            self._pass()
            return expected in self._received

        run_until(self.loop, has_come, f"{expected!r} comes")
        received, self._received = self._received, b""
        return received

    def run_until(self, condition: Callable[[], object], what: str) -> None:
        def holds() -> object:
            self._pass()
            return condition()

        run_until(self.loop, holds, what)

    def _pass(self) -> None:
        self._downlink.look()
        answers, self.broker.answers = self.broker.answers, []
        for answer in answers:
            self._downlink.take(answer)
        try:
            data = self._client.recv(1 << 16)
        except BlockingIOError:
            return
        assert data, "the client is disconnected"
        self._received += data


@pytest.fixture
def host() -> Iterator[Host]:
    host = Host()
    yield host
    host.close()


def age_s(host: Host, batch: bytes) -> float:
    """Return how old the ticks of a batch are to a client, in seconds."""
    header = batch[batch.index(b"BATCH,") :].split(b"*")[0]
    return (host.loop.clock() - int(header.split(b",")[3])) / SECOND_NS


@pytest.mark.parametrize("hours", [-1, 0, 1])
def test_a_tick_of_a_clock_an_hour_off_is_an_hour_old(host: Host, hours: int) -> None:
    """So no strategy trades on it (max_tick_age)."""
    host.ahead_ns = hours * 3600 * SECOND_NS
    host.deliver(host.write(4, 1))
    uptime_s = host.loop.clock() / SECOND_NS
    age = age_s(host, host.wait_for(b"S,4*"))
    assert age == pytest.approx(min(3600 * abs(hours), uptime_s), abs=60)


@pytest.mark.parametrize("hours", [-1, 1])
def test_clocks_an_hour_apart_are_logged_once(host: Host, hours: int) -> None:
    host.ahead_ns = hours * 3600 * SECOND_NS

    def is_logged() -> bool:
        host.give_word()
        return bool(logged)

    with capture_logs() as logged:
        host.run_until(is_logged, "the clocks are compared")
    (line,) = logged
    assert (line["event"], line["stream"]) == ("clocks_differ", PRICE)
    assert line["ahead_s"] == pytest.approx(3600 * hours, abs=60)


@pytest.mark.parametrize(
    "data", [b"", b"noise", b"BATCH,1,0,-5*", b"BATCH,1,2,5*A,1*", b"\xff" * 99]
)
def test_a_word_that_is_none_of_ours_does_not_end_the_role(host: Host, data: bytes) -> None:
    host.give_word(data)
    host.deliver(host.write(4, 1))
    host.wait_for(b"S,4*")


def test_a_message_that_no_writer_has_written_is_passed_over(host: Host) -> None:
    """A host of the same account can have JetStream answer into the stream."""
    with capture_logs() as logged:
        for _ in range(3):
            host.deliver(host.write(4, 1, headers={}))
        host.deliver(host.write(4, 1))
        received = host.wait_for(b"S,4*")
    assert received.count(b"S,4*") == 1
    assert [line["event"] for line in logged] == ["foreign_message"]


def test_ticks_of_which_the_delivery_was_lost_are_read_by_number(host: Host) -> None:
    for first in range(4, 204, 2):
        message = host.write(first, 2)
    host.deliver(message)
    received = host.wait_for(b"S,203*")
    ticks = [frame for frame in received.split(b"*") if frame.startswith(b"S,")]
    assert ticks == [b"S,%d" % number for number in range(4, 204)]
