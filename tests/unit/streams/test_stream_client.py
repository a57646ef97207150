"""The client's side of a stream, sentence by sentence of the protocol.

That a client gets every tick exactly once, in order, by its number, whatever is cut, lost and
restarted in between, is shown by the simulation.
"""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from lib.clock import MILLISECOND_NS, SECOND_NS
from lib.streams.stream_client import (
    FIRST_FRAME_LIMIT_NS,
    LONGEST_WAIT_NS,
    PLAIN_AFTER_NS,
    SILENCE_LIMIT_NS,
    UNDELIMITED_AFTER_NS,
    Frames,
    Joined,
    StreamClient,
    WentPlain,
)
from lib.wire.framing import RECEIVE_BYTES, MessageTooLongError
from lib.wire.stream_messages import ProtocolError
from lib.wire.undelimited import MANY_BYTES

NOW = 1000 * SECOND_NS


def received(client: StreamClient, data: bytes, now_ns: int = NOW) -> list:
    return list(client.receive(data, now_ns))


def received_until_error(client: StreamClient, pieces: list[bytes]) -> tuple[list, bool]:
    """The events, and whether an error ended them."""
    events: list = []
    try:
        for piece in pieces:
            events.extend(client.receive(piece, NOW))  # keeps those before an error
    except (ProtocolError, MessageTooLongError):
        return events, True
    return events, False


def joined_client(answer: bytes = b"HELLO,1,T,10*", **known) -> StreamClient:
    """A client that is connected and has had its answer."""
    client = StreamClient(**{"may_be_plain": False, **known})
    client.connected(NOW)
    received(client, answer)
    return client


def fresh(may_be_plain: bool = True) -> StreamClient:
    """The connected client of a book that is empty."""
    client = StreamClient(next_sequence=1, may_be_plain=may_be_plain)
    client.connected(NOW)
    return client


# HELLO and its answer


@pytest.mark.parametrize(
    ("known", "hello"),
    [
        ({}, b"HELLO,1,0*"),
        ({"next_sequence": 1}, b"HELLO,1,1*"),
        ({"next_sequence": 700, "tape": "T"}, b"HELLO,1,700,T*"),
    ],
)
def test_a_client_asks_for_the_first_sequence_that_it_still_needs(known, hello):
    assert StreamClient(may_be_plain=True, **known).connected(NOW) == hello


def test_plain_frames_before_the_answer_are_skipped():
    client = fresh()
    assert received(client, b"AAPL,1*AAPL,2*") == []
    assert (client.joined, client.heard_ns) == (False, None)
    assert received(client, b"AAPL,3*HELLO,1,T,1*BATCH,1,1,5*AAPL,4*") == [
        Joined("T", 1, new_tape=True, missed=None),
        Frames(1, 1, b"AAPL,4*", 5),
    ]
    assert (client.joined, client.tape, client.heard_ns) == (True, "T", NOW)


@pytest.mark.parametrize(
    ("tape", "needed", "answer", "joined"),
    [
        ("T", 10, (b"T", 15), Joined("T", 15, new_tape=False, missed=(10, 14))),
        ("T", 10, (b"U", 1), Joined("U", 1, new_tape=True, missed=None)),
        ("T", 10, (b"U", 4), Joined("U", 4, new_tape=True, missed=(1, 3))),
        (None, 1, (b"U", 4), Joined("U", 4, new_tape=True, missed=(1, 3))),
    ],
)
def test_what_the_server_no_longer_has_is_reported_by_number(tape, needed, answer, joined):
    """Another tape is needed from its beginning."""
    client = StreamClient(tape=tape, next_sequence=needed, may_be_plain=False)
    client.connected(NOW)
    first = answer[1]
    batch = b"BATCH,%d,1,5*A,1*" % first
    assert received(client, b"HELLO,1,%b,%d*" % answer + batch) == [
        joined,
        Frames(first, 1, b"A,1*", 5),
    ]
    client.disconnected()
    assert client.connected(NOW) == b"HELLO,1,%d,%b*" % (first + 1, answer[0])


def test_a_client_that_follows_misses_nothing_by_being_away_and_gets_the_latest_again():
    client = StreamClient(may_be_plain=True)
    for first, new_tape in ((50, True), (90, False), (90, False)):
        assert client.connected(NOW) == b"HELLO,1,0*"
        assert received(client, b"HELLO,1,T,%d*BATCH,%d,1,5*64*" % (first, first)) == [
            Joined("T", first, new_tape=new_tape, missed=None),
            Frames(first, 1, b"64*", 5),
        ]
        client.disconnected()


@pytest.mark.parametrize("needed", range(10, 17))
def test_frames_that_a_client_has_already_are_left_out(needed):
    client = StreamClient(tape="T", next_sequence=needed, may_be_plain=False)
    client.connected(NOW)
    data = (
        b"HELLO,1,T,10*BATCH,10,2,5*J,10*K,11*BATCH,12,3,6*L,12*M,13*N,14*BATCH,15,2,7*O,15*P,16*"
    )
    joined, *batches = received(client, data)
    assert joined == Joined("T", 10, new_tape=False, missed=None)
    assert batches[0].first == needed
    assert all(batch.count == batch.frames.count(b"*") > 0 for batch in batches)
    frames = b"".join(batch.frames for batch in batches).split(b"*")[:-1]
    assert [int(frame.partition(b",")[2]) for frame in frames] == list(range(needed, 17))


@pytest.mark.parametrize("skipped", [b"", b"AAPL,1*"])
@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        *[(b"HELLO,2,T,1*", "HELLO"), (b"HELLO,1,T,0*", "FIRST"), (b"HELLO,*", "HELLO")],
        *[(b"BATCH,1,0,5*" + after, "before the answer") for after in (b"", b"HELLO,1,T,1*")],
    ],
)
def test_an_answer_that_cannot_be_read_or_is_not_the_first_is_an_error(skipped, answer, reason):
    with pytest.raises(ProtocolError, match=reason):
        received(fresh(), skipped + answer)


# Batches


def test_each_frame_carries_the_time_of_its_own_batch_and_a_heartbeat_is_no_event():
    client = joined_client()
    assert received(client, b"BATCH,10,0,4*") == []
    assert received(client, b"BATCH,10,1,5*A,1*BATCH,11,0,6*BATCH,11,2,7*B,1*C,1*") == [
        Frames(10, 1, b"A,1*", 5),
        Frames(11, 2, b"B,1*C,1*", 7),
    ]


@pytest.mark.parametrize(
    ("batches", "reason"),
    [
        (b"BATCH,10,2,5*A,1*BATCH,11,0,6*", "a batch of 2 frames ended 1 early"),
        (b"BATCH,10,2,5*BATCH,10,0,6*", "a batch of 2 frames ended 2 early"),
        (b"BATCH,10,1,5*A,1*B,1*BATCH,12,0,6*", "1 frames too many after a batch of 1"),
        (b"BATCH,10,0,5*A,1*", "expected BATCH,FIRST,COUNT,SENT_NS, got 'A,1'"),
        (b"A,1*", "expected BATCH,FIRST,COUNT,SENT_NS, got 'A,1'"),
        (b"BATCH,11,0,5*", "expected sequence 10, got 11"),
        (b"BATCH,9,1,5*A,1*", "expected sequence 10, got 9"),
        (b"BATCH,10,1,5*A,1*BATCH,10,1,6*A,1*", "expected sequence 11, got 10"),
        (b"BATCH,10,1,5*A,1*BATCH,12,1,6*A,1*", "expected sequence 11, got 12"),
        (b"BATCH,10,-1,5*", "COUNT must be a whole number of 63 bits, got '-1'"),
        (b"BATCH,10,1*", "expected BATCH,FIRST,COUNT,SENT_NS, got 'BATCH,10,1'"),
        (b"HELLO,1,T,10*", "expected BATCH,FIRST,COUNT,SENT_NS, got 'HELLO,1,T,10'"),
        (b"BATCH,10,9223372036854775807,5*", "sequence numbers past 63 bits"),
    ],
)
def test_a_batch_that_does_not_add_up_or_a_number_out_of_turn_is_a_protocol_error(batches, reason):
    with pytest.raises(ProtocolError) as error:
        received(joined_client(), batches)
    assert reason in str(error.value)
    byte_by_byte = [bytes([byte]) for byte in batches]
    assert received_until_error(joined_client(), byte_by_byte)[1]


def test_after_a_protocol_error_the_client_asks_for_what_it_has_not_given_out():
    client = joined_client(tape="T", next_sequence=10)
    data = b"BATCH,10,2,5*A,1*BATCH,11,1,6*B,1*"
    assert received_until_error(client, [data]) == ([Frames(10, 1, b"A,1*", 5)], True)
    assert client.connected(NOW) == b"HELLO,1,11,T*"
    assert received(client, b"HELLO,1,T,11*BATCH,11,1,7*B,1*")[1] == Frames(11, 1, b"B,1*", 7)


# Servers that speak no frames at all


LINES = b"AAPL,172.53\nMSFT,325.20\n"


def reasons_to_log(client: StreamClient, data: bytes, now_ns: int = NOW) -> list[str]:
    """What there is to be logged of bytes without a delimiter."""
    return [event.reason for event in received(client, data, now_ns)]


@pytest.mark.parametrize("client", [fresh(), joined_client(), fresh(may_be_plain=False)])
def test_many_bytes_without_a_delimiter_are_reported_once_a_connection(client):
    assert reasons_to_log(client, b"x" * (MANY_BYTES - 1)) == []
    assert reasons_to_log(client, b"\n") == ["4,096 bytes and no `*`: every message ends in `*`"]
    assert reasons_to_log(client, LINES) == []
    client.disconnected()
    client.connected(NOW)
    assert reasons_to_log(client, LINES * 200) == ["4,800 bytes and no `*`: a feed of lines?"]


def test_a_slow_feed_of_lines_is_reported_after_a_few_seconds():
    client = fresh()
    for second in range(1, 4):
        assert reasons_to_log(client, LINES[:10], NOW + second * SECOND_NS) == []
        assert client.undelimited_at(NOW + second * SECOND_NS) is None
    deadline_ns = client.next_deadline_ns()
    assert deadline_ns == NOW + SECOND_NS + UNDELIMITED_AFTER_NS
    undelimited = client.undelimited_at(deadline_ns)
    assert undelimited.text == "AAPL,172.5" * 3
    assert undelimited.reason.startswith("30 bytes and no `*`")
    assert client.next_deadline_ns() == NOW + FIRST_FRAME_LIMIT_NS
    assert client.silence_reason().endswith("30 bytes and no `*`: every message ends in `*`")


def test_half_a_message_after_a_frame_is_nothing_to_speak_of():
    client = fresh()
    received(client, b"AAPL")
    assert received(client, b",1*AAPL") == []
    assert client.next_deadline_ns() == NOW + LONGEST_WAIT_NS
    assert client.undelimited_at(client.next_deadline_ns()) is None


def test_a_feed_of_lines_that_is_cut_at_last_is_named_so():
    client = fresh()
    received(client, LINES)
    with pytest.raises(MessageTooLongError, match=r"which begin 'AAPL,172\.53.*': lines"):
        received(client, LINES * 10_000)
    assert client.is_strange
    assert client.disconnected().text.startswith("AAPL,172.53")


def test_a_strange_server_that_closes_is_shown_with_what_it_has_sent_and_no_other():
    strange, plain = fresh(), fresh()
    received(strange, b"HTTP/1.1 400 Bad Request\r\n\r\n")
    assert strange.disconnected().reason == "28 bytes and no `*`: HTTP?"
    received(plain, b"AAPL,1*")
    for client in (plain, fresh(may_be_plain=False)):
        received(client, b"AAPL")
        assert not client.is_strange
        assert client.disconnected() is None


# Servers that speak only plain frames


def test_after_1_s_of_plain_frames_without_an_answer_the_client_numbers_them_itself():
    client = fresh()
    began_ns = NOW + 5 * SECOND_NS  # a quiet market: the time counts from the first frame
    assert received(client, b"A,1*", began_ns) == []
    assert received(client, b"B,1*", began_ns + PLAIN_AFTER_NS - 1) == []
    assert not client.joined
    assert received(client, b"C,1*D,1*", began_ns + PLAIN_AFTER_NS) == [
        WentPlain(1),
        Frames(1, 2, b"C,1*D,1*", began_ns + PLAIN_AFTER_NS),
    ]
    assert client.joined
    assert client.next_deadline_ns() is None  # a plain stream may be silent
    assert received(client, b"E,1*", began_ns + SECOND_NS * 2)[0].first == 3


def test_a_client_whose_book_once_had_an_answer_never_goes_plain():
    never = fresh(may_be_plain=False)
    once = joined_client(b"HELLO,1,T,1*", next_sequence=1, may_be_plain=True)
    once.disconnected()
    once.connected(NOW)
    for client in (never, once):
        for second in range(10):
            assert received(client, b"A,1*", NOW + second * SECOND_NS) == []
        assert not client.joined


def test_one_second_of_frames_is_counted_anew_on_each_connection():
    client = fresh()
    received(client, b"A,1*")
    client.disconnected()
    client.connected(NOW + SECOND_NS)
    assert received(client, b"A,1*", NOW + SECOND_NS) == []
    assert received(client, b"A,1*", NOW + 2 * SECOND_NS)[0] == WentPlain(1)


def plain_client() -> StreamClient:
    """A client that has numbered three plain frames."""
    client = fresh()
    received(client, b"A,1*")
    assert received(client, b"A,1*B,1*C,1*", NOW + PLAIN_AFTER_NS)[1].count == 3
    return client


@pytest.mark.parametrize(
    "client",
    [plain_client(), StreamClient(next_sequence=4, may_be_plain=True)],
    ids=["reconnected", "of an earlier process"],
)
def test_a_plain_stream_is_numbered_on(client):
    client.connected(NOW)
    received(client, b"D,1*")
    later = NOW + PLAIN_AFTER_NS
    assert received(client, b"E,1*", later) == [WentPlain(4), Frames(4, 1, b"E,1*", later)]


@pytest.mark.parametrize("before", [b"", b"D,1*"])
def test_a_late_answer_means_reconnect_and_then_the_stream_is_numbered(before):
    client = plain_client()
    with pytest.raises(ProtocolError, match="came late"):
        received(client, before + b"HELLO,1,T,1*")
    client.connected(NOW)
    for second in range(3):
        assert received(client, b"A,1*", NOW + second * SECOND_NS) == []
    assert received(client, b"HELLO,1,T,1*")[0].tape == "T"


def test_numbers_of_its_own_are_never_taken_for_those_of_a_tape():
    after_plain = plain_client()
    successor = StreamClient(next_sequence=4, may_be_plain=True)
    for client in (after_plain, successor):
        # Were it to ask for 4, the ticks 1 to 3 of the tape would be lost unseen.
        assert client.connected(NOW) == b"HELLO,1,1*"
        assert received(client, b"HELLO,1,T,1*BATCH,1,1,5*A,1*") == [
            Joined("T", 1, new_tape=True, missed=None),
            Frames(1, 1, b"A,1*", 5),
        ]


# Silence


def test_silence_of_2500_ms_is_death_on_a_numbered_stream():
    client = joined_client()
    received(client, b"BATCH,10,0,5*", NOW + SECOND_NS)
    received(client, b"BATCH,10,0", NOW + 2 * SECOND_NS)  # half a message does not count
    assert client.next_deadline_ns() == NOW + 3500 * MILLISECOND_NS
    assert client.silence_reason() == "no frame or heartbeat for 2.5 s"
    client.disconnected()
    assert client.next_deadline_ns() is None
    assert not client.joined


def test_a_server_that_said_too_little_to_be_plain_is_called_again_at_last():
    client = fresh()
    received(client, b"A,1*", NOW + SECOND_NS)
    assert client.next_deadline_ns() == NOW + SECOND_NS + LONGEST_WAIT_NS
    assert client.silence_reason() == "no answer to HELLO, and no further frame for 300.0 s"


@pytest.mark.parametrize("data", [b"", b"AAPL,1", b"HELLO,1,T"])
def test_a_server_that_has_not_said_a_word_is_called_again_after_a_while(data):
    client = fresh()
    received(client, data, NOW + SECOND_NS)
    if data:
        assert client.undelimited_at(client.next_deadline_ns())
    assert client.next_deadline_ns() == NOW + FIRST_FRAME_LIMIT_NS
    assert client.silence_reason().startswith("not a single frame within 10.0 s")
    client.disconnected()
    client.connected(NOW + 5 * SECOND_NS)  # lost before its time was up: that says nothing
    assert client.next_deadline_ns() == NOW + 5 * SECOND_NS + FIRST_FRAME_LIMIT_NS


def call_again(client: StreamClient) -> int:
    """Let the deadline pass and connect anew. Returns how long that was waited for."""
    began_ns, deadline_ns = client._asked_ns, client.next_deadline_ns()
    client.disconnected()
    client.connected(deadline_ns)
    return deadline_ns - began_ns


def test_it_is_waited_for_twice_as_long_with_each_call_up_to_a_bound():
    client = fresh()
    waits = [call_again(client) for _ in range(8)]
    assert waits == [n * SECOND_NS for n in (10, 20, 40, 80, 160, 300, 300, 300)]
    assert client.silence_reason() == "not a single frame within 300.0 s"
    received(client, b"A,1*", client.next_deadline_ns() - 1)
    client.disconnected()
    client.connected(NOW)
    assert client.next_deadline_ns() == NOW + FIRST_FRAME_LIMIT_NS


@pytest.mark.parametrize("every_s", [5, 15, 60, 299])
def test_a_plain_feed_is_heard_that_begins_late_on_each_connection(every_s):
    client = fresh()
    every_ns = every_s * SECOND_NS
    while client.next_deadline_ns() < client._asked_ns + every_ns:
        call_again(client)
    first_ns = client._asked_ns + every_ns
    assert received(client, b"A,1*", first_ns) == []
    assert client.next_deadline_ns() > first_ns + every_ns
    assert received(client, b"B,1*", first_ns + every_ns)[0] == WentPlain(1)


def test_a_server_that_once_answered_and_does_not_now_is_dead_whatever_else_it_says():
    client = fresh(may_be_plain=False)
    received(client, b"A,1*", NOW + SECOND_NS)
    assert client.next_deadline_ns() == NOW + SILENCE_LIMIT_NS
    assert client.silence_reason().startswith("no answer to HELLO for 2.5 s")
    assert "begin a new run" in client.silence_reason()


# Hostile servers

fragments = st.one_of(
    st.sampled_from(
        [
            *[b"HELLO,1,T,1*", b"HELLO,1,U,7*", b"HELLO,", b"BATCH,", b"*BATCH,", b"*", b"*"],
            *[b"BATCH,1,2,5*", b"BATCH,3,0,5*", b"BATCH,3,1,5*", b"BATCH,1,0,5*", b"BATCH,7,1,5*"],
            *[b"BATCH,1,9223372036854775806,5*", b"A,1*", b"A,1*B,1*", b"A,1*B,1*C,1", b"1,", b"9"],
        ]
    ),
    st.binary(max_size=5),
)
# Beginnings that get somewhere: noise alone would end at the first check.
beginnings = st.sampled_from(
    [b"", b"A,1*", b"HELLO,1,T,1*", b"HELLO,1,T,1*BATCH,1,2,5*", b"A,1*HELLO,1,T,5*BATCH,5,0,1*"]
)
streams = st.builds(lambda a, b: a + b"".join(b), beginnings, st.lists(fragments))
clients = st.builds(
    StreamClient,
    tape=st.sampled_from([None, "T"]),
    next_sequence=st.integers(0, 8),
    may_be_plain=st.booleans(),
)


def cut(data: bytes, at: list[int]) -> list[bytes]:
    places = sorted(place % (len(data) + 1) for place in at)
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


@given(clients, streams, st.lists(st.integers(0, 200)), st.sampled_from([0, SECOND_NS // 2]))
def test_any_bytes_give_well_formed_events_or_a_protocol_error(client, data, at, step_ns):
    client.connected(NOW)
    fed = given_out = 0
    expected = None
    try:
        for i, piece in enumerate(cut(data, at)):
            fed += len(piece)
            for event in client.receive(piece, NOW + i * step_ns):
                if isinstance(event, Frames):
                    assert event.first == expected
                    assert event.count == event.frames.count(b"*") > 0
                    assert event.frames.endswith(b"*")
                    assert 0 <= event.sent_ns < 2**63
                    given_out += len(event.frames)
                    expected += event.count
                else:
                    assert expected is None  # a connection begins once
                    expected = client.next_sequence
                    if isinstance(event, Joined) and event.missed:
                        assert 1 <= event.missed[0] <= event.missed[1] == event.first - 1
                assert client.next_sequence == expected >= 1
                assert client.joined
            assert given_out <= fed
    except (ProtocolError, MessageTooLongError) as error:
        assert str(error).isprintable()  # noqa: PT017


def joined_up(events: list) -> list:
    """Make one of neighbours that differ only in where a read ended."""
    joined: list = []
    for event in events:
        last = joined[-1] if joined else None
        if isinstance(event, Frames) and isinstance(last, Frames) and event.sent_ns == last.sent_ns:
            joined[-1] = replace(
                last, count=last.count + event.count, frames=last.frames + event.frames
            )
        else:
            joined.append(event)
    return joined


@given(streams, st.lists(st.integers(0, 200)), st.integers(0, 8), st.sampled_from([None, "T"]))
def test_any_cut_of_any_bytes_gives_the_same_events(data, at, next_sequence, tape):
    clients = [
        StreamClient(tape=tape, next_sequence=next_sequence, may_be_plain=True) for _ in range(2)
    ]
    for client in clients:
        client.connected(NOW)
    whole, failed = received_until_error(clients[0], [data])
    in_pieces, failed_in_pieces = received_until_error(clients[1], cut(data, at))
    assert failed == failed_in_pieces
    if not failed:
        assert joined_up(in_pieces) == joined_up(whole)


def test_a_batch_that_claims_to_be_endless_takes_no_memory():
    client = joined_client()
    piece = b"A,1*" * (RECEIVE_BYTES // 4)
    received(client, b"BATCH,10,9223372036854770000,5*")
    tracemalloc.start()
    try:
        for _ in range(100):
            for event in client.receive(piece, NOW):
                assert event.count == RECEIVE_BYTES // 4
        _held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 * RECEIVE_BYTES
