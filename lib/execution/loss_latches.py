"""The files of the clients that have reached their loss limit. A person removes one to lift it.

A file is the client's limit for as long as it is there, across restarts; what is in it is for
people, and for the log of a restarted order manager.
"""

from __future__ import annotations

import errno
import os
import re
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Final

import msgspec
import structlog

from lib.clock import SECOND_NS
from lib.execution.loss_limit import LATCH_PREFIX
from lib.prices import to_float
from lib.process.log_events import LossLimitLifted, LossLimitReached, log_event
from lib.process.own_files import open_own

LOOK_NS: Final = SECOND_NS // 4
"""How often to look whether a file was removed, to log it. Each pass with orders looks anew."""
MAX_LATCHES: Final = 1000
"""The most clients at their limit: any local user could invent more, without a token."""
_MAX_FILE_BYTES: Final = 4096

_CLIENT_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")


def clients_at_limit(var_dir: Path) -> list[str]:
    """Return the client_ids that have a file, sorted; at most MAX_LATCHES."""
    names = (path.name.removeprefix(LATCH_PREFIX) for path in var_dir.glob(f"{LATCH_PREFIX}*"))
    return sorted(islice(filter(_CLIENT_ID.fullmatch, names), MAX_LATCHES))


class LossLatches:
    """The files of one var directory. Is a `Timed` for the event loop; used from there only."""

    def __init__(self, var_dir: Path, max_loss: float) -> None:
        """Find the clients whose files are there."""
        self._log = structlog.get_logger()
        self._var_dir = var_dir
        self._max_loss = max_loss
        self._held = set(clients_at_limit(var_dir))
        self._unlogged = set(self._held)
        """Those whose files this process has not made."""
        self._look_ns = 0

    def is_held(self, client_id: str) -> bool:
        """Return whether the client's file is there."""
        if not os.path.lexists(self._path(client_id)):
            return False
        if client_id not in self._held:
            self._held.add(client_id)
            self._unlogged.add(client_id)
        return True

    def hold(self, client_id: str, loss: int | None) -> None:
        """Make the client's file, on disk, and log it; `loss` is in units of 1e-8, if it is known.

        Raises OSError.
        """
        if len(self._held) >= MAX_LATCHES:
            text = f"{MAX_LATCHES} clients have reached max_loss: remove some {LATCH_PREFIX} files"
            raise OSError(errno.EDQUOT, text)
        event = LossLimitReached(
            client_id=client_id,
            loss=None if loss is None else to_float(loss),
            limit=self._max_loss,
        )
        fd = open_own(self._path(client_id), os.O_WRONLY | os.O_CREAT)
        try:
            # The file counts, not what is in it: on a full disk it may stay empty.
            with suppress(OSError):
                os.write(fd, msgspec.json.encode(event) + b"\n")
            os.fsync(fd)
        finally:
            os.close(fd)
        self._sync_directory()
        self._held.add(client_id)
        log_event(self._log, event)

    def next_deadline_ns(self) -> int | None:
        """When to look at the files again; None while there is none."""
        return self._look_ns if self._held else None

    def on_time(self, now_ns: int) -> None:
        """Log the clients whose files were found, and those whose files were removed."""
        self._look_ns = now_ns + LOOK_NS
        for client_id in sorted(self._unlogged):
            log_event(self._log, self._kept_event(client_id))
        self._unlogged.clear()
        for client_id in sorted(self._held):
            if not os.path.lexists(self._path(client_id)):
                self._held.remove(client_id)
                log_event(self._log, LossLimitLifted(client_id=client_id))

    def _path(self, client_id: str) -> Path:
        return self._var_dir / f"{LATCH_PREFIX}{client_id}"

    def _sync_directory(self) -> None:
        """Let the file's name outlive a loss of power, as the ledger does."""
        fd = os.open(self._var_dir, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def _kept_event(self, client_id: str) -> LossLimitReached:
        """Return the event that was logged when the file was made, as far as it says so."""
        with suppress(OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            with os.fdopen(open_own(self._path(client_id), os.O_RDONLY), "rb") as file:
                kept = msgspec.json.decode(file.read(_MAX_FILE_BYTES), type=LossLimitReached)
            return LossLimitReached(client_id=client_id, loss=kept.loss, limit=kept.limit)
        return LossLimitReached(client_id=client_id, loss=None, limit=self._max_loss)
