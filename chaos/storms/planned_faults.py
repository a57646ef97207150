"""The plan of a storm: which fault comes when, and which roles and connections it may hit. Pure.

Planned faults follow each other after exponential gaps and some of them last, so they overlap.
Kinds and victims are dealt like cards: each comes up once before any comes up again, in an order
that depends on the seed. So a storm of `len(kinds)` planned faults has every kind in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from itertools import product
from random import Random
from typing import Final, NamedTuple, TypeVar

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

MEAN_GAP_S: Final = 1.5
"""Mean time from the start of one planned fault to the start of the next."""
LONGEST_GAP_S: Final = 6.0
SHORTEST_S: Final = 0.2
LONGEST_S: Final = 5.0
"""The longest duration of a fault that the lab has to end."""
SHORTEST_PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 1.0
"""The longest pause of a role; shorter than the default `watchdog.hang_after`. With a shorter
`hang_after` the watchdog may kill the paused role, a harder fault than the planned one."""
QUIET_BEFORE_ALL_S: Final = 5.0
"""No fault begins this long before all roles are killed at once: none of them may be young then."""
MOST_BYTES: Final = 200
"""A close comes after 1 to this many bytes, so also in the middle of a batch or an order."""
LONGEST_DELAY_MS: Final = 400.0
SLOWEST_BYTES_PER_S: Final = 1_000
FASTEST_BYTES_PER_S: Final = 50_000
"""The highest bandwidth limit: more than the price stream needs at its default rate."""

ALL_ROLES: Final = "all roles"
STREAMS: Final = tuple(connection.stream for connection in ROLE_CONNECTIONS)


class FaultKind(StrEnum):
    """Fault kinds. The value is the human-readable name, the member name is what is recorded."""

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
"""Kinds that hit one role."""
CLIENT_KINDS: Final = (FaultKind.STALLED, FaultKind.NOISE)
"""Kinds that add a misbehaving client to a port."""
CUT_KINDS: Final = (FaultKind.RESET, FaultKind.CLOSE, FaultKind.HALF_OPEN)
"""Kinds that end a connection; there is nothing to undo."""
PLAIN_KINDS: Final = (*ROLE_KINDS, FaultKind.EVERYTHING, *CLIENT_KINDS)
"""Kinds that any stack can be put under."""
PROXY_KINDS: Final = tuple(kind for kind in FaultKind if kind not in PLAIN_KINDS)
"""Kinds that need a proxy in each connection."""
LASTING_KINDS: Final = (*CLIENT_KINDS, *(kind for kind in PROXY_KINDS if kind not in CUT_KINDS))
"""Kinds that the lab has to end after `PlannedFault.lasts_s`, as it has to end a pause."""


class PlannedFault(NamedTuple):
    """One fault in the plan of a storm."""

    at_s: float
    """Time since the start of the storm."""
    kind: FaultKind
    victims: tuple[str, ...]
    """Roles, `ALL_ROLES`, or streams: the fault hits the first of them that can take it now."""
    lasts_s: float = 0.0
    """0: it is over at once, or supervisord or the watchdog ends it."""
    connection_fault: ConnectionFault | None = None
    """The fault of the proxy, for `PROXY_KINDS`."""
    seed: int = 0
    """Seed of the garbage that is sent."""


_Card = TypeVar("_Card")


def deal(random: Random, cards: Sequence[_Card]) -> Iterator[_Card]:
    """Yield the cards in a random order, all of them before any a second time, for ever."""
    while True:
        yield from reversed(random.sample(cards, len(cards)))


def plan_storm(
    random: Random, minutes: float, kinds: Sequence[FaultKind], roles: Sequence[str]
) -> list[PlannedFault]:
    """Return the planned faults of a storm, earliest first. The same seed gives the same plan."""
    decks = {kind: deal(random, _cards(kind, roles)) for kind in kinds}
    planned_faults: list[PlannedFault] = []
    at_s = 0.0
    for kind in deal(random, kinds):
        at_s += min(LONGEST_GAP_S, random.expovariate(1 / MEAN_GAP_S))
        at_s += QUIET_BEFORE_ALL_S if kind is FaultKind.EVERYTHING else 0.0
        if at_s >= minutes * 60:
            break
        victim, to = next(decks[kind])
        others = [other for other in _victims(kind, roles) if other != victim]
        victims = (victim, *random.sample(others, len(others)))
        connection_fault = _PROXY_FAULTS[kind](random, to) if kind in PROXY_KINDS else None
        seed = random.getrandbits(32) if kind is FaultKind.NOISE else 0
        planned_faults.append(
            PlannedFault(at_s, kind, victims, _duration_s(random, kind), connection_fault, seed)
        )
    return planned_faults


def _cards(kind: FaultKind, roles: Sequence[str]) -> list[tuple[str, Direction]]:
    """Pair each victim of a kind with each direction, if the kind has directions."""
    directions = [Direction.BOTH]
    if kind in PROXY_KINDS:
        directions += [Direction.TO_CLIENT, Direction.TO_SERVER]
    return list(product(_victims(kind, roles), directions))


def _victims(kind: FaultKind, roles: Sequence[str]) -> Sequence[str]:
    """Return the roles or streams that a kind can hit."""
    if kind is FaultKind.EVERYTHING:
        return (ALL_ROLES,)
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
