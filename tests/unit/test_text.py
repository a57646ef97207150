"""Text from elsewhere."""

from __future__ import annotations

import pytest

from lib.text import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, and Zürich €", "plain, and Zürich €"),
        ("two\nlines\r", r"two\nlines\r"),
        ("a\ttab \x1b[31mred\x00", r"a\ttab \x1b[31mred\x00"),
        ("\udc80", r"\udc80"),
        ("", ""),
    ],
)
def test_control_characters_are_shown_and_not_sent(text, shown):
    assert printable(text) == shown
