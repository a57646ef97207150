"""What can happen to the bytes of a TCP connection on their way: one short class a fault.

A fault is told when it begins and of all bytes that come after that, and decides when they are
delivered, in which pieces, and whether the connection ends. It never touches a socket: what it
decides `chaos.faults.proxy` does. Each direction of each connection has a copy of its own, so that
a fault may count.

A new fault is a new class here and a change nowhere else. Model: Toxiproxy's toxics.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from enum import Flag, auto
from random import Random
from typing import ClassVar, Protocol

from lib.clock import MILLISECOND_NS, SECOND_NS


class Direction(Flag):
    """Whom bytes that are under way are meant for."""

    TO_SERVER = auto()
    TO_CLIENT = auto()
    BOTH = TO_SERVER | TO_CLIENT


class Flow(Protocol):
    """One direction of one connection, as a fault may act on it."""

    def deliver(self, data: bytes, at_ns: int) -> None:
        """Send one piece on at a time (monotonic ns), never before the piece ahead of it."""

    def finish(self) -> None:
        """Send FIN behind what was delivered; what comes later is thrown away."""

    def reset(self) -> None:
        """End the connection of whom the bytes were meant for with RST, at once."""

    def vanish(self) -> None:
        """Take its peer from whom the bytes were meant for, without FIN or RST, at once."""


@dataclass(kw_only=True)
class ConnectionFault:
    """Base of all: passes everything. `to`: the direction that it acts on."""

    holds: ClassVar[bool] = False
    """Whether nothing is taken from the sender and nothing passed on, not even an end."""

    to: Direction = Direction.BOTH

    def begin(self, flow: Flow) -> None:
        """The fault begins on a connection, which may be new or long open."""

    def take(self, flow: Flow, data: bytes, now_ns: int) -> None:
        """Bytes came from the sender."""
        flow.deliver(data, now_ns)


@dataclass(kw_only=True)
class Clear(ConnectionFault):
    """No fault."""


@dataclass(kw_only=True)
class AddedLatency(ConnectionFault):
    """Everything comes later by `delay_ms`, give or take up to `jitter_ms`, and in order."""

    delay_ms: float
    jitter_ms: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        self._random = Random(self.seed)

    def take(self, flow: Flow, data: bytes, now_ns: int) -> None:
        """Deliver later."""
        delay_ms = self.delay_ms + self._random.uniform(-self.jitter_ms, self.jitter_ms)
        flow.deliver(data, now_ns + round(delay_ms * MILLISECOND_NS))


@dataclass(kw_only=True)
class Bandwidth(ConnectionFault):
    """No more than `bytes_per_s` pass, in a hundred pieces a second."""

    bytes_per_s: int
    _free_ns: int = field(default=0, init=False)

    def take(self, flow: Flow, data: bytes, now_ns: int) -> None:
        """Deliver each piece when the ones ahead of it have had their time, and it its own."""
        size = max(1, self.bytes_per_s // 100)
        self._free_ns = max(self._free_ns, now_ns)
        for begin in range(0, len(data), size):
            piece = data[begin : begin + size]
            self._free_ns += len(piece) * SECOND_NS // self.bytes_per_s
            flow.deliver(piece, self._free_ns)


@dataclass(kw_only=True)
class Slice(ConnectionFault):
    """Everything goes in segments of at most `size` bytes."""

    size: int = 1

    def take(self, flow: Flow, data: bytes, now_ns: int) -> None:
        """Deliver slices."""
        for begin in range(0, len(data), self.size):
            flow.deliver(data[begin : begin + self.size], now_ns)


@dataclass(kw_only=True)
class Corrupt(ConnectionFault):
    """Each byte becomes another one with the probability `rate`; none is lost or added."""

    rate: float
    seed: int = 0

    def __post_init__(self) -> None:
        self._random = Random(self.seed)

    def take(self, flow: Flow, data: bytes, now_ns: int) -> None:
        """Deliver what may be wrong."""
        flow.deliver(bytes(map(self._pass, data)), now_ns)

    def _pass(self, byte: int) -> int:
        if self._random.random() >= self.rate:
            return byte
        return byte ^ self._random.randint(1, 255)


@dataclass(kw_only=True)
class Blackhole(ConnectionFault):
    """Nothing passes any more, and the connection stays open.

    Nothing is taken from the sender either: its kernel keeps what it could not get rid of, as it
    would on a broken network. Once the fault is over that arrives, late, whole and in order.
    """

    holds = True


@dataclass(kw_only=True)
class Cut(ConnectionFault, ABC):
    """Base of the faults that end a connection, after `after_bytes` more of their direction."""

    after_bytes: int = 0

    def begin(self, flow: Flow) -> None:
        """Cut at once if no byte is to pass."""
        if self.after_bytes == 0:
            self.cut(flow)

    def take(self, flow: Flow, data: bytes, now_ns: int) -> None:
        """Deliver what may still pass, then cut."""
        passed = data[: self.after_bytes]
        flow.deliver(passed, now_ns)
        self.after_bytes -= len(passed)
        if self.after_bytes == 0:
            self.cut(flow)

    @abstractmethod
    def cut(self, flow: Flow) -> None:
        """End it."""


@dataclass(kw_only=True)
class Close(Cut):
    """FIN after exactly so many bytes. The other direction goes on until its own end."""

    def cut(self, flow: Flow) -> None:
        """End it properly."""
        flow.finish()


@dataclass(kw_only=True)
class Reset(Cut):
    """RST, which may overtake bytes ahead of it.

    In one direction only, the other end hears nothing any more and is not told.
    """

    def cut(self, flow: Flow) -> None:
        """End it by force."""
        flow.reset()


@dataclass(kw_only=True)
class HalfOpen(Cut):
    """The peer vanishes without a FIN, as a machine that lost its power.

    In one direction only, the other end hears nothing any more either, but still has a peer. With
    the right to repair connections (CAP_NET_ADMIN) the connection is really gone on our side, and
    whoever sends into it gets RST (`chaos.faults.proxy.can_vanish`). Without that right we only
    fall silent.
    """

    def cut(self, flow: Flow) -> None:
        """End it without a word."""
        flow.vanish()
