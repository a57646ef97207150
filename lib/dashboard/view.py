"""What a page of the dashboard gets, twice a second: records and nothing else.

They are made by the other modules of this package and written as JSON. Prices and money are floats
here, in dollars: they are for people and for plots. Times are seconds since 1970 (`at`), unless
their name says otherwise. A part that has nothing to show says what it waits for.
"""

from __future__ import annotations

from msgspec import Struct


class RoleView(Struct, frozen=True):
    """One program of supervisord."""

    program: str
    state: str
    """supervisord's word for it, such as "RUNNING"; "ENDED" before it has noticed."""
    is_up: bool
    pid: int
    uptime_s: float | None
    restarts: int
    cpu_share: float | None
    """Of one core, over the last second."""
    resident_bytes: int | None
    heartbeat_age_s: float | None
    problem: str


class Incident(Struct, frozen=True):
    """A fault, or a stay in a state that is none of the usual."""

    at: float
    where: str
    what: str
    is_over: bool
    duration_s: float | None
    """How long it took until it was over; None while it is not, and where it takes no time."""


class PriceView(Struct, frozen=True):
    """One symbol."""

    symbol: str
    price: float | None
    change: float | None
    """Since the first price that was seen of this tape, as a share: 0.01 is 1 %."""
    price_signal: int
    """1 buy, -1 sell, 0 none."""
    agreed: int
    """The same, where price and news say it."""
    position: int
    realised: float
    open_profit: float | None


class Trade(Struct, frozen=True):
    """A fill, as the course shows it."""

    at: float
    side: str
    price: float
    client_id: str


class Course(Struct, frozen=True):
    """The last minutes of one symbol: columns of one length, and the trades meanwhile."""

    symbol: str
    at: list[float]
    price: list[float]
    short_mean: list[float | None]
    long_mean: list[float | None]
    trades: list[Trade] = []


class OrderView(Struct, frozen=True):
    """An order that has its final answer; or many of them, which the log has in one line."""

    at: float
    client_id: str
    order_id: int
    symbol: str
    side: str
    quantity: int
    price: float
    status: str
    reason: str
    trade_id: int | None
    position: int


class NewsView(Struct, frozen=True):
    """The sentiment, and what comes of it."""

    sentiment: int | None
    signal: int
    bullish_threshold: int
    bearish_threshold: int
    at: list[float]
    course: list[int]


class StrategyView(Struct, frozen=True):
    """A strategy of the settings, whether a program runs it or not."""

    name: str
    """"strategy" for that of [strategy], NAME for that of [strategies.NAME]."""
    client_id: str
    signal_class: str
    filled: int | None
    rejected: int | None
    held: int | None
    """Symbols in which it has a position."""
    realised: float | None
    """These four as the ledger has them under its client_id; None before it was read."""
    p50_us: float | None
    p99_us: float | None
    """Tick to decision over the last minute; None where nothing was decided."""


class LatencyView(Struct, frozen=True):
    """Tick to decision over the last minute; None where nothing was decided."""

    ticks: int
    p50_us: float | None
    p99_us: float | None
    p999_us: float | None
    ticks_per_s: float


class View(Struct, frozen=True):
    """Everything."""

    at: float
    tape: str | None
    """None before the first tick; "" for a stream without numbers."""
    halted: bool
    roles: list[RoleView]
    incidents: list[Incident]
    strategies: list[StrategyView]
    """That of [strategy] first. Signals, averages, news and `latency` are of this one."""
    prices: list[PriceView]
    course: Course | None
    """Of the symbol that the page has chosen."""
    news: NewsView
    latency: LatencyView
    orders: list[OrderView]
    """The newest first."""
    filled: int | None
    rejected: int | None
    realised: float | None
    """These three as the ledger has them; None before it was read."""
    open_profit: float | None
    missing: dict[str, str]
    """By part of the page, what it waits for."""
