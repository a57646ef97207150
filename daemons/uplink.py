"""Uplink: publishes the ticks and news of this host's gateway to a cluster, if no other host does.

A role of a cluster's market hosts. `lib.cluster.uplink` publishes one stream, or stands by. Here is
what they mean for the gateway: it is started when this host has claimed both streams, with the tape
of the stream at its next tick, and stopped while another host is the writer.
"""

from __future__ import annotations

import json
import os
from typing import Any, Final

import structlog

from lib.clock import SECOND_NS
from lib.cluster.broker import Answer, Connected, Delivered, Event
from lib.cluster.connection import connect
from lib.cluster.status import ClusterStatus
from lib.cluster.streams import CONTENTS, NEWS, PRICE
from lib.cluster.uplink import Uplink
from lib.errors import CannotStartError
from lib.net.event_loop import EventLoop
from lib.process.log_events import GATEWAY, UPLINK, GatewayContinues, GatewayNotReached, log_event
from lib.process.log_once import LogOnce
from lib.process.role import RoleEndsError, run_role
from lib.process.run_identity import current_run
from lib.process.state_file import create_state, open_state
from lib.process.supervisor import (
    SERVER_VARIABLE,
    Supervisor,
    SupervisorEndingError,
    SupervisorSilentError,
    control_socket,
)
from lib.settings import Settings, cluster_of
from lib.streams.publication import STATE_NAME, WORDS

GATEWAY_LOOK_NS: Final = SECOND_NS // 4
"""How often to look whether the gateway runs, or does not."""


class UplinkRole:
    """The role: two streams out, and the gateway that they come from."""

    def __init__(self, settings: Settings, loop: EventLoop) -> None:
        cluster, gateway = cluster_of(settings, "uplink"), settings.gateway
        self._loop = loop
        self._host = cluster.host
        self._log = structlog.get_logger()
        self._state_path = settings.var_dir / STATE_NAME
        socket_path = control_socket(os.environ.get(SERVER_VARIABLE, ""))
        if socket_path is None:
            raise CannotStartError("an uplink is a program of supervisord, as the gateway is")
        self._supervisor = Supervisor(socket_path)
        self._unreachable = LogOnce()
        self._gateway_look_ns = loop.clock()
        self._run = list(current_run())
        self._broker = connect(
            loop, cluster, "uplink", self._on_event, streams=(PRICE, NEWS), makes=True
        )
        claimant = f"{cluster.host}-{os.getpid()}-{loop.host.wall_ns()}"
        self._prices, self._news = (
            Uplink(
                loop,
                self._broker,
                stream,
                cluster,
                claimant,
                host=gateway.host,
                port=port,
                contents=self._contents,
            )
            for stream, port in ((PRICE, gateway.price_port), (NEWS, gateway.news_port))
        )
        self._status = ClusterStatus(
            settings,
            loop,
            self._broker,
            UPLINK,
            {PRICE: self._prices.progress, NEWS: self._news.progress},
        )
        for uplink in (self._prices, self._news):
            uplink.connected()

    def step(self) -> None:
        """One pass of the loop."""
        self._loop.poll()
        try:
            self._prices.look()
            if self._prices.is_writer:  # whoever writes the prices writes the news
                self._news.takeover.claim_at_once()
                self._news.look()
        except RoleEndsError:
            self._ask(self._supervisor.stop)
            raise
        if self._loop.clock() >= self._gateway_look_ns:
            self._gateway_look_ns = self._loop.clock() + GATEWAY_LOOK_NS
            self._look_after_gateway()

    def close(self) -> None:
        """Leave the brokers."""
        self._broker.close()

    def _on_event(self, event: Event) -> None:
        self._status.take(event)
        for uplink in (self._prices, self._news):
            if isinstance(event, Connected):
                uplink.connected()
            elif isinstance(event, Answer | Delivered):
                uplink.take(event)

    def _look_after_gateway(self) -> None:
        """Have the gateway run while this host is the writer, and only then."""
        is_writer = self._prices.is_writer and self._news.is_writer
        if not is_writer and self._prices.takeover.writer in ("", self._host):
            return  # a former process of this uplink was the writer, or nobody knows
        if is_writer and self._prices.is_fed and self._news.is_fed:
            return  # it runs, and ticks do not wait for a supervisord that stands still
        try:
            state = {one.program: one.state for one in self._supervisor.processes()}.get(GATEWAY)
        except (SupervisorSilentError, SupervisorEndingError) as error:
            self._unreachable.log_new(GatewayNotReached(reason=str(error)))
            return
        runs = state in ("RUNNING", "STARTING", "BACKOFF")
        if is_writer and not runs:
            self._write_state()
            self._ask(self._supervisor.start)
        elif runs and not is_writer:
            self._ask(self._supervisor.stop)
        if is_writer and runs:
            self._prices.join()
            self._news.join()

    def _ask(self, what: Any) -> None:
        try:
            what(GATEWAY, wait=False)
        except (SupervisorSilentError, SupervisorEndingError) as error:
            self._unreachable.log_new(GatewayNotReached(reason=str(error)))

    def _write_state(self) -> None:
        """Leave the gateway the tape of the stream, at its next tick, unless it has it."""
        position = self._prices.position
        last = self._prices.takeover.last
        state = open_state(self._state_path, WORDS)
        if position is None or last is None:
            return  # it begins a new tape
        if state and state.header.get("run") == self._run:
            has_tape = state.header.get("tape") == position.tape
            if has_tape and state.words[0] >= position.next_sequence:
                return
        news = self._news.position
        header = {
            "run": self._run,
            "contents": json.loads(last.headers.get(CONTENTS, "null")),
            "tape": position.tape,
            "prepared": [],
        }
        create_state(
            self._state_path,
            header,
            [position.next_sequence, news.next_sequence if news else 2],
        )
        log_event(
            self._log,
            GatewayContinues(tape=position.tape, next_sequence=position.next_sequence),
        )

    def _contents(self) -> str:
        state = open_state(self._state_path, WORDS)
        return json.dumps(state.header.get("contents")) if state else ""


if __name__ == "__main__":
    run_role("uplink", UplinkRole)
