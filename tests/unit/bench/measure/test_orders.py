"""Every order is answered and counted once, and its wait is from its own sending."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator

import pytest

from bench.errors import BenchError
from bench.measure.orders import ClientPlan, order_frames, send_all, waits_ns
from lib.wire.framing import split

PRICES = {"AAPL": 170.25, "MSFT": 320.5}


def client(orders: int, under_way: int) -> ClientPlan:
    return ClientPlan(("127.0.0.1", 1), "me", under_way, orders, PRICES)


@pytest.mark.parametrize(("orders", "under_way"), [(1, 1), (20, 1), (100, 16), (103, 40)])
def test_all_orders_are_sent_once_in_order(orders: int, under_way: int) -> None:
    pieces = order_frames(client(orders, under_way))
    frames = [json.loads(frame) for data, _ in pieces for frame in split(data)]
    assert [frame["order_id"] for frame in frames] == list(range(1, orders + 1))
    assert sum(count for _, count in pieces) == orders
    assert max(count for _, count in pieces) <= under_way


def test_positions_stay_small_and_prices_are_those_of_the_book() -> None:
    frames = [
        json.loads(frame) for data, _ in order_frames(client(1000, 100)) for frame in split(data)
    ]
    positions = dict.fromkeys(PRICES, 0)
    for frame in frames:
        assert frame["price"] == PRICES[frame["symbol"]]
        positions[frame["symbol"]] += frame["quantity"] * (1 if frame["side"] == "BUY" else -1)
        assert abs(positions[frame["symbol"]]) <= 10
    assert {frame["symbol"] for frame in frames} == set(PRICES)


def test_the_n_th_answer_is_that_of_the_n_th_order() -> None:
    sent = [(100, 2), (200, 1)]
    answered = [(1000, 1), (2000, 2)]
    assert waits_ns(sent, answered).tolist() == [900, 1900, 1800]


class Manager:
    """An order manager that answers each order when it likes, some bytes at a time."""

    def __init__(self, sock: socket.socket, status: str, piece: int) -> None:
        self._sock = sock
        self._answer = f'{{"status":"{status}"}}*'.encode()
        self._piece = piece
        self.most_under_way = 0
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        owed = b""
        orders = 0
        while data := self._sock.recv(1 << 16):
            orders += data.count(b"*")
            owed += self._answer * data.count(b"*")
            self.most_under_way = max(self.most_under_way, owed.count(b"*"))
            while owed:
                self._sock.sendall(owed[: self._piece])
                owed = owed[self._piece :]

    def join(self) -> None:
        self._thread.join()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_all_are_answered_however_the_answers_are_cut(pair, piece: int) -> None:
    ours, theirs = pair
    manager = Manager(theirs, "FILLED", piece)
    times = send_all(ours, order_frames(client(50, 16)), 16)
    ours.shutdown(socket.SHUT_WR)
    manager.join()
    assert len(times.answers_ns) == 50
    assert (times.answers_ns > 0).all()
    assert manager.most_under_way <= 16


def test_an_order_that_was_not_filled_is_an_error(pair) -> None:
    ours, theirs = pair
    manager = Manager(theirs, "REJECTED", 1000)
    with pytest.raises(BenchError, match="20 of 20 orders were not filled"):
        send_all(ours, order_frames(client(20, 4)), 4)
    ours.shutdown(socket.SHUT_WR)
    manager.join()


def test_a_connection_that_is_closed_is_an_error(pair) -> None:
    ours, theirs = pair
    theirs.shutdown(socket.SHUT_WR)
    with pytest.raises(BenchError, match="closed the connection"):
        send_all(ours, order_frames(client(1, 1)), 1)
