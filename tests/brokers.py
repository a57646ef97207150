"""Real brokers, and a daemon's view of them, for tests."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("nats", reason="requirements-cluster.txt is not installed")

from chaos.faults.connection_faults import Blackhole, Clear
from chaos.faults.proxy import Proxy
from lib.cluster.broker import Connected, Delivered, Event
from lib.cluster.broker_check import BrokerCheck
from lib.cluster.credentials import connect_options
from lib.cluster.nats_broker import NatsBroker
from lib.net.event_loop import EventLoop
from lib.settings import ClusterSettings
from lib.stack.brokers import Brokers

ANSWER_S = 30.0
"""How long a test waits for brokers, which may have to elect a leader first."""


@pytest.fixture(scope="module")
def brokers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Brokers]:
    """Three brokers for the tests of a file."""
    with Brokers(tmp_path_factory.mktemp("brokers")) as brokers:
        brokers.start()
        yield brokers


def cluster_settings(
    brokers: Brokers, user: str | None, host: str = "host-1", **further: Any
) -> ClusterSettings:
    credentials = brokers.credentials(user) if user else None
    return ClusterSettings(servers=brokers.urls, host=host, credentials=credentials, **further)


def check(client: BrokerClient, *streams: str, makes: bool, name: str = "host-1 test 1") -> None:
    """Check the brokers, for as long as it takes. Raises CannotStartError."""
    client.wait_for(lambda event: isinstance(event, Connected))
    checking = BrokerCheck(client.broker, name, streams, makes=makes, trial=False)
    taken = 0
    deadline_s = time.monotonic() + ANSWER_S
    while not checking.is_over:
        assert time.monotonic() < deadline_s, checking.waits_for
        checking.look(client.loop.clock())
        client.loop.poll()
        for event in client.events[taken:]:
            checking.take(event, client.loop.clock())
        taken = len(client.events)


class BrokerClient:
    """One daemon's connection to the brokers, and all that it was told."""

    def __init__(self, settings: ClusterSettings, **options: Any) -> None:
        self.loop = EventLoop()
        self.events: list[Event] = []
        self.broker = NatsBroker(
            self.loop, {**connect_options(settings), **options}, self.events.append
        )

    def wait_for(self, is_it: Callable[[Event], object]) -> Event:
        """Return the first event that is it; one that has come counts."""
        deadline_s = time.monotonic() + ANSWER_S
        while True:
            for event in self.events:
                if is_it(event):
                    return event
            assert time.monotonic() < deadline_s, self.events
            self.loop.poll()

    def answer(self, question: int) -> Event:
        return self.wait_for(lambda event: getattr(event, "question", None) == question)

    def ask(self, subject: str, content: Mapping[str, Any]) -> Event:
        return self.answer(self.broker.request(subject, content))

    def delivered(self) -> list[Delivered]:
        return [event for event in self.events if isinstance(event, Delivered)]

    def __enter__(self) -> BrokerClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.broker.close()


@contextmanager
def brokers_behind_links(directory: Path) -> Iterator[Brokers]:
    """Three brokers, which are reached by links only."""
    with Brokers(directory) as brokers:
        hide_addresses(brokers)
        brokers.start()
        yield brokers


def hide_addresses(brokers: Brokers) -> None:
    """Let no broker tell a client where the others are: it would pass by its link."""
    for path in brokers.directory.glob("*/nats.conf"):
        text = path.read_text()
        assert "\ncluster {\n" in text
        path.write_text(text.replace("\ncluster {\n", "\ncluster {\n  no_advertise: true\n"))


class Link:
    """A host's way to the brokers, which a test can cut."""

    def __init__(self, brokers: Brokers) -> None:
        ports = [int(url.rpartition(":")[2]) for url in brokers.urls]
        self._proxies = [Proxy(("127.0.0.1", port)) for port in ports]
        self.servers = [f"nats://127.0.0.1:{proxy.port}" for proxy in self._proxies]

    @contextmanager
    def cut(self) -> Iterator[None]:
        """A time in which no byte passes; what is sent arrives afterwards, if its end still is."""
        for proxy in self._proxies:
            proxy.fault = Blackhole()
        try:
            yield
        finally:
            for proxy in self._proxies:
                proxy.fault = Clear()

    def __enter__(self) -> Link:
        return self

    def __exit__(self, *_: object) -> None:
        for proxy in self._proxies:
            proxy.close()
