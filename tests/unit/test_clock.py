"""Units of time: a decimal fraction of seconds is the nanoseconds that a person would expect."""

from __future__ import annotations

import pytest

from lib.clock import MILLISECOND_NS, SECOND_NS, to_ns


@pytest.mark.parametrize(
    ("seconds", "ns"),
    # Times 10⁹, 2.01 is a little less than a whole number.
    [(2.01, 2_010_000_000), (0.5, SECOND_NS // 2), (0.001, MILLISECOND_NS), (5, 5 * SECOND_NS)],
)
def test_seconds_become_the_nearest_nanosecond(seconds, ns):
    assert to_ns(seconds) == ns
