"""For which events the operator is called, and how often. Pure: log entries go in, alerts come out.

There is at most one alert a minute of a kind (the name of the event) and a role (the program that
it is about). What happens within that minute is held back: the latest of these events is sent when
the minute is over, with the number of those that it stands for.

What was sent is logged. So the successor of a process that was killed goes on from there
(`AlertRules.resume`).

That supervisord has given a program up is taken from its own log. The watchdog asks it once a
second, and main.py may have ended the stack by then.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from msgspec import UNSET, Struct
from msgspec.structs import asdict

from lib.clock import MILLISECOND_NS, SECOND_NS, utc_stamp
from lib.process.log_events import (
    ALERTS,
    AlertFailed,
    AlertSent,
    AlertStarted,
    LedgerBegun,
    LedgerFailed,
    LedgerLost,
    LogEvent,
    LossLimitReached,
    NoMajority,
    PriceBookLost,
    RoleGaveUp,
    RoleHung,
    Started,
    Stopped,
    StreamClaimed,
    StreamLost,
    StreamOvertaken,
    TapeEnded,
    TicksLapped,
    TicksMissed,
    TradingHalted,
    name_of,
    read_line,
)
from lib.stack.event_phrases import phrase
from lib.stack.log_follower import GIVEN_UP, SUPERVISORD, read_supervisor_line, supervisor_ms

ALERTED: Final[frozenset[type[LogEvent]]] = frozenset(
    {
        LedgerBegun,
        LedgerFailed,
        LedgerLost,
        LossLimitReached,
        NoMajority,
        PriceBookLost,
        RoleGaveUp,
        RoleHung,
        StreamClaimed,
        StreamLost,
        StreamOvertaken,
        TapeEnded,
        TicksLapped,
        TicksMissed,
        TradingHalted,
    }
)
"""The events that are alerts."""
EVERY_NS: Final = 60 * SECOND_NS
"""The shortest time between two alerts of a kind and role."""
RESUME_NS: Final = 120 * SECOND_NS
"""How far back a successor looks for what was not sent: what is held back for a minute, and the
longest wait until the successor starts."""
MAX_TOPICS: Final = 256
"""How many kinds and roles are remembered at once."""

_OWN: Final = frozenset({AlertFailed, AlertSent, AlertStarted, Started, Stopped})
"""The events of the alerts' process that `resume` reads."""


class BothClocks(NamedTuple):
    """One moment, by both clocks."""

    monotonic_ns: int
    wall_ns: int
    """Since 1970."""


class LoggedEvent(NamedTuple):
    """An event of a log."""

    at_ns: int
    """When it was logged (monotonic), as far as the wall clock can be trusted."""
    timestamp: str
    level: str
    program: str
    """Which program it is about."""
    event: LogEvent


class Alert(Struct, frozen=True):
    """What the command gets, as JSON."""

    kind: str
    """The name of the event."""
    role: str
    """The program that it is about."""
    timestamp: str
    level: str
    message: str
    """Human-readable, one line."""
    stack: str
    """The var directory of the stack."""
    event: dict[str, Any]
    """The fields of the event."""
    suppressed: int
    """How many events of this kind and role were held back since the last alert about them, besides
    this one."""


@dataclass
class _Topic:
    """A kind and a role."""

    sent_ns: int | None = None
    """When the last alert was sent."""
    waiting: LoggedEvent | None = None
    """The event to send next."""
    suppressed: int = 0

    def may_send(self, now_ns: int) -> bool:
        return self.sent_ns is None or now_ns >= self.sent_ns + EVERY_NS


class AlertRules:
    """The alerts of one stack."""

    def __init__(self, stack: str) -> None:
        self._stack = stack
        self._topics: dict[tuple[str, str], _Topic] = {}

    def resume(self, entries: Iterable[LoggedEvent], began_ns: int, now_ns: int) -> None:
        """Take what was logged before the start of this process.

        An alert is due for what has happened since `began_ns`, and also for what happened before
        while a process like this one was at work, and was then killed; but for nothing that was
        sent, or is older than `RESUME_NS`. If the command was running when that process was killed,
        it may not have sent its alert: it is run again, after the minute.
        """
        in_order = sorted(entries, key=lambda entry: entry.at_ns)
        sent_until: dict[tuple[str, str], str] = {}
        for entry in in_order:
            match entry.event:
                case AlertStarted(kind, program):
                    self._topics[kind, program] = _Topic(sent_ns=entry.at_ns)
                case AlertSent(kind, program, until) | AlertFailed(kind, program, until):
                    sent_until[kind, program] = until
        was_at_work = False
        for entry in in_order:
            if isinstance(entry.event, Started | Stopped):
                was_at_work = isinstance(entry.event, Started)
                continue
            is_unsent = entry.timestamp > sent_until.get(_topic(entry), "")
            if is_unsent and (was_at_work or entry.at_ns >= began_ns):
                self.take(entry, now_ns)

    def take(self, entry: LoggedEvent, now_ns: int) -> bool:
        """Take an event, unless it is no alert or old; return False if there is no room for it.

        A log that was replaced (by an editor, say) is read again from its start: what is older than
        `RESUME_NS` has had its alert.
        """
        if type(entry.event) not in ALERTED or entry.at_ns < now_ns - RESUME_NS:
            return True
        if _topic(entry) not in self._topics and not self.has_room(now_ns):
            return False
        topic = self._topics.setdefault(_topic(entry), _Topic())
        topic.suppressed += topic.waiting is not None
        topic.waiting = entry
        return True

    def has_room(self, now_ns: int) -> bool:
        """Return whether a further kind and role can be taken; forget those that are over."""
        if len(self._topics) >= MAX_TOPICS:
            self._topics = {
                key: one
                for key, one in self._topics.items()
                if one.waiting or not one.may_send(now_ns)
            }
        return len(self._topics) < MAX_TOPICS

    def next_alert(self, now_ns: int) -> Alert | None:
        """Return the alert to send now, None if none is due: new topics first, then in turns."""
        due = [
            (topic, topic.waiting)
            for topic in self._topics.values()
            if topic.waiting and topic.may_send(now_ns)
        ]
        if not due:
            return None
        topic, entry = min(due, key=lambda one: one[0].sent_ns or 0)
        suppressed = topic.suppressed
        topic.sent_ns, topic.waiting, topic.suppressed = now_ns, None, 0
        kind, role = _topic(entry)
        return Alert(
            kind=kind,
            role=role,
            timestamp=entry.timestamp,
            level=entry.level,
            message=f"{role}: {phrase(entry.event)}",
            stack=self._stack,
            event={k: v for k, v in asdict(entry.event).items() if v is not UNSET},
            suppressed=suppressed,
        )


def read_logged_event(program: str, raw: bytes, now: BothClocks) -> LoggedEvent | None:
    """Read a line of a program's log, or of supervisord's; None for what the rules do not need."""
    if program == SUPERVISORD:
        return _read_given_up(raw.decode(errors="replace"), now)
    line = read_line(raw)
    if line is None or line.event is None:
        return None
    event = line.event
    is_own = type(event) in _OWN and line.role == ALERTS
    if not is_own and (type(event) not in ALERTED or isinstance(event, RoleGaveUp)):
        return None
    if isinstance(event, TicksLapped) and not event.ticks:
        return None
    if isinstance(event, StreamClaimed) and not event.is_takeover:
        return None
    if (at := line.logged_at) is None:
        return None
    logged_ns = round(at.timestamp() * SECOND_NS)
    about = getattr(event, "program", program)
    return LoggedEvent(_monotonic(logged_ns, now), line.timestamp, line.level, about, event)


def _read_given_up(text: str, now: BothClocks) -> LoggedEvent | None:
    read = read_supervisor_line(text)
    logged_ms = supervisor_ms(text, now.wall_ns // MILLISECOND_NS)
    if read is None or read.event != GIVEN_UP or logged_ms is None:
        return None
    logged_ns = logged_ms * MILLISECOND_NS
    event = RoleGaveUp(program=read.program, reason=read.detail)
    return LoggedEvent(
        _monotonic(logged_ns, now), utc_stamp(logged_ns), "error", read.program, event
    )


def _monotonic(wall_ns: int, now: BothClocks) -> int:
    return now.monotonic_ns - max(0, now.wall_ns - wall_ns)


def _topic(entry: LoggedEvent) -> tuple[str, str]:
    return name_of(type(entry.event)), entry.program
