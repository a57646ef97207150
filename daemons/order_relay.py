"""Order relay: carries orders from the clients of one host to the order manager of another.

A role of a cluster's strategy hosts, where it takes the order manager's place on its port; and of
its order hosts, where it is a client of the order manager for each client of another host. All work
is done in `lib.cluster.local_clients` and `lib.cluster.remote_clients`; here the parts are
connected.
"""

from __future__ import annotations

import os
from typing import Final

import structlog

from lib.cluster.broker import Connected, Delivered, Event
from lib.cluster.connection import connect
from lib.cluster.local_clients import LocalClients
from lib.cluster.remote_clients import RemoteClients
from lib.errors import CannotStartError
from lib.execution.order_token import read_token
from lib.net.event_loop import EventLoop
from lib.process.client_log import ClientLog
from lib.process.limits import client_places
from lib.process.log_events import ORDER_MANAGER, Listening, log_event
from lib.process.role import run_role
from lib.process.supervisor import (
    SERVER_VARIABLE,
    Supervisor,
    SupervisorEndingError,
    SupervisorSilentError,
    control_socket,
)
from lib.settings import Settings, cluster_of

MAX_CLIENTS: Final = 64
"""The most clients of this host."""


class OrderRelay:
    """The role: one half of the relay, by the kind of host."""

    def __init__(self, settings: Settings, loop: EventLoop) -> None:
        cluster, manager = cluster_of(settings, "order_relay"), settings.order_manager
        self._loop = loop
        self._broker = connect(loop, cluster, "order_relay", self._on_event)
        self._client_log: ClientLog | None = None
        self._clients: LocalClients | RemoteClients
        if _is_order_host():
            path = settings.orders_socket
            address, port = (str(path), 0) if path else (manager.host, manager.port)
            self._clients = RemoteClients(loop, self._broker, cluster.host, address, port)
        else:
            self._client_log = ClientLog("orders", client_places(MAX_CLIENTS), loop.clock)
            self._clients = LocalClients(
                loop,
                self._broker,
                settings,
                host=cluster.host,
                token=read_token(manager.token_file) if manager.token_file else "",
                client_log=self._client_log,
            )
            listening = Listening(stream="orders", host=manager.host, port=manager.port)
            log_event(structlog.get_logger(), listening)
        self._clients.connected()

    def step(self) -> None:
        """One pass of the loop."""
        self._loop.poll()

    def close(self) -> None:
        """Leave the brokers, and log the last counts."""
        self._broker.close()
        if self._client_log:
            self._client_log.on_time(self._loop.clock())

    def _on_event(self, event: Event) -> None:
        if isinstance(event, Connected):
            self._clients.connected()
        elif isinstance(event, Delivered):
            self._clients.take(event)


def _is_order_host() -> bool:
    """Whether the same supervisord has an order manager. Raises CannotStartError."""
    socket_path = control_socket(os.environ.get(SERVER_VARIABLE, ""))
    if socket_path is None:
        return False
    try:
        programs = {process.program for process in Supervisor(socket_path).processes()}
    except (SupervisorSilentError, SupervisorEndingError) as error:
        raise CannotStartError(
            f"supervisord does not say what runs on this host: {error}"
        ) from None
    return ORDER_MANAGER in programs


if __name__ == "__main__":
    run_role("order_relay", OrderRelay)
