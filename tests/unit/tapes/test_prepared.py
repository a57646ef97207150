"""Prepared tapes: what was written is read back, and what is damaged is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lib.tapes.prepared import ABOUT, PRICES, SENTIMENTS, PreparedSentiments, PreparedTape
from lib.tapes.tape import TapeError
from tests.tapes import write_sentiments, write_ticks


def test_ticks_are_read_as_they_were_written_up_to_their_end(tmp_path: Path) -> None:
    about = write_ticks(tmp_path, [10, 20, 30], ("AAPL", "MSFT"))
    tape = PreparedTape(tmp_path)
    symbols, prices = tape.read(2, 10)
    assert (symbols.tolist(), prices.tolist()) == ([1, 0], [20, 30])
    assert (tape.length, tape.identity) == (3, about.identity)
    assert [len(values) for values in tape.read(4, 1)] == [0, 0]


def test_sentiments_are_read_as_they_were_written_up_to_their_end(tmp_path: Path) -> None:
    about = write_sentiments(tmp_path, [0, 50, 100])
    news = PreparedSentiments(tmp_path)
    assert news.read(1, 10) == [0, 50, 100]
    assert news.read(3, 1) == [100]
    assert (news.length, news.identity) == (3, about.identity)


@pytest.mark.parametrize(
    "damage",
    [
        lambda directory: (directory / ABOUT).unlink(),
        lambda directory: (directory / ABOUT).write_bytes(b"{}"),
        lambda directory: (directory / ABOUT).write_bytes(b"[" * 100_000),
        lambda directory: (directory / ABOUT).chmod(0o666),
        lambda directory: (directory / PRICES).unlink(),
        lambda directory: os.truncate(directory / PRICES, 16),
        lambda directory: os.truncate(directory / PRICES, 0),
    ],
)
def test_a_damaged_one_is_refused_by_its_file(tmp_path: Path, damage) -> None:
    write_ticks(tmp_path, [10, 20, 30])
    damage(tmp_path)
    with pytest.raises(TapeError, match=str(tmp_path)):
        PreparedTape(tmp_path)


def test_sentiments_are_no_ticks(tmp_path: Path) -> None:
    write_sentiments(tmp_path, [1])
    with pytest.raises(TapeError, match="of sentiments, not of ticks"):
        PreparedTape(tmp_path)
    (tmp_path / SENTIMENTS).unlink()
    with pytest.raises(TapeError, match="cannot be read"):
        PreparedSentiments(tmp_path)
