"""What an event means, in a few words for people: an incident, an alert. Pure.

`lib.stack.log_follower.event_text` shows any event by its fields; a phrase says what happened.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from lib.process.log_events import (
    AlertFailed,
    AlertsEnded,
    CannotStart,
    ClientIdContested,
    Crashed,
    Disconnected,
    FileLost,
    HeartbeatFailed,
    LedgerBegun,
    LedgerFailed,
    LedgerLost,
    LogEvent,
    LogReopened,
    LossLimitReached,
    NoMajority,
    NoPriceBook,
    NoPriceCollar,
    PriceBookLost,
    PriceBookUnusable,
    RefillShortened,
    RefillTakesLong,
    RoleEnded,
    RoleGaveUp,
    RoleHung,
    RoleWasSilent,
    SettingsRefused,
    SignalTooSlow,
    StartTakesLong,
    StateRefused,
    Stopped,
    StreamClaimed,
    StreamLost,
    StreamOvertaken,
    SupervisordSilent,
    TapeEnded,
    TicksLapped,
    TicksMissed,
    TradingHalted,
)

_PHRASES: Final[dict[type[LogEvent], str]] = {
    AlertFailed: "an alert could not be sent",
    AlertsEnded: "the process of the alerts has ended",
    CannotStart: "cannot start",
    ClientIdContested: "a client_id is contested",
    Crashed: "crashed",
    HeartbeatFailed: "cannot write its heartbeat",
    LedgerBegun: "a new ledger begins",
    LedgerFailed: "the ledger cannot be written",
    LedgerLost: "the ledger is lost",
    NoPriceBook: "has no price book",
    NoPriceCollar: "fills orders without latest prices",
    PriceBookLost: "the price book is lost",
    PriceBookUnusable: "the price book cannot be used",
    RefillShortened: "refills its averages",
    RefillTakesLong: "refills its averages",
    RoleEnded: "its process has ended",
    SettingsRefused: "its settings were refused",
    SignalTooSlow: "too slow",
    StartTakesLong: "takes long to start",
    StateRefused: "its state was refused",
    Stopped: "stopped as asked",
    SupervisordSilent: "supervisord does not answer",
    TradingHalted: "trading is halted",
}
"""The events whose fields are not in their phrase, except `where` and `reason`."""


def phrase(event: LogEvent) -> str:
    """Return what has happened to the program that the event is about.

    Raises KeyError for an event that is neither an incident nor an alert.
    """
    match event:
        case RoleWasSilent():
            what = f"was silent for {event.silent_s:.1f} s"
        case RoleHung():
            what = (
                f"hung for {event.silent_s:.1f} s{_at(event)}{';' if event.where else ','} killed"
            )
        case RoleGaveUp():
            return f"given up: {event.reason or 'its last starts have failed'}"
        case Disconnected():
            what = f"lost the connection for {event.stream}"
        case TicksMissed() | TicksLapped():
            what = f"{event.ticks:,} ticks missed ({event.where})"
        case FileLost():
            what = f"{Path(event.file).name} was lost"
        case LossLimitReached():
            what = f"{event.client_id} has reached its loss limit"
        case LogReopened():
            what = f"{Path(event.file).name} was lost: it is written again"
        case NoMajority():
            what = f"no majority of the brokers can be reached: {event.stream} has no leader"
        case StreamClaimed():
            what = f"{event.host} writes {event.stream} now, in place of {event.former}"
        case StreamOvertaken():
            what = f"another host has claimed {event.stream}: this one is a standby again"
        case StreamLost():
            what = f"the brokers have lost what {event.stream} had up to message {event.last:,}"
        case TapeEnded():
            what = f"the tape has ended after {event.ticks:,} ticks"
        case _:
            what = f"{_PHRASES[type(event)]}{_at(event)}"
    reason = getattr(event, "reason", "")
    return f"{what}: {reason}" if reason else what


def _at(event: LogEvent) -> str:
    where = getattr(event, "where", "")
    return f" at {where}" if where else ""
