"""Crowds at every door of a stack: its own roles come in all the same, and the logs stay short."""

from __future__ import annotations

import os
import select
import signal
import socket
import time
from collections import Counter
from contextlib import ExitStack
from typing import Any

from daemons import order_manager
from lib.streams import server
from tests.clients import HOST, OrderClient, order
from tests.helpers import wait_until
from tests.processes import Child, forked
from tests.stack import PrivateStack

MORE = 60
"""Clients beyond what a server takes: those that connect again and again."""
SETTINGS: dict[str, dict[str, Any]] = {
    "": {"symbols": ["AAPL"]},
    "gateway": {"rate": 100.0, "news_interval": 0.1},
    "strategy": {"short_window": 2, "long_window": 3},
}


def crowd(count: int, *ports: int) -> None:
    """Connect so many clients to each port, and again whenever one is disconnected, for ever.

    They read nothing: what they are sent waits in the kernel, so that they cost their server what
    they cost, and the machine little more.
    """
    epoll = select.epoll()
    clients: dict[int, tuple[socket.socket, int]] = {}
    to_connect = list(ports) * count
    while True:
        for port in to_connect:
            sock = socket.socket()
            sock.setblocking(False)
            sock.connect_ex((HOST, port))
            epoll.register(sock, select.EPOLLRDHUP)
            clients[sock.fileno()] = sock, port
        ended = [clients.pop(fd) for fd, _ in epoll.poll()]
        for sock, _ in ended:
            sock.close()
        to_connect = [port for _, port in ended]


def test_beside_crowds_at_all_ports_killed_roles_come_back_and_miss_their_absence_only(
    stack: PrivateStack,
) -> None:
    with ExitStack() as clients:

        def enter_crowd(count: int, *ports: int) -> Child:
            return clients.enter_context(forked(lambda: crowd(count, *ports)))

        stack.start()
        stack.wait_for_event("strategy", "order_filled")
        begun_s = time.monotonic()
        crowds = [enter_crowd(server.MAX_CLIENTS + MORE, stack.price_port, stack.news_port)]
        # They have all sent an order, so none of them has to make room.
        for _ in range(order_manager.MAX_CLIENTS - 1):
            clients.enter_context(one_that_has_ordered(stack))
        for stream in ("price", "news"):
            stack.wait_for_event("gateway", "client_refused", stream=stream)

        pids = {role: stack.pid(role) for role in ("strategy", "orderbook")}
        for pid in pids.values():
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: has_left(stack, "strategy"), "the strategy has left its place")
        clients.enter_context(one_that_has_ordered(stack))
        crowds.append(enter_crowd(MORE, stack.order_port))
        for role, streams in {"orderbook": ["price"], "strategy": ["news", "orders"]}.items():
            for stream in streams:
                wait_until(
                    lambda r=role, s=stream: connections(stack, r, s) == 2, f"{role} is back"
                )
        stack.wait_for_event("order_manager", "client_refused")
        answered = len(stack.events("strategy", "order_filled"))
        wait_until(
            lambda: len(stack.events("strategy", "order_filled")) > answered, "it trades again"
        )
        lasted_s = time.monotonic() - begun_s
        assert not any(one.has_ended() for one in crowds)
        assert [e for role in pids for e in stack.events(role, "disconnected")] == []
        assert stack.missed("orderbook") == []
        assert stack.missed("strategy") == stack.absences()
        for role in ("gateway", "order_manager"):
            refusals = [e["count"] for e in stack.events(role, "client_refused")]
            assert sum(refusals) > 20 * len(refusals)
            warnings = Counter(
                (e["event"], e.get("stream"))
                for e in stack.events(role)
                if e["level"] in ("warning", "error")
            )
            assert all(lines <= lasted_s + 2 for lines in warnings.values()), warnings
            assert len(warnings) <= 6, warnings


def one_that_has_ordered(stack: PrivateStack) -> OrderClient:
    client = OrderClient.connect(stack.order_port)
    assert client.ask(order(1))["type"] == "execution_report"
    return client


def has_left(stack: PrivateStack, client_id: str) -> bool:
    ends = stack.events("order_manager", "client_disconnected")
    return any(end["client_id"] == client_id for end in ends)


def connections(stack: PrivateStack, role: str, stream: str) -> int:
    """How often a role has come to be connected."""
    return sum(e["stream"] == stream for e in stack.events(role, "connected"))
