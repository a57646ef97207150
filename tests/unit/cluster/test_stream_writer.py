import pytest

from lib.cluster.broker import Message
from lib.cluster.stream_writer import ASK_AGAIN_NS, Standing, StreamWriter
from tests.cluster_broker import Faults, ModelBroker, ModelBrokers

STREAM = "TW_TEST"


class Numbers:
    """Writes 1, 2, 3 … into a stream, some in a message, each once, whoever the writer is."""

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
        self._next = 0
        self._after_this = 0

    def claim(self) -> None:
        messages = self._brokers.stream(STREAM).messages
        last = messages[-1] if messages else None
        self._next = numbers_in(messages, 0) + 1
        self.writer.claim(last.sequence if last else 0, last.epoch if last else 0)

    def step(self, now_ns: int) -> None:
        writer = self.writer
        for answer in self.broker.taken():
            writer.take(answer)
            if writer.standing is Standing.WRITER:
                self._next = self._after_this or self._next
        if writer.standing is Standing.RESOLVED:
            self._next = numbers_in(writer.resolved(), self._next - 1) + 1
            self._after_this = 0
        if writer.standing is Standing.WRITER and self._brokers.happens(0.8):
            self._after_this = self._next + self._brokers.random.randint(1, 5)
            writer.append({}, f"{self._next} {self._after_this - 1}".encode())
        writer.look(now_ns)


def numbers_in(messages: list[Message], last: int) -> int:
    """Return the last number in these messages, which must go on behind `last`."""
    for message in messages:
        if message.data:
            first, end = map(int, message.data.split())
            assert first == last + 1
            last = end
    return last


@pytest.mark.parametrize("seed", range(300))
def test_each_number_is_in_the_stream_once_and_in_order_whoever_writes(seed: int) -> None:
    faults = Faults(lost_request=0.03, lost_answer=0.03, late=0.03)
    brokers = ModelBrokers(seed, faults)
    writers = [Numbers(brokers, "a"), Numbers(brokers, "b")]
    now_ns = 0
    for step in range(400):
        now_ns += 50_000_000
        brokers.step()
        brokers.stream(STREAM).leader = step % 100 < 90
        for one in writers:
            if brokers.happens(0.02) or one.writer.standing is Standing.OVERTAKEN:
                one.begin()
            elif one.writer.standing is Standing.STANDBY and brokers.happens(0.05):
                one.claim()
            elif brokers.happens(0.9):  # paused otherwise
                one.step(now_ns)
    assert numbers_in(brokers.stream(STREAM).messages, 0) > 50


def writer_of(brokers: ModelBrokers, name: str = "a") -> tuple[ModelBroker, StreamWriter]:
    broker = ModelBroker(brokers)
    return broker, StreamWriter(broker, STREAM, name, f"{name}-1")


def hand_on(broker: ModelBroker, writer: StreamWriter, now_ns: int = 0) -> None:
    """Let everything happen that is asked."""
    for _ in range(10):
        writer.look(now_ns)
        answers, broker.answers = broker.answers, []
        for answer in answers:
            assert writer.take(answer)


def test_a_writer_that_was_overtaken_is_refused_and_knows_it() -> None:
    brokers = ModelBrokers(0, Faults())
    broker, paused = writer_of(brokers)
    paused.claim(0, 0)
    hand_on(broker, paused)
    other_broker, other = writer_of(brokers, "b")
    other.claim(1, 1)
    hand_on(other_broker, other)
    paused.append({}, b"late")
    hand_on(broker, paused)
    assert paused.standing is Standing.OVERTAKEN
    assert [one.data for one in brokers.stream(STREAM).messages] == [b"", b""]
    assert other.standing is Standing.WRITER


def test_of_two_claims_at_once_one_is_refused() -> None:
    brokers = ModelBrokers(0, Faults())
    broker, first = writer_of(brokers)
    other_broker, second = writer_of(brokers, "b")
    first.claim(0, 0)
    second.claim(0, 0)
    hand_on(broker, first)
    hand_on(other_broker, second)
    assert (first.standing, second.standing) == (Standing.WRITER, Standing.STANDBY)


def test_a_stream_that_has_lost_what_was_acknowledged_is_said_to_be_behind() -> None:
    brokers = ModelBrokers(0, Faults())
    broker, writer = writer_of(brokers)
    writer.claim(0, 0)
    hand_on(broker, writer)
    brokers.streams.clear()
    writer.append({}, b"x")
    hand_on(broker, writer)
    assert writer.standing is Standing.BEHIND


def test_what_is_dropped_while_a_writer_reads_it_is_not_waited_for() -> None:
    brokers = ModelBrokers(0, Faults())
    broker, writer = writer_of(brokers)
    writer.claim(0, 0)
    hand_on(broker, writer)
    stream = brokers.stream(STREAM)
    stream.append({"Tw-Epoch": "1"}, b"unknown", 1)
    writer.append({}, b"refused")
    assert writer.take(broker.answers.pop())
    writer.look(0)
    assert writer.take(broker.answers.pop())  # there are two messages
    stream.first = 3
    writer.look(0)
    assert writer.take(broker.answers.pop())  # and now there is none
    writer.look(ASK_AGAIN_NS - 1)
    assert not broker.answers  # it pauses
    hand_on(broker, writer, ASK_AGAIN_NS)
    assert writer.standing is Standing.BEHIND
