"""Ingest: a tick of the price stream is in the book under its number, or is reported."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from unittest.mock import ANY

import pytest
from structlog.testing import capture_logs

import lib.price_book.ingest
from lib.clock import SECOND_NS
from lib.price_book.ingest import TickIngest, client_for
from lib.process.throttled_log import MAX_EXAMPLES, ThrottledLog
from lib.shared_memory_utils import SharedPriceBook
from lib.streams.stream_client import Frames, Joined, WentPlain

SYMBOLS = ("AAPL", "MSFT")


@pytest.fixture
def book() -> Iterator[SharedPriceBook]:
    with SharedPriceBook(SYMBOLS, ring_capacity=64) as book:
        yield book


@pytest.fixture(params=[1, 2**62], ids=["as arrays", "one by one"], autouse=True)
def min_array_bytes(request, monkeypatch):
    """Everything is booked in both ways: they must not differ."""
    monkeypatch.setattr(lib.price_book.ingest, "MIN_ARRAY_BYTES", request.param)


@pytest.fixture
def throttled_log() -> ThrottledLog:
    return ThrottledLog(stream="price", peer="127.0.0.1:5001")


@pytest.fixture
def ingest(book, throttled_log) -> TickIngest:
    """It has begun with a tape."""
    ingest = TickIngest(book, throttled_log, clock=lambda: 5 * SECOND_NS)
    ingest.begin(Joined("tape", 1, new_tape=True, missed=None))
    return ingest


@pytest.fixture
def counted(throttled_log) -> Callable[[], list[dict]]:
    """What is logged of the frames that were no ticks."""

    def logs() -> list[dict]:
        with capture_logs() as logs:
            throttled_log.on_time(5 * SECOND_NS)
        return logs

    return logs


def test_batches_that_came_together_are_written_as_one_and_keep_their_numbers_and_times(
    book, ingest, counted
):
    reader = book.reader()
    ingest.ingest_frames(
        [
            Frames(41, 2, b"AAPL,1.5*MSFT,2*", 77),
            Frames(43, 2, b"nonsense*MSFT,3*", 78),
            Frames(45, 1, b"AAPL,4*", 79),
        ]
    )
    ticks = reader.read().ticks
    assert ticks["sequence"].tolist() == [41, 42, 44, 45]
    assert ticks["sent_ns"].tolist() == [77, 77, 78, 79]
    assert ticks["price"].tolist() == [150_000_000, 200_000_000, 300_000_000, 400_000_000]
    assert ticks["symbol"].tolist() == [0, 1, 1, 0]
    assert [example["sequence"] for log in counted() for example in log["examples"]] == [43]


def test_the_client_of_a_book_goes_on_where_the_book_ends(book, ingest):
    assert client_for(book).connected(0) == b"HELLO,1,1,tape*"
    ingest.ingest_frames([Frames(1, 3, b"AAPL,1*AAPL,2*AAPL,3*", 77)])
    ingest.begin(Joined("tape", 4, new_tape=False, missed=None))  # the same one is no new epoch
    assert client_for(book).connected(0) == b"HELLO,1,4,tape*"
    ingest.begin(Joined("next", 1, new_tape=True, missed=None))
    assert client_for(book).connected(0) == b"HELLO,1,1,next*"


def test_ticks_that_the_gateway_no_longer_has_are_reported_by_number(ingest):
    with capture_logs() as logs:
        ingest.begin(Joined("next", 7, new_tape=True, missed=(1, 6)))
    assert [(log["event"], log["first"], log["last"], log["tape"]) for log in logs] == [
        ("ticks_missed", 1, 6, "next")
    ]


def test_a_plain_stream_has_one_epoch_however_often_it_begins(book, ingest):
    for _ in range(2):
        ingest.begin(WentPlain(1))
    ingest.ingest_frames([Frames(1, 1, b"AAPL,1*", 77)])
    assert book.latest("AAPL").epoch == 2
    assert client_for(book).connected(0) == b"HELLO,1,1*"


def test_what_is_no_tick_is_counted_by_number_and_the_rest_stands(book, ingest, counted):
    ingest.ingest_frames([Frames(11, 4, b"AAPL,1*nonsense*IBM,3*MSFT,4*", 77)])
    no_tick = {"sequence": 12, "text": "nonsense", "reason": ANY}
    not_ours = {"symbol": "IBM", "sequence": 13, "count": 1, "reason": ANY}
    assert {log["event"]: log["examples"] for log in counted()} == {
        "malformed_frames": [no_tick],
        "unknown_symbols": [not_ours],
    }
    assert book.latest("MSFT").sequence == 14


def test_an_unknown_symbol_is_one_example_however_often_it_comes(ingest, counted):
    ingest.ingest_frames([Frames(1, 3, b"aapl,1*IBM,3*aapl,2*", 77)])
    ingest.ingest_frames([Frames(4, 2, b"aapl,1*MSFT,3*", 77)])
    (line,) = counted()
    assert line["count"] == 4
    assert [(e["symbol"], e["sequence"], e["count"]) for e in line["examples"]] == [
        ("aapl", 1, 3),
        ("IBM", 2, 1),
    ]
    assert line["examples"][0]["reason"] == "AAPL is configured"


def test_reasons_are_computed_for_the_examples_that_are_shown_only(ingest, counted, monkeypatch):
    reasons = []
    monkeypatch.setattr(
        lib.price_book.ingest, "malformed_tick", lambda *frame: reasons.append(frame)
    )
    for first in range(1, 1001, 100):
        ingest.ingest_frames([Frames(first, 100, b"AAPL,nan*" * 100, 77)])
    assert [sequence for sequence, _ in reasons] == list(range(1, MAX_EXAMPLES + 1))
    assert counted()[0]["count"] == 1000


def test_of_an_unknown_symbol_only_its_beginning_is_remembered(ingest, throttled_log, counted):
    frames = b"".join(b"%dX%b,1*" % (number, "é".encode() * 30_000) for number in range(10, 20))
    ingest.ingest_frames([Frames(1, 10, frames, 77)])
    assert sum(len(symbol) for _, symbol in throttled_log._known_kinds) <= 10 * 100
    assert counted()[0]["count"] == 10
