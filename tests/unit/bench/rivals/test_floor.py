"""What is said of the two programs in Python: that they are short."""

from __future__ import annotations

import pytest

from bench.rivals.floor import three_processes, two_processes
from tests.helpers import PROJECT_ROOT

MOST_LINES = 40


@pytest.mark.parametrize("module", [two_processes, three_processes])
def test_the_bare_hops_are_short_enough_to_see_that_nothing_is_in_them(module):
    path = (PROJECT_ROOT / module.__name__.replace(".", "/")).with_suffix(".py")
    lines = [line for line in path.read_text().splitlines() if line.strip()]
    assert len(lines) <= MOST_LINES
