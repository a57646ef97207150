"""What must hold of a simulated cluster, whatever happened to it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

from chaos.judge.records import BookedTick
from chaos.judge.streams import (
    booked_in,
    booking_findings,
    numbered_frames,
    one_writer,
    without_gap,
    without_repetition,
)
from lib.cluster.broker import Message
from lib.cluster.downlink import MESSAGES_BACK
from lib.cluster.streams import LEDGER, NEWS, PRICE
from lib.ledger.reader import Snapshot
from lib.ledger.rows import BookedOrder
from lib.wire.order_messages import ExecutionReport
from tests.cluster_broker import ModelStream


class MissedTicks(NamedTuple):
    """Ticks that a host has reported as missed."""

    host: str
    tape: str
    first: int
    last: int
    kept_from: int
    """The first message that could be had when it was reported."""


class ClusterRecords:
    """What happened."""

    def __init__(self) -> None:
        self.books: list[tuple[str, list[BookedTick]]] = []
        """Each price book there was, by host, with all that was booked in it."""
        self.missed: list[MissedTicks] = []
        self.told: list[ExecutionReport] = []
        """What clients were answered."""
        self.refused: list[str] = []
        """Why an order host has refused to go on."""

    def begin_book(self, host: str) -> None:
        """A host has a new price book."""
        self.books.append((host, []))

    def booked(self, host: str, *tick: str | int) -> None:
        """Note a tick in the host's price book."""
        book = next(ticks for one, ticks in reversed(self.books) if one == host)
        book.append(BookedTick(*tick))  # type: ignore[arg-type]


def judge_market(records: ClusterRecords, streams: dict[str, ModelStream]) -> Iterator[str]:
    """Say what is wrong with ticks and news."""
    prices, news = (streams[name].messages for name in (PRICE, NEWS))
    yield from one_writer(PRICE, prices)
    yield from one_writer(NEWS, news)
    yield from without_gap(PRICE, prices, {})
    yield from without_repetition(NEWS, news, {})
    published, found_in = yield from _published(PRICE, prices)
    for number, (host, ticks) in enumerate(records.books):
        where = f"{host}, book {number}"
        missed = [one for one in records.missed if one.host == host]
        yield from _in_order(where, ticks, missed)
        for tick in ticks:
            frame = published.get((tick.tape, tick.sequence))
            symbol, price = (frame or b",0").decode().split(",")
            if frame is None:
                yield f"{where}: tick {tick.sequence} of {tick.tape} is not in {PRICE}"
            elif (tick.symbol, tick.price) != (symbol, round(float(price) * 10**8)):
                yield f"{where}: tick {tick.sequence} of {tick.tape} is {tick[2:]}, not {frame!r}"
    for gap in records.missed:
        message = found_in.get((gap.tape, gap.last))
        if message is None or message >= gap.kept_from:
            yield f"{gap} were missed, and message {message} of {PRICE} has them"


def _published(
    name: str, messages: list[Message]
) -> Iterator[str] | tuple[dict[tuple[str, int], bytes], dict[tuple[str, int], int]]:
    """Return each tick that was published, and in which message it was."""
    published: dict[tuple[str, int], bytes] = {}
    found_in: dict[tuple[str, int], int] = {}
    for sequence, tape, number, frame in numbered_frames(messages):
        if published.setdefault((tape, number), frame) != frame:
            yield f"{name}: {number} of {tape} has two values"
        found_in.setdefault((tape, number), sequence)
    return published, found_in


def _in_order(where: str, ticks: list[BookedTick], missed: list[MissedTicks]) -> Iterator[str]:
    """Every tick is there once and in order, or was reported as missed."""
    for before, tick in pairwise(ticks):
        first = before.sequence + 1 if before.tape == tick.tape else 1
        if tick.sequence < first:
            yield f"{where}: tick {tick.sequence} of {tick.tape} behind {before.sequence}"
        for lost in range(first, tick.sequence):
            if not any(one.tape == tick.tape and one.first <= lost <= one.last for one in missed):
                yield f"{where}: tick {lost} of {tick.tape} is not there, and not reported"


def judge_orders(records: ClusterRecords, stream: ModelStream) -> Iterator[str]:
    """Say what is wrong with orders."""
    yield from one_writer(LEDGER, stream.messages)
    yield from records.refused
    booked = booked_in(stream.messages)
    yield from booking_findings(booked)
    orders = {(order.client_id, order.order_id): order for order in booked}
    for report in records.told:
        order = orders.get((report.client_id, report.order_id))
        said = f"order {report.order_id} of {report.client_id} was answered {report.status}"
        if order is None:
            yield f"{said}, and is not in {LEDGER}"
        elif _answer_of(order) != (
            report.status,
            report.symbol,
            report.side,
            report.quantity,
            report.price,
            report.trade_id,
            report.position,
        ):
            yield f"{said}, and in {LEDGER} it is {order}"


def _answer_of(order: BookedOrder) -> tuple[str | int | None, ...]:
    return (
        order.status,
        order.symbol,
        order.side,
        order.quantity,
        order.price,
        order.trade_id,
        order.position,
    )


def judge_ledger(host: str, ledger: Snapshot, stream: ModelStream) -> Iterator[str]:
    """Say where the ledger of a host is not the projection of the stream."""
    wanted, found = booked_in(stream.messages), list(ledger.orders())
    if sorted(found) != sorted(wanted):
        differ = set(found) ^ set(wanted)
        yield f"{host}: the ledger is not what {LEDGER} has: {len(differ)} orders: {min(differ)}"
    sums: dict[tuple[str, str], int] = defaultdict(int)
    for order in wanted:
        if order.status == "FILLED":
            sums[order.client_id, order.symbol] += order.signed_quantity
    held = {(one.client_id, one.symbol): one.position for one in ledger.positions()}
    if held != sums:
        yield f"{host}: the positions are {held}, and {LEDGER} has {dict(sums)}"


def kept_from(stream: ModelStream) -> int:
    """Return the first message of a price stream that a downlink reads at its start."""
    return max(stream.first, len(stream.messages) - MESSAGES_BACK + 1)
