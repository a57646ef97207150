"""Counts events in the roles' logs: connections, malformed frames, ticks missed. Pure.

The counts begin at the start of the dashboard, as Prometheus allows for counters.
"""

from __future__ import annotations

from collections import Counter

from lib.dashboard.log_lines import TimedEvent
from lib.process.log_events import (
    Disconnected,
    MalformedFrames,
    MalformedMessages,
    OrderFilled,
    OrderRejected,
    OrdersBooked,
    OrdersConnected,
    StreamConnected,
    TicksLapped,
    TicksMissed,
    UnknownSymbols,
    name_of,
)


class Counters:
    """Counts every line that was written since the start."""

    def __init__(self) -> None:
        self.ticks_missed = Counter[str]()
        """Missed ticks by place (`where`)."""
        self.connections = Counter[tuple[str, str]]()
        """Established connections by program and stream."""
        self.connections_lost = Counter[tuple[str, str]]()
        self.rejected_frames = Counter[tuple[str, str]]()
        """Rejected frames by program and kind."""
        self.orders = Counter({"filled": 0, "rejected": 0})
        """Answered orders by status, from the order manager's log."""
        self.events = Counter[tuple[str, str]]()
        """Log lines by program and level."""

    def take(self, program: str, line: TimedEvent) -> None:
        """Count a line of the log of this program."""
        self.events[program, line.level] += 1
        event = line.event
        match event:
            case TicksMissed() | TicksLapped():
                self.ticks_missed[event.where] += event.ticks
            case StreamConnected() | OrdersConnected():
                self.connections[program, event.stream] += 1
            case Disconnected():
                self.connections_lost[program, event.stream] += 1
            case OrdersBooked():
                self.orders["filled"] += event.filled
                self.orders["rejected"] += event.rejected
            case OrderFilled():
                self.orders["filled"] += 1
            case OrderRejected():
                self.orders["rejected"] += 1
            case MalformedFrames() | MalformedMessages() | UnknownSymbols():
                self.rejected_frames[program, name_of(type(event))] += event.count
