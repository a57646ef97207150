"""What a page of the dashboard gets, twice a second: records and nothing else.

They are made by the other modules of this package and sent as JSON. Prices and money are floats
here, in dollars: they are only shown and plotted. Times are seconds since 1970 (`at`), unless their
name has another unit. A part without data says what it waits for.
"""

from __future__ import annotations

from msgspec import UNSET, Struct, UnsetType


class RoleView(Struct, frozen=True):
    """One program of supervisord."""

    program: str
    state: str
    """supervisord's statename, such as "RUNNING"; "ENDED" before supervisord has noticed."""
    is_up: bool
    pid: int
    uptime_s: float | None
    restarts: int
    cpu_share: float | None
    """The share of one core over the last second."""
    resident_bytes: int | None
    heartbeat_age_s: float | None
    problem: str


class Incident(Struct, frozen=True):
    """A fault, or another time in an unusual state."""

    at: float
    where: str
    what: str
    is_over: bool
    duration_s: float | None
    """How long it lasted; None while it is open, and for an incident without a duration."""


class PriceView(Struct, frozen=True):
    """One symbol."""

    symbol: str
    price: float | None
    change: float | None
    """The change since the first observed price of this tape, as a share: 0.01 is 1 %."""
    price_signal: int
    """The price signal: 1 buy, -1 sell, 0 none."""
    agreed: int
    """The price signal if the news signal agrees, otherwise 0."""
    position: int
    realised: float
    open_profit: float | None


class Trade(Struct, frozen=True):
    """A fill in a course."""

    at: float
    side: str
    price: float
    client_id: str


class PriceHistory(Struct, frozen=True):
    """The last minutes of one symbol: columns of the same length, and the trades in that time."""

    symbol: str
    at: list[float]
    price: list[float]
    short_mean: list[float | None]
    long_mean: list[float | None]
    trades: list[Trade] = []


class OrderView(Struct, frozen=True):
    """An order with its final answer; or many orders that the log has in one line."""

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
    """The sentiment, its signal and its recent course."""

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
    """The number of symbols with a position; this and the other totals are from the ledger, None
    before it was read."""
    realised: float | None
    p50_us: float | None
    p99_us: float | None
    """The 99th percentile of tick to decision over the last minute, as `p50_us` is the median; None
    if nothing was decided."""


class LatencyView(Struct, frozen=True):
    """Tick to decision over the last minute; None if nothing was decided."""

    ticks: int
    p50_us: float | None
    p99_us: float | None
    p999_us: float | None
    ticks_per_s: float


class StreamView(Struct, frozen=True):
    """What a role of this host does with a stream of the cluster. None is not known, or not its."""

    stream: str
    role: str
    activity: str
    """"writing", "standing by", "following", "resolving", "starting" or "no majority"."""
    writer: str
    """The host that writes it, as it was heard last; "" if none was heard."""
    epoch: int | None
    takeovers: int | None
    """How often another epoch was heard in this run, also that of a successor on the same host."""
    last: int | None
    """The last sequence of the stream."""
    position: int | None
    """The last tick, sentiment or ledger entry that the role has published, served or booked."""
    lag: int | None
    """How many of them it does not have yet."""
    lag_s: float | None
    """How long ago the stream was where the role is."""
    heard_s: float | None
    """Since the writer was heard; it gives its word twice a second."""
    p50_us: float | None
    """The median of the time until the brokers acknowledge a message, over the latest 1,000; of a
    writer. `p99_us` is their 99th percentile."""
    p99_us: float | None


class ClusterView(Struct, frozen=True):
    """The cluster, as the roles of this host see it: those that are at work."""

    host: str
    streams: list[StreamView]


class View(Struct, frozen=True):
    """Everything that a page shows."""

    at: float
    tape: str | None
    """The tape; None before the first tick, "" for a stream without numbers."""
    ended_ticks: int | None
    """How many ticks the tape had, once all of them are published; None before."""
    halted: bool
    at_loss_limit: list[str]
    """The client_ids of those that have reached `max_loss`."""
    roles: list[RoleView]
    incidents: list[Incident]
    strategies: list[StrategyView]
    """The strategies, that of [strategy] first: signals, averages, news and `latency` are its."""
    prices: list[PriceView]
    course: PriceHistory | None
    """The course of the symbol that the page has chosen."""
    news: NewsView
    latency: LatencyView
    orders: list[OrderView]
    """The latest orders, the newest first."""
    filled: int | None
    rejected: int | None
    realised: float | None
    """The realised profit; like `filled` and `rejected` from the ledger, None before it was
    read."""
    open_profit: float | None
    missing: dict[str, str]
    """What each part of the page that has no data waits for."""
    cluster: ClusterView | UnsetType = UNSET
    """Only where the settings have [cluster]."""
