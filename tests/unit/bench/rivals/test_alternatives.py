"""The real processes of every alternative, for a moment."""

from __future__ import annotations

import pytest

from bench.rivals.alternatives import multiprocessing_queue, textbook, zeromq
from tests.rivals import check_paced, check_unpaced

every_alternative = pytest.mark.parametrize("rival", [zeromq, multiprocessing_queue, textbook])


@every_alternative
@pytest.mark.parametrize("ticks_a_message", [1, 20])
def test_every_tick_arrives_in_order_and_is_decided(rival, ticks_a_message):
    check_paced(rival.measure, ticks_a_message)


@every_alternative
@pytest.mark.parametrize("is_batched", [False, True])
def test_as_fast_as_it_goes_nothing_is_lost(rival, is_batched):
    check_unpaced(rival.measure, rival.BEST_BATCH if is_batched else 1)
