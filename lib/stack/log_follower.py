"""The human-readable lines of a running stack's logs, as the logs grow.

`LogFollower` follows the files that supervisord writes for the roles (`log/ROLE.jsonl`,
`log/ROLE.out`) and about them (`supervisord.log`), and formats what matters as short lines. Memory
is bounded: each look reads at most `READ_BYTES` of a file, and no line is longer than
`MAX_LINE_BYTES`. What was in the files before the follower began is not shown.

The lines of all files come out in order of time, even where one look reads minutes of them (main.py
was stopped with Ctrl-Z, say): whether a program started before it ended is known from two files. So
a look releases only lines logged before the look began, and none newer than the point up to which
every long file has been read.
"""

from __future__ import annotations

import heapq
import math
import os
import re
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from lib.process.log_events import (
    ALERTS,
    NO_EVENT,
    TAPE,
    BrokerConnected,
    Disconnected,
    EvaluationStarted,
    GatewayContinues,
    Listening,
    NewsEnded,
    OrdersConnected,
    RoleGaveUp,
    RoleHung,
    SessionClosed,
    SessionOpened,
    StandingBy,
    Started,
    Stopped,
    StreamConnected,
    TapeEnded,
    TapePreparing,
    TapeRecognised,
    TapeStarted,
    TicksLapped,
    TicksMissed,
    name_of,
    read_line,
)
from lib.text import printable

READ_BYTES: Final = 1024 * 1024
MAX_LINE_BYTES: Final = 64 * 1024
"""A longer line is split."""
MAX_VALUE_CHARACTERS: Final = 200
"""The most characters shown of a list or a table in an event. Text is shown in full: it is
human-readable, or short."""

NOTICE, WARNING, ERROR = "notice", "warning", "error"

STARTED: Final = name_of(Started)
"""A role's word that it is at work."""
SHOWN_EVENTS: Final = frozenset(
    name_of(event)
    for event in (
        Started,
        Listening,
        StreamConnected,
        OrdersConnected,
        Disconnected,
        TapePreparing,
        TapeStarted,
        TapeRecognised,
        TapeEnded,
        NewsEnded,
        EvaluationStarted,
        TicksMissed,
        TicksLapped,
        Stopped,
        BrokerConnected,
        StandingBy,
        GatewayContinues,
        SessionOpened,
        SessionClosed,
    )
)
"""Events that are shown at any level. Warnings and errors are always shown."""

_LEVELS: Final = {"warning": WARNING, "error": ERROR, "critical": ERROR}
_ENVELOPE: Final = frozenset({"timestamp", "level", "role", "event"})
_REASON: Final = "reason"
_TRACEBACK: Final = "exception"
_EXAMPLES: Final = "examples"
_PLAIN_WORD: Final = re.compile(r"[^\s\"=]+")

ROLE_HUNG: Final = name_of(RoleHung)
"""The watchdog kills the program that its `program` names."""
_LEFT_TO_SUPERVISORD: Final = frozenset({name_of(RoleGaveUp)})
"""Events of the watchdog that supervisord's own log has as well."""

BEGUN, SPAWNED, STOPPED, ENDED = "begun", "spawned", "stopped", "ended"
KILLED, GIVEN_UP, SPAWN_FAILED = "killed", "given_up", "spawn_failed"
"""What supervisord does: begins its run; then with a program, as `ScreenLine.event` has it."""
SUPERVISORD: Final = "supervisord"
"""The role of a line that is about no program."""
_EXIT: Final = "exit status"
SIGKILL: Final = "terminated by SIGKILL"
"""What the detail of an end by SIGKILL contains."""

_SUPERVISOR_LINE: Final = re.compile(r"(?P<time>\S+ \S+) (?P<level>[A-Z]{4}) (?P<message>.*)")
# The lines of supervisord's log that are events (supervisor 4.3: supervisord.py, process.py).
_SUPERVISOR_MESSAGES: Final = tuple(
    (re.compile(pattern), event)
    for pattern, event in (
        (r"(?P<role>supervisord) started with pid (?P<detail>\d+)", BEGUN),
        (r"spawned: '(?P<role>\S+)' with pid (?P<detail>\d+)", SPAWNED),
        (r"stopped: (?P<role>\S+) \((?P<detail>.*)\)", STOPPED),
        (r"exited: (?P<role>\S+) \((?P<detail>.*)\)", ENDED),
        (r"killing '(?P<role>\S+)' \(\d+\) with (?P<detail>\w+)", KILLED),
        (r"gave up: (?P<role>\S+) entered (?P<detail>.*)", GIVEN_UP),
        (r"(?P<role>spawnerr): (?P<detail>.*)", SPAWN_FAILED),
    )
)
_SUPERVISOR_TEXTS: Final = {
    SPAWNED: ("spawned pid={}", NOTICE),
    STOPPED: ("stopped as asked ({})", NOTICE),
    ENDED: ("ended by itself ({})", WARNING),
    KILLED: ("gets {}", WARNING),
    GIVEN_UP: ("given up: {}", ERROR),
    SPAWN_FAILED: ("{}", ERROR),
}
"""How it is shown, and its level."""


class SupervisorEvent(NamedTuple):
    """What supervisord's log says that it did."""

    event: str
    """BEGUN, SPAWNED, STOPPED, ENDED, KILLED, GIVEN_UP or SPAWN_FAILED."""
    program: str
    """SUPERVISORD where the log names none."""
    detail: str
    """In supervisord's words: the process id, how it ended."""

    @property
    def pid(self) -> int:
        """Of a program that was spawned: its process id."""
        return int(self.detail)


class ScreenLine(NamedTuple):
    """One line for the screen. `level` is NOTICE, WARNING or ERROR."""

    role: str
    """The program that logged it, or that supervisord logged it about."""
    text: str
    level: str
    event: str = ""
    """The name of the event, or what supervisord did; "" for plain text."""
    detail: str = ""
    """What supervisord did: the process id, how the process ended; for `role_hung`: the program;
    for `tape_preparing`: what is done."""
    where: str = ""
    """For `role_hung`: the place in the program's code, "" if unknown."""
    share: float | None = None
    """For `tape_preparing`: how much is done, from 0 to 1."""


class FileFollower:
    """Reads complete lines from a file that grows, and may be rotated or truncated."""

    def __init__(
        self,
        path: Path,
        *,
        from_end: bool,
        earlier_bytes: int = 0,
        read_bytes: int = READ_BYTES,
    ) -> None:
        """Follow `path`, which may not exist yet, from its current end or from its start.

        With `earlier_bytes`, the last complete lines before the end are read as well. `read_bytes`
        is the most that one `read` takes.
        """
        self._path = path
        self._read_bytes = read_bytes
        self._tail = b""
        self.is_behind = False
        """Whether the file had more than the last `read` returned."""
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
        """Return the lines that became complete, without their line ends; [] if there are none."""
        # In this order: once another file has the name, ours is no longer written to, and an empty
        # read after that is its end.
        replaced = self._is_replaced()
        data = self._read()
        if not data and replaced:
            self.close()
            self._fd = self._open()
            data = self._read()
            replaced = False
        self.is_behind = len(data) == self._read_bytes or (replaced and bool(data))
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
            # Without O_NONBLOCK, a FIFO in the place of a log would be waited for.
            fd = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return None
        if stat.S_ISREG(os.fstat(fd).st_mode):
            return fd
        os.close(fd)
        return None

    def _is_replaced(self) -> bool:
        if self._fd is None:
            return True
        try:
            there = self._path.stat()
        except OSError:
            return False  # during a rotation: our file may still be written to
        return not os.path.samestat(there, os.fstat(self._fd))

    def _read(self) -> bytes:
        if self._fd is None:
            return b""
        if os.fstat(self._fd).st_size < os.lseek(self._fd, 0, os.SEEK_CUR):
            os.lseek(self._fd, 0, os.SEEK_SET)
            self._tail = b""
        return os.read(self._fd, self._read_bytes)


class LogFiles:
    """Files that are followed from their end; those that appear later, from their start."""

    def __init__(
        self,
        find: Callable[[], Iterable[Path]],
        earlier_bytes: int = 0,
        read_bytes: int = READ_BYTES,
    ) -> None:
        """Follow what `find` returns; see `FileFollower`."""
        self._find = find
        self._read_bytes = read_bytes
        self._files = {
            path: FileFollower(
                path, from_end=True, earlier_bytes=earlier_bytes, read_bytes=read_bytes
            )
            for path in find()
        }

    def read(self) -> Iterator[tuple[str, bytes]]:
        """Return the new lines, file by file, each with its program: the name of its file."""
        for path in self._find():
            if path not in self._files:
                self._files[path] = FileFollower(path, from_end=False, read_bytes=self._read_bytes)
        for path, file in self._files.items():
            for raw in file.read():
                yield path.stem, raw

    def close(self) -> None:
        """Close the files."""
        for file in self._files.values():
            file.close()


class _LogFile:
    """One followed file, with those of its lines that are not released yet."""

    def __init__(self, path: Path, *, from_end: bool) -> None:
        self._path = path
        self._follower = FileFollower(path, from_end=from_end)
        self.held: list[tuple[int, ScreenLine]] = []
        """The lines with their times, in the order of the file."""
        self.newest_ms = 0
        """The time of the last line with a timestamp. A line without one belongs to the line before
        it."""
        self.is_behind = False
        """Whether the rest of the file must be read before lines of other files are released."""

    def read(self, look_ms: int) -> None:
        """Read what is new. `look_ms` is the time of the look."""
        has_time = False
        for raw in self._follower.read():
            line, logged_ms = self._parse(raw, look_ms)
            if logged_ms is not None:
                self.newest_ms, has_time = logged_ms, True
            if line is not None:
                self.held.append((self.newest_ms, line))
        self.is_behind = self._follower.is_behind and has_time and self.newest_ms <= look_ms

    def release(self, until_ms: float) -> list[tuple[int, ScreenLine]]:
        """Return the lines before the first one newer than `until_ms`, and hold the rest."""
        count = next(
            (index for index, (at_ms, _) in enumerate(self.held) if at_ms > until_ms),
            len(self.held),
        )
        released, self.held = self.held[:count], self.held[count:]
        return released

    def close(self) -> None:
        self._follower.close()

    def _parse(self, raw: bytes, look_ms: int) -> tuple[ScreenLine | None, int | None]:
        if self._path.suffix == ".jsonl":
            return event_line(self._path.stem, raw), _event_ms(raw)
        text = printable(raw.decode(errors="replace"))
        if self._path.suffix == ".out":
            return ScreenLine(self._path.stem, text, NOTICE), None
        return supervisor_line(text), supervisor_ms(text, look_ms)


class LogFollower:
    """The new lines of all logs in a var directory. Used from one thread."""

    def __init__(self, var_dir: Path) -> None:
        """Follow what is written from now on."""
        self._var_dir = var_dir
        self._logs: dict[Path, _LogFile] = {}
        self._look_ms = 0
        """When all files were last read."""
        self._find_files(from_end=True)

    def new_lines(self) -> list[ScreenLine]:
        """Return what was logged since the last call, in order of time.

        Of lines with the same time, a role's comes before supervisord's: a role logs its end before
        supervisord does.
        """
        self._find_files(from_end=False)
        logs = self._logs.values()
        until_ms = 0
        if not any(log.is_behind for log in logs):
            # A line that was held for one look is due, even if the clock was set back meanwhile.
            until_ms = max((at_ms for log in logs for at_ms, _ in log.held), default=0)
            self._look_ms = _now_ms()
            for log in logs:
                log.read(self._look_ms)
        else:
            # The other files wait for those that are behind, so that held lines are bounded.
            for log in logs:
                if log.is_behind:
                    log.read(self._look_ms)
        read_up_to = (log.newest_ms for log in logs if log.is_behind)
        return self._release(min((max(until_ms, self._look_ms), *read_up_to)))

    def rest(self) -> list[ScreenLine]:
        """Return the lines that `new_lines` still holds back, in order of time."""
        return self._release(math.inf)

    def close(self) -> None:
        """Close the files."""
        for log in self._logs.values():
            log.close()

    def _release(self, until_ms: float) -> list[ScreenLine]:
        # supervisord's log last: of lines of the same time, merge takes the first file's first.
        in_order = sorted(self._logs, key=lambda path: path.parent == self._var_dir)
        released = [self._logs[path].release(until_ms) for path in in_order]
        return [line for _, line in heapq.merge(*released, key=lambda entry: entry[0])]

    def _find_files(self, *, from_end: bool) -> None:
        log = self._var_dir / "log"
        for path in (*log.glob("*.jsonl"), *log.glob("*.out"), self._var_dir / "supervisord.log"):
            if path not in self._logs:
                self._logs[path] = _LogFile(path, from_end=from_end)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _event_ms(raw: bytes) -> int | None:
    """Return when an event was logged, in ms since 1970; None for a line without a timestamp.

    Rounded down, as the times in supervisord's log are, so that the two can be compared.
    """
    logged = read_line(raw)
    at = logged.logged_at if logged else None
    return math.floor(at.timestamp() * 1000) if at else None


def supervisor_ms(text: str, now_ms: int) -> int | None:
    """Return when a line of supervisord's log was written, in ms since 1970; None for other text.

    supervisord writes local time. In the hour that daylight saving repeats, a time has two
    meanings: the later one that is not in the future is returned.
    """
    line = _SUPERVISOR_LINE.fullmatch(text)
    if line is None:
        return None
    try:
        local = datetime.fromisoformat(line["time"].replace(",", "."))
    except ValueError:
        return None
    earlier_ms, later_ms = (round(local.replace(fold=fold).timestamp() * 1000) for fold in (0, 1))
    return later_ms if later_ms <= now_ms else min(earlier_ms, later_ms)


def event_line(role: str, raw: bytes) -> ScreenLine | None:
    """Format a JSON log line as `event key=value …`; None for an event that is not shown.

    Text that is no JSON event (the traceback of an interpreter that could not start) is shown
    unchanged.
    """
    logged = read_line(raw)
    if logged is None or not logged.level:
        return _as_it_is(role, raw)
    name, level = logged.name, _LEVELS.get(logged.level, NOTICE)
    # The alerts' process is no program: its start is not that of the watchdog, whose log it uses.
    is_shown = name in SHOWN_EVENTS and logged.role != ALERTS
    if (level == NOTICE and not is_shown) or name in _LEFT_TO_SUPERVISORD:
        return None
    try:
        line = ScreenLine(role, event_text(msgspec.json.decode(raw)), level, name)
    except NO_EVENT:  # bad UTF-8, say, in a field that no event has
        return _as_it_is(role, raw)
    if isinstance(logged.event, RoleHung):
        return line._replace(detail=logged.event.program, where=logged.event.where or "")
    if isinstance(logged.event, TapePreparing):
        event = logged.event
        return line._replace(detail=f"preparing {event.kind}: {event.what}", share=event.share)
    return line


def _as_it_is(role: str, raw: bytes) -> ScreenLine | None:
    text = printable(raw.decode(errors="replace"))
    return ScreenLine(role, text, WARNING) if text.strip() else None


def event_text(event: dict[str, Any]) -> str:
    """Return `event key=value …: reason` of an event, safe to print on a terminal.

    The reason is complete. Of a traceback without a reason, the last line is the reason; of many
    examples, the first one is shown.
    """
    examples = event.get(_EXAMPLES)
    if isinstance(examples, list) and examples and isinstance(examples[0], dict):
        # The first example in full, with its reason; the log has all of them.
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


def read_supervisor_line(text: str) -> SupervisorEvent | None:
    """Read a line of supervisord's log; None if it is none of these events."""
    line = _SUPERVISOR_LINE.fullmatch(text)
    if line is None:
        return None
    for pattern, event in _SUPERVISOR_MESSAGES:
        if match := pattern.match(line["message"]):
            program = match["role"] if event != SPAWN_FAILED else SUPERVISORD
            return SupervisorEvent(event, program, match["detail"])
    return None


def supervisor_line(text: str) -> ScreenLine | None:
    """Format what a line of supervisord's log says about a program; None for any other line."""
    read = read_supervisor_line(text)
    if read is None or read.event not in _SUPERVISOR_TEXTS:
        return None
    if read.event == ENDED and read.program == TAPE and _EXIT in read.detail:
        return None  # its work has an end; what came of it is logged
    template, level = _SUPERVISOR_TEXTS[read.event]
    return ScreenLine(read.program, template.format(read.detail), level, read.event, read.detail)


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return value if _PLAIN_WORD.fullmatch(value) else _quoted(value)
    text = _quoted(value)
    return text if len(text) <= MAX_VALUE_CHARACTERS else text[:MAX_VALUE_CHARACTERS] + "…"


def _quoted(value: Any) -> str:
    return msgspec.json.encode(value).decode()
