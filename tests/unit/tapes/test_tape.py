"""What every tape does, whatever it is made of."""

from __future__ import annotations

import pytest

from lib.tapes.csv_file import load_csv_tape
from lib.tapes.random_walk import RandomWalkTape
from lib.tapes.sentiments import RandomSentiments, load_sentiments

FOUR = ("AAPL", "MSFT", "GOOG", "AMZN")
TWO = ("AAPL", "MSFT")


def test_what_a_tape_returns_is_read_only(tape_file):
    random_walk = RandomWalkTape(FOUR, 7)
    from_file = load_csv_tape(tape_file("price\n1\n"), TWO, "AAPL")
    for arrays in (random_walk.read(1, 10), random_walk.read(1, 100_000), from_file.read(1, 1)):
        for values in arrays:
            with pytest.raises(ValueError, match="read-only"):
                values[0] = 1


def test_reading_nothing_gives_nothing_and_positions_count_from_1(tape_file):
    file = load_csv_tape(tape_file("price\n1\n"), TWO, "AAPL")
    news = load_sentiments(tape_file("50\n"))
    for tape in (RandomWalkTape(FOUR, 7), file, RandomSentiments(7), news):
        got = tape.read(1, 0)
        assert len(got[0] if isinstance(got, tuple) else got) == 0
        for first, count in ((0, 1), (-5, 10), (1, -1)):
            with pytest.raises(ValueError, match="positions count from 1"):
                tape.read(first, count)
