"""An order manager as a process of its own, and clients of it."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.clients import OrderClient
from tests.helpers import wait_until
from tests.stack import PrivateStack

NO_LIMITS = {
    "max_order_quantity": 0, "max_position": 0, "price_collar_percent": 0.0,
    "max_orders_per_second": 0,
}  # fmt: skip
"""The settings of a risk that limits nothing."""


class RunningOrderManager:
    """An order manager that was started without supervisord."""

    def __init__(self, stack: PrivateStack, process: subprocess.Popen[bytes]) -> None:
        self.stack = stack
        self.process = process

    def connect(self, receive_buffer: int | None = None) -> OrderClient:
        return OrderClient.connect(self.stack.order_port, receive_buffer)

    def logged_on(self, client_id: str = "trader") -> OrderClient:
        client = self.connect()
        assert client.log_on(client_id)["type"] == "logon_ack"
        return client

    def events(self, event: str) -> list[dict[str, Any]]:
        return self.stack.events("order_manager", event)

    def wait_for(self, event: str, **keys: Any) -> dict[str, Any]:
        return self.stack.wait_for_event("order_manager", event, **keys)

    def printed(self) -> list[str]:
        """The lines that it has printed so far."""
        return self.stack.output("order_manager")

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """A time in which it does nothing."""
        self.process.send_signal(signal.SIGSTOP)
        state = Path(f"/proc/{self.process.pid}/stat")
        wait_until(lambda: state.read_text().rpartition(")")[2].split()[0] == "T", "it has stopped")
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)
