"""The types and bounds of the fields of order entry, by the protocol.

`lib.wire.order_messages` builds the messages from them, and `lib.wire.order_mistakes` explains with
them what is wrong with an invalid message.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec

MAX_INTEGER: Final = 2**53 - 1
"""The largest integer that every JSON reader reads exactly."""

MAX_TOKEN_CHARACTERS: Final = 256

Side = Literal["BUY", "SELL"]
Positive = Annotated[int, msgspec.Meta(ge=1, le=MAX_INTEGER)]
Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_INTEGER)]
Position = Annotated[int, msgspec.Meta(ge=-MAX_INTEGER, le=MAX_INTEGER)]
Nanoseconds = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
ClientId = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._-]{1,64}\Z")]
Symbol = Annotated[str, msgspec.Meta(min_length=1, max_length=16)]
Token = Annotated[str, msgspec.Meta(max_length=MAX_TOKEN_CHARACTERS)]
Tape = Annotated[str, msgspec.Meta(max_length=64)]
