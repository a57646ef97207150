"""Every event that the roles log: its name, its level, its fields with their units, its meaning.

One class an event, grouped by the roles that log it. `log_event` writes one; `read_line` reads a
line of a role's log back into the same class. `python -m lib.process.log_events` writes the table
in docs/operations.md.

In a line the fields stand beside the four that each line has: `timestamp` (UTC, ISO 8601), `level`,
`role` (`strategy:NAME` of a further strategy) and `event`. A field that is UNSET is left out. Roles
may use one name for events with different fields (`order_filled` of the strategy and of the order
manager): the role, and the values that a field may have, decide which one a line is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple, TypeVar

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType
from msgspec.structs import asdict

from lib.wire.order_fields import Side

Level = Literal["info", "warning", "error", "critical"]

GATEWAY: Final = "gateway"
TAPE: Final = "tape"
"""A program that prepares a tape for the gateway, and ends."""
ORDERBOOK: Final = "orderbook"
STRATEGY: Final = "strategy"
ORDER_MANAGER: Final = "order_manager"
WATCHDOG: Final = "watchdog"
DASHBOARD: Final = "dashboard"
ALERTS: Final = "alerts"
"""A process of the watchdog, which logs into the watchdog's log."""
UPLINK: Final = "uplink"
DOWNLINK: Final = "downlink"
ORDER_RELAY: Final = "order_relay"
CLUSTER_ROLES: Final = (UPLINK, DOWNLINK, ORDER_RELAY)
"""They run only where the settings have [cluster]."""
ROLES: Final = (
    GATEWAY,
    ORDERBOOK,
    STRATEGY,
    ORDER_MANAGER,
    WATCHDOG,
    DASHBOARD,
    TAPE,
    ALERTS,
    *CLUSTER_ROLES,
)

# Kinds of fields, with their units.
Ns = Annotated[int, Meta(description="ns, monotonic")]
DurationNs = Annotated[int, Meta(description="ns")]
Us = Annotated[float, Meta(description="µs")]
Seconds = Annotated[float, Meta(description="s")]
TickNumber = Annotated[int, Meta(description="tick sequence")]
NewsNumber = Annotated[int, Meta(description="news sequence")]
Ticks = Annotated[int, Meta(description="ticks")]
Price = Annotated[float, Meta(description="price")]
Money = Annotated[float, Meta(description="money")]
Shares = Annotated[int, Meta(description="shares")]
Sentiment = Annotated[int, Meta(description="0 to 100")]
# Of any type: a signal may be a user's, and its orders are read whatever it explains.
Explained = Annotated[Any, Meta(description="price")]
Peer = Annotated[str, Meta(description="host:port")]
Tape = Annotated[str, Meta(description="name of the tape")]
TapeKind = Annotated[Literal["ticks", "sentiments"], Meta(description="ticks or sentiments")]
Place = Annotated[str, Meta(description='place in the code, "" if unknown')]
Positions = Annotated[dict[str, int], Meta(description="shares by symbol")]
Timestamp = Annotated[str, Meta(description="UTC, ISO 8601")]
Examples = list[dict[str, Any]]
ClientExamples = Annotated[Examples, Meta(description="the first ones: peer, reason")]
FrameExamples = Annotated[Examples, Meta(description="the first ones: sequence, text, reason")]


class LogEvent(Struct, frozen=True, tag_field="event", tag=True):
    """What is logged, without the four fields that each line has."""


class CountedEvent(LogEvent, frozen=True, tag=True):
    """Something that a peer may cause as often as it likes: counted, and logged once a second."""

    count: int
    examples: Examples


class Definition(Struct, frozen=True):
    """Where and how an event is logged."""

    event: type[LogEvent]
    roles: tuple[str, ...]
    levels: tuple[Level, ...]
    """The first one, unless the writer chooses another."""

    @property
    def name(self) -> str:
        """The value of `event` in a line."""
        return name_of(self.event)


_DEFINITIONS: Final[dict[type[LogEvent], Definition]] = {}
_Event = TypeVar("_Event", bound=LogEvent)


def _logged(*levels: Level, by: tuple[str, ...]) -> Callable[[type[_Event]], type[_Event]]:
    def define(event: type[_Event]) -> type[_Event]:
        _DEFINITIONS[event] = Definition(event, by, levels)
        return event

    return define


def name_of(event: type[LogEvent]) -> str:
    """Return the value of `event` in a line of this class."""
    return str(event.__struct_config__.tag)


def definitions() -> list[Definition]:
    """Return all events, in the order in which they are defined."""
    return list(_DEFINITIONS.values())


# Every role


@_logged("info", by=ROLES)
class Started(LogEvent, frozen=True, tag="started"):
    """The role is at work."""

    pid: int


@_logged("info", by=ROLES)
class Stopped(LogEvent, frozen=True, tag="stopped"):
    """The role ends, as asked."""

    pid: int


@_logged("critical", by=ROLES)
class SettingsRefused(LogEvent, frozen=True, tag="settings_refused"):
    """An invalid setting or argument makes the role exit, with code 78."""

    reason: str


@_logged("critical", by=ROLES)
class CannotStart(LogEvent, frozen=True, tag="cannot_start"):
    """A required resource is unavailable; the role exits, with code 1."""

    reason: str


@_logged("error", by=ROLES)
class Crashed(LogEvent, frozen=True, tag="crashed"):
    """An exception ends the role, with code 1."""

    where: Place
    reason: str
    exception: Annotated[str, Meta(description="traceback")]


@_logged("warning", by=ROLES)
class StartTakesLong(LogEvent, frozen=True, tag="start_takes_long"):
    """The role has not started yet; `where` is the place in the code at which it is."""

    elapsed_s: Seconds
    where: Place


@_logged("warning", by=ROLES)
class HeartbeatFailed(LogEvent, frozen=True, tag="heartbeat_failed"):
    """The heartbeat file cannot be written, so the watchdog does not watch the role."""

    file: str | None
    reason: str


@_logged("warning", by=ROLES)
class HeartbeatRecovered(LogEvent, frozen=True, tag="heartbeat_recovered"):
    """The heartbeat file is written: the watchdog watches the role again."""

    file: str


@_logged("error", by=ROLES)
class FileLost(LogEvent, frozen=True, tag="file_lost"):
    """A file that is needed was removed or replaced; `reason` says what was done about it."""

    file: str
    reason: str


@_logged("warning", by=ROLES)
class LinesLost(LogEvent, frozen=True, tag="lines_lost"):
    """Lines were dropped, because a pipe to supervisord took nothing for too long."""

    stream: str
    lines: int


# Servers

_SERVERS: Final = (GATEWAY, ORDER_MANAGER, DASHBOARD, DOWNLINK, ORDER_RELAY)
_CLIENTS_LOGGED: Final = (GATEWAY, ORDER_MANAGER, DOWNLINK, ORDER_RELAY)


@_logged("info", by=_SERVERS)
class Listening(LogEvent, frozen=True, tag="listening"):
    """A port accepts connections."""

    stream: str
    host: str
    port: int


@_logged("warning", by=_SERVERS)
class FewDescriptors(LogEvent, frozen=True, tag="few_descriptors"):
    """The limit of open files (ulimit -n) leaves room for fewer clients on a port than usual."""

    limit: int
    places: Annotated[int, Meta(description="clients")]
    of: Annotated[int, Meta(description="clients")]


@_logged("warning", by=_SERVERS)
class ClientRefused(CountedEvent, frozen=True, tag="client_refused"):
    """Clients were disconnected at once, because the server is full."""

    examples: ClientExamples
    stream: str


@_logged("warning", by=_SERVERS)
class AcceptFailed(CountedEvent, frozen=True, tag="accept_failed"):
    """The system did not hand over connections."""

    examples: Annotated[Examples, Meta(description="the first ones: reason")]
    stream: str


@_logged("info", by=_CLIENTS_LOGGED)
class ClientConnected(LogEvent, frozen=True, tag="client_connected"):
    """A client was accepted; `clients` are connected now."""

    stream: str
    peer: Peer
    clients: int


@_logged("warning", by=_CLIENTS_LOGGED)
class ClientsConnected(CountedEvent, frozen=True, tag="clients_connected"):
    """Further clients were accepted, beyond those that have a line each."""

    examples: Annotated[Examples, Meta(description="the first ones: peer")]
    stream: str


@_logged("info", by=_CLIENTS_LOGGED)
class ClientDisconnected(LogEvent, frozen=True, tag="client_disconnected"):
    """A client is gone; `clients` are left. The order manager adds its client_id."""

    stream: str
    peer: Peer
    reason: str
    clients: int
    client_id: str | UnsetType | None = UNSET


@_logged("warning", by=_CLIENTS_LOGGED)
class ClientsDisconnected(CountedEvent, frozen=True, tag="clients_disconnected"):
    """Further clients are gone, beyond those that have a line each."""

    examples: ClientExamples
    stream: str


@_logged("warning", by=_CLIENTS_LOGGED)
class ClientsBrokeProtocol(CountedEvent, frozen=True, tag="protocol_error"):
    """Clients were disconnected for what they sent."""

    examples: ClientExamples
    stream: str


@_logged("warning", by=_CLIENTS_LOGGED)
class ClientsSentNoDelimiter(CountedEvent, frozen=True, tag="no_delimiter"):
    """Clients have sent bytes without a delimiter, so there is no message in them."""

    examples: Annotated[Examples, Meta(description="the first ones: peer, text, reason")]
    stream: str


# Gateway


@_logged("info", by=(GATEWAY,))
class TapeStarted(LogEvent, frozen=True, tag="tape_started"):
    """A new tape begins."""

    tape: Tape


@_logged("info", by=(GATEWAY,))
class TapeContinued(LogEvent, frozen=True, tag="tape_continued"):
    """The tape of this run goes on after a restart."""

    tape: Tape
    next_sequence: TickNumber


@_logged("info", by=(GATEWAY,))
class TapeEnded(LogEvent, frozen=True, tag="tape_ended"):
    """All ticks of the tape are published."""

    tape: Tape
    ticks: Ticks


@_logged("info", by=(GATEWAY,))
class ScheduleStarted(LogEvent, frozen=True, tag="schedule_started"):
    """Frames are due from now on: `first` one period after `start_ns`."""

    stream: str
    rate: Annotated[float, Meta(description="frames/s")]
    start_ns: Ns
    first: Annotated[int, Meta(description="sequence")]


@_logged("warning", by=(GATEWAY,))
class ScheduleShifted(LogEvent, frozen=True, tag="schedule_shifted"):
    """The gateway was late: all later frames are due later by this much, without a burst."""

    stream: str
    late_s: Seconds
    shift_ns: DurationNs


@_logged("info", by=(GATEWAY,))
class NewsEnded(LogEvent, frozen=True, tag="news_ended"):
    """All sentiments of a file are published: after `news_timeout` no strategy has news."""

    tape: Tape
    sentiments: int


@_logged("info", by=(GATEWAY,))
class TapeRecognised(LogEvent, frozen=True, tag="tape_recognised"):
    """What a new tape from a file was taken for: the kind of file, its layout, its columns."""

    kind: TapeKind
    length: Annotated[int, Meta(description="ticks or sentiments")]
    recognised: str


@_logged("warning", by=(GATEWAY,))
class TapeWarning(LogEvent, frozen=True, tag="tape_warning"):
    """Something is odd in the file of a new tape, which is played nevertheless."""

    kind: TapeKind
    reason: str


@_logged("warning", by=(GATEWAY,))
class TapeSourceChanged(LogEvent, frozen=True, tag="tape_source_changed"):
    """A file has changed or is gone since its tape began, which goes on as it was prepared."""

    kind: TapeKind
    reason: str


@_logged("warning", by=(GATEWAY,))
class PreparingFailed(LogEvent, frozen=True, tag="preparing_failed"):
    """A process that was to prepare a tape has ended without a result; another one is started."""

    tries: Annotated[int, Meta(description="tries so far")]
    of: Annotated[int, Meta(description="most tries")]


# Tape


@_logged("info", by=(TAPE,))
class TapePreparing(LogEvent, frozen=True, tag="tape_preparing"):
    """A file is being read for the gateway; logged every few seconds."""

    kind: TapeKind
    what: str
    share: Annotated[float, Meta(description="0 to 1")]


@_logged("info", by=(TAPE,))
class TapePrepared(LogEvent, frozen=True, tag="tape_prepared"):
    """A tape is ready to be played by the gateway."""

    kind: TapeKind
    length: Annotated[int, Meta(description="ticks or sentiments")]
    elapsed_s: Seconds


@_logged("info", by=(TAPE,))
class PreparingEnded(LogEvent, frozen=True, tag="preparing_ended"):
    """All tapes of the settings that come from files are prepared; the role exits, with code 0."""

    tapes: int


@_logged("info", by=(TAPE,))
class TapeRefused(LogEvent, frozen=True, tag="tape_refused"):
    """A file cannot be played; the gateway says so as well. The role exits, with code 1."""

    kind: TapeKind
    reason: str


# What survives a role


@_logged("warning", by=(GATEWAY, STRATEGY))
class StateRefused(LogEvent, frozen=True, tag="state_refused"):
    """The state at this path cannot be trusted: the role begins without it, and replaces it."""

    path: str
    reason: str | None


# Cluster

_WITH_BROKERS: Final = (*CLUSTER_ROLES, ORDER_MANAGER)
_WRITERS: Final = (UPLINK, ORDER_MANAGER)
_STREAM_ROLES: Final = (*_WRITERS, DOWNLINK)
StreamName = Annotated[str, Meta(description="name of the stream")]
Epoch = Annotated[int, Meta(description="epoch of the writer")]
HostName = Annotated[str, Meta(description="host of [cluster]")]


@_logged("info", by=_WITH_BROKERS)
class BrokerConnected(LogEvent, frozen=True, tag="broker_connected"):
    """There is a connection to a broker."""

    peer: Peer


@_logged("warning", by=_WITH_BROKERS)
class BrokerLost(LogEvent, frozen=True, tag="broker_lost"):
    """The connection to the brokers has failed; the role connects again. Logged once a reason."""

    reason: str


@_logged("warning", by=_WITH_BROKERS)
class BrokersAwaited(LogEvent, frozen=True, tag="brokers_awaited"):
    """The brokers cannot be used yet; the role waits for them, and has not started."""

    reason: str


@_logged("info", by=(ORDER_RELAY,))
class SessionOpened(LogEvent, frozen=True, tag="session_opened"):
    """A client on another host has logged on at this host's order manager."""

    client_id: str
    host: HostName
    sessions: Annotated[int, Meta(description="open now")]


@_logged("info", by=(ORDER_RELAY,))
class SessionClosed(LogEvent, frozen=True, tag="session_closed"):
    """The session of a client on another host is over; the client logs on again."""

    client_id: str
    host: HostName
    reason: str
    sessions: Annotated[int, Meta(description="open now")]


@_logged("info", by=_WRITERS)
class StandingBy(LogEvent, frozen=True, tag="standing_by"):
    """Another host writes the stream; this one takes over when it is silent."""

    stream: StreamName
    writer: HostName


@_logged("warning", by=_WRITERS)
class StreamClaimed(LogEvent, frozen=True, tag="stream_claimed"):
    """From now on this host writes the stream. `former` wrote it before, "" if nobody did."""

    stream: StreamName
    epoch: Epoch
    host: HostName
    former: HostName

    @property
    def is_takeover(self) -> bool:
        """Whether another host has written it before."""
        return self.former not in ("", self.host)


@_logged("error", by=_WRITERS)
class StreamOvertaken(LogEvent, frozen=True, tag="stream_overtaken"):
    """Another host has claimed the stream. The role ends, and comes back as a standby."""

    stream: StreamName
    epoch: Epoch


@_logged("error", by=_WRITERS)
class StreamLost(LogEvent, frozen=True, tag="stream_lost"):
    """The brokers have lost messages that they had acknowledged. The role ends, and begins anew."""

    stream: StreamName
    last: Annotated[int, Meta(description="sequence of the stream")]


@_logged("warning", by=_WRITERS)
class StreamNotWritten(LogEvent, frozen=True, tag="stream_not_written"):
    """The brokers do not acknowledge messages: no space, no leader. Logged once, until they do."""

    stream: StreamName
    reason: str


@_logged("warning", by=(DOWNLINK, ORDER_MANAGER))
class ForeignMessage(LogEvent, frozen=True, tag="foreign_message"):
    """A message of the stream is of none of its writers, and counts for nothing. Logged once."""

    stream: StreamName
    sequence: Annotated[int, Meta(description="sequence of the stream")]


@_logged("error", by=_STREAM_ROLES)
class NoMajority(LogEvent, frozen=True, tag="no_majority"):
    """No leader of the stream answers: no majority of the brokers can be reached. Logged once."""

    stream: StreamName
    silent_s: Seconds


@_logged("warning", by=_STREAM_ROLES)
class MajorityBack(LogEvent, frozen=True, tag="majority_back"):
    """A majority of the brokers can be reached again."""

    stream: StreamName
    lost_s: Seconds


@_logged("warning", by=(UPLINK,))
class GatewayContinues(LogEvent, frozen=True, tag="gateway_continues"):
    """The gateway of this host is started, with the tape of the stream; a new one if ""."""

    tape: Tape
    next_sequence: TickNumber


@_logged("warning", by=(UPLINK,))
class GatewayNotReached(LogEvent, frozen=True, tag="gateway_not_reached"):
    """supervisord did not start or stop the gateway; it is asked again."""

    reason: str


@_logged("warning", by=(DOWNLINK,))
class DownlinkEnds(LogEvent, frozen=True, tag="downlink_ends"):
    """Clients have to join anew: the role ends, and its successor begins where the stream is."""

    stream: StreamName
    reason: str


@_logged("warning", by=(DOWNLINK,))
class StreamSilent(LogEvent, frozen=True, tag="stream_silent"):
    """Nothing comes: no word of the writer, or the subscription is dead, and is made anew."""

    stream: StreamName
    silent_s: Seconds


@_logged("warning", by=(DOWNLINK, ORDER_RELAY))
class ClocksDiffer(LogEvent, frozen=True, tag="clocks_differ"):
    """Two wall clocks differ: what comes seems sent so far in the future, below 0 in the past."""

    stream: StreamName
    ahead_s: Seconds


# Clients of a stream

_STREAM_CLIENTS: Final = (ORDERBOOK, STRATEGY, UPLINK)


@_logged("info", by=_STREAM_CLIENTS)
class StreamConnected(LogEvent, frozen=True, tag="connected"):
    """A stream begins: frames follow from `first`. `tape` is null on a plain stream."""

    stream: Literal["price", "news"]
    peer: Peer
    tape: Tape | None
    first: Annotated[int, Meta(description="sequence")]
    missed: Annotated[int, Meta(description="frames")]


@_logged("warning", by=_STREAM_CLIENTS)
class Disconnected(LogEvent, frozen=True, tag="disconnected"):
    """A connection is lost; the role connects again. Only that of the orders has `unanswered`."""

    stream: str
    peer: Peer
    reason: str
    unanswered: Annotated[int, Meta(description="orders")] | UnsetType = UNSET


@_logged("error", by=_STREAM_CLIENTS)
class ServerBrokeProtocol(LogEvent, frozen=True, tag="protocol_error"):
    """The connection was dropped for what the server sent."""

    stream: str
    peer: Peer
    reason: str


@_logged("warning", by=_STREAM_CLIENTS)
class ServerSentNoDelimiter(LogEvent, frozen=True, tag="no_delimiter"):
    """The server has sent bytes without a delimiter, so there is no message in them."""

    stream: str
    peer: Peer
    text: str
    reason: str


@_logged("warning", by=_STREAM_CLIENTS)
class MalformedFrames(CountedEvent, frozen=True, tag="malformed_frames"):
    """Frames cannot be parsed; the other frames of their batches are used."""

    examples: FrameExamples
    stream: str
    peer: Peer


@_logged("warning", by=_STREAM_CLIENTS)
class TicksMissed(LogEvent, frozen=True, tag="ticks_missed"):
    """The gateway no longer has the ticks, or they came while the strategy was down."""

    first: TickNumber
    last: TickNumber
    where: Literal["gateway", "strategy"]
    tape: Tape

    @property
    def ticks(self) -> int:
        """How many ticks are missed."""
        return self.last - self.first + 1


@_logged("warning", by=(GATEWAY, ORDERBOOK))
class FirstTickNotAwaited(LogEvent, frozen=True, tag="first_tick_not_awaited"):
    """The first tick of a file waits no longer: the role that it waited for did not come in time.

    Only the first tick of a run waits.
    """

    reason: str


# Orderbook


@_logged("warning", "info", by=(ORDERBOOK,))
class UnknownSymbols(CountedEvent, frozen=True, tag="unknown_symbols"):
    """Ticks of symbols that are not traded. A warning where the line shows a new symbol."""

    examples: Annotated[
        Examples, Meta(description="the first symbols: symbol, sequence, reason, count")
    ]
    stream: str
    peer: Peer


# Strategy


@_logged("info", by=(STRATEGY,))
class OrdersConnected(LogEvent, frozen=True, tag="connected"):
    """The order manager has acknowledged the logon; unanswered orders are sent again."""

    stream: Literal["orders"]
    peer: Peer
    last_order_id: int
    positions: Positions
    resent: Annotated[int, Meta(description="orders")]


@_logged("info", by=(STRATEGY,))
class Attached(LogEvent, frozen=True, tag="attached"):
    """The averages are refilled from the price book, up to this tick."""

    price_book: str
    refilled: Ticks
    tape: Tape
    sequence: TickNumber


@_logged("error", by=(ORDERBOOK, STRATEGY, ORDER_MANAGER))
class PriceBookLost(LogEvent, frozen=True, tag="price_book_lost"):
    """A file of the price book has vanished; a successor of the orderbook makes it anew."""

    price_book: str
    reason: str


@_logged("info", by=(STRATEGY, ORDER_MANAGER))
class Detached(LogEvent, frozen=True, tag="detached"):
    """The price book was closed; the role looks for another one."""

    price_book: str


@_logged("warning", by=(STRATEGY, ORDER_MANAGER))
class PriceBookUnusable(LogEvent, frozen=True, tag="price_book_unusable"):
    """The price book of this name cannot be used; the role waits for one that can."""

    price_book: str
    reason: str


@_logged("warning", by=(STRATEGY,))
class NoPriceBook(LogEvent, frozen=True, tag="no_price_book"):
    """There is no price book, so nothing is evaluated or traded until `attached`."""

    price_book: str
    reason: str


@_logged("warning", by=(STRATEGY,))
class WakeUpLost(LogEvent, frozen=True, tag="wake_up_lost"):
    """The FIFO that wakes the strategy was removed from /dev/shm; it has made another one."""

    price_book: str


@_logged("warning", by=(STRATEGY,))
class ReaderPolls(LogEvent, frozen=True, tag="reader_polls"):
    """No wake-up slot is free: the reader polls for ticks until one is."""

    price_book: str
    reason: str


@_logged("warning", by=(STRATEGY,))
class RefillBegunAnew(LogEvent, frozen=True, tag="refill_begun_anew"):
    """The ring lapped the refill, which restarts so that the averages have no gap."""

    lapped_by: Ticks


@_logged("warning", by=(STRATEGY,))
class RefillShortened(LogEvent, frozen=True, tag="refill_shortened"):
    """The signal is too slow for all ticks of the ring: it is given the latest ones."""

    ticks: Ticks
    of: Ticks
    signal_us: Annotated[float, Meta(description="µs a tick")]
    reason: str


@_logged("warning", by=(STRATEGY,))
class RefillTakesLong(LogEvent, frozen=True, tag="refill_takes_long"):
    """The refill is not done yet."""

    refilled: Ticks
    of: Ticks
    left_s: Seconds
    reason: str


@_logged("info", by=(STRATEGY,))
class EvaluationStarted(LogEvent, frozen=True, tag="evaluation_started"):
    """The first tick of a tape is evaluated. `last_evaluated` is 0 if none was before."""

    tape: Tape
    last_evaluated: TickNumber
    first_evaluated: TickNumber


@_logged("error", by=(STRATEGY,))
class TicksLapped(LogEvent, frozen=True, tag="ticks_missed"):
    """The ring lapped the strategy. `last` is null for a tape that has ended."""

    first: TickNumber
    last: TickNumber | None
    where: Literal["ring"]
    tape: Tape
    ticks: Ticks


@_logged("warning", by=(STRATEGY,))
class SignalTooSlow(LogEvent, frozen=True, tag="signal_too_slow"):
    """The signal takes longer for a tick than ticks take to come."""

    signal_us: Annotated[float, Meta(description="µs a tick")]
    tick_interval_us: Us
    behind_s: Seconds
    reason: str


@_logged("warning", by=(STRATEGY,))
class SignalKeepsUp(LogEvent, frozen=True, tag="signal_keeps_up"):
    """The signal is fast enough again."""


@_logged("info", by=(STRATEGY,))
class NewsApplied(LogEvent, frozen=True, tag="news_applied"):
    """A sentiment is in force, from this tick on."""

    sentiment: Sentiment
    sequence: NewsNumber
    first_tick_sequence: TickNumber
    tape: Tape


@_logged("warning", by=(STRATEGY,))
class NewsSilent(LogEvent, frozen=True, tag="news_silent"):
    """The news is too old: from this tick on there is no news signal."""

    first_tick_sequence: TickNumber
    tape: Tape


@_logged("info", by=(STRATEGY,))
class OrderSent(LogEvent, frozen=True, tag="order_sent"):
    """An order was sent. The signal explains it with the means, or with figures of its own."""

    order_id: int
    symbol: str
    side: Side
    quantity: Shares
    price: Price
    tape: Tape
    tick_sequence: TickNumber
    sentiment: Sentiment | None
    latency_us: Annotated[int, Meta(description="µs from SENT_NS of the tick")]
    short_mean: Explained = UNSET
    long_mean: Explained = UNSET


@_logged("info", by=(STRATEGY,))
class FillReported(LogEvent, frozen=True, tag="order_filled"):
    """The order manager has filled an order; `position` after it."""

    client_id: str
    order_id: int
    symbol: str
    side: Side
    trade_id: int | None
    position: Shares | None
    answered_ns: Ns | UnsetType = UNSET
    """Older logs do not have it."""
    stream: Literal["orders"] = "orders"


@_logged("warning", by=(STRATEGY,))
class RejectionReported(LogEvent, frozen=True, tag="order_rejected"):
    """The order manager has rejected an order; `position` is what the ledger says."""

    client_id: str
    order_id: int
    symbol: str
    side: Side
    reason: str | None
    position: Shares | None
    answered_ns: Ns | UnsetType = UNSET
    """Older logs do not have it."""
    stream: Literal["orders"] = "orders"


@_logged("error", by=(STRATEGY,))
class OrderError(LogEvent, frozen=True, tag="order_error"):
    """The order manager answered with an error, which is not final. Null: it names no order."""

    order_id: int | None
    reason: str
    stream: Literal["orders"] = "orders"


@_logged("warning", by=(STRATEGY,))
class OrderGivenUp(LogEvent, frozen=True, tag="order_given_up"):
    """An order is not sent again: it is too old, and was answered only with errors."""

    client_id: str
    order_id: int
    symbol: str
    side: Side
    quantity: Shares
    reason: str
    stream: Literal["orders"] = "orders"


@_logged("error", by=(STRATEGY,))
class OrderIdsUsedUp(LogEvent, frozen=True, tag="order_ids_used_up"):
    """The client_id has no further order_id: no order is sent any more."""

    client_id: str
    last_order_id: int
    reason: str
    stream: Literal["orders"] = "orders"


@_logged("warning", by=(STRATEGY,))
class DecidingStopped(LogEvent, frozen=True, tag="deciding_stopped"):
    """Too many orders are unanswered to decide anything."""

    unanswered: Annotated[int, Meta(description="orders")]


@_logged("warning", by=(STRATEGY,))
class DecidingResumed(LogEvent, frozen=True, tag="deciding_resumed"):
    """There is room for orders again."""

    unanswered: Annotated[int, Meta(description="orders")]


@_logged("error", by=(STRATEGY,))
class StateNotWritten(LogEvent, frozen=True, tag="state_not_written"):
    """The last evaluated tick cannot be stored: a successor cannot log which ticks it missed."""

    path: str
    reason: str | None


@_logged("warning", by=(STRATEGY,))
class DecisionsNotRecorded(LogEvent, frozen=True, tag="decisions_not_recorded"):
    """The decision log of this tape cannot be created; trading continues."""

    path: str
    reason: str | None


# Order manager


@_logged("info", by=(ORDER_MANAGER,))
class ClientLoggedOn(LogEvent, frozen=True, tag="client_logged_on"):
    """A logon was acknowledged."""

    stream: str
    peer: Peer
    client_id: str
    last_order_id: int
    positions: Positions


@_logged("warning", by=(ORDER_MANAGER,))
class ClientsLoggedOn(CountedEvent, frozen=True, tag="clients_logged_on"):
    """Further logons were acknowledged, beyond those that have a line each."""

    examples: Annotated[Examples, Meta(description="the first ones: peer, client_id")]
    stream: str


@_logged("warning", by=(ORDER_MANAGER,))
class ClientsWithoutToken(CountedEvent, frozen=True, tag="clients_without_token"):
    """Clients were disconnected, because they did not log on with the token of `token_file`."""

    examples: ClientExamples
    stream: str


@_logged("warning", by=(ORDER_MANAGER,))
class ClientIdContested(LogEvent, frozen=True, tag="client_id_contested"):
    """Two clients of one client_id replace each other, again and again."""

    client_id: str
    peers: Annotated[list[str], Meta(description="host:port, the earlier one first")]
    reason: str


@_logged("warning", by=(ORDER_MANAGER,))
class MalformedMessages(CountedEvent, frozen=True, tag="malformed_frames"):
    """Frames are no messages; each was answered with an error."""

    examples: ClientExamples
    stream: str


@_logged("info", by=(ORDER_MANAGER,))
class OrderFilled(LogEvent, frozen=True, tag="order_filled"):
    """An order is booked as filled; `position` after it."""

    client_id: str
    order_id: int
    symbol: str
    side: Side
    quantity: Shares
    price: Price
    position: Shares | None
    trade_id: int | None


@_logged("warning", by=(ORDER_MANAGER,))
class OrderRejected(LogEvent, frozen=True, tag="order_rejected"):
    """An order is booked as rejected."""

    client_id: str
    order_id: int
    symbol: str
    side: Side
    quantity: Shares
    price: Price
    position: Shares | None
    reason: str | None


@_logged("info", by=(ORDER_MANAGER,))
class OrdersBooked(LogEvent, frozen=True, tag="orders_booked"):
    """The orders of one commit, if they are too many for a line each."""

    filled: Annotated[int, Meta(description="orders")]
    rejected: Annotated[int, Meta(description="orders")]
    first_trade_id: int | UnsetType | None = UNSET
    last_trade_id: int | UnsetType | None = UNSET
    first_rejection: Annotated[str, Meta(description="reason")] | UnsetType | None = UNSET


@_logged("warning", by=(ORDER_MANAGER,))
class OrdersNotBooked(CountedEvent, frozen=True, tag="orders_not_booked"):
    """Orders were answered with an error, because the ledger cannot be used."""

    examples: Annotated[Examples, Meta(description="the first ones: client_id, peer, order_id")]
    stream: str


@_logged("error", by=(ORDER_MANAGER,))
class LedgerFailed(LogEvent, frozen=True, tag="ledger_failed"):
    """Orders are not booked, until `ledger_recovered`."""

    reason: str


@_logged("error", by=(ORDER_MANAGER,))
class LedgerLost(LogEvent, frozen=True, tag="ledger_lost"):
    """The ledger was removed or replaced. Orders are not booked, until `ledger_recovered`."""

    ledger: Annotated[str, Meta(description="path")]
    reason: str


@_logged("warning", by=(ORDER_MANAGER,))
class LedgerBegun(LogEvent, frozen=True, tag="ledger_begun"):
    """There is a new, empty ledger where one may have been before."""

    ledger: Annotated[str, Meta(description="path")]
    reason: str


@_logged("error", by=(ORDER_MANAGER,))
class LedgerSetApart(LogEvent, frozen=True, tag="ledger_set_apart"):
    """The ledger has what the cluster's stream does not have. It has another name now."""

    ledger: Annotated[str, Meta(description="path")]
    apart: Annotated[str, Meta(description="path")]
    reason: str


@_logged("error", by=(ORDER_MANAGER,))
class JournalRefused(LogEvent, frozen=True, tag="journal_refused"):
    """The ledger cannot be made of the cluster's stream: the role ends."""

    reason: str


@_logged("warning", by=(ORDER_MANAGER,))
class LedgerRecovered(LogEvent, frozen=True, tag="ledger_recovered"):
    """Orders are booked again."""

    ledger: Annotated[str, Meta(description="path")]


@_logged("warning", by=(ORDER_MANAGER,))
class TradingHalted(LogEvent, frozen=True, tag="trading_halted"):
    """The halt file is there: every order is rejected."""


@_logged("warning", by=(ORDER_MANAGER,))
class TradingResumed(LogEvent, frozen=True, tag="trading_resumed"):
    """The halt file is gone."""


@_logged("error", by=(ORDER_MANAGER,))
class LossLimitReached(LogEvent, frozen=True, tag="loss_limit_reached"):
    """A client has lost more than `max_loss`; logged again when the order manager has restarted."""

    client_id: str
    loss: Money | None
    limit: Money


@_logged("info", by=(ORDER_MANAGER,))
class LossLimitLifted(LogEvent, frozen=True, tag="loss_limit_lifted"):
    """A person has removed the file of a client at its loss limit."""

    client_id: str


@_logged("info", by=(ORDER_MANAGER,))
class PriceCollarAttached(LogEvent, frozen=True, tag="attached"):
    """The price collar and the loss limit have a price book."""

    price_book: str


@_logged("warning", by=(ORDER_MANAGER,))
class NoPriceCollar(LogEvent, frozen=True, tag="no_price_collar"):
    """At the start there is neither a price book nor an orderbook for the collar or `max_loss`."""

    price_book: str
    reason: str


# Watchdog


@_logged("info", by=(WATCHDOG,))
class RoleEnded(LogEvent, frozen=True, tag="role_ended"):
    """A process has ended; supervisord is woken."""

    program: str
    pid: int


@_logged("error", by=(WATCHDOG,))
class RoleGaveUp(LogEvent, frozen=True, tag="role_gave_up"):
    """supervisord has given a program up (FATAL)."""

    program: str
    reason: str


@_logged("error", by=(WATCHDOG,))
class RoleHung(LogEvent, frozen=True, tag="role_hung"):
    """A process has stopped beating and is killed."""

    program: str
    pid: int
    silent_s: Seconds
    where: Annotated[str, Meta(description="place in the code")] | UnsetType = UNSET
    reason: str | UnsetType = UNSET


@_logged("warning", by=(WATCHDOG,))
class RoleWasSilent(LogEvent, frozen=True, tag="role_was_silent"):
    """A process did not beat for too long, and beat again before it was killed."""

    program: str
    pid: int
    silent_s: Seconds
    where: Annotated[str, Meta(description="place in the code")] | UnsetType = UNSET
    reason: str | UnsetType = UNSET


@_logged("warning", by=(WATCHDOG,))
class LogReopened(LogEvent, frozen=True, tag="log_reopened"):
    """A log was removed, moved or replaced; supervisord writes to this file again."""

    file: str


@_logged("warning", by=(WATCHDOG,))
class SupervisordSilent(LogEvent, frozen=True, tag="supervisord_silent"):
    """supervisord does not answer."""

    reason: str


@_logged("error", by=(WATCHDOG,))
class AlertsEnded(LogEvent, frozen=True, tag="alerts_ended"):
    """The process that runs the command of the alerts has ended; it is started again."""

    reason: str


# Alerts


@_logged("info", by=(ALERTS,))
class AlertStarted(LogEvent, frozen=True, tag="alert_started"):
    """The command is started for an event of this program, which was logged at `happened_at`."""

    kind: str
    program: str
    happened_at: Timestamp


@_logged("info", by=(ALERTS,))
class AlertSent(LogEvent, frozen=True, tag="alert_sent"):
    """The command has succeeded for an alert."""

    kind: str
    program: str
    happened_at: Timestamp


@_logged("error", by=(ALERTS,))
class AlertFailed(LogEvent, frozen=True, tag="alert_failed"):
    """The command has failed for an alert, which is not tried again."""

    kind: str
    program: str
    happened_at: Timestamp
    reason: str


# Writing

_NAMES: Final = {event: one.name for event, one in _DEFINITIONS.items()}
_LEVELS: Final = {event: one.levels[0] for event, one in _DEFINITIONS.items()}


def log_event(
    logger: Any,
    event: LogEvent,
    level: Level | None = None,
    more: Mapping[str, float] | None = None,
) -> None:
    """Write an event to a structlog logger, at its first level or at another one of its levels.

    `more` are figures under names that only a user's signal knows. Raises TypeError if one of them
    is a field of the event.
    """
    kind = type(event)
    fields = {key: value for key, value in asdict(event).items() if value is not UNSET}
    write = getattr(logger, level or _LEVELS[kind])
    if more:
        write(_NAMES[kind], **fields, **more)
    else:
        write(_NAMES[kind], **fields)


# Reading


class LogLine(NamedTuple):
    """A line of a role's log."""

    timestamp: str
    """UTC, ISO 8601."""
    level: str
    role: str
    """`strategy:NAME` of a further strategy."""
    name: str
    """What `event` says."""
    event: LogEvent | None
    """None if no event of this role has this name and these fields."""

    @property
    def logged_at(self) -> datetime | None:
        """When it was logged; None if the timestamp does not say."""
        try:
            logged_at = datetime.fromisoformat(self.timestamp)
        except ValueError:
            return None
        return logged_at if logged_at.tzinfo else None


class _Header(Struct):
    event: str
    timestamp: str = ""
    level: str = ""
    role: str = ""


NO_EVENT: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What decoding raises for a line that is no event: cut off, or part of a traceback."""

_header: Final = msgspec.json.Decoder(_Header)
_EVENTS: Final[dict[tuple[str, str], list[type[LogEvent]]]] = {}
"""By role and name. The role "" stands for a line that names none."""
for _definition in _DEFINITIONS.values():
    for _role in (*_definition.roles, ""):
        _EVENTS.setdefault((_role, _definition.name), []).append(_definition.event)


@cache
def _decoder(event: type[LogEvent]) -> msgspec.json.Decoder[LogEvent]:
    """Make a decoder when it is needed first: most roles read no log, and start sooner."""
    return msgspec.json.Decoder(event)


def read_line(raw: bytes) -> LogLine | None:
    """Read a line of a role's log; None if it is no event at all."""
    try:
        header = _header.decode(raw)
    except NO_EVENT:
        return None
    for event in _EVENTS.get((header.role.partition(":")[0], header.event), ()):
        with suppress(*NO_EVENT):
            return _line(header, _decoder(event).decode(raw))
    return _line(header, None)


def _line(header: _Header, event: LogEvent | None) -> LogLine:
    return LogLine(header.timestamp, header.level, header.role, header.event, event)


# The table

PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "operations.md"
BEGIN: Final = "<!-- events: begin -->"
END: Final = "<!-- events: end -->"


def table() -> str:
    """Return the table of all events, in Markdown."""
    parts = []
    for roles, of_roles in groupby(
        sorted(definitions(), key=lambda one: _group(one.roles)), key=lambda one: one.roles
    ):
        title = "Every role" if roles == ROLES else ", ".join(f"`{role}`" for role in roles)
        parts.append(
            f"**{title}**\n\n| event | level | fields | meaning |\n| --- | --- | --- | --- |\n"
            + "".join(map(_row, of_roles))
        )
    return "\n".join(parts)


def _group(roles: tuple[str, ...]) -> tuple[int, ...]:
    """What is logged by many roles comes first."""
    return (-len(roles), *(ROLES.index(role) for role in roles))


def _row(definition: Definition) -> str:
    fields = ", ".join(map(_field, msgspec.structs.fields(definition.event)))
    meaning = (definition.event.__doc__ or "").replace("|", "\\|")
    return f"| `{definition.name}` | {', '.join(definition.levels)} | {fields} | {meaning} |\n"


def _field(field: msgspec.structs.FieldInfo) -> str:
    kind = msgspec.inspect.type_info(field.type)
    kinds = kind.types if isinstance(kind, msgspec.inspect.UnionType) else (kind,)
    notes = [note for one in kinds if (note := _note(one))]
    if field.default is UNSET:
        notes.append("not always there")
    return f"`{field.name}`" + (f" ({'; '.join(notes)})" if notes else "")


def _note(kind: msgspec.inspect.Type) -> str:
    """Return the unit of a field, or the values that it may have."""
    if isinstance(kind, msgspec.inspect.Metadata):
        return str((kind.extra_json_schema or {}).get("description", ""))
    if isinstance(kind, msgspec.inspect.LiteralType):
        return ", ".join(map(str, kind.values))
    return "or null" if isinstance(kind, msgspec.inspect.NoneType) else ""


def with_table(page: str) -> str:
    """Return the page with the present table between its two markers. Raises ValueError."""
    before, after = page[: page.index(BEGIN)], page[page.index(END) :]
    return f"{before}{BEGIN}\n{table()}{after}"


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
