"""The event loop, over real pipes and real signals: who is called, when, and what ends a wait."""

from __future__ import annotations

import os
import select
import selectors
import signal
import socket
import time

import pytest

from lib.clock import MILLISECOND_NS, SECOND_NS
from lib.net import event_loop
from lib.net.event_loop import EventLoop
from lib.net.host import SystemHost

EPOLL_FOR_REAL = select.epoll


class FixedClock(SystemHost):
    def __init__(self, now_ns):
        super().__init__()
        self.monotonic_ns = lambda: now_ns


class Alarm:
    """A Timed with one deadline that remembers when it was called."""

    def __init__(self, deadline_ns: int | None) -> None:
        self.deadline_ns = deadline_ns
        self.called_ns: list[int] = []

    def next_deadline_ns(self) -> int | None:
        return self.deadline_ns

    def on_time(self, now_ns: int) -> None:
        self.called_ns.append(now_ns)
        self.deadline_ns = None


class Waits:
    """What was waited for, and whether anything came."""

    def __init__(self) -> None:
        self.timeouts_s: list[float] = []
        self.woken: list[bool] = []

    def note(self, timeout_s, ready):
        if timeout_s:
            self.timeouts_s.append(timeout_s)
            self.woken.append(bool(ready))
        return ready


@pytest.fixture
def waits(monkeypatch):
    """Stands before both ways to wait, the precise one and epoll's own."""
    recorder = Waits()
    select_for_real = select.select

    def precise(read, write, error, timeout_s):
        return [recorder.note(timeout_s, select_for_real(read, write, error, timeout_s)[0])]

    class Epoll:
        """What `select.epoll` is, which cannot be derived from."""

        def __init__(self):
            self._epoll = EPOLL_FOR_REAL()

        def __getattr__(self, name):
            return getattr(self._epoll, name)

        def poll(self, timeout_s, max_events):
            return recorder.note(timeout_s, self._epoll.poll(timeout_s, max_events))

    monkeypatch.setattr(event_loop.select, "select", precise)
    monkeypatch.setattr(event_loop.select, "epoll", Epoll)
    return recorder


@pytest.fixture
def own_signals():
    """Put back the signal handling that a test changes."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    signal.set_wakeup_fd(-1)
    for number, handler in handlers.items():
        signal.signal(number, handler)


def test_the_loop_beats_before_and_after_each_wait_and_waits_no_longer_than_between_beats(waits):
    loop = EventLoop()
    word = memoryview(bytearray(8)).cast("q")
    loop.beat_into(word, 30 * MILLISECOND_NS)
    loop.poll(may_sleep=False)
    beats = []
    ours, other = socket.socketpair()
    with ours, other:
        loop.register(ours, selectors.EVENT_READ, lambda _: beats.append(word[0]))
        before_ns = time.monotonic_ns()
        other.send(b"x")
        loop.poll()
        assert before_ns <= beats[0] < word[0]
        loop.unregister(ours)
    loop.poll()
    assert waits.timeouts_s[-1] <= 0.03


def test_a_file_that_was_closed_in_this_pass_is_not_called_nor_is_a_new_one_with_its_number():
    """The kernel gives the lowest free number, so an accept after a close meets this at once."""
    loop = EventLoop()
    pairs = [socket.socketpair() for _ in range(3)]
    ends = [ours for ours, _ in pairs]
    quiet, other = socket.socketpair()  # nothing to read in it
    called = []

    def close_the_others_and_replace_one(me):
        called.append("old")
        replaced, closed = (end for end in ends if end is not me)
        number = replaced.fileno()
        for end in (replaced, closed):
            loop.unregister(end)
            end.close()
        assert os.dup2(quiet.fileno(), number) == number
        loop.register(number, selectors.EVENT_READ, lambda _: called.append("new"))

    for end, peer in pairs:
        loop.register(
            end, selectors.EVENT_READ, lambda _, me=end: close_the_others_and_replace_one(me)
        )
        peer.send(b"x")
    loop.poll()
    assert called == ["old"]
    for sock in (*ends, *(peer for _, peer in pairs), quiet, other):
        sock.close()


def test_a_wait_ends_with_the_earliest_deadline_even_below_a_millisecond_or_at_its_bound(
    waits, monkeypatch
):
    monkeypatch.setattr(event_loop, "LONGEST_SLEEP_NS", 30 * MILLISECOND_NS)
    now_ns = time.monotonic_ns()
    loop = EventLoop(FixedClock(now_ns))
    timeouts_s = []
    for after_ns, timeout_s in (
        (None, 0.03),
        (SECOND_NS, 0.03),
        (300_000, 0.0003),
        (10**7, 0.0003),
    ):
        alarm = Alarm(after_ns and now_ns + after_ns)
        loop.add_timed(alarm)
        loop.poll()
        timeouts_s.append(timeout_s)
        assert waits.timeouts_s == timeouts_s
        assert alarm.called_ns == []  # by its clock, it is not time yet


def test_a_pass_that_may_not_sleep_or_has_a_deadline_in_the_past_does_not_sleep(waits):
    loop = EventLoop()
    loop.poll(may_sleep=False)
    alarm = Alarm(time.monotonic_ns() - SECOND_NS)
    loop.add_timed(alarm)
    loop.poll()
    assert waits.timeouts_s == []
    assert len(alarm.called_ns) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_just_before_the_wait_is_not_slept_through_and_does_not_end_later_waits(
    waits, own_signals, number
):
    loop = EventLoop()
    loop.stop_on_signals()

    class LastMoment(Alarm):
        def next_deadline_ns(self):
            if loop.running:  # asked after the owner looked at `running`, before the wait
                os.kill(os.getpid(), number)

    loop.add_timed(LastMoment(None))
    loop.poll()
    assert not loop.running
    assert waits.woken == [True]
    loop.add_timed(Alarm(time.monotonic_ns() + 5 * MILLISECOND_NS))
    loop.poll()
    assert waits.woken == [True, False]
