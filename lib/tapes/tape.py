"""A tape: ticks, or sentiments, that can be read at any position.

A tape is a pure function of position: reading ticks 1,000 to 2,000 gives the same ticks whenever,
in whatever slices, and in whatever process it is done. So a gateway that was killed continues its
tape from a position alone.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

_Scalar = TypeVar("_Scalar", bound=np.generic)


class TapeError(Exception):
    """A tape cannot be played. Its text is one human-readable line."""


class Tape(Protocol):
    """Ticks, numbered from 1. One thread at a time."""

    @property
    def length(self) -> int | None:
        """How many ticks there are; None: endless."""

    @property
    def identity(self) -> str:
        """A name for the contents (letters, digits, `-`) that changes when they change."""

    def read(self, first: int, count: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Return ticks `first` to `first + count - 1`, fewer where the tape ends before.

        One array has the symbol of each tick, as an index into the symbols that the tape was made
        with, the other its price in units of 10⁻⁸. They may be views of the tape's own memory and
        cannot be written to. Raises ValueError if `first` is below 1 or `count` below 0.
        """


class Sentiments(Protocol):
    """Sentiments, integers from 0 to 100, numbered from 1."""

    @property
    def length(self) -> int | None:
        """How many there are; None: endless."""

    @property
    def identity(self) -> str:
        """A name for the contents (letters, digits, `-`) that changes when they change."""

    def read(self, first: int, count: int) -> list[int]:
        """Return sentiments `first` to `first + count - 1`, fewer where the tape ends before.

        Raises ValueError if `first` is below 1 or `count` below 0.
        """


def check_span(first: int, count: int) -> None:
    """Raise ValueError if `first` is below 1 or `count` below 0."""
    if first < 1 or count < 0:
        raise ValueError(f"positions count from 1 and counts from 0, not {first} and {count}")


def frozen(values: NDArray[_Scalar]) -> NDArray[_Scalar]:
    """Return `values`, which cannot be written to from now on."""
    values.flags.writeable = False
    return values


def digest(contents: bytes) -> str:
    """Return the part of an identity that changes with the contents."""
    return blake2b(contents, digest_size=8).hexdigest()
