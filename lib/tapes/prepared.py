"""Tapes that were prepared from files: arrays on disk, which are mapped to be played.

A prepared tape is a directory: `about.json`, and `prices.i64` and `symbols.i32`, or `sentiments.u8`.
It is made under another name and then renamed, so a directory of this kind is always whole, and it
never changes. To map one takes the same time whatever its size.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from lib.process.own_files import read_own
from lib.tapes.findings import Findings
from lib.tapes.tape import TapeError, check_span

ABOUT: Final = "about.json"
PRICES: Final = "prices.i64"
SYMBOLS: Final = "symbols.i32"
SENTIMENTS: Final = "sentiments.u8"


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
        self.about: Final = read_about(directory, "sentiments")
        self.identity: Final = self.about.identity
        self.length: Final = self.about.findings.length
        self._values = _mapped(directory / SENTIMENTS, np.uint8, self.length)

    def read(self, first: int, count: int) -> list[int]:
        """See `Sentiments.read`."""
        check_span(first, count)
        values: list[int] = self._values[first - 1 : first - 1 + count].tolist()
        return values


def read_about(directory: Path, kind: str) -> About:
    """Return what a prepared tape is. Raises TapeError if it is damaged, or of another kind."""
    raise NotImplementedError


def _mapped(path: Path, dtype: type, length: int) -> NDArray:
    raise NotImplementedError
