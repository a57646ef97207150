"""A host that is cut off from the brokers: no byte passes either way, and no connection ends."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("nats", reason="requirements-cluster.txt is not installed")

from lib.cluster import order_host
from lib.cluster.broker import (
    EPOCH,
    HOST,
    MAX_MESSAGES_READ,
    Appended,
    Connected,
    Looked,
    Message,
    Read,
)
from lib.cluster.publisher import headers_of
from lib.cluster.streams import (
    CLOCK,
    LAST,
    NEWS,
    PRICE,
    TAPE,
    TapePosition,
    live_subject,
    split_batch,
)
from lib.settings import GatewaySettings, Settings
from lib.stack.brokers import Brokers
from lib.stack.cluster_lab import ClusterLab, LabHost
from lib.wire.stream_messages import encode_batch_header
from tests.brokers import (
    BrokerClient,
    Link,
    brokers_behind_links,
    check,
    cluster_settings,
    hide_addresses,
)
from tests.clients import NumberedClient, joined, order
from tests.helpers import wait_until
from tests.order_managers import NO_LIMITS, RunningOrderManager
from tests.stack import PrivateStack

TAKEOVER_AFTER_S = 2.0


@pytest.fixture(scope="module")
def brokers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Brokers]:
    with brokers_behind_links(tmp_path_factory.mktemp("brokers")) as brokers:
        yield brokers


def settings_of(brokers: Brokers, link: Link, host: str, user: str) -> dict[str, dict[str, Any]]:
    cluster = {
        "servers": link.servers,
        "host": host,
        "credentials": str(brokers.credentials(user)),
        "takeover_after": TAKEOVER_AFTER_S,
    }
    return {"risk": NO_LIMITS, "cluster": cluster}


def test_an_order_host_that_is_cut_off_answers_nothing_and_comes_back_as_a_standby(
    brokers: Brokers,
) -> None:
    with ExitStack() as clean_up:
        links = [clean_up.enter_context(Link(brokers)) for _ in range(2)]
        hosts = []
        for link, name, event in zip(
            links, ("order-a", "order-b"), ("started", "standing_by"), strict=True
        ):
            stack = clean_up.enter_context(PrivateStack(settings_of(brokers, link, name, "order")))
            hosts.append(RunningOrderManager(stack, stack.start_by_hand("order_manager")))
            hosts[-1].wait_for(event)
        first, second = hosts
        client = clean_up.enter_context(first.logged_on())
        booked = [client.ask(order(number)) for number in range(1, 6)]
        with links[0].cut():
            client.tell(order(6))
            second.wait_for("stream_claimed", former="order-a")
            second.wait_for("started")
            other = clean_up.enter_context(second.logged_on())
            assert other.ask(order(5)) == booked[-1]
            moved = other.ask(order(6))
            assert moved["status"] == "FILLED"
            client.tell(order(7))
        first.wait_for("stream_overtaken", stream="TW_LEDGER")
        said = [json.loads(frame) for frame in client.frames_until_the_end()]
        not_known = order_host.NOT_ACKNOWLEDGED.partition(" (")[0]
        assert said
        assert all(one["reason"].startswith(not_known) for one in said), said
        assert first.process.wait(30) == 1
        returned = RunningOrderManager(first.stack, first.stack.start_by_hand("order_manager"))
        returned.wait_for("standing_by", writer="order-b")
        assert other.ask(order(6)) == moved
        assert other.ask(order(7))["trade_id"] == moved["trade_id"] + 1


class Market:
    """The market host's end of the price stream."""

    def __init__(self, client: BrokerClient) -> None:
        client.wait_for(lambda event: isinstance(event, Connected))
        self._client = client
        self._last = 0
        self._next = 1

    def publish(self, ticks: int) -> int:
        """Append a message with so many ticks; return the number of the last one."""
        client, first = self._client, self._next
        self._next += ticks
        headers = {**self._headers(), **headers_of(TapePosition("tape", self._next))}
        frames = b"".join(b"AAPL,%d*" % number for number in range(first, self._next))
        data = encode_batch_header(first, ticks, client.loop.clock()) + frames
        answer = client.answer(client.broker.append(PRICE, headers, data, self._last))
        assert isinstance(answer, Appended)
        self._last = answer.sequence
        return self._next - 1

    def read(self, reader: NumberedClient, last: int) -> list[bytes]:
        """Return the ticks up to this one, of a client of another host, giving words meanwhile."""
        ticks: list[bytes] = []
        while reader.next <= last:
            headers = {**self._headers(), LAST: str(self._last)}
            data = encode_batch_header(self._next, 0, self._client.loop.clock())
            self._client.broker.publish(live_subject(PRICE), headers, data)
            ticks += reader.batch().frames
        return ticks

    def _headers(self) -> dict[str, str]:
        loop = self._client.loop
        offset_ns = loop.host.wall_ns() - loop.clock()
        return {EPOCH: "1", HOST: "market-1", CLOCK: str(offset_ns)}


def test_a_strategy_host_that_was_cut_off_gets_by_number_what_it_has_missed(
    brokers: Brokers,
) -> None:
    with (
        Link(brokers) as link,
        BrokerClient(cluster_settings(brokers, "market")) as market_client,
        PrivateStack(settings_of(brokers, link, "strategy-1", "strategy-1")) as stack,
    ):
        check(market_client, PRICE, NEWS, makes=True)
        market = Market(market_client)
        market.publish(10)
        stack.start_by_hand("downlink")
        stack.wait_for_event("downlink", "started")
        with joined(stack.price_port, 1) as client:
            market.read(client, market.publish(10))
            with link.cut():
                for _ in range(200):
                    last = market.publish(10)
                stack.wait_for_event("downlink", "broker_lost")
            ticks = market.read(client, last)
            assert ticks == [b"AAPL,%d" % number for number in range(21, last + 1)]
            market.read(client, market.publish(10))
        assert stack.events("downlink", "downlink_ends") == []


class MarketHosts:
    """Two market hosts, each with a link of its own to the brokers, and what they have logged."""

    def __init__(self, directory: Path, clean_up: ExitStack) -> None:
        hosts = tuple(LabHost(f"market-{number}", "market", "market") for number in (1, 2))
        self._lab = ClusterLab(Settings(gateway=GatewaySettings(rate=50.0)), directory, hosts)
        clean_up.callback(self._lab.remove_files)
        self.brokers = self._lab.brokers
        hide_addresses(self.brokers)
        self.links: dict[str, Link] = {}
        for host, stack in self._lab.stacks.items():
            link = self.links[host.name] = clean_up.enter_context(Link(self.brokers))
            text = stack.config.read_text()
            for url, through in zip(self.brokers.urls, link.servers, strict=True):
                text = text.replace(url, through)
            stack.config.write_text(text)
        self._var_dirs = {host.name: stack.var_dir for host, stack in self._lab.stacks.items()}
        clean_up.enter_context(self._lab)
        self._lab.start()

    def events(self, host: str, program: str, event: str) -> list[dict[str, Any]]:
        log = self._var_dirs[host] / "log" / f"{program}.jsonl"
        lines = log.read_bytes().splitlines() if log.exists() else []
        found = [json.loads(line) for line in lines if line.startswith(b"{")]
        return [one for one in found if one["event"] == event]

    def claims(self, host: str) -> list[dict[str, Any]]:
        claims = self.events(host, "uplink", "stream_claimed")
        return [one for one in claims if one["stream"] == NEWS]  # after that of the prices


def messages_of(brokers: Brokers, stream: str) -> list[Message]:
    """Return all that a stream has."""
    messages: list[Message] = []
    with BrokerClient(cluster_settings(brokers, "market")) as client:
        client.wait_for(lambda event: isinstance(event, Connected))
        looked = client.answer(client.broker.look(stream))
        assert isinstance(looked, Looked)
        while len(messages) < looked.state.last:
            first = len(messages) + 1
            found = client.answer(client.broker.read(stream, first, MAX_MESSAGES_READ))
            assert isinstance(found, Read)
            messages += found.messages
    return messages


def batches_of(hosts: MarketHosts, host: str) -> list[Message]:
    """Return the messages with ticks that a host has published."""
    messages = messages_of(hosts.brokers, PRICE)
    return [one for one in messages if one.data and one.headers[HOST] == host]


def test_a_market_host_that_is_cut_off_is_succeeded_on_the_same_tape() -> None:
    with ExitStack() as clean_up:
        # A socket's path may have about 100 characters; pytest's tmp_path can be longer.
        directory = clean_up.enter_context(tempfile.TemporaryDirectory(prefix="tw-"))
        hosts = MarketHosts(Path(directory) / "c", clean_up)
        first, second = wait_until(
            lambda: (
                (hosts.claims("market-1") and ("market-1", "market-2"))
                or (hosts.claims("market-2") and ("market-2", "market-1"))
            ),
            "a host has claimed the streams",
        )
        wait_until(lambda: len(messages_of(hosts.brokers, PRICE)) > 20, "there are ticks")
        wait_until(lambda: hosts.events(second, "uplink", "standing_by"), "the other stands by")
        with hosts.links[first].cut():
            (claim,) = wait_until(lambda: hosts.claims(second), "the other host takes over")
            assert claim["former"] == first
            wait_until(lambda: batches_of(hosts, second), "it publishes")
        wait_until(lambda: hosts.events(first, "uplink", "stream_overtaken"), "the first one ends")
        wait_until(lambda: hosts.events(first, "uplink", "standing_by"), "the first one stands by")
        wait_until(lambda: hosts.events(first, "gateway", "stopped"), "its gateway is stopped")
        batches = [*batches_of(hosts, first), *batches_of(hosts, second)]
        assert len({one.headers[TAPE] for one in batches}) == 1
        spans = [(one.first, one.count) for one, _ in (split_batch(one.data) for one in batches)]
        numbers = [number for first, count in spans for number in range(first, first + count)]
        assert numbers == list(range(1, len(numbers) + 1))
