"""The ticks of a tape, counted while it is read: by symbol, and what is odd.

Pure: arrays in, counts out. Memory does not depend on the number of ticks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lib.tape_files.arrow_stream import Numbers

_TAIL: Final = 4096
"""How many of the last ticks of a part usually have all of its symbols."""
_NO_TIME: Final = np.iinfo(np.int64).min


@dataclass
class TickTally:
    """The ticks that are played. Symbols are indices below `symbols`."""

    symbols: int
    count: int = 0
    rounded: int = 0
    """How many prices were rounded."""
    largest_rounding: float = 0.0
    """The most that rounding changed a price by, as a share of it."""
    backward: int = 0
    """How many ticks are earlier than the one before."""
    backward_in_symbol: int = 0
    """How many ticks are earlier than the one before of the same symbol."""
    timed: int = 0
    """How many ticks have a time."""
    untimed: int = 0
    """How many have none although there is a time column."""
    runs: int = 0
    """How many times the symbol changes, and one."""
    counts: NDArray[np.int64] = field(init=False)
    first: NDArray[np.int64] = field(init=False)
    last: NDArray[np.int64] = field(init=False)
    _last_times: NDArray[np.int64] = field(init=False)
    _last_time: int = int(_NO_TIME)
    _last_symbol: int = -1

    def __post_init__(self) -> None:
        self.counts, self.first, self.last = (
            np.zeros(self.symbols, dtype=np.int64) for _ in range(3)
        )
        self._last_times = np.full(self.symbols, _NO_TIME)

    def add(
        self,
        symbols: NDArray[np.int32],
        units: NDArray[np.int64],
        rest: NDArray[np.float64],
        times: Numbers | None,
    ) -> None:
        """Count ticks in the order of playing; `times` is None where there is no time column."""
        if not len(units):
            return
        self.count += len(units)
        self.add_prices(symbols, units)
        self.runs += int(np.count_nonzero(symbols[1:] != symbols[:-1]))
        self.runs += int(symbols[0] != self._last_symbol)
        self._last_symbol = int(symbols[-1])
        rounded = np.flatnonzero(rest)
        if len(rounded):
            self.rounded += len(rounded)
            exact = units[rounded] + rest[rounded]
            share = np.abs(rest[rounded]) / exact
            self.largest_rounding = max(self.largest_rounding, float(share.max()))
        if times is not None:
            has_time, moments = times
            self.untimed += int(np.count_nonzero(~has_time))
            if not has_time.all():
                symbols, moments = symbols[has_time], moments[has_time]
            self._add_times(symbols, moments)

    def restart(self) -> None:
        """Forget which prices are first and last: the ticks are added again in another order."""
        self.counts[:] = 0

    def add_prices(self, symbols: NDArray[np.int32], units: NDArray[np.int64]) -> None:
        """Count ticks of which all else is counted: which prices are first and last."""
        found = np.bincount(symbols, minlength=self.symbols)
        if ((self.counts == 0) & (found > 0)).any():
            seen, at = np.unique(symbols, return_index=True)
            new = self.counts[seen] == 0
            self.first[seen[new]] = units[at[new]]
        self.counts += found
        self._keep_last(self.last, found, symbols, units)

    @staticmethod
    def _keep_last(
        last: NDArray[np.int64],
        found: NDArray[np.int64],
        symbols: NDArray[np.int32],
        values: NDArray[np.int64],
    ) -> None:
        """Set the last value of each symbol; `found` is how many it has."""
        tail = symbols[-_TAIL:]
        if ((np.bincount(tail, minlength=len(last)) > 0) == (found > 0)).all():
            symbols, values = tail, values[-_TAIL:]
        last[symbols] = values  # of several values for one index, the last stays

    def _add_times(self, symbols: NDArray[np.int32], times: NDArray[np.int64]) -> None:
        if not len(times):
            return
        self.timed += len(times)
        backward = int(np.count_nonzero(times[1:] < times[:-1]))
        backward += int(times[0] < self._last_time)
        if backward:
            self.backward += backward
            order = np.argsort(symbols, kind="stable")
            by_symbol, ordered = symbols[order], times[order]
            earlier = np.concatenate(([_NO_TIME], ordered[:-1]))
            starts = np.concatenate(([True], by_symbol[1:] != by_symbol[:-1]))
            earlier[starts] = self._last_times[by_symbol[starts]]
            self.backward_in_symbol += int(np.count_nonzero(ordered < earlier))
        else:  # in order, and later than what the symbols had unless that was out of order
            seen, at = np.unique(symbols, return_index=True) if self.backward else ((), ())
            if len(seen):
                self.backward_in_symbol += int(np.count_nonzero(times[at] < self._last_times[seen]))
        found = np.bincount(symbols, minlength=self.symbols)
        self._keep_last(self._last_times, found, symbols, times)
        self._last_time = int(times[-1])
