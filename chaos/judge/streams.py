"""What must hold of the streams of a cluster, whatever happened to its brokers and hosts. Pure.

The chaos lab asks this of real streams, as they grow, and the simulation of modelled ones. Streams
are judged by their messages alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

from lib.cluster.broker import Message
from lib.cluster.ledger_journal import entry_of
from lib.cluster.streams import LEDGER, TAPE, split_batch
from lib.ledger.rows import BookedOrder, booked_order
from lib.wire.framing import split


def one_writer(name: str, messages: Sequence[Message]) -> Iterator[str]:
    """A writer that was overtaken has appended nothing."""
    for before, message in pairwise(messages):
        if message.epoch < before.epoch or (message.is_claim and message.epoch <= before.epoch):
            yield (
                f"{name}: message {message.sequence} is of epoch {message.epoch}, behind one of "
                f"epoch {before.epoch}: two write it"
            )


def numbered_frames(messages: Iterable[Message]) -> Iterator[tuple[int, str, int, bytes]]:
    """Yield each tick or sentiment: the message that has it, its tape, its number, its frame."""
    for message in messages:
        if message.data:
            batch, frames = split_batch(message.data)
            for number, frame in enumerate(split(frames), batch.first):
                yield message.sequence, message.headers[TAPE], number, frame


def without_gap(name: str, messages: Iterable[Message], last: dict[str, int]) -> Iterator[str]:
    """Each number of a tape follows on the one before it.

    `last` has the last number of each tape, and is carried on.
    """
    for sequence, tape, number, _ in numbered_frames(messages):
        if number != last.setdefault(tape, 0) + 1:
            yield f"{name}: message {sequence} has {number} of {tape} behind {last[tape]}"
        last[tape] = number


def without_repetition(
    name: str, messages: Iterable[Message], last: dict[str, int]
) -> Iterator[str]:
    """No number of a tape comes twice, or too late; `last` as in `without_gap`."""
    for sequence, tape, number, _ in numbered_frames(messages):
        if number <= last.setdefault(tape, 0):
            yield f"{name}: message {sequence} has {number} of {tape} behind {last[tape]}"
        last[tape] = number


def booked_in(messages: Iterable[Message]) -> list[BookedOrder]:
    """Return the orders in TW_LEDGER."""
    return [booked_order(row) for message in messages for row in entry_of(message).orders]


def booking_findings(orders: Iterable[BookedOrder]) -> Iterator[str]:
    """Each order is booked once, fills are numbered, and positions are the sums of the fills."""
    seen: set[tuple[str, int]] = set()
    trade_id = 0
    positions: Counter[tuple[str, str]] = Counter()
    for order in orders:
        key = order.client_id, order.order_id
        if key in seen:
            yield f"{LEDGER}: order {key} is there twice"
        seen.add(key)
        if order.status == "FILLED":
            trade_id += 1
            positions[order.client_id, order.symbol] += order.signed_quantity
            if order.trade_id != trade_id:
                yield f"{LEDGER}: order {key} has trade_id {order.trade_id}, not {trade_id}"
        if order.position != positions[order.client_id, order.symbol]:
            yield f"{LEDGER}: order {key} leads to {order.position}, which is wrong"
