"""Deliberate bugs: the product with one thing wrong, to see that the simulation bites.

Each is a small variant of one method, as a programmer might have got it wrong.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any
from unittest.mock import patch

from lib.booking import Booking
from lib.ledger.schema import LedgerError
from lib.order_client import OrderClient
from lib.order_desk import OrderDesk, Outcome, _tell
from lib.order_messages import LogonAck, encode
from lib.stream_client import Joined, WentPlain
from lib.stream_messages import HelloRequest
from lib.stream_server import FROM_NOW_ON, Stream
from lib.trader import Trader


def _answers_whatever_the_commit_says(desk: OrderDesk) -> Outcome:
    answers, desk._answers = desk._answers, []
    with contextlib.suppress(LedgerError):
        desk._ledger.commit()
    outcome, desk._outcome = desk._outcome, Outcome()
    outcome.answers = [(answer.session, encode(answer.message)) for answer in answers]
    _tell(outcome, answers)
    return outcome


def _forgets_the_newest_unanswered_order(client: OrderClient) -> bytes:
    client._retry_ns = None
    return b"".join(map(encode, list(client.unanswered.values())[:-1]))


_first_for = Stream.first_for


def _replays_from_one_too_late(stream: Stream, request: HelloRequest) -> int:
    first = _first_for(stream, request)
    return min(first + (request.next_sequence != FROM_NOW_ON), stream.next_sequence)


def _begins_again_at_order_1(trader: Trader, ack: LogonAck) -> None:
    _logged_on(trader, LogonAck(ack.client_id, 0, ack.positions))


_logged_on = Trader.logged_on


def _keeps_the_windows(trader: Trader, tape: str) -> None:
    trader.tape = tape


def _says_nothing_of_a_gap(booking: Booking, event: Joined | WentPlain) -> None:
    if isinstance(event, Joined) and event.new_tape:
        booking._book.begin_epoch(event.tape)


def _variant(cls: type, method: str, variant: Any) -> Callable[[], AbstractContextManager[Any]]:
    return partial(patch.object, cls, method, variant)


BUGS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "answer before commit": _variant(OrderDesk, "commit", _answers_whatever_the_commit_says),
    "forget one unanswered order at reconnection": _variant(
        OrderClient, "resend", _forgets_the_newest_unanswered_order
    ),
    "off by one in the replay": _variant(Stream, "first_for", _replays_from_one_too_late),
    "order_id used again after a restart": _variant(Trader, "logged_on", _begins_again_at_order_1),
    "window not cleared on a new tape": _variant(Trader, "begin_tape", _keeps_the_windows),
    "sequence gap ignored": _variant(Booking, "begin", _says_nothing_of_a_gap),
}
