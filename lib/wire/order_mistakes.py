"""What is wrong with a frame that is no message of order entry, in terms of the protocol.

This is for frames that msgspec refused, and for orders with unknown fields: it may take a hundred
times as long as decoding a valid one, but only linear time in the length of the frame. The first
wrong field, in the order of the protocol's table, comes first. Wrong names are listed beside it,
because a client that has another name for one field has others for several.

Unknown fields are ignored, with three exceptions, because an order filled without them is not the
order that was meant: a misspelling (`positon`) or another name (`qty`) of a field that is missing
or has another value; and a guard that the protocol does not have (`reduce_only`, `max_age_ms`),
unless it is off. None of these matters while it is null. A guard is recognised by its words, in any
order and case. A name too long to be examined counts as one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgspec

from lib.prices import decimal_text, price_from_json
from lib.text import printable, shortened, shown
from lib.wire.near_names import NearNames, key_of
from lib.wire.order_fields import (
    MAX_INTEGER,
    MAX_TOKEN_CHARACTERS,
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

SMALLEST_ORDER: Final = (
    '{"type":"order","order_id":1,"symbol":"AAPL","side":"BUY","quantity":10,"price":190.5}'
)
SMALLEST_LOGON: Final = '{"type":"logon","client_id":"mine"}'

MAX_SHOWN_CHARACTERS: Final = 40
"""How much is shown of a value, a name or a piece of a frame."""
MAX_NAME_CHARACTERS: Final = 40
"""The longest name of an unknown field that is examined. A longer one is an error."""
MAX_NAMES: Final = 4
"""How many wrong names are listed beside the first mistake."""
MAX_UNKNOWN_FIELDS: Final = 16
"""How many unknown fields a message may have, so that looking up their names takes bounded time."""
UNEXPLAINED: Final = "malformed, as earlier frames were: see the reasons of those"
"""The reason where too many malformed frames came at once to explain each."""

_AN_ORDER: Final = f"an order is {SMALLEST_ORDER}"
_A_LOGON: Final = f"a logon is {SMALLEST_LOGON}"
_NOT_SHOWN: Final = "(not shown: there may be a token in it)"
_WHITESPACE: Final = b" \t\r\n"

_NULL: Final = b"null"
_FALSE: Final = b"false"
_NUMBER: Final = re.compile(rb"-?[0-9].*", re.DOTALL)
_SECONDS: Final = re.compile(rb"[0-9]{1,11}\.[0-9]+")
_DECIMAL: Final = re.compile(r"[-+]?[0-9]+(?:\.[0-9]*)?(?:[eE][-+]?[0-9]{1,6})?", re.ASCII)
_ORDER_ID_IN_TEXT: Final = re.compile(
    rb"""["']order_id["'][ \t\r\n]*:[ \t\r\n]*([1-9][0-9]{0,15})(?=[ \t\r\n,}])"""
)

_Raw = bytes | msgspec.Raw


class _Field(NamedTuple):
    """How a field is decoded and described."""

    decoder: msgspec.json.Decoder[Any]
    words: str
    """Human-readable: `side is …`."""
    is_optional: bool = False


_ORDER: Final = {
    "order_id": _Field(msgspec.json.Decoder(Positive), f"a whole number from 1 to {MAX_INTEGER}"),
    "symbol": _Field(msgspec.json.Decoder(Symbol), "text of 1 to 16 characters"),
    "side": _Field(msgspec.json.Decoder(Side), "BUY or SELL"),
    "quantity": _Field(msgspec.json.Decoder(Positive), "a whole number from 1"),
    "price": _Field(msgspec.json.Decoder(msgspec.Raw), "a number"),
    "position": _Field(
        msgspec.json.Decoder(Position | None),
        "a whole number: what you hold before the order, below 0 for short",
        is_optional=True,
    ),
    "tape": _Field(
        msgspec.json.Decoder(Tape | None), "text of at most 64 characters", is_optional=True
    ),
    "tick_sequence": _Field(
        msgspec.json.Decoder(Count | None), "a whole number from 0", is_optional=True
    ),
    "sent_ns": _Field(
        msgspec.json.Decoder(Nanoseconds | None),
        "a whole number of nanoseconds of the host's monotonic clock (time.monotonic_ns)",
        is_optional=True,
    ),
    "client_id": _Field(
        msgspec.json.Decoder(ClientId | None), "1 to 64 of A-Za-z0-9._-", is_optional=True
    ),
}
"""The fields of an order beside its type, in the order of the protocol's table."""

_KNOWN: Final = frozenset({"type", *_ORDER})

_LOGON: Final = {
    "client_id": _Field(msgspec.json.Decoder(ClientId), "1 to 64 of A-Za-z0-9._-"),
    "token": _Field(
        msgspec.json.Decoder(Token | None),
        f"text of at most {MAX_TOKEN_CHARACTERS} characters",
        is_optional=True,
    ),
}

_OTHER_NAMES: Final = {
    other: name
    for name, others in {
        "type": "msgtype messagetype kind",
        "order_id": "id oid orderno ordernumber clientorderid clordid cloid",
        "symbol": "sym ticker instrument stock",
        "side": "action direction buysell",
        "quantity": "qty size amount volume shares units lots",
        "price": "px limit limitprice orderprice",
        "position": "pos",
        "sent_ns": "sentat senttime senttimestamp sendingtime",
        "client_id": "client clientname",
    }.items()
    for other in others.split()
}
"""Other names of the fields of an order, without case and underscores."""

_SUBSTANCE: Final = frozenset({"symbol", "side", "quantity", "price", "position", "sent_ns"})
"""The fields that must not occur twice, under two names, with different values."""

_GUARDS: Final = frozenset({
    "reduceonly", "closeonly", "postonly", "allornone", "aon", "fillorkill", "fok",
    "immediateorcancel", "ioc", "timeinforce", "tif", "goodtill", "goodtilldate", "goodtilltime",
    "gtd", "validuntil", "validfor", "expires", "expiresat", "expiry", "expiration", "deadline",
    "ttl", "maxage", "stop", "stopprice", "stoploss", "takeprofit", "trigger", "triggerprice",
    "maxprice", "minprice", "maxquantity", "maxqty", "minquantity", "minqty", "maxposition",
    "minposition", "slippage", "maxslippage", "dryrun", "simulate", "simulated", "paper",
    "testorder",
})  # fmt: skip
"""Guards of other protocols, without punctuation. Most of them are recognised by their single words
too."""
_GUARD_STEMS: Final = (
    *("ttl", "expir", "deadline", "valid", "reduc", "stop", "collar", "cancel", "guard", "until"),
    *("till", "slip", "gtt", "gtd", "gtc", "trigger", "trail", "toleran", "stale", "timeout"),
    *("halt", "simulat", "condition", "fresh", "life", "exceed"),
)
"""Beginnings of words that make a name a guard."""
_GUARD_WORDS: Final = frozenset({
    *("only", "oco", "aon", "fok", "ioc", "tif", "til", "sl", "tp", "deviation", "flat", "test"),
    *("dry", "paper", "sandbox", "demo", "preview", "kill", "gfd", "gtx", "stp", "oto", "bracket"),
    *("iceberg", "hidden", "peg", "budget", "leverage"),
    *("not", "dont", "never", "nothing", "must", "if", "unless", "without", "before", "after"),
})  # fmt: skip
_GUARD_PAIRS: Final = tuple(
    map(
        frozenset,
        [
            *(("time", "live"), ("time", "force"), ("time", "limit"), ("take", "profit")),
            ("good", "for"),
        ],
    )
)
_BOUNDS: Final = frozenset({
    *("max", "maximum", "min", "minimum", "limit", "lim", "worst", "cap", "floor", "ceiling"),
    *("most", "least", "bound", "upper", "lower"),
})  # fmt: skip
_BOUNDED: Final = frozenset({
    *("price", "px", "quantity", "qty", "size", "amount", "volume", "age", "delay", "latency"),
    *("loss", "notional", "value", "exposure", "drawdown", "order", "orders", "deviation"),
    *("cost", "fill", "fills", "shares", "units", "lots", "risk", "total", "wait", "cash"),
})  # fmt: skip
_ASSUMED: Final = frozenset({"expected", "assumed"})
_PRICES: Final = frozenset({"price", "px"})
_HELD: Final = frozenset({
    *("position", "positions", "pos", "posn", "holding", "holdings", "inventory"),
})  # fmt: skip
_SENT: Final = frozenset({"sent", "send", "sending"})
_TIMES: Final = frozenset({"time", "times", "timestamp", "stamp", "ts", "at"})
_TIME_UNITS: Final = frozenset({
    *("ns", "us", "ms", "s", "sec", "secs", "seconds", "millis", "micros", "nanos"),
})  # fmt: skip
_UNITS: Final = _TIME_UNITS | {"usd", "pct", "percent"}
_ORDER_TYPES: Final = frozenset({"ordertype", "ordtype"})
"""Names of an order type. Every order here is filled at its own price: it is a limit order."""
_LIMIT_ORDERS: Final = frozenset({b"limit", b"lmt", b"lim"})
_GUARD: Final = "a guard"

_COMPOUNDED: Final = _BOUNDS | _BOUNDED | _HELD
"""Words that may be joined without a separator: pricelimit."""

_near_fields = NearNames(("type", *_ORDER))
_near_words = NearNames(
    ("position", "deadline", "expires", "expiration", "slippage", "quantity", "maximum", "minimum")
)
"""Words of guards that are long enough to be recognised when misspelled."""
_SHORTEST_MISSPELLED: Final = 7
_words = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_near_types = NearNames(("order", "logon"))
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_text = msgspec.json.Decoder(str)


def may_ignore_unknown(frame: bytes) -> bool:
    """Return whether a frame is an object with unknown fields that can all be ignored."""
    try:
        frame.decode()  # msgspec does not check the UTF-8 of a raw value
        fields = _fields.decode(frame)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    unknown = len(fields.keys() - _KNOWN)
    if not 0 < unknown <= MAX_UNKNOWN_FIELDS or _too_long(fields):
        return False
    meanings = _meanings(fields, _ORDER)
    return not meanings or not (_misnamed(fields, meanings) or _guards(fields, meanings))


def may_hold_token(data: bytes) -> bool:
    """Return whether what a client sent may hold a token, so that no text may quote it."""
    return b"token" in data.lower()


def shown_without_token(data: bytes) -> str:
    """Return the beginning of what a client sent as text, for a log; not if it may hold a token."""
    return _NOT_SHOWN if may_hold_token(data) else shown(data)


def order_id_of(frame: bytes) -> int | None:
    """Return the order's id where one can be read, whatever else is wrong with the frame."""
    if b"order_id" not in frame:
        return None
    text = frame.strip(_WHITESPACE)
    try:
        return _order_id(_fields.decode(text))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _order_id_in_text(text)


def explain_refusal(frame: bytes) -> tuple[str, int | None]:
    """Return what is wrong with a frame, and the order's id where one can be read.

    Raises nothing, whatever the frame is.
    """
    text = frame.strip(_WHITESPACE)
    try:
        text.decode()
        fields = _fields.decode(text)
    except UnicodeDecodeError as error:
        return _not_utf8(text, error), _order_id_in_text(text)
    except RecursionError:
        return "nested too deeply", _order_id_in_text(text)
    except msgspec.MsgspecError as error:
        return _mistake_in_text(text, str(error)), _order_id_in_text(text)
    unknown = len(fields.keys() - _KNOWN)
    if unknown > MAX_UNKNOWN_FIELDS:
        mistake = f"{unknown} unknown fields: a message has at most {MAX_UNKNOWN_FIELDS}"
    else:
        mistake = _mistake({name: bytes(raw) for name, raw in fields.items()})
    return printable(mistake), _order_id(fields)


def _mistake(fields: Mapping[str, bytes]) -> str:
    """Return what is wrong with the fields of an object, given as raw JSON by name."""
    kind = _string(fields.get("type", b""))
    table, example = (_LOGON, _A_LOGON) if kind == "logon" else (_ORDER, _AN_ORDER)
    meanings = _meanings(fields, table)
    meant = _misnamed(fields, meanings)
    guards = [
        f"unknown field {shortened(name, MAX_SHOWN_CHARACTERS)}: a name of {len(name)} characters "
        f"is not looked at, at most {MAX_NAME_CHARACTERS}"
        for name in _too_long(fields)
    ]
    if kind in ("order", "logon"):
        first = _first_mistake(fields, table, meant, example)
    else:
        first = _mistake_in_type(fields, meant)
    names = [f"unknown field {name}: {known}?" for name, known in meant.items()]
    guards += [
        f"unknown field {name}: there is no such guard, and the order would be filled without it"
        for name in _guards(fields, meanings)
    ]
    said = dict.fromkeys(filter(None, (first, *(names + guards)[:MAX_NAMES])))  # each once
    return "; ".join(said) or "malformed"


def _too_long(fields: Mapping[str, _Raw]) -> list[str]:
    """Return the names that are too long to be examined."""
    return [
        name
        for name, raw in fields.items()
        if len(name) > MAX_NAME_CHARACTERS and bytes(raw) != _NULL
    ]


def _guards(fields: Mapping[str, _Raw], meanings: Mapping[str, str]) -> list[str]:
    """Return the names of guards that the protocol does not have and that are not off."""
    return [
        name
        for name, meaning in meanings.items()
        if meaning == _GUARD and not _is_off(name, bytes(fields[name]))
    ]


def _is_off(name: str, raw: bytes) -> bool:
    return raw == _FALSE or (
        key_of(name) in _ORDER_TYPES and raw.strip(b'"').lower() in _LIMIT_ORDERS
    )


def _mistake_in_type(fields: Mapping[str, bytes], meant: Mapping[str, str]) -> str:
    if "type" in fields:
        kind = _string(fields["type"])
        near = _near_types.nearest(kind) if kind else None
        hint = f": {near}?" if near else ""
        return f"type is order or logon, got {_shown(fields['type'])}{hint}"
    is_logon = "client_id" in fields and not fields.keys() & _ORDER.keys() - {"client_id"}
    for name, known in meant.items():
        if known == "type":
            return f"unknown field {name}: type?"
    return f"type is missing: {_A_LOGON if is_logon else _AN_ORDER}"


def _first_mistake(
    fields: Mapping[str, bytes],
    table: Mapping[str, _Field],
    meant: Mapping[str, str],
    example: str,
) -> str | None:
    """Return what is wrong with the first field of the table that is missing or invalid."""
    for name, field in table.items():
        raw = fields.get(name)
        if raw is not None:
            mistake = _mistake_in_value(name, field, raw)
            if mistake:
                return mistake
        elif not field.is_optional:
            for other, known in meant.items():
                if known == name:
                    return f"unknown field {other}: {name}?"
            return f"{name} is missing: {example}"
    return None


def _mistake_in_value(name: str, field: _Field, raw: bytes) -> str | None:
    if name == "price":
        return _mistake_in_price(raw)
    try:
        field.decoder.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        if name == "token":  # which is a secret, even if it is another one
            return f"token is {field.words}"
        return f"{name} is {field.words}, got {_shown(raw)}{_hint(name, field, raw)}"
    return None


def _mistake_in_price(raw: bytes) -> str | None:
    text = _string(raw)
    if text is not None:
        try:
            instead = decimal_text(price_from_json(text.strip().encode()))
        except UnicodeEncodeError:
            return f"price is a number, got {_shown(raw)}"
        except ValueError as error:  # for too many decimals, it ends with what to send
            _, _, instead = str(error).partition(": send ")
            if not instead:
                return f"price is a number, got {_shown(raw)}"
        return f"price is a number, got {_shown(raw)}: send {instead} without quotes"
    if not _NUMBER.fullmatch(raw):
        return f"price is a number, got {_shown(raw)}"
    try:
        price_from_json(raw)
    except ValueError as error:
        return str(error)
    return None


def _hint(name: str, field: _Field, raw: bytes) -> str:
    """Return what to send instead, if that is clear."""
    text = _string(raw)
    if name == "sent_ns":
        # There is no number to send instead: the time is of another clock.
        if text is not None:
            return ": the text of a wall clock?"
        return ": seconds?" if _SECONDS.fullmatch(raw) else ""
    whole = _whole_number(raw.decode() if text is None else text)
    if whole is not None:
        try:
            field.decoder.decode(str(whole).encode())
        except msgspec.MsgspecError:
            if whole > MAX_INTEGER and name == "quantity":
                return f": at most {MAX_INTEGER}"
        else:
            return f": send {whole}{' without quotes' if text is not None else ''}"
    return ""


def _whole_number(text: str) -> int | None:
    """Read a whole number in any notation: `10`, `10.0`, `1e1`."""
    if len(text) > MAX_SHOWN_CHARACTERS or not _DECIMAL.fullmatch(text.strip()):
        return None
    number = Decimal(text)
    if number.adjusted() > MAX_SHOWN_CHARACTERS:
        return None
    return int(number) if number == number.to_integral_value() else None


def _misnamed(fields: Mapping[str, _Raw], meanings: Mapping[str, str]) -> dict[str, str]:
    """Return the unknown fields that are misnamed fields of the table, with the right names."""
    return {
        name: known
        for name, known in meanings.items()
        if known != _GUARD
        and (
            known not in fields
            or (known in _SUBSTANCE and bytes(fields[known]) != bytes(fields[name]))
        )
    }


def _meanings(fields: Mapping[str, _Raw], table: Mapping[str, _Field]) -> dict[str, str]:
    """Return the meaning of each unknown field that has one."""
    meanings = {}
    for name, raw in fields.items():
        if name == "type" or name in table or len(name) > MAX_NAME_CHARACTERS:
            continue
        meaning = _meaning(name)
        if meaning is None or bytes(raw) == _NULL:
            continue
        if meaning in ("type", _GUARD) or meaning in table:
            meanings[name] = meaning
    return meanings


@lru_cache(maxsize=1024)
def _meaning(name: str) -> str | None:
    """Return the field that an unknown name stands for, or _GUARD; None for something else."""
    key = key_of(name)
    if key in _GUARDS or key in _ORDER_TYPES:
        return _GUARD
    return _OTHER_NAMES.get(key) or _meaning_of_words(name) or _near_fields.nearest(key)


def _meaning_of_words(name: str) -> str | None:
    """Return what a name means by its words: maxAge, age_max_ms, expected_pos, ts_sent."""
    apart = [word.lower() for word in _words.findall(name)]
    words = {_near_word(part) for word in apart if word not in _UNITS for part in _parts(word)}
    is_bound = not words.isdisjoint(_BOUNDS)
    held = not words.isdisjoint(_HELD) or any("position" in word for word in words)
    if (
        any(word.startswith(_GUARD_STEMS) for word in words)
        or not words.isdisjoint(_GUARD_WORDS)
        or any(pair <= words for pair in _GUARD_PAIRS)
        or (is_bound and (held or words <= _BOUNDS))
        or apart[:1] == ["no"]  # after another word it means number: serial_no
    ):
        return _GUARD
    if not words.isdisjoint(_ASSUMED) and not words.isdisjoint(_BOUNDED):
        return _GUARD
    if is_bound and not words.isdisjoint(_BOUNDED):
        return "price" if "limit" in words and words - {"limit"} <= _PRICES else _GUARD
    if held:
        return "position"
    has_unit = not _TIME_UNITS.isdisjoint(apart)
    if not words.isdisjoint(_SENT) and (has_unit or not words.isdisjoint(_TIMES)):
        return "sent_ns"
    # timestamp_ns, but not decision_time_ns, which is the time of something else.
    return "sent_ns" if has_unit and words and words <= _TIMES else None


def _parts(word: str) -> tuple[str, ...]:
    """Return the two parts of a compound word (maxpositon), else the word itself."""
    for at in range(2, len(word) - 1):
        first, second = word[:at], word[at:]
        if first in _COMPOUNDED and _near_word(second) in _COMPOUNDED:
            return first, second
    return (word,)


def _near_word(word: str) -> str:
    return (len(word) >= _SHORTEST_MISSPELLED and _near_words.nearest(word)) or word


def _mistake_in_text(text: bytes, error: str) -> str:
    """Return what is wrong with UTF-8 text that is no JSON object."""
    if not text:
        return "an empty frame: no message stands between two delimiters"
    if may_hold_token(text):
        return f"not JSON {_NOT_SHOWN}: {_A_LOGON}"
    if b"\x00" in text[:4]:
        return "not UTF-8: UTF-16 or UTF-32?"
    if text.startswith(b"["):
        return f"one message a frame, no list: {_AN_ORDER}"
    if text.startswith(b"{"):
        return _mistake_in_broken_object(text, error)
    if text.startswith("\ufeff".encode()):
        return "a byte order mark before the JSON object: send UTF-8 without one"
    return f"an order is a JSON object, got {_cut(text)}: {_AN_ORDER}"


class _NoNumber(str):
    """NaN or Infinity, which Python's json writes although JSON does not have them."""

    __slots__ = ()


def _mistake_in_broken_object(text: bytes, error: str) -> str:
    """Return what is wrong with text that begins like a JSON object but is none."""
    try:
        fields = json.loads(text, parse_constant=_NoNumber)
    except json.JSONDecodeError as failure:
        return f"not JSON: {_broken_json(failure)}"
    except (ValueError, RecursionError):  # a number of thousands of digits; lists in lists
        return f"not JSON: {error}"
    for name, field in _ORDER.items():
        if isinstance(fields.get(name), _NoNumber):
            return f"{name} is {field.words}, got {fields[name]}"
    return f"not JSON: {error}"


def _broken_json(failure: json.JSONDecodeError) -> str:
    """Return why a text is no JSON, and where."""
    rest = failure.doc[failure.pos :]
    if failure.msg == "Extra data":
        return f"a second message begins at character {failure.pos}: a delimiter ends each"
    if failure.msg.startswith("Unterminated string"):
        return "a string has no end (an asterisk in one is written \\u002a)"
    if not rest:
        return "it ends too soon (an asterisk in a string is written \\u002a)"
    where = f"at character {failure.pos}: {_cut(rest.encode(errors='replace'))}"
    if rest.startswith("'"):
        return f"text and names stand in double quotes, {where}"
    if rest.startswith(("None", "True", "False")):
        return f"it is null, true and false, {where}"
    return f"it cannot be read {where}"


def _not_utf8(text: bytes, error: UnicodeDecodeError) -> str:
    if text.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "not UTF-8: UTF-16?"
    return f"not UTF-8: byte {text[error.start]:#04x} at {error.start}"


def _order_id(fields: Mapping[str, msgspec.Raw]) -> int | None:
    """Return the order's id if there is a valid one. A logon has none, whatever its fields."""
    if "order_id" not in fields or _string(bytes(fields.get("type", b""))) == "logon":
        return None
    try:
        order_id: int = _ORDER["order_id"].decoder.decode(fields["order_id"])
    except msgspec.MsgspecError:
        return None
    return order_id


def _order_id_in_text(text: bytes) -> int | None:
    """Return the order_id in a text that is no JSON, if there is exactly one."""
    found = _ORDER_ID_IN_TEXT.findall(text)
    return int(found[0]) if len(found) == 1 and int(found[0]) <= MAX_INTEGER else None


def _string(raw: bytes) -> str | None:
    """Return the text of a JSON string, None if it is none."""
    try:
        return _text.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _shown(raw: bytes) -> str:
    """Return a JSON value as text, strings in single quotes, because the reason is sent as JSON."""
    text = _string(raw)
    return _cut(raw) if text is None else f"'{shortened(text, MAX_SHOWN_CHARACTERS)}'"


def _cut(text: bytes) -> str:
    return shortened(
        text[: 4 * MAX_SHOWN_CHARACTERS + 4].decode(errors="replace"), MAX_SHOWN_CHARACTERS
    )
