"""Downlink: serves the ticks and news of another host, on the ports of a gateway.

A role of a cluster's strategy host, where it takes the gateway's place: orderbook and strategy are
those of one host. All work is done in `lib.cluster.downlink`; here the parts are connected.
"""

from __future__ import annotations

from typing import Final

import structlog

from lib.cluster.broker import Answer, Connected, Delivered, Event
from lib.cluster.connection import connect
from lib.cluster.downlink import Downlink
from lib.cluster.status import ClusterStatus
from lib.cluster.streams import NEWS, PRICE
from lib.net.event_loop import EventLoop
from lib.process.client_log import ClientLog
from lib.process.limits import client_places
from lib.process.log_events import DOWNLINK, Listening, log_event
from lib.process.role import run_role
from lib.settings import Settings, cluster_of
from lib.streams.server import MAX_CLIENTS

STREAMS: Final = {"price": PRICE, "news": NEWS}


class DownlinkRole:
    """The role: two streams in, two ports out."""

    def __init__(self, settings: Settings, loop: EventLoop) -> None:
        cluster, gateway = cluster_of(settings, "downlink"), settings.gateway
        self._loop = loop
        self._broker = connect(
            loop, cluster, "downlink", self._on_event, streams=tuple(STREAMS.values())
        )
        places = client_places(MAX_CLIENTS, len(STREAMS))
        self._logs = {name: ClientLog(name, places, loop.clock) for name in STREAMS}
        ports = {"price": gateway.price_port, "news": gateway.news_port}
        self._downlinks = [
            Downlink(
                loop,
                self._broker,
                stream,
                host=gateway.host,
                port=ports[name],
                setting=f"gateway.{name}_port",
                client_log=self._logs[name],
            )
            for name, stream in STREAMS.items()
        ]
        self._status = ClusterStatus(
            settings,
            loop,
            self._broker,
            DOWNLINK,
            {
                stream: downlink.progress
                for stream, downlink in zip(STREAMS.values(), self._downlinks, strict=True)
            },
        )
        for downlink in self._downlinks:
            downlink.connected()
        for name, port in ports.items():
            log_event(structlog.get_logger(), Listening(stream=name, host=gateway.host, port=port))

    def step(self) -> None:
        """One pass of the loop."""
        busy = [downlink.look() for downlink in self._downlinks]
        self._loop.poll(may_sleep=not any(busy))

    def close(self) -> None:
        """Leave the brokers, and log the last counts."""
        self._broker.close()
        for log in self._logs.values():
            log.on_time(self._loop.clock())

    def _on_event(self, event: Event) -> None:
        self._status.take(event)
        for downlink in self._downlinks:
            if isinstance(event, Connected):
                downlink.connected()
            elif isinstance(event, Answer | Delivered):
                downlink.take(event)


if __name__ == "__main__":
    run_role("downlink", DownlinkRole)
