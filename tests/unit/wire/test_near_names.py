"""Near names: case, punctuation and small slips, and nothing further."""

from __future__ import annotations

import pytest

from lib.wire.near_names import MAX_INDEXED, NearNames

NAMES = NearNames(["position", "quantity", "side", "BTC-USD", "AAPL", "CL"])


@pytest.mark.parametrize(
    ("name", "near"),
    [
        *(("Position", "position"), ("positon", "position"), ("positoin", "position")),
        *(("possition", "position"), ("pozition", "position"), ("quant_ity", "quantity")),
        *(("aapl", "AAPL"), ("APPL", "AAPL"), ("BTCUSD", "BTC-USD"), ("btc/usdt", "BTC-USD")),
        *(("CLX", "CL"), ("GL", None), ("quality", None), ("sentiment", None), ("", None)),
        *(("-", None), ("x" * 60_000, None), ("-" * 60_000, None)),
    ],
)
def test_names_are_near_up_to_two_letters(name, near):
    assert NAMES.nearest(name) == near


def test_of_very_many_names_those_are_near_that_differ_in_case():
    names = NearNames([f"SYM{number}" for number in range(MAX_INDEXED + 1)])
    assert names.nearest("sym7") == "SYM7"
    assert names.nearest("symm7") is None
