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
from pathlib import Path
from typing import Any, Final

_HEADER_BYTES: Final = 1024
_WORD_BYTES: Final = 8


class StateFile:
    """A mapped file: `header` says what it is about, `words` work like a list of ints.

    One writer at a time.
    """

    def __init__(self, path: Path, word_count: int) -> None:
        """Map an existing file. Raises OSError, ValueError or RecursionError if it is not ours."""
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)
        if len(self._map) != _HEADER_BYTES + word_count * _WORD_BYTES:
            raise ValueError(f"{path}: not a state file of {word_count} words")
        header = json.loads(self._map[:_HEADER_BYTES].decode())
        if not isinstance(header, dict):
            raise ValueError(f"{path}: the header is not a JSON object")
        self.header: dict[str, Any] = header
        self.words = memoryview(self._map)[_HEADER_BYTES:].cast("q")


def open_state(path: Path, word_count: int) -> StateFile | None:
    """Return the state that an earlier process left, None if none can be read."""
    # RecursionError: a kilobyte of brackets is no header either.
    with contextlib.suppress(OSError, ValueError, RecursionError):
        return StateFile(path, word_count)
    return None


def create_state(
    path: Path, header: dict[str, Any], words: list[int], *, further_words: int = 0
) -> StateFile:
    """Replace the state atomically: a reader finds the old or the new file, complete.

    `words` are followed by `further_words` words that are 0. Raises OSError if the file cannot be
    written, ValueError if the header is too large.
    """
    encoded = json.dumps(header).encode()
    if len(encoded) > _HEADER_BYTES:
        raise ValueError(f"{path}: a header of {len(encoded)} bytes; {_HEADER_BYTES} fit")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.new")
    word_count = len(words) + further_words
    try:
        with temporary.open("wb") as file:
            file.write(encoded.ljust(_HEADER_BYTES))
            file.write(array("q", words).tobytes())
            # No hole in the file: on a full disk, a store into a hole raises SIGBUS.
            os.posix_fallocate(file.fileno(), 0, _HEADER_BYTES + word_count * _WORD_BYTES)
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    return StateFile(path, word_count)
