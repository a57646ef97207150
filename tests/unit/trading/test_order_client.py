"""The order client: nothing that was submitted is forgotten before its execution report.

What is sent over a connection, and after the next logon, is shown by `test_order_connection.py`.
"""

from __future__ import annotations

import pytest

from lib.trading.order_client import ANSWER_LIMIT_NS, RETRY_NS, OrderClient
from lib.wire.order_messages import REPLACED, ErrorMessage, LogonAck, Order, encode
from tests import orders

NOW = 10**15
ACK = encode(LogonAck("strategy", 0, {}))


def order(order_id: int) -> Order:
    return orders.order(order_id, NOW)


def report(order_id: int) -> bytes:
    return encode(orders.report(order(order_id)))


def error(order_id: int | None = None, reason: str = "disk full") -> bytes:
    return encode(ErrorMessage(order_id=order_id, reason=reason))


def take(client: OrderClient, data: bytes, now_ns: int = NOW) -> list:
    return list(client.receive(data, now_ns))


@pytest.fixture
def client() -> OrderClient:
    """It is logged on."""
    client = OrderClient("strategy")
    client.connected(NOW)
    take(client, ACK)
    return client


def test_an_answer_to_a_sending_that_was_repeated_is_reported_once(client):
    client.submit(order(1), NOW)
    assert len(take(client, report(1) + report(1))) == 1
    assert take(client, report(1) + report(77)) == []


def test_what_came_behind_a_reason_to_give_up_the_connection_is_not_looked_at(client):
    client.submit(order(1), NOW)
    for event in client.receive(error(reason=REPLACED) + ACK + report(1), NOW):
        assert isinstance(event, ErrorMessage)
        client.disconnected()
    assert not client.logged_on
    assert list(client.unanswered) == [1]


def test_after_an_error_unanswered_orders_are_sent_again_in_a_while_and_again(client):
    client.submit(order(1), NOW)
    client.submit(order(2), NOW)
    for error_ns in (NOW, NOW + RETRY_NS):
        assert isinstance(take(client, error(1), error_ns)[0], ErrorMessage)
        retry_ns = error_ns + RETRY_NS
        assert client.next_deadline_ns() == retry_ns
        take(client, error(1), retry_ns - 1)  # which does not put the retry off
        assert not client.retry_due(retry_ns - 1)
        assert client.retry_due(retry_ns)
        assert client.resend() == encode(order(1)) + encode(order(2))
        assert not client.retry_due(retry_ns)


@pytest.mark.parametrize("answer", [ACK, error(reason="too many positions")])
def test_nothing_is_sent_again_without_a_logon(client, answer):
    client.submit(order(1), NOW)
    take(client, error(1))
    client.connected(NOW)
    take(client, answer)
    assert not client.retry_due(NOW + 10 * RETRY_NS)
    assert client.is_dead(NOW + ANSWER_LIMIT_NS + 1)  # another connection, another logon


def test_an_order_manager_that_owes_an_answer_and_is_silent_is_taken_for_dead(client):
    def check(limit_ns: int | None) -> None:
        assert client.next_deadline_ns() == (limit_ns and limit_ns + 1)
        assert not client.is_dead(limit_ns or NOW + 10**18)
        assert limit_ns is None or client.is_dead(limit_ns + 1)

    check(None)
    client.connected(NOW)  # now it owes the answer to a logon
    check(NOW + ANSWER_LIMIT_NS)
    take(client, ACK)
    check(None)
    later = NOW + 10**12
    client.submit(order(1), later)
    check(later + ANSWER_LIMIT_NS)
    client.submit(order(2), later + ANSWER_LIMIT_NS)
    check(later + ANSWER_LIMIT_NS)
    take(client, report(1), later + ANSWER_LIMIT_NS)  # one after the other will do
    check(later + 2 * ANSWER_LIMIT_NS)
    client.disconnected()
    check(None)
