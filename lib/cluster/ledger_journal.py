"""The ledger of an order host, as a projection of the stream TW_LEDGER.

    ledger ── compared ── standby ── claims ── writer ── overtaken, or behind: its end
                 │           │                    │
                 │           └ books what comes   └ appends, and then books, what is decided
                 └ set apart, if it has what the stream does not have

A writer's message counts when the stream has it, and so it is booked and answered after that. What
became of a message that was not acknowledged shows in the stream: that is read, and booked, before
anything else is decided.
"""

from __future__ import annotations

from collections import deque
from hashlib import blake2b
from typing import Final

import structlog

from lib.clock import utc_stamp
from lib.cluster.broker import (
    CLAIMANT,
    EPOCH,
    HOST,
    Answer,
    Broker,
    Delivered,
    Looked,
    Message,
    Read,
)
from lib.cluster.progress import Progress, writer_activity
from lib.cluster.status_file import Activity
from lib.cluster.stream_follower import SILENCE_NS, StreamFollower
from lib.cluster.stream_writer import ASK_AGAIN_NS, Standing, StreamWriter
from lib.cluster.streams import LAST, LEDGER, live_subject, number_in
from lib.cluster.takeover import Takeover
from lib.cluster.writer_watch import WORD_NS
from lib.ledger.journal import (
    JournalEntry,
    JournalError,
    JournalPlace,
    decode_entry,
    encode_entry,
)
from lib.ledger.projection import project
from lib.ledger.writer import Ledger
from lib.process.log_events import ForeignMessage, LedgerSetApart, log_event
from lib.process.log_once import LogOnce

MAX_WAITING: Final = 256
"""The most messages that wait for the ledger. Further ones are read later."""
MAX_PROJECTED_BYTES: Final = 512 * 1024
"""About how much is booked at a time, some 5,000 orders, so that the role keeps beating."""
NO_ORDERS: Final = JournalEntry(orders=[])
"""The entry of a claim, and of a pass that only answers logons."""


class LedgerJournal:
    """One ledger and its journal. Pure but for the ledger: it asks the brokers, and is told.

    Every method that books may raise LedgerError; what waits for the ledger is booked later. It
    raises JournalError if the stream and the ledger cannot go together.

    Attributes:
        writer: has claimed the stream, or has not.
        takeover: watches the former writer.

    """

    def __init__(
        self,
        broker: Broker,
        ledger: Ledger,
        host: str,
        claimant: str,
        takeover_after_ns: int,
        now_ns: int,
    ) -> None:
        self.writer = StreamWriter(broker, LEDGER, host, claimant)
        self.takeover = Takeover(broker, LEDGER, host, takeover_after_ns, now_ns)
        self._broker = broker
        self._ledger = ledger
        self._host = host
        self._claimant = claimant
        self._follower: StreamFollower | None = None
        """Of a standby, once the ledger is compared with the stream; a writer has none."""
        self._question: int | None = None
        """Of the comparison."""
        self._ask_ns = now_ns
        self._subscribe_ns = now_ns
        self._word_ns = now_ns
        self._heard_ns = now_ns
        self._waiting: deque[Message] = deque()
        """Messages of the stream that are not booked, in order."""
        self._has_claimed = False
        self._data: bytes | None = None
        """What is being appended, until its outcome is taken."""
        self._is_overtaken = False
        self._stranger = LogOnce()

    @property
    def is_idle(self) -> bool:
        """Whether this host has claimed the stream, and can append to it."""
        return self.writer.standing is Standing.WRITER and self._data is None

    @property
    def is_projected(self) -> bool:
        """Whether the ledger has what has come of the stream."""
        return not self._waiting

    @property
    def has_all(self) -> bool:
        """Whether the ledger of a standby has all that was seen of the stream."""
        follower, takeover = self._follower, self.takeover
        if follower is None or takeover.last is None:
            return False
        return self.is_projected and follower.next_sequence > takeover.end

    @property
    def is_overtaken(self) -> bool:
        """Whether another host has claimed the stream after this one."""
        return self._is_overtaken or self.writer.standing is Standing.OVERTAKEN

    @property
    def is_behind(self) -> bool:
        """Whether the stream has lost what this writer knows."""
        return self.writer.standing is Standing.BEHIND

    def progress(self) -> Progress:
        """Return how far the ledger is, for those who look at the stack from outside."""
        has_claimed = self._follower is None and self.writer.standing is not Standing.STANDBY
        if self._follower is None and not has_claimed:
            return Progress(Activity.STARTING)
        come = self.writer.last if self._follower is None else self._follower.next_sequence - 1
        return Progress(
            writer_activity(self.writer, has_claimed=has_claimed),
            position=come - len(self._waiting),
            acknowledgements=self.writer.acknowledgements if has_claimed else None,
        )

    def take(self, event: Answer | Delivered, now_ns: int) -> None:
        """Take what has come from the brokers."""
        if isinstance(event, Delivered):
            if event.subject == live_subject(LEDGER):
                self._take_delivered(event.message, now_ns)
        elif event.question == self._question:
            self._question = None
            self._compare(event, now_ns)
        elif self.writer.take(event):
            if self._note_claim():
                self._waiting.append(self._own(b""))
        elif not self.takeover.take(event, now_ns) and self._follower:
            self._waiting.extend(self._follower.take(event, now_ns) or ())

    def look(self, now_ns: int) -> None:
        """Ask, and say, what is due. To be called in each pass."""
        if self._follower is None and self.writer.standing is Standing.STANDBY:
            self._ask_for_comparison(now_ns)
            return
        if self.writer.standing is Standing.RESOLVED:
            self._waiting.extend(self.writer.resolved())
            self._note_claim()
        self.writer.look(now_ns)
        if self.writer.standing is Standing.STANDBY:
            self._stand_by(now_ns)
        elif self._follower is None:
            self._keep_in_touch(now_ns)

    def _keep_in_touch(self, now_ns: int) -> None:
        """Give words, and hear them: a writer without orders learns by words that it is overtaken.

        Its own ones come back, so silence means that its subscription is dead.
        """
        if now_ns - self._heard_ns > SILENCE_NS:
            self._heard_ns = now_ns
            self._broker.follow(live_subject(LEDGER))
        if now_ns >= self._word_ns:
            self._word_ns = now_ns + WORD_NS
            headers = {EPOCH: str(self.writer.epoch), HOST: self._host, LAST: str(self.writer.last)}
            self._broker.publish(live_subject(LEDGER), headers, b"")

    def append(self, entry: JournalEntry) -> None:
        """Append what is decided and recorded; `appended` has the outcome. For a writer."""
        self._data = encode_entry(entry)
        self.writer.append({}, self._data)

    def appended(self) -> JournalPlace | None:
        """Return the place of what was appended, once: if the stream has it, it is to be booked.

        None while that is not known, and when it has failed.
        """
        if self._data is None or self.writer.standing is not Standing.WRITER:
            return None
        message = self._own(self._data)
        self._data = None
        self._waiting.append(message)  # if booking it fails now, it is booked later
        return place_of(message)

    def has_failed(self) -> bool:
        """Return whether it is not known if what was appended is in the stream; once."""
        if self._data is None or self.writer.standing in (Standing.APPENDING, Standing.WRITER):
            return False
        self._data = None
        return True

    def project(self) -> None:
        """Book what waits, or a part of it."""
        if place := self._ledger.journal_place():  # what was appended here is booked already
            while self._waiting and self._waiting[0].sequence <= place.sequence:
                self._waiting.popleft()
        entries: list[tuple[JournalPlace, JournalEntry]] = []
        size = 0
        for message in self._waiting:
            if not message.epoch:
                self._stranger.log_first(ForeignMessage(stream=LEDGER, sequence=message.sequence))
            if size >= MAX_PROJECTED_BYTES:
                break
            entries.append((place_of(message), entry_of(message)))
            size += len(message.data)
        project(self._ledger, entries)
        for _ in entries:
            self._waiting.popleft()

    def _take_delivered(self, message: Message, now_ns: int) -> None:
        self._heard_ns = now_ns
        self.takeover.heard(message.epoch, now_ns)
        if self._follower is None:
            is_compared = self.writer.standing is not Standing.STANDBY
            self._is_overtaken |= is_compared and message.epoch > self.writer.epoch
            return
        if message.sequence and len(self._waiting) < MAX_WAITING:
            self._waiting.extend(self._follower.delivered(message, now_ns))
        else:
            last = message.sequence or number_in(message.headers, LAST)
            self._follower.word(last, now_ns)

    def _ask_for_comparison(self, now_ns: int) -> None:
        if self._question is None and now_ns >= self._ask_ns:
            self._ask_ns = now_ns + ASK_AGAIN_NS
            self._question = self._broker.look(LEDGER)

    def _compare(self, answer: Answer, now_ns: int) -> None:
        """Follow the stream from where the ledger is; set the ledger apart if it is of another."""
        place = self._ledger.journal_place()
        if place is None:
            if self._ledger.has_orders():
                raise JournalError(
                    f"ledger {self._ledger.path}: has orders that are in no journal, from before "
                    "[cluster]: move it away (with its -wal), and this host gets that of the "
                    "cluster; or run it without [cluster]"
                )
            self._follow(1, now_ns)
        elif isinstance(answer, Looked) and answer.state.has_leader:
            if answer.state.last < place.sequence:
                self._set_apart(
                    f"it ends with entry {place.sequence} of the journal, and {LEDGER} with "
                    f"{answer.state.last}",
                    now_ns,
                )
            else:
                self._question = self._broker.read(LEDGER, place.sequence, 1)
        elif isinstance(answer, Read) and answer.messages:
            if place_of(answer.messages[0]) == place:
                self._follow(place.sequence + 1, now_ns)
            else:
                reason = f"its entry {place.sequence} is not the one of {LEDGER}"
                self._set_apart(reason, now_ns)

    def _set_apart(self, reason: str, now_ns: int) -> None:
        stamp = utc_stamp().partition(".")[0].replace("-", "").replace(":", "")
        apart = self._ledger.set_apart(f".apart-{stamp}Z")
        event = LedgerSetApart(ledger=str(self._ledger.path), apart=str(apart), reason=reason)
        log_event(structlog.get_logger(), event)
        self._follow(1, now_ns)

    def _follow(self, first: int, now_ns: int) -> None:
        self._follower = StreamFollower(self._broker, LEDGER, first, now_ns)

    def _stand_by(self, now_ns: int) -> None:
        """Follow the stream; claim it when its writer is silent and the ledger has all of it."""
        follower, takeover = self._follower, self.takeover
        if follower is None:
            return
        if self._has_claimed:  # in vain
            self._has_claimed = False
            takeover.begin_anew(now_ns)
        if follower.has_lost:  # so the ledger is of another stream: it is compared anew
            self._follower = None
            self._waiting.clear()
            return
        if follower.is_silent(now_ns) and now_ns >= self._subscribe_ns:
            self._subscribe_ns = now_ns + SILENCE_NS
            self._broker.follow(live_subject(LEDGER))
        if len(self._waiting) < MAX_WAITING:
            follower.look(now_ns)
        takeover.look(now_ns)
        if not takeover.is_due:
            return
        if follower.next_sequence <= takeover.end:
            follower.word(takeover.end, now_ns)
        elif follower.next_sequence > takeover.end + 1:
            follower.doubt()
        elif not self._waiting:
            self._has_claimed = True
            self.writer.claim(takeover.end, takeover.epoch)

    def _note_claim(self) -> bool:
        """Return whether this host is the writer, and was a standby before."""
        if self._follower is None or self.writer.standing is not Standing.WRITER:
            return False
        self._follower = None
        return True

    def _own(self, data: bytes) -> Message:
        """Return the message that this writer has appended last, an empty one for a claim."""
        headers = {EPOCH: str(self.writer.epoch)} | ({} if data else {CLAIMANT: self._claimant})
        return Message(self.writer.last, headers, data)


def place_of(message: Message) -> JournalPlace:
    """Return the place of a ledger whose last entry is this message."""
    begin = f"{message.epoch} {message.headers.get(CLAIMANT, '')} "
    digest = blake2b(begin.encode() + message.data, digest_size=16).hexdigest()
    return JournalPlace(message.sequence, digest)


def entry_of(message: Message) -> JournalEntry:
    """Return what a message books. Raises JournalError.

    One that no writer has written books nothing, whatever it says.
    """
    if message.is_claim or not message.epoch:
        return NO_ORDERS
    try:
        return decode_entry(message.data)
    except JournalError as error:
        raise JournalError(f"message {message.sequence} of {LEDGER} {error}") from None
