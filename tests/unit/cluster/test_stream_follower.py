import pytest

from lib.clock import SECOND_NS
from lib.cluster.broker import Failed, Message, Read
from lib.cluster.stream_follower import SILENCE_NS, StreamFollower
from tests.cluster_broker import Faults, ModelBroker, ModelBrokers

STREAM = "TW_TEST"


@pytest.mark.parametrize("seed", range(200))
def test_all_messages_come_in_order_whatever_is_lost(seed: int) -> None:
    brokers = ModelBrokers(seed, Faults(lost_request=0.1))
    broker = ModelBroker(brokers)
    stream, random = brokers.stream(STREAM), brokers.random
    now_ns = 0
    follower = StreamFollower(broker, STREAM, 1, now_ns)
    got: list[Message] = []
    on_the_way: list[Message] = []
    for step in range(600):
        now_ns += 50_000_000
        if step < 300:
            stream.append({}, str(step).encode(), len(stream.messages))
            if random.random() < 0.8:
                on_the_way.append(stream.messages[-1])
            if random.random() < 0.2:
                on_the_way.append(random.choice(stream.messages))  # repeated
        random.shuffle(on_the_way)
        for message in on_the_way[: random.randint(0, 3)]:
            on_the_way.remove(message)
            got += follower.delivered(message, now_ns)
        if step % 10 == 0:
            follower.word(len(stream.messages), now_ns)
        follower.look(now_ns)
        for answer in broker.taken():
            taken = follower.take(answer, now_ns)
            assert taken is not None
            got += taken
    assert got == stream.messages


def test_messages_that_are_no_longer_kept_are_counted() -> None:
    brokers = ModelBrokers(0, Faults())
    broker = ModelBroker(brokers)
    stream = brokers.stream(STREAM)
    for number in range(10):
        stream.append({}, b"", number)
    stream.first = 6
    follower = StreamFollower(broker, STREAM, 1, 0)
    follower.word(10, 0)
    follower.look(0)
    assert follower.take(broker.answers.pop(), 0) == stream.messages[5:]
    assert follower.skipped == 5


def test_silence_is_noticed_and_a_word_ends_it() -> None:
    follower = StreamFollower(ModelBroker(ModelBrokers(0, Faults())), STREAM, 1, 0)
    assert not follower.is_silent(SILENCE_NS)
    assert follower.is_silent(SILENCE_NS + 1)
    follower.word(0, SILENCE_NS + 1)
    assert not follower.is_silent(SILENCE_NS + 1)


def test_what_was_delivered_is_given_though_the_stream_no_longer_has_it() -> None:
    brokers = ModelBrokers(0, Faults())
    broker = ModelBroker(brokers)
    stream = brokers.stream(STREAM)
    for number in range(10):
        stream.append({}, b"", number)
    follower = StreamFollower(broker, STREAM, 1, 0)
    assert follower.delivered(stream.messages[2], 0) == []
    stream.first = 6
    follower.word(10, 0)
    got: list[Message] = []
    while follower.next_sequence <= 10:
        follower.look(0)
        got += follower.take(broker.answers.pop(), 0) or []
    assert got == [stream.messages[2], *stream.messages[5:]]
    assert follower.skipped == 4


def following(count: int) -> tuple[ModelBroker, StreamFollower]:
    """A follower that has been given all of a stream of so many messages."""
    broker = ModelBroker(ModelBrokers(0, Faults()))
    stream = broker.brokers.stream(STREAM)
    follower = StreamFollower(broker, STREAM, 1, 0)
    for number in range(count):
        stream.append({}, b"", number)
        assert follower.delivered(stream.messages[-1], 0)
    return broker, follower


def hear(broker: ModelBroker, follower: StreamFollower, last: int) -> None:
    """A writer says what the last message is; what is asked then is answered."""
    follower.word(last, 0)
    follower.look(SECOND_NS)
    while broker.answers:
        assert follower.take(broker.answers.pop(), SECOND_NS) is not None


def test_a_stream_that_brokers_have_lost_and_made_anew_is_noticed() -> None:
    broker, follower = following(10)
    broker.brokers.streams.clear()
    broker.brokers.stream(STREAM).append({}, b"of another stream", 0)
    broker.brokers.stream(STREAM).leader = False
    hear(broker, follower, 1)
    assert not follower.has_lost  # who answers does not know
    broker.brokers.stream(STREAM).leader = True
    hear(broker, follower, 1)
    assert follower.has_lost


def test_the_word_of_a_writer_that_was_overtaken_by_its_messages_is_no_loss() -> None:
    broker, follower = following(10)
    hear(broker, follower, 7)
    assert not follower.has_lost
    assert follower.next_sequence == 11
    follower.look(2 * SECOND_NS)
    assert not broker.answers  # it has looked once


def test_a_line_too_slow_for_a_reading_gets_smaller_ones() -> None:
    broker, _ = following(500)
    stream, follower = broker.brokers.stream(STREAM), StreamFollower(broker, STREAM, 1, 0)
    follower.word(500, 0)
    got: list[Message] = []
    now_ns = 0
    while follower.next_sequence <= 500:
        now_ns += SECOND_NS
        assert now_ns < 500 * SECOND_NS
        follower.look(now_ns)
        answer = broker.answers.pop()
        assert isinstance(answer, Read)
        took = answer if len(answer.messages) <= 10 else Failed(answer.question, "no answer")
        got += follower.take(took, now_ns) or []
    assert got == stream.messages
