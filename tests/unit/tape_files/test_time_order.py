"""Ticks are sorted by time on disk, stably, whatever the size of what is sorted at once."""

from __future__ import annotations

import numpy as np
import pytest

from lib.tape_files import time_order
from lib.tape_files.time_order import TimedTicks


@pytest.mark.parametrize("span", [1, 2, 50, 10**6])
def test_a_sort_in_small_parts_is_that_of_the_whole(span, tmp_path, monkeypatch):
    monkeypatch.setattr(time_order, "BUCKET_TICKS", 100)
    monkeypatch.setattr(time_order, "CHUNK_TICKS", 64)
    random = np.random.default_rng(1)
    times = random.integers(-span, span, 1000)
    prices = np.arange(1000)
    with TimedTicks(tmp_path / "ticks") as ticks:
        for first in range(0, 1000, 300):
            part = slice(first, first + 300)
            ticks.add_ticks(np.zeros(len(times[part]), np.int32), prices[part], times[part])
        found = np.concatenate([prices for _, prices in ticks.sorted(lambda share: None)])
    assert found.tolist() == np.argsort(times, kind="stable").tolist()


def test_ticks_that_are_cut_back_are_not_sorted(tmp_path):
    with TimedTicks(tmp_path / "ticks") as ticks:
        for time in (3, 1, 2):
            ticks.add_ticks(np.zeros(1, np.int32), np.array([time]), np.array([time]))
        ticks.cut_back(2)
        ticks.add_ticks(np.zeros(1, np.int32), np.array([0]), np.array([0]))
        found = np.concatenate([prices for _, prices in ticks.sorted(lambda share: None)])
    assert found.tolist() == [0, 1, 3]
