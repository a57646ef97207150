"""A daemon's connection to the brokers: its log, and its options from the settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import structlog

from lib.cluster.broker import Connected, Disconnected, Event
from lib.cluster.nats_broker import NatsBroker
from lib.net.event_loop import EventLoop
from lib.process.log_events import BrokerConnected, BrokerLost, log_event
from lib.process.log_once import LogOnce
from lib.settings import ClusterSettings


def connect(
    loop: EventLoop, cluster: ClusterSettings, role: str, on_event: Callable[[Event], None]
) -> NatsBroker:
    """Connect to the brokers, in the background. `on_event` gets what comes, on the loop."""
    problem = LogOnce()

    def log_connection(event: Event) -> None:
        if isinstance(event, Connected):
            problem.over()
            log_event(structlog.get_logger(), BrokerConnected(peer=event.peer))
        elif isinstance(event, Disconnected):
            problem.log_new(BrokerLost(reason=event.reason))
        on_event(event)

    options: dict[str, Any] = {"servers": list(cluster.servers), "name": f"{cluster.host} {role}"}
    return NatsBroker(loop, options, log_connection)
