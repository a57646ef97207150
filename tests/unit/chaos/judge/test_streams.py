"""What is wrong with the streams of a cluster: one defect planted in each of them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from chaos.judge.streams import (
    booked_in,
    booking_findings,
    one_writer,
    without_gap,
    without_repetition,
)
from lib.cluster.broker import CLAIMANT, EPOCH, Message
from lib.cluster.streams import TAPE
from lib.ledger.journal import JournalEntry, OrderRow, encode_entry

STREAM = "TW_PRICE"


def message(sequence: int, epoch: int, data: bytes = b"", *, claims: bool = False) -> Message:
    headers = {EPOCH: str(epoch), TAPE: "T"} | ({CLAIMANT: "me"} if claims else {})
    return Message(sequence, headers, data)


def batch(sequence: int, first: int, *frames: bytes) -> Message:
    data = b"BATCH,%d,%d,7*" % (first, len(frames)) + b"".join(frame + b"*" for frame in frames)
    return message(sequence, 1, data)


@pytest.mark.parametrize(
    ("behind", "is_found"),
    [
        (message(3, 2), False),
        (message(3, 3, claims=True), False),
        (message(3, 1), True),  # of the writer that was overtaken
        (message(3, 2, claims=True), True),  # another one has claimed the same epoch
    ],
)
def test_a_stream_has_one_writer_at_a_time(behind: Message, is_found: bool) -> None:
    stream = [message(1, 1), message(2, 2, claims=True), behind]
    found = list(one_writer(STREAM, stream))
    assert bool(found) == is_found
    assert all("message 3" in line and "two write it" in line for line in found)


@pytest.mark.parametrize(
    ("first", "gap", "repetition"), [(3, False, False), (4, True, False), (2, True, True)]
)
def test_a_number_that_is_left_out_or_comes_twice_is_found_across_two_readings(
    first: int, gap: bool, repetition: bool
) -> None:
    for judge, is_found in ((without_gap, gap), (without_repetition, repetition)):
        last: dict[str, int] = {}
        assert list(judge(STREAM, [batch(1, 1, b"A,1", b"A,2")], last)) == []
        found = list(judge(STREAM, [batch(2, first, b"A,3")], last))
        assert found == ([f"{STREAM}: message 2 has {first} of T behind 2"] if is_found else [])
        assert last == {"T": first}


def order(order_id: int, trade_id: int | None, position: int, side: str = "BUY") -> OrderRow:
    status, reason = ("REJECTED", "halted") if trade_id is None else ("FILLED", None)
    return (
        "me", order_id, "AAPL", side, 10, "1.5", status, reason, trade_id, position, "T", 1,
        2, 3, "2026-01-01T00:00:00Z",
    )  # fmt: skip  # type: ignore[return-value]


GOOD = (order(1, 1, 10), order(2, None, 10), order(3, 2, 0, "SELL"))


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (GOOD, []),
        ((*GOOD, order(3, 3, 10)), ["order ('me', 3) is there twice"]),
        ((*GOOD, order(4, 4, 10)), ["order ('me', 4) has trade_id 4, not 3"]),
        ((*GOOD, order(4, 3, 20)), ["order ('me', 4) leads to 20, which is wrong"]),
    ],
)
def test_an_order_is_booked_once_with_its_trade_and_its_position(
    rows: Sequence[OrderRow], expected: list[str]
) -> None:
    entries = [JournalEntry(orders=[row]) for row in rows]
    messages = [message(n, 1, encode_entry(entry)) for n, entry in enumerate(entries, 1)]
    claimed = [message(9, 2, claims=True)]
    found = list(booking_findings(booked_in([*messages, *claimed])))
    assert found == [f"TW_LEDGER: {line}" for line in expected]
