"""What the world of one host and that of a cluster have in common.

Time goes on in small steps of random length, and faults begin when their time has come. After the
last one the tape stops, all faults end, and the world must come to rest; then it is judged.
Nothing here reads a clock or any random number but the seed's, so a seed is a history.
"""

from __future__ import annotations

import traceback
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from contextlib import ExitStack, contextmanager, nullcontext
from functools import cache, partial
from hashlib import blake2b
from itertools import count
from pathlib import Path
from random import Random
from typing import Any, ClassVar
from unittest.mock import patch

import structlog

from daemons import gateway, order_manager, orderbook
from daemons.gateway import Gateway
from lib.clock import MICROSECOND_NS, SECOND_NS
from lib.streams import publication
from lib.streams.publication import NewsStream, Publication
from lib.tapes.random_walk import RandomWalkTape
from lib.wire.tick_codec import TickCodec
from tests.simulation.bugs import Bug
from tests.simulation.files import world_directory
from tests.simulation.host import SimulatedHost
from tests.simulation.network import Network
from tests.simulation.result import Result

SYMBOLS = ("AAPL", "MSFT", "BRK-B")
BEGINS_NS = 10**12
WALL_CLOCK_BEGINS_NS = 1_762_128_000 * SECOND_NS
TAPE_SEEDS = 8
"""Tapes are costly to make, so worlds share a few."""
MOST_READING_NS = 2 * MICROSECOND_NS
"""How long it takes at most to read the clock, which stands for all that takes time."""

Patches = Iterable[tuple[object, str, object]]
"""What takes the place of which attribute: the object that has it, its name, and what is there."""


class SeededWorld(ABC):
    """What happens by one seed, and what was seen of it."""

    symbols = SYMBOLS
    longest_life_ns: ClassVar[int]
    """A world in which so little happens in this time is a fault of its own."""
    longest_fault_ns: ClassVar[int]
    rest_ns: ClassVar[int]
    """A world that has not come to rest this long after its last fault never will."""
    longest_step_ns: ClassVar[int]
    """How long a step takes at most while faults begin …"""
    longest_rest_step_ns: ClassVar[int]
    """… and after that."""

    def __init__(self, seed: int, path: Path, places: dict[int, str]) -> None:
        """Its files are in `path`, `places` are the ports that the network knows."""
        self.seed = seed
        self.random = Random(seed)
        self.path = path
        self.network = Network(self.random, BEGINS_NS, places)
        self.client_host = SimulatedHost(
            self.network, monotonic_ns=lambda: self.now_ns, wall_ns=self.wall_ns
        )
        self.reading_ns = 0
        """How long it takes to read the clock now."""
        self.tape_numbers = count(1)
        """A name with the number of a process would not be of the same length each time."""
        self.tape_is_stopped = False
        self.misjudged: list[str] = []
        self.printed: Counter[str] = Counter()
        """The lines that order managers have printed."""
        self.faults: Counter[str] = Counter()
        self.events: Counter[str] = Counter()
        self._due: list[tuple[int, Callable[[], None]]] = []
        """What is to happen at which time."""

    @property
    def now_ns(self) -> int:
        """The time, monotonic."""
        return self.network.now_ns

    def wall_ns(self) -> int:
        """Return the right time since 1970."""
        return WALL_CLOCK_BEGINS_NS + self.now_ns

    def after(self, wait_ns: int, act: Callable[[], None]) -> None:
        """Do something a while later."""
        self._due.append((self.now_ns + wait_ns, act))

    def let_pass(self, duration_ns: int, most_reading_ns: int = MOST_READING_NS) -> None:
        """Let time pass, and what is due happen."""
        self.network.now_ns += duration_ns
        self.reading_ns = self.random.randrange(most_reading_ns)
        for due in [one for one in self._due if one[0] <= self.now_ns]:
            self._due.remove(due)
            due[1]()

    def play_faults(
        self, kinds: Mapping[str, Callable[[Any], None]], number: int, quiet_ns: int, lasts_ns: int
    ) -> bool:
        """Play a script of so many of these faults. Returns whether enough has happened."""
        begins_ns = self.now_ns + quiet_ns
        times = sorted(begins_ns + self.random.randrange(lasts_ns) for _ in range(number))
        end_ns = self.now_ns + lasts_ns
        give_up_ns = self.now_ns + self.longest_life_ns
        while self.now_ns < give_up_ns and (times or self.now_ns < end_ns or self.must_go_on()):
            self.step(self.longest_step_ns)
            if times and times[0] <= self.now_ns:
                times.pop(0)
                kind = self.random.choice(list(kinds))
                self.faults[kind] += 1
                kinds[kind](self)
        return not self.must_go_on()

    def come_to_rest(self) -> list[str]:
        """End all faults, and wait until nothing is left to do. Returns what never came about."""
        self.tape_is_stopped = True
        self.end_faults()
        end_ns = self.now_ns + self.longest_fault_ns
        give_up_ns = self.now_ns + self.rest_ns
        while self.now_ns < give_up_ns:
            self.step(self.longest_rest_step_ns)
            if self.now_ns > end_ns and not self.unfinished():
                return []
        return [f"did not come to rest: {what}" for what in self.unfinished()]

    def printed_twice(self) -> list[str]:
        """Say which fills were printed more than once."""
        return [
            f"printed {times} times: {line.strip()}"
            for line, times in self.printed.items()
            if times > 1
        ]

    def trace(self) -> str:
        """Return a digest of the history: no two of the same seed may differ in it.

        All that happens takes random numbers, or time.
        """
        history = repr((self.now_ns, self.random.getstate()))
        return blake2b(history.encode(), digest_size=8).hexdigest()

    @property
    @abstractmethod
    def ticks(self) -> int:
        """How many ticks there were."""

    @property
    @abstractmethod
    def orders(self) -> int:
        """How many orders there were."""

    @abstractmethod
    def step(self, longest_ns: int) -> None:
        """Let a little time pass, and every role that is up take a pass."""

    @abstractmethod
    def must_go_on(self) -> bool:
        """Whether too little has happened."""

    @abstractmethod
    def end_faults(self) -> None:
        """End those that would last."""

    @abstractmethod
    def unfinished(self) -> list[str]:
        """Say what is left to do."""

    @abstractmethod
    def findings(self) -> list[str]:
        """Let it happen, and judge it."""

    @abstractmethod
    def hear(self, logger: Any, level: str, event: MutableMapping[str, Any]) -> Any:
        """Take a line of a role's log. Is a structlog processor."""

    @abstractmethod
    def patches(self) -> Patches:
        """Return what takes the place of parts of the roles."""

    @abstractmethod
    def close(self) -> None:
        """End all roles, and close the files."""


class Screen:
    """What `lib.process.logs.BoundedWriter` is to the order manager: where fills are printed."""

    def __init__(self, world: SeededWorld, _stream: object) -> None:
        self._world = world

    def write(self, lines: bytes) -> None:
        self._world.printed.update(lines.decode().splitlines())

    def next_deadline_ns(self) -> None:
        """Nothing waits."""


tape_of = cache(RandomWalkTape)
_encode_for_real = publication._encode_ticks
_encoded: dict[tuple[RandomWalkTape, int, int], bytes] = {}


def _encode_ticks(tape: RandomWalkTape, codec: TickCodec, first: int, count: int) -> bytes:
    """Do what `lib.streams.publication._encode_ticks` does, once for all worlds."""
    key = tape, first, count
    if key not in _encoded:
        _encoded[key] = _encode_for_real(tape, codec, first, count)
    return _encoded[key]


def _patches(world: SeededWorld) -> Patches:
    """Return what every world has in place of parts of the roles."""
    publish_frames = Publication.publish

    def publish_unless_stopped(publication: Publication, count: int) -> int:
        if world.tape_is_stopped and not isinstance(publication.stream, NewsStream):
            return 0
        return publish_frames(publication, count)

    return (
        (gateway, "RandomWalkTape", tape_of),
        (publication, "_encode_ticks", _encode_ticks),
        (Publication, "publish", publish_unless_stopped),
        (orderbook, "clean_up_when_run_ends", lambda *_: None),
        (Gateway, "_name_tape", lambda _: f"tape-{next(world.tape_numbers)}"),
        (order_manager, "BoundedWriter", partial(Screen, world)),
    )


@contextmanager
def _world_of(seed: int, kind: Callable[[int, Path], SeededWorld]) -> Iterator[SeededWorld]:
    """Make a seed's world, with its log and its files, and clear it all away."""
    with world_directory() as path:
        world = kind(seed, path)
        saved = structlog.get_config()
        structlog.configure(processors=[world.hear])
        try:
            with ExitStack() as stack:
                for place, name, instead in (*_patches(world), *world.patches()):
                    stack.enter_context(patch.object(place, name, instead))
                yield world
        finally:
            structlog.configure(**saved)
            world.close()


def run_world(seed: int, kind: Callable[[int, Path], SeededWorld], bug: Bug | None) -> Result:
    """Let one seed happen, perhaps with a bug in the product."""
    with bug.put_in() if bug else nullcontext(), _world_of(seed, kind) as world:
        try:
            findings = world.findings()
        except Exception as error:  # a role would have ended so
            place = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{Path(place.filename).name}:{place.lineno}"
            findings = [f"{type(error).__name__} at {where}: {error}"]
        return Result(
            seed,
            findings,
            world.faults,
            world.ticks,
            world.orders,
            world.events,
            world.trace(),
        )
