"""Whether the wall clock of another host says what this one's says.

Between hosts, times of sending are translated by them.
"""

from __future__ import annotations

from typing import Final

from lib.clock import SECOND_NS
from lib.process.log_events import ClocksDiffer
from lib.process.log_once import LogOnce

MAX_APART_NS: Final = SECOND_NS
"""How far the wall clocks of two hosts may be apart."""
WINDOW_NS: Final = 2 * SECOND_NS
"""How long words are gathered of which one is judged by: a writer gives several."""


def believed_ns(sent_ns: int, now_ns: int) -> int:
    """Return when something was sent that another host has sent at `sent_ns`, translated.

    What is a little ahead was sent now. What is far ahead may be of any age: it counts as old as it
    is ahead, so that nothing is traded on it.
    """
    ahead_ns = sent_ns - now_ns
    if ahead_ns > MAX_APART_NS:
        sent_ns = now_ns - ahead_ns
    return max(1, min(sent_ns, now_ns))


class ClockWatch:
    """Logs once that the clock of a stream's writer differs, until it does no more. Pure.

    A word that has waited, here or on its way, is older than it would be: of those that come within
    WINDOW_NS, the one that was given last by its writer's clock counts.
    """

    def __init__(self, stream: str) -> None:
        self._stream = stream
        self._problem = LogOnce()
        self._begin_ns: int | None = None
        self._ahead_ns = 0

    def heard(self, sent_ns: int, now_ns: int) -> None:
        """Take a word that its writer has given at `sent_ns`, translated."""
        ahead_ns = sent_ns - now_ns
        if self._begin_ns is not None and now_ns - self._begin_ns < WINDOW_NS:
            self._ahead_ns = max(self._ahead_ns, ahead_ns)
            return
        if self._begin_ns is not None:
            self._judge()
        self._begin_ns, self._ahead_ns = now_ns, ahead_ns

    def _judge(self) -> None:
        if abs(self._ahead_ns) <= MAX_APART_NS:
            self._problem.over()
            return
        ahead_s = round(self._ahead_ns / SECOND_NS, 1)
        self._problem.log_first(ClocksDiffer(stream=self._stream, ahead_s=ahead_s))
