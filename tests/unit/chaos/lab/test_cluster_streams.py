"""The streams of a cluster are judged on, whatever piece of them was heard."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, Self

import pytest

pytest.importorskip("nats", reason="requirements-cluster.txt is not installed")

from chaos.lab import cluster_streams
from chaos.lab.cluster_streams import STREAMS, ClusterStreams, StreamTap
from lib.cluster.broker import EPOCH, Message, Replied
from lib.cluster.ledger_check import StreamReader
from lib.cluster.streams import LEDGER, PRICE, TAPE
from lib.settings import ClusterSettings

SETTINGS = ClusterSettings(servers=("nats://127.0.0.1:1",), host="order-1")


def tick(sequence: int, number: int) -> Message:
    data = b"BATCH,%d,1,7*AAPL,1*" % number
    return Message(sequence, {EPOCH: "1", TAPE: "T"}, data)


class Tap(StreamTap):
    """Has heard what a test says."""

    def __init__(self, _: ClusterSettings) -> None:
        self._heard = {stream: {} for stream in STREAMS}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class Streams(ClusterStreams):
    """Without brokers: `kept` is what they have."""

    def __init__(self) -> None:
        super().__init__(SETTINGS)
        self.kept: dict[str, list[Message]] = {}
        self.clusters: dict[str, Any] = {}
        self._broker = SimpleNamespace(request=lambda *_: 1)  # type: ignore[assignment]

    def append(self, message: Message, *, is_heard: bool) -> None:
        self.kept.setdefault(PRICE, []).append(message)
        if is_heard:
            self._tap._heard[PRICE][message.sequence] = message

    def last(self, stream: str = LEDGER) -> int:
        return max((one.sequence for one in self.kept.get(stream, ())), default=0)

    def read(self, first: int, last: int, stream: str = LEDGER) -> Iterator[list[Message]]:
        found = [one for one in self.kept.get(stream, ()) if one.sequence >= first]
        if found:
            yield [one for one in found if one.sequence <= max(last, found[0].sequence)]

    def _ask(self, _ask: Any) -> Any:
        return Replied(1, {"cluster": self.clusters})


@pytest.fixture
def streams(monkeypatch: pytest.MonkeyPatch) -> Streams:
    monkeypatch.setattr(StreamReader, "__init__", lambda _, __: None)
    monkeypatch.setattr(cluster_streams, "StreamTap", Tap)
    return Streams()


def test_ticks_are_judged_from_the_first_that_was_heard_on_without_a_gap(streams: Streams) -> None:
    streams.append(tick(1, 1), is_heard=False)
    streams.append(tick(2, 2), is_heard=True)
    streams.judge_on()
    for sequence, is_heard in ((3, False), (4, True), (5, False)):
        streams.append(tick(sequence, sequence), is_heard=is_heard)
    streams.judge_on()
    assert streams.all_findings() == []
    streams.append(tick(6, 7), is_heard=True)
    streams.judge_on()
    assert streams.all_findings() == [f"{PRICE}: message 6 has 7 of T behind 5"]


def test_messages_that_are_gone_or_were_taken_back_are_found(streams: Streams) -> None:
    streams.append(tick(1, 1), is_heard=True)
    streams.judge_on()
    streams.append(tick(4, 2), is_heard=False)
    streams.judge_on()
    assert streams.findings == [f"{PRICE}: messages 2 to 3 were gone unread"]
    streams.kept[PRICE] = [tick(1, 3)]
    streams.judge_on()
    assert streams.findings[1:] == [f"{PRICE}: message 4 was there, and is no longer"]


@pytest.mark.parametrize(
    ("cluster", "trouble"),
    [
        ({"leader": "a", "replicas": [{"name": "b", "current": True}]}, ""),
        ({"replicas": []}, "TW_PRICE has no leader"),
        (
            {"leader": "a", "replicas": [{"name": "b", "current": False}]},
            "broker b has not caught up with TW_PRICE",
        ),
        (
            {"leader": "a", "replicas": [{"name": "b", "current": True, "offline": True}]},
            "broker b has not caught up with TW_PRICE",
        ),
    ],
)
def test_brokers_are_steady_when_each_stream_has_a_leader_and_all_its_replicas(
    streams: Streams, cluster: dict[str, Any], trouble: str
) -> None:
    streams.clusters = cluster
    assert streams.why_not_steady() == trouble
