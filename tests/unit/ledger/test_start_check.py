"""What is looked at before a ledger is traded on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from sqlite3 import Connection

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
