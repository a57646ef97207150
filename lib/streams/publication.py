"""How far the gateway has published its tapes, and that it never knows less than its clients.

A tape can be read at any position, so all that a gateway must remember of it is how far it has
been published. The numbers live in a mapped file and are stored *before* anything is sent: a
gateway that was killed goes on with the same tape, and no tick is ever sent under two prices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, NamedTuple

import structlog

from lib.clock import MICROSECOND_NS, SECOND_NS
from lib.process.state_file import StateFile, create_state, open_state
from lib.streams.schedule import Schedule
from lib.streams.subscriber import NEWS_CHUNK_FRAMES, EncodedTape, NewsStream, Stream
from lib.tapes.csv_file import Sentiments, Tape
from lib.wire.tick_codec import TickCodec, encode_sentiment

TICK_WORD: Final = 0
NEWS_WORD: Final = 1
GATHER_NS: Final = 100 * MICROSECOND_NS
"""No two publications by a schedule are closer; what is due sooner waits. So at 200,000 ticks/s
each send has some 20 of them, and takes a quarter of the gateway's time instead of all of it."""


class Tapes(NamedTuple):
    """What a gateway plays."""

    ticks: Tape
    sentiments: Sentiments


class Publication:
    """One stream, and the word of the state that says how far it has been published."""

    def __init__(self, stream: Stream, state: StateFile, word: int, length: int | None) -> None:
        self.stream = stream
        self._state = state
        self._word = word
        self._length = length

    @property
    def ended(self) -> bool:
        """Whether all of the tape has been published."""
        return self._length is not None and self.stream.next_sequence > self._length

    def publish(self, count: int) -> int:
        """Publish the next `count` frames, fewer at the tape's end. Returns how many.

        They may be sent when it returns.
        """
        next_sequence = self.stream.next_sequence
        if self._length is not None:
            count = min(count, self._length + 1 - next_sequence)
        if count <= 0:
            return 0
        # First the state, then the wire: a successor must not know less than any client.
        self._state.words[self._word] = next_sequence + count
        self.stream.next_sequence = next_sequence + count
        return count


def price_publication(state: StateFile, tapes: Tapes, symbols: tuple[str, ...]) -> Publication:
    """Go on with the ticks where `state` says."""
    codec = TickCodec(symbols)

    def encode(first: int, count: int) -> bytes:
        return codec.encode(*tapes.ticks.read(first, count))

    encoded = EncodedTape(encode)
    encoded.prepare(state.words[TICK_WORD])  # takes 16 ms, which the first tick would come late by
    stream = Stream(state.header["tape"], encoded, state.words[TICK_WORD])
    return Publication(stream, state, TICK_WORD, tapes.ticks.length)


def news_publication(state: StateFile, tapes: Tapes) -> Publication:
    """Go on with the sentiments where `state` says."""

    def encode(first: int, count: int) -> bytes:
        return b"".join(encode_sentiment(s) for s in tapes.sentiments.read(first, count))

    encoded = EncodedTape(encode, NEWS_CHUNK_FRAMES)
    stream = NewsStream(state.header["tape"], encoded, state.words[NEWS_WORD])
    return Publication(stream, state, NEWS_WORD, tapes.sentiments.length)


def continue_or_begin(
    path: Path, run: Iterable[int], tapes: Tapes, name_tape: Callable[[], str]
) -> StateFile:
    """Return the state of this run's tape if it is still the same tape, else that of a new one.

    Raises OSError if the state file of a new tape cannot be written.
    """
    run = list(run)
    contents = [tapes.ticks.identity, tapes.sentiments.identity]
    log = structlog.get_logger()
    state = open_state(path, word_count=2)
    if state and state.header.get("run") == run and state.header.get("contents") == contents:
        log.info("tape_continued", tape=state.header["tape"], next_sequence=state.words[TICK_WORD])
        return state
    tape = name_tape()
    # The first sentiment is published from the start: there is news from the first tick on.
    state = create_state(path, {"run": run, "contents": contents, "tape": tape}, [1, 2])
    log.info("tape_started", tape=tape)
    return state


class Pacer:
    """Calls `publish(count)` when a schedule says so. Is a `Timed` for the event loop.

    `publish` returns how many there were: fewer than asked for, and the tape has ended.
    """

    def __init__(self, name: str, schedule: Schedule, publish: Callable[[int], int]) -> None:
        self._name = name
        self._schedule = schedule
        self._publish = publish
        self._not_before_ns = 0
        self._ended = False

    def next_deadline_ns(self) -> int | None:
        """When to publish what is due then, None once the tape has ended."""
        return None if self._ended else max(self._schedule.next_ns(), self._not_before_ns)

    def on_time(self, now_ns: int) -> None:
        """Publish what has become due."""
        self._not_before_ns = now_ns + GATHER_NS
        shift_ns = self._schedule.skip_lateness(now_ns)
        if shift_ns:
            structlog.get_logger().warning(
                "schedule_shifted",
                stream=self._name,
                late_s=round(shift_ns / SECOND_NS, 3),
                shift_ns=shift_ns,
            )
        count = self._schedule.take(now_ns)
        self._ended = self._publish(count) < count
