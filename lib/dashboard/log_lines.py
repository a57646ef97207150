"""The log lines of the roles, with the fields that the dashboard uses. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final

import msgspec


class LogLine(msgspec.Struct, frozen=True):
    """One event. A field that the line does not have has its default."""

    timestamp: Annotated[datetime, msgspec.Meta(tz=True)]
    level: str
    role: str
    event: str
    program: str = ""
    pid: int = 0
    stream: str = ""
    reason: str = ""
    where: str = ""
    first: int | None = None
    last: int | None = None
    ticks: int = 0
    count: int = 0
    client_id: str = ""
    order_id: int = 0
    symbol: str = ""
    side: str = ""
    quantity: int = 0
    price: float = 0.0
    position: int = 0
    trade_id: int | None = None
    sentiment: int | None = None
    silent_s: float = 0.0
    filled: int = 0
    rejected: int = 0
    first_rejection: str = ""

    @property
    def ticks_missed(self) -> int:
        """How many ticks were missed, 0 for other events."""
        if self.event != "ticks_missed":
            return 0
        if self.ticks or self.first is None or self.last is None:
            return self.ticks
        return self.last - self.first + 1

    @property
    def at(self) -> float:
        """When it was written, in seconds since 1970."""
        return self.timestamp.timestamp()


_DECODER: Final = msgspec.json.Decoder(LogLine)
_NOT_OURS: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def read_line(raw: bytes) -> LogLine | None:
    """Decode one line; None if it is no event of ours."""
    try:
        return _DECODER.decode(raw)
    except _NOT_OURS:
        return None
