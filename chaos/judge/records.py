"""The judge's input: plain data that can be made without a stack.

`chaos.lab.gather` fills `Records` from the logs and the ledger of a stack, the simulation from its
own memory; `chaos.judge.judge` reads them. Prices are integers in units of 1e-8.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from lib.clock import to_ns
from lib.settings import OrderManagerSettings, RiskSettings, StrategySettings

NO_LAST: Final = (1 << 63) - 1
"""The last sequence of a range whose end is not known."""


class PlayedTick(NamedTuple):
    """A tick of the tape. Its sequence is its key in `Records.tapes`."""

    symbol: str
    price: int


class BookedTick(NamedTuple):
    """A tick as an independent reader of the price book read it."""

    tape: str
    sequence: int
    symbol: str
    price: int


class Gap(NamedTuple):
    """Ticks that a role reported as missed: from `first` to `last`, both included.

    `last` is `NO_LAST` if everything to the end of the tape was missed.
    """

    tape: str
    first: int
    last: int


BegunBy = Literal["start", "tape", "book", "lap"]


class Evaluation(NamedTuple):
    """A strategy evaluated these ticks of one tape, in order, both ends included.

    `last` is the last one known. `begun_by` says what began the evaluation. "start": a new instance
    of the strategy. "tape", "book", "lap": the same instance, with its news and positions, after a
    new tape, another price book, or a lap in the ring. After a lap the windows continue, too; if
    another tape has begun in between, they start empty with this tick, and the lost ticks of every
    tape are reported.
    """

    tape: str
    first: int
    last: int
    begun_by: BegunBy = "start"


class BookAttachment(NamedTuple):
    """A strategy attached to a price book with this as its last tick; "" and 0: an empty book.

    `evaluations_before`: how many of `Records.evaluations` came before it. `refilled`: how many
    ticks of the book filled the windows before the evaluation; None: all that came before.
    """

    tape: str
    sequence: int
    evaluations_before: int
    refilled: int | None = None


class AppliedNews(NamedTuple):
    """The sentiment that the strategy used from this tick on; None: no news."""

    tape: str
    first_tick_sequence: int
    sentiment: int | None


class SentOrder(NamedTuple):
    """An order as the strategy logged it when it decided."""

    order_id: int
    symbol: str
    side: str
    quantity: int
    price: int
    tape: str
    tick_sequence: int
    sentiment: int | None


class OrderAnswer(NamedTuple):
    """An answer to an order as the strategy received it. `trade_id` is None for a rejection.

    `sent_before`: how many of `Records.sent` came before it, which dates what the strategy knew at
    each decision.
    """

    order_id: int
    status: str
    symbol: str
    side: str
    trade_id: int | None
    position: int
    sent_before: int


class LoggedOn(NamedTuple):
    """A logon of a strategy that had already evaluated ticks, as it was acknowledged.

    `answers_before`: how many of `Records.answers` came before it; `sent_before` as in
    `OrderAnswer`.
    `given_up`: the part of `Records.given_up` at that time.
    """

    last_order_id: int
    positions: dict[str, int]
    sent_before: int
    answers_before: int
    given_up: frozenset[int] = frozenset()


class LedgerOrder(NamedTuple):
    """An order of the strategy's client_id in the ledger; `position` is the one after it.

    `tape` and `tick_sequence` name the tick at which the order says it was decided; `sent_ns` is
    the sending time in the order, `received_ns` the time of receipt (both monotonic).
    """

    order_id: int
    symbol: str
    side: str
    quantity: int
    price: int
    status: str
    reason: str | None
    trade_id: int | None
    position: int
    tape: str | None
    tick_sequence: int | None
    sent_ns: int | None
    received_ns: int


@dataclass
class Records:
    """All that is known about one strategy and its ticks. Lists are in chronological order."""

    symbols: tuple[str, ...]
    short_window: int
    long_window: int
    bullish_threshold: int
    bearish_threshold: int
    quantity: int
    client_id: str = StrategySettings().client_id
    risk: RiskSettings = field(default_factory=RiskSettings)
    order_ttl_ns: int = to_ns(OrderManagerSettings().order_ttl)
    tapes: dict[str, dict[int, PlayedTick]] = field(default_factory=dict)
    """The ticks that the lab's own price client received, by tape and sequence."""
    booked: list[BookedTick] = field(default_factory=list)
    book_gaps: list[Gap] = field(default_factory=list)
    """The ticks that the orderbook reported as missed."""
    attached: list[BookAttachment] = field(default_factory=list)
    lapped_at_first: set[int] = field(default_factory=set)
    """Indices of evaluations before which the attached strategy was lapped in the ring."""
    evaluations: list[Evaluation] = field(default_factory=list)
    strategy_gaps: list[Gap] = field(default_factory=list)
    """The ticks that the strategy reported as missed."""
    news: list[AppliedNews] = field(default_factory=list)
    sent: list[SentOrder] = field(default_factory=list)
    answers: list[OrderAnswer] = field(default_factory=list)
    logons: list[LoggedOn] = field(default_factory=list)
    ledger: list[LedgerOrder] = field(default_factory=list)
    """The ledger's orders, in the order of booking."""
    positions: dict[str, int] = field(default_factory=dict)
    """The ledger's table of positions of the strategy's client_id."""
    left_behind: list[str] = field(default_factory=list)
    """Segments, processes and files that should be gone."""
    lost_books: int = 0
    """How often a role reported that the price book had vanished. The order manager then rejects
    what it has no price for, until there is a price book again."""
    tail_begins: dict[str, int] = field(default_factory=dict)
    """By tape: the first sequence that may still have been in transit when the recording ended.
    It may be in the book or not. A tape without an entry had time to arrive completely."""
    held_back: list[Gap] = field(default_factory=list)
    """Ticks at which the strategy may have sent no order, because they were too old when they were
    evaluated or because too many orders were unanswered."""
    answered_with_error: set[int] = field(default_factory=set)
    """order_ids that were answered with an error at some time. An error is not final: the order is
    sent again, out of order; if the strategy ends before that, it is never booked."""
    given_up: set[int] = field(default_factory=set)
    """order_ids that the strategy no longer sends (`order_given_up`): they were answered with
    errors until they expired. None of them is filled. An order_id is given up at most once, because
    the ledger's last order_id must not be below it."""
    cut_off: set[str] = field(default_factory=set)
    """Tapes that ended with their supervisord. The last lines of all logs were lost with it."""
    whole: bool = True
    """Whether the records go back to the first tick of the book and the first instance of the
    strategy. If not, no order is compared with the trading rules."""
    settled: bool = True
    """Whether the last instance of the strategy was still running at the end, with every tick
    before the tail evaluated and the orders at these ticks answered. If not, no order is compared
    with the trading rules, and neither logons nor reports of missed ticks are judged."""
