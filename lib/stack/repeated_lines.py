"""Leaves out the repeated lines of a program that fails again and again. Pure.

supervisord restarts a program whenever it ends, and a failing program logs the same each time. From
its first failure until it has run for `CALM_S` without another one, lines that an earlier try
logged are left out. Everything is shown again after that, after the operator has stopped the
program, and after supervisord has given it up.

A failure is an end that was not caused from outside: SIGKILL after the program started is no
failure, unless the watchdog sent it because the program hung.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

from lib.stack.log_follower import (
    ENDED,
    GIVEN_UP,
    NOTICE,
    ROLE_HUNG,
    SHOWN_EVENTS,
    SIGKILL,
    SPAWN_FAILED,
    SPAWNED,
    STARTED,
    STOPPED,
    SUPERVISORD,
    ScreenLine,
)

CALM_S: Final = 30.0
"""How long a program must run without a failure; longer than supervisord waits before a retry."""
MAX_TEXTS: Final = 256
"""How many different texts of a program are remembered; of more, the oldest are shown again."""

_MILESTONES: Final = SHOWN_EVENTS | {SPAWNED}
"""Events that count as repeated although their numbers (a process id, a tick) differ."""


@dataclass
class _ProgramHistory:
    """The lines and failures of one program of supervisord's configuration."""

    said_before: dict[str, None] = field(default_factory=dict)
    """The texts of earlier tries, the oldest first."""
    said: dict[str, None] = field(default_factory=dict)
    """The texts since its last failure, the oldest first."""
    failures: int = 0
    has_started: bool = False
    """Whether its current process has started."""
    calm_s: float = math.inf
    """When it will have run for `CALM_S`."""


class RepeatedLines:
    """Filters repeated lines. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._programs: dict[str, _ProgramHistory] = {}

    def forget_old_failures(self, now_s: float) -> list[ScreenLine]:
        """Forget the failures of programs that run well again; return a line for each."""
        shown = []
        for name, program in self._programs.items():
            if now_s < program.calm_s:
                continue
            if program.failures > 1 and name != SUPERVISORD:
                text = f"has run for {CALM_S:g} s now, after it had ended {program.failures} times"
                shown.append(ScreenLine(name, text, NOTICE))
            self._programs[name] = _ProgramHistory(has_started=program.has_started)
        return shown

    def new_of(self, line: ScreenLine, now_s: float) -> list[ScreenLine]:
        """Take the next line; return it, perhaps with a count, or [] if it is repeated."""
        if line.level == NOTICE and not line.event:
            return [line]  # standard output is the program's work, not about its state
        name = line.detail if line.event == ROLE_HUNG else line.role
        program = self._programs.setdefault(name, _ProgramHistory())
        key = _key(line)
        is_new = key not in program.said_before
        _remember(program.said, key)
        if line.event == STARTED:
            program.has_started = True
        elif line.event == ROLE_HUNG:
            program.has_started = False
        elif line.event == SPAWNED:
            program.has_started = False
            program.calm_s = now_s + CALM_S
        elif line.event in (STOPPED, GIVEN_UP) or (
            line.event == ENDED and _from_outside(line, program)
        ):
            self._programs[name] = _ProgramHistory()
            return [line]
        elif line.event in (ENDED, SPAWN_FAILED):
            program.failures += 1
            # A successful spawn after a failed one is not logged: a retry comes before CALM_S.
            program.calm_s = now_s + CALM_S if line.event == SPAWN_FAILED else math.inf
            for text in program.said:
                if program.failures > 1 or text not in _MILESTONES:  # its first return is news
                    _remember(program.said_before, text)
            program.said.clear()
        if is_new:
            return [line]
        if line.event == ENDED and math.log10(program.failures).is_integer():
            return [line._replace(text=f"{line.text}, {program.failures} times now")]
        return []


def _key(line: ScreenLine) -> str:
    """Return the key that two lines with the same meaning share."""
    if line.event == ROLE_HUNG:  # its numbers differ with each hang; its place matters
        return f"{ROLE_HUNG} {line.where}"
    return line.event if line.event in _MILESTONES else line.text


def _from_outside(end: ScreenLine, program: _ProgramHistory) -> bool:
    return program.has_started and SIGKILL in end.detail


def _remember(texts: dict[str, None], text: str) -> None:
    texts.pop(text, None)
    texts[text] = None
    if len(texts) > MAX_TEXTS:
        del texts[next(iter(texts))]
