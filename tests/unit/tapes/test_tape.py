"""What every tape does, whatever it is made of."""

from __future__ import annotations

from pathlib import Path

import pytest

from lib.tapes.prepared import PreparedSentiments, PreparedTape
from lib.tapes.random_walk import RandomWalkTape
from lib.tapes.sentiments import RandomSentiments
from tests.tapes import write_sentiments, write_ticks

FOUR = ("AAPL", "MSFT", "GOOG", "AMZN")


@pytest.fixture
def prepared(tmp_path: Path) -> PreparedTape:
    write_ticks(tmp_path, [1, 2, 3])
    return PreparedTape(tmp_path)


@pytest.fixture
def news(tmp_path: Path) -> PreparedSentiments:
    directory = tmp_path / "news"
    directory.mkdir()
    write_sentiments(directory, [50])
    return PreparedSentiments(directory)


def test_what_a_tape_returns_is_read_only(prepared: PreparedTape) -> None:
    random_walk = RandomWalkTape(FOUR, 7)
    for arrays in (random_walk.read(1, 10), random_walk.read(1, 100_000), prepared.read(1, 1)):
        for values in arrays:
            with pytest.raises(ValueError, match="read-only"):
                values[0] = 1


def test_reading_nothing_gives_nothing_and_positions_count_from_1(
    prepared: PreparedTape, news: PreparedSentiments
) -> None:
    for tape in (RandomWalkTape(FOUR, 7), prepared, RandomSentiments(7), news):
        got = tape.read(1, 0)
        assert len(got[0] if isinstance(got, tuple) else got) == 0
        for first, count in ((0, 1), (-5, 10), (1, -1)):
            with pytest.raises(ValueError, match="positions count from 1"):
                tape.read(first, count)
