"""When this host claims a stream: what its last message is, and whether its writer is silent."""

from __future__ import annotations

from typing import Final

from lib.cluster.broker import HOST, Answer, Broker, Looked, Message, Read, StreamState
from lib.cluster.writer_watch import LOOK_NS, WORD_NS, WriterWatch

OWN_SILENCE_NS: Final = 2 * WORD_NS
"""The silence of this host's former process after which its successor goes on."""


class Takeover:
    """Watches the writer of one stream, for a host that would succeed it. Pure.

    Attributes:
        last: the last message of a writer that was read, None if there is none or it is not known.
        end: the last sequence of the stream, by the last look; -1 before it. The message there may
            be gone, after a while without ticks, or that of a stranger.
        is_due: whether to claim the stream now, behind `end`.

    """

    def __init__(
        self, broker: Broker, stream: str, host: str, takeover_after_ns: int, now_ns: int
    ) -> None:
        self.last: Message | None = None
        self._broker = broker
        self._stream = stream
        self._host = host
        self._takeover_after_ns = takeover_after_ns
        self._watch = WriterWatch(takeover_after_ns, now_ns)
        self._question: int | None = None
        self._look_ns = now_ns
        self.end = -1
        self._wanted = 0
        """The sequence that is read."""
        self._is_known = False
        """Whether `last` is the last message of the stream, by the last look."""
        self._at_once = False
        self._epoch_heard = 0
        """The highest one."""

    @property
    def is_due(self) -> bool:
        """Whether to claim the stream now, behind `end`."""
        if not self._is_known or self._question is not None:
            return False
        return self.end == 0 or self._at_once or self._watch.is_over()

    @property
    def epoch(self) -> int:
        """The epoch of the last writer, or more: no stream has had more epochs than messages."""
        return self.last.epoch if self.last else self.end

    @property
    def writer(self) -> str:
        """The host that has written last, "" if there is none or it is not known."""
        return self.last.headers.get(HOST, "") if self.last else ""

    def claim_at_once(self) -> None:
        """Do not wait for the writer's silence."""
        self._at_once = True

    def heard(self, epoch: int, now_ns: int) -> None:
        """The writer of this epoch has given its word, or has written."""
        if self.last is None or epoch >= self.last.epoch:
            self._watch.heard(now_ns)
        self._epoch_heard = max(self._epoch_heard, epoch)

    def begin_anew(self, now_ns: int) -> None:
        """The claim was refused: there is another writer."""
        self._is_known = self._at_once = False
        self._watch.heard(now_ns)

    def look(self, now_ns: int) -> None:
        """Ask what there is to ask. To be called in each pass, by a standby."""
        if self._question is None and now_ns >= self._look_ns:
            self._look_ns = now_ns + LOOK_NS
            self._question = self._broker.look(self._stream)

    def take(self, answer: Answer, now_ns: int) -> bool:
        """Take an answer of the brokers. Returns whether the question was this one's."""
        if answer.question != self._question:
            return False
        self._question = None
        if isinstance(answer, Looked):
            self._take_state(answer.state, now_ns)
        elif isinstance(answer, Read):
            self._take_last(answer.messages)
        else:
            self._watch.looked(now_ns, has_leader=False)
        return True

    def _take_state(self, state: StreamState, now_ns: int) -> None:
        if state.last != self.end:  # it writes, whether its words come or not
            self.end = state.last
            self._is_known = False
            self._watch.heard(now_ns)
        self._watch.looked(now_ns, has_leader=state.has_leader)
        if not state.has_leader:
            self._is_known = False
        elif state.last == 0:
            self.last, self._is_known = None, True
        elif not self._is_known and self._is_wanted(now_ns):
            self._read(state.last)

    def _is_wanted(self, now_ns: int) -> bool:
        """Whether to read the last message: while the writer writes it is soon another one.

        It is also read when there is another writer than that of `last`.
        """
        if self.last is None or self._epoch_heard > self.last.epoch:
            return True
        return self._at_once or self._watch.is_silent(now_ns)

    def _read(self, sequence: int) -> None:
        self._wanted = sequence
        self._question = self._broker.read(self._stream, sequence, 1)

    def _take_last(self, messages: list[Message]) -> None:
        last = messages[0] if messages else None
        if last and last.sequence != self._wanted:  # what was wanted is gone
            if self._wanted == self.end:
                return  # the next look finds a later end
            last = None
        if last and not last.epoch and self._wanted > 1:  # of a stranger
            self._read(self._wanted - 1)
            return
        self.last = last if last and last.epoch else None
        self._is_known = True
        is_own = self.writer == self._host
        self._watch.takeover_after_ns = OWN_SILENCE_NS if is_own else self._takeover_after_ns
