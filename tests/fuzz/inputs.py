"""What is sent on one connection: valid messages, mutated ones, and random bytes. Pure, by seed."""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random

PRICE, NEWS, ORDERS, HTTP = "price", "news", "orders", "http"
PORTS = (PRICE, NEWS, ORDERS, HTTP)

INPUTS_A_CONNECTION = {
    PRICE: (1, 1, 2, 2, 4),
    NEWS: (1, 1, 2, 2, 4),
    ORDERS: (1, 16, 64, 256, 512),
    HTTP: (1, 1, 1, 2, 4),
}
"""Of how many inputs a connection is made: one of these. A connection to the streams and to the
dashboard is over with its first invalid message or its first request; what comes after that must be
harmless too, but is not parsed (`reached`). One to the order port goes on."""
MAX_INPUT_BYTES = 200_000
MUTATIONS = (0, 1, 1, 1, 2, 3)
"""How often an input is mutated: one of these; 0 leaves it valid."""
RANDOM_SHARE = 0.1
"""How many of the inputs are no mutated messages, but random bytes."""
RARE = 0.002
"""How many of the inputs are as long as no message may be, or as deep."""

ORDER = {"type": "order", "order_id": 1, "symbol": "AAPL", "side": "BUY", "quantity": 1}
WHOLE = {**ORDER, "price": 190.5}
OTHER_VOCABULARIES = (
    {"symbol": "AAPL", "side": "BUY", "qty": 10, "price": 190.5},
    {"type": "order", "id": 1, "side": "BUY", "sym": "AAPL", "qty": 10, "px": 190.5},
    WHOLE | {"side": "buy"},
    WHOLE | {"quantity": "10"},
    WHOLE | {"price": "190.50"},
    WHOLE | {"price": None},
    WHOLE | {"timestamp": "2025-11-11T09:30:00Z", "sentiment": 70},
    [WHOLE],
    "BUY,AAPL,10,190.5",
)
_HOST = b"Host: 127.0.0.1\r\n"
SEEDS: dict[str, tuple[bytes, ...]] = {
    PRICE: (
        *(b"HELLO,1,0*", b"HELLO,1,1*", b"HELLO,1,250*", b"HELLO,1,1,20261130T000000.000000Z-1*"),
        *(b"HELLO,1,9007199254740993*", b"HELLO,2,1*", b"AAPL,172.53*", b"BATCH,1,1,0*AAPL,1*"),
    ),
    NEWS: (b"HELLO,1,0*", b"HELLO,1,1*", b"HELLO,1,99*", b"HELLO,0,1*", b"50*", b"BATCH,1,0,0*"),
    ORDERS: tuple(
        json.dumps(message).encode() + b"*"
        for message in (
            WHOLE,
            WHOLE | {"side": "SELL", "order_id": 2},
            WHOLE | {"symbol": "MSFT", "price": 325.2, "order_id": 3, "position": 0},
            WHOLE | {"order_id": 4, "tape": "a tape", "tick_sequence": 7, "sent_ns": 1},
            WHOLE | {"order_id": 5, "client_id": "fuzz-1"},
            *({"type": "logon", "client_id": f"fuzz-{number}"} for number in range(4)),
            {"type": "logon", "client_id": "anonymous-1"},
            {"type": "execution_report", "order_id": 1, "status": "FILLED"},
            *OTHER_VOCABULARIES,
        )
    ),
    HTTP: (
        b"GET / HTTP/1.1\r\n" + _HOST + b"\r\n",
        b"GET /metrics HTTP/1.1\r\n" + _HOST + b"Accept: */*\r\n\r\n",
        b"GET /health HTTP/1.1\r\n" + _HOST + b"\r\n",
        b"HEAD /page.js HTTP/1.1\r\n" + _HOST + b"\r\n",
        b"GET /events?symbol=AAPL&window=60 HTTP/1.1\r\n" + _HOST + b"\r\n",
        b"GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\n" + _HOST + b"\r\n",
        b"POST / HTTP/1.1\r\n" + _HOST + b"Content-Length: 3\r\n\r\nabc",
        b"POST / HTTP/1.1\r\n" + _HOST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET http://127.0.0.1/metrics HTTP/1.1\r\n" + _HOST + b"Connection: keep-alive\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ),
}
DEEP = (
    b"[" * 50_000 + b"*",
    b'{"type":' * 8_000 + b"*",
    b'{"type":"order","price":' + b"9" * 5_000 + b"}*",
    b"A" * 70_000 + b"*",
    b"GET /?" + b"a=1&" * 5_000 + b" HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + b"X: 1\r\n" * 5_000 + b"\r\n",
    b"*" * 1_000,
    bytes(10_000),
)
TOKENS = (
    *(b"-1", b"0", b"1e309", b"-0.0", b"NaN", b"Infinity", b"9007199254740993", b"1" * 400),
    *(b"null", b"true", b'""', b"{}", b"[]", b'"\\u0000"', b'"\\ud800"', b"\xff\xfe", b"\xc0\x80"),
    *(b"\0", b"\r\n", b"*", b",", b"\xe2\x80\xae", b"AAPL", b"HELLO", b"BATCH", b"../", b"%00"),
)

Mutation = Callable[[bytearray, Random], None]


def inputs_of(port: str, connection: int, seed: int) -> list[bytes]:
    """Return what the connection of this number sends, an entry an input; the same each time."""
    random = Random(f"{seed} {port} {connection}")
    count = random.choice(INPUTS_A_CONNECTION[port])
    return [_input(port, random) for _ in range(count)]


def _input(port: str, random: Random) -> bytes:
    chance = random.random()
    if chance < RARE:
        return random.choice(DEEP)
    if chance < RARE + RANDOM_SHARE:
        return random.randbytes(random.randrange(1, 200))
    message = bytearray(random.choice(SEEDS[port]))
    for _ in range(random.choice(MUTATIONS)):
        random.choice(_MUTATIONS)(message, random)
    return bytes(message[:MAX_INPUT_BYTES]) or b"*"


def _flip_bits(message: bytearray, random: Random) -> None:
    for _ in range(random.randrange(1, 4)):
        if message:
            message[random.randrange(len(message))] ^= 1 << random.randrange(8)


def _span(message: bytearray, random: Random) -> slice:
    begin = random.randrange(len(message) + 1)
    return slice(begin, begin + random.randrange(20))


def _cut(message: bytearray, random: Random) -> None:
    del message[_span(message, random)]


def _cut_off(message: bytearray, random: Random) -> None:
    """The end, and with it the delimiter, so that the next input belongs to this one."""
    del message[random.randrange(len(message) + 1) :]


def _repeat(message: bytearray, random: Random) -> None:
    span = _span(message, random)
    message[span] = message[span] * random.choice((2, 3, 50))


def _insert(message: bytearray, random: Random) -> None:
    at = random.randrange(len(message) + 1)
    message[at:at] = random.choice((random.choice(TOKENS), random.randbytes(4)))


def _overwrite(message: bytearray, random: Random) -> None:
    message[_span(message, random)] = random.choice(TOKENS)


def _change_number(message: bytearray, random: Random) -> None:
    """The first run of digits behind some place becomes another number."""
    begin = random.randrange(len(message) + 1)
    while begin < len(message) and not 48 <= message[begin] <= 57:
        begin += 1
    end = begin
    while end < len(message) and 48 <= message[end] <= 57:
        end += 1
    number = random.choice((-1, 0, 1, 2**31, 2**53, 2**63, 2**64, 10**19, random.getrandbits(20)))
    message[begin:end] = str(number).encode()


def _nest(message: bytearray, random: Random) -> None:
    depth = random.choice((1, 10, 200))
    message[:] = b"[" * depth + message.removesuffix(b"*") + b"]" * depth + b"*"


def _swap_case(message: bytearray, _random: Random) -> None:
    message[:] = message.swapcase()


_MUTATIONS: tuple[Mutation, ...] = (
    _flip_bits,
    _cut,
    _cut_off,
    _repeat,
    _insert,
    _overwrite,
    _change_number,
    _change_number,
    _nest,
    _swap_case,
)
