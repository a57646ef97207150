"""Writes a prepared tape, part by part: arrays of any length in bounded memory.

Called by what makes a tape out of a file. The directory is whole once `finish` has returned.
"""

from __future__ import annotations

import os
from hashlib import blake2b
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from lib.tapes.findings import Findings
from lib.tapes.prepared import ABOUT, PRICES, SENTIMENTS, SYMBOLS, About

_IDENTITY_BYTES: Final = 8
_BLOCK_BYTES: Final = 2**20
_ITEM_SIZES: Final = {"ticks": (4, 8), "sentiments": (1,)}


class PreparedWriter:
    """The arrays of one tape in `directory`, which exists and has none yet. One thread.

    `kind` "ticks" takes `add_ticks`, "sentiments" takes `add_sentiments`. A context manager that
    closes the files.
    """

    def __init__(
        self, directory: Path, kind: Literal["ticks", "sentiments"], symbols: tuple[str, ...] = ()
    ) -> None:
        self.length = 0
        """How many ticks or sentiments were added."""
        self._directory = directory
        self._kind = kind
        self._symbols = symbols
        names = (SYMBOLS, PRICES) if kind == "ticks" else (SENTIMENTS,)
        self._files = [(directory / name).open("x+b") for name in names]
        # One for each file: what two arrays hold does not depend on where a part ends.
        self._digests = [blake2b() for _ in names]
        self._item_sizes = _ITEM_SIZES[kind]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files:
            file.close()

    def add_ticks(
        self, symbols: NDArray[np.int32], prices: NDArray[np.int64], _times: object = None, /
    ) -> None:
        """Append ticks: the index of each symbol, and the prices in units of 10⁻⁸. No times."""
        self._add(symbols.astype(np.int32, copy=False), prices.astype(np.int64, copy=False))

    def add_sentiments(self, values: NDArray[np.uint8]) -> None:
        """Append sentiments, 0 to 100."""
        self._add(values.astype(np.uint8, copy=False))

    def cut_back(self, length: int) -> None:
        """Forget all but the first `length`."""
        for file, size in zip(self._files, self._item_sizes, strict=True):
            file.seek(length * size)
            file.truncate()
        self.length = length
        self._digests = [_digest_of(file) for file in self._files]

    def finish(self, findings: Findings) -> About:
        """Put everything on disk, and say what it is in ABOUT. `findings.length` is set here."""
        for file in self._files:
            file.flush()
            os.fsync(file.fileno())
        identity = blake2b(repr(self._symbols).encode(), digest_size=_IDENTITY_BYTES)
        for part in self._digests:
            identity.update(part.digest())
        about = About(
            kind=self._kind,
            identity=f"file-{identity.hexdigest()}",
            symbols=self._symbols,
            findings=msgspec.structs.replace(findings, length=self.length),
        )
        with (self._directory / ABOUT).open("xb") as about_file:
            about_file.write(msgspec.json.encode(about))
            about_file.flush()
            os.fsync(about_file.fileno())
        return about

    def _add(self, *arrays: NDArray[Any]) -> None:
        for array, file, part in zip(arrays, self._files, self._digests, strict=True):
            contents = np.ascontiguousarray(array).data
            file.write(contents)
            part.update(contents)
        self.length += len(arrays[0])


def _digest_of(file: BinaryIO) -> blake2b:
    """Return the digest of a file, whose end is where it is written next."""
    part = blake2b()
    file.seek(0)
    while block := file.read(_BLOCK_BYTES):
        part.update(block)
    return part
