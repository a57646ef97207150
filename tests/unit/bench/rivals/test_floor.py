"""The bare hops, for a moment; and what is said of the two in Python: that they are short."""

from __future__ import annotations

import pytest

from bench.rivals.floor import (
    three_processes,
    three_processes_in_c,
    two_processes,
    two_processes_in_c,
)
from tests.helpers import PROJECT_ROOT
from tests.rivals import check_floor

IN_PYTHON = (two_processes, three_processes)
MOST_LINES = 40


@pytest.mark.parametrize("floor", [*IN_PYTHON, two_processes_in_c, three_processes_in_c])
def test_every_tick_passes_the_hops(floor):
    check_floor(floor.measure)


@pytest.mark.parametrize("module", IN_PYTHON)
def test_the_bare_hops_are_short_enough_to_see_that_nothing_is_in_them(module):
    path = (PROJECT_ROOT / module.__name__.replace(".", "/")).with_suffix(".py")
    lines = [line for line in path.read_text().splitlines() if line.strip()]
    assert len(lines) <= MOST_LINES
