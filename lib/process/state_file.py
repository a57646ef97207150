"""A small file of state that survives the death of its process at any instruction.

A JSON header, written once when the file is made, and after it a few 63-bit words, mapped into
memory: a store is in the kernel's page cache at once, so SIGKILL loses nothing, and it costs 20 ns
instead of a system call. (It is not synchronised to disk: a machine that loses power also loses the
run that the state belongs to.)
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
from array import array
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import structlog

from lib.process.log_events import StateRefused, log_event
from lib.process.own_files import NotOurFileError, is_at, open_own, replaced

_HEADER_BYTES: Final = 1024
_WORD_BYTES: Final = 8


class StateFile:
    """A mapped file: `header` says what it is about, `words` work like a list of ints.

    One writer at a time. It is a `KeptFile`: a writer whose file was removed still has all that was
    in it.
    """

    def __init__(self, path: Path, word_count: int) -> None:
        """Map an existing file.

        Raises NotOurFileError or another OSError, ValueError or RecursionError if it cannot be
        used.
        """
        self.path = path
        self._word_count = word_count
        self._map_file()

    def is_in_place(self) -> bool:
        """Return whether `path` still names the mapped file."""
        return is_at(self.path, self._status)

    def put_back(self) -> None:
        """Write the file anew with what is mapped, and map that one. Raises OSError.

        `words` are others then.
        """
        _write(self.path, self.header, self.words, self._word_count)
        self._map_file()

    def _map_file(self) -> None:
        fd = open_own(self.path, os.O_RDWR)
        try:
            status, mapped = os.fstat(fd), mmap.mmap(fd, 0)
        finally:
            os.close(fd)
        if len(mapped) != _HEADER_BYTES + self._word_count * _WORD_BYTES:
            raise ValueError(f"{self.path}: not a state file of {self._word_count} words")
        header = json.loads(mapped[:_HEADER_BYTES].decode())
        if not isinstance(header, dict):
            raise ValueError(f"{self.path}: the header is not a JSON object")
        self._status = status
        self.header: dict[str, Any] = header
        self.words = memoryview(mapped)[_HEADER_BYTES:].cast("q")


def open_state(path: Path, word_count: int) -> StateFile | None:
    """Return the state that a process has written, None if none can be read."""
    # RecursionError: a kilobyte of brackets is no header either.
    with contextlib.suppress(OSError, ValueError, RecursionError):
        return StateFile(path, word_count)
    return None


def continue_state(path: Path, word_count: int) -> StateFile | None:
    """Return the state that an earlier process of ours left, None if none can be continued.

    A file that another user may have written is not continued, and that is logged.
    """
    try:
        return StateFile(path, word_count)
    except NotOurFileError as error:
        log_event(structlog.get_logger(), StateRefused(path=str(path), reason=error.strerror))
    except (OSError, ValueError, RecursionError):
        pass
    return None


def create_state(
    path: Path, header: dict[str, Any], words: list[int], *, further_words: int = 0
) -> StateFile:
    """Replace the state atomically: a reader finds the old or the new file, complete.

    `words` are followed by `further_words` words that are 0. Raises OSError if the file cannot be
    written, ValueError if the header is too large.
    """
    word_count = len(words) + further_words
    path.parent.mkdir(parents=True, exist_ok=True)
    _write(path, header, words, word_count)
    return StateFile(path, word_count)


def _write(path: Path, header: dict[str, Any], words: Iterable[int], word_count: int) -> None:
    encoded = json.dumps(header).encode()
    if len(encoded) > _HEADER_BYTES:
        raise ValueError(f"{path}: a header of {len(encoded)} bytes; {_HEADER_BYTES} fit")
    with replaced(path) as file:
        file.write(encoded.ljust(_HEADER_BYTES))
        file.write(array("q", words).tobytes())
        # No hole in the file: on a full disk, a store into a hole raises SIGBUS.
        os.posix_fallocate(file.fileno(), 0, _HEADER_BYTES + word_count * _WORD_BYTES)
