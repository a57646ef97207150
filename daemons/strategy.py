"""Strategy: reads every tick from the price book, follows the news, sends orders.

What it decides is `lib.trader`'s and the signal's business. Here is what surrounds that: the
reader of the price book, the two connections, and the one number that must survive a crash: the
last tick that was evaluated. It is stored after the ticks have been evaluated and before their
orders leave, so that no order can come from a tick that a successor takes for unseen.

A restarted strategy refills its windows from the ring and evaluates from the first tick after it
attached; the ticks of its absence are reported by number and never traded.
"""

from __future__ import annotations

import selectors
import time
from collections.abc import Iterator
from typing import Final

import numpy as np
import structlog
from numpy.typing import NDArray

from lib.clock import MILLISECOND_NS, SECOND_NS
from lib.errors import CannotStartError
from lib.event_loop import EventLoop
from lib.framing import MessageTooLongError, split
from lib.order_client import OrderClient
from lib.order_messages import (
    REPLACED,
    ErrorMessage,
    ExecutionReport,
    LogonAck,
    MessageError,
)
from lib.prices import to_float
from lib.reconnect import ReconnectingConnection
from lib.role import run_role
from lib.settings import Settings
from lib.shared_memory_utils import (
    MAX_SLEEP_S,
    READ_TICKS,
    Batch,
    PriceBookError,
    PriceBookReader,
    SharedPriceBook,
)
from lib.signals import load_signal_class
from lib.state_file import create_state, open_state
from lib.stream_client import Frames, StreamClient
from lib.stream_feed import StreamFeed
from lib.tally import Tally
from lib.tick_codec import parse_sentiment
from lib.trader import Decision, News, Trader

ATTACH_RETRY_NS: Final = 50 * MILLISECOND_NS
"""How often to look for a price book while there is none."""
REPLACED_WAIT_NS: Final = 1 * SECOND_NS
"""How long to leave the field to whoever logged on under our name."""


class Strategy:
    """The role."""

    def __init__(self, settings: Settings, loop: EventLoop) -> None:
        self._loop = loop
        self._log = structlog.get_logger()
        self._symbols = settings.symbols
        self._book_name = settings.price_book.name
        self._client = OrderClient(settings.strategy.client_id)
        signal_class = load_signal_class(settings.strategy.signal_class)
        self._trader = Trader(settings.symbols, settings.strategy, signal_class, self._client)
        self._orders = OrderEntry(settings, loop, self._client, self._trader)
        self._news_client = StreamClient(may_be_plain=True)
        self._news = StreamFeed(
            loop,
            "news",
            (settings.gateway.host, settings.gateway.news_port),
            self._news_client,
            on_begin=lambda _: None,
            on_frames=self._take_news,
        )
        self._tally = Tally(stream="news", peer=self._news.peer)
        loop.add_timed(self._tally)
        self._evaluated = LastEvaluated(settings)
        self._book: SharedPriceBook | None = None
        self._reader: PriceBookReader | None = None
        self._next_look_ns = 0
        self._told_mismatch = ""
        self._evaluating = False  # of this tape, a tick has been evaluated
        self._applied: News | None = None
        self._said_full = False
        loop.add_timed(self)

    def step(self) -> None:
        """One pass: sleep until there is a tick, news or an answer, then evaluate the ticks."""
        self._loop.poll(may_sleep=self._reader is None or self._reader.arm())
        if self._reader is None:
            return
        self._evaluate_all(self._reader)
        if self._reader.retired:
            self._detach()

    def close(self) -> None:
        """Give the wake-up slot back, and let the last counts out."""
        self._tally.on_time(time.monotonic_ns())
        if self._reader:
            self._detach()

    def next_deadline_ns(self) -> int:
        """When to look for the price book, or to look at it in case a wake-up was lost."""
        if self._reader is None:
            return self._next_look_ns
        return time.monotonic_ns() + int(MAX_SLEEP_S * SECOND_NS)

    def on_time(self, now_ns: int) -> None:
        """Look for the price book, once the positions are known."""
        if self._reader is None:
            self._next_look_ns = now_ns + ATTACH_RETRY_NS
            if self._orders.knows_positions:
                self._attach()

    def _take_news(self, event: Frames) -> None:
        """Only the last sentiment is in force, but each one is looked at."""
        for sequence, frame in enumerate(split(event.frames), event.first):
            try:
                sentiment = parse_sentiment(frame)
            except ValueError:
                self._tally.add("malformed_frames", time.monotonic_ns(), [sequence])
            else:
                self._trader.take_news(News(sentiment, sequence, self._news_client.tape or ""))

    def _attach(self) -> None:
        """Attach to the price book and refill the windows from its ring."""
        try:
            book = SharedPriceBook.attach(self._book_name)
        except FileNotFoundError:
            return
        except PriceBookError as error:
            self._tell_mismatch(str(error))
            return
        if book.symbols != self._symbols:
            self._tell_mismatch(f"it holds {', '.join(book.symbols)}")
            book.close()
            return
        self._told_mismatch = ""
        self._book = book
        self._reader = book.reader(0)
        attached_at = book.reader().position
        refilled = 0
        self._trader.begin_tape("")
        while (left := attached_at - self._reader.position) > 0:
            batch = self._reader.read(min(READ_TICKS, left))
            if self._reader.position == attached_at - left:
                break  # a damaged header: nothing can be read
            for tape, ticks in self._by_tape(batch.ticks):
                self._change_tape(tape)
                self._trader.refill(ticks)
                refilled += len(ticks)
        self._loop.register(self._reader.fileno(), selectors.EVENT_READ, lambda _: None)
        self._log.info("attached", price_book=self._book_name, refilled=refilled)

    def _detach(self) -> None:
        assert self._reader
        assert self._book
        self._loop.unregister(self._reader.fileno())
        self._reader.close()
        self._book.close()
        self._reader = self._book = None
        self._evaluating = False
        self._log.info("detached", price_book=self._book_name)

    def _evaluate_all(self, reader: PriceBookReader) -> None:
        """Evaluate everything that has come, as one batch: many ticks, one look at the news."""
        batch = reader.read(READ_TICKS)
        if batch.missed:
            self._tell_lapped(batch)
        for tape, ticks in self._by_tape(batch.ticks):
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
        now_ns = time.monotonic_ns()
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
            self._orders.send(frames)
            self._tell_orders(decisions)
        self._tell_full()

    def _by_tape(self, ticks: NDArray[np.void]) -> Iterator[tuple[str, NDArray[np.void]]]:
        """Cut a batch where a new epoch, and so a new tape, begins."""
        assert self._book
        if not len(ticks):
            return
        epochs = ticks["epoch"]
        cuts = [] if epochs[0] == epochs[-1] else (np.flatnonzero(np.diff(epochs)) + 1).tolist()
        for begin, end in zip([0, *cuts], [*cuts, len(ticks)], strict=True):
            yield self._book.tape(int(epochs[begin])), ticks[begin:end]

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

    def _tell_lapped(self, batch: Batch) -> None:
        assert batch.missed
        tape = self._trader.tape
        after = int(batch.ticks["sequence"][0]) if len(batch.ticks) else None
        self._log.error(
            "ticks_missed",
            first=self._evaluated.last(tape) + 1,
            last=after - 1 if after else None,
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
        now_ns = time.monotonic_ns()
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

    def _tell_mismatch(self, what: str) -> None:
        if what != self._told_mismatch:
            self._told_mismatch = what
            self._log.warning("price_book_unusable", price_book=self._book_name, reason=what)


class LastEvaluated:
    """The last tick that was evaluated, kept where a crash does not reach it."""

    def __init__(self, settings: Settings) -> None:
        self._path = settings.var_dir / f"strategy-{settings.strategy.client_id}.state"
        try:
            state = open_state(self._path, word_count=1)
            self._state = state or create_state(self._path, {"tape": ""}, [0])
        except OSError as error:
            raise CannotStartError(f"cannot write {self._path}: {error.strerror}") from None

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


class OrderEntry:
    """The connection to the order manager; tells the trader what it answers."""

    def __init__(
        self, settings: Settings, loop: EventLoop, client: OrderClient, trader: Trader
    ) -> None:
        self._log = structlog.get_logger().bind(stream="orders")
        self._client = client
        self._trader = trader
        self._told_errors: dict[int | None, str] = {}  # by order_id; of unanswered orders only
        self.knows_positions = False
        """Whether a logon has ever been acknowledged: before that nothing is traded."""
        manager = settings.order_manager
        self._connection = ReconnectingConnection(
            loop,
            manager.host,
            manager.port,
            on_open=self._on_open,
            on_data=self._on_data,
            on_lost=self._on_lost,
        )
        loop.add_timed(self)

    def send(self, frames: list[bytes]) -> None:
        """Send what the client made of new orders."""
        self._connection.send(b"".join(frames))

    def next_deadline_ns(self) -> int | None:
        """When an unanswered order becomes a reason to act."""
        return self._client.next_deadline_ns()

    def on_time(self, now_ns: int) -> None:
        """Send again what was answered with an error, or give up a connection that is dead."""
        if self._client.is_dead(now_ns):
            self._connection.drop("no answer from the order manager")
        elif self._client.retry_due(now_ns):
            self._connection.send(self._client.resend())

    def _on_open(self) -> None:
        self._connection.send(self._client.connected(time.monotonic_ns()))

    def _on_lost(self, reason: str) -> None:
        self._client.disconnected()
        self._log.warning(
            "disconnected",
            peer=self._connection.peer,
            reason=reason,
            unanswered=len(self._client.unanswered),
        )

    def _on_data(self, data: bytes) -> None:
        try:
            for message in self._client.receive(data, time.monotonic_ns()):
                if isinstance(message, ExecutionReport):
                    self._take_report(message)
                elif isinstance(message, LogonAck):
                    self._take_logon(message)
                else:
                    self._take_error(message)
        except (MessageError, MessageTooLongError) as error:
            self._log.error("protocol_error", peer=self._connection.peer, reason=str(error))
            self._connection.drop(f"protocol error: {error}")

    def _take_logon(self, ack: LogonAck) -> None:
        self._connection.proved()
        self._trader.logged_on(ack)
        self.knows_positions = True
        self._log.info(
            "connected",
            peer=self._connection.peer,
            last_order_id=ack.last_order_id,
            positions=ack.positions,
            resent=len(self._client.unanswered),
        )
        self._connection.send(self._client.resend())

    def _take_report(self, report: ExecutionReport) -> None:
        self._trader.answered(report)
        self._told_errors.pop(report.order_id, None)
        order = {
            "client_id": report.client_id,
            "order_id": report.order_id,
            "symbol": report.symbol,
            "side": report.side,
        }
        if report.status == "FILLED":
            self._log.info(
                "order_filled", **order, trade_id=report.trade_id, position=report.position
            )
        else:
            self._log.warning(
                "order_rejected", **order, reason=report.reason, position=report.position
            )

    def _take_error(self, error: ErrorMessage) -> None:
        # An order is sent again and again until it is answered otherwise: tell only what is new.
        if self._told_errors.get(error.order_id) != error.reason:
            self._log.error("order_error", order_id=error.order_id, reason=error.reason)
        if error.order_id in self._client.unanswered:
            self._told_errors[error.order_id] = error.reason
        if error.reason == REPLACED:
            self._connection.drop(REPLACED, REPLACED_WAIT_NS)


if __name__ == "__main__":
    run_role("strategy", Strategy)
