"""What a message says of itself is believed only where it can be meant."""

from __future__ import annotations

import pytest

from lib.cluster.broker import EPOCH, Message
from lib.cluster.streams import MAX_NUMBER, NEXT, TAPE, number_in, position_of

NO_NUMBERS = [
    "", "-1", "+1", "1.0", "1e3", " 1", "1\n", "²", "\u0661", "1_000", "x", "0x10",
    str(MAX_NUMBER + 1), "9" * 4301, "9" * 100_000, "0" * 5000,
]  # fmt: skip


@pytest.mark.parametrize("text", NO_NUMBERS, ids=lambda text: repr(text[:8]))
def test_what_is_no_number_of_63_bits_is_none(text: str) -> None:
    assert number_in({"name": text}, "name") == 0
    assert Message(1, {EPOCH: text}, b"").epoch == 0
    assert position_of({TAPE: "tape", NEXT: text}) is None


@pytest.mark.parametrize("number", [0, 1, 7, 10**18, MAX_NUMBER])
def test_a_number_of_63_bits_is_read(number: int) -> None:
    assert number_in({"name": str(number)}, "name") == number
    assert Message(1, {EPOCH: str(number)}, b"").epoch == number


@pytest.mark.parametrize("tape", ["", "a b", "a,b", "a*b", "a\n", "é", "\udcff", "x" * 64])
def test_a_message_of_what_cannot_be_a_tape_has_no_position(tape: str) -> None:
    """It would break the answer to each client that joins."""
    assert position_of({TAPE: tape, NEXT: "5"}) is None
    assert position_of({TAPE: "x" * 63, NEXT: "5"}) == ("x" * 63, 5)
