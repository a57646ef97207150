"""How fast an order manager books. To be run: python bench/order_entry.py.

An order manager of its own, with the default limits, a price book for the price collar, and a fresh
ledger in the project's var directory (so the disk is the one that counts). Two loads: one client
that waits for each answer before it sends the next order, and four clients that keep many orders
under way. Every answer is waited for, and in the end all orders must be filled in the ledger.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Final

PROJECT_ROOT: Final = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT_ROOT))

from lib.ledger.schema import open_for_reading  # noqa: E402
from lib.settings import load_settings  # noqa: E402
from lib.shared_memory_utils import SharedPriceBook, remove_segments  # noqa: E402

LONELY_ORDERS: Final = 2_000
CLIENTS: Final = 4
ORDERS_A_CLIENT: Final = 100_000
ORDERS_A_SEND: Final = 200
UNDER_WAY: Final = 2_000
"""Of each client."""
START_S: Final = 10.0
END_S: Final = 5.0
LONGEST_S: Final = 120.0
"""Of each load, and of each wait for an answer."""
SYMBOLS: Final = ("AAPL", "MSFT", "GOOG", "AMZN")


def main() -> None:
    """Print both figures."""
    with order_manager() as (port, ledger):
        waits_us = lonely_client(port)
        seconds = four_clients(port)
        with closing(open_for_reading(ledger)) as connection:
            (filled,) = connection.execute("SELECT max(trade_id) FROM orders").fetchone()
    orders = CLIENTS * ORDERS_A_CLIENT
    assert filled == orders + LONELY_ORDERS, f"{filled} are in the ledger"
    centiles = statistics.quantiles(waits_us, n=100)
    print(
        f"one order at a time: median {centiles[49]:.0f} us, 99 of 100 below {centiles[98]:.0f} us"
        f"  ({LONELY_ORDERS:,} orders)"
    )
    print(
        f"{CLIENTS} clients: {orders / seconds:,.0f} orders a second on disk  ({orders:,} orders)"
    )


@contextmanager
def order_manager() -> Iterator[tuple[int, Path]]:
    """Run one; give its port and the path of its ledger."""
    (PROJECT_ROOT / "var").mkdir(exist_ok=True)
    directory = Path(tempfile.mkdtemp(prefix="bench-", dir=PROJECT_ROOT / "var"))
    with closing(socket.create_server(("127.0.0.1", 0))) as sock:
        port = sock.getsockname()[1]
    config = directory / "trading.toml"
    book_name = f"bench-{port}"
    config.write_text(f'[order_manager]\nport = {port}\n[price_book]\nname = "{book_name}"\n')
    with SharedPriceBook(SYMBOLS, book_name, ring_capacity=len(SYMBOLS)) as book:
        for symbol in SYMBOLS:
            book.update(symbol, 172.5)
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "daemons.order_manager"],
            cwd=PROJECT_ROOT,
            env=os.environ | {"TRADING_CONFIG": str(config), "TRADING_VAR_DIR": str(directory)},
            stdout=log,
            stderr=log,
        )
    try:
        wait_for_server(port)
        yield port, directory / load_settings(config).order_manager.ledger
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        remove_segments(book_name)
        shutil.rmtree(directory)


def wait_for_server(port: int) -> None:
    """Wait until somebody listens."""
    give_up = time.monotonic() + START_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except ConnectionRefusedError:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.01)


def lonely_client(port: int) -> list[float]:
    """Send orders one by one; return how long each waited for its answer, in microseconds."""
    with log_on(port, "lonely") as sock:
        waits_us = []
        for order_id in range(1, LONELY_ORDERS + 1):
            frame = order(order_id)
            begin = time.perf_counter_ns()
            sock.sendall(frame)
            answer = sock.recv(65536)
            waits_us.append((time.perf_counter_ns() - begin) / 1000)
            assert answer.endswith(b"*"), answer
            assert b'"FILLED"' in answer, answer
    return waits_us


def four_clients(port: int) -> float:
    """Let all of them send what they have; return the seconds until the last answer."""
    context = get_context("forkserver")
    start = context.Barrier(CLIENTS + 1, timeout=START_S)
    clients = [context.Process(target=busy_client, args=(port, n, start)) for n in range(CLIENTS)]
    for client in clients:
        client.start()
    try:
        start.wait()
        begin = time.perf_counter()
        for client in clients:
            client.join(LONGEST_S)
        seconds = time.perf_counter() - begin
        assert all(client.exitcode == 0 for client in clients), "not all orders were answered"
        return seconds
    finally:
        for client in clients:
            client.kill()


def busy_client(port: int, number: int, start: Barrier) -> None:
    """Keep many orders under way until all are answered."""
    sends = [
        b"".join(order(order_id) for order_id in range(first, first + ORDERS_A_SEND))
        for first in range(1, ORDERS_A_CLIENT + 1, ORDERS_A_SEND)
    ]
    with log_on(port, f"client-{number}") as sock:
        start.wait()
        sent = answered = 0
        while answered < ORDERS_A_CLIENT:
            if sends and sent - answered <= UNDER_WAY - ORDERS_A_SEND:
                sock.sendall(sends.pop(0))
                sent += ORDERS_A_SEND
                continue
            answers = sock.recv(1 << 20)
            assert answers, "the order manager has closed the connection"
            answered += answers.count(b"*")


def log_on(port: int, client_id: str) -> socket.socket:
    """Connect as a client of that name."""
    sock = socket.create_connection(("127.0.0.1", port), timeout=LONGEST_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.sendall(json.dumps({"type": "logon", "client_id": client_id}).encode() + b"*")
    assert b"logon_ack" in sock.recv(65536)
    return sock


def order(order_id: int) -> bytes:
    """One frame; buys and sells in turn, so that positions stay small."""
    symbol = SYMBOLS[order_id // 2 % len(SYMBOLS)]
    side = "BUY" if order_id % 2 else "SELL"
    price = f"{170 + order_id % 7}.{order_id % 89 + 10}"
    return (
        f'{{"type":"order","order_id":{order_id},"symbol":"{symbol}","side":"{side}",'
        f'"quantity":10,"price":{price}}}*'
    ).encode()


if __name__ == "__main__":
    main()
