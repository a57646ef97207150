"""Records what a running stack plays, from outside: one numbered client of each of its streams.

It ends on SIGTERM or Ctrl-C, after a time, or with the tape. The streams do not say that a tape has
ended, since heartbeats go on: the log of the gateway does.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from lib.clock import MILLISECOND_NS, SECOND_NS, to_ns
from lib.net.event_loop import EventLoop
from lib.net.host import address_text
from lib.net.reconnect import ReconnectingConnection
from lib.process.log_events import GATEWAY, LogLine, TapeEnded
from lib.settings import Settings
from lib.stack.observer import EventFollower
from lib.streams.recorder import SentimentRows, StreamRecorder, TickRows
from lib.streams.stream_client import StreamClient
from lib.tape_files.parts import PartsWriter, join_parts
from lib.tapes.recording_files import news_file

LOOK_NS: Final = 200 * MILLISECOND_NS
"""How often to look whether it has to end."""
EARLIER_BYTES: Final = 64 * 1024
"""How much of the gateway's log is read of before the start: the tape may have ended."""
WAIT_NS: Final = 3 * SECOND_NS
"""After so long without a stream, a line says what is waited for."""


class Recorded(NamedTuple):
    """What a recording has come to."""

    why_ended: str
    ticks: int
    sentiments: int
    missed: int
    """How many ticks the gateway no longer had."""
    skipped: int
    """How many frames are no ticks of configured symbols, or no sentiments."""
    first_skipped: bytes


class _EndCondition:
    """Ends the loop when the recording has to end. Is a `Timed`."""

    def __init__(
        self,
        loop: EventLoop,
        client: StreamClient,
        var_dir: Path,
        limit_ns: int | None,
        on_waiting: Callable[[], None],
    ) -> None:
        self.why = "as asked"
        self._loop = loop
        self._client = client
        self._log = EventFollower(var_dir, [GATEWAY], earlier_bytes=EARLIER_BYTES)
        self._ended: TapeEnded | None = None
        self._on_waiting = on_waiting
        now_ns = loop.clock()
        self._limit_ns = None if limit_ns is None else now_ns + limit_ns
        self._waiting_ns: int | None = now_ns + WAIT_NS
        self._look_ns = now_ns

    def next_deadline_ns(self) -> int:
        """When to look next."""
        return self._look_ns if self._limit_ns is None else min(self._look_ns, self._limit_ns)

    def on_time(self, now_ns: int) -> None:
        """Look whether it has to end."""
        self._look_ns = now_ns + LOOK_NS
        if self._client.tape is not None:
            self._waiting_ns = None
        if self._waiting_ns is not None and now_ns >= self._waiting_ns:
            self._waiting_ns = None
            self._on_waiting()
        for seen in self._log.read():
            if isinstance(seen.line, LogLine) and isinstance(seen.line.event, TapeEnded):
                self._ended = seen.line.event
        if self._limit_ns is not None and now_ns >= self._limit_ns:
            self._end("the time is over")
        elif self._ended and self._has_all_of(self._ended):
            self._end("the tape has ended")

    def _has_all_of(self, ended: TapeEnded) -> bool:
        return self._client.tape == ended.tape and self._client.next_sequence > ended.ticks

    def _end(self, why: str) -> None:
        self.why = why
        self._loop.stop()


def record_stack(
    settings: Settings, file: Path, seconds: float | None, say: Callable[[str], None]
) -> Recorded:
    """Record into `file` and the file of its news until it ends; join the parts.

    The log events of the two clients go to structlog. Takes SIGINT and SIGTERM of the process.
    Raises TapeError if a file cannot be written; the parts of before stay.
    """
    loop = EventLoop()
    loop.stop_on_signals()
    wall_offset_ns = time.time_ns() - loop.clock()
    gateway = settings.gateway
    parts = [PartsWriter(file), PartsWriter(news_file(file))]
    tick_rows = TickRows(parts[0], wall_offset_ns, settings.symbols)
    news_rows = SentimentRows(parts[1], wall_offset_ns)
    connect = partial(ReconnectingConnection, loop, gateway.host)
    ticks = StreamRecorder("price", partial(connect, gateway.price_port), tick_rows, loop.clock)
    news = StreamRecorder("news", partial(connect, gateway.news_port), news_rows, loop.clock)
    peer = address_text(gateway.host, gateway.price_port)
    ending = _EndCondition(
        loop,
        ticks.client,
        settings.var_dir,
        None if seconds is None else to_ns(seconds),
        lambda: say(f"waiting for a gateway on {peer}"),
    )
    for timed in (ticks, ticks.feed, news, news.feed, ending):
        loop.add_timed(timed)
    while loop.running:
        loop.poll()
    for recorder in (ticks, news):
        recorder.feed.leave("the recording ends")
        recorder.flush()
    # From here on a signal ends the process at once: the parts stay, whole.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for one in reversed(parts):
        one.close()
        join_parts(one.file)
    skipped = tick_rows.skipped + news_rows.skipped
    return Recorded(
        ending.why,
        ticks.recorded,
        news.recorded,
        ticks.missed,
        skipped,
        tick_rows.first_skipped or news_rows.first_skipped,
    )
