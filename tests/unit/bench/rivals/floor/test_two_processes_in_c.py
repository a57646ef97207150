"""The bare hops, for a moment."""

from __future__ import annotations

from bench.rivals.floor import two_processes_in_c
from tests.rivals import check_floor


def test_every_tick_passes_the_hops():
    check_floor(two_processes_in_c.measure)
