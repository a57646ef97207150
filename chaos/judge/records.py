"""What an experiment hands to the judge: plain data, and nothing that needs a stack to be made.

`chaos.lab.gather` fills `Records` from the logs and the ledger of a stack, the simulation from its
own memory; `chaos.judge.judge` looks at them. Prices are whole numbers of 1e-8, as everywhere
inside.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from lib.clock import to_ns
from lib.settings import OrderManagerSettings, RiskSettings, StrategySettings

NO_LAST: Final = (1 << 63) - 1
"""The last sequence of what goes on to an end that is not known."""


class PlayedTick(NamedTuple):
    """A tick of the tape. Its sequence is the key under which it is kept."""

    symbol: str
    price: int


class BookedTick(NamedTuple):
    """A tick as an independent reader of the price book saw it."""

    tape: str
    sequence: int
    symbol: str
    price: int


class Gap(NamedTuple):
    """Ticks that a role reported as missed: from `first` to `last`, both included.

    `last` is NO_LAST for what was missed up to the end of a tape.
    """

    tape: str
    first: int
    last: int


BegunBy = Literal["life", "tape", "book", "lap", "unknown"]


class Evaluation(NamedTuple):
    """A strategy evaluated these ticks of one tape, in order, both ends included.

    `last` is as far as is known. `begun_by` says what made it begin: the life of a strategy; or in
    a life that goes on, with its news and positions, a new tape, another price book, or the next
    tick after a ring that was lapped. Then the windows go on, too; where another tape had begun
    meanwhile, they begin empty with this tick, and all that was lost is reported, of each tape.
    "unknown": it began earlier, and what is in the windows nobody knows.
    """

    tape: str
    first: int
    last: int
    begun_by: BegunBy = "life"


class Attached(NamedTuple):
    """A strategy attached to a price book whose last tick was this one; "" and 0 of an empty one.

    `evaluations_before`: how many of `Records.evaluations` came before it.
    """

    tape: str
    sequence: int
    evaluations_before: int


class AppliedNews(NamedTuple):
    """From this tick on, the strategy evaluated with this sentiment; None: with no news."""

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
    """An answer as the strategy received it. `trade_id` is None for a rejection.

    `sent_before`: how many of `Records.sent` came before it. It is what the strategy knew when it
    decided the next one.
    """

    order_id: int
    status: str
    symbol: str
    side: str
    trade_id: int | None
    position: int
    sent_before: int


class LoggedOn(NamedTuple):
    """A later logon in the life of a strategy that had evaluated something: what it was told then.

    `told_before`: how many of `Records.told` came before it; `sent_before` as in `OrderAnswer`.
    `given_up`: which of `Records.given_up` had been given up by then.
    """

    last_order_id: int
    positions: dict[str, int]
    sent_before: int
    told_before: int
    given_up: frozenset[int] = frozenset()


class LedgerOrder(NamedTuple):
    """An order as the ledger has it, of the strategy's client_id; `position` is that after it.

    `tape` and `tick_sequence` are what the order named as the tick it was decided at; `sent_ns` is
    when it was sent, as the order said, and `received_ns` when it was received (both monotonic).
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
    """All that is known of one strategy. Lists are in the order of happening."""

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
    """What was played, by tape and sequence, as the lab's own client heard it."""
    booked: list[BookedTick] = field(default_factory=list)
    book_gaps: list[Gap] = field(default_factory=list)
    """What the orderbook reported as missed."""
    attached: list[Attached] = field(default_factory=list)
    lapped_at_first: set[int] = field(default_factory=set)
    """Indices of evaluations before which the strategy, though attached, was lapped in the ring."""
    evaluations: list[Evaluation] = field(default_factory=list)
    strategy_gaps: list[Gap] = field(default_factory=list)
    """What the strategy reported as missed."""
    news: list[AppliedNews] = field(default_factory=list)
    sent: list[SentOrder] = field(default_factory=list)
    told: list[OrderAnswer] = field(default_factory=list)
    logons: list[LoggedOn] = field(default_factory=list)
    ledger: list[LedgerOrder] = field(default_factory=list)
    """In the order of booking."""
    positions: dict[str, int] = field(default_factory=dict)
    """The ledger's table of positions of the strategy's client_id."""
    left_behind: list[str] = field(default_factory=list)
    """Segments, processes and files that should be gone."""
    tail_begins: dict[str, int] = field(default_factory=dict)
    """By tape: the first sequence that may still have been under way when the recording ended.
    It may be in the book or not. A tape that is not named had time to arrive completely."""
    held_back: list[Gap] = field(default_factory=list)
    """Ticks at which an order may have been withheld: they may have been too old when they were
    evaluated, or too many orders were unanswered."""
    answered_with_error: set[int] = field(default_factory=set)
    """order_ids that were answered with an error at some time. An error is not final: the order is
    sent again, out of turn; if the strategy dies before that, it is never booked."""
    given_up: set[int] = field(default_factory=set)
    """order_ids of orders that the strategy sends no more (`order_given_up`): they were answered
    with errors until they had expired. None of them is filled. No order_id is here twice: it is
    given up only if the ledger's last one is not below it."""
    cut_off: set[str] = field(default_factory=set)
    """Tapes that ended with their supervisord. The last lines of all logs were lost with it."""
    known_from: tuple[str, int] | None = None
    """Where the strategy's log no longer begins with its first life: tape and tick of the first
    evaluation that is known of. Orders at ticks before it are history. None: all is known."""
    settled: bool = True
    """Whether the last life of the strategy was still running at the end, with every tick before
    the tail evaluated and the orders of these ticks answered."""
