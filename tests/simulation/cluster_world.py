"""One seed's cluster: two hosts of each kind, their brokers, and a script of faults.

The roles are those that ship. Each host has a disk, clocks and a supervisord of its own. What
passes between hosts passes through the brokers (`tests.simulation.brokers`). When the cluster has
come to rest, `tests.simulation.cluster_judge` looks at what happened.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from daemons import downlink, gateway, order_relay, uplink
from lib.clock import MILLISECOND_NS, SECOND_NS
from lib.cluster.broker import Event
from lib.cluster.streams import LEDGER, NEWS, PRICE
from lib.ledger.reader import read_ledger
from lib.ledger.writer import Ledger
from lib.net.event_loop import EventLoop
from lib.process.log_events import JournalRefused, LogEvent
from lib.settings import ClusterSettings
from lib.streams.publication import Stream
from tests.cluster_broker import Faults
from tests.simulation.brokers import SimulatedBroker, SimulatedBrokers
from tests.simulation.cluster_bugs import CLUSTER_BUGS
from tests.simulation.cluster_clients import OrderSender
from tests.simulation.cluster_host import PROGRAMS, ClusterHost, HostProgram, Kind, PlayedSupervisor
from tests.simulation.cluster_judge import (
    ClusterRecords,
    MissedTicks,
    judge_ledger,
    judge_market,
    judge_orders,
    kept_from,
)
from tests.simulation.result import Result
from tests.simulation.seeded_world import (
    TAPE_SEEDS,
    Patches,
    SeededWorld,
    run_world,
)

if TYPE_CHECKING:
    from sqlite3 import Connection

HOSTS_OF_A_KIND = 2
LEAST_TICKS, LEAST_ORDERS = 200, 20
"""In a stream before the tape stops."""
ORDER_IDS_A_CLIENT = 100_000
FEWEST_FAULTS, MOST_FAULTS = 4, 8
LIFE_NS = 25 * SECOND_NS
"""In which the faults begin."""
LONGEST_FAULT_NS = 8 * SECOND_NS


class ClusterWorld(SeededWorld):
    """One seed's cluster."""

    longest_life_ns = 180 * SECOND_NS
    longest_fault_ns = LONGEST_FAULT_NS
    rest_ns = 60 * SECOND_NS
    longest_step_ns = 40 * MILLISECOND_NS
    longest_rest_step_ns = 80 * MILLISECOND_NS

    def __init__(self, seed: int, path: Path) -> None:
        super().__init__(seed, path, {})
        random = self.random
        self.rate = random.choice([20.0, 50.0, 100.0])
        self.takeover_after = random.choice([1.0, 3.0])
        self.records = ClusterRecords()
        self.faults_go_on = True
        self.current: HostProgram | None = None
        """Whose turn it is."""
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
        self.clients = [
            OrderSender(host, 1 + number * ORDER_IDS_A_CLIENT)
            for number, host in enumerate(self._hosts_of("strategy"))
        ]

    def _hosts_of(self, kind: Kind) -> list[ClusterHost]:
        return [host for host in self.hosts.values() if host.kind == kind]

    # What the roles ask for.

    def running(self) -> HostProgram:
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

    def ended(self, program: HostProgram, event: LogEvent) -> None:
        """Note why a role has ended."""
        self.events[f"{program.name} ended: {type(event).__name__}"] += 1
        if isinstance(event, JournalRefused):
            self.records.refused.append(f"{program.host.name}: {event.reason}")

    # Faults.

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
        self.let_pass(self.random.randrange(longest_ns))
        self.brokers.step()
        for client in self.clients:
            client.step()
        self.random.shuffle(self.programs)
        for program in self.programs:
            program.step()

    def must_go_on(self) -> bool:
        """Whether too little has happened."""
        return self.ticks < LEAST_TICKS or self.orders < LEAST_ORDERS

    @property
    def ticks(self) -> int:
        """How many ticks any host has booked."""
        return max(len(ticks) for _, ticks in self.records.books)

    @property
    def orders(self) -> int:
        """How many orders were answered."""
        return len(self.records.told)

    def end_faults(self) -> None:
        """End those that would last, and let the clients send nothing new."""
        self.faults_go_on = False
        self.brokers.end_faults()
        self._usual = Faults()
        for host in self.hosts.values():
            host.cut_off_until_ns = min(host.cut_off_until_ns, self.now_ns)
        for client in self.clients:
            client.sends = False

    def unfinished(self) -> list[str]:
        """Say what is left to do."""
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
        faults = self.random.randint(FEWEST_FAULTS, MOST_FAULTS)
        is_enough = self.play_faults(CLUSTER_FAULTS, faults, 0, LIFE_NS)
        findings = [] if is_enough else ["too little has happened"]
        findings += self.come_to_rest()
        for program in self.programs:
            program.kill()
        streams = self.brokers.streams
        findings += self.misjudged
        findings += self.printed_twice()
        findings += judge_market(self.records, streams)
        findings += judge_orders(self.records, streams[LEDGER])
        for host in self._hosts_of("order"):
            with read_ledger(host.path / "orders.sqlite") as ledger:
                findings += judge_ledger(host.name, ledger, streams[LEDGER])
        return findings

    def patches(self) -> Patches:
        """Return what gives the roles the brokers, supervisords and disks of this world."""
        return _parts_of_hosts(self)

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


def _parts_of_hosts(world: ClusterWorld) -> Patches:
    """Return the brokers, supervisords and disks of the world, and what they take the place of."""
    write = Ledger._write

    def write_unless_refused(ledger: Ledger, connection: Connection, *place: Any) -> None:
        program = world.running()
        program.crash_point()
        if program.host.disk_refuses and world.random.random() < 0.5:
            raise OSError(28, "No space left on device")
        write(ledger, connection, *place)
        program.crash_point()

    for role in (uplink, order_relay):
        yield role, "control_socket", lambda _: world.running().host.path
        yield role, "Supervisor", lambda path: PlayedSupervisor(world.hosts[path.name])
    for role in (uplink, downlink, order_relay):
        yield role, "connect", world.connect
    for role in (uplink, gateway):
        yield role, "current_run", lambda: (world.running().host.run,)
    yield Ledger, "_write", write_unless_refused


def run_cluster(seed: int, bug: str | None = None) -> Result:
    """Let one seed happen, perhaps with one of `tests.simulation.cluster_bugs` in the product."""
    return run_world(seed, ClusterWorld, CLUSTER_BUGS[bug] if bug else None)
