"""The pace of a signal: how large a pass is, and what is said of a signal that is too slow."""

from __future__ import annotations

from itertools import pairwise

import pytest

from lib.clock import MICROSECOND_NS, MILLISECOND_NS, SECOND_NS
from lib.trading.signal_pace import (
    BEHIND_NS,
    LOG_AGAIN_NS,
    OVERRUN_NS,
    PASS_NS,
    SINGLE_TICKS_A_PASS,
    PassSize,
    SignalPace,
    TooSlow,
)

MOST, MOST_SINGLE = 16_384, 87


def batches() -> PassSize:
    return PassSize(takes_batches=True, most=MOST, most_single=MOST_SINGLE)


def sizes(size: PassSize, passes: int, tick_ns: int) -> list[int]:
    """The sizes of passes of ticks that take `tick_ns` each."""
    seen = []
    for _ in range(passes):
        seen.append(size.ticks)
        size.passed(size.ticks, size.ticks * tick_ns)
    return seen


def test_a_quick_signal_is_given_the_most_after_a_few_passes():
    assert sizes(batches(), 7, 100) == [16, 64, 256, 1024, 4096, MOST, MOST]


@pytest.mark.parametrize("tick_ns", [300_000, 10_000_000, 300_000_000])
def test_a_slow_signal_is_given_as_many_as_fit_into_a_pass(tick_ns):
    assert sizes(batches(), 9, tick_ns)[-1] == max(1, PASS_NS // tick_ns)


def test_one_that_becomes_slow_has_small_passes_at_once_and_large_ones_again_when_that_is_over():
    size = batches()
    sizes(size, 9, 100)
    size.passed(MOST, OVERRUN_NS)
    assert size.ticks == MOST // 2
    assert sizes(size, 3, 100)[-1] == MOST


def test_one_that_has_overrun_is_given_single_ticks_until_it_has_not_for_long():
    size = batches()
    sizes(size, 9, 100)
    size.passed(MOST, SECOND_NS)
    assert max(sizes(size, 100, 100)) == MOST_SINGLE
    size.passed(1, SECOND_NS)  # and again
    taken = sizes(size, 300, 100)
    assert sum(ticks for ticks in taken if ticks <= MOST_SINGLE) >= MOST
    assert taken[-1] == MOST


def test_where_ticks_may_become_slow_the_passes_begin_small_again_and_no_larger_than_they_were():
    size = batches()
    sizes(size, 9, 100)
    size.restart()
    assert sizes(size, 7, 100) == [16, 64, 256, 1024, 4096, MOST, MOST]
    size.passed(2, SECOND_NS)
    size.restart()
    assert sizes(size, 3, 100) == [1, 4, 16]


def test_what_takes_one_tick_after_the_other_has_the_same_size_always():
    size = PassSize(takes_batches=False, most=MOST, most_single=MOST_SINGLE)
    assert sizes(size, 5, SECOND_NS) == [SINGLE_TICKS_A_PASS] * 5
    size.restart()
    assert size.ticks == SINGLE_TICKS_A_PASS


class Scene:
    """A signal that takes `signal_ns` a tick, of ticks every `interval_ns`."""

    def __init__(self, signal_ns: int, interval_ns: int, behind_ns: int = 0) -> None:
        self.pace = SignalPace(lambda: max(0, self.now_ns - self.sent_ns) // self.interval_ns)
        self.signal_ns = signal_ns
        self.interval_ns = interval_ns
        self.now_ns = 1000 * SECOND_NS
        self.sent_ns = self.now_ns - behind_ns
        self.said: list[tuple[int, TooSlow | None]] = []

    def run(self, duration_ns: int, ticks_a_pass: int = 10) -> None:
        end_ns = self.now_ns + duration_ns
        while self.now_ns < end_ns:
            self.sent_ns += ticks_a_pass * self.interval_ns
            began_ns = max(self.now_ns, self.sent_ns)
            self.now_ns = began_ns + ticks_a_pass * self.signal_ns
            if self.pace.evaluated(ticks_a_pass, began_ns, self.now_ns, self.sent_ns):
                self.said.append((self.now_ns, self.pace.too_slow))


def test_a_signal_that_takes_longer_than_the_ticks_is_named_with_its_figures():
    scene = Scene(312 * MICROSECOND_NS, 250 * MICROSECOND_NS, behind_ns=24 * SECOND_NS)
    scene.run(2 * SECOND_NS)
    [(_, said)] = scene.said
    assert (said.signal_ns, said.tick_interval_ns) == (312_000, 250_000)
    assert str(said).startswith("the signal takes 312 µs a tick, ticks come every 250 µs: 24.")
    assert scene.pace.too_slow


def test_it_is_said_when_it_has_come_to_a_second_and_then_every_ten():
    scene = Scene(2 * MILLISECOND_NS, MILLISECOND_NS)
    scene.run(40 * SECOND_NS)
    times = [at for at, _ in scene.said]
    assert all(said.behind_ns > BEHIND_NS for _, said in scene.said)
    assert scene.said[0][1].behind_ns < 2 * SECOND_NS
    apart = [later - at for at, later in pairwise(times)]
    assert len(apart) == 3
    assert all(LOG_AGAIN_NS <= one < 1.2 * LOG_AGAIN_NS for one in apart)


def test_one_that_catches_up_is_no_longer_slow_and_that_is_not_said_again_at_once():
    scene = Scene(MILLISECOND_NS, 2 * MILLISECOND_NS, behind_ns=2 * SECOND_NS + SECOND_NS // 2)
    scene.run(4 * SECOND_NS)
    (_, slow), (_, keeps_up) = scene.said
    assert slow
    assert keeps_up is None
    scene.sent_ns -= 5 * SECOND_NS
    scene.run(2 * SECOND_NS)
    assert len(scene.said) == 2


@pytest.mark.parametrize(
    ("waiting", "took_ns"),
    [(0, SECOND_NS // 10), (1000, SECOND_NS // 1000)],
    ids=["no tick waits", "the signal is idle"],
)
def test_old_ticks_are_not_always_the_fault_of_the_signal(waiting, took_ns):
    pace = SignalPace(lambda: waiting)
    for now_ns in range(SECOND_NS, 5 * SECOND_NS, SECOND_NS // 10):
        assert not pace.evaluated(1, now_ns, now_ns + took_ns, now_ns - 9 * SECOND_NS)


def test_one_that_has_read_all_has_caught_up():
    scene = Scene(2 * MILLISECOND_NS, MILLISECOND_NS, behind_ns=9 * SECOND_NS)
    scene.run(2 * SECOND_NS)
    assert scene.pace.caught_up()
    assert not scene.pace.caught_up()


@pytest.mark.parametrize(
    ("ns", "text"),
    [(120, "0.12 µs"), (999_999, "1,000 µs"), (4_200_000, "4.20 ms"), (3 * 10**11, "300 s")],
)
def test_durations_have_the_unit_that_suits_them(ns, text):
    assert f"takes {text} a tick" in str(TooSlow(ns, 1, 1))
