"""The order manager as a process: what clients get, what it prints, and clients that misbehave.

One order manager serves all tests of this file, as it would serve all those clients: each test
uses client_ids of its own and looks at the lines that were printed meanwhile.
"""

from __future__ import annotations

import itertools
import json
import random
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from daemons.order_manager import MAX_CLIENTS
from tests.clients import NOISE, OrderClient, order
from tests.helpers import PROJECT_ROOT, wait_until
from tests.stack import PrivateStack


class Manager:
    """A running order manager."""

    def __init__(self, stack: PrivateStack, process: subprocess.Popen[bytes]) -> None:
        self.stack = stack
        self.process = process
        self._markers = itertools.count(10**9)

    def connect(self, receive_buffer: int | None = None) -> OrderClient:
        return OrderClient.connect(self.stack.order_port, receive_buffer)

    def logged_on(self, client_id: str) -> OrderClient:
        client = self.connect()
        assert client.log_on(client_id)["type"] == "logon_ack"
        return client

    def end_of(self, client: str) -> dict[str, Any]:
        """The event of the disconnection of a client that has been accepted."""
        return self.stack.wait_for_end_of_client("order_manager", client)

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """A time in which it does nothing."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def malformed(self) -> int:
        return sum(e["count"] for e in self.stack.events("order_manager", "malformed_frames"))

    def printed_since(self, begin: int, count: int) -> list[str]:
        """The lines printed since there were `begin` of them, once there are `count`."""
        wait_until(lambda: len(self.stack.output("order_manager")) >= begin + count, "it prints")
        return self.stack.output("order_manager")[begin:]

    def lines(self) -> int:
        """How many lines have been printed, once all of those answered so far have been."""
        marker = next(self._markers)
        with self.connect() as client:
            client.ask(order(marker))
        printed = f"Received Order {marker}: BUY 10 AAPL @ 173.20"
        wait_until(lambda: printed in self.stack.output("order_manager"), "it prints")
        return len(self.stack.output("order_manager"))


@contextmanager
def running_manager() -> Iterator[Manager]:
    no_limits = {
        "max_order_quantity": 0, "max_position": 0,
        "price_collar_percent": 0, "max_orders_per_second": 0,
    }  # fmt: skip
    stack = PrivateStack({"": {"symbols": ["AAPL", "MSFT"]}, "risk": no_limits})
    try:
        process = stack.start_by_hand("order_manager")
        stack.wait_for_event("order_manager", "started")
        yield Manager(stack, process)
        # Whatever the tests sent it, it has not died of it.
        assert process.poll() is None
    finally:
        stack.close()


@pytest.fixture(scope="module")
def manager() -> Iterator[Manager]:
    with running_manager() as manager:
        yield manager


@pytest.fixture
def counting_manager() -> Iterator[Manager]:
    """One that has counted nothing yet."""
    with running_manager() as manager:
        yield manager


# --- orders and answers


def test_an_order_is_filled_answered_and_printed(manager: Manager) -> None:
    begin = manager.lines()
    with manager.connect() as client:
        assert client.log_on("plain-trader") == {
            "type": "logon_ack", "client_id": "plain-trader", "last_order_id": 0, "positions": {},
        }  # fmt: skip
        client.tell(order(12))
        answer = client.frame()
        fields = json.loads(answer)
        assert answer == (
            b'{"type":"execution_report","client_id":"plain-trader","order_id":12,'
            b'"status":"FILLED","symbol":"AAPL","side":"BUY","quantity":10,"price":173.2,'
            b'"trade_id":%d,"position":10}' % fields["trade_id"]
        )
        assert client.ask(order(13, side="SELL", quantity=25, symbol="AAPL", price=0.00000001)) == {
            "type": "execution_report", "client_id": "plain-trader", "order_id": 13,
            "status": "FILLED", "symbol": "AAPL", "side": "SELL", "quantity": 25, "price": 1e-8,
            "trade_id": fields["trade_id"] + 1, "position": -15,
        }  # fmt: skip
        client.ask(order(14, symbol="MSFT", quantity=2**53 - 1, price=9_000_000_000))
    assert manager.printed_since(begin, 3) == [
        "Received Order 12: BUY 10 AAPL @ 173.20",
        "Received Order 13: SELL 25 AAPL @ 0.00000001",
        "Received Order 14: BUY 9007199254740991 MSFT @ 9000000000.00",
    ]
    with manager.connect() as client:
        ack = client.log_on("plain-trader")
    assert (ack["last_order_id"], ack["positions"]) == (14, {"AAPL": -15, "MSFT": 2**53 - 1})


def test_the_optional_fields_of_an_order_are_taken(manager: Manager) -> None:
    with manager.logged_on("optional") as client:
        report = client.ask(
            order(
                1,
                client_id="optional",
                position=0,
                tape="t",
                tick_sequence=5,
                sent_ns=time.monotonic_ns(),
            )
        )
        assert report["status"] == "FILLED"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"symbol": "TSLA"}, "unknown symbol TSLA"),
        ({"symbol": "A*B"}, "unknown symbol A*B"),
        ({"position": 3}, "the position is 0, and the order assumes 3"),
    ],
)
def test_an_order_that_cannot_be_filled_is_rejected_and_not_printed(
    manager: Manager, changes: dict[str, Any], reason: str
) -> None:
    begin = manager.lines()
    with manager.connect() as client:
        client.tell(order(2, **changes))
        answer = client.frame()
        report = json.loads(answer)
        assert (report["type"], report["status"]) == ("execution_report", "REJECTED")
        assert (report["order_id"], report["reason"]) == (2, reason)
        assert "trade_id" not in report
        # It is final: sent again, it is answered the same.
        client.tell(order(2, **changes))
        assert client.frame() == answer
        assert client.ask(order(1, quantity=1))["position"] == 1
        client_id = report["client_id"]
    assert manager.printed_since(begin, 1) == ["Received Order 1: BUY 1 AAPL @ 173.20"]
    event = manager.stack.wait_for_event("order_manager", "order_rejected", client_id=client_id)
    assert event["reason"] == reason


def test_the_same_order_again_gets_the_same_answer_and_is_booked_and_printed_once(
    manager: Manager,
) -> None:
    begin = manager.lines()
    with manager.logged_on("insistent") as client:
        client.tell(order(1))
        answer = client.frame()
        client.ask(order(2, quantity=5))
    with manager.logged_on("insistent") as client:
        # As a client writes it who formats JSON in another way.
        client.send(
            b'{ "price":1.7320e2, "quantity":10, "side":"BUY", "symbol":"AAPL", "order_id":1,'
            b' "type":"order"}*'
        )
        assert client.frame() == answer
        assert client.ask(order(3, quantity=1))["position"] == 16
    assert manager.printed_since(begin, 3) == [
        "Received Order 1: BUY 10 AAPL @ 173.20",
        "Received Order 2: BUY 5 AAPL @ 173.20",
        "Received Order 3: BUY 1 AAPL @ 173.20",
    ]


@pytest.mark.parametrize(
    "changes", [{"symbol": "MSFT"}, {"side": "SELL"}, {"quantity": 11}, {"price": 173.21}]
)
def test_another_order_of_the_same_identity_is_an_error_that_shows_both(
    manager: Manager, changes: dict[str, Any]
) -> None:
    with manager.connect() as client:
        client.tell(order(1))
        answer = client.frame()
        error = client.ask(order(1, **changes))
        assert (error["type"], error["order_id"]) == ("error", 1)
        assert "Order 1: BUY 10 AAPL @ 173.20" in error["reason"]
        assert str(next(iter(changes.values()))) in error["reason"]
        # The first stands.
        client.tell(order(1))
        assert client.frame() == answer


def test_two_clients_may_use_the_same_order_ids_at_once(manager: Manager) -> None:
    begin = manager.lines()
    with manager.logged_on("left") as left, manager.logged_on("right") as right:
        for number in range(1, 101):
            left.tell(order(number, quantity=1))
            right.tell(order(number, quantity=2, symbol="MSFT"))
        for client, name, quantity in ((left, "left", 1), (right, "right", 2)):
            for number in range(1, 101):
                report = client.hear()
                assert (report["client_id"], report["order_id"]) == (name, number)
                assert report["position"] == number * quantity
    lines = manager.printed_since(begin, 200)
    for name, of in (("1 AAPL", "BUY 1 AAPL"), ("2 MSFT", "BUY 2 MSFT")):
        assert [line for line in lines if name in line] == [
            f"Received Order {number}: {of} @ 173.20" for number in range(1, 101)
        ]


def test_pipelined_orders_split_anywhere_are_answered_in_the_order_of_receipt(
    manager: Manager,
) -> None:
    begin = manager.lines()
    chance = random.Random(4)
    numbers = chance.sample(range(1, 10**6), 4000)
    stream = b"".join(json.dumps(order(number, quantity=1)).encode() + b"*" for number in numbers)

    def send() -> None:
        rest = memoryview(stream)
        while rest:
            size = chance.choice([1, 2, 50, 300, 5000, 40_000])
            client.send(rest[:size])
            rest = rest[size:]

    with manager.logged_on("pipeline") as client:
        sender = threading.Thread(target=send)
        sender.start()
        reports = [client.hear() for _ in numbers]
        sender.join()
    assert [report["order_id"] for report in reports] == numbers
    assert [report["position"] for report in reports] == list(range(1, len(numbers) + 1))
    trade_ids = [report["trade_id"] for report in reports]
    assert trade_ids == sorted(set(trade_ids))
    assert manager.printed_since(begin, len(numbers)) == [
        f"Received Order {number}: BUY 1 AAPL @ 173.20" for number in numbers
    ]


# --- who a client is


def test_anonymous_clients_have_names_and_identities_of_their_own(manager: Manager) -> None:
    begin = manager.lines()
    names = []
    with manager.connect() as one, manager.connect() as other:
        for client in (one, other):
            report = client.ask(order(1))
            assert (report["status"], report["position"]) == ("FILLED", 10)
            names.append(report["client_id"])
    # A new connection is a new client: neither the identity nor the position is left.
    with manager.connect() as again:
        report = again.ask(order(1))
        assert (report["status"], report["position"]) == ("FILLED", 10)
        names.append(report["client_id"])
    assert len(set(names)) == 3
    assert all(name.startswith("anonymous-") for name in names)
    assert manager.printed_since(begin, 3) == ["Received Order 1: BUY 10 AAPL @ 173.20"] * 3


def test_nobody_can_speak_for_another(manager: Manager) -> None:
    with manager.logged_on("honest") as client, manager.connect() as anonymous:
        assert client.ask(order(1, client_id="another"))["type"] == "error"
        assert client.ask({"type": "logon", "client_id": "another"})["type"] == "error"
        assert anonymous.ask(order(1, client_id="honest"))["type"] == "error"
        assert anonymous.log_on("anonymous-1")["type"] == "error"
        assert client.ask(order(1, client_id="honest"))["position"] == 10


def test_a_new_logon_replaces_the_earlier_connection(manager: Manager) -> None:
    with manager.logged_on("twice") as old:
        old.ask(order(1))
        with manager.connect() as new:
            ack = new.log_on("twice")
            assert (ack["last_order_id"], ack["positions"]) == (1, {"AAPL": 10})
            goodbye = old.hear()
            assert goodbye["type"] == "error"
            assert "order_id" not in goodbye
            with pytest.raises(EOFError):
                old.frame()
            name = old.name
            old.close()
            manager.end_of(name)
            assert new.ask(order(2))["position"] == 20


def test_an_order_that_is_read_after_a_newer_logon_is_not_booked(manager: Manager) -> None:
    with manager.logged_on("late") as old, manager.connect() as new:
        new.ask(order(1, quantity=0))  # it has been accepted
        # Let both find the order manager asleep: it reads them in one pass, in this order.
        with manager.stopped():
            new.tell({"type": "logon", "client_id": "late"})
            old.tell(order(1))
        ack = new.hear()
        # Nothing was booked that the acknowledgement does not know.
        position = ack["positions"].get("AAPL", 0)
        assert new.ask(order(2, position=position))["status"] == "FILLED"


def test_what_a_replaced_client_sent_and_was_not_read_is_discarded(manager: Manager) -> None:
    """The ledger and the acknowledgement agree, while orders of the old one are on their way."""
    begin = manager.lines()
    sent = 30_000
    with manager.logged_on("flooding") as old:
        flood = b"".join(json.dumps(order(n, quantity=1)).encode() + b"*" for n in range(1, sent))
        sender = threading.Thread(target=old.send_until_disconnected, args=(flood,))
        sender.start()
        for _ in range(200):
            old.hear()
        with manager.connect() as new:
            ack = new.log_on("flooding")
            booked = ack["last_order_id"]
            assert ack["positions"] == {"AAPL": booked}
            assert 200 <= booked < sent - 1
            # It gets no answer but for its orders that were read, and then the goodbye.
            *reports, goodbye = [json.loads(frame) for frame in old.frames_until_the_end()]
            assert goodbye["type"] == "error"
            assert {report["status"] for report in reports} <= {"FILLED"}
            old.close()
            sender.join()
            # Nothing of it comes later either.
            report = new.ask(order(booked + 1, quantity=1, position=booked))
            assert (report["status"], report["position"]) == ("FILLED", booked + 1)
    assert manager.printed_since(begin, booked + 1) == [
        f"Received Order {number}: BUY 1 AAPL @ 173.20" for number in range(1, booked + 2)
    ]


# --- clients that send what they should not


def without(key: str) -> dict[str, Any]:
    """An order that lacks a field."""
    incomplete = order(7)
    del incomplete[key]
    return incomplete


def with_number(key: str, number: bytes) -> bytes:
    """An order with a number that Python's JSON would not write."""
    return json.dumps(order(7) | {key: "#"}).encode().replace(b'"#"', number) + b"*"


NO_ORDERS = {
    "nothing": b"*",
    "no JSON": b"BUY 10 AAPL*",
    "half JSON": b'{"type":"order","order_id":7*',
    "a list": b"[]*",
    "null": b"null*",
    "a number": b"12*",
    "no type": b'{"order_id":7}*',
    "another type": b'{"type":"cancel","order_id":7}*',
    "a tick": b"AAPL,172.53*",
    "a HELLO": b"HELLO,1,0*",
    "deeply nested": b'{"type":"order","x":' + b"[" * 50_000 + b"*",
    "nested and whole": b'{"type":"order","x":' + b"[" * 20_000 + b"]" * 20_000 + b"}*",
    "bad UTF-8": b'{"type":"order","symbol":"\xff\xfe"}*',
    "a surrogate alone": b'{"type":"order","symbol":"\\ud800"}*',
    "an order_id of 5,000 digits": with_number("order_id", b"7" * 5000),
    "an order_id of 25 digits": with_number("order_id", b"7" * 25),
    "a quantity past 2**53": with_number("quantity", b"%d" % 2**53),
    "a price of 5,000 digits": with_number("price", b"7" * 5000),
    "a price that is no number": with_number("price", b"NaN"),
    "a price past all numbers": with_number("price", b"1e999"),
    "a price of nine decimals": with_number("price", b"1.000000001"),
    "a logon without a name": b'{"type":"logon"}*',
    "a logon with a bad name": b'{"type":"logon","client_id":"a b"}*',
    "a logon with a long name": b'{"type":"logon","client_id":"' + b"a" * 65 + b'"}*',
    **{
        f"an order with {key} {value!r}": json.dumps(order(7) | {key: value}).encode() + b"*"
        for key, values in {
            "order_id": [0, -1, 1.5, "7", None, True, [7]],
            "symbol": ["", 5, None, ["AAPL"], "A" * 60_000],
            "side": ["HOLD", "buy", "", None, 1],
            "quantity": [0, -10, 1.5, "10", None, {}],
            "price": [0, -173.2, "173.2", None, [], True, 9_000_000_001],
            "client_id": [5, ""],
            "position": [1.5, "0", 2**60],
            "sent_ns": [-1, "now"],
        }.items()
        for value in values
    },
    **{
        f"an order without {key}": json.dumps(without(key)).encode() + b"*"
        for key in ("order_id", "symbol", "side", "quantity", "price")
    },
}  # fmt: skip


def test_a_frame_that_is_no_order_gets_an_error_and_the_connection_stays(
    counting_manager: Manager,
) -> None:
    manager = counting_manager
    with manager.connect() as client, manager.logged_on("healthy") as healthy:
        for what, data in NO_ORDERS.items():
            client.send(data)
            error = client.hear()
            assert error["type"] == "error", what
            assert error["reason"], what
            assert error.get("order_id") in (None, 7), what
        # An error is not final: the identity is free.
        assert client.ask(order(7))["status"] == "FILLED"
        assert healthy.ask(order(1, quantity=1))["status"] == "FILLED"
    assert manager.printed_since(0, 2) == [
        "Received Order 7: BUY 10 AAPL @ 173.20",
        "Received Order 1: BUY 1 AAPL @ 173.20",
    ]
    wait_until(lambda: manager.malformed() >= len(NO_ORDERS), "all are counted")
    assert manager.malformed() == len(NO_ORDERS)


def test_an_error_names_the_order_where_it_can_be_read(manager: Manager) -> None:
    with manager.connect() as client:
        assert client.ask(order(7, quantity=0))["order_id"] == 7
        assert "order_id" not in client.ask({"type": "logon", "client_id": "", "order_id": 7})


@pytest.mark.parametrize("what", NOISE)
def test_noise_costs_at_most_the_connection_it_came_on(manager: Manager, what: str) -> None:
    with manager.logged_on("beside-noise") as healthy, manager.connect() as bad:
        name = bad.name
        ended = threading.Thread(target=bad.send_until_disconnected, args=(NOISE[what],))
        ended.start()
        if what == "a megabyte without a delimiter":
            bad.frames_until_the_end()
            assert "protocol error" in manager.end_of(name)["reason"]
        else:
            for frame in bad.frames(NOISE[what].count(b"*")):
                assert json.loads(frame)["type"] == "error"
        ended.join()
        number = healthy.log_on("beside-noise")["last_order_id"] + 1
        assert healthy.ask(order(number))["status"] == "FILLED"


def test_orders_without_a_delimiter_are_told_once_a_connection(manager: Manager) -> None:
    line = json.dumps(order(1)).encode()
    with manager.connect() as lines, manager.connect() as once, manager.connect() as half:
        lines.send(line + b"\n")
        once.send(line)
        half.send(line[:-5])
        names = [lines.name, once.name, half.name]

    def told() -> list[str]:
        events = manager.stack.events("order_manager", "no_delimiter")
        return [e["peer"] for event in events for e in event["examples"] if e["peer"] in names]

    for name in names:
        manager.end_of(name)
    wait_until(lambda: len(told()) >= 2, "two are told of")
    assert sorted(told()) == sorted(names[:2])


def test_a_flood_of_bad_frames_is_counted_to_the_last_and_told_in_a_few_lines(
    counting_manager: Manager,
) -> None:
    begin = time.monotonic()
    count = 20_000
    with counting_manager.connect() as client:
        sender = threading.Thread(target=client.send, args=(b"{}*" * count,))
        sender.start()
        client.frames(count)
        sender.join()
    wait_until(lambda: counting_manager.malformed() >= count, "all are counted")
    assert counting_manager.malformed() == count
    # One a second, however long it took.
    lines = counting_manager.stack.events("order_manager", "malformed_frames")
    assert len(lines) <= time.monotonic() - begin + 2


def test_an_order_without_its_delimiter_is_answered_when_the_client_ends_its_side(
    manager: Manager,
) -> None:
    with manager.connect() as client:
        client.send(json.dumps(order(12)).encode())
        client.sock.shutdown(socket.SHUT_WR)
        [answer] = map(json.loads, client.frames_until_the_end())
        assert (answer["type"], answer["order_id"]) == ("error", 12)
        assert "no `*`" in answer["reason"]


def test_half_an_order_waits_for_its_other_half(manager: Manager) -> None:
    whole = json.dumps(order(1)).encode() + b"*"
    with manager.connect() as client, manager.connect() as other:
        client.send(whole[:30])
        other.ask(order(1))
        client.send(whole[30:])
        assert client.hear()["status"] == "FILLED"


# --- clients that end their side


def test_a_client_that_ends_its_side_after_its_orders_is_answered_and_then_let_go(
    manager: Manager,
) -> None:
    with manager.connect() as client:
        name = client.name
        with manager.stopped():  # so that all of it is there at once
            for number in range(1, 1001):
                client.tell(order(number))
            client.sock.shutdown(socket.SHUT_WR)
        assert [json.loads(f)["order_id"] for f in client.frames_until_the_end()] == [
            *range(1, 1001)
        ]
        assert manager.end_of(name)["reason"] == "closed by peer"


@pytest.mark.parametrize("nc", ["nc.openbsd", "nc.traditional", "ncat", "busybox nc"])
def test_the_readmes_order_by_hand_is_answered_with_every_nc(manager: Manager, nc: str) -> None:
    if not shutil.which(nc.split()[0]):
        pytest.skip(f"no {nc} here")
    readme = (PROJECT_ROOT / "README.md").read_text()
    [line] = re.findall(r"^.*nc 127\.0\.0\.1 5003$", readme, re.MULTILINE)
    command = line.replace("nc 127.0.0.1 5003", f"{nc} 127.0.0.1 {manager.stack.order_port}")
    answer = subprocess.run(["sh", "-c", command], capture_output=True, timeout=60, check=False)
    assert b'"status":"FILLED"' in answer.stdout


# --- clients that are slow, or silent


def test_a_client_that_does_not_read_its_answers_is_disconnected_and_others_are_served(
    manager: Manager,
) -> None:
    begin = manager.lines()
    with (
        manager.connect(receive_buffer=4096) as stuck,
        manager.logged_on("beside-stuck") as healthy,
    ):
        name = stuck.name
        again = json.dumps(order(1)).encode() + b"*"
        flood = threading.Thread(target=stuck.send_until_disconnected, args=(again * 100_000,))
        flood.start()
        answered = 0
        while flood.is_alive():
            answered += 1
            assert healthy.ask(order(answered, quantity=1))["position"] == answered
        flood.join()
        event = manager.end_of(name)
        assert "does not read" in event["reason"]
        answered += 1
        assert healthy.ask(order(answered, quantity=1))["position"] == answered
    # All the while the one order it sent, again and again, was printed once.
    lines = manager.printed_since(begin, answered + 1)
    assert lines.count("Received Order 1: BUY 10 AAPL @ 173.20") == 1
    assert len(lines) == answered + 1


def test_of_those_that_come_together_to_the_last_place_the_first_is_heard(
    manager: Manager,
) -> None:
    with ExitStack() as clean_up:
        for _ in range(MAX_CLIENTS - 1):
            clean_up.enter_context(manager.connect()).ask(order(1))
        with manager.stopped():
            first, *others = [clean_up.enter_context(manager.connect()) for _ in range(3)]
        for client in others:
            assert client.frames_until_the_end() == []
        assert first.ask(order(1))["position"] == 10


def test_when_order_entry_is_full_the_oldest_silent_connection_makes_room(
    manager: Manager,
) -> None:
    with ExitStack() as clean_up:
        trader = clean_up.enter_context(manager.logged_on("early-trader"))
        anonymous = clean_up.enter_context(manager.connect())
        anonymous.ask(order(1))
        silent = [clean_up.enter_context(manager.connect()) for _ in range(MAX_CLIENTS)]
        # Full with the first 510 of them; the other two took the places of the oldest two.
        for client in silent[:2]:
            assert client.frames_until_the_end() == []
            assert manager.end_of(client.name)["reason"] == "made room: neither logon nor order"
        assert anonymous.ask(order(2))["position"] == 20
        assert trader.ask(order(1))["position"] == 10
        assert silent[-1].ask(order(1))["position"] == 10
        for client in silent[2:]:
            assert client.ask(order(1))["position"] == 10
