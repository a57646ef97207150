"""Every order is answered and counted once, and its wait is from its own sending."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bench.errors import BenchError
from bench.measure.orders import ClientPlan, order_frames, send_all, waits_ns
from lib.wire.framing import split

PRICES = {"AAPL": 170.25, "MSFT": 320.5}


def client(orders: int, under_way: int) -> ClientPlan:
    return ClientPlan(("127.0.0.1", 1), "me", under_way, orders, PRICES)


@pytest.mark.parametrize(("orders", "under_way"), [(1, 1), (103, 40)])
def test_all_orders_are_sent_once_in_order_and_positions_stay_small(orders, under_way) -> None:
    pieces = order_frames(client(orders, under_way))
    frames = [json.loads(frame) for data, _ in pieces for frame in split(data)]
    assert [frame["order_id"] for frame in frames] == list(range(1, orders + 1))
    assert sum(count for _, count in pieces) == orders
    assert max(count for _, count in pieces) <= under_way
    positions = dict.fromkeys(PRICES, 0)
    for frame in frames:
        assert frame["price"] == PRICES[frame["symbol"]]
        positions[frame["symbol"]] += frame["quantity"] * (1 if frame["side"] == "BUY" else -1)
        assert abs(positions[frame["symbol"]]) <= 10
    assert orders < 4 or {frame["symbol"] for frame in frames} == set(PRICES)


def test_the_n_th_answer_is_that_of_the_n_th_order() -> None:
    sent = [(100, 2), (200, 1)]
    answered = [(1000, 1), (2000, 2)]
    assert waits_ns(sent, answered).tolist() == [900, 1900, 1800]


@contextmanager
def order_manager(status: str, piece: int = 1000) -> Iterator[tuple[socket.socket, list[int]]]:
    """Yield a socket on which each order is answered, some bytes at a time, and what was owed."""
    answer = f'{{"status":"{status}"}}*'.encode()
    owed_orders = [0]

    def serve() -> None:
        while data := theirs.recv(1 << 16):
            owed = answer * data.count(b"*")
            owed_orders.append(data.count(b"*"))
            for first in range(0, len(owed), piece):
                theirs.sendall(owed[first : first + piece])

    ours, theirs = socket.socketpair()
    thread = threading.Thread(target=serve)
    with ours, theirs:
        thread.start()
        try:
            yield ours, owed_orders
        finally:
            ours.shutdown(socket.SHUT_WR)
            thread.join()


@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_all_are_answered_however_the_answers_are_cut(piece: int) -> None:
    with order_manager("FILLED", piece) as (sock, owed):
        times = send_all(sock, order_frames(client(50, 16)), 16)
    assert len(times.answers_ns) == 50
    assert (times.answers_ns > 0).all()
    assert max(owed) <= 16


def test_an_order_that_was_not_filled_is_an_error() -> None:
    with order_manager("REJECTED") as (sock, _), pytest.raises(BenchError, match="20 of 20 orders"):
        send_all(sock, order_frames(client(20, 4)), 4)
