"""Sentiments, random and from a file: any place can be read at any time."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.tapes.sentiments import RandomSentiments, load_sentiments
from lib.tapes.tape import TapeError


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


@pytest.mark.parametrize(
    "content",
    [
        "80\n0\n100\n",
        "score\n80\n0\n100\n",
        "Sentiment\r\n80\r\n\r\n0\r\n100",
        "date,SENTIMENT\n1,80\n2,0\n3,100\n",
        "news,date\n80,1\n0,2\n100,3\n",
        "\ufeff80\n 0 \n100\n",
    ],
)
def test_a_file_of_sentiments_may_have_a_header_and_other_columns(tape_file, content):
    sentiments = load_sentiments(tape_file(content))
    assert sentiments.read(1, 10) == [80, 0, 100]
    assert sentiments.skipped.count == 0


@pytest.mark.parametrize("cell", ["101", "-1", "50.5", "x", "nan", "5_0", "1e1", "9" * 5000])
def test_a_row_without_a_sentiment_is_skipped_and_said_by_line(tape_file, cell):
    sentiments = load_sentiments(tape_file(f"50\n{cell}\n60\n"))
    assert sentiments.read(1, 10) == [50, 60]
    assert sentiments.skipped.count == 1
    assert sentiments.skipped.rows[0].line == 2
    assert "integer from 0 to 100" in sentiments.skipped.rows[0].reason


def test_a_first_row_with_an_impossible_number_is_a_bad_row_and_no_header(tape_file):
    assert load_sentiments(tape_file("101\n50\n")).skipped.rows[0].line == 1


@pytest.mark.parametrize("content", ["", "sentiment\n", "sentiment\n101\nx\n", b"\xff\xfe5"])
def test_a_file_without_a_sentiment_is_refused(tape_file, content):
    with pytest.raises(TapeError, match=r"integer from 0 to 100|is not UTF-8"):
        load_sentiments(tape_file(content))


def test_the_identity_of_sentiments_changes_with_their_contents(tape_file):
    identities = [load_sentiments(tape_file(text)).identity for text in ("1\n2", "2\n1", "x\n1\n2")]
    assert identities[0] != identities[1]
    assert identities[0] == identities[2]
