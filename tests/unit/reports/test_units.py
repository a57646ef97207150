"""Numbers are written so that what counts of them can be read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.reports.units import bare, digits, megabytes, millions, percent, time_of, times, us, whole


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0, "0"),
        (0.01234, "0.0123"),
        (1, "1.00"),
        (9.996, "10.0"),
        (99.96, "100"),
        (1_234_567, "1,234,567"),
    ],
)
def test_a_number_has_three_digits_that_count(value, written):
    assert digits(value) == written


@given(st.floats(1e-6, 1e12))
def test_a_written_number_is_the_number(value):
    assert float(digits(value).replace(",", "")) == pytest.approx(value, rel=0.005)


@pytest.mark.parametrize(
    ("time_ns", "written"),
    [(0, "0 ns"), (999, "999 ns"), (1_000, "1.00 µs"), (423_000, "423 µs"), (2e6, "2.00 ms"),
     (1.5e9, "1.50 s")],
)  # fmt: skip
def test_a_time_brings_the_unit_that_fits(time_ns, written):
    assert time_of(time_ns) == written


def test_each_quantity_has_its_way():
    assert us(118_200) == "118"
    assert millions(6_100_000) == "6.10"
    assert megabytes(12_588_736) == "12.6"
    assert whole(262144) == "262,144"
    assert percent(0.0112) == "1.12 %"
    assert times(1.3) == "1.30 ×"


@pytest.mark.parametrize(
    ("text", "without"),
    [
        *(
            ("2.00 ms", "2 ms"),
            ("0.500 ×", "0.5 ×"),
            ("50,000/s", "50,000/s"),
            ("1.05 s", "1.05 s"),
        ),
    ],
)
def test_a_limit_is_written_without_the_zeros_of_a_measurement(text, without):
    assert bare(text) == without
