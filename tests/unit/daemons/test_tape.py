"""The program that prepares tapes ends with what came of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from daemons import tape
from lib.errors import CannotStartError
from lib.net.event_loop import EventLoop
from lib.process.log_events import PreparingEnded, TapeRefused
from lib.process.role import RoleEndsError
from lib.settings import load_settings
from tests.helpers import DEADLINE_S, PROJECT_ROOT, wait_until


def settings(tmp_path) -> Path:
    """The settings of a stack that plays `tape.csv`."""
    path = tmp_path / "trading.toml"
    path.write_text(
        f'symbols = ["AAPL"]\nvar_dir = "{tmp_path}/var"\n'
        f'[gateway]\nsource = "file"\npath = "{tmp_path}/tape.csv"\n'
    )
    return path


def event_at_end(tmp_path):
    """Run it over `tape.csv`; return the event that it ends with."""
    preparer = tape.TapePreparer(load_settings(settings(tmp_path)), EventLoop())
    try:
        while True:
            preparer.step()
    except RoleEndsError as ended:
        return ended.event
    finally:
        preparer.close()


def test_a_tape_that_plays_and_one_that_is_refused(tmp_path):
    (tmp_path / "tape.csv").write_text("symbol,price\nAAPL,1.5\n")
    assert event_at_end(tmp_path) == PreparingEnded(tapes=1)
    (tmp_path / "tape.csv").write_text("")
    assert "is empty" in event_at_end(tmp_path).reason


def test_a_store_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "tape.csv").write_text("symbol,price\nAAPL,1.5\n")
    (tmp_path / "var").mkdir()
    (tmp_path / "var" / "tapes").touch()
    with pytest.raises(CannotStartError, match=f"{tmp_path}/var/tapes: it is a regular file"):
        event_at_end(tmp_path)


STUCK = """
import time
from concurrent.futures import ThreadPoolExecutor
from daemons import tape

tape.prepare = lambda *_: ThreadPoolExecutor(1).submit(time.sleep, 600).result()
tape.run_role("tape", tape.TapePreparer)
"""


def test_it_ends_though_the_database_cannot_be_interrupted(tmp_path):
    settings(tmp_path)
    process = subprocess.Popen(
        [sys.executable, "-c", STUCK],
        cwd=PROJECT_ROOT,
        env=os.environ | {"TRADING_CONFIG": f"{tmp_path}/trading.toml"},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_until((tmp_path / "var" / "tapes" / ".preparing").exists, "it is at work")
        process.terminate()
        _, log = process.communicate(timeout=DEADLINE_S)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0
    assert '"stopped"' in log
    assert [entry.name for entry in (tmp_path / "var" / "tapes").iterdir()] == ["lock"]


def test_a_defect_of_the_reading_is_a_refusal_that_names_the_file(tmp_path, monkeypatch):
    def broken(*_):
        raise RecursionError("of all things")

    monkeypatch.setattr(tape, "prepare", broken)
    event = event_at_end(tmp_path)
    assert isinstance(event, TapeRefused)
    assert event.reason.startswith(f"{tmp_path}/tape.csv: cannot be prepared: RecursionError: of")
