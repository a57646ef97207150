"""Tapes that were prepared from files: arrays on disk, which are mapped to be played.

A prepared tape is a directory: `about.json`, and `prices.i64` with `symbols.i32`, or
`sentiments.u8`.
It is made under another name and then renamed, so a directory of this kind is always whole, and it
never changes. To map one takes the same time whatever its size.
To cut a file that is mapped kills its reader (SIGBUS). Only its own user can, and none of our
programs does: they remove files, which a mapping outlives. A gateway that is killed so finds the
damage at its next start, and has the tape prepared anew.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from typing import Final, Literal, TypeVar

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from lib.process.own_files import open_own
from lib.tapes.findings import Findings
from lib.tapes.tape import TapeError, check_span

ABOUT: Final = "about.json"
PRICES: Final = "prices.i64"
SYMBOLS: Final = "symbols.i32"
SENTIMENTS: Final = "sentiments.u8"
MAX_ABOUT_BYTES: Final = 16 * 1024 * 1024
"""More than the findings of MAX_SYMBOLS symbols take."""

_Scalar = TypeVar("_Scalar", bound=np.generic)


class About(Struct, frozen=True, kw_only=True):
    """What a prepared tape is."""

    kind: Literal["ticks", "sentiments"]
    identity: str
    """Changes with the contents; see `Tape.identity`."""
    symbols: tuple[str, ...] = ()
    """What the indices in SYMBOLS stand for."""
    findings: Findings


class PreparedTape:
    """A `Tape` from a prepared directory."""

    def __init__(self, directory: Path) -> None:
        """Map it. Raises TapeError if it is damaged."""
        self.directory: Final = directory
        self.about: Final = read_about(directory, "ticks")
        self.identity: Final = self.about.identity
        self.length: Final = self.about.findings.length
        self._prices = _mapped(directory / PRICES, np.int64, self.length)
        self._symbols = _mapped(directory / SYMBOLS, np.int32, self.length)

    def read(self, first: int, count: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """See `Tape.read`."""
        check_span(first, count)
        span = slice(first - 1, first - 1 + count)
        return self._symbols[span], self._prices[span]


class PreparedSentiments:
    """`Sentiments` from a prepared directory."""

    def __init__(self, directory: Path) -> None:
        """Map them. Raises TapeError if they are damaged."""
        self.directory: Final = directory
        self.about: Final = read_about(directory, "sentiments")
        self.identity: Final = self.about.identity
        self.length: Final = self.about.findings.length
        self._values = _mapped(directory / SENTIMENTS, np.uint8, self.length)

    def read(self, first: int, count: int) -> list[int]:
        """See `Sentiments.read`."""
        check_span(first, count)
        check_span(first, count)
        values: list[int] = self._values[first - 1 : first - 1 + count].tolist()
        return values


def read_about(directory: Path, kind: str) -> About:
    """Return what a prepared tape is. Raises TapeError if it is damaged, or of another kind."""
    path = directory / ABOUT
    try:
        with os.fdopen(open_own(path, os.O_RDONLY), "rb") as file:
            about = msgspec.json.decode(file.read(MAX_ABOUT_BYTES), type=About)
    except OSError as error:
        raise TapeError(f"{path}: cannot be read: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise TapeError(f"{path}: damaged") from None
    if about.kind != kind:
        raise TapeError(f"{path}: of {about.kind}, not of {kind}")
    return about


def _mapped(path: Path, dtype: type[_Scalar], length: int) -> NDArray[_Scalar]:
    """Return the array in a file, which cannot be written to. Raises TapeError."""
    try:
        fd = open_own(path, os.O_RDONLY)
        try:
            size, wanted = os.fstat(fd).st_size, length * np.dtype(dtype).itemsize
            if size != wanted or not wanted:
                raise TapeError(f"{path}: damaged: it has {size} bytes, not {wanted}")
            return np.frombuffer(mmap.mmap(fd, wanted, prot=mmap.PROT_READ), dtype)
        finally:
            os.close(fd)
    except OSError as error:
        raise TapeError(f"{path}: cannot be read: {error.strerror}") from None
