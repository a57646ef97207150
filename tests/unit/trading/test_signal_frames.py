"""A call of a signal in a stack: the signal is named, also where it is an installed package."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lib.process.traceback_frames import Frame, frames_of, innermost
from lib.settings import PROJECT_ROOT, StrategySettings
from lib.trading.signal_frames import SIGNALS, what_hangs
from lib.trading.trader import Trader
from lib.wire.ticks import PlainTick

SIGNAL = f"{PROJECT_ROOT}/lib/my_signals.py"
TRADER = f"{PROJECT_ROOT}/lib/trading/trader.py"


def test_a_signal_that_is_an_installed_package_is_named():
    package = Frame(np.__file__, 7, "on_tick")
    assert innermost([package, Frame(TRADER, 180, "evaluate")], SIGNALS) == package
    inside = Frame(np.__file__, 9, "dot")
    assert innermost([inside, Frame(TRADER, 180, "evaluate")], SIGNALS).is_of(Path(TRADER))


@pytest.mark.parametrize(
    ("called", "trader", "said"),
    [
        ("on_tick", "evaluate", "one tick for 2.0 s"),
        ("on_batch", "refill", "one batch for 2.0 s"),
        ("__init__", "begin_tape", "constructor has taken 2.0 s"),
    ],
)
def test_what_the_trader_has_called_is_the_signal(called, trader, said):
    frames = [Frame("/python/numpy.py", 1, "dot"), Frame(SIGNAL, 12, called)]
    assert said in what_hangs([*frames, Frame(TRADER, 180, trader)], 2.0)
    assert what_hangs(frames, 2.0) == ""


def test_a_signal_that_is_no_python_code_is_the_signal_too():
    assert "the signal" in what_hangs([Frame(TRADER, 180, "evaluate")], 2.0)


def test_it_is_the_trader_that_calls_a_signal():
    class Fails:
        def __init__(self, settings: StrategySettings) -> None:
            pass

        def on_tick(self, symbol: str, price: int, sentiment: int | None) -> None:
            raise ZeroDivisionError

    tick: PlainTick = (1, 1, 1, 1, 0, 0)
    with pytest.raises(ZeroDivisionError) as raised:
        Trader(("AAPL",), StrategySettings(), Fails).evaluate([tick], 0, 1)
    called, caller, *_ = frames_of(raised.value)
    assert SIGNALS.is_call(called, caller)
