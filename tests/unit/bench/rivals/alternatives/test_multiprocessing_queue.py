"""Runs the real processes, for a moment."""

from __future__ import annotations

from bench.rivals.alternatives import multiprocessing_queue
from tests.rivals import check_paced, check_unpaced


def test_every_tick_arrives_in_order_and_is_decided():
    check_paced(multiprocessing_queue.measure)


def test_messages_of_many_ticks_do_the_same_work():
    check_paced(multiprocessing_queue.measure, ticks_a_message=20)


def test_as_fast_as_it_goes_nothing_is_lost():
    check_unpaced(multiprocessing_queue.measure)


def test_nor_in_messages_of_the_best_size():
    check_unpaced(multiprocessing_queue.measure, multiprocessing_queue.BEST_BATCH)
