"""The order client: nothing that was submitted is forgotten before its execution report."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.trading import order_client as order_client_module
from lib.trading.order_client import ANSWER_LIMIT_NS, RETRY_NS, OrderClient
from lib.wire.framing import MAX_MESSAGE_BYTES, MessageTooLongError
from lib.wire.order_messages import (
    REPLACED,
    ErrorMessage,
    ExecutionReport,
    LogonAck,
    MessageError,
    Order,
    encode,
    make_order,
)

NOW = 10**15
LOGON = b'{"type":"logon","client_id":"strategy"}*'
ACK = encode(LogonAck("strategy", 0, {}))


def order(order_id: int) -> Order:
    return make_order(
        price=173_20000000,
        order_id=order_id,
        symbol="AAPL",
        side="BUY",
        quantity=10,
        position=0,
        sent_ns=NOW,
    )


def report(order_id: int) -> bytes:
    return encode(
        ExecutionReport(
            client_id="strategy",
            order_id=order_id,
            status="FILLED",
            symbol="AAPL",
            side="BUY",
            quantity=10,
            raw_price=order(1).raw_price,
            trade_id=1,
            position=10,
        )
    )


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


def test_a_connection_begins_with_a_logon(client):
    assert client.connected(NOW) == LOGON
    assert not client.logged_on
    assert take(client, ACK) == [LogonAck("strategy", 0, {})]
    assert client.logged_on


def test_an_order_goes_out_at_once_while_logged_on(logged_on):
    assert logged_on.submit(order(1), NOW) == frames(1)


def test_an_order_waits_while_there_is_no_logon(client):
    assert client.submit(order(1), NOW) == b""
    client.connected(NOW)
    assert client.submit(order(2), NOW) == b""
    take(client, ACK)
    assert client.resend() == frames(1, 2)


def test_an_order_is_unanswered_until_its_execution_report(logged_on):
    logged_on.submit(order(1), NOW)
    logged_on.submit(order(2), NOW)
    (answer,) = take(logged_on, report(1))
    assert (answer.order_id, answer.status) == (1, "FILLED")
    assert list(logged_on.unanswered) == [2]


def test_unanswered_orders_are_sent_again_over_every_connection_unchanged_and_in_order(logged_on):
    for order_id in (1, 2, 3):
        logged_on.submit(order(order_id), NOW)
    take(logged_on, report(2))
    for later in range(1, 4):
        logged_on.disconnected()
        assert logged_on.connected(NOW + later) == LOGON
        take(logged_on, ACK, NOW + later)
        assert logged_on.resend() == frames(1, 3)


def test_an_answer_to_a_sending_that_was_repeated_is_reported_once(logged_on):
    logged_on.submit(order(1), NOW)
    logged_on.resend()
    assert len(take(logged_on, report(1) + report(1))) == 1
    assert take(logged_on, report(1)) == []
    assert take(logged_on, report(77)) == []


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
    assert logged_on.next_deadline_ns() is None


def test_the_client_is_full_with_as_many_unanswered_orders_as_the_bound(logged_on, monkeypatch):
    monkeypatch.setattr(order_client_module, "MAX_UNANSWERED", 3)
    for order_id in (1, 2, 3):
        assert not logged_on.full
        logged_on.submit(order(order_id), NOW)
    assert logged_on.full
    take(logged_on, report(2))
    assert not logged_on.full


@pytest.mark.parametrize("data", [b"*", b"noise*", b"\xff*", b"[" * 50_000 + b"*", b"AAPL,1*"])
def test_what_is_no_answer_is_a_reason_to_close_the_connection(logged_on, data):
    with pytest.raises(MessageError):
        take(logged_on, data)


def test_an_answer_without_an_end_is_a_reason_to_close_the_connection(logged_on):
    with pytest.raises(MessageTooLongError):
        take(logged_on, b"x" * (MAX_MESSAGE_BYTES + 1))


# Errors are not final.


def test_after_an_error_unanswered_orders_are_sent_again_in_a_while(logged_on):
    logged_on.submit(order(1), NOW)
    logged_on.submit(order(2), NOW)
    assert isinstance(take(logged_on, error(1))[0], ErrorMessage)
    assert list(logged_on.unanswered) == [1, 2]
    assert not logged_on.retry_due(NOW + RETRY_NS - 1)
    assert logged_on.next_deadline_ns() == NOW + RETRY_NS
    assert logged_on.retry_due(NOW + RETRY_NS)
    assert logged_on.resend() == frames(1, 2)
    assert not logged_on.retry_due(NOW + RETRY_NS)


def test_further_errors_do_not_put_the_retry_off(logged_on):
    logged_on.submit(order(1), NOW)
    take(logged_on, error(1))
    take(logged_on, error(1), NOW + RETRY_NS - 1)
    assert logged_on.retry_due(NOW + RETRY_NS)


def test_an_error_after_the_retry_is_retried_again(logged_on):
    logged_on.submit(order(1), NOW)
    for second in range(3):
        take(logged_on, error(1), NOW + second * RETRY_NS)
        assert logged_on.retry_due(NOW + (second + 1) * RETRY_NS)
        assert logged_on.resend() == frames(1)


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


def test_an_order_manager_that_owes_nothing_may_be_silent_for_ever(logged_on):
    assert not logged_on.is_dead(NOW + 10**18)
    assert logged_on.next_deadline_ns() is None


def test_without_a_connection_no_answer_is_owed(client):
    client.submit(order(1), NOW)
    assert not client.is_dead(NOW + 10**18)
    assert client.next_deadline_ns() is None


def check_that_it_dies_at(client: OrderClient, limit_ns: int) -> None:
    assert not client.is_dead(limit_ns)
    assert client.is_dead(limit_ns + 1)
    assert client.next_deadline_ns() == limit_ns + 1


def test_one_that_does_not_acknowledge_a_logon_is_taken_for_dead(client):
    client.connected(NOW)
    check_that_it_dies_at(client, NOW + ANSWER_LIMIT_NS)


def test_one_that_does_not_answer_an_order_is_taken_for_dead(logged_on):
    later = NOW + 10**12
    logged_on.submit(order(1), later)
    check_that_it_dies_at(logged_on, later + ANSWER_LIMIT_NS)


def test_further_orders_do_not_make_a_silent_one_live(logged_on):
    logged_on.submit(order(1), NOW)
    logged_on.submit(order(2), NOW + ANSWER_LIMIT_NS)
    check_that_it_dies_at(logged_on, NOW + ANSWER_LIMIT_NS)


def test_one_that_answers_orders_one_after_the_other_is_alive(logged_on):
    logged_on.submit(order(1), NOW)
    logged_on.submit(order(2), NOW)
    take(logged_on, report(1), NOW + ANSWER_LIMIT_NS)
    check_that_it_dies_at(logged_on, NOW + 2 * ANSWER_LIMIT_NS)
    take(logged_on, report(2), NOW + 2 * ANSWER_LIMIT_NS)
    assert not logged_on.is_dead(NOW + 10**18)


def test_the_dead_is_not_dead_again_before_the_next_connection_has_had_its_time(logged_on):
    logged_on.submit(order(1), NOW)
    later = NOW + 2 * ANSWER_LIMIT_NS
    logged_on.disconnected()
    assert not logged_on.is_dead(later)
    logged_on.connected(later)
    check_that_it_dies_at(logged_on, later + ANSWER_LIMIT_NS)


def test_while_both_a_retry_and_an_answer_are_due_the_earlier_is_the_deadline(logged_on):
    logged_on.submit(order(1), NOW)
    take(logged_on, error(1))
    assert logged_on.next_deadline_ns() == NOW + RETRY_NS
    logged_on.resend()
    assert logged_on.next_deadline_ns() == NOW + ANSWER_LIMIT_NS + 1


@given(st.lists(st.integers(1, 60), max_size=30))
def test_answers_may_arrive_in_any_number_of_pieces(sizes):
    client = OrderClient("strategy")
    client.connected(NOW)
    for order_id in range(1, 6):
        client.submit(order(order_id), NOW)
    data = ACK + b"".join(map(report, range(1, 6)))
    events = []
    for size in [*sizes, len(data)]:
        events += take(client, data[:size])
        data = data[size:]
    assert isinstance(events[0], LogonAck)
    assert [event.order_id for event in events[1:]] == [1, 2, 3, 4, 5]
    assert client.unanswered == {}
