"""Gathering records: logs in several parts, and the instances of a strategy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from chaos.judge.records import (
    AppliedNews,
    BookAttachment,
    BookedTick,
    Evaluation,
    Gap,
    LedgerOrder,
    LoggedOn,
    OrderAnswer,
    Records,
    SentOrder,
)
from chaos.lab import recorder
from chaos.lab.gather import (
    extend_evaluations,
    in_order_of_booking,
    leave_out_what_came_after_the_ledger,
    read_log,
    take_orderbook_log,
    take_strategy_log,
    with_what_was_seen,
)
from lib.ledger.rows import BookedOrder
from lib.process.log_events import LogEvent, LogLine
from lib.wire.order_messages import Status
from tests.log_lines import made

END = 2**63 - 1
"""The last tick of a gap that reaches to the end of its tape."""
STARTED = '{"event": "started", "pid": 0}\n'
ORDER = {"order_id": 1, "symbol": "AAPL", "side": "BUY"}


def records() -> Records:
    return Records(("AAPL",), 2, 4, 60, 40, 10)


def event(name: str, **keys: Any) -> LogEvent:
    return made(name, **keys)


def line(event: LogEvent, timestamp: str = "") -> LogLine:
    return LogLine(timestamp, "info", "strategy", "any", event)


def attached(tape: str = "", sequence: int = 0) -> LogEvent:
    return event("attached", price_book="book", refilled=sequence, tape=tape, sequence=sequence)


def begun(tape: str, first: int, last_evaluated: int = 0) -> LogEvent:
    return event(
        "evaluation_started", tape=tape, last_evaluated=last_evaluated, first_evaluated=first
    )


def sent(order_id: int, sequence: int, price: float = 172.53) -> LogEvent:
    return event(
        "order_sent", **ORDER | {"order_id": order_id}, quantity=10, price=price, tape="A",
        tick_sequence=sequence, sentiment=70, latency_us=5,
    )  # fmt: skip


def strategy(*events: LogEvent) -> Records:
    gathered = records()
    take_strategy_log([event("started"), attached(), *events], gathered)
    return gathered


def test_a_log_is_read_with_its_older_parts_the_oldest_first(tmp_path: Path) -> None:
    for number, suffix in enumerate(["10", "2", "1", ""]):
        path = tmp_path / f"strategy.jsonl.{suffix}".rstrip(".")
        entry = event("order_given_up", order_id=number)
        path.write_bytes(msgspec.json.encode(entry) + b"\n")
    (tmp_path / "strategy.jsonl.old").write_text(STARTED)
    log = read_log(tmp_path / "strategy.jsonl")
    assert [read.event.order_id for read in log] == [0, 1, 2, 3]


def test_a_part_that_is_moved_on_while_it_is_read_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / "strategy.jsonl"
    path.write_text(STARTED)
    (tmp_path / "strategy.jsonl.1").hardlink_to(path)
    assert [read.event for read in read_log(path)] == [event("started")]


def test_lines_that_are_no_events_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "strategy.jsonl"
    path.write_bytes(b'Traceback\n\xff\n[1]\n{"level": 1}\n{"event": "started", "pid": 0}\n{"eve')
    assert [read.event for read in read_log(path)] == [event("started")]


def test_a_log_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert read_log(tmp_path / "strategy.jsonl") == []


def test_a_new_instance_logs_how_far_the_previous_one_came() -> None:
    gathered = strategy(
        begun("A", 5),
        event("started"),
        attached(),
        begun("A", 20, last_evaluated=11),
        event("ticks_missed", first=12, last=19, where="strategy", tape="A"),
    )
    assert gathered.evaluations == [Evaluation("A", 5, 11), Evaluation("A", 20, 20)]
    assert gathered.strategy_gaps == [Gap("A", 12, 19)]


def test_a_new_tape_and_a_new_book_continue_the_same_instance() -> None:
    gathered = strategy(begun("A", 5), begun("B", 1), attached(), begun("B", 9, 6))
    assert gathered.evaluations == [
        Evaluation("A", 5, 5),
        Evaluation("B", 1, 6, "tape"),
        Evaluation("B", 9, 9, "book"),
    ]


def test_an_attachment_knows_which_evaluation_comes_after_it() -> None:
    gathered = strategy(
        begun("A", 1), event("started"), attached("A", 7), event("refill_begun_anew", lapped_by=9),
        attached("A", 30), begun("A", 41, 6), event("started"), attached("A", 50),
    )  # fmt: skip
    assert gathered.attached == [
        BookAttachment("", 0, 0),
        BookAttachment("A", 7, 1),
        BookAttachment("A", 30, 1),
        BookAttachment("A", 50, 2),
    ]  # fmt: skip
    assert gathered.lapped_at_first == {1}


def booked(
    order_id: int, received: int, utc: str = "", trade_id: int | None = None, position: int = 0
) -> BookedOrder:
    status: Status = "FILLED" if trade_id else "REJECTED"
    return BookedOrder(
        "strategy", order_id, "AAPL", "BUY", 10, 1, status, None, trade_id, position, "A", 5, 0,
        received, utc,
    )  # fmt: skip


def order_ids(*rows: BookedOrder) -> list[int]:
    return [row.order_id for row in in_order_of_booking(list(rows))]


def test_orders_are_in_the_order_of_receipt_though_the_wall_clock_was_set_back() -> None:
    first, second, third = (
        booked(2, 10, "12:00", 7),
        booked(1, 20, "11:00", 8),
        booked(3, 30, "11:01"),
    )
    assert order_ids(first, second, third) == [2, 1, 3]
    assert order_ids(third, second, first) == [2, 1, 3]


def test_orders_of_one_receipt_are_in_the_order_of_their_fills() -> None:
    assert order_ids(booked(1, 10, "", 9), booked(2, 10), booked(3, 10, "", 8)) == [3, 2, 1]
    assert order_ids(booked(1, 10), booked(2, 10, "", 8), booked(3, 10)) == [1, 2, 3]


def test_a_rejection_comes_where_its_position_is_true() -> None:
    late = booked(1, 10, position=30)  # sent again, after the others
    fills = [booked(2, 10, "", 5, position=10), booked(4, 10, "", 6, position=30)]
    assert order_ids(late, fills[0], booked(3, 10, position=10), fills[1]) == [2, 3, 4, 1]


def test_orders_from_before_a_restart_of_the_machine_come_first() -> None:
    before = [booked(1, 900, "11:00", 1), booked(2, 950, "11:01")]
    after = [booked(3, 10, "12:00", 2), booked(4, 20, "12:01", 3)]
    assert order_ids(*after, *before) == [1, 2, 3, 4]


def test_a_ring_that_was_lapped_cuts_the_evaluation() -> None:
    missed = event("ticks_missed", first=50, last=60, where="ring", tape="A", ticks=11)
    gathered = strategy(begun("A", 5), missed)
    assert gathered.evaluations == [Evaluation("A", 5, 49), Evaluation("A", 61, 61, "lap")]
    assert gathered.strategy_gaps == [Gap("A", 50, 60)]


def lapped(tape: str, first: int, last: int | None) -> LogEvent:
    return event("ticks_missed", first=first, last=last, where="ring", tape=tape, ticks=99)


def test_a_lap_in_which_tapes_changed_begins_one_evaluation_of_the_new_tape() -> None:
    gathered = strategy(
        begun("A", 5), lapped("A", 50, None), lapped("B", 1, None), lapped("C", 1, 8),
        begun("C", 9), begun("D", 1),
    )  # fmt: skip
    assert gathered.evaluations == [
        Evaluation("A", 5, 49),
        Evaluation("C", 9, 9, "lap"),
        Evaluation("D", 1, 1, "tape"),
    ]
    assert gathered.strategy_gaps == [Gap("A", 50, END), Gap("B", 1, END), Gap("C", 1, 8)]


def test_a_lap_in_which_only_the_old_tape_lost_ticks_begins_the_new_one_at_its_first() -> None:
    gathered = strategy(begun("A", 5), lapped("A", 50, None), begun("B", 1))
    assert gathered.evaluations == [Evaluation("A", 5, 49), Evaluation("B", 1, 1, "lap")]
    assert gathered.strategy_gaps == [Gap("A", 50, END)]


def logged_on(last_order_id: int, position: int) -> LogEvent:
    return event(
        "connected", stream="orders", last_order_id=last_order_id, positions={"AAPL": position}
    )


def test_a_logon_counts_once_the_instance_has_evaluated_a_tick() -> None:
    filled = event("order_filled", **ORDER, client_id="strategy", trade_id=7, position=10)
    gathered = strategy(
        logged_on(0, 0), begun("A", 5), event("connected", stream="news"), sent(1, 5), filled,
        sent(2, 6), logged_on(1, 10), event("started"), logged_on(2, -10), begun("A", 20, 19),
    )  # fmt: skip
    assert gathered.logons == [LoggedOn(1, {"AAPL": 10}, 2, 1)]


def test_of_a_ledger_that_was_read_too_early_later_answers_and_logons_are_left_out() -> None:
    gathered = records()
    gathered.ledger = [LedgerOrder(2, "AAPL", "BUY", 10, 1, "FILLED", None, 7, 10, "A", 5, 0, 0)]
    gathered.answers = [
        OrderAnswer(order_id, "FILLED", "AAPL", "BUY", 7, 10, 3) for order_id in (3, 1, 2)
    ]
    gathered.logons = [LoggedOn(last, {}, 3, 3) for last in (2, 3)]
    leave_out_what_came_after_the_ledger(gathered)
    assert [answer.order_id for answer in gathered.answers] == [1, 2]
    assert gathered.logons == [LoggedOn(2, {}, 3, 2)]


def test_silent_news_are_no_news() -> None:
    gathered = strategy(
        event("news_applied", sentiment=70, sequence=1, first_tick_sequence=5, tape="A"),
        event("news_silent", first_tick_sequence=9, tape="A"),
    )
    assert gathered.news == [AppliedNews("A", 5, 70), AppliedNews("A", 9, None)]


def test_an_answer_knows_which_orders_were_sent_before_it() -> None:
    gathered = strategy(
        sent(1, 5),
        event("order_filled", **ORDER, client_id="strategy", trade_id=7, position=10),
        sent(2, 6),
        event("order_rejected", **ORDER | {"order_id": 2}, reason="halted", position=10),
        event("order_error", order_id=2, reason="disk full"),
        event("order_error", order_id=None, reason="malformed"),
    )
    assert gathered.sent[0] == SentOrder(1, "AAPL", "BUY", 10, 17_253_000_000, "A", 5, 70)
    assert gathered.answers == [
        OrderAnswer(1, "FILLED", "AAPL", "BUY", 7, 10, 1),
        OrderAnswer(2, "REJECTED", "AAPL", "BUY", None, 10, 2),
    ]
    assert gathered.answered_with_error == {2}


def test_a_logon_knows_which_orders_were_given_up_before_it() -> None:
    logon = event("connected", stream="orders", last_order_id=1, positions={})
    started = event("evaluation_started", tape="A", last_evaluated=0, first_evaluated=1)
    given_up = event("order_given_up", order_id=1)
    gathered = strategy(started, sent(1, 5), logon, given_up, logon)
    assert gathered.logons == [
        LoggedOn(1, {}, 1, 0),
        LoggedOn(1, {}, 1, 0, given_up=frozenset({1})),
    ]
    assert gathered.given_up == {1}


def test_orders_are_held_back_from_the_last_one_to_the_first_one_after_that_is_over() -> None:
    stopped, resumed = event("deciding_stopped"), event("deciding_resumed")
    gathered = strategy(sent(1, 5), stopped, sent(2, 8), resumed, sent(3, 20), sent(4, 30))
    assert gathered.held_back == [Gap("A", 6, 19)]


def test_the_orderbook_says_what_it_missed_and_what_it_could_not_read() -> None:
    gathered = records()
    take_orderbook_log(
        [
            event("connected", stream="price", tape="A"),
            event("ticks_missed", first=3, last=5, where="gateway", tape="A"),
            event(
                "malformed_frames",
                count=2,
                examples=[{"sequence": 8}, {"sequence": 11}],
                stream="price",
            ),
        ],
        gathered,
    )
    assert gathered.book_gaps == [Gap("A", 3, 5), Gap("A", 8, 8), Gap("A", 11, 11)]


def test_an_evaluation_is_as_long_as_anything_tells() -> None:
    gathered = strategy(begun("A", 5), sent(1, 8), begun("B", 1))
    gathered.booked = [BookedTick("A", 12, "AAPL", 1), BookedTick("B", 30, "AAPL", 1)]
    extend_evaluations(gathered, {"B": 25})
    assert gathered.evaluations == [Evaluation("A", 5, 12), Evaluation("B", 1, 25, "tape")]


def test_an_ended_instance_evaluated_no_more_than_is_known() -> None:
    gathered = strategy(begun("A", 5), sent(1, 8), event("started"), begun("B", 1))
    gathered.booked = [BookedTick("A", 12, "AAPL", 1)]
    extend_evaluations(gathered, {})
    assert gathered.evaluations[0] == Evaluation("A", 5, 8)


def cut(*events: LogEvent) -> Records:
    """Events of a log whose beginning is gone."""
    gathered = records()
    gathered.booked = [BookedTick("A", 90, "AAPL", 1)]
    take_strategy_log(list(events), gathered)
    return gathered


def test_a_log_without_its_beginning_is_known_from_the_first_start_in_it() -> None:
    instance = [event("started"), attached(), begun("A", 20, last_evaluated=15)]
    gathered = cut(sent(6, 10), sent(7, 11), *instance, sent(7, 30))
    assert gathered.known_from == ("A", 20)
    assert gathered.evaluations == [Evaluation("A", 20, 20)]
    assert [order.tick_sequence for order in gathered.sent] == [30]


def test_of_a_log_without_a_start_nothing_is_known() -> None:
    gathered = cut(sent(6, 10), begun("B", 1), sent(7, 11))
    assert (gathered.known_from, gathered.evaluations, gathered.sent) == (("A", END), [], [])


def test_a_log_that_begins_with_the_first_instance_is_known_from_there() -> None:
    gathered = strategy(begun("A", 5), sent(1, 8))
    assert (gathered.known_from, gathered.evaluations[0]) == (None, Evaluation("A", 5, 5))
    assert strategy(begun("A", 5, last_evaluated=3)).known_from == ("A", 5)


def test_what_was_seen_logged_stands_in_for_what_is_gone() -> None:
    def number(n: int) -> LogEvent:
        return event("order_given_up", order_id=n)

    seen = [recorder.Event(1, role, number(n), str(n))
            for n in (3, 4, 5) for role in ("strategy", "orderbook")]  # fmt: skip
    kept = [line(number(n), str(n)) for n in (4, 5, 6)]
    assert with_what_was_seen(kept, "strategy", seen) == [number(n) for n in (3, 4, 5, 6)]
    assert with_what_was_seen(kept[2:], "strategy", seen) == [number(6)]
    assert with_what_was_seen([], "strategy", seen) == []


def test_an_event_that_is_logged_twice_is_known_by_its_time() -> None:
    stopped = event("deciding_stopped", unanswered=1)
    seen = [recorder.Event(1, "strategy", stopped, str(n)) for n in (3, 4)]
    assert with_what_was_seen([line(stopped, "4")], "strategy", seen) == [stopped, stopped]
