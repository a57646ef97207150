"""A journal makes the ledger that it was decided with; what does not fit is refused."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from lib.ledger.journal import JournalEntry, JournalError, JournalPlace, decode_entry, encode_entry
from lib.ledger.projection import project
from lib.ledger.reader import read_ledger
from lib.ledger.schema import LedgerError
from lib.ledger.writer import Ledger
from lib.prices import decimal_text
from tests.helpers import fresh_ledger, locked
from tests.ledgers import orders, positions

BOOKED = orders()
ROWS = [tuple(order._replace(price=decimal_text(order.price))) for order in BOOKED]


def place(sequence: int) -> JournalPlace:
    return JournalPlace(sequence, f"digest-{sequence}")


def entries(*sizes: int) -> list[tuple[JournalPlace, JournalEntry]]:
    """The history in entries of these sizes, as they come out of a journal."""
    rows, made = list(ROWS), []
    for number, size in enumerate(sizes, 1):
        entry = JournalEntry(orders=[rows.pop(0) for _ in range(size)])
        made.append((place(number), decode_entry(encode_entry(entry))))
    return made


def content(path: Path) -> list[object]:
    with read_ledger(path) as snapshot:
        return [sorted(snapshot.orders()), list(snapshot.positions())]


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    with fresh_ledger() as ledger:
        yield ledger


@pytest.mark.parametrize("sizes", [(8,), (1, 7), (3, 0, 5), (1,) * 8])
def test_the_same_orders_make_the_same_ledger_in_whatever_entries_they_come(ledger, sizes):
    for entry in entries(*sizes):
        project(ledger, [entry])
    assert content(ledger.path) == [sorted(BOOKED), positions(BOOKED)]
    assert ledger.journal_place() == place(len(sizes))


def test_an_entry_that_is_booked_is_skipped_and_the_place_outlives_a_restart(ledger):
    first, second = entries(3, 5)
    project(ledger, [first])
    ledger.close()
    project(ledger, [first, second, first, second])
    project(ledger, [first, second])
    assert ledger.journal_place() == place(2)
    assert content(ledger.path) == [sorted(BOOKED), positions(BOOKED)]


def test_an_entry_that_comes_twice_at_once_is_booked_once(ledger):
    """A writer knows its own by the acknowledgement, and may have been sent it before that."""
    first, second = entries(3, 5)
    project(ledger, [first, first, second, first])
    assert ledger.journal_place() == place(2)
    assert content(ledger.path) == [sorted(BOOKED), positions(BOOKED)]


def test_facts_are_those_of_the_journal(ledger):
    marks = {"alice": "-12.5 reached", "bob": "3"}
    entry = JournalEntry(orders=ROWS[:1], loss_marks=marks, anonymous_clients=7)
    project(ledger, [(place(1), decode_entry(encode_entry(entry)))])
    with closing(sqlite3.connect(ledger.path)) as connection:
        facts = dict(connection.execute("SELECT name, value FROM facts"))
    assert {name: facts[name] for name in facts if name[0] in "alj"} == {
        "anonymous_clients": 7,
        "loss_mark:alice": "-12.5 reached",
        "loss_mark:bob": "3",
        "journal_sequence": 1,
        "journal_digest": "digest-1",
    }
    assert ledger.clients_at_limit() == ["alice"]


def test_a_number_of_a_client_that_was_not_booked_is_not_of_the_journal(ledger):
    assert [ledger.next_anonymous_client() for _ in range(3)] == [1, 2, 3]
    first, second = entries(3, 5)
    first = first[0], msgspec.structs.replace(first[1], anonymous_clients=2)
    project(ledger, [first])
    project(ledger, [second])
    assert ledger.anonymous_clients() == 2
    assert ledger.next_anonymous_client() == 4  # this process has handed out three


@pytest.mark.parametrize(
    ("row", "change", "reason"),
    [
        (0, {5: "1e3"}, "order 1 of 'alice' is not as an order manager books"),
        (0, {5: "0"}, "order 1 of 'alice' has no price"),
        (1, {0: "alice"}, "order 1 of 'alice' is booked already"),
        (1, {8: 3}, "order 1 of 'bob' has trade_id 3, and 2 is next"),
        (1, {9: 7}, "order 1 of 'bob' leads to position 7, and what is booked leads to -7"),
        (3, {8: 4}, "order 3 of 'alice' has trade_id 4, and None is next"),
    ],
)
def test_an_entry_that_cannot_be_is_refused_with_its_order(ledger, row, change, reason):
    rows = [list(one) for one in ROWS]
    for column, value in change.items():
        rows[row][column] = value
    entry = JournalEntry(orders=[tuple(one) for one in rows])
    with pytest.raises(JournalError) as refused:
        project(ledger, [(place(1), decode_entry(encode_entry(entry)))])
    assert str(refused.value).startswith(f"entry 1 of the journal: {reason}")
    project(ledger, entries(8))  # nothing of it was left behind
    assert content(ledger.path) == [sorted(BOOKED), positions(BOOKED)]


def test_a_gap_is_refused(ledger):
    first, second, third = entries(2, 2, 4)
    for given in ([second], [first, third]):
        with pytest.raises(JournalError, match=r"entry \d of the journal is missing"):
            project(ledger, given)
    assert ledger.journal_place() is None


@pytest.mark.parametrize(
    "data", [b"", b"x", b"[]", b'{"orders":[[1]]}', b'{"orders":[],"more":1}', b'{"orders":"\xff"}']
)
def test_a_damaged_entry_is_one_line(data):
    with pytest.raises(JournalError, match=r"^is damaged, or of a later version: [^\n]+$"):
        decode_entry(data)


def test_what_a_failing_disk_did_not_take_is_taken_later(ledger):
    first, second = entries(3, 5)
    project(ledger, [first])
    with locked(ledger), pytest.raises(LedgerError):
        project(ledger, [second])
    project(ledger, [second])
    assert content(ledger.path) == [sorted(BOOKED), positions(BOOKED)]


def test_a_ledger_that_is_set_apart_keeps_its_content_and_a_new_one_begins(ledger):
    project(ledger, entries(8))
    ledger.next_anonymous_client()
    apart = ledger.set_apart(".apart-20261130T120000Z")
    assert apart == ledger.path.with_name("orders.sqlite.apart-20261130T120000Z")
    assert content(apart) == [sorted(BOOKED), positions(BOOKED)]
    assert (ledger.journal_place(), ledger.has_orders()) == (None, False)
    project(ledger, entries(2, 6))
    assert content(ledger.path) == content(apart)
    with pytest.raises(LedgerError, match="it is there"):
        ledger.set_apart(".apart-20261130T120000Z")
    assert content(ledger.path) == content(apart)
