"""What a person wants to see of a running stack, taken from its logs as they grow.

`Story` follows the files that supervisord writes for the roles (`log/ROLE.jsonl`, `log/ROLE.out`)
and about them (`supervisord.log`), and makes short lines of what matters. Following costs bounded
memory: one read of at most `READ_BYTES` a file a look, and no line longer than `MAX_LINE_BYTES`.
What was in the files before the story began is not told.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from lib.text import printable

READ_BYTES: Final = 1024 * 1024
MAX_LINE_BYTES: Final = 64 * 1024
"""A longer line is told in pieces."""
MAX_VALUE_CHARACTERS: Final = 200
"""What is shown of a list or a table in an event. Text is shown whole: it is written for people, or
short."""

NOTICE, WARNING, ERROR = "notice", "warning", "error"

STARTED: Final = "started"
"""A role's word that it is at work."""
STORY_EVENTS: Final = frozenset(
    {
        STARTED,
        "listening",
        "connected",
        "disconnected",
        "tape_started",
        "tape_ended",
        "evaluation_started",
        "ticks_missed",
        "stopped",
    }
)
"""Events that are told at any level. Warnings and worse are told whatever their name."""

_LEVELS: Final = {"warning": WARNING, "error": ERROR, "critical": ERROR}
_ENVELOPE: Final = frozenset({"timestamp", "level", "role", "event"})
_REASON: Final = "reason"
_TRACEBACK: Final = "exception"
_EXAMPLES: Final = "examples"
_PLAIN_WORD: Final = re.compile(r"[^\s\"=]+")

ROLE_HUNG: Final = "role_hung"
"""The watchdog kills the program that its `program` names."""
_LEFT_TO_SUPERVISORD: Final = frozenset({"role_gave_up"})
"""Events of the watchdog that supervisord's own log has as well."""

SPAWNED, STOPPED, ENDED = "spawned", "stopped", "ended"
KILLED, GIVEN_UP, SPAWN_FAILED = "killed", "given_up", "spawn_failed"
"""What supervisord does with a program, as `Line.event` has it."""
SUPERVISORD: Final = "supervisord"
"""The role of a line that names no program."""
SIGKILL: Final = "terminated by SIGKILL"
"""What is in the detail of such an end."""

_SUPERVISOR_LINE: Final = re.compile(r"\S+ \S+ (?P<level>[A-Z]{4}) (?P<message>.*)")
# What supervisord's log says of programs (supervisor 4.3: process.py), and how it is shown.
_SUPERVISOR_MESSAGES: Final = tuple(
    (re.compile(pattern), event, text, level)
    for pattern, event, text, level in (
        (r"spawned: '(?P<role>\S+)' with pid (?P<detail>\d+)", SPAWNED, "spawned pid={}", NOTICE),
        (r"stopped: (?P<role>\S+) \((?P<detail>.*)\)", STOPPED, "ended as told ({})", NOTICE),
        (r"exited: (?P<role>\S+) \((?P<detail>.*)\)", ENDED, "ended by itself ({})", WARNING),
        (r"killing '(?P<role>\S+)' \(\d+\) with (?P<detail>\w+)", KILLED, "gets {}", WARNING),
        (r"gave up: (?P<role>\S+) entered (?P<detail>.*)", GIVEN_UP, "given up: {}", ERROR),
        (r"(?P<role>spawnerr): (?P<detail>.*)", SPAWN_FAILED, "{}", ERROR),
    )
)


class Line(NamedTuple):
    """One line of the story. `level` is NOTICE, WARNING or ERROR."""

    role: str
    """The program that it comes from, or that supervisord says it of."""
    text: str
    level: str
    event: str = ""
    """Its name in the log, or what supervisord did; "" for plain text."""
    detail: str = ""
    """Of what supervisord did: the process id, how it ended; of a hung role: the program."""


class Follower:
    """Reads whole lines from a file that grows, and is rotated or cut short now and then."""

    def __init__(self, path: Path, *, from_end: bool, earlier_bytes: int = 0) -> None:
        """Follow `path`, which may not exist yet, from its present end or from its start.

        With `earlier_bytes`, the last whole lines before the end are read as well.
        """
        self._path = path
        self._tail = b""
        self._fd = self._open()
        if from_end and self._fd is not None:
            end = os.lseek(self._fd, 0, os.SEEK_END)
            begin = max(0, end - earlier_bytes)
            os.lseek(self._fd, begin, os.SEEK_SET)
            if 0 < begin < end:  # in the middle of a line
                earlier = os.read(self._fd, end - begin)
                first = earlier.find(b"\n") + 1
                os.lseek(self._fd, begin + first if first else end, os.SEEK_SET)

    def read(self) -> list[bytes]:
        """Return the lines that became complete, without their ends; [] where there are none."""
        # In this order: once another file has the name, nobody writes to ours any more, and an
        # empty read after that is its end.
        replaced = self._is_replaced()
        data = self._read()
        if not data and replaced:
            self.close()
            self._fd = self._open()
            data = self._read()
        lines = (self._tail + data).split(b"\n")
        self._tail = lines.pop()
        if len(self._tail) > MAX_LINE_BYTES:
            lines.append(self._tail)
            self._tail = b""
        return lines

    def close(self) -> None:
        """Close the file."""
        if self._fd is not None:
            os.close(self._fd)

    def _open(self) -> int | None:
        try:
            return os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None

    def _is_replaced(self) -> bool:
        if self._fd is None:
            return True
        try:
            there = self._path.stat()
        except OSError:
            return False  # between two files: ours may still be written to
        return not os.path.samestat(there, os.fstat(self._fd))

    def _read(self) -> bytes:
        if self._fd is None:
            return b""
        if os.fstat(self._fd).st_size < os.lseek(self._fd, 0, os.SEEK_CUR):
            os.lseek(self._fd, 0, os.SEEK_SET)
            self._tail = b""
        return os.read(self._fd, READ_BYTES)


class Story:
    """The new lines of all logs of a var directory. Used from one thread."""

    def __init__(self, var_dir: Path) -> None:
        """Begin the story with what is written from now on."""
        self._var_dir = var_dir
        self._followers: dict[Path, Follower] = {}
        self._find_files(from_end=True)

    def new_lines(self) -> list[Line]:
        """Return what has happened since the last call, in order within each file."""
        self._find_files(from_end=False)
        lines = []
        # supervisord's log last: a role that ends says so before supervisord does.
        for path in sorted(self._followers, key=lambda path: path.parent == self._var_dir):
            for raw in self._followers[path].read():
                line = _tell(path, raw)
                if line is not None:
                    lines.append(line)
        return lines

    def close(self) -> None:
        """Close the files."""
        for follower in self._followers.values():
            follower.close()

    def _find_files(self, *, from_end: bool) -> None:
        log = self._var_dir / "log"
        for path in (self._var_dir / "supervisord.log", *log.glob("*.jsonl"), *log.glob("*.out")):
            if path not in self._followers:
                self._followers[path] = Follower(path, from_end=from_end)


def _tell(path: Path, raw: bytes) -> Line | None:
    if path.suffix == ".jsonl":
        return tell_event(path.stem, raw)
    text = printable(raw.decode(errors="replace"))
    if path.suffix == ".out":
        return Line(path.stem, text, NOTICE)
    return tell_supervisor(text)


def tell_event(role: str, raw: bytes) -> Line | None:
    """Make `event key=value …` of a JSON log line; None where it does not belong to the story.

    What is no JSON event (the traceback of an interpreter that could not start) is told as it is.
    """
    try:
        event = msgspec.json.decode(raw)
        name, level = event["event"], _LEVELS.get(event["level"], NOTICE)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError, TypeError):
        text = printable(raw.decode(errors="replace"))
        return Line(role, text, WARNING) if text.strip() else None
    if (level == NOTICE and name not in STORY_EVENTS) or name in _LEFT_TO_SUPERVISORD:
        return None
    program = str(event.get("program", "")) if name == ROLE_HUNG else ""
    return Line(role, event_text(event), level, str(name), program)


def event_text(event: dict[str, Any]) -> str:
    """Return `event key=value …: reason` of an event, fit for a terminal.

    The reason is whole. Of a traceback without a reason, the last line is the reason; of many
    examples, the first one stands for all.
    """
    examples = event.get(_EXAMPLES)
    if isinstance(examples, list) and examples and isinstance(examples[0], dict):
        # The first one whole, with its reason; all of them are in the log.
        event = {key: value for key, value in event.items() if key != _EXAMPLES} | examples[0]
    reason = event.get(_REASON)
    if reason is None and (traceback := event.get(_TRACEBACK)):
        reason = str(traceback).strip().rpartition("\n")[2]
    details = (
        f"{key}={_shown(value)}"
        for key, value in event.items()
        if key not in _ENVELOPE and key not in (_REASON, _TRACEBACK)
    )
    text = " ".join((str(event["event"]), *details))
    return printable(f"{text}: {reason}" if reason else text)


def tell_supervisor(text: str) -> Line | None:
    """Tell what a line of supervisord's log says of a role; None where it says nothing of one."""
    line = _SUPERVISOR_LINE.fullmatch(text)
    if line is None:
        return None
    for pattern, event, told, level in _SUPERVISOR_MESSAGES:
        if match := pattern.match(line["message"]):
            role = match["role"] if event != SPAWN_FAILED else SUPERVISORD
            return Line(role, told.format(match["detail"]), level, event, match["detail"])
    return None


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return value if _PLAIN_WORD.fullmatch(value) else _quoted(value)
    text = _quoted(value)
    return text if len(text) <= MAX_VALUE_CHARACTERS else text[:MAX_VALUE_CHARACTERS] + "…"


def _quoted(value: Any) -> str:
    return msgspec.json.encode(value).decode()
