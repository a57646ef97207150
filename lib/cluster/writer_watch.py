"""When a standby takes over: the writer has been silent for long enough, and could have spoken."""

from __future__ import annotations

from typing import Final

from lib.clock import SECOND_NS

LOOK_NS: Final = SECOND_NS // 4
"""The time between two looks of a standby at the stream."""
WORD_NS: Final = SECOND_NS // 2
"""How often a writer gives a word when it has nothing to write."""


class WriterWatch:
    """Hears the words of a stream's writer. Pure.

    Its silence counts only between two looks, close together, that both found a leader: while the
    brokers elect one, nobody can write, and no successor could.
    """

    def __init__(self, takeover_after_ns: int, now_ns: int) -> None:
        self.takeover_after_ns = takeover_after_ns
        self._heard_ns = now_ns
        self._led_ns: int | None = None
        """When the last look found a leader; None if it did not, or none was taken since a word."""
        self._silent_ns = 0

    def heard(self, now_ns: int) -> None:
        """The writer has given its word, or a message."""
        self._heard_ns = now_ns
        self._silent_ns = 0
        if self._led_ns is not None:
            self._led_ns = now_ns

    def is_silent(self, now_ns: int) -> bool:
        """Whether the writer has missed a word."""
        return now_ns - self._heard_ns > 2 * WORD_NS

    def looked(self, now_ns: int, *, has_leader: bool) -> None:
        """Note a look at the stream, or one that has failed."""
        if has_leader and self._led_ns is not None:
            self._silent_ns += min(now_ns - self._led_ns, 2 * LOOK_NS)
        self._led_ns = now_ns if has_leader else None

    def is_over(self) -> bool:
        """Whether the writer has been silent for `takeover_after`."""
        return self._silent_ns >= self.takeover_after_ns
