"""The frame: the ticks, the work, and that nothing outlives a run, whatever happens in it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from array import array
from itertools import chain, islice
from pathlib import Path
from statistics import fmean

import pytest

from bench import processes
from bench.errors import BenchError
from bench.rivals import rival
from bench.rivals.load import Load, RivalTape, due, messages
from bench.rivals.rival import (
    ConsumerResult,
    ProcessContext,
    RivalResult,
    RivalUnavailable,
    require,
    run,
    tcp_connection,
)
from bench.rivals.work import LONG_WINDOW, SHORT_WINDOW, Averages, Decisions, PriceBook
from tests.helpers import PROJECT_ROOT, wait_until
from tests.rivals import MARK, marked, nothing_left

LOAD = Load(2000, 0.1, symbols=3)


class TestTicks:
    def test_a_tape_has_every_symbol_prices_above_zero_and_whole_messages(self):
        tape = RivalTape(Load(0, 1, 1000, symbols=3))
        assert set(tape.symbols) == {0, 1, 2}
        assert min(tape.prices) > 0
        assert {body.count(b"*") for body in tape.texts()} == {999}

    def test_the_relay_reads_what_the_producer_writes(self):
        load = Load(0, 1, 7, 3)
        tape, book = RivalTape(load), PriceBook(load)
        decoded = book.decode(tape.texts()[2])
        assert decoded == (tape.symbols[14:21], tape.prices[14:21])
        book.decode(b"S0001,5.50*S0000,7.25*S0001,6.00")
        assert book.latest[:2] == [7.25, 6.0]


class TestMessages:
    def test_all_messages_of_a_schedule_are_sent_once_in_order_and_not_early(self):
        begin = time.monotonic()
        numbers = list(chain.from_iterable(due(Load(20_000, 0.05, 4))))
        assert time.monotonic() - begin >= 0.05
        assert numbers == list(range(250))

    def test_without_a_rate_messages_go_out_until_the_time_is_over(self):
        begin = time.monotonic()
        numbers = list(chain.from_iterable(due(Load(0, 0.05, 100))))
        assert time.monotonic() - begin >= 0.05
        assert numbers == list(range(len(numbers)))

    def test_a_message_has_its_number_and_the_time_and_the_tape_comes_again(self):
        before_ns = time.monotonic_ns()
        sent = list(islice(messages(Load(0, 1, 7), ["a", "b"], None), 3))
        assert [(first, body) for first, _, body in sent] == [(1, "a"), (8, "b"), (15, "a")]
        times_ns = [sent_ns for _, sent_ns, _ in sent]
        assert [before_ns, *times_ns] == sorted([*times_ns, before_ns])

    def test_the_last_message_has_no_ticks_and_the_number_after_the_last(self):
        *_, (first, _, body) = messages(LOAD, ["a"], None)
        assert (first, body) == (201, None)


class TestDecisions:
    def test_the_averages_are_those_of_the_last_ticks_of_each_symbol(self):
        tape = RivalTape(LOAD)
        averages, seen = Averages(3), {symbol: [] for symbol in range(3)}
        for symbol, price in zip(tape.symbols[:2000], tape.prices, strict=False):
            seen[symbol].append(price)
            short, long = (fmean(seen[symbol][-window:]) for window in (SHORT_WINDOW, LONG_WINDOW))
            expected = len(seen[symbol]) >= LONG_WINDOW and short > long
            assert averages.decide([symbol], [price]) == expected or abs(short - long) < 1e-9

    def test_no_tick_is_decided_twice(self):
        decisions = Decisions(LOAD)
        decisions.take(1, 0, [0, 0], [1.0, 1.0])
        with pytest.raises(BenchError, match="tick 2 came when 3 was the next"):
            decisions.take(2, 0, [0], [1.0])

    def test_a_latency_is_noted_for_each_message_and_what_is_missing_is_known(self):
        decisions = Decisions(LOAD)
        assert decisions.take(1, time.monotonic_ns(), [0, 0], [1.0, 1.0])
        assert not decisions.take(4, time.monotonic_ns(), [], [])
        result = decisions.result()
        assert (result.sent, result.ticks) == (3, 2)
        assert len(result.latencies_ns) == 1
        assert result.latencies_ns[0] > 0


def test_a_package_that_is_missing_is_a_gap_that_names_it():
    with pytest.raises(RivalUnavailable, match="some-package is not installed"):
        require("no_such_module", "some-package")


# The roles of small rivals. They run in processes of their own, which import this module.


def sends(part: ProcessContext) -> None:
    sock, _ = part.link
    part.start()
    for numbers in due(part.load):
        sock.send(b"tick" * len(numbers))
    sock.close()


def receives(part: ProcessContext) -> ConsumerResult:
    received = receive(part)
    return ConsumerResult(part.load.messages, received, array("q", [1]), time.monotonic_ns())


def receives_all_but_one(part: ProcessContext) -> ConsumerResult:
    result = receives(part)
    return result._replace(ticks=result.ticks - 1)


def receive(part: ProcessContext) -> int:
    _, sock = part.link
    received = 0
    part.start()
    while received < 4 * part.load.messages:
        received += len(sock.recv(4096))
    return received // 4


def is_refused(part: ProcessContext) -> ConsumerResult:
    part.start()
    raise BenchError("no, thanks")


def fails(part: ProcessContext) -> ConsumerResult:
    part.start()
    raise RuntimeError("what went wrong")


def dies(part: ProcessContext) -> ConsumerResult:
    part.start()
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def hangs(part: ProcessContext) -> ConsumerResult:
    receive(part)
    time.sleep(600)
    raise AssertionError


def is_never_ready(part: ProcessContext) -> ConsumerResult:
    time.sleep(600)
    raise AssertionError


def fails_before_it_starts(part: ProcessContext) -> ConsumerResult:
    raise RuntimeError("no way")


def sleeps(part: ProcessContext) -> None:
    part.start()
    os.write(1, b"asleep\n")  # at once: the other does the same
    time.sleep(600)


def measure_sleep() -> RivalResult:
    return run(LOAD, sleeps, sleeps)


def run_pair(role) -> RivalResult:
    with tcp_connection() as connection:
        return run(LOAD, sends, role, link=connection)


class TestRun:
    def test_everything_arrives_and_no_process_is_left(self):
        with nothing_left():
            outcome = run_pair(receives)
        assert (outcome.ticks, outcome.missing) == (200, 0)
        assert outcome.seconds >= 0.1

    def test_what_is_missing_is_counted(self):
        assert run_pair(receives_all_but_one).missing == 1

    @pytest.mark.parametrize(
        ("role", "reason"),
        [
            (fails, "the fails failed: Traceback.*what went wrong"),
            (is_refused, "the is_refused failed: no, thanks$"),
            (dies, "the dies has ended without a message"),
            (hangs, "the hangs: not finished in time"),
            (is_never_ready, "the is_never_ready: not ready in time"),
            (fails_before_it_starts, "no way"),
        ],
    )
    def test_any_failure_is_reported_and_no_process_is_left(self, role, reason, monkeypatch):
        monkeypatch.setattr(rival, "END_S", 2.0)
        if role is is_never_ready:
            monkeypatch.setattr(processes, "START_S", 5.0)
        with nothing_left(), pytest.raises(BenchError, match=f"(?s){reason}"):
            run_pair(role)

    def test_the_processes_die_with_the_bench(self):
        mark = f"{os.getpid()}-{time.monotonic_ns()}"
        code = "import test_rival; test_rival.measure_sleep()"
        path = f"{PROJECT_ROOT}:{Path(__file__).parent}"
        bench = subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=PROJECT_ROOT,
            env=os.environ | {MARK: mark, "PYTHONPATH": path},
            stdout=subprocess.PIPE,
        )
        with bench:
            try:
                assert bench.stdout
                assert [bench.stdout.readline() for _ in range(2)] == [b"asleep\n"] * 2
                assert len(marked(mark)) == 3
            finally:
                bench.kill()
        wait_until(lambda: not marked(mark), "no process is left", deadline_s=10.0)
