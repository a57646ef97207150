"""One pass of the gateway: whose turn comes in it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from daemons import gateway as gateway_module
from daemons.gateway import JOIN_LIMIT_NS, Gateway
from lib.net.event_loop import EventLoop
from lib.process.run_identity import Run
from lib.settings import Settings
from lib.stack.private_stack import free_ports
from lib.streams import server as server_module
from lib.streams.server import StreamServer
from lib.streams.subscriber import MAX_BATCH_FRAMES
from lib.tapes.recipe import recipes
from lib.tapes.store import TapeStore
from tests.helpers import wait_until
from tests.tapes import write_ticks


def cursor(server: StreamServer) -> int | None:
    """Return the number of the next frame for the server's only client."""
    return next((client.next_sequence for client in server._connections), None)


def test_a_lagging_client_of_either_stream_has_its_turn_in_a_pass(tmp_path: Path) -> None:
    replace = msgspec.structs.replace
    price_port, news_port = free_ports(2)
    slow = replace(
        Settings().gateway, price_port=price_port, news_port=news_port, rate=1e-3, news_interval=1e3
    )
    loop = EventLoop()
    gateway = Gateway(replace(Settings(), var_dir=tmp_path, gateway=slow), loop)
    loop._longest_sleep_ns = 0  # a pass comes back at once

    def is_at(server: StreamServer, sequence: int) -> bool:
        gateway.step()
        return cursor(server) == sequence

    for port, server in ((price_port, gateway._prices), (news_port, gateway._news)):
        with socket.create_connection(("127.0.0.1", port)):
            first = server.publication.stream.next_sequence
            wait_until(lambda s=server, f=first: is_at(s, f), "the client is accepted")
            server.publish(3 * MAX_BATCH_FRAMES)
            end = first + 3 * MAX_BATCH_FRAMES
            wait_until(lambda s=server, e=end: is_at(s, e), "the client has every frame")
            assert server.publication.stream.next_sequence == end
    gateway.close()


class TestTapeFromFile:
    """Its first tick waits for the orderbook of the run; the clients here are this process."""

    @pytest.fixture
    def settings(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
        monkeypatch.setattr(gateway_module, "is_supervised", lambda: True)
        monkeypatch.setattr(gateway_module, "current_run", lambda: Run(1, 2))
        tape = tmp_path / "tape.csv"
        tape.write_text("price\n" + "1.5\n" * 20)
        replace = msgspec.structs.replace
        price_port, news_port = free_ports(2)
        from_file = replace(
            Settings().gateway,
            price_port=price_port,
            news_port=news_port,
            source="file",
            path=tape,
            symbol="AAPL",
            rate=0.0,
        )
        settings = replace(Settings(), var_dir=tmp_path, gateway=from_file)
        ticks, _ = recipes(settings)
        assert ticks
        prices = [150_000_000] * 20
        TapeStore(tmp_path).prepare(ticks, lambda path: write_ticks(path, prices), Run(1, 2))
        return settings

    @pytest.fixture
    def events(self) -> Iterator[list[MutableMapping[str, Any]]]:
        with capture_logs() as logs:
            yield logs

    @pytest.fixture
    def gateway(self, settings: Settings) -> Iterator[Gateway]:
        gateway = Gateway(settings, EventLoop())
        gateway._loop._longest_sleep_ns = 0
        yield gateway
        gateway.close()

    def joined(self, gateway: Gateway, settings: Settings) -> socket.socket:
        """Return a numbered client whose HELLO the gateway has answered."""
        client = socket.create_connection(("127.0.0.1", settings.gateway.price_port))
        client.sendall(b"HELLO,1,1*")

        def has_answered() -> bool:
            gateway.step()
            return any(one.numbered for one in gateway._prices._connections)

        wait_until(has_answered, "the client has joined")
        for _ in range(10):
            gateway.step()
        return client

    def test_begins_when_a_role_of_the_run_has_joined_and_not_for_others(
        self,
        gateway: Gateway,
        settings: Settings,
        events: list[MutableMapping[str, Any]],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        stream = gateway._prices.publication.stream
        with self.joined(gateway, settings):
            assert stream.next_sequence == 1
            assert [e for e in events if e["event"] == "schedule_started"] == []
            monkeypatch.setattr(server_module, "siblings", lambda: [os.getpid()])
            # The peer is in this process, which may have many files open.
            monkeypatch.setattr("lib.net.peer_process.MAX_DESCRIPTORS", 10_000)
            gateway.step()
            assert stream.next_sequence == 21
        names = [event["event"] for event in events]
        assert names.count("schedule_started") == 1
        assert "first_tick_not_awaited" not in names

    def test_begins_without_an_orderbook_after_a_while_and_says_so(
        self,
        gateway: Gateway,
        settings: Settings,
        events: list[MutableMapping[str, Any]],
    ) -> None:
        assert gateway._play_by_ns
        gateway._play_by_ns -= JOIN_LIMIT_NS
        with self.joined(gateway, settings):
            assert gateway._prices.publication.stream.next_sequence == 21
        [said] = [e for e in events if e["event"] == "first_tick_not_awaited"]
        assert "no orderbook of this run has joined the price stream for 15 s" in said["reason"]

    def test_goes_on_at_once_after_a_restart(self, gateway: Gateway, settings: Settings) -> None:
        gateway._prices.publish(7)
        price_port, news_port = free_ports(2)
        ports = {"price_port": price_port, "news_port": news_port}
        replace = msgspec.structs.replace
        again = replace(settings, gateway=replace(settings.gateway, **ports))
        successor = Gateway(again, EventLoop())
        assert successor._prices.publication.stream.next_sequence == 8
        assert successor._play_by_ns is None
        successor.close()
