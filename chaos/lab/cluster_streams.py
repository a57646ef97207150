"""The streams of a cluster under test: who leads them, and all that is appended to them, judged.

A client of the brokers with the rights of an order host, which may read every stream. It hears the
messages as they come, in a thread of its own (`StreamTap`), and reads by their numbers those that
it has not heard, because its broker was killed, say. They are judged between faults, for the
experiment's thread: ticks and news are kept for five minutes. TW_LEDGER is judged from its first
message on, the others from the first one that was heard.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any, Final, Self

from chaos.judge.streams import (
    booked_in,
    booking_findings,
    numbered_frames,
    one_writer,
    without_gap,
    without_repetition,
)
from lib.cluster.broker import Connected, Delivered, Event, Message, Replied
from lib.cluster.credentials import connect_options
from lib.cluster.ledger_check import NotComparedError, StreamReader
from lib.cluster.nats_broker import NatsBroker
from lib.cluster.streams import LEDGER, NEWS, PRICE, live_subject
from lib.net.event_loop import EventLoop
from lib.settings import ClusterSettings
from lib.wire.stream_messages import ProtocolError

STREAMS: Final = (PRICE, NEWS, LEDGER)
MAX_HEARD: Final = 100_000
"""The most messages of a stream that wait to be judged; further ones are read later."""
TAKEN_AT_ONCE: Final = 1_000
"""The most messages that are judged together."""


class StreamTap:
    """Hears what is appended to the streams. Leaving the `with` block ends its thread."""

    def __init__(self, cluster: ClusterSettings) -> None:
        """Raises CannotStartError."""
        self._streams = {live_subject(stream): stream for stream in STREAMS}
        self._heard: dict[str, dict[int, Message]] = {stream: {} for stream in STREAMS}
        self._loop = EventLoop()
        options = {**connect_options(cluster), "name": f"{cluster.host} tap"}
        self._broker = NatsBroker(self._loop, options, self._on_event)
        self._thread = threading.Thread(target=self._run, name="tap", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.stop()
        self._thread.join()
        self._broker.close()

    def first(self, stream: str, begin: int = 0) -> int:
        """Return the first message from `begin` on that waits, 0 if there is none."""
        return min((one for one in list(self._heard[stream]) if one >= begin), default=0)

    def take(self, stream: str, begin: int, end: int) -> list[Message]:
        """Return messages from `begin` on, without a gap, at most to `end`; they no longer wait."""
        messages: list[Message] = []
        while len(messages) < TAKEN_AT_ONCE and begin + len(messages) <= end:
            message = self._heard[stream].pop(begin + len(messages), None)
            if message is None:
                break
            messages.append(message)
        return messages

    def _run(self) -> None:
        while self._loop.running:
            self._loop.poll()

    def _on_event(self, event: Event) -> None:
        if isinstance(event, Connected):
            for subject in self._streams:
                self._broker.follow(subject)
        elif isinstance(event, Delivered) and event.message.sequence:
            heard = self._heard[self._streams[event.subject]]
            if len(heard) < MAX_HEARD:
                heard[event.message.sequence] = event.message


class ClusterStreams(StreamReader):
    """The streams of a cluster. Leaving the `with` block leaves the brokers."""

    def __init__(self, cluster: ClusterSettings) -> None:
        """Connect. Raises NotComparedError and CannotStartError."""
        super().__init__(cluster)
        self.findings: list[str] = []
        """What is wrong with the streams, as far as they were read."""
        self._booked: list[Message] = []
        """TW_LEDGER, as far as it was read."""
        self._next = {PRICE: 0, NEWS: 0, LEDGER: 1}
        """The next message to judge of each stream; 0: the first one that is heard."""
        self._last: dict[str, list[Message]] = {stream: [] for stream in STREAMS}
        """The last message that was judged of each stream."""
        self._numbers: dict[str, dict[str, int]] = {PRICE: {}, NEWS: {}}
        """The last number of each tape of each stream."""
        self._open = ExitStack()
        self._tap = self._open.enter_context(StreamTap(cluster))

    def __exit__(self, *_: object) -> None:
        self._open.close()
        super().__exit__()

    def leader(self, stream: str) -> str:
        """Return the broker that leads a stream, "" if there is none. Raises NotComparedError."""
        return str(self._cluster(stream).get("leader") or "")

    def why_not_steady(self) -> str:
        """Return why the brokers could not lose one of them now; "" if they could."""
        for stream in STREAMS:
            try:
                cluster = self._cluster(stream)
            except NotComparedError as error:
                return str(error)
            if not cluster.get("leader"):
                return f"{stream} has no leader"
            for replica in cluster.get("replicas") or ():
                if not replica.get("current") or replica.get("offline"):
                    return f"broker {replica.get('name')} has not caught up with {stream}"
        return ""

    def judge_on(self) -> None:
        """Judge what was appended since the last call. Raises NotComparedError."""
        for stream in STREAMS:
            end = self.last(stream)
            begin = self._next[stream] = self._next[stream] or self._tap.first(stream)
            if not begin:
                continue
            if end < begin - 1:
                self.findings.append(f"{stream}: message {begin - 1} was there, and is no longer")
                begin = self._next[stream] = 1
                self._last[stream] = []
            for messages in self._messages(stream, begin, end):
                self.findings += self._judge(stream, messages)
                self._next[stream] = messages[-1].sequence + 1
                self._last[stream] = messages[-1:]

    def all_findings(self) -> list[str]:
        """Return what is wrong with the streams and with the orders in TW_LEDGER."""
        return [*self.findings, *booking_findings(booked_in(self._booked))]

    def _messages(self, stream: str, begin: int, end: int) -> Iterator[list[Message]]:
        """Yield the messages from `begin` to `end`, some at a time: heard, or else read."""
        while begin <= end:
            messages = self._tap.take(stream, begin, end)
            if not messages:
                heard = self._tap.first(stream, begin)
                last = heard - 1 if heard else end
                messages = next(self.read(begin, min(last, end), stream), [])
            if not messages:
                return
            yield messages
            begin = messages[-1].sequence + 1

    def _cluster(self, stream: str) -> Mapping[str, Any]:
        reply = self._ask(partial(self._broker.request, f"$JS.API.STREAM.INFO.{stream}", {}))
        found = reply.content.get("cluster") if isinstance(reply, Replied) else None
        return found if isinstance(found, dict) else {}

    def _judge(self, stream: str, messages: list[Message]) -> Iterator[str]:
        if (first := messages[0].sequence) > self._next[stream]:
            yield f"{stream}: messages {self._next[stream]} to {first - 1} were gone unread"
        yield from one_writer(stream, [*self._last[stream], *messages])
        if stream == LEDGER:
            self._booked += messages
            return
        numbers = self._numbers[stream]
        try:
            if not numbers:
                for _, tape, number, _ in numbered_frames(messages):
                    numbers.setdefault(tape, number - 1)
            if stream == PRICE:
                yield from without_gap(stream, messages, numbers)
            else:
                yield from without_repetition(stream, messages, numbers)
        except ProtocolError as error:
            yield f"{stream}: messages {first} to {messages[-1].sequence}: {error}"
