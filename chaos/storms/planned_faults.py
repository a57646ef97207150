"""What a storm is made of: which fault comes when, and whom it may hit. Pure.

A gust is one fault. Gusts come after exponential gaps and last for a while, so that they overlap.
Kinds and victims are dealt like cards: each comes up once before any comes up again, in an order
that only the seed knows. So a storm of `len(kinds)` gusts has every kind in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import product
from random import Random
from typing import Final, Generic, NamedTuple, TypeVar

from chaos.faults.connection_faults import (
    AddedLatency,
    Bandwidth,
    Blackhole,
    Close,
    ConnectionFault,
    Direction,
    HalfOpen,
    Reset,
    Slice,
)
from chaos.lab.figures import ROLE_CONNECTIONS
from chaos.lab.recorder import SUPERVISORD, Event
from chaos.lab.target import YOUNG_S
from lib.clock import to_ns

MEAN_GAP_S: Final = 1.5
"""From the beginning of a gust to the beginning of the next one."""
LONGEST_GAP_S: Final = 6.0
SHORTEST_S: Final = 0.2
LONGEST_S: Final = 5.0
"""How long a gust lasts that has to be ended."""
SHORTEST_PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 1.0
"""Of a role: half of what the default hang_after allows. Under a shorter one the watchdog may end
the role, which is then hit harder than planned."""
LULL_S: Final = 5.0
"""No gust begins so long before all roles are hit at once: each of them must have come to age."""
MOST_BYTES: Final = 200
"""A close comes after 1 to so many bytes: also within a batch, a number, an order."""
LONGEST_DELAY_MS: Final = 400.0
SLOWEST_BYTES_PER_S: Final = 1_000
FASTEST_BYTES_PER_S: Final = 50_000
"""Prices at the default rate take about 10,000."""

EVERYBODY: Final = "all roles"
STREAMS: Final = tuple(link.stream for link in ROLE_CONNECTIONS)


class FaultKind(StrEnum):
    """What is done, in words for people."""

    KILL = "SIGKILL"
    TERM = "SIGTERM"
    FREEZE = "freeze"
    PAUSE = "pause"
    EVERYTHING = "SIGKILL of all at once"
    STALLED = "client that stops reading"
    NOISE = "client that sends garbage"
    RESET = "reset"
    CLOSE = "close after some bytes"
    HALF_OPEN = "half-open"
    BLACKHOLE = "blackhole"
    LATENCY = "latency"
    BANDWIDTH = "bandwidth"
    SLICES = "slices of one byte"


ROLE_KINDS: Final = (FaultKind.KILL, FaultKind.TERM, FaultKind.FREEZE, FaultKind.PAUSE)
"""Hit one role."""
CLIENT_KINDS: Final = (FaultKind.STALLED, FaultKind.NOISE)
"""One more client of a port."""
CUT_KINDS: Final = (FaultKind.RESET, FaultKind.CLOSE, FaultKind.HALF_OPEN)
"""End a connection; nothing has to be undone."""
PLAIN_KINDS: Final = (*ROLE_KINDS, FaultKind.EVERYTHING, *CLIENT_KINDS)
"""Can be done to any stack."""
PROXY_KINDS: Final = (
    *CUT_KINDS,
    FaultKind.BLACKHOLE,
    FaultKind.LATENCY,
    FaultKind.BANDWIDTH,
    FaultKind.SLICES,
)
"""Need a proxy in each connection."""
LASTING_KINDS: Final = (
    *CLIENT_KINDS,
    FaultKind.BLACKHOLE,
    FaultKind.LATENCY,
    FaultKind.BANDWIDTH,
    FaultKind.SLICES,
)
"""Have to be ended, after `PlannedFault.lasts_s`. So has a pause."""


class PlannedFault(NamedTuple):
    """One fault of a storm."""

    at_s: float
    """From the beginning of the storm."""
    kind: FaultKind
    victims: tuple[str, ...]
    """Roles, EVERYBODY, or streams: it hits the first of them that is fit for it."""
    lasts_s: float = 0.0
    """0: it is over at once, or others have to see to its end."""
    fault: ConnectionFault | None = None
    """What a proxy does."""
    seed: int = 0
    """Of the garbage that is sent."""


_Card = TypeVar("_Card")


class _Deck(Generic[_Card]):
    """Deals its cards in a random order, all of them before any a second time."""

    def __init__(self, random: Random, cards: Iterable[_Card]) -> None:
        self._random = random
        self._cards = list(cards)
        self._left: list[_Card] = []

    def deal(self) -> _Card:
        """Return the next card."""
        if not self._left:
            self._left = self._random.sample(self._cards, len(self._cards))
        return self._left.pop()


def plan(
    random: Random, minutes: float, kinds: Sequence[FaultKind], roles: Sequence[str]
) -> list[PlannedFault]:
    """Return the gusts of a storm, the earliest first. The same seed gives the same storm."""
    decks = {kind: _Deck(random, _cards(kind, roles)) for kind in kinds}
    kind_deck = _Deck(random, kinds)
    gusts: list[PlannedFault] = []
    at_s = 0.0
    while True:
        kind = kind_deck.deal()
        at_s += min(LONGEST_GAP_S, random.expovariate(1 / MEAN_GAP_S))
        at_s += LULL_S if kind is FaultKind.EVERYTHING else 0.0
        if at_s >= minutes * 60:
            return gusts
        victim, to = decks[kind].deal()
        others = [other for other in _victims(kind, roles) if other != victim]
        victims = (victim, *random.sample(others, len(others)))
        fault = _PROXY_FAULTS[kind](random, to) if kind in PROXY_KINDS else None
        seed = random.getrandbits(32) if kind is FaultKind.NOISE else 0
        gusts.append(PlannedFault(at_s, kind, victims, _duration_s(random, kind), fault, seed))


def _cards(kind: FaultKind, roles: Sequence[str]) -> list[tuple[str, Direction]]:
    """Each victim of a kind, in each direction if it has one."""
    directions = [Direction.BOTH]
    if kind in PROXY_KINDS:
        directions += [Direction.TO_CLIENT, Direction.TO_SERVER]
    return list(product(_victims(kind, roles), directions))


def _victims(kind: FaultKind, roles: Sequence[str]) -> Sequence[str]:
    """Everybody whom a kind can hit."""
    if kind is FaultKind.EVERYTHING:
        return (EVERYBODY,)
    return roles if kind in ROLE_KINDS else STREAMS


def _duration_s(random: Random, kind: FaultKind) -> float:
    if kind is FaultKind.PAUSE:
        return random.uniform(SHORTEST_PAUSE_S, LONGEST_PAUSE_S)
    return random.uniform(SHORTEST_S, LONGEST_S) if kind in LASTING_KINDS else 0.0


def _latency(random: Random, to: Direction) -> ConnectionFault:
    delay_ms = random.uniform(1, LONGEST_DELAY_MS)
    jitter_ms = random.uniform(0, delay_ms)
    return AddedLatency(to=to, delay_ms=delay_ms, jitter_ms=jitter_ms, seed=random.getrandbits(32))


_PROXY_FAULTS: Final[dict[FaultKind, Callable[[Random, Direction], ConnectionFault]]] = {
    FaultKind.RESET: lambda _, to: Reset(to=to),
    FaultKind.CLOSE: lambda random, to: Close(to=to, after_bytes=random.randint(1, MOST_BYTES)),
    FaultKind.HALF_OPEN: lambda _, to: HalfOpen(to=to),
    FaultKind.BLACKHOLE: lambda _, to: Blackhole(to=to),
    FaultKind.LATENCY: _latency,
    FaultKind.BANDWIDTH: lambda random, to: Bandwidth(
        to=to, bytes_per_s=random.randint(SLOWEST_BYTES_PER_S, FASTEST_BYTES_PER_S)
    ),
    FaultKind.SLICES: lambda _, to: Slice(to=to),
}


@dataclass
class RoleInstance:
    """The present life of a role, as the logs tell it."""

    pid: int
    """As the role itself said it last: a new process says so long before it is of age."""
    spawned_ns: int | None
    """When supervisord said that it had started it; None while it is dead."""


class RoleInstances:
    """The lives of all roles, from what the recorder saw. supervisord is asked nothing."""

    def __init__(self, pids: Mapping[str, int]) -> None:
        """All roles are alive and of age, as these processes."""
        self._lives = {role: RoleInstance(pid, 0) for role, pid in pids.items()}

    def take(self, events: Iterable[Event]) -> None:
        """Learn from what was logged."""
        for event in events:
            role = event.details.get("role") if event.source == SUPERVISORD else event.source
            life = self._lives.get(str(role))
            if life is None:
                continue
            if event.source != SUPERVISORD:
                if event.name == "started":
                    life.pid = event.details["pid"]
            elif event.name == "spawned":
                life.spawned_ns = event.at_ns
            else:
                life.spawned_ns = None

    @property
    def roles(self) -> tuple[str, ...]:
        """Return all roles."""
        return tuple(self._lives)

    def of(self, role: str) -> RoleInstance:
        """Return the present life of a role."""
        return self._lives[role]


def may_hit(life: RoleInstance, now_ns: int) -> bool:
    """Whether a role may be hit: it lives, and it is of age."""
    return life.spawned_ns is not None and now_ns - life.spawned_ns >= to_ns(YOUNG_S)
