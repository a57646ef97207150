"""What a profile of the hot daemons has found: the JSON that the report's appendix is written from.

`bench.profile` fills these records in. Times are nanoseconds, shares are of a daemon's CPU time.
"""

from __future__ import annotations

from msgspec import Struct


class HotFunction(Struct, frozen=True):
    """One function of ours, with all that it calls outside of the project (NumPy, the kernel)."""

    function: str
    """File and name, as in "lib/wire/tick_codec.py decode"."""
    share: float
    """Of the samples of its daemon."""
    line: str
    """The source of the line that most of its samples were in."""


class DaemonProfile(Struct, frozen=True):
    """One daemon under one load."""

    role: str
    cpu_ns: int
    """What it took of a core."""
    kernel_ns: int
    """How much of that in system calls."""
    samples: int
    """That found it at work."""
    functions: tuple[HotFunction, ...]
    """All of them, the hottest first."""


class LoadProfile(Struct, frozen=True):
    """The stack under one load."""

    rate: float
    """Ticks a second as asked for; 0: as fast as it goes."""
    symbols: int
    seconds: float
    ticks: int
    """That were evaluated meanwhile."""
    daemons: tuple[DaemonProfile, ...]


class Profile(Struct, frozen=True):
    """A whole profile."""

    began_utc: str
    sampler: str
    """With which version of what the samples were taken."""
    samples_per_s: int
    loads: tuple[LoadProfile, ...]
    gaps: tuple[str, ...]
    """What could not be profiled, and why: a line each."""
