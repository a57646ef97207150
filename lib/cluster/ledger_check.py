"""Whether a ledger is what the stream TW_LEDGER makes of it: for `python -m lib.ledger --check`.

The stream is projected into a ledger of its own, in a temporary directory, and the two are
compared row by row. The order manager may run meanwhile: first the stream is read up to where the
ledger is, which may take a while; then the ledger is opened, and what it has had since is read.
"""

from __future__ import annotations

import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

from lib.cluster.broker import (
    MAX_MESSAGES_READ,
    Answer,
    Connected,
    Disconnected,
    Event,
    Failed,
    Looked,
    Message,
    Read,
)
from lib.cluster.credentials import connect_options
from lib.cluster.ledger_journal import entry_of, place_of
from lib.cluster.nats_broker import NatsBroker
from lib.cluster.streams import LEDGER
from lib.ledger.check import MAX_LINES, position_name
from lib.ledger.journal import JournalError, JournalPlace
from lib.ledger.projection import project
from lib.ledger.reader import Fact, Snapshot, read_ledger
from lib.ledger.rows import BookedOrder, BookedPosition
from lib.ledger.writer import Ledger
from lib.net.event_loop import EventLoop
from lib.prices import decimal_text
from lib.settings import ClusterSettings

ANSWER_LIMIT_S: Final = 10.0
"""How long brokers may take to connect, or to answer a question that is asked again and again. It
is longer than an election."""

_MONEY: Final = ("price", "cost", "average_price", "realised_profit")
"""The columns in units of 1e-8."""


class NotComparedError(Exception):
    """The brokers do not answer. The text says so, on one line."""


class Comparison(NamedTuple):
    """What differs, one a line; and how far the two are."""

    differences: list[str]
    booked: int
    """The last message that the ledger has."""
    last: int
    """The last message of the stream."""


def compare(cluster: ClusterSettings, path: Path) -> Comparison:
    """Compare the ledger at `path` with the stream.

    Raises NotComparedError, and what `read_ledger` raises.
    """
    with read_ledger(path) as snapshot:
        place = snapshot.journal_place()
    if place is None:
        return Comparison(["the ledger is in no journal: it is from before [cluster]"], 0, 0)
    with (
        StreamReader(cluster) as stream,
        tempfile.TemporaryDirectory(prefix="tw-ledger-") as directory,
        closing(Ledger(Path(directory) / path.name)) as fresh,
    ):
        last = stream.last()
        try:
            reached = _project(stream, fresh, place.sequence)
            with read_ledger(path) as snapshot:
                place = snapshot.journal_place() or place
                reached = _project(stream, fresh, place.sequence) or reached
                if reached != place:
                    return Comparison([_not_the_same(place, last)], place.sequence, last)
                with read_ledger(fresh.path) as made:
                    found = list(islice(_differences(snapshot, made), MAX_LINES))
        except JournalError as error:
            found = [str(error)]
    return Comparison(found, place.sequence, max(last, place.sequence))


class StreamReader:
    """Reads streams, and waits for each answer. Leaving the `with` block leaves the brokers."""

    def __init__(self, cluster: ClusterSettings) -> None:
        """Connect. Raises NotComparedError."""
        self._loop = EventLoop()
        self._events: deque[Event] = deque()
        self._servers = ", ".join(cluster.servers)
        options = {**connect_options(cluster), "name": f"{cluster.host} check"}
        self._broker = NatsBroker(self._loop, options, self._events.append)
        self._reason = "no answer"
        try:
            next(event for event in self._heard(self._end_s()) if isinstance(event, Connected))
        except NotComparedError:
            self._broker.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._broker.close()

    def last(self, stream: str = LEDGER) -> int:
        """Return the sequence of the last message. Raises NotComparedError."""
        looked = self._ask(partial(self._broker.look, stream))
        return looked.state.last if isinstance(looked, Looked) else 0

    def read(self, first: int, last: int, stream: str = LEDGER) -> Iterator[list[Message]]:
        """Read the messages from `first` to `last`, as far as they are there, some at a time.

        Raises NotComparedError.
        """
        while first <= last:
            most = min(MAX_MESSAGES_READ, last - first + 1)
            answer = self._ask(partial(self._broker.read, stream, first, most))
            if not isinstance(answer, Read) or not answer.messages:
                return
            yield answer.messages
            first = answer.messages[-1].sequence + 1

    def _ask(self, ask: Callable[[], int]) -> Answer:
        end_s = self._end_s()
        while True:
            question = ask()
            for event in self._heard(end_s):
                if isinstance(event, Failed) and event.question == question:
                    self._reason = event.reason
                    break
                if isinstance(event, Answer) and event.question == question:
                    return event

    def _end_s(self) -> float:
        return time.monotonic() + ANSWER_LIMIT_S

    def _heard(self, end_s: float) -> Iterator[Event]:
        """What comes from the brokers. Raises NotComparedError at the end."""
        while time.monotonic() < end_s:
            while self._events:
                event = self._events.popleft()
                if isinstance(event, Disconnected):
                    self._reason = event.reason
                yield event
            self._loop.poll()
        raise NotComparedError(
            f"NOT compared with {LEDGER}: no broker of {self._servers} has answered within "
            f"{ANSWER_LIMIT_S:g} s ({self._reason})"
        )


def _project(stream: StreamReader, fresh: Ledger, end: int) -> JournalPlace | None:
    """Project the stream up to a sequence. Returns how far that was; None if not at all."""
    place = fresh.journal_place()
    for messages in stream.read(place.sequence + 1 if place else 1, end):
        project(fresh, [(place_of(one), entry_of(one)) for one in messages])
    return fresh.journal_place()


def _not_the_same(place: JournalPlace, last: int) -> str:
    if last < place.sequence:
        return f"the ledger ends with message {place.sequence}, and {LEDGER} with {last}"
    return f"message {place.sequence} of {LEDGER} is not the one that the ledger ends with"


def _differences(ours: Snapshot, made: Snapshot) -> Iterator[str]:
    """Return where a ledger is not what the stream makes."""
    return chain(
        _compare(ours.orders(), made.orders(), _order_key, _order_name),
        _compare(ours.positions(), made.positions(), _position_key, position_name),
        _compare(ours.facts(), made.facts(), _fact_key, lambda key: f"fact {key[0]}"),
    )


def _compare(
    ours: Iterable[tuple[Any, ...]],
    made: Iterable[tuple[Any, ...]],
    key_of: Callable[[Any], tuple[Any, ...]],
    name_of: Callable[[Any], str],
) -> Iterator[str]:
    """Compare rows that are in the order of their keys."""
    rows, others = iter(ours), iter(made)
    row, other = next(rows, None), next(others, None)
    while row is not None or other is not None:
        key = key_of(row) if row is not None else None
        other_key = key_of(other) if other is not None else None
        if other_key is None or (key is not None and key < other_key):
            yield f"{name_of(key)}: is not in {LEDGER}"
            row = next(rows, None)
        elif key is None or other_key < key:
            yield f"{name_of(other_key)}: is in {LEDGER}, and not in the ledger"
            other = next(others, None)
        else:
            if row != other:
                yield f"{name_of(key)}: {_columns(row, other)}"
            row, other = next(rows, None), next(others, None)


def _columns(row: Any, other: Any) -> str:
    """Return what differs between two rows of one key."""
    return "; ".join(
        f"{name} is {_text(name, row[at])}, and {_text(name, other[at])} in {LEDGER}"
        for at, name in enumerate(row._fields)
        if row[at] != other[at]
    )


def _text(column: str, value: Any) -> str:
    return decimal_text(value) if column in _MONEY and value is not None else str(value)


def _order_key(order: BookedOrder) -> tuple[str, int]:
    return order.client_id, order.order_id


def _position_key(position: BookedPosition) -> tuple[str, str]:
    return position.client_id, position.symbol


def _fact_key(fact: Fact) -> tuple[str]:
    return (fact.name,)


def _order_name(key: tuple[str, int]) -> str:
    return f"order {key[1]} of {key[0]}"
