"""The whole stack in the foreground, with one command.

Checks the settings, starts supervisord with all roles, shows what happens as it happens, and
stops everything on Ctrl-C, SIGTERM, SIGHUP, at the end of --duration, or when nobody reads its
output any more. The kernel tells supervisord when this process dies, so that nothing is left
behind even after SIGKILL.

Exit codes: 0 after a stop that somebody asked for (here or with `supervisorctl shutdown`), 78 for
impossible settings, 2 for a wrong command line, 1 for anything else, each with a line that says
why.
"""

from __future__ import annotations

import argparse
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType
from typing import Final

from lib.errors import CannotStartError
from lib.screen import Screen
from lib.settings import EXIT_BAD_SETTINGS, Settings, SettingsError, load_settings
from lib.signals import load_signal_class
from lib.stack import (
    check_paths,
    check_ports,
    check_that_no_stack_runs,
    prepare_var_dir,
    read_configuration,
    start_supervisord,
    started_roles,
    wait_until_segments_are_gone,
    wake_supervisord,
    why_it_ended,
)
from lib.story import NOTICE, Line, Story

LOOK_S: Final = 0.1
"""How often the logs are looked at."""
STOP_S: Final = 21.0
"""How long supervisord has to stop the stack: six programs, one after the other, at most 3 s
each (stopwaitsecs), and some more. It takes about a second where no role hangs."""


def main() -> int:
    """Run the stack until somebody stops it. Returns the exit code."""
    arguments = _parse_command_line()
    try:
        settings = _load_settings(arguments.config, arguments.var_dir)
        check_paths(settings.var_dir)
        check_that_no_stack_runs(settings.var_dir)
        original = read_configuration()
        check_ports(settings, started_roles(original))
        configuration = prepare_var_dir(settings.var_dir, original)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return EXIT_BAD_SETTINGS
    except CannotStartError as error:
        print(f"main.py: {error}", file=sys.stderr)
        return 1
    return _run(settings, configuration, arguments.duration)


def _parse_command_line() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Run the whole stack in the foreground; Ctrl-C stops it.", allow_abbrev=False
    )
    parser.add_argument(
        "--config",
        metavar="FILE",
        type=_absolute_path,
        help="the settings (default: $TRADING_CONFIG, else etc/trading.toml)",
    )
    parser.add_argument(
        "--var-dir",
        metavar="DIR",
        type=_absolute_path,
        help="where logs, ledger and state go; made if missing (default: var_dir of the settings)",
    )
    parser.add_argument(
        "--duration",
        metavar="SECONDS",
        type=_seconds,
        default=math.inf,
        help="stop after so many seconds (default: run until stopped)",
    )
    return parser.parse_args()


def _absolute_path(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("must not be empty")
    return Path(text).absolute()


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number of seconds above 0, got {text!r}")
    return seconds


def _load_settings(config: Path | None, var_dir: Path | None) -> Settings:
    """Load the settings, and leave in our environment what makes the roles load the same."""
    if config is None and (name := os.environ.get("TRADING_CONFIG")):
        config = Path(name).absolute()
    if config is not None:
        os.environ["TRADING_CONFIG"] = str(config)
    if var_dir is not None:
        os.environ["TRADING_VAR_DIR"] = str(var_dir)
    settings = load_settings()
    load_signal_class(settings.strategy.signal_class)
    os.environ["TRADING_VAR_DIR"] = str(settings.var_dir)
    return settings


class _Stop:
    """Whether the stack shall stop: somebody asked for it, or the duration is over."""

    def __init__(self, duration_s: float) -> None:
        self._requested = False
        self._end_s = time.monotonic() + duration_s
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # nohup(1) has SIGHUP ignored, so that a program outlives its terminal. A shell has
            # SIGINT ignored in what it starts with "&", but whoever sends it by number means it.
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._on_signal)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._requested = True

    def request(self) -> None:
        self._requested = True

    def is_requested(self) -> bool:
        return self._requested or time.monotonic() >= self._end_s


def _run(settings: Settings, configuration: Path, duration_s: float) -> int:
    stop = _Stop(duration_s)
    screen = Screen(1, stop.is_requested)
    story = Story(settings.var_dir)
    with tempfile.TemporaryFile() as errors:
        supervisord = start_supervisord(configuration, errors)
        screen.show([_introduction(settings)])
        _tell_until_stop(supervisord, settings.var_dir, story, screen, stop)
        asked = stop.is_requested()
        stop.request()
        in_time = _stop_supervisord(supervisord, settings.var_dir, story, screen)
        reason = why_it_ended(supervisord.returncode, errors)
    wait_until_segments_are_gone(settings.price_book.name)
    screen.show(story.new_lines())
    story.close()
    if not in_time:
        print(f"main.py: killed supervisord, it took over {STOP_S:.0f} s", file=sys.stderr)
    if reason and not asked:
        print(f"main.py: supervisord ended by itself: {reason}", file=sys.stderr)
        return 1
    return 0


def _introduction(settings: Settings) -> Line:
    gateway, order_manager = settings.gateway, settings.order_manager
    dashboard = settings.dashboard
    return Line(
        "main.py",
        f"prices on {gateway.host}:{gateway.price_port}, "
        f"news on {gateway.host}:{gateway.news_port}, "
        f"orders on {order_manager.host}:{order_manager.port}; "
        f"dashboard on http://{_in_address(dashboard.host)}:{dashboard.port}; "
        f"logs in {settings.var_dir}/log; Ctrl-C stops everything",
        NOTICE,
    )


def _in_address(host: str) -> str:
    """Return a host as it stands in an address: an IPv6 one in brackets."""
    return f"[{host}]" if ":" in host else host


def _tell_until_stop(
    supervisord: subprocess.Popen[bytes], var_dir: Path, story: Story, screen: Screen, stop: _Stop
) -> None:
    """Show the story until the stack shall stop, or supervisord ends by itself."""
    woken = False
    while supervisord.poll() is None and not stop.is_requested():
        woken = woken or wake_supervisord(var_dir)  # it would start the roles a second later
        screen.show(story.new_lines())
        if screen.reader_is_gone():
            stop.request()
        time.sleep(LOOK_S)


def _stop_supervisord(
    supervisord: subprocess.Popen[bytes], var_dir: Path, story: Story, screen: Screen
) -> bool:
    """Let supervisord stop the stack and end; tell whether it did so in time."""
    deadline_s = time.monotonic() + STOP_S
    supervisord.terminate()
    while supervisord.poll() is None and time.monotonic() < deadline_s:
        wake_supervisord(var_dir)  # it would look at what has ended once a second
        screen.show(story.new_lines())
        time.sleep(LOOK_S)
    in_time = supervisord.poll() is not None
    if not in_time:
        supervisord.kill()  # the roles end by themselves when it dies
        supervisord.wait()
    return in_time


if __name__ == "__main__":
    sys.exit(main())
