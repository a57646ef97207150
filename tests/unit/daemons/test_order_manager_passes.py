"""One pass of the order manager: what it takes, what it leaves for the next one, who makes room."""

from __future__ import annotations

import json
import secrets
import socket
import sqlite3
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import msgspec
import pytest

from daemons import order_manager
from daemons.order_manager import OrderManager
from lib.errors import CannotStartError
from lib.execution.risk import HALT_FILE
from lib.net.event_loop import EventLoop
from lib.settings import Settings
from lib.stack.private_stack import free_ports
from tests.clients import order as an_order
from tests.helpers import DEADLINE_S, wait_until
from tests.ledgers import write_ledger


def order(order_id: int) -> bytes:
    return json.dumps(an_order(order_id)).encode() + b"*"


class Manager:
    """An order manager in this process, and clients of it."""

    def __init__(self, var_dir: Path, clean_up: ExitStack) -> None:
        self._clean_up = clean_up
        (self.port,) = free_ports(1)
        replace = msgspec.structs.replace
        settings = replace(
            Settings(),
            symbols=("AAPL",),
            var_dir=var_dir,
            order_manager=replace(Settings().order_manager, port=self.port),
            price_book=replace(
                Settings().price_book, name=f"tw-test-passes-{secrets.token_hex(4)}"
            ),
        )
        self.loop = EventLoop()
        self.manager = OrderManager(settings, self.loop)
        clean_up.callback(self.manager.close)
        self.loop._longest_sleep_ns = 0  # a pass comes back at once, whatever there is

    def connect(self) -> socket.socket:
        return self._clean_up.enter_context(socket.create_connection(("127.0.0.1", self.port)))

    def connect_and_pass(self, count: int) -> list[socket.socket]:
        clients = []
        for number in range(count):
            clients.append(self.connect())
            while len(self.manager._connections) <= number:
                self.manager.step()
        return clients

    def pass_until_held(self, count: int = 1) -> None:
        """Pass until so many clients' orders have arrived and wait."""
        wait_until(
            lambda: self.manager.step() or len(self.manager._arrived) == count, "orders are held"
        )

    def answers(self, client: socket.socket, count: int) -> list[dict[str, object]]:
        """The next answers, while passes are made."""
        client.setblocking(False)
        received = b""
        give_up = time.monotonic() + DEADLINE_S
        while received.count(b"*") < count:
            assert time.monotonic() < give_up, received
            self.manager.step()
            try:
                data = client.recv(65536)
            except BlockingIOError:
                continue
            assert data, "disconnected"
            received += data
        return [json.loads(frame) for frame in received.split(b"*")[:count]]


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    with ExitStack() as clean_up:
        yield Manager(tmp_path, clean_up)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Let a pass take nothing of what has arrived, until this is undone."""
    with monkeypatch.context() as patch:
        patch.setattr(order_manager, "MAX_TAKING_NS", 0)
        yield patch


def test_a_pass_is_bounded_in_time_and_leaves_the_rest_for_the_next(
    manager: Manager, held: pytest.MonkeyPatch
) -> None:
    clients = manager.connect_and_pass(3)
    for number, client in enumerate(clients):
        client.sendall(order(number + 1))
    for _ in range(5):
        manager.manager.step()
    assert len(manager.manager._arrived) == 3
    for client in clients:
        client.sendall(order(10))
    for _ in range(5):  # nothing more is received
        manager.manager.step()
    assert [data.count(b"*") for _, data in manager.manager._arrived] == [1, 1, 1]
    held.undo()
    for number, client in enumerate(clients):
        answers = manager.answers(client, 2)
        assert [answer["order_id"] for answer in answers] == [number + 1, 10]


@pytest.mark.parametrize("is_held", [False, True], ids=["it comes with a newcomer", "it is held"])
def test_a_client_whose_order_is_still_to_be_taken_does_not_make_room(
    manager: Manager, held: pytest.MonkeyPatch, monkeypatch: pytest.MonkeyPatch, is_held: bool
) -> None:
    manager.manager._clients.max_clients = 2
    monkeypatch.setattr(order_manager, "HEARD_NS", 0)
    first, second = manager.connect_and_pass(2)
    first.sendall(order(1))
    if is_held:
        manager.pass_until_held()
    newcomer = manager.connect()
    for _ in range(5 if is_held else 0):
        manager.manager.step()
    held.undo()
    newcomer.sendall(order(1))
    for client in (first, newcomer):
        assert manager.answers(client, 1)[0]["status"] == "FILLED"
    second.settimeout(DEADLINE_S)
    assert second.recv(1) == b""


@pytest.mark.parametrize("what", ["a position", "a page"])
def test_a_ledger_that_is_not_what_it_was_ends_the_start_in_one_line(tmp_path: Path, what: str):
    path = write_ledger(tmp_path / "orders.sqlite")
    if what == "a page":
        path.write_bytes(path.read_bytes()[:4096] + b"\xff" * 8192)
        expected, cure = "damaged", "restore a backup, or recover what can be read"
    else:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("UPDATE positions SET position = 3 WHERE client_id = 'bob'")
            connection.commit()
        expected = "position of bob in MSFT: position is 3, the fills say 0"
        cure = "go on with what the fills say: `python -m lib.ledger --var-dir "
    with ExitStack() as clean_up, pytest.raises(CannotStartError) as refused:
        Manager(tmp_path, clean_up)
    reason = str(refused.value)
    assert reason.startswith(f"ledger {path}: {expected}")
    assert reason.endswith(f"look at it with `python -m lib.ledger --var-dir {tmp_path} --check`")
    assert cure in reason
    assert reason.isprintable()


def test_a_halt_takes_effect_on_what_a_pass_has_left(
    manager: Manager, held: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (client,) = manager.connect_and_pass(1)
    client.sendall(order(1))
    manager.pass_until_held()
    (tmp_path / HALT_FILE).touch()
    held.undo()
    assert manager.answers(client, 1)[0]["status"] == "REJECTED"


def test_a_client_that_ends_its_side_is_answered_though_its_orders_had_to_wait(
    manager: Manager, held: pytest.MonkeyPatch
) -> None:
    (client,) = manager.connect_and_pass(1)
    client.sendall(order(1))
    client.shutdown(socket.SHUT_WR)
    for _ in range(5):
        manager.manager.step()
    held.undo()
    assert manager.answers(client, 1)[0]["status"] == "FILLED"


def test_a_client_that_takes_long_has_its_turns_between_those_of_the_others(
    manager: Manager, held: pytest.MonkeyPatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(order_manager, "MAX_TURN_NS", 0)
    monkeypatch.setattr(order_manager, "SLICE_BYTES", 100)
    first, second = manager.connect_and_pass(2)
    first.sendall(b"*" * 1000)
    manager.pass_until_held()
    second.sendall(order(1))
    manager.pass_until_held(2)
    held.undo()
    taken: list[str] = []
    receive = manager.manager._desk.receive
    monkeypatch.setattr(
        manager.manager._desk,
        "receive",
        lambda session, data, receipt: (
            taken.append(session.peer) or receive(session, data, receipt)
        ),
    )
    assert manager.answers(second, 1)[0]["status"] == "FILLED"
    names = ["{}:{}".format(*client.getsockname()) for client in (first, second)]
    assert taken[:3] == [*names, names[0]]
    assert len(manager.answers(first, 1000)) == 1000


def test_what_a_pass_has_left_is_not_slept_over(
    manager: Manager, held: pytest.MonkeyPatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    (client,) = manager.connect_and_pass(1)
    client.sendall(order(1))
    slept: list[bool] = []
    poll = manager.loop.poll
    monkeypatch.setattr(
        manager.loop, "poll", lambda may_sleep: slept.append(may_sleep) or poll(may_sleep=may_sleep)
    )
    manager.pass_until_held()
    manager.manager.step()
    assert (slept[0], slept[-1]) == (True, False)


def test_a_client_that_half_closes_before_its_order_is_committed_gets_its_answer(
    manager: Manager,
) -> None:
    (client,) = manager.connect_and_pass(1)
    client.sendall(order(1))
    wait_until(lambda: manager.loop.poll() or manager.manager.has_input, "the order has arrived")
    manager.manager.decide(order_manager.MAX_COMMIT_BYTES)
    client.shutdown(socket.SHUT_WR)
    (connection,) = manager.manager._connections.values()
    wait_until(lambda: manager.loop.poll() or connection.half_closed, "it has half-closed")
    manager.manager.commit()
    assert json.loads(client.recv(65536)[:-1])["status"] == "FILLED"
    assert client.recv(1) == b""
