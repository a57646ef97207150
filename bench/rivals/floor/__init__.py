"""The bare hops with no work in them: no stack with these hops can be faster.

`three_processes` is in Python, `hops` is the same in C (`hops.c`). They are paced like the stack,
wait as it waits (non-blocking sockets, epoll, then recv), and carry nothing but SENT_NS; ticks that
are due together are sent together. The Python program is short (a test limits its lines), so that a
reader sees at a glance that it does nothing else. Setup and clean-up are here.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from bench.rivals.load import Load
from bench.rivals.rival import MEMORY

WORDS: Final = "words"
FIFO: Final = "fifo"


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
