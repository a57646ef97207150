"""Clients of one host at the order manager of another, over brokers that may lose messages."""

from __future__ import annotations

import json
import secrets
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from daemons.order_manager import OrderManager
from lib.clock import SECOND_NS
from lib.cluster import local_clients, remote_clients
from lib.cluster.broker import Delivered, Message
from lib.cluster.local_clients import LocalClients
from lib.cluster.relay_session import END, MAX_UNTAKEN_BYTES, NUMBER, SessionName
from lib.cluster.remote_clients import GONE, RemoteClients, admitted
from lib.cluster.streams import CLOCK, WALL
from lib.net.event_loop import EventLoop
from lib.net.host import SystemHost
from lib.prices import PRICE_SCALE
from lib.process.client_log import ClientLog
from lib.settings import Settings
from lib.stack.private_stack import free_ports
from lib.trading.order_client import OrderClient
from lib.wire.order_messages import MessageError, Order, decode_from_client, make_order
from tests.clients import order as an_order
from tests.helpers import wait_until

replace = msgspec.structs.replace


class Bus:
    """What is published comes to whoever follows it, unless the test drops or changes it."""

    def __init__(self) -> None:
        self.followers: list[tuple[str, Callable[[Delivered], None]]] = []
        self.sent: list[Delivered] = []
        self.arriving: list[Delivered] = []
        self.passes: Callable[[Delivered], bool] = lambda _: True

    def publish(self, subject: str, headers: Mapping[str, str], data: bytes) -> None:
        event = Delivered(subject, Message(0, dict(headers), data))
        self.sent.append(event)
        if self.passes(event):
            self.arriving.append(event)

    def deliver(self) -> None:
        arriving, self.arriving = self.arriving, []
        for event in arriving:
            for beginning, take in self.followers:
                if event.subject.startswith(beginning):
                    take(event)


class OneBroker:
    """The brokers, for one relay."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self.take: Callable[[Delivered], None] = lambda _: None

    def publish(self, subject: str, headers: Mapping[str, str], data: bytes) -> None:
        self._bus.publish(subject, headers, data)

    def follow(self, subject: str) -> None:
        me = (subject.rstrip(">*"), self._hand_on)
        self._bus.followers = [one for one in self._bus.followers if one != me] + [me]

    def _hand_on(self, event: Delivered) -> None:
        self.take(event)


class Hosts:
    """A strategy host, and two order hosts of which only one has an order manager that listens."""

    def __init__(self, tmp_path: Path, clean_up: ExitStack, token: str = "") -> None:
        self._clean_up = clean_up
        self.bus = Bus()
        self.loop = EventLoop(SystemHost())
        self.port, order_port, closed_port = free_ports(3)
        name = f"tw-test-relay-{secrets.token_hex(4)}"
        settings = replace(
            Settings(),
            symbols=("AAPL",),
            var_dir=tmp_path,
            order_manager=replace(Settings().order_manager, port=order_port),
            price_book=replace(Settings().price_book, name=name),
        )
        self.manager = OrderManager(settings, self.loop)
        clean_up.callback(self.manager.close)
        self.remotes = []
        for host, port in (("order-2", closed_port), ("order-1", order_port)):
            broker = OneBroker(self.bus)
            remote = RemoteClients(self.loop, broker, host, "127.0.0.1", port)  # type: ignore[arg-type]
            broker.take = remote.take
            remote.connected()
            self.remotes.append(remote)
        broker = OneBroker(self.bus)
        self.local = LocalClients(
            self.loop,
            broker,  # type: ignore[arg-type]
            replace(settings, order_manager=replace(settings.order_manager, port=self.port)),
            host="strategy-1",
            token=token,
            client_log=ClientLog("orders", 8, self.loop.clock),
        )
        broker.take = self.local.take
        self.local.connected()
        self.loop._longest_sleep_ns = 0  # a pass comes back at once, whatever there is

    def step(self) -> None:
        self.manager.step()
        self.bus.deliver()

    def connect(self) -> Client:
        sock = socket.create_connection(("127.0.0.1", self.port))
        sock.setblocking(False)
        return Client(self, self._clean_up.enter_context(sock))

    def logged_on(self, client_id: str = "strategy") -> Client:
        client = self.connect()
        client.send({"type": "logon", "client_id": client_id})
        assert client.answer()["type"] == "logon_ack"
        return client


class Client:
    def __init__(self, hosts: Hosts, sock: socket.socket) -> None:
        self._hosts = hosts
        self.sock = sock
        self._received = b""
        self.is_closed = False

    def send(self, *messages: dict[str, Any]) -> None:
        self.sock.sendall(b"".join(json.dumps(message).encode() + b"*" for message in messages))

    def answer(self) -> dict[str, Any]:
        wait_until(lambda: self._step() or b"*" in self._received, "an answer")
        frame, _, self._received = self._received.partition(b"*")
        found: dict[str, Any] = json.loads(frame)
        return found

    def wait_for_the_end(self) -> None:
        wait_until(lambda: self._step() or self.is_closed, "the connection is closed")

    def _step(self) -> None:
        self._hosts.step()
        try:
            data = self.sock.recv(1 << 16)
        except BlockingIOError:
            return
        except ConnectionResetError:
            data = b""
        self._received += data
        self.is_closed = not data


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    with ExitStack() as clean_up:
        yield Hosts(tmp_path, clean_up)


def sent_by(hosts: Hosts, beginning: str) -> list[Delivered]:
    return [event for event in hosts.bus.sent if event.subject.startswith(beginning)]


def test_orders_are_answered_by_the_order_manager_of_another_host(hosts: Hosts) -> None:
    client = hosts.logged_on()
    client.send(*(an_order(number) for number in range(1, 101)))
    reports = [client.answer() for _ in range(100)]
    assert [report["order_id"] for report in reports] == list(range(1, 101))
    assert {report["status"] for report in reports} == {"FILLED"}
    assert {event.message.headers["Tw-Host"] for event in sent_by(hosts, "tw.reports")} == {
        "order-1"  # the other one says nothing
    }


def test_what_follows_a_logon_at_once_is_not_lost(hosts: Hosts) -> None:
    client = hosts.connect()
    client.send({"type": "logon", "client_id": "strategy"}, an_order(1), an_order(2))
    kinds = [client.answer().get("status", "logon_ack") for _ in range(3)]
    assert kinds == ["logon_ack", "FILLED", "FILLED"]


@pytest.mark.parametrize("lost", ["tw.orders", "tw.reports"])
def test_a_lost_message_ends_the_session_and_a_resent_order_is_booked_once(
    hosts: Hosts, lost: str
) -> None:
    client = hosts.logged_on()
    hosts.bus.passes = lambda event: not event.subject.startswith(lost) or not event.message.data
    client.send(an_order(1))
    client.wait_for_the_end()
    hosts.bus.passes = lambda _: True
    again = hosts.logged_on()
    again.send(an_order(1))
    assert again.answer()["status"] == "FILLED"
    again.send(an_order(2))
    assert again.answer()["position"] == 2 * an_order(1)["quantity"]


def test_a_message_that_comes_twice_is_taken_once(hosts: Hosts) -> None:
    def comes_twice(event: Delivered) -> bool:
        hosts.bus.arriving.append(event)
        return True

    hosts.bus.passes = comes_twice
    client = hosts.logged_on()
    for number in range(1, 21):
        client.send(an_order(number))
        assert client.answer()["order_id"] == number


def test_a_logon_is_repeated_until_an_order_manager_answers(hosts: Hosts) -> None:
    lost = []

    def passes(event: Delivered) -> bool:
        if event.subject.startswith("tw.orders") and len(lost) < 2:
            lost.append(event)
            return False
        return True

    hosts.bus.passes = passes
    hosts.logged_on()
    assert len(lost) == 2


def test_without_an_order_manager_a_client_is_told_so(
    hosts: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_clients, "OPEN_LIMIT_NS", SECOND_NS // 10)
    hosts.bus.passes = lambda _: False
    client = hosts.connect()
    client.send({"type": "logon", "client_id": "strategy"})
    assert client.answer() == {"type": "error", "reason": local_clients.NO_ANSWER}
    client.sock.shutdown(socket.SHUT_WR)
    client.wait_for_the_end()


def test_a_session_that_is_over_at_one_end_is_over_at_the_other(hosts: Hosts) -> None:
    client = hosts.logged_on()
    client.sock.close()
    wait_until(lambda: hosts.step() or not hosts.manager._connections, "the order manager knows")
    client = hosts.logged_on()
    for connection in list(hosts.manager._connections.values()):
        connection.close("its end")
    client.wait_for_the_end()


def test_the_late_logon_of_a_session_that_is_over_opens_none(hosts: Hosts) -> None:
    client = hosts.logged_on()
    logon = sent_by(hosts, "tw.orders")[0]
    client.sock.close()
    wait_until(lambda: hosts.step() or not hosts.manager._connections, "the order manager knows")
    hosts.bus.arriving.append(logon)
    hosts.step()
    hosts.step()
    assert not hosts.manager._connections


def test_an_order_host_that_does_not_know_a_session_ends_it(hosts: Hosts) -> None:
    client = hosts.logged_on()
    hosts.remotes[1]._remotes.clear()  # as after a restart
    client.send(an_order(1))
    client.wait_for_the_end()
    assert hosts.bus.sent[-1].message.headers[END] == GONE


def test_a_second_order_host_that_answers_is_not_heard(hosts: Hosts) -> None:
    """It was overtaken, and does not know it yet."""
    client = hosts.logged_on()
    answer = sent_by(hosts, "tw.reports")[0]
    headers = {**answer.message.headers, "Tw-Host": "order-2", NUMBER: "2"}
    hosts.bus.publish(answer.subject, headers, b"of another order manager*")
    client.send(an_order(1))
    assert client.answer()["status"] == "FILLED"


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (an_order(1), "an order needs a logon first, on this host"),
        ({"type": "logon"}, "client_id"),
    ],
)
def test_what_is_no_logon_is_answered_and_goes_nowhere(
    hosts: Hosts, message: dict[str, Any], reason: str
) -> None:
    client = hosts.connect()
    client.send(message)
    assert reason in client.answer()["reason"]
    assert not hosts.bus.sent


def test_a_client_that_reads_nothing_stops_the_order_manager_and_nobody_else(hosts: Hosts) -> None:
    slow, other = hosts.logged_on("slow"), hosts.logged_on("other")
    slow.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    orders = b"".join(json.dumps(an_order(n)).encode() + b"*" for n in range(1, 101))
    for _ in range(400):  # orders that are booked are answered again
        try:
            slow.sock.sendall(orders)
        except BlockingIOError:
            break
        hosts.step()
    other.send(an_order(1))
    assert other.answer()["status"] == "FILLED"


def test_the_token_of_the_host_is_asked_for_and_sent_nowhere(tmp_path: Path) -> None:
    with ExitStack() as clean_up:
        hosts = Hosts(tmp_path, clean_up, token="s3cret")
        client = hosts.connect()
        client.send({"type": "logon", "client_id": "strategy", "token": "other"})
        assert "token" in client.answer()["reason"]
        client = hosts.connect()
        client.send({"type": "logon", "client_id": "strategy", "token": "s3cret"})
        assert client.answer()["type"] == "logon_ack"
        assert not [event for event in hosts.bus.sent if b"s3cret" in event.message.data]


def forged(hosts: Hosts, *frames: dict[str, Any]) -> list[bytes]:
    """Return what the order host answers to frames on the subject of the client "mine"."""
    name = SessionName("mine", "strategy-9", "1")
    for number, frame in enumerate(frames, 1):
        data = json.dumps(frame).encode() + b"*"
        hosts.bus.publish(name.orders, {NUMBER: str(number)}, data)
        for _ in range(20):
            hosts.step()
    return [
        event.message.headers.get(END, "").encode() or event.message.data
        for event in hosts.bus.sent
        if event.subject == name.reports and event.message.headers["Tw-Host"] == "order-1"
    ]


def test_nobody_logs_on_as_the_client_of_another_host(hosts: Hosts) -> None:
    said = forged(hosts, {"type": "logon", "client_id": "theirs"})
    assert b"this connection is mine, not theirs" in said[0]
    assert not hosts.manager._connections or not hosts.manager._desk._sessions


def test_nobody_orders_as_another_client_or_without_a_logon(hosts: Hosts) -> None:
    said = forged(hosts, an_order(1))
    assert b"needs a logon first" in said[0]
    assert hosts.manager._ledger.last_order_id("anonymous-1") == 0


def test_an_order_is_the_clients_and_its_time_is_that_of_the_order_host() -> None:
    order = json.dumps({**an_order(7), "sent_ns": 1_000}).encode()
    seen = decode_from_client(admitted(order, "mine", 50).rstrip(b"*"))
    assert isinstance(seen, Order)
    assert (seen.client_id, seen.sent_ns, seen.order_id) == ("mine", 1_050, 7)
    assert seen.price == decode_from_client(order).price  # type: ignore[union-attr]
    seen = decode_from_client(admitted(order, "mine", -5_000).rstrip(b"*"))
    assert isinstance(seen, Order)
    assert seen.sent_ns == 1
    with pytest.raises(MessageError, match="this connection is mine, not other"):
        admitted(b'{"type":"logon","client_id":"other"}', "mine", 0)
    for verbatim in (b'{"type":"logon","client_id":"mine"}', b"noise"):
        assert admitted(verbatim, "mine", 50) == verbatim + b"*"


@pytest.mark.parametrize(("hours", "reason"), [(1, " s ahead"), (-1, "expired: ")])
def test_an_order_from_a_host_whose_clock_is_an_hour_off_is_not_filled(
    hosts: Hosts, hours: int, reason: str
) -> None:
    def is_of_another_clock(event: Delivered) -> bool:
        headers = event.message.headers
        if event.subject.startswith("tw.orders"):
            assert isinstance(headers, dict)
            for name in (WALL, CLOCK):
                headers[name] = str(int(headers[name]) + hours * 3600 * SECOND_NS)
        return True

    hosts.bus.passes = is_of_another_clock
    client = hosts.logged_on()
    with capture_logs() as logged:
        client.send({**an_order(1), "sent_ns": hosts.loop.clock()})
        assert reason in client.answer()["reason"]

        def differences() -> list[float]:
            hosts.step()
            return [line["ahead_s"] for line in logged if line["event"] == "clocks_differ"]

        (ahead_s,) = wait_until(differences, "the clocks are compared")
    assert ahead_s == pytest.approx(hours * 3600, abs=60)


@pytest.mark.parametrize("lost", ["tw.orders", "tw.reports"])
def test_a_strategy_sends_an_order_again_that_was_on_its_way(hosts: Hosts, lost: str) -> None:
    """By the client that the strategy has: whether the order or its answer was lost."""
    strategy = OrderClient("strategy")

    def connected() -> Client:
        client = hosts.connect()
        client.sock.sendall(strategy.connected(hosts.loop.clock()))
        take(client)
        client.sock.sendall(strategy.resend())
        return client

    def take(client: Client) -> None:
        frame = json.dumps(client.answer()).encode() + b"*"
        assert len(list(strategy.receive(frame, hosts.loop.clock()))) == 1

    client = connected()
    hosts.bus.passes = lambda event: not event.subject.startswith(lost) or not event.message.data
    order = make_order(
        order_id=1, symbol="AAPL", side="BUY", quantity=10, price=173 * PRICE_SCALE, position=0
    )
    client.sock.sendall(strategy.submit(order, hosts.loop.clock()))
    client.wait_for_the_end()
    assert hosts.manager._ledger.position("strategy", "AAPL") == (10 if lost == "tw.reports" else 0)
    hosts.bus.passes = lambda _: True
    take(connected())
    assert not strategy.unanswered
    assert hosts.manager._ledger.position("strategy", "AAPL") == 10


def test_all_that_a_client_may_send_at_once_may_wait_for_the_order_manager() -> None:
    """Each order gets its client_id on the way, which may be longer than the order."""
    shortest = b'{"type":"order","order_id":1,"symbol":"A","side":"BUY","quantity":1,"price":1}'
    growth = len(admitted(shortest, 64 * "x", 0)) / len(shortest + b"*")
    most_bytes = MAX_UNTAKEN_BYTES + local_clients.RECEIVE_BYTES  # the last message may go beyond
    assert most_bytes * growth < remote_clients.MAX_QUEUED_BYTES
