"""One life of a role: the role that ships, on an event loop and a host that the world gives it.

A process is made anew at each start, and reads what its predecessor left: the gateway's position,
the price book, the last evaluated tick and the ledger are real files. It may be killed at any
interaction with its world; then the kernel takes back what it had open, and nothing of it runs.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from daemons.gateway import Gateway
from daemons.order_manager import OrderManager
from daemons.orderbook import OrderBook
from daemons.strategy import Strategy
from lib.clock import to_ns
from lib.process.heartbeat import beat_interval_ns
from lib.settings import WatchdogSettings
from lib.shared_memory_utils import PriceBookReader
from tests.simulation.host import SimulatedHost, SimulatedLoop

if TYPE_CHECKING:
    from tests.simulation.world import World

ROLES: dict[str, type[Any]] = {
    "gateway": Gateway,
    "orderbook": OrderBook,
    "strategy": Strategy,
    "order_manager": OrderManager,
}
HANG_AFTER_NS = to_ns(WatchdogSettings().hang_after)
MOST_PASSES = 4
"""Of a role in one step of the world, while its sockets are ready. Others have their turn then."""

SLEEPS = 0.9
"""How likely it is that a role that may sleep takes no pass in a step of the world. It never misses
two steps in a row."""


class ProcessKilled(BaseException):
    """The process dies here. Nothing may catch it, as nothing can catch SIGKILL."""


class SimulatedProcess:
    """A process of a role. `role` is there once it has begun to start."""

    def __init__(self, world: World, name: str, pid: int) -> None:
        self.name = name
        self.pid = pid
        self.host = SimulatedHost(
            world.network,
            monotonic_ns=world.read_clock,
            wall_ns=world.wall_ns,
            crash_point=partial(world.crash_point, name),
        )
        self.loop = SimulatedLoop(self.host)
        self.beat = memoryview(bytearray(8)).cast("q")
        self.at_kill: list[Callable[[], None]] = []
        """What the kernel takes back besides sockets, files and memory of the role's own parts."""
        self._sleeps = False
        # Apart from its construction, in which it may be killed.
        self.role = ROLES[name].__new__(ROLES[name])

    def start(self, world: World) -> None:
        """Do what `lib.process.role.run_role` does before its loop."""
        self.role.__init__(world.settings_for_a_start(), self.loop)
        self.beat[0] = world.now_ns
        self.loop.beat_into(self.beat, beat_interval_ns(HANG_AFTER_NS))

    def step(self, world: World) -> None:
        """Take a pass, and further ones while there is something to do; else it often sleeps."""
        has_slept, self._sleeps = self._sleeps, False
        if not has_slept and self._may_sleep(world) and world.random.random() < SLEEPS:
            self._sleeps = True
            return
        for _ in range(MOST_PASSES):
            began_ns = world.now_ns
            self.role.step()
            world.note_pass(self.name, world.now_ns - began_ns)
            if self._may_sleep(world):
                return

    def _may_sleep(self, world: World) -> bool:
        """Whether it would wait: no socket is ready, and it has left nothing to do."""
        if self.loop.has_work:
            return False
        match self.role:
            case Gateway(_prices=prices):
                return not prices._lagging
            case OrderManager(_arrived=arrived):
                return not arrived
            case Strategy(_reader=PriceBookReader() as reader):
                return reader.position == world.book_position
        return True

    def kill(self) -> None:
        """Let the kernel take back what the process had open."""
        self.host.kill()
        for take_back in self.at_kill:
            take_back()
        match self.role:
            case OrderBook(_book=book):
                book.close()
            case OrderManager(_ledger=ledger, _latest_prices=latest):
                ledger.close()
                latest._own_book.let_go()
            case Strategy(_reader=reader, _own_book=own_book):
                if reader:
                    reader.close()
                own_book.let_go()
