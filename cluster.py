"""A cluster on this machine, in the foreground, with one command: three brokers and four hosts.

    market-1     gateway, uplink
    strategy-1   downlink, orderbook, strategy, order relay
    order-1      order manager, order relay, and what the limits of risk need
    order-2      the same, standing by

Each host has a directory and ports of its own under the var directory. Everything stops on Ctrl-C,
SIGTERM, SIGHUP, at the end of --duration, or when the output has no reader any more. Then what was
written is removed, unless it is to be kept. Kill what you like meanwhile: see docs/cluster.md.

Exit codes: 0 after a requested stop, 78 for invalid settings, 2 for a wrong command line, 1 for
anything else, each with a line that says why.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parent))  # PYTHONSAFEPATH leaves it out

from lib.errors import CannotStartError
from lib.net.host import address_text
from lib.process.own_files import OWN_UMASK
from lib.process.standard_streams import prepare_standard_streams
from lib.settings import EXIT_BAD_SETTINGS, PROJECT_ROOT, SettingsError, load_settings
from lib.stack.cluster_lab import ClusterLab
from lib.stack.console import ROLE_COLUMNS, Screen
from lib.stack.foreground import Stop, absolute_path, use_utf8
from lib.stack.log_follower import NOTICE, ScreenLine
from lib.stack.long_program import positive_number
from lib.stack.private_stack import PrivateStackError

LOOK_S: Final = 0.1
"""How often the logs are read."""
NAME: Final = "cluster.py"


def main() -> int:
    """Run the cluster until it stops. Returns the exit code."""
    use_utf8()
    prepare_standard_streams()
    os.umask(OWN_UMASK)
    arguments = _parse_command_line()
    stop = Stop()
    try:
        settings = load_settings(arguments.config)
        lab = ClusterLab(settings, arguments.var_dir)
        stop.begin_to_run(arguments.duration)
        _run(lab, stop)
        if not arguments.keep:
            lab.remove_files()
    except KeyboardInterrupt:
        return 0
    except SettingsError as error:
        print(error, file=sys.stderr)
        return EXIT_BAD_SETTINGS
    except (CannotStartError, PrivateStackError) as error:
        print(f"{NAME}: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{NAME}: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


def _parse_command_line() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Run a cluster of three brokers and four hosts on this machine.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--config",
        metavar="FILE",
        type=absolute_path,
        help="the settings of every host (default: $TRADING_CONFIG, else etc/trading.toml); ports, "
        "names and directories are others",
    )
    parser.add_argument(
        "--var-dir",
        metavar="DIR",
        type=absolute_path,
        default=PROJECT_ROOT / "var" / "cluster",
        help="where everything is written (default: var/cluster)",
    )
    parser.add_argument(
        "--duration",
        metavar="SECONDS",
        type=positive_number("seconds"),
        default=math.inf,
        help="stop after so many seconds (default: run until stopped)",
    )
    parser.add_argument(
        "--keep",
        action="store_true",
        help="keep what was written: the next cluster in that directory goes on with it",
    )
    return parser.parse_args()


def _run(lab: ClusterLab, stop: Stop) -> None:
    columns = max(len(host.name) for host in lab.stacks) + 1 + ROLE_COLUMNS
    screen = Screen(sys.stdout.fileno(), stop.is_requested, columns)
    with lab:
        lab.start()
        screen.show(_introduction(lab))
        while not stop.is_requested():
            screen.show(lab.look())
            if screen.reader_is_gone():
                stop.request()
            time.sleep(LOOK_S)
    screen.show(lab.last_look())


def _introduction(lab: ClusterLab) -> list[ScreenLine]:
    lines = [ScreenLine(NAME, f"brokers at {' '.join(lab.brokers.urls)}", NOTICE)]
    for host, stack in lab.stacks.items():
        dashboard = stack.settings.dashboard
        url = f"http://{address_text(dashboard.host, dashboard.port)}"
        text = f"{host.name}: dashboard on {url}; everything in {stack.directory}"
        lines.append(ScreenLine(NAME, text, NOTICE))
    return [*lines, ScreenLine(NAME, "Ctrl-C stops everything", NOTICE)]


if __name__ == "__main__":
    sys.exit(main())
