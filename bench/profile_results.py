"""The JSON records of a profile of the hot daemons, from which the report's profile is made.

Written by `bench.profile`. Times are nanoseconds, shares are of a daemon's CPU time.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct


class HotFunction(Struct, frozen=True):
    """One function of the project, including what it calls outside of it (NumPy, the kernel)."""

    function: str
    """File and name, as in "lib/wire/tick_codec.py decode"."""
    share: float
    """Its share of the samples of the daemon."""
    line: str
    """The source of the line with most of its samples."""


class DaemonProfile(Struct, frozen=True):
    """One daemon under one load."""

    role: str
    cpu_ns: int
    """The CPU time that it took."""
    kernel_ns: int
    """The part of `cpu_ns` in the kernel."""
    samples: int
    """How many samples found it at work."""
    functions: tuple[HotFunction, ...]
    """All its functions, the hottest first."""


class LoadProfile(Struct, frozen=True):
    """The stack under one load."""

    rate: float
    """The configured ticks a second; 0: as fast as it goes."""
    symbols: int
    seconds: float
    ticks: int
    """How many ticks the strategy evaluated in that time."""
    daemons: tuple[DaemonProfile, ...]


class Profile(Struct, frozen=True):
    """A complete profile."""

    began_utc: str
    sampler: str
    """The name and version of the sampler."""
    samples_per_s: int
    loads: tuple[LoadProfile, ...]
    gaps: tuple[str, ...]
    """What could not be profiled, and why: a line each."""
    machine: dict[str, Any] = {}
    """Its facts; none in a profile that was recorded before they were."""
