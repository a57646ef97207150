"""Gathering records: logs in several parts, and the instances of a strategy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from chaos.judge.records import (
    NO_LAST,
    BookAttachment,
    BookedTick,
    Evaluation,
    Gap,
    LoggedOn,
    OrderAnswer,
    Records,
    SentOrder,
)
from chaos.lab.gather import (
    _allow_for_other_hosts,
    extend_evaluations,
    in_order_of_booking,
    read_log,
    take_orderbook_log,
    take_strategy_log,
)
from chaos.lab.recorder import SeenEvaluation, StackRecording
from lib.ledger.rows import BookedOrder
from lib.process.log_events import LogEvent
from lib.wire.order_messages import Status
from tests.log_lines import made as event

ORDER = {"order_id": 1, "symbol": "AAPL", "side": "BUY"}
STARTED = event("started")


def records() -> Records:
    return Records(("AAPL",), 2, 4, 60, 40, 10)


def attached(tape: str = "", sequence: int = 0) -> LogEvent:
    return event("attached", price_book="book", refilled=sequence, tape=tape, sequence=sequence)


def begun(tape: str, first: int, last_evaluated: int = 0) -> LogEvent:
    return event(
        "evaluation_started", tape=tape, last_evaluated=last_evaluated, first_evaluated=first
    )


def lapped(tape: str, first: int, last: int | None) -> LogEvent:
    return event("ticks_missed", first=first, last=last, where="ring", tape=tape, ticks=99)


def sent(order_id: int, sequence: int) -> LogEvent:
    return event(
        "order_sent", **ORDER | {"order_id": order_id}, quantity=10, price=172.53, tape="A",
        tick_sequence=sequence, sentiment=70, latency_us=5,
    )  # fmt: skip


def logged_on(last_order_id: int, position: int) -> LogEvent:
    return event(
        "connected", stream="orders", last_order_id=last_order_id, positions={"AAPL": position}
    )


FILLED = event("order_filled", **ORDER, client_id="strategy", trade_id=7, position=10)
REJECTED = event("order_rejected", **ORDER | {"order_id": 2}, reason="halted", position=10)


def strategy(*events: LogEvent) -> Records:
    gathered = records()
    take_strategy_log([STARTED, attached(), *events], gathered)
    return gathered


def test_a_log_is_read_with_its_older_parts_the_oldest_first(tmp_path: Path) -> None:
    for number, suffix in enumerate([".10", ".2", ".1", "", ".old"]):
        entry = msgspec.json.encode(event("order_given_up", order_id=number))
        no_events = b'Traceback\n\xff\n[1]\n{"level": 1}\n'
        (tmp_path / f"strategy.jsonl{suffix}").write_bytes(no_events + entry + b'\n{"eve')
    log = tmp_path / "strategy.jsonl"
    (tmp_path / "strategy.jsonl.3").hardlink_to(log)  # as if it was moved on while it is read
    assert [read.order_id for read in read_log(log)] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("events", "gathered"),
    [
        (  # a new instance logs how far the previous one came
            [begun("A", 5), STARTED, attached(), begun("A", 20, last_evaluated=11),
             event("ticks_missed", first=12, last=19, where="strategy", tape="A")],
            {"evaluations": [Evaluation("A", 5, 11), Evaluation("A", 20, 20)],
             "strategy_gaps": [Gap("A", 12, 19)]},
        ),
        (  # a new tape and a new book continue the same one
            [begun("A", 5), begun("B", 1), attached(), begun("B", 9, 6)],
            {"evaluations": [Evaluation("A", 5, 5), Evaluation("B", 1, 6, "tape"),
                             Evaluation("B", 9, 9, "book")]},
        ),
        (
            [begun("A", 1), STARTED, attached("A", 7), event("refill_begun_anew", lapped_by=9),
             attached("A", 30), begun("A", 41, 6), STARTED, attached("A", 50)],
            {"attached": [BookAttachment("", 0, 0, 0), BookAttachment("A", 7, 1, 7),
                          BookAttachment("A", 30, 1, 30), BookAttachment("A", 50, 2, 50)],
             "lapped_at_first": {1}},
        ),
        (  # a lap cuts the evaluation
            [begun("A", 5), lapped("A", 50, 60)],
            {"evaluations": [Evaluation("A", 5, 49), Evaluation("A", 61, 61, "lap")],
             "strategy_gaps": [Gap("A", 50, 60)]},
        ),
        (  # a lap over tapes begins one evaluation of the new tape
            [begun("A", 5), lapped("A", 50, None), lapped("B", 1, None), lapped("C", 1, 8),
             begun("C", 9), begun("D", 1)],
            {"evaluations": [Evaluation("A", 5, 49), Evaluation("C", 9, 9, "lap"),
                             Evaluation("D", 1, 1, "tape")],
             "strategy_gaps": [Gap("A", 50, NO_LAST), Gap("B", 1, NO_LAST), Gap("C", 1, 8)]},
        ),
        (  # a logon counts once the instance has evaluated a tick
            [logged_on(0, 0), begun("A", 5), event("connected", stream="news"), sent(1, 5), FILLED,
             sent(2, 6), logged_on(1, 10), event("order_given_up", order_id=2), logged_on(1, 10),
             STARTED, logged_on(2, -10), begun("A", 20, 19)],
            {"logons": [LoggedOn(1, {"AAPL": 10}, 2, 1),
                        LoggedOn(1, {"AAPL": 10}, 2, 1, given_up=frozenset({2}))],
             "given_up": {2}},
        ),
        (  # an answer knows which orders were sent before it
            [sent(1, 5), FILLED, sent(2, 6), REJECTED,
             event("order_error", order_id=2, reason="disk full"),
             event("order_error", order_id=None, reason="malformed")],
            {"sent": [SentOrder(1, "AAPL", "BUY", 10, 17_253_000_000, "A", 5, 70),
                      SentOrder(2, "AAPL", "BUY", 10, 17_253_000_000, "A", 6, 70)],
             "answers": [OrderAnswer(1, "FILLED", "AAPL", "BUY", 7, 10, 1),
                         OrderAnswer(2, "REJECTED", "AAPL", "BUY", None, 10, 2)],
             "answered_with_error": {2}},
        ),
        (  # from the last order before it stopped deciding to the first one after that
            [sent(1, 5), event("deciding_stopped"), sent(2, 8), event("deciding_resumed"),
             sent(3, 20), sent(4, 30)],
            {"held_back": [Gap("A", 6, 19)]},
        ),
    ],
    ids=["new instance", "new tape and book", "attachments", "lap", "lap over tapes", "logons",
         "answers", "held back"],
)  # fmt: skip
def test_what_the_strategy_logs_is_in_the_records(
    events: list[LogEvent], gathered: dict[str, Any]
) -> None:
    found = strategy(*events)
    assert {name: getattr(found, name) for name in gathered} == gathered


def booked(
    order_id: int, received: int, utc: str = "", trade_id: int | None = None, position: int = 0
) -> BookedOrder:
    status: Status = "FILLED" if trade_id else "REJECTED"
    return BookedOrder(
        "strategy", order_id, "AAPL", "BUY", 10, 1, status, None, trade_id, position, "A", 5, 0,
        received, utc,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "order_ids"),
    [
        # The wall clock was set back in between.
        ([booked(3, 30, "11:01"), booked(1, 20, "11:00", 8), booked(2, 10, "12:00", 7)], [2, 1, 3]),
        # Of one receipt: by their fills.
        ([booked(1, 10, "", 9), booked(2, 10), booked(3, 10, "", 8)], [2, 3, 1]),
        ([booked(1, 10), booked(2, 10, "", 8), booked(3, 10)], [1, 3, 2]),
        # A rejection where its position is true: order 1 was sent again, after the others.
        (
            [booked(1, 10, position=30), booked(2, 10, "", 5, position=10),
             booked(3, 10, position=10), booked(4, 10, "", 6, position=30)],
            [2, 3, 4, 1],
        ),
        # The machine was restarted after order 2.
        (
            [booked(3, 10, "12:00", 2), booked(4, 20, "12:01", 3), booked(1, 900, "11:00", 1),
             booked(2, 950, "11:01")],
            [1, 2, 3, 4],
        ),
    ],
    ids=["wall clock", "fills", "one fill", "positions", "restart of the machine"],
)  # fmt: skip
def test_orders_are_in_the_order_of_their_booking(
    rows: list[BookedOrder], order_ids: list[int]
) -> None:
    assert [row.order_id for row in in_order_of_booking(rows)] == order_ids


def test_an_evaluation_is_as_long_as_anything_tells() -> None:
    goes_on = strategy(begun("A", 5), sent(1, 8), begun("B", 1))
    ended = strategy(begun("A", 5), sent(1, 8), STARTED, begun("B", 1))
    for gathered in (goes_on, ended):
        gathered.booked = [BookedTick("A", 12, "AAPL", 1), BookedTick("B", 30, "AAPL", 1)]
        extend_evaluations(gathered, {"B": 25})
    assert goes_on.evaluations == [Evaluation("A", 5, 12), Evaluation("B", 1, 25, "tape")]
    assert ended.evaluations[0] == Evaluation("A", 5, 8)


def test_each_loss_of_the_price_book_counts_whoever_reports_it() -> None:
    lost = event("price_book_lost", reason="removed")
    gathered = strategy(lost)
    take_orderbook_log([lost, lost], gathered)
    assert gathered.lost_books == 3


@pytest.mark.parametrize(
    ("before", "evaluated", "first_booked", "whole"),
    [
        ([], 0, 1, True),
        ([], 0, 2, False),  # the ring no longer had the first tick
        ([], 3, 1, False),  # there was an instance before
        ([sent(6, 3), begun("B", 4)], 0, 1, False),  # the first start is no longer in the log
    ],
)
def test_what_comes_before_the_first_start_in_the_log_is_left_out_and_said_to_be_missing(
    before: list[LogEvent], evaluated: int, first_booked: int, whole: bool
) -> None:
    gathered = records()
    gathered.booked = [BookedTick("A", first_booked, "AAPL", 1)]
    instance = [STARTED, attached(), begun("A", 5, evaluated), sent(7, 9)]
    take_strategy_log([*before, *instance], gathered)
    assert gathered.whole == whole
    assert gathered.evaluations == [Evaluation("A", 5, 5)]
    assert [order.order_id for order in gathered.sent] == [7]


def test_of_a_cluster_nobody_saw_by_when_its_first_ticks_were_evaluated() -> None:
    found = records()
    seen = [SeenEvaluation(9, "T", 40), SeenEvaluation(10, "T", 41)]
    _allow_for_other_hosts(found, StackRecording(evaluated=seen))
    assert found.held_back == [Gap("T", 1, 40)]
    assert found.lost_books == 1
