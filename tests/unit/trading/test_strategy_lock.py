"""One strategy a client_id: the second one refuses, and knows who and what to do."""

from __future__ import annotations

import os
import signal

import pytest

from lib.errors import CannotStartError
from lib.trading.strategy_lock import ClientIdLock, hold_client_id
from tests.helpers import wait_until
from tests.processes import forked


def test_a_client_id_is_held_by_one_strategy_until_it_is_killed(tmp_path):
    def holder():
        ClientIdLock(tmp_path, "second")
        signal.pause()

    with forked(holder) as child:
        path = tmp_path / "strategy-second.lock"
        wait_until(lambda: path.exists() and path.read_text(), "the child has it")
        with pytest.raises(CannotStartError) as refusal:
            ClientIdLock(tmp_path, "second")
        assert f"process {child.pid}" in str(refusal.value)
        assert "client_id of its own" in str(refusal.value)
        ClientIdLock(tmp_path, "third").let_go()
        child.kill()
        child.join()
        ClientIdLock(tmp_path, "second").let_go()


def test_a_process_that_the_strategy_has_forked_does_not_hold_its_client_id(tmp_path):
    def strategy():
        hold_client_id(tmp_path, "second")
        with forked(signal.pause) as worker:
            (tmp_path / "worker").write_text(str(worker.pid))
            signal.pause()

    with forked(strategy) as child:
        worker = tmp_path / "worker"
        wait_until(lambda: worker.exists() and worker.read_text(), "it has forked")
        with pytest.raises(CannotStartError):
            ClientIdLock(tmp_path, "second")
        child.kill()
        child.join()
        ClientIdLock(tmp_path, "second").let_go()
        os.kill(int(worker.read_text()), signal.SIGKILL)


def test_nor_does_one_forked_from_that_one_and_it_keeps_all_other_files(tmp_path):
    def strategy():
        hold_client_id(tmp_path, "second")
        next_file = os.open(os.devnull, os.O_RDONLY)

        def worker():
            mine = os.open(os.devnull, os.O_RDONLY)
            assert mine < next_file  # the number of the lock is given again
            with forked(lambda: os.fstat(mine)) as process:
                assert process.join() == 0

        with forked(worker) as process:
            assert process.join() == 0

    with forked(strategy) as child:
        assert child.join() == 0


def test_a_lock_that_cannot_be_made_says_why(tmp_path):
    (tmp_path / "strategy-second.lock").mkdir()
    with pytest.raises(CannotStartError, match=r"cannot lock .*second\.lock: it is a directory"):
        ClientIdLock(tmp_path, "second")


def test_a_lock_whose_file_was_removed_is_taken_anew_unless_another_strategy_was_first(tmp_path):
    path = tmp_path / "strategy-second.lock"
    lock = ClientIdLock(tmp_path, "second")
    assert lock.is_in_place()
    path.unlink()
    assert not lock.is_in_place()
    lock.put_back()
    assert lock.is_in_place()
    with pytest.raises(CannotStartError, match="another strategy's"):
        ClientIdLock(tmp_path, "second")
    path.unlink()
    other = ClientIdLock(tmp_path, "second")
    with pytest.raises(CannotStartError, match=rf"another strategy's: process {os.getpid()}"):
        lock.put_back()
    lock.let_go()
    assert other.is_in_place()
    other.let_go()
