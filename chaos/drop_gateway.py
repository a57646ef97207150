"""End the gateway the hard way (SIGKILL), or gracefully: --signal TERM, --restart.

Prices and news stop until it is started again. Expected: it continues the same tape where it was,
the orderbook gets every tick, the strategy misses none.

With --tape-ticks N, a private stack plays a prepared tape of N ticks. Expected: it is back as soon
as with the random walk.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, Final

from msgspec.structs import replace

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from chaos.faults.role_faults import RoleFault
from chaos.lab.experiment import run_experiment
from chaos.role_experiment import RoleExperiment, drop_command_line, drop_fault
from lib.settings import FILE_SOURCE, Settings

GATEWAY: Final = "gateway"
MAX_TAPE_TICKS: Final = 100_000_000
"""The largest tape that is prepared before the stack counts as not healthy."""
TAPE: Final = (
    "SELECT ['{symbols}'][1 + n % {count}] AS symbol, "
    "(100 + n // 1000 % 50 + n % 7)::DECIMAL(18, 8) AS price FROM range({ticks}) ticks(n)"
)
"""SQL for a tape of any length, whose prices go up and down, so that there are orders."""


class DropWithTape(RoleExperiment):
    """Ends a gateway that plays a prepared tape of `ticks` ticks."""

    needs_private = True

    def __init__(self, fault: RoleFault, times: int, ticks: int) -> None:
        fault.title += f" with a tape of {ticks:,} ticks"
        super().__init__(f"drop_{GATEWAY}", fault, times)
        self._ticks = ticks

    def private_settings(self, settings: Settings) -> Settings:
        """Play the tape at the rate of the settings."""
        symbols = [symbol.replace("'", "''") for symbol in settings.symbols]
        query = TAPE.format(symbols="', '".join(symbols), count=len(symbols), ticks=self._ticks)
        gateway = replace(settings.gateway, source=FILE_SOURCE, path=None, query=query)
        return replace(settings, gateway=gateway)

    def figures(self) -> dict[str, Any]:
        """Return all figures of all faults, and the length of the tape."""
        return {**super().figures(), "tape_ticks": self._ticks}


def main() -> int:
    """Run the experiment; return its exit code."""
    parser = drop_command_line(GATEWAY, __doc__)
    parser.add_argument(
        "--tape-ticks",
        metavar="N",
        type=_ticks,
        help="play a prepared tape of N ticks, on a private stack (default: what the settings say)",
    )
    arguments = parser.parse_args()
    fault, ticks = drop_fault(GATEWAY, arguments), arguments.tape_ticks
    experiment = (
        DropWithTape(fault, arguments.times, ticks)
        if ticks
        else RoleExperiment(f"drop_{GATEWAY}", fault, arguments.times)
    )
    return run_experiment(experiment, arguments)


def _ticks(text: str) -> int:
    if not text.isdigit() or not 0 < int(text) <= MAX_TAPE_TICKS:
        raise argparse.ArgumentTypeError(
            f"must be a number from 1 to {MAX_TAPE_TICKS:,}, got {text!r}"
        )
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
