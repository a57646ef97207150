"""What the log says of a symbol that is not configured: which one is close."""

from __future__ import annotations

import pytest

from lib.wire.symbol_hints import MAX_REMEMBERED, SymbolHints

SYMBOLS = ("AAPL", "MSFT", "GOOG", "AMZN", "BRK-B", "BTCUSD")


@pytest.mark.parametrize(
    ("symbol", "near"),
    [
        ("AAPL ", "AAPL"),
        ("brk/b", "BRK-B"),
        ("NASDAQ:MSFT", "MSFT"),
        ("MSFT.US", "MSFT"),
    ],
)
def test_a_symbol_that_is_written_otherwise_names_the_configured_one(symbol, near):
    assert SymbolHints(SYMBOLS).hint(symbol) == f"{near} is configured"


@pytest.mark.parametrize("symbol", ["TSLA", "AMD", "-", "Ä"])
def test_one_that_is_close_to_none_says_what_to_do(symbol):
    assert "add it to symbols in the settings" in SymbolHints(SYMBOLS).hint(symbol)


@pytest.mark.parametrize("symbol", ["NOT-TRADED-ANYWHERE", "Ä" * 9, "A" * 60_000])
def test_one_that_is_too_long_to_be_traded_says_so(symbol):
    assert "at most 16 bytes" in SymbolHints(SYMBOLS).hint(symbol)


def test_so_many_look_ups_are_remembered_and_no_more():
    hints = SymbolHints(SYMBOLS)
    for number in range(MAX_REMEMBERED + 10):
        assert hints.nearest(f"{number}-AAPL") == "AAPL"
        assert hints.nearest(f"{number}-AAPL") == "AAPL"
    known = hints._look_up.cache_info()
    assert (known.hits, known.currsize) == (MAX_REMEMBERED + 10, MAX_REMEMBERED)
