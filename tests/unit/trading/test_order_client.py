"""The order client: nothing that was submitted is forgotten before its execution report."""

from __future__ import annotations

import pytest

from lib.trading import order_client as order_client_module
from lib.trading.order_client import ANSWER_LIMIT_NS, RETRY_NS, OrderClient
from lib.wire.order_messages import (
    REPLACED,
    ErrorMessage,
    LogonAck,
    Order,
    encode,
)
from tests import orders

NOW = 10**15
LOGON = b'{"type":"logon","client_id":"strategy"}*'
ACK = encode(LogonAck("strategy", 0, {}))


def order(order_id: int) -> Order:
    return orders.order(order_id, NOW)


def report(order_id: int) -> bytes:
    return encode(orders.report(order(order_id)))


def error(order_id: int | None = None, reason: str = "disk full") -> bytes:
    return encode(ErrorMessage(order_id=order_id, reason=reason))


def frames(*order_ids: int) -> bytes:
    return b"".join(encode(order(order_id)) for order_id in order_ids)


def take(client: OrderClient, data: bytes, now_ns: int = NOW) -> list:
    return list(client.receive(data, now_ns))


@pytest.fixture
def client() -> OrderClient:
    return OrderClient("strategy")


@pytest.fixture
def logged_on(client: OrderClient) -> OrderClient:
    client.connected(NOW)
    take(client, ACK)
    return client


# Connections.


def test_after_the_logon_what_waited_is_sent_and_further_orders_go_out_at_once(client):
    assert client.submit(order(1), NOW) == b""
    assert client.connected(NOW) == LOGON
    assert not client.logged_on
    assert client.submit(order(2), NOW) == b""
    assert take(client, ACK) == [LogonAck("strategy", 0, {})]
    assert client.logged_on
    assert client.resend() == frames(1, 2)
    assert client.submit(order(3), NOW) == frames(3)


def test_unanswered_orders_are_sent_again_over_every_connection_unchanged_and_in_order(logged_on):
    for order_id in (1, 2, 3):
        logged_on.submit(order(order_id), NOW)
    (answer,) = take(logged_on, report(2))
    assert (answer.order_id, answer.status) == (2, "FILLED")
    for later in range(1, 4):
        logged_on.disconnected()
        assert logged_on.connected(NOW + later) == LOGON
        take(logged_on, ACK, NOW + later)
        assert logged_on.resend() == frames(1, 3)


def test_an_answer_to_a_sending_that_was_repeated_is_reported_once(logged_on):
    logged_on.submit(order(1), NOW)
    assert len(take(logged_on, report(1) + report(1))) == 1
    assert take(logged_on, report(1) + report(77)) == []


def test_half_a_message_of_a_lost_connection_is_forgotten(logged_on):
    logged_on.submit(order(1), NOW)
    assert take(logged_on, report(1)[:20]) == []
    logged_on.disconnected()
    logged_on.connected(NOW)
    assert len(take(logged_on, ACK + report(1))) == 2


def test_what_came_behind_a_reason_to_give_up_the_connection_is_not_looked_at(logged_on):
    logged_on.submit(order(1), NOW)
    for event in logged_on.receive(error(reason=REPLACED) + ACK + report(1), NOW):
        assert isinstance(event, ErrorMessage)
        logged_on.disconnected()
    assert not logged_on.logged_on
    assert list(logged_on.unanswered) == [1]


def test_the_client_is_full_with_as_many_unanswered_orders_as_the_bound(logged_on, monkeypatch):
    monkeypatch.setattr(order_client_module, "MAX_UNANSWERED", 3)
    for order_id in (1, 2, 3):
        assert not logged_on.full
        logged_on.submit(order(order_id), NOW)
    assert logged_on.full
    take(logged_on, report(2))
    assert not logged_on.full


# Errors are not final.


def test_after_an_error_unanswered_orders_are_sent_again_in_a_while_and_again(logged_on):
    logged_on.submit(order(1), NOW)
    logged_on.submit(order(2), NOW)
    for error_ns in (NOW, NOW + RETRY_NS):
        assert isinstance(take(logged_on, error(1), error_ns)[0], ErrorMessage)
        retry_ns = error_ns + RETRY_NS
        assert logged_on.next_deadline_ns() == retry_ns
        take(logged_on, error(1), retry_ns - 1)  # which does not put the retry off
        assert not logged_on.retry_due(retry_ns - 1)
        assert logged_on.retry_due(retry_ns)
        assert logged_on.resend() == frames(1, 2)
        assert not logged_on.retry_due(retry_ns)


def test_a_retry_does_not_outlive_its_connection(logged_on):
    logged_on.submit(order(1), NOW)
    take(logged_on, error(1))
    logged_on.disconnected()
    assert not logged_on.retry_due(NOW + 10 * RETRY_NS)


def test_a_refused_logon_does_not_send_orders_under_no_name(client):
    client.submit(order(1), NOW)
    client.connected(NOW)
    take(client, error(reason="too many positions"))
    assert not client.retry_due(NOW + 10 * RETRY_NS)
    assert client.is_dead(NOW + ANSWER_LIMIT_NS + 1)  # another connection, another logon


# A silent order manager.


def check_that_it_dies_at(client: OrderClient, limit_ns: int) -> None:
    assert not client.is_dead(limit_ns)
    assert client.is_dead(limit_ns + 1)
    assert client.next_deadline_ns() == limit_ns + 1


def check_that_nothing_is_owed(client: OrderClient) -> None:
    assert not client.is_dead(NOW + 10**18)
    assert client.next_deadline_ns() is None


def test_one_that_does_not_acknowledge_each_logon_is_taken_for_dead(client):
    client.submit(order(1), NOW)
    check_that_nothing_is_owed(client)  # there is no connection
    for connected_ns in (NOW, NOW + 2 * ANSWER_LIMIT_NS):
        client.connected(connected_ns)
        check_that_it_dies_at(client, connected_ns + ANSWER_LIMIT_NS)
        client.disconnected()
        check_that_nothing_is_owed(client)


def test_one_that_does_not_answer_an_order_is_taken_for_dead_whatever_else_it_is_sent(logged_on):
    check_that_nothing_is_owed(logged_on)
    later = NOW + 10**12
    logged_on.submit(order(1), later)
    check_that_it_dies_at(logged_on, later + ANSWER_LIMIT_NS)
    logged_on.submit(order(2), later + ANSWER_LIMIT_NS)
    check_that_it_dies_at(logged_on, later + ANSWER_LIMIT_NS)
    take(logged_on, report(1), later + ANSWER_LIMIT_NS)  # one after the other will do
    check_that_it_dies_at(logged_on, later + 2 * ANSWER_LIMIT_NS)
    take(logged_on, report(2), later + 2 * ANSWER_LIMIT_NS)
    check_that_nothing_is_owed(logged_on)


def test_while_both_a_retry_and_an_answer_are_due_the_earlier_is_the_deadline(logged_on):
    logged_on.submit(order(1), NOW)
    take(logged_on, error(1))
    assert logged_on.next_deadline_ns() == NOW + RETRY_NS
    logged_on.resend()
    assert logged_on.next_deadline_ns() == NOW + ANSWER_LIMIT_NS + 1
