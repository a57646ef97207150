"""Which lines about a program that fails again and again are new. Pure.

supervisord starts a program anew whenever it ends, and a program that cannot work says the same
each time. From its first failure until it has run for `CALM_S` without another one, what was said
in an earlier try is left out. Everything is shown again after that, after a person has stopped the
program, and after supervisord has given it up.

A failure is an end that the program did not get from outside: SIGKILL after it had started is no
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
"""supervisord waits up to 10 s before a try."""
MAX_TEXTS: Final = 256
"""So many different texts of a program are remembered; of more, the oldest are shown again."""

_MILESTONES: Final = SHOWN_EVENTS | {SPAWNED}
"""Their numbers (a process id, a tick) differ with each try, and say nothing new."""


@dataclass
class _ProgramHistory:
    """What is remembered of one; there are as many as supervisord's configuration has."""

    said_before: dict[str, None] = field(default_factory=dict)
    """In earlier tries, the oldest first."""
    said: dict[str, None] = field(default_factory=dict)
    """Since its last failure, the oldest first."""
    failures: int = 0
    has_started: bool = False
    """Whether its present process has."""
    calm_s: float = math.inf
    """When it will have run long enough."""


class RepeatedLines:
    """Leaves out what was said before. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._programs: dict[str, _ProgramHistory] = {}

    def forget_old_failures(self, now_s: float) -> list[ScreenLine]:
        """Forget the failures of programs that run well again; return the lines that say so."""
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
        """Take the next line; return it, perhaps with a count, or nothing if it is no news."""
        if line.level == NOTICE and not line.event:
            return [line]  # what a program prints is its work, and not about itself
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
            # That a program can be spawned again is not logged: it is tried within 10 s.
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
    """Return what two lines have in common that say the same."""
    if line.event == ROLE_HUNG:  # its numbers differ with each hang; its place is what is news
        return f"{ROLE_HUNG} {line.where}"
    return line.event if line.event in _MILESTONES else line.text


def _from_outside(end: ScreenLine, program: _ProgramHistory) -> bool:
    return program.has_started and SIGKILL in end.detail


def _remember(texts: dict[str, None], text: str) -> None:
    texts.pop(text, None)
    texts[text] = None
    if len(texts) > MAX_TEXTS:
        del texts[next(iter(texts))]
