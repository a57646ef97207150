"""The hops of `three_processes.py`, in C: what is left when Python is taken away."""

from __future__ import annotations

from typing import Final

from bench.rivals.floor.hops import run_hops
from bench.rivals.load import Load
from bench.rivals.rival import RivalResult, main

NAME: Final = "three bare processes in C"


def measure(load: Load) -> RivalResult:
    """As `three_processes.measure`. Raises RivalUnavailable where there is no compiler."""
    return run_hops("three", load)


if __name__ == "__main__":
    main(NAME, measure)
