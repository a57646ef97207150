"""Real brokers, configured as in etc/cluster: what each host may do, and what a role learns."""

from __future__ import annotations

import json
import socket
from contextlib import suppress

import pytest

from lib.cluster import broker_check
from lib.cluster.broker import (
    Appended,
    Connected,
    Delivered,
    Disconnected,
    Failed,
    Looked,
    Replied,
)
from lib.cluster.broker_check import BrokerCheck, client_name
from lib.cluster.streams import LEDGER, NEWS, PRICE
from lib.errors import CannotStartError
from lib.stack.brokers import Brokers
from tests.brokers import BrokerClient, brokers, check, cluster_settings

__all__ = ["brokers"]


@pytest.fixture
def streams(brokers: Brokers) -> None:
    """The three streams are there."""
    for user, names in (("market", (PRICE, NEWS)), ("order", (LEDGER,))):
        with BrokerClient(cluster_settings(brokers, user)) as client:
            check(client, *names, makes=True)


def last_of(brokers: Brokers, stream: str) -> int:
    """Return the last sequence of a stream, after all that was published is through."""
    with BrokerClient(cluster_settings(brokers, "order")) as client:
        client.wait_for(lambda event: isinstance(event, Connected))
        looked = client.answer(client.broker.look(stream))
        assert isinstance(looked, Looked)
        return looked.state.last


def barrier(*clients: BrokerClient) -> None:
    """Wait until what each client has sent before is through: an answer comes later."""
    for client in clients:
        client.answer(client.broker.look(PRICE))


def at_one_broker(brokers: Brokers, user: str) -> BrokerClient:
    """Connect to the broker of every such client: what one has done, the next one finds done."""
    return BrokerClient(cluster_settings(brokers, user), servers=[brokers.urls[0]])


class RawClient:
    """A program of one's own, that sends what it likes."""

    def __init__(self, brokers: Brokers, user: str | None) -> None:
        host, _, port = brokers.urls[0].removeprefix("nats://").partition(":")
        self._socket = socket.create_connection((host, int(port)), 5)
        self.said = b""
        hello: dict[str, object] = {"verbose": False, "headers": True}
        if user:
            name, _, password = brokers.credentials(user).read_text().strip().partition(":")
            hello |= {"user": name, "pass": password}
        self.send(f"CONNECT {json.dumps(hello)}\r\n".encode())

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def read_until(self, expected: bytes) -> None:
        while expected not in self.said:
            data = self._socket.recv(4096)
            assert data, self.said
            self.said += data

    def __enter__(self) -> RawClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()


def appends(client: BrokerClient, stream: str, expected_last: int) -> bool:
    answer = client.answer(client.broker.append(stream, {}, b"x", expected_last))
    return isinstance(answer, Appended) and answer.took_ns > 0


@pytest.mark.usefixtures("streams")
def test_each_host_writes_its_own_streams_and_no_other(brokers: Brokers) -> None:
    for user, own, other in (("market", PRICE, LEDGER), ("order", LEDGER, PRICE)):
        with BrokerClient(cluster_settings(brokers, user)) as client:
            client.wait_for(lambda event: isinstance(event, Connected))
            assert appends(client, own, last_of(brokers, own))
            last = last_of(brokers, other)
            assert not appends(client, other, last)
            assert last_of(brokers, other) == last


@pytest.mark.usefixtures("streams")
def test_a_strategy_host_reads_prices_and_sends_its_own_orders_and_nothing_else(
    brokers: Brokers,
) -> None:
    lasts = {stream: last_of(brokers, stream) for stream in (PRICE, NEWS, LEDGER)}
    with (
        BrokerClient(cluster_settings(brokers, "order")) as order,
        BrokerClient(cluster_settings(brokers, "strategy-1")) as strategy,
        BrokerClient(cluster_settings(brokers, "market")) as market,
    ):
        for client in (order, strategy, market):
            client.wait_for(lambda event: isinstance(event, Connected))
        check(strategy, PRICE, NEWS, makes=False)
        for subject in ("tw.orders.>", "tw.live.*"):
            order.broker.follow(subject)
        for subject in ("tw.live.*", "tw.orders.>", "tw.reports.>"):
            strategy.broker.follow(subject)
        barrier(order, strategy)

        # What it may do.
        strategy.broker.publish("tw.orders.strategy.strategy-1.1", {"Tw-Number": "0"}, b"order")
        order.broker.publish("tw.reports.strategy-1.1", {}, b"report")
        # What it may not.
        strategy.broker.publish("tw.orders.other.strategy-1.1", {}, b"of another client")
        strategy.broker.publish("tw.orders.strategy.strategy-2.1", {}, b"for another host")
        order.broker.publish("tw.reports.strategy-2.1", {}, b"report of another host")
        for stream in (PRICE, NEWS, LEDGER):
            assert not appends(strategy, stream, lasts[stream])
        for subject in ("tw.live.price", "tw.live.ledger"):
            strategy.broker.publish(subject, {}, b"forged")
        assert isinstance(strategy.answer(strategy.broker.look(LEDGER)), Failed)
        assert isinstance(strategy.answer(strategy.broker.read(LEDGER, 1, 1)), Failed)

        order.wait_for(lambda event: isinstance(event, Delivered))
        assert appends(market, PRICE, lasts[PRICE])
        for client in (order, strategy):
            client.wait_for(lambda event: isinstance(event, Delivered) and event.message.sequence)
            client.answer(client.broker.look(PRICE))
        assert [one.subject for one in order.delivered()] == [
            "tw.orders.strategy.strategy-1.1",
            "tw.live.price",
        ]
        heard = [(one.subject, one.message.data) for one in strategy.delivered()]
        assert ("tw.reports.strategy-1.1", b"report") in heard
        assert ("tw.reports.strategy-2.1", b"report of another host") not in heard
    lasts[PRICE] += 1
    assert {stream: last_of(brokers, stream) for stream in lasts} == lasts


@pytest.mark.usefixtures("streams")
def test_an_answer_that_is_sent_to_the_ledger_does_not_get_there(brokers: Brokers) -> None:
    """JetStream answers to any subject that a question names, whoever may write there."""
    last = last_of(brokers, LEDGER)
    with RawClient(brokers, "strategy-1") as client:
        client.send(b"SUB tw.ledger 1\r\n")
        client.send(f"PUB $JS.API.STREAM.INFO.{PRICE} tw.ledger 0\r\n\r\n".encode())
        client.read_until(b"stream_info_response")
    assert last_of(brokers, LEDGER) == last


@pytest.mark.parametrize("user", [None, "market"])
def test_a_stranger_is_not_let_in(brokers: Brokers, user: str | None) -> None:
    wrong = {"password": "wrong"} if user else {}
    with BrokerClient(cluster_settings(brokers, user), **wrong) as stranger:
        refused = stranger.wait_for(lambda event: isinstance(event, Disconnected))
        question = stranger.broker.look(PRICE)
        assert isinstance(stranger.answer(question), Failed)
        checking = BrokerCheck(stranger.broker, "host-1 test 1", [PRICE], makes=True, trial=False)
        with pytest.raises(CannotStartError, match=r"^cluster\.credentials: the brokers know no"):
            checking.take(refused, 0)


@pytest.mark.usefixtures("streams")
def test_a_role_learns_that_every_broker_syncs_always(brokers: Brokers) -> None:
    with BrokerClient(cluster_settings(brokers, "order")) as client:
        client.wait_for(lambda event: isinstance(event, Connected))
        for name in "abc":
            reply = client.ask("$SYS.REQ.SERVER.PING.VARZ", {"server_name": name})
            assert isinstance(reply, Replied)
            assert reply.content["data"]["jetstream"]["config"]["sync_always"] is True


@pytest.mark.usefixtures("streams")
def test_a_stranger_without_credentials_reads_and_writes_nothing(brokers: Brokers) -> None:
    lasts = {stream: last_of(brokers, stream) for stream in (PRICE, NEWS, LEDGER)}
    with RawClient(brokers, None) as stranger, suppress(BrokenPipeError, ConnectionResetError):
        stranger.send(b"SUB > 1\r\n")
        for subject in (b"tw.price", b"tw.live.price", b"tw.ledger", b"tw.orders.a.b.c"):
            stranger.send(b"PUB %b 1\r\nx\r\n" % subject)
        stranger.read_until(b"-ERR 'Authorization Violation'")
        assert b"MSG" not in stranger.said
    assert {stream: last_of(brokers, stream) for stream in lasts} == lasts


@pytest.mark.usefixtures("streams")
def test_a_market_host_knows_no_orders_and_an_order_host_gives_no_prices(brokers: Brokers) -> None:
    with (
        at_one_broker(brokers, "market") as market,
        at_one_broker(brokers, "order") as order,
        at_one_broker(brokers, "strategy-1") as strategy,
    ):
        for client in (market, order, strategy):
            client.wait_for(lambda event: isinstance(event, Connected))
        for subject in ("tw.orders.>", "tw.reports.>", "tw.ledger", "tw.live.ledger"):
            market.broker.follow(subject)
        for subject in ("tw.reports.strategy-1.*", "tw.live.*"):
            strategy.broker.follow(subject)
        order.broker.follow("tw.orders.>")
        barrier(market, order, strategy)
        own = "tw.orders.strategy.strategy-1.1"
        strategy.broker.publish(own, {}, b"order")
        for subject in (own, "tw.reports.strategy-1.1", "tw.live.ledger"):
            market.broker.publish(subject, {}, b"forged")
        for subject in (own, "tw.live.price", "tw.live.news"):
            order.broker.publish(subject, {}, b"forged")
        barrier(market, order, strategy)
        order.broker.publish("tw.reports.strategy-1.1", {}, b"report")
        barrier(order, strategy, market)
        strategy.wait_for(lambda event: isinstance(event, Delivered))
        assert [one.message.data for one in strategy.delivered()] == [b"report"]
        assert [one.message.data for one in order.delivered()] == [b"order"]
        assert market.delivered() == []
        assert isinstance(market.answer(market.broker.look(LEDGER)), Failed)
        assert isinstance(market.answer(market.broker.read(LEDGER, 1, 1)), Failed)


UNREADABLE = [
    b"PUB tw.orders.strategy.strategy-1.\xff\xfe 1\r\nx\r\n",
    b"HPUB tw.orders.strategy.strategy-1.1 17 18\r\nNATS/1.0 \xff\xff\xff\xff\r\n\r\nx\r\n",
    b"HPUB tw.orders.strategy.strategy-1.1 12 13\r\nNATS/1.0\r\n\r\nx\r\n",
    b"HPUB tw.orders.strategy.strategy-1.1 17 18\r\nNATS/1.0\r\n\xff: \r\n\r\nx\r\n",
]


@pytest.mark.usefixtures("streams")
@pytest.mark.parametrize("message", UNREADABLE, ids=range(len(UNREADABLE)))
def test_what_cannot_be_read_stops_no_order_host(brokers: Brokers, message: bytes) -> None:
    with (
        at_one_broker(brokers, "order") as order,
        RawClient(brokers, "strategy-1") as strategy,
    ):
        order.wait_for(lambda event: isinstance(event, Connected))
        order.broker.follow("tw.orders.>")
        barrier(order)
        strategy.send(message)
        strategy.send(b"PUB tw.orders.strategy.strategy-1.2 5\r\norder\r\nPING\r\n")
        strategy.read_until(b"PONG")
        order.wait_for(
            lambda event: isinstance(event, Delivered) and event.message.data == b"order"
        )
        assert len([event for event in order.events if isinstance(event, Connected)]) == 1


@pytest.mark.usefixtures("streams")
def test_the_second_host_of_a_name_is_told_where_the_first_one_is(
    brokers: Brokers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker_check, "MAX_NAMESAKES", 2)
    name = client_name("order-1", "order_manager")
    with BrokerClient(cluster_settings(brokers, "order"), name=name) as first:
        check(first, LEDGER, makes=True, name=name)
        name = client_name("order-1", "order_manager")
        with (
            BrokerClient(cluster_settings(brokers, "order"), name=name) as second,
            pytest.raises(CannotStartError, match=r"order_manager of order-1 .* from 127\.0\.0\.1"),
        ):
            check(second, LEDGER, makes=True, name=name)
        name = client_name("order-2", "order_manager")
        with BrokerClient(cluster_settings(brokers, "order"), name=name) as other:
            check(other, LEDGER, makes=True, name=name)
    name = client_name("order-1", "order_manager")
    with BrokerClient(cluster_settings(brokers, "order"), name=name) as successor:
        check(successor, LEDGER, makes=True, name=name)
