"""Real brokers, and a daemon's view of them, for tests."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

pytest.importorskip("nats", reason="requirements-cluster.txt is not installed")

from lib.cluster.broker import Delivered, Event
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
