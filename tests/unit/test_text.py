"""Text from elsewhere."""

from __future__ import annotations

import pytest

from lib.text import MAX_SHOWN_BYTES, printable, shortened, shown


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("plain, and Zürich €", "plain, and Zürich €"),
        ("two\nlines\r", r"two\nlines\r"),
        ("a\ttab \x1b[31mred\x00", r"a\ttab \x1b[31mred\x00"),
        ("\udc80", r"\udc80"),
        ("", ""),
    ],
)
def test_control_characters_are_shown_and_not_sent(text, printed):
    assert printable(text) == printed


def test_of_what_a_peer_sent_the_beginning_is_shown():
    assert shown(b"AAPL,1\n\xff\x00") == r"AAPL,1\n\xff\x00"
    assert shown("Zürich €".encode()) == "Zürich €"
    assert shown(b"A" * 60_000) == "A" * MAX_SHOWN_BYTES + "…"


@pytest.mark.parametrize(
    ("text", "cut"),
    [("12345", "12345"), ("123456", "12345…"), ("\n\n", r"\n\n"), ("\n\n\n", r"\n\n\…"), ("", "")],
)
def test_a_long_text_is_cut_to_what_is_shown_of_it(text, cut):
    assert shortened(text, 5) == cut
