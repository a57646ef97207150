"""Whether the brokers that can be reached have a majority: without one, nothing is acknowledged."""

from __future__ import annotations

from typing import Final

import structlog

from lib.clock import SECOND_NS
from lib.cluster.broker import Answer, Broker, Looked
from lib.process.log_events import MajorityBack, NoMajority, log_event

ASK_NS: Final = SECOND_NS
"""The time between two questions."""
NO_LEADER_NS: Final = 15 * SECOND_NS
"""How long a stream may have no leader. An election takes 4 to 9 s."""


class MajorityWatch:
    """Asks for the leader of one stream, and logs its absence and its return."""

    def __init__(self, broker: Broker, stream: str, now_ns: int) -> None:
        self.is_lost = False
        self._broker = broker
        self._stream = stream
        self._ask_ns = now_ns
        self._question: int | None = None
        self._missed_ns: int | None = None
        """When the leader was first missed; None if there was one at the last answer."""

    def look(self, now_ns: int) -> None:
        """Ask, if it is time to. To be called at least each second."""
        if self._question is None and now_ns >= self._ask_ns:
            self._ask_ns = now_ns + ASK_NS
            self._question = self._broker.look(self._stream)

    def take(self, answer: Answer, now_ns: int) -> None:
        """Take an answer of the brokers, if the question was this one's."""
        if answer.question != self._question:
            return
        self._question = None
        if not isinstance(answer, Looked) or not answer.state.has_leader:
            self._miss(now_ns)
        else:
            if self.is_lost and self._missed_ns is not None:
                lost_s = round((now_ns - self._missed_ns) / SECOND_NS, 1)
                log_event(structlog.get_logger(), MajorityBack(stream=self._stream, lost_s=lost_s))
            self._missed_ns, self.is_lost = None, False

    def _miss(self, now_ns: int) -> None:
        if self._missed_ns is None:
            self._missed_ns = now_ns
        if not self.is_lost and now_ns - self._missed_ns >= NO_LEADER_NS:
            self.is_lost = True
            limit_s = NO_LEADER_NS / SECOND_NS
            log_event(structlog.get_logger(), NoMajority(stream=self._stream, silent_s=limit_s))
