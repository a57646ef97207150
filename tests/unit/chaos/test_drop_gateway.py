"""The tape that a gateway plays when it is killed: as long as asked, from a file."""

from __future__ import annotations

import signal
from pathlib import Path

from msgspec.structs import replace

from chaos.drop_gateway import DropWithTape
from chaos.faults.role_faults import SendSignal
from lib.settings import Settings
from lib.tape_files.preparing import prepare
from lib.tapes.prepared import PreparedTape
from lib.tapes.recipe import recipes


def test_it_plays_a_tape_of_that_length_of_all_symbols_up_and_down(tmp_path: Path) -> None:
    experiment = DropWithTape(SendSignal("gateway", signal.SIGKILL), 1, 200_000)
    settings = replace(Settings(), symbols=("AAPL", "O'X"))
    recipe, _ = recipes(experiment.private_settings(settings))
    assert recipe
    prepare(recipe, tmp_path, lambda *_: None)
    tape = PreparedTape(tmp_path)
    assert tape.about.symbols == settings.symbols
    symbols, prices = tape.read(1, 200_000)
    assert len(prices) == 200_000
    assert [int((symbols == index).sum()) for index in (0, 1)] == [100_000, 100_000]
    steps = prices[1:] - prices[:-1]
    assert (steps > 0).any()
    assert (steps < 0).any()
