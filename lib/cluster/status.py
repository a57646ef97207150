"""What a role of a cluster knows of its streams, for those who look at the stack from outside.

Writer, epoch and the end of a stream are those of the newest message or word that has come; how far
the role is it says itself (`Progress`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping

from lib.cluster.broker import HOST, Answer, Broker, Delivered, Event, Message
from lib.cluster.lag_meter import LagMeter
from lib.cluster.majority_watch import MajorityWatch
from lib.cluster.progress import Progress
from lib.cluster.status_file import (
    UNKNOWN,
    WRITE_NS,
    Activity,
    Figures,
    StatusFile,
    status_path,
)
from lib.cluster.stream_follower import SILENCE_NS
from lib.cluster.streams import LAST, LEDGER, NEXT, live_subject, number_in
from lib.net.event_loop import EventLoop
from lib.process.run_identity import current_run
from lib.settings import Settings


class ClusterStatus:
    """Writes the status of each stream of a role. A `Timed` of its loop."""

    def __init__(
        self,
        settings: Settings,
        loop: EventLoop,
        broker: Broker,
        role: str,
        progress: Mapping[str, Callable[[], Progress]],
    ) -> None:
        """`progress` has a function for each stream of the role."""
        run = list(current_run())
        self._clock = loop.clock
        self._majority = MajorityWatch(broker, next(iter(progress)), loop.clock())
        self._streams = {
            live_subject(stream): _HeardStream(
                stream, StatusFile(status_path(settings.var_dir, role, stream), run), of_stream
            )
            for stream, of_stream in progress.items()
        }
        self._write_ns = loop.clock()
        loop.add_timed(self)

    def take(self, event: Event) -> None:
        """Take what has come from the brokers."""
        if isinstance(event, Delivered):
            if heard := self._streams.get(event.subject):
                heard.hear(event.message, self._clock())
        elif isinstance(event, Answer):
            self._majority.take(event, self._clock())

    def next_deadline_ns(self) -> int:
        """When to write it again."""
        return self._write_ns

    def on_time(self, now_ns: int) -> None:
        """Write it, if it is time to."""
        if now_ns < self._write_ns:
            return
        self._write_ns = now_ns + WRITE_NS
        self._majority.look(now_ns)
        for heard in self._streams.values():
            # A full disk is logged by the heartbeat, which is in the same directory.
            with contextlib.suppress(OSError):
                heard.write(now_ns, has_majority=not self._majority.is_lost)


class _HeardStream:
    """One stream, as it is heard."""

    def __init__(self, stream: str, file: StatusFile, progress: Callable[[], Progress]) -> None:
        self._stream = stream
        self._file = file
        self._progress = progress
        self._lag = LagMeter()
        self._heard: Message | None = None
        self._heard_ns = UNKNOWN
        self._epoch, self._takeovers = file.epoch, file.takeovers

    def hear(self, message: Message, now_ns: int) -> None:
        """Take a message, or a word of the writer; not of one that was overtaken and wakes up."""
        is_alone = now_ns - self._heard_ns > SILENCE_NS
        if self._heard is None or is_alone or message.epoch >= self._heard.epoch:
            self._heard, self._heard_ns = message, now_ns
            if self._epoch == UNKNOWN:
                self._takeovers = 0
            elif message.epoch != self._epoch:
                self._takeovers += 1
            self._epoch = message.epoch

    def write(self, now_ns: int, *, has_majority: bool) -> None:
        """Write what is known now. Raises OSError."""
        progress, heard = self._progress(), self._heard
        last = UNKNOWN
        newest = progress.newest
        if heard:
            last = heard.sequence or number_in(heard.headers, LAST)
            if newest is None:
                newest = last if self._stream == LEDGER else _newest_tick(heard)
        lag = lag_ns = p50_ns = p99_ns = UNKNOWN
        if progress.position is not None and newest is not None:
            lag = max(0, newest - progress.position)
            lag_ns = self._lag.lag_ns(progress.position, newest, now_ns)
        if progress.acknowledgements:
            quantiles = progress.acknowledgements.quantiles_ns(0.5, 0.99)
            p50_ns, p99_ns = (UNKNOWN if one is None else one for one in quantiles)
        figures = Figures(
            written_ns=now_ns,
            activity=progress.activity if has_majority else Activity.NO_MAJORITY,
            epoch=self._epoch,
            takeovers=self._takeovers,
            last=last,
            position=UNKNOWN if progress.position is None else progress.position,
            lag=lag,
            lag_ns=lag_ns,
            heard_ns=self._heard_ns,
            p50_ns=p50_ns,
            p99_ns=p99_ns,
        )
        self._file.write(heard.headers.get(HOST, "") if heard else "", figures)


def _newest_tick(message: Message) -> int:
    """Return the last tick or sentiment of the tape with this message, 0 before the first one."""
    return max(0, number_in(message.headers, NEXT) - 1)
