"""A full price book has the size of its layout."""

from __future__ import annotations

import pytest

from bench.measure.footprint import measure_segment
from lib.settings import Settings


@pytest.mark.parametrize("symbols", [4, 5_000])
def test_the_file_of_a_price_book_that_is_full_takes_what_the_formula_says(symbols: int) -> None:
    found = measure_segment(symbols)
    page = 4096
    assert found.ring_capacity == Settings().price_book.ring_capacity
    assert 0 <= found.measured_bytes - found.formula_bytes < 2 * page
