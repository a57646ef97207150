"""The frame: the ticks, the work, and that nothing outlives a run, whatever happens in it."""

from __future__ import annotations

import os
import signal
import time
from array import array
from itertools import chain
from statistics import fmean

import pytest

from bench import processes
from bench.errors import BenchError
from bench.rivals import rival
from bench.rivals.load import Load, RivalTape, due
from bench.rivals.rival import (
    ConsumerResult,
    ProcessContext,
    RivalResult,
    run,
    tcp_connection,
)
from bench.rivals.work import LONG_WINDOW, SHORT_WINDOW, Averages, Decisions, PriceBook
from tests.rivals import nothing_left

LOAD = Load(2000, 0.1, symbols=3)


def test_the_relay_reads_what_the_producer_writes() -> None:
    load = Load(0, 1, 7, symbols=3)
    tape, book = RivalTape(load), PriceBook(load)
    assert set(tape.symbols) == {0, 1, 2}
    assert min(tape.prices) > 0
    assert book.decode(tape.texts()[2]) == (tape.symbols[14:21], tape.prices[14:21])
    book.decode(b"S0001,5.50*S0000,7.25*S0001,6.00")
    assert book.latest[:2] == [7.25, 6.0]


@pytest.mark.parametrize("rate", [20_000, 0])
def test_messages_are_sent_once_in_order_for_as_long_as_the_load_says(rate: float) -> None:
    begin = time.monotonic()
    numbers = list(chain.from_iterable(due(Load(rate, 0.05, 4))))
    assert time.monotonic() - begin >= 0.05
    assert numbers == list(range(250 if rate else len(numbers)))


def test_the_averages_are_those_of_the_last_ticks_of_each_symbol() -> None:
    tape = RivalTape(LOAD)
    averages, seen = Averages(3), {symbol: [] for symbol in range(3)}
    for symbol, price in zip(tape.symbols[:2000], tape.prices, strict=False):
        seen[symbol].append(price)
        short, long = (fmean(seen[symbol][-window:]) for window in (SHORT_WINDOW, LONG_WINDOW))
        expected = len(seen[symbol]) >= LONG_WINDOW and short > long
        assert averages.decide([symbol], [price]) == expected or abs(short - long) < 1e-9


def test_a_latency_is_noted_for_each_message_and_what_is_missing_is_known() -> None:
    decisions = Decisions(LOAD)
    assert decisions.take(1, time.monotonic_ns(), [0, 0], [1.0, 1.0])
    with pytest.raises(BenchError, match="tick 2 came when 3 was the next"):
        decisions.take(2, 0, [0], [1.0])
    assert not decisions.take(4, time.monotonic_ns(), [], [])
    result = decisions.result()
    assert (result.sent, result.ticks, len(result.latencies_ns)) == (3, 2, 1)
    assert result.latencies_ns[0] > 0


# The roles of small rivals. They run in processes of their own, which import this module.


def sends(part: ProcessContext) -> None:
    sock, _ = part.link
    part.start()
    for numbers in due(part.load):
        sock.send(b"tick" * len(numbers))
    sock.close()


def receives_all_but_one(part: ProcessContext) -> ConsumerResult:
    _, sock = part.link
    received = 0
    part.start()
    while received < 4 * part.load.messages:
        received += len(sock.recv(4096))
    return ConsumerResult(
        part.load.messages, received // 4 - 1, array("q", [1]), time.monotonic_ns()
    )


def fails(part: ProcessContext) -> None:
    part.start()
    raise RuntimeError("what went wrong")


def dies(part: ProcessContext) -> None:
    part.start()
    os.kill(os.getpid(), signal.SIGKILL)


def hangs(part: ProcessContext) -> None:
    part.start()
    time.sleep(600)


def is_never_ready(part: ProcessContext) -> None:
    time.sleep(600)


def run_pair(role) -> RivalResult:
    with nothing_left(), tcp_connection() as connection:
        return run(LOAD, sends, role, link=connection)


def test_what_is_missing_is_counted_over_the_time_of_the_whole_load() -> None:
    outcome = run_pair(receives_all_but_one)
    assert (outcome.ticks, outcome.missing) == (199, 1)
    assert outcome.seconds >= LOAD.seconds


@pytest.mark.parametrize(
    ("role", "reason"),
    [
        (fails, "the fails failed: Traceback.*what went wrong"),
        (dies, "the dies has ended without a message"),
        (hangs, "the hangs: not finished in time"),
        (is_never_ready, "the is_never_ready: not ready in time"),
    ],
)
def test_any_failure_is_reported_and_no_process_is_left(role, reason, monkeypatch) -> None:
    monkeypatch.setattr(rival, "END_S", 2.0)
    if role is is_never_ready:
        monkeypatch.setattr(processes, "START_S", 5.0)
    with pytest.raises(BenchError, match=f"(?s){reason}"):
        run_pair(role)
