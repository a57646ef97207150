"""Counts events in the roles' logs: connections, malformed frames, ticks missed. Pure.

The counts begin at the start of the dashboard, as Prometheus allows for counters.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from lib.dashboard.log_lines import LogLine

REJECTED_FRAMES: Final = frozenset({"malformed_frames", "unknown_symbols"})
"""The events that have a count of frames."""


ORDER_MANAGER: Final = "order_manager"
ORDER_EVENTS: Final = {"order_filled": "filled", "order_rejected": "rejected"}
"""The order manager's events by status. The strategy logs its own orders under the same names."""
ORDERS: Final = "orders"
"""The stream's name for a connection to the order manager, whose log lines name no stream."""


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

    def take(self, program: str, line: LogLine) -> None:
        """Count a line of the log of this program."""
        self.events[program, line.level] += 1
        if line.ticks_missed:
            self.ticks_missed[line.where] += line.ticks_missed
        elif line.event == "connected":
            self.connections[program, line.stream or ORDERS] += 1
        elif line.event == "disconnected":
            self.connections_lost[program, line.stream or ORDERS] += 1
        elif line.event == "orders_booked":
            self.orders["filled"] += line.filled
            self.orders["rejected"] += line.rejected
        elif program == ORDER_MANAGER and line.event in ORDER_EVENTS:
            self.orders[ORDER_EVENTS[line.event]] += 1
        elif line.event in REJECTED_FRAMES:
            self.rejected_frames[program, line.event] += line.count
