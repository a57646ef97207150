"""`python -m tests.fuzz` sends random and mutated inputs to every port of a private stack.

    python -m tests.fuzz --inputs 1000000 --seed 1             so many on each port
    python -m tests.fuzz --seed 1 --port orders --connection 7   one connection of them again

An input counts when a role has looked at it. Exit code 1 if something was found.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial

from tests.fuzz.campaign import replay, run_campaign
from tests.fuzz.inputs import PORTS


def main() -> int:
    """Do what the command line says. Returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--inputs", type=int, default=1_000_000, help="on each port (1000000)")
    parser.add_argument("--seed", type=int, default=1, help="of everything that is sent (1)")
    parser.add_argument("--port", choices=PORTS, help="of the connection to replay")
    parser.add_argument("--connection", type=int, default=0, help="its number (0)")
    arguments = parser.parse_args()
    if arguments.port:
        found = replay(arguments.port, arguments.connection, arguments.seed)
        print("\n".join(found or ["nothing was found"]))
        return bool(found)
    campaign = run_campaign(arguments.inputs, arguments.seed, partial(print, flush=True))
    print(campaign)
    return bool(campaign.findings)


if __name__ == "__main__":
    sys.exit(main())
