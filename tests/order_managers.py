"""An order manager as a process of its own, and clients of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from daemons.order_manager import OrderManager
from lib.process.role import run_role
from tests.clients import OrderClient
from tests.helpers import PROJECT_ROOT, wait_until
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

    def connect(self) -> OrderClient:
        return OrderClient.connect(self.stack.order_port)

    def logged_on(self, client_id: str = "trader") -> OrderClient:
        client = self.connect()
        assert client.log_on(client_id)["type"] == "logon_ack"
        return client

    def events(self, event: str) -> list[dict[str, Any]]:
        return self.stack.events("order_manager", event)

    def wait_for(self, event: str, **keys: Any) -> dict[str, Any]:
        return self.stack.wait_for_event("order_manager", event, **keys)

    def check(self) -> subprocess.CompletedProcess[str]:
        """Check its ledger, as a user would."""
        return subprocess.run(
            [sys.executable, "-m", "lib.ledger", "--check"],
            cwd=PROJECT_ROOT,
            env=self.stack.environment,
            capture_output=True,
            text=True,
            check=False,
        )

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


def run_order_manager(log_dir: Path, environment: dict[str, str]) -> None:
    """Be the order manager that supervisord would have started, in a process that was forked."""
    for fd, name in ((1, "order_manager.out"), (2, "order_manager.jsonl")):
        os.dup2(os.open(log_dir / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), fd)
    os.environ.update(environment)
    del sys.argv[1:]  # run_role reads what a role is given
    run_role("order_manager", OrderManager)
