"""An independent observer of a running stack, in a thread of the experiment.

It records, each with the monotonic time at which it was seen,

- the tape, as a numbered client of the price stream with its own simple code: the ground truth (of
  several gateways, as in a cluster, each must play the same);
- every tick that becomes visible in the price book, as one more reader of it;
- the last tick that the strategy has evaluated, from its state file, within `LOOK_S`;
- what the roles log, and what supervisord logs about them, within `LOOK_S`; those of other hosts of
  a cluster within `OTHER_LOOK_S`.

It never asks supervisord: any question would wake it, and so change what is measured. A recorder
that sees nothing must not blame the stack: it has to see every part of one stack first, and there
is no verdict on a recording that `ended_early`.
"""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Self

from chaos.judge.records import BookedTick, PlayedTick
from chaos.lab.target import TargetError, TargetStack, strategy_state
from lib.prices import parse_price
from lib.process.log_events import LogEvent, TapeEnded
from lib.process.state_file import StateFile, open_state
from lib.shared_memory_utils import SharedPriceBook
from lib.stack.log_follower import SUPERVISORD as SUPERVISORD  # the source of its events
from lib.stack.log_follower import SupervisorEvent
from lib.stack.observer import BookFollower, EventFollower

LOOK_S: Final = 0.002
"""How often the logs and the strategy's state file are polled."""
OTHER_LOOK_S: Final = 0.02
"""How often the logs of the other hosts of a cluster are polled."""
CONNECT_RETRY_S: Final = 0.02
"""How often a refused connection is tried again."""
CONNECT_S: Final = 0.1
"""How long the gateway's machine may take to accept or refuse a connection; normally it does so at
once, also for a gateway that is frozen."""
CATCH_UP_S: Final = 30.0
"""How long it may take to read the ticks from before the recording."""
MAX_TICKS: Final = 2_000_000
"""The most ticks that are recorded; they take more than a gigabyte of memory."""
RECEIVE_BYTES: Final = 1 << 20

_FIELDS: Final = ("epoch", "sequence", "symbol", "price", "sent_ns")
"""The recorded fields of a booked tick."""


CONTINUED: Final = "continued"
"""The event of a program that the lab itself has resumed, beside those of `SupervisorEvent`."""


class Event(NamedTuple):
    """A logged event."""

    at_ns: int
    """When it was seen (monotonic)."""
    source: str
    """The role that logged it; SUPERVISORD for what supervisord logs about a role. On another host
    of a cluster with the host before it: "order-1 order_manager"."""
    what: LogEvent | SupervisorEvent


class SeenEvaluation(NamedTuple):
    """The recorder saw that the strategy had evaluated a tape up to this tick."""

    at_ns: int
    tape: str
    sequence: int


@dataclass
class StackRecording:
    """Everything the recorder saw, in that order. Lists only grow while it is running."""

    tapes: dict[str, dict[int, PlayedTick]] = field(default_factory=dict)
    """The ticks that were played, by tape and sequence."""
    heard_ns: dict[str, dict[int, int]] = field(default_factory=dict)
    """When each tick of `tapes` was first received."""
    playing: str = ""
    """The tape that is being played."""
    cut_off: set[str] = field(default_factory=set)
    """Tapes that an experiment cut off, together with their book, by killing supervisord."""
    booked: list[BookedTick] = field(default_factory=list)
    booked_ns: list[int] = field(default_factory=list)
    """When each tick of `booked` became visible."""
    sent_ns: dict[str, dict[int, int]] = field(default_factory=dict)
    """When the gateway sent each tick of `booked`, by tape and sequence, as the book has it."""
    evaluated: list[SeenEvaluation] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)
    """Defects that the recorder itself found, a line each."""
    booked_before: dict[str, int] = field(default_factory=dict)
    """The last tick of each tape that was booked before the present price book was made."""
    ended_tape: str = ""
    """The last tape whose end the gateway has logged."""
    ended_early: str = ""
    """Why the recorder stopped too early, human-readable; "" if it did not."""

    @property
    def tape_ended(self) -> bool:
        """Whether the tape that is being played has ended."""
        return bool(self.ended_tape) and self.ended_tape == self.playing

    def sees_one_stack(self) -> bool:
        """Whether tape, price book and strategy are all seen, at a tape of the same name."""
        if not self.booked or not self.evaluated:
            return False
        tape, sequence = self.booked[-1][:2]
        return sequence in self.tapes.get(tape, ()) and self.evaluated[-1].tape == tape

    def is_full(self) -> bool:
        """Whether `MAX_TICKS` are recorded."""
        heard = sum(len(ticks) for ticks in self.tapes.values())
        return max(len(self.booked), heard) >= MAX_TICKS

    def begin_book(self) -> None:
        """Note that another price book takes the place of the one before: it is refilled first.

        The ticks of the refill, which were booked before, are not booked again.
        """
        for tape, sequence, *_ in self.booked:
            self.booked_before[tape] = max(sequence, self.booked_before.get(tape, 0))

    def add_booked(
        self,
        ticks: Iterable[tuple[BookedTick, int]],
        missed: tuple[int, int] | None,
        now_ns: int,
    ) -> None:
        """Add ticks that were read from the book at `now_ns`, each with its sending time.

        `missed` are the positions that were overwritten before they were read: normal during the
        first read of a full ring.
        """
        if missed and self.booked:
            self.troubles.append(f"the recorder was lapped in the ring: {missed}")
        for tick, sent_ns in ticks:
            if tick.sequence <= self.booked_before.get(tick.tape, 0):
                self._require_same(tick)
                continue
            self.sent_ns.setdefault(tick.tape, {})[tick.sequence] = sent_ns
            self.booked_ns.append(now_ns)
            self.booked.append(tick)

    def _require_same(self, tick: BookedTick) -> None:
        """See that a tick of a refill is the one that was played."""
        played = self.tapes.get(tick.tape, {}).get(tick.sequence)
        if played and played != tick[2:]:
            self.troubles.append(f"another price book has {tick}, and {played} was played")


class TapeListener:
    """A numbered client of the price stream, without a socket: bytes in, ticks into a recording."""

    def __init__(self, recording: StackRecording) -> None:
        self._recording = recording
        self._tail = b""
        self._is_answered = False
        self._next = max(recording.tapes.get(recording.playing, ()), default=0) + 1

    def connected(self) -> bytes:
        """Return the HELLO for a new connection.

        It continues after the last received tick; the first time, it begins with the first
        recorded tick of the book, or with the tape.
        """
        tape, first = self._recording.playing, self._next
        if not tape and self._recording.booked:
            tape, first = self._recording.booked[0][:2]
        self._tail = b""
        self._is_answered = False
        return b"HELLO,1,%d%b*" % (first, f",{tape}".encode() if tape else b"")

    def receive(self, data: bytes, now_ns: int) -> None:
        """Process bytes of the stream that arrived at `now_ns`."""
        recording = self._recording
        *frames, self._tail = (self._tail + data).split(b"*")
        for frame in frames:
            word, *rest = frame.split(b",")
            if word == b"HELLO":
                recording.playing = rest[1].decode()
                recording.tapes.setdefault(recording.playing, {})
                recording.heard_ns.setdefault(recording.playing, {})
                self._next = int(rest[2])
                self._is_answered = True
            elif not self._is_answered:
                continue  # a plain frame that came before the answer
            elif word == b"BATCH":
                if int(rest[0]) != self._next:
                    trouble = f"expected sequence {self._next}, got {int(rest[0])}"
                    recording.troubles.append(f"price stream: {trouble}")
                self._next = int(rest[0])
            else:
                tick = PlayedTick(word.decode(), parse_price(rest[0]))
                recording.heard_ns[recording.playing].setdefault(self._next, now_ns)
                known = recording.tapes[recording.playing].setdefault(self._next, tick)
                if known != tick:
                    trouble = f"tick {self._next} was sent as {known} and as {tick}"
                    recording.troubles.append(f"price stream: {trouble}")
                self._next += 1


class TapeConnection:
    """The recorder's connection to one gateway, which is made again when it is lost."""

    def __init__(self, address: tuple[str, int], recording: StackRecording) -> None:
        self._address = address
        self._listener = TapeListener(recording)
        self._next_connect_s = 0.0
        self.sock: socket.socket | None = None
        """None while there is no connection."""

    def connect(self) -> None:
        """Connect if there is no connection, and it is time to try."""
        if self.sock or time.monotonic() < self._next_connect_s:
            return
        self._next_connect_s = time.monotonic() + CONNECT_RETRY_S
        with suppress(OSError):  # refused
            self.sock = socket.create_connection(self._address, CONNECT_S)
            self.sock.send(self._listener.connected())

    def receive(self) -> None:
        """Read what has come, or notice that the connection is lost."""
        if self.sock is None:
            return
        data = b""
        with suppress(OSError):
            data = self.sock.recv(RECEIVE_BYTES)
        if data:
            self._listener.receive(data, time.monotonic_ns())
        else:
            self.close()

    def close(self) -> None:
        """Close the connection. May be called again."""
        if self.sock:
            self.sock.close()
            self.sock = None


class Recorder:
    """Records from the beginning of the `with` block to its end, in a thread of its own.

    The price book is recorded from the oldest tick in its ring on, the tape from the same tick on,
    the logs from now on. Any thread may read `recording` at any time.
    """

    def __init__(self, target: TargetStack) -> None:
        """Raises TargetError if the tape is too fast to be recorded."""
        settings = target.settings
        if not settings.gateway.rate:
            raise TargetError(
                "with gateway.rate = 0 the tape runs too fast to be recorded: choose a rate above 0"
            )
        self.recording = StackRecording()
        self._tapes = [TapeConnection(one, self.recording) for one in target.gateways()]
        self._book = BookFollower(settings.price_book.name, as_role=False)
        self._seen_book: SharedPriceBook | None = None
        self._state_path = strategy_state(settings)
        self._state: StateFile | None = None
        self._state_inode = 0
        own, *others = (
            (f"{logs.host} " if logs.host else "", EventFollower(logs.var_dir, logs.programs))
            for logs in target.logs()
        )
        self._logs, self._other_logs = [own], others
        self._next_look_s = self._next_other_look_s = 0.0
        self._caught_up = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def wait_until_caught_up(self) -> None:
        """Wait until all older ticks have been read: from then on, times are those of arrival.

        Raises TargetError if some part of the stack cannot be seen.
        """
        is_in_time = self._caught_up.wait(CATCH_UP_S)
        self.require_sight()
        if not is_in_time:
            raise TargetError(
                f"within {CATCH_UP_S:g} s not all of one stack could be observed (was it started "
                "with another --config?)"
            )

    def require_sight(self) -> None:
        """Raise TargetError if the recorder has ended early."""
        if self.recording.ended_early:
            raise TargetError(self.recording.ended_early)

    def add_event(self, source: str, what: SupervisorEvent) -> None:
        """Add an event of the lab itself to the recording."""
        self.recording.events.append(Event(time.monotonic_ns(), source, what))

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self._pass()
                if self.recording.is_full():
                    self.recording.ended_early = (
                        f"the recorder ended early: it keeps {MAX_TICKS:,} ticks, and there were "
                        "more (take fewer rounds, or a lower gateway.rate)"
                    )
                    break
        except Exception as error:
            self.recording.ended_early = f"the recorder ended early: {error!r}"
        finally:
            self._caught_up.set()  # release a waiting thread
            for tape in self._tapes:
                tape.close()
            self._book.let_go()
            for _, log in (*self._logs, *self._other_logs):
                log.close()

    def _pass(self) -> None:
        reader = self._book.reader
        may_sleep = reader is None or reader.arm()
        if may_sleep and not self._caught_up.is_set() and self.recording.sees_one_stack():
            self._caught_up.set()
        left_s = max(0.0, self._next_look_s - time.monotonic())
        awaited = [one for one in (reader, *(tape.sock for tape in self._tapes)) if one]
        readable, _, _ = select.select(awaited, [], [], left_s if may_sleep else 0)
        for tape in self._tapes:
            if tape.sock in readable:
                tape.receive()
        self._read_book()
        if time.monotonic() >= self._next_look_s:
            self._next_look_s = time.monotonic() + LOOK_S
            self._look_at_strategy()
            self.look_at_logs()
            if self.recording.booked:
                # After the book: of a tape that has been playing for hours, only the part that the
                # book still has is recorded.
                for tape in self._tapes:
                    tape.connect()
            self._book.attach(time.monotonic_ns(), MAX_TICKS)

    def _read_book(self) -> None:
        book = self._book.book
        if book is None:
            return
        if book is not self._seen_book:
            self._seen_book = book
            self.recording.begin_book()
        tape, symbols = book.tape, book.symbols
        ticks, missed = self._book.read()
        now_ns = time.monotonic_ns()
        booked = (
            (BookedTick(tape(epoch), sequence, symbols[symbol], price), sent_ns)
            for epoch, sequence, symbol, price, sent_ns in zip(
                *(ticks[name].tolist() for name in _FIELDS), strict=True
            )
        )
        self.recording.add_booked(booked, missed, now_ns)

    def _look_at_strategy(self) -> None:
        with suppress(OSError):
            inode = self._state_path.stat().st_ino
            if self._state is None or inode != self._state_inode:  # a new tape has a new file
                self._state, self._state_inode = open_state(self._state_path, 1), inode
        if self._state is None:
            return
        tape, sequence = self._state.header.get("tape", ""), self._state.words[0]
        seen = self.recording.evaluated
        if not seen or seen[-1][1:] != (tape, sequence):
            seen.append(SeenEvaluation(time.monotonic_ns(), tape, sequence))

    def look_at_logs(self) -> None:
        """Read what was logged since the last call. For the recorder's own thread."""
        logs = self._logs
        if self._other_logs and time.monotonic() >= self._next_other_look_s:
            self._next_other_look_s = time.monotonic() + OTHER_LOOK_S
            logs = [*logs, *self._other_logs]
        for host, log in logs:
            for at_ns, source, line in log.read():
                what = line if isinstance(line, SupervisorEvent) else line.event
                if what is None:  # text
                    continue
                self.recording.events.append(Event(at_ns, f"{host}{source}", what))
                if isinstance(what, TapeEnded):
                    self.recording.ended_tape = what.tape
