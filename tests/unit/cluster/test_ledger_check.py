"""A ledger is compared with the stream row by row: what differs is a line each."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("nats", reason="requirements-cluster.txt is not installed")

from lib.cluster import ledger_check
from lib.cluster.broker import CLAIMANT, EPOCH, Message
from lib.cluster.ledger_check import compare
from lib.cluster.ledger_journal import entry_of, place_of
from lib.ledger.journal import JournalEntry, encode_entry
from lib.ledger.projection import project
from lib.ledger.writer import Ledger
from lib.prices import decimal_text
from lib.settings import ClusterSettings
from tests.ledgers import orders, write_ledger

CLUSTER = ClusterSettings(servers=("nats://a:4222",), host="order-a")
ROWS = [tuple(one._replace(price=decimal_text(one.price))) for one in orders()]


class Stream:
    """A claim, and two messages of four orders each."""

    def __init__(self, _cluster: ClusterSettings) -> None:
        self.messages = [Message(1, {EPOCH: "1", CLAIMANT: "a-1"}, b"")]
        for begin in (0, 4):
            data = encode_entry(JournalEntry(orders=ROWS[begin : begin + 4], anonymous_clients=2))
            self.messages.append(Message(len(self.messages) + 1, {EPOCH: "1"}, data))

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def last(self) -> int:
        return len(self.messages)

    def read(self, first: int, last: int) -> Iterator[list[Message]]:
        yield self.messages[first - 1 : last]


@pytest.fixture
def stream(monkeypatch: pytest.MonkeyPatch) -> Stream:
    stream = Stream(CLUSTER)
    monkeypatch.setattr(ledger_check, "StreamReader", lambda _: stream)
    return stream


@pytest.fixture
def path(tmp_path: Path, stream: Stream) -> Path:
    """A ledger that was made of the stream."""
    path = tmp_path / "orders.sqlite"
    with closing(Ledger(path)) as ledger:
        project(ledger, [(place_of(one), entry_of(one)) for one in stream.messages])
    return path


def change(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def test_a_ledger_that_is_the_stream_agrees(path: Path) -> None:
    assert compare(CLUSTER, path) == ([], 3, 3)


def test_a_ledger_that_is_behind_agrees_as_far_as_it_is(path: Path, stream: Stream) -> None:
    stream.messages.append(stream.messages[1]._replace(sequence=4))
    assert compare(CLUSTER, path) == ([], 3, 4)


@pytest.mark.parametrize(
    ("statement", "lines"),
    [
        (
            "DELETE FROM orders WHERE client_id = 'carol'",
            ["order 1 of carol: is in TW_LEDGER, and not in the ledger"],
        ),
        (
            "UPDATE orders SET order_id = 7 WHERE client_id = 'carol'",
            [
                "order 1 of carol: is in TW_LEDGER, and not in the ledger",
                "order 7 of carol: is not in TW_LEDGER",
            ],
        ),
        (
            "UPDATE positions SET position = 5 WHERE client_id = 'bob'",
            ["position of bob in MSFT: position is 5, and 0 in TW_LEDGER"],
        ),
        (
            "UPDATE orders SET price = '1' WHERE client_id = 'carol'",
            ["order 1 of carol: price is 1, and 320 in TW_LEDGER"],
        ),
        (
            "UPDATE facts SET value = 9 WHERE name = 'anonymous_clients'",
            ["fact anonymous_clients: value is 9, and 2 in TW_LEDGER"],
        ),
        (
            "UPDATE facts SET value = 9 WHERE name = 'journal_sequence'",
            ["the ledger ends with message 9, and TW_LEDGER with 3"],
        ),
        (
            "UPDATE facts SET value = 'x' WHERE name = 'journal_digest'",
            ["message 3 of TW_LEDGER is not the one that the ledger ends with"],
        ),
        (
            "DELETE FROM facts WHERE name LIKE 'journal%'",
            ["the ledger is in no journal: it is from before [cluster]"],
        ),
    ],
)  # fmt: skip
def test_what_differs_is_a_line(path: Path, statement: str, lines: list[str]) -> None:
    change(path, statement)
    assert compare(CLUSTER, path).differences == lines


def test_a_stream_that_cannot_be_a_ledger_is_a_line(path: Path, stream: Stream) -> None:
    stream.messages[1] = stream.messages[1]._replace(data=b"x")
    (line,) = compare(CLUSTER, path).differences
    assert line.startswith("message 2 of TW_LEDGER is damaged, or of a later version: ")


def test_a_ledger_of_one_host_is_in_no_journal(tmp_path: Path, stream: Any) -> None:
    path = write_ledger(tmp_path / "orders.sqlite")
    assert compare(CLUSTER, path).differences == [
        "the ledger is in no journal: it is from before [cluster]"
    ]
