"""What becomes of a connection to a broker, with one that a test plays."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest
from structlog.testing import capture_logs

pytest.importorskip("nats", reason="requirements-cluster.txt is not installed")

from lib.clock import SECOND_NS
from lib.cluster import nats_broker
from lib.cluster.broker import Connected, Disconnected, Failed
from lib.cluster.connection import connect
from lib.cluster.nats_broker import MAX_EVENTS, MAX_QUESTIONS
from lib.net.event_loop import EventLoop
from lib.settings import ClusterSettings
from lib.stack.private_stack import free_ports
from tests.brokers import BrokerClient
from tests.helpers import wait_until

INFO = b'INFO {"server_id":"x","version":"2.11.0","proto":1,"headers":true,"max_payload":65536}\r\n'


class PlayedBroker:
    """Lets clients in, one after the other, and notes what the present one says."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"nats://127.0.0.1:{self._listening.getsockname()[1]}"
        self.is_open = True
        self.said: list[bytes] = []
        self._client: socket.socket | None = None
        threading.Thread(target=self._serve, daemon=True).start()

    def say(self, line: bytes) -> None:
        assert self._client
        self._client.sendall(line + b"\r\n")

    def shut(self) -> None:
        """Disconnect the client, and let it in no more until `is_open`."""
        self.is_open = False
        assert self._client
        self._client.shutdown(socket.SHUT_RDWR)

    def subscribed(self, subject: bytes) -> list[bytes]:
        """The numbers of the subscriptions to a subject."""
        words = [line.split() for line in self.said]
        ended = [line[1] for line in words if line[:1] == [b"UNSUB"]]
        made = [line[-1] for line in words if line[:2] == [b"SUB", subject]]
        return [number for number in made if number not in ended]

    def end(self) -> None:
        self.is_open = False
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                with client, suppress(OSError):
                    if self.is_open:
                        self._client, self.said = client, []
                        self._talk(client)

    def _talk(self, client: socket.socket) -> None:
        client.sendall(INFO)
        rest = b""
        while data := client.recv(65536):
            *lines, rest = (rest + data).split(b"\r\n")
            for line in lines:
                self.said.append(line)
                if line == b"PING":
                    client.sendall(b"PONG\r\n")


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> Iterator[PlayedBroker]:
    monkeypatch.setattr(nats_broker, "RECONNECT_WAIT_S", 0.05)
    broker = PlayedBroker()
    yield broker
    broker.end()


@pytest.fixture
def client(played: PlayedBroker) -> Iterator[BrokerClient]:
    with BrokerClient(ClusterSettings(servers=(played.url,), host="a")) as client:
        client.wait_for(lambda event: isinstance(event, Connected))
        yield client


def wait_for_next(client: BrokerClient, kind: type[Connected | Disconnected]) -> None:
    """Wait for an event of this kind behind those that have come."""
    client.events.clear()
    client.wait_for(lambda event: isinstance(event, kind))


def let_the_thread_work(client: BrokerClient) -> None:
    """Return when all that was asked of the library has been done."""
    done = asyncio.run_coroutine_threadsafe(asyncio.sleep(0), client.broker._asyncio)
    done.result(timeout=30)


def test_what_is_asked_without_a_connection_is_not_made_up_for_later(
    played: PlayedBroker, client: BrokerClient
) -> None:
    client.broker.follow("live")
    played.shut()
    client.wait_for(lambda event: isinstance(event, Disconnected))
    for _ in range(20):  # a role follows anew every few seconds of silence
        client.broker.follow("live")
        client.broker.publish("words", {}, b"old")
    let_the_thread_work(client)
    played.is_open = True
    wait_for_next(client, Connected)
    client.broker.follow("live")
    client.broker.publish("words", {}, b"new")
    wait_until(lambda: client.loop.poll() or b"new" in played.said, "it is sent")
    assert b"old" not in played.said
    assert len(played.subscribed(b"live")) == 1


@pytest.mark.parametrize("error", [b"maximum connections exceeded", b"Authorization Violation"])
def test_a_connection_that_the_library_gives_up_is_made_anew(
    played: PlayedBroker, client: BrokerClient, error: bytes
) -> None:
    client.broker.follow("live")
    let_the_thread_work(client)
    played.say(b"-ERR '%b'" % error)
    wait_for_next(client, Connected)
    client.broker.follow("live")
    client.broker.publish("words", {}, b"new")
    wait_until(lambda: client.loop.poll() or b"new" in played.said, "it is sent")
    assert len(played.subscribed(b"live")) == 1


def test_one_question_too_many_fails_at_once(client: BrokerClient) -> None:
    questions = [client.broker.look("TW_TEST") for _ in range(MAX_QUESTIONS + 1)]
    failed = client.wait_for(lambda event: isinstance(event, Failed))
    assert failed == Failed(questions[-1], "too many questions wait for an answer")


def test_what_a_busy_role_is_told_is_bounded(client: BrokerClient) -> None:
    for _ in range(2 * MAX_EVENTS):
        client.broker._put(Disconnected("slow consumer"))
    assert len(client.broker._events) <= MAX_EVENTS
    client.events.clear()
    client.broker._put(Connected("a"))
    client.wait_for(lambda event: isinstance(event, Connected))  # that is never left out


class Stop:
    """Stops a loop after a while."""

    def __init__(self, loop: EventLoop, after_ns: int) -> None:
        self._loop, self._end_ns = loop, loop.clock() + after_ns
        loop.add_timed(self)

    def next_deadline_ns(self) -> int:
        return self._end_ns

    def on_time(self, _now_ns: int) -> None:
        self._loop.stop()


def test_each_reason_of_an_outage_is_logged_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nats_broker, "RECONNECT_WAIT_S", 0.01)  # so some fifty attempts
    loop = EventLoop()
    servers = tuple(f"nats://127.0.0.1:{port}" for port in free_ports(3))
    Stop(loop, SECOND_NS)
    with capture_logs() as logged:
        connect(loop, ClusterSettings(servers=servers, host="a"), "uplink", print).close()
    reasons = [line["reason"] for line in logged if line["event"] == "broker_lost"]
    assert len(reasons) == len(set(reasons)) >= 3
