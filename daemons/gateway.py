"""Gateway: streams prices and news to any number of clients.

A tape can be read at any position, so the gateway keeps two numbers, how far prices and news have
been published, and every client is a cursor behind them (`lib.stream_server`). The numbers live in
a mapped file and are stored *before* anything is sent: a gateway that was killed goes on with the
same tape, and no tick is ever sent under two prices.

A slow client only falls behind in the tape. What may wait for it is one batch; when it takes
nothing for too long, or falls out of what is kept for replay, it is disconnected.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import structlog

from lib.clock import SECOND_NS
from lib.connection import Connection
from lib.errors import CannotStartError
from lib.event_loop import EventLoop
from lib.framing import MessageTooLongError
from lib.role import run_role
from lib.run import current_run
from lib.schedule import Schedule
from lib.server import Server
from lib.settings import GatewaySettings, Settings
from lib.state_file import StateFile, create_state, open_state
from lib.stream_messages import ProtocolError
from lib.stream_server import (
    MAX_BATCH_FRAMES,
    MAX_LAG_TICKS,
    EncodedTape,
    NewsStream,
    Stream,
    Subscriber,
)
from lib.tapes import (
    RandomSentiments,
    RandomWalkTape,
    Sentiments,
    Skipped,
    Tape,
    TapeError,
    load_csv_tape,
    load_sentiments,
)
from lib.tick_codec import TickCodec, encode_sentiment

MAX_CLIENTS: Final = 400
"""On each of the two ports."""
MAX_QUEUED_BYTES: Final = 1024 * 1024
"""Well above the largest batch: reaching it would be a fault of ours."""
STALL_LIMIT_NS: Final = 10 * SECOND_NS
"""A client that takes nothing for this long while something waits for it is disconnected …"""
UNPACED_STALL_LIMIT_NS: Final = 1 * SECOND_NS
"""… and sooner where it would hold up all others, because the slowest sets the pace."""
SWEEP_NS: Final = SECOND_NS // 4
"""How often to look for stalled clients and due heartbeats."""

TICK_WORD: Final = 0
NEWS_WORD: Final = 1


class Tapes(NamedTuple):
    """What this gateway plays."""

    ticks: Tape
    sentiments: Sentiments


class Gateway:
    """The role: two servers, paced by one schedule each."""

    def __init__(self, settings: Settings, loop: EventLoop) -> None:
        self._loop = loop
        self._log = structlog.get_logger()
        self._tapes = _load_tapes(settings)
        # The ports come first: who does not get them must not touch another gateway's state.
        gateway = settings.gateway
        for name, port in (("price", gateway.price_port), ("news", gateway.news_port)):
            accept = partial(self._on_accept, name)
            Server(loop, gateway.host, port, f"gateway.{name}_port", accept)
            self._log.info("listening", stream=name, host=gateway.host, port=port)
        self._state = _continue_or_begin(settings, self._tapes)
        stall_ns = STALL_LIMIT_NS if gateway.rate else UNPACED_STALL_LIMIT_NS
        self._prices = StreamServer(loop, "price", self._price_stream(settings.symbols), stall_ns)
        self._news = StreamServer(loop, "news", self._news_stream(), STALL_LIMIT_NS)
        self._paced = bool(gateway.rate)
        self._end_told = False
        self._start_schedules(gateway)

    def _price_stream(self, symbols: tuple[str, ...]) -> Stream:
        codec = TickCodec(symbols)

        def encode(first: int, count: int) -> list[bytes]:
            return codec.encode(*self._tapes.ticks.read(first, count))

        return Stream(self._state.header["tape"], EncodedTape(encode), self._state.words[TICK_WORD])

    def _news_stream(self) -> Stream:
        def encode(first: int, count: int) -> list[bytes]:
            return [encode_sentiment(s) for s in self._tapes.sentiments.read(first, count)]

        return NewsStream(
            self._state.header["tape"], EncodedTape(encode), self._state.words[NEWS_WORD]
        )

    def _start_schedules(self, gateway: GatewaySettings) -> None:
        now_ns = time.monotonic_ns()
        ticks, sentiments = self._tapes
        if self._paced:
            publish_ticks = partial(self._publish, self._prices, TICK_WORD, ticks.length)
            self._loop.add_timed(Pacer("price", Schedule(gateway.rate, now_ns), publish_ticks))
        publish_news = partial(self._publish, self._news, NEWS_WORD, sentiments.length)
        news_schedule = Schedule(1 / gateway.news_interval, now_ns)
        self._loop.add_timed(Pacer("news", news_schedule, publish_news))

    def _on_accept(self, name: str, sock: socket.socket, peer: str) -> None:
        (self._prices if name == "price" else self._news).accept(sock, peer)

    def step(self) -> None:
        """One pass of the loop."""
        busy = self._prices.pump_behind()
        if not self._paced:
            busy |= self._publish_unpaced()
        self._loop.poll(may_sleep=not busy)
        self._tell_the_end()

    def close(self) -> None:
        """Nothing outlives the process: the clients come back to its successor."""

    def _publish_unpaced(self) -> bool:
        """With rate = 0: let the tape run as far as its slowest numbered client has taken it."""
        slowest = self._prices.slowest_numbered()
        if slowest is None:
            return False
        ahead = self._prices.stream.next_sequence - slowest
        published = self._publish(
            self._prices, TICK_WORD, self._tapes.ticks.length, MAX_BATCH_FRAMES - ahead
        )
        return published > 0

    def _publish(self, server: StreamServer, word: int, length: int | None, count: int) -> int:
        """Publish the next `count` frames, fewer at the tape's end. Returns how many."""
        next_sequence = server.stream.next_sequence
        if length is not None:
            count = min(count, length + 1 - next_sequence)
        if count <= 0:
            return 0
        # First the state, then the wire: a successor must not know less than any client.
        self._state.words[word] = next_sequence + count
        server.stream.next_sequence = next_sequence + count
        server.pump_all()
        return count

    def _tell_the_end(self) -> None:
        length = self._tapes.ticks.length
        if length is None or self._end_told or self._prices.stream.next_sequence <= length:
            return
        self._end_told = True
        self._log.info("tape_ended", tape=self._prices.stream.tape, ticks=length)


class Pacer:
    """Calls `publish(count)` when a schedule says so. Is a `Timed` for the event loop.

    `publish` returns how many there were: fewer than asked for, and the tape has ended.
    """

    def __init__(self, name: str, schedule: Schedule, publish: Callable[[int], int]) -> None:
        self._name = name
        self._schedule = schedule
        self._publish = publish
        self._ended = False

    def next_deadline_ns(self) -> int | None:
        """When the next frame is due, None once the tape has ended."""
        return None if self._ended else self._schedule.next_ns()

    def on_time(self, now_ns: int) -> None:
        """Publish what has become due."""
        shift_ns = self._schedule.skip_lateness(now_ns)
        if shift_ns:
            structlog.get_logger().warning(
                "schedule_shifted", stream=self._name, late_s=round(shift_ns / SECOND_NS, 3)
            )
        count = self._schedule.take(now_ns)
        self._ended = self._publish(count) < count


class StreamServer:
    """The clients of one stream: keeps each of them supplied."""

    def __init__(self, loop: EventLoop, name: str, stream: Stream, stall_limit_ns: int) -> None:
        self.stream = stream
        self._loop = loop
        self._stall_limit_ns = stall_limit_ns
        self._clients: dict[Subscriber, Connection] = {}
        """In the order of their coming."""
        self._behind: set[Subscriber] = set()
        self._sweep_ns = time.monotonic_ns() + SWEEP_NS
        self._log = structlog.get_logger().bind(stream=name)
        loop.add_timed(self)

    def accept(self, sock: socket.socket, peer: str) -> None:
        """Take a new client, plain until it says HELLO."""
        if len(self._clients) >= MAX_CLIENTS and not self._drop_half_closed():
            sock.close()
            self._log.warning("client_refused", peer=peer, reason=f"{MAX_CLIENTS} clients already")
            return
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
        self._log.info("client_connected", peer=peer, clients=len(self._clients))

    def slowest_numbered(self) -> int | None:
        """The lowest cursor of a numbered client, None if there is none."""
        return min((s.next_sequence for s in self._clients if s.numbered), default=None)

    def pump_behind(self) -> bool:
        """Give those a further batch that could take one. Returns whether there still are some."""
        now_ns = time.monotonic_ns()
        for subscriber in list(self._behind):
            self._pump(subscriber, self._clients[subscriber], now_ns)
        return bool(self._behind)

    def pump_all(self) -> None:
        """Send every client what it has not had yet, as far as it takes it."""
        now_ns = time.monotonic_ns()
        for subscriber, connection in list(self._clients.items()):
            self._pump(subscriber, connection, now_ns)

    def next_deadline_ns(self) -> int:
        """When to look after the clients again."""
        return self._sweep_ns

    def on_time(self, now_ns: int) -> None:
        """Send heartbeats that are due; drop clients that take nothing or lag too far behind."""
        self._sweep_ns = now_ns + SWEEP_NS
        for subscriber, connection in list(self._clients.items()):
            if subscriber.lag > MAX_LAG_TICKS:
                connection.close(f"too slow: {subscriber.lag} frames behind")
            elif (
                connection.queued_bytes
                and now_ns - connection.last_progress_ns > self._stall_limit_ns
            ):
                connection.close(f"took nothing for {self._stall_limit_ns / SECOND_NS:g} s")
            else:
                self._pump(subscriber, connection, now_ns)

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
            self._log.warning("protocol_error", peer=peer, reason=str(error))
            connection.close(f"protocol error: {error}")
            return
        if answer:
            connection.send(answer)
            self._pump(subscriber, connection, time.monotonic_ns())

    def _on_drained(self, subscriber: Subscriber) -> None:
        self._pump(subscriber, self._clients[subscriber], time.monotonic_ns())

    def _on_closed(self, subscriber: Subscriber, peer: str, reason: str) -> None:
        del self._clients[subscriber]
        self._behind.discard(subscriber)
        self._log.info("client_disconnected", peer=peer, reason=reason, clients=len(self._clients))

    def _pump(self, subscriber: Subscriber, connection: Connection, now_ns: int) -> None:
        """Send one batch, if the client has taken the one before.

        A client that is further behind gets one batch a turn, so that it never delays the others.
        """
        if connection.open and not connection.queued_bytes:
            pieces = subscriber.take(now_ns)
            if pieces:
                connection.send(*pieces)
        if subscriber.lag and connection.open and not connection.queued_bytes:
            self._behind.add(subscriber)
        else:
            self._behind.discard(subscriber)


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
    """The state of this run's tape, if it is still the same tape, else that of a new one."""
    path = settings.var_dir / "gateway.state"
    run = list(current_run())
    contents = [tapes.ticks.identity, tapes.sentiments.identity]
    log = structlog.get_logger()
    state = open_state(path, word_count=2)
    if state and state.header.get("run") == run and state.header.get("contents") == contents:
        log.info("tape_continued", tape=state.header["tape"], next_sequence=state.words[TICK_WORD])
        return state
    tape = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}-{os.getpid()}"
    header = {"run": run, "contents": contents, "tape": tape}
    try:
        # The first sentiment is published from the start: there is news from the first tick on.
        state = create_state(path, header, [1, 2])
    except OSError as error:
        raise CannotStartError(f"cannot write {path}: {error.strerror}") from None
    log.info("tape_started", tape=tape)
    return state


if __name__ == "__main__":
    run_role("gateway", Gateway)
