"""One seed's cluster: two hosts of each kind, their brokers, and a script of faults.

As in `tests.simulation.world`, the roles are those that ship, and nothing but the seed decides what
happens. Each host has a disk, clocks and a supervisord of its own. What passes between hosts passes
through the brokers (`tests.simulation.brokers`). After the last fault the tape stops, and the
cluster must come to rest; then `tests.simulation.cluster_judge` looks at what happened.
"""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from itertools import count
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import structlog

from daemons import downlink, gateway, order_manager, order_relay, orderbook, uplink
from daemons.gateway import Gateway
from lib.clock import MICROSECOND_NS, MILLISECOND_NS, SECOND_NS
from lib.cluster.broker import Event
from lib.cluster.streams import LEDGER, NEWS, PRICE
from lib.ledger.reader import read_ledger
from lib.ledger.writer import Ledger
from lib.net.event_loop import EventLoop
from lib.process.log_events import JournalRefused, LogEvent
from lib.settings import ClusterSettings
from lib.streams import publication
from lib.streams.publication import NewsStream, Publication, Stream
from tests.cluster_broker import Faults
from tests.simulation.brokers import SimulatedBroker, SimulatedBrokers
from tests.simulation.cluster_bugs import CLUSTER_BUGS
from tests.simulation.cluster_clients import OrderSender
from tests.simulation.cluster_host import PROGRAMS, ClusterHost, Kind, PlayedSupervisor, Program
from tests.simulation.cluster_judge import (
    ClusterRecords,
    MissedTicks,
    judge_ledger,
    judge_market,
    judge_orders,
    kept_from,
)
from tests.simulation.files import world_directory
from tests.simulation.host import SimulatedHost
from tests.simulation.network import Network
from tests.simulation.observers import encode_ticks, tape_of
from tests.simulation.result import Result

if TYPE_CHECKING:
    from sqlite3 import Connection

SYMBOLS = ("AAPL", "MSFT", "BRK-B")
HOSTS_OF_A_KIND = 2
LEAST_TICKS, LEAST_ORDERS = 200, 20
"""In a stream before the tape stops."""
ORDER_IDS_A_CLIENT = 100_000
FEWEST_FAULTS, MOST_FAULTS = 4, 8
LIFE_NS = 25 * SECOND_NS
"""In which the faults begin."""
LONGEST_LIFE_NS = 180 * SECOND_NS
"""A cluster in which so little happens in this time is a fault of its own."""
LONGEST_STEP_NS = 40 * MILLISECOND_NS
LONGEST_FAULT_NS = 8 * SECOND_NS
REST_NS = 60 * SECOND_NS
"""A cluster that has not come to rest this long after its last fault never will."""
BEGINS_NS = 10**12
WALL_CLOCK_BEGINS_NS = 1_762_128_000 * SECOND_NS
TAPE_SEEDS = 8
MOST_READING_NS = 2 * MICROSECOND_NS


class ClusterWorld:
    """One seed's cluster."""

    symbols = SYMBOLS

    def __init__(self, seed: int, path: Path) -> None:
        self.random = random = Random(seed)
        self.path = path
        self.rate = random.choice([20.0, 50.0, 100.0])
        self.takeover_after = random.choice([1.0, 3.0])
        self.reading_ns = 0
        self.records = ClusterRecords()
        self.misjudged: list[str] = []
        self.faults: Counter[str] = Counter()
        self.events: Counter[str] = Counter()
        self.tape_numbers = count(1)
        """Names with the number of a process would not be of the same length each time."""
        self.faults_go_on = True
        self.tape_is_stopped = False
        self.current: Program | None = None
        """Whose turn it is."""
        self._ends: list[tuple[int, Callable[[], None]]] = []
        self.network = Network(random, BEGINS_NS, {})
        usual = random.choice([0.0, 0.002, 0.01])
        self._usual = Faults(usual, usual, usual, lost_delivery=random.choice([0.0, 0.002, 0.02]))
        kept = random.choice([None, None, 100])
        self.brokers = SimulatedBrokers(self.network, self._usual, kept)
        for stream in (PRICE, NEWS, LEDGER):
            self.brokers.stream(stream)
        self.hosts: dict[str, ClusterHost] = {}
        tape = random.randrange(TAPE_SEEDS)
        tapes = [tape, random.choice([tape, tape, (tape + 1) % TAPE_SEEDS])]
        kinds: list[Kind] = [kind for kind in PROGRAMS for _ in range(HOSTS_OF_A_KIND)]
        for number, kind in enumerate(kinds):
            host = ClusterHost(self, kind, number, tapes[number % HOSTS_OF_A_KIND])
            self.hosts[host.name] = host
            self.network.places |= {port: name for name, port in host.ports.items()}
        self.programs = [one for host in self.hosts.values() for one in host.programs.values()]
        self.client_host = SimulatedHost(
            self.network, monotonic_ns=lambda: self.now_ns, wall_ns=self.wall_ns
        )
        self.clients = [
            OrderSender(host, 1 + number * ORDER_IDS_A_CLIENT)
            for number, host in enumerate(self._hosts_of("strategy"))
        ]

    def _hosts_of(self, kind: Kind) -> list[ClusterHost]:
        return [host for host in self.hosts.values() if host.kind == kind]

    # What the roles ask for.

    @property
    def now_ns(self) -> int:
        """The time, monotonic."""
        return self.network.now_ns

    def wall_ns(self) -> int:
        """Return the right time since 1970."""
        return WALL_CLOCK_BEGINS_NS + self.now_ns

    def running(self) -> Program:
        """Return the program whose turn it is."""
        assert self.current
        return self.current

    def connect(
        self,
        loop: EventLoop,
        _cluster: ClusterSettings,
        _role: str,
        on_event: Callable[[Event], None],
        *,
        streams: Sequence[str] = (),
        makes: bool = False,
    ) -> SimulatedBroker:
        """Do what `lib.cluster.connection.connect` does: there are brokers, and all is well."""
        process = self.running().process
        assert process
        process.broker = SimulatedBroker(self.brokers, self.running().host, loop, on_event)
        return process.broker

    def hear(self, _logger: Any, _level: str, event: MutableMapping[str, Any]) -> Any:
        """Take a line of a role's log. Is a structlog processor."""
        name = event["event"]
        self.events[name] += 1
        if name == "ticks_missed":
            stream = self.brokers.stream(PRICE)
            host = self.running().host.name
            missed = MissedTicks(
                host, event["tape"], event["first"], event["last"], kept_from(stream)
            )
            self.records.missed.append(missed)
        elif name in ("protocol_error", "crashed", "ledger_set_apart", "malformed_messages"):
            self.misjudged.append(f"{self.running().host.name}: {dict(event)}")
        raise structlog.DropEvent

    def ended(self, program: Program, event: LogEvent) -> None:
        """Note why a role has ended."""
        self.events[f"{program.name} ended: {type(event).__name__}"] += 1
        if isinstance(event, JournalRefused):
            self.records.refused.append(f"{program.host.name}: {event.reason}")

    # Faults.

    def after(self, wait_ns: int, act: Callable[[], None]) -> None:
        """Do something a while later."""
        self._ends.append((self.now_ns + wait_ns, act))

    def _for_a_while(self) -> int:
        return self.random.randrange(LONGEST_FAULT_NS)

    def _any_host(self) -> ClusterHost:
        return self.random.choice(list(self.hosts.values()))

    def crash(self) -> None:
        """Let a process die in the middle of something."""
        self.random.choice(self.programs).crash_soon()

    def freeze(self) -> None:
        """Stop a process that stays alive."""
        program = self.random.choice(self.programs)
        if program.process:
            program.wakes_ns = self.now_ns + self._for_a_while()

    def freeze_host(self) -> None:
        """Stop all processes of a host: a machine that is moved, or that has no memory left."""
        wakes_ns = self.now_ns + self._for_a_while()
        for program in self._any_host().programs.values():
            if program.process:
                program.wakes_ns = wakes_ns

    def elect(self) -> None:
        """Let one stream, or all, elect a leader."""
        names = list(self.brokers.streams)
        for name in self.random.choice([names, *([one] for one in names)]):
            self.brokers.elect(name)

    def cut_off(self) -> None:
        """Let nothing pass between a host and the brokers."""
        host = self._any_host()
        host.cut_off_until_ns = self.now_ns + self._for_a_while()
        for client in self.brokers.clients:
            if client.host is host:
                client.cut_off(host.cut_off_until_ns)

    def lose(self) -> None:
        """Let much of what is sent be lost, or late."""
        likely = self.random.choice([0.1, 0.3])
        self.brokers.faults = Faults(likely, likely, likely, likely)
        self.after(self._for_a_while(), lambda: setattr(self.brokers, "faults", self._usual))

    def go_deaf(self) -> None:
        """Let the subscriptions of some processes be dead."""
        for client in self.brokers.clients:
            if self.random.random() < 0.5:
                client.go_dead()

    def refuse_commits(self) -> None:
        """Let the disk of an order host refuse to write."""
        host = self.random.choice(self._hosts_of("order"))
        host.disk_refuses = True
        self.after(self._for_a_while(), lambda: setattr(host, "disk_refuses", False))

    def cut(self) -> None:
        """Reset a connection inside a host."""
        connections = [one for one in self.network.connections if one[0].open]
        if connections:
            self.network.reset(self.random.choice(connections))

    # Time.

    def step(self, longest_ns: int) -> None:
        """Let a little time pass, and every program take a pass."""
        self.network.now_ns += self.random.randrange(longest_ns)
        self.reading_ns = self.random.randrange(MOST_READING_NS)
        for due in [end for end in self._ends if end[0] <= self.now_ns]:
            self._ends.remove(due)
            due[1]()
        self.brokers.step()
        for client in self.clients:
            client.step()
        self.random.shuffle(self.programs)
        for program in self.programs:
            program.step()

    def live(self) -> bool:
        """Play the script of faults. Returns whether enough has happened."""
        faults = self.random.randint(FEWEST_FAULTS, MOST_FAULTS)
        times = sorted(self.now_ns + self.random.randrange(LIFE_NS) for _ in range(faults))
        end_ns = self.now_ns + LIFE_NS
        give_up_ns = self.now_ns + LONGEST_LIFE_NS
        while self.now_ns < give_up_ns and (
            times or self.now_ns < end_ns or not self._enough_happened()
        ):
            self.step(LONGEST_STEP_NS)
            if times and times[0] <= self.now_ns:
                times.pop(0)
                kind = self.random.choice(list(CLUSTER_FAULTS))
                self.faults[kind] += 1
                CLUSTER_FAULTS[kind](self)
        return self._enough_happened()

    def _enough_happened(self) -> bool:
        return self.ticks >= LEAST_TICKS and self.orders >= LEAST_ORDERS

    @property
    def ticks(self) -> int:
        """How many ticks any host has booked."""
        return max(len(ticks) for _, ticks in self.records.books)

    @property
    def orders(self) -> int:
        """How many orders were answered."""
        return len(self.records.told)

    def come_to_rest(self) -> list[str]:
        """End all faults, and wait until nothing is left to do. Returns what never came about."""
        self.tape_is_stopped = True
        self.faults_go_on = False
        self.brokers.end_faults()
        self._usual = Faults()
        for host in self.hosts.values():
            host.cut_off_until_ns = min(host.cut_off_until_ns, self.now_ns)
        for client in self.clients:
            client.sends = False
        end_ns = self.now_ns + LONGEST_FAULT_NS
        give_up_ns = self.now_ns + REST_NS
        while self.now_ns < give_up_ns:
            self.step(2 * LONGEST_STEP_NS)
            if self.now_ns > end_ns and not self._unfinished():
                return []
        return [f"did not come to rest: {what}" for what in self._unfinished()]

    def _unfinished(self) -> list[str]:
        gateways = [
            host.programs["gateway"].process
            for host in self._hosts_of("market")
            if host.programs["gateway"].starts_ns is not None
        ]
        if len(gateways) != 1 or not gateways[0]:
            return [f"{len(gateways)} gateways run"]
        stream: Stream = gateways[0].role._prices.publication.stream
        unfinished = [
            f"{one.name} of {one.host.name} is down"
            for one in self.programs
            if one.starts and not one.process
        ]
        for host in self._hosts_of("strategy"):
            assert host.book
            at = host.book.resume_point()
            if stream.next_sequence > 1 and at != (stream.tape, stream.next_sequence):
                wanted = f"{stream.next_sequence} of {stream.tape}"
                unfinished.append(f"the book of {host.name} is at {at} and not before {wanted}")
        for client in self.clients:
            if client.client.unanswered:
                orders = sorted(client.client.unanswered)
                unfinished.append(f"{client.client.client_id} waits for answers to {orders}")
        last = self.brokers.stream(LEDGER).state().last
        for host in self._hosts_of("order"):
            process = host.programs["order_manager"].process
            place = process.role._ledger.journal_place() if process else None
            if not place or place.sequence != last:
                unfinished.append(f"the ledger of {host.name} is at {place}, {LEDGER} at {last}")
        return unfinished

    # The end.

    def findings(self) -> list[str]:
        """Let it happen, and judge it."""
        too_little = [] if self.live() else ["too little has happened"]
        findings = too_little + self.come_to_rest()
        for program in self.programs:
            program.kill()
        streams = self.brokers.streams
        findings += self.misjudged
        findings += judge_market(self.records, streams)
        findings += judge_orders(self.records, streams[LEDGER])
        for host in self._hosts_of("order"):
            with read_ledger(host.path / "orders.sqlite") as ledger:
                findings += judge_ledger(host.name, ledger, streams[LEDGER])
        return findings

    def close(self) -> None:
        """End all programs, and close the files."""
        for host in self.hosts.values():
            host.close()


CLUSTER_FAULTS: dict[str, Callable[[ClusterWorld], None]] = {
    "process crashes": ClusterWorld.crash,
    "process stands still": ClusterWorld.freeze,
    "host loses its power": lambda world: world._any_host().kill(),
    "host stands still": ClusterWorld.freeze_host,
    "host cut off": ClusterWorld.cut_off,
    "leader lost": ClusterWorld.elect,
    "much lost or late": ClusterWorld.lose,
    "subscriptions dead": ClusterWorld.go_deaf,
    "disk refuses": ClusterWorld.refuse_commits,
    "connection cut": ClusterWorld.cut,
}


def _patches(world: ClusterWorld) -> ExitStack:
    """Give the roles the world's brokers, supervisords and disks."""
    publish_frames, write = Publication.publish, Ledger._write

    def publish_unless_stopped(publication: Publication, count: int) -> int:
        if world.tape_is_stopped and not isinstance(publication.stream, NewsStream):
            return 0
        return publish_frames(publication, count)

    def write_unless_refused(ledger: Ledger, connection: Connection, *place: Any) -> None:
        program = world.running()
        program.crash_point()
        if program.host.disk_refuses and world.random.random() < 0.5:
            raise OSError(28, "No space left on device")
        write(ledger, connection, *place)
        program.crash_point()

    class Screen:
        def __init__(self, _stream: object) -> None:
            pass

        def write(self, lines: bytes) -> None:
            world.records.printed.update(lines.decode().splitlines())

        def next_deadline_ns(self) -> None:
            pass

    stack = ExitStack()
    for role in (uplink, order_relay):
        stack.enter_context(patch.object(role, "control_socket", lambda _: _own_path(world)))
        stack.enter_context(
            patch.object(role, "Supervisor", lambda path: PlayedSupervisor(world.hosts[path.name]))
        )
    for role in (uplink, downlink, order_relay):
        stack.enter_context(patch.object(role, "connect", world.connect))
    for role in (uplink, gateway):
        stack.enter_context(patch.object(role, "current_run", lambda: (world.running().host.run,)))
    for place, name, instead in (
        (gateway, "RandomWalkTape", tape_of),
        (Gateway, "_name_tape", lambda _: f"tape-{next(world.tape_numbers)}"),
        (publication, "_encode_ticks", encode_ticks),
        (orderbook, "clean_up_when_run_ends", lambda *_: None),
        (order_manager, "BoundedWriter", Screen),
        (Ledger, "_write", write_unless_refused),
        (Publication, "publish", publish_unless_stopped),
    ):
        stack.enter_context(patch.object(place, name, instead))
    return stack


def _own_path(world: ClusterWorld) -> Path:
    return world.running().host.path


@contextmanager
def cluster_of(seed: int) -> Iterator[ClusterWorld]:
    """Make a seed's cluster, and clear it all away."""
    with world_directory() as path:
        world = ClusterWorld(seed, path)
        saved = structlog.get_config()
        structlog.configure(processors=[world.hear])
        try:
            with _patches(world):
                yield world
        finally:
            structlog.configure(**saved)
            world.close()


def run_cluster(seed: int, bug: str | None = None) -> Result:
    """Let one seed happen, perhaps with one of `tests.simulation.cluster_bugs` in the product."""
    with CLUSTER_BUGS[bug].put_in() if bug else nullcontext(), cluster_of(seed) as world:
        try:
            findings = world.findings()
        except Exception as error:  # a role would have ended so
            place = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{Path(place.filename).name}:{place.lineno}"
            findings = [f"{type(error).__name__} at {where}: {error}"]
        return Result(seed, findings, world.faults, world.ticks, world.orders, world.events)
