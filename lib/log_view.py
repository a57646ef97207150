"""Follow the logs of all roles: merged in order of time, one human-readable line an event.

    python -m lib.log_view                                    everything
    python -m lib.log_view --role gateway --role strategy     of these programs only
    python -m lib.log_view --level warning                    warnings and worse

It begins with the latest lines, and goes on until Ctrl-C, through restarts and rotations of the
logs. A line that is written to its file late is shown late. --no-follow ends after the lines that
are there.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import msgspec

from lib.process.log_events import NO_EVENT
from lib.process.standard_streams import prepare_standard_streams
from lib.settings import EXIT_BAD_SETTINGS, SettingsError, load_settings
from lib.stack.console import Screen
from lib.stack.log_follower import ERROR, NOTICE, WARNING, LogFiles, ScreenLine, event_text
from lib.text import printable

LOOK_S: Final = 0.1
HELD_LOOKS: Final = 2
"""For how many looks a line is held back, so that an older one of another file comes first."""
EARLIER_BYTES: Final = 64 * 1024
"""How much of each file is read of what was written before the start."""
EARLIER_LINES: Final = 20
"""How many earlier lines are shown, of all files together."""

LEVELS: Final = ("debug", "info", "warning", "error", "critical")
_SCREEN_LEVELS: Final = {"warning": WARNING, "error": ERROR, "critical": ERROR}


class Entry(NamedTuple):
    """A line of a log."""

    timestamp: str
    program: str
    line: ScreenLine


class LogView:
    """Selects and orders the lines to show. Pure."""

    def __init__(self, programs: Iterable[str], level: str) -> None:
        """Show the lines of these programs (of all if empty), from `level` on."""
        self._programs = frozenset(programs)
        self._levels = LEVELS[LEVELS.index(level) :]
        self._held: list[list[Entry]] = [[] for _ in range(HELD_LOOKS)]
        self._last: dict[str, str] = {}
        """By program, the timestamp of its last event."""

    def look(self, lines: Iterable[tuple[str, bytes]]) -> list[ScreenLine]:
        """Take the new lines of one look, with their programs; return the lines to show now."""
        entries = [entry for program, raw in lines if (entry := self._entry(program, raw))]
        self._held.append(entries)
        # The lines that were held long enough, and any that are older than those.
        ready = self._held.pop(0)
        if ready:
            newest = max(entry.timestamp for entry in ready)
            for number, held in enumerate(self._held):
                ready += [entry for entry in held if entry.timestamp <= newest]
                self._held[number] = [entry for entry in held if entry.timestamp > newest]
        return _in_order(ready)

    def rest(self) -> list[ScreenLine]:
        """Return what is still held back."""
        rest = [entry for held in self._held for entry in held]
        self._held = [[] for _ in range(HELD_LOOKS)]
        return _in_order(rest)

    def _entry(self, program: str, raw: bytes) -> Entry | None:
        if self._programs and program not in self._programs:
            return None
        try:
            event: dict[str, Any] = msgspec.json.decode(raw, type=dict)
            timestamp, level = str(event["timestamp"]), str(event["level"])
            text = event_text(event)
        except (*NO_EVENT, KeyError):
            # The traceback of an interpreter that could not start, say: as it is, and in its place.
            timestamp, level = self._last.get(program, ""), "warning"
            text = printable(raw.decode(errors="replace"))
        if level not in self._levels or not text.strip():
            return None
        self._last[program] = timestamp
        shown = f"{timestamp[11:23]} {text}"
        return Entry(
            timestamp, program, ScreenLine(program, shown, _SCREEN_LEVELS.get(level, NOTICE))
        )


def _in_order(entries: Iterable[Entry]) -> list[ScreenLine]:
    """Return their lines by time; lines of one file stay in their order."""
    return [entry.line for entry in sorted(entries, key=lambda entry: entry.timestamp)]


def main() -> int:
    """Show the logs until a signal ends it; return the exit code."""
    prepare_standard_streams()
    parser = argparse.ArgumentParser(
        prog="python -m lib.log_view",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--role", metavar="PROGRAM", action="append", default=[])
    parser.add_argument("--level", choices=LEVELS, default=LEVELS[0])
    parser.add_argument("--no-follow", action="store_true")
    arguments = parser.parse_args()
    try:
        directory = load_settings().var_dir / "log"
    except SettingsError as error:
        print(error, file=sys.stderr)
        return EXIT_BAD_SETTINGS
    stopped = False

    def stop(*_: object) -> None:
        nonlocal stopped
        stopped = True

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    screen = Screen(sys.stdout.fileno(), lambda: stopped)
    logs = LogFiles(lambda: directory.glob("*.jsonl"), EARLIER_BYTES)
    programs = {path.stem for path in directory.glob("*.jsonl")}
    if not programs:
        print(f"no logs in {directory} yet; they come with the stack", file=sys.stderr)
    elif unknown := set(arguments.role) - programs:
        print(
            f"no log of {', '.join(sorted(unknown))} yet; there are {', '.join(sorted(programs))}",
            file=sys.stderr,
        )
    view = LogView(arguments.role, arguments.level)
    screen.show([*view.look(logs.read()), *view.rest()][-EARLIER_LINES:])
    while not (stopped or arguments.no_follow or screen.reader_is_gone()):
        time.sleep(LOOK_S)
        screen.show(view.look(logs.read()))
    screen.show(view.rest())
    return os.EX_OK


if __name__ == "__main__":
    sys.exit(main())
