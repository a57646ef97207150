"""A plain subscriber takes its bytes in any pieces; its times are those of each message."""

from __future__ import annotations

import numpy as np
import pytest

from bench.errors import BenchError
from bench.measure.subscribers import Arrival, MessageParser, Received, tick_messages

HEADERS = b'NATS/1.0\r\nNats-Sequence: 7\r\nTw-Contents: {"a": "b"}\r\n\r\n'
DATA = b"BATCH,1,2,3*A,1*\r\nHMSG A,2*"  # a line's end in it must not end it


def message(headers: bytes, data: bytes) -> bytes:
    size = len(headers)
    return b"HMSG tw.live.price 1 %d %d\r\n%b%b\r\n" % (size, size + len(data), headers, data)


@pytest.mark.parametrize("size", [1, 2, 7, 1_000])
def test_messages_are_found_in_any_pieces(size: int) -> None:
    stream = b"PING\r\n" + message(HEADERS, DATA) + b"INFO {}\r\n" + message(HEADERS, b"")
    parser = MessageParser()
    found = []
    for begin in range(0, len(stream), size):
        found += parser.feed(stream[begin : begin + size])
    headers = {"Nats-Sequence": "7", "Tw-Contents": '{"a": "b"}'}
    assert found == [(headers, DATA), (headers, b"")]


def test_an_error_of_the_broker_ends_it() -> None:
    with pytest.raises(BenchError, match="Permissions Violation"):
        MessageParser().feed(b"-ERR 'Permissions Violation for Subscription'\r\n")


def test_the_brokers_have_a_message_from_their_stamp_to_its_arrival() -> None:
    wall_ns = 1_700_000_000_000_000_000
    arrivals = [
        Arrival(4, 1_000, wall_ns + 3_000, 9_000, wall_ns + 8_000),
        Arrival(6, 2_000, wall_ns + 5_000, 9_500, wall_ns + 8_500),
    ]
    found = tick_messages(Received(700, arrivals), 5, 6)
    assert (found.messages, found.ticks, found.received_bytes) == (2, 10, 700)
    assert (found.in_brokers.p50_ns, found.in_brokers.max_ns) == (3_500, 5_000)
    assert (found.to_subscriber.p50_ns, found.to_subscriber.max_ns) == (7_500, 8_000)
    assert (found.to_brokers.p50_ns, found.to_brokers.max_ns) == (3_000, 4_000)
    assert (found.acknowledged_p50_ns, found.acknowledged_p99_ns) == (5, 6)
    assert np.isscalar(found.ticks)
    with pytest.raises(BenchError, match="no ticks"):
        tick_messages(Received(0, []), 5, 6)
