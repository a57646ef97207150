"""What to do about a program that does not start, and whether the stack ends with it. Pure.

supervisord gives a program up after its retries (FATAL); then the operator has to act. If the stack
can trade on, the line on the screen says how. If it cannot, main.py ends:

- when supervisord has given up every program of a needed role;
- at once when such a program has never started and refuses its settings or its input (a tape that
  cannot be played), because a retry cannot help;
- when it has ended `MAX_TRIES` times in a row without having started. (A failing start that takes
  over a second counts as a success for supervisord, which then retries for ever.)

A program that is killed from outside at each start has not failed by itself, and ending the stack
would not help: main.py reports it and waits for the operator.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from lib.errors import EXIT_BAD_INPUT
from lib.settings import EXIT_BAD_SETTINGS
from lib.stack.log_follower import (
    ENDED,
    ERROR,
    GIVEN_UP,
    NOTICE,
    SIGKILL,
    SPAWNED,
    STARTED,
    SUPERVISORD,
    ScreenLine,
)

NEEDED_ROLES: Final = frozenset({"gateway", "orderbook", "order_manager", "strategy"})
"""The roles without which nothing is traded; only those that the stack starts count."""
MAX_TRIES: Final = 20
"""How many failed starts in a row end the stack: more than the startretries of
etc/supervisord.conf."""
FAR_LINES: Final = 24
"""How many lines a terminal shows: a reason further above is repeated in short."""
MAX_REASON_CHARACTERS: Final = 100
"""How many characters of a repeated reason are shown."""

_REFUSES: Final = (EXIT_BAD_SETTINGS, EXIT_BAD_INPUT)
_EXIT_STATUS: Final = re.compile(r"exit status (\d+)")


class Ending(NamedTuple):
    """Why main.py ends the stack, and with which exit code."""

    code: int
    message: str


@dataclass
class _StartTries:
    """The starts of one program; there are as many as supervisord's configuration has."""

    tries: int = 0
    """The processes since the last one that started."""
    has_ever_started: bool = False
    end: str = ""
    """How the last process ended, in supervisord's words: "exit status 1"."""
    is_lost: bool = False
    reason: str = ""
    """The last warning or error that it logged."""
    reason_at: int = 0
    """How many lines were shown before the reason."""
    has_event: bool = False
    """Whether the reason is an event of the current process, not plain text."""


class FatalPrograms:
    """Takes all lines in order. `ending` is why the stack has to end, None if it need not."""

    def __init__(self, programs: Mapping[str, str], start_command: str) -> None:
        """`programs` are the started programs with their roles; see `started_programs`.

        `start_command`, followed by the name of a program, starts it.
        """
        self._roles = programs
        self._start_command = start_command
        self._programs: dict[str, _StartTries] = {}
        self.ending: Ending | None = None

    def take_line(self, line: ScreenLine, shown: int) -> ScreenLine:
        """Take a line, after `shown` shown lines; return the line to show instead."""
        program = self._programs.setdefault(line.role, _StartTries())
        if line.event == STARTED:
            program.has_ever_started = True
            program.tries = 0
        elif line.event == SPAWNED:
            program.tries += 1
            program.is_lost = False
        elif line.event == ENDED:
            program.end = line.detail.partition(";")[0]
            program.has_event = False
            refuses = _exit_code(program) in _REFUSES and not program.has_ever_started
            if refuses or program.tries >= MAX_TRIES:
                self._lose(line.role, program, shown)
        elif line.event == GIVEN_UP:
            return self._give_up(line, program, shown)
        elif line.level != NOTICE:
            _note_reason(program, line, shown)
        return line

    def _give_up(self, line: ScreenLine, program: _StartTries, shown: int) -> ScreenLine:
        if not program.tries:  # no process could be spawned
            program.end = ""
            spawning = self._programs.get(SUPERVISORD, program)
            program.reason, program.reason_at = spawning.reason, spawning.reason_at
        self._lose(line.role, program, shown)
        text = f"given up{_how(program)}"
        program.tries = 0
        if self.ending is None:
            if _is_killed(program):
                text += "; something kills it: stop that"
            else:
                text += f"{_reminder(program, shown)}; the stack goes on without it. Fix the cause"
            text += f", then: {self._start_command} {line.role}"
        return line._replace(text=text, level=ERROR)

    def _lose(self, name: str, program: _StartTries, shown: int) -> None:
        program.is_lost = True
        role = self._roles.get(name)
        if role not in NEEDED_ROLES or _is_killed(program):
            return
        peers = [self._programs.get(peer) for peer, its in self._roles.items() if its == role]
        if self.ending is None and all(peer is not None and peer.is_lost for peer in peers):
            self.ending = Ending(
                _exit_code(program) or 1,
                f"{name} does not start{_how(program)}, and nothing is traded without it"
                f"{_reminder(program, shown)}. Fix the cause, then start main.py again",
            )


def _note_reason(program: _StartTries, line: ScreenLine, shown: int) -> None:
    is_event = bool(line.event)
    if program.has_event and not is_event:
        return  # text of an interpreter that is ending
    program.has_event = is_event
    if line.text != program.reason:
        program.reason, program.reason_at = line.text, shown


def _exit_code(program: _StartTries) -> int:
    """Return its exit code; 0 if it has none, as after a signal."""
    status = _EXIT_STATUS.fullmatch(program.end)
    return int(status[1]) if status else 0


def _is_killed(program: _StartTries) -> bool:
    return program.end == SIGKILL


def _how(program: _StartTries) -> str:
    """Return how often it was tried, and how that ended."""
    if not program.end:
        return ""
    tries = "one try" if program.tries == 1 else f"{program.tries} tries"
    return f" ({tries}, {program.end})"


def _reminder(program: _StartTries, shown: int) -> str:
    """Return a reason that is far above again, in short; say so if there is none."""
    reason = program.reason
    if not reason:
        return ": it has logged no reason (is the disk full?)"
    if shown - program.reason_at <= FAR_LINES:
        return ""
    cut = len(reason) > MAX_REASON_CHARACTERS
    return f": {reason[:MAX_REASON_CHARACTERS]}{'…' if cut else ''}"
