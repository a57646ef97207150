"""Faults and recoveries, derived from the roles' logs as they are written. Pure.

An incident begins with one event and ends with another, of the same program and, for a connection,
of the same stream, or when the program has started again. Some have no duration, such as missed
ticks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from typing import Final

from msgspec.structs import replace

from lib.dashboard.log_lines import TimedEvent
from lib.dashboard.view import Incident
from lib.process.log_events import (
    TAPE,
    AlertFailed,
    AlertsEnded,
    Attached,
    CannotStart,
    ClientIdContested,
    Crashed,
    Disconnected,
    FileLost,
    HeartbeatFailed,
    HeartbeatRecovered,
    LedgerBegun,
    LedgerFailed,
    LedgerLost,
    LedgerRecovered,
    LogEvent,
    LogReopened,
    LossLimitLifted,
    LossLimitReached,
    MajorityBack,
    NoMajority,
    NoPriceBook,
    NoPriceCollar,
    OrdersConnected,
    PriceBookLost,
    PriceBookUnusable,
    PriceCollarAttached,
    RefillShortened,
    RefillTakesLong,
    RoleEnded,
    RoleGaveUp,
    RoleHung,
    RoleWasSilent,
    SettingsRefused,
    SignalKeepsUp,
    SignalTooSlow,
    Started,
    StartTakesLong,
    StateRefused,
    Stopped,
    StreamClaimed,
    StreamConnected,
    StreamLost,
    StreamOvertaken,
    SupervisordSilent,
    TicksLapped,
    TicksMissed,
    TradingHalted,
    TradingResumed,
)
from lib.stack.event_phrases import phrase

KEPT: Final = 50
"""How many closed incidents are kept. Open ones are bounded: one of a kind for each program."""

_PROCESS: Final = "process"
_BEGINS: Final[dict[type[LogEvent], str]] = {
    HeartbeatFailed: "heartbeat",
    LedgerFailed: "ledger",
    LedgerLost: "ledger",
    NoMajority: "majority",
    TradingHalted: "trading",
    PriceBookUnusable: "price book",
    NoPriceBook: "price book",
    NoPriceCollar: "price book",
    StartTakesLong: "start",
    RefillShortened: "price book",
    RefillTakesLong: "price book",
    SignalTooSlow: "signal",
}
"""Events that open an incident, with its kind. A program has one open incident of a kind; a further
event of the kind updates its text."""
_ENDS: Final[dict[type[LogEvent], str]] = {
    HeartbeatRecovered: "heartbeat",
    LedgerRecovered: "ledger",
    MajorityBack: "majority",
    TradingResumed: "trading",
    Attached: "price book",
    PriceCollarAttached: "price book",
    SignalKeepsUp: "signal",
}
_NOTED: Final[frozenset[type[LogEvent]]] = frozenset(
    {
        AlertFailed,
        AlertsEnded,
        CannotStart,
        ClientIdContested,
        Crashed,
        FileLost,
        LedgerBegun,
        LogReopened,
        PriceBookLost,
        SettingsRefused,
        StateRefused,
        StreamLost,
        StreamOvertaken,
        SupervisordSilent,
    }
)
"""Events that are incidents without a duration: they take no time, or their end is not logged."""


class Incidents:
    """Derives incidents from all log lines, in order of time."""

    def __init__(self) -> None:
        self._over: deque[Incident] = deque(maxlen=KEPT)
        self._going_on: dict[tuple[str, str], Incident] = {}
        """By program and kind."""

    def take(self, program: str, line: TimedEvent) -> None:
        """A line was written to the log of this program."""
        event, at = line.event, line.at
        match event:
            case RoleWasSilent():
                self._note(event.program, at, phrase(event))
            case RoleHung():
                self._begin(event.program, _PROCESS, at - event.silent_s, phrase(event))
            case Stopped() if program != TAPE:  # its work has an end
                self._begin(program, _PROCESS, at, phrase(event))
            case RoleEnded():
                self._begin(event.program, _PROCESS, at, phrase(event))
            case RoleGaveUp():
                self._end(event.program, _PROCESS, None)
                self._begin(event.program, _PROCESS, at, phrase(event))
            case Started():  # a new process: the incidents of the one before it are over
                for where, kind in list(self._going_on):
                    if where == program:
                        self._end(where, kind, at)
            case Disconnected():
                self._begin(program, event.stream, at, phrase(event))
            case StreamConnected() | OrdersConnected():
                self._end(program, event.stream, at)
            case TicksMissed() | TicksLapped() if event.ticks:
                self._note(program, at, phrase(event))
            case StreamClaimed() if event.is_takeover:
                self._note(program, at, phrase(event))
            case LossLimitReached():
                self._begin(program, _loss_limit(event.client_id), at, phrase(event))
            case LossLimitLifted():
                self._end(program, _loss_limit(event.client_id), at)
            case LogEvent() if type(event) in _NOTED:
                self._note(program, at, phrase(event))
            case LogEvent() if type(event) in _BEGINS:
                self._begin_or_update(program, _BEGINS[type(event)], at, phrase(event))
            case LogEvent() if type(event) in _ENDS:
                self._end(program, _ENDS[type(event)], at)

    def end_others(self, programs: Collection[str]) -> None:
        """End the incidents of programs that are none of these: no start will end them.

        Their logs are of an earlier run, whose supervisord had them.
        """
        for where, kind in list(self._going_on):
            if where not in programs:
                self._end(where, kind, None)

    def latest(self) -> list[Incident]:
        """Return open incidents first, then closed ones; each the newest first."""
        going_on = sorted(self._going_on.values(), key=lambda one: -one.at)
        return [*going_on, *sorted(self._over, key=lambda one: -one.at)]

    def _begin(self, where: str, kind: str, at: float, what: str) -> None:
        # A role that hangs is killed, and ends: that is one incident.
        self._going_on.setdefault(
            (where, kind), Incident(at, where, what, is_over=False, duration_s=None)
        )

    def _begin_or_update(self, where: str, kind: str, at: float, what: str) -> None:
        self._begin(where, kind, at, what)
        self._going_on[where, kind] = replace(self._going_on[where, kind], what=what)

    def _end(self, where: str, kind: str, at: float | None) -> None:
        incident = self._going_on.pop((where, kind), None)
        if incident is not None:
            duration_s = None if at is None else max(0.0, at - incident.at)
            self._over.append(replace(incident, is_over=True, duration_s=duration_s))

    def _note(self, where: str, at: float, what: str) -> None:
        self._over.append(Incident(at, where, what, is_over=True, duration_s=None))


def _loss_limit(client_id: str) -> str:
    """Return the kind of incident: of these, a program has one open for each client."""
    return f"loss limit of {client_id}"
