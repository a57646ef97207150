"""The orderbook and the files of its price book: what vanishes ends it, and a successor goes on."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import msgspec
import pytest
from structlog.testing import capture_logs

from daemons import orderbook
from daemons.orderbook import OrderBook
from lib.clock import SECOND_NS
from lib.net.event_loop import EventLoop
from lib.price_book.segment_files import SHM_DIR, retire
from lib.process.log_events import PriceBookLost
from lib.process.role import RoleEndsError
from lib.process.run_identity import Run, current_run
from lib.settings import Settings
from lib.shared_memory_utils import SharedPriceBook, remove_segments
from lib.stack.private_stack import free_ports
from tests.helpers import wait_until

SYMBOLS = ("AAPL", "MSFT")
LOOKS = 20
"""In so many passes a role that waits for no strategy has joined the stream."""


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    monkeypatch.setattr(orderbook, "clean_up_when_run_ends", lambda *_: None)
    replace, defaults = msgspec.structs.replace, Settings()
    name = f"test-orderbook-{os.getpid()}-{secrets.token_hex(4)}"
    yield replace(
        defaults,
        symbols=SYMBOLS,
        gateway=replace(defaults.gateway, price_port=free_ports(1)[0]),
        price_book=replace(defaults.price_book, name=name, ring_capacity=64),
    )
    remove_segments(name)


def end_of(role: OrderBook) -> PriceBookLost:
    """The event with which it ends."""
    said = []

    def has_ended() -> bool:
        try:
            role.step()
        except RoleEndsError as error:
            said.append(error.event)
        return bool(said)

    wait_until(has_ended, "the orderbook ends")
    return said[0]


def start(settings: Settings, clean_up: ExitStack) -> OrderBook:
    role = OrderBook(settings, EventLoop())
    clean_up.callback(role.close)
    return role


def test_a_segment_that_was_removed_ends_it_and_moves_the_readers_on(settings: Settings) -> None:
    name = settings.price_book.name
    with ExitStack() as clean_up:
        role = start(settings, clean_up)
        reader = clean_up.enter_context(SharedPriceBook.attach(name)).reader()
        role.step()
        assert not reader.retired
        (SHM_DIR / name).unlink()
        lost = end_of(role)
        assert lost.price_book == name
        assert f"{SHM_DIR / name} was removed" in lost.reason
        assert reader.retired
    with ExitStack() as clean_up:
        start(settings, clean_up).step()
        assert not clean_up.enter_context(SharedPriceBook.attach(name)).retired


def test_a_segment_that_was_retired_by_a_process_that_died_then_ends_it(settings: Settings) -> None:
    name = settings.price_book.name
    with ExitStack() as clean_up:
        role = start(settings, clean_up)
        role.step()
        retire(name)
        assert f"{name} is retired" in end_of(role).reason
    with ExitStack() as clean_up:
        start(settings, clean_up).step()
        assert not clean_up.enter_context(SharedPriceBook.attach(name)).retired


def test_a_segment_that_was_retired_before_a_tape_begins_ends_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orderbook, "FILES_LOOK_NS", 3600 * SECOND_NS)  # no look comes first
    with ExitStack() as clean_up:
        server = clean_up.enter_context(
            socket.create_server(("127.0.0.1", settings.gateway.price_port))
        )
        role = start(settings, clean_up)
        role.step()
        retire(settings.price_book.name)
        client, _ = server.accept()
        with client:
            client.sendall(b"HELLO,1,tape,1*")
            assert "has been replaced or removed" in end_of(role).reason


def test_a_lock_that_was_removed_ends_it_and_the_segment_stays(settings: Settings) -> None:
    name = settings.price_book.name
    with ExitStack() as clean_up:
        role = start(settings, clean_up)
        reader = clean_up.enter_context(SharedPriceBook.attach(name)).reader()
        role.step()
        (SHM_DIR / f"{name}.lock").unlink()
        assert f"{name}.lock was removed" in end_of(role).reason
        assert not reader.retired


class TestFirstTick:
    """A tape from a file: the gateway is a socket of the test."""

    @pytest.fixture
    def from_file(self, settings: Settings) -> Settings:
        replace = msgspec.structs.replace
        gateway = replace(settings.gateway, source="file")
        two = {"second": replace(settings.strategy, client_id="second")}
        return replace(settings, gateway=gateway, strategies=two)

    @pytest.fixture
    def server(self, settings: Settings) -> Iterator[socket.socket]:
        with socket.create_server(("127.0.0.1", settings.gateway.price_port)) as server:
            server.setblocking(False)
            yield server

    @pytest.fixture
    def clean_up(self) -> Iterator[ExitStack]:
        with ExitStack() as clean_up:
            yield clean_up

    @staticmethod
    def has_joined(role: OrderBook, server: socket.socket) -> bool:
        role.step()
        try:
            server.accept()[0].close()
        except BlockingIOError:
            return False
        return True

    @staticmethod
    def attach(settings: Settings, clean_up: ExitStack) -> None:
        book = clean_up.enter_context(
            SharedPriceBook.attach(settings.price_book.name, as_role=True)
        )
        assert clean_up.enter_context(book.reader()).arm()

    def test_waits_for_all_strategies_of_the_settings(
        self, from_file: Settings, server: socket.socket, clean_up: ExitStack
    ) -> None:
        role = start(from_file, clean_up)
        self.attach(from_file, clean_up)
        assert not any(self.has_joined(role, server) for _ in range(LOOKS))
        self.attach(from_file, clean_up)
        wait_until(lambda: self.has_joined(role, server), "it joins the stream")

    def test_waits_for_no_strategy_that_supervisord_does_not_start(
        self,
        from_file: Settings,
        server: socket.socket,
        clean_up: ExitStack,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        command = {"strategy": '"/project/etc/run-role" strategy'}
        monkeypatch.setattr(orderbook.Supervisor, "commands", lambda _: command)
        monkeypatch.setenv(orderbook.SERVER_VARIABLE, "unix:///var/supervisor.sock")
        with capture_logs() as logs:
            role = start(from_file, clean_up)
            assert not any(self.has_joined(role, server) for _ in range(20))
            self.attach(from_file, clean_up)
            wait_until(lambda: self.has_joined(role, server), "it joins the stream")
        assert logs == []

    def test_waits_for_all_if_supervisord_does_not_answer(
        self,
        from_file: Settings,
        server: socket.socket,
        clean_up: ExitStack,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv(orderbook.SERVER_VARIABLE, "unix:///nonexistent/supervisor.sock")
        role = start(from_file, clean_up)
        self.attach(from_file, clean_up)
        assert not any(self.has_joined(role, server) for _ in range(20))

    def test_waits_no_longer_than_it_says(
        self,
        from_file: Settings,
        server: socket.socket,
        clean_up: ExitStack,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(orderbook, "ATTACHED_LIMIT_NS", 0)
        with capture_logs() as logs:
            role = start(from_file, clean_up)
            self.attach(from_file, clean_up)
            wait_until(lambda: self.has_joined(role, server), "it joins the stream")
        [said] = [log for log in logs if log["event"] == "first_tick_not_awaited"]
        assert said["reason"].startswith("1 of 2 strategies are attached after")

    def test_a_successor_in_the_run_joins_at_once(
        self, from_file: Settings, server: socket.socket, clean_up: ExitStack
    ) -> None:
        name = from_file.price_book.name
        with SharedPriceBook(SYMBOLS, name, ring_capacity=64, run=current_run()) as book:
            book.begin_epoch("tape")
        role = start(from_file, clean_up)
        assert any(self.has_joined(role, server) for _ in range(LOOKS))

    def test_a_book_that_another_run_has_left_is_as_good_as_new(
        self, from_file: Settings, server: socket.socket, clean_up: ExitStack
    ) -> None:
        name = from_file.price_book.name
        with SharedPriceBook(SYMBOLS, name, ring_capacity=64, run=Run(1, 1)) as book:
            book.begin_epoch("tape")
        role = start(from_file, clean_up)
        assert not any(self.has_joined(role, server) for _ in range(LOOKS))

    def test_no_other_tape_waits(
        self, settings: Settings, server: socket.socket, clean_up: ExitStack
    ) -> None:
        role = start(settings, clean_up)
        assert any(self.has_joined(role, server) for _ in range(LOOKS))


def test_without_a_rate_it_takes_no_more_than_its_strategies(settings: Settings) -> None:
    replace = msgspec.structs.replace
    unpaced = replace(settings, gateway=replace(settings.gateway, rate=0.0))
    frames = b"".join(b"MSFT,%d*" % price for price in range(1, 1001))
    seen: list[int] = []
    with ExitStack() as clean_up:
        server = clean_up.enter_context(
            socket.create_server(("127.0.0.1", settings.gateway.price_port))
        )
        role = start(unpaced, clean_up)
        book = clean_up.enter_context(
            SharedPriceBook.attach(settings.price_book.name, as_role=True)
        )
        reader = clean_up.enter_context(book.reader())
        assert reader.arm()
        role.step()
        client = clean_up.enter_context(server.accept()[0])
        client.sendall(b"HELLO,1,tape,1*BATCH,1,1000,1*" + frames)

        def has_read_all() -> bool:
            for _ in range(5):
                role.step()
            reader.arm()
            batch = reader.read(7)
            assert not batch.missed
            seen.extend(batch.ticks["sequence"].tolist())
            return len(seen) == 1000

        wait_until(has_read_all, "a slow strategy has read all")
    assert seen == list(range(1, 1001))
