"""How many of the inputs of one connection a server looks at, before it is through with it. Pure.

A server reads no further after an invalid message, or after the request that it answers. On the
streams and on the dashboard that is asked of the code that ships. The order port answers every
message, so there the answers are counted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Final

from lib.dashboard.http_session import HttpError, HttpSession, names_served
from lib.streams.publication import EncodedTape, Stream
from lib.streams.subscriber import Subscriber
from lib.wire.framing import MESSAGE_DELIMITER, MessageTooLongError
from lib.wire.stream_messages import ProtocolError
from tests.clients import HOST
from tests.fuzz.inputs import HTTP

_STREAM: Final = Stream("a tape", EncodedTape(lambda _first, _count: b"", 1), next_sequence=1)
_NAMES: Final = names_served(HOST, ())


def reached(port: str, inputs: Sequence[bytes]) -> int:
    """Return how many inputs a server of the streams or of the dashboard looks at."""
    return _reached_by(_http_goes_on() if port == HTTP else _stream_goes_on(), inputs)


def reached_by_orders(inputs: Sequence[bytes], answers: int) -> int:
    """Return how many inputs belong to messages that the order port has answered.

    An input may be a part of a message, or several.
    """
    ends = accumulate(one.count(MESSAGE_DELIMITER) for one in inputs)
    return sum(before < answers for before in (0, *ends)[:-1])


def _reached_by(goes_on: Callable[[bytes], bool], inputs: Sequence[bytes]) -> int:
    for count, one in enumerate(inputs, start=1):
        if not goes_on(one):
            return count
    return len(inputs)


def _stream_goes_on() -> Callable[[bytes], bool]:
    subscriber = Subscriber(_STREAM, now_ns=0)

    def goes_on(data: bytes) -> bool:
        try:
            subscriber.receive(data)
        except (ProtocolError, MessageTooLongError):
            return False
        return True

    return goes_on


def _http_goes_on() -> Callable[[bytes], bool]:
    session = HttpSession(_NAMES)

    def goes_on(data: bytes) -> bool:
        try:
            return session.receive(data) is None
        except HttpError:
            return False

    return goes_on
