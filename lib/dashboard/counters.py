"""What the roles' logs count: connections, malformed frames, ticks missed. Pure.

The counts begin with the dashboard, as counters of Prometheus may.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from lib.dashboard.log_lines import LogLine

REJECTED_FRAMES: Final = frozenset({"malformed_frames", "unknown_symbols"})
"""Events with a count of frames."""


ORDER_MANAGER: Final = "order_manager"
ORDER_EVENTS: Final = {"order_filled": "filled", "order_rejected": "rejected"}
"""The strategy logs its own orders under the same names."""
ORDERS: Final = "orders"
"""What the connection to the order manager is called, which is no stream to its client."""


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
