"""Order entry's messages: the exact bytes of each, and an honest refusal of everything else."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.prices import MAX_PRICE
from lib.wire.order_fields import MAX_INTEGER
from lib.wire.order_messages import (
    ErrorMessage,
    ExecutionReport,
    Logon,
    LogonAck,
    MessageError,
    Order,
    decode_from_client,
    decode_from_server,
    describe,
    encode,
    make_order,
)
from tests import clients

ORDER = clients.order(12)
REPORT = {
    **ORDER,
    "type": "execution_report",
    "client_id": "strategy",
    "status": "FILLED",
    "trade_id": 40,
    "position": 10,
}


def order_frame(**changes: object) -> bytes:
    """The design's order with some fields changed, as a frame without its delimiter."""
    return json.dumps(ORDER | changes).encode()


def raw_order_frame(field: str, text: bytes) -> bytes:
    """The design's order with one field's value replaced by a text that json would not write."""
    placeholder = "here it goes"
    return order_frame(**{field: placeholder}).replace(json.dumps(placeholder).encode(), text)


def report(**changes: object) -> ExecutionReport:
    message = decode_from_server(json.dumps(REPORT | changes).encode())
    assert isinstance(message, ExecutionReport)
    return message


def refusal(frame: bytes) -> MessageError:
    with pytest.raises(MessageError) as caught:
        decode_from_client(frame)
    return caught.value


# What goes out.


def an_order(price: int = 173_20000000, **changes: object) -> Order:
    fields = {"order_id": 12, "symbol": "AAPL", "side": "BUY", "quantity": 10}
    return make_order(price=price, **(fields | changes))


@pytest.mark.parametrize(
    ("message", "wire"),
    [
        (Logon("strategy"), b'{"type":"logon","client_id":"strategy"}*'),
        (
            LogonAck("strategy", 11, {"AAPL": 10}),
            b'{"type":"logon_ack","client_id":"strategy","last_order_id":11,'
            b'"positions":{"AAPL":10}}*',
        ),
        (
            an_order(),
            b'{"type":"order","order_id":12,"symbol":"AAPL","side":"BUY","quantity":10,'
            b'"price":173.2}*',
        ),
        (
            an_order(position=0, tape="csv-1", tick_sequence=7, sent_ns=5, client_id="strategy"),
            b'{"type":"order","order_id":12,"symbol":"AAPL","side":"BUY","quantity":10,'
            b'"price":173.2,"client_id":"strategy","position":0,"tape":"csv-1",'
            b'"tick_sequence":7,"sent_ns":5}*',
        ),
        (
            report(),
            b'{"type":"execution_report","client_id":"strategy","order_id":12,"status":"FILLED",'
            b'"symbol":"AAPL","side":"BUY","quantity":10,"price":173.2,"trade_id":40,'
            b'"position":10}*',
        ),
        (
            report(status="REJECTED", trade_id=None, position=0, reason="unknown symbol AAPL"),
            b'{"type":"execution_report","client_id":"strategy","order_id":12,'
            b'"status":"REJECTED","symbol":"AAPL","side":"BUY","quantity":10,"price":173.2,'
            b'"position":0,"reason":"unknown symbol AAPL"}*',
        ),
        (
            ErrorMessage(order_id=12, reason="full"),
            b'{"type":"error","order_id":12,"reason":"full"}*',
        ),
        (ErrorMessage(reason="full"), b'{"type":"error","reason":"full"}*'),
    ],
)
def test_each_message_has_exactly_the_bytes_of_the_design(message, wire):
    decode = decode_from_client if isinstance(message, Logon | Order) else decode_from_server
    assert encode(message) == wire
    assert decode(wire[:-1]) == message


@pytest.mark.parametrize(
    ("message", "decode"),
    [
        (ErrorMessage(reason="a*b**"), decode_from_server),
        (LogonAck("x", 0, {"A*": 1, "*": -1}), decode_from_server),
        (report(symbol="*", reason="*"), decode_from_server),
        (an_order(symbol="A*", tape="*"), decode_from_client),
    ],
)
def test_an_asterisk_in_a_string_is_escaped_and_comes_back(message, decode):
    wire = encode(message)
    assert b"\\u002a" in wire
    assert wire.index(b"*") == len(wire) - 1
    assert decode(wire[:-1]) == message or encode(decode(wire[:-1])) == wire


def test_an_order_is_described_with_two_decimals_and_more_where_the_price_has_more():
    assert describe(an_order()) == "Order 12: BUY 10 AAPL @ 173.20"
    assert describe(an_order(price=1, side="SELL")) == "Order 12: SELL 10 AAPL @ 0.00000001"
    assert describe(report()) == describe(an_order())


# What comes in from a client.


def test_order_of_fields_whitespace_and_unknown_fields_do_not_matter():
    frame = b' { "price" : 1732e-1, "note" : [{}], "quantity":10, "side":"BUY", "symbol":"AAPL" '
    order = decode_from_client(frame + b', "order_id":12,\n"type":"order"} ')
    assert isinstance(order, Order)
    assert describe(order) == "Order 12: BUY 10 AAPL @ 173.20"


NO_COUNTS = [
    *(b"0", b"-1", b"9007199254740992", b"9007199254740993", b"18446744073709551617"),
    *(b"1.0", b"1e1", b"1.5", b"1e400", b"true", b"null", b'"1"', b"[1]", b"{}"),
    *(b"9" * 25, b"9" * 4000, b"9" * 5000, b"-" + b"9" * 5000, b"1." + b"0" * 5000),
]
WRONG = {
    "order_id": NO_COUNTS,
    "quantity": NO_COUNTS,
    "price": [
        *(b"-0", b"0.000000001", b"1e" + b"9" * 60, b"9" * 5000, b"1." + b"0" * 5000),
        *(b'"173.2"', b"true", b"null", b"[173.2]", b'{"a":1}'),
    ],
    "symbol": [b"null", b"1", b"true", b'["AAPL"]', b'""', b'"AAAAAAAAAAAAAAAAA"'],
    "side": [b"null", b"1", b'"buy"', b'"HOLD"', b'""', b'["BUY"]'],
    "client_id": [b"1", b'""', b'"a b"', b'"a\\n"', '"é"'.encode(), b'"a*"', b'"%b"' % (b"a" * 65)],
    "position": [b"1.0", b"true", b'"0"', b"9007199254740992", b"-9007199254740992", b"9" * 24],
    "tape": [b"1", b'"%b"' % (b"t" * 65)],
    "tick_sequence": [b"-1", b"1.0", b"false", b'"1"', b"9007199254740992"],
    "sent_ns": [b"-1", b"1.0", b"false", b'"1"', b"9223372036854775808"],
}


@pytest.mark.parametrize(
    ("field", "text"),
    [(field, text) for field, texts in WRONG.items() for text in texts],
    ids=lambda value: repr(value[:24]),
)
def test_a_field_of_a_wrong_type_or_out_of_bounds_is_refused_with_the_orders_id(field, text):
    error = refusal(raw_order_frame(field, text))
    assert field in str(error)
    assert error.order_id == (None if field == "order_id" else 12)


@pytest.mark.parametrize("text", [b"null", *WRONG["client_id"]], ids=lambda text: repr(text[:24]))
def test_a_logon_with_an_impossible_client_id_is_refused(text):
    assert "client_id" in str(refusal(b'{"type":"logon","client_id":%b}' % text))


NO_ORDERS = {
    None: [
        *(b"", b" ", b"null", b"true", b"12", b'"order"', b"[]", b"{}", b"{", b"\x00", b"\xff\xfe"),
        *(b"AAPL,173.20", b"HELLO,1,0", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        *(b'{"type":"logon","order_id":12}', b'{"type":"order","order_id":12'),
        b'{"type":"order","order_id":12} {"type":"order","order_id":12}',
        json.dumps(ORDER).encode("utf-16"),
        *(b"[" * 60_000, b'{"a":' * 10_000, b"[" * 30_000 + b"]" * 30_000),
    ],
    12: [
        *(b'{"order_id":12}', b'{"type":7,"order_id":12}', b'{"type":"cancel","order_id":12}'),
        *(b'{"type":"execution_report","order_id":12}', b'{"type":"\\ud800","order_id":12}'),
        *(b'{"type":"\xff","order_id":12}', b'{"type":"order","order_id":12,"a":' + b"[" * 60_000),
        *(b"{'order_id': 12, 'side': 'BUY'}", b'{"order_id":12,}', b'{"order_id":12,"price":NaN}'),
        b'{"type":"\\u006frder","order_id":12,"symbol":7}',
    ],
}


@pytest.mark.parametrize(
    ("order_id", "frame"),
    [(order_id, frame) for order_id, frames in NO_ORDERS.items() for frame in frames],
    ids=lambda value: repr(value)[:40],
)
def test_a_frame_that_is_no_order_is_refused_with_an_id_where_one_can_be_read(order_id, frame):
    assert refusal(frame).order_id == order_id


@pytest.mark.parametrize("field", ["symbol", "tape", "note"])
def test_text_that_is_not_utf8_is_refused_even_in_a_field_that_is_ignored(field):
    error = refusal(raw_order_frame(field, b'"\xff"'))
    assert str(error).startswith("not UTF-8: byte 0xff")
    assert error.order_id == 12


# What comes in from the order manager.


@pytest.mark.parametrize(
    "frame",
    [
        *(b"", b"null", b"[]", b"{}", b"\xff", b"[" * 60_000, b'{"type":"order","order_id":1}'),
        *(b'{"type":"error"}', b'{"type":"error","reason":1}', b'{"type":"error","reason":"\xff"}'),
        *(b'{"type":"error","reason":"","order_id":' + n + b"}" for n in (b"0", b"9" * 4000)),
        *(
            b'{"type":"logon_ack","client_id":"x","last_order_id":%b,"positions":{"A":%b}}' % pair
            for pair in ((b"-1", b"1"), (b"1.0", b"1"), (b"1", b"1.0"), (b"1", b"true"))
        ),
        b'{"type":"logon_ack","client_id":"x","last_order_id":1,"positions":{"A":9007199254740992}}',
        json.dumps(REPORT | {"status": "PENDING"}).encode(),
        json.dumps(REPORT | {"position": 2**53}).encode(),
        json.dumps(REPORT | {"order_id": "12"}).encode(),
        json.dumps({n: v for n, v in REPORT.items() if n != "symbol"}).encode(),
    ],
    ids=lambda frame: repr(frame[:60]),
)
def test_what_is_no_answer_is_refused(frame):
    with pytest.raises(MessageError, match=r"^malformed: "):
        decode_from_server(frame)


# Properties.

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
integers = st.integers(1, MAX_INTEGER)
orders = st.builds(
    make_order,
    price=st.integers(1, MAX_PRICE),
    order_id=integers,
    symbol=st.text(min_size=1, max_size=16),
    side=st.sampled_from(["BUY", "SELL"]),
    quantity=integers,
    client_id=st.none() | st.from_regex(r"\A[A-Za-z0-9._-]{1,64}\Z"),
    position=st.none() | st.integers(-MAX_INTEGER, MAX_INTEGER),
    tape=st.none() | st.text(max_size=64),
    tick_sequence=st.none() | st.integers(0, MAX_INTEGER),
    sent_ns=st.none() | st.integers(0, 2**63 - 1),
)


@given(
    st.binary(max_size=200)
    | st.dictionaries(st.sampled_from([*ORDER, "position", "sent_ns"]), json_values).map(
        lambda changes: order_frame(**changes)
    )
)
@settings(max_examples=300)
def test_any_frame_is_understood_or_refused_and_the_refusal_can_be_sent(frame):
    for decode in (decode_from_client, decode_from_server):
        try:
            message = decode(frame)
        except MessageError as error:
            answer = ErrorMessage(order_id=error.order_id, reason=str(error))
            assert decode_from_server(encode(answer)[:-1]) == answer
        else:
            assert encode(message).count(b"*") == 1


@given(orders)
def test_every_order_comes_back_as_it_was_sent(order):
    wire = encode(order)
    assert wire.index(b"*") == len(wire) - 1
    back = decode_from_client(wire[:-1])
    assert back == order
    assert back.price == order.price
