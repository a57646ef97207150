"""What is wrong with a frame is said in the words of the protocol: the first field to mend."""

from __future__ import annotations

import json

import pytest

from lib.execution.order_desk import MAX_EXPLAINED
from lib.wire.order_messages import Logon, MessageError, Order, decode_from_client
from lib.wire.order_mistakes import (
    MAX_NAME_CHARACTERS,
    MAX_UNKNOWN_FIELDS,
    SMALLEST_LOGON,
    SMALLEST_ORDER,
    UNEXPLAINED,
)
from tests.helpers import PROJECT_ROOT

ORDER = json.loads(SMALLEST_ORDER)
PLAIN = decode_from_client(SMALLEST_ORDER.encode())


def refusal(frame: bytes | dict[str, object]) -> str:
    """The reason for which a frame is refused."""
    with pytest.raises(MessageError) as caught:
        decode_from_client(frame if isinstance(frame, bytes) else json.dumps(frame).encode())
    reason = str(caught.value)
    assert reason.isprintable()
    assert len(reason) < 600
    return reason


def without(name: str) -> dict[str, object]:
    return {known: value for known, value in ORDER.items() if known != name}


def test_the_smallest_messages_are_valid_and_on_the_protocol_page():
    assert isinstance(PLAIN, Order)
    assert isinstance(decode_from_client(SMALLEST_LOGON.encode()), Logon)
    page = (PROJECT_ROOT / "docs" / "protocol.md").read_text()
    assert SMALLEST_ORDER in page
    assert f"at most {MAX_UNKNOWN_FIELDS} unknown fields" in page
    assert f"names of at most {MAX_NAME_CHARACTERS} characters" in page
    assert f"the first {MAX_EXPLAINED} are explained" in page


WRONG_VALUES = [
    ("type", "logn", "type is order or logon, got 'logn': logon?"),
    ("type", "cancel", "type is order or logon, got 'cancel'"),
    ("order_id", "6f1c-uuid", "order_id is a whole number from 1 to"),
    ("order_id", "7", "got '7': send 7 without quotes"),
    ("side", None, "side is BUY or SELL, got null"),
    ("side", "\x1b[31m" + "x" * 60_000, "\\x1b[31m"),
    ("quantity", 10.0, "quantity is a whole number from 1, got 10.0: send 10"),
    ("quantity", 2**60, f"got {2**60}: at most {2**53 - 1}"),
    ("price", "190.50", "price is a number, got '190.50': send 190.5 without quotes"),
    ("price", str(0.1 + 0.2), "send 0.3 without quotes"),
    ("price", None, "price is a number, got null"),
    ("price", float("nan"), "price is a number, got NaN"),
    ("price", 0.1 + 0.2, "send 0.3"),
    ("sent_ns", 1763000000.5, "nanoseconds of the host's monotonic clock"),
    ("sent_ns", "2025-11-11T09:30:00Z", "wall clock?"),
    ("sent_ns", "1795918283698053806", "wall clock?"),
    ("client_id", "a b", "client_id is 1 to 64 of A-Za-z0-9._-, got 'a b'"),
    # Fields that may be guards, and differ from what is ordered.
    *[(name, 5, f"unknown field {name}: ") for name in ("positon", "sent_at", "maxPosition")],
    *[("action", "SELL", "unknown field action: "), ("qty", 11, "unknown field qty: ")],
    *[("q\u202ety", 11, "\\u202e"), ("order_type", "MARKET", "order_type")],
]
OTHER_NAMES = {
    "quantity": ["qty", "Quantity", "quantty"],
    "side": ["sdie", "action"],
    "order_id": ["id", "orderId"],
    "price": ["px"],
    "symbol": ["ticker"],
    "type": ["typ"],
}


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        *[(ORDER | {field: value}, says) for field, value, says in WRONG_VALUES],
        # The first field of the protocol's table is said, whatever the order in the frame.
        ({"price": None} | without("side") | {"side": 1}, "side is "),
        (ORDER | {"price": "x", "quantity": 0}, "quantity is "),
        (without("type") | {"side": 1}, "type is missing"),
        *[(without(name), f"{name} is missing") for name in ORDER],
        *[(without(name), SMALLEST_ORDER) for name in ORDER],
        *[
            ({other: ORDER[name]} | without(name), f"unknown field {other}: {name}?")
            for name, others in OTHER_NAMES.items()
            for other in others
        ],
        (
            {"type": "order", "id": 1, "symbol": "AAPL", "side": "BUY", "qty": 1, "px": 1},
            "unknown field id: order_id?; unknown field qty: quantity?; unknown field px: price?",
        ),
        ({"type": "logon"}, SMALLEST_LOGON),
        ({"client_id": "mine"}, SMALLEST_LOGON),
        ({"type": "logon", "clientId": "mine"}, "clientId: client_id?"),
    ],
)
def test_what_is_wrong_is_shown_beside_what_is_right(wrong, says):
    assert says in refusal(wrong)


def test_no_number_is_suggested_for_a_time_or_for_what_is_no_json_number():
    for wrong in (
        {"sent_ns": 1.8e18},
        {"sent_ns": "7"},
        {"quantity": "1_0"},
        {"quantity": "\u0661"},
    ):
        reason = refusal(ORDER | wrong)
        assert not {"send", "seconds?"} & set(reason.split())


UNKNOWN_GUARDS = [
    *("ttl_ms", "max_age_ms", "max_age_s", "deadline_ns", "expires_ns", "expire_time"),
    *("expiry_ns", "valid_till", "good_until", "time_to_live", "cancel_after", "gtt"),
    *("price_limit", "price_max", "limit_px", "worst_price", "stop_px", "max_slip"),
    *("qty_max", "quantity_max", "collar", "max_loss", "is_reduce_only", "only_reduce"),
    *("reduce", "assumed_positon", "expected_pos", "current_pos", "pos_before", "holdings"),
    *("order_type", "send_time_ns", "ts_sent", "timestamp_ns", "maxAgeMs", "AgeMax"),
    *("MAX_PRICE", "expectedPos", "timeToLive", "deadlin_ns", "max_positon"),
    *("positionLimit", "posn", "good_for_seconds", "not_after", "not_above", "if_flat"),
    *("must_be_flat", "no_short", "do_not_book", "test", "is_test", "expected_shares", "halt_if"),
    *("timestamp_ms", "ts_s", "take_profit_price", "takeProfitPrice", "goodTilDate", "sl", "tp"),
    *("goodTilBlock", "deviation", "trailing_percent", "trailAmount", "time_limit", "timeout_ms"),
    *("price_tolerance", "min_fill", "max_cost", "max_staleness", "maxpositon", "agelimit"),
    *("no_increase", "noFlip", "dont_exceed", "no_more_than", "upper_limit", "cap_usd", "what_if"),
    *("max_risk", "all_or_nothing", "exposure_before", "lifetime", "freshness", "activate_if"),
    *("pricelimit", "m" * 41, "x" * 60_000, "maximum_position_allowed_after_this_order"),
]  # fmt: skip
"""Fields that an order must not be filled without, by words, in any order and case."""


@pytest.mark.parametrize("name", UNKNOWN_GUARDS)
def test_a_guard_is_recognised_by_its_words(name):
    shown = name if len(name) <= MAX_NAME_CHARACTERS else name[:20]
    assert refusal(ORDER | {name: 7}).startswith(f"unknown field {shown}")
    assert decode_from_client(json.dumps(ORDER | {name: None}).encode()) == PLAIN


HARMLESS = [
    *("timestamp", "sentiment", "comment", "strategy", "source", "note", "tag", "venue"),
    *("currency", "account", "reason", "time", "received_at", "created_at"),
    *("expected_return", "serial_no", "for", "notes", "portfolio", "compositor", "elapsed_ms"),
    *("model_version", "confidence", "exchange", "dollar", "user_id", "nonce", "decision_time_ns"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, 7) for name in HARMLESS),
        *(("note", [{}]), ("id", "x"), ("action", "BUY"), ("qty", 10), ("positon", None)),
        *(("reduce_only", False), ("only_reduce", False), ("", 1), ("orderType", "limit")),
        *(("limit_price", 190.5), ("priceLimit", 190.5)),
        *(("x" * MAX_NAME_CHARACTERS, 1), ("x" * 60_000, None)),
    ],
)
def test_any_other_unknown_field_is_ignored_and_the_order_is_the_same(name, value):
    assert decode_from_client(json.dumps({name: value} | ORDER).encode()) == PLAIN


def test_unknown_fields_are_counted():
    unknown = {f"x{number}": 1 for number in range(MAX_UNKNOWN_FIELDS)}
    assert decode_from_client(json.dumps(ORDER | unknown).encode()) == PLAIN
    assert f"at most {MAX_UNKNOWN_FIELDS}" in refusal(ORDER | unknown | {"y": 1})


def test_a_frame_that_is_not_explained_is_refused_with_its_order_id():
    for frame in (json.dumps(ORDER | {"side": 1}).encode(), SMALLEST_ORDER[:-1].encode()):
        with pytest.raises(MessageError, match=UNEXPLAINED) as caught:
            decode_from_client(frame, explain=False)
        assert caught.value.order_id == ORDER["order_id"]


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        *((frame, "an empty frame") for frame in (b"", b" ", b"\r\n")),
        (b"BUY,AAPL,10,190.5", "an order is a JSON object, got BUY,AAPL,10,190.5"),
        (b"12", "an order is a JSON object"),
        (f"[{SMALLEST_ORDER}]".encode(), "one message a frame"),
        (f"{SMALLEST_ORDER}\n{SMALLEST_ORDER}".encode(), "a second message begins"),
        (repr(ORDER).encode(), "double quotes"),
        (b'{"tape":None}', "null, true and false"),
        (b'{"type":"order","symbol":"A', "a string has no end"),
        (b'{"type":"order"', "it ends too soon"),
        (b'{"type":"order",}', "it cannot be read at character"),
        (b'{"order_id":\xff}', "not UTF-8: byte 0xff at 12"),
        (SMALLEST_ORDER.encode("utf-16"), "UTF-16"),
        (SMALLEST_ORDER.encode("utf-16-le"), "UTF-16"),
        (b"\xef\xbb\xbf" + SMALLEST_ORDER.encode(), "byte order mark"),
        (b'{"a":' + b"[" * 60_000, "nested too deeply"),
    ],
    ids=lambda value: repr(value[:30]),
)
def test_a_frame_that_is_no_json_object_is_answered_with_what_it_is(frame, says):
    assert says in refusal(frame)
