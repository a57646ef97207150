"""A full price book has the size of its layout, and the replay is taken whole."""

from __future__ import annotations

import socket
import threading

import pytest
from msgspec.structs import replace

from bench.errors import BenchError
from bench.measure.footprint import measure_segment, take_replay
from lib.settings import Settings


@pytest.mark.parametrize("symbols", [4, 5_000])
def test_the_file_of_a_price_book_that_is_full_takes_what_the_formula_says(symbols: int) -> None:
    found = measure_segment(symbols)
    page = 4096
    assert found.ring_capacity == Settings().price_book.ring_capacity
    assert 0 <= found.measured_bytes - found.formula_bytes < 2 * page


def served(answer: bytes, ticks: int) -> int:
    """Take the replay of a gateway that sends this and then closes."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        settings = Settings()
        settings = replace(
            settings,
            gateway=replace(settings.gateway, price_port=server.getsockname()[1]),
            price_book=replace(settings.price_book, ring_capacity=ticks),
        )

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                assert connection.recv(64) == b"HELLO,1,1*"
                connection.sendall(answer)
                connection.shutdown(socket.SHUT_WR)
                connection.recv(1)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            return take_replay(settings)
        finally:
            thread.join()


def test_a_replay_is_taken_to_its_end() -> None:
    assert served(b"HELLO,1,t,1*" + b"A,1*" * 50, ticks=50) > 50 * 4


def test_a_replay_that_ends_early_is_an_error() -> None:
    with pytest.raises(BenchError, match="closed the connection"):
        served(b"A,1*" * 49, ticks=50)
