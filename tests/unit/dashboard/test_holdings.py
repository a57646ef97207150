"""Positions are added up in slices, by symbol and by strategy."""

from __future__ import annotations

from pathlib import Path

import pytest

from lib.dashboard import holdings
from lib.dashboard.holdings import Held, Holdings, HoldingsReader
from lib.ledger.reader import read_ledger
from lib.prices import to_float
from tests.ledgers import orders, positions, write_ledger


def read(reader: HoldingsReader, path: Path) -> Holdings | None:
    with read_ledger(path) as ledger:
        reader.read(ledger)
    return reader.latest


@pytest.mark.parametrize("slice_size", [1, 2, 3, 100])
def test_totals_are_those_of_all_clients_and_of_those_who_are_named(
    tmp_path, monkeypatch, slice_size
):
    monkeypatch.setattr(holdings, "POSITIONS_A_READ", slice_size)
    path = write_ledger(tmp_path / "orders.sqlite")
    exact = positions(orders())
    reader = HoldingsReader(["alice", "bob", "dave"])
    for _ in range(len(exact) // slice_size):
        assert read(reader, path) is None
    for latest in (read(reader, path), read_all_again(reader, path, len(exact) // slice_size)):
        assert latest
        for symbol in ("AAPL", "MSFT"):
            held = [one for one in exact if one.symbol == symbol]
            assert latest.by_symbol[symbol] == pytest.approx(
                (
                    sum(one.position for one in held),
                    to_float(sum(one.cost for one in held)),
                    to_float(sum(one.realised_profit for one in held)),
                )
            )
        profit = to_float(sum(one.realised_profit for one in exact if one.client_id == "alice"))
        assert latest.by_client["alice"] == (1, pytest.approx(profit))
        assert latest.by_client["bob"].symbols == 0
        assert latest.by_client["dave"] == Held()
        assert len(latest.by_client) == 3
        assert latest.realised == pytest.approx(to_float(sum(one.realised_profit for one in exact)))


def read_all_again(reader: HoldingsReader, path: Path, slices: int) -> Holdings | None:
    before = reader.latest
    for _ in range(slices):
        assert read(reader, path) is before
    return read(reader, path)


def test_a_ledger_in_the_place_of_another_is_read_from_its_beginning(tmp_path, monkeypatch):
    monkeypatch.setattr(holdings, "POSITIONS_A_READ", 2)
    path = write_ledger(tmp_path / "orders.sqlite")
    reader = HoldingsReader(["alice"])
    assert read(reader, path) is None
    path.unlink()
    write_ledger(path, "alice 1 BUY 1 NVDA @ 1", "2025-11-04T14:30:00.000001Z")
    latest = read(reader, path)
    assert latest
    assert [*latest.by_symbol] == ["NVDA"]
