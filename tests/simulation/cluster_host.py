"""A host of a simulated cluster: its programs, the supervisord that runs them, its clocks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from daemons.downlink import DownlinkRole
from daemons.gateway import Gateway
from daemons.order_manager import OrderManager
from daemons.order_relay import OrderRelay
from daemons.orderbook import OrderBook
from daemons.uplink import UplinkRole
from lib.clock import MILLISECOND_NS, SECOND_NS
from lib.cluster.order_host import OrderHost
from lib.errors import CannotStartError
from lib.process.log_events import CannotStart
from lib.process.role import RoleEndsError
from lib.process.supervisor import Process, SupervisorSilentError
from lib.settings import (
    ClusterSettings,
    GatewaySettings,
    OrderManagerSettings,
    PriceBookSettings,
    RiskSettings,
    Settings,
)
from lib.shared_memory_utils import SharedPriceBook
from tests.simulation.brokers import SimulatedBroker
from tests.simulation.host import SimulatedHost, SimulatedLoop
from tests.simulation.process import ProcessKilled

if TYPE_CHECKING:
    from tests.simulation.cluster_world import ClusterWorld

Kind = Literal["market", "strategy", "order"]
PROGRAMS: dict[Kind, dict[str, bool]] = {
    "market": {"uplink": True, "gateway": False},
    "strategy": {"downlink": True, "orderbook": True, "order_relay": True},
    "order": {"order_manager": True, "order_relay": True},
}
"""By kind of host: its programs, and whether supervisord starts them by itself."""
ROLES: dict[str, type[Any]] = {
    "uplink": UplinkRole,
    "gateway": Gateway,
    "downlink": DownlinkRole,
    "orderbook": OrderBook,
    "order_relay": OrderRelay,
    "order_manager": OrderHost,
}
PORTS_A_HOST = 10
FIRST_PORT = 5001
RING_CAPACITY = 16_384
"""More ticks than a world ever has."""
LONGEST_RESTART_NS = 2 * SECOND_NS
LONGEST_REBOOT_NS = 6 * SECOND_NS
LONGEST_STOP_NS = 300 * MILLISECOND_NS
MOST_AHEAD_NS = 10**11
"""How much longer a host has been up at most: no monotonic time looks like a wall clock's."""
MOST_APART_NS = SECOND_NS // 4
"""How wrong a wall clock is at most."""
SILENT = 0.02
"""How likely it is that supervisord does not answer."""
MOST_CRASH_POINTS = 40
"""How many interactions a process has at most before it dies of a crash."""
MOST_PASSES = 4
"""Of a role in one step of the world, while its sockets are ready."""


class ClusterHost:
    """One host. All its files and its price book are its own; only its ports are not."""

    def __init__(self, world: ClusterWorld, kind: Kind, number: int, seed: int) -> None:
        """`number` is unique among all hosts, `seed` is that of the tape its gateway plays."""
        self.world = world
        self.kind = kind
        self.name = f"{kind}-{number}"
        random = world.random
        first_port = FIRST_PORT + number * PORTS_A_HOST
        self.ports = {"price": first_port, "news": first_port + 1, "orders": first_port + 2}
        self.path = world.path / self.name
        self.path.mkdir()
        self.clock_ahead_ns = random.randrange(MOST_AHEAD_NS)
        """Of its monotonic clock, against the world's."""
        self.wall_ahead_ns = random.randrange(-MOST_APART_NS, MOST_APART_NS)
        self.cut_off_until_ns = 0
        """Until when nothing passes between it and the brokers."""
        self.run = 1
        """Counts its starts."""
        self.disk_refuses = False
        self.settings = Settings(
            symbols=world.symbols,
            var_dir=self.path,
            gateway=GatewaySettings(
                price_port=self.ports["price"],
                news_port=self.ports["news"],
                rate=world.rate,
                news_interval=0.2,
                seed=seed,
            ),
            price_book=PriceBookSettings(
                name=f"{world.path.name}-{self.name}", ring_capacity=RING_CAPACITY
            ),
            order_manager=OrderManagerSettings(port=self.ports["orders"]),
            risk=RiskSettings(price_collar_percent=0.0),
            cluster=ClusterSettings(
                servers=["nats://a:4222"], host=self.name, takeover_after=world.takeover_after
            ),
        )
        self.programs = {
            name: HostProgram(self, name, starts=starts) for name, starts in PROGRAMS[kind].items()
        }
        self.book: SharedPriceBook | None = None
        self._boot()

    def _boot(self) -> None:
        if self.kind == "strategy":
            settings = self.settings
            self.book = SharedPriceBook(
                settings.symbols, settings.price_book.name, ring_capacity=RING_CAPACITY
            )
            self._reader = self.book.reader(0)
            self.world.records.begin_book(self.name)

    def clock(self) -> int:
        """Return the time of its monotonic clock to a role, to which it takes time to read it."""
        network = self.world.network
        network.now_ns += self.world.reading_ns
        return network.now_ns + self.clock_ahead_ns

    def wall_ns(self) -> int:
        """Return what its wall clock says, in ns since 1970."""
        return self.world.wall_ns() + self.wall_ahead_ns

    def kill(self) -> None:
        """Let it lose its power, and start again a while later."""
        random, now_ns = self.world.random, self.world.now_ns
        starts_ns = now_ns + random.randrange(LONGEST_REBOOT_NS)
        for program in self.programs.values():
            program.kill()
            program.starts_ns = starts_ns + random.randrange(SECOND_NS) if program.starts else None
            program.wakes_ns = 0
        self.run += 1
        if self.book:
            self.read_book()
            self.book.unlink()
            self.book.close()
        self._boot()

    def read_book(self) -> None:
        """Note what an independent reader sees."""
        if self.book is None:
            return
        batch = self._reader.read()
        assert not batch.missed, "the ring has more ticks than a world"
        for _, sequence, price, _, symbol, epoch in batch.ticks.tolist():
            self.world.records.booked(
                self.name, self.book.tape(epoch), sequence, self.settings.symbols[symbol], price
            )

    def close(self) -> None:
        """End its programs, and close its book."""
        for program in self.programs.values():
            program.kill()
        if self.book:
            self.book.close()


class HostProgram:
    """One program of a host's supervisord, and the process of it that is up."""

    def __init__(self, host: ClusterHost, name: str, *, starts: bool) -> None:
        self.host = host
        self.name = name
        self.starts = starts
        self.process: ClusterProcess | None = None
        self.starts_ns: int | None = host.world.now_ns if starts else None
        """When it is started, None if it is not to run."""
        self.wakes_ns = 0
        """Until when it stands still."""
        self.dies_in: int | None = None
        """At which of its next crash points it dies."""

    def step(self) -> None:
        """Let it start, or take a pass."""
        world, process = self.host.world, self.process
        now_ns = world.now_ns
        if self.wakes_ns > now_ns:
            return
        if process:
            if not process.is_due(now_ns):
                return
        elif (
            self.starts_ns is None
            or self.starts_ns > now_ns
            or self.host.cut_off_until_ns > now_ns  # it waits for the brokers
        ):
            return
        world.current = self
        try:
            if process:
                process.step()
            else:
                self.process = ClusterProcess(self)
                self.process.start()
        except ProcessKilled:
            self._ended()
        except RoleEndsError as error:
            world.ended(self, error.event)
            self._ended()
        except CannotStartError as error:
            world.ended(self, CannotStart(reason=str(error)))
            self._ended()
        finally:
            world.current = None

    def crash_soon(self) -> None:
        """Let it die in the middle of something."""
        world = self.host.world
        if self.process and self.dies_in is None:
            self.dies_in = world.random.randrange(MOST_CRASH_POINTS)
            world.after(300 * MILLISECOND_NS, self._crash_now)

    def _crash_now(self) -> None:
        if self.dies_in is not None:
            self._ended()

    def _ended(self) -> None:
        self.kill()
        world = self.host.world
        if self.starts_ns is not None:
            self.starts_ns = world.now_ns + world.random.randrange(LONGEST_RESTART_NS)

    def kill(self) -> None:
        """Let it die where it is."""
        self.dies_in = None
        process, self.process = self.process, None
        self.wakes_ns = 0
        if process:
            process.kill()

    def stop(self) -> None:
        """Let supervisord stop it."""
        self.starts_ns = None
        self.kill()

    def crash_point(self) -> None:
        """Die here, if that has been decided."""
        if self.dies_in is not None:
            self.dies_in -= 1
            if self.dies_in < 0:
                raise ProcessKilled


class ClusterProcess:
    """One life of a program. `role` is there once it has begun to start."""

    def __init__(self, program: HostProgram) -> None:
        self._program = program
        site = program.host
        self.host = SimulatedHost(
            site.world.network,
            monotonic_ns=site.clock,
            wall_ns=site.wall_ns,
            crash_point=program.crash_point,
        )
        self.loop = SimulatedLoop(self.host)
        self.broker: SimulatedBroker | None = None
        kind = ROLES[program.name]
        # Apart from its construction, in which it may be killed.
        self.role = kind.__new__(kind)
        self._wakes_ns = 0

    def start(self) -> None:
        """Do what `lib.process.role.run_role` does before its loop."""
        site = self._program.host
        further = (OrderManager, site.world.connect) if isinstance(self.role, OrderHost) else ()
        self.role.__init__(site.settings, self.loop, *further)

    def is_due(self, now_ns: int) -> bool:
        """Whether there is something to do."""
        clock_ns = now_ns + self._program.host.clock_ahead_ns
        return clock_ns >= self._wakes_ns or self.loop.has_work or self._is_busy()

    def step(self) -> None:
        """Take a pass, and further ones while there is something to do."""
        site = self._program.host
        clock_ns = site.world.now_ns + site.clock_ahead_ns
        for _ in range(MOST_PASSES):
            self.role.step()
            site.read_book()
            if not self.loop.has_work and not self._is_busy():
                break
        self._wakes_ns = self.loop.wakes_ns(clock_ns)

    def _is_busy(self) -> bool:
        """Whether it has left something to do."""
        match self.role:
            case Gateway(_prices=prices, _news=news):
                return bool(prices._lagging or news._lagging)
            case DownlinkRole(_downlinks=downlinks):
                return any(one._server and one._server._lagging for one in downlinks)
            case OrderHost(_manager=OrderManager() as manager):
                return manager.has_input
        return False

    def kill(self) -> None:
        """Let the kernel take back what the process had open."""
        self.host.kill()
        if self.broker:
            self.broker.close()
        match self.role:
            case OrderBook(_book=book):
                book.close()
            case OrderHost(_ledger=ledger):
                ledger.close()
                if manager := getattr(self.role, "_manager", None):
                    manager._latest_prices._own_book.let_go()


class PlayedSupervisor:
    """What `lib.process.supervisor.Supervisor` is to a role: the supervisord of its host."""

    def __init__(self, host: ClusterHost) -> None:
        self._host = host

    def processes(self) -> list[Process]:
        self._may_be_silent()
        programs = self._host.programs.values()
        return [Process(one.name, _state(one), 1 if one.process else 0) for one in programs]

    def start(self, name: str, *, wait: bool) -> None:
        assert not wait
        self._may_be_silent()
        program, world = self._host.programs[name], self._host.world
        if program.starts_ns is not None:
            raise SupervisorSilentError("ALREADY_STARTED")
        program.starts_ns = world.now_ns + world.random.randrange(LONGEST_STOP_NS)

    def stop(self, name: str, *, wait: bool) -> None:
        assert not wait
        self._may_be_silent()
        program, world = self._host.programs[name], self._host.world
        if program.starts_ns is None:
            raise SupervisorSilentError("NOT_RUNNING")
        run = self._host.run
        world.after(
            world.random.randrange(LONGEST_STOP_NS),
            lambda: program.stop() if self._host.run == run else None,
        )

    def _may_be_silent(self) -> None:
        world = self._host.world
        if world.faults_go_on and world.random.random() < SILENT:
            raise SupervisorSilentError("timed out")


def _state(program: HostProgram) -> str:
    if program.process:
        return "RUNNING"
    return "STOPPED" if program.starts_ns is None else "BACKOFF"
