import pytest

from lib.clock import SECOND_NS
from lib.cluster.broker import EPOCH, HOST
from lib.cluster.stream_writer import Standing, StreamWriter
from lib.cluster.takeover import Takeover
from lib.cluster.writer_watch import LOOK_NS, WORD_NS
from tests.cluster_broker import Faults, ModelBroker, ModelBrokers, ModelStream

STREAM = "TW_TEST"
AFTER_NS = 3 * SECOND_NS


class Standby:
    """A standby of host b, and the stream that it watches."""

    def __init__(self, writer: str = "a", messages: int = 1) -> None:
        self.brokers = ModelBrokers(0, Faults())
        self.stream = self.brokers.stream(STREAM)
        self.broker = ModelBroker(self.brokers)
        self.writer = writer
        for _ in range(messages):
            self.write()
        self.takeover = Takeover(self.broker, STREAM, "b", AFTER_NS, 0)
        self.now_ns = 0

    def write(self) -> None:
        headers = {HOST: self.writer, EPOCH: "1"}
        self.stream.append(headers, b"x", len(self.stream.messages))

    def wait(self, duration_ns: int) -> bool:
        """Return whether it becomes due meanwhile."""
        end_ns = self.now_ns + duration_ns
        while self.now_ns < end_ns:
            self.now_ns += LOOK_NS // 2
            self.takeover.look(self.now_ns)
            while self.broker.answers:
                assert self.takeover.take(self.broker.answers.pop(), self.now_ns)
            if self.takeover.is_due:
                return True
        return False


def test_an_empty_stream_is_claimed_at_once():
    assert Standby(messages=0).wait(LOOK_NS)


def test_a_silent_writer_is_succeeded_behind_its_last_message():
    standby = Standby(messages=5)
    assert not standby.wait(AFTER_NS - LOOK_NS)
    assert standby.wait(2 * LOOK_NS)
    assert standby.takeover.last == standby.stream.messages[-1]


def test_a_word_keeps_the_standby_a_standby():
    standby = Standby()
    for _ in range(20):
        standby.takeover.heard(1, standby.now_ns)
        assert not standby.wait(WORD_NS)


def test_the_word_of_an_earlier_epoch_does_not():
    standby = Standby()
    standby.stream.append({HOST: "c", EPOCH: "2"}, b"", 1)
    due = [standby.wait(WORD_NS) or standby.takeover.heard(1, standby.now_ns) for _ in range(8)]
    assert any(due)


def test_a_writer_whose_words_are_lost_is_left_alone_while_it_writes():
    standby = Standby()
    for _ in range(20):
        standby.write()
        assert not standby.wait(2 * WORD_NS)
    assert standby.wait(AFTER_NS + LOOK_NS)
    assert standby.takeover.last == standby.stream.messages[-1]


def test_silence_without_a_leader_does_not_count():
    standby = Standby()
    standby.stream.leader = False
    assert not standby.wait(10 * AFTER_NS)
    standby.stream.leader = True
    assert not standby.wait(AFTER_NS - LOOK_NS)
    assert standby.wait(3 * LOOK_NS)


@pytest.mark.parametrize(("writer", "limit_ns"), [("b", 2 * WORD_NS), ("a", AFTER_NS)])
def test_the_successor_on_the_same_host_waits_for_a_word_only(writer, limit_ns):
    standby = Standby(writer)
    assert not standby.wait(limit_ns - LOOK_NS)
    assert standby.wait(2 * LOOK_NS)


def test_a_claim_at_once_waits_only_for_the_last_message():
    standby = Standby()
    standby.takeover.claim_at_once()
    assert standby.wait(2 * LOOK_NS)
    standby.takeover.begin_anew(standby.now_ns)
    assert not standby.wait(WORD_NS)


def forget(stream: ModelStream) -> None:
    """All messages are older than the stream keeps them."""
    stream.first = len(stream.messages) + 1


def test_a_stream_that_has_forgotten_all_is_claimed_above_any_epoch_that_it_can_have_had() -> None:
    standby = Standby(messages=5)
    forget(standby.stream)
    assert not standby.wait(AFTER_NS - LOOK_NS)
    assert standby.wait(2 * LOOK_NS)
    assert standby.takeover.last is None
    assert (standby.takeover.end, standby.takeover.epoch) == (5, 5)


def test_a_writer_with_nothing_to_write_keeps_a_stream_that_has_forgotten_all() -> None:
    standby = Standby(messages=5)
    forget(standby.stream)
    for _ in range(20):
        standby.takeover.heard(3, standby.now_ns)
        assert not standby.wait(WORD_NS)


@pytest.mark.parametrize("strangers", [1, 5])
def test_behind_messages_of_strangers_the_last_writer_is_found(strangers: int) -> None:
    standby = Standby(messages=3)
    for number in range(strangers):
        standby.stream.append({}, b'{"type":"io.nats.jetstream.api"}', 3 + number)
    assert standby.wait(2 * AFTER_NS)
    assert standby.takeover.last == standby.stream.messages[2]
    assert (standby.takeover.end, standby.takeover.epoch) == (3 + strangers, 1)


def test_where_only_messages_of_strangers_are_kept_there_is_no_last_writer() -> None:
    standby = Standby(messages=3)
    standby.stream.append({}, b"", 3)
    standby.stream.append({}, b"", 4)
    standby.stream.first = 4
    assert standby.wait(2 * AFTER_NS)
    assert standby.takeover.last is None
    assert standby.takeover.epoch == 5


def test_the_former_writer_of_a_stream_that_has_forgotten_all_is_refused_and_knows_it() -> None:
    standby = Standby(messages=0)
    former = StreamWriter(ModelBroker(standby.brokers), STREAM, "a", "a-1")
    for epoch in range(3):
        former.claim(epoch, epoch)
        former.take(former._broker.answers.pop())
    standby.stream.first = 4
    assert standby.wait(2 * AFTER_NS)
    successor = StreamWriter(standby.broker, STREAM, "b", "b-1")
    successor.claim(standby.takeover.end, standby.takeover.epoch)
    successor.take(standby.broker.answers.pop())
    former.append({}, b"late")
    for _ in range(4):
        former.look(0)
        while former._broker.answers:
            former.take(former._broker.answers.pop())
    assert successor.standing is Standing.WRITER
    assert former.standing is Standing.OVERTAKEN
