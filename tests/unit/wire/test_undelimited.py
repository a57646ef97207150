"""Bytes without a delimiter: what they are taken for, and when they are worth a word."""

from __future__ import annotations

import time

import pytest

from lib.wire.undelimited import cannot_become_hello, cannot_become_order, undelimited

ORDER = b'{"type":"order","order_id":1}'


@pytest.mark.parametrize(
    ("data", "guess"),
    [
        (b"AAPL,172.53\nMSFT,", "a feed of lines?"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n", "HTTP?"),
        (b"HTTP/1.1 200 OK\r\n", "HTTP?"),
        (b"\x16\x03\x01\x02\x00\x01\n", "TLS?"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "SSH?"),
        (b"AAPL,172.53", "every message ends in `*`"),
    ],
)
def test_bytes_without_a_delimiter_are_named_by_how_they_begin(data, guess):
    found = undelimited(data + b"x" * 5000, "feed")
    assert found.reason == f"{len(data) + 5000:,} bytes and no `*`: {guess}"
    assert found.text.isprintable()
    assert len(found.text) < 300


@pytest.mark.parametrize(
    "data", [b"", b"\r\n", b"  ", b"H", b"HELLO", b"HELLO,1,0", b"HELLO,1,5,t"]
)
def test_what_may_still_become_a_hello_is_waited_for(data):
    assert not cannot_become_hello(bytearray(data))


@pytest.mark.parametrize(
    "data", [b"GET / HTTP/1.1\r\n", b"hello", b"HELLO,1,0\n", b"HELLO," + b"1" * 1000]
)
def test_what_can_be_no_hello_any_more_is_not(data):
    assert cannot_become_hello(bytearray(data))


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"\n", b'{"type":"or', ORDER, b'{\n "type"', b"\n" + ORDER),
        *(b'{"type":"order","x":{"y":1}\n', b'{"note":"}\n', b'{"note":"\\"}"\n', b"{\n" * 5000),
    ],
    ids=lambda data: repr(data[:30]),
)
def test_what_may_still_become_an_order_is_waited_for(data):
    assert not cannot_become_order(bytearray(data), has_ended=False)


@pytest.mark.parametrize(
    "data",
    [
        *(ORDER + b"\n", ORDER + b"\n" + ORDER[:9] + b"\n", ORDER * 20 + b"\r\n"),
        *(b'{"note":"{"}\n', b"{'side': 'B'}\n", b"GET / HTTP/1.1\r\n", b"BUY 10 AAPL"),
    ],
)
def test_what_has_no_delimiter_where_one_is_due_is_no_order(data):
    assert cannot_become_order(bytearray(data), has_ended=False)


@pytest.mark.parametrize("piece", [rb"\'", rb"\"", b"'", b'"', b"{", b"}", b"\n"])
def test_what_a_look_costs_grows_with_the_length_alone(piece):
    def cost_s(times: int) -> float:
        data = bytearray(b"{'" + times * piece + b"\n")
        began = time.process_time()
        for _ in range(200):
            cannot_become_order(data, has_ended=False)
        return time.process_time() - began

    assert min(cost_s(480) for _ in range(5)) < 6 * min(cost_s(120) for _ in range(5))


def test_at_the_end_of_a_connection_a_whole_order_has_lost_its_delimiter_and_half_a_one_has_not():
    assert cannot_become_order(bytearray(ORDER), has_ended=True)
    assert not cannot_become_order(bytearray(ORDER[:-3]), has_ended=True)
