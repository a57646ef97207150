"""Nothing stays in memory of a simulation that is ended, however it is ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from lib.price_book.segment_files import SHM_DIR
from lib.process.run_identity import children_of
from tests.helpers import PROJECT_ROOT, wait_until
from tests.simulation.files import is_running, prefix_of, remove_leftovers, world_directory

SEEDS = 1_000
"""More than are simulated before the signal."""


@contextmanager
def simulation() -> Iterator[tuple[subprocess.Popen[bytes], list[int]]]:
    """A simulation that is under way, and its workers."""
    command = [sys.executable, "-m", "tests.simulation", "--clusters", "--seeds", str(SEEDS)]
    with subprocess.Popen(
        command, cwd=PROJECT_ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            wait_until(
                lambda: any(files_of(child) for child in children_of(process.pid)),
                "a cluster is simulated",
            )
            yield process, children_of(process.pid)
        finally:
            process.kill()


def files_of(pid: int) -> list[str]:
    return [path.name for path in SHM_DIR.glob(f"{prefix_of(pid)}*")]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_simulation_that_is_ended_leaves_nothing(number):
    with simulation() as (process, workers):
        process.send_signal(number)
        assert process.wait(60) == 130
        wait_until(lambda: not any(map(is_running, workers)), "the workers have ended")
        assert not [name for worker in workers for name in files_of(worker)]


def test_what_a_killed_simulation_leaves_is_removed_by_the_next_one():
    with simulation() as (process, workers):
        process.kill()
        wait_until(lambda: not any(map(is_running, workers)), "the workers end as well")
        remove_leftovers()
        assert not [name for worker in workers for name in files_of(worker)]


def test_the_world_of_a_process_that_lives_stays():
    with world_directory() as path:
        remove_leftovers()
        assert path.is_dir()
        (SHM_DIR / f"{path.name}-book").touch()
    assert not files_of(os.getpid())


def test_what_is_named_after_a_dead_process_is_removed():
    with subprocess.Popen(["true"]) as process:
        pass
    directory = SHM_DIR / f"{prefix_of(process.pid)}dead"
    directory.mkdir()
    (directory / "file").touch()
    (SHM_DIR / f"{directory.name}-book.lock").touch()
    remove_leftovers()
    assert not files_of(process.pid)
