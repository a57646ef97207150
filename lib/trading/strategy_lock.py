"""A lock that keeps two strategies of one client_id out of the same var directory.

They would write the same files, and replace each other's logon at the order manager. The kernel
releases the lock when its holder ends, however it ends.
"""

from __future__ import annotations

import os
from pathlib import Path

from lib.errors import CannotStartError
from lib.process.file_lock import LockHeldError, lock_file


def hold_client_id(var_dir: Path, client_id: str) -> None:
    """Take the lock of a client_id's files for as long as this process lives. Call it once.

    A process forked from this one, for a signal that computes in several processes, does not hold
    it: it may outlive the strategy. Raises CannotStartError, as `lock_client_id` does.
    """
    held = [lock_client_id(var_dir, client_id)]

    def let_go() -> None:
        # Only once: in a grandchild the descriptor's number may belong to another file.
        while held:
            os.close(held.pop())

    os.register_at_fork(after_in_child=let_go)


def lock_client_id(var_dir: Path, client_id: str) -> int:
    """Take the lock of a client_id's files; never waits.

    Returns the descriptor that holds it until it is closed. Raises CannotStartError, which names
    the process that holds it, or says why there is no lock.
    """
    path = var_dir / f"strategy-{client_id}.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return lock_file(path, str(os.getpid()))
    except LockHeldError as held:
        raise CannotStartError(
            f"client_id {client_id} is another strategy's: process {held.note} holds {path}; give "
            "this one a client_id of its own ([strategies.NAME] client_id), or stop the other"
        ) from None
    except OSError as error:
        raise CannotStartError(f"cannot lock {path}: {error.strerror}") from None
