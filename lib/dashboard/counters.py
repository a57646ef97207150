"""What the roles' logs count: connections, malformed frames, ticks missed. Pure.

The counts begin with the dashboard, as counters of Prometheus may.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from lib.dashboard.log_lines import LogLine
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

ORDER_MANAGER: Final = "order_manager"


class Counters:
    """Takes every line that was written since the start."""

    def __init__(self) -> None:
        self.ticks_missed = Counter[str]()
        """By where they were missed."""
        self.connections = Counter[tuple[str, str]]()
        """By program and stream: how often it has come to stand."""
        self.connections_lost = Counter[tuple[str, str]]()
        self.rejected_frames = Counter[tuple[str, str]]()
        """By program and kind."""
        self.orders = Counter({"filled": 0, "rejected": 0})
        """By status, as the order manager answered them."""
        self.events = Counter[tuple[str, str]]()
        """By program and level."""

    def take(self, program: str, line: LogLine) -> None:
        """A line was written to the log of this program."""
        self.events[program, line.level] += 1
        event = line.event
        match event:
            case TicksMissed() | TicksLapped():
                self.ticks_missed[event.where] += line.ticks_missed
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
