"""The whole stack in the foreground, with one command.

Checks the settings, starts supervisord with all roles, shows their log lines as they come, and
stops everything on Ctrl-C, SIGTERM, SIGHUP, at the end of --duration, or when its output has no
reader any more. The kernel signals supervisord when this process dies, so that nothing is left
behind even after SIGKILL.

Lines that a program repeats while supervisord retries it are shown once; when supervisord gives it
up, a line says what to do. Without a gateway, orderbook, order manager or any strategy nothing is
traded: when supervisord gives up the last program of one of these roles, the stack ends; at once,
if it has never started and refuses its settings or its tape.

Exit codes: 0 after a requested stop (here or with `supervisorctl shutdown`), 78 for invalid
settings, 2 for a wrong command line, that of the role without which nothing is traded, 1 for
anything else, each with a line that says why.
"""

from __future__ import annotations

import argparse
import math
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

# As PID 1 of a container it would not get a SIGTERM during the imports below: the kernel discards a
# signal to PID 1 that has no handler, and `docker stop` would wait for its SIGKILL.
if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))

sys.path.insert(0, str(Path(__file__).resolve().parent))  # PYTHONSAFEPATH leaves it out

from lib.dashboard.tape_result import TapeResult
from lib.errors import CannotStartError
from lib.net.host import address_text
from lib.process.own_files import OWN_UMASK, read_own
from lib.process.slow_start import report_slow_start
from lib.process.standard_streams import prepare_standard_streams
from lib.settings import EXIT_BAD_SETTINGS, Settings, SettingsError, load_settings
from lib.stack.console import Screen
from lib.stack.fatal_programs import Ending, FatalPrograms
from lib.stack.foreground import Stop, absolute_path, use_utf8
from lib.stack.launch import (
    check_paths,
    check_ports,
    check_price_book,
    check_that_no_stack_runs,
    check_token_file,
    own_var_dir,
    prepare_var_dir,
    reap_orphans,
    start_supervisord,
    wait_until_segments_are_gone,
    wake_supervisord,
    why_it_ended,
)
from lib.stack.log_follower import NOTICE, WARNING, LogFollower, ScreenLine
from lib.stack.long_program import positive_number
from lib.stack.repeated_lines import RepeatedLines
from lib.stack.start_checks import (
    check_control_socket,
    check_limits,
    check_run_role,
    find_temporary_directory,
)
from lib.stack.strategies import StackStrategies, stack_strategies, strategy_programs
from lib.stack.supervisord_configuration import (
    CONFIGURATION,
    read_configuration,
    started_programs,
    stop_limit_s,
)
from lib.trading.signal_loading import load_signal_class

LOOK_S: Final = 0.1
"""How often the logs are read."""
SLOW_LOADING_S: Final = 1.0
"""How long a signal's module may load before a line says so."""


def main() -> int:
    """Run the stack until it stops. Returns the exit code."""
    use_utf8()
    prepare_standard_streams()
    os.umask(OWN_UMASK)
    arguments = _parse_command_line()
    stop = Stop()
    try:
        settings = _load_settings(arguments.config, arguments.var_dir)
        original = read_configuration(arguments.programs)
        strategies = stack_strategies(settings, strategy_programs(original))
        for table, strategy in strategies.run.items():
            with report_slow_start(
                [SLOW_LOADING_S], partial(_print_slow_loading, strategy.signal_class)
            ):
                load_signal_class(strategy.signal_class, f"{table}.class")
            if stop.is_requested():  # the module may have caught the KeyboardInterrupt
                return 0
        programs = started_programs(original)
        check_limits(len(programs))
        check_run_role()
        check_paths(settings.var_dir)
        own_var_dir(settings.var_dir)
        check_that_no_stack_runs(settings.var_dir)
        check_token_file(settings, programs.values())
        check_ports(settings, programs.values())
        check_price_book(settings)
        configuration = prepare_var_dir(
            settings.var_dir, original, strategies.unknown, arguments.programs
        )
        check_control_socket(settings.var_dir)
        find_temporary_directory(settings.var_dir)
        stop.begin_to_run(arguments.duration)
    except KeyboardInterrupt:
        return 0
    except SettingsError as error:
        print(error, file=sys.stderr)
        return EXIT_BAD_SETTINGS
    except CannotStartError as error:
        print(f"main.py: {error}", file=sys.stderr)
        return 1
    return _run(settings, strategies, configuration, stop)


def _parse_command_line() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Run the whole stack in the foreground; Ctrl-C stops it.",
        epilog="Exit codes: 0 stopped as asked, 78 invalid settings, 2 wrong command line, "
        "the code of a role without which nothing is traded, 1 anything else.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--config",
        metavar="FILE",
        type=absolute_path,
        help="the settings (default: $TRADING_CONFIG, else etc/trading.toml)",
    )
    parser.add_argument(
        "--programs",
        metavar="FILE",
        type=absolute_path,
        default=CONFIGURATION,
        help="the programs, as supervisord's configuration (default: etc/supervisord.conf)",
    )
    parser.add_argument(
        "--var-dir",
        metavar="DIR",
        type=absolute_path,
        help="where logs, ledger and state go; made if missing (default: var_dir of the settings)",
    )
    parser.add_argument(
        "--duration",
        metavar="SECONDS",
        type=positive_number("seconds"),
        default=math.inf,
        help="stop after so many seconds (default: run until stopped)",
    )
    return parser.parse_args()


def _load_settings(config: Path | None, var_dir: Path | None) -> Settings:
    """Load the settings, and set the environment so that the roles load the same ones."""
    if config is None and (name := os.environ.get("TRADING_CONFIG")):
        config = Path(name).absolute()
    if config is not None:
        os.environ["TRADING_CONFIG"] = str(config)
    if var_dir is not None:
        os.environ["TRADING_VAR_DIR"] = str(var_dir)
    settings = load_settings()
    os.environ["TRADING_VAR_DIR"] = str(settings.var_dir)
    return settings


def _print_slow_loading(signal_class: str, _elapsed_s: float, where: str) -> None:
    """Print what the start waits for: a user's module may load a model, or never return."""
    at = f"; it is at {where}" if where else ""
    print(f"main.py: loading {signal_class} takes long{at}", file=sys.stderr, flush=True)


class _StackMonitor:
    """Shows the new log lines of a stack, and decides whether the stack has to end."""

    def __init__(
        self, settings: Settings, strategies: StackStrategies, configuration: Path, screen: Screen
    ) -> None:
        self._log_follower = LogFollower(settings.var_dir)
        self._tape_result = TapeResult(settings, strategies.run)
        self._screen = screen
        self._repeated_lines = RepeatedLines()
        self._shown = 0
        programs = started_programs(configuration.read_text(encoding="utf-8"))
        self._fatal_programs = FatalPrograms(programs, f"{_supervisorctl(configuration)} start")

    def look(self) -> None:
        """Show what was logged since the last look, and what an ended tape has come to."""
        self._show([*self._log_follower.new_lines(), *self._tape_result.look()])

    def last_look(self) -> None:
        """Show everything that was logged since the last look, including lines held back."""
        self._show([*self._log_follower.new_lines(), *self._log_follower.rest()])

    def _show(self, lines: list[ScreenLine]) -> None:
        now_s = time.monotonic()
        shown = self._repeated_lines.forget_old_failures(now_s)
        for line in lines:
            line = self._fatal_programs.take_line(line, self._shown + len(shown))
            shown += self._repeated_lines.new_of(line, now_s)
        self._shown += len(shown)
        self._screen.show(shown)

    @property
    def ending(self) -> Ending | None:
        """Why the stack has to end; None if it does not."""
        return self._fatal_programs.ending

    def close(self) -> None:
        """Close the files, and leave the terminal to what is printed next."""
        self._log_follower.close()
        self._tape_result.close()
        self._screen.erase_bar()


def _run(settings: Settings, strategies: StackStrategies, configuration: Path, stop: Stop) -> int:
    screen = Screen(sys.stdout.fileno(), stop.is_requested)
    monitor = _StackMonitor(settings, strategies, configuration, screen)
    limit_s = stop_limit_s(configuration.read_text(encoding="utf-8"))
    with tempfile.TemporaryFile() as errors:
        try:
            supervisord = start_supervisord(configuration, errors)
        except CannotStartError as error:
            print(f"main.py: {error}", file=sys.stderr)
            return 1
        screen.show([_introduction(settings, strategies.names)])
        screen.show(ScreenLine("main.py", text, WARNING) for text in strategies.warnings())
        ending = _show_until_stop(supervisord, settings.var_dir, monitor, screen, stop)
        asked = stop.is_requested()
        stop.request()
        with suppress(OSError, UnicodeDecodeError):  # programs may have been added meanwhile
            limit_s = stop_limit_s(read_own(configuration).decode())
        in_time = _stop_supervisord(supervisord, settings.var_dir, monitor, limit_s)
        reason = why_it_ended(supervisord.returncode, errors)
    wait_until_segments_are_gone(settings.price_book.name)
    monitor.last_look()
    monitor.close()
    if not in_time:
        print(f"main.py: killed supervisord, it took over {limit_s:.0f} s", file=sys.stderr)
    if asked:
        return 0
    if ending:
        print(f"main.py: {ending.message}", file=sys.stderr)
        return ending.code
    if reason:
        try:
            check_that_no_stack_runs(settings.var_dir)  # another may have started meanwhile
            print(f"main.py: supervisord ended by itself: {reason}", file=sys.stderr)
        except CannotStartError as error:
            print(f"main.py: {error}", file=sys.stderr)
        return 1
    return 0


def _introduction(settings: Settings, strategies: list[str]) -> ScreenLine:
    gateway, order_manager = settings.gateway, settings.order_manager
    dashboard = settings.dashboard
    return ScreenLine(
        "main.py",
        f"prices on {address_text(gateway.host, gateway.price_port)}, "
        f"news on {address_text(gateway.host, gateway.news_port)}, "
        f"orders on {address_text(order_manager.host, order_manager.port)}; "
        + (f"strategies {', '.join(strategies)}; " if len(strategies) > 1 else "")
        + f"dashboard on http://{address_text(dashboard.host, dashboard.port)}; "
        f"logs in {settings.var_dir}/log; Ctrl-C stops everything",
        NOTICE,
    )


def _supervisorctl(configuration: Path) -> str:
    """Return the command that controls this stack, for any shell in any directory."""
    script = Path(sys.executable).with_name("supervisorctl")
    program = [script] if script.exists() else [sys.executable, "-m", "supervisor.supervisorctl"]
    return shlex.join(map(str, [*program, "-c", configuration]))


def _show_until_stop(
    supervisord: subprocess.Popen[bytes],
    var_dir: Path,
    monitor: _StackMonitor,
    screen: Screen,
    stop: Stop,
) -> Ending | None:
    """Show log lines until the stack is to stop, has to end, or supervisord ends by itself.

    Returns why it has to end.
    """
    woken = False
    while supervisord.poll() is None and not stop.is_requested():
        woken = woken or wake_supervisord(var_dir)  # otherwise it starts the roles a second later
        reap_orphans(supervisord)
        monitor.look()
        if monitor.ending:
            return monitor.ending
        if screen.reader_is_gone():
            stop.request()
        time.sleep(LOOK_S)
    return None


def _stop_supervisord(
    supervisord: subprocess.Popen[bytes], var_dir: Path, monitor: _StackMonitor, limit_s: float
) -> bool:
    """Let supervisord stop the stack and end; return whether it did in time."""
    deadline_s = time.monotonic() + limit_s
    supervisord.terminate()
    while supervisord.poll() is None and time.monotonic() < deadline_s:
        wake_supervisord(var_dir)  # otherwise it checks only once a second what has ended
        reap_orphans(supervisord)
        monitor.look()
        time.sleep(LOOK_S)
    in_time = supervisord.poll() is not None
    if not in_time:
        supervisord.kill()  # the roles end by themselves when it dies
        supervisord.wait()
    return in_time


if __name__ == "__main__":
    sys.exit(main())
