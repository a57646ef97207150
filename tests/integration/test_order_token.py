"""Who may trade: with a token file, those who have the token, and the file's owner at a socket."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.clients import OrderClient, order
from tests.helpers import DEADLINE_S, wait_until
from tests.order_managers import RunningOrderManager
from tests.stack import PrivateStack

TOKEN = "s3cret-of-the-test"
SETTINGS = {
    "": {"symbols": ["AAPL", "MSFT"]},
    "gateway": {"rate": 500.0, "news_interval": 0.1},
    "strategy": {"short_window": 2, "long_window": 5},
    "risk": {"price_collar_percent": 0.0},
}

CONNECT = """
import os, socket, sys
os.setgid(65534)
os.setuid(65534)
there = socket.socket(socket.AF_UNIX)
there.connect(sys.argv[1])
"""
"""What another user's process would do at the Unix socket."""
LOG_ON = """
there.sendall(b'{"type":"logon","client_id":"strategy"}*')
print(there.makefile().read())
"""


@pytest.fixture
def stack(stack: PrivateStack) -> PrivateStack:
    """A stack whose order manager asks for the token."""
    token_file = stack.directory / "token"
    token_file.touch(0o600)
    token_file.write_text(f"{TOKEN}\n")
    stack.settings["order_manager"]["token_file"] = str(token_file)
    stack.write_config(stack.settings)
    return stack


@pytest.fixture
def manager(stack: PrivateStack) -> Iterator[RunningOrderManager]:
    process = stack.start_by_hand("order_manager")
    stack.wait_for_event("order_manager", "started")
    yield RunningOrderManager(stack, process)
    assert_the_token_is_in_no_file(stack)


def assert_the_token_is_in_no_file(stack: PrivateStack) -> None:
    for path in stack.var_dir.rglob("*"):
        with suppress(FileNotFoundError):  # a state that is being written is there for a moment
            if path.is_file() and not path.is_symlink():
                assert TOKEN.encode() not in path.read_bytes(), path


def at_socket(stack: PrivateStack) -> OrderClient:
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(str(stack.var_dir / "orders.sock"))
    return OrderClient(sock)


def logon(token: str | None = None) -> dict[str, str]:
    return {"type": "logon", "client_id": "strategy"} | ({"token": token} if token else {})


def test_on_the_port_only_the_token_opens(manager: RunningOrderManager) -> None:
    with manager.connect() as trading:
        assert trading.ask(logon(TOKEN))["type"] == "logon_ack"
        for first in (logon(), logon("s3cret"), order(1), order(1, token=TOKEN)):
            with manager.connect() as stranger:
                error = stranger.ask(first)
                assert (error["type"], "token" in error["reason"]) == ("error", True)
                with pytest.raises(EOFError):
                    stranger.frame()
        assert trading.ask(order(1))["trade_id"] == 1
    counted = manager.wait_for("clients_without_token")
    assert counted["examples"][0]["reason"] == (
        "token is missing: the logon needs the one of the order manager"
    )
    wait_until(
        lambda: sum(e["count"] for e in manager.events("clients_without_token")) == 4,
        "each is counted",
    )
    command_line = Path(f"/proc/{manager.process.pid}/cmdline").read_bytes()
    assert TOKEN.encode() not in command_line


def test_at_the_socket_the_owners_processes_need_no_token(manager: RunningOrderManager) -> None:
    path = manager.stack.var_dir / "orders.sock"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with at_socket(manager.stack) as client:
        assert client.ask(order(1))["client_id"].startswith("anonymous-")
    with at_socket(manager.stack) as client:
        assert client.ask(logon())["type"] == "logon_ack"
        assert client.ask(order(1))["status"] == "FILLED"
        # The same client, over the port: one table of sessions for both.
        with manager.connect() as successor:
            assert successor.ask(logon(TOKEN))["positions"] == {"AAPL": 10}
            assert "replaced" in client.hear()["reason"]
    logged_on = manager.wait_for("client_logged_on")
    assert logged_on["peer"] == f"process:{os.getpid()}"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_at_the_socket_another_users_process_is_shut_out(manager: RunningOrderManager) -> None:
    path = manager.stack.var_dir / "orders.sock"
    for directory in (manager.stack.directory, manager.stack.var_dir):
        directory.chmod(0o755)  # as if he could come so far
    tried = [sys.executable, "-I", "-c", CONNECT, str(path)]
    refused = subprocess.run(tried, capture_output=True, text=True, timeout=DEADLINE_S)
    assert "PermissionError" in refused.stderr
    # And if the file's mode were changed, the kernel would still say who he is.
    path.chmod(0o666)
    tried = [sys.executable, "-I", "-c", CONNECT + LOG_ON, str(path)]
    answered = subprocess.run(tried, capture_output=True, text=True, timeout=DEADLINE_S)
    assert '"reason":"token is missing' in answered.stdout, answered.stderr


def test_the_socket_of_a_killed_order_manager_makes_room(manager: RunningOrderManager) -> None:
    stack = manager.stack
    manager.process.send_signal(signal.SIGKILL)
    manager.process.wait(timeout=60)
    assert (stack.var_dir / "orders.sock").is_socket()
    stack.start_by_hand("order_manager")
    wait_until(lambda: len(manager.events("started")) == 2, "it has started again")
    with at_socket(stack) as client:
        assert client.ask(logon())["type"] == "logon_ack"


def test_a_socket_and_a_ledger_that_are_removed_do_not_end_the_process_that_holds_them(
    manager: RunningOrderManager,
) -> None:
    """It is the only one that still has the ledger."""
    path = manager.stack.var_dir / "orders.sock"
    with at_socket(manager.stack) as client:
        assert client.ask(logon())["type"] == "logon_ack"
        assert client.ask(order(1))["status"] == "FILLED"
        for file in manager.stack.var_dir.iterdir():
            if file.is_file() or file.is_socket():
                file.unlink()
        lost = manager.wait_for("file_lost", file=str(path))
        assert lost["reason"] == "removed or replaced; put back"
        way_back = f"/proc/{manager.process.pid}/fd/"
        wait_until(
            lambda: any(way_back in event["reason"] for event in manager.events("ledger_lost")),
            "the loss of the ledger is logged",
        )
        with at_socket(manager.stack) as other:
            assert other.ask(order(1))["type"] == "error"
        assert client.ask(order(2))["type"] == "error"
    assert manager.process.poll() is None


def test_a_token_file_that_others_may_read_ends_the_order_manager_in_one_line(
    stack: PrivateStack,
) -> None:
    (stack.directory / "token").chmod(0o644)
    process = stack.start_by_hand("order_manager")
    assert process.wait(timeout=60) == 1
    reason = stack.wait_for_event("order_manager", "cannot_start")["reason"]
    assert "others may read it (mode 0644)" in reason
    assert_the_token_is_in_no_file(stack)


def test_the_strategies_of_the_stack_trade_by_themselves(stack: PrivateStack) -> None:
    stack.start()
    connected = stack.wait_for_event("strategy", "connected", stream="orders")
    assert connected["peer"] == str(stack.var_dir / "orders.sock")
    stack.wait_for_event("strategy", "order_filled")
    os.kill(stack.pid("order_manager"), signal.SIGKILL)
    filled = len(stack.events("strategy", "order_filled"))
    wait_until(
        lambda: (
            len(stack.events("strategy", "connected")) > 1
            and len(stack.events("strategy", "order_filled")) > filled
        ),
        "it trades again",
    )
    assert stack.events("order_manager", "clients_without_token") == []
    assert_the_token_is_in_no_file(stack)
