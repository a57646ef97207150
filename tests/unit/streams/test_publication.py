"""Publication: the state is ahead of the wire, and a successor goes on with the same tape."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.process.state_file import StateFile
from lib.streams.publication import (
    CHUNK_FRAMES,
    MAX_CACHED_CHUNKS,
    REPLAY_TICKS,
    EncodedTape,
    Tapes,
    continue_or_begin,
    news_publication,
    price_publication,
)
from lib.streams.subscriber import MAX_BATCH_FRAMES
from lib.tapes.random_walk import RandomWalkTape
from lib.tapes.sentiments import RandomSentiments
from lib.wire.stream_messages import HelloRequest
from tests.streams import TAPE_LENGTH, Tape, frames, stream

SYMBOLS = ("AAPL", "MSFT")
RUN = (4711, 12345)
TAPES = Tapes(RandomWalkTape(SYMBOLS, 7), RandomSentiments(7))


class Short(RandomWalkTape):
    """A tape that ends."""

    length = 5  # type: ignore[misc]


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "gateway.state"


def begin(
    path: Path, run: tuple[int, int] = RUN, tapes: Tapes = TAPES, name: str = "t"
) -> StateFile:
    state, _is_new = continue_or_begin(path, run, tapes, lambda: name)
    return state


def test_a_successor_goes_on_where_the_state_ends_and_news_begin_with_the_first_published(path):
    price_publication(begin(path), TAPES, SYMBOLS).publish(40)
    news_publication(begin(path), TAPES).publish(5)
    state = begin(path, name="never used")
    prices, news = price_publication(state, TAPES, SYMBOLS), news_publication(state, TAPES)
    assert (prices.stream.tape, prices.stream.next_sequence) == ("t", 41)
    assert (news.stream.tape, news.stream.next_sequence) == ("t", 7)
    assert list(state.words) == [41, 7]


@pytest.mark.parametrize(
    ("run", "tapes"),
    [
        ((4711, 99999), TAPES),
        (RUN, Tapes(RandomWalkTape(SYMBOLS, 8), TAPES.sentiments)),
        (RUN, Tapes(TAPES.ticks, RandomSentiments(8))),
    ],
)
def test_another_run_or_another_content_is_another_tape(path, run, tapes):
    price_publication(begin(path), TAPES, SYMBOLS).publish(40)
    state = begin(path, run, tapes, "other")
    assert (state.header["tape"], list(state.words)) == ("other", [1, 2])


def test_a_tape_is_published_up_to_its_end(path):
    tapes = Tapes(Short(SYMBOLS, 7), TAPES.sentiments)
    publication = price_publication(begin(path, tapes=tapes), tapes, SYMBOLS)
    assert publication.publish(-4) == 0
    assert (publication.publish(3), publication.ended) == (3, False)
    assert (publication.publish(3), publication.ended) == (2, True)
    assert publication.publish(1) == 0


# The encoded tape


@given(st.lists(st.tuples(st.integers(1, TAPE_LENGTH), st.integers(0, TAPE_LENGTH))))
def test_any_part_of_a_tape_is_its_frames_in_order(parts):
    encoded = EncodedTape(Tape(TAPE_LENGTH).encode)
    for first, count in parts:
        count = min(count, TAPE_LENGTH + 1 - first)
        assert b"".join(encoded.pieces(first, count)) == frames(first, count)


def test_clients_at_the_same_place_get_the_same_objects():
    encoded = EncodedTape(Tape().encode)
    # Two ends of chunks with a whole one between them.
    first, count = CHUNK_FRAMES - 5, CHUNK_FRAMES + 11
    once, again = encoded.pieces(first, count), encoded.pieces(first, count)
    assert len(once) == 3
    assert all(one is other for one, other in zip(once, again, strict=True))
    # A batch that holds a whole chunk holds no copy of it.
    assert encoded.pieces(CHUNK_FRAMES + 1, CHUNK_FRAMES)[0] is once[1]


def test_all_that_can_be_asked_for_again_stays_encoded():
    tape = Tape()
    encoded = EncodedTape(tape.encode)
    first = CHUNK_FRAMES // 2  # what is kept for replay may begin and end inside a chunk
    encoded.pieces(first, REPLAY_TICKS)
    asked = tape.asked
    for behind in range(0, REPLAY_TICKS, MAX_BATCH_FRAMES):
        encoded.pieces(first + behind, MAX_BATCH_FRAMES)
    assert tape.asked == asked


def test_the_memory_of_an_encoded_tape_is_bounded():
    tape = Tape()
    encoded = EncodedTape(tape.encode)
    for chunk in range(MAX_CACHED_CHUNKS + 10):
        encoded.pieces(chunk * CHUNK_FRAMES + 1, 1)
    encoded.pieces(1, 1)  # long forgotten
    assert tape.asked == MAX_CACHED_CHUNKS + 11
    assert len(encoded._chunks) == MAX_CACHED_CHUNKS


# Where a client begins


@pytest.mark.parametrize("wanted", [1, 700_000, 1_000_000 - 262_144])
@pytest.mark.parametrize("tape", [None, "tape-7", "tape-6"])
def test_of_a_long_tape_the_last_262144_ticks_can_be_replayed(wanted, tape):
    kept = 1_000_000 - 262_144
    first = kept if tape == "tape-6" else max(wanted, kept)
    assert stream(next_sequence=1_000_000).first_for(HelloRequest(wanted, tape)) == first
