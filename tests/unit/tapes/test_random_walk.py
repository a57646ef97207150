"""The random walk: any place can be read at any time, and prices are plausible everywhere."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.prices import MAX_PRICE
from lib.tapes import random_numbers, random_walk
from lib.tapes.random_walk import CENT, RandomWalkTape

FOUR = ("AAPL", "MSFT", "GOOG", "AMZN")
TWO = ("AAPL", "MSFT")


def test_a_random_walk_is_reproduced_from_its_seed_alone():
    _, prices = RandomWalkTape(TWO, 7).read(1, 100_000)
    _, again = RandomWalkTape(TWO, 7).read(1, 100_000)
    assert np.array_equal(prices, again)
    # Written down once: with another NumPy, on another machine, it is still this walk.
    assert (prices[:6] // CENT).tolist() == [19089, 27879, 19086, 27882, 19085, 27885]
    far = RandomWalkTape(TWO, 7).read(10**9, 3)[1]
    assert (far // CENT).tolist() == [27556, 17890, 27555]


def test_the_identity_changes_with_the_seed_and_the_symbols_and_only_then():
    identities = {
        RandomWalkTape(symbols, seed).identity
        for symbols in (FOUR, TWO, ("A,B",), ("A", "B"), ("AB",))
        for seed in (7, 8)
    }
    assert len(identities) == 10
    assert RandomWalkTape(FOUR, 7).identity in identities
    assert all(identity.replace("-", "").isalnum() for identity in identities)


@given(
    st.integers(1, 9),
    st.integers(1, 200_000),
    st.lists(st.integers(0, 20_000), min_size=1, max_size=8),
)
@settings(max_examples=60)
def test_any_way_of_slicing_a_random_walk_gives_the_same_ticks(symbol_count, first, counts):
    symbols = FOUR[:1] * symbol_count
    whole_indices, whole_prices = RandomWalkTape(symbols, 7).read(first, sum(counts))
    tape = RandomWalkTape(symbols, 7)
    pieces = []
    position = first
    for count in counts:
        pieces.append(tape.read(position, count))
        position += count
    assert np.array_equal(np.concatenate([piece[0] for piece in pieces]), whole_indices)
    assert np.array_equal(np.concatenate([piece[1] for piece in pieces]), whole_prices)
    assert len(whole_prices) == sum(counts)


def test_symbols_take_turns():
    tape = RandomWalkTape(FOUR[:3], 7)
    for first in (1, 2, 12_287, 10**9):
        indices, _ = tape.read(first, 30_000)
        assert np.array_equal(indices, (np.arange(first - 1, first + 29_999)) % 3)
        assert indices.dtype == np.int32


@pytest.mark.parametrize("symbol_count", [1, 9, 20_000])
def test_prices_stay_positive_whole_cents_over_millions_of_ticks(symbol_count):
    for seed in range(3):
        tape = RandomWalkTape(tuple(map(str, range(symbol_count))), seed)
        for first in (1, 10**9, 10**15):
            _, prices = tape.read(first, 1_000_000)
            assert prices.dtype == np.int64
            assert np.all(prices >= CENT)
            assert np.all(prices <= MAX_PRICE)
            assert not np.any(prices % CENT)


def test_a_walk_that_would_go_below_one_cent_stays_at_one_cent(monkeypatch):
    monkeypatch.setattr(random_walk, "LOWEST_START_CENTS", 1)
    monkeypatch.setattr(random_walk, "HIGHEST_START_CENTS", 1)
    _, prices = RandomWalkTape(FOUR, 7).read(1, 1_000_000)
    assert prices.min() == CENT
    assert prices.max() > 100 * CENT


@pytest.mark.parametrize("symbol_count", [1, 4, 100])
def test_steps_are_a_few_cents_and_no_larger_where_blocks_join(symbol_count):
    tape = RandomWalkTape(tuple(map(str, range(symbol_count))), 7)
    rows_per_block = tape._block_ticks // symbol_count
    steps = steps_of(tape, 100 * rows_per_block)
    joins = steps[rows_per_block - 1 :: rows_per_block]
    inside = np.delete(steps, slice(rows_per_block - 1, None, rows_per_block), axis=0)
    assert len(joins) == 99
    assert 2 < inside.std() < 5
    assert np.abs(joins).max() <= np.abs(inside).max()
    assert joins.std() < 1.2 * inside.std()


def steps_of(tape, rows):
    """The steps in cents, a column a symbol."""
    _, prices = tape.read(1, rows * tape._symbol_count)
    return np.diff(prices.reshape(rows, -1) // CENT, axis=0)


@pytest.fixture
def made(monkeypatch):
    """The numbers of the blocks that are made."""
    numbers = []
    make_block = RandomWalkTape._make_block
    monkeypatch.setattr(
        RandomWalkTape,
        "_make_block",
        lambda self, block: numbers.append(block) or make_block(self, block),
    )
    return numbers


def test_a_far_position_is_reached_without_walking_there(monkeypatch, made):
    draws = []
    philox = random_numbers.philox
    monkeypatch.setattr(random_numbers, "philox", lambda *args: draws.append(args) or philox(*args))
    RandomWalkTape(FOUR, 7).read(10**12, 100)
    assert len(made) == 1
    assert len(draws) < 50


def test_a_live_reader_and_a_replaying_reader_do_not_make_blocks_again(made):
    tape = RandomWalkTape(FOUR, 7)
    for n in range(1, 40_000, 100):
        tape.read(n, 100)
        tape.read(10**6 + n, 3)
    assert len(made) == len(set(made))
