"""Runs the real processes, for a moment."""

from __future__ import annotations

import pytest

from bench.alternatives import textbook
from bench.rival import Load
from tests.rivals import check_paced, check_unpaced


def test_every_tick_arrives_in_order_and_is_decided():
    check_paced(textbook.measure)


def test_messages_of_many_ticks_do_the_same_work():
    check_paced(textbook.measure, ticks_a_message=20)


def test_as_fast_as_it_goes_nothing_is_lost():
    check_unpaced(textbook.measure)


def test_nor_in_large_messages():
    check_unpaced(textbook.measure, ticks_a_message=1000)


def test_a_ring_that_a_message_does_not_fit_into_is_refused():
    with pytest.raises(ValueError, match="at most 65536 ticks"):
        textbook.measure(Load(0, 0.3, textbook.CAPACITY + 1))
