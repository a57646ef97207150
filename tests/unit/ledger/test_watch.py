"""The look at a ledger: its loss is logged once, also while no order comes, and so is its end."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from lib.errors import CannotStartError
from lib.ledger.schema import LedgerError
from lib.ledger.watch import LOOK_NS, LedgerWatch
from lib.ledger.writer import Ledger
from tests.helpers import fresh_ledger, locked


class Watched:
    """A ledger, what looks at it, and what that logs."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.watch = LedgerWatch(ledger, 0)
        self.now_ns = 0

    def look(self, times: int = 3) -> list[tuple[str, str]]:
        """Look again and again; return what is logged: events with their reasons."""
        with capture_logs() as logged:
            for _ in range(times):
                self.now_ns += LOOK_NS
                assert self.watch.next_deadline_ns() == self.now_ns
                self.watch.on_time(self.now_ns)
        return [(line["event"], line.get("reason", "")) for line in logged]


@pytest.fixture
def watched() -> Iterator[Watched]:
    with fresh_ledger() as ledger:
        ledger.open()
        yield Watched(ledger)


def test_a_ledger_that_is_there_is_not_worth_a_line(watched):
    assert watched.look() == []


def test_a_lost_ledger_is_logged_once_and_again_when_it_is_back(watched):
    path = watched.ledger.path
    for _ in range(2):
        path.rename(path.with_name("moved"))
        ((event, reason),) = watched.look()
        assert event == "ledger_lost"
        assert reason.startswith(f"ledger {path}: was removed; no order is booked until it is back")
        path.with_name("moved").rename(path)
        assert watched.look() == [("ledger_recovered", "")]


@pytest.mark.parametrize("suffix", ["-wal", "-shm", ".lock"])
def test_a_file_beside_the_ledger_is_made_anew_and_that_is_logged(watched, suffix):
    path = Path(f"{watched.ledger.path}{suffix}")
    path.unlink()
    assert watched.look() == [
        ("ledger_failed", f"ledger {watched.ledger.path}: {path.name} was removed"),
        ("ledger_recovered", ""),
    ]
    assert path.exists()


def test_a_ledger_of_another_order_manager_is_taken_over_when_that_has_ended(watched):
    second = Watched(Ledger(watched.ledger.path))
    with pytest.raises(LedgerError) as refused:
        second.ledger.open()
    second.watch.failed(str(refused.value))
    with pytest.raises(LedgerError):
        second.ledger.commit()
    assert second.look() == []  # it was logged already
    watched.ledger.close()
    assert second.look() == [("ledger_recovered", "")]
    second.ledger.close()


@pytest.mark.parametrize("what", ["damaged", "another program's"])
def test_what_the_operator_has_to_mend_ends_a_start_that_had_to_wait_for_another_order_manager(
    watched, what
):
    path = watched.ledger.path
    second = Watched(Ledger(path))
    ((event, reason),) = second.look()
    assert (event, "another order manager writes it" in reason) == ("ledger_failed", True)
    watched.ledger.close()
    with closing(sqlite3.connect(path)) as connection:
        if what == "damaged":
            connection.execute("INSERT INTO positions VALUES ('x', 'AAPL', 5, '5', '1', '0')")
            expected = (
                f"ledger {path}: position of x in AAPL: there are no fills of it; go on with .* "
                "look at it with `python -m lib.ledger .* --check`$"
            )
        else:
            connection.execute("PRAGMA application_id = 1")
            expected = f"ledger {path}: an SQLite file of another program"
        connection.commit()
    with pytest.raises(CannotStartError, match=expected):
        second.look()
    second.ledger.close()


def test_a_ledger_that_comes_back_damaged_does_not_end_what_knows_the_one_that_was_there(watched):
    path = watched.ledger.path
    moved = path.rename(path.with_name("moved"))
    assert [event for event, _ in watched.look()] == ["ledger_lost"]
    with closing(sqlite3.connect(moved)) as connection:
        connection.execute("INSERT INTO positions VALUES ('x', 'AAPL', 5, '5', '1', '0')")
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    moved.rename(path)
    ((event, reason),) = watched.look()
    assert event == "ledger_failed"
    assert "there are no fills of it; go on with what the fills say: `python -m" in reason
    path.rename(moved)
    assert [event for event, _ in watched.look()] == ["ledger_lost"]
    assert not path.exists()


def test_a_failure_to_write_is_over_when_an_order_is_booked_and_not_when_a_look_succeeds(watched):
    with locked(watched.ledger), capture_logs() as logged:
        watched.watch.failed("locked")
        watched.watch.failed("locked")
    assert [line["event"] for line in logged] == ["ledger_failed"]
    assert watched.look() == []
    with capture_logs() as logged:
        watched.watch.works()
        watched.watch.works()
    assert [line["event"] for line in logged] == ["ledger_recovered"]
