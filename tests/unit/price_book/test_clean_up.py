"""The clean-up: a real process that outlives the role, and not the run."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import pytest

from lib.price_book import clean_up
from lib.price_book.clean_up import clean_up_when_run_ends, live_owner, wait_for_end
from lib.price_book.segment_files import (
    PriceBookError,
    PriceBookInUse,
    keeper_path,
    remove_segments,
    segment_path,
)
from lib.process import run_identity as run_module
from lib.process.run_identity import Run
from lib.shared_memory_utils import SharedPriceBook
from tests.helpers import wait_until
from tests.price_books import files_of
from tests.processes import forked, run_python


class Supervisord:
    """A process whose life is a run."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(["sleep", "300"])
        self.run = run_module.run_of(self._process.pid)

    def end(self) -> None:
        self._process.kill()
        self._process.wait()


@pytest.fixture
def supervisord() -> Iterator[Supervisord]:
    supervisord = Supervisord()
    yield supervisord
    supervisord.end()


@pytest.fixture
def name(supervisord: Supervisord) -> Iterator[str]:
    name = f"test-{os.getpid()}-{secrets.token_hex(6)}"
    yield name
    supervisord.end()
    wait_until(lambda: not clean_ups_of(name), "the clean-up ends")
    remove_segments(name)


def clean_ups_of(name: str) -> list[int]:
    """Process numbers of the clean-up processes of a price book."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            arguments = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"lib.price_book.clean_up" in arguments and name.encode() in arguments:
            found.append(int(path.parent.name))
    return found


def open_files(pid: int | str) -> set[str]:
    paths = Path(f"/proc/{pid}/fd").iterdir()
    return {str(path.readlink()) for path in paths if path.is_symlink()}


def test_all_roles_of_a_run_start_one_clean_up(name, supervisord):
    def role():
        clean_up_when_run_ends(name, supervisord.run)

    with forked(role) as a, forked(role) as b, forked(role) as c:
        assert {a.join(), b.join(), c.join()} == {0}
    role()
    assert len(clean_ups_of(name)) == 1
    assert str(keeper_path(name)) not in open_files("self")


def test_all_files_are_gone_when_the_run_has_ended_though_the_role_was_killed_with_its_group(
    name, supervisord
):
    def role():
        os.setsid()
        clean_up_when_run_ends(name, supervisord.run)
        with SharedPriceBook(["AAPL"], name, ring_capacity=10) as book:
            book.update("AAPL", 1)
            os.killpg(0, signal.SIGKILL)

    with forked(role) as child:
        assert child.join() == -signal.SIGKILL
    (process,) = clean_ups_of(name)
    with SharedPriceBook.attach(name).reader() as reader:
        assert reader.arm()
        files = [name, *(f"{name}.{end}" for end in ("keeper", "lock", "reader-16"))]
        assert files_of(name) == files
        supervisord.end()
        assert reader.wait(30)
        assert reader.retired
    wait_until(lambda: not files_of(name), "all files are gone")
    wait_until(lambda: process not in clean_ups_of(name), "the clean-up ends")


def test_a_clean_up_is_no_child_of_the_role_and_holds_only_its_own_files(name, supervisord):
    ours, theirs = os.pipe()
    os.set_inheritable(theirs, True)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    try:
        clean_up_when_run_ends(name, supervisord.run)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    (process,) = clean_ups_of(name)

    def status(key: str) -> str:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
        return dict(line.split(":\t", 1) for line in lines)[key]

    assert int(status("PPid")) != os.getpid()
    assert os.getsid(process) != os.getsid(0)
    wait_until(lambda: int(status("SigBlk"), 16) == 0, "the clean-up can be ended by a signal")
    assert open_files(process) - {"anon_inode:[pidfd]"} == {"/dev/null", str(keeper_path(name))}
    os.close(theirs)
    assert os.read(ours, 1) == b""
    os.close(ours)


def test_a_process_that_got_the_number_of_the_run_is_not_waited_for():
    ours = run_module.current_run()
    looked = Mock()
    wait_for_end(Run(ours.pid, ours.start_ticks - 1), looked)
    assert not looked.called


def test_a_kernel_without_pidfd_is_asked_again_and_again(supervisord, monkeypatch):
    looks = iter([True, True, False])
    not_there = Mock(side_effect=OSError(38, "Function not implemented"))
    monkeypatch.setattr(os, "pidfd_open", not_there)
    monkeypatch.setattr(clean_up, "_RUN_POLL_S", 0.001)
    monkeypatch.setattr(clean_up, "is_alive", lambda _run: next(looks))
    looked = Mock()
    wait_for_end(supervisord.run, looked)
    assert list(looks) == []
    assert looked.call_count == 2


def test_a_second_stack_is_refused_even_if_the_clean_up_of_the_first_was_killed(name, supervisord):
    assert live_owner(name) is None
    clean_up_when_run_ends(name, supervisord.run)
    (process,) = clean_ups_of(name)
    for is_killed in (False, True):
        if is_killed:
            os.kill(process, signal.SIGKILL)
            wait_until(lambda: not clean_ups_of(name), "the clean-up is dead")
        assert live_owner(name) == supervisord.run
        with pytest.raises(PriceBookInUse, match=rf"process {supervisord.run.pid}\)") as refusal:
            clean_up_when_run_ends(name, run_module.current_run())
        assert refusal.value.pid == supervisord.run.pid
    clean_up_when_run_ends(name, supervisord.run)
    assert len(clean_ups_of(name)) == 1
    supervisord.end()
    assert live_owner(name) is None


def test_a_lock_that_vanishes_is_taken_again_by_one_clean_up(name, supervisord):
    clean_up_when_run_ends(name, supervisord.run)
    (first,) = clean_ups_of(name)
    keeper_path(name).unlink()
    wait_until(lambda: live_owner(name) == supervisord.run, "the lock file is back")
    clean_up_when_run_ends(name, supervisord.run)
    assert clean_ups_of(name) == [first]
    # A role is quicker than its look: then there are two, and the first one ends.
    os.kill(first, signal.SIGSTOP)
    keeper_path(name).unlink()
    clean_up_when_run_ends(name, supervisord.run)
    assert len(clean_ups_of(name)) == 2
    os.kill(first, signal.SIGCONT)
    wait_until(lambda: first not in clean_ups_of(name), "the first one ends")
    assert live_owner(name) == supervisord.run
    supervisord.end()
    wait_until(lambda: not files_of(name), "all files are gone")


def test_a_lock_that_vanishes_as_the_run_ends_does_not_stop_the_clean_up(name, supervisord):
    clean_up_when_run_ends(name, supervisord.run)
    (process,) = clean_ups_of(name)
    SharedPriceBook(["AAPL"], name, ring_capacity=10).close()
    os.kill(process, signal.SIGSTOP)
    keeper_path(name).unlink()
    supervisord.end()
    os.kill(process, signal.SIGCONT)
    wait_until(lambda: not files_of(name), "all files are gone")
    assert live_owner(name) is None


@pytest.mark.parametrize("note", ["", "12", "1 x", "9" * 64 + " 1", "\xff"])
def test_a_note_that_names_no_live_run_keeps_nothing(name, note):
    keeper_path(name).write_text(note)
    assert live_owner(name) is None


def test_a_new_run_waits_for_the_clean_up_of_the_old_one(name, supervisord, monkeypatch):
    old = Supervisord()
    clean_up_when_run_ends(name, old.run)
    (old_clean_up,) = clean_ups_of(name)
    os.kill(old_clean_up, signal.SIGSTOP)
    SharedPriceBook(["AAPL"], name, ring_capacity=10).close()
    old.end()
    seen_while_waiting = []

    def sleep(seconds: float) -> None:
        seen_while_waiting.append(segment_path(name).exists())
        os.kill(old_clean_up, signal.SIGCONT)
        time_sleep(seconds)

    time_sleep = time.sleep
    monkeypatch.setattr(clean_up.time, "sleep", sleep)
    clean_up_when_run_ends(name, supervisord.run)
    monkeypatch.undo()
    assert seen_while_waiting[0]
    assert files_of(name) == [f"{name}.keeper"]
    wait_until(lambda: old_clean_up not in clean_ups_of(name), "the old clean-up ends")
    assert len(clean_ups_of(name)) == 1


@pytest.mark.parametrize("interpreter", ["/nonexistent/python", "/bin/false"])
def test_a_clean_up_that_does_not_start_is_one_clear_line(
    name, supervisord, monkeypatch, interpreter
):
    monkeypatch.setattr(sys, "executable", interpreter)
    with pytest.raises(PriceBookError, match=r"^[^\n]*its clean-up process [^\n]*$"):
        clean_up_when_run_ends(name, supervisord.run)
    monkeypatch.undo()
    clean_up_when_run_ends(name, supervisord.run)


def test_the_clean_up_imports_nothing_large():
    done = run_python("import sys, lib.price_book.clean_up; print('numpy' in sys.modules)")
    assert (done.stdout, done.stderr) == ("False\n", "")
