"""Deliberate bugs of a cluster, as those of `tests.simulation.bugs`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from lib.cluster.broker import Answer, Appended, Failed, Message
from lib.cluster.stream_follower import StreamFollower
from lib.cluster.stream_writer import Standing, StreamWriter
from lib.ledger import projection
from lib.ledger.journal import JournalEntry
from lib.ledger.writer import Ledger
from tests.simulation.brokers import SimulatedBroker
from tests.simulation.bugs import Bug, bug

CLUSTER_BUGS: dict[str, Bug] = {}

_append = StreamWriter.append
_take = StreamWriter.take
_delivered = StreamFollower.delivered
_record = projection._record


@bug(StreamWriter, "append", r"is of epoch \d+, behind one of epoch \d+", CLUSTER_BUGS)
def _appends_behind_whatever_is_last(
    writer: StreamWriter, headers: Mapping[str, str], data: bytes
) -> None:
    stream = cast(SimulatedBroker, writer._broker).brokers.stream(writer._stream)
    writer.last = stream.state().last
    _append(writer, headers, data)


@bug(StreamWriter, "take", r"was answered \w+, and is not in TW_LEDGER", CLUSTER_BUGS)
def _takes_an_acknowledgement_for_granted(writer: StreamWriter, answer: Answer) -> bool:
    if isinstance(answer, Failed) and writer.standing is Standing.APPENDING:
        answer = Appended(answer.question, writer.last + 1)
    return _take(writer, answer)


@bug(StreamFollower, "delivered", r"entry \d+ of the journal is missing", CLUSTER_BUGS)
def _believes_a_gap(follower: StreamFollower, message: Message, now_ns: int) -> list[Message]:
    follower.next_sequence = max(follower.next_sequence, message.sequence)
    return _delivered(follower, message, now_ns)


@bug(projection, "_record", r"the ledger is not what TW_LEDGER has", CLUSTER_BUGS)
def _skips_a_rejected_order(ledger: Ledger, entry: JournalEntry) -> None:
    orders = [row for row in entry.orders if row[6] == "FILLED"]
    _record(ledger, JournalEntry(orders=orders, loss_marks=entry.loss_marks))
