"""Near names: case, punctuation and small slips, and nothing further."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


def test_of_several_the_nearest_is_meant():
    assert NearNames(["abcdef", "abcdxy", "abcdez"]).nearest("abcdexy") == "abcdxy"


def test_of_very_many_names_those_are_near_that_differ_in_case():
    names = NearNames([f"SYM{number}" for number in range(MAX_INDEXED + 1)])
    assert names.nearest("sym7") == "SYM7"
    assert names.nearest("symm7") is None


@given(st.lists(st.text(max_size=16), max_size=5), st.text(max_size=40))
def test_what_is_near_is_one_of_the_names(names, name):
    near = NearNames(names).nearest(name)
    assert near is None or near in names
