"""The evaluation of ticks: every tick of the price book, in order, exactly once.

What a tick means is `lib.trading.trader`'s and the signal's business. Here is what must hold around
that, in the life of one strategy and from one life to the next: the windows are refilled from the
ring, ticks that a predecessor has evaluated are not evaluated again, those that nobody has are told
by number, a new tape begins with empty windows; and the one number that must survive a crash, the
last tick that was evaluated. It is stored after the ticks have been evaluated and before their
orders leave, so that no order can come from a tick that a successor takes for unseen.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import starmap
from pathlib import Path
from typing import Final

import numpy as np
import structlog
from numpy.typing import NDArray

from lib.clock import MICROSECOND_NS, SECOND_NS, Clock
from lib.net.throttled_log import ThrottledLog
from lib.prices import to_float
from lib.process.state_file import create_state, open_state
from lib.shared_memory_utils import Batch, PriceBookReader, SharedPriceBook
from lib.streams.client import Frames, StreamClient
from lib.trading.order_client import OrderClient
from lib.trading.signal_pace import PASS_NS, PassSize, SignalPace, duration_text
from lib.trading.trader import MIN_BATCH_TICKS, Decision, News, Trader
from lib.wire.framing import split
from lib.wire.malformed_frames import malformed_sentiment
from lib.wire.tick_codec import parse_sentiment
from lib.wire.ticks import PLAIN_TAPE, TICK, PlainTick, Ticks

TICKS_A_PASS: Final = 16_384
"""No call takes more, however quick the signal is. (In smaller slices, one that takes batches would
pay for it: a tenth of its speed at a quarter of this.) What bounds a pass is its time, see
`lib.trading.signal_pace`: so the loop comes round and the process gives its signs of life, also
when a signal that needs a second for some ticks has a whole ring to see."""
SAY_REFILL_NS: Final = 5 * SECOND_NS
"""How often a refill that takes long says how far it is."""
REFILL_MARGIN: Final = 8
"""Of a ring that has come round, the oldest eighth is not refilled from: the writer is there."""
JUDGE_REFILL_NS: Final = 1 * SECOND_NS
"""After so long it is known how long a refill will take."""
MAX_REFILL_NS: Final = 5 * SECOND_NS
"""It should take no longer: the longer it takes, the more ticks wait, and are too old to trade on
when they are evaluated. A signal that is too slow for the whole ring is given the latest part."""
LAPPED_AGAIN_NS: Final = 10 * SECOND_NS
"""Lapped twice within this, a signal is slower than the ticks come."""


_POSITION, _SEQUENCE, _EPOCH = 0, 1, 5
"""Where they are in a plain tick."""

_Place = tuple[str, int]
"""A tape, and the sequence of one of its ticks; 0 before the first."""


class Evaluator:
    """Leads ticks and news to the trader, and its decisions to `send`. One a strategy.

    `send(frames)` takes what the order client made of new orders. Before that,
    `on_decided(tape, first, last, decided_ns)` is told which ticks have been evaluated.
    """

    def __init__(
        self,
        trader: Trader,
        client: OrderClient,
        news: StreamClient,
        evaluated: LastEvaluated,
        tally: ThrottledLog,
        *,
        send: Callable[[list[bytes]], None],
        on_decided: Callable[[str, int, int, int], None],
        clock: Clock = time.monotonic_ns,
    ) -> None:
        self._trader = trader
        self._client = client
        self._news = news
        self._evaluated = evaluated
        self._tally = tally
        self._send = send
        self._on_decided = on_decided
        self._clock = clock
        self._pass_size = PassSize(
            takes_batches=trader.takes_batches, most=TICKS_A_PASS, most_single=MIN_BATCH_TICKS - 1
        )
        self._pace = SignalPace(self._count_waiting)
        self._log = structlog.get_logger()
        self._book: SharedPriceBook | None = None
        self._refilling = False
        self._refilled = 0
        self._refill_began_ns = 0
        self._refill_judged = False
        self._say_refill_ns = 0
        self._refill_from = 0  # up to this position of the book, ticks are passed over
        self._attached_at = 0  # from there up to this one, they only fill the windows
        self._held: _Place = ("", 0)  # the newest tick that the book had then
        self._laps = 0  # of the ring, since it attached, before anything was evaluated
        # Since it attached, a tick has been evaluated. Until then a lap restarts the refill.
        self._has_evaluated = False
        self._lapped_ns: int | None = None  # when it last was, while it evaluated
        self._evaluating = False  # of this tape, a tick has been evaluated
        self._tape_begins_behind: _Place = ("", 0)  # what we read of this tape begins there
        self._epoch = 0  # of the last tick that was read
        self._missed = 0  # ticks that the ring no longer had, and that are not told yet
        self._missed_after: _Place = ("", 0)
        self._unseen_behind: int | None = None  # this position; None if all are in `_missed`
        self._applied: News | None = None
        self._said_full = False

    def take_news(self, batches: list[Frames]) -> None:
        """Only the last sentiment is in force, but each one is looked at."""
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
            self._tally.add_many("malformed_frames", self._clock(), len(malformed), examples)

    def attach(self, book: SharedPriceBook) -> PriceBookReader:
        """Begin with a book: what it holds now fills the windows, what comes is evaluated.

        Returns the reader to give to `evaluate_all`, and to wait on.
        """
        self._book = book
        self._evaluated.begin_book(book.identity)
        self._end_plain_tape()
        self._laps = 0
        self._held = ("", 0)
        self._begin_refill()
        return book.reader(self._refill_from)

    def _begin_refill(self) -> None:
        """Refill from what the ring has now: from half as much with each lap.

        A writer that is N times as fast as the refill does not lap it where it takes an Nth of
        the ring. So it ends, at the latest when there is nothing left to refill from.

        Of two tapes only the newer one counts: the windows of the older one would be thrown away,
        and the signal made twice, which may take long.
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
        self._attached_at = newest
        self._refilling = True
        self._refill_judged = False
        self._refill_from_last(count)
        self._has_evaluated = False
        self._evaluating = False

    def _refill_from_last(self, count: int) -> None:
        """Begin to refill, with empty windows, from the last `count` ticks before it attached."""
        self._refill_from = self._attached_at - count
        self._trader.begin_tape("")
        self._refilled = 0
        self._refill_began_ns = self._clock()
        self._say_refill_ns = self._refill_began_ns + SAY_REFILL_NS

    def evaluate_all(self, reader: PriceBookReader) -> bool:
        """Evaluate what has come, as one batch: many ticks, one look at the news.

        Before that, the windows are refilled. A call takes as many ticks as fit into PASS_NS, and
        at least one. Returns whether there was nothing left to read.
        """
        if not self._refilling:
            return self._evaluate_new(reader)
        before = reader.position, self._trader.tape
        self._refill(reader)
        # Nothing is left in a book that is damaged.
        return self._refilling and (reader.position, self._trader.tape) == before

    def _refill(self, reader: PriceBookReader) -> None:
        assert self._book
        is_passing_over = reader.position < self._refill_from
        left = (self._refill_from if is_passing_over else self._attached_at) - reader.position
        if left > 0:
            # The signal does not see what is passed over, however slow it is.
            most = TICKS_A_PASS if is_passing_over else self._ticks_a_pass
            batch = reader.read(min(most, left))
            if batch.missed and not is_passing_over:
                self._refill_anew(batch.missed)
            self._fill(reader, batch)
        if reader.position >= self._attached_at:
            self._refilling = False
            tape, sequence = self._held
            self._log.info(
                "attached",
                price_book=self._book.name,
                refilled=self._refilled,
                tape=tape,
                sequence=sequence,
            )
        elif not self._refilled:
            return  # nothing can be said yet of how long it will take
        elif not self._refill_judged and self._clock() >= self._refill_began_ns + JUDGE_REFILL_NS:
            self._refill_judged = True
            self._shorten_refill(reader)
        elif self._clock() >= self._say_refill_ns:
            self._log_refill()

    def _shorten_refill(self, reader: PriceBookReader) -> None:
        """Begin anew with the latest ticks only, where all would take too long."""
        assert self._book
        tick_ns = (self._clock() - self._refill_began_ns) / self._refilled
        of = self._attached_at - self._refill_from
        windows = len(self._book.symbols) * self._trader.long_window
        count = max(int(MAX_REFILL_NS / tick_ns), windows)
        if count >= of - self._refilled:
            return
        self._log.warning(
            "refill_shortened",
            ticks=count,
            of=of,
            signal_us=tick_ns / MICROSECOND_NS,
            reason=f"the signal takes {duration_text(int(tick_ns))} a tick: "
            f"it is given the last {count:,} of {of:,} ticks",
        )
        self._refill_from_last(count)
        # Not read past: the ring could lap us there, and what follows would be taken for refilled.
        reader.return_to(self._refill_from)

    def _log_refill(self) -> None:
        """Log how far the refill is."""
        now_ns = self._clock()
        self._say_refill_ns = now_ns + SAY_REFILL_NS
        of = self._attached_at - self._refill_from
        took_s = (now_ns - self._refill_began_ns) / SECOND_NS
        left_s = took_s * (of - self._refilled) / self._refilled
        self._log.warning(
            "refill_takes_long",
            refilled=self._refilled,
            of=of,
            left_s=round(left_s, 1),
            reason=f"{self._refilled:,} of {of:,} ticks, {left_s:.0f} s to go",
        )

    @property
    def _ticks_a_pass(self) -> int:
        return min(TICKS_A_PASS, self._pass_size.ticks)

    def _refill_anew(self, missed: tuple[int, int]) -> None:
        """Lapped before anything was evaluated: the windows shall have no hole.

        Which ticks nobody evaluated is told with the first one that is.
        """
        if not self._laps:
            self._log.warning("refill_begun_anew", lapped_by=missed[1] - missed[0] + 1)
        self._laps += 1
        self._begin_refill()

    def _fill(self, reader: PriceBookReader, batch: Batch) -> None:
        if not len(batch.ticks):
            return
        to_fill = batch.ticks[batch.ticks["position"] > self._refill_from]
        if len(to_fill):
            before = int(to_fill["position"][0]) - 1
            self._take(reader, to_fill, self._fill_windows)
            self._refilled += reader.position - before
        if reader.position >= batch.ticks["position"][0]:
            newest = batch.ticks[reader.position - int(batch.ticks["position"][0])]
            self._held = reader.tape(int(newest["epoch"])), int(newest["sequence"])

    def _fill_windows(self, ticks: NDArray[np.void]) -> None:
        began_ns = self._clock()
        self._trader.refill(ticks)
        seen = self._trader.reached[_POSITION] - int(ticks["position"][0]) + 1
        self._pass_size.passed(seen, self._clock() - began_ns)

    def _take(
        self,
        reader: PriceBookReader,
        ticks: NDArray[np.void],
        take: Callable[[NDArray[np.void]], None],
    ) -> None:
        """Lead ticks to `take`, tape by tape, for as long as a pass may last.

        The reader returns to the last one that was taken.
        """
        end_ns = self._clock() + PASS_NS
        position = int(ticks["position"][0]) - 1
        for tape, of_tape in _by_tape(reader, ticks):
            if tape != self._trader.tape:
                self._change_tape(tape, of_tape[0].tolist())  # which may take long
            if self._clock() < end_ns:
                take(of_tape[: self._ticks_a_pass])  # more were read where some were passed over
                position = self._trader.reached[_POSITION]
            if position < of_tape["position"][-1] or self._clock() >= end_ns:
                break
        reader.return_to(position)

    def _evaluate_new(self, reader: PriceBookReader) -> bool:
        few = reader.read_few() if self._evaluating and not self._missed else []
        if few and self._follows_on(few[0], few[-1]):
            self._evaluate(reader, few)
            return False
        batch = Batch(np.array(few, TICK), None) if few else reader.read(self._ticks_a_pass)
        if batch.missed:
            self._note_missed(batch.missed)
            if not self._has_evaluated:
                self._refill_anew(batch.missed)
                if self._refill_from < self._attached_at:
                    self._fill(reader, batch)
                    return False
                self._refilling = False  # there is nothing to refill from: the windows begin empty
            elif self._evaluating and self._is_lapped_again(batch.missed[0]):
                self._pass_over_margin(reader, batch.missed[1])
                return False
        if self._missed and self._has_evaluated and len(batch.ticks):
            self._tell_lapped(reader, batch)
        if not len(batch.ticks):
            if not batch.missed and self._pace.caught_up():
                self._log_pace()
            return not batch.missed
        if self._evaluating and self._follows_on(batch.ticks[0].tolist(), batch.ticks[-1].tolist()):
            self._evaluate(reader, batch.ticks)
        else:
            self._take(reader, batch.ticks, partial(self._evaluate_unknown, reader))
        return False

    def _evaluate_unknown(self, reader: PriceBookReader, ticks: NDArray[np.void]) -> None:
        """Evaluate ticks of a tape; those that were evaluated before only fill the windows."""
        known = self._known(self._trader.tape, ticks)
        if known:
            end_ns = self._clock() + PASS_NS
            self._fill_windows(ticks[:known])
        if not known or (known < len(ticks) and self._clock() < end_ns):
            if not self._evaluating:
                # What a tick took without a sentiment says nothing of one with it.
                self._pass_size.begin_anew()
            self._evaluate(reader, ticks[known : known + self._ticks_a_pass])
        self._epoch = self._trader.reached[_EPOCH]

    def _note_missed(self, missed: tuple[int, int]) -> None:
        """Remember what is to be told with the next tick that is evaluated."""
        if not self._missed:
            if not self._has_evaluated:
                self._missed_after, self._unseen_behind = self._held, self._attached_at
            else:
                tape = self._trader.tape
                last = (tape, self._evaluated.last(tape))
                self._missed_after = last if self._evaluating else self._tape_begins_behind
                self._unseen_behind = None
        self._missed += missed[1] - missed[0] + 1

    def _end_plain_tape(self) -> None:
        """Log which ticks of a plain stream are missing in the book before: no other has them."""
        tape, after = self._missed_after
        if self._missed and tape == PLAIN_TAPE and after:
            behind = self._unseen_behind
            ticks = self._missed if behind is None else self._attached_at - behind
            self._tell_missed_in_ring(tape, after + 1, None, ticks)
            self._missed = 0

    def _is_lapped_again(self, missed_from: int) -> bool:
        """Whether the ring has lapped an evaluation that it has lapped a moment ago.

        (What a killed writer has destroyed is missed as well, and lies within the ring.)
        """
        assert self._book
        if missed_from > self._book.reader(0).position:
            return False
        lapped_ns, self._lapped_ns = self._lapped_ns, self._clock()
        return lapped_ns is not None and self._lapped_ns - lapped_ns < LAPPED_AGAIN_NS

    def _pass_over_margin(self, reader: PriceBookReader, last_missed: int) -> None:
        """Miss the oldest part of the ring as well: the writer would lap us there in each pass.

        So a signal that is too slow misses many ticks now and then, and sees what is between them
        without a gap.
        """
        assert self._book
        oldest, newest = self._book.reader(0).position, self._book.reader().position
        begin = oldest + (newest - oldest) // REFILL_MARGIN
        self._missed += begin - last_missed
        reader.return_to(begin)

    def _follows_on(self, first: PlainTick, last: PlainTick) -> bool:
        """Whether all from one to the other are of the epoch that is being evaluated, and new."""
        return first[_EPOCH] == last[_EPOCH] == self._epoch and first[
            _SEQUENCE
        ] > self._evaluated.last(self._trader.tape)

    def _known(self, tape: str, ticks: NDArray[np.void]) -> int:
        """How many of the ticks were evaluated before, from a book that this one replaced."""
        last = self._evaluated.last(tape)
        if ticks["sequence"][0] > last:
            return 0
        return int(np.searchsorted(ticks["sequence"], last, "right"))

    def _evaluate(self, reader: PriceBookReader, ticks: Ticks) -> None:
        """Evaluate ticks of the tape that is played, as far as the time of a pass goes.

        The reader returns to the last one that was evaluated.
        """
        now_ns = self._clock()
        trader = self._trader
        tape = trader.tape
        first_tick = ticks[0]
        first = int(first_tick[_SEQUENCE])
        trader.heard_news(self._news.heard_ns)
        if not self._evaluating:
            self._tell_start(tape, first, int(first_tick[_POSITION]))
        news = trader.news_in_force(now_ns)
        if news != self._applied:
            self._apply_news(news, tape, first)
            ticks = ticks[: self._ticks_a_pass]
        decisions = []
        frames = []
        for decision in trader.evaluate(ticks, now_ns):
            decisions.append(decision)
            frames.append(self._client.submit(decision.order, now_ns))
        position, last, _, sent_ns, _, _ = trader.reached
        self._evaluated.store(tape, last)
        decided_ns = self._clock()
        if decisions:
            self._send(frames)
            self._tell_orders(decisions)
        self._on_decided(tape, first, last, decided_ns)
        self._tell_full()
        reader.return_to(position)
        count = position - int(first_tick[_POSITION]) + 1
        self._pass_size.passed(count, decided_ns - now_ns)
        if self._pace.evaluated(count, now_ns, decided_ns, sent_ns):
            self._log_pace()

    def _count_waiting(self) -> int:
        assert self._book
        return self._book.reader().position - self._trader.reached[_POSITION]

    def _log_pace(self) -> None:
        """Log that the signal does not keep up with the ticks, or does again."""
        too_slow = self._pace.too_slow
        if too_slow is None:
            self._log.warning("signal_keeps_up")
            return
        is_too_old = self._trader.is_too_old(too_slow.behind_ns)
        self._log.warning(
            "signal_too_slow",
            signal_us=too_slow.signal_ns / MICROSECOND_NS,
            tick_interval_us=too_slow.tick_interval_ns / MICROSECOND_NS,
            behind_s=round(too_slow.behind_ns / SECOND_NS, 1),
            reason=f"{too_slow}{'; no orders, as the ticks are too old' if is_too_old else ''}",
        )

    def _change_tape(self, tape: str, first: PlainTick) -> None:
        """Begin with another tape. The pass may end here, and the ring lap us before the next."""
        self._trader.begin_tape(tape)
        self._evaluating = False
        self._tape_begins_behind = tape, first[_SEQUENCE] - 1
        self._epoch = first[_EPOCH]

    def _tell_start(self, tape: str, first: int, position: int) -> None:
        """Log the first tick of a tape that is evaluated, and which it does not follow on."""
        self._has_evaluated = self._evaluating = True
        last = self._evaluated.last(tape)
        self._log.info("evaluation_started", tape=tape, last_evaluated=last, first_evaluated=first)
        unseen_from = last + 1 if last else first
        if self._missed:
            # Behind the tick that the book held when we attached, everything was to be evaluated.
            missed_tape, missed_after = self._missed_after
            ended = self._missed
            if self._unseen_behind is not None:
                ended = position - 1 - self._unseen_behind - (first - 1)
            if missed_tape != tape and ended:
                self._tell_missed_in_ring(missed_tape, missed_after + 1, None, max(0, ended))
            if not last:
                unseen_from = missed_after + 1 if missed_tape == tape else 1
            self._missed = 0
        if unseen_from < first:
            self._log.warning(
                "ticks_missed", first=unseen_from, last=first - 1, where="strategy", tape=tape
            )

    def _tell_lapped(self, reader: PriceBookReader, batch: Batch) -> None:
        """Log which ticks the ring no longer had: of each tape there was meanwhile.

        How many of a tape that ended is not known of each; the first such line has them all. But
        where the last tape has lost as many as there were, the others lack nothing.
        """
        _, sequence, *_, epoch = batch.ticks[0].tolist()
        tape, evaluated = self._missed_after
        first = evaluated + 1
        later = [reader.tape(number) for number in range(self._epoch + 1, epoch + 1)]
        ended = rest = self._missed - (sequence - 1)
        for next_tape in later:
            if ended:
                self._tell_missed_in_ring(tape, first, None, max(0, rest))
            tape, first, rest = next_tape, 1, 0
        if first < sequence:
            self._tell_missed_in_ring(tape, first, sequence - 1, sequence - first)
        self._missed = 0

    def _tell_missed_in_ring(self, tape: str, first: int, last: int | None, ticks: int) -> None:
        self._log.error(
            "ticks_missed", first=first, last=last, where="ring", tape=tape, ticks=ticks
        )

    def _apply_news(self, news: News | None, tape: str, first: int) -> None:
        """Log the news once it has met a tick."""
        if (news is None) != (self._applied is None):
            # Many signals need no time without a sentiment: what they needed says nothing now.
            self._pass_size.begin_anew()
        self._applied = news
        if news:
            self._log.info(
                "news_applied",
                sentiment=news.sentiment,
                sequence=news.sequence,
                first_tick_sequence=first,
                tape=tape,
            )
        else:
            self._log.warning("news_silent", first_tick_sequence=first, tape=tape)

    def _tell_orders(self, decisions: list[Decision]) -> None:
        now_ns = self._clock()
        for order, tick_sent_ns, sentiment, explanation in decisions:
            self._log.info(
                "order_sent",
                order_id=order.order_id,
                symbol=order.symbol,
                side=order.side,
                quantity=order.quantity,
                price=to_float(order.price),
                tape=order.tape,
                tick_sequence=order.tick_sequence,
                sentiment=sentiment,
                **explanation,
                latency_us=(now_ns - tick_sent_ns) // 1000,
            )

    def _tell_full(self) -> None:
        """Say when too many orders are unanswered to decide anything, and when that is over."""
        if self._client.full != self._said_full:
            self._said_full = self._client.full
            event = "deciding_stopped" if self._said_full else "deciding_resumed"
            self._log.warning(event, unanswered=len(self._client.unanswered))


class LastEvaluated:
    """The last tick that was evaluated, kept where a crash does not reach it.

    A file with one word, the tick's sequence; its tape is in the header, and so is the identity of
    the price book, for a plain stream.
    """

    def __init__(self, path: Path) -> None:
        """Continue the file at `path`, or make it. Raises OSError if it cannot be written."""
        self._path = path
        self._state = open_state(path, word_count=1) or create_state(path, {"tape": ""}, [0])
        self._last = (self._state.header.get("tape"), self._state.words[0])
        self._book = self._state.header.get("book")
        self._told_failure = ""

    def last(self, tape: str) -> int:
        """The sequence of the last tick of `tape` that was evaluated, 0 if none was."""
        last_tape, sequence = self._last
        return sequence if last_tape == tape else 0

    def begin_book(self, identity: int) -> None:
        """The ticks to come are of this price book.

        A plain stream has no tape, so its ticks are numbered anew in each book: what was evaluated
        of another book's says nothing of them.
        """
        is_another, self._book = identity != self._book, identity
        if is_another and self._last[0] == PLAIN_TAPE:
            self._last = (PLAIN_TAPE, 0)
            self._begin_file()

    def store(self, tape: str, sequence: int) -> None:
        """Remember a tick as evaluated.

        The first one of a tape needs a new file. While that cannot be written, trading goes on and
        the log says what is lacking: a successor will not know which ticks it has not seen.
        """
        self._last = (tape, sequence)
        if self._state.header.get("tape") == tape:
            self._state.words[0] = sequence
        else:
            self._begin_file()

    def _begin_file(self) -> None:
        tape, sequence = self._last
        try:
            header = {"tape": tape, "book": self._book}
            self._state = create_state(self._path, header, [sequence])
            self._told_failure = ""
        except OSError as error:
            if error.strerror != self._told_failure:
                self._told_failure = str(error.strerror)
                structlog.get_logger().error(
                    "state_not_written", path=str(self._path), reason=error.strerror
                )


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
