"""The program that prepares tapes ends with what came of them."""

from __future__ import annotations

from daemons import tape
from lib.net.event_loop import EventLoop
from lib.process.log_events import PreparingEnded, TapeRefused
from lib.process.role import RoleEndsError
from lib.settings import load_settings


def event_at_end(tmp_path):
    """Run it over `tape.csv`; return the event that it ends with."""
    path = tmp_path / "trading.toml"
    path.write_text(
        f'symbols = ["AAPL"]\nvar_dir = "{tmp_path}/var"\n'
        f'[gateway]\nsource = "file"\npath = "{tmp_path}/tape.csv"\n'
    )
    preparer = tape.TapePreparer(load_settings(path), EventLoop())
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


def test_a_defect_of_the_reading_is_a_refusal_that_names_the_file(tmp_path, monkeypatch):
    def broken(*_):
        raise RecursionError("of all things")

    monkeypatch.setattr(tape, "prepare", broken)
    event = event_at_end(tmp_path)
    assert isinstance(event, TapeRefused)
    assert event.reason.startswith(f"{tmp_path}/tape.csv: cannot be prepared: RecursionError: of")
