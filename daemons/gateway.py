"""Gateway: streams prices and news to any number of clients.

Each of its two streams has a tape (`lib.tapes`), a publication that knows how far the tape is
published (`lib.streams.publication`), and a server that sends it to the clients
(`lib.streams.server`, where the way of a tick is drawn). A schedule paces each stream; with rate 0
the slowest numbered client paces the prices.

A new tape from a file and its news begin when the orderbook of this run has joined, which waits for
the strategies (`daemons.orderbook`).
"""

from __future__ import annotations

import os
import socket
from functools import partial
from pathlib import Path
from typing import Final

import structlog

from lib.clock import SECOND_NS, utc_stamp
from lib.errors import CannotStartError
from lib.net.event_loop import EventLoop
from lib.net.host import Host
from lib.net.listener import Listener
from lib.process.client_log import ClientLog
from lib.process.kept_files import FileKeeper
from lib.process.limits import client_places
from lib.process.log_events import (
    FirstTickNotAwaited,
    Listening,
    RowSkipped,
    RowsSkipped,
    ScheduleStarted,
    SymbolsSkipped,
    TapeEnded,
    log_event,
)
from lib.process.role import run_role
from lib.process.run_identity import current_run, is_supervised, siblings
from lib.process.state_file import StateFile
from lib.settings import Settings
from lib.streams.publication import (
    Tapes,
    continue_or_begin,
    news_publication,
    price_publication,
)
from lib.streams.schedule import Pacer, Schedule
from lib.streams.server import (
    MAX_CLIENTS,
    STALL_LIMIT_NS,
    UNPACED_STALL_LIMIT_NS,
    StreamServer,
)
from lib.tapes.csv_file import Skipped, load_csv_tape
from lib.tapes.random_walk import RandomWalkTape
from lib.tapes.sentiments import RandomSentiments, load_sentiments
from lib.tapes.tape import Sentiments, Tape, TapeError

STREAMS: Final = ("price", "news")
JOIN_LIMIT_NS: Final = 15 * SECOND_NS
"""How long the first tick of a file waits for the orderbook: longer than that for strategies."""


class Gateway:
    """The role: a server for prices and one for news."""

    def __init__(self, settings: Settings, loop: EventLoop) -> None:
        self._loop = loop
        self._log = structlog.get_logger()
        tapes = _load_tapes(settings)
        # Bind first, so that a gateway that loses the race never writes state.
        gateway = settings.gateway
        places = client_places(MAX_CLIENTS, len(STREAMS))
        logs = {name: ClientLog(name, places, loop.clock) for name in STREAMS}
        self._client_logs = logs
        for name, port in (("price", gateway.price_port), ("news", gateway.news_port)):
            accept = partial(self._on_accept, name)
            Listener(loop, gateway.host, port, f"gateway.{name}_port", logs[name], accept, siblings)
            log_event(self._log, Listening(stream=name, host=gateway.host, port=port))
        state = _continue_or_begin(settings, tapes, loop.host)
        loop.add_timed(FileKeeper(loop.clock, [state]))
        stall_ns = STALL_LIMIT_NS if gateway.rate else UNPACED_STALL_LIMIT_NS
        prices = price_publication(state, tapes, settings.symbols)
        news = news_publication(state, tapes)
        self._prices = StreamServer(loop, logs["price"], prices, stall_ns)
        self._news = StreamServer(loop, logs["news"], news, STALL_LIMIT_NS)
        self._paced = bool(gateway.rate)
        self._end_logged = False
        self._settings = gateway
        self._play_by_ns: int | None = loop.clock() + JOIN_LIMIT_NS
        """When the tape begins, whether an orderbook has joined or not; None once it has begun."""
        is_new_file = gateway.source != "random-walk" and prices.stream.next_sequence == 1
        if not is_new_file or not is_supervised():
            self._play()

    def _play_when_joined(self, play_by_ns: int) -> None:
        """Begin a tape from a file if the orderbook has joined, or is no longer waited for."""
        if self._prices.has_joined_from_own_run():
            self._play()
        elif self._loop.clock() >= play_by_ns:
            waited_s = JOIN_LIMIT_NS // SECOND_NS
            reason = f"no orderbook of this run has joined the price stream for {waited_s} s"
            log_event(self._log, FirstTickNotAwaited(reason=reason))
            self._play()

    def _play(self) -> None:
        """Begin to play, or go on: start the schedules."""
        self._play_by_ns = None
        gateway, now_ns = self._settings, self._loop.clock()
        schedules = [("news", 1 / gateway.news_interval, self._news)]
        if self._paced:
            schedules.append(("price", gateway.rate, self._prices))
        for name, rate, server in schedules:
            self._loop.add_timed(Pacer(name, Schedule(rate, now_ns), server.publish))
            # The first frame is due one period after the start.
            first = server.publication.stream.next_sequence
            log_event(
                self._log,
                ScheduleStarted(stream=name, rate=rate, start_ns=now_ns, first=first),
            )

    def _on_accept(self, name: str, sock: socket.socket, peer: str, is_ours: bool) -> bool:
        return (self._prices if name == "price" else self._news).clients.accept(sock, peer, is_ours)

    def step(self) -> None:
        """One pass of the loop."""
        if self._play_by_ns is not None:
            self._play_when_joined(self._play_by_ns)
        busy = self._prices.send_to_lagging()
        busy |= self._news.send_to_lagging()
        if not self._paced and self._play_by_ns is None:
            busy |= self._prices.publish_unpaced()
        self._loop.poll(may_sleep=not busy)
        self._log_the_end()

    def close(self) -> None:
        """Log the last counts. The clients reconnect to the successor."""
        for log in self._client_logs.values():
            log.on_time(self._loop.clock())

    def _log_the_end(self) -> None:
        if self._end_logged or not self._prices.publication.ended:
            return
        self._end_logged = True
        stream = self._prices.publication.stream
        log_event(self._log, TapeEnded(tape=stream.tape, ticks=stream.next_sequence - 1))


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
    log, file = structlog.get_logger(), str(path)
    for row in skipped.rows:
        log_event(log, RowSkipped(tape_kind=kind, path=file, line=row.line, reason=row.reason))
    if skipped.count:
        log_event(log, RowsSkipped(tape_kind=kind, path=file, count=skipped.count))
    if skipped.symbols:
        log_event(log, SymbolsSkipped(tape_kind=kind, path=file, rows_by_symbol=skipped.symbols))


def _continue_or_begin(settings: Settings, tapes: Tapes, host: Host) -> StateFile:
    path = settings.var_dir / "gateway.state"
    try:
        return continue_or_begin(path, current_run(), tapes, partial(_name_tape, host))
    except OSError as error:
        raise CannotStartError(f"cannot write {path}: {error.strerror}") from None


def _name_tape(host: Host) -> str:
    stamp = utc_stamp(host.wall_ns()).replace("-", "").replace(":", "")
    return f"{stamp}-{os.getpid()}"


if __name__ == "__main__":
    run_role("gateway", Gateway)
