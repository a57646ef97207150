"""The order manager as a process: what clients get, what it prints, and clients that misbehave.

One order manager serves all tests of this file, as it would serve all those clients: each test
uses client_ids of its own and looks at the lines that were printed meanwhile.
"""

from __future__ import annotations

import itertools
import json
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from daemons.order_manager import MAX_CLIENTS
from tests.clients import NOISE, order
from tests.helpers import PROJECT_ROOT, wait_until
from tests.order_managers import NO_LIMITS, RunningOrderManager
from tests.stack import PrivateStack


class Manager(RunningOrderManager):
    """One whose lines are counted from a moment on."""

    _markers = itertools.count(10**9)

    def end_of(self, client: str) -> dict[str, Any]:
        """The event of the disconnection of a client that has been accepted."""
        return self.stack.wait_for_end_of_client("order_manager", client)

    def printed_since(self, begin: int, count: int) -> list[str]:
        """The lines printed since there were `begin` of them, once there are `count`."""
        wait_until(lambda: len(self.printed()) >= begin + count, "it prints")
        return self.printed()[begin:]

    def lines(self) -> int:
        """How many lines have been printed, once all of those answered so far have been."""
        marker = next(self._markers)
        with self.connect() as client:
            client.ask(order(marker))
        printed = f"Received Order {marker}: BUY 10 AAPL @ 173.20"
        wait_until(lambda: printed in self.printed(), "it prints")
        return len(self.printed())


@pytest.fixture(scope="module")
def manager() -> Iterator[Manager]:
    with PrivateStack({"": {"symbols": ["AAPL", "MSFT"]}, "risk": NO_LIMITS}) as stack:
        process = stack.start_by_hand("order_manager")
        stack.wait_for_event("order_manager", "started")
        yield Manager(stack, process)
        # Whatever the tests sent it, it has not died of it.
        assert process.poll() is None


# --- orders and answers


def test_an_order_is_filled_answered_and_printed(manager: Manager) -> None:
    begin = manager.lines()
    with manager.connect() as client:
        assert client.log_on("plain-trader") == {
            "type": "logon_ack", "client_id": "plain-trader", "last_order_id": 0, "positions": {},
        }  # fmt: skip
        client.tell(order(12))
        answer = client.frame()
        fields = json.loads(answer)
        assert answer == (
            b'{"type":"execution_report","client_id":"plain-trader","order_id":12,'
            b'"status":"FILLED","symbol":"AAPL","side":"BUY","quantity":10,"price":173.2,'
            b'"trade_id":%d,"position":10}' % fields["trade_id"]
        )
        assert client.ask(order(13, side="SELL", quantity=25, symbol="AAPL", price=0.00000001)) == {
            "type": "execution_report", "client_id": "plain-trader", "order_id": 13,
            "status": "FILLED", "symbol": "AAPL", "side": "SELL", "quantity": 25, "price": 1e-8,
            "trade_id": fields["trade_id"] + 1, "position": -15,
        }  # fmt: skip
        client.ask(order(14, symbol="MSFT", quantity=2**53 - 1, price=9_000_000_000))
    assert manager.printed_since(begin, 3) == [
        "Received Order 12: BUY 10 AAPL @ 173.20",
        "Received Order 13: SELL 25 AAPL @ 0.00000001",
        "Received Order 14: BUY 9007199254740991 MSFT @ 9000000000.00",
    ]
    with manager.connect() as client:
        ack = client.log_on("plain-trader")
    assert (ack["last_order_id"], ack["positions"]) == (14, {"AAPL": -15, "MSFT": 2**53 - 1})


# --- clients that send what they should not


def test_noise_costs_at_most_the_connection_it_came_on(manager: Manager) -> None:
    with manager.logged_on("beside-noise") as healthy:
        for number, (what, noise) in enumerate(NOISE.items(), 1):
            with manager.connect() as bad:
                name = bad.name
                sender = threading.Thread(target=bad.send_until_disconnected, args=(noise,))
                sender.start()
                if what == "a megabyte without a delimiter":
                    bad.frames_until_the_end()
                    assert "protocol error" in manager.end_of(name)["reason"]
                else:
                    for frame in bad.frames(noise.count(b"*")):
                        assert json.loads(frame)["type"] == "error"
                sender.join()
            assert healthy.ask(order(number))["status"] == "FILLED"


def test_orders_without_a_delimiter_are_logged_once_a_connection(manager: Manager) -> None:
    line = json.dumps(order(1)).encode()
    with manager.connect() as lines, manager.connect() as once, manager.connect() as half:
        lines.send(line + b"\n")
        once.send(line)
        half.send(line[:-5])
        names = [lines.name, once.name, half.name]

    def logged() -> list[str]:
        events = manager.stack.events("order_manager", "no_delimiter")
        return [e["peer"] for event in events for e in event["examples"] if e["peer"] in names]

    for name in names:
        manager.end_of(name)
    wait_until(lambda: len(logged()) >= 2, "two are logged")
    assert sorted(logged()) == sorted(names[:2])


def test_an_order_without_its_delimiter_is_answered_when_the_client_ends_its_side(
    manager: Manager,
) -> None:
    with manager.connect() as client:
        client.send(json.dumps(order(12)).encode())
        client.sock.shutdown(socket.SHUT_WR)
        [answer] = map(json.loads, client.frames_until_the_end())
        assert (answer["type"], answer["order_id"]) == ("error", 12)
        assert "no `*`" in answer["reason"]


# --- clients that end their side


def test_a_client_that_ends_its_side_after_its_orders_is_answered_and_then_let_go(
    manager: Manager,
) -> None:
    with manager.connect() as client:
        name = client.name
        with manager.stopped():  # so that all of it is there at once
            for number in range(1, 1001):
                client.tell(order(number))
            client.sock.shutdown(socket.SHUT_WR)
        assert [json.loads(f)["order_id"] for f in client.frames_until_the_end()] == [
            *range(1, 1001)
        ]
        assert manager.end_of(name)["reason"] == "closed by peer"


@pytest.mark.parametrize("nc", ["nc.openbsd", "nc.traditional", "ncat", "busybox nc"])
def test_the_order_by_hand_of_the_protocol_page_is_answered_with_every_nc(
    manager: Manager, nc: str
) -> None:
    if not shutil.which(nc.split()[0]):
        pytest.skip(f"no {nc} here")
    page = (PROJECT_ROOT / "docs" / "protocol.md").read_text()
    [line] = re.findall(r"^.*nc 127\.0\.0\.1 5003$", page, re.MULTILINE)
    command = line.replace("nc 127.0.0.1 5003", f"{nc} 127.0.0.1 {manager.stack.order_port}")
    answer = subprocess.run(["sh", "-c", command], capture_output=True, timeout=60, check=False)
    assert b'"status":"FILLED"' in answer.stdout


# --- clients that are slow, or silent


def test_when_order_entry_is_full_the_oldest_silent_connection_makes_room(
    manager: Manager,
) -> None:
    with ExitStack() as clean_up:
        trader = clean_up.enter_context(manager.logged_on("early-trader"))
        anonymous = clean_up.enter_context(manager.connect())
        anonymous.ask(order(1))
        silent = [clean_up.enter_context(manager.connect()) for _ in range(MAX_CLIENTS)]
        # Full with the first 510 of them; the other two took the places of the oldest two.
        for client in silent[:2]:
            assert client.frames_until_the_end() == []
            assert manager.end_of(client.name)["reason"] == "made room: neither logon nor order"
        assert anonymous.ask(order(2))["position"] == 20
        assert trader.ask(order(1))["position"] == 10
        assert silent[-1].ask(order(1))["position"] == 10
        for client in silent[2:]:
            assert client.ask(order(1))["position"] == 10
