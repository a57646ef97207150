"""Names and numbers in messages are complete, but bounded."""

from __future__ import annotations

import pytest

from lib.tape_files.listing import MAX_LISTED, counted, listed, percent, plural, quoted


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [
        (0, 5, "0 %"),
        (1, 3, "33 %"),
        (3, 1000, "0.3 %"),
        (1, 2_000_000, "less than 0.01 %"),
        (996, 1000, "over 99 %"),
        (5, 5, "100 %"),
    ],
)
def test_a_share_is_short_and_never_all_or_nothing_if_it_is_not(part, whole, text):
    assert percent(part, whole) == text


def test_lists_are_bounded():
    names = [f"S{number}" for number in range(MAX_LISTED + 1)]
    assert listed(names) == ", ".join(names)
    assert listed([*names, "more"]) == f"{', '.join(names[:-1])} and 2 more"
    assert counted({"B": 1, "A": 2000}) == "A (2,000), B (1)"
    assert quoted(" a\n b ") == "a b"
    assert (plural(1, "row"), plural(2000, "row")) == ("1 row", "2,000 rows")
