"""A daemon's connection to the brokers: its log, and the check of the brokers at its start."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from lib.cluster.broker import Connected, Disconnected, Event
from lib.cluster.broker_check import BrokerCheck, client_name
from lib.cluster.credentials import connect_options
from lib.cluster.nats_broker import NatsBroker
from lib.net.event_loop import EventLoop
from lib.process.log_events import BrokerConnected, BrokerLost, BrokersAwaited, log_event
from lib.process.log_once import LogOnce
from lib.settings import ClusterSettings

MAX_REASONS: Final = 8
"""How many reasons are logged of one time without a connection."""


def connect(
    loop: EventLoop,
    cluster: ClusterSettings,
    role: str,
    on_event: Callable[[Event], None],
    *,
    streams: Sequence[str] = (),
    makes: bool = False,
) -> NatsBroker:
    """Connect to the brokers, and return when they have been checked, or the loop is to end.

    `streams` are those that the role uses, and `makes` is whether it makes those that are missing.
    `on_event` gets what comes from then on, on the loop. Raises CannotStartError.
    """
    reasons: set[str] = set()
    """Why there is no connection, as far as it is logged. Each broker gives one of its own."""
    early: deque[Event] | None = deque()

    def take(event: Event) -> None:
        if isinstance(event, Connected):
            reasons.clear()
            log_event(structlog.get_logger(), BrokerConnected(peer=event.peer))
        elif (
            isinstance(event, Disconnected)
            and event.reason not in reasons
            and len(reasons) < MAX_REASONS
        ):
            reasons.add(event.reason)
            log_event(structlog.get_logger(), BrokerLost(reason=event.reason))
        if early is None:
            on_event(event)
        else:
            early.append(event)

    client = client_name(cluster.host, role)
    options = {**connect_options(cluster), "name": client}
    broker = NatsBroker(loop, options, take)
    check = BrokerCheck(broker, client, streams, makes=makes, trial=cluster.trial)
    awaited = LogOnce()
    is_connected = False
    while loop.running and not (is_connected and check.is_over):
        if is_connected:
            check.look(loop.clock())
        if check.waits_for:
            awaited.log_new(BrokersAwaited(reason=check.waits_for))
        loop.poll()
        while early:
            event = early.popleft()
            check.take(event, loop.clock())
            is_connected |= isinstance(event, Connected)
    early = None
    return broker
