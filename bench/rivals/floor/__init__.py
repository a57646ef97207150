"""The bare hops with no work in them: no stack with these hops can be faster.

`two_processes` and `three_processes` are in Python, `two_processes_in_c` and
`three_processes_in_c` in C (compiled by `hops`). They are paced like the stack, wait as it waits
(non-blocking sockets, epoll, then recv), and carry nothing but SENT_NS; ticks that are due together
are sent together. The Python programs are short (a test limits their lines), so that a reader sees
at a glance that they do nothing else. Their setup and clean-up is here.
"""

from __future__ import annotations

import mmap
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

from bench.rivals.load import Load
from bench.rivals.rival import MEMORY, RivalResult, Role, run, tcp_connection

WORDS: Final = "words"
FIFO: Final = "fifo"


class Hops(NamedTuple):
    """What the processes share."""

    sender: socket.socket
    receiver: socket.socket
    directory: str
    """The meeting place."""


def run_bare(load: Load, *roles: Role) -> RivalResult:
    """Like `run`. Raises ValueError for a load that is not paced, one message a tick."""
    check(load)
    with tcp_connection() as (sender, receiver), meeting_place(load) as directory:
        return run(load, *roles, link=Hops(sender, receiver, directory))


def check(load: Load) -> None:
    """Raise ValueError for a load that the floor does not support."""
    if not load.rate or load.ticks_a_message != 1:
        raise ValueError(f"the floor is for paced loads of one tick a message, not for {load}")


@contextmanager
def meeting_place(load: Load) -> Iterator[str]:
    """Make what relay and consumer share: a directory in shared memory with a file and a FIFO.

    The file has a word for the SENT_NS of each tick, zero before it arrives, and one more word.
    """
    with TemporaryDirectory(prefix=f"{MEMORY}{os.getpid()}-", dir="/dev/shm") as directory:
        Path(directory, WORDS).write_bytes(bytes(8 * (load.messages + 1)))
        os.mkfifo(Path(directory, FIFO), 0o600)
        yield directory


def map_words(directory: str) -> memoryview:
    """Map the file of a meeting place into memory."""
    with Path(directory, WORDS).open("r+b") as file:
        return memoryview(mmap.mmap(file.fileno(), 0)).cast("q")


def open_fifo(directory: str) -> int:
    """Open the FIFO of a meeting place in both directions, which never blocks (fifo(7))."""
    return os.open(Path(directory, FIFO), os.O_RDWR | os.O_NONBLOCK)
