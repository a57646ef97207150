"""Real brokers, configured as in etc/cluster: what each host may do, and what a role learns."""

from __future__ import annotations

import json
import socket
import time

import pytest

from lib.cluster.broker import (
    Appended,
    Connected,
    Delivered,
    Disconnected,
    Failed,
    Looked,
    Replied,
)
from lib.cluster.broker_check import BrokerCheck
from lib.cluster.streams import LEDGER, NEWS, PRICE
from lib.errors import CannotStartError
from lib.stack.brokers import Brokers
from tests.brokers import BrokerClient, brokers, cluster_settings

__all__ = ["brokers"]


def check(client: BrokerClient, *streams: str, makes: bool) -> None:
    """Check the brokers, for as long as it takes. Raises CannotStartError."""
    client.wait_for(lambda event: isinstance(event, Connected))
    checking = BrokerCheck(client.broker, streams, makes=makes, trial=False)
    taken = 0
    deadline_s = time.monotonic() + 30
    while not checking.is_over:
        assert time.monotonic() < deadline_s, checking.waits_for
        checking.look(client.loop.clock())
        client.loop.poll()
        for event in client.events[taken:]:
            checking.take(event, client.loop.clock())
        taken = len(client.events)


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
        for client in (order, strategy):  # an answer comes after what was asked for before it
            client.answer(client.broker.look(PRICE))

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
    url = brokers.urls[0].removeprefix("nats://").split(":")
    user, password = brokers.credentials("strategy-1").read_text().strip().split(":")
    hello = json.dumps({"user": user, "pass": password, "verbose": False, "headers": True})
    with socket.create_connection((url[0], int(url[1])), 5) as client:
        client.sendall(f"CONNECT {hello}\r\nSUB tw.ledger 1\r\n".encode())
        client.sendall(f"PUB $JS.API.STREAM.INFO.{PRICE} tw.ledger 0\r\n\r\n".encode())
        said = b""
        while b"stream_info_response" not in said:
            data = client.recv(4096)
            assert data, said
            said += data
    assert last_of(brokers, LEDGER) == last


@pytest.mark.parametrize("user", [None, "market"])
def test_a_stranger_is_not_let_in(brokers: Brokers, user: str | None) -> None:
    wrong = {"password": "wrong"} if user else {}
    with BrokerClient(cluster_settings(brokers, user), **wrong) as stranger:
        refused = stranger.wait_for(lambda event: isinstance(event, Disconnected))
        question = stranger.broker.look(PRICE)
        assert isinstance(stranger.answer(question), Failed)
        checking = BrokerCheck(stranger.broker, [PRICE], makes=True, trial=False)
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
