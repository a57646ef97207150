import pytest

from lib.clock import MILLISECOND_NS
from lib.cluster.publisher import ANEW_NS, MAX_KEPT_BYTES, Publisher
from lib.cluster.received_stream import ReceivedPublication, ReceivedTicks
from lib.cluster.stream_follower import StreamFollower
from lib.cluster.stream_writer import Standing, StreamWriter
from lib.cluster.streams import MAX_MESSAGE_BYTES, position_of, split_batch
from lib.streams.stream_client import Frames
from tests.cluster_broker import Faults, ModelBroker, ModelBrokers

STREAM = "TW_TEST"
LINGER_NS = 2 * MILLISECOND_NS


def ticks(first: int, count: int) -> Frames:
    return Frames(first, count, b"".join(b"A,%d*" % n for n in range(first, first + count)), first)


class MarketHost:
    """A process that publishes a tape, wherever the stream is when it claims it."""

    def __init__(self, brokers: ModelBrokers, name: str) -> None:
        self._brokers = brokers
        self._name = name
        self._lives = 0
        self.begin()

    def begin(self) -> None:
        """A new process: it knows nothing."""
        self._lives += 1
        self.broker = ModelBroker(self._brokers)
        self.writer = StreamWriter(self.broker, STREAM, self._name, f"{self._name}-{self._lives}")
        self.publisher = Publisher(self.writer, LINGER_NS)
        self._next = 1

    def claim(self) -> None:
        messages = self._brokers.stream(STREAM).messages
        last = messages[-1] if messages else None
        position = position_of(last.headers) if last else None
        self._next = position.next_sequence if position else 1
        carried = {key: last.headers[key] for key in ("Tw-Tape", "Tw-Next")} if position else {}
        self.publisher = Publisher(self.writer, LINGER_NS)
        self.writer.claim(last.sequence if last else 0, last.epoch if last else 0, carried)

    def step(self, now_ns: int) -> None:
        for answer in self.broker.taken():
            self.writer.take(answer)
        self.writer.look(now_ns)
        if self._brokers.happens(0.7):
            count = self._brokers.random.randint(1, 40)
            self.publisher.keep("t", [ticks(self._next, count)], now_ns)
            self._next += count
        if self.writer.standing is not Standing.STANDBY:
            self.publisher.look(now_ns, {})


@pytest.mark.parametrize("seed", range(200))
def test_every_tick_is_in_the_stream_once_whoever_publishes(seed):
    brokers = ModelBrokers(seed, Faults(lost_request=0.03, lost_answer=0.03, late=0.03))
    hosts = [MarketHost(brokers, "a"), MarketHost(brokers, "b")]
    now_ns = 0
    for step in range(400):
        now_ns += MILLISECOND_NS
        brokers.step()
        brokers.stream(STREAM).leader = step % 100 < 90
        for host in hosts:
            if brokers.happens(0.01) or host.writer.standing is Standing.OVERTAKEN:
                host.begin()
            elif host.writer.standing is Standing.STANDBY and brokers.happens(0.05):
                host.claim()
            elif brokers.happens(0.9):
                host.step(now_ns)
    messages = [one for one in brokers.stream(STREAM).messages if position_of(one.headers)]
    received = ReceivedPublication(messages[0], ReceivedTicks)
    for message in messages:
        received.publish(received.receive(message))
    count = received.stream.next_sequence - 1
    assert count > 100
    assert sum(split_batch(one.data)[0].count for one in messages if one.data) == count
    assert b"".join(received.stream.pieces(1, count)) == ticks(1, count).frames


def writing() -> tuple[ModelBroker, StreamWriter, Publisher]:
    broker = ModelBroker(ModelBrokers(0, Faults()))
    writer = StreamWriter(broker, STREAM, "a", "a-1")
    writer.claim(0, 0)
    assert writer.take(broker.answers.pop())
    return broker, writer, Publisher(writer, LINGER_NS)


def test_ticks_linger_and_then_go_together():
    broker, writer, publisher = writing()
    publisher.keep("t", [ticks(1, 2)], 0)
    publisher.look(LINGER_NS - 1, {})
    assert writer.standing is Standing.WRITER
    assert publisher.next_deadline_ns() == LINGER_NS
    publisher.keep("t", [ticks(3, 1)], LINGER_NS - 1)
    publisher.look(LINGER_NS, {})
    assert writer.take(broker.answers.pop())
    publisher.look(LINGER_NS, {})
    assert publisher.position == ("t", 4)
    assert publisher.next_deadline_ns() is None


def test_a_full_message_does_not_linger_and_a_large_batch_is_cut():
    broker, writer, publisher = writing()
    publisher.keep("t", [ticks(1, 20_000)], 0)
    now_ns = 0
    while publisher.position != ("t", 20_001):
        publisher.look(now_ns, {})
        now_ns = LINGER_NS
        if broker.answers:
            assert writer.take(broker.answers.pop())
    messages = broker.brokers.stream(STREAM).messages
    sizes = [len(message.data) for message in messages]
    assert len(sizes) > 2
    assert max(sizes) <= MAX_MESSAGE_BYTES + 100


def test_two_tapes_are_not_in_one_message():
    broker, writer, publisher = writing()
    publisher.keep("t", [ticks(1, 2)], 0)
    publisher.keep("u", [ticks(1, 2)], 0)
    publisher.look(0, {})
    assert writer.take(broker.answers.pop())
    publisher.look(LINGER_NS, {})
    assert publisher.position == ("t", 3)
    assert writer.take(broker.answers.pop())
    publisher.look(LINGER_NS, {})
    assert publisher.position == ("u", 3)


def test_a_gateway_waits_for_a_stream_that_takes_nothing():
    _, _, publisher = writing()
    assert not publisher.is_full
    publisher.keep("t", [Frames(1, 1, b"x" * MAX_KEPT_BYTES + b"*", 0)], 0)
    assert publisher.is_full


def test_a_follower_serves_what_a_publisher_publishes():
    broker, writer, publisher = writing()
    follower = StreamFollower(broker, STREAM, 1, 0)
    publisher.keep("t", [ticks(1, 7)], 0)
    publisher.look(LINGER_NS, {})
    assert writer.take(broker.answers.pop())
    follower.word(2, 0)
    follower.look(0)
    messages = follower.take(broker.answers.pop(), 0)
    assert messages is not None
    received = ReceivedPublication(messages[1], ReceivedTicks)
    assert received.receive(messages[1]) == 7


def test_the_newest_frame_is_known_before_and_after_the_stream_has_it():
    host = MarketHost(ModelBrokers(0, Faults()), "a")
    host.claim()
    assert host.publisher.newest is None
    host.publisher.keep("t", [ticks(1, 5), ticks(6, 2)], 0)
    assert host.publisher.newest == 7
    for now_ns in range(0, 4 * LINGER_NS, LINGER_NS):
        while host.broker.answers:
            host.writer.take(host.broker.answers.pop())
        host.publisher.look(now_ns, {})
    assert host.publisher.position.next_sequence == 8
    assert host.publisher.newest == 7


def test_a_tape_without_ticks_is_not_forgotten_by_the_stream():
    broker, writer, publisher = writing()
    publisher.keep("t", [ticks(1, 7)], 0)
    now_ns = 0
    while now_ns < 3 * ANEW_NS:
        now_ns += ANEW_NS // 10
        publisher.look(now_ns, {"Tw-Contents": "c"})
        while broker.answers:
            assert writer.take(broker.answers.pop())
    messages = broker.brokers.stream(STREAM).messages
    assert [split_batch(one.data)[0].count for one in messages[1:]] == [7, 0, 0]
    assert {position_of(one.headers) for one in messages[1:]} == {("t", 8)}
    assert messages[-1].headers["Tw-Contents"] == "c"
    received = ReceivedPublication(messages[1], ReceivedTicks)
    assert [received.receive(one) for one in messages[1:]] == [7, 0, 0]
