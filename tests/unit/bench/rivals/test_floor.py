"""The bare hops, for a moment; and what is said of those in Python: that they are short."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.rivals.floor import hops, three_processes
from tests.rivals import check_floor

MOST_LINES = 45


@pytest.mark.parametrize("floor", [three_processes, hops])
def test_every_tick_passes_the_hops(floor):
    check_floor(floor.measure)


def test_the_bare_hops_are_short_enough_to_see_that_nothing_is_in_them():
    text = Path(three_processes.__file__).read_text()
    assert len([line for line in text.splitlines() if line.strip()]) <= MOST_LINES
