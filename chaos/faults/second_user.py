"""Another user of the machine: a process that gives up its rights, and plants files as that user.

Commands come in as lines of JSON, an answer goes out for each. The process keeps what it has opened
or locked until its input ends. It can only be started by root; without root there is no second
user, and `SecondUser` says so.
"""

from __future__ import annotations

import fcntl
import json
import os
import pwd
import select
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from chaos.lab.target import TargetError
from lib.settings import PROJECT_ROOT
from lib.shared_memory_utils import PriceBookError, SharedPriceBook, remove_segments

USER: Final = "nobody"
"""The other user: every system has it, and nothing belongs to it."""
ANSWER_S: Final = 20.0
"""How long a command may take; the first one waits for the start of the process."""
MODE: Final = 0o666
"""Everybody may write what this user plants: the stack must not take that for an invitation."""
FORGED_BOOK: Final = "forged-{}"
"""The name under which a price book is forged, before it is renamed; with the forger's pid."""
PLANTED_TEXT: Final = b"planted\n"


class Kind(StrEnum):
    """What is planted under a name."""

    FILE = "file"
    """A regular file; a lock is taken on it, as if its owner were at work."""
    LINK = "link"
    """A symbolic link to another file."""
    FIFO = "FIFO"
    """Its owner keeps it open, so that neither reading nor writing ends with an error."""
    DIRECTORY = "directory"


class NoSecondUserError(Exception):
    """There is no second user to act as. The text says why, on one line."""


class SecondUser:
    """The process of the other user. Leaving the `with` block ends it. For one thread.

    Its methods raise TargetError if the process has died or is silent: what was tried is unknown.
    """

    def __init__(self) -> None:
        """Start it. Raises NoSecondUserError, which nothing else here does."""
        if os.geteuid() != 0:
            raise NoSecondUserError(f"only root can act as a second user ({USER})")
        try:
            self.uid = pwd.getpwnam(USER).pw_uid
        except KeyError:
            raise NoSecondUserError(f"the system has no user {USER}") from None
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            cwd=PROJECT_ROOT,
            # With it, Python would not look for modules in the project.
            env={key: value for key, value in os.environ.items() if key != "PYTHONSAFEPATH"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C reaches only the experiment, which then ends it
        )

    def plant(self, path: Path, kind: Kind, target: Path | None = None) -> str:
        """Plant something; return why the system did not let it, "" if it did."""
        return self._do("plant", str(path), kind, str(target or ""))

    def forge_book(self, path: Path, symbols: Sequence[str], price: float) -> str:
        """Plant a valid price book with this price for each symbol; return as `plant` does."""
        return self._do("forge_book", str(path), list(symbols), price)

    def attempt(self, what: str, path: Path) -> str:
        """Try to `open`, `write`, `rename` or `remove` a file; return as `plant` does."""
        return self._do(what, str(path))

    def close(self) -> None:
        """End the process; what it has planted stays. May be called again."""
        assert self._process.stdin
        with suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(ANSWER_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _do(self, *command: Any) -> str:
        assert self._process.stdin
        assert self._process.stdout
        with suppress(BrokenPipeError):  # it has died, and will not answer
            self._process.stdin.write(json.dumps(command).encode() + b"\n")
            self._process.stdin.flush()
        ready, _, _ = select.select([self._process.stdout], [], [], ANSWER_S)
        answer = self._process.stdout.readline() if ready else b""
        if not answer:
            raise TargetError(f"the process of {USER} has died, or does not answer")
        return str(json.loads(answer))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def plant(path: Path, kind: Kind, target: Path | None = None) -> int | None:
    """Plant something as the user of this process; return a descriptor to keep open, if any.

    Raises OSError.
    """
    match kind:
        case Kind.LINK:
            assert target is not None
            path.symlink_to(target)
        case Kind.DIRECTORY:
            path.mkdir()
            path.chmod(0o777)
        case Kind.FIFO:
            os.mkfifo(path)
            path.chmod(MODE)
            return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        case Kind.FILE:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, MODE)
            path.chmod(MODE)
            os.write(fd, PLANTED_TEXT)
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)  # another process may have been quicker
            return fd
    return None


def _forge_book(path: Path, symbols: list[str], price: float) -> None:
    name = FORGED_BOOK.format(os.getpid())
    book = SharedPriceBook(symbols, name)
    try:
        for symbol in symbols:
            book.update(symbol, price)
        forged = path.with_name(name)
        forged.chmod(MODE)
        forged.rename(path)
    finally:
        book.close()
        remove_segments(name)  # its lock


def _attempt(what: str, path: Path) -> None:
    match what:
        case "open":
            os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
        case "write":
            os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
        case "remove":
            path.unlink()
        case "rename":
            path.rename(path.with_name(f"{path.name}-renamed"))


def main() -> None:
    """Become the other user; do what each line says until the input ends."""
    user = pwd.getpwnam(USER)
    os.setgroups([])
    os.setgid(user.pw_gid)
    os.setuid(user.pw_uid)
    os.umask(0)
    kept: list[int | None] = []
    for line in sys.stdin:
        what, path, *more = json.loads(line)
        said = ""
        try:
            if what == "plant":
                kept.append(plant(Path(path), Kind(more[0]), Path(more[1])))
            elif what == "forge_book":
                _forge_book(Path(path), *more)
            else:
                _attempt(what, Path(path))
        except OSError as error:
            said = error.strerror or str(error)
        except PriceBookError as error:
            said = str(error)
        print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main()
