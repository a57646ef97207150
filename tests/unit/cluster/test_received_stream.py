import pytest

from lib.cluster.broker import Message
from lib.cluster.publisher import headers_of
from lib.cluster.received_stream import (
    CHUNK_BYTES,
    NewTapeError,
    ReceivedNews,
    ReceivedPublication,
    ReceivedTicks,
)
from lib.cluster.streams import TapePosition
from lib.streams.publication import REPLAY_TICKS
from lib.wire.stream_messages import HelloRequest, ProtocolError, encode_batch_header


def message(first: int, count: int, tape: str = "t") -> Message:
    frames = b"".join(b"A,%d*" % number for number in range(first, first + count))
    headers = headers_of(TapePosition(tape, first + count))
    return Message(1, headers, encode_batch_header(first, count, 7) + frames)


def publication_of(*messages: Message) -> ReceivedPublication:
    publication = ReceivedPublication(messages[0], ReceivedTicks)
    for one in messages:
        publication.publish(publication.receive(one))
    return publication


def test_frames_can_be_cut_anywhere():
    stream = publication_of(message(5, 3), message(8, 1), message(9, 4)).stream
    for first in range(5, 13):
        for count in range(1, 14 - first):
            pieces = b"".join(stream.pieces(first, count))
            assert pieces == b"".join(b"A,%d*" % n for n in range(first, first + count))


def test_what_has_come_before_is_left_out():
    stream = publication_of(message(1, 3), message(2, 4), message(1, 2)).stream
    assert stream.next_sequence == 6
    assert b"".join(stream.pieces(1, 5)) == b"A,1*A,2*A,3*A,4*A,5*"


@pytest.mark.parametrize("other", [message(5, 1), message(1, 1, tape="u")])
def test_a_gap_and_another_tape_end_it(other):
    with pytest.raises(NewTapeError):
        publication_of(message(1, 3), other)


def test_a_claim_has_no_frames():
    claim = Message(1, headers_of(TapePosition("t", 9)), b"")
    publication = publication_of(claim, message(9, 1))
    assert publication.stream.next_sequence == 10


@pytest.mark.parametrize(
    "bad",
    [
        Message(1, {}, b"BATCH,1,1,7*A,1*"),
        Message(1, headers_of(TapePosition("t", 2)), b"BATCH,1,2,7*A,1*"),
        Message(1, headers_of(TapePosition("t", 2)), b"A,1*"),
        Message(1, headers_of(TapePosition("t", 2)), b"BATCH,1,1,7*A,1"),
    ],
)
def test_what_is_no_batch_of_ours_is_refused(bad):
    with pytest.raises(ProtocolError):
        publication_of(message(1, 1), bad)


def test_a_client_that_needs_more_than_is_kept_is_told_where_it_begins():
    size = 4096
    messages = [message(1 + number * size, size) for number in range(REPLAY_TICKS // size + 3)]
    stream = publication_of(*messages).stream
    first = stream.first_for(HelloRequest(1, "t"))
    assert first == stream.next_sequence - REPLAY_TICKS
    assert b"".join(stream.pieces(first, 1)) == b"A,%d*" % first
    short = publication_of(message(100, 5)).stream
    assert short.first_for(HelloRequest(1, "t")) == 100


def test_a_client_that_has_begun_where_the_replay_does_is_not_lapped_at_once(monkeypatch):
    monkeypatch.setattr("lib.cluster.received_stream.RESERVE_BYTES", 6 * 1024 * 1024)
    size = 4096
    messages = [message(1 + number * size, size) for number in range(REPLAY_TICKS // size + 60)]
    publication = publication_of(*messages[:-50])
    first = publication.stream.first_for(HelloRequest(1, "t"))
    for one in messages[-50:]:
        publication.publish(publication.receive(one))
    assert publication.stream.has(first)
    while publication.stream.next_sequence < 4 * REPLAY_TICKS:  # but not for good
        one = message(publication.stream.next_sequence, size)
        publication.publish(publication.receive(one))
    assert not publication.stream.has(first)
    assert publication.stream.has(publication.stream.next_sequence - REPLAY_TICKS)


def test_small_messages_count_with_what_they_take_beside_their_frames(monkeypatch):
    monkeypatch.setattr("lib.cluster.received_stream.REPLAY_TICKS", 10)
    monkeypatch.setattr("lib.cluster.received_stream.RESERVE_BYTES", 30 * CHUNK_BYTES)
    stream = publication_of(*(message(number, 1) for number in range(1, 101))).stream
    assert not stream.has(100 - 30)
    assert stream.has(100 - 20)


def test_news_begin_with_the_latest():
    publication = ReceivedPublication(message(5, 3), ReceivedNews)
    publication.publish(publication.receive(message(5, 3)))
    assert publication.stream.first_for(HelloRequest(1, "t")) == 7
