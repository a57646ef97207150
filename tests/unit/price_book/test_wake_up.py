"""Sleepers and wakers, in one process: both ends of the FIFOs are descriptors."""

from __future__ import annotations

import os
import select
from pathlib import Path
from types import SimpleNamespace

import pytest

from lib.price_book import wake_up
from lib.price_book.wake_up import (
    FOR_ALL,
    FOR_ROLES,
    RESERVED_SLOTS,
    SLOTS,
    Poller,
    Sleeper,
    Waker,
    planted,
    wake_all,
)


@pytest.fixture
def prefix(tmp_path: Path) -> str:
    return str(tmp_path / "book.reader-")


def claim(prefix: str, slots: range = FOR_ROLES) -> Sleeper | None:
    return Sleeper.claim(prefix, slots)


def is_awake(sleeper: Sleeper | Poller) -> bool:
    return bool(select.select([sleeper], [], [], 0)[0])


def test_a_sleeper_is_woken_by_the_number_of_its_slot(prefix):
    first, second = claim(prefix), claim(prefix)
    waker = Waker(prefix)
    waker.wake(second.slot)
    assert (is_awake(first), is_awake(second)) == (False, True)
    second.drain()
    assert not is_awake(second)


def test_a_new_owner_of_a_slot_does_not_get_the_wake_up_of_the_old_one(prefix):
    waker = Waker(prefix)
    first = claim(prefix)
    waker.wake(0)  # opens the FIFO, which keeps the byte beyond the life of its owner
    first.close()
    second = claim(prefix)
    assert not is_awake(second)
    waker.wake(0)
    assert is_awake(second)


def test_a_fifo_that_was_removed_and_made_again_is_found(prefix):
    waker = Waker(prefix)
    first = claim(prefix)
    waker.wake(0)
    Path(f"{prefix}00").unlink()
    first.close()
    second = claim(prefix)
    waker.wake(0)
    assert is_awake(second)


def test_a_full_fifo_is_no_error(prefix):
    sleeper, waker = claim(prefix), Waker(prefix)
    while select.select([], [sleeper], [], 0)[1]:
        os.write(sleeper.fileno(), bytes(4096))
    waker.wake(0)
    assert is_awake(sleeper)


def test_what_is_no_fifo_is_left_alone(prefix, tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("data")
    Path(f"{prefix}00").symlink_to(precious)
    Path(f"{prefix}01").write_text("data")
    Path(f"{prefix}02").mkdir()
    wake_all(prefix)
    assert claim(prefix).slot == 3
    assert precious.read_text() == Path(f"{prefix}01").read_text() == "data"


def test_a_fifo_of_another_user_is_neither_adopted_nor_written_to(prefix, monkeypatch):
    os.mkfifo(f"{prefix}00", 0o600)
    Path(f"{prefix}00").chmod(0o666)
    theirs = os.open(f"{prefix}00", os.O_RDWR | os.O_NONBLOCK)
    Waker(prefix).wake(0)
    assert not select.select([theirs], [], [], 0)[0]
    assert claim(prefix).slot == 1
    assert planted(prefix, FOR_ROLES) == [
        f"{prefix}00: others may write to it (mode 0666): remove it, or, if you trust what is in "
        "it, chmod go-w"
    ]
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert "it belongs to user" in planted(prefix, range(1, 2))[0]
    assert claim(prefix, range(1, 2)) is None
    os.close(theirs)


def test_a_sleeper_knows_that_its_fifo_was_removed(prefix):
    sleeper, poller = claim(prefix), Poller()
    assert (sleeper.is_lost(), poller.is_lost()) == (False, False)
    Path(f"{prefix}00").unlink()
    assert sleeper.is_lost()
    os.mkfifo(f"{prefix}00", 0o600)
    assert sleeper.is_lost()
    poller.close()


def test_the_slots_of_the_roles_are_free_however_many_others_sleep(prefix):
    others = [claim(prefix, FOR_ALL) for _ in range(SLOTS - RESERVED_SLOTS)]
    assert claim(prefix, FOR_ALL) is None
    roles = [claim(prefix, FOR_ROLES) for _ in range(RESERVED_SLOTS)]
    assert [role.slot for role in roles] == list(range(RESERVED_SLOTS))
    assert claim(prefix, FOR_ROLES) is None
    for _ in range(2):
        others[3].close()
    assert claim(prefix, FOR_ROLES).slot == RESERVED_SLOTS + 3


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_waker_leaves_no_descriptor_behind(prefix):
    sleepers = [claim(prefix) for _ in range(3)]
    before = open_files()
    waker = Waker(prefix)
    for slot in (0, 1, 2, 2, 5):
        waker.wake(slot)
    assert open_files() == before + 3
    sleepers.pop().close()
    waker.wake(2)
    assert open_files() == before + 1
    for _ in range(2):
        waker.close()
    wake_all(prefix)
    assert open_files() == before - 1
    assert all(map(is_awake, sleepers))


def test_a_poller_wakes_by_itself_again_and_again():
    poller = Poller()
    for _ in range(3):
        assert select.select([poller], [], [], 30)[0]
        poller.drain()
        poller.drain()
    poller.close()
    poller.close()


def test_a_poller_looks_for_a_slot_now_and_then(prefix, monkeypatch):
    looks, times_s = [], iter((100.0, 104.9, 105.0, 109.9, 110.0))
    monkeypatch.setattr(Sleeper, "claim", lambda *what: looks.append(what))
    monkeypatch.setattr(wake_up, "time", SimpleNamespace(monotonic=lambda: next(times_s)))
    poller = Poller()
    for expected in (0, 1, 1, 2):
        poller.claim_again(prefix, FOR_ALL)
        assert len(looks) == expected
    poller.close()
