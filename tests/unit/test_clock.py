"""Units of time: a decimal fraction of seconds is the nanoseconds that a person would expect."""

from __future__ import annotations

from datetime import datetime

import pytest

from lib import clock
from lib.clock import MILLISECOND_NS, SECOND_NS, to_ns, utc_stamp


@pytest.mark.parametrize(
    ("seconds", "ns"),
    # Times 10⁹, 2.01 is a little less than a whole number.
    [(2.01, 2_010_000_000), (0.5, SECOND_NS // 2), (0.001, MILLISECOND_NS), (5, 5 * SECOND_NS)],
)
def test_seconds_become_the_nearest_nanosecond(seconds, ns):
    assert to_ns(seconds) == ns


def test_a_stamp_on_the_full_second_has_six_digits_too(monkeypatch):
    class FullSecond(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime(2025, 11, 3, 14, 30, 0, 0, tz)

    monkeypatch.setattr(clock, "datetime", FullSecond)
    assert utc_stamp() == "2025-11-03T14:30:00.000000Z"


def test_a_stamp_of_a_given_time_is_cut_to_microseconds():
    assert utc_stamp(1_762_180_200 * SECOND_NS + 1_999) == "2025-11-03T14:30:00.000001Z"
