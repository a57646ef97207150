"""What supervisord has in the var directory: its logs, its control socket, its pid file.

supervisord itself would not notice that one of them is gone: it goes on writing into a log that was
removed or moved away, and nothing reaches it without the name of its control socket. The watchdog
looks for it.

- A log that is no longer at its name is opened again by supervisord on SIGUSR2. supervisord ends if
  it cannot open one of its logs then, so all of them are made and checked first. Only those in the
  stack's log directory: a configuration may send others to /dev/stdout, or to where we own nothing.
- A FIFO in the place of a log would stop supervisord, deaf to every signal but SIGKILL: it waits in
  open(2) for a reader, and Python repeats that call after each signal. Once the FIFO is removed,
  the call that a signal repeats makes a log.
- A removed socket can be reached by another name of it, a second hard link.
"""

from __future__ import annotations

import errno
import os
import re
import signal
import stat
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

import structlog

from lib.clock import SECOND_NS
from lib.process.kept_files import KeptFile
from lib.process.log_events import FileLost, LogReopened, log_event
from lib.process.log_once import LogOnce
from lib.process.own_files import (
    MAX_READ_BYTES,
    adopt,
    check_owner,
    follow_own_link,
    make_own_directory,
    open_own,
    read_own,
    replaced,
)

SOCKET_NAME: Final = "supervisor.sock"
LOG_NAME: Final = "supervisord.log"
PID_FILE_NAME: Final = "supervisord.pid"
CONFIGURATION_NAME: Final = "supervisord.conf"
"""The configuration of a stack that main.py has started; supervisorctl reads it."""
LOOK_NS: Final = SECOND_NS
"""How often to look at the logs."""
MAX_REQUESTS: Final = 5
"""How often supervisord is asked to open a log again, a look apart."""
_PROGRAM_LOG: Final = re.compile(r".*\.(out|jsonl)(\.\d+)?")
"""The names of the programs' logs, and of those that supervisord has rotated."""
_OWN_LOG: Final = re.compile(re.escape(LOG_NAME) + r"(\.\d+)?")

Identity = tuple[int, int]
"""A file, whatever its names: device and inode."""


class ControlSocket:
    """The name of supervisord's control socket, with a second one beside it. A `KeptFile`."""

    def __init__(self, path: Path, supervisord_pid: int) -> None:
        self._first = path
        self._pid = supervisord_pid
        self._second = path.with_name(f"{path.name}.second")
        with suppress(OSError):  # it may be lost already: then an earlier watchdog's name is used
            _link(path, self._second)

    @property
    def path(self) -> Path:
        """The name that is lost; the one that people use, if either may be."""
        is_second = _is_socket(self._first) and not _is_socket(self._second)
        return self._second if is_second else self._first

    def is_in_place(self) -> bool:
        """Return whether both names lead to one socket."""
        with suppress(OSError):
            return os.path.samestat(self._first.lstat(), self._second.lstat())
        return False

    def put_back(self) -> None:
        """Make one name anew from the other. Raises OSError."""
        try:
            try:
                _link(self._second, self._first)
            except FileNotFoundError:
                _link(self._first, self._second)
        except OSError as error:
            raise OSError(
                error.errno,
                f"{error.strerror}; supervisorctl cannot reach supervisord: stop the stack with "
                f"kill -TERM {self._pid}, then start it again",
            ) from None

    def close(self) -> None:
        """Remove the second name."""
        self._second.unlink(missing_ok=True)


def _is_socket(path: Path) -> bool:
    with suppress(OSError):
        return stat.S_ISSOCK(path.lstat().st_mode)
    return False


def _link(of: Path, name: Path) -> None:
    """Let `name` be a further name of a socket, whatever it was before."""
    if not stat.S_ISSOCK(of.lstat().st_mode):
        raise FileNotFoundError(errno.ENOENT, "it is no socket", str(of))
    temporary = name.with_name(f"{name.name}.new")
    temporary.unlink(missing_ok=True)
    temporary.hardlink_to(of)
    temporary.replace(name)
    temporary.unlink(missing_ok=True)  # it is still there if both were names of one socket


class CopiedFile:
    """A file that may be edited, and is put back as it was last. A `KeptFile`."""

    def __init__(self, path: Path) -> None:
        """Raises OSError if there is no such file that is ours."""
        self.path = path
        self._fd = open_own(path, os.O_RDONLY)

    def is_in_place(self) -> bool:
        """Return whether there is a file of ours; another one is the one to put back, from now on.

        One that others may write to is left in its place: a person may have edited it that way.
        """
        try:
            there = self.path.lstat()
            check_owner(self.path, there)
        except OSError:
            return False
        if not stat.S_ISREG(there.st_mode):
            return False
        if not os.path.samestat(there, os.fstat(self._fd)):
            with suppress(OSError):
                fd = open_own(self.path, os.O_RDONLY)
                os.close(self._fd)
                self._fd = fd
        return True

    def put_back(self) -> None:
        """Write it anew. Raises OSError."""
        content = os.pread(self._fd, MAX_READ_BYTES, 0)
        with replaced(self.path) as file:
            file.write(content)


class PidFile:
    """supervisord's pid file, whose content is known also where it is missing. A `KeptFile`."""

    def __init__(self, path: Path, supervisord_pid: int) -> None:
        self.path = path
        self._content = b"%d\n" % supervisord_pid

    def is_in_place(self) -> bool:
        """Return whether there is a file of ours that names supervisord."""
        with suppress(OSError):
            return read_own(self.path) == self._content
        return False

    def put_back(self) -> None:
        """Write it anew. Raises OSError."""
        with replaced(self.path) as file:
            file.write(self._content)


def written_files(var_dir: Path, supervisord_pid: int) -> list[KeptFile]:
    """Return supervisord's pid file, and its configuration if it is there."""
    files: list[KeptFile] = [PidFile(var_dir / PID_FILE_NAME, supervisord_pid)]
    with suppress(OSError):  # a plain supervisord has its own in etc
        files.append(CopiedFile(var_dir / CONFIGURATION_NAME))
    return files


def log_paths(var_dir: Path) -> list[Path]:
    """Return what has the name of a log of supervisord or its programs, also of a rotated one."""
    found: list[Path] = []
    for directory, name in ((var_dir / "log", _PROGRAM_LOG), (var_dir, _OWN_LOG)):
        with suppress(OSError):
            found += (path for path in directory.iterdir() if name.fullmatch(path.name))
    return sorted(found)


class SupervisordLogs:
    """Lets supervisord write to logs again that were removed, moved or replaced. A `Timed`."""

    def __init__(self, clock: Callable[[], int], var_dir: Path, supervisord_pid: int) -> None:
        self._log = structlog.get_logger()
        self._var_dir = _normalised(var_dir)
        self._log_dir = self._var_dir / "log"
        self._pid = supervisord_pid
        self._watched: frozenset[Path] = frozenset()
        self._suspected: set[Path] = set()
        """What was lost at the last look. A rotation looks like a loss, for a moment."""
        self._requests: dict[Path, int] = {}
        """How often supervisord was asked for a log that is lost."""
        self._no_files: set[Path] = set()
        """What else than a file is in the place of a log."""
        self._failure = LogOnce()
        self._look_ns = clock() + LOOK_NS

    def watch(self, logs: Iterable[str]) -> None:
        """Take the logs of the programs that are running now, as their configuration names them."""
        paths = map(_normalised, logs)
        self._watched = frozenset(path for path in paths if path.parent == self._log_dir)

    def next_deadline_ns(self) -> int:
        """When to look."""
        return self._look_ns

    def on_time(self, now_ns: int) -> None:
        """Look at each log."""
        self._look_ns = now_ns + LOOK_NS
        self._look_at_kinds()
        open_files = _open_files(self._pid)
        logs = {self._var_dir / LOG_NAME, *self._watched}
        lost = {path for path in logs if _is_lost(path, open_files)}
        for path in sorted(self._requests.keys() - lost):
            del self._requests[path]
            if path in logs:
                log_event(self._log, LogReopened(file=str(path)))
        confirmed, self._suspected = lost & self._suspected, lost
        if not confirmed:
            self._failure.over()
        elif not logs & self._no_files and any(
            self._requests.get(path, 0) < MAX_REQUESTS for path in confirmed
        ):
            self._let_reopen(logs, confirmed)

    def _let_reopen(self, logs: Iterable[Path], lost: Iterable[Path]) -> None:
        path = self._log_dir
        try:
            make_own_directory(path)
            for path in sorted(logs):
                _make_log(path)
        except OSError as error:
            reason = f"supervisord cannot write to it: {error.strerror}"
            self._failure.log_new(FileLost(file=str(path), reason=reason))
            return
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGUSR2)
        for path in lost:
            self._requests[path] = self._requests.get(path, 0) + 1
            if self._requests[path] == MAX_REQUESTS:
                reason = "supervisord does not open it again: restart the stack"
                log_event(self._log, FileLost(file=str(path), reason=reason))

    def _look_at_kinds(self) -> None:
        """Remove FIFOs in the place of logs, and log other things there, once.

        A directory that has the name of a rotated log ends the log at its next rotation.
        """
        no_files = {path for path in log_paths(self._var_dir) if _is_no_file(path)}
        for path in sorted(no_files - self._no_files):
            reason = "no file is in its place, so supervisord cannot log there: remove it"
            with suppress(OSError):
                if path.is_fifo():
                    path.unlink()
                    os.kill(self._pid, signal.SIGCHLD)  # which means nothing else to it
                    reason = "a FIFO was in its place, at which supervisord would wait; removed"
            log_event(self._log, FileLost(file=str(path), reason=reason))
        self._no_files = {path for path in no_files if _is_no_file(path)}


def _normalised(path: str | Path) -> Path:
    """Return a path without `..`: a plain supervisord names its logs etc/../var/log/NAME."""
    return Path(os.path.normpath(path))


def _make_log(path: Path) -> None:
    """Make a log if it is missing, or adopt it; a link of ours may lead to it.

    Raises NotOurFileError if it cannot be trusted, and OSError if it cannot be made.
    """
    with suppress(FileNotFoundError):
        path = follow_own_link(path)
        adopt(path)
    os.close(open_own(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT))


def _is_no_file(path: Path) -> bool:
    """Return whether there is something that is no regular file; a link may lead to one."""
    return path.exists() and not path.is_file()


def _open_files(pid: int) -> set[Identity] | None:
    """Return the files that a process has open; None if the kernel does not say."""
    found = set()
    try:
        for entry in os.scandir(f"/proc/{pid}/fd"):
            with suppress(FileNotFoundError):
                status = entry.stat()
                found.add((status.st_dev, status.st_ino))
    except OSError:
        return None
    return found


def _is_lost(path: Path, open_files: set[Identity] | None) -> bool:
    """Return whether supervisord does not write to what `path` names."""
    try:
        status = path.stat()
    except OSError:
        return True
    return open_files is not None and (status.st_dev, status.st_ino) not in open_files
