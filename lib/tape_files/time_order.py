"""Ticks in the order of their times, sorted on disk in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

BUCKET_TICKS: Final = 4_000_000
"""How many ticks are sorted at once, about: 200 MB of memory."""
CHUNK_TICKS: Final = 2**20
"""How many ticks are looked at in one step."""
_SAMPLES: Final = 100_000
_RECORD: Final = np.dtype([("time", np.int64), ("price", np.int64), ("symbol", np.int32)])


class TimedTicks:
    """Ticks with their times, in `path`, until they are sorted. A context manager. One thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("xb")
        self.length = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()

    def add(
        self, symbols: NDArray[np.int32], prices: NDArray[np.int64], times: NDArray[np.int64] | None
    ) -> None:
        """Append ticks in the order of the file."""
        assert times is not None
        records = np.empty(len(times), dtype=_RECORD)
        records["time"], records["price"], records["symbol"] = times, prices, symbols
        self._file.write(records.tobytes())
        self.length += len(records)

    def cut_back(self, length: int) -> None:
        """Forget all but the first `length`."""
        self._file.seek(length * _RECORD.itemsize)
        self._file.truncate()
        self.length = length

    def sorted(
        self, tick: Callable[[float], None]
    ) -> Iterator[tuple[NDArray[np.int32], NDArray[np.int64]]]:
        """Yield symbols and prices by time; ticks of one time stay in the order of the file.

        `tick` is called with the share done, and may raise to stop.
        """
        self._file.flush()
        if not self.length:
            return
        records = np.memmap(self._path, dtype=_RECORD, mode="r")
        done = 0
        for low, high in self._buckets(records["time"]):
            parts = []
            for first in range(0, self.length, CHUNK_TICKS):
                part = np.array(records[first : first + CHUNK_TICKS])
                part = part[(part["time"] >= low) & (part["time"] <= high)]
                if low < high:
                    parts.append(part)
                elif len(part):  # ticks of one time are in order: any number of them
                    yield part["symbol"].copy(), part["price"].copy()
                    done += len(part)
                tick(done / self.length)
            if parts:
                bucket = np.concatenate(parts)
                bucket = bucket[np.argsort(bucket["time"], kind="stable")]
                yield bucket["symbol"].copy(), bucket["price"].copy()
                done += len(bucket)

    def _buckets(self, times: NDArray[np.int64]) -> list[tuple[int, int]]:
        """Return the first and last times of parts of about BUCKET_TICKS, in order."""
        sample = np.sort(times[:: max(self.length // _SAMPLES, 1)])
        count = -(-self.length // BUCKET_TICKS)
        edges = np.unique(sample[np.arange(1, count) * len(sample) // count])
        # Each edge is a part of its own, because any number of ticks may have that one time.
        parts, low = [], int(np.iinfo(np.int64).min)
        for edge in map(int, edges):
            parts += [(low, edge - 1), (edge, edge)]
            low = edge + 1
        return [*parts, (low, int(np.iinfo(np.int64).max))]
