"""What is looked at before a ledger is traded on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from sqlite3 import Connection, OperationalError

import pytest

from lib.ledger import start_check
from lib.ledger.schema import open_for_writing
from lib.ledger.start_check import damage, differences
from tests.ledgers import write_ledger


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Connection]:
    with closing(open_for_writing(write_ledger(tmp_path / "orders.sqlite"))) as connection:
        yield connection


@pytest.fixture(params=[100, 2, 1], ids="the last {} fills are replayed".format)
def replayed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(start_check, "MAX_REPLAYED", request.param)
    return request.param


def test_a_ledger_as_it_was_booked_has_no_differences(connection, replayed):
    assert list(differences(connection)) == []
    assert damage(connection) == ""


QUANTITIES = {
    "UPDATE positions SET position = -18 WHERE client_id = 'alice'": (
        "position of alice in AAPL: position is -18, the "
    ),
    "UPDATE positions SET position = 3 WHERE client_id = 'bob'": (
        "position of bob in MSFT: position is 3, the "
    ),
    "DELETE FROM positions WHERE client_id = 'alice'": (
        "position of alice in AAPL: missing, there are fills"
    ),
    "INSERT INTO positions VALUES ('carol', 'MSFT', 0, '0', NULL, '0')": (
        "position of carol in MSFT: there are no fills of it"
    ),
    "INSERT INTO positions VALUES ('alice', 'MSFT', 5, '5', '1', '0')": (
        "position of alice in MSFT: there are no fills of it"
    ),
    "UPDATE orders SET position = 16 WHERE client_id = 'alice' AND order_id = 5": (
        "position of alice in AAPL: position is -19, the "
    ),
}


@pytest.mark.parametrize("change", QUANTITIES)
def test_a_position_that_is_not_what_its_last_fill_says_is_found_however_long_ago_that_was(
    connection, replayed, change
):
    connection.execute(change)
    found = list(differences(connection))
    assert found[0].startswith(QUANTITIES[change])
    assert {line.partition(":")[0] for line in found} == {found[0].partition(":")[0]}


@pytest.mark.parametrize(
    ("client_id", "is_found"),
    [("anonymous-1", False), ("anonymous-99", False), ("anonymoux", True), ("a", True)],
)
def test_older_positions_of_clients_without_a_logon_are_not_looked_at(
    connection, monkeypatch, client_id, is_found
):
    monkeypatch.setattr(start_check, "MAX_REPLAYED", 1)
    row = "'AAPL', 5, '5', '1', '0'"
    connection.execute(f"INSERT INTO positions VALUES ('{client_id}', {row})")
    expected = [f"position of {client_id} in AAPL: there are no fills of it"] if is_found else []
    assert list(differences(connection)) == expected


def test_the_last_fills_of_clients_without_a_logon_are_looked_at(connection, monkeypatch):
    monkeypatch.setattr(start_check, "MAX_REPLAYED", 1)
    (last,) = connection.execute("SELECT max(trade_id) FROM orders").fetchone()
    connection.execute("UPDATE orders SET client_id = 'anonymous-1' WHERE trade_id = ?", (last,))
    (found,) = (line for line in differences(connection) if "anonymous" in line)
    assert found == "position of anonymous-1 in AAPL: missing, there are fills"


def test_older_positions_are_compared_only_while_there_is_time(connection, monkeypatch):
    monkeypatch.setattr(start_check, "MAX_REPLAYED", 1)
    monkeypatch.setattr(start_check, "MAX_OLDER_S", -1)
    connection.execute("UPDATE positions SET position = position + 1")
    assert [line.partition(":")[0] for line in differences(connection)] == [
        "position of alice in AAPL"
    ]


def test_a_query_without_an_end_ends_with_its_time(connection):
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT sum(i) FROM n"
    with start_check._time_limit(connection, 0.01) as has_time:
        connection.execute(endless).fetchall()
    assert not has_time()
    with (
        pytest.raises(OperationalError, match="no such table"),
        start_check._time_limit(connection, 60),
    ):
        connection.execute("SELECT * FROM no_table")
    assert list(differences(connection)) == []


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE positions SET cost = '-3258.50000001' WHERE client_id = 'alice'",
        "UPDATE positions SET realised_profit = '-36.47' WHERE client_id = 'bob'",
        "UPDATE orders SET price = '320.00000001' WHERE client_id = 'bob' AND order_id = 2",
        "DELETE FROM orders WHERE client_id = 'alice' AND order_id = 2",
        "DELETE FROM positions WHERE client_id = 'bob'",
    ],
)
def test_while_the_fills_are_few_all_columns_are_compared(connection, change):
    connection.execute(change)
    assert list(differences(connection))


def test_few_pages_are_all_checked(connection, tmp_path, monkeypatch):
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    path = tmp_path / "orders.sqlite"
    with closing(open_for_writing(path)) as connection:
        query = "SELECT rootpage FROM sqlite_master WHERE name = 'sqlite_autoindex_orders_1'"
        (page,) = connection.execute(query).fetchone()
        (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
    with path.open("r+b") as file:
        file.seek(page * page_bytes - 40)  # where its first entries are
        file.write(b"\xff" * 40)
    with closing(open_for_writing(path)) as connection:
        assert damage(connection)
        assert damage(connection).isprintable()
        monkeypatch.setattr(start_check, "MAX_QUICK_CHECK_BYTES", page_bytes)
        assert damage(connection) == ""
