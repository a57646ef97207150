"""The order manager as a process: what clients get, what it prints, and clients that misbehave.

One order manager serves all tests of this file, as it would serve all those clients: each test
uses client_ids of its own.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from daemons.order_manager import MAX_CLIENTS
from tests.clients import NOISE, order
from tests.helpers import PROJECT_ROOT, wait_until
from tests.order_managers import NO_LIMITS, RunningOrderManager
from tests.stack import PrivateStack


@pytest.fixture(scope="module")
def manager() -> Iterator[RunningOrderManager]:
    with PrivateStack({"": {"symbols": ["AAPL", "MSFT"]}, "risk": NO_LIMITS}) as stack:
        process = stack.start_by_hand("order_manager")
        stack.wait_for_event("order_manager", "started")
        yield RunningOrderManager(stack, process)
        # Whatever the tests sent it, it has not died of it.
        assert process.poll() is None


def end_of(manager: RunningOrderManager, client: str) -> str:
    """Why a client that has been accepted was disconnected."""
    return manager.stack.wait_for_end_of_client("order_manager", client)["reason"]


def test_an_order_is_filled_answered_and_printed(manager: RunningOrderManager) -> None:
    with manager.connect() as client:
        assert client.log_on("plain-trader") == {
            "type": "logon_ack", "client_id": "plain-trader", "last_order_id": 0, "positions": {},
        }  # fmt: skip
        client.tell(order(12))
        answer = client.frame()
        trade_id = json.loads(answer)["trade_id"]
        assert answer == (
            b'{"type":"execution_report","client_id":"plain-trader","order_id":12,'
            b'"status":"FILLED","symbol":"AAPL","side":"BUY","quantity":10,"price":173.2,'
            b'"trade_id":%d,"position":10}' % trade_id
        )
        sold = client.ask(order(13, side="SELL", quantity=25, price=0.00000001))
        assert (sold["trade_id"], sold["position"], sold["price"]) == (trade_id + 1, -15, 1e-8)
        client.ask(order(14, symbol="MSFT", quantity=2**53 - 1, price=9_000_000_000))
        ack = client.log_on("plain-trader")
    assert (ack["last_order_id"], ack["positions"]) == (14, {"AAPL": -15, "MSFT": 2**53 - 1})
    lines = [
        "Received Order 12: BUY 10 AAPL @ 173.20",
        "Received Order 13: SELL 25 AAPL @ 0.00000001",
        "Received Order 14: BUY 9007199254740991 MSFT @ 9000000000.00",
    ]
    wait_until(lambda: "\n".join(lines) in "\n".join(manager.printed()), "it prints")


def test_noise_costs_at_most_the_connection_it_came_on(manager: RunningOrderManager) -> None:
    with manager.logged_on("beside-noise") as healthy:
        for number, (what, noise) in enumerate(NOISE.items(), 1):
            with manager.connect() as bad:
                name = bad.name
                sender = threading.Thread(target=bad.send_until_disconnected, args=(noise,))
                sender.start()
                if what == "a megabyte without a delimiter":
                    bad.frames_until_the_end()
                    assert "protocol error" in end_of(manager, name)
                else:
                    for _ in range(noise.count(b"*")):
                        assert bad.hear()["type"] == "error"
                sender.join()
            assert healthy.ask(order(number))["status"] == "FILLED"


def test_a_client_that_ends_its_side_after_its_orders_is_answered_and_then_let_go(
    manager: RunningOrderManager,
) -> None:
    with manager.connect() as client:
        name = client.name
        with manager.stopped():  # so that all of it is there at once
            for number in range(1, 1001):
                client.tell(order(number))
            client.send(json.dumps(order(1001)).encode())
            client.sock.shutdown(socket.SHUT_WR)
        answers = [json.loads(frame) for frame in client.frames_until_the_end()]
    assert [answer["order_id"] for answer in answers] == [*range(1, 1002)]
    assert {answer.get("status") for answer in answers[:-1]} == {"FILLED"}
    assert "no `*`" in answers[-1]["reason"]
    assert end_of(manager, name) == "closed by peer"
    wait_until(lambda: name in str(manager.events("no_delimiter")), "it is logged")


@pytest.mark.parametrize("nc", ["nc.openbsd", "nc.traditional", "ncat", "busybox nc"])
def test_the_order_by_hand_of_the_protocol_page_is_answered_with_every_nc(
    manager: RunningOrderManager, nc: str
) -> None:
    if not shutil.which(nc.split()[0]):
        pytest.skip(f"no {nc} here")
    page = (PROJECT_ROOT / "docs" / "protocol.md").read_text()
    [line] = re.findall(r"^.*nc 127\.0\.0\.1 5003$", page, re.MULTILINE)
    command = line.replace("nc 127.0.0.1 5003", f"{nc} 127.0.0.1 {manager.stack.order_port}")
    answer = subprocess.run(["sh", "-c", command], capture_output=True, timeout=60, check=False)
    assert b'"status":"FILLED"' in answer.stdout


def test_when_order_entry_is_full_the_oldest_silent_connection_makes_room(
    manager: RunningOrderManager,
) -> None:
    with ExitStack() as clean_up:
        trader = clean_up.enter_context(manager.logged_on("early-trader"))
        anonymous = clean_up.enter_context(manager.connect())
        anonymous.ask(order(1))
        silent = [clean_up.enter_context(manager.connect()) for _ in range(MAX_CLIENTS)]
        # Full with the first 510 of them; the other two took the places of the oldest two.
        for client in silent[:2]:
            assert client.frames_until_the_end() == []
            assert end_of(manager, client.name) == "made room: neither logon nor order"
        assert anonymous.ask(order(2))["position"] == 20
        for client in (trader, *silent[2:]):
            assert client.ask(order(1))["position"] == 10
