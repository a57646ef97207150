"""Faults and recoveries, derived from the roles' logs as they are written. Pure.

An incident begins with one event and ends with another, of the same program and, for a connection,
of the same stream, or when the program has started again. Some have no duration, such as missed
ticks.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from msgspec.structs import replace

from lib.dashboard.counters import ORDERS
from lib.dashboard.log_lines import LogLine
from lib.dashboard.view import Incident

KEPT: Final = 50
"""How many closed incidents are kept. Open ones are bounded: one of a kind for each program."""

_PROCESS: Final = "process"
_BEGINS: Final = {
    "ledger_failed": ("ledger", "the ledger cannot be written"),
    "trading_halted": ("trading", "trading is halted"),
    "price_book_unusable": ("price book", "the price book is of no use"),
    "start_takes_long": ("start", "takes long to start"),
    "refill_shortened": ("price book", "refills its averages"),
    "refill_takes_long": ("price book", "refills its averages"),
    "signal_too_slow": ("signal", "too slow"),
}
"""Events that open an incident, with its kind and text. A program has one open incident of a kind;
a further event of the kind updates its text."""
_ENDS: Final = {
    "ledger_recovered": "ledger",
    "trading_resumed": "trading",
    "attached": "price book",
    "signal_keeps_up": "signal",
}
_NOTED: Final = {
    "cannot_start": "cannot start",
    "crashed": "crashed",
    "client_id_contested": "a client_id is contested",
    "settings_refused": "its settings were refused",
    "supervisord_silent": "supervisord does not answer",
}
"""Events that are incidents without a duration: they take no time, or their end is not logged."""


class Incidents:
    """Derives incidents from all log lines, in order of time."""

    def __init__(self) -> None:
        self._over: deque[Incident] = deque(maxlen=KEPT)
        self._going_on: dict[tuple[str, str], Incident] = {}
        """By program and kind."""

    def take(self, program: str, line: LogLine) -> None:
        """Take a line of the log of this program."""
        event = line.event
        if event == "role_was_silent":
            self._note(
                line.program, line.at, _with_reason(f"was silent for {line.silent_s:.1f} s", line)
            )
        elif event == "role_hung":
            what = f"hung for {line.silent_s:.1f} s{_at(line)}"
            what = _with_reason(f"{what}{';' if line.where else ','} killed", line)
            self._begin(line.program, _PROCESS, line.at - line.silent_s, what)
        elif event == "stopped":
            self._begin(program, _PROCESS, line.at, "stopped as asked")
        elif event == "role_ended":
            self._begin(line.program, _PROCESS, line.at, "its process has ended")
        elif event == "role_gave_up":
            self._end(line.program, _PROCESS, None)
            why = line.reason or "its last starts have failed"
            self._begin(line.program, _PROCESS, line.at, f"given up: {why}")
        elif event == "started":  # the open incidents were those of its predecessor
            for where, kind in list(self._going_on):
                if where == program:
                    self._end(where, kind, line.at)
        elif event == "disconnected":
            stream = line.stream or ORDERS
            self._begin(
                program, stream, line.at, _with_reason(f"lost the connection for {stream}", line)
            )
        elif event == "connected":
            self._end(program, line.stream or ORDERS, line.at)
        elif line.ticks_missed:
            self._note(program, line.at, f"{line.ticks_missed:,} ticks missed ({line.where})")
        elif event in _NOTED:
            self._note(program, line.at, _with_reason(f"{_NOTED[event]}{_at(line)}", line))
        elif event in _BEGINS:
            kind, what = _BEGINS[event]
            self._begin_or_update(program, kind, line.at, _with_reason(f"{what}{_at(line)}", line))
        elif event in _ENDS:
            self._end(program, _ENDS[event], line.at)

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


def _at(line: LogLine) -> str:
    return f" at {line.where}" if line.where else ""


def _with_reason(what: str, line: LogLine) -> str:
    return f"{what}: {line.reason}" if line.reason else what
