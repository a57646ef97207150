"""Fills the judge's records from a stack's logs, its ledger, and the lab's recording.

While the stack is running, the order of reading matters. The ledger is read first and the logs
after it, so that every order in the ledger has been logged; answers to orders that the ledger did
not have yet are left out. The strategy's state file with its last evaluated tick is read last.

Logs and price book are bounded: events before the first start in the strategy's log are left out,
and `Records.whole` says whether anything is missing.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from itertools import groupby, pairwise
from pathlib import Path

from chaos.judge.records import (
    NO_LAST,
    AppliedNews,
    BegunBy,
    BookAttachment,
    Evaluation,
    Gap,
    LedgerOrder,
    LoggedOn,
    OrderAnswer,
    Records,
    SentOrder,
)
from chaos.lab import recorder
from chaos.lab.figures import held_back
from chaos.lab.target import TargetStack, strategy_state
from lib.clock import to_ns
from lib.ledger.reader import read_ledger
from lib.ledger.rows import BookedOrder
from lib.prices import to_fixed
from lib.process.log_events import (
    Attached,
    DecidingResumed,
    DecidingStopped,
    EvaluationStarted,
    FillReported,
    LogEvent,
    MalformedFrames,
    NewsApplied,
    NewsSilent,
    OrderError,
    OrderGivenUp,
    OrdersConnected,
    OrderSent,
    PriceBookLost,
    RefillBegunAnew,
    RejectionReported,
    Started,
    StreamConnected,
    TicksLapped,
    TicksMissed,
    read_line,
)
from lib.trading.checkpoint import read_last_evaluated


def gather_records(
    target: TargetStack,
    recording: recorder.StackRecording,
    complete_to: Mapping[str, int],
    left_behind: list[str],
    *,
    settled: bool,
) -> Records:
    """Make the records of a stack, which the lab has recorded.

    `complete_to` is the last sequence of each tape that had time to arrive; for the others see
    `Records`. Raises OSError (FileNotFoundError) or LedgerError if the ledger is missing or cannot
    be read.
    """
    settings = target.settings
    max_age_ns = to_ns(settings.strategy.max_tick_age)
    records = Records(
        symbols=settings.symbols,
        short_window=settings.strategy.short_window,
        long_window=settings.strategy.long_window,
        bullish_threshold=settings.strategy.bullish_threshold,
        bearish_threshold=settings.strategy.bearish_threshold,
        quantity=settings.strategy.quantity,
        client_id=settings.strategy.client_id,
        risk=settings.risk,
        order_ttl_ns=to_ns(settings.order_manager.order_ttl),
        tapes=recording.tapes,
        booked=recording.booked,
        tail_begins={tape: last + 1 for tape, last in complete_to.items()},
        held_back=held_back(recording.evaluated, recording.sent_ns, max_age_ns),
        left_behind=left_behind,
        cut_off=recording.cut_off,
        settled=settled,
    )
    with read_ledger(target.ledger) as ledger:
        rows = [row for row in ledger.orders() if row.client_id == records.client_id]
        held = [row for row in ledger.positions() if row.client_id == records.client_id]
    records.ledger = in_order_of_booking(rows)
    records.positions = {row.symbol: row.position for row in held}
    log_dir = settings.var_dir / "log"
    take_orderbook_log(read_log(log_dir / "orderbook.jsonl"), records)
    take_strategy_log(read_log(log_dir / "strategy.jsonl"), records)
    if target.spans_hosts:
        _allow_for_other_hosts(records, recording)
    if not settled:
        newest = max((row.order_id for row in records.ledger), default=0)
        records.answers = [one for one in records.answers if one.order_id <= newest]
    evaluated = {tape: sequence for _, tape, sequence in recording.evaluated}
    tape, sequence = read_last_evaluated(strategy_state(settings))
    evaluated[tape] = max(evaluated.get(tape, 0), sequence)
    extend_evaluations(records, evaluated)
    return records


def _allow_for_other_hosts(records: Records, recording: recorder.StackRecording) -> None:
    """Allow for what the records do not have of a cluster.

    The order hosts have price books of their own, in which there may be no price yet. And the
    gateway does not wait for the strategy: by when it evaluated its first ticks nobody saw.
    """
    records.lost_books += 1
    for _, tape, sequence in recording.evaluated[:1]:
        records.held_back.append(Gap(tape, 1, sequence))


def read_log(path: Path) -> list[LogEvent]:
    """Return all events of a role, from its log and the rotated parts of it, oldest first.

    The parts are read from the latest to the oldest, so that one that is rotated meanwhile is not
    missed; its inode shows if it was read already. Lines without a defined event are skipped.
    """
    older = [part for part in path.parent.glob(f"{path.name}.*") if part.suffix[1:].isdecimal()]
    parts: list[list[LogEvent]] = []
    seen: set[int] = set()
    for part in (path, *sorted(older, key=lambda part: int(part.suffix[1:]))):
        try:
            file = part.open("rb")
        except FileNotFoundError:  # a rotation is under way
            continue
        with file:
            inode = os.fstat(file.fileno()).st_ino
            if inode not in seen:
                seen.add(inode)
                lines = (read_line(line) for line in file)
                parts.insert(0, [line.event for line in lines if line and line.event])
    return [event for events in parts for event in events]


def take_orderbook_log(events: list[LogEvent], records: Records) -> None:
    """Add what the orderbook lost: missed ticks, malformed ones by number, and price books."""
    tape = ""
    for event in events:
        match event:
            case TicksMissed():
                records.book_gaps.append(Gap(event.tape, event.first, event.last))
            case StreamConnected(stream="price"):
                tape = event.tape or ""
            case MalformedFrames():
                numbers = [example["sequence"] for example in event.examples]
                records.book_gaps += [Gap(tape, number, number) for number in numbers]
            case PriceBookLost():
                records.lost_books += 1


def take_strategy_log(events: list[LogEvent], records: Records) -> None:
    """Add what the strategy logged, over all its processes, from the first start in its log on."""
    begin = next((i for i, event in enumerate(events) if isinstance(event, Started)), len(events))
    events = events[begin:]
    first = next((event for event in events if isinstance(event, EvaluationStarted)), None)
    is_first_instance = not begin and not (first and first.last_evaluated)
    records.whole = is_first_instance and all(tick.sequence == 1 for tick in records.booked[:1])
    _take_evaluations(events, records)
    _take_orders(events, records)
    _take_held_back(events, records)


def _take_evaluations(events: list[LogEvent], records: Records) -> None:
    """Add where each evaluation of a tape began and why, and the ticks that were missed."""
    evaluations = records.evaluations
    is_new_process = is_new_book = True
    is_lapped = False  # and another tape begins there
    for event in events:
        match event:
            case Started():
                is_new_process = True
            case Attached():
                before = len(evaluations)
                attachment = BookAttachment(event.tape, event.sequence, before, event.refilled)
                records.attached.append(attachment)
                is_new_book = True
            case PriceBookLost():
                records.lost_books += 1
            case RefillBegunAnew():
                records.lapped_at_first.add(len(evaluations))
            case EvaluationStarted(first_evaluated=sequence):
                begun_by: BegunBy = "lap" if is_lapped else "tape"
                if is_new_process or is_new_book:
                    begun_by = "start" if is_new_process else "book"
                _end_evaluation(evaluations, event.tape, event.last_evaluated)
                evaluations.append(Evaluation(event.tape, sequence, sequence, begun_by))
                is_new_process = is_new_book = is_lapped = False
            case TicksMissed():
                records.strategy_gaps.append(Gap(event.tape, event.first, event.last))
            case TicksLapped(tape=tape, first=sequence):
                last = event.last or NO_LAST
                records.strategy_gaps.append(Gap(tape, sequence, last))
                _end_evaluation(evaluations, tape, sequence - 1)
                if last == NO_LAST:
                    is_lapped = True
                elif evaluations and not is_lapped:
                    evaluations.append(Evaluation(tape, last + 1, last + 1, "lap"))


def _take_orders(events: list[LogEvent], records: Records) -> None:
    """Add the orders, their answers, the logons between them, and the news in force."""
    has_evaluated = False
    for event in events:
        match event:
            case Started():
                has_evaluated = False
            case EvaluationStarted():
                has_evaluated = True
            case OrdersConnected() if has_evaluated:
                before, given_up = len(records.answers), frozenset(records.given_up)
                sent, last_id = len(records.sent), event.last_order_id
                logon = LoggedOn(last_id, event.positions, sent, before, given_up)
                records.logons.append(logon)
            case NewsApplied(sentiment=sentiment):
                news = AppliedNews(event.tape, event.first_tick_sequence, sentiment)
                records.news.append(news)
            case NewsSilent():
                records.news.append(AppliedNews(event.tape, event.first_tick_sequence, None))
            case OrderSent():
                records.sent.append(_sent(event))
            case FillReported() | RejectionReported():
                records.answers.append(_answer(event, len(records.sent)))
            case OrderError(order_id=int(order_id)):
                records.answered_with_error.add(order_id)
            case OrderGivenUp():
                records.given_up.add(event.order_id)


def _take_held_back(events: list[LogEvent], records: Records) -> None:
    """Add the ranges in which the strategy had stopped deciding, from order to order."""
    last: SentOrder | None = None
    since: tuple[str, int] | None = None
    is_resumed = False
    for event in events:
        match event:
            case Started():
                since = None
            case DecidingStopped() if last:
                since = last.tape, last.tick_sequence + 1
                is_resumed = False
            case DecidingResumed():
                is_resumed = True
            case OrderSent():
                last = _sent(event)
                if since and is_resumed:
                    until = last.tick_sequence - 1 if last.tape == since[0] else NO_LAST
                    records.held_back.append(Gap(*since, until))
                    since = None
    if since:
        records.held_back.append(Gap(*since, NO_LAST))


def _end_evaluation(evaluations: list[Evaluation], tape: str, last: int) -> None:
    """Set the last tick of the latest evaluation of a tape."""
    index = max((i for i, one in enumerate(evaluations) if one.tape == tape), default=None)
    if index is not None and last >= evaluations[index].first:
        evaluations[index] = evaluations[index]._replace(last=last)


def extend_evaluations(records: Records, evaluated: Mapping[str, int]) -> None:
    """Set how far each tape's latest evaluation came.

    That is the maximum of `evaluated` and of the ticks of known orders and news; it is the end of
    the tape if the same instance continued into the next one.
    """
    latest = {evaluation.tape: i for i, evaluation in enumerate(records.evaluations)}
    for tape, index in latest.items():
        evaluation = records.evaluations[index]
        known = [evaluation.last, evaluated.get(tape, 0)]
        known += [sent.tick_sequence for sent in records.sent if sent.tape == tape]
        known += [news.first_tick_sequence for news in records.news if news.tape == tape]
        known += [row.tick_sequence or 0 for row in records.ledger if row.tape == tape]
        following = records.evaluations[index + 1 : index + 2]
        if following and following[0].begun_by == "tape":
            known += [tick.sequence for tick in records.booked if tick.tape == tape]
        records.evaluations[index] = evaluation._replace(last=max(known))


def _sent(event: OrderSent) -> SentOrder:
    values = {name: getattr(event, name) for name in SentOrder._fields}
    return SentOrder(**values | {"price": to_fixed(event.price)})


def _answer(event: FillReported | RejectionReported, sent_before: int) -> OrderAnswer:
    assert event.position is not None, "the order manager always states it"
    trade_id = event.trade_id if isinstance(event, FillReported) else None
    status = "FILLED" if isinstance(event, FillReported) else "REJECTED"
    return OrderAnswer(
        event.order_id, status, event.symbol, event.side, trade_id, event.position, sent_before
    )


def in_order_of_booking(rows: list[BookedOrder]) -> list[LedgerOrder]:
    """Put the rows of a ledger in the order in which they were booked.

    That is the order of receipt by the monotonic clock, because the wall clock may have been set
    back. If the trade_ids contradict it, the machine was rebooted, which restarts the monotonic
    clock: then the wall clock decides.
    """
    ordered = _by_receipt(sorted(rows, key=lambda row: row.received_ns))
    trade_ids = [row.trade_id for row in ordered if row.trade_id is not None]
    if any(other < one for one, other in pairwise(trade_ids)):
        ordered = _by_receipt(sorted(rows, key=lambda row: (row.received_utc, row.received_ns)))
    return [LedgerOrder(*(getattr(row, name) for name in LedgerOrder._fields)) for row in ordered]


def _by_receipt(rows: list[BookedOrder]) -> list[BookedOrder]:
    """Also order the rows of one receipt: fills by trade_id, each rejection where it first fits.

    It states the position at its place, and orders may have been sent again out of order.
    """
    ordered: list[BookedOrder] = []
    held: dict[str, int] = {}
    for _, receipt in groupby(rows, key=lambda row: row.received_ns):
        orders = sorted(receipt, key=lambda row: (row.trade_id or 0, row.order_id))
        rejected = [row for row in orders if row.trade_id is None]
        for fill in orders[len(rejected) :]:
            ordered += [row for row in rejected if row.position == held.get(row.symbol, 0)]
            rejected = [row for row in rejected if row.position != held.get(row.symbol, 0)]
            ordered.append(fill)
            held[fill.symbol] = fill.position
        ordered += rejected
        held.update((row.symbol, row.position) for row in rejected)
    return ordered
