"""The judge: reads the records of a run and reports every defect in them. Pure and independent.

Everything is recomputed from the records: the judge uses no code that the stack decides with. The
trading rules are in `chaos.judge.trading_rules`; `chaos.judge.order_replay` applies them to the
ticks and says what is required of the orders exactly, and what only within bounds.

Requirements for the ticks. Every tick of a tape before its tail (`Records.tail_begins`) is in the
book once, in order, with the symbol and price that were played, or in a gap that the orderbook
reported, except for those before the first booked tick of the first tape. The next tape begins only
after the previous one has ended. A booked tick was played, unless it is older than the recording.
Ticks of symbols that the stack does not trade are ignored.

Requirements for the evaluations. No tick is evaluated twice. Ticks between two evaluations of a
tape are reported as missed. Every tick that came into the book after the strategy attached to it is
evaluated. An instance that continues into a new tape has evaluated the old tape to its end, the new
one from its beginning, and all tapes between them. With `Records.settled`, every tick before the
tail is evaluated. Nothing is required for ticks before a strategy attached, or after the last
evaluation of one that was killed.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, pairwise
from typing import Final

from chaos.judge.order_replay import trading_findings
from chaos.judge.records import (
    NO_LAST,
    BookAttachment,
    BookedTick,
    Gap,
    LedgerOrder,
    OrderAnswer,
    Records,
)
from lib.prices import format_price

MAX_FINDINGS: Final = 100
"""The most findings that are listed; further ones are only counted."""


def judge(records: Records) -> list[str]:
    """Return every defect in the records, one human-readable line each; [] if there are none."""
    findings = [
        *_ledger_findings(records),
        *_answer_findings(records),
        *_logon_findings(records),
        *_position_findings(records),
        *_book_findings(records),
        *_gap_findings(records),
        *_evaluation_findings(records),
        *trading_findings(records),
        *(f"left behind: {what}" for what in records.left_behind),
    ]
    if more := findings[MAX_FINDINGS:]:
        findings[MAX_FINDINGS:] = [f"and {len(more):,} more findings"]
    return findings


def _ledger_findings(records: Records) -> Iterator[str]:
    """No identity and no trade_id twice; a fill has a trade_id, a rejection has a reason."""
    order_ids: set[int] = set()
    traded: dict[int, int] = {}
    for row in records.ledger:
        where = f"order {row.order_id}"
        if row.order_id in order_ids:
            yield f"{where}: in the ledger twice"
        order_ids.add(row.order_id)
        if row.status == "FILLED":
            if row.trade_id is None:
                yield f"{where}: FILLED in the ledger without a trade_id"
            elif row.trade_id in traded:
                yield (
                    f"{where}: its trade_id {row.trade_id} is order {traded[row.trade_id]}'s, too"
                )
            else:
                traded[row.trade_id] = row.order_id
        elif row.trade_id is not None or not row.reason:
            yield (
                f"{where}: {row.status} in the ledger with the trade_id {row.trade_id} and the "
                f"reason {row.reason!r}"
            )


def _answer_findings(records: Records) -> Iterator[str]:
    """Each answer that the strategy got agrees with the ledger, and came once."""
    rows = {row.order_id: row for row in records.ledger}
    answered_ids: set[int] = set()
    for answer in records.answers:
        if answer.order_id in answered_ids:
            yield f"order {answer.order_id}: answered twice"
        answered_ids.add(answer.order_id)
        row = rows.get(answer.order_id)
        if row is None:
            yield f"order {answer.order_id}: answered {_answer(answer)}, and not in the ledger"
        elif _answer(answer) != _answer(row):
            yield (
                f"order {answer.order_id}: answered {_answer(answer)}, and the ledger has "
                f"{_answer(row)}"
            )


def _logon_findings(records: Records) -> Iterator[str]:
    """Each logon acknowledges the ledger's state after some order, at or after all earlier answers.

    Of a stack that is still running, the ledger may have been read before the logons: not judged.
    """
    if not records.settled:
        return
    booked_as = {row.order_id: number for number, row in enumerate(records.ledger, 1)}
    states: list[tuple[int, dict[str, int]]] = [(0, {})]
    for row in records.ledger:
        last_id, positions = states[-1]
        states.append((max(last_id, row.order_id), _held({**positions, row.symbol: row.position})))
    least = known = 0
    for logon in records.logons:
        answers = records.answers[known : logon.answers_before]
        least = max([least, *(booked_as.get(answer.order_id, 0) for answer in answers)])
        known = logon.answers_before
        acknowledged = logon.last_order_id, _held(logon.positions)
        if acknowledged in states[least:]:
            least = states.index(acknowledged, least)
        else:
            yield (
                f"logon after {logon.sent_before} orders: acknowledged with order "
                f"{acknowledged[0]} as the last one and the positions {acknowledged[1]}, and the "
                "ledger never had this state after the answers before it"
            )


def _held(positions: dict[str, int]) -> dict[str, int]:
    return {symbol: position for symbol, position in positions.items() if position}


def _answer(order: OrderAnswer | LedgerOrder) -> str:
    return (
        f"{order.status} {order.side} {order.symbol}, trade_id {order.trade_id}, "
        f"position {order.position}"
    )


def _position_findings(records: Records) -> Iterator[str]:
    """Each order states the sum of the fills as its position; the table has the last sum."""
    summed = dict.fromkeys(records.positions, 0)
    for row in records.ledger:
        before = summed.get(row.symbol, 0)
        change = 0
        if row.status == "FILLED":
            change = row.quantity if row.side == "BUY" else -row.quantity
        if row.position != before + change:
            yield (
                f"order {row.order_id}: {row.status} with the position {row.position} in "
                f"{row.symbol}, and the fills make it {before + change}"
            )
        summed[row.symbol] = before + change
    for symbol, position in summed.items():
        if records.positions.get(symbol, 0) != position:
            yield (
                f"position in {symbol}: the ledger's table says "
                f"{records.positions.get(symbol, 0)}, and the fills make it {position}"
            )


def _book_findings(records: Records) -> Iterator[str]:
    """The book has what was played, except for gaps that were reported and really are gaps."""
    booked: dict[str, set[int]] = {tape: set() for tape in records.tapes}
    newest: dict[str, int] = {}
    begins = current = records.booked[0].tape if records.booked else ""
    for tape, sequence, symbol, price in records.booked:
        where = f"tape {tape}, tick {sequence}"
        if tape != current and tape in newest:
            yield f"{where}: in the book behind tape {current}, which followed on this one"
        current = tape
        seen = booked.setdefault(tape, set())
        if sequence in seen:
            yield f"{where}: in the book twice"
        elif sequence < newest.get(tape, 0):
            yield f"{where}: in the book behind tick {newest[tape]}"
        seen.add(sequence)
        newest[tape] = max(sequence, newest.get(tape, 0))
        played = records.tapes.get(tape, {})
        tick = played.get(sequence)
        if tick is None:
            if min(played, default=0) <= sequence < _tail(records, tape):
                yield f"{where}: in the book, and never played"
        elif tick != (symbol, price):
            yield (
                f"{where}: {symbol} at {format_price(price)} in the book, and played was "
                f"{tick.symbol} at {format_price(tick.price)}"
            )
    for tape, played in records.tapes.items():
        first, end = min(booked[tape]) if tape == begins else 0, _tail(records, tape)
        gone = (
            (tape, n)
            for n in sorted(played)
            if first <= n < end and n not in booked[tape] and played[n].symbol in records.symbols
        )
        for text in _runs(_outside(gone, records.book_gaps)):
            yield f"{text}: not in the book, and not reported as missed"
    places = _Places(records.booked)
    for gap in records.book_gaps:
        for text in _runs(places.ticks(places.span(*gap))):
            yield f"{text}: reported as missed by the orderbook, and in the book"


def _gap_findings(records: Records) -> Iterator[str]:
    """Ticks that were reported as missed were played.

    The logs of a stack that is still running also have gaps of earlier runs, and of ticks that the
    recorder has not received yet: not judged.
    """
    if not records.settled:
        return
    ends = {tape: max(played, default=0) for tape, played in records.tapes.items()}
    for tick in records.booked:
        ends[tick.tape] = max(tick.sequence, ends.get(tick.tape, 0))
    for role, gaps in (("orderbook", records.book_gaps), ("strategy", records.strategy_gaps)):
        for tape, first, last in gaps:
            end = ends.get(tape, 0)
            to_end = last == NO_LAST and tape in ends and first <= end + 1  # perhaps none was left
            if first < 1 or not (to_end or first <= last <= end):
                yield (
                    f"tape {tape}, ticks {first} to {last}: reported as missed by the {role}, and "
                    f"the tape has ticks 1 to {end}"
                )


class _Places:
    """Where the ticks are in the book."""

    def __init__(self, booked: Sequence[BookedTick]) -> None:
        self._booked = booked
        self._begins: dict[str, int] = {}
        self._sequences: dict[str, list[int]] = {}
        for index, tick in enumerate(booked):
            self._begins.setdefault(tick.tape, index)
            self._sequences.setdefault(tick.tape, []).append(tick.sequence)

    def span(self, tape: str, first: int, last: int, *_: object) -> range:
        """Return the indices of these ticks; of an unknown tape, nothing at the beginning."""
        begin, sequences = self._begins.get(tape, 0), self._sequences.get(tape, [])
        return range(begin + bisect_left(sequences, first), begin + bisect_right(sequences, last))

    def ticks(self, indices: Iterable[int]) -> Iterator[tuple[str, int]]:
        """Yield tape and sequence of the ticks at these indices."""
        return (self._booked[index][:2] for index in indices)


def _evaluation_findings(records: Records) -> Iterator[str]:
    """Every booked tick was evaluated once while a strategy ran, or reported as missed."""
    booked, evaluations = records.booked, records.evaluations
    places = _Places(booked)
    spans = [places.span(*evaluation) for evaluation in evaluations]
    times = [0] * len(booked)
    """How often each booked tick was evaluated."""
    for index in chain.from_iterable(spans):
        times[index] += 1
    for text in _runs(places.ticks(index for index, count in enumerate(times) if count > 1)):
        yield f"{text}: evaluated twice"
    for gap in records.strategy_gaps:
        for text in _runs(places.ticks(i for i in places.span(*gap) if times[i])):
            yield f"{text}: reported as missed by the strategy, and evaluated"
    required = [
        range(spans[n].stop, spans[n + 1].start)
        for n, (one, other) in enumerate(pairwise(evaluations))
        if other.tape == one.tape or other.begun_by in _GOES_ON
    ]
    if records.settled and spans:
        behind = range(spans[-1].stop, len(booked))
        required += [range(i, i + 1) for i in behind if _is_before_tail(records, booked[i])]
    unseen = (index for span in required for index in span if not times[index])
    for text in _runs(_outside(places.ticks(unseen), records.strategy_gaps)):
        yield f"{text}: in the book, not evaluated, and not reported as missed"
    for attended in _attended(records, places, spans):
        unseen = (i for i in attended if not times[i] and _is_before_tail(records, booked[i]))
        for text in _runs(places.ticks(unseen)):
            yield f"{text}: not evaluated, though a strategy had attached before"


def _attended(records: Records, places: _Places, spans: Sequence[range]) -> Iterator[range]:
    """Yield the part of the book between each attachment and the first evaluation after it.

    Here a reported gap is no excuse, unless the strategy was lapped in the ring. Complete records
    without any attachment are judged as if it was there from the beginning.
    """
    attachments = {a.evaluations_before: a for a in records.attached}  # the last one counts
    if not attachments and records.whole:
        attachments[0] = BookAttachment("", 0, 0)
    for number, (tape, sequence, *_) in attachments.items():
        if number >= len(spans):
            end, is_excused = len(records.booked), not records.settled
        else:
            end, is_excused = spans[number].start, number in records.lapped_at_first
        if is_excused:
            continue
        if known := places.span(tape, sequence, sequence):
            yield range(known.stop, end)
            continue
        # The book was empty, or held an unrecorded tape: it begins after the latest tape that ended
        # together with its supervisord (and so with its book).
        booked = records.booked
        ended = records.cut_off - {tick.tape for tick in (booked[end:] or booked)[:1]}
        begin = next((i + 1 for i in range(end - 1, -1, -1) if booked[i].tape in ended), 0)
        # A lost book is made anew and filled again with the same tape. What came before the end of
        # the evaluation before was required then.
        if number and end and booked[end - 1].tape == records.evaluations[number - 1].tape:
            begin = max(begin, spans[number - 1].stop)
        yield range(begin, end)


_GOES_ON: Final = ("tape", "lap")
"""The values of `Evaluation.begun_by` for one that continues the evaluation before it."""


def _tail(records: Records, tape: str) -> int:
    """Return the first sequence of a tape that may still have been in transit at the end."""
    return records.tail_begins.get(tape, NO_LAST)


def _is_before_tail(records: Records, tick: BookedTick) -> bool:
    return tick.sequence < _tail(records, tick.tape)


def _outside(ticks: Iterable[tuple[str, int]], gaps: list[Gap]) -> Iterator[tuple[str, int]]:
    """Yield the ticks that lie in no gap."""
    for tape, sequence in ticks:
        if not any(gap.tape == tape and gap.first <= sequence <= gap.last for gap in gaps):
            yield tape, sequence


def _runs(ticks: Iterable[tuple[str, int]]) -> Iterator[str]:
    """Yield `tape A, tick 4` or `tape A, ticks 6 to 9`, one for each run of consecutive ticks."""
    runs: list[Gap] = []
    for tape, sequence in ticks:
        if runs and (runs[-1].tape, runs[-1].last) == (tape, sequence - 1):
            runs[-1] = runs[-1]._replace(last=sequence)
        else:
            runs.append(Gap(tape, sequence, sequence))
    for tape, first, last in runs:
        which = f"tick {first}" if first == last else f"ticks {first} to {last}"
        yield f"tape {tape}, {which}"
