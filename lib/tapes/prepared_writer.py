"""Writes a prepared tape, part by part: arrays of any length in bounded memory.

Called by what makes a tape out of a file. The directory is whole once `finish` has returned.
"""

from __future__ import annotations

import os
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from lib.tapes.findings import Findings
from lib.tapes.prepared import ABOUT, PRICES, SENTIMENTS, SYMBOLS, About

_IDENTITY_BYTES: Final = 8


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
        self._files = [(directory / name).open("xb") for name in names]
        # A digest for each file: what two arrays hold does not depend on where a part ends.
        self._digests = [blake2b(digest_size=_IDENTITY_BYTES) for _ in names]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for file in self._files:
            file.close()

    def add_ticks(self, symbols: NDArray[np.int32], prices: NDArray[np.int64]) -> None:
        """Append ticks: the index of each symbol, and the prices in units of 10⁻⁸."""
        self._add(symbols.astype(np.int32, copy=False), prices.astype(np.int64, copy=False))

    def add_sentiments(self, values: NDArray[np.uint8]) -> None:
        """Append sentiments, 0 to 100."""
        self._add(values.astype(np.uint8, copy=False))

    def finish(self, findings: Findings) -> About:
        """Put everything on disk, and say what it is in ABOUT. `findings.length` is set here."""
        for file in self._files:
            file.flush()
            os.fsync(file.fileno())
        whole = blake2b(repr(self._symbols).encode(), digest_size=_IDENTITY_BYTES)
        for part in self._digests:
            whole.update(part.digest())
        about = About(
            kind=self._kind,
            identity=f"file-{whole.hexdigest()}",
            symbols=self._symbols,
            findings=msgspec.structs.replace(findings, length=self.length),
        )
        with (self._directory / ABOUT).open("xb") as file:
            file.write(msgspec.json.encode(about))
            file.flush()
            os.fsync(file.fileno())
        return about

    def _add(self, *arrays: NDArray) -> None:
        for array, file, part in zip(arrays, self._files, self._digests, strict=True):
            contents = memoryview(np.ascontiguousarray(array)).cast("B")
            file.write(contents)
            part.update(contents)
        self.length += len(arrays[0])
