"""The symbol table: finds every symbol by its words, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.wire.symbol_table import NOT_FOUND, SymbolTable, words_of

symbols = st.binary(min_size=1, max_size=16).filter(lambda text: b"\0" not in text)


def found(table: SymbolTable, texts: list[bytes]) -> list[int]:
    words = [words_of(text) for text in texts]
    tails, heads = np.array(words or np.empty((0, 2)), np.uint64).reshape(-1, 2).T
    indices = table.find(tails, heads)
    if not heads.any():
        assert table.find(tails, None).tolist() == indices.tolist()
    return indices.tolist()


@given(st.lists(symbols, unique=True, min_size=1, max_size=50), st.lists(symbols))
def test_a_symbol_is_found_and_another_text_is_not(known, others):
    index = {symbol: i for i, symbol in enumerate(known)}
    texts = [*others, *known]
    assert found(SymbolTable(known), texts) == [index.get(text, NOT_FOUND) for text in texts]


@pytest.mark.parametrize("count", [1, 2, 100, 5000, 65_536])
def test_many_symbols_are_all_found_also_those_that_collide(count):
    known = [b"S%d" % number for number in range(count)]
    table = SymbolTable(known)
    assert found(table, known) == list(range(count))
    strangers = [b"T%d" % number for number in range(count)]
    assert found(table, strangers) == [NOT_FOUND] * count


@pytest.mark.parametrize("symbol", [b"", b"S" * 17])
def test_a_symbol_that_is_empty_or_too_long_is_refused(symbol):
    with pytest.raises(ValueError, match="1 to 16 bytes"):
        SymbolTable([b"AAPL", symbol])
