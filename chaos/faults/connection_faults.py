"""Faults of a TCP connection, one short class each.

A fault is notified when it begins and of all bytes that arrive from then on. It decides when they
are delivered, in which pieces, and whether the connection ends. It never touches a socket: that is
the job of `chaos.faults.proxy`. Each direction of each connection has its own copy of the fault, so
a fault may keep state.

To add a fault, add a class here; nothing else changes. Modelled on Toxiproxy's toxics.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Flag, auto
from random import Random
from typing import ClassVar, Protocol

from lib.clock import MILLISECOND_NS, SECOND_NS


class Direction(Flag):
    """The side of a connection that receives the bytes."""

    TO_SERVER = auto()
    TO_CLIENT = auto()
    BOTH = TO_SERVER | TO_CLIENT


class Flow(Protocol):
    """What a fault may do to one direction of one connection."""

    def deliver(self, data: bytes, at_ns: int) -> None:
        """Send one piece at a time (monotonic ns), but never before the piece ahead of it."""

    def finish(self) -> None:
        """Send FIN after what was delivered; drop what arrives later."""

    def reset(self) -> None:
        """End the receiver's connection with RST at once."""

    def vanish(self) -> None:
        """Close the receiver's peer at once, without FIN or RST."""


@dataclass(kw_only=True)
class ConnectionFault:
    """Base of all connection faults; passes everything. `to`: the direction it acts on."""

    holds: ClassVar[bool] = False
    """Whether nothing is read from the sender and nothing is passed on, not even a FIN."""

    to: Direction = Direction.BOTH

    def begin(self, flow: Flow) -> None:
        """Called when the fault begins on a connection, which may be new or already open."""

    def on_data(self, flow: Flow, data: bytes, now_ns: int) -> None:
        """Called when bytes arrive from the sender."""
        flow.deliver(data, now_ns)


@dataclass(kw_only=True)
class Clear(ConnectionFault):
    """No fault."""


@dataclass(kw_only=True)
class AddedLatency(ConnectionFault):
    """Delays everything by `delay_ms` plus or minus up to `jitter_ms`, and keeps the order."""

    delay_ms: float
    jitter_ms: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        self._random = Random(self.seed)

    def on_data(self, flow: Flow, data: bytes, now_ns: int) -> None:
        """Deliver the bytes later."""
        delay_ms = self.delay_ms + self._random.uniform(-self.jitter_ms, self.jitter_ms)
        flow.deliver(data, now_ns + round(delay_ms * MILLISECOND_NS))


@dataclass(kw_only=True)
class Bandwidth(ConnectionFault):
    """Passes at most `bytes_per_s`, in a hundred pieces a second."""

    bytes_per_s: int
    _free_ns: int = field(default=0, init=False)

    def on_data(self, flow: Flow, data: bytes, now_ns: int) -> None:
        """Deliver each piece once it and the pieces ahead of it have had their transfer time."""
        size = max(1, self.bytes_per_s // 100)
        self._free_ns = max(self._free_ns, now_ns)
        for begin in range(0, len(data), size):
            piece = data[begin : begin + size]
            self._free_ns += len(piece) * SECOND_NS // self.bytes_per_s
            flow.deliver(piece, self._free_ns)


@dataclass(kw_only=True)
class Slice(ConnectionFault):
    """Sends everything in segments of at most `size` bytes."""

    size: int = 1

    def on_data(self, flow: Flow, data: bytes, now_ns: int) -> None:
        """Deliver the bytes in slices."""
        for begin in range(0, len(data), self.size):
            flow.deliver(data[begin : begin + self.size], now_ns)


@dataclass(kw_only=True)
class Blackhole(ConnectionFault):
    """Passes nothing and keeps the connection open.

    Nothing is read from the sender either: its kernel keeps the unsent bytes, as it would on a
    broken network. Once the fault is over they arrive, late, complete and in order.
    """

    holds = True


@dataclass(kw_only=True)
class Close(ConnectionFault):
    """Sends FIN after exactly `after_bytes`. The other direction stays open until its own end."""

    after_bytes: int = 0

    def begin(self, flow: Flow) -> None:
        """Cut at once if no byte may pass."""
        if self.after_bytes == 0:
            flow.finish()

    def on_data(self, flow: Flow, data: bytes, now_ns: int) -> None:
        """Deliver what may still pass, then cut."""
        passed = data[: self.after_bytes]
        flow.deliver(passed, now_ns)
        self.after_bytes -= len(passed)
        if self.after_bytes == 0:
            flow.finish()


@dataclass(kw_only=True)
class Reset(ConnectionFault):
    """Sends RST, which may overtake bytes ahead of it.

    If only one direction is reset, the other end just falls silent and gets no RST.
    """

    def begin(self, flow: Flow) -> None:
        """End the connection with RST."""
        flow.reset()


@dataclass(kw_only=True)
class HalfOpen(ConnectionFault):
    """The peer vanishes without a FIN, like a machine that lost power.

    If only one direction is cut, the other end receives nothing either, but still has a peer. With
    the capability to repair connections (CAP_NET_ADMIN) the connection is really gone on our side,
    and an end that sends into it gets RST (`chaos.faults.proxy.can_vanish`). Without it the proxy
    only falls silent.
    """

    def begin(self, flow: Flow) -> None:
        """End the connection without FIN or RST."""
        flow.vanish()
