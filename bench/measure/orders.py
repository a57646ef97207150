"""Durable orders: how many a second, and how long each waits for its answer.

The clients are separate processes that log on to the order manager of a complete running stack.
Each keeps a number of orders in flight until all are answered, and every answer must be a fill,
which is sent only after the order is on disk. Answers come in the order of receipt, so the n-th
answer belongs to the n-th order.
"""

from __future__ import annotations

import json
import math
import socket
import time
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from bench.errors import BenchError
from bench.measure.measured_stack import MeasuredStack, measured_stack
from bench.plan import OrdersRun
from bench.processes import Part, begin, hear, started
from bench.results import LatencyDistribution, OrderFigures, Recording
from lib.clock import SECOND_NS
from lib.settings import Settings
from lib.shared_memory_utils import SharedPriceBook
from lib.wire.framing import MESSAGE_DELIMITER

NO_NEWS_S: Final = 100_000.0
"""The news interval: with one sentiment the strategy hardly trades, and the order manager is free.
"""
QUANTITY: Final = 10
SENDS: Final = 8
"""In how many parts a client sends its orders in flight, so that sending and answers overlap."""
PRICES_S: Final = 30.0
"""How long the symbols may take to have a price."""
ANSWER_S: Final = 30.0
"""How long a client waits for an answer."""
LONGEST_S: Final = 120.0
"""How long all clients together may take."""
RECEIVE_BYTES: Final = 1 << 18

_FILLED: Final = b'"FILLED"'


class ClientPlan(NamedTuple):
    """What one client sends, and where."""

    address: tuple[str, int]
    client_id: str
    under_way: int
    orders: int
    prices: dict[str, float]
    """The price of each symbol, within the price collar."""


class ClientTimes(NamedTuple):
    """The times that a client measured, in monotonic ns."""

    began_ns: int
    ended_ns: int
    answers_ns: NDArray[np.int64]
    """How long each order waited for its answer."""


def measure_orders(runs: Sequence[OrdersRun], found: Recording) -> None:
    """Measure all runs, one after the other, on one stack. Raises BenchError."""
    settings = Settings()
    settings = replace(settings, gateway=replace(settings.gateway, news_interval=NO_NEWS_S))
    with measured_stack(settings) as stack:
        prices = latest_prices(stack)
        for number, run in enumerate(runs):
            found.orders.append(measure(stack.settings, run, prices, f"bench-{number}"))


def latest_prices(stack: MeasuredStack) -> dict[str, float]:
    """Return the latest price of each symbol, once all have one, for the price collar."""
    give_up_s = time.monotonic() + PRICES_S
    with SharedPriceBook.attach(stack.settings.price_book.name) as book:
        while True:
            prices = {symbol: book.read(symbol) for symbol in book.symbols}
            if not any(map(math.isnan, prices.values())):
                return {symbol: round(price, 2) for symbol, price in prices.items()}
            if time.monotonic() > give_up_s:
                raise BenchError("not every symbol has a price")
            time.sleep(0.01)


def measure(
    settings: Settings, run: OrdersRun, prices: dict[str, float], name: str
) -> OrderFigures:
    """Let clients whose ids begin with `name` send their orders, all at once. Raises BenchError."""
    address = settings.order_manager.host, settings.order_manager.port
    clients = [
        ClientPlan(address, f"{name}-{number}", run.under_way, run.orders, prices)
        for number in range(run.clients)
    ]
    with started([(_client, client) for client in clients]) as children:
        begin(children)
        times = hear(children, children, LONGEST_S, "not finished in time")
    began_ns, ended_ns = min(t.began_ns for t in times), max(t.ended_ns for t in times)
    answers_ns = np.concatenate([t.answers_ns for t in times])
    return OrderFigures(
        clients=run.clients,
        under_way=run.under_way,
        orders=len(answers_ns),
        seconds=(ended_ns - began_ns) / SECOND_NS,
        answer=LatencyDistribution.of(answers_ns),
    )


def _client(part: Part[ClientPlan]) -> ClientTimes:
    """The main function of a client's process."""
    client = part.load
    sends = order_frames(client)
    try:
        with _log_on(client) as sock:
            part.start()
            return send_all(sock, sends, client.under_way)
    except OSError as error:
        raise BenchError(str(error)) from None


def order_frames(client: ClientPlan) -> list[tuple[bytes, int]]:
    """Return the pieces to send, each with its number of orders."""
    symbols = list(client.prices)
    size = max(1, client.under_way // SENDS)
    pieces = []
    for first in range(1, client.orders + 1, size):
        numbers = range(first, min(first + size, client.orders + 1))
        frames = [_order(number, symbols, client.prices) for number in numbers]
        pieces.append((b"".join(frames), len(frames)))
    return pieces


def _order(order_id: int, symbols: Sequence[str], prices: dict[str, float]) -> bytes:
    """Return one frame; buys and sells alternate, so that positions stay small."""
    symbol = symbols[order_id // 2 % len(symbols)]
    side = "BUY" if order_id % 2 else "SELL"
    return (
        f'{{"type":"order","order_id":{order_id},"symbol":"{symbol}","side":"{side}",'
        f'"quantity":{QUANTITY},"price":{prices[symbol]}}}*'
    ).encode()


def _log_on(client: ClientPlan) -> socket.socket:
    sock = socket.create_connection(client.address, ANSWER_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    logon = {"type": "logon", "client_id": client.client_id}
    sock.sendall(json.dumps(logon).encode() + MESSAGE_DELIMITER)
    answer = sock.recv(RECEIVE_BYTES)
    if b"logon_ack" not in answer:
        raise BenchError(f"logon was answered with {answer!r}")
    return sock


def send_all(
    sock: socket.socket, sends: Sequence[tuple[bytes, int]], under_way: int
) -> ClientTimes:
    """Send all pieces with at most `under_way` orders in flight; return the times."""
    clock = time.monotonic_ns
    sent: list[tuple[int, int]] = []
    answered: list[tuple[int, int]] = []
    ahead = fills = 0
    tail = b""  # the end of the previous data, in case a word is split
    left = iter(sends)
    piece = next(left, None)
    total = sum(count for _, count in sends)
    began_ns = clock()
    done = 0
    while done < total:
        if piece is not None and ahead + piece[1] <= under_way:
            frames, count = piece
            sent.append((clock(), count))
            sock.sendall(frames)
            ahead += count
            piece = next(left, None)
            continue
        answers = sock.recv(RECEIVE_BYTES)
        if not answers:
            raise BenchError("the order manager has closed the connection")
        count = answers.count(MESSAGE_DELIMITER)
        answered.append((clock(), count))
        tail += answers
        fills += tail.count(_FILLED)
        tail = tail[1 - len(_FILLED) :]
        ahead -= count
        done += count
    if fills < total:
        raise BenchError(f"{total - fills:,} of {total:,} orders were not filled")
    return ClientTimes(began_ns, answered[-1][0], waits_ns(sent, answered))


def waits_ns(
    sent: Sequence[tuple[int, int]], answered: Sequence[tuple[int, int]]
) -> NDArray[np.int64]:
    """Return how long each order waited; both arguments are (time, number of orders)."""
    return _each(answered) - _each(sent)


def _each(times: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
    moments, counts = np.array(times, np.int64).reshape(-1, 2).T
    return np.repeat(moments, counts)
