"""Two order hosts over one stream, under every fault: no order is lost, and none is doubled."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import msgspec
import pytest
from structlog.testing import capture_logs

from lib.clock import SECOND_NS
from lib.cluster import ledger_journal, order_host
from lib.cluster.broker import Answer, Appended, Delivered, Event, Failed, Message
from lib.cluster.ledger_journal import LedgerJournal, entry_of, place_of
from lib.cluster.order_host import OrderHost
from lib.cluster.progress import Progress
from lib.cluster.status_file import Activity
from lib.cluster.stream_writer import StreamWriter
from lib.cluster.streams import LEDGER, live_subject
from lib.execution.loss_latches import clients_at_limit
from lib.execution.order_desk import OrderDesk, Receipt, Session
from lib.execution.risk import Risk
from lib.ledger import projection
from lib.ledger.journal import JournalEntry, JournalPlace
from lib.ledger.loss_marks import LossMark
from lib.ledger.projection import project
from lib.ledger.schema import LedgerError
from lib.ledger.writer import Ledger
from lib.process.role import RoleEndsError
from lib.settings import ClusterSettings, RiskSettings, Settings
from tests.clients import order
from tests.cluster_broker import Faults, ModelBroker, ModelBrokers, ModelStream
from tests.ledgers import write_ledger

PASS_NS = SECOND_NS // 20
NO_LIMITS = RiskSettings(
    max_order_quantity=0, max_position=0, price_collar_percent=0.0, max_orders_per_second=0
)
WALL_NS = 1_795_341_600 * SECOND_NS


class Killed(BaseException):
    """The process dies here."""


class World:
    """The brokers, the hosts, the clients, and what can happen to them."""

    def __init__(self, seed: int, directory: Path) -> None:
        self.brokers = ModelBrokers(seed, Faults())
        self.random = self.brokers.random
        self.now_ns = 10**15
        self.subscribers: list[SubscribedBroker] = []
        self.live: list[tuple[str, Message]] = []
        self.has_faults = False
        self.hosts = [Host(self, name, directory / name) for name in ("a", "b")]
        self.clients = [Client(self, f"client-{number}") for number in range(3)]

    @property
    def stream(self) -> ModelStream:
        return self.brokers.stream(LEDGER)

    def happens(self, likelihood: float) -> bool:
        return self.has_faults and self.random.random() < likelihood

    def may_die(self) -> None:
        if self.happens(0.004):
            raise Killed

    def step(self) -> None:
        self.now_ns += PASS_NS
        self.brokers.faults = (
            Faults(lost_request=0.03, lost_answer=0.03, late=0.03) if self.has_faults else Faults()
        )
        self.brokers.step()
        self.stream.leader = not self.has_faults or self.now_ns // SECOND_NS % 20 < 17
        self._deliver()
        for client in self.clients:
            client.step()
        for host in self.hosts:
            host.step()

    def _deliver(self) -> None:
        live, self.live = self.live, []
        for subject, message in live:
            for subscriber in self.subscribers:
                if not self.happens(0.1):
                    subscriber.hand_on(Delivered(subject, message))

    def run(self, until: Callable[[], object], most: int = 2000) -> None:
        for _ in range(most):
            self.step()
            if until():
                return
        raise AssertionError(f"not so after {most} passes")


class SubscribedBroker(ModelBroker):
    """The brokers as one process sees them: what is appended comes to all that follow."""

    def __init__(self, world: World, hand_on: Callable[[Event], None]) -> None:
        super().__init__(world.brokers)
        self._world = world
        self.hand_on = hand_on

    def append(
        self, stream: str, headers: Mapping[str, str], data: bytes, expected_last: int
    ) -> int:
        self._world.may_die()
        before = len(self._world.stream.messages)
        question = super().append(stream, headers, data, expected_last)
        for message in self._world.stream.messages[before:]:
            self._world.live.append((live_subject(LEDGER), message))
        self._world.may_die()
        return question

    def publish(self, subject: str, headers: Mapping[str, str], data: bytes) -> None:
        self._world.live.append((subject, Message(0, dict(headers), data)))

    def follow(self, _subject: str) -> None:
        if self not in self._world.subscribers:
            self._world.subscribers.append(self)

    def close(self) -> None:
        if self in self._world.subscribers:
            self._world.subscribers.remove(self)


class FragileLedger(Ledger):
    """A ledger whose disk refuses, and whose process dies round a commit."""

    world: World

    def _write(self, *parts: Any) -> None:
        self.world.may_die()
        if self.world.happens(0.02):
            raise sqlite3.OperationalError("disk I/O error")
        super()._write(*parts)
        self.world.may_die()
        if self.world.happens(0.02):  # it is on disk, and the disk says that it is not
            raise sqlite3.OperationalError("disk I/O error")


class Manager:
    """The order manager without its sockets."""

    def __init__(self, world: World, ledger: Ledger) -> None:
        self._world = world
        self._ledger = ledger
        risk = Risk(NO_LIMITS, 0, ("AAPL", "MSFT"), lambda _: None)
        self._desk = OrderDesk(ledger, risk)
        self._arrived: deque[tuple[Session, bytes]] = deque()
        self._clients: dict[Session, Client] = {}

    def connect(self, client: Client) -> Session:
        session = Session(client.client_id)
        self._clients[session] = client
        return session

    def receive(self, session: Session, data: bytes) -> None:
        self._arrived.append((session, data))

    @property
    def has_input(self) -> bool:
        return bool(self._arrived)

    @property
    def has_logons(self) -> bool:
        return self._desk.has_logons

    def decide(self, _max_bytes: int) -> None:
        now_ns = self._world.now_ns
        receipt = Receipt(now_ns, WALL_NS, f"2026-11-30T12:00:00.{now_ns % 10**6:06}Z", False)
        while self._arrived:
            session, data = self._arrived.popleft()
            self._desk.receive(session, data, receipt)

    def commit(self, place: JournalPlace | None = None) -> None:
        for session, answer in self._desk.commit(place).answers:
            self._clients[session].take(session, json.loads(answer[:-1]))

    def close(self) -> None:
        self._ledger.close()


class Loop:
    """An event loop in virtual time, on which nothing arrives."""

    def __init__(self, world: World, host: Host) -> None:
        self._world = world
        self._of = host
        self.host = self

    def clock(self) -> int:
        return self._world.now_ns

    def wall_ns(self) -> int:
        return WALL_NS + self._of.lives

    def add_timed(self, _timed: object) -> None:
        """The role looks in each pass."""

    def poll(self, *, may_sleep: bool) -> None:
        broker = self._of.broker
        for answer in broker.taken():
            broker.hand_on(answer)


class Host:
    """An order host, whose process is started again whenever it ends."""

    def __init__(self, world: World, name: str, var_dir: Path) -> None:
        var_dir.mkdir()
        self._world = world
        self.name = name
        self.settings = msgspec.structs.replace(
            Settings(),
            var_dir=var_dir,
            cluster=ClusterSettings(servers=("nats://a:4222",), host=name, takeover_after=2.0),
            risk=RiskSettings(max_loss=100.0),
        )
        self.path = var_dir / "orders.sqlite"
        self.lives = 0
        self.ends: list[str] = []
        self.manager: Manager | None = None
        self._role: OrderHost | None = None
        self._paused_until_ns = 0

    def step(self) -> None:
        world = self._world
        if world.happens(0.003):
            self._paused_until_ns = world.now_ns + world.random.randint(1, 6) * SECOND_NS
        if world.now_ns < self._paused_until_ns or world.happens(0.1):
            return
        try:
            if self._role is None:
                self._start()
            self._role.step()
        except Killed:
            self.end("killed")
        except RoleEndsError as error:
            self.end(type(error.event).__name__)

    def _start(self) -> None:
        self.lives += 1
        FragileLedger.world = self._world
        self._role = OrderHost(self.settings, Loop(self._world, self), self._make, self._connect)

    def _connect(self, *parts: Any) -> SubscribedBroker:
        self.broker = SubscribedBroker(self._world, parts[-1])
        return self.broker

    def _make(self, _settings: Settings, _loop: object, ledger: Ledger) -> Manager:
        self.manager = Manager(self._world, ledger)
        return self.manager

    def end(self, why: str = "stopped") -> None:
        self.ends.append(why)
        self.manager = None
        if self._role:
            self._role._ledger.close()
            self._role, _ = None, self.broker.close()

    def follows_all(self) -> bool:
        """Whether its ledger has the whole stream."""
        if self._role is None:
            return False
        place = self._role._ledger.journal_place()
        return place is not None and place.sequence == len(self._world.stream.messages)


class Client:
    """Sends its orders again and again, to any host that serves, until each has its answer."""

    def __init__(self, world: World, client_id: str) -> None:
        self.client_id = client_id
        self._world = world
        self.reports: dict[int, dict[str, Any]] = {}
        self.errors: list[str] = []
        self.last_order_id = 0
        self._unanswered: dict[int, bytes] = {}
        self._manager: Manager | None = None
        self._session: Session | None = None
        self._sent_ns = 0

    def step(self) -> None:
        world = self._world
        serving = [host.manager for host in world.hosts if host.manager]
        is_late = self._unanswered and world.now_ns - self._sent_ns > SECOND_NS
        if self._manager not in serving or is_late:
            if not serving:
                return
            self.log_on(world.random.choice(serving))
        elif world.has_faults and world.random.random() < 0.3:
            for _ in range(world.random.randint(1, 3)):
                self._send(self._next_order())

    def log_on(self, manager: Manager) -> None:
        self._manager, self._session = manager, manager.connect(self)
        self._send(b'{"type":"logon","client_id":"%b"}*' % self.client_id.encode())
        self._send(b"".join(self._unanswered.values()))

    def _next_order(self) -> bytes:
        self.last_order_id += 1
        random = self._world.random
        frame = order(
            self.last_order_id,
            symbol=random.choice(["AAPL", "MSFT", "NONE"]),
            side=random.choice(["BUY", "SELL"]),
            quantity=random.randint(1, 30),
            price=random.randint(1, 10**5) / 100,
        )
        self._unanswered[self.last_order_id] = json.dumps(frame).encode() + b"*"
        return self._unanswered[self.last_order_id]

    def _send(self, data: bytes) -> None:
        assert self._manager
        assert self._session
        self._sent_ns = self._world.now_ns
        self._manager.receive(self._session, data)

    def take(self, session: Session, message: dict[str, Any]) -> None:
        if message["type"] == "logon_ack" and session is self._session:
            booked = max(self.reports, default=0)
            assert message["last_order_id"] >= booked, f"{booked} is booked, and was forgotten"
        elif message["type"] == "error":
            self.errors.append(message["reason"])
        elif message["type"] == "execution_report" and session is self._session:
            order_id = message["order_id"]
            assert self.reports.setdefault(order_id, message) == message
            self._unanswered.pop(order_id, None)

    @property
    def has_all(self) -> bool:
        return not self._unanswered


@contextmanager
def worlds() -> Iterator[Callable[[int], World]]:
    with ExitStack() as stack:
        stack.enter_context(patch.object(order_host, "Ledger", FragileLedger))
        made: list[World] = []

        def make(seed: int) -> World:
            directory = tempfile.mkdtemp(prefix="tw-test-hosts-", dir="/dev/shm")
            stack.callback(shutil.rmtree, directory)
            made.append(World(seed, Path(directory)))
            stack.callback(lambda: [host.end() for host in made[-1].hosts])
            return made[-1]

        yield make


def content(path: Path) -> list[object]:
    """All of a ledger but when the file was made, and how often it was written."""
    with closing(sqlite3.connect(path)) as connection:
        return [
            connection.execute(query).fetchall()
            for query in (
                "SELECT * FROM orders ORDER BY client_id, order_id",
                "SELECT * FROM positions ORDER BY client_id, symbol",
                "SELECT * FROM facts WHERE name NOT IN ('created_utc', 'commits') ORDER BY name",
            )
        ]


def projected(messages: list[Message], path: Path) -> list[object]:
    """What a fresh host would make of the stream."""
    with closing(Ledger(path)) as ledger:
        project(ledger, [(place_of(one), entry_of(one)) for one in messages])
    return content(path)


def story(make: Callable[[int], World], seed: int) -> World:
    """Faults for a while, then none; what must hold then."""
    world = make(seed)
    world.has_faults = True
    for _ in range(400):
        world.step()
    world.has_faults = False
    hosts, clients = world.hosts, world.clients
    world.run(
        lambda: all(one.has_all for one in clients) and all(one.follows_all() for one in hosts)
    )
    fresh = projected(world.stream.messages, hosts[0].path.with_name("fresh.sqlite"))
    assert [content(host.path) for host in hosts] == [fresh, fresh]
    assert "JournalRefused" not in {end for host in hosts for end in host.ends}
    booked = {(row[0], row[1]): row for row in fresh[0]}
    for client in clients:
        assert len(client.reports) == client.last_order_id
        for order_id, report in client.reports.items():
            row = booked.pop((client.client_id, order_id), None)
            assert row, f"the client has an answer that the stream does not have: {report}"
            said = [report.get(key) for key in ("status", "trade_id", "position", "reason")]
            assert said == [row[6], row[8], row[9], row[7]]
    assert not booked
    return world


def test_whatever_happens_no_order_is_lost_or_doubled_and_both_ledgers_are_the_stream() -> None:
    ends: list[str] = []
    errors = orders = 0
    with worlds() as make:
        for seed in range(40):
            world = story(make, seed)
            ends += [end for host in world.hosts for end in host.ends]
            errors += sum(len(client.errors) for client in world.clients)
            orders += sum(client.last_order_id for client in world.clients)
    assert {"killed", "StreamOvertaken"} <= set(ends)  # it has happened
    assert errors > 100
    assert orders > 1000


def _takes_it_for_granted(writer: StreamWriter, answer: Answer) -> bool:
    if isinstance(answer, Failed) and answer.question == writer._question and writer._is_claimed:
        answer = Appended(answer.question, writer.last + 1)
    return _take(writer, answer)


def _expects_nothing(
    stream: ModelStream, headers: Mapping[str, str], data: bytes, _expected: int
) -> int:
    return _append(stream, headers, data, len(stream.messages))


def _skips_a_row(ledger: Ledger, entry: JournalEntry) -> None:
    rejected = [row for row in entry.orders if row[6] == "REJECTED"]
    kept = [row for row in entry.orders if row not in rejected[1:]]
    _record(ledger, msgspec.structs.replace(entry, orders=kept))


def _decides_before_it_has_read(journal: LedgerJournal) -> None:
    journal._waiting.clear()


_take, _append, _record = StreamWriter.take, ModelStream.append, projection._record


@pytest.mark.parametrize(
    ("place", "name", "bug"),
    [
        (StreamWriter, "take", _takes_it_for_granted),
        (ModelStream, "append", _expects_nothing),
        (projection, "_record", _skips_a_row),
        (LedgerJournal, "project", _decides_before_it_has_read),
    ],
)
def test_a_planted_bug_is_caught(place: Any, name: str, bug: Callable[..., Any]) -> None:
    with worlds() as make, patch.object(place, name, bug), pytest.raises(AssertionError):
        tell_stories(make)


def tell_stories(make: Callable[[int], World]) -> None:
    for seed in range(10):
        story(make, seed)


@pytest.fixture
def world() -> Iterator[World]:
    """Two hosts without faults."""
    with worlds() as make:
        yield make(0)


def serving(world: World) -> Host | None:
    return next((host for host in world.hosts if host.manager), None)


def trade(world: World, count: int) -> Host:
    """Let a client have orders booked on both hosts; return the one that has answered them."""
    world.run(lambda: serving(world) is not None)
    client = world.clients[0]
    client.step()
    for _ in range(count):
        client._send(client._next_order())
    world.run(lambda: client.has_all and all(host.follows_all() for host in world.hosts))
    host = serving(world)
    assert host
    return host


def test_a_standby_takes_over_with_all_orders_when_the_writer_is_killed(world: World) -> None:
    first = trade(world, 5)
    first.end("killed")
    first._paused_until_ns = 2**63
    died_ns = world.now_ns
    world.run(lambda: serving(world) is not None)
    # takeover_after, and one more, but for answers that take some passes here.
    assert world.now_ns - died_ns < 3 * SECOND_NS + 10 * PASS_NS
    ledger = serving(world)._role._ledger
    assert ledger.last_order_id("client-0") == 5


def test_each_host_knows_how_far_its_ledger_is(world: World) -> None:
    world.hosts[0].step()
    assert world.hosts[0].broker in world.subscribers  # from the start, not after a silence
    assert progress_of(world.hosts[0]) == Progress(Activity.STARTING)
    first = trade(world, 5)
    last = len(world.stream.messages)
    for host in world.hosts:
        activity = Activity.WRITING if host is first else Activity.STANDING_BY
        progress = progress_of(host)
        assert progress[:3] == (activity, last, None)
        assert bool(progress.acknowledgements) == (host is first)


def progress_of(host: Host) -> Progress:
    assert host._role
    return host._role._journal.progress()


def test_a_restarted_writer_goes_on_sooner_than_another_host_would_take_over(world: World) -> None:
    first = trade(world, 5)
    first.end("killed")
    world.run(lambda: serving(world) is not None)
    assert serving(world) is first


def test_a_writer_that_was_paused_ends_when_another_host_has_taken_over(world: World) -> None:
    first = trade(world, 5)
    first._paused_until_ns = world.now_ns + 10 * SECOND_NS
    world.run(lambda: any(host.manager for host in world.hosts if host is not first))
    assert first.manager  # it does not know yet
    world.run(lambda: first.ends == ["StreamOvertaken"])
    world.run(first.follows_all)


def test_what_a_writer_has_booked_itself_is_not_read_again(world: World) -> None:
    first = trade(world, 1)
    (second,) = (host for host in world.hosts if host is not first)
    second._paused_until_ns = 2**63
    client = world.clients[0]
    with patch.object(ledger_journal, "entry_of", wraps=entry_of) as read:
        client._send(client._next_order())
        world.run(lambda: client.has_all)
        world.run(lambda: first._role._journal.is_projected)
    assert not read.called
    assert first.follows_all()


def test_a_writer_that_was_overtaken_does_not_say_what_it_has_booked(world: World) -> None:
    first = trade(world, 5)
    (second,) = (host for host in world.hosts if host is not first)
    world.subscribers.remove(first.broker)  # so that it does not hear of it
    first._paused_until_ns = world.now_ns + 10 * SECOND_NS
    world.run(lambda: second.manager)
    client = world.clients[0]
    client.log_on(second.manager)
    client._send(client._next_order())
    world.run(lambda: client.has_all)
    client.log_on(first.manager)
    world.run(lambda: first.ends == ["StreamOvertaken"])
    assert client.errors == [order_host.NOT_ACKNOWLEDGED.format("another message came before it")]


def test_orders_without_an_acknowledgement_are_answered_with_an_error_and_booked_once(
    world: World,
) -> None:
    trade(world, 1)
    client = world.clients[0]
    with patch.object(ModelBroker, "append", _appends_and_says_nothing):
        client._send(client._next_order())
        world.run(lambda: bool(client.errors))
    assert client.errors == [order_host.NOT_ACKNOWLEDGED.format("no answer")]
    world.run(lambda: client.has_all)
    booked = [len(entry_of(one).orders) for one in world.stream.messages]
    assert [count for count in booked if count] == [1, 1]  # the others are of claims and logons


def _appends_and_says_nothing(
    broker: ModelBroker, stream: str, headers: Mapping[str, str], data: bytes, expected: int
) -> int:
    broker.brokers.stream(stream).append(headers, data, expected)
    question = broker.brokers.number()
    broker.answers.append(Failed(question, "no answer"))
    return question


def test_a_stream_that_was_lost_under_running_hosts_sets_both_ledgers_apart(world: World) -> None:
    """As by the loss of three disks. A standby must not claim a stream that lacks its ledger."""
    first = trade(world, 5)
    (second,) = (host for host in world.hosts if host is not first)
    world.stream.messages.clear()
    world.clients[0].reports.clear()  # its orders are lost, too
    with capture_logs() as logged:
        world.run(lambda: second.manager)
        assert [line["event"] for line in logged].count("ledger_set_apart") == 1
        world.clients[1].log_on(first.manager)  # the former writer learns it by its next message
        world.run(lambda: first.ends == ["StreamLost"])
        world.run(lambda: [line["event"] for line in logged].count("ledger_set_apart") == 2)
        world.run(lambda: serving(world) and all(host.follows_all() for host in world.hosts))
    assert content(first.path) == content(second.path)
    assert "JournalRefused" not in first.ends + second.ends


@pytest.mark.parametrize("other", ["shorter", "another"])
def test_a_ledger_that_the_stream_does_not_have_is_set_apart_and_made_anew(
    world: World, other: str
) -> None:
    host = trade(world, 5)
    booked = content(host.path)
    for one in world.hosts:
        one.end()
    messages = world.stream.messages
    if other == "shorter":
        messages.pop()
    else:
        data = messages[-1].data.replace(b"2026-11-30", b"2026-11-29")
        messages[-1] = messages[-1]._replace(data=data)
    with capture_logs() as logged:
        world.run(lambda: serving(world) and all(one.follows_all() for one in world.hosts))
    (event,) = {
        (line["ledger"], line["apart"])
        for line in logged
        if line["event"] == "ledger_set_apart" and line["ledger"] == str(host.path)
    }
    assert re.fullmatch(rf"{host.path}\.apart-\d{{8}}T\d{{6}}Z", event[1])
    assert content(Path(event[1])) == booked
    assert "ledger_begun" not in {line["event"] for line in logged}


def test_a_ledger_that_cannot_be_read_at_the_start_is_compared_later(world: World) -> None:
    trade(world, 5)
    for host in world.hosts:
        host.end()
    failing = LedgerError("disk error")
    with (
        patch.object(FragileLedger, "journal_place", side_effect=failing),
        capture_logs() as logged,
    ):
        for _ in range(40):
            world.step()
    assert {line.get("reason") for line in logged} == {"disk error"}
    world.run(lambda: serving(world) and all(host.follows_all() for host in world.hosts))


def test_a_ledger_from_before_the_cluster_is_refused_and_left_alone(world: World) -> None:
    path = world.hosts[0].path
    write_ledger(path)
    before = content(path)
    world.run(lambda: world.hosts[0].ends[:1] == ["JournalRefused"])
    assert content(path) == before


def test_a_client_at_its_loss_limit_stays_there_when_another_host_takes_over(
    world: World,
) -> None:
    first = trade(world, 5)
    (second,) = (host for host in world.hosts if host is not first)
    ledger = first._role._ledger
    first.manager._desk.receive(
        first.manager.connect(world.clients[1]),
        b'{"type":"logon","client_id":"client-1"}*' + json.dumps(order(1)).encode() + b"*",
        Receipt(world.now_ns, WALL_NS, "2026-11-30T12:00:00.000000Z", False),
    )
    ledger.mark_loss("client-1", LossMark(0, is_reached=True))
    entry = ledger.recorded()
    assert entry
    first._role._journal.append(entry)
    world.run(second.follows_all)
    first.end("killed")
    first._paused_until_ns = 2**63
    world.run(lambda: second.manager is not None)
    assert clients_at_limit(second.settings.var_dir) == ["client-1"]


NOT_OURS = b'{"type":"io.nats.jetstream.api.v1.stream_info_response"}'


def test_a_message_that_no_writer_has_written_books_nothing_and_stops_nobody(world: World) -> None:
    """A host of the same account can have JetStream answer into the ledger."""
    first, stream, client = trade(world, 3), world.stream, world.clients[0]
    (second,) = (host for host in world.hosts if host is not first)
    stream.append({}, NOT_OURS, len(stream.messages))
    client._send(client._next_order())
    with capture_logs() as logged:
        world.run(lambda: client.has_all and all(host.follows_all() for host in world.hosts))
    assert serving(world) is first
    assert [line["event"] for line in logged].count("foreign_message") == len(world.hosts)
    first.end("killed")
    first._paused_until_ns = 2**63
    stream.append({}, NOT_OURS, len(stream.messages))
    world.run(lambda: second.manager is not None)
    assert second._role._ledger.last_order_id("client-0") == 4
    assert stream.messages[-1].epoch == 2
    assert second.ends == []
