"""The plan of a refill: how far it is, how long it will take, when that is known."""

from __future__ import annotations

import pytest

from lib.clock import SECOND_NS
from lib.trading.refill import JUDGE_REFILL_NS, LOG_REFILL_NS, Refill

BEGAN_NS = 10**12


@pytest.fixture
def refill() -> Refill:
    return Refill(begin=1000, end=1500, began_ns=BEGAN_NS)


def test_the_ticks_behind_its_begin_fill_the_windows(refill):
    assert refill.ticks == 500
    assert refill.filled == 0


def test_the_pace_of_the_signal_is_judged_after_a_second(refill):
    assert not refill.can_be_judged(BEGAN_NS + JUDGE_REFILL_NS - 1)
    assert refill.can_be_judged(BEGAN_NS + JUDGE_REFILL_NS)


def test_the_rest_takes_as_long_a_tick_as_the_ticks_so_far(refill):
    refill.filled = 100
    assert refill.tick_ns(BEGAN_NS + SECOND_NS) == SECOND_NS / 100
    assert refill.left_s(BEGAN_NS + SECOND_NS) == 4.0


def test_progress_is_logged_every_few_seconds(refill):
    assert refill.log_ns == BEGAN_NS + LOG_REFILL_NS
    refill.log_again(BEGAN_NS + 2 * LOG_REFILL_NS)
    assert refill.log_ns == BEGAN_NS + 3 * LOG_REFILL_NS
