"""What another user plants in the places of a stack's files, and whether the stack adopts it."""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from chaos.faults.second_user import USER, Kind, SecondUser
from chaos.lab.stack_files import HeldFiles
from lib.price_book.segment_files import SHM_DIR

FORGED_PRICE: Final = 99_998.0
"""The price in a planted price book: an order at `PAST_THE_COLLAR` passes a collar around it."""
VICTIM_TEXT: Final = "what a planted link points to must not be written to\n"
OWNER: Final = "of another user"
OPEN_TO_ALL: Final = "that others may write to"
_COMPLAINS: Final = re.compile(r"^main\.py: |\| (?:WARNING|ERROR) ")
"""A line in which main.py refuses to start, or with a warning or an error of a role."""
_WHOSE_OR_WHAT: Final = re.compile(
    rf"{USER}|belongs to|link|FIFO|[Ii]s a directory|[Ii]s a socket|others may"
)
"""What a line that names a planted file says of it, too."""


@dataclass
class Planted:
    """One thing in the place of one of the stack's files, or directories."""

    name: str
    """Human-readable, without the stack's own directories and names."""
    path: Path
    kind: str
    """A `Kind`, or OWNER or OPEN_TO_ALL for a directory."""
    victim: Path | None = None
    """What a link points to."""
    content: Path | None = None
    """What is planted as a file has the content of this one."""
    inode: int = 0

    @property
    def is_in_shm(self) -> bool:
        """Whether the other user can plant it himself, as everybody can there."""
        return self.path.parent == SHM_DIR

    def place(self, second_user: SecondUser, symbols: Sequence[str]) -> str:
        """Plant it in the place of whatever is there, unless it is there still.

        Returns why the system did not let it, "" if it did.
        """
        if self.kind in (OWNER, OPEN_TO_ALL):
            self.path.mkdir(parents=True, exist_ok=True)
            owner = second_user.uid if self.kind == OWNER else os.geteuid()
            os.chown(self.path, owner, -1)
            self.path.chmod(0o755 if self.kind == OWNER else 0o777)
        elif not self._is_there():
            self.take_away()
            if self.victim:
                self.victim.write_text(VICTIM_TEXT, encoding="utf-8")
            if refused := self._place_file(second_user, symbols):
                return refused
        self.inode = self.path.lstat().st_ino
        return ""

    def _place_file(self, second_user: SecondUser, symbols: Sequence[str]) -> str:
        if self.is_in_shm and self.kind == Kind.FILE and "." not in self.path.name:
            return second_user.forge_book(self.path, symbols, FORGED_PRICE)
        if self.is_in_shm:
            return second_user.plant(self.path, Kind(self.kind), self.victim)
        # The directory was his once, or open to all: what he left there.
        self.path.parent.mkdir(parents=True, exist_ok=True)
        match self.kind:
            case Kind.LINK:
                assert self.victim
                self.path.symlink_to(self.victim)
            case Kind.FIFO:
                os.mkfifo(self.path)
            case Kind.DIRECTORY:
                self.path.mkdir()
            case _:
                shutil.copyfile(self.content, self.path) if self.content else self.path.touch()
        os.chown(self.path, second_user.uid, -1, follow_symlinks=False)
        if self.kind != Kind.LINK:
            self.path.chmod(0o777 if self.kind == Kind.DIRECTORY else 0o666)
        return ""

    def _is_there(self) -> bool:
        return os.path.lexists(self.path) and self.path.lstat().st_ino == self.inode

    def take_away(self) -> None:
        """Remove it; give a directory back to us. May be called again."""
        with suppress(FileNotFoundError):
            if self.kind in (OWNER, OPEN_TO_ALL):
                os.chown(self.path, os.geteuid(), -1)
                self.path.chmod(0o755)
            elif self.path.is_dir() and not self.path.is_symlink():
                shutil.rmtree(self.path)
            else:
                self.path.unlink()

    def named_in(self, lines: Iterable[str]) -> list[str]:
        """Return the refusals, warnings and errors of the screen that name it. Pure."""
        whole = re.escape(str(self.path))
        if self.kind not in (OWNER, OPEN_TO_ALL):  # `log` alone is a word
            whole = rf"{whole}|(?<![\w./-]){re.escape(self.path.name)}"
        pattern = re.compile(rf"(?:{whole})(?![\w/-]|\.\w)")
        return [line for line in lines if _COMPLAINS.search(line) and pattern.search(line)]

    def adopted(self, held: HeldFiles) -> str:
        """Say how a stack that trades has adopted it; "" if it has not."""
        if self.victim and self.victim.read_text(encoding="utf-8") != VICTIM_TEXT:
            return f"what the link points to was written to ({self.victim.name})"
        if not os.path.lexists(self.path):
            return ""
        status = self.path.lstat()
        if self.kind == OWNER:
            return "" if status.st_uid == os.geteuid() else "used, though it is another user's"
        if self.kind == OPEN_TO_ALL:
            writable = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
            return "used, and others may still write to it" if writable else ""
        if not self._is_there():  # replaced
            return ""
        users = sorted(held.holders(self.path))
        return f"in use by {', '.join(users)}" if users else ""


def says_whose_or_what(line: str) -> bool:
    """Return whether a line that names a file also says whose it is, or of what kind. Pure."""
    return bool(_WHOSE_OR_WHAT.search(line))
