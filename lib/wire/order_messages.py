"""The messages of order entry: JSON objects, one a frame.

Typed by msgspec: a message that decodes has every field, of the right type and within its bounds.
Prices are JSON numbers on the wire and fixed-point integers inside; they go from text to integer
and back without passing through a float.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec
from msgspec.structs import astuple

from lib.prices import format_price, json_price, price_from_json
from lib.wire.framing import MESSAGE_DELIMITER
from lib.wire.order_fields import (
    ClientId,
    Count,
    Nanoseconds,
    Position,
    Positive,
    Side,
    Symbol,
    Tape,
    Token,
)
from lib.wire.order_mistakes import UNEXPLAINED, explain_refusal, may_ignore_unknown, order_id_of

Status = Literal["FILLED", "REJECTED"]

ANONYMOUS: Final = "anonymous-"
"""The prefix of the client_ids that clients without a logon get; no logon may use it."""

REPLACED: Final = "replaced by a newer logon of the same client_id"
"""The reason in the last frame to a client whose logon was taken over."""


class MessageError(Exception):
    """A frame is no message of order entry. `order_id` is the order's id if it could be read."""

    def __init__(self, reason: str, order_id: int | None = None) -> None:
        super().__init__(reason)
        self.order_id = order_id


class Logon(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="type", tag="logon"):
    """A client identifies itself."""

    client_id: ClientId
    token: Token | None = None
    """The secret of those who may trade, where the order manager asks for it."""


class LogonAck(msgspec.Struct, frozen=True, tag_field="type", tag="logon_ack"):
    """The ledger's state of that client. Positions of zero may be left out."""

    client_id: str
    last_order_id: Count
    positions: dict[str, Position]


class Order(
    msgspec.Struct,
    frozen=True,
    omit_defaults=True,
    tag_field="type",
    tag="order",
    forbid_unknown_fields=True,
):
    """An order. `raw_price` is the number as written in the JSON text.

    An order with unknown fields is decoded twice, because one of them may be a guard.
    """

    order_id: Positive
    symbol: Symbol
    side: Side
    quantity: Positive
    raw_price: msgspec.Raw = msgspec.field(name="price")
    client_id: ClientId | None = None
    position: Position | None = None
    """The position the client assumes before this order."""
    tape: Tape | None = None
    tick_sequence: Count | None = None
    sent_ns: Nanoseconds | None = None
    """Monotonic time of the first sending; a resend keeps it."""

    @property
    def price(self) -> int:
        """The price in fixed point. Raises ValueError if the number is no price."""
        return price_from_json(bytes(self.raw_price))

    @property
    def signed_quantity(self) -> int:
        """What a fill adds to the position."""
        return self.quantity if self.side == "BUY" else -self.quantity


class _OrderAndMore(Order, frozen=True, tag="order", forbid_unknown_fields=False):
    """An order with unknown fields, which are ignored."""


class ExecutionReport(
    msgspec.Struct, frozen=True, omit_defaults=True, tag_field="type", tag="execution_report"
):
    """The final answer to an order."""

    client_id: str
    order_id: Positive
    status: Status
    symbol: str
    side: Side
    quantity: Positive
    raw_price: msgspec.Raw = msgspec.field(name="price")
    trade_id: Positive | None = None
    position: Position | None = None
    """The position after the order, whether it was filled or not."""
    reason: str | None = None

    @property
    def price(self) -> int:
        """The price in fixed point. Raises ValueError if the number is no price."""
        return price_from_json(bytes(self.raw_price))


class ErrorMessage(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type", tag="error"
):
    """A message was not accepted. Not final: the order may be sent again."""

    order_id: Positive | None = None
    reason: str


_UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError)
"""The exceptions that reading a frame may raise."""

_UNKNOWN_FIELD: Final = "unknown field"
"""What msgspec's error for an object with an unknown field contains."""

_encoder = msgspec.json.Encoder()
_from_client = msgspec.json.Decoder(Logon | Order)
_order_and_more = msgspec.json.Decoder(_OrderAndMore)
_from_server = msgspec.json.Decoder(LogonAck | ExecutionReport | ErrorMessage)


def encode(message: msgspec.Struct) -> bytes:
    """Encode as a frame, delimiter included. A `*` in a JSON string is escaped."""
    return _encoder.encode(message).replace(MESSAGE_DELIMITER, b"\\u002a") + MESSAGE_DELIMITER


def make_order(*, price: int, **fields: Any) -> Order:
    """Return an order at a fixed-point price."""
    return Order(raw_price=msgspec.Raw(json_price(price)), **fields)


def describe(order: Order | ExecutionReport) -> str:
    """Return an order as text: `Order 12: BUY 10 AAPL @ 173.20`."""
    price = format_price(order.price)
    return f"Order {order.order_id}: {order.side} {order.quantity} {order.symbol} @ {price}"


def decode_from_client(frame: bytes, *, explain: bool = True) -> Logon | Order:
    """Read what a client sent. Raises MessageError, with what to fix if `explain` is true.

    Unknown fields are ignored, except those that may matter: see `lib.wire.order_mistakes`.
    """
    try:
        frame.decode()  # msgspec does not check the UTF-8 of a field that it skips
        message: Logon | Order = _from_client.decode(frame)
        if isinstance(message, Order):
            _ = message.price
    except _UNREADABLE as error:
        order = _without_unknown_fields(frame) if _UNKNOWN_FIELD in str(error) else None
    else:
        return message
    if order is not None:
        return order
    reason, order_id = explain_refusal(frame) if explain else (UNEXPLAINED, order_id_of(frame))
    raise MessageError(reason, order_id)


def _without_unknown_fields(frame: bytes) -> Order | None:
    """Read an order with unknown fields; None if one of them may matter."""
    try:
        if may_ignore_unknown(frame):
            order = Order(*astuple(_order_and_more.decode(frame)))
            _ = order.price
            return order
    except _UNREADABLE:
        pass  # something else is wrong as well
    return None


def decode_from_server(frame: bytes) -> LogonAck | ExecutionReport | ErrorMessage:
    """Read what the order manager sent. Raises MessageError, with a human-readable reason."""
    try:
        message: LogonAck | ExecutionReport | ErrorMessage = _from_server.decode(frame)
    except _UNREADABLE as error:
        raise MessageError(_reason(error)) from None
    return message


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "malformed: nested too deeply"
    if isinstance(error, UnicodeDecodeError):
        return "malformed: not UTF-8"
    return f"malformed: {error}"[:200]
