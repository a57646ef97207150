"""Whether the files of an open ledger are still the ones at its path.

What is unlinked or replaced lives on for a process that has it open, and SQLite goes on writing to
it: into nothing.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from lib.ledger.files import LedgerFiles


class OpenedFiles:
    """The files of one ledger as they were when it was opened. Closed by its user."""

    def __init__(self, path: Path, files: LedgerFiles) -> None:
        """Note the files, which are all there. `path` may be a symbolic link to the main file."""
        self._path = path
        self._files = files
        self._others = {file: file.stat() for file in files[1:]}
        # It only names the file, and so keeps its number from being used again, and its content
        # for a copy. To close any other descriptor would release the locks that SQLite has on it.
        self._main = os.open(files.main, os.O_PATH | os.O_CLOEXEC)
        self._opened_main = os.fstat(self._main)

    def close(self) -> None:
        """Forget the files."""
        os.close(self._main)

    def change_of_main(self) -> str:
        """Return what has happened to the ledger's own file, "" if it is at its path."""
        return _change(self._path, self._opened_main)

    def change_of_others(self) -> str:
        """Return what has happened to one of the files beside it, "" if they are at their paths."""
        for file, opened in self._others.items():
            if change := _change(file, opened):
                return f"{file.name} {change}"
        return ""

    def way_back(self) -> str:
        """Return how a main file that is not at its path is had again."""
        link = Path(f"/proc/{os.getpid()}/fd/{self._main}")
        place = str(link.readlink())  # where the file is now
        if not place.endswith(" (deleted)"):
            return f"it is back from {place}"
        copy = shlex.join(["cp", str(link), str(self._files.main)])
        return f"it is copied back (`{copy}`) and the order manager is restarted"


def _change(path: Path, opened: os.stat_result) -> str:
    try:
        is_it = os.path.samestat(path.stat(), opened)
    except FileNotFoundError:
        return "was removed"
    except OSError as error:  # a directory on the way to it, or its disk
        return f"cannot be looked at ({error.strerror})"
    return "" if is_it else "is another file now"
