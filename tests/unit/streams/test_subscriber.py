"""The server's side of a stream, sentence by sentence of the protocol."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.clock import MILLISECOND_NS, SECOND_NS
from lib.streams.publication import EncodedTape, NewsStream, Stream
from lib.streams.subscriber import MAX_BATCH_FRAMES, Subscriber
from lib.wire.framing import MessageTooLongError
from lib.wire.stream_messages import ProtocolError
from tests.streams import Tape, frame, frames, stream


def publish(of: Stream, count: int) -> None:
    of.next_sequence += count


def taken(subscriber: Subscriber, now_ns: int = 0) -> bytes:
    return b"".join(subscriber.take(now_ns))


# Plain clients


def test_a_client_that_only_connects_gets_every_tick_from_then_on_and_nothing_else():
    prices = stream(next_sequence=100)
    client = Subscriber(prices, 0)
    got = taken(client)
    for second in range(1, 100):
        publish(prices, second % 3)
        got += taken(client, second * SECOND_NS)
    assert got == frames(100, prices.next_sequence - 100)


# HELLO


@pytest.mark.parametrize(
    ("hello", "first"),
    [
        (b"HELLO,1,0*", 1000),  # from now on
        (b"HELLO,1,0,tape-7*", 1000),
        (b"HELLO,1,1*", 1),
        (b"HELLO,1,700*", 700),
        (b"HELLO,1,700,tape-7*", 700),
        (b"HELLO,1,1000,tape-7*", 1000),
        (b"HELLO,1,1001,tape-7*", 1000),  # beyond the tape's next
        (b"HELLO,1,9223372036854775807*", 1000),
        (b"HELLO,1,700,tape-6*", 1),  # of another tape
        (b"HELLO,1,0,tape-6*", 1),
    ],
)
def test_a_hello_is_answered_with_the_tape_and_the_first_sequence(hello, first):
    client = Subscriber(stream(next_sequence=1000), 0)
    assert client.receive(hello) == b"HELLO,1,tape-7,%d*" % first
    count = 1000 - first
    if count:
        assert taken(client, 5) == b"BATCH,%d,%d,5*" % (first, count) + frames(first, count)
    assert taken(client, 5) == b""


@pytest.mark.parametrize("before", [b"", b"HELLO,1,0*"])
@pytest.mark.parametrize(
    "said", [b"*", b"GET / HTTP/1.1*", b"AAPL,1*", b"HELLO,1,0*HELLO,1,0*", b"x" * 65_537]
)
def test_anything_that_is_no_hello_or_a_second_one_ends_the_connection(before, said):
    client = Subscriber(stream(), 0)
    client.receive(before)
    with pytest.raises((ProtocolError, MessageTooLongError)):
        client.receive(said)


def test_a_client_that_sends_no_messages_is_reported_once_and_stays():
    client = Subscriber(stream(), 0)
    assert client.receive(b"GET / HTTP/1.1\r\n") == b""
    assert client.undelimited().reason == "16 bytes and no `*`: HTTP?"
    client.receive(b"Host: localhost\r\n\r\n")
    assert client.undelimited() is None
    half = Subscriber(stream(), 0)
    half.receive(b"HELLO,1")
    assert half.undelimited() is None


# Batches


@given(st.lists(st.integers(0, 3 * MAX_BATCH_FRAMES // 2), max_size=8))
def test_batches_follow_each_other_without_gap_repetition_or_reordering(published):
    prices = stream()
    client = Subscriber(prices, 0)
    client.receive(b"HELLO,1,1*")
    expected = 1
    for now_ns, count in enumerate(published):
        publish(prices, count)
        while batch := taken(client, now_ns):
            header, _, body = batch.partition(b"*")
            taken_count = body.count(b"*")
            assert header == b"BATCH,%d,%d,%d" % (expected, taken_count, now_ns)
            assert body == frames(expected, taken_count)
            assert 0 < taken_count <= MAX_BATCH_FRAMES
            expected += taken_count
        assert expected == prices.next_sequence
        assert client.lag == 0


# Heartbeats


def test_with_nothing_else_a_numbered_client_hears_a_batch_of_none_twice_a_second():
    prices = stream(next_sequence=17)
    client = Subscriber(prices, 0)
    client.receive(b"HELLO,1,0*")
    publish(prices, 1)
    taken(client, 400 * MILLISECOND_NS)
    for due_ns in (900 * MILLISECOND_NS, 1400 * MILLISECOND_NS):
        assert client.heartbeat_due_ns() == due_ns
        assert taken(client, due_ns - 1) == b""
        assert taken(client, due_ns) == b"BATCH,18,0,%d*" % due_ns


# News


@pytest.mark.parametrize("asked", [b"HELLO,1,0*", b"HELLO,1,99,tape-7*"])
def test_a_client_that_joins_the_news_gets_the_latest_one_first(asked):
    news = NewsStream("tape-7", EncodedTape(Tape().encode), 18)
    client = Subscriber(news, 0)
    assert client.receive(asked) == b"HELLO,1,tape-7,17*"
    assert taken(client, 3) == b"BATCH,17,1,3*" + frame(17)
    publish(news, 2)
    assert taken(client, 4) == b"BATCH,18,2,4*" + frames(18, 2)
    unbegun = NewsStream("tape-7", EncodedTape(Tape().encode), 1)
    assert Subscriber(unbegun, 0).receive(asked) == b"HELLO,1,tape-7,1*"
