"""`python -m tests.simulation --seed N` replays one seed, `--seeds N` runs many on all cores.

With `--clusters` they are seeds of clusters of hosts.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time

from tests.simulation.campaign import run_seeds


def main() -> int:
    """Run what was asked for. Returns the exit code: 0 if nothing was found, 130 if interrupted."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--seed", type=int, help="replay this one")
    what.add_argument("--seeds", type=int, help="run so many")
    parser.add_argument("--first", type=int, default=0, help="the first of them (0)")
    parser.add_argument("--clusters", action="store_true", help="of clusters, not of one host")
    arguments = parser.parse_args()
    if arguments.seeds is not None and arguments.seeds < 1:
        parser.error("--seeds: at least 1")
    if arguments.seed is not None:
        seeds = range(arguments.seed, arguments.seed + 1)
    else:
        seeds = range(arguments.first, arguments.first + arguments.seeds)
    # What a shell starts with & ignores SIGINT.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    began_s = time.monotonic()
    try:
        campaign = run_seeds(seeds, clusters=arguments.clusters)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    elapsed_s = time.monotonic() - began_s
    print(campaign)
    print(f"{campaign.seeds / elapsed_s:.1f} seeds a second")
    return 1 if campaign.failed else 0


if __name__ == "__main__":
    sys.exit(main())
