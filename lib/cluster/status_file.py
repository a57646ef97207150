"""What a role of a cluster knows of a stream, in a file of the var directory that others read.

It is written twice a second: looking at it costs the role nothing.
"""

from __future__ import annotations

from enum import IntEnum
from pathlib import Path
from typing import Any, Final, NamedTuple

from lib.clock import SECOND_NS
from lib.cluster.streams import LEDGER, NEWS, PRICE
from lib.process.log_events import DOWNLINK, ORDER_MANAGER, UPLINK
from lib.process.state_file import StateFile, create_state, open_state

STREAMS_OF: Final = {UPLINK: (PRICE, NEWS), DOWNLINK: (PRICE, NEWS), ORDER_MANAGER: (LEDGER,)}
"""The streams of each role."""
WRITE_NS: Final = SECOND_NS // 2
"""How often it is written."""
STALE_NS: Final = 5 * SECOND_NS
"""After that time its role is no longer at work."""
MAX_HOST_CHARACTERS: Final = 64
"""The longest name of a host; what is beyond is cut off."""
UNKNOWN: Final = -1
"""What a figure is that is not known."""


class Activity(IntEnum):
    """What a role does with a stream."""

    NO_MAJORITY = 0
    """Nothing: no majority of the brokers can be reached."""
    STANDING_BY = 1
    """Another host writes the stream, or none does yet."""
    WRITING = 2
    RESOLVING = 3
    """It finds out what became of a message that was not acknowledged."""
    STARTING = 4
    """It has not found the stream, or where to begin."""
    FOLLOWING = 5


class Figures(NamedTuple):
    """What a role knows of a stream: each 0 or more, or UNKNOWN. Times are monotonic."""

    written_ns: int
    """When these were written."""
    activity: int
    epoch: int
    """That of the writer that was heard last."""
    takeovers: int
    """How often another epoch was heard, in this run."""
    last: int
    """The last sequence of the stream."""
    position: int
    """The last tick, sentiment or ledger entry that the role has published, served or booked."""
    lag: int
    """How many of these it does not have yet."""
    lag_ns: int
    """How long ago the stream was where the role is."""
    heard_ns: int
    """When the writer was last heard."""
    p50_ns: int
    """The median of the time to an acknowledgement, over the latest messages; of a writer."""
    p99_ns: int


class StreamStatus(NamedTuple):
    """The figures of one stream by one role, and the host that writes the stream, "" if unknown."""

    role: str
    stream: str
    writer: str
    figures: Figures


def status_path(var_dir: Path, role: str, stream: str) -> Path:
    """Return the path of the file."""
    return var_dir / f"{role}-{stream}.status"


def read_status(var_dir: Path, role: str, stream: str, now_ns: int) -> StreamStatus | None:
    """Return what the role knows of the stream; None if it is not at work."""
    state = open_state(status_path(var_dir, role, stream), len(Figures._fields))
    if state is None:
        return None
    figures = Figures(*state.words)
    writer = state.header.get("writer")
    is_new = 0 <= now_ns - figures.written_ns < STALE_NS
    if not is_new or not isinstance(writer, str) or figures.activity not in list(Activity):
        return None
    return StreamStatus(role, stream, writer, figures)


class StatusFile:
    """The file of one stream, for the role that writes it."""

    def __init__(self, path: Path, run: list[int]) -> None:
        """`run` is that of the stack: the file of an earlier one is not continued."""
        self._path = path
        self._run = run
        self._state: StateFile | None = None
        self.epoch = self.takeovers = UNKNOWN
        """What an earlier process of this run has heard."""
        former = open_state(path, len(Figures._fields))
        if former and former.header.get("run") == run:
            figures = Figures(*former.words)
            self.epoch, self.takeovers = figures.epoch, figures.takeovers

    def write(self, writer: str, figures: Figures) -> None:
        """Write the figures. Raises OSError."""
        header: dict[str, Any] = {"run": self._run, "writer": writer[:MAX_HOST_CHARACTERS]}
        state = self._state
        if state is None or state.header != header or not state.is_in_place():
            self._state = create_state(self._path, header, list(figures))
            return
        for index, word in enumerate(figures):
            state.words[index] = word
