"""What is sent to the ports: the same by seed, valid and invalid, counted honestly."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from typing import cast

import pytest

from lib.process.supervisor import SupervisorSilentError
from tests.fuzz import campaign, sender, vitals
from tests.fuzz.campaign import run_campaign
from tests.fuzz.inputs import (
    DEEP,
    HTTP,
    MAX_INPUT_BYTES,
    NEWS,
    ORDERS,
    PORTS,
    PRICE,
    SEEDS,
    inputs_of,
)
from tests.fuzz.reached import reached, reached_by_orders
from tests.fuzz.sender import LAST_WORDS, send
from tests.fuzz.vitals import Vitals, deaths, kept_descriptors
from tests.stack import PrivateStack


@pytest.mark.parametrize("port", PORTS)
def test_a_connection_sends_the_same_each_time_and_another_one_something_else(port: str) -> None:
    assert inputs_of(port, 7, seed=1) == inputs_of(port, 7, seed=1)
    many = {tuple(inputs_of(port, number, seed=1)) for number in range(50)}
    assert len(many) > 40  # a single valid message may come more than once
    assert inputs_of(port, 7, seed=1) != inputs_of(port, 7, seed=2)


@pytest.mark.parametrize("port", PORTS)
def test_inputs_are_valid_ones_and_others_and_none_is_empty_or_endless(port: str) -> None:
    inputs = [one for number in range(300) for one in inputs_of(port, number, seed=1)]
    valid = sum(one in SEEDS[port] for one in inputs)
    assert 0.05 < valid / len(inputs) < 0.5
    assert all(0 < len(one) <= MAX_INPUT_BYTES for one in inputs)
    assert set(inputs) & set(DEEP)
    delimiter = b"\r\n" if port == HTTP else b"*"
    assert any(delimiter not in one for one in inputs)  # a part of one


def test_the_seeds_of_orders_are_json() -> None:
    assert [json.loads(one.removesuffix(b"*")) for one in SEEDS[ORDERS]]


@contextmanager
def server(reads: bool, *, hangs_up: bool = False) -> Iterator[tuple[int, list[bytes]]]:
    """A server that reads until the end, or never, or hangs up at once; what it has read."""
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    client, _ = listening.accept()
                except OSError:
                    return
                if hangs_up:
                    client.close()
                    continue
                kept.append(client)
                client.settimeout(10)
                data = b""
                try:
                    while reads and (more := client.recv(1 << 16)):
                        data += more
                except OSError:  # reset
                    pass
                heard.append(data)
                if reads:
                    client.close()

        kept: list[socket.socket] = []
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listening.getsockname()[1], heard
        listening.shutdown(socket.SHUT_RDWR)
    for client in kept:
        client.close()
    thread.join(10)


def test_everything_is_sent_as_it_is_and_counted() -> None:
    numbers = range(20)
    expected = [inputs_of(PRICE, number, seed=1) for number in numbers]
    with server(reads=True) as (port, heard):
        sent = send(PRICE, port, numbers, seed=1)
    assert sent.inputs == sum(map(len, expected))
    assert sent.connections == len(numbers)
    assert sent.hung == ()
    whole = [b"".join(inputs) for inputs in expected]
    assert sum(map(len, heard)) == sent.sent_bytes
    assert sorted(one.removesuffix(LAST_WORDS[PRICE]) for one in heard) == sorted(whole)


def test_what_was_not_sent_whole_is_not_counted() -> None:
    numbers = range(20)
    with server(reads=True, hangs_up=True) as (port, _):
        sent = send(ORDERS, port, numbers, seed=1)
    assert sent.inputs < sum(len(inputs_of(ORDERS, number, seed=1)) for number in numbers)
    assert sent.ended_by_server > 0


def test_a_connection_that_is_not_read_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "HANG_S", 0.3)
    endless = [b"A" * (64 << 20)]
    monkeypatch.setattr(sender, "inputs_of", lambda *_: endless)
    with server(reads=False) as (port, _):
        sent = send(PRICE, port, range(1), seed=1)
    assert sent.hung == (0,)
    assert (sent.inputs, sent.reached) == (0, 0)


HELLO = b"HELLO,1,0*"
GET = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


@pytest.mark.parametrize(
    ("port", "inputs", "looked_at"),
    [
        (PRICE, [b"nonsense*", HELLO, HELLO], 1),
        (PRICE, [HELLO, HELLO, HELLO], 2),
        (NEWS, [b"HEL", b"LO,1,", b"0*", b"50*", HELLO], 4),  # the first three are one message
        (NEWS, [bytes(70_000), HELLO], 1),
        (HTTP, [GET, GET], 1),
        (HTTP, [b"GET / HTTP/1.1\r\n", b"Host: 127.0.0.1\r\n", b"\r\n", GET], 3),
        (HTTP, [b"\0\r\n\r\n", GET], 1),
    ],
)
def test_what_comes_after_the_end_of_a_connection_is_not_looked_at(
    port: str, inputs: list[bytes], looked_at: int
) -> None:
    assert reached(port, inputs) == looked_at


def test_an_order_is_looked_at_if_the_message_that_begins_in_it_is_answered() -> None:
    inputs = [b"a*", b"b", b"c*d*", b"e"]  # 3 messages, and one that is not over
    assert [reached_by_orders(inputs, answers) for answers in range(5)] == [0, 1, 3, 3, 4]


def test_only_what_comes_before_the_end_of_a_connection_is_counted_as_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sender, "RUDE_SHARE", 0.0)
    numbers = range(20)
    with server(reads=True) as (port, _):
        sent = send(PRICE, port, numbers, seed=1)
    expected = sum(reached(PRICE, inputs_of(PRICE, number, seed=1)) for number in numbers)
    assert sent.reached == expected < sent.inputs


def test_what_a_connection_that_ends_at_once_has_sent_is_not_taken_for_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sender, "RUDE_SHARE", 1.0)
    with server(reads=True) as (port, _):
        sent = send(PRICE, port, range(20), seed=1)
    assert sent.inputs > 0
    assert sent.reached == 0


def test_a_role_with_another_process_has_died() -> None:
    before = Vitals({"gateway": 1, "strategy": 2}, {}, {}, 0, 0)
    now = Vitals({"gateway": 1, "strategy": 0}, {}, {}, 0, 0)
    assert deaths(before, before) == []
    assert deaths(before, now) == ["strategy has died: its process is gone, it was 2"]


def test_a_role_that_has_died_keeps_no_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    before = Vitals({"gateway": 1, "strategy": 2}, {}, {"gateway": 9, "strategy": 9}, 0, 0)
    now = Vitals({"gateway": 1, "strategy": 0}, {}, {"gateway": 9}, 0, 0)
    monkeypatch.setattr(vitals, "look", lambda _: now)
    assert kept_descriptors(cast(PrivateStack, None), before) == []


@pytest.mark.parametrize(
    "error", [SupervisorSilentError("refused"), HTTPException(), KeyError("gateway"), EOFError()]
)
def test_whatever_ends_a_campaign_is_a_finding_in_a_summary_with_the_seed(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise error

    monkeypatch.setattr(campaign.PrivateStack, "start", fail)
    ended = run_campaign(1, seed=77)
    assert "seed 77" in str(ended)
    [finding] = ended.findings
    assert type(error).__name__ in finding
    assert finding in str(ended)
