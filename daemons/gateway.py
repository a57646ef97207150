"""Gateway: streams prices and news to any number of clients.

A tape can be read at any position, so the gateway keeps two numbers, how far prices and news have
been published (`lib.streams.publication`), and every client is a cursor behind them
(`lib.streams.server`).

A slow client only falls behind in the tape. What may wait for it is one batch; when it takes
nothing for too long, or falls too far behind, it is disconnected. What it lacks may have to be
encoded again, so those behind share a bounded part of each pass, in turns.
"""

from __future__ import annotations

import os
import socket
import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

import structlog

from lib.clock import MILLISECOND_NS, SECOND_NS
from lib.errors import CannotStartError
from lib.net.client_log import ClientLog
from lib.net.connection import Connection
from lib.net.event_loop import EventLoop
from lib.net.listener import RESERVED_PLACES, Listener
from lib.process.role import run_role
from lib.process.run_identity import current_run, siblings
from lib.process.state_file import StateFile
from lib.settings import GatewaySettings, Settings
from lib.streams.publication import (
    Pacer,
    Tapes,
    continue_or_begin,
    news_publication,
    price_publication,
)
from lib.streams.schedule import Schedule
from lib.streams.server import MAX_BATCH_FRAMES, MAX_LAG_TICKS, Stream, Subscriber
from lib.tapes.csv_file import (
    RandomSentiments,
    RandomWalkTape,
    Sentiments,
    Skipped,
    Tape,
    TapeError,
    load_csv_tape,
    load_sentiments,
)
from lib.wire.framing import MessageTooLongError
from lib.wire.stream_messages import ProtocolError

STREAMS: Final = ("price", "news")
MAX_CLIENTS: Final = 400
"""On each of the two ports, and RESERVED_PLACES of our own run."""
MAX_QUEUED_BYTES: Final = 1024 * 1024
"""Well above the largest batch: reaching it would be a fault of ours."""
STALL_LIMIT_NS: Final = 10 * SECOND_NS
"""A client that takes nothing for this long while something waits for it is disconnected …"""
UNPACED_STALL_LIMIT_NS: Final = 1 * SECOND_NS
"""… and sooner where it would hold up all others, because the slowest sets the pace."""
BEHIND_NS: Final = 2 * MILLISECOND_NS
"""Of a pass, for all that are behind together: no more than one of them goes beyond it."""
SWEEP_NS: Final = SECOND_NS // 4
"""How often to look for stalled clients, due heartbeats and counts to be logged."""


class Gateway:
    """The role: two servers, paced by one schedule each."""

    def __init__(self, settings: Settings, loop: EventLoop) -> None:
        self._loop = loop
        self._log = structlog.get_logger()
        tapes = _load_tapes(settings)
        # The ports come first: who does not get them must not touch another gateway's state.
        gateway = settings.gateway
        self._client_logs = logs = {name: ClientLog(name, MAX_CLIENTS) for name in STREAMS}
        for name, port in (("price", gateway.price_port), ("news", gateway.news_port)):
            accept = partial(self._on_accept, name)
            Listener(loop, gateway.host, port, f"gateway.{name}_port", logs[name], accept, siblings)
            self._log.info("listening", stream=name, host=gateway.host, port=port)
        state = _continue_or_begin(settings, tapes)
        stall_ns = STALL_LIMIT_NS if gateway.rate else UNPACED_STALL_LIMIT_NS
        self._price_publication = price_publication(state, tapes, settings.symbols)
        self._news_publication = news_publication(state, tapes)
        prices, news = self._price_publication.stream, self._news_publication.stream
        self._prices = StreamServer(loop, logs["price"], prices, stall_ns)
        self._news = StreamServer(loop, logs["news"], news, STALL_LIMIT_NS)
        self._paced = bool(gateway.rate)
        self._end_told = False
        self._start_schedules(gateway)

    def _start_schedules(self, gateway: GatewaySettings) -> None:
        now_ns = time.monotonic_ns()
        schedules = [("news", 1 / gateway.news_interval, self._publish_news, self._news.stream)]
        if self._paced:
            schedules.append(("price", gateway.rate, self._publish_prices, self._prices.stream))
        for name, rate, publish, stream in schedules:
            self._loop.add_timed(Pacer(name, Schedule(rate, now_ns), publish))
            # The first frame is due one period after the start.
            self._log.info(
                "schedule_started",
                stream=name,
                rate=rate,
                start_ns=now_ns,
                first=stream.next_sequence,
            )

    def _on_accept(self, name: str, sock: socket.socket, peer: str, is_ours: bool) -> bool:
        return (self._prices if name == "price" else self._news).accept(sock, peer, is_ours)

    def step(self) -> None:
        """One pass of the loop."""
        busy = self._prices.pump_behind()
        if not self._paced:
            busy |= self._publish_unpaced()
        self._loop.poll(may_sleep=not busy)
        self._tell_the_end()

    def close(self) -> None:
        """Let the last counts out. The clients come back to the successor."""
        for log in self._client_logs.values():
            log.on_time(time.monotonic_ns())

    def _publish_unpaced(self) -> bool:
        """With rate = 0: let the tape run as far as its slowest numbered client has taken it."""
        slowest = self._prices.slowest_numbered()
        if slowest is None:
            return False
        ahead = self._prices.stream.next_sequence - slowest
        return self._publish_prices(MAX_BATCH_FRAMES - ahead) > 0

    def _publish_prices(self, count: int) -> int:
        published = self._price_publication.publish(count)
        if published:
            self._prices.pump_all()
        return published

    def _publish_news(self, count: int) -> int:
        published = self._news_publication.publish(count)
        if published:
            self._news.pump_all()
        return published

    def _tell_the_end(self) -> None:
        if self._end_told or not self._price_publication.ended:
            return
        self._end_told = True
        stream = self._prices.stream
        self._log.info("tape_ended", tape=stream.tape, ticks=stream.next_sequence - 1)


class StreamServer:
    """The clients of one stream: keeps each of them supplied."""

    def __init__(
        self, loop: EventLoop, log: ClientLog, stream: Stream, stall_limit_ns: int
    ) -> None:
        self.stream = stream
        self._loop = loop
        self._stall_limit_ns = stall_limit_ns
        self._clients: dict[Subscriber, Connection] = {}
        """In the order of their coming."""
        self._behind: dict[Subscriber, None] = {}
        """Those that could take a further batch, whose turn is next first."""
        self._sweep_ns = time.monotonic_ns() + SWEEP_NS
        self._log = log
        loop.add_timed(self)

    def accept(self, sock: socket.socket, peer: str, is_ours: bool) -> bool:
        """Take a new client, plain until it says HELLO. False if there is no place for it.

        There are RESERVED_PLACES more for a client that is known to be of our own run.
        """
        places = MAX_CLIENTS + (RESERVED_PLACES if is_ours else 0)
        if len(self._clients) >= places and not self._drop_half_closed():
            return False
        subscriber = Subscriber(self.stream, time.monotonic_ns())
        self._clients[subscriber] = Connection(
            self._loop,
            sock,
            max_queued_bytes=MAX_QUEUED_BYTES,
            on_data=partial(self._on_data, subscriber, peer),
            on_closed=partial(self._on_closed, subscriber, peer),
            on_drained=partial(self._on_drained, subscriber),
            may_half_close=True,
        )
        self._log.connected(peer=peer, clients=len(self._clients))
        return True

    def slowest_numbered(self) -> int | None:
        """The lowest cursor of a numbered client, None if there is none."""
        return min((s.next_sequence for s in self._clients if s.numbered), default=None)

    def pump_behind(self) -> bool:
        """Give those behind a further batch, in turns, for a bounded time.

        Returns whether there still are some.
        """
        end_ns = time.monotonic_ns() + BEHIND_NS
        for subscriber in list(self._behind):
            self._pump(subscriber, self._clients[subscriber])
            if time.monotonic_ns() >= end_ns:
                break
        return bool(self._behind)

    def pump_all(self) -> None:
        """Send every client what it has not had yet; who is behind waits for its turn."""
        for subscriber, connection in list(self._clients.items()):
            if subscriber not in self._behind:
                self._pump(subscriber, connection)

    def next_deadline_ns(self) -> int:
        """When to look after the clients again."""
        return self._sweep_ns

    def on_time(self, now_ns: int) -> None:
        """Send heartbeats that are due; drop clients that take nothing or lag too far behind."""
        self._sweep_ns = now_ns + SWEEP_NS
        log_ns = self._log.next_deadline_ns()
        if log_ns is not None and log_ns <= now_ns:
            self._log.on_time(now_ns)
        for subscriber, connection in list(self._clients.items()):
            if subscriber.lag > MAX_LAG_TICKS:
                connection.close(f"too slow: {subscriber.lag} frames behind")
            elif (
                connection.queued_bytes
                and now_ns - connection.last_progress_ns > self._stall_limit_ns
            ):
                connection.close(f"took nothing for {self._stall_limit_ns / SECOND_NS:g} s")
            elif subscriber not in self._behind:
                self._pump(subscriber, connection)

    def _drop_half_closed(self) -> bool:
        """Make room by disconnecting who may be gone altogether. False if there is nobody."""
        for connection in self._clients.values():
            if connection.half_closed:
                connection.close("made room: ended its side")
                return True
        return False

    def _on_data(self, subscriber: Subscriber, peer: str, data: bytes) -> None:
        connection = self._clients[subscriber]
        try:
            answer = subscriber.receive(data)
        except (ProtocolError, MessageTooLongError) as error:
            self._log.protocol_error(peer, str(error))
            connection.close(f"protocol error: {error}")
            return
        if undelimited := subscriber.undelimited():
            self._log.count("no_delimiter", peer=peer, **undelimited._asdict())
        if answer:
            connection.send(answer)
            self._pump(subscriber, connection)

    def _on_drained(self, subscriber: Subscriber) -> None:
        self._pump(subscriber, self._clients[subscriber])

    def _on_closed(self, subscriber: Subscriber, peer: str, reason: str) -> None:
        del self._clients[subscriber]
        self._behind.pop(subscriber, None)
        self._log.disconnected(peer=peer, reason=reason, clients=len(self._clients))

    def _pump(self, subscriber: Subscriber, connection: Connection) -> None:
        """Send one batch, if the client has taken the one before: its turn, if it is behind."""
        self._behind.pop(subscriber, None)
        if connection.open and not connection.queued_bytes:
            subscriber.prepare()
            pieces = subscriber.take(time.monotonic_ns())
            if pieces:
                connection.send(*pieces)
        if subscriber.lag and connection.open and not connection.queued_bytes:
            self._behind[subscriber] = None


def _load_tapes(settings: Settings) -> Tapes:
    gateway = settings.gateway
    try:
        ticks: Tape
        sentiments: Sentiments
        if gateway.source == "csv":
            assert gateway.csv_path is not None  # the settings were checked
            ticks = csv_tape = load_csv_tape(gateway.csv_path, settings.symbols, gateway.csv_symbol)
            _log_skipped("csv", gateway.csv_path, csv_tape.skipped)
        else:
            ticks = RandomWalkTape(settings.symbols, gateway.seed)
        if gateway.news_csv:
            sentiments = csv_sentiments = load_sentiments(gateway.news_csv)
            _log_skipped("news", gateway.news_csv, csv_sentiments.skipped)
        else:
            sentiments = RandomSentiments(gateway.seed)
    except TapeError as error:
        raise CannotStartError(str(error)) from None
    return Tapes(ticks, sentiments)


def _log_skipped(kind: str, path: Path, skipped: Skipped) -> None:
    log = structlog.get_logger().bind(tape_kind=kind, path=str(path))
    for row in skipped.rows:
        log.warning("row_skipped", line=row.line, reason=row.reason)
    if skipped.count:
        log.warning("rows_skipped", count=skipped.count)
    if skipped.symbols:
        log.warning("symbols_skipped", rows_by_symbol=skipped.symbols)


def _continue_or_begin(settings: Settings, tapes: Tapes) -> StateFile:
    path = settings.var_dir / "gateway.state"
    try:
        return continue_or_begin(path, current_run(), tapes, _name_tape)
    except OSError as error:
        raise CannotStartError(f"cannot write {path}: {error.strerror}") from None


def _name_tape() -> str:
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}-{os.getpid()}"


if __name__ == "__main__":
    run_role("gateway", Gateway)
