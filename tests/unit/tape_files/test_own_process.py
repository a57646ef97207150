"""Preparing in a process of its own: what comes back of it, and that it dies with its caller."""

from __future__ import annotations

import gc
import os
import signal
import time
from pathlib import Path

import duckdb
import pytest

from lib.process.process_handle import ProcessHandle
from lib.tape_files import preparing
from lib.tape_files.own_process import prepare_apart
from lib.tapes.recipe import TickRecipe
from lib.tapes.tape import TapeError
from tests.helpers import wait_until

RECIPE = TickRecipe(path="/a", symbols=("AAPL",))


class InterruptedHere(BaseException):
    """What a signal handler raises."""


@pytest.fixture
def prepare(monkeypatch, tmp_path):
    """Run this function there instead of `prepare`."""

    def run(there, on_progress=lambda what, share: None):
        monkeypatch.setattr(preparing, "prepare", there)
        prepare_apart(RECIPE, tmp_path, on_progress)

    return run


def test_it_prepares_and_says_how_far_it_is(prepare, tmp_path):
    def there(recipe, directory: Path, progress):
        assert recipe == RECIPE
        progress("reading", 0.25)
        (directory / "pid").write_text(f"{os.getpid()}")
        progress("writing", 0.75)

    seen = []
    prepare(there, lambda what, share: seen.append((what, share)))
    assert seen == [("reading", 0.25), ("writing", 0.75)]
    assert int((tmp_path / "pid").read_text()) != os.getpid()


def test_a_tape_that_cannot_be_played_is_the_same_error_here(prepare):
    def there(*_):
        raise TapeError("a.csv: found nothing")

    with pytest.raises(TapeError, match=r"^a\.csv: found nothing$"):
        prepare(there)


def test_a_defect_is_one_line_that_names_its_place(prepare):
    def there(*_):
        raise ZeroDivisionError("of\nall things")

    with pytest.raises(TapeError) as error:
        prepare(there)
    assert "ZeroDivisionError: of" in str(error.value)
    assert "test_own_process.py, line" in str(error.value)
    assert "\n" not in str(error.value)


def test_the_death_of_the_process_is_an_error_that_says_how(prepare):
    with pytest.raises(TapeError, match="has ended: signal 9"):
        prepare(lambda *_: os.kill(os.getpid(), signal.SIGKILL))


def test_what_is_raised_here_kills_it_at_once(prepare, tmp_path):
    def there(_recipe, directory: Path, progress):
        (directory / "pid").write_text(f"{os.getpid()}")
        progress("reading", 0.5)
        time.sleep(600)

    def interrupt(*_):
        raise InterruptedHere

    with pytest.raises(InterruptedHere):
        prepare(there, interrupt)
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text()}").exists()


def test_a_signal_to_the_group_is_left_to_the_caller(prepare, tmp_path):
    def there(_recipe, directory: Path, progress):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(os.getpid(), number)
        (directory / "done").touch()

    prepare(there)
    assert (tmp_path / "done").exists()


def test_it_dies_with_its_caller(prepare, tmp_path):
    def there(_recipe, directory: Path, progress):
        (directory / "new").write_text(f"{os.getpid()}")
        (directory / "new").rename(directory / "pid")
        time.sleep(600)

    caller = os.fork()
    if caller == 0:
        prepare(there)
    wait_until((tmp_path / "pid").exists, "it is at work")
    process = ProcessHandle(int((tmp_path / "pid").read_text()))
    assert not process.has_ended()
    os.kill(caller, signal.SIGKILL)
    os.waitpid(caller, 0)
    assert wait_until(process.has_ended, "it dies")
    process.close()


def test_a_database_that_is_garbage_here_is_not_closed_there(prepare):
    connection = duckdb.connect(config={"threads": 2})
    connection.execute("SELECT count(*) FROM range(3000000)").fetchall()  # it has threads now
    garbage = [connection]
    garbage.append(garbage)
    del garbage, connection
    prepare(lambda *_: gc.collect())
    assert gc.get_freeze_count() == 0


def test_what_it_makes_is_for_its_user_alone(prepare, tmp_path):
    before = os.umask(0)
    try:
        prepare(lambda _recipe, directory, _progress: (directory / "made").touch())
    finally:
        os.umask(before)
    assert (tmp_path / "made").stat().st_mode & 0o077 == 0
