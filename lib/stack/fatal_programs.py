"""What to do about a program that does not start, and whether the stack ends with it. Pure.

supervisord gives a program up after its tries (FATAL); then a person has to act. Where the stack
trades on, the line on the screen says how. Where it cannot, main.py ends:

- when supervisord has given up every program of a role that is needed;
- at once when such a program that has never started refuses its settings, since they stay as
  impossible as they are;
- when it has ended `MAX_TRIES` times in a row without having started. (A failing start that takes
  over a second counts as a good one for supervisord, which then tries for ever.)

A program that something kills at each start has not failed by itself, and there is nothing to gain
by an end: main.py says so and waits for a person.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

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
"""Nothing is traded without one program of each. A role that is not started is not missed."""
MAX_TRIES: Final = 20
"""More than supervisord makes by itself, as etc/supervisord.conf has it."""
FAR_LINES: Final = 24
"""A reason further above has left a terminal of the usual height, and is named again in short …"""
MAX_REASON_CHARACTERS: Final = 100
"""… with so many characters of it."""

_EXIT_STATUS: Final = re.compile(r"exit status (\d+)")


class Ending(NamedTuple):
    """Why main.py ends the stack, and with which exit code."""

    code: int
    message: str


@dataclass
class _StartTries:
    """What is known of one; there are as many as supervisord's configuration has."""

    tries: int = 0
    """Processes since the last one that had started."""
    has_ever_started: bool = False
    end: str = ""
    """Of the last process, in supervisord's words: "exit status 1"."""
    is_lost: bool = False
    reason: str = ""
    """The last trouble that it logged."""
    reason_at: int = 0
    """How many lines were shown before that."""
    has_event: bool = False
    """Whether the reason is an event of the present process, and more than plain text."""


class FatalPrograms:
    """Takes all lines in order. `ending` is why the stack has to end, if it has to."""

    def __init__(self, programs: Mapping[str, str], start_command: str) -> None:
        """`programs` are those that are started, with their roles; see `started_programs`.

        `start_command` starts a program whose name is put behind it.
        """
        self._roles = programs
        self._start_command = start_command
        self._programs: dict[str, _StartTries] = {}
        self.ending: Ending | None = None

    def take_line(self, line: ScreenLine, shown: int) -> ScreenLine:
        """Take a line, before which `shown` lines were shown; return the one to show instead."""
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
            refuses = _exit_code(program) == EXIT_BAD_SETTINGS and not program.has_ever_started
            if refuses or program.tries >= MAX_TRIES:
                self._lose(line.role, program, shown)
        elif line.event == GIVEN_UP:
            return self._give_up(line, program, shown)
        elif line.level != NOTICE:
            _note_reason(program, line, shown)
        return line

    def _give_up(self, line: ScreenLine, program: _StartTries, shown: int) -> ScreenLine:
        if not program.tries:  # no process of it could be made
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
        return  # what an interpreter says while it ends
    program.has_event = is_event
    if line.text != program.reason:
        program.reason, program.reason_at = line.text, shown


def _exit_code(program: _StartTries) -> int:
    """Return its exit code; 0 where it has none, such as after a signal."""
    status = _EXIT_STATUS.fullmatch(program.end)
    return int(status[1]) if status else 0


def _is_killed(program: _StartTries) -> bool:
    return program.end == SIGKILL


def _how(program: _StartTries) -> str:
    """Say how often it was tried, and how that ended."""
    if not program.end:
        return ""
    tries = "one try" if program.tries == 1 else f"{program.tries} tries"
    return f" ({tries}, {program.end})"


def _reminder(program: _StartTries, shown: int) -> str:
    """Name a reason again, in short, that is far above; say so where none has come."""
    reason = program.reason
    if not reason:
        return ": it has logged no reason (is the disk full?)"
    if shown - program.reason_at <= FAR_LINES:
        return ""
    cut = len(reason) > MAX_REASON_CHARACTERS
    return f": {reason[:MAX_REASON_CHARACTERS]}{'…' if cut else ''}"
