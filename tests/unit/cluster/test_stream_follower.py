import pytest

from lib.cluster.broker import Message
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
