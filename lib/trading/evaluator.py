"""The evaluation of ticks: every tick of the price book, in order, exactly once.

`lib.trading.trader` and the signal decide what a tick means. This module guarantees the rest, in
one process of the strategy and from one to the next: the windows are refilled from the ring, a tick
that an earlier process evaluated is not evaluated again, ticks that were never evaluated are logged
by number, and a new tape begins with empty windows. `TRANSITIONS` has the states of it.

One number must survive a crash, the last evaluated tick (`lib.trading.checkpoint`). It is stored
after the ticks have been evaluated and before their orders are sent, so that no order can come from
a tick that the next process takes for unseen.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from functools import partial
from itertools import starmap
from typing import Final, NamedTuple

import numpy as np
import structlog
from numpy.typing import NDArray

from lib.clock import MICROSECOND_NS, SECOND_NS, Clock
from lib.prices import to_float
from lib.process.log_events import (
    Attached,
    DecidingResumed,
    DecidingStopped,
    EvaluationStarted,
    MalformedFrames,
    NewsApplied,
    NewsSilent,
    OrderSent,
    RefillBegunAnew,
    RefillShortened,
    RefillTakesLong,
    SignalKeepsUp,
    SignalTooSlow,
    TicksLapped,
    TicksMissed,
    log_event,
)
from lib.process.throttled_log import ThrottledLog
from lib.shared_memory_utils import Batch, PriceBookReader, SharedPriceBook
from lib.streams.stream_client import Frames, StreamClient
from lib.trading.checkpoint import LastEvaluated
from lib.trading.order_client import OrderClient
from lib.trading.refill import MAX_REFILL_NS, Refill
from lib.trading.signal_pace import PASS_NS, PassSize, SignalPace, duration_text
from lib.trading.trader import MIN_BATCH_TICKS, Decision, News, Trader
from lib.wire.framing import split
from lib.wire.malformed_frames import malformed_sentiment
from lib.wire.span import Span
from lib.wire.tick_codec import parse_sentiment
from lib.wire.ticks import EPOCH, PLAIN_TAPE, POSITION, SEQUENCE, TICK, PlainTick, Ticks

TICKS_A_PASS: Final = 16_384
"""The most ticks of one call, however fast the signal is. A signal that takes batches loses a tenth
of its speed at a quarter of this. What bounds a pass is its time (`lib.trading.signal_pace`), so
that the loop keeps running and the heartbeat goes on, even when a signal that needs a second for
some ticks has a whole ring to see."""
REFILL_MARGIN: Final = 8
"""The oldest eighth of a full ring is not read: the writer is about to overwrite it."""
LAPPED_AGAIN_NS: Final = 10 * SECOND_NS
"""A signal that the ring laps twice within this time is slower than the ticks come."""


class EvaluatorState(Enum):
    """Where an evaluator is in its price book."""

    DETACHED = auto()
    """There is no price book yet."""
    REFILLING = auto()
    """The ticks that the book holds fill the windows; how long that takes is not known yet."""
    REFILLING_JUDGED = auto()
    """The windows are being refilled, and the refill will not be shortened any more."""
    READY = auto()
    """The windows are filled; nothing has been evaluated since the strategy attached."""
    EVALUATING = auto()
    """A tick of this tape has been evaluated."""
    NEW_TAPE = auto()
    """Another tape has begun, and none of its ticks has been evaluated."""


class EvaluatorInput(Enum):
    """What moves an evaluator from one state to another."""

    ATTACHED = auto()
    """The strategy attached to a price book, the first one or another."""
    JUDGED = auto()
    """The pace of the signal is known, and with it whether to shorten the refill."""
    LAPPED = auto()
    """The ring lapped the reader before anything was evaluated: the refill begins again."""
    REFILLED = auto()
    """The windows are filled, or there is nothing to fill them with."""
    TAPE_CHANGED = auto()
    """The next tick is of another tape."""
    FIRST_TICK = auto()
    """A tick is evaluated, the first one of its tape since the strategy attached."""


TRANSITIONS: Final[dict[EvaluatorState, dict[EvaluatorInput, EvaluatorState]]] = {
    EvaluatorState.DETACHED: {
        EvaluatorInput.ATTACHED: EvaluatorState.REFILLING,
    },
    EvaluatorState.REFILLING: {
        EvaluatorInput.TAPE_CHANGED: EvaluatorState.REFILLING,
        EvaluatorInput.JUDGED: EvaluatorState.REFILLING_JUDGED,
        EvaluatorInput.LAPPED: EvaluatorState.REFILLING,
        EvaluatorInput.REFILLED: EvaluatorState.READY,
        EvaluatorInput.ATTACHED: EvaluatorState.REFILLING,
    },
    EvaluatorState.REFILLING_JUDGED: {
        EvaluatorInput.TAPE_CHANGED: EvaluatorState.REFILLING_JUDGED,
        EvaluatorInput.LAPPED: EvaluatorState.REFILLING,
        EvaluatorInput.REFILLED: EvaluatorState.READY,
        EvaluatorInput.ATTACHED: EvaluatorState.REFILLING,
    },
    EvaluatorState.READY: {
        EvaluatorInput.TAPE_CHANGED: EvaluatorState.READY,
        EvaluatorInput.LAPPED: EvaluatorState.REFILLING,
        EvaluatorInput.FIRST_TICK: EvaluatorState.EVALUATING,
        EvaluatorInput.ATTACHED: EvaluatorState.REFILLING,
    },
    EvaluatorState.EVALUATING: {  # a lap does not change the state: the missed ticks are logged
        EvaluatorInput.TAPE_CHANGED: EvaluatorState.NEW_TAPE,
        EvaluatorInput.ATTACHED: EvaluatorState.REFILLING,
    },
    EvaluatorState.NEW_TAPE: {
        EvaluatorInput.TAPE_CHANGED: EvaluatorState.NEW_TAPE,
        EvaluatorInput.FIRST_TICK: EvaluatorState.EVALUATING,
        EvaluatorInput.ATTACHED: EvaluatorState.REFILLING,
    },
}
"""What leads where; any other input is a mistake in this module."""

_EVALUATING: Final = EvaluatorState.EVALUATING
"""Bound once for the hot path: before Python 3.12, looking up a member of an Enum takes 80 ns."""
_REFILLING: Final = (EvaluatorState.REFILLING, EvaluatorState.REFILLING_JUDGED)


class _Place(NamedTuple):
    """The tick of a tape with this sequence; 0 before the first."""

    tape: str
    sequence: int


@dataclass(slots=True)
class _Missed:
    """Ticks that the ring no longer had, to be logged with the next one that is evaluated."""

    ticks: int
    after: _Place
    """The last tick before them, as far as is known."""
    unseen_behind: int | None
    """If set, all ticks of the book after this position are unseen; `ticks` are not all of them."""


class Evaluator:
    """Passes ticks and news to the trader, and its decisions to `send`. One a strategy.

    `send(frames)` gets the encoded orders, after the last evaluated tick has been stored. Then
    `on_decided(tape, first, last, decided_ns)` gets the sequences of the ticks that were evaluated.
    """

    def __init__(
        self,
        trader: Trader,
        client: OrderClient,
        news: StreamClient,
        evaluated: LastEvaluated,
        throttled_log: ThrottledLog,
        *,
        send: Callable[[list[bytes]], None],
        on_decided: Callable[[str, int, int, int], None],
        clock: Clock = time.monotonic_ns,
    ) -> None:
        self._trader = trader
        self._client = client
        self._news = news
        self._evaluated = evaluated
        self._throttled_log = throttled_log
        self._send = send
        self._on_decided = on_decided
        self._clock = clock
        self._pass_size = PassSize(
            takes_batches=trader.takes_batches, most=TICKS_A_PASS, most_single=MIN_BATCH_TICKS - 1
        )
        self._pace = SignalPace(self._count_waiting)
        self._log = structlog.get_logger()
        self._book: SharedPriceBook | None = None
        self._state = EvaluatorState.DETACHED
        self._refill = Refill(begin=0, end=0, began_ns=0)
        self._held = _Place("", 0)  # the newest tick in the book when the strategy attached
        self._laps = 0  # since the strategy attached, before anything was evaluated
        self._lapped_ns: int | None = None  # when the ring last lapped the evaluation
        self._tape_begins_behind = _Place("", 0)  # the tick before the first one read of this tape
        self._epoch = 0  # of the last tick that was read
        self._missed: _Missed | None = None
        self._applied: News | None = None
        self._logged_full = False

    def take_news(self, batches: list[Frames]) -> None:
        """Give the sentiments to the trader; count the frames that cannot be parsed."""
        frames = b"".join(batch.frames for batch in batches)
        malformed: dict[int, bytes] = {}
        for sequence, frame in enumerate(split(frames), batches[0].first):
            try:
                sentiment = parse_sentiment(frame)
            except ValueError:
                malformed[sequence] = frame
            else:
                self._trader.take_news(News(sentiment, sequence, self._news.tape or ""))
        if malformed:
            examples = starmap(malformed_sentiment, malformed.items())
            self._throttled_log.add_many(MalformedFrames, self._clock(), len(malformed), examples)

    def attach(self, book: SharedPriceBook) -> PriceBookReader:
        """Begin with a book: the ticks in it fill the windows, later ones are evaluated.

        Returns the reader to pass to `evaluate_all`, and to wait on.
        """
        self._book = book
        self._evaluated.begin_book(book.identity)
        self._end_plain_tape()
        self._laps = 0
        self._held = _Place("", 0)
        self._move(EvaluatorInput.ATTACHED)
        self._begin_refill()
        return book.reader(self._refill.begin)

    @property
    def is_ready(self) -> bool:
        """Whether the windows are filled, and nothing has been evaluated since."""
        return self._state is EvaluatorState.READY

    def _move(self, what: EvaluatorInput) -> None:
        """Go where the table of transitions leads."""
        following = TRANSITIONS[self._state].get(what)
        assert following, f"{what} cannot come in {self._state}"
        self._state = following

    def _begin_refill(self) -> None:
        """Refill from the ticks in the ring now; from half as many after each lap.

        A writer that is N times as fast as the refill does not lap a refill of an Nth of the ring.
        So the refill ends, at the latest when there is nothing left to refill from.

        Of two tapes only the newer one counts: the windows of the older one would be thrown away,
        and the signal would be constructed twice, which may take long.
        """
        assert self._book
        oldest, newest = self._book.reader(0).position, self._book.reader().position
        count = newest - oldest
        if oldest:
            count -= count // REFILL_MARGIN
        count >>= self._laps
        if newest:
            # Sequences count from 1. If some were left out, this reaches into the older tape.
            newest_ticks = self._book.reader(newest - 1).read(1).ticks
            count = min([count, *newest_ticks["sequence"].tolist()])
        self._refill_last(count, newest)

    def _refill_last(self, count: int, newest: int) -> None:
        """Empty the windows and begin to refill them, with the `count` ticks up to `newest`."""
        self._trader.begin_tape("")  # which may take long
        self._refill = Refill(newest - count, newest, self._clock())

    def evaluate_all(self, reader: PriceBookReader) -> bool:
        """Refill the windows, or evaluate the ticks that have come: one batch, one sentiment.

        A call takes as many ticks as fit into PASS_NS, and at least one. Returns whether there was
        nothing left to read.
        """
        if self._state is _EVALUATING or self._state not in _REFILLING:
            return self._evaluate_new(reader)
        before = reader.position, self._trader.tape
        self._refill_windows(reader)
        # No progress: the rest of the book is damaged.
        return self._state in _REFILLING and (reader.position, self._trader.tape) == before

    def _refill_windows(self, reader: PriceBookReader) -> None:
        """Refill for the time of one pass."""
        assert self._book
        refill = self._refill
        is_passing_over = reader.position < refill.begin
        left = (refill.begin if is_passing_over else refill.end) - reader.position
        if left > 0:
            # The signal does not see what is passed over, however slow it is.
            most = TICKS_A_PASS if is_passing_over else self._ticks_a_pass
            batch = reader.read(min(most, left))
            if batch.missed and not is_passing_over:
                self._restart_refill(batch.missed)
                refill = self._refill
            self._fill(reader, batch)
        if reader.position >= refill.end:
            self._move(EvaluatorInput.REFILLED)
            tape, sequence = self._held
            attached = Attached(
                price_book=self._book.name, refilled=self._refilled, tape=tape, sequence=sequence
            )
            log_event(self._log, attached)
        elif not refill.filled:
            return  # the pace of the signal is not known yet
        elif self._state is EvaluatorState.REFILLING and refill.can_be_judged(self._clock()):
            self._move(EvaluatorInput.JUDGED)
            self._shorten_refill(reader)
        elif self._clock() >= refill.log_ns:
            self._log_refill()

    def _shorten_refill(self, reader: PriceBookReader) -> None:
        """Begin again with the latest ticks only, if all of them would take too long."""
        assert self._book
        refill = self._refill
        of, tick_ns = refill.ticks, refill.tick_ns(self._clock())
        windows = len(self._book.symbols) * self._trader.long_window
        count = max(int(MAX_REFILL_NS / tick_ns), windows)
        if count >= of - refill.filled:
            return
        shortened = RefillShortened(
            ticks=count,
            of=of,
            signal_us=tick_ns / MICROSECOND_NS,
            reason=f"the signal takes {duration_text(int(tick_ns))} a tick: "
            f"it is given the last {count:,} of {of:,} ticks",
        )
        log_event(self._log, shortened)
        self._refill_last(count, refill.end)
        # Jump there: while the reader passed over the ticks in between, the ring could lap it.
        reader.return_to(self._refill.begin)

    def _log_refill(self) -> None:
        """Log the progress of the refill."""
        now_ns = self._clock()
        of, left_s = self._refill.ticks, self._refill.left_s(now_ns)
        self._refill.log_again(now_ns)
        takes_long = RefillTakesLong(
            refilled=self._refilled,
            of=of,
            left_s=round(left_s, 1),
            reason=f"{self._refilled:,} of {of:,} ticks, {left_s:.0f} s to go",
        )
        log_event(self._log, takes_long)

    @property
    def _refilled(self) -> int:
        return self._refill.filled

    @property
    def _ticks_a_pass(self) -> int:
        return min(TICKS_A_PASS, self._pass_size.ticks)

    def _restart_refill(self, missed: Span) -> None:
        """Restart the refill after a lap, so that the averages have no gap.

        The ticks that are never evaluated are logged with the first one that is.
        """
        if not self._laps:
            log_event(self._log, RefillBegunAnew(lapped_by=missed.last - missed.first + 1))
        self._laps += 1
        self._move(EvaluatorInput.LAPPED)
        self._begin_refill()

    def _fill(self, reader: PriceBookReader, batch: Batch) -> None:
        ticks = batch.ticks
        if not len(ticks):
            return
        first_position = int(ticks["position"][0])
        to_fill = ticks[ticks["position"] > self._refill.begin]
        if len(to_fill):
            before = int(to_fill["position"][0]) - 1
            self._take_ticks(reader, to_fill, self._fill_windows)
            self._refill.filled += reader.position - before
        if reader.position >= first_position:
            newest = ticks[reader.position - first_position]
            self._held = _Place(reader.tape(int(newest["epoch"])), int(newest["sequence"]))

    def _fill_windows(self, ticks: NDArray[np.void]) -> None:
        began_ns = self._clock()
        self._trader.refill(ticks)
        seen = self._trader.reached[POSITION] - int(ticks["position"][0]) + 1
        self._pass_size.passed(seen, self._clock() - began_ns)

    def _take_ticks(
        self,
        reader: PriceBookReader,
        ticks: NDArray[np.void],
        take: Callable[[NDArray[np.void]], None],
    ) -> None:
        """Pass ticks to `take`, tape by tape, for as long as a pass may last.

        The reader returns to the last one that was taken.
        """
        end_ns = self._clock() + PASS_NS
        position = int(ticks["position"][0]) - 1
        for tape, of_tape in _by_tape(reader, ticks):
            if tape != self._trader.tape:
                self._change_tape(tape, of_tape[0].tolist())  # which may take long
            if self._clock() < end_ns:
                take(of_tape[: self._ticks_a_pass])  # more were read where some were passed over
                position = self._trader.reached[POSITION]
            if position < of_tape["position"][-1] or self._clock() >= end_ns:
                break
        reader.return_to(position)

    def _evaluate_new(self, reader: PriceBookReader) -> bool:
        few: list[PlainTick] = []
        if self._state is _EVALUATING and self._missed is None:
            few = reader.read_few()
            if few and self._follows_on(few[0], few[-1]):
                self._evaluate(reader, few)
                return False
        batch = Batch(np.array(few, TICK), None) if few else reader.read(self._ticks_a_pass)
        if batch.missed:
            self._note_missed(batch.missed)
            if self._state is EvaluatorState.READY:
                self._restart_refill(batch.missed)
                if self._refill.ticks:
                    self._fill(reader, batch)
                    return False
                self._move(EvaluatorInput.REFILLED)  # with nothing: the windows begin empty
            elif self._state is _EVALUATING and self._is_lapped_again(batch.missed.first):
                self._pass_over_margin(reader, batch.missed.last)
                return False
        if self._missed and self._state is not EvaluatorState.READY and len(batch.ticks):
            self._log_lapped(reader, batch, self._missed)
        if not len(batch.ticks):
            if not batch.missed and self._pace.caught_up():
                self._log_pace()
            return not batch.missed
        ticks = batch.ticks
        if self._state is _EVALUATING and self._follows_on(ticks[0].tolist(), ticks[-1].tolist()):
            self._evaluate(reader, ticks)
        else:
            self._take_ticks(reader, ticks, partial(self._evaluate_unknown, reader))
        return False

    def _evaluate_unknown(self, reader: PriceBookReader, ticks: NDArray[np.void]) -> None:
        """Evaluate ticks of a tape; those that were evaluated before only fill the windows."""
        known = self._count_known(self._trader.tape, ticks)
        if known:
            end_ns = self._clock() + PASS_NS
            self._fill_windows(ticks[:known])
        if not known or (known < len(ticks) and self._clock() < end_ns):
            if self._state is not _EVALUATING:
                # The time of a tick without a sentiment does not predict that of one with it.
                self._pass_size.restart()
            self._evaluate(reader, ticks[known : known + self._ticks_a_pass])
        self._epoch = self._trader.reached[EPOCH]

    def _note_missed(self, missed: Span) -> None:
        """Remember ticks that were missed, to be logged with the next one that is evaluated."""
        if self._missed is None:
            self._missed = self._begin_missed()
        self._missed.ticks += missed.last - missed.first + 1

    def _begin_missed(self) -> _Missed:
        match self._state:
            case EvaluatorState.READY:
                return _Missed(0, self._held, self._refill.end)
            case EvaluatorState.NEW_TAPE:
                return _Missed(0, self._tape_begins_behind, None)
            case _:
                tape = self._trader.tape
                return _Missed(0, _Place(tape, self._evaluated.last(tape)), None)

    def _end_plain_tape(self) -> None:
        """Log the missed ticks of a plain stream when its book is left: no later book has them."""
        missed = self._missed
        if missed and missed.after.tape == PLAIN_TAPE and missed.after.sequence:
            behind = missed.unseen_behind
            ticks = missed.ticks if behind is None else self._refill.end - behind
            self._log_missed_in_ring(PLAIN_TAPE, missed.after.sequence + 1, None, ticks)
            self._missed = None

    def _is_lapped_again(self, missed_from: int) -> bool:
        """Whether the ring has lapped the evaluation for the second time in LAPPED_AGAIN_NS.

        Ticks that a killed writer destroyed are missed as well, but their places are still in the
        ring: that is no lap.
        """
        assert self._book
        if missed_from > self._book.reader(0).position:
            return False
        lapped_ns, self._lapped_ns = self._lapped_ns, self._clock()
        return lapped_ns is not None and self._lapped_ns - lapped_ns < LAPPED_AGAIN_NS

    def _pass_over_margin(self, reader: PriceBookReader, last_missed: int) -> None:
        """Skip the oldest part of the ring as well: there the writer would lap each further pass.

        So a signal that is too slow misses many ticks at once, now and then, and sees the ticks in
        between without a gap.
        """
        assert self._book
        assert self._missed
        oldest, newest = self._book.reader(0).position, self._book.reader().position
        begin = oldest + (newest - oldest) // REFILL_MARGIN
        self._missed.ticks += begin - last_missed
        reader.return_to(begin)

    def _follows_on(self, first: PlainTick, last: PlainTick) -> bool:
        """Whether all ticks from `first` to `last` are new, and of the epoch being evaluated."""
        if not first[EPOCH] == last[EPOCH] == self._epoch:
            return False
        return first[SEQUENCE] > self._evaluated.last(self._trader.tape)

    def _count_known(self, tape: str, ticks: NDArray[np.void]) -> int:
        """Return how many of the ticks were evaluated before, from an earlier book."""
        last = self._evaluated.last(tape)
        if ticks["sequence"][0] > last:
            return 0
        return int(np.searchsorted(ticks["sequence"], last, "right"))

    def _evaluate(self, reader: PriceBookReader, ticks: Ticks) -> None:
        """Evaluate ticks of the current tape, for as long as a pass may last.

        The reader returns to the last one that was evaluated.
        """
        now_ns = self._clock()
        trader = self._trader
        tape = trader.tape
        first_tick = ticks[0]
        first = int(first_tick[SEQUENCE])
        trader.heard_news(self._news.heard_ns)
        if self._state is not _EVALUATING:
            self._start_evaluation(tape, first, int(first_tick[POSITION]))
        news = trader.news_in_force(now_ns)
        if news != self._applied:
            self._apply_news(news, tape, first)
            ticks = ticks[: self._ticks_a_pass]
        decisions = trader.evaluate(ticks, now_ns, self._client.capacity)
        submit = self._client.submit
        frames = [submit(decision.order, now_ns) for decision in decisions] if decisions else []
        position, last, _price, sent_ns, _symbol, _epoch = trader.reached
        self._evaluated.store(tape, last)
        decided_ns = self._clock()
        if decisions:
            self._send(frames)
            self._log_orders(decisions)
        self._on_decided(tape, first, last, decided_ns)
        self._log_full()
        reader.return_to(position)
        count = position - int(first_tick[POSITION]) + 1
        self._pass_size.passed(count, decided_ns - now_ns)
        if self._pace.evaluated(count, now_ns, decided_ns, sent_ns):
            self._log_pace()

    def _count_waiting(self) -> int:
        assert self._book
        return self._book.reader().position - self._trader.reached[POSITION]

    def _log_pace(self) -> None:
        """Log that the signal does not keep up with the ticks, or does again."""
        too_slow = self._pace.too_slow
        if too_slow is None:
            log_event(self._log, SignalKeepsUp())
            return
        is_too_old = self._trader.is_too_old(too_slow.behind_ns)
        event = SignalTooSlow(
            signal_us=too_slow.signal_ns / MICROSECOND_NS,
            tick_interval_us=too_slow.tick_interval_ns / MICROSECOND_NS,
            behind_s=round(too_slow.behind_ns / SECOND_NS, 1),
            reason=f"{too_slow}{'; no orders, as the ticks are too old' if is_too_old else ''}",
        )
        log_event(self._log, event)

    def _change_tape(self, tape: str, first: PlainTick) -> None:
        """Begin another tape. The pass may end here, before any of its ticks is evaluated."""
        self._trader.begin_tape(tape)
        self._move(EvaluatorInput.TAPE_CHANGED)
        self._tape_begins_behind = _Place(tape, first[SEQUENCE] - 1)
        self._epoch = first[EPOCH]

    def _start_evaluation(self, tape: str, first: int, position: int) -> None:
        """Log the first tick of a tape that is evaluated, and the ticks that are missing before it.

        `position` is the position of that tick.
        """
        self._move(EvaluatorInput.FIRST_TICK)
        last = self._evaluated.last(tape)
        log_event(
            self._log, EvaluationStarted(tape=tape, last_evaluated=last, first_evaluated=first)
        )
        unseen_from = last + 1 if last else first
        if self._missed:
            # All ticks after the newest one at the time of attaching were to be evaluated.
            missed_tape, missed_after = self._missed.after
            ended = self._missed.ticks
            if self._missed.unseen_behind is not None:
                ended = position - 1 - self._missed.unseen_behind - (first - 1)
            if missed_tape != tape and ended:
                self._log_missed_in_ring(missed_tape, missed_after + 1, None, max(0, ended))
            if not last:
                unseen_from = missed_after + 1 if missed_tape == tape else 1
            self._missed = None
        if unseen_from < first:
            missed = TicksMissed(first=unseen_from, last=first - 1, where="strategy", tape=tape)
            log_event(self._log, missed)

    def _log_lapped(self, reader: PriceBookReader, batch: Batch, missed: _Missed) -> None:
        """Log the ticks that the ring no longer had, one line for each tape among them.

        For tapes that have ended only the sum is known; the first line has all of it. If the newest
        tape lost as many ticks as were missed, the others lost none.
        """
        next_tick = batch.ticks[0]
        sequence, epoch = int(next_tick["sequence"]), int(next_tick["epoch"])
        tape, first = missed.after.tape, missed.after.sequence + 1
        later = [reader.tape(number) for number in range(self._epoch + 1, epoch + 1)]
        ended = rest = missed.ticks - (sequence - 1)
        for next_tape in later:
            if ended:
                self._log_missed_in_ring(tape, first, None, max(0, rest))
            tape, first, rest = next_tape, 1, 0
        if first < sequence:
            self._log_missed_in_ring(tape, first, sequence - 1, sequence - first)
        self._missed = None

    def _log_missed_in_ring(self, tape: str, first: int, last: int | None, ticks: int) -> None:
        log_event(
            self._log, TicksLapped(first=first, last=last, where="ring", tape=tape, ticks=ticks)
        )

    def _apply_news(self, news: News | None, tape: str, first: int) -> None:
        """Log news when the first tick is evaluated with it."""
        if (news is None) != (self._applied is None):
            # Many signals need no time without a sentiment, so their pace has to be measured again.
            self._pass_size.restart()
        self._applied = news
        if news:
            applied = NewsApplied(
                sentiment=news.sentiment,
                sequence=news.sequence,
                first_tick_sequence=first,
                tape=tape,
            )
            log_event(self._log, applied)
        else:
            log_event(self._log, NewsSilent(first_tick_sequence=first, tape=tape))

    def _log_orders(self, decisions: list[Decision]) -> None:
        now_ns = self._clock()
        for order, tick_sent_ns, sentiment, explanation in decisions:
            sent = OrderSent(
                order_id=order.order_id,
                symbol=order.symbol,
                side=order.side,
                quantity=order.quantity,
                price=to_float(order.price),
                tape=order.tape or "",
                tick_sequence=order.tick_sequence or 0,
                sentiment=sentiment,
                latency_us=(now_ns - tick_sent_ns) // 1000,
            )
            log_event(self._log, sent, more=explanation)

    def _log_full(self) -> None:
        """Log when too many orders are unanswered to decide anything, and when that is over."""
        if self._client.full != self._logged_full:
            self._logged_full = self._client.full
            event = DecidingStopped if self._logged_full else DecidingResumed
            log_event(self._log, event(unanswered=len(self._client.unanswered)))


def _by_tape(
    reader: PriceBookReader, ticks: NDArray[np.void]
) -> Iterator[tuple[str, NDArray[np.void]]]:
    """Cut a batch where a new epoch, and so a new tape, begins."""
    if not len(ticks):
        return
    epochs = ticks["epoch"]
    cuts = [] if epochs[0] == epochs[-1] else (np.flatnonzero(np.diff(epochs)) + 1).tolist()
    for begin, end in zip([0, *cuts], [*cuts, len(ticks)], strict=True):
        yield reader.tape(int(epochs[begin])), ticks[begin:end]
