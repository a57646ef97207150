"""A lock that keeps two strategies of one client_id out of the same var directory.

They would write the same files, and replace each other's logon at the order manager. The kernel
releases the lock when its holder ends, however it ends.
"""

from __future__ import annotations

import os
from pathlib import Path

from lib.errors import CannotStartError
from lib.process.file_lock import LockHeldError, is_still_at, lock_file


class ClientIdLock:
    """The lock of a client_id's files, held from its construction on. A `KeptFile`."""

    def __init__(self, var_dir: Path, client_id: str) -> None:
        """Take the lock; never waits.

        Raises CannotStartError, which names the process that holds it, or says why there is no
        lock.
        """
        self.path = var_dir / f"strategy-{client_id}.lock"
        self._client_id = client_id
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._fd: int | None = self._lock()
        except OSError as error:
            raise CannotStartError(f"cannot lock {self.path}: {error.strerror}") from None

    def is_in_place(self) -> bool:
        """Return whether another strategy would find the lock."""
        return self._fd is not None and is_still_at(self._fd, self.path)

    def put_back(self) -> None:
        """Take the lock anew, after its file was removed.

        Raises OSError, and CannotStartError if another strategy has taken it meanwhile.
        """
        before, self._fd = self._fd, self._lock()
        if before is not None:
            os.close(before)

    def let_go(self) -> None:
        """Release the lock."""
        # Only once: the descriptor's number may belong to another file then.
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _lock(self) -> int:
        try:
            return lock_file(self.path, str(os.getpid()))
        except LockHeldError as held:
            raise CannotStartError(
                f"client_id {self._client_id} is another strategy's: process {held.note} holds "
                f"{self.path}; give this one a client_id of its own ([strategies.NAME] client_id), "
                "or stop the other"
            ) from None


def hold_client_id(var_dir: Path, client_id: str) -> ClientIdLock:
    """Take the lock of a client_id's files for as long as this process lives. Call it once.

    A process forked from this one, for a signal that computes in several processes, does not hold
    it: it may outlive the strategy. Raises CannotStartError, as `ClientIdLock` does.
    """
    lock = ClientIdLock(var_dir, client_id)
    os.register_at_fork(after_in_child=lock.let_go)
    return lock
