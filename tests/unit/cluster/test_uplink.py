"""One stream of a market host: who writes it, and how a writer learns that it does so no longer."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from structlog.testing import capture_logs

from lib.clock import SECOND_NS
from lib.cluster.broker import EPOCH, HOST, Delivered, Message
from lib.cluster.stream_follower import SILENCE_NS
from lib.cluster.streams import PRICE, live_subject
from lib.cluster.uplink import Uplink
from lib.cluster.writer_watch import LOOK_NS
from lib.net.event_loop import EventLoop
from lib.process.role import RoleEndsError
from lib.settings import ClusterSettings
from tests.cluster_broker import Faults, ModelBroker, ModelBrokers


class FollowingBroker(ModelBroker):
    """The brokers, which count the subscriptions."""

    follows = 0

    def follow(self, _subject: str) -> None:
        self.follows += 1


class MarketHost:
    """A market host without a gateway, by a clock that the test sets."""

    def __init__(self, brokers: ModelBrokers, name: str) -> None:
        self.now_ns = SECOND_NS
        self.broker = FollowingBroker(brokers)
        loop = EventLoop()
        loop.clock = lambda: self.now_ns
        cluster = ClusterSettings(servers=("nats://a",), host=name)
        self.uplink = Uplink(
            loop,
            self.broker,
            PRICE,
            cluster,
            f"{name}-1",
            host="127.0.0.1",
            port=1,
            contents=lambda: "",
        )
        self.uplink.connected()

    def wait(self, duration_ns: int) -> None:
        end_ns = self.now_ns + duration_ns
        while self.now_ns < end_ns:
            self.now_ns += LOOK_NS // 2
            answers, self.broker.answers = self.broker.answers, []
            for answer in answers:
                self.uplink.take(answer)
            self.uplink.look()

    def hear(self, headers: Mapping[str, str]) -> None:
        self.uplink.take(Delivered(live_subject(PRICE), Message(0, headers, b"BATCH,1,0,1*")))


@pytest.fixture
def writer() -> MarketHost:
    """A host that has claimed the stream, and has nothing to publish."""
    host = MarketHost(ModelBrokers(0, Faults()), "a")
    with capture_logs() as logged:
        host.wait(SECOND_NS)
    assert host.uplink.is_writer
    assert [line["event"] for line in logged] == ["stream_claimed"]
    return host


def test_a_writer_without_ticks_ends_at_the_word_of_its_successor(writer: MarketHost) -> None:
    writer.hear({EPOCH: "1", HOST: "a"})  # its own
    writer.wait(LOOK_NS)
    writer.hear({EPOCH: "2", HOST: "b"})
    with pytest.raises(RoleEndsError, match="StreamOvertaken"):
        writer.wait(LOOK_NS)


def test_a_standby_does_not_end_when_another_host_takes_over() -> None:
    brokers = ModelBrokers(0, Faults())
    brokers.stream(PRICE).append({EPOCH: "4", HOST: "a"}, b"", 0)
    standby = MarketHost(brokers, "b")
    for epoch in "456":
        standby.hear({EPOCH: epoch, HOST: "a"})
        standby.wait(SECOND_NS)
    assert not standby.uplink.is_writer


def test_a_writer_that_hears_nothing_follows_anew(writer: MarketHost) -> None:
    follows = writer.broker.follows
    writer.wait(SILENCE_NS // 2)
    assert writer.broker.follows == follows
    writer.wait(SILENCE_NS)
    assert writer.broker.follows == follows + 1
