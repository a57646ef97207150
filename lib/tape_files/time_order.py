"""Ticks in the order of their times, sorted on disk in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

BUCKET_TICKS: Final = 2_000_000
"""How many ticks are sorted at once, about: 150 MB of memory."""
MAX_BUCKETS: Final = 200
"""How many parts there are at most: each is two open files."""
CHUNK_TICKS: Final = 2**18
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

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add_ticks(
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
        self, on_share: Callable[[float], None]
    ) -> Iterator[tuple[NDArray[np.int32], NDArray[np.int64]]]:
        """Yield symbols and prices by time; ticks of one time stay in the order of the file.

        `on_share` is called with the share done, and may raise to stop. The ticks are used up.
        """
        parts = self._distribute(on_share)
        done = 0
        for number, part in enumerate(parts):
            is_one_time = number % 2 == 1
            with part.open("rb") as file:
                while block := file.read(CHUNK_TICKS * _RECORD.itemsize if is_one_time else -1):
                    records = np.frombuffer(block, dtype=_RECORD)
                    if not is_one_time:
                        on_share(0.5 + done / (2 * self.length))
                        records = records[np.argsort(records["time"], kind="stable")]
                    yield records["symbol"].copy(), records["price"].copy()
                    done += len(records)
                    on_share(0.5 + done / (2 * self.length))
            part.unlink()

    def _distribute(self, on_share: Callable[[float], None]) -> list[Path]:
        """Write the ticks to files of about BUCKET_TICKS, whose times follow each other.

        Those of odd numbers have ticks of one time only, of which there may be any number.
        """
        self._file.flush()
        edges = self._edges()
        paths = [self._path.with_suffix(f".{number}") for number in range(2 * len(edges) + 1)]
        with ExitStack() as stack:
            files = [stack.enter_context(path.open("xb")) for path in paths]
            source = stack.enter_context(self._path.open("rb"))
            done = 0
            while block := source.read(CHUNK_TICKS * _RECORD.itemsize):
                records = np.frombuffer(block, dtype=_RECORD)
                times = records["time"]
                numbers = np.searchsorted(edges, times, "left")
                numbers += np.searchsorted(edges, times, "right")
                order = np.argsort(numbers, kind="stable")
                ends = np.cumsum(np.bincount(numbers, minlength=len(files)))
                for file, first, end in zip(files, [0, *ends], ends, strict=False):
                    file.write(records[order[first:end]].tobytes())
                done += len(records)
                on_share(done / (2 * self.length))
        self._path.unlink()
        return paths

    def _edges(self) -> NDArray[np.int64]:
        """Return times between which there are about BUCKET_TICKS."""
        if not self.length:
            return np.zeros(0, dtype=np.int64)
        times = np.memmap(self._path, dtype=_RECORD, mode="r")["time"]
        sample = np.sort(times[:: max(self.length // _SAMPLES, 1)])
        count = min(-(-self.length // BUCKET_TICKS), MAX_BUCKETS)
        return np.unique(sample[np.arange(1, count) * len(sample) // count])
