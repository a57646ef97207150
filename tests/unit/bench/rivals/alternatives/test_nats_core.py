"""Runs the real processes, for a moment."""

from __future__ import annotations

from bench.rivals.alternatives import nats_core
from tests.rivals import check_paced, check_unpaced


def test_every_tick_arrives_in_order_and_is_decided():
    check_paced(nats_core.measure)


def test_messages_of_many_ticks_do_the_same_work():
    check_paced(nats_core.measure, ticks_a_message=20)


def test_as_fast_as_it_goes_nothing_is_lost():
    check_unpaced(nats_core.measure)


def test_nor_in_messages_of_the_best_size():
    check_unpaced(nats_core.measure, nats_core.BEST_BATCH)
