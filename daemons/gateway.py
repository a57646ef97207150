"""Gateway: streams prices and news to any number of clients.

Each of its two streams has a tape (`lib.tapes`), a publication that knows how far the tape is
published (`lib.streams.publication`), and a server that sends it to the clients
(`lib.streams.server`, where the way of a tick is drawn). A schedule paces each stream; with rate 0
the slowest numbered client paces the prices.

A tape from a file is mapped as the program `tape` has prepared it (`lib.tapes.preparation`). Until
then the ports are open and their clients wait.

A new tape from a file and its news begin when the orderbook of this run has joined, which waits for
the strategies (`daemons.orderbook`).
"""

from __future__ import annotations

import os
import socket
from functools import partial
from typing import Final

import structlog

from lib.clock import SECOND_NS, utc_stamp
from lib.errors import CannotStartError
from lib.net.event_loop import EventLoop
from lib.net.listener import Listener
from lib.process.client_log import ClientLog
from lib.process.kept_files import FileKeeper
from lib.process.limits import client_places
from lib.process.log_events import (
    FirstTickNotAwaited,
    Listening,
    LogEvent,
    NewsEnded,
    ScheduleStarted,
    TapeEnded,
    TapeRecognised,
    TapeSourceChanged,
    TapeWarning,
    log_event,
)
from lib.process.role import run_role
from lib.process.run_identity import current_run, is_supervised, siblings
from lib.process.state_file import StateFile
from lib.settings import Settings
from lib.streams.publication import (
    STATE_NAME,
    Tapes,
    continue_or_begin,
    news_publication,
    played_tapes,
    price_publication,
)
from lib.streams.schedule import Pacer, Schedule
from lib.streams.server import (
    MAX_CLIENTS,
    STALL_LIMIT_NS,
    UNPACED_STALL_LIMIT_NS,
    StreamServer,
)
from lib.tapes.preparation import TapePreparation
from lib.tapes.prepared import PreparedSentiments, PreparedTape
from lib.tapes.random_walk import RandomWalkTape
from lib.tapes.recipe import kind_of, recipes
from lib.tapes.sentiments import RandomSentiments
from lib.tapes.store import TapeStore

STREAMS: Final = ("price", "news")
JOIN_LIMIT_NS: Final = 15 * SECOND_NS
"""How long the first tick of a file waits for the orderbook: longer than that for strategies."""


class Gateway:
    """The role: a server for prices and one for news."""

    def __init__(self, settings: Settings, loop: EventLoop) -> None:
        self._settings = settings
        self._loop = loop
        self._log = structlog.get_logger()
        # Bind first, so that a gateway that loses the race never writes state.
        gateway = settings.gateway
        places = client_places(MAX_CLIENTS, len(STREAMS))
        logs = {name: ClientLog(name, places, loop.clock) for name in STREAMS}
        self._client_logs = logs
        self._listeners = []
        for name, port in (("price", gateway.price_port), ("news", gateway.news_port)):
            accept = partial(self._on_accept, name)
            setting = f"gateway.{name}_port"
            self._listeners.append(
                Listener(loop, gateway.host, port, setting, logs[name], accept, siblings)
            )
            log_event(self._log, Listening(stream=name, host=gateway.host, port=port))
        self._paced = bool(gateway.rate)
        self._is_at_work = False
        self._play_by_ns: int | None = None
        """When a new tape of a file begins, whether an orderbook has joined or not."""
        self._ended: set[type[LogEvent]] = set()
        """The ends that are logged."""
        self._store = TapeStore(settings.var_dir)
        self._state_path = settings.var_dir / STATE_NAME
        self._recipes = [recipe for recipe in recipes(settings) if recipe]
        run = current_run()
        self._played = played_tapes(self._state_path, run) if self._recipes else []
        self._preparation = TapePreparation(
            self._store, self._recipes, self._played, run, loop.clock
        )
        if self._preparation.look():
            self._begin()
            return
        for listener in self._listeners:
            listener.hold()
        loop.add_timed(self._preparation)

    @property
    def is_at_work(self) -> bool:
        """Whether the tapes are there; until then clients wait."""
        return self._is_at_work

    def _begin(self) -> None:
        """Play the tapes."""
        loop, gateway = self._loop, self._settings.gateway
        tapes = self._tapes()
        state, is_new = self._continue_or_begin(tapes)
        self._log_findings(is_new)
        loop.add_timed(FileKeeper(loop.clock, [state]))
        stall_ns = STALL_LIMIT_NS if gateway.rate else UNPACED_STALL_LIMIT_NS
        prices = price_publication(state, tapes, self._settings.symbols)
        news = news_publication(state, tapes)
        self._prices = StreamServer(loop, self._client_logs["price"], prices, stall_ns)
        self._news = StreamServer(loop, self._client_logs["news"], news, STALL_LIMIT_NS)
        self._is_at_work = True
        is_new_file = gateway.source != "random-walk" and prices.stream.next_sequence == 1
        if is_new_file and is_supervised():
            self._play_by_ns = loop.clock() + JOIN_LIMIT_NS
        else:
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
        gateway, now_ns = self._settings.gateway, self._loop.clock()
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
        if not self._is_at_work:
            self._wait_for_tapes()
            return
        if self._play_by_ns is not None:
            self._play_when_joined(self._play_by_ns)
        busy = self._prices.send_to_lagging()
        busy |= self._news.send_to_lagging()
        if not self._paced and self._play_by_ns is None:
            busy |= self._prices.publish_unpaced()
        self._loop.poll(may_sleep=not busy)
        self._log_ends()

    def close(self) -> None:
        """Log the last counts. The clients reconnect to the successor."""
        self._preparation.close()
        for log in self._client_logs.values():
            log.on_time(self._loop.clock())

    def _wait_for_tapes(self) -> None:
        self._loop.poll()
        if self._loop.running and self._preparation.look():
            self._begin()
            for listener in self._listeners:
                listener.accept_again()

    def _log_ends(self) -> None:
        """Log the end of a tape, once."""
        if self._prices.publication.ended and TapeEnded not in self._ended:
            self._ended.add(TapeEnded)
            stream = self._prices.publication.stream
            log_event(self._log, TapeEnded(tape=stream.tape, ticks=stream.next_sequence - 1))
        if self._news.publication.ended and NewsEnded not in self._ended:
            self._ended.add(NewsEnded)
            stream = self._news.publication.stream
            log_event(self._log, NewsEnded(tape=stream.tape, sentiments=stream.next_sequence - 1))

    def _tapes(self) -> Tapes:
        """Return what is played: what was prepared, and random numbers for the rest."""
        seed, opened = self._settings.gateway.seed, list(self._preparation.opened.values())
        ticks = next((one for one in opened if isinstance(one, PreparedTape)), None)
        sentiments = next((one for one in opened if isinstance(one, PreparedSentiments)), None)
        return Tapes(
            ticks or RandomWalkTape(self._settings.symbols, seed),
            sentiments or RandomSentiments(seed),
            tuple(one.directory.name for one in opened),
        )

    def _log_findings(self, is_new: bool) -> None:
        """Log what a new tape was taken for and what is odd in it, or that its file has changed."""
        for recipe, prepared in self._preparation.opened.items():
            kind, found = kind_of(recipe), prepared.about.findings
            events: list[LogEvent] = []
            if is_new:
                recognised = "; ".join(found.recognised)
                events.append(TapeRecognised(kind=kind, length=found.length, recognised=recognised))
                events += [TapeWarning(kind=kind, reason=warning) for warning in found.warnings]
            elif not self._store.is_of_present_files(recipe, prepared.directory.name):
                reason = (
                    f"{recipe.path or 'a file of the query'} has changed or is gone; the tape goes "
                    "on as it was, and a new run plays what is there then"
                )
                events.append(TapeSourceChanged(kind=kind, reason=reason))
            for event in events:
                log_event(self._log, event)

    def _continue_or_begin(self, tapes: Tapes) -> tuple[StateFile, bool]:
        path = self._state_path
        try:
            return continue_or_begin(path, current_run(), tapes, self._name_tape)
        except OSError as error:
            raise CannotStartError(f"cannot write {path}: {error.strerror}") from None

    def _name_tape(self) -> str:
        stamp = utc_stamp(self._loop.host.wall_ns()).replace("-", "").replace(":", "")
        return f"{stamp}-{os.getpid()}"


if __name__ == "__main__":
    run_role("gateway", Gateway)
