"""How a call of a signal looks in a stack: for the log of a role that crashed or hangs. Pure.

Light on purpose: the watchdog imports it, and no NumPy.
"""

from __future__ import annotations

from typing import Final

from lib.process.traceback_frames import Frame, Plugins
from lib.settings import PROJECT_ROOT

SIGNALS: Final = Plugins(
    caller=PROJECT_ROOT / "lib" / "trading" / "trader.py",
    functions=frozenset({"__init__", "on_tick", "on_batch", "explain", "explain_batch"}),
)
"""The trader calls a signal, and nothing else does."""

_CALLED: Final = {
    "__init__": "the signal's constructor has taken",
    "on_batch": "the signal has had one batch for",
}
_ONE_TICK: Final = "the signal has had one tick for"


def what_hangs(frames: list[Frame], silent_s: float) -> str:
    """Return what a process with this stack has been busy with; "" if it is not with a signal."""
    for called, frame in zip([None, *frames], frames, strict=False):
        if frame.is_of(SIGNALS.caller):
            busy = _CALLED.get(called.function, _ONE_TICK) if called else _ONE_TICK
            return f"{busy} {silent_s:.1f} s"
    return ""
