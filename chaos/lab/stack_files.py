"""The files of a stack: which there are, which programs hold them, which logged events name them.

Everything is found at run time, so that a file that a later version adds is covered by itself.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

from msgspec.structs import asdict

from chaos.lab.recorder import Event
from chaos.lab.target import TargetStack
from lib.process.log_events import (
    LogEvent,
    OrderError,
    OrderRejected,
    OrdersNotBooked,
    RejectionReported,
    definitions,
    name_of,
)
from lib.stack.launch import wake_supervisord
from lib.stack.log_follower import SUPERVISORD

_PROGRAM_VARIABLE: Final = b"SUPERVISOR_PROCESS_NAME="
_OF_AN_ORDER: Final = {OrderError, OrderRejected, OrdersNotBooked, RejectionReported}
"""Each order has its own; a person is not warned by them."""
_WARNED_OF: Final = (
    frozenset(one.event for one in definitions() if one.levels[0] != "info") - _OF_AN_ORDER
)
"""The events that a person is to see."""
_ABOUT_THE_BOOK: Final = "price_book"
"""What the names of all events about the price book contain."""


class Naming(NamedTuple):
    """An event that names a file."""

    source: str
    event: str


def files_in_var(target: TargetStack) -> list[Path]:
    """Return what is in the var directory, except for directories."""
    return sorted(path for path in target.var_dir.rglob("*") if not _is_directory(path))


def files_in_shm(target: TargetStack) -> list[Path]:
    """Return the files of the price book, without those of an observer in this process."""
    book = target.settings.price_book.name
    ours = {name for name, _ in _held_by(os.getpid()) if not name.endswith(f"/{book}")}
    return sorted(Path(name) for name in target.segments() if name not in ours)


def short_name(target: TargetStack, path: Path) -> str:
    """Return a file's name below the var directory; that of a file in /dev/shm without its book."""
    if path.is_relative_to(target.var_dir):
        return str(path.relative_to(target.var_dir))
    return f"price book{path.name.removeprefix(target.settings.price_book.name)}"


class HeldFiles:
    """Which programs of a stack have which files open or mapped, at the moment it is made.

    A process that a role has started, such as the price book's clean-up, counts as that role.
    """

    def __init__(self, target: TargetStack) -> None:
        self._var_dir = target.var_dir
        self._programs: dict[tuple[str, int], set[str]] = {}
        """By name and inode."""
        for program, pid in _processes(target.var_dir):
            for file in _held_by(pid):
                self._programs.setdefault(file, set()).add(program)

    def holders(self, path: Path) -> frozenset[str]:
        """Return the programs that hold this very file, by its present name."""
        try:
            inode = path.lstat().st_ino
        except OSError:
            return frozenset()
        return frozenset(self._programs.get((str(path), inode), ()))

    def is_in_use(self, path: Path, users: Iterable[str]) -> bool:
        """Return whether the file is there, and held by all of the `users`.

        A process does not show the name of its socket: that is in use if a server listens.
        """
        if path.is_socket():
            return wake_supervisord(self._var_dir)
        return os.path.lexists(path) and self.holders(path) >= frozenset(users)


def events_naming(path: Path, events: Iterable[Event], *, book: str = "") -> list[Naming]:
    """Return the warnings and errors that name a file, or the price book that it is part of. Pure.

    `book` is the name of that price book, "" if it is no part of one.
    """
    pattern = _pattern(path.name, book)
    found = []
    for event in events:
        what = event.what
        if not isinstance(what, LogEvent) or type(what) not in _WARNED_OF:
            continue
        name = name_of(type(what))
        is_about = bool(book) and _ABOUT_THE_BOOK in name
        if is_about or any(map(pattern.search, _texts(asdict(what)))):
            found.append(Naming(event.source, name))
    return found


@cache
def _pattern(name: str, book: str) -> re.Pattern[str]:
    """A whole name: `orders.sqlite` is not named by `orders.sqlite-wal`."""
    names = "|".join(re.escape(one) for one in (name, book) if one)
    return re.compile(rf"(?<![\w.-])(?:{names})(?![\w-]|\.\w)")


def _texts(value: object) -> Iterator[str]:
    """Yield each text in the fields of an event."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from _texts(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _texts(one)


def _is_directory(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _processes(var_dir: Path) -> Iterator[tuple[str, int]]:
    """Yield program and pid of each process of the stack, supervisord included."""
    mark = f"TRADING_VAR_DIR={var_dir}".encode()
    for entry in Path("/proc").glob("[1-9]*"):
        with suppress(OSError):  # it has just ended, or belongs to another user
            variables = (entry / "environ").read_bytes().split(b"\0")
            if mark not in variables or int(entry.name) == os.getpid():
                continue
            named = [one for one in variables if one.startswith(_PROGRAM_VARIABLE)]
            program = named[0].removeprefix(_PROGRAM_VARIABLE).decode() if named else SUPERVISORD
            yield program, int(entry.name)


def _held_by(pid: int) -> Iterator[tuple[str, int]]:
    """Yield name and inode of each file that a process has open or mapped."""
    with suppress(OSError):  # it has just ended
        for fd in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):  # closed meanwhile
                yield str(fd.readlink()), fd.stat().st_ino
        for line in Path(f"/proc/{pid}/maps").read_text(errors="replace").splitlines():
            _, _, _, _, inode, *name = line.split(maxsplit=5)
            if name:
                yield name[0], int(inode)
