"""Random sentiments: any place can be read at any time."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from lib.tapes.sentiments import RandomSentiments


@given(
    st.integers(-(2**63), 2**63),
    st.integers(1, 10**12),
    st.lists(st.integers(0, 30), min_size=1, max_size=6),
)
def test_any_way_of_slicing_random_sentiments_gives_the_same(seed, first, counts):
    sentiments = RandomSentiments(seed)
    pieces = []
    for count in counts:
        pieces += sentiments.read(first + len(pieces), count)
    assert pieces == RandomSentiments(seed).read(first, sum(counts))
    assert len(pieces) == sum(counts)


def test_random_sentiments_are_every_integer_from_0_to_100_about_as_often():
    values = RandomSentiments(7).read(1, 101_000)
    assert all(type(value) is int for value in values[:10])
    times = Counter(values)
    assert sorted(times) == list(range(101))
    assert all(800 < count < 1200 for count in times.values())
