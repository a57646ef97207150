"""Readers of a user's own beside a trading stack, more of them than there are wake-up slots."""

from __future__ import annotations

import os
import select
import signal
from contextlib import ExitStack
from pathlib import Path

from structlog.testing import capture_logs

from lib.shared_memory_utils import PriceBookReader, SharedPriceBook
from tests.helpers import wait_until
from tests.processes import forked
from tests.stack import PrivateStack

READERS = 200


def read_all(name: str, ready: int, until_closed: int) -> None:
    """Wait for ticks with many readers at a time; fail if one of them misses a tick."""
    with ExitStack() as stack:
        book = stack.enter_context(SharedPriceBook.attach(name))
        selector = stack.enter_context(select.epoll())
        logged = stack.enter_context(capture_logs())
        readers: dict[int, PriceBookReader] = {}
        read = {}
        for _ in range(READERS):
            reader = stack.enter_context(book.reader())
            readers[reader.fileno()] = reader
            read[reader] = 0
        begin = [reader.position for reader in read]

        def read_and_arm(reader: PriceBookReader) -> None:
            while not reader.arm():
                batch = reader.read()
                assert batch.missed is None
                read[reader] += len(batch.ticks)

        for file, reader in readers.items():
            selector.register(file, select.EPOLLIN)
            read_and_arm(reader)
        selector.register(until_closed, select.EPOLLIN)
        os.write(ready, b"x")
        woken: list[int] = []
        while until_closed not in woken:
            woken = [file for file, _ in selector.poll()]
            for file in woken:
                if file in readers:
                    readers[file].disarm()
                    read_and_arm(readers[file])
        assert all(read.values())
        assert [reader.position for reader in read] == [
            first + count for first, count in zip(begin, read.values(), strict=True)
        ]
        assert 0 < [entry["event"] for entry in logged].count("reader_polls") < READERS


def test_a_stack_trades_and_is_restarted_beside_more_waiting_readers_than_slots() -> None:
    ready, is_ready = os.pipe()
    until_closed, end = os.pipe()
    with PrivateStack({"gateway": {"rate": 500.0, "news_interval": 0.1}}) as stack:
        stack.start()
        stack.wait_for_event("strategy", "order_sent")

        def child() -> None:
            os.close(end)
            read_all(stack.book_name, is_ready, until_closed)

        with forked(child) as readers:
            assert os.read(ready, 1)
            os.kill(stack.pid("strategy"), signal.SIGKILL)
            [again] = wait_until(
                lambda: stack.events("strategy", "evaluation_started")[1:],
                "the strategy evaluates again",
            )
            wait_until(
                lambda: (
                    stack.events("strategy", "order_sent")[-1]["timestamp"] > again["timestamp"]
                ),
                "it trades again",
            )
            # It has a wake-up slot, however many readers wait.
            files = Path(f"/proc/{stack.pid('strategy')}/fd").iterdir()
            assert f"/dev/shm/{stack.book_name}.reader-00" in {str(f.readlink()) for f in files}
            os.close(end)
            assert readers.join() == 0
        assert {e["event"] for e in stack.events("strategy")} & {"crashed", "reader_polls"} == set()
        assert stack.missed("orderbook") == []
        # What it has not evaluated is what came while it was away.
        assert stack.missed("strategy") == stack.absences()
    for descriptor in (ready, is_ready, until_closed):
        os.close(descriptor)
