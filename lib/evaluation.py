"""The evaluation of ticks: every tick of the price book, in order, exactly once.

What a tick means is `lib.trader`'s and the signal's business. Here is what must hold around that,
in the life of one strategy and from one life to the next: the windows are refilled from the ring,
ticks that a predecessor has evaluated are not evaluated again, those that nobody has are told by
number, a new tape begins with empty windows; and the one number that must survive a crash, the
last tick that was evaluated. It is stored after the ticks have been evaluated and before their
orders leave, so that no order can come from a tick that a successor takes for unseen.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import structlog
from numpy.typing import NDArray

from lib.clock import Clock
from lib.framing import split
from lib.order_client import OrderClient
from lib.prices import to_float
from lib.shared_memory_utils import READ_TICKS, Batch, PriceBookReader
from lib.state_file import create_state, open_state
from lib.stream_client import Frames, StreamClient
from lib.tally import Tally
from lib.tick_codec import parse_sentiment
from lib.trader import Decision, News, Trader


class Evaluator:
    """Leads ticks and news to the trader, and its decisions to `send`. One a strategy.

    `send(frames)` takes what the order client made of new orders.
    """

    def __init__(
        self,
        trader: Trader,
        client: OrderClient,
        news: StreamClient,
        evaluated: LastEvaluated,
        tally: Tally,
        *,
        send: Callable[[list[bytes]], None],
        clock: Clock = time.monotonic_ns,
    ) -> None:
        self._trader = trader
        self._client = client
        self._news = news
        self._evaluated = evaluated
        self._tally = tally
        self._send = send
        self._clock = clock
        self._log = structlog.get_logger()
        self._evaluating = False  # of this tape, a tick has been evaluated
        self._applied: News | None = None
        self._said_full = False

    def take_news(self, event: Frames) -> None:
        """Only the last sentiment is in force, but each one is looked at."""
        for sequence, frame in enumerate(split(event.frames), event.first):
            try:
                sentiment = parse_sentiment(frame)
            except ValueError:
                self._tally.add("malformed_frames", self._clock(), [sequence])
            else:
                self._trader.take_news(News(sentiment, sequence, self._news.tape or ""))

    def refill(self, reader: PriceBookReader, attached_at: int) -> int:
        """Fill the windows from a book's ring up to a position. Returns with how many ticks.

        `reader` begins where the ring does; what it reads from then on is to be evaluated.
        """
        refilled = 0
        self._evaluating = False
        self._trader.begin_tape("")
        while (left := attached_at - reader.position) > 0:
            batch = reader.read(min(READ_TICKS, left))
            if reader.position == attached_at - left:
                break  # a damaged header: nothing can be read
            for tape, ticks in _by_tape(reader, batch.ticks):
                self._change_tape(tape)
                self._trader.refill(ticks)
                refilled += len(ticks)
        return refilled

    def evaluate_all(self, reader: PriceBookReader) -> None:
        """Evaluate everything that has come, as one batch: many ticks, one look at the news."""
        batch = reader.read(READ_TICKS)
        if batch.missed:
            self._tell_lapped(reader, batch)
        for tape, ticks in _by_tape(reader, batch.ticks):
            self._change_tape(tape)
            known = self._known(tape, ticks)
            if known:
                self._trader.refill(ticks[:known])
            if known < len(ticks):
                self._evaluate(tape, ticks[known:])

    def _known(self, tape: str, ticks: NDArray[np.void]) -> int:
        """How many of the ticks were evaluated before, from a book that this one replaced."""
        last = self._evaluated.last(tape)
        if ticks["sequence"][0] > last:
            return 0
        return int(np.searchsorted(ticks["sequence"], last, "right"))

    def _evaluate(self, tape: str, ticks: NDArray[np.void]) -> None:
        now_ns = self._clock()
        first, last = int(ticks["sequence"][0]), int(ticks["sequence"][-1])
        self._trader.heard_news(self._news.heard_ns)
        self._tell_start(tape, first)
        self._tell_news(tape, first, now_ns)
        decisions = []
        frames = []
        for decision in self._trader.evaluate(ticks, now_ns):
            decisions.append(decision)
            frames.append(self._client.submit(decision.order, now_ns))
        self._evaluated.store(tape, last)
        if decisions:
            self._send(frames)
            self._tell_orders(decisions)
        self._tell_full()

    def _change_tape(self, tape: str) -> None:
        if tape != self._trader.tape:
            self._trader.begin_tape(tape)
            self._evaluating = False

    def _tell_start(self, tape: str, first: int) -> None:
        """Log the first tick of a tape that is evaluated, and which it does not follow on."""
        if self._evaluating:
            return
        self._evaluating = True
        last = self._evaluated.last(tape)
        self._log.info("evaluation_started", tape=tape, last_evaluated=last, first_evaluated=first)
        if 0 < last < first - 1:
            self._log.warning(
                "ticks_missed", first=last + 1, last=first - 1, where="strategy", tape=tape
            )

    def _tell_lapped(self, reader: PriceBookReader, batch: Batch) -> None:
        """Log which ticks the ring no longer had. Where another tape began, they are of both."""
        assert batch.missed
        tape, first = self._trader.tape, self._evaluated.last(self._trader.tape) + 1
        gaps: list[tuple[str, int, int | None]] = [(tape, first, None)]
        if len(batch.ticks):
            _, sequence, *_, epoch = batch.ticks[0].tolist()
            new_tape = reader.tape(epoch)
            if new_tape == tape:
                gaps = [(tape, first, sequence - 1)]
            elif sequence > 1:
                gaps.append((new_tape, 1, sequence - 1))
        for tape, first, last in gaps:
            self._log.error(
                "ticks_missed",
                first=first,
                last=last,
                where="ring",
                tape=tape,
                ticks=batch.missed[1] - batch.missed[0] + 1,
            )

    def _tell_news(self, tape: str, first: int, now_ns: int) -> None:
        """Log the news once it has met a tick."""
        news = self._trader.news_in_force(now_ns)
        if news == self._applied:
            return
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
    """The last tick that was evaluated, kept where a crash does not reach it."""

    def __init__(self, path: Path) -> None:
        """Continue the file at `path`, or make it. Raises OSError if it cannot be written."""
        self._path = path
        self._state = open_state(path, word_count=1) or create_state(path, {"tape": ""}, [0])
        self._last = (self._state.header.get("tape"), self._state.words[0])
        self._told_failure = ""

    def last(self, tape: str) -> int:
        """The sequence of the last tick of `tape` that was evaluated, 0 if none was."""
        last_tape, sequence = self._last
        return sequence if last_tape == tape else 0

    def store(self, tape: str, sequence: int) -> None:
        """Remember a tick as evaluated.

        The first one of a tape needs a new file. While that cannot be written, trading goes on and
        the log says what is lacking: a successor will not know which ticks it has not seen.
        """
        self._last = (tape, sequence)
        if self._state.header.get("tape") == tape:
            self._state.words[0] = sequence
            return
        try:
            self._state = create_state(self._path, {"tape": tape}, [sequence])
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
